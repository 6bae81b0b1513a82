# SPDX-License-Identifier: Apache-2.0
"""VHD: what qemu-img made, what it reads wrongly (differencing images), what snaptool made, and what is broken."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import main, need, run, scaled  # noqa: E402
from vm_images import KIB, MIB, SECTOR, SIZES, VmImageTest  # noqa: E402
from vpc_maker import FIXED, Vhd, random_vhd, with_sum  # noqa: E402


class Reading(VmImageTest):
    def test_what_qemu_makes(self):
        for sectors in SIZES:
            for options in (["-o", "subformat=dynamic"], ["-o", "subformat=fixed"], ["-o", "subformat=fixed,force_size=on"],
                            ["-o", "subformat=dynamic,force_size=on"]):
                content = self.qemu_makes("vpc", self.some_content(sectors), *options)
                self.assert_reads(content)
                self.assert_reads(content, "-f", "vhd")
                info = self.info()
                self.assertEqual((info["format"], info["virtual_size"]), ("vpc", len(content)))

    def test_blocks_of_every_size(self):
        for block in (SECTOR, 4 * KIB, 64 * KIB, 512 * KIB, 2 * MIB, 4 * MIB):
            size = self.rng.randrange(1, min(9000, 1000 * block // SECTOR)) * SECTOR
            image, content = random_vhd(self.rng, self.image, size, block=block)
            image.entries += self.rng.randrange(3)
            image.save(self.image)
            self.assert_reads(content)

    def test_a_footer_or_its_copy_is_lost(self):
        image, content = random_vhd(self.rng, self.image, 3000 * SECTOR, block=64 * KIB)
        image.save(self.image)
        whole = self.image.read_bytes()
        sum_wrong = bytearray(whole)
        sum_wrong[-512 + 70] ^= 1
        for bad, word in ((whole[:-512], "not there"), (whole[:-512] + bytes(512), "not there"), (whole[:-1], None),
                          (whole + b"junk" * 300, "not there"), (bytes(512) + whole[512:], "not there"),
                          (bytes(sum_wrong), "differ")):
            self.image.write_bytes(bad)
            done = run("read", self.image, binary=True)
            self.assertEqual((done.returncode, done.stdout), (0, content), (word, done.stderr))
            if word:
                self.assertIn(word.encode(), done.stderr)
        # All of them have a wrong sum: what a published file is like.
        for at in (70, len(whole) - 512 + 70):
            sum_wrong[at] = whole[at] ^ 1
        self.image.write_bytes(sum_wrong)
        done = run("read", self.image, binary=True)
        self.assertEqual((done.returncode, done.stdout), (0, content), done.stderr)
        self.assertIn(b"wrong sum", done.stderr)

    def test_fixed_ones_are_known_by_their_end(self):
        image = Vhd(3 * MIB, kind=FIXED, block=MIB, rng=self.rng)
        content = b"conectix" + self.rng.randbytes(3 * MIB - 8)  # which a guest may write
        for number in range(3):
            image.add(number, content[number * MIB:(number + 1) * MIB])
        content = self.rng.randbytes(8) + content[8:]
        image.blocks[0] = (b"", content[:MIB])
        image.save(self.image)
        whole = self.image.read_bytes()
        self.assert_reads(content)
        # One whose footer has a wrong sum is named, and not taken for a raw disk.
        self.image.write_bytes(whole[:-440] + b"!" + whole[-439:])
        self.refused(63, "read", self.image, words=["wrong footer", "-f vpc"])
        done = run("read", "-f", "vpc", self.image, binary=True)
        self.assertEqual((done.returncode, done.stdout), (0, content), done.stderr)
        # The size of the footer is not that of the file.
        self.image.write_bytes(whole[:MIB] + whole[-512:])
        self.refused(63, "read", self.image)
        self.refused(65, "read", "-f", "vpc", self.image, words=["ends at byte"])


    def test_a_guest_does_not_choose_the_format(self):
        """What a fixed one begins with is its disk's, also where it is a parent."""
        need(self, "qemu-img")
        inner = self.scratch / "inner.qcow2"
        self.qemu("qemu-img", "create", "-q", "-f", "qcow2", inner, "1M")
        content = inner.read_bytes().ljust(512 * KIB, b"g")
        base = self.scratch / "base.vhd"
        parent = Vhd(len(content), kind=FIXED, block=512 * KIB, rng=self.rng)
        parent.add(0, content)
        parent.save(base)
        self.assert_reads(content, path=base)
        child = Vhd(len(content), kind=4, block=64 * KIB, rng=self.rng)
        child.add(1, bytes(64 * KIB), range(3, 5))
        child.parent_uuid, child.parent_name = parent.uuid, "base.vhd"
        child.save(self.image)
        expected = content[:67 * KIB - 1536] + bytes(2 * SECTOR) + content[67 * KIB - 512:]
        self.assertEqual(len(expected), len(content))
        for options in (["--parent", base], ["--follow-parents"]):
            self.assert_reads(expected, *options)

    def test_footers_that_say_another_type(self):
        image, content = random_vhd(self.rng, self.image, 3000 * SECTOR, block=64 * KIB)
        image.save(self.image)
        whole = self.image.read_bytes()
        flipped = bytearray(whole)
        flipped[-512 + 63] = FIXED
        self.image.write_bytes(flipped)
        done = run("read", self.image, binary=True)
        self.assertEqual((done.returncode, done.stdout), (0, content), done.stderr)
        self.assertIn(b"differ", done.stderr)
        # One of a fixed image at the beginning is none.
        image.kind = FIXED
        self.image.write_bytes(image.footer() + bytes(5 * MIB))
        self.refused(65, "hash", self.image, words=["no footer"])


