# SPDX-License-Identifier: Apache-2.0
"""export, apply and diff-verify: held against an independent reader, zstd, and what rbd makes of our streams."""

import itertools
import json
import random
import signal
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SEED, SNAPTOOL, ScratchTest, interrupted, main, need, run, run_under_strace, sha256_of_file, unpack  # noqa: E402
from harness import DATA  # noqa: E402
from snapdiff_reader import Damaged, Snapdiff, identity  # noqa: E402

MIB = 1 << 20


class SnapdiffTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")
        self.base = bytearray(self.rng.randbytes(5 * MIB))
        self.base[MIB:2 * MIB] = bytes(MIB)
        self.child = bytearray(self.base)
        for offset in (0, 4096 * 7 + 5, MIB + 100, 3 * MIB - 2000):
            self.child[offset:offset + 3000] = self.rng.randbytes(3000)
        self.child[4 * MIB:4 * MIB + 65536] = bytes(65536)
        self.child += b"more" * 1000
        self.a, self.b = self.file("a.img", self.base), self.file("b.img", self.child)

    @classmethod
    def setUpClass(cls):
        print(f"seed {SEED} (SNAPTOOL_SEED replays it)")

    def file(self, name, content):
        path = self.scratch / name
        path.write_bytes(content)
        return path

    def good(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def refused(self, status, *arguments, words=(), **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done

    def export(self, name, *arguments):
        path = self.scratch / name
        self.good("export", *arguments, "-o", path)
        return path


class Export(SnapdiffTest):
    def test_an_independent_reader_agrees(self):
        full = self.export("full.snapdiff", self.a, "--full")
        diff = self.export("ab.snapdiff", self.b, "--base", self.a, "--parent", full)
        back = self.export("ba.snapdiff", self.a, "--base", self.b)
        one, two, three = (Snapdiff(path.read_bytes()) for path in (full, diff, back))
        self.assertEqual(one.apply(b""), self.base)
        self.assertEqual(two.apply(self.base), self.child)
        self.assertEqual(three.apply(self.child), self.base)
        self.assertEqual((two.parent, one.parent), (one.child, bytes(32)))
        need(self, "xxhsum")
        a, b = identity(self.base), identity(self.child)
        self.assertEqual([(diff.base_content, diff.target_content) for diff in (one, two, three)],
                         [(None, a), (a, b), (b, a)])
        with self.assertRaises(Damaged):
            two.apply(self.child)
        kinds = {kind for _, extents, _, _ in two.records for _, _, kind in extents}
        self.assertIn("zero", kinds)

    def test_zstd_accepts_it(self):
        diff = self.export("ab.snapdiff", self.b, "--base", self.a)
        subprocess.run(["zstd", "-q", "-t", diff], check=True)
        listed = subprocess.run(["zstd", "-l", diff], check=True, capture_output=True, text=True).stdout
        self.assertIn("XXH64", listed)
        plain = subprocess.run(["zstd", "-dc", diff], check=True, capture_output=True).stdout
        self.assertEqual(plain, b"".join(data for _, _, data, _ in Snapdiff(diff.read_bytes()).records))

    def test_a_pipe_gets_the_same(self):
        diff = self.export("ab.snapdiff", self.b, "--base", self.a)
        for jobs in ("1", "5"):
            piped = self.good("export", self.b, "--base", self.a, "-j", jobs, binary=True)
            self.assertEqual(piped.stdout, diff.read_bytes())
        self.assertEqual(self.good("export", self.b, "--base", self.a, "-o", "-", binary=True).stdout,
                         diff.read_bytes())

    def test_a_view_against_its_origin(self):
        """The kernel's store: both directions, and only the exceptions are read."""
        need(self, "strace")
        folder = DATA / "kernel" / "merge-done"
        origin, cow = self.scratch / "origin.img", self.scratch / "cow.img"
        unpack(folder / "origin.mid.img.zst", origin)
        unpack(folder / "cow.before.img.zst", cow)
        forth, back = self.scratch / "forth", self.scratch / "back"
        self.assertIn("turns the origin into", self.good("export", f"{origin}@{cow}", "-o", forth).stdout)
        self.assertIn("view into the origin", self.good("export", "--reverse", f"{origin}@{cow}", "-o", back).stdout)
        view = self.scratch / "view"
        self.good("apply", forth, origin, "-o", view)
        self.assertEqual(sha256_of_file(view), (folder / "merged.sha256").read_text().split()[0])
        again = self.scratch / "again"
        self.good("apply", back, view, "-o", again)
        self.assertEqual(sha256_of_file(again), sha256_of_file(origin))
        self.assertEqual(Snapdiff(back.read_bytes()).flags, 2)
        trace = self.scratch / "trace"
        done = run_under_strace(["-y", "-e", "trace=pread64", "-o", trace], "export", "-o", self.scratch / "third",
                                f"{origin}@{cow}")
        self.assertEqual(done.returncode, 0, done.stderr)
        read = sum(int(line.rsplit("= ", 1)[1]) for line in trace.read_text().splitlines() 
                   if "/origin.img>" in line and "= " in line)
        changed = Snapdiff(forth.read_bytes())
        exceptions = json.loads(self.good("status", "--output=json", origin, cow).stdout)
        limit = exceptions["exceptions"] * exceptions["chunk_size_sectors"] * 512 + 65536
        self.assertLess(read, limit)
        self.assertLess(limit, origin.stat().st_size)
        self.assertTrue(changed.records)

    def test_changes_limit_the_comparison(self):
        cow = self.scratch / "cow"
        self.good("create", self.a, cow)
        self.good("write-origin", "--snapshot", cow, "-P", "9", "--offset", "1M", "--length", "8k", self.a)
        full = self.file("old.img", self.base)  # yesterday's backup
        limited = self.export("limited", self.a, "--base", full, "--changes", cow)
        everything = self.export("everything", self.a, "--base", full)
        self.assertEqual(Snapdiff(limited.read_bytes()).records, Snapdiff(everything.read_bytes()).records)
        with open(self.a, "r+b") as file:  # what the COW does not know of is not looked at
            file.seek(3 * MIB)
            file.write(b"unnoticed")
        again = self.export("again", self.a, "--base", full, "--changes", cow)
        self.assertEqual(again.read_bytes(), limited.read_bytes())

    def test_usage(self):
        self.refused(64, "export", self.a, words=["--base", "--full"])
        self.refused(64, "export", self.a, "--full", "--base", self.b)
        self.refused(64, "export", self.a, "--base", self.b, "--reverse")
        self.refused(64, "export", self.a, "--base", self.b, "-l", "20")
        self.refused(64, "export", self.a, "--base", self.b, "-O", "rbd", words=["--from-snap"])
        self.refused(64, "export", self.a, "--full", "--parent", "ab" * 32)
        self.refused(64, "export", self.a, "--full", "-o", self.a, "--force", words=["input"])
        self.assertEqual(self.a.read_bytes(), self.base)


class Apply(SnapdiffTest):
    def test_a_chain(self):
        states = [bytes(self.base)]
        diffs = [self.export("0.snapdiff", self.a, "--full")]
        for i in range(1, 6):
            data = bytearray(states[-1])
            for _ in range(5):
                at = self.rng.randrange(len(data))
                data[at:at + 5000] = self.rng.randbytes(5000)
            states.append(bytes(data))
            before, after = self.file("before", states[-2]), self.file("after", states[-1])
            diffs.append(self.export(f"{i}.snapdiff", after, "--base", before, "--parent", diffs[-1]))
        restored = self.scratch / "restored.img"
        self.good("apply", *diffs, "-o", restored)
        self.assertEqual(restored.read_bytes(), states[-1])
        image = self.file("image", states[0])
        done = json.loads(self.good("apply", "--output=json", *diffs[1:], image).stdout)
        self.assertEqual((image.read_bytes(), done["already_applied"]), (states[-1], False))
        self.assertTrue(json.loads(self.good("apply", "--output=json", *diffs[1:], image).stdout)["already_applied"])
        for wrong in (diffs[1:3] + diffs[4:], diffs[2:], list(reversed(diffs[1:]))):
            image = self.file("image", states[0])
            self.refused(66, "apply", *wrong, image)
            self.assertEqual(image.read_bytes(), states[0])
        self.refused(66, "apply", diffs[1], diffs[0], image)
        self.refused(64, "apply", diffs[0], image, words=["full"])
        self.refused(64, "apply", diffs[1], "-o", self.scratch / "new", words=["full"])
        self.assertEqual(sorted(p.name for p in self.scratch.iterdir() if "snaptool" in p.name or "part" in p.name), [])

    def test_from_a_pipe(self):
        diff = self.export("ab.snapdiff", self.b, "--base", self.a).read_bytes()
        image = self.file("image", self.base)
        done = subprocess.run([SNAPTOOL, "apply", "-", image], input=diff[:-1], capture_output=True, check=False)
        self.assertEqual(done.returncode, 65, done.stderr)
        self.assertIn(b"'standard input' at byte", done.stderr)
        self.assertEqual(image.read_bytes(), self.base)
        subprocess.run([SNAPTOOL, "apply", "-", image], input=diff, check=True, capture_output=True)
        self.assertEqual(image.read_bytes(), self.child)
        left = self.file("image.snaptool-spool", diff)
        done = subprocess.run([SNAPTOOL, "apply", "-", image], input=diff, capture_output=True, check=False, text=False)
        self.assertEqual((done.returncode, left.read_bytes()), (64, diff))
        self.assertIn(b"--spool", done.stderr)
        left.unlink()
        new = self.scratch / "new"
        subprocess.run([SNAPTOOL, "apply", "-", self.a, "-o", new], input=diff, check=True, capture_output=True)
        self.assertEqual(new.read_bytes(), self.child)
        full = self.good("export", self.b, "--full", binary=True).stdout
        subprocess.run([SNAPTOOL, "apply", "-", "-o", new, "--force"], input=full, check=True, capture_output=True)
        self.assertEqual(new.read_bytes(), self.child)
        self.assertEqual([p.name for p in self.scratch.iterdir() if "snaptool" in p.name], [])

    def test_killed_while_a_piped_diff_is_applied(self):
        """What came from the pipe is still there, and finishes it."""
        need(self, "strace")
        diff = self.export("diff", self.b, "--base", self.a).read_bytes()
        image = self.file("image", self.base)
        spool = self.scratch / "image.snaptool-spool"
        process = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-P", image, "-e", "trace=pwrite64", "-e",
                                  "inject=pwrite64:signal=KILL:when=2", SNAPTOOL, "apply", "-q", "-j", "1", "-", image],
                                 input=diff, capture_output=True, check=False)
        self.assertNotEqual(process.returncode, 0)
        self.assertEqual(spool.read_bytes(), diff)
        self.good("apply", spool, image)
        self.assertEqual(image.read_bytes(), self.child)
        self.assertFalse((self.scratch / "image.snaptool-journal").exists())

    def test_into_a_snapshot(self):
        child = self.file("child", self.child[:len(self.base)])
        diff = self.export("diff", child, "--base", self.a)
        cow = self.scratch / "cow"
        self.good("create", self.a, cow)
        self.good("apply", diff, f"{self.a}@{cow}")
        self.assertEqual(self.good("read", f"{self.a}@{cow}", binary=True).stdout, child.read_bytes())
        self.assertEqual(self.a.read_bytes(), self.base)
        self.assertEqual(run("verify", self.a, cow).returncode, 0)
        small = self.scratch / "small"
        self.good("create", "--size", "20k", self.a, small)
        before = small.read_bytes()
        self.refused(73, "apply", diff, f"{self.a}@{small}")
        self.assertEqual(small.read_bytes(), before)

    def test_holes_stay_holes(self):
        sparse, child = self.scratch / "sparse", self.scratch / "child"
        for path in (sparse, child):
            with open(path, "wb") as file:
                file.truncate(64 * MIB)
                file.write(b"x" * MIB)
        with open(sparse, "r+b") as file:
            file.seek(32 * MIB)
            file.write(b"y" * 8 * MIB)
        diff = self.export("diff", child, "--base", sparse)
        self.assertLess(diff.stat().st_size, 4096)
        self.assertEqual({kind for _, extents, _, _ in Snapdiff(diff.read_bytes()).records for _, _, kind in extents},
                         {"discard"})
        new = self.scratch / "new"
        self.good("apply", diff, sparse, "-o", new)
        self.good("apply", diff, sparse)
        for path in (new, sparse):
            self.assertEqual(sha256_of_file(path), sha256_of_file(child))
            self.assertLessEqual(path.stat().st_blocks * 512, 2 * MIB)

    def test_verify_base(self):
        diff = self.export("diff", self.b, "--base", self.a, "--verify-base")
        other = self.file("other", self.base[:-1] + b"?")  # where the diff changes nothing
        self.refused(66, "apply", "--verify-base", diff, other, words=["not the base"])
        self.assertEqual(other.read_bytes(), self.base[:-1] + b"?")
        self.good("apply", "--verify-base", diff, self.a)
        self.assertEqual(self.a.read_bytes(), self.child)
        plain = self.export("plain", self.b, "--base", other)  # which says what its base is, too
        self.refused(66, "apply", "--verify-base", plain, self.file("a.img", self.base))
        self.good("apply", "--verify-base", plain, other)
        cow = self.scratch / "cow"
        self.good("create", other, cow)
        self.good("write", "-P", "1", "--length", "4k", other, cow)
        view = self.export("view", f"{other}@{cow}")
        self.refused(64, "apply", "--verify-base", view, other, words=["--verify-base"])

    def test_killed_anywhere(self):
        """Killed at many a write, flush or rename: the same command finishes."""
        need(self, "strace")
        plain = self.export("diff", self.b, "--base", self.a)
        rbd = self.export("rbd", self.b, "--base", self.a, "-O", "rbd", "--from-snap", "one")
        outcomes = set()
        for diff, call in itertools.product((plain, rbd), ("pwrite64", "fdatasync", "ftruncate", "fallocate", "unlink")):
            for when in range(1, 12):
                image = self.file("image", self.base)
                killed = run_under_strace(["-o", "/dev/null", "-e", f"trace={call}", "-e",
                                           f"inject={call}:signal=KILL:when={when}"], "apply", "-q", "-j", "1", diff, image)
                if killed.returncode == 0:
                    break
                outcomes.add(call)
                if image.read_bytes() not in (self.base, self.child):
                    self.assertTrue((self.scratch / "image.snaptool-journal").exists(), (call, when))
                self.good("apply", diff, image)
                self.assertEqual(image.read_bytes(), self.child, (call, when))
                self.assertFalse((self.scratch / "image.snaptool-journal").exists())
        self.assertGreaterEqual(outcomes, {"pwrite64", "fdatasync", "unlink"})

    def test_the_order_of_flushes(self):
        """The diff and the journal are durable before the image is touched; the image before the journal goes."""
        need(self, "strace")
        diff = self.export("diff", self.b, "--base", self.a)
        trace = self.scratch / "trace"
        done = run_under_strace(["-y", "-e", "trace=pwrite64,fdatasync,fsync,unlink", "-o", trace], "apply", "-q", "-j", "1",
                                diff, self.a)
        self.assertEqual(done.returncode, 0, done.stderr)
        events = []
        for line in trace.read_text().splitlines():
            call = line.split("(", 1)[0].split()[-1]
            for name, what in (("snaptool-journal", "journal"), ("/a.img>", "image"), ("/diff>", "diff")):
                if name in line and (call, what) not in events[-1:]:
                    events.append((call.replace("fdatasync", "fsync"), what))
        order = [event for event in events if event[0] != "pwrite64" or event[1] == "image"]
        self.assertLess(order.index(("fsync", "diff")), order.index(("pwrite64", "image")))
        self.assertLess(order.index(("fsync", "journal")), order.index(("pwrite64", "image")))
        self.assertEqual(order[-3:], [("fsync", "image"), ("fsync", "journal"), ("unlink", "journal")])

    def test_another_journal(self):
        diff = self.export("diff", self.b, "--base", self.a)
        other = self.export("other", self.b, "--full")
        image = self.file("image", self.base)
        process = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=pwrite64:signal=KILL:when=4",
                                    SNAPTOOL, "apply", "-q", "-j", "1", diff, image])
        process.wait()
        torn = image.read_bytes()
        self.assertTrue((self.scratch / "image.snaptool-journal").exists())
        third = self.export("third", self.a, "--base", self.b)
        self.refused(66, "apply", third, image, words=["journal"])
        self.refused(64, "apply", other, image)
        self.assertEqual(image.read_bytes(), torn)
        self.good("apply", diff, image)
        self.assertEqual(image.read_bytes(), self.child)

    def test_interrupted(self):
        data = self.scratch / "data"
        with open(data, "wb") as file:
            for _ in range(64):
                file.write(self.rng.randbytes(MIB))
        zeros = self.scratch / "zeros"
        with open(zeros, "wb") as file:
            file.truncate(64 * MIB)
        diff = self.export("diff", data, "--base", zeros)
        for how, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with open(zeros, "wb") as file:
                file.truncate(64 * MIB)
            process = interrupted(how, "apply", "-j", "1", diff, zeros)
            self.assertEqual(process.returncode, status, process.stderr)
            self.assertIn(f"snaptool apply {diff} {zeros}' finishes", process.stderr)
            self.good("apply", diff, zeros)
            self.assertEqual(sha256_of_file(zeros), sha256_of_file(data))

    def test_usage(self):
        diff = self.export("diff", self.b, "--base", self.a)
        self.refused(64, "apply", diff, words=["image"])
        self.refused(65, "apply", self.a, self.b, words=["not a diff"])
        self.refused(64, "apply", diff, diff, words=["the image comes last"])
        self.refused(1, "apply", diff, self.scratch / "nothing-there")
        self.refused(64, "apply", diff, self.a, "-o", self.b)
        self.refused(64, "apply", "-", "-", self.a, stdin=subprocess.DEVNULL)
        self.refused(64, "apply", diff, f"{self.a}#+1M", words=["--journal"])
        self.assertEqual((self.a.read_bytes(), self.b.read_bytes()), (self.base, self.child))


