# SPDX-License-Identifier: Apache-2.0
"""Files of formats that are known and not read: named by info, refused by the rest, never written to as if they were raw."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
from crafted import write_store  # noqa: E402
from harness import SEED, ScratchTest, main, need, run  # noqa: E402

MIB = 1 << 20
SECTOR = 512


class FormatsTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")
        self.raw = self.scratch / "raw"
        self.raw.write_bytes(self.rng.randbytes(MIB))
        self.file = self.scratch / "x"

    def crafted(self):
        """(name, content, whether its bytes are a disk's)."""
        def with_magic(at, magic):
            content = bytearray(self.rng.randbytes(MIB))
            at = at if at >= 0 else len(content) + at
            content[at:at + len(magic)] = magic
            return bytes(content)

        for name, at, magic in (
                ("vmdk", 0, struct.pack("<Q", 0xCAFEBABE)),
                ("vpc", -512, b"conectix"), ("vpc", -511, b"conectix"),
                ("qed", 0, b"QED\0"), ("qcow", 0, b"QFI\xfb\0\0\0\1"), ("parallels", 0, b"WithoutFreeSpace"),
                ("parallels", 0, b"WithouFreSpacExt"), ("dmg", -512, b"koly"), ("dmg", 0, b"encrcdsa"),
                ("vma", 0, b"VMA\0"), ("ewf", 0, b"LEF2\x0d\x0a\x81\x00"),
                ("ewf", 0, b"EVF2\x0d\x0a\x81\x00"), ("ewf", 0, b"LVF\x09\x0d\x0a\xff\x00"), ("aff", 0, b"AFF10\r\n\0"),
                ("partclone", 0, b"partclone-image\0"), ("zfs-send", 8, struct.pack("<Q", 0x2F5BACBAC)),
                ("zfs-send", 8, struct.pack(">Q", 0x2F5BACBAC)), ("btrfs-send", 0, b"btrfs-stream\0"),
                ("7z", 0, b"7z\xbc\xaf\x27\x1c"), ("rar", 0, b"Rar!\x1a\x07"), ("lz4", 0, struct.pack("<I", 0x184D2204))):
            yield name, with_magic(at, magic), False
        yield "luks", with_magic(0, b"LUKS\xba\xbe\0\2"), True


class KnownFormats(FormatsTest):
    def archives(self):
        data = self.raw.read_bytes()
        yield "gzip", gzip.compress(data)
        yield "xz", lzma.compress(data)
        yield "bzip2", bz2.compress(data)
        for name, archive in (("zip", io.BytesIO()), ("tar", io.BytesIO())):
            if name == "zip":
                with zipfile.ZipFile(archive, "w") as file:
                    file.writestr("disk", data)
            else:
                with tarfile.open(fileobj=archive, mode="w") as file:
                    file.add(self.raw, "disk")
            yield name, archive.getvalue()

    def made_by_peers(self):
        need(self, "qemu-img", "zstd")
        for name in ("qed", "qcow", "parallels"):
            subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", name, self.raw, self.file], check=True)
            yield name, self.file.read_bytes()
        yield "zstd", subprocess.run(["zstd", "-c", self.raw], check=True, capture_output=True).stdout

    def made_by_snaptool(self):
        cow = self.scratch / "cow"
        write_store(cow, 8, [0, 1, 2], lambda _: self.rng.randbytes(4096))
        origin = self.scratch / "origin"
        origin.write_bytes(self.raw.read_bytes())
        for name, command in (("snapdiff", ["export", "--full", self.raw, "-o"]),
                              ("rbd-diff", ["export", "--full", "-O", "rbd", self.raw, "-o"]),
                              ("manifest", ["hash", "--block-size", "64k", self.raw, "-o"]),
                              ("log", ["info", self.raw, "--log"]),
                              ("bmap", ["map", "--as", "bmap", self.raw, "-o"]),
                              ("undo", ["merge", origin, cow, "--undo"])):
            made = self.scratch / f"made-{name}"
            self.assertEqual(run(*command, made).returncode, 0, name)
            yield name, made.read_bytes()

    def assert_only_named(self, name, content):
        self.file.write_bytes(content)
        done = run("info", "--output=json", self.file)
        self.assertEqual(done.returncode, 0, (name, done.stderr))
        report = json.loads(done.stdout)
        if name in ("snapdiff", "rbd-diff"):  # info reads these
            self.assertEqual(report["format"], name.split("-")[0])
        else:
            self.assertEqual((report["format"], report["is_read"]), (name, False))
            self.assertRegex(run("info", self.file).stdout, r"which snaptool does not read|\nuse: ")
        out, sums = self.scratch / "out", self.scratch / "sums"
        sums.write_text("0" * 64 + "\n")
        for command in (["hash", self.file], ["read", self.file], ["map", self.file], ["diff", self.raw, self.file],
                        ["diff", self.file, self.raw], ["convert", "-O", "qcow2", self.file, out],
                        ["export", "--full", self.file, "-o", out], ["export", self.raw, "--base", self.file, "-o", out],
                        ["verify", "--against", sums, self.file]):
            done = run(*command, binary=True)
            self.assertEqual((done.returncode, done.stdout), (63, b""), (name, command, done.stderr))
            self.assertIn(b"-f raw", done.stderr)
            self.assertFalse(out.exists(), (name, command))
        done = run("hash", "-f", "raw", self.file)
        self.assertEqual(done.stdout.split()[0], hashlib.sha256(content).hexdigest())

    def test_by_their_magic(self):
        for name, content, _ in self.crafted():
            self.assert_only_named(name, content)

    def test_archives(self):
        for name, content in self.archives():
            self.assert_only_named(name, content)

    def test_what_peers_make(self):
        for name, content in self.made_by_peers():
            self.assert_only_named(name, content)

    def test_what_snaptool_makes(self):
        for name, content in self.made_by_snaptool():
            self.assert_only_named(name, content)

    def test_what_is_raw_is_read(self):
        """Also what is too short for a magic, and a disk whose parts have one."""
        for size in (0, 1, 3, 7, 511, 512, 513, 4096):
            self.file.write_bytes(bytes(size))
            self.assertEqual(run("hash", self.file).returncode, 0, size)
        content = bytearray(self.rng.randbytes(MIB))
        content[65536:65540] = b"KDMV"
        self.file.write_bytes(content)
        self.assertEqual(run("hash", self.file).returncode, 0)
        self.assertEqual(run("hash", f"{self.file}#+64k").returncode, 0)


class TakenAsRaw(FormatsTest):
    def test_an_origin_may_have_any_magic(self):
        cow = self.scratch / "cow"
        write_store(cow, 8, [1], lambda _: self.rng.randbytes(4096))
        for name, content, is_disk in self.crafted():
            self.file.write_bytes(content)
            done = run("read", f"{self.file}@{cow}", binary=True)
            self.assertEqual((done.returncode, len(done.stdout)), (0, MIB), name)
            self.assertEqual(b"magic" in done.stderr, not is_disk, (name, done.stderr))

    def test_in_place_only_raw_images_are_written(self):
        cow, diff, script = self.scratch / "cow", self.scratch / "diff", self.scratch / "script"
        other = self.scratch / "other"
        other.write_bytes(self.rng.randbytes(MIB))
        script.write_text("write-origin 0 512 -P 1\n")
        self.assertEqual(run("export", "--full", other, "-o", diff).returncode, 0)
        qcow2 = self.scratch / "qcow2"
        self.assertEqual(run("convert", "-O", "qcow2", self.raw, qcow2).returncode, 0)
        for name, content, is_disk in [*self.crafted(), ("qcow2", qcow2.read_bytes(), False)]:
            self.file.write_bytes(content)
            for command in (["write-origin", self.file, "-P", "1", "--length", "512"], ["merge", self.file, cow],
                            ["apply", diff, self.file], ["batch", self.file, script],
                            ["discard", "--discard-zeroes-cow", "--discard-passdown-origin", "--offset", "0", "--length", "4k",
                             self.file, cow], ["convert", "-n", "-O", "raw", other, self.file]):
                write_store(cow, 8, [1], lambda _: bytes(4096))
                if is_disk:
                    continue
                done = run(*command)
                self.assertEqual(done.returncode, 63, (name, command, done.stderr))
                self.assertIn("in place", done.stderr)
                self.assertEqual(self.file.read_bytes(), content, (name, command))
            for option in ([] if is_disk else ["-f", "raw"]), ["-f", "raw"]:
                write_store(cow, 8, [1], lambda _: bytes(4096))
                done = run("merge", *option, self.file, cow)
                self.assertEqual(done.returncode, 0, (name, done.stderr))


class NewerVersions(FormatsTest):
    """Of snaptool's own formats: named, and not called damaged or no diff."""

    def assert_newer(self, made, at, byte, *commands):
        content = bytearray(made.read_bytes())
        content[at:at + 1] = byte
        made.write_bytes(content)
        for command in commands:
            done = run(*command)
            self.assertEqual((done.returncode, done.stdout), (63, ""), (command, done.stderr))
            self.assertIn("version", done.stderr)

    def test_each(self):
        made, out = self.scratch / "made", self.scratch / "out"
        origin, cow = self.scratch / "origin", self.scratch / "cow"
        origin.write_bytes(self.raw.read_bytes())
        write_store(cow, 8, [0, 1, 2], lambda _: self.rng.randbytes(4096))
        for options in ([], ["-O", "rbd"]):
            self.assertEqual(run("export", "--full", *options, self.raw, "-o", made, "--force").returncode, 0)
            self.assert_newer(made, 10 if options else 11, b"7", ["apply", made, "-o", out], ["diff-verify", made],
                              ["compose", made, made, "-o", out])
        self.assertEqual(run("hash", "--block-size", "64k", self.raw, "-o", made, "--force").returncode, 0)
        self.assert_newer(made, len("# snaptool block manifest "), b"2", ["verify", "--against", made, self.raw])
        made.unlink()
        self.assertEqual(run("merge", "--undo", made, origin, cow).returncode, 0)
        self.assert_newer(made, 8, b"\2", ["undo", made, origin, cow])
        dump = run("dump", cow).stdout.replace('format_version="1"', 'format_version="2"')
        made.write_text(dump)
        self.assert_newer(made, 0, dump[:1].encode(), ["restore", made, self.scratch / "new"])


class PartitionTables(ScratchTest):
    def test_those_that_are_not_read_are_named(self):
        disk = self.scratch / "disk"
        atari = bytes([1]) + b"GEM" + struct.pack(">II", 2, 100)
        for name, at, magic in (("BSD", 512, struct.pack("<I", 0x82564557)), ("SGI", 0, struct.pack(">I", 0x0BE5A941)),
                                ("Sun", 508, struct.pack(">H", 0xDABE)), ("Atari", 0x1C6, atari), ("Amiga", 0, b"RDSK"),
                                ("Apple", 512, b"PM\0\0"), ("DASD", 8192, "VOL1".encode("cp037")),
                                ("DASD", 8192, "LNX1".encode("cp037"))):
            content = bytearray(MIB)
            content[at:at + len(magic)] = magic
            disk.write_bytes(content)
            report = json.loads(run("info", "--output=json", disk).stdout)
            self.assertEqual(report["partition_table"], {"type": name, "is_read": False})
            self.assertIn(f"partition table: {name}", run("info", disk).stdout)
        disk.write_bytes(bytes(MIB))
        self.assertNotIn("partition", run("info", disk).stdout)


if __name__ == "__main__":
    main("formats that are known and not read")
