# SPDX-License-Identifier: Apache-2.0
"""--cache none: what is read and written is not in the page cache afterwards, and is the same."""

import ctypes
import mmap
import os
import random
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
from crafted import random_pair  # noqa: E402
from harness import SEED, ScratchTest, main, run, skip  # noqa: E402

MIB = 1 << 20
MINCORE = ctypes.CDLL(None, use_errno=True).mincore


def cached_bytes(path):
    """How much of the file is in the page cache."""
    size = path.stat().st_size
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        if MINCORE(ctypes.byref(start), ctypes.c_size_t(size), pages) != 0:
            raise OSError(ctypes.get_errno(), "mincore")
        del start
        return sum(page & 1 for page in pages) * mmap.PAGESIZE


def forget(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class CacheNone(ScratchTest):
    def setUp(self):
        super().setUp()
        self.origin, self.cow = self.scratch / "origin", self.scratch / "cow"
        self.view = random_pair(random.Random(SEED), self.origin, self.cow, 128, 40 * MIB // 512, 256)
        forget(self.origin)
        if cached_bytes(self.origin) > MIB:
            skip(self, "the page cache cannot be emptied here")

    def copies(self):
        """Origin and COW, not in the page cache, for a run to change."""
        copies = [self.scratch / "origin2", self.scratch / "cow2"]
        for source, copy in zip((self.origin, self.cow), copies):
            shutil.copyfile(source, copy)
            forget(copy)
        for source in (self.origin, self.cow):
            forget(source)
        return copies

    def run_twice(self, command, outputs):
        """The command with the cache and without: that all of these files are the same, and not in the cache."""
        contents = []
        for cache in ("writeback", "none"):
            origin, cow = self.copies()
            names = {"A": origin, "C": cow, "A@C": f"{origin}@{cow}", "NEW": self.scratch / "new"}
            done = run(*(names.get(word, word) for word in command), "--cache", cache)
            self.assertEqual(done.returncode, 0, done.stderr)
            files = [names[name] for name in outputs]
            cached = {path.name: cached_bytes(path) for path in (origin, cow, *files)}
            contents.append([path.read_bytes() for path in files])
            if cache == "none":
                self.assertLess(max(cached.values()), 2 * MIB, cached)
            else:
                self.assertGreater(max(cached.values()), 8 * MIB, cached)
            (self.scratch / "new").unlink(missing_ok=True)
        self.assertEqual(contents[0], contents[1])
        return contents[1]

    def test_merge(self):
        self.assertEqual(self.run_twice(["merge", "A", "C"], ["A", "C"])[0], self.view)

    def test_read(self):
        self.assertEqual(self.run_twice(["read", "A@C", "-o", "NEW"], ["NEW"])[0], self.view)

    def test_convert(self):
        self.run_twice(["convert", "-O", "qcow2", "A@C", "NEW"], ["NEW"])
        self.run_twice(["convert", "-O", "raw", "A@C", "NEW"], ["NEW"])

    def test_export(self):
        self.run_twice(["export", "--full", "A@C", "-o", "NEW"], ["NEW"])


if __name__ == "__main__":
    main(__name__)
