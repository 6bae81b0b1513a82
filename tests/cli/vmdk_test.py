# SPDX-License-Identifier: Apache-2.0
"""VMware's images: what qemu-img made, what it cannot make, what snaptool made, and what is broken."""

import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import main, need, run, scaled  # noqa: E402
from vm_images import KIB, MIB, SECTOR, SIZES, VmImageTest  # noqa: E402
from vmdk_maker import ABSENT, COMPRESSED, DATA, MARKERS, NEWLINES, ZERO_GRAINS, Cowd, Sparse  # noqa: E402
from vmdk_maker import descriptor_text, fill  # noqa: E402

STREAM = NEWLINES | COMPRESSED | MARKERS


class VmdkTest(VmImageTest):
    def setUp(self):
        super().setUp()
        self.image = self.scratch / "image.vmdk"

    def part(self, name, content):
        (self.scratch / name).write_bytes(content)
        return content

    def monolithic(self, sectors, flags=NEWLINES | ZERO_GRAINS, below=b"", **options):
        """A sparse image in one file, whose descriptor has another name for it; returns the extent and its content."""
        text = {key: options.pop(key) for key in ("cid", "parent", "hint", "create_type") if key in options}
        extent = Sparse(sectors, self.rng, flags=flags, descriptor=descriptor_text([f'RW {sectors} SPARSE "else"'], **text),
                        **options)
        kinds = (DATA, "zero", ABSENT) if flags & ZERO_GRAINS else (DATA, ABSENT)
        return extent, fill(extent, self.rng, below, kinds)


class FromQemu(VmdkTest):
    def test_a_directory_that_was_lost(self):
        """All zeros would be an empty disk; the copy knows better."""
        self.qemu_makes("vmdk", self.rng.randbytes(300 * SECTOR))
        whole = bytearray(self.image.read_bytes())
        directory = struct.unpack_from("<Q", whole, 56)[0] * SECTOR
        whole[directory:directory + 4] = bytes(4)
        self.image.write_bytes(whole)
        self.refused(65, "hash", self.image, words=["the copy of the directory"])

    def test_a_delta_that_does_not_say_of_what(self):
        text = descriptor_text(["RW 40 ZERO"], "custom", hint="base.vmdk")
        self.image.write_bytes(text)
        self.refused(66, "hash", self.image, words=["does not say over which"])

    def test_all_kinds(self):
        for sectors in SIZES[::1 if scaled(100) > 50 else 3]:
            content = self.some_content(sectors)
            for options in ([], ["zeroed_grain=on"], ["subformat=streamOptimized"], ["subformat=monolithicFlat"],
                            ["subformat=twoGbMaxExtentSparse"], ["subformat=twoGbMaxExtentFlat"]):
                for path in self.scratch.glob("image*"):
                    path.unlink()
                words = [word for one in options for word in ("-o", one)]
                self.assertEqual(self.qemu_makes("vmdk", content, *words), content)
                self.assert_reads(content)

    def test_facts(self):
        self.qemu_makes("vmdk", self.some_content(9001), "-o", "subformat=streamOptimized")
        info = self.info()
        self.assertEqual((info["format"], info["virtual_size"]), ("vmdk", 9001 * SECTOR))
        cid = re.search(rb"\nCID=([0-9a-f]+)\n", self.image.read_bytes()).group(1).decode()
        text = str(info)
        for word in ("streamOptimized", cid.rjust(8, "0"), "65536", "ffffffff"):
            self.assertIn(word, text)

    def test_overlay(self):
        need(self, "qemu-img", "qemu-io")
        base = self.scratch / "base.vmdk"
        self.qemu_makes("vmdk", self.some_content(3000))
        self.image.rename(base)
        self.qemu("qemu-img", "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", self.image)
        self.qemu("qemu-io", "-f", "vmdk", "-c", "write -P 7 70k 9k", self.image)
        self.assert_reads(self.qemu_reads("vmdk"), "--follow-parents")