class Verify(SnapdiffTest):
    def test_whole_and_damaged(self):
        diff = self.export("diff", self.b, "--base", self.a)
        self.assertIn("intact", self.good("diff-verify", diff).stdout)
        self.assertIn("expects", self.good("diff-verify", diff, self.a).stdout)
        self.assertIn("already", self.good("diff-verify", diff, self.b).stdout)
        other = bytearray(self.base)
        other[2] ^= 1
        self.refused(66, "diff-verify", diff, self.file("other", other))
        content = diff.read_bytes()
        for at in self.rng.sample(range(len(content)), 60):
            damaged = bytearray(content)
            damaged[at] ^= 1 << self.rng.randrange(8)
            done = run("diff-verify", self.file("damaged", damaged))
            self.assertIn(done.returncode, (63, 64, 65), (at, done.stderr))
            self.assertEqual(done.stderr.count("\n"), 1)
            image = self.file("image", self.base)
            self.assertNotEqual(run("apply", self.scratch / "damaged", image).returncode, 0)
            self.assertEqual(image.read_bytes(), self.base)
        for length in self.rng.sample(range(12, len(content)), 40):
            done = run("diff-verify", self.file("cut", content[:length]))
            self.assertEqual(done.returncode, 65, done.stderr)
        piped = subprocess.run([SNAPTOOL, "diff-verify", "-"], input=content, capture_output=True, check=False)
        self.assertEqual(piped.returncode, 0, piped.stderr)


