# SPDX-License-Identifier: Apache-2.0
"""A file system that calls data a hole: what is read is right, or a command that is to verify finds it."""

import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
from crafted import write_store  # noqa: E402
from harness import SEED, ScratchTest, main, run  # noqa: E402

MIB = 1 << 20


class LyingMap(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")
        self.content = self.rng.randbytes(MIB)
        self.image, self.out, self.cow = self.scratch / "image", self.scratch / "out", self.scratch / "cow"
        self.image.write_bytes(self.content)
        write_store(self.cow, 8, [0], lambda _: self.content[:4096])

    def run_lying(self, begin, end, *arguments):
        environment = dict(os.environ, LD_PRELOAD=os.environ["SNAPTOOL_LYING_MAP"], LYING_MAP_FROM=str(begin),
                           LYING_MAP_TO=str(end))
        environment["ASAN_OPTIONS"] = environment.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        return run(*arguments, env=environment)

    def test_a_map_with_fewer_data_than_blocks_is_not_trusted(self):
        """All of the file, and a good part of it."""
        view = f"{self.image}@{self.cow}"
        for begin, end in ((0, 1 << 62), (MIB // 2, 1 << 62), (65536, MIB // 2)):
            for command in (["read", self.image, "-o", self.out], ["convert", "-O", "raw", self.image, self.out],
                            ["read", view, "-o", self.out], ["merge", self.image, self.cow, "-o", self.out]):
                done = self.run_lying(begin, end, *command, "--force")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("not trusted", done.stderr)
                self.assertEqual(self.out.read_bytes(), self.content, (begin, command))
            honest = run("hash", self.image).stdout
            self.assertEqual(self.run_lying(begin, end, "hash", self.image).stdout, honest)
            done = self.run_lying(begin, end, "export", "--full", self.image, "-o", self.out, "--force")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(run("apply", self.out, "-o", self.scratch / "new", "--force").returncode, 0)
            self.assertEqual((self.scratch / "new").read_bytes(), self.content)

    def test_verify_asks_no_map(self):
        """A lie that is too small to be told from the blocks of the map itself."""
        begin, end = 40960, 45056
        for command in (["convert", "-O", "raw", self.image, self.out], ["convert", "-O", "qcow2", self.image, self.out],
                        ["merge", self.image, self.cow, "-o", self.out]):
            self.assertEqual(self.run_lying(begin, end, *command).returncode, 0)
            self.out.unlink()
            done = self.run_lying(begin, end, *command, "--verify")
            self.assertEqual(done.returncode, 65, (command, done.stderr))
            self.assertIn(f"differs from {'the view' if command[0] == 'merge' else 'its source'} at byte {begin}", done.stderr)
            self.assertFalse(self.out.exists(), command)
        done = self.run_lying(begin, end, "export", "--verify", "--full", self.image, "-o", self.out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(run("apply", self.out, "-o", self.scratch / "new").returncode, 0)
        self.assertEqual((self.scratch / "new").read_bytes(), self.content)

    def test_holes_and_what_was_only_allocated_are_trusted(self):
        for allocated in (False, True):
            with open(self.image, "wb") as file:
                file.truncate(8 * MIB)
                if allocated:
                    os.posix_fallocate(file.fileno(), 0, 8 * MIB)
                file.seek(3 * MIB)
                file.write(self.content)
            done = run("hash", self.image)
            self.assertEqual(done.returncode, 0, done.stderr)
            if not allocated:  # some file systems do not tell what was only allocated
                self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    main("a map of holes that lies")
