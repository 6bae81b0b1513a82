# SPDX-License-Identifier: Apache-2.0
"""A program that links the library: it gets snaptool's guards without asking for one."""

import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import write_store  # noqa: E402
from harness import DATA, ScratchTest, main, run, unpack  # noqa: E402

PROGRAM = os.environ.get("SNAPTOOL_MERGE_DISK", "")
SECTOR = 512
START, SIZE = 2048, 2048  # of the second partition, sectors
CHUNK = 8


class MergeDisk(ScratchTest):
    def setUp(self):
        super().setUp()
        rng = random.Random(11)
        disk = bytearray(rng.randbytes((START + SIZE + 64) * SECTOR))
        disk[446:512] = bytes(66)
        for number, (start, size) in enumerate([(64, START - 64), (START, SIZE)]):
            struct.pack_into("<B3xB3xII", disk, 446 + 16 * number, 0, 0x83, start, size)
        disk[510:512] = b"\x55\xaa"
        self.disk = self.scratch / "disk.dd"
        self.disk.write_bytes(disk)
        self.cow = self.scratch / "disk.cow"
        chunks = [2, 3, 77]
        data = [rng.randbytes(CHUNK * SECTOR) for _ in chunks]
        write_store(self.cow, CHUNK, chunks, lambda index: data[index])
        for chunk, content in zip(chunks, data, strict=True):
            at = (START + chunk * CHUNK) * SECTOR
            disk[at:at + len(content)] = content
        self.merged = bytes(disk)

    def merge(self, name):
        return subprocess.run([PROGRAM, name], cwd=self.scratch, capture_output=True, text=True, timeout=60, check=False)

    def refused(self, name, *words):
        before = {path.name: path.read_bytes() for path in self.scratch.iterdir()}
        done = self.merge(name)
        self.assertEqual(done.returncode, 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual({path.name: path.read_bytes() for path in self.scratch.iterdir()}, before)

    def test_a_store_over_a_partition(self):
        done = self.merge("disk.dd#p2@disk.cow")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.disk.read_bytes(), self.merged)
        allocated, metadata = run("status", "disk.dd#p2", "disk.cow", cwd=self.scratch).stdout.split()[3:5]
        self.assertEqual(allocated.split("/")[0], metadata)  # nothing is left in it but its metadata

    def test_it_is_in_use(self):
        for path in (self.disk, self.cow):
            with open(path, "r+b") as file:
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, 0, 0, 0))
                self.refused("disk.dd#p2@disk.cow", path.name)

    def test_origin_and_store_are_one_file(self):
        os.link(self.cow, self.scratch / "other")
        self.refused("other@disk.cow", "same file")

    def test_a_store_that_is_corrupt(self):
        with open(self.cow, "r+b") as file:
            file.seek(CHUNK * SECTOR + 16)
            file.write(struct.pack("<QQ", 5, 1))  # data in the area
        self.refused("disk.dd#p2@disk.cow", "new-is-metadata")

    def test_an_origin_that_is_not_raw(self):
        run("convert", "-O", "qcow2", "disk.dd", "disk.qcow2", cwd=self.scratch)
        self.refused("disk.qcow2@disk.cow", "qcow2")

    def test_a_volume_that_has_another_snapshot(self):
        unpack(DATA / "lvm" / "pv.img.zst", self.scratch / "pv.img")
        shutil.copy(self.scratch / "pv.img", self.scratch / "copy")
        self.refused("pv.img#vg0/s1", "s2")

    def test_a_name_of_no_snapshot(self):
        self.refused("disk.dd", "COW")


if __name__ == "__main__":
    main("a program that links the library")