class ComposeAndInvert(SnapdiffTest):
    def test_a_week_as_one(self):
        third = bytearray(self.child)
        third[2 * MIB:2 * MIB + 9000] = bytes(9000)
        third[:100] = self.rng.randbytes(100)
        c = self.file("c.img", third)
        one = self.export("1.snapdiff", self.b, "--base", self.a)
        two = self.export("2.snapdiff", c, "--base", self.b, "--parent", one)
        both = self.scratch / "both.snapdiff"
        self.good("compose", one, two, "-o", both)
        parsed, last = Snapdiff(both.read_bytes()), Snapdiff(two.read_bytes())
        self.assertEqual(parsed.apply(self.base), third)
        self.assertEqual((parsed.child, parsed.flags), (last.child, 4))
        subprocess.run(["zstd", "-q", "-t", both], check=True)
        for jobs in ("1", "4"):
            self.assertEqual(self.good("compose", one, two, "-j", jobs, binary=True).stdout, both.read_bytes())
        piped = subprocess.run([SNAPTOOL, "compose", one, "-"], input=two.read_bytes(), check=True, capture_output=True)
        self.assertEqual(piped.stdout, both.read_bytes())
        self.refused(66, "compose", two, two, "-o", self.scratch / "never")
        self.assertFalse((self.scratch / "never").exists())
        rbd = self.export("rbd", self.b, "--base", self.a, "-O", "rbd", "--from-snap", "x")
        self.refused(64, "compose", one, rbd, words=["kinds"])
        self.refused(64, "compose", one, two, "-o", one, "--force", words=["input"])

    def test_there_and_back(self):
        diff = self.export("diff", self.b, "--base", self.a)
        back = self.scratch / "back"
        self.good("invert", diff, "--base", self.a, "-o", back)
        self.assertEqual(Snapdiff(back.read_bytes()).apply(self.child), self.base)
        image = self.file("image", self.base)
        self.good("apply", diff, image)
        self.good("apply", back, image)
        self.assertEqual(image.read_bytes(), self.base)
        self.refused(66, "invert", diff, "--base", self.b)
        self.refused(64, "invert", diff, words=["--base"])
        full = self.export("full", self.a, "--full")
        self.refused(64, "invert", full, "--base", self.a, words=["full"])


