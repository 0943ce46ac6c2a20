#!/usr/bin/env python3
"""Each file is compiled as it is, which must go well, and with -DMISTAKE, which must not: then the
compiler must say what stands behind "// says:" in it, in one of its errors or notes."""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--includes", required=True, help="folders, by semicolons")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    compiler = [options.compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra"]
    for folder in filter(None, options.includes.split(";")):
        compiler += ["-I", folder]

    def compiled(file, *flags):
        environment = {**os.environ, "LC_ALL": "C"}
        return subprocess.run([*compiler, *flags, file], capture_output=True, text=True,
                              env=environment)

    def look_at(file):
        wanted = re.findall(r"^// says: (.*)$", file.read_text(), re.M)
        good = compiled(file, "-Werror")
        if good.returncode != 0:
            return f"{file.name} does not compile without its mistake:\n{good.stderr}"
        bad = compiled(file, "-DMISTAKE")
        if bad.returncode == 0:
            return f"{file.name} compiles, with its mistake"
        missing = [w for w in wanted if w not in bad.stderr]
        if missing or not wanted:
            return f"{file.name}: nobody says {missing}\n{bad.stderr}"
        return None

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        failures = [f for f in pool.map(look_at, options.files) if f]
    for failure in failures:
        print(failure)
    print(f"{len(options.files)} mistakes, {len(failures)} not caught as they should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
