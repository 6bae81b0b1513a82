# SPDX-License-Identifier: Apache-2.0
"""What the disk holds: reads past the page cache, and commands that are killed at each flush and run again."""

import hashlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
from crafted import write_store  # noqa: E402
from harness import SEED, SNAPTOOL, ScratchTest, main, need, run, run_under_strace, skip  # noqa: E402

CHUNK = 4096
MIB = 1 << 20


def read_from_disk(command):
    """How many bytes a run of the program took from the disk."""
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, command
    return usage.ru_inblock * 512


class Medium(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(SEED)
        self.origin, self.cow = self.scratch / "origin", self.scratch / "cow"

    def durable(self, path, data):
        """A file that is on the disk, and in the page cache."""
        path.write_bytes(data)
        with open(path, "rb") as file:
            os.fsync(file.fileno())

    def need_counted_reads(self):
        run("--version")  # its own pages would count
        probe = self.scratch / "probe"
        self.durable(probe, bytes(MIB))
        with open(probe, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
            file.read()
        if (resource.getrusage(resource.RUSAGE_SELF).ru_inblock - before) * 512 < MIB:
            skip(self, "this file system does not count what is read from the disk")

    def make_pair(self, chunks, exceptions, room=0):
        """A pair whose exceptions lie all over the origin."""
        self.durable(self.origin, self.rng.randbytes(chunks * CHUNK))
        old = self.rng.sample(range(chunks), exceptions)
        write_store(self.cow, CHUNK // 512, old, lambda _: self.rng.randbytes(CHUNK))
        with open(self.cow, "ab") as cow:
            cow.write(bytes(room))
            os.fsync(cow.fileno())


class Direct(Medium):
    def test_hash(self):
        self.need_counted_reads()
        self.make_pair(2048, 300)
        for image in (f"file:{self.origin}", f"{self.origin}@{self.cow}"):
            sums = [run("hash", *options, image) for options in ([], ["--direct"])]
            self.assertEqual([done.returncode for done in sums], [0, 0])
            self.assertEqual(sums[0].stdout, sums[1].stdout)
        self.assertLess(read_from_disk([SNAPTOOL, "hash", self.origin]), MIB, "it is in the page cache")
        self.assertGreaterEqual(read_from_disk([SNAPTOOL, "hash", "--direct", self.origin]), 2048 * CHUNK)
        self.assertGreaterEqual(read_from_disk([SNAPTOOL, "hash", "--direct", f"{self.origin}@{self.cow}"]), 2048 * CHUNK)

    def test_verify_reads_the_data(self):
        self.need_counted_reads()
        self.make_pair(2048, 300)
        self.assertLess(read_from_disk([SNAPTOOL, "verify", self.cow]), 300 * CHUNK)
        self.assertGreaterEqual(read_from_disk([SNAPTOOL, "verify", "--data", self.cow]), 300 * CHUNK)

    def test_merge_compares_with_the_medium(self):
        self.need_counted_reads()
        read = {}
        for options in ([], ["--verify"]):
            self.make_pair(4096, 1000)
            read[len(options)] = read_from_disk([SNAPTOOL, "merge", "-q", *options, self.origin, self.cow])
        # Both sides of each chunk; the odd one is read ahead without --verify, too.
        self.assertGreaterEqual(read[1] - read[0], 2 * 950 * CHUNK)

    def test_where_there_is_only_a_cache(self):
        if not Path("/dev/shm").is_mount():
            skip(self, "there is no tmpfs")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            image = Path(folder) / "image"
            image.write_bytes(self.rng.randbytes(MIB))
            done = run("hash", "-v", "--direct", image)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("can only be read through the page cache", done.stderr)
            self.assertIn(hashlib.sha256(image.read_bytes()).hexdigest(), done.stdout)


class Full(Medium):
    """On a file system that has no more room."""

    def setUp(self):
        super().setUp()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "none", self.scratch], capture_output=True, check=False)
        if done.returncode != 0:
            skip(self, f"cannot mount: {done.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", self.scratch], check=True)

    def fill(self):
        left = os.statvfs(self.scratch)
        with open(self.scratch / "filler", "wb") as file:
            file.write(bytes(left.f_bavail * left.f_frsize))
        self.assertEqual(os.statvfs(self.scratch).f_bavail, 0)

    def test_undo_ends(self):
        self.make_pair(300, 100)
        undo, before = self.scratch / "undo", self.origin.read_bytes()
        self.assertEqual(run("merge", "-q", "--undo", undo, self.origin, self.cow).returncode, 0)
        self.fill()
        done = run("undo", "-q", undo, self.origin, self.cow)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.origin.read_bytes(), before)

    def test_merge_ends(self):
        """Killed when only the undo file's last mark is missing."""
        need(self, "strace")
        self.make_pair(300, 100)
        kept = self.scratch / "kept"
        kept.mkdir()
        for path in (self.origin, self.cow):
            shutil.copyfile(path, kept / path.name)
        undo, trace = self.scratch / "undo", self.scratch / "trace"
        command = ["merge", "-q", "-j", "1", "--undo", undo, self.origin, self.cow]
        run_under_strace(["-P", undo, "-e", "trace=pwrite64", "-o", trace], *command)
        writes = len(trace.read_text().splitlines())
        for path in (self.origin, self.cow):
            shutil.copyfile(kept / path.name, path)
        undo.unlink()
        run_under_strace(["-P", undo, "-e", "trace=pwrite64", "-e", f"inject=pwrite64:signal=KILL:when={writes}",
                          "-o", trace], *command)
        self.fill()
        done = run(*command)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_the_undo_file_and_the_holes_take_is_one_sum(self):
        self.make_pair(1000, 900)
        os.truncate(self.origin, 0)
        os.truncate(self.origin, 1000 * CHUNK)
        before = self.cow.read_bytes()
        undo = self.scratch / "undo"
        done = run("merge", "-q", "--undo", undo, self.origin, self.cow)
        self.assertEqual(done.returncode, 73, done.stderr)
        self.assertIn("nothing was written", done.stderr)
        self.assertEqual((self.cow.read_bytes(), self.origin.stat().st_blocks), (before, 0))


