#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Help, manual pages, completions and docs/reference/cli.md say what the tree of commands says.

    documents_test.py --cairn PROGRAM --reference docs/reference/cli.md
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

CAIRN = None
REFERENCE = None


def cairn(*words):
    return subprocess.run([CAIRN, *words], check=True, capture_output=True, text=True).stdout


def visible(command):
    """A command and all below it, without the hidden ones."""
    if command["hidden"]:
        return
    yield command
    for below in command["commands"]:
        yield from visible(below)


def plain(roff):
    """What a page says, without the marks."""
    for mark, text in (("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\-", "-"), ("\\(aq", "'"),
                       ("\\(ga", "`"), ("\\(ha", "^"), ("\\(ti", "~"), ("\\e", "\\")):
        roff = roff.replace(mark, text)
    return roff


class Documents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.commands = list(visible(json.loads(cairn("generate", "tree"))))
        cls.verbs = [c for c in cls.commands if c["does"]]

    def test_every_verb_has_help_with_examples(self):
        self.assertGreater(len(self.verbs), 15)
        for verb in self.verbs:
            with self.subTest(verb["name"]):
                text = cairn(*verb["name"].split()[1:], "--help")
                self.assertIn("Examples\n", text)
                for line in verb["examples"]:
                    self.assertIn(line, text)
                for option in verb["options"]:
                    self.assertIn(option["name"], text)
                    self.assertTrue(option["help"].endswith("."), option)
                for line in text.splitlines():
                    # Examples may be long; what was wrapped may not.
                    if not line.startswith("  ") or line.startswith("     "):
                        self.assertLessEqual(len(line), 80, line)

    def test_examples_are_commands_that_parse(self):
        for verb in self.verbs:
            for line in verb["examples"]:
                with self.subTest(line):
                    self.assertIn("cairn", line)
                    self.assertEqual(
                        subprocess.run(["bash", "-n", "-c", line], check=False).returncode, 0)

    def test_verbs_that_print_have_json_documented(self):
        for verb in self.verbs:
            formats = [o for o in verb["options"] if o["name"] == "--format"]
            with self.subTest(verb["name"]):
                self.assertEqual(bool(formats), bool(verb["json"]))

    def test_manual_pages(self):
        with tempfile.TemporaryDirectory() as folder:
            cairn("generate", "man", folder)
            pages = {path.name: path.read_text(encoding="utf-8")
                     for path in pathlib.Path(folder).iterdir()}
            for verb in self.verbs:
                words = verb["name"].split()
                page = plain(pages["-".join(words[:2]) + ".1"])
                with self.subTest(verb["name"]):
                    self.assertIn(verb["name"], page)
                    for option in verb["options"]:
                        self.assertIn(option["name"], page)
                    for line in verb["examples"]:
                        self.assertIn(line, page)
            for name, page in pages.items():
                for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS",
                                "ENVIRONMENT", "SEE ALSO"):
                    self.assertIn(f".SH {section}\n", page, name)
                if shutil.which("man"):
                    shown = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z",
                                            os.path.join(folder, name)], capture_output=True,
                                           check=False)
                    self.assertEqual((shown.returncode, shown.stderr), (0, b""), name)

    def test_completions_know_every_command_and_option(self):
        for shell in ("bash", "zsh", "fish"):
            text = cairn("completion", shell)
            for command in self.commands:
                for option in command["options"]:
                    if not option["name"].startswith("--"):
                        continue
                    name = option["name"][2:] if shell == "fish" else option["name"]
                    self.assertIn(name, text, (shell, command["name"]))
                if " " in command["name"]:
                    self.assertIn(command["name"].split()[-1], text, shell)
            program = shutil.which(shell)
            if program:
                with self.subTest(shell):
                    checked = subprocess.run([program, "-n"], input=text, text=True,
                                             capture_output=True, check=False)
                    self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def completed(self, *words, data=None):
        """What bash offers for the last of the words."""
        script = cairn("completion", "bash") + f"""
            PATH={os.path.dirname(CAIRN)}:$PATH
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cairn; printf '%s\\n' "${{COMPREPLY[@]}}"
            """
        env = dict(os.environ)
        env.pop("CAIRN_DATA", None)
        if data:
            env["CAIRN_DATA"] = data
        ended = subprocess.run(["bash", "-c", script, "bash", *words], env=env, text=True,
                               capture_output=True, check=True)
        return ended.stdout.split()

    def test_bash_completes(self):
        self.assertIn("topic", self.completed("cairn", ""))
        self.assertNotIn("generate", self.completed("cairn", ""))
        self.assertEqual(self.completed("cairn", "top"), ["topic"])
        self.assertEqual(self.completed("cairn", "topic", "de"), ["describe", "delete"])
        self.assertEqual(self.completed("cairn", "topic", "create", "t", "--part"), ["--partitions"])
        self.assertEqual(self.completed("cairn", "topic", "list", "--format", ""), ["text", "json"])
        self.assertEqual(self.completed("cairn", "completion", "z"), ["zsh"])
        with tempfile.TemporaryDirectory() as folder:
            data = os.path.join(folder, "data")
            for name in ("orders", "payments"):
                cairn("topic", "create", name, "--data", data)
            self.assertEqual(self.completed("cairn", "consume", "", data=data),
                             ["orders", "payments"])
            self.assertEqual(self.completed("cairn", "consume", "--data", data, "or"), ["orders"])
            os.mkdir(os.path.join(folder, "sub"))
            self.assertEqual(self.completed("cairn", "stats", "--data", folder + "/s"),
                             [folder + "/sub"])

    @unittest.skipUnless(shutil.which("fish"), "there is no fish here")
    def test_fish_completes(self):
        script = cairn("completion", "fish")

        def completed(line):
            ended = subprocess.run(["fish", "--no-config", "-c", script + f"\ncomplete -C '{line}'"],
                                   text=True, capture_output=True, check=True)
            return [word.split("\t")[0] for word in ended.stdout.splitlines()]

        self.assertIn("topic", completed("cairn "))
        self.assertEqual(completed("cairn topic de"), ["delete", "describe"])
        self.assertEqual(completed("cairn topic create t --part"), ["--partitions"])
        self.assertEqual(completed("cairn topic list --format "), ["json", "text"])

    def test_the_reference_is_what_the_program_says(self):
        text = REFERENCE.read_text(encoding="utf-8")
        self.assertTrue(text == cairn("generate", "reference"),
                        f"{REFERENCE} is not up to date; write it with: "
                        f"cairn generate reference > {REFERENCE}")


def main():
    global CAIRN, REFERENCE
    options = argparse.ArgumentParser()
    options.add_argument("--cairn", required=True)
    options.add_argument("--reference", type=pathlib.Path, required=True)
    options, rest = options.parse_known_args()
    CAIRN, REFERENCE = os.path.abspath(options.cairn), options.reference
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
