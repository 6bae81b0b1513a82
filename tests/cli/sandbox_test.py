# SPDX-License-Identifier: Apache-2.0
"""An image that takes over the program gets nothing but the files that the command line names."""

import ctypes
import errno
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from contract_test import ContractTest, commands  # noqa: E402
from harness import main, run, skip  # noqa: E402

CREATE_RULESET = 444  # Linux's number for landlock_create_ruleset
# What each of its tries must get (curious.cc).
REFUSED = {"read": errno.EACCES, "write": errno.EACCES, "make": errno.EACCES, "remove": errno.EACCES, "rename": errno.EACCES,
           "list": errno.EACCES, "socket": errno.EPERM, "execute": errno.EPERM}


def landlock_version():
    return ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, 0, 0, 1)


class Sandbox(ContractTest):
    def setUp(self):
        super().setUp()
        if landlock_version() < 1:
            skip(self, "this kernel has no Landlock")
        self.home = self.scratch.parent / (self.scratch.name + "-home")
        self.home.mkdir()
        self.addCleanup(lambda: [path.unlink() for path in self.home.iterdir()] and None or self.home.rmdir())
        self.secret, self.made = self.home / "secret", self.home / "made"
        self.secret.write_text("key\n")
        self.environment = dict(os.environ, LD_PRELOAD=os.environ["SNAPTOOL_CURIOUS"], CURIOUS_SECRET=str(self.secret),
                                CURIOUS_NEW=str(self.made))
        self.environment["ASAN_OPTIONS"] = self.environment.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.refused = dict(REFUSED, truncate=errno.EACCES if landlock_version() >= 3 else 0)

    def tries(self, *arguments, **options):
        """What the image got when it took over such a run."""
        done = run(*arguments, env=self.environment, binary=True, **options)
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        lines = [line.split() for line in done.stderr.decode().splitlines() if line.startswith("curious ")]
        self.assertEqual(len(lines), 1, (arguments, done.stderr))
        return {word.split(":")[0]: int(word.split(":")[1]) for word in lines[0][1:]}

    def test_every_command(self):
        for command in commands():
            with self.subTest(command=command):
                self.assertEqual(self.tries(command, *self.operands(command)), self.refused)
                self.assertEqual(self.secret.read_text(), "key\n")
                self.assertFalse(self.made.exists())

    def test_every_command_says_so(self):
        for command in commands():
            said = run(command, "-v", *self.operands(command), binary=True)
            self.assertIn(b"sandbox: no other file can be opened (Landlock); no program, no network (seccomp)", said.stderr)
            said = run(command, "-v", "--no-sandbox", *self.operands(command), binary=True)
            self.assertEqual(said.returncode, 0, said.stderr)
            self.assertIn(b"no sandbox", said.stderr)

    def test_what_is_only_read_is_not_written_to(self):
        """Nor is an input a file that the image could open once more to change it."""
        self.environment["CURIOUS_SECRET"] = str(self.origin)
        self.environment["CURIOUS_NEW"] = str(self.scratch / "beside")
        allowed = dict(self.refused, read=0)
        before = self.origin.read_bytes()
        for command in ("info", "map", "verify", "status", "hash", "diff"):
            operands = [self.origin, self.cow] if command in ("verify", "status") else self.operands(command)
            self.assertEqual(self.tries(command, *operands), allowed, command)
        self.assertEqual(self.origin.read_bytes(), before)
        self.assertFalse((self.scratch / "beside").exists())

    def test_what_does_not_open_folders(self):
        """A device, standard output or a size is no file that others lie beside."""
        self.assertEqual(self.tries("hash", "-o", "-", self.origin, cwd=str(self.home)), self.refused)
        self.environment["CURIOUS_SECRET"] = "/dev/zero"
        got = self.tries("hash", "-o", "/dev/null", self.origin)
        self.assertEqual((got["read"], got["write"], got["make"]), (errno.EACCES,) * 3)

    def test_files_that_lie_apart(self):
        """A discard that goes on to the origin needs both."""
        (self.scratch / "far").mkdir()
        cow = self.cow.rename(self.scratch / "far/cow")
        done = run("discard", "--discard-zeroes-cow", "--discard-passdown-origin", "--offset", "64k", "--length", "64k", self.origin, cow)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_folders(self):
        """Where output goes, files can be made; where parents may lie, files can be read."""
        self.environment["CURIOUS_SECRET"] = str(self.scratch / "secret")
        Path(self.environment["CURIOUS_SECRET"]).write_text("key\n")
        self.environment["CURIOUS_NEW"] = str(self.home / "new")
        got = self.tries("hash", "--follow-parents", self.origin)
        self.assertEqual(got, dict(self.refused, read=0))
        self.assertEqual(self.tries("hash", self.origin), self.refused)
        self.assertEqual(self.tries("hash", "-o", self.home / "sums", self.origin)["make"], 0)
        self.environment["CURIOUS_SECRET"] = str(self.secret)
        self.assertEqual(self.tries("hash", "--follow-parents=anywhere", self.origin)["read"], 0)


if __name__ == "__main__":
    main(__name__)
