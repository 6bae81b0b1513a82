# SPDX-License-Identifier: Apache-2.0
"""Merges on devices whose writes the kernel's dm-log-writes logs, and what a power cut after each of these would leave.

dm-log-writes logs a write when it is complete and, of those without a flush behind them, not before the next flush:
each beginning of its log is a state that the medium can have been in.
"""

import hashlib
import random
import shutil
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import write_store  # noqa: E402
from harness import SEED, SNAPTOOL, ScratchTest, main, need, run  # noqa: E402
from uml import run_in_guest  # noqa: E402

LOG_MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


def read_log(path):
    """The entries of the log: (offset in bytes, data or None for a discard, their length, flags)."""
    log = path.read_bytes()
    magic, version, count, unit = struct.unpack_from("<QQQI", log)
    assert (magic, version) == (LOG_MAGIC, 1)
    at = unit
    for _ in range(count):
        sector, sectors, flags, _ = struct.unpack_from("<4Q", log, at)
        at += unit
        size = sectors * unit
        if flags & MARK:
            continue
        if flags & DISCARD:
            yield sector * unit, None, size, flags
            continue
        yield sector * unit, log[at:at + size], size, flags
        at += size


def naive_view(origin, cow, chunk):
    """What the snapshot shows, by the plain rule."""
    size, view = chunk * 512, bytearray(origin)
    per_area, seen, index = size // 16, set(), 0
    while True:
        area, entry = divmod(index, per_area)
        old, new = struct.unpack_from("<QQ", cow, (1 + area * (per_area + 1)) * size + entry * 16)
        if new == 0:
            return bytes(view)
        if old not in seen:
            view[old * size:(old + 1) * size] = cow[new * size:(new + 1) * size]
        seen.add(old)
        index += 1


class LoggedWrites(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, "linux.uml")
        self.rng = random.Random(SEED)
        print(f"seed {SEED} (SNAPTOOL_SEED replays it)")

    def make_disk(self, name, chunk, chunks, exceptions):
        """Origin and COW, one behind the other, as the image `name`; returns their sizes and the view."""
        origin = self.rng.randbytes(chunks * chunk * 512)
        olds = self.rng.sample(range(chunks), exceptions)
        data = [self.rng.randbytes(chunk * 512) for _ in olds]
        path = self.scratch / "store"
        write_store(path, chunk, olds, lambda index: data[index])
        cow = path.read_bytes()
        cow += bytes(-len(cow) % 4096)
        (self.scratch / name).write_bytes(origin + cow)
        with open(self.scratch / f"{name}.log", "wb") as log:
            log.truncate(64 << 20)
        return len(origin), len(cow), naive_view(origin, cow, chunk)

    def test_every_beginning_of_the_log_has_the_view(self):
        steps, cases = [], []
        program = shutil.copy(SNAPTOOL, self.scratch / "snaptool")
        for chunk, chunks, exceptions, options in ((1, 400, 150, ()), (8, 120, 90, ("--verify",)), (32, 60, 20, ())):
            name = f"disk-{chunk}"
            origin_size, cow_size, view = self.make_disk(name, chunk, chunks, exceptions)
            cases.append((name, chunk, origin_size, view, (self.scratch / name).read_bytes()))
            steps.append({"do": "logged", "disk": name, "log": f"{name}.log", "origin_sectors": origin_size // 512,
                          "cow_sectors": cow_size // 512, "command": [str(program), "merge", "-q", *options]})
        total = 0
        for (name, chunk, size, view, before), result in zip(cases, run_in_guest(self.scratch, steps), strict=True):
            self.assertEqual((result["status"], result["stderr"]), (0, ""))
            disk, states, flushes = bytearray(before), [], 0
            for at, data, length, flags in read_log(self.scratch / f"{name}.log"):
                disk[at:at + length] = data if data is not None else bytes(length)
                flushes += flags & FLUSH
                states.append((at, bytes(disk)))
                self.assertEqual(naive_view(disk[:size], disk[size:], chunk), view, f"{name}, write {len(states)}")
            self.assertGreater(len(states), 4)
            self.assertGreaterEqual(flushes, 3)
            self.assertEqual(bytes(disk[:size]), view)
            self.assertEqual((self.scratch / name).read_bytes(), bytes(disk), "the log is the whole story")
            # Resumed from some of them.
            for _, state in self.rng.sample(states, min(6, len(states))):
                origin, cow = self.scratch / "origin", self.scratch / "cow"
                origin.write_bytes(state[:size])
                cow.write_bytes(state[size:])
                done = run("merge", "-q", origin, cow)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(hashlib.sha256(origin.read_bytes()).digest(), hashlib.sha256(view).digest())
            total += len(states)
        print(f"{total} logged writes replayed")


if __name__ == "__main__":
    main("replays by dm-log-writes")