def read_rbd(stream):
    """(from, to, size, [(offset, length, data or None)]) of an rbd diff, after Ceph's doc/dev/rbd-diff."""
    version = {b"rbd diff v1\n": 1, b"rbd diff v2\n": 2}[stream[:12]]
    at, names, size, ranges = 12, {}, None, []
    while True:
        tag = stream[at:at + 1]
        at += 1
        if tag == b"e":
            assert at == len(stream)
            return names.get(b"f"), names.get(b"t"), size, ranges
        if version == 2:
            length, = struct.unpack_from("<Q", stream, at)
            at += 8
            end = at + length
        if tag in b"ft":
            length, = struct.unpack_from("<I", stream, at)
            names[tag] = stream[at + 4:at + 4 + length]
            at += 4 + length
        elif tag == b"s":
            size, = struct.unpack_from("<Q", stream, at)
            at += 8
        else:
            offset, length = struct.unpack_from("<QQ", stream, at)
            at += 16
            ranges.append((offset, length, stream[at:at + length] if tag == b"w" else None))
            at += length if tag == b"w" else 0
        assert version == 1 or at == end


def apply_rbd(base, parsed):
    _, _, size, ranges = parsed
    image = bytearray(base[:size].ljust(size, b"\0"))
    for offset, length, data in ranges:
        image[offset:offset + length] = bytes(length) if data is None else data
    return bytes(image)


