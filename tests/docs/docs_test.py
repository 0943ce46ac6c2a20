#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The documentation says what is true, as far as a program can tell.

    docs_test.py --root DIR [--path DIR]... [--update] [PAGE]...

In README.md and docs/**/*.md (or in the PAGEs named):

  - Code comes from files that are compiled. The block ```cpp NAME is the region between the lines
    "//[ NAME" and "//]" of a file in samples/ or tests/docs/, moved to the left; ```cmake FILE is
    that whole file. There is no other C++ or CMake.
  - ```console blocks are what one shell makes of them: the blocks of a page run one after the
    other in an empty directory, `$ ` begins a command, `> ` goes on with it, the rest is what it
    prints. In that, … stands for any text, and … on a line of its own for any lines; a time in
    ISO 8601 stands for any time.
  - Links within the repository lead to a file, and to a heading where they name one; and each page
    is linked to from another.
  - The second sample, its events, aggregate, test and wiring, is at most 60 lines of code: those
    that are neither blank nor only a comment; #include and import count. Where a page says "N lines
    of code" behind a link to the sample, it is N.
  - The tables of configuration.md and statistics.md have each field, and its default, as the
    program show_defaults prints them.

--update writes regions, and the output of commands where it differs, into the pages.
"""
import argparse
import difflib
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import textwrap
import time

REGION_BEGIN = re.compile(r"^\s*//\[ ([\w.-]+)$")
REGION_END = re.compile(r"^\s*//\]$")
FENCE = re.compile(r"^( *)(```+)\s*([\w-]*)\s*(.*)$")
LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
COMMAND_SECONDS_MAX = 120
MARK = "\x1e"


class Block:
    """A fenced block: its language, the rest of the fence's line, its lines and where they are."""

    def __init__(self, page, number, indent, language, argument):
        self.page, self.number, self.indent = page, number, indent
        self.language, self.argument, self.lines = language, argument.strip(), []

    def where(self):
        return f"{self.page.name}:{self.number}"


class Page:
    def __init__(self, root, path):
        self.path, self.name = path, path.relative_to(root).as_posix()
        self.lines = path.read_text(encoding="utf-8").splitlines()
        self.blocks, prose = [], []  # the prose, with empty lines where there is code
        block, fence = None, ""
        for number, line in enumerate(self.lines, 1):
            prose.append("")
            match = FENCE.match(line)
            if block is None and match:
                indent, fence, language, argument = match.groups()
                block = Block(self, number, indent, language, argument)
            elif block is not None and line.strip() == fence:
                self.blocks.append(block)
                block = None
            elif block is not None:
                block.lines.append(line[len(block.indent):])
            else:
                prose[-1] = re.sub(r"`[^`]*`", "", line)
        self.prose = "\n".join(prose)
        if block is not None:
            raise SystemExit(f"{block.where()}: the block has no end")

    def replace(self, changed):
        """Writes the page with other lines in some blocks: {block: lines}."""
        lines, at = [], 0
        for block in sorted(changed, key=lambda b: b.number):
            lines += self.lines[at:block.number]
            lines += [(block.indent + line).rstrip() for line in changed[block]]
            at = block.number + len(block.lines)
        lines += self.lines[at:]
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def difference(expected, found):
    return "\n".join("    " + line for line in
                     difflib.unified_diff(expected, found, "the page", "the truth", lineterm=""))


# ---- Code. --------------------------------------------------------------------------------------

def regions(root):
    found = {}
    for folder in ("samples", "tests/docs"):
        for path in sorted((root / folder).rglob("*.[ch]pp")):
            name, lines = None, []
            for line in path.read_text(encoding="utf-8").splitlines():
                begin = REGION_BEGIN.match(line)
                if begin:
                    name, lines = begin[1], []
                elif REGION_END.match(line):
                    if name in found:
                        raise SystemExit(f"{path}: there are two regions {name}")
                    found[name] = textwrap.dedent("\n".join(lines)).split("\n")
                    name = None
                elif name:
                    lines.append(line)
    return found


