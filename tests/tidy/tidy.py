#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules of the house that a program can check; each complaint says what to do instead.

    tidy.py --root DIR [--library ROOM FILE]...

Rooms and their arrows are those of docs/internals: a room may include itself and what it may use.
"""
import argparse
import pathlib
import re
import subprocess
import sys

COLUMNS_MAX = 100
CONTRACT_FROM_LINES = 7  # a class whose doc is shorter explains itself

# Where a room lives, and the rooms that it may include. Arrows only go down.
ROOMS = {
    "log": ("log", set()),
    "kafka": ("log/kafka", set()),
    "broker": ("log/broker", {"log", "kafka"}),
    "client": ("log/client", {"kafka"}),
    # The program sees all rooms; no room sees the program.
    "cli": (
        "log/cli",
        {"log", "kafka", "broker", "client", "projections", "framework"},
    ),
    "framework": ("framework", {"log"}),
    "projections": ("projections", {"log", "framework"}),
    "service": (
        "framework/service",
        {"log", "kafka", "broker", "client", "projections", "framework"},
    ),
}

# What a room may not include from outside: (pattern of the include, reason).
FOREIGN = {
    "log": [(r"boost/asio", "cairn::log has no event loop and no sockets")],
    "kafka": [
        (r"boost/asio", "cairn::kafka turns bytes into structs; sockets are the broker's"),
        (r"lmdb\.h", "cairn::kafka stores nothing"),
    ],
    "projections": [(r"boost/asio", "projections block; coroutines are the broker's")],
}

# (pattern, complaint): leftovers that should not be handed in. Matched outside of strings.
LEFTOVERS = [
    (r"\bTODO\b(?!\((?:perf|format|test|docs|someday)\):)",
     "a TODO says its kind: TODO(perf): … (perf, format, test, docs or someday)"),
    (r"\b(?:FIXME|XXX|HACK)\b", "mend it, or say when and why: TODO(kind): …"),
    (r"^\s*#\s*if\s+[01]\s*$", "code that is switched off is deleted; git remembers it"),
    (r"#\s*pragma\s+message", "leftover debug output"),
    (r"\b__builtin_debugtrap\b|\braise\(SIGTRAP\)", "leftover breakpoint"),
    (r"\b(?:DEBUG|DBG)\s*[:(<]", "leftover debug output"),
    (r"<<<<<<<|>>>>>>> ", "leftover of a merge"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
CLASS = re.compile(r"^(class|struct)\s+(\w+)(?:\s+final)?(?:\s*:[^;]*)?\s*\{?\s*$")
CONTRACT = ("Invariants", "Threads", "Lifetime", "Errors")


def room_of(path):
    """The room of a file, by the longest folder that holds it; None outside all rooms."""
    homes = [(len(home), room) for room, (home, _) in ROOMS.items()
             if path.as_posix().startswith(home + "/")]
    return max(homes)[1] if homes else None


def check_lines(path, lines):
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            yield number, f"{len(line)} columns; {COLUMNS_MAX} is the limit"
        if "\t" in line:
            yield number, "a tab; indent with four spaces"
        if line != line.rstrip():
            yield number, "spaces at the end of the line"
        code = STRING.sub('""', line)
        for pattern, complaint in LEFTOVERS:
            if re.search(pattern, code):
                yield number, complaint


def check_includes(path, lines):
    room = room_of(path)
    if room is None:
        return
    _, below = ROOMS[room]
    public = "/include/" in path.as_posix()
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        bracket, target = match.groups()
        theirs = re.match(r"cairn/(\w+)/", target)
        if theirs and theirs[1] in ROOMS and theirs[1] != room and theirs[1] not in below:
            yield number, f"{room} may not include {theirs[1]}: arrows only go down"
        if theirs and bracket == '"':
            yield number, f"a public header is included as <{target}>"
        if public and bracket == '"':
            yield number, f'"{target}" is not installed; a public header includes public headers'
        for pattern, reason in FOREIGN.get(room, []):
            if re.match(pattern, target):
                yield number, f"{room} may not include {target}: {reason}"


def check_header(path, lines):
    if "#pragma once" not in lines:
        yield 1, "a header begins with #pragma once"
    if "/include/" not in path.as_posix():
        return
    for number, name, doc in documented_classes(lines):
        missing = [word for word in CONTRACT if not any(word in line for line in doc)]
        if missing:
            yield number, f"the contract of {name} does not say: {', '.join(missing)}"


def documented_classes(lines):
    """Each class at namespace level that promises something: it has member functions (a private
    part says so) and a long doc. Plain structs of values need no contract."""
    for index, line in enumerate(lines):
        match = CLASS.match(line)
        if not match or not has_private_part(lines, index):
            continue
        doc = []
        above = index - 1
        while above >= 0 and lines[above].startswith(("///", "template")):
            doc.append(lines[above])
            above -= 1
        if sum(text.startswith("///") for text in doc) >= CONTRACT_FROM_LINES:
            yield index + 1, match[2], doc


def has_private_part(lines, index):
    for line in lines[index + 1:]:
        if line.startswith("}"):
            return False
        if re.match(r"^(private|protected):", line):
            return True
    return False


def check_listed(root, path):
    """A source or public header is named, as seen from its folder, by a CMakeLists.txt above."""
    if path.suffix == ".hpp" and "/include/" not in path.as_posix():
        return
    for folder in path.parents:
        lists = root / folder / "CMakeLists.txt"
        name = re.escape(path.relative_to(folder).as_posix())
        if lists.is_file() and re.search(rf"(?:^|[\s(/]){name}(?:$|[\s)\"])", lists.read_text()):
            return
    if path.as_posix() not in (root / "cmake/CairnTest.cmake").read_text():
        yield 1, "no CMakeLists.txt lists it: list it, or delete it"


def check_library(room, library):
    """The built library of a room that has no event loop holds no symbol of one."""
    if not any(pattern == "boost/asio" for pattern, _ in FOREIGN.get(room, [])):
        return
    symbols = subprocess.run(["nm", "--demangle", library], check=True, text=True,
                             capture_output=True).stdout
    for line in symbols.splitlines():
        if "boost::asio" in line:
            yield f"{library}: {line.split(maxsplit=1)[-1]}: cairn::{room} links no Asio"
            return


def check_file(root, path):
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    yield from check_lines(path, lines)
    yield from check_includes(path, lines)
    yield from check_listed(root, path)
    if path.suffix == ".hpp":
        yield from check_header(path, lines)


def sources(root):
    for folder in ("log", "projections", "framework", "samples", "tests"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".hpp", ".cpp") and path.is_file():
                yield path.relative_to(root)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--root", type=pathlib.Path, required=True)
    options.add_argument("--library", nargs=2, action="append", default=[])
    options = options.parse_args()

    complaints = []
    for path in sources(options.root):
        complaints += [f"{path}:{line}: {what}" for line, what in check_file(options.root, path)]
    for room, library in options.library:
        complaints += check_library(room, library)
    print("\n".join(complaints) if complaints else "tidy")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