class Sparses(VmdkTest):
    def test_grains_of_many_sizes(self):
        for grain, entries, version in ((128, 512, 2), (1, 512, 2), (8, 128, 3), (256, 512, 1), (2048, 4, 2)):
            extent, content = self.monolithic(self.rng.randrange(1, 5000), grain=grain, entries=entries, version=version)
            self.part("image.vmdk", extent.file())
            self.assert_reads(content)
            if entries == 512:
                need(self, "qemu-img")
                self.assertEqual(self.qemu_reads("vmdk"), content)

    def test_several_tables(self):
        extent, content = self.monolithic(9000, grain=1)
        self.part("image.vmdk", extent.file())
        self.assert_reads(content)

    def test_a_part_alone(self):
        extent = Sparse(1000, self.rng)
        content = fill(extent, self.rng, kinds=(DATA, ABSENT))
        self.part("image.vmdk", extent.file())
        done = run("read", self.image, binary=True)
        self.assertEqual((done.returncode, done.stdout), (0, content))
        self.assertIn(b"no descriptor", done.stderr)

    def test_esx(self):
        for grain in (1, 8, 128):
            extent = Cowd(self.rng.randrange(1, 6000), self.rng, grain)
            content = fill(extent, self.rng, kinds=(DATA, ABSENT))
            self.part("image.vmdk", extent.file())
            self.assert_reads(content)
            self.part("delta.vmdk", extent.file())
            self.part("image.vmdk", descriptor_text([f'RW {extent.sectors} VMFSSPARSE "delta.vmdk"'], "vmfsSparse"))
            self.assert_reads(content)

    def test_what_is_broken(self):
        extent, content = self.monolithic(1000)
        whole = self.part("image.vmdk", extent.file())
        for at, form, value, status in ((4, "I", 4, 63), (4, "I", 0, 63), (8, "I", 0x100001, 63), (8, "I", STREAM, 65),
                                        (12, "Q", 2**60, 65), (12, "Q", 999, 65), (20, "Q", 0, 65), (20, "Q", 3, 65),
                                        (20, "Q", 2**22, 65), (28, "Q", 2**62, 65), (36, "Q", 2**40, 65), (44, "I", 0, 65),
                                        (44, "I", 513, 65), (56, "Q", 0, 65), (56, "Q", 2**56, 65), (56, "Q", 10**6, 65),
                                        (73, "B", 13, 65), (77, "H", 2, 63), (77, "H", 1, 65)):
            bad = bytearray(whole)
            struct.pack_into("<" + form, bad, at, value)
            self.image.write_bytes(bad)
            self.refused(status, "hash", self.image)
        for length in (100, 511, len(whole) - 512):
            self.image.write_bytes(whole[:length])
            self.assertIn(run("hash", self.image).returncode, (63, 65))
        directory = struct.unpack_from("<Q", whole, 56)[0] * SECTOR
        for value in (1, 2**32 - 1):
            bad = bytearray(whole)
            struct.pack_into("<I", bad, directory, value)
            self.image.write_bytes(bad)
            self.refused(65, "hash", self.image)
        extent.unclean = 1
        self.part("image.vmdk", extent.file())
        done = run("read", self.image, binary=True)
        self.assertEqual((done.returncode, done.stdout), (0, content))
        self.assertIn(b"was not closed", done.stderr)

    def test_entry_of_zeros_without_its_flag(self):
        extent, _ = self.monolithic(300)
        extent.grains[1] = ("zero", b"")
        extent.flags = NEWLINES
        self.part("image.vmdk", extent.file())
        self.refused(65, "hash", self.image, words=["sector 1"])

    def test_mutants(self):
        extent, _ = self.monolithic(2000, grain=8, entries=128)
        self.part("image.vmdk", extent.file())
        self.assert_survives_mutants(scaled(60), where=4096)


