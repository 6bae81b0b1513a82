# SPDX-License-Identifier: Apache-2.0
"""Every use of a command that tests/cli/no_memory_test.py knows, with address space for 16 to 400 MB.

Wherever memory runs out, in the program, in the C library or in another, it is one line and status 1, nothing is left
behind, and the command can be given again. For a build without sanitizers, which take terabytes: $SNAPTOOL.
    memory_limits.py [--seconds N]"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from harness import SNAPTOOL, run  # noqa: E402
from no_memory_test import READERS, UNFINISHED, WRITERS, Uses  # noqa: E402

MB = 1_000_000
LIMITS = [*range(16, 48), *range(48, 401, 32)]  # most commands take between 20 and 40


class Limited(Uses):
    def runTest(self):
        """Is driven by main."""

    def limited(self, arguments, megabytes):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (megabytes * MB, megabytes * MB))
        return subprocess.run([SNAPTOOL, *arguments], cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=60, preexec_fn=limit)

    def try_one(self, arguments, megabytes):
        """Whether it had enough; None where the program could not even be loaded."""
        done = self.limited(arguments, megabytes)
        if done.returncode == 127:
            return None
        if done.returncode in (0, 1) and not done.stderr.endswith(b"out of memory\n"):
            return True
        self.assertEqual((done.returncode, done.stderr.splitlines()[-1]), (1, b"snaptool: out of memory"),
                         (arguments, megabytes, done.stderr))
        return False

    def check_use(self, arguments, limits):
        self.fresh()
        run(*arguments, cwd=str(self.work))
        result = self.contents()
        self.fresh()
        before, counts = self.contents(), {True: 0, False: 0, None: 0}
        for megabytes in limits:
            enough = self.try_one(arguments, megabytes)
            counts[enough] += 1
            if enough is False and arguments in READERS.values():
                self.assertTrue(self.contents(UNFINISHED) in (before, before | {"new": result.get("new")}), (arguments, megabytes))
            elif enough is False:
                self.assertEqual(self.limited(arguments, 4000).returncode, 0, (arguments, megabytes))
            if enough is not None and arguments in WRITERS.values():
                self.assertTrue(self.contents(("undo",)) == {name: data for name, data in result.items() if name != "undo"},
                                (arguments, megabytes))
            if self.contents() != before:
                self.fresh()
        return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no other command after so long")
    options = parser.parse_args()
    start, total = time.monotonic(), {True: 0, False: 0, None: 0}
    test = Limited()
    test.setUp()
    try:
        for name, arguments in {**READERS, **WRITERS}.items():
            if time.monotonic() - start > options.seconds:
                print(f"not tried any more: {name} and what follows it")
                break
            for outcome, count in test.check_use(arguments, LIMITS).items():
                total[outcome] += count
    finally:
        test.doCleanups()
        test.tearDown()
    print(f"memory limits: {sum(total.values())} runs: {total[True]} had enough, {total[False]} said that they had not, "
          f"{total[None]} could not be loaded")


if __name__ == "__main__":
    main()
