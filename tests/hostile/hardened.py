# SPDX-License-Identifier: Apache-2.0
"""hardened.py PROGRAM...: that a build of snaptool has what Debian hardens its packages with. Reads it with readelf."""

import re
import subprocess
import sys

WANTED = {
    "position-independent": ("-h", r"Type:\s+DYN"),
    "relocations read-only": ("-l", r"GNU_RELRO"),
    "bound at the start": ("-d", r"\bBIND_NOW\b|Flags:.*\bNOW\b"),
    "stack not executable": ("-l", r"GNU_STACK\s+(?:0x[0-9a-f]+\s+){5}RW\s"),
    "stack protector": ("--dyn-syms", r"__stack_chk_fail"),
    "fortified calls": ("--dyn-syms", r"__\w+_chk\b"),
    "checks of the standard library": ("--dyn-syms", r"glibcxx_assert_fail"),
}


def lacks(program):
    """What of it the program does not have."""
    def seen(option):
        return subprocess.run(["readelf", "-W", option, program], capture_output=True, text=True, check=True).stdout
    return [what for what, (option, pattern) in WANTED.items() if not re.search(pattern, seen(option))]


def check(program):
    missing = lacks(program)
    for what in WANTED:
        print(f"{program}: {what}: {'NO' if what in missing else 'yes'}")
    return not missing


if __name__ == "__main__":
    sys.exit(0 if all([check(program) for program in sys.argv[1:]]) else 1)