class Streams(VmdkTest):
    def stream(self, sectors, **options):
        extent, content = self.monolithic(sectors, STREAM, create_type="streamOptimized", version=3, **options)
        return extent, content

    def test_both_forms(self):
        need(self, "qemu-img")
        for sectors, grain, footer, short_end in ((1, 128, True, True), (128, 128, False, False), (5001, 128, True, False),
                                                  (5001, 128, False, True), (20001, 16, True, True)):
            extent, content = self.stream(sectors, grain=grain)
            extent.footer, extent.short_end = footer, short_end
            self.part("image.vmdk", extent.stream())
            self.assert_reads(content)
            self.assertEqual(self.qemu_reads("vmdk"), content)

    def test_padded(self):
        extent, content = self.stream(1001)
        for padding in (1, 511, 512, 3000, 64 * KIB):
            self.image.write_bytes(extent.stream() + bytes(padding))
            self.assertEqual(self.good("read", self.image, binary=True).stdout, content)

    def test_zero_grains_and_no_markers(self):
        extent, content = self.monolithic(5001, STREAM | ZERO_GRAINS, version=3)
        self.part("image.vmdk", extent.stream())
        self.assert_reads(content)
        for grain in (16, 128):
            extent, content = self.monolithic(5001, NEWLINES | COMPRESSED, version=3, grain=grain)
            self.part("image.vmdk", extent.file())
            self.assert_reads(content)

    def test_what_is_broken(self):
        extent, content = self.stream(3000)
        first = self.rng.randbytes(64 * KIB)
        extent.grains[0], content = (DATA, first), first + content[64 * KIB:]
        whole = extent.stream()
        self.image.write_bytes(whole)
        self.assert_reads(content)
        for bad in (whole[:-512], whole[:-1], whole[:-1024], whole[:-1536], whole + b"x" + bytes(511), whole[:70000],
                    whole + bytes(65 * KIB)):
            self.image.write_bytes(bad)
            self.refused(65, "hash", self.image, words=["footer"])
        extent.lba_shift = 128
        self.part("image.vmdk", extent.stream())
        self.refused(65, "hash", self.image, words=["for sector 128, not 0"])
        grain = 128 * SECTOR
        size = struct.unpack_from("<I", whole, grain + 8)[0]
        for at, value in ((grain + 8, 2**31), (grain + 8, 3), (grain + 8, size - 1), (grain + 12, 0x79),
                          (grain + 12 + size - 2, whole[grain + 12 + size - 2] ^ 1), (grain + 200, whole[grain + 200] ^ 1)):
            bad = bytearray(whole)
            struct.pack_into("<I" if at == grain + 8 else "<B", bad, at, value)
            self.image.write_bytes(bad)
            self.refused(65, "hash", self.image, words=["compressed grain at byte 65536"])
        bad = bytearray(whole)
        struct.pack_into("<Q", bad, len(bad) - 1024 + 12, 5000)
        self.image.write_bytes(bad)
        self.refused(65, "hash", self.image, words=["differ"])

    def test_grain_of_another_length(self):
        for length in (64 * KIB - 1, 64 * KIB + 1, 10 * MIB):
            extent, _ = self.stream(1000)
            extent.grains = {1: (DATA, b"")}
            packed = zlib.compress(b"a" * length)
            extent.stored = lambda number, data, packed=packed: (
                struct.pack("<QI", number * 128, len(packed)) + packed).ljust(20 * KIB, b"\0")
            self.part("image.vmdk", extent.stream())
            self.refused(65, "hash", self.image)

    def test_mutants(self):
        extent, _ = self.stream(1500)
        self.part("image.vmdk", extent.stream())
        self.assert_survives_mutants(scaled(60), where=70000)


