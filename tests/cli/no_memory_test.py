# SPDX-License-Identifier: Apache-2.0
"""Memory runs out at each moment of each command: one line, status 1, nothing left behind, and the command can be given again.

An allocation that fails is one of operator new's, or that one and all that follow. Those of C never fail here."""

import os
import random
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SEED, ZYGOTE, ScratchTest, main, run, scaled, skip  # noqa: E402

MIB = 1 << 20

# What reads, and says it on standard output or in a file of its own, with the statuses that are right.
READERS = {
    "info": ["info", "o@cow"],
    "info of partitions": ["info", "disk"],
    "info of qcow2": ["info", "q.qcow2"],
    "status": ["status", "o", "cow"],
    "verify": ["verify", "--data", "o", "cow"],
    "map": ["map", "o@cow"],
    "map of qcow2": ["map", "--output=json", "q.qcow2"],
    "read": ["read", "o@cow"],
    "dump": ["dump", "cow"],
    "diff": ["diff", "o", "o@cow"],
    "diff report": ["diff", "--report", "new.html", "o", "o@cow"],
    "hash": ["hash", "--block-size", "64k", "o@cow"],
    "verify against": ["verify", "--against", "manifest", "o@cow"],
    "export": ["export", "o@cow", "--base", "o", "-o", "new"],
    "convert": ["convert", "-O", "qcow2", "-c", "o@cow", "new"],
    "convert to a store": ["convert", "-O", "dm-snapshot", "--base", "o", "o@cow", "new"],
    "convert from qcow2": ["convert", "q.qcow2", "new"],
    "apply to a copy": ["apply", "d1", "o", "-o", "new"],
    "diff-verify": ["diff-verify", "d1", "o"],
    "compose": ["compose", "--unlinked", "d1", "d2", "-o", "new"],
    "invert": ["invert", "--base", "o", "d1", "-o", "new"],
    "restore": ["restore", "dump.xml", "new"],
    "create": ["create", "o", "new"],
    "repair": ["repair", "-o", "new", "o", "cow"],
}
UNFINISHED = ("new.partial",)  # of a raw image: the same command goes on with it
# What changes files where they are.
WRITERS = {
    "merge": ["merge", "o", "cow"],
    "merge with undo": ["merge", "--undo", "undo", "o", "cow"],
    "apply": ["apply", "--journal", "journal", "d1", "o"],
    "write": ["write", "-P", "7", "--offset", "4k", "--length", "1M", "o", "cow"],
    "write-origin": ["write-origin", "-P", "7", "--offset", "4k", "--length", "1M", "--snapshot", "cow", "o"],
    "batch": ["batch", "--snapshot", "a=cow", "o", "script"],
    "resize": ["resize", "cow", "9M"],
}


class Uses(ScratchTest):
    """The files that the uses are about, and what there is after one."""

    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.whole = self.scratch / "whole"
        self.work = self.scratch / "work"
        self.whole.mkdir()
        self.make_files()

    def make_files(self):
        origin, cow = self.unpack_store("p-mix-c8")
        origin.rename(self.whole / "o")
        cow.rename(self.whole / "cow")
        self.good("export", "o@cow", "--base", "o", "-o", "d1")
        self.good("export", "o", "--base", "o@cow", "-o", "d2")
        self.good("dump", "cow", "-o", "dump.xml")
        self.good("convert", "-O", "qcow2", "o@cow", "q.qcow2")
        (self.whole / "manifest").write_text(self.good("hash", "--block-size", "64k", "o@cow").stdout)
        (self.whole / "script").write_text("write -P 3 a 0 64k\nwrite-origin -P 4 1M 64k\n")
        (self.whole / "disk").write_bytes(bytes(MIB))
        with open(self.whole / "disk", "r+b") as disk:
            disk.seek(446)
            disk.write(bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + (64).to_bytes(4, "little") + (512).to_bytes(4, "little"))
            disk.seek(510)
            disk.write(b"\x55\xaa")

    def good(self, *arguments):
        done = run(*arguments, cwd=self.whole)
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        return done

    def fresh(self):
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.whole, self.work)

    def contents(self, but=()):
        return {path.name: path.read_bytes() for path in self.work.iterdir() if path.name not in but}


class NoMemory(Uses):
    def setUp(self):
        super().setUp()
        if not ZYGOTE:
            skip(self, "there is no zygote, whose allocations fail when told to")

    def failing(self, arguments, which):
        """The command with this allocation failing; the process, and whether it noticed."""
        done = run(*arguments, cwd=self.work, fail_allocation=which, timeout=60, binary=True)
        if done.stderr.endswith(b"out of memory\n"):
            self.assertEqual(done.returncode, 1, (arguments, which, done.stderr))
            self.assertEqual(done.stderr.splitlines()[-1], b"snaptool: out of memory")
            return True
        self.assertIn(done.returncode, (0, 1), (arguments, which, done.stderr))
        return False

    def moments(self, arguments):
        """Numbers of allocations at which to try the command: some of all that it makes."""
        self.assertTrue(self.failing(arguments, "1"), arguments)
        most = 4
        while self.failing(arguments, str(most)):
            self.fresh()
            most *= 4
        self.fresh()
        numbers = [self.random.randint(1, most) for _ in range(scaled(40))]
        return [f"{number}{self.random.choice(['', '+'])}" for number in numbers]

    def check(self, arguments):
        self.fresh()
        done = run(*arguments, cwd=self.work)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        result = self.contents()
        self.fresh()
        before = self.contents()
        for which in self.moments(arguments):
            noticed = self.failing(arguments, which)
            if noticed and arguments in READERS.values():
                # An output has its name once it is whole; what is told of it comes after that.
                left = self.contents(UNFINISHED)
                self.assertIn(left, (before, before | {"new": result.get("new")}), (arguments, which))
            elif noticed:
                again = run(*arguments, cwd=self.work)
                self.assertEqual(again.returncode, 0, (arguments, which, again.stderr))
            if arguments in WRITERS.values():
                self.assertEqual(self.contents(("undo",)), {name: data for name, data in result.items() if name != "undo"},
                                 (arguments, which))
            if self.contents() != before:
                self.fresh()


def add(name, arguments):
    def test(self):
        self.check(arguments)
    setattr(NoMemory, "test_" + name.replace(" ", "_"), test)


for name, arguments in (READERS | WRITERS).items():
    add(name, arguments)


if __name__ == "__main__":
    main(__name__)
