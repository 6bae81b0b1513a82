# SPDX-License-Identifier: Apache-2.0
"""Every command that reads a view: of a store that is not sound it refuses, or it shows what a model says, with a warning."""

import hashlib
import json
import random
import re
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
from crafted import Layout, naive_view, write_store  # noqa: E402
from harness import SEED, ScratchTest, main, run, scaled  # noqa: E402

CHUNK = 4096
SECTOR = 512


class ReadersTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")
        self.origin, self.cow = self.scratch / "o", self.scratch / "c"
        self.out = self.scratch / "out"
        self.content = self.rng.randbytes(64 * CHUNK)
        self.origin.write_bytes(self.content)

    def store(self, old_chunks, chunk_sectors=8):
        write_store(self.cow, chunk_sectors, old_chunks, lambda _: self.rng.randbytes(chunk_sectors * 512))

    def patch(self, offset, data):
        content = bytearray(self.cow.read_bytes())
        content[offset:offset + len(data)] = data
        self.cow.write_bytes(content)

    def readers(self):
        view = f"{self.origin}@{self.cow}"
        output = ["-o", self.out, "--force"]
        yield ["read", view, *output]
        yield ["hash", view]
        yield ["map", view]
        yield ["map", "--as", "bmap", view]
        yield ["export", view, *output]
        yield ["export", self.origin, "--base", self.origin, "--changes", self.cow, *output]
        yield ["convert", "-O", "qcow2", view, self.out, "--force"]
        yield ["convert", "-O", "raw", view, self.out, "--force"]
        yield ["diff", self.origin, view]
        yield ["status", self.origin, self.cow]
        yield ["info", view]

    def assert_refused(self, word, what):
        for command in self.readers():
            done = run(*command, binary=True)
            self.assertEqual((done.returncode, done.stdout), (65, b""), (what, command, done.stderr))
            self.assertIn(word, done.stderr.decode(), (what, command))
            self.assertFalse(self.out.exists(), (what, command))