class Killed(Medium):
    def kill_at_each_flush(self, files, command, check, done_already=None):
        """Runs it on copies of `files`, killed at flush 1, 2, ..., and then again, which must finish.

        `done_already` is what may be said after the last flush instead.
        """
        need(self, "strace")
        kept = self.scratch / "kept"
        kept.mkdir()
        for name in files:
            shutil.copyfile(self.scratch / name, kept / name)
        when = 0
        while True:
            when += 1
            for path in self.scratch.iterdir():
                if path.is_file():
                    path.unlink()
            for name in files:
                shutil.copyfile(kept / name, self.scratch / name)
            trace = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e",
                     f"inject=fdatasync,fsync:signal=KILL:when={when}"]
            first = run_under_strace(trace, *command)
            again = run(*command)
            check()
            if first.returncode == 0:
                break
            if not (done_already and done_already in again.stderr):
                self.assertEqual(again.returncode, 0, (when, again.stderr))
        self.assertGreater(when, 1, "nothing was flushed")
        return when - 1

    def good(self, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_create(self):
        self.durable(self.origin, self.rng.randbytes(64 * CHUNK))
        self.durable(self.cow, bytes(3 * MIB))
        self.kill_at_each_flush(["origin", "cow"], ["create", self.origin, self.cow],
                                lambda: self.good("verify", self.origin, self.cow),
                                done_already="is a dm-snapshot store already")

    def test_restore(self):
        self.make_pair(2048, 300)
        dump = self.scratch / "dump"
        dump.write_text(self.good("dump", self.cow))
        size = self.cow.stat().st_size
        self.durable(self.cow, bytes(size))

        def check():
            self.assertEqual(self.good("dump", self.cow), dump.read_text())

        self.kill_at_each_flush(["dump", "cow"], ["restore", dump, self.cow], check,
                                done_already="is a dm-snapshot store already")

    def test_resize(self):
        self.make_pair(64, 20)
        view = self.good("hash", f"{self.origin}@{self.cow}")
        self.kill_at_each_flush(["origin", "cow"], ["resize", "-q", self.cow, "2M"],
                                lambda: self.assertEqual(self.good("hash", f"{self.origin}@{self.cow}"), view))

    def test_merge_and_undo(self):
        self.make_pair(200, 90)
        undo, view = self.scratch / "undo", self.good("hash", f"{self.origin}@{self.cow}").split()[0]
        before = self.origin.read_bytes()

        def merged():
            self.assertEqual(self.good("hash", self.origin).split()[0], view)

        self.kill_at_each_flush(["origin", "cow"], ["merge", "-q", "--undo", undo, self.origin, self.cow], merged)
        shutil.rmtree(self.scratch / "kept")
        self.kill_at_each_flush(["origin", "cow", "undo"], ["undo", "-q", undo, self.origin, self.cow],
                                lambda: self.assertEqual(self.origin.read_bytes(), before))

    def test_write(self):
        self.make_pair(200, 20, room=MIB)
        data = self.scratch / "data"
        self.durable(data, self.rng.randbytes(50 * CHUNK))

        def check():
            self.assertEqual(self.good("read", "--length", "200k", f"{self.origin}@{self.cow}", "--force", "-o", self.scratch / "out"), "")
            self.assertEqual((self.scratch / "out").read_bytes(), data.read_bytes())

        self.kill_at_each_flush(["origin", "cow", "data"], ["write", "-q", "-i", data, self.origin, self.cow], check)

    def test_apply(self):
        image, target, diff = (self.scratch / name for name in ("image", "target", "diff"))
        self.durable(image, self.rng.randbytes(3 * MIB))
        data = bytearray(image.read_bytes() + self.rng.randbytes(MIB))
        for at in range(0, len(data), 300000):
            data[at:at + 5000] = self.rng.randbytes(5000)
        self.durable(target, data)
        self.good("export", "-q", "--base", image, target, "-o", diff)

        def check():
            self.assertEqual(image.read_bytes(), bytes(data))
            self.assertEqual(sorted(path.name for path in self.scratch.iterdir() if path.is_file()), ["diff", "image"])

        self.kill_at_each_flush(["image", "diff"], ["apply", "-q", diff, image], check)

    def test_convert(self):
        image, out = self.scratch / "image", self.scratch / "out"
        self.durable(image, self.rng.randbytes(3 * MIB))

        def check():
            self.assertEqual(out.read_bytes(), image.read_bytes())

        self.kill_at_each_flush(["image"], ["convert", "-q", "--force", "-O", "raw", image, out], check)


if __name__ == "__main__":
    main("what the medium holds")
