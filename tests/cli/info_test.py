# SPDX-License-Identifier: Apache-2.0
"""What info says of file systems, beside blkid."""

import json
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import DATA, ScratchTest, main, need, run, unpack  # noqa: E402

MIB = 1 << 20


def blkid(image, offset=0):
    done = subprocess.run(["blkid", "-p", "-O", str(offset), "-o", "export", image], capture_output=True, text=True, check=False)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


class FileSystems(ScratchTest):
    MAKERS = {
        "ext4": ["mke2fs", "-q", "-t", "ext4", "-L", "one"],
        "fat16": ["mkfs.vfat", "-F", "16", "-s", "1", "-n", "TWO"],
        "exfat": ["mkfs.exfat", "-L", "three"],
        "ntfs": ["mkntfs", "-Q", "-q", "-F", "-L", "four"],
        "swap": ["mkswap", "-q", "-L", "five"],
    }

    def made(self, kind, size=8 * MIB):
        need(self, self.MAKERS[kind][0])
        image = self.scratch / f"{kind}.img"
        with open(image, "wb") as file:
            file.truncate(size)
        subprocess.run([*self.MAKERS[kind], image], check=True, capture_output=True)
        return image

    def info(self, image):
        done = run("info", "--output=json", image)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)

    def assert_as_blkid(self, seen, image, offset=0):
        expected = blkid(image, offset)
        self.assertEqual((seen["label"], seen["uuid"]), (expected.get("LABEL", ""), expected.get("UUID", "")))
        self.assertEqual(seen["type"].replace("fat16", "vfat"), expected["TYPE"])

    def test_each_kind(self):
        need(self, "blkid")
        for kind in self.MAKERS:
            with self.subTest(kind=kind):
                image = self.made(kind)
                seen = self.info(image)["file_system"]
                self.assert_as_blkid(seen, image)
                self.assertEqual(seen["type"], kind)
                self.assertEqual(seen["is_read"], kind != "swap")
                self.assertRegex(run("info", image).stdout, rf"\nfile system: +{kind} '{seen['label']}', UUID {seen['uuid']}\n")

    def test_one_that_cannot_be_read_hides_no_other(self):
        """The second 64 KiB of the first partition lie past the end of the qcow2 file."""
        need(self, "qemu-img")
        disk, image = self.scratch / "disk", self.scratch / "disk.qcow2"
        swap = self.made("swap", 2 * MIB)
        table = bytearray(512)
        for i in range(2):
            table[446 + 16 * i:462 + 16 * i] = struct.pack("<B3xB3xII", 0, 0x83, (1 + 2 * i) * 2048, 4096)
        table[510:] = b"\x55\xaa"
        disk.write_bytes(bytes(table).ljust(MIB, b"\0") + b"x" * (2 * MIB) + swap.read_bytes())
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", disk, image], check=True)
        content = bytearray(image.read_bytes())
        l1_table, = struct.unpack_from(">Q", content, 40)
        l2_table = struct.unpack_from(">Q", content, l1_table)[0] & 0xfffffffffe00
        struct.pack_into(">Q", content, l2_table + 8 * (MIB // 65536 + 1), 1 << 63 | 1 << 40)
        image.write_bytes(content)
        first, second = self.info(image)["partition_table"]["partitions"]
        self.assertIn("disk.qcow2", first["problem"])
        self.assertNotIn("file_system", first)
        self.assert_as_blkid(second["file_system"], swap)
        self.assertRegex(run("info", image).stdout, r"\n    problem: .*\n  #p2 .*\n    file system: swap")

    def test_those_that_are_not_read(self):
        """Superblocks by their documented fields."""
        need(self, "blkid")
        uuid = bytes(range(16))
        xfs = bytearray(MIB)
        # Magic, block size, blocks, UUID, and what must be plausible; the label.
        xfs[0:4], xfs[4:8], xfs[8:16], xfs[32:48] = b"XFSB", (4096).to_bytes(4, "big"), (256).to_bytes(8, "big"), uuid
        xfs[80:84], xfs[84:88], xfs[88:92], xfs[96:100] = (1).to_bytes(4, "big"), (256).to_bytes(4, "big"), (1).to_bytes(4, "big"), (64).to_bytes(4, "big")
        xfs[100:108] = (4).to_bytes(2, "big") + (512).to_bytes(2, "big") + (256).to_bytes(2, "big") + (16).to_bytes(2, "big")
        xfs[108:114] = b"six\0\0\0"
        xfs[120:128] = bytes([12, 9, 8, 4, 8, 0, 0, 25])
        luks = bytearray(MIB)
        luks[0:8] = b"LUKS\xba\xbe\0\x01"
        luks[168:208] = b"01234567-89ab-cdef-0123-456789abcdef".ljust(40, b"\0")
        for kind, content in (("xfs", xfs), ("crypto_LUKS", luks)):
            with self.subTest(kind=kind):
                image = self.scratch / kind
                image.write_bytes(content)
                expected = blkid(image)
                self.assertEqual(expected.get("TYPE"), kind)
                seen = self.info(image)
                self.assert_as_blkid(seen["file_system"], image)
                self.assertFalse(seen["file_system"]["is_read"])

    def test_in_partitions_and_volumes(self):
        need(self, "sfdisk", "blkid")
        disk = self.scratch / "disk"
        with open(disk, "wb") as file:
            for number, kind in enumerate(("ext4", "swap")):
                file.seek((1 + 8 * number) * MIB)
                file.write(self.made(kind).read_bytes())
            file.truncate(20 * MIB)
        subprocess.run(["sfdisk", "-q", disk], text=True, check=True, capture_output=True,
                       input="label: gpt\nstart=1MiB, size=8MiB\nstart=9MiB, size=8MiB\nstart=17MiB, size=1MiB\n")
        parts = self.info(disk)["partition_table"]["partitions"]
        self.assertEqual([p.get("file_system", {}).get("type") for p in parts], ["ext4", "swap", None])
        for part in parts[:2]:
            self.assert_as_blkid(part["file_system"], disk, part["offset"])
        unpack(DATA / "lvm" / "pv.img.zst", self.scratch / "pv.img")
        group = self.info(self.scratch / "pv.img")
        self.assertNotIn("file_system", group)
        self.assertEqual({v["name"] for v in group["lvm2"]["lvs"] if "file_system" in v}, set())

    def test_one_that_is_damaged(self):
        image = self.made("ext4")
        with open(image, "r+b") as file:
            file.seek(1024 + 96)
            file.write(b"\xff\xff\xff\xff")  # features that no reader knows
        seen = self.info(image)["file_system"]
        self.assertTrue(seen["problem"])
        self.assertIn(seen["problem"], run("info", image).stdout)


if __name__ == "__main__":
    main("info")