class DamagedStores(ReadersTest):
    def test_what_verify_calls_corrupt_is_not_read(self):
        for what, entries in {"new-is-metadata": [(1, 1)], "duplicate-new": [(1, 2), (5, 2)],
                              "duplicate-old": [(1, 2), (1, 3)], "old-beyond-origin": [(0, 2), (64, 3)],
                              "new-beyond-cow": [(0, 2), (3, 1 << 40)], "new-high-byte": [(0, 2), (3, 1 << 60)]}.items():
            self.store(range(10))
            self.patch(CHUNK, b"".join(struct.pack("<QQ", *entry) for entry in entries).ljust(160, b"\0"))
            self.assertEqual(run("verify", self.origin, self.cow).returncode, 2)
            self.assert_refused(what, what)

    def test_random_damage_is_refused_or_shown_as_the_model_says(self):
        shown = 0
        for number in range(scaled(400)):
            chunk = 512 * self.rng.choice([1, 2, 8])
            layout = Layout(chunk // 512)
            chunks = len(self.content) // chunk
            self.store(self.rng.sample(range(chunks), self.rng.randrange(1, 40)), chunk // 512)
            entry = self.rng.randrange(40)
            at = layout.area_chunk(entry // layout.per_area) * chunk + entry % layout.per_area * 16
            value = self.rng.choice([0, 1, 2, 3, chunks - 1, chunks, 1 << 54, 1 << 56, self.rng.getrandbits(64)])
            if at + 16 < self.cow.stat().st_size:
                self.patch(at + self.rng.choice([0, 8]), struct.pack("<Q", value))
            view = run("read", "--ignore-invalid", f"{self.origin}@{self.cow}", binary=True)
            strict = run("read", f"{self.origin}@{self.cow}", binary=True)
            report = json.loads(run("verify", "--output=json", self.origin, self.cow).stdout)
            if report["result"] == "corrupt":
                self.assertEqual((strict.returncode, strict.stdout), (65, b""), (number, report))
            else:
                self.assertEqual(strict.returncode, 0, (number, strict.stderr))
                self.assertEqual(strict.stdout, view.stdout)
            if view.returncode != 0:
                self.assertEqual(view.returncode, 65, number)
                continue
            if report["result"] == "corrupt":
                self.assertIn(b"corrupt", view.stderr, number)
            want, _ = naive_view(self.content, self.cow.read_bytes())
            self.assertEqual(view.stdout, bytes(want), number)
            shown += 1
        self.assertGreater(shown, 0)


class WipedLists(ReadersTest):
    def test_a_list_whose_beginning_was_wiped(self):
        """The kernel sees an empty store; nobody may take that for all there was."""
        self.store(range(10))
        self.patch(CHUNK, bytes(32))
        for command in self.readers():
            if command[0] not in ("status", "info") and "--changes" not in command:
                done = run(*command, binary=True)
                self.assertIn(done.returncode, (0, 1) if command[0] == "diff" else (0,), done.stderr)
                self.assertIn(b"beginning of the list wiped?", done.stderr, command)
        done = run("verify", "--output=json", self.origin, self.cow)
        self.assertEqual((done.returncode, set(json.loads(done.stdout)["counts"])),
                         (2, {"live-behind-terminator", "unmerged-tail"}))
        self.assertEqual(run("merge", self.origin, self.cow).returncode, 65)
        # What a merge leaves of a list is no reason to warn: the origin has the data.
        store = self.cow.read_bytes()
        self.origin.write_bytes(bytes(2 * CHUNK) + store[4 * CHUNK:12 * CHUNK] + self.content[10 * CHUNK:])
        self.assertEqual(run("read", f"{self.origin}@{self.cow}", "-o", self.out, "--force").stderr, "")


class WipedStores(ReadersTest):
    def test_a_wiped_header_is_not_an_empty_store(self):
        for wiped in (4, 16, 512, CHUNK):
            self.store(self.rng.sample(range(64), self.rng.randrange(1, 60)))
            want = run("read", f"{self.origin}@{self.cow}", binary=True).stdout
            self.patch(0, bytes(wiped))
            before = self.cow.read_bytes()
            self.assert_refused("repair", wiped)
            for command in (["merge"], ["merge", "-o", self.out], ["merge", "--dry-run"], ["write", "-P", "1", "--length", "1k"],
                            ["dump"], ["resize"]):
                operands = [self.cow] + ["1M"] * (command[0] == "resize")
                done = run(*command, *[self.origin] * (command[0] not in ("dump", "resize")), *operands)
                self.assertEqual((done.returncode, done.stdout), (65, ""), (command, done.stderr))
                self.assertIn("repair", done.stderr, command)
            self.assertEqual((self.cow.read_bytes(), self.origin.read_bytes()), (before, self.content))
            self.assertEqual(run("verify", self.cow).returncode, 2)
            # And repair brings it back.
            self.assertEqual(run("repair", self.cow, "-o", self.out).returncode, 0)
            self.assertEqual(run("read", f"{self.origin}@{self.out}", binary=True).stdout, want)
            self.out.unlink()

    def test_zeros_are_a_new_store(self):
        for chunks in (2, 50, 5000):
            self.cow.write_bytes(bytes(chunks * CHUNK))
            done = run("read", f"{self.origin}@{self.cow}", binary=True)
            self.assertEqual((done.returncode, done.stdout), (0, self.content), done.stderr)
            self.assertIn(b"new store", done.stderr)
            merged = run("merge", self.origin, self.cow)
            self.assertEqual(merged.returncode, 0, merged.stderr)
            self.assertIn("new store", merged.stderr)
            self.assertIn("nothing to merge", merged.stdout)
            self.assertIn("a new store", run("info", f"{self.origin}@{self.cow}").stdout)
            self.assertEqual((self.origin.read_bytes(), self.cow.read_bytes()), (self.content, bytes(chunks * CHUNK)))

    def test_what_is_too_small_is_no_store(self):
        for size in (0, 1, 512, CHUNK):
            self.cow.write_bytes(bytes(size))
            for command in self.readers():
                done = run(*command, binary=True)
                self.assertEqual((done.returncode, done.stdout), (2 if command[0] == "diff" else 1, b""), (size, command))
                self.assertIn("not a store", done.stderr.decode())
            verified = run("verify", self.cow)
            self.assertEqual(verified.returncode, 2)
            self.assertNotIn("corrupt", verified.stdout + verified.stderr)


class Tails(ReadersTest):
    """A view ends at the last whole sector of its origin; the origin's file may not."""

    def setUp(self):
        super().setUp()
        self.tail = self.rng.randrange(1, 512)
        self.content += self.rng.randbytes(self.tail)
        self.origin.write_bytes(self.content)
        self.store([0])
        self.view = bytearray(self.content)
        self.view[:CHUNK] = self.cow.read_bytes()[2 * CHUNK:3 * CHUNK]
        self.name = f"{self.origin}@{self.cow}"

    def test_what_writes_the_view_keeps_it(self):
        for command in (["read", self.name, "-o", self.out], ["convert", "-O", "raw", self.name, self.out],
                        ["merge", self.origin, self.cow, "-o", self.out]):
            done = run(*command)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(self.out.read_bytes(), self.view, command)
            self.out.unlink()
        self.assertEqual(run("read", self.name, binary=True).stdout, self.view)
        self.assertEqual(run("export", self.name, "-o", self.out).returncode, 0)
        new = self.scratch / "new"
        self.assertEqual(run("apply", self.out, self.origin, "-o", new).returncode, 0)
        self.assertEqual(new.read_bytes(), self.view)
        # qcow2 counts sectors: rounded up, and said.
        done = run("convert", "-O", "qcow2", self.name, self.out, "--force")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("rounded up", done.stderr)
        self.assertEqual(run("read", self.out, binary=True).stdout, bytes(self.view).ljust(64 * CHUNK + SECTOR, b"\0"))

    def test_all_readers_have_the_same_bytes(self):
        self.assertEqual(run("read", self.name, "-o", self.out).returncode, 0)
        self.assertEqual(run("hash", self.name).stdout.split()[0], hashlib.sha256(self.view).hexdigest())
        self.assertEqual(run("diff", "--strict", self.out, self.name).returncode, 0)
        rows = json.loads(run("map", "--output=json", self.name).stdout)
        self.assertEqual(rows[-1]["start"] + rows[-1]["length"], len(self.view))
        self.assertEqual(run("export", "--reverse", self.name, "-o", self.scratch / "d").returncode, 0)
        new = self.scratch / "new"
        self.assertEqual(run("apply", self.scratch / "d", self.name, "-o", new).returncode, 0)
        self.assertEqual(new.read_bytes(), self.content)

    def test_a_store_cannot_say_it(self):
        new = self.scratch / "n"
        for change, status in ((-1, 63), (0, 0)):
            content = bytearray(self.content)
            content[change] ^= 1
            new.write_bytes(content)
            done = run("convert", "-O", "dm-snapshot", "--base", self.origin, new, self.out, "--force")
            self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(run("merge", self.origin, self.out).returncode, 0)
        self.assertEqual(self.origin.read_bytes(), content)

    def test_an_origin_of_less_than_a_sector(self):
        for size in (0, 1, 100, 511):
            self.origin.write_bytes(self.content[:size])
            self.store([])
            self.assertEqual(run("read", self.name, binary=True).stdout, self.content[:size])
            done = run("export", self.name, "-o", self.out, "--force")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(run("apply", self.out, self.origin).returncode, 0)
            self.assertEqual(self.origin.read_bytes(), self.content[:size])


class Zeros(ReadersTest):
    def test_zeros_over_data_are_mapped(self):
        """A chunk of zeros over an origin's data: who copies the map's blocks over the origin gets the view."""
        self.store([3, 9])
        content = bytearray(self.cow.read_bytes())
        content[3 * CHUNK:4 * CHUNK] = bytes(CHUNK)  # the data of the second
        with open(self.cow, "wb") as file:
            for at in range(0, len(content), CHUNK):
                if any(content[at:at + CHUNK]):
                    file.seek(at)
                    file.write(content[at:at + CHUNK])
            file.truncate(len(content))
        view = run("read", f"{self.origin}@{self.cow}", binary=True).stdout
        self.assertEqual(view[9 * CHUNK:10 * CHUNK], bytes(CHUNK))
        bmap = run("map", "--as", "bmap", f"{self.origin}@{self.cow}").stdout
        copy = bytearray(self.content)
        for first, last in re.findall(r">(\d+)(?:-(\d+))?</Range>", bmap):
            begin, end = int(first) * CHUNK, (int(last or first) + 1) * CHUNK
            copy[begin:end] = view[begin:end]
        self.assertEqual(copy, view)
        ddrescue = run("map", "--as", "ddrescue", f"{self.origin}@{self.cow}").stdout
        self.assertNotIn("?\n", ddrescue.split("status\n")[-1])


class Undo(ReadersTest):
    def test_it_promises_what_it_does(self):
        undo = self.scratch / "u"
        self.store(range(60))
        before = self.cow.read_bytes()
        done = run("merge", "--undo", undo, self.origin, self.cow)
        self.assertIn("takes this back", done.stdout)
        done = run("undo", undo, self.origin, self.cow)
        self.assertIn("restored 60 exceptions", done.stdout)
        self.assertEqual((self.origin.read_bytes(), self.cow.read_bytes()), (self.content, before))
        done = run("undo", undo, self.origin, self.cow)
        self.assertEqual(done.returncode, 0)
        self.assertIn("nothing to restore", done.stdout)
        self.assertNotIn("restored", done.stdout)
        undo.write_bytes(b"")
        done = run("merge", "--undo", undo, self.origin, self.cow)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("takes this back", done.stdout)
        self.assertIn("what this command merged", done.stdout)


class Verify(ReadersTest):
    def verify(self, *operands):
        done = run("verify", "--output=json", *operands)
        return done.returncode, json.loads(done.stdout)

    def test_without_an_origin_it_says_so(self):
        self.store(range(5))
        status, report = self.verify(self.cow)
        self.assertEqual((status, report["origin"]), (0, None))
        self.assertIn("no origin was named", run("verify", self.cow).stdout)
        self.assertNotIn("no origin", run("verify", self.origin, self.cow).stdout)
        for old in (1 << 51, 1 << 56, 2**64 - 1):  # chunks of 4 KiB: 2**63 bytes and more
            self.patch(CHUNK, struct.pack("<Q", old))
            status, report = self.verify(self.cow)
            self.assertEqual((status, list(report["counts"])), (2, ["old-beyond-origin"]), old)
        self.patch(CHUNK, struct.pack("<Q", (1 << 51) - 1))
        self.assertEqual(self.verify(self.cow)[0], 0)

    def test_uuids_are_compared_as_by_merge(self):
        """Of an ext4's superblock: magic and UUID."""
        for there, status in ((b"a" * 16, 0), (b"b" * 16, 2)):
            self.store([0])
            for path, at, uuid in ((self.origin, 0, b"a" * 16), (self.cow, 2 * CHUNK, there)):
                content = bytearray(path.read_bytes())
                content[at + 1080:at + 1082] = b"\x53\xef"
                content[at + 1128:at + 1144] = uuid
                path.write_bytes(content)
            found, report = self.verify(self.origin, self.cow)
            self.assertEqual((found, list(report["counts"])), (status, ["other-origin"] if status else []))
            self.assertEqual(run("merge", "--dry-run", self.origin, self.cow).returncode, 66 if status else 0)

    def test_leaked_chunks_are_a_note(self):
        for lost in (1, 3):
            self.store(range(10))
            content = self.cow.read_bytes()
            entries = [struct.unpack_from("<QQ", content, CHUNK + 16 * i) for i in range(10)]
            kept = [entry for i, entry in enumerate(entries) if i not in range(2, 2 + lost)]
            self.patch(CHUNK, b"".join(struct.pack("<QQ", *entry) for entry in kept) + bytes(16 * lost))
            status, report = self.verify(self.cow)
            self.assertEqual((status, report["result"], report["counts"]), (0, "sound", {"leaked-chunks": 1}))
            self.assertEqual(report["findings"][0]["severity"], "note")
            self.assertIn(f"without an exception: {lost} ", report["findings"][0]["message"])


if __name__ == "__main__":
    main("stores that are not sound, as readers see them")