class Parents(VmImageTest):
    def test_chains(self):
        """Three images, with junk where a sector is the parent's; sizes that differ."""
        base = self.scratch / "base.vhd"
        parent, below = random_vhd(self.rng, base, 2000 * SECTOR, block=64 * KIB)
        parent.save(base)
        for number, (size, locators, name) in enumerate((
                (2500 * SECTOR, [(b"W2ru", ".\\base.vhd".encode("utf-16-le"))], ""),
                (1999 * SECTOR, [(b"W2ku", "C:\\VMs\\child0.vhd".encode("utf-16-le"))], "nowhere.vhd"),
                (1999 * SECTOR, [(b"MacX", b"file://./child1.vhd")], "D:\\x\\nowhere.vhd"))):
            path = self.scratch / f"child{number}.vhd"
            child, content = random_vhd(self.rng, path, size, parent=parent, below=below, block=64 * KIB)
            child.locators, child.parent_name = locators, name
            child.save(path)
            self.refused(63, "read", path, words=["not opened unasked", "--follow-parents"])
            self.assert_reads(content, "--follow-parents", path=path)
            parent, below = child, content
        info = self.info(path)
        self.assertIn(str(child.parent_uuid), info["backing_identity"])
        self.assertEqual([info["backing_filename"], *info["backing_other_filenames"]], ["nowhere.vhd", "child1.vhd"])

    def test_a_parent_that_is_another(self):
        base = self.scratch / "base.vhd"
        parent, below = random_vhd(self.rng, base, 300 * SECTOR, block=64 * KIB)
        parent.save(base)
        child, content = random_vhd(self.rng, self.image, 300 * SECTOR, parent=parent, below=below, block=64 * KIB)
        child.parent_name = "base.vhd"
        child.save(self.image)
        other, _ = random_vhd(self.rng, base, 300 * SECTOR, block=64 * KIB)
        other.save(base)
        self.refused(66, "read", "--follow-parents", self.image, words=[str(parent.uuid), str(other.uuid)])
        self.refused(66, "read", "--parent", base, self.image, words=[str(parent.uuid), str(other.uuid)])
        base.unlink()
        self.refused(66, "read", "--follow-parents", self.image, words=["not there"])
        moved = self.scratch / "moved"
        parent.save(moved)
        self.assert_reads(content, "--parent", moved)

    def test_libvhdi_reads_whole_bytes_of_bits(self):
        """Where all bits of a byte are equal, the library is right, too."""
        need(self, "vhdiinfo")
        base = self.scratch / "base.vhd"
        parent, below = random_vhd(self.rng, base, 256 * SECTOR, block=64 * KIB)
        parent.save(base)
        child = Vhd(256 * SECTOR, kind=4, block=64 * KIB, rng=self.rng)
        data = self.rng.randbytes(64 * KIB)
        child.add(1, data, range(8, 64))
        child.parent_uuid, child.parent_name = parent.uuid, "base.vhd"
        child.save(self.image)
        self.assert_reads(below[:64 * KIB + 8 * SECTOR] + data[8 * SECTOR:64 * SECTOR] + below[64 * KIB + 64 * SECTOR:],
                          "--follow-parents")
        said = subprocess.run(["vhdiinfo", self.image], capture_output=True, text=True, check=False)
        self.assertIn(str(parent.uuid), said.stdout)


