# SPDX-License-Identifier: Apache-2.0
"""What a power cut leaves of a store while the real kernel writes to it: snaptool reads it, and writes on.

tests/data/trace-c8 has every write of the kernel to a COW, with its flushes, in the order of completion. A cut
leaves what was flushed, and of the writes since the last flush any subset, torn at 512 bytes.
"""

import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import DATA, SEED, ScratchTest, main, run, scaled, unpack  # noqa: E402
from log_writes_test import FLUSH, FUA, naive_view, read_log  # noqa: E402

STATES = scaled(800)
SECTOR, CHUNK = 512, 8


class Trace(ScratchTest):
    def setUp(self):
        super().setUp()
        folder = DATA / "trace-c8"
        for name in ("origin.img", "cow.before.img", "log.img"):
            unpack(folder / f"{name}.zst", self.scratch / name)
        self.origin = (self.scratch / "origin.img").read_bytes()
        self.before = (self.scratch / "cow.before.img").read_bytes()
        self.log = list(read_log(self.scratch / "log.img"))
        self.rng = random.Random(SEED)
        print(f"seed {SEED} (SNAPTOOL_SEED replays it)")

    def states(self):
        """(writes before the cut, the COW), at random cuts with random subsets of what was pending."""
        # The kernel makes header and first area without a flush; they are durable with its first commit.
        first = next(n for n, (_, data, _, flags) in enumerate(self.log) if flags & FUA and data) + 1
        # At its end, the trace has the store wiped, and another one made in its place: not looked at.
        end = next(n for n, (offset, data, _, _) in enumerate(self.log) if offset == 0 and data and data[:4] == bytes(4))
        cuts = sorted(self.rng.randrange(first, end + 1) for _ in range(STATES))
        durable, pending, at = bytearray(self.before), [], 0
        for cut in cuts:
            while at < cut:
                offset, data, length, flags = self.log[at]
                data = data if data is not None else bytes(length)
                if flags & FLUSH:
                    for old_offset, old in pending:
                        durable[old_offset:old_offset + len(old)] = old
                    pending = []
                if flags & FUA:
                    durable[offset:offset + length] = data
                else:
                    pending.append((offset, data))
                at += 1
            state = bytearray(durable)
            share = self.rng.choice([0, 0.5, 0.5, 0.9, 1])
            for offset, data in pending:
                for sector in range(0, len(data), SECTOR):
                    if self.rng.random() < share:
                        state[offset + sector:offset + sector + SECTOR] = data[sector:sector + SECTOR]
            yield cut, bytes(state)

    def versions(self):
        """By COW chunk: every content that each of its sectors was given."""
        seen = {}
        for offset, data, length, _ in self.log:
            data = data if data is not None else bytes(length)
            for at in range(0, length, SECTOR):
                seen.setdefault((offset + at) // SECTOR, set()).add(data[at:at + SECTOR])
        return seen

    def test_any_cut_is_read_and_written_on(self):
        versions = self.versions()
        origin, cow = self.scratch / "origin.img", self.scratch / "cow.img"
        size = CHUNK * SECTOR
        for n, (cut, state) in enumerate(self.states()):
            with self.subTest(cut=cut, state=n):
                cow.write_bytes(state)
                expected = naive_view(self.origin, state, CHUNK)
                shown = run("read", f"{origin}@{cow}", binary=True)
                self.assertEqual((shown.returncode, shown.stderr), (0, b""))
                self.assertEqual(shown.stdout, expected)
                # A torn zeroing of the next area is harmless.
                self.assertIn(run("verify", origin, cow).returncode, (0, 3))
                # No entry came before its data: each sector of a data chunk is one that the kernel wrote there.
                for index in range(size // 16):
                    _, new = struct.unpack_from("<QQ", state, size + index * 16)
                    if new == 0:
                        break
                    for sector in range(new * CHUNK, (new + 1) * CHUNK):
                        self.assertIn(state[sector * SECTOR:(sector + 1) * SECTOR],
                                      versions.get(sector, set()), f"sector {sector} of data chunk {new}")
                if n % 4 != 0:
                    continue
                data = self.rng.randbytes(300 * SECTOR)
                at = self.rng.randrange(len(self.origin) // SECTOR - 300) * SECTOR
                done = run("write", "-q", "--offset", at, origin, cow, stdin=None, input=data, binary=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(naive_view(self.origin, cow.read_bytes(), CHUNK),
                                 expected[:at] + data + expected[at + len(data):])
        print(f"{STATES} states")


if __name__ == "__main__":
    main("the kernel's writes cut anywhere")