def check_code(root, page, found, changed):
    for block in page.blocks:
        if block.language == "cpp":
            truth = found.get(block.argument)
            if truth is None:
                yield f"{block.where()}: no compiled file has a region \"{block.argument}\""
                continue
        elif block.language == "cmake":
            path = root / block.argument
            if not block.argument or not path.is_file():
                yield f"{block.where()}: there is no file \"{block.argument}\" to quote"
                continue
            truth = path.read_text(encoding="utf-8").splitlines()
        else:
            continue
        if block.lines != truth:
            changed[block] = truth
            yield f"{block.where()}: the code is not {block.argument}\n" + \
                difference(block.lines, truth)


# ---- Commands. ----------------------------------------------------------------------------------

class Shell:
    """One bash for a page, so that what a command exports is there for the next."""

    def __init__(self, directory, path):
        env = {key: value for key, value in os.environ.items() if not key.startswith("CAIRN_")}
        env.update(PATH=os.pathsep.join([*path, env["PATH"]]), NO_COLOR="1", LC_ALL="C.UTF-8",
                   TZ="UTC", HOME=directory)
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(["bash", "--norc", "--noprofile"], cwd=directory, env=env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)

    def run(self, command):
        """What it prints, as lines."""
        self.process.stdin.write(f"{{\n{command}\n}} </dev/null\nprintf '\\x1e'\n".encode())
        self.process.stdin.flush()
        output, deadline = b"", time.monotonic() + COMMAND_SECONDS_MAX
        while not output.endswith(MARK.encode()):
            ready, _, _ = select.select([self.process.stdout], [], [],
                                        max(0, deadline - time.monotonic()))
            more = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not more:
                raise SystemExit(f"`{command}` did not end; so far it printed\n{output.decode()}")
            output += more
        return output.decode("utf-8", "backslashreplace")[:-1].splitlines()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(COMMAND_SECONDS_MAX)


def commands(block):
    """The commands of a block: (lines as they are shown, the command, what it prints)."""
    found = []
    for line in block.lines:
        if line.startswith("$ "):
            found.append(([line], line[2:], []))
        elif line.startswith("> ") and found and not found[-1][2]:
            shown, command, printed = found[-1]
            found[-1] = (shown + [line], command + "\n" + line[2:], printed)
        elif found:
            found[-1][2].append(line)
        else:
            raise SystemExit(f"{block.where()}: a console block begins with \"$ \"")
    return found


def line_matches(expected, line):
    expected, line = TIME.sub("<time>", expected.rstrip()), TIME.sub("<time>", line.rstrip())
    pattern = ".*".join(re.escape(part) for part in expected.split("…"))
    return re.fullmatch(pattern, line) is not None


def known_line(expected, line):
    """A line as the page has it, if it does: with its placeholders."""
    return next((e for e in expected if e.strip("… ") and line_matches(e, line)), line)


def matches(expected, lines):
    """Whether the lines are the expected ones; … on a line of its own is any number of them."""
    if not expected:
        return not lines
    if expected[0].strip() == "…":
        return any(matches(expected[1:], lines[i:]) for i in range(len(lines) + 1))
    return bool(lines) and line_matches(expected[0], lines[0]) and matches(expected[1:], lines[1:])


def check_commands(page, path, changed):
    blocks = [block for block in page.blocks if block.language == "console"]
    if not blocks:
        return
    with tempfile.TemporaryDirectory(prefix="cairn-docs-") as directory:
        shell = Shell(directory, path)
        for block in blocks:
            truth, differs = [], False
            for shown, command, expected in commands(block):
                printed = shell.run(command)
                fits = matches(expected, printed)
                truth += shown + (expected if fits else
                                  [known_line(expected, line) for line in printed])
                if not fits:
                    differs = True
                    yield f"{block.where()}: `{command}`\n" + difference(expected, printed)
            if differs:
                changed[block] = truth
        shell.end()


