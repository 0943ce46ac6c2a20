#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tidy.py says what it should, and nothing about tidy code."""
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tidy  # noqa: E402

HEADER = "log/include/cairn/log/thing.hpp"
DOC = "/// A thing.\n///\n" + "/// It does this.\n" * 5
CLASS = "class thing\n{\npublic:\n    int f();\n\nprivate:\n    int n_;\n};\n"


class Tidy(unittest.TestCase):
    def complaints(self, path, text, listed=True):
        """What tidy says of a tree with nothing but this file."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            files = {
                path: text,
                "CMakeLists.txt": f"target_sources(it PRIVATE {path if listed else ''})\n",
                "cmake/CairnTest.cmake": "",
            }
            for name, content in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(content, encoding="utf-8")
            found = tidy.check_file(root, pathlib.Path(path))
            return " ".join(what for _, what in found)

    def test_tidy_code_gets_no_complaint(self):
        self.assertEqual(self.complaints("log/src/a.cpp", '#include "b.hpp"\nint a;\n'), "")
        self.assertEqual(
            self.complaints("log/broker/src/a.cpp", "#include <boost/asio.hpp>\n"), "")

    def test_long_lines(self):
        self.assertIn("101 columns", self.complaints("log/src/a.cpp", "/" * 101 + "\n"))

    def test_arrows_only_go_down(self):
        include = "#include <cairn/{}/x.hpp>\n"
        self.assertIn("arrows", self.complaints("log/src/a.cpp", include.format("kafka")))
        self.assertIn("arrows", self.complaints("log/kafka/src/a.cpp", include.format("log")))
        self.assertEqual(self.complaints("log/broker/src/a.cpp", include.format("log")), "")

    def test_the_log_includes_no_asio(self):
        for path in ("log/src/a.cpp", "log/kafka/src/a.cpp"):
            self.assertIn("may not include",
                          self.complaints(path, "#include <boost/asio/post.hpp>\n"))

    def test_a_todo_says_its_kind(self):
        # Put together here, so that this file has none.
        word = "TO" + "DO"
        self.assertIn("kind", self.complaints("log/src/a.cpp", f"// {word}: faster\n"))
        self.assertEqual(self.complaints("log/src/a.cpp", f"// {word}(perf): faster\n"), "")

    def test_a_public_header_includes_what_is_installed(self):
        self.assertIn("not installed",
                      self.complaints(HEADER, '#pragma once\n#include "inner.hpp"\n'))

    def test_a_file_is_listed(self):
        self.assertIn("list it", self.complaints("log/src/a.cpp", "", listed=False))
        self.assertEqual(self.complaints("log/src/a.hpp", "#pragma once\n", listed=False), "")

    def test_a_class_with_a_doc_has_a_contract(self):
        self.assertIn("Invariants, Threads, Lifetime, Errors",
                      self.complaints(HEADER, "#pragma once\n" + DOC + CLASS))
        contract = "/// Invariants none\n/// Threads any\n/// Lifetime any\n/// Errors none\n"
        self.assertEqual(self.complaints(HEADER, "#pragma once\n" + DOC + contract + CLASS), "")
        self.assertEqual(self.complaints(HEADER, "#pragma once\n/// A thing.\n" + CLASS), "")


if __name__ == "__main__":
    unittest.main()