class Descriptors(VmdkTest):
    def test_extents_of_every_kind(self):
        """With holes, a start sector, one file used twice, and names with blanks."""
        sparse = Sparse(700, self.rng, flags=NEWLINES | ZERO_GRAINS)
        packed = Sparse(900, self.rng, flags=STREAM, version=3)
        cowd = Cowd(333, self.rng, 8)
        flat = self.part("a flat.bin", self.rng.randbytes(600 * SECTOR))
        parts = [("a", sparse, (DATA, "zero", ABSENT), sparse.file), ("b", packed, (DATA, ABSENT), packed.stream),
                 ("c", cowd, (DATA, ABSENT), cowd.file)]
        contents = {}
        for name, extent, kinds, make in parts:
            contents[name] = fill(extent, self.rng, kinds=kinds)
            self.part(name, make())
        lines = ['RW 100 FLAT "a flat.bin" 37', 'RW 11 ZERO', 'RDONLY 650 SPARSE "a"', 'RW 0 FLAT "nowhere" 0',
                 'RW 333 VMFSSPARSE "c"', 'RW 500 VMFS "a flat.bin"', 'RW 900 SPARSE "b"', 'RW 5 ZERO']
        content = (flat[37 * SECTOR:137 * SECTOR] + bytes(11 * SECTOR) + contents["a"][:650 * SECTOR] + contents["c"] +
                   flat[:500 * SECTOR] + contents["b"] + bytes(5 * SECTOR))
        for ending in (b"\n", b"\r\n"):
            text = descriptor_text(lines, "custom").replace(b"\n", ending)
            self.part("image.vmdk", text + b"\0 this is not read")
            self.assert_reads(content)
        # The same from within a sparse file, which is not all of the image then.
        holder = Sparse(700, self.rng, flags=NEWLINES, descriptor=descriptor_text(lines, "custom"))
        self.part("image.vmdk", holder.file())
        self.assert_reads(content, "--no-sandbox")  # no program makes that: it is not foreseen there

    def test_a_file_is_missing(self):
        self.part("image.vmdk", descriptor_text(['RW 100 FLAT "gone" 0', "RW 28 ZERO"], "monolithicFlat"))
        done = run("hash", self.image)
        self.assertIn(done.returncode, (1, 66), done.stderr)
        self.assertIn("'gone', which is not there", done.stderr)

    def test_what_is_closed(self):
        self.part("image.vmdk", descriptor_text(["RW 100 ZERO", 'NOACCESS 10 FLAT "gone" 0'], "custom"))
        part = self.good("read", "--length", 100 * SECTOR, self.image, binary=True).stdout
        self.assertEqual(part, bytes(100 * SECTOR))
        self.refused(63, "hash", self.image, words=["NOACCESS"])

    def test_what_is_not_read(self):
        for lines, kind in ((['RW 9 SESPARSE "x"'], "custom"), (['RW 9 VMFSRDM "x"'], "vmfs"),
                            (['RW 9 VMFSRAW "x"'], "vmfs"),
                            (['RW 9 FLAT "/dev/null" 0'], "custom"), (['RW 9 FLAT "\\\\.\\PhysicalDrive0" 0'], "custom"),
                            (["RW 9 ZERO"], "fullDevice"), (["RW 9 ZERO"], "partitionedDevice"),
                            (["RW 9 ZERO"], "vmfsRawDeviceMap"), (["RW 9 ZERO"], "seSparse"),
                            (['RW 9 SPARSE "a" 7'], "custom")):
            self.part("image.vmdk", descriptor_text(lines, kind))
            self.refused(63, "hash", self.image)
        text = descriptor_text(["RW 9 ZERO"])
        self.part("image.vmdk", text.replace(b"version=1", b"version=4"))
        self.refused(63, "hash", self.image, words=["version"])
        self.part("image.vmdk", text + b"#" * MIB)
        self.refused(63, "hash", self.image, words=["1048576"])
        self.part("image.vmdk", descriptor_text(["RW 9 ZERO"] * 5000))
        self.refused(63, "hash", self.image, words=["4096"])

    def test_what_is_broken(self):
        good = 'RW 9 FLAT "a" 0'
        self.part("a", bytes(9 * SECTOR))
        for line in ("rw 9 ZERO", "RW", "RW 9", "RW -1 ZERO", "RW 0x9 ZERO", "RW 99999999999999999999 ZERO",
                     f"RW {2**54} ZERO", "RW 9 FLAT", "RW 9 FLAT a 0", 'RW 9 FLAT "a 0', 'RW 9 FLAT "" 0', 'RW 9 FLAT "a" x',
                     f'RW 9 FLAT "a" {2**54}', "junk", "a b=c", "CID=x", "cid=1", "PARENTCID=123456789", "version=one"):
            text = descriptor_text([good, line])
            if line.startswith("PARENT"):
                text = text.replace(b"parentCID=ffffffff\n", b"")
            self.part("image.vmdk", text)
            self.refused(65, "hash", self.image, words=["line "])
        for text in (descriptor_text([]), descriptor_text([f"RW {2**53} ZERO"] * 2),
                     descriptor_text([good], hint="b").replace(b"parentCID=ffffffff\n", b"")):
            self.part("image.vmdk", text)
            self.refused(65, "hash", self.image)
        self.part("image.vmdk", descriptor_text(['RW 10 FLAT "a" 0'], "custom"))
        self.refused(65, "hash", self.image, words=["ends at byte"])

    def test_files_that_do_not_fit(self):
        extent = Sparse(100, self.rng)
        self.part("a", extent.file())
        self.part("image.vmdk", descriptor_text(['RW 101 SPARSE "a"'], "custom"))
        self.refused(65, "hash", self.image, words=["100 sectors", "101"])
        self.part("image.vmdk", descriptor_text(['RW 9 SPARSE "image.vmdk"'], "custom"))
        self.refused(65, "hash", self.image, words=["magic"])
        # What a descriptor leaves out may be what a guest has, and no snapshot of it.
        extent = Sparse(1000, self.rng)
        content = fill(extent, self.rng, b"", (DATA, ABSENT))
        self.part("a", extent.file())
        for sectors, words in ((500, "only 500"), (900, "")):
            self.part("image.vmdk", descriptor_text([f'RW {sectors} SPARSE "a"'], "custom"))
            done = self.good("read", "-o", self.scratch / "out", "--force", self.image)
            self.assertEqual((self.scratch / "out").read_bytes(), content[:sectors * SECTOR])
            self.assertEqual("are not read" in done.stderr, bool(words))
            self.assertIn(words, done.stderr)
        extent.descriptor = descriptor_text(['RW 500 SPARSE "b"'])
        self.part("image.vmdk", extent.file())
        self.assertIn("only 500", self.good("info", self.image).stderr)
        folder = self.scratch / "folder"
        folder.mkdir()
        self.part("folder/image.vmdk", descriptor_text(['RW 9 FLAT "../a" 0'], "custom"))
        self.refused(63, "hash", folder / "image.vmdk", words=["../a", "folder"])

    def test_mutants(self):
        self.part("a", bytes(9 * SECTOR))
        self.part("image.vmdk", descriptor_text(['RW 9 FLAT "a" 0', "RW 100 ZERO"], "custom"))
        self.assert_survives_mutants(scaled(60))


