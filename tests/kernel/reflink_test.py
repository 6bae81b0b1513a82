# SPDX-License-Identifier: Apache-2.0
"""XFS and btrfs: what is merged or copied shares its blocks, and reads the same after the file system was mounted again."""

import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import write_store  # noqa: E402
from harness import SEED, SNAPTOOL, ScratchTest, main, need, sha256_of_file  # noqa: E402
from log_writes_test import naive_view  # noqa: E402
from uml import run_in_guest  # noqa: E402

CHUNK, CHUNKS = 128, 160  # 64 KiB; 10 MiB
MAKERS = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q", "-M"]}


class Reflinks(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, "linux.uml")
        self.rng = random.Random(SEED)
        print(f"seed {SEED} (SNAPTOOL_SEED replays it)")

    def share(self, kind):
        need(self, MAKERS[kind][0])
        origin = self.rng.randbytes(CHUNKS * CHUNK * 512 + 512)
        (self.scratch / "origin").write_bytes(origin)
        write_store(self.scratch / "cow", CHUNK, self.rng.sample(range(CHUNKS), 100),
                    lambda _: self.rng.randbytes(CHUNK * 512))
        view = naive_view(origin, (self.scratch / "cow").read_bytes(), CHUNK)
        (self.scratch / "view").write_bytes(view)
        with open(self.scratch / "disk", "wb") as disk:
            disk.truncate(400 << 20)
        subprocess.run([*MAKERS[kind], self.scratch / "disk"], check=True)
        commands = [["read", "-v", "origin@cow", "-o", "read"], ["merge", "-v", "origin", "cow", "-o", "new"],
                    ["merge", "-v", "--verify", "origin", "cow"]]
        step = {"do": "on-file-system", "kind": kind, "disk": "disk", "files": ["origin", "cow"],
                "commands": [[str(SNAPTOOL), *command] for command in commands], "results": ["read", "new", "origin"]}
        result, = run_in_guest(self.scratch, [step])
        for run in result["runs"]:
            self.assertEqual(run["status"], 0, run)
            self.assertIn("are shared, not copied", run["stderr"])
        # Read whole as two new files, and merged: of the 40 MiB that copies would take there is next to nothing.
        self.assertLess(result["used"], 4 << 20)
        whole = len(view) // 512 * 512
        for name in step["results"]:
            self.assertEqual((self.scratch / name).read_bytes()[:whole], view[:whole], name)
        self.assertEqual(sha256_of_file(self.scratch / "new"), sha256_of_file(self.scratch / "view"))

    def test_xfs(self):
        self.share("xfs")

    def test_btrfs(self):
        self.share("btrfs")


if __name__ == "__main__":
    main("reflinks on XFS and btrfs")
