# SPDX-License-Identifier: Apache-2.0
"""Damaged stores: snaptool and the real kernel agree which can be attached, and what they show; what repair makes of them is
what the kernel showed of them, and the kernel takes it.
"""

import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import Layout, naive_entries, write_store  # noqa: E402
from harness import SEED, ScratchTest, main, need, run, scaled  # noqa: E402
from uml import run_in_guest  # noqa: E402

STORES = scaled(400)
# With one of these the kernel does not attach the store.
REFUSED = {"short-file", "bad-magic", "bad-version", "bad-chunk-size", "missing-area"}
seen = collections.Counter()


class Case:
    def __init__(self, number, folder):
        self.rng = random.Random(SEED * 1000003 + number)
        self.folder, self.number = folder, number
        self.chunk = self.rng.choice([1, 1, 2, 8])
        self.chunks = self.rng.randrange(40, 140)
        self.sectors = self.chunks * self.chunk - self.rng.randrange(self.chunk)
        self.origin, self.cow = folder / f"origin-{number}", folder / f"cow-{number}"
        self.origin.write_bytes(self.rng.randbytes(self.sectors * 512))
        count = self.rng.randrange(1, self.chunks)
        write_store(self.cow, self.chunk, self.rng.sample(range(self.chunks), count),
                    lambda _: self.rng.randbytes(self.chunk * 512))
        layout = Layout(self.chunk)
        size = max(layout.new_chunk(count - 1), layout.area_chunk(count // layout.per_area)) + 1
        os.truncate(self.cow, (size + self.rng.randrange(3)) * self.chunk * 512)
        content = bytearray(self.cow.read_bytes())
        self.mutate(content, layout, count)
        self.cow.write_bytes(content)
        # The kernel makes a store of one whose magic is 0.
        self.theirs = folder / f"kernel-{number}"
        shutil.copy(self.cow, self.theirs)

    def mutate(self, content, layout, count):
        """One to three changes of the kinds that a medium, a program or an attacker makes."""
        for _ in range(self.rng.choice([1, 1, 1, 2, 3])):
            index = self.rng.randrange(count + 1)
            entry = layout.area_chunk(index // layout.per_area) * layout.chunk_bytes + index % layout.per_area * 16
            other = self.rng.randrange(count)
            there = layout.area_chunk(other // layout.per_area) * layout.chunk_bytes + other % layout.per_area * 16
            kind = self.rng.choice(["header", "old", "old", "new", "new", "new", "copy", "bit", "cut", "area", "junk"])
            if kind == "header":
                at = self.rng.choice([0, 4, 8, 12])
                value = self.rng.choice([0, 1, 2, 3, 8, 16, 1 << 21, 1 << 22, 1 << 31, self.rng.getrandbits(32)])
                content[at:at + 4] = struct.pack("<I", value)
            elif kind in ("old", "new"):
                limit = self.chunks if kind == "old" else len(content) // layout.chunk_bytes
                value = self.rng.choice([0, 1, 2, self.rng.randrange(limit), limit - 1, limit, limit + 1,
                                         layout.per_area + 2, 1 << 40, 1 << 54, 1 << 56, 3 << 57,
                                         self.rng.getrandbits(64)])
                at = entry + (0 if kind == "old" else 8)
                if at + 8 <= len(content):
                    content[at:at + 8] = struct.pack("<Q", value)
            elif kind == "copy" and max(entry, there) + 16 <= len(content):
                size = self.rng.choice([8, 16])
                content[entry:entry + size] = content[there:there + size]
            elif kind == "bit" and entry + 16 <= len(content):
                content[entry + self.rng.randrange(16)] ^= 1 << self.rng.randrange(8)
            elif kind == "cut":
                del content[self.rng.randrange(512, len(content) + 1) // 512 * 512:]
            elif kind in ("area", "junk"):
                at = layout.area_chunk(index // layout.per_area) * layout.chunk_bytes
                size = min(layout.chunk_bytes, len(content) - at)
                if size > 0:
                    content[at:at + size] = bytes(size) if kind == "area" else self.rng.randbytes(size)
            if len(content) < 1024:
                content.extend(bytes(1024 - len(content)))

    def step(self, cow):
        return {"do": "look", "origin": self.origin.name, "cow": cow.name, "chunk": self.chunk}

    def contested(self):
        """Origin chunks that the kernel shows, and we not, or another way (libsnap/snap/repair/REPAIR.md).

        In memory it joins entries to runs: a later entry for a chunk that continues a run is found with the run, which
        can come before the first entry. (A merge, which does not use the runs, leaves the first on the origin.) And of
        a data chunk that a cut left a part of, it reads that part.
        """
        content = self.cow.read_bytes()
        entries = []
        with contextlib.suppress(struct.error):  # the list goes on behind the end
            for _, old, new in naive_entries(content, struct.unpack_from("<I", content, 12)[0]):
                entries.append((old, new))
        times = collections.Counter(old for old, _ in entries)
        pairs = set(entries)
        cut = len(content) // (self.chunk * 512)
        return {old for old, new in entries
                if new == cut or (times[old] > 1 and ((old - 1, new - 1) in pairs or (old + 1, new + 1) in pairs))}

    def hashes(self, view):
        size = self.chunk * 512
        return [hashlib.sha256(view[at:at + size]).hexdigest()[:16] for at in range(0, len(view), size)]


class Mutated(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, "linux.uml")

    def assert_same(self, case, view, chunks):
        """Chunk by chunk; but for those that the kernel could not read."""
        contested = case.contested()
        for number, (ours, theirs) in enumerate(zip(case.hashes(view), chunks, strict=True)):
            if number in contested and ours != theirs:
                seen["contested"] += 1
            elif theirs is not None:
                self.assertEqual(ours, theirs, f"chunk {number}")

    def compare(self, case, kernel):
        """Whether both agree; returns the repaired store, where there is one."""
        verified = run("verify", "--output=json", case.origin, case.cow)
        report = json.loads(verified.stdout)
        codes = set(report["counts"])
        seen.update(codes or {"sound"})
        self.assertEqual(kernel["accepted"], not codes & REFUSED, codes)
        readable = False
        if kernel["accepted"]:
            status = kernel["status"]
            self.assertEqual("invalid" in codes, status.endswith("Invalid"), (codes, status))
            view = run("read", "--ignore-invalid", f"{case.origin}@{case.cow}", binary=True)
            strict = run("read", f"{case.origin}@{case.cow}", binary=True)
            if report["result"] == "corrupt":
                self.assertEqual((strict.returncode, strict.stdout), (65, b""), codes)
                self.assertTrue(view.returncode != 0 or b"corrupt" in view.stderr or "invalid" in codes, codes)
            elif view.returncode == 0:
                self.assertEqual(strict.stdout, view.stdout)
            if {"no-store", "wiped-header"} & codes:
                self.assertTrue(status.endswith(f" {2 * case.chunk}/{case.cow.stat().st_size // 512} {2 * case.chunk}"))
            elif "invalid" not in codes:
                self.assertEqual(run("status", "--ignore-invalid", case.origin, case.cow).stdout.strip(), status)
                readable = True
            if readable and view.returncode == 0:
                self.assertNotIn(None, kernel["chunks"])
                self.assert_same(case, view.stdout, kernel["chunks"])
            elif readable:
                self.assertTrue(codes & {"new-beyond-cow", "new-high-byte"}, (codes, view.stderr))
                seen["unreadable"] += 1
        repaired = case.folder / f"repaired-{case.number}"
        done = run("repair", "--output=json", "--ignore-invalid", *random.Random(case.number).choice([[], ["--compact"]]),
                   case.origin, case.cow, "-o", repaired)
        if done.returncode != 0:
            self.assertIn(done.returncode, (65, 63))
            self.assertTrue(codes & (REFUSED | {"no-store", "wiped-header"}) or report["exceptions"] == 0, (codes, done.stderr))
            return None
        self.assertEqual(run("verify", case.origin, repaired).returncode, 0)
        view = run("read", f"{case.origin}@{repaired}", binary=True)
        self.assertEqual(view.returncode, 0, view.stderr)
        dropped = json.loads(done.stdout)["counts"]
        if readable and not {"new-is-metadata", "new-high-byte", "destroyed-area"} & set(dropped):
            self.assert_same(case, view.stdout, kernel["chunks"])
            seen["repaired like the kernel's view"] += 1
        return repaired, view.stdout

    def test_the_kernel_agrees(self):
        cases = [Case(number, self.scratch) for number in range(STORES)]
        results = run_in_guest(self.scratch, [case.step(case.theirs) for case in cases], timeout=120 + STORES)
        repaired = []
        for case, kernel in zip(cases, results, strict=True):
            with self.subTest(case=case.number):
                made = self.compare(case, kernel)
                if made:
                    repaired.append((case, *made))
        self.assertGreater(len(repaired), STORES // 2)
        again = run_in_guest(self.scratch, [case.step(cow) for case, cow, _ in repaired], timeout=120 + STORES)
        for (case, _, view), kernel in zip(repaired, again, strict=True):
            with self.subTest(case=case.number, repaired=True):
                self.assertTrue(kernel["accepted"])
                self.assertEqual(kernel["chunks"], case.hashes(view))

    @classmethod
    def tearDownClass(cls):
        print(f"seed {SEED} (SNAPTOOL_SEED replays it); {STORES} stores; found: {dict(seen)}")


if __name__ == "__main__":
    main("kernel, damaged stores")
