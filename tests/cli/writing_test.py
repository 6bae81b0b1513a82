# SPDX-License-Identifier: Apache-2.0
"""The commands that write: what they do, what they refuse, and what a stop in the middle leaves."""

import hashlib
import json
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SNAPTOOL, ScratchTest, main, run, run_under_strace, sha256_of_file  # noqa: E402

MIB = 1 << 20


class WritingTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(1)
        self.origin, self.cow = self.scratch / "o.img", self.scratch / "s.cow"
        self.content = self.rng.randbytes(MIB + 3 * 512)  # an odd tail for every chunk size but the smallest
        self.origin.write_bytes(self.content)

    def good(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def refused(self, status, *arguments, words=(), **options):
        before = {path: sha256_of_file(path) for path in self.scratch.iterdir() if path.is_file()}
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        after = {path: sha256_of_file(path) for path in self.scratch.iterdir() if path.is_file()}
        self.assertEqual(after, before, "a refusal changed a file")
        return done

    def create(self, cow=None, **options):
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        self.good("create", "-q", *words, self.origin, cow or self.cow)

    def view(self, *cows):
        name = "@".join(map(str, (self.origin, *(cows or [self.cow]))))
        return run("read", name, binary=True).stdout

    def write(self, data, offset=0, *options, **run_options):
        return run("write", "-q", "--offset", offset, *options, self.origin, self.cow, stdin=None, input=data,
                   binary=True, **run_options)


class Create(WritingTest):
    def test_a_new_file(self):
        for chunk in ("512", "4k", "64k", "1M"):
            cow = self.scratch / f"{chunk}.cow"
            done = self.good("create", "--chunk-size", chunk, self.origin, cow)
            self.assertIn("room for all", done.stdout)
            self.assertEqual(self.view(cow), self.content)
            self.assertEqual(run("verify", self.origin, cow).returncode, 0)
            measured = int(self.good("create", "--measure", "--chunk-size", chunk, self.origin).stdout)
            self.assertEqual(cow.stat().st_size, measured)
            # It is really enough for everything, and no byte more.
            self.good("write", "-P", "7", "--length", len(self.content), self.origin, cow)
            self.assertEqual(self.view(cow), b"\x07" * len(self.content))
            self.assertEqual(int(self.good("resize", "--minimum", cow).stdout), measured)

    def test_sizes(self):
        self.good("create", "--size", "10%ORIGIN", self.origin, self.cow)
        self.assertLessEqual(abs(self.cow.stat().st_size - len(self.content) // 10), 4096)
        for bad in ("0%ORIGIN", "x%ORIGIN", "1.3M", "99999999999999999999"):
            self.refused(64, "create", "--size", bad, self.origin, self.scratch / "x")
        self.refused(73, "create", "--size", "8k", self.origin, self.scratch / "x", words=["no store"])
        # A last chunk that would be a trap is left out: 256 data chunks fill an area that none follows.
        trap = self.scratch / "trap"
        self.good("create", "--size", 258 * 4096, self.origin, trap)
        self.assertEqual(trap.stat().st_size, 257 * 4096)
        self.good("write", "-P", "1", "--length", 255 * 4096, self.origin, trap)
        self.refused(73, "write", "-P", "1", "--length", 256 * 4096, self.origin, trap)

    def test_chunk_sizes(self):
        for bad in ("8", "100", "3k", "2G", "0"):
            self.refused(64, "create", "--chunk-size", bad, self.origin, self.cow)
        self.refused(64, "create", "--chunk-size", "8", self.origin, self.cow, words=["8s or 8k?"])

    def test_a_store_in_use_is_not_restored_over(self):
        """Its list lies after what is looked at, or begins as the dump's does."""
        self.origin.write_bytes(self.rng.randbytes(5 * MIB))
        for chunk, first, second in (("1M", None, "1M"), ("4k", "2M", "1M")):
            cow, dump = self.scratch / f"cow{chunk}", self.scratch / f"dump{chunk}"
            self.good("create", "--chunk-size", chunk, self.origin, cow)
            if first:
                self.good("write", "-P", "0", "--length", first, self.origin, cow)
            dump.write_text(self.good("dump", cow).stdout)
            self.good("write", "-P", "7", "--offset", "3M", "--length", second, self.origin, cow)
            before = cow.read_bytes()
            self.refused(64, "restore", dump, cow, words=["already", "--force"])
            self.assertEqual(cow.read_bytes(), before)

    def test_what_is_there_is_not_lost(self):
        self.create()
        self.refused(64, "create", self.origin, self.cow, words=["already", "--force"])
        junk = self.scratch / "junk"
        junk.write_bytes(self.rng.randbytes(2 * MIB))
        self.refused(64, "create", self.origin, junk, words=["content", "--force"])
        self.refused(64, "create", "--force", self.origin, self.origin, words=["same file"])
        self.good("create", "--force", self.origin, junk)
        self.assertEqual(junk.stat().st_size, 2 * MIB)
        self.assertEqual(self.view(junk), self.content)
        zeros = self.scratch / "zeros"
        zeros.write_bytes(bytes(2 * MIB))
        self.good("create", self.origin, zeros)
        empty = self.scratch / "empty"
        empty.touch()
        self.good("create", self.origin, empty)
        self.good("write", "-P", "1", "--length", len(self.content), self.origin, empty)

    def test_of_a_view(self):
        self.create()
        self.assertEqual(self.write(b"x" * 4096).returncode, 0)
        upper = self.scratch / "upper"
        self.good("create", f"{self.origin}@{self.cow}", upper)
        self.good("write", "-P", "1", "--offset", "512k", "--length", "512", f"{self.origin}@{self.cow}", upper)
        expected = bytearray(b"x" * 4096 + self.content[4096:])
        expected[512 << 10:(512 << 10) + 512] = b"\x01" * 512
        self.assertEqual(self.view(self.cow, upper), expected)


class Resize(WritingTest):
    def test_added_to_what_it_has(self):
        self.create()
        self.good("resize", self.cow, "3M")
        for more, size in (("+0x1000", (3 << 20) + 4096), ("+1.5M", (9 << 19) + 4096), ("+0", (9 << 19) + 4096)):
            self.good("resize", self.cow, more)
            self.assertEqual(self.cow.stat().st_size, size)
        with open(self.cow, "ab") as file:
            file.write(bytes(100))  # no whole chunk
        size = self.cow.stat().st_size
        for more in ("+0", "+1"):
            self.good("resize", self.cow, more)
            self.assertEqual(self.cow.stat().st_size, size)
        self.refused(64, "resize", self.cow, "+0x7fffffffffffffff", words=["cannot have"])
        self.refused(64, "resize", self.cow, "++1")

    def test_shorter_and_longer(self):
        self.create()
        self.write(self.rng.randbytes(100 * 4096))
        view = self.view()
        minimum = int(self.good("resize", "--minimum", self.cow).stdout)
        self.refused(64, "resize", self.cow, minimum - 1, words=["needs"])
        self.good("resize", self.cow, minimum)
        self.assertEqual(self.cow.stat().st_size, minimum)
        self.assertEqual(self.view(), view)
        self.assertEqual(self.write(b"y" * 4096, MIB // 2).returncode, 73)
        self.good("resize", self.cow, "3M")
        self.assertEqual(self.write(b"y" * 4096, MIB // 2).returncode, 0)
        self.assertEqual(run("verify", self.origin, self.cow).returncode, 0)

    def test_refusals(self):
        self.create()
        self.refused(64, "resize", self.cow)
        self.refused(64, "resize", self.cow, "x")
        self.refused(64, "resize", "--minimum", self.cow, "1M")
        self.refused(65, "resize", "--minimum", self.origin)


class Write(WritingTest):
    def test_ranges_of_every_alignment(self):
        self.create()
        expected = bytearray(self.content)
        for _ in range(40):
            length = 512 * self.rng.choice([1, 3, 8, 9, 64, 100])
            at = 512 * self.rng.randrange((len(self.content) - length) // 512 + 1)
            data = self.rng.randbytes(length)
            expected[at:at + length] = data
            done = self.write(data, at)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.write(b"z" * 512, len(self.content) - 512)
        expected[-512:] = b"z" * 512
        self.assertEqual(self.view(), expected)
        self.assertEqual(self.origin.read_bytes(), self.content)

    def test_chunks_larger_than_a_piece_of_io(self):
        self.create(chunk_size="4M")
        self.assertEqual(self.write(b"l" * 1024, 700 << 10).returncode, 0)
        self.assertEqual(self.write(b"m" * 512, 5120).returncode, 0)
        expected = bytearray(self.content)
        expected[700 << 10:(700 << 10) + 1024] = b"l" * 1024
        expected[5120:5632] = b"m" * 512
        self.assertEqual(self.view(), expected)

    def test_where_the_data_come_from(self):
        self.create()
        file = self.scratch / "data"
        file.write_bytes(self.rng.randbytes(8192))
        self.good("write", self.origin, self.cow, "-i", file, "--offset", "4k")
        self.assertEqual(self.view()[4096:12288], file.read_bytes())
        with open(file, "rb") as stream:
            stream.seek(4096)
            self.good("write", self.origin, self.cow, "--length", "512", stdin=stream)
        self.assertEqual(self.view()[:512], file.read_bytes()[4096:4608])
        result = json.loads(self.good("write", "--output=json", "-P", "0xff", "--length", "8k", self.origin,
                                      self.cow).stdout)
        self.assertEqual((result["bytes"], result["exceptions_added"]), (8192, 0))
        self.refused(64, "write", "-P", "256", "--length", "512", self.origin, self.cow)
        self.refused(64, "write", "-P", "1", self.origin, self.cow, words=["length"])
        self.refused(64, "write", "-P", "1", "-i", file, "--length", "512", self.origin, self.cow)
        self.refused(1, "write", "-i", self.scratch / "none", self.origin, self.cow, words=["No such file"])

    def test_bad_input(self):
        self.create()
        end = len(self.content)
        for words in (["--offset", end, "--length", "512"], ["--offset", end + 512, "--length", "0"],
                      ["--length", end + 512], ["--offset", "100", "--length", "512"], ["--length", "100"],
                      ["--length", "8E"], ["--offset", "8E", "--length", "0"], ["--length", "-1"]):
            self.refused(64, "write", "-P", "1", *words, self.origin, self.cow)
        # A file that is too short or too long is known to be so before anything is written; so is one that is odd.
        file = self.scratch / "data"
        file.write_bytes(bytes(1000))
        self.refused(64, "write", "-i", file, self.origin, self.cow, words=["whole sectors"])
        self.refused(64, "write", "-i", file, "--length", "1024", self.origin, self.cow, words=["1000 bytes"])
        file.write_bytes(bytes(end + 512))
        self.refused(64, "write", "-i", file, self.origin, self.cow, words=["end"])
        # A pipe is not.
        self.assertEqual(self.write(bytes(1024), 0, "--length", "2k").returncode, 1)
        self.assertEqual(self.write(bytes(1000)).returncode, 64)
        self.assertEqual(self.write(bytes(1024), end - 512).returncode, 64)
        self.assertEqual(run("verify", self.origin, self.cow).returncode, 0)

    def test_stores_that_are_not_written_to(self):
        self.create()
        self.write(self.rng.randbytes(20 * 4096))
        good = self.cow.read_bytes()

        def with_patch(at, data):
            bad = bytearray(good)
            bad[at:at + len(data)] = data
            self.cow.write_bytes(bad)

        write = ["write", "-P", "1", "--length", "512", self.origin, self.cow]
        with_patch(4, bytes(4))
        self.refused(65, *write, words=["invalid"])
        with_patch(0, bytes(4))
        self.refused(65, *write, words=["repair"])
        with_patch(4096 + 8, (1 << 40).to_bytes(8, "little"))
        self.refused(65, *write)
        # A sector in the middle of the area is gone: what is behind it may be all that is left.
        area = bytearray(4096)
        area[:] = good[4096:8192]
        for i in range(40):
            area[i * 16:i * 16 + 16] = (i).to_bytes(8, "little") + (2 + i).to_bytes(8, "little")
        area[:512] = bytes(512)
        with_patch(4096, area)
        self.refused(65, *write, words=["--force"])
        self.good("write", "--force", *write[1:])
        self.assertEqual(run("verify", self.origin, self.cow).returncode, 0)
        self.refused(64, "write", "-P", "1", "--length", "512", self.cow, self.origin, words=["swapped"])
        self.refused(64, "write", "-P", "1", "--length", "512", self.origin, self.origin)

    def test_the_origin_is_only_read(self):
        self.create()
        done = run_under_strace(["-e", "trace=openat"], "write", "-P", "7", "--length", "512", self.origin, self.cow)
        self.assertEqual(done.returncode, 0, done.stderr)
        opened = re.findall(rf'"{re.escape(str(self.origin))}", (\S+)', done.stderr)
        self.assertTrue(opened)
        for flags in opened:
            self.assertIn("O_RDONLY", flags)
        self.assertEqual(self.origin.read_bytes(), self.content)

    def test_data_from_what_is_written(self):
        self.create()
        before = self.cow.read_bytes()
        self.refused(64, "write", "-i", self.cow, "--length", "512", self.origin, self.cow, words=["itself"])
        self.refused(64, "write-origin", "-i", self.origin, "--length", "512", self.origin, words=["itself"])
        self.refused(64, "write-origin", "-i", self.cow, "--length", "512", "--snapshot", self.cow, self.origin,
                     words=["itself"])
        with open(self.cow, "rb") as stream:
            done = run("write", "--length", "512", self.origin, self.cow, stdin=stream)
        self.assertEqual(done.returncode, 64, done.stderr)
        self.assertEqual((self.cow.read_bytes(), self.origin.read_bytes()), (before, self.content))
        self.good("write", "-i", self.origin, "--offset", "4k", "--length", "512", self.origin, self.cow)

    def test_what_does_not_fit(self):
        self.create(size="200k")
        done = self.refused(73, "write", "-P", "1", "--length", "1M", self.origin, self.cow,
                            words=["nothing was written", "would do"])
        size = int(re.search(r"a COW of (\d+) bytes", done.stderr).group(1))
        self.good("resize", self.cow, size - 4096)
        self.refused(73, "write", "-P", "1", "--length", "1M", self.origin, self.cow)
        self.good("resize", self.cow, size)
        self.good("write", "-P", "1", "--length", "1M", self.origin, self.cow)

    def test_a_pipe_that_does_not_fit(self):
        self.create(size="200k")
        done = self.write(b"q" * MIB)
        self.assertEqual(done.returncode, 73)
        status = self.good("status", self.origin, self.cow).stdout
        self.assertNotIn("Invalid", status)
        chunk = int(re.search(rb"chunk (\d+)", done.stderr).group(1))
        self.assertEqual(self.view(), b"q" * (chunk * 4096) + self.content[chunk * 4096:])

    def test_kinds_of_store(self):
        for kind, after in (("P", "Invalid"), ("PO", "/")):
            cow = self.scratch / kind
            self.create(cow, size="200k")
            done = run("write", "--store", kind, "-P", "1", "--length", "1M", self.origin, cow)
            self.assertEqual(done.returncode, 73)
            self.assertIn(after, self.good("status", self.origin, cow).stdout)

    def test_skip_equal(self):
        self.create(size="100k")
        changed = bytearray(self.content)
        changed[300 << 10:(300 << 10) + 512] = b"c" * 512
        changed[-1] ^= 1
        file = self.scratch / "data"
        file.write_bytes(changed)
        self.refused(73, "write", "-i", file, self.origin, self.cow)
        result = json.loads(self.good("write", "--skip-equal", "--output=json", "-i", file, self.origin,
                                      self.cow).stdout)
        self.assertEqual(result["exceptions_added"], 2)
        self.assertEqual(self.view(), changed)
        # From a pipe, too, whether or not its length is said.
        for options in ([], ["--length", len(changed)]):
            done = self.write(bytes(changed), 0, "--skip-equal", *options)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(self.good("status", "--output=json", self.origin, self.cow).stdout.count('"exceptions": 2'), 1)

    def test_zeros_leave_holes(self):
        """A new store is a hole up to what is written to it, and zeros need nothing of the medium."""
        self.create(size="8M", chunk_size="16k")
        data = bytes(600 << 10) + b"x" * 4096 + bytes(200 << 10)
        self.write(data)
        self.assertEqual(self.view(), data + self.content[len(data):])
        self.assertLess(self.cow.stat().st_blocks * 512, 200 << 10)
        # The origin's zeros are kept for a snapshot just so.
        with open(self.origin, "wb") as file:
            file.truncate(MIB)
        kept = self.scratch / "kept"
        self.create(kept, size="8M")
        self.good("write-origin", "-q", "-P", "7", "--length", "1M", "--snapshot", kept, self.origin)
        self.assertEqual(self.view(kept), bytes(MIB))
        self.assertLess(kept.stat().st_blocks * 512, 100 << 10)

    def test_zeros_over_what_was_there(self):
        """Chunks that are used again have the data of an earlier life."""
        for sparse in (False, True):
            with open(self.cow, "wb") as file:
                file.write(bytes(4096) + b"\xee" * (4 * MIB - 4096))
                if sparse:
                    file.truncate(64 * MIB)
            self.good("create", "-q", "--force", self.origin, self.cow)
            self.write(b"w" * (100 << 10))
            data = bytes(80 << 10) + b"y" * 512 + bytes(30 << 10)
            self.write(data, 4096)
            expected = b"w" * 4096 + data + self.content[4096 + len(data):]
            self.assertEqual(self.view(), expected)
            self.cow.unlink()

    def test_few_flushes(self):
        """What a gigabyte costs: a flush of the data and one of the list, in groups."""
        with open(self.origin, "wb") as file:
            file.truncate(256 * MIB)
        self.create()
        trace = self.scratch / "trace"
        done = run_under_strace(["-c", "-e", "trace=fdatasync", "-o", trace], "write", "-q", "-P", "5", "--length", "256M",
                                self.origin, self.cow)
        self.assertEqual(done.returncode, 0, done.stderr)
        calls = int(re.search(r"(\d+)\s+fdatasync", trace.read_text()).group(1))
        self.assertLessEqual(calls, 2 * 256 // 64 + 2)

    def test_interrupted(self):
        with open(self.origin, "wb") as file:
            file.truncate(64 * MIB)
        self.create()
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            process = subprocess.Popen([SNAPTOOL, "write", "--in-flight", "1M", str(self.origin), str(self.cow)],
                                       stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for _ in range(8):
                process.stdin.write(b"i" * MIB)
            process.stdin.flush()
            process.send_signal(how)
            process.stdin.close()
            process.wait(timeout=20)
            process.stderr.close()
            self.assertEqual(process.returncode, {2: 130, 15: 143, 9: -9}[how])
            self.assertEqual(run("verify", self.origin, self.cow).returncode, 0)
            view = self.view()
            self.assertEqual(view.count(b"i") + view.count(b"\0"), 64 * MIB)


class WriteOrigin(WritingTest):
    def write_origin(self, data, offset, cows, *options):
        snapshots = [word for cow in cows for word in ("--snapshot", cow)]
        return run("write-origin", "--offset", offset, *snapshots, *options, self.origin, stdin=None, input=data,
                   binary=True)

    def test_snapshots_keep_their_views(self):
        cows = [self.scratch / name for name in ("a", "b", "c")]
        for cow, chunk in zip(cows, ("512", "4k", "64k"), strict=True):
            self.create(cow, chunk_size=chunk)
        self.good("write", "-q", "-P", "9", "--offset", "20k", "--length", "5k", self.origin, cows[1])
        views = [self.view(cow) for cow in cows]
        expected = bytearray(self.content)
        for _ in range(10):
            length = 512 * self.rng.choice([1, 8, 200])
            at = 512 * self.rng.randrange((len(self.content) - length) // 512 + 1)
            data = self.rng.randbytes(length)
            expected[at:at + length] = data
            done = self.write_origin(data, at, cows)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"not named", done.stderr)
        self.assertEqual(self.origin.read_bytes(), expected)
        self.assertEqual([self.view(cow) for cow in cows], views)

    def test_one_that_is_full(self):
        small, large = self.scratch / "small", self.scratch / "large"
        self.create(small, size="100k")
        self.create(large)
        options = ["write-origin", "-P", "1", "--length", "512k", "--snapshot", large, "--snapshot", small, self.origin]
        self.refused(73, *options, words=["small", "nothing was changed", "--allow-invalidate"])
        view = self.view(large)
        done = self.good(*options, "--allow-invalidate")
        self.assertIn("invalid now", done.stderr)
        self.assertIn("Invalid", self.good("status", self.origin, small).stdout)
        self.assertEqual(self.view(large), view)
        # From a pipe it is found out on the way, piece by piece.
        other = self.scratch / "other"
        self.create(other, size="100k")
        view = self.view(other)
        self.assertEqual(self.write_origin(bytes(MIB), 0, [other]).returncode, 73)
        self.assertEqual(self.view(other), view)

    def test_the_origin_is_read_once(self):
        cows = [self.scratch / name for name in ("a", "b", "c")]
        for cow, chunk in zip(cows, ("4k", "64k", "256k"), strict=True):
            self.create(cow, chunk_size=chunk)
        trace = self.scratch / "trace"
        words = [word for cow in cows for word in ("--snapshot", str(cow))]
        done = run_under_strace(["-y", "-e", "trace=pread64", "-o", trace], "write-origin", "-q", "-P", "1",
                                "--length", "1M", *words, self.origin)
        self.assertEqual(done.returncode, 0, done.stderr)
        read = sum(map(int, re.findall(r"pread64\(\d+<[^>]*/o\.img>.* = (\d+)$", trace.read_text(), re.M)))
        self.assertLessEqual(read, MIB + 16384)  # and a look at what kind of file it is

    def test_into_a_view(self):
        self.create()
        upper = self.scratch / "upper"
        self.good("create", "-q", f"{self.origin}@{self.cow}", upper)
        self.good("write-origin", "-P", "3", "--offset", "8k", "--length", "6k", "--snapshot", upper,
                  f"{self.origin}@{self.cow}")
        self.assertEqual(self.view(self.cow), self.content[:8192] + b"\x03" * 6144 + self.content[14336:])
        self.assertEqual(self.view(self.cow, upper), self.content)
        self.assertEqual(self.origin.read_bytes(), self.content)

    def test_refusals(self):
        self.create()
        self.refused(64, "write-origin", "-P", "1", "--length", "512", self.cow, words=["store"])
        self.refused(64, "write-origin", "-P", "1", "--length", "512", "--snapshot", self.origin, self.origin)
        self.refused(64, "write-origin", "-P", "1", "--length", "512", "--snapshot", self.cow, "--snapshot", self.cow,
                     self.origin, words=["same file"])
        junk = self.scratch / "junk"
        junk.write_bytes(self.rng.randbytes(MIB))
        self.refused(65, "write-origin", "-P", "1", "--length", "512", "--snapshot", junk, self.origin)


class Discard(WritingTest):
    def test_features(self):
        self.create()
        self.write(b"d" * 16384, 4096)
        self.refused(63, "discard", self.origin, self.cow, words=["--discard-zeroes-cow"])
        self.refused(64, "discard", "--discard-passdown-origin", self.origin, self.cow)
        self.refused(64, "discard", "--discard-zeroes-cow", "--offset", "100", self.origin, self.cow)
        self.good("discard", "--discard-zeroes-cow", "--offset", "0", "--length", "9k", self.origin, self.cow)
        expected = bytearray(self.content)
        expected[4096:20480] = b"d" * 16384
        expected[4096:9216] = bytes(5120)
        self.assertEqual(self.view(), expected)
        self.assertEqual(self.origin.read_bytes(), self.content)
        done = self.good("discard", "--discard-zeroes-cow", "--discard-passdown-origin", "--offset", "64k", "--length",
                         "4k", self.origin, self.cow)
        self.assertIn("other snapshots", done.stderr)
        self.assertEqual(self.origin.read_bytes()[65536:69632], bytes(4096))


class Batch(WritingTest):
    def batch(self, script, *options, snapshots=None):
        words = snapshots or [f"a={self.cow}"]
        return run("batch", *options, *(f"--snapshot={word}" for word in words), self.origin, "-", stdin=None,
                   input=script)

    def test_a_script(self):
        self.create()
        other = self.scratch / "b,c"  # a comma in a name
        self.create(other, chunk_size="64k")
        done = self.batch('''# two snapshots
write a 0 4k -P 1
write-origin 0 64k -P 2   # both keep what they had

status b
read b 0 64k --sha256
flush
merge a
status a
''', snapshots=[f"a={self.cow}", f"b={other},store=PO"])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        self.assertRegex(lines[0], r"^b: 0 2051 snapshot 384/\d+ 256$")
        self.assertRegex(lines[2], r"^a: 0 2051 snapshot-merge 16/\d+ 16$")
        self.assertEqual(self.origin.read_bytes(), b"\x01" * 4096 + self.content[4096:])
        self.assertEqual(self.view(other), self.content)

    def test_mistakes_name_their_line(self):
        self.create()
        for bad in ("nonsense", "write a 0", "write b 0 512 -P 1", "write a 0 8M -P 1", "write a 100 512 -P 1",
                    "write-origin 8M 512 -P 1", "write a 0 512 -i none", "write a 0 512 -P 300", "'"):
            done = self.batch(f"write a 0 512 -P 1\n\n{bad}\nwrite a 512 512 -P 2\n")
            self.assertIn(done.returncode, (1, 64), bad)
            self.assertIn("line 3:", done.stderr)
            self.assertEqual(self.view(), self.content, "a script is read whole before anything is done")

    def test_what_only_the_run_shows_to_be_wrong_ends_the_script(self):
        self.create()
        done = self.batch("write a 0 512 -P 1\n\nhandover a a\nwrite a 512 512 -P 2\n")
        self.assertEqual(done.returncode, 64)
        self.assertIn("line 3:", done.stderr)
        view = self.view()
        self.assertEqual(view[:512], b"\x01" * 512, "what was before it is done")
        self.assertEqual(view[512:], self.content[512:], "what was behind it is not")

    def test_refusals_go_on(self):
        self.create(size="48k")
        done = self.batch("discard a 0 4k\nwrite a 0 1M -P 1\nstatus a\nwrite a 0 512 -P 1\nwrite-origin 0 4k -P 5\n")
        self.assertEqual(done.returncode, 63)
        self.assertEqual(done.stdout, "a: 0 2051 snapshot Invalid\n")
        self.assertEqual(len(re.findall(r"line [124]:", done.stderr)), 3)
        self.assertEqual(self.origin.read_bytes()[:4096], b"\x05" * 4096)

    def test_overflow(self):
        self.create(size="48k")
        done = self.batch("write a 0 1M -P 1\nstatus a\nread a 0 1M --sha256\nwrite a 0 512 -P 1\n",
                          snapshots=[f"a={self.cow},store=PO"])
        self.assertEqual(done.returncode, 73)
        self.assertTrue(done.stdout.startswith("a: 0 2051 snapshot Overflow\na: "))
        self.assertRegex(self.good("status", self.origin, self.cow).stdout, r" \d+/\d+ ")

    def test_handover(self):
        self.create()
        done = self.batch("write a 0 4k -P 1\nstatus b\nhandover a b\nstatus a\nread b 0 4k --sha256\nread a 0 512\n",
                          snapshots=[f"a={self.cow}", f"b={self.cow},store=PO"])
        self.assertEqual(done.returncode, 65)
        self.assertIn("b: 0 2051 waits", done.stdout)
        self.assertIn("a: 0 2051 snapshot Invalid", done.stdout)
        self.assertIn("handed over", done.stderr)
        self.assertEqual(self.view()[:4096], b"\x01" * 4096)

    def test_transient(self):
        self.create()
        self.refused(64, "batch", f"--snapshot=n={self.cow},store=N", self.origin, "/dev/null", words=["overwrite"])
        scratch = self.scratch / "n"
        scratch.write_bytes(bytes(64 << 10))
        done = self.batch("write n 4k 8k -P 1\nstatus n\nmerge n\n", snapshots=[f"n={scratch},store=N,chunk-size=4k"])
        self.assertEqual(done.returncode, 63)
        self.assertEqual(done.stdout, "n: 0 2051 snapshot 16/128 0\n")
        self.assertEqual(scratch.read_bytes()[:8192], b"\x01" * 8192)

    def test_bad_snapshots(self):
        self.create()
        for bad in ("x", "=x", "a=", f"a={self.cow},store=X", f"a={self.cow},chunk-size=3k"):
            self.refused(64, "batch", f"--snapshot={bad}", self.origin, "/dev/null")
        self.refused(64, "batch", f"--snapshot=a={self.cow}", f"--snapshot=a={self.cow}", self.origin, "/dev/null")
        self.refused(1, "batch", f"--snapshot=a={self.cow}", self.origin, self.scratch / "none")

    def test_output_files(self):
        self.create()
        out = self.scratch / "out"
        self.assertEqual(self.batch(f"read a 4k 8k -o {out}\n").returncode, 0)
        self.assertEqual(out.read_bytes(), self.content[4096:12288])
        self.assertEqual(self.batch(f"read a 4k 8k -o {out}\n").returncode, 64)
        self.assertEqual(self.batch(f"read a 4k 8k -o {self.cow}\n", "--force").returncode, 64)
        self.assertEqual(run("verify", self.origin, self.cow).returncode, 0)


class Stacks(WritingTest):
    def test_merge_into_a_view(self):
        self.create()
        upper = self.scratch / "upper"
        self.write(self.rng.randbytes(100 << 10))
        self.good("create", "-q", "--chunk-size", "16k", f"{self.origin}@{self.cow}", upper)
        self.good("write", "-q", "-P", "1", "--offset", "50k", "--length", "300k", f"{self.origin}@{self.cow}", upper)
        view = self.view(self.cow, upper)
        self.refused(63, "merge", "--undo", self.scratch / "u", f"{self.origin}@{self.cow}", upper)
        self.refused(63, "merge", "-o", self.scratch / "u", f"{self.origin}@{self.cow}", upper)
        self.refused(0, "merge", "--dry-run", f"{self.origin}@{self.cow}", upper)
        size = self.cow.stat().st_size
        self.good("resize", self.cow, self.good("resize", "--minimum", self.cow).stdout.strip())
        self.refused(73, "merge", f"{self.origin}@{self.cow}", upper, words=["nothing was written"])
        self.good("resize", self.cow, size)
        self.good("merge", f"{self.origin}@{self.cow}@{upper}")
        self.assertEqual(self.view(), view)
        self.assertEqual(self.view(self.cow, upper), view)
        self.assertEqual(self.origin.read_bytes(), self.content)
        self.good("merge", self.origin, self.cow)
        self.assertEqual(self.origin.read_bytes(), view)

    def three(self):
        """A stack of three stores of different chunk sizes, which overlap."""
        cows = [self.scratch / f"c{i}" for i in range(3)]
        for i, cow in enumerate(cows):
            below = "@".join(map(str, [self.origin, *cows[:i]]))
            self.good("create", "-q", "--chunk-size", ["16k", "4k", "8k"][i], below, cow)
            self.good("write", "-q", "--offset", 40960 * i, below, cow, stdin=None,
                      input=self.rng.randbytes(200 << 10), binary=True)
        return cows

    def test_flatten(self):
        cows = self.three()
        view = self.view(*cows)
        chosen = [word for cow in cows[1:] for word in ("--flatten", cow)]
        self.refused(0, "merge", "--dry-run", *chosen, self.origin, cows[0])
        self.refused(63, "merge", "--flatten", cows[2], f"{self.origin}@{cows[0]}", cows[1], words=["--flatten"])
        for others in (["--undo", self.scratch / "u"], ["--salvage"], ["-o", self.scratch / "new"],
                       ["--sibling", cows[2]]):
            self.refused(64, "merge", "--flatten", cows[1], *others, self.origin, cows[0])
        self.refused(64, "merge", "--flatten", cows[0], self.origin, cows[0])
        self.refused(64, "merge", "--flatten", self.origin, self.origin, cows[0])
        self.refused(66, "merge", *chosen, "--expect", hashlib.sha256(self.view(*cows[:2])).hexdigest(), self.origin, cows[0])
        done = self.good("merge", "--verify", "--scrub", *chosen, "--expect", hashlib.sha256(view).hexdigest(), "--output=json",
                         self.origin, cows[0])
        answer = json.loads(done.stdout)
        self.assertEqual(answer["flatten"], list(map(str, cows[1:])))
        # What the stores hide of each other is not copied.
        self.assertEqual(answer["bytes"], 2 * 40960 + (200 << 10))
        self.assertEqual(self.origin.read_bytes(), view)
        for cow in cows:
            left = cow.read_bytes()
            self.assertEqual((left[:4], left[512:].count(0)), (b"SnAp", len(left) - 512))  # no exception, no data
        self.assertIn("nothing to merge", self.good("merge", *chosen, self.origin, cows[0]).stdout)

    def test_a_flatten_that_was_killed(self):
        cows = self.three()
        view = self.view(*cows)
        chosen = [word for cow in cows[1:] for word in ("--flatten", cow)]
        killed = 0
        for call in range(1, 400, 3):
            done = run_under_strace(["-e", "trace=pwrite64,pwritev,fdatasync", "-e",
                                     f"inject=pwrite64,pwritev,fdatasync:signal=KILL:when={call}"],
                                    "merge", *chosen, self.origin, cows[0])
            if done.returncode == 0:
                break
            killed += 1
            self.assertEqual(self.view(*cows), view)
        self.assertGreater(killed, 0)
        self.assertEqual(self.origin.read_bytes(), view)


if __name__ == "__main__":
    main("writing")
