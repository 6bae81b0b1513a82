# SPDX-License-Identifier: Apache-2.0
"""What the Python tests share: running snaptool, scratch folders and sums."""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

SNAPTOOL = os.environ.get("SNAPTOOL", "")
DATA = Path(__file__).resolve().parent.parent / "data"
KERNEL_STORES = DATA / "kernel"
# What random tests do is fixed by the seed. 100 is full effort, as in the deep suite.
SEED = int(os.environ.get("SNAPTOOL_SEED", "1"))
EFFORT = int(os.environ.get("SNAPTOOL_EFFORT", "5"))
# How many of its slowest tests a program lists at the end.
SLOWEST = int(os.environ.get("SNAPTOOL_SLOWEST", "0"))
REQUIRE_PEERS = os.environ.get("SNAPTOOL_REQUIRE_PEERS") == "1"


def run(*arguments, **options):
    """Runs snaptool and returns the finished process with text (or with binary=True, bytes) output."""
    binary = options.pop("binary", False)
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("timeout", 120)
    return subprocess.run([SNAPTOOL, *map(str, arguments)], capture_output=True, text=not binary,
                          check=False, **options)


def scaled(normal):
    """How many of `normal` cases to try: all at full effort, fewer in the default suite; at least 1."""
    return max(1, normal * EFFORT // 100)


# What a process under strace needs: LeakSanitizer, where snaptool is built with it, does not work under ptrace, and
# would end it with status 1.
TRACED = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")


def run_under_strace(options, *arguments):
    """Runs snaptool with these options of strace, which can count its calls and kill it at one of them.

    What it counts is per thread: with `-j 1` there is one.
    """
    return subprocess.run(["strace", "-f", "-qq", *options, SNAPTOOL, *map(str, arguments)], capture_output=True,
                          text=True, check=False, stdin=subprocess.DEVNULL, env=TRACED)


def interrupted(number, *arguments, writes=3):
    """Runs snaptool and sends it a signal in the middle, once it has begun so many writes; returns it when it has ended.

    From there on each write takes 20 ms, so that it is not done before the signal comes.
    """
    with tempfile.TemporaryDirectory(prefix="snaptool-test-") as folder:
        trace = Path(folder) / "trace"
        process = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", trace, "-e", "trace=pwrite64", "-e",
             f"inject=pwrite64:delay_enter=20000:when={writes}+", SNAPTOOL, *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=TRACED)
        end = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < end:
            if trace.exists() and trace.read_bytes().count(b"pwrite64(") > writes:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                os.kill(int(children[0]), number)
                break
            time.sleep(0.01)
        try:
            out, error = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, out, error)


def sha256_of_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(source, target):
    """Decompresses a .zst of the test data; holes stay holes."""
    subprocess.run(["zstd", "-q", "-d", "-f", "--sparse", "--long=27", str(source), "-o", str(target)],
                   check=True, stdin=subprocess.DEVNULL)


def need(test, *programs):
    """Skips the test with a printed reason when a program is missing; fails where nothing may be skipped."""
    from shutil import which
    missing = [program for program in programs if which(program) is None]
    if not missing:
        return
    reason = "not installed: " + ", ".join(missing)
    if REQUIRE_PEERS:
        test.fail(reason)
    print(f"SKIPPED: {test.id()}: {reason}")
    test.skipTest(reason)


class ScratchTest(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="snaptool-test-")
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)

    def unpack_store(self, name):
        """Unpacks one of the kernel's stores; returns (origin as it was at the end, COW)."""
        folder = KERNEL_STORES / name
        origin, cow = self.scratch / "origin.img", self.scratch / "cow.img"
        after = folder / "origin.after.img.zst"
        unpack(after if after.exists() else folder / "origin.img.zst", origin)
        unpack(folder / "cow.img.zst", cow)
        return origin, cow


class _TimedResult(unittest.TextTestResult):
    """Keeps how long each test took, its setUp and clean-up included."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seconds = []

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def stopTest(self, test):
        self.seconds.append((time.monotonic() - self.started, test.id().removeprefix("__main__.")))
        super().stopTest(test)


def main(name):
    """Runs the tests of the calling module (or those that the command line names) and says how long the longest took."""
    if not SNAPTOOL:
        sys.exit("set SNAPTOOL to the program to be tested")
    start = time.monotonic()
    runner = unittest.TextTestRunner(resultclass=_TimedResult, verbosity=1)
    result = unittest.main(exit=False, testRunner=runner).result
    print(f"{name}: {time.monotonic() - start:.1f} s")
    for seconds, test in sorted(result.seconds, reverse=True)[:SLOWEST]:
        print(f"{seconds:8.2f} s {test}")
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)