class Parents(VmdkTest):
    def test_chain(self):
        """Three of different kinds, of different sizes."""
        lowest, content = self.monolithic(2000, cid="00000001")
        self.part("one.vmdk", lowest.file())
        extent = Cowd(2600, self.rng, 8)
        content = fill(extent, self.rng, content, (DATA, ABSENT))
        self.part("two-delta.vmdk", extent.file())
        self.part("two.vmdk", descriptor_text(['RW 2600 VMFSSPARSE "two-delta.vmdk"'], "vmfsSparse", cid="00000002",
                                              parent="00000001", hint="one.vmdk"))
        top, content = self.monolithic(2300, below=content, cid="ABCDEF03", parent="2", hint="C:\\VMs\\two.vmdk")
        self.part("image.vmdk", top.file())
        self.refused(63, "hash", self.image, words=["two.vmdk", "--follow-parents"])
        self.assert_reads(content, "--follow-parents")
        self.assertIn("CID 00000002", str(self.info()))

    def test_across_extents(self):
        base, below = self.monolithic(1500, cid="11111111")
        self.part("base.vmdk", base.file())
        first, second = (Sparse(sectors, self.rng, flags=NEWLINES | ZERO_GRAINS) for sectors in (640, 860))
        content = fill(first, self.rng, below) + fill(second, self.rng, below[640 * SECTOR:])
        self.part("s1", first.file())
        self.part("s2", second.file())
        self.part("image.vmdk", descriptor_text(['RW 640 SPARSE "s1"', 'RW 860 SPARSE "s2"'], "twoGbMaxExtentSparse",
                                                parent="11111111", hint="base.vmdk"))
        self.assert_reads(content, "--follow-parents")
        self.assert_reads(content, "--parent", self.scratch / "base.vmdk")

    def test_another_parent(self):
        base, below = self.monolithic(1000, cid="11111111")
        self.part("base.vmdk", base.file())
        top, content = self.monolithic(1000, below=below, parent="11111112", hint="base.vmdk")
        self.part("image.vmdk", top.file())
        self.refused(66, "hash", "--follow-parents", self.image, words=["CID 11111112", "CID 11111111"])
        done = run("read", "--follow-parents", "--ignore-invalid", self.image, binary=True)
        self.assertEqual((done.returncode, done.stdout), (0, content))
        (self.scratch / "base.vmdk").unlink()
        self.refused(66, "hash", "--follow-parents", self.image, words=["base.vmdk"])