class Rbd(SnapdiffTest):
    def test_both_versions(self):
        for version in ("rbd", "rbd2"):
            diff = self.export(version, self.b, "--base", self.a, "-O", version, "--from-snap", "one", "--to-snap", "two")
            parsed = read_rbd(diff.read_bytes())
            self.assertEqual(parsed[:3], (b"one", b"two", len(self.child)))
            self.assertEqual(apply_rbd(self.base, parsed), self.child)
            image = self.file("image", self.base)
            done = self.good("apply", diff, image)
            self.assertIn("no checksums", done.stderr)
            self.assertEqual(image.read_bytes(), self.child)
            full = self.export(f"full-{version}", self.b, "--full", "-O", version, "--to-snap", "two")
            self.assertIsNone(read_rbd(full.read_bytes())[0])
            new = self.scratch / f"new-{version}"
            self.good("apply", full, "-o", new)
            self.assertEqual(new.read_bytes(), self.child)
            content = diff.read_bytes()
            for length in (0, 5, 13, 40, len(content) // 2, len(content) - 1):
                self.assertIn(run("diff-verify", self.file("cut", content[:length])).returncode, (64, 65))
            self.good("diff-verify", diff)

    def test_a_hole_larger_than_any_disk(self):
        """What is discarded where an image grows is not gone through window by window."""
        unit, most = self.UNIT, 2**63 // self.UNIT - 1
        huge = self.rbd_stream("huge", (b"one", b"two"), most, [(b"w", 3, 1), (b"z", 5, most - 9)])
        self.good("diff-verify", huge, timeout=20)
        large = 6 << 40
        end = large // unit
        diff = self.rbd_stream("diff", (b"one", b"two"), end, [(b"w", 3, 1), (b"z", 5, end - 9), (b"w", end - 3, 1)])
        ranges = read_rbd(diff.read_bytes())[3]
        expected = bytearray(self.base[:5 * unit])
        expected[3 * unit:4 * unit] = ranges[0][2]
        image, new = self.file("image", self.base), self.scratch / "new"
        self.good("apply", diff, image, "-o", new, timeout=20)
        self.good("apply", diff, image, timeout=20)
        for path in (image, new):
            with path.open("rb") as file:
                self.assertEqual(file.read(5 * unit), expected)
                self.assertEqual(file.read(len(self.base)), bytes(len(self.base)))
                file.seek(large - 4 * unit)
                self.assertEqual(file.read(), bytes(unit) + ranges[2][2] + bytes(2 * unit))
            self.assertEqual(path.stat().st_size, large)
            self.assertLess(path.stat().st_blocks * 512, len(self.base) + (1 << 20))

    def test_rbd_takes_our_streams(self):
        """rbd merge-diff parses the first strictly; merged with nothing, it must say the same."""
        need(self, "rbd")
        diff = self.export("diff", self.b, "--base", self.a, "-O", "rbd", "--from-snap", "one", "--to-snap", "two")
        nothing = self.export("nothing", self.b, "--base", self.b, "-O", "rbd", "--from-snap", "two", "--to-snap", "three")
        merged = self.scratch / "merged"
        done = subprocess.run(["rbd", "merge-diff", "--no-progress", diff, nothing, merged], capture_output=True,
                              check=False, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        ours, theirs = read_rbd(diff.read_bytes()), read_rbd(merged.read_bytes())
        self.assertEqual((theirs[0], theirs[1]), (b"one", b"three"))
        self.assertEqual(ours[2:], theirs[2:])


    UNIT = 4096

    def rbd_stream(self, name, names, size, ranges):
        """Written by Ceph's doc/dev/rbd-diff, not by us. A range: (tag, first unit, units)."""
        stream = b"rbd diff v1\n"
        for tag, text in zip(b"ft", names, strict=True):
            if text:
                stream += struct.pack("<cI", bytes([tag]), len(text)) + text
        stream += struct.pack("<cQ", b"s", size * self.UNIT)
        for tag, first, units in ranges:
            stream += struct.pack("<cQQ", tag, first * self.UNIT, units * self.UNIT)
            if tag == b"w":
                stream += self.rng.randbytes(units * self.UNIT)
        return self.file(name, stream + b"e")

    def effect(self, stream):
        """What it does to each unit: nothing, zeros, or these bytes."""
        start, end, size, ranges = read_rbd(stream)
        units = {}
        for offset, length, data in ranges:
            for at in range(0, length, self.UNIT):
                content = None if data is None else data[at:at + self.UNIT]
                units[(offset + at) // self.UNIT] = None if content == bytes(len(content or b"")) else content
        return start, end, size, units

    def test_compose_is_what_merge_diff_does(self):
        """Each way in which two ranges can lie, written or zeroed, and changes of size."""
        need(self, "rbd")
        first = (20, 10)
        relations = [(5, 5), (10, 10), (15, 10), (22, 4), (20, 10), (20, 4), (26, 4), (15, 20), (25, 10), (30, 5), (40, 3)]
        cases = [(40 + 5, [(a, *first)], 45, [(b, *relation)])
                 for relation in relations for a in (b"w", b"z") for b in (b"w", b"z")]
        many = [(b"w", 1, 3), (b"z", 5, 5), (b"w", 12, 1), (b"w", 13, 2), (b"z", 20, 10)]
        other = [(b"z", 0, 2), (b"w", 6, 8), (b"w", 25, 15)]
        cases += [(45, many, 45, other), (45, other, 45, many), (45, [], 45, many), (45, many, 45, []), (45, [], 45, []),
                  (45, many, 22, [(b"w", 4, 2)]), (45, many, 4, []), (30, many, 60, other), (30, [], 60, []),
                  (30, many, 60, [(b"w", 40, 3)]), (30, many, 600, [(b"w", 40, 3), (b"w", 500, 3)]),
                  (600, [(b"w", 240, 40), (b"w", 590, 10)], 300, [(b"z", 250, 20)])]
        self.assertGreaterEqual(len(cases), 30)
        for number, (size_a, ranges_a, size_b, ranges_b) in enumerate(cases):
            with self.subTest(number=number, case=cases[number]):
                begin = b"" if number % 7 == 0 else b"one"
                a = self.rbd_stream("a", (begin, b"two"), size_a, ranges_a)
                b = self.rbd_stream("b", (b"two", b"three"), size_b, ranges_b)
                theirs, ours = self.scratch / "theirs", self.scratch / "ours"
                theirs.unlink(missing_ok=True)
                done = subprocess.run(["rbd", "merge-diff", "--no-progress", a, b, theirs], capture_output=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.good("compose", "--force", a, b, "-o", ours)
                expected, found = self.effect(theirs.read_bytes()), self.effect(ours.read_bytes())
                if not begin:  # of a whole image, what is not written is zeros: they may say so
                    expected, found = ((*one[:3], {k: v for k, v in one[3].items() if v}) for one in (expected, found))
                self.assertEqual(found, expected)
        apart = self.rbd_stream("apart", (b"four", b"five"), 45, [])
        self.refused(66, "compose", a, apart, words=["snapshot"])


if __name__ == "__main__":
    main("snapdiff")