class Broken(VmImageTest):
    def test_numbers(self):
        image, _ = random_vhd(self.rng, self.image, 3000 * SECTOR, block=64 * KIB)
        image.save(self.image)
        whole = self.image.read_bytes()
        for at, what, status in ((16, struct.pack(">Q", 1 << 60), 65), (28, struct.pack(">I", 3), 65), (32, bytes(4), 65),
                                 (32, struct.pack(">I", 70000), 65), (0, b"cxsparsf", 65)):
            header = bytearray(whole[512:1536])
            header[at:at + len(what)] = what
            self.image.write_bytes(whole[:512] + with_sum(header, 36) + whole[1536:])
            self.refused(status, "hash", self.image)
        bad = bytearray(whole[512:1536])
        bad[33] ^= 1
        self.image.write_bytes(whole[:512] + bytes(bad) + whole[1536:])
        self.refused(65, "hash", self.image, words=["wrong sum"])
        for at, what, status in ((60, struct.pack(">I", 5), 63), (12, struct.pack(">I", 0x20000), 63),
                                 (16, struct.pack(">Q", 1 << 50), 65), (48, struct.pack(">Q", 1 << 63), 65)):
            footer = bytearray(whole[:512])
            footer[at:at + len(what)] = what
            footer = with_sum(footer, 64)
            self.image.write_bytes(footer + whole[512:-512] + footer)
            self.refused(status, "hash", "-f", "vpc", self.image)
        table = struct.unpack_from(">I", whole, 512 + 20)[0]
        for entry in (0, 1, table // SECTOR):  # the file's own footer, header and table
            self.image.write_bytes(whole[:table] + struct.pack(">I", entry) * image.entries + whole[table + 4 * image.entries:])
            self.refused(65, "hash", self.image, words=["its own tables"])
        for entry in range(image.entries):
            self.image.write_bytes(whole[:table + 4 * entry] + b"\xff\xff\xff\xf0" + whole[table + 4 * entry + 4:])
            self.refused(65, "hash", self.image, words=["ends at byte"])
            break

    def test_mutants(self):
        base = self.scratch / "base.vhd"
        parent, below = random_vhd(self.rng, base, 2000 * SECTOR, block=64 * KIB)
        parent.save(base)
        child, _ = random_vhd(self.rng, self.image, 2000 * SECTOR, parent=parent, below=below, block=64 * KIB)
        child.locators = [(b"W2ru", ".\\base.vhd".encode("utf-16-le"))]
        child.save(self.image)
        self.assert_survives_mutants(scaled(20), "--parent", base)
        shutil.copy(base, self.image)
        self.assert_survives_mutants(scaled(15))


class Writing(VmImageTest):
    def test_others_read_what_is_made(self):
        need(self, "qemu-img")
        raw = self.scratch / "raw"
        for subformat in ("dynamic", "fixed"):
            for sectors in SIZES:
                content = self.some_content(sectors)
                raw.write_bytes(content)
                self.image.unlink(missing_ok=True)
                self.good("convert", "-O", "vpc", "--verify", "--option", f"subformat={subformat}", raw, self.image)
                self.assertEqual(self.qemu_reads("vpc"), content)
                self.assert_reads(content)
                self.assertEqual(self.info()["variant"], subformat)

    def test_for_azure(self):
        raw = self.scratch / "raw"
        content = self.some_content(3000)
        raw.write_bytes(content)
        done = self.good("convert", "-O", "vhd", "--option", "subformat=azure", raw, self.image)
        self.assertIn("rounded up", done.stderr)
        self.assertEqual(self.image.stat().st_size, 2 * MIB + 512)
        self.assert_reads(content.ljust(2 * MIB, b"\0"))

    def test_limits(self):
        raw = self.scratch / "raw"
        with open(raw, "wb") as file:
            file.truncate(2040 << 30)
            file.seek((2040 << 30) - 5000)
            file.write(b"x" * 5000)
        self.good("convert", "-O", "vpc", raw, self.image)
        self.assertLess(self.image.stat().st_blocks * 512, 8 * MIB)
        tail = self.good("read", "--offset", (2040 << 30) - 5010, self.image, binary=True).stdout
        self.assertEqual(tail, bytes(10) + b"x" * 5000)
        with open(raw, "ab") as file:
            file.truncate((2040 << 30) + 512)
        out = self.scratch / "out"
        self.assertEqual(run("convert", "-O", "vpc", raw, out).returncode, 63)
        self.assertEqual(run("convert", "-O", "vpc", "--option", "subformat=x", self.image, out).returncode, 64)
        self.assertFalse(out.exists())


if __name__ == "__main__":
    main("vpc")