# ---- Links. -------------------------------------------------------------------------------------

def anchors(path):
    """The headings of a page, as GitHub and its like name them."""
    found, fenced = set(), False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        if not fenced and line.startswith("#"):
            text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip()).lower()
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def check_links(root, page, linked):
    for link in LINK.finditer(page.prose):
        target = link[1]
        if re.match(r"[a-z]+:", target):
            continue
        where = f"{page.name}:{page.prose.count(chr(10), 0, link.start(1)) + 1}"
        file, _, anchor = target.partition("#")
        path = (page.path.parent / file).resolve() if file else page.path
        if path != page.path:
            linked.add(path)
        if not path.exists() or root not in (path, *path.parents):
            yield f"{where}: {target} leads nowhere"
        elif anchor and anchor not in anchors(path):
            yield f"{where}: {file} has no heading \"{anchor}\""


# ---- Tables. ------------------------------------------------------------------------------------

def check_tables(root, path):
    """Each "<page> <field> [<default>]" that show_defaults prints is a row of its page."""
    environment = {**os.environ, "PATH": os.pathsep.join([*path, os.environ["PATH"]])}
    printed = subprocess.run(["show_defaults"], env=environment, check=True, text=True,
                             capture_output=True).stdout
    wanted = {}
    for line in printed.splitlines():
        name, field, *default = line.split(" ", 2)
        wanted.setdefault(name, []).append((field, *default))
    for name, fields in wanted.items():
        page = root / "docs/reference" / f"{name}.md"
        rows = [[cell.strip() for cell in line.strip("|").split("|")]
                for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        for field in fields:
            if [f"`{cell}`" for cell in field] not in [row[:len(field)] for row in rows]:
                yield f"{page.relative_to(root)}: no row says {' | '.join(field)}"


# ---- The sample's length. -----------------------------------------------------------------------

SAMPLE = "samples/2_aggregate"
SAMPLE_LINES_MAX = 60
SAID_LINES = re.compile(r"\(" + SAMPLE + r"\),?\s+(\d+)\s+lines\s+of\s+code")


def sample_lines(root):
    lines = [line.strip() for file in (root / SAMPLE).iterdir()
             for line in file.read_text(encoding="utf-8").splitlines()]
    return sum(1 for line in lines if line and not line.startswith(("//", "# ")))


def check_sample(root, pages):
    count = sample_lines(root)
    if count > SAMPLE_LINES_MAX:
        yield f"{SAMPLE}: {count} lines of code, more than {SAMPLE_LINES_MAX}"
    for page in pages:
        for said in SAID_LINES.finditer(page.read_text(encoding="utf-8")):
            if int(said[1]) != count:
                yield f"{page.relative_to(root)}: it says that {SAMPLE} is {said[1]} lines of " \
                      f"code, and it is {count}"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--root", type=pathlib.Path, required=True)
    options.add_argument("--path", action="append", default=[])
    options.add_argument("--update", action="store_true")
    options.add_argument("pages", type=pathlib.Path, nargs="*")
    options = options.parse_args()
    root = options.root.resolve()
    path = [os.path.abspath(p) for p in options.path]

    complaints, code, linked = [], regions(root), {root / "README.md"}
    pages = [p.resolve() for p in options.pages] or \
        [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    for page in (Page(root, p) for p in pages):
        changed = {}
        complaints += check_code(root, page, code, changed)
        complaints += check_commands(page, path, changed)
        complaints += check_links(root, page, linked)
        if options.update and changed:
            page.replace(changed)
    if not options.pages:
        complaints += [f"{p.relative_to(root)}: no page links to it"
                       for p in pages if p not in linked]
    complaints += check_sample(root, pages)
    complaints += check_tables(root, path)
    print("\n".join(complaints) if complaints else f"{len(pages)} pages, all true")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