class Writing(VmdkTest):
    def setUp(self):
        super().setUp()
        self.raw = self.scratch / "raw"

    def make(self, content, *options):
        self.raw.write_bytes(content)
        self.image.unlink(missing_ok=True)
        self.good("convert", "-O", "vmdk", *options, self.raw, self.image)

    def test_qemu_reads_what_is_made(self):
        need(self, "qemu-img")
        contents = [self.some_content(sectors) for sectors in SIZES[::1 if scaled(100) > 50 else 3]]
        # Three grain tables, the one in the middle with nothing.
        contents.append(self.rng.randbytes(100000) + bytes(70 * MIB) + self.rng.randbytes(3 * SECTOR))
        contents[-1] += bytes(-len(contents[-1]) % SECTOR)
        for content in contents:
            for options in ([], ["-c"]):
                self.make(content, *options)
                self.assertEqual(self.qemu_reads("vmdk"), content)
                self.assertIn("No errors", self.qemu("qemu-img", "check", "-f", "vmdk", self.image))
                self.assert_reads(content)

    def test_descriptor(self):
        self.make(bytes(MIB), "--option", "adapter_type=ide")
        text = self.image.read_bytes()[SECTOR:21 * SECTOR].rstrip(b"\0").decode()
        self.assertRegex(text, r'\A# Disk DescriptorFile\nversion=1\nCID=[0-9a-f]{8}\nparentCID=ffffffff\n'
                               r'createType="monolithicSparse"\n')
        self.assertIn('\nRW 2048 SPARSE "image.vmdk"\n', text)
        self.assertIn('\nddb.adapterType = "ide"\n', text)

    def test_pipe(self):
        need(self, "qemu-img")
        content = self.some_content(5000)
        self.raw.write_bytes(content)
        done = self.good("convert", "-O", "vmdk", "--option", "name=b.vmdk", self.raw, "-", binary=True)
        self.image.write_bytes(done.stdout)
        self.assertEqual(self.qemu_reads("vmdk"), content)
        self.assert_reads(content)
        self.assertIn(b'createType="streamOptimized"\n\n# Extent description\nRW 5000 SPARSE "b.vmdk"\n', done.stdout)
        self.assertEqual(done.stdout[:12], b"KDMV" + struct.pack("<II", 3, STREAM))

    def test_sleuthkit_reads_what_is_made(self):
        need(self, "img_cat")
        content = self.some_content(5000)
        for options in ([], ["-c"]):
            self.make(content, *options)
            done = subprocess.run(["img_cat", "-i", "vmdk", self.image], capture_output=True, check=False, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (0, content), done.stderr)

    def test_only_what_has_data_takes_space(self):
        with open(self.raw, "wb") as file:
            file.truncate(1 << 40)
            file.seek(700 << 30)
            file.write(b"x" * 5000)
        for options in ([], ["-c"]):
            self.image.unlink(missing_ok=True)
            self.good("convert", "-O", "vmdk", *options, self.raw, self.image)
            self.assertLess(self.image.stat().st_blocks * 512, 6 * MIB)
            part = self.good("read", "--offset", (700 << 30) - 10, "--length", 5020, self.image, binary=True).stdout
            self.assertEqual(part, bytes(10) + b"x" * 5000 + bytes(10))

    def test_what_cannot_be_made(self):
        self.raw.write_bytes(bytes(MIB))
        out = self.scratch / "out.vmdk"
        for options in (["--base", self.raw], ["--option", "x=1"], ["--option", "subformat=vmfs"],
                        ["--option", "adapter_type=sata"], ["--option", "name=a/b"], ["--option", 'name=a"b'],
                        ["-c", "--option", "subformat=monolithicSparse"]):
            done = run("convert", "-O", "vmdk", *options, self.raw, out)
            self.assertIn(done.returncode, (63, 64), done.stderr)
            self.assertFalse(out.exists())
        done = run("convert", "-O", "vmdk", self.raw, self.scratch / 'a"b.vmdk')
        self.assertEqual(done.returncode, 64)
        self.part("huge", descriptor_text([f"RW {2**37 + 1} ZERO"], "custom"))
        self.refused(63, "convert", "-O", "vmdk", self.scratch / "huge", out, words=["64"])


if __name__ == "__main__":
    main("vmdk")
