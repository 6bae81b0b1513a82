# SPDX-License-Identifier: Apache-2.0
"""A block of a file fails under a real file system, is mended, and the same command runs again.

ext4 counts the pages as written once it has reported the error: reads show what the medium does not have.
"""

import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import write_store  # noqa: E402
from harness import SEED, SNAPTOOL, ScratchTest, main, need  # noqa: E402
from log_writes_test import naive_view  # noqa: E402
from uml import run_in_guest  # noqa: E402

CHUNK, CHUNKS, OFFSET = 8, 64, 5 * 4096


class FailedWrites(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, "linux.uml")
        need(self, "mkfs.ext4")
        self.rng = random.Random(SEED)
        print(f"seed {SEED} (SNAPTOOL_SEED replays it)")

    def retry(self, options, bad):
        """Writes to a snapshot, twice; the byte `bad` of the COW lies in the block that fails."""
        files = self.scratch / "files"
        files.mkdir()
        origin = self.rng.randbytes(CHUNKS * CHUNK * 512)
        (files / "origin").write_bytes(origin)
        old = self.rng.sample(range(CHUNKS), 10)
        write_store(files / "cow", CHUNK, old, lambda _: self.rng.randbytes(CHUNK * 512))
        # Free chunks have blocks, too: the byte that fails must lie somewhere.
        with open(files / "cow", "r+b") as cow:
            cow.seek((2 + len(old)) * CHUNK * 512)
            cow.write(self.rng.randbytes(70 * CHUNK * 512))
        before = naive_view(origin, (files / "cow").read_bytes(), CHUNK)
        data = self.rng.randbytes(40 * 4096)
        (self.scratch / "data").write_bytes(data)
        disk = self.scratch / "disk"
        subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-d", files, disk, "64M"], check=True)
        command = [SNAPTOOL, "write", "-q", *options, "--offset", str(OFFSET), "origin", "cow"]
        step = {"do": "retry", "disk": "disk", "command": [str(word) for word in command], "input": "data",
                "bad": ["cow", bad], "files": ["origin", "cow"], "open_seconds": 3}
        result, = run_in_guest(self.scratch, [step])
        first, second = result["runs"]
        self.assertNotEqual(first["status"], 0, first)
        self.assertIn("flush", first["stderr"])
        self.assertEqual(second["status"], 0, second)
        wanted = before[:OFFSET] + data + before[OFFSET + len(data):]
        found = naive_view((self.scratch / "origin").read_bytes(), (self.scratch / "cow").read_bytes(), CHUNK)
        self.assertEqual(found, wanted, "the medium")

    def test_the_list(self):
        self.retry([], CHUNK * 512)

    def test_the_list_and_what_is_equal_is_skipped(self):
        self.retry(["--skip-equal"], CHUNK * 512)

    def test_data_and_what_is_equal_is_skipped(self):
        self.retry(["--skip-equal"], 15 * CHUNK * 512)


if __name__ == "__main__":
    main("retries after a block failed, under ext4")
