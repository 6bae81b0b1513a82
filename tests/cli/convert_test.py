# SPDX-License-Identifier: Apache-2.0
"""convert: what QEMU says of the images that are made, what an interrupted one leaves, and what is not written to."""

import itertools
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import interrupted, main, need, run, run_under_strace, scaled, sha256_of_file  # noqa: E402
from qcow2_maker import COPIED, Qcow2, put  # noqa: E402
from qcow2_test import KIB, MIB, SECTOR, Qcow2Test  # noqa: E402

KINDS = ("holes", "zeros", "text", "random", "odd")
SIZES = [1 << bits for bits in range(9, 22)]
MODES = {"plain": [], "zlib": ["-c", "--option", "compression_type=zlib"], "zstd": ["-c"],
         "extended": ["--option", "extended_l2=on"]}


def round_up(number, unit):
    return -(-number // unit) * unit


class ConvertTest(Qcow2Test):
    def setUp(self):
        super().setUp()
        need(self, "qemu-img", "qemu-io")

    def convert(self, *arguments, status=0, **options):
        """Converts, and returns what it said on standard error."""
        done = run("convert", *arguments, **options)
        return self.sound(done, (status,), arguments)

    def content_of(self, kind):
        size = self.rng.randrange(1, 6) * 512 * KIB + self.rng.randrange(8) * SECTOR
        if kind == "zeros":
            return bytes(size)
        if kind == "text":
            return b"".join(b"%d lines of the log\n" % n for n in range(size // 20))[:size // SECTOR * SECTOR]
        if kind == "random":
            return self.rng.randbytes(size)
        content = bytearray(size + (self.rng.randrange(1, SECTOR) if kind == "odd" else 0))
        for _ in range(6):
            at = self.rng.randrange(len(content))
            piece = self.rng.choice((self.rng.randbytes(30_000), b"x" * 100_000, b"y", bytes(5000)))
            content[at:at + len(piece)] = piece[:len(content) - at]
        content[-1] = content[0] = 1
        return bytes(content)

    def file_of(self, name, content, holes=False):
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if holes else content)
        if holes:
            with open(path, "r+b") as file:
                file.truncate(len(content))
                for at in range(0, len(content), 4096):
                    if content[at:at + 4096].strip(b"\0"):
                        file.seek(at)
                        file.write(content[at:at + 4096])
        return path

    def changed(self, content, size=None):
        """Another version of it: some bytes, some clusters, and some that are zeros now."""
        after = bytearray(content[:size]).ljust(size or len(content), b"\0")
        for _ in range(4):
            at = self.rng.randrange(len(after))
            piece = self.rng.randbytes(self.rng.choice((1, 600, 20_000)))
            after[at:at + len(piece)] = piece[:len(after) - at]
        for _ in range(2):
            at = self.rng.randrange(len(after))
            after[at:at + 100 * KIB] = bytes(len(after[at:at + 100 * KIB]))
        return bytes(after)

    def settings(self, cluster, mode="plain"):
        """For -O qcow2."""
        return ["--option", f"cluster_size={cluster}", *MODES[mode]]

    def compare(self, raw, path):
        self.qemu("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path)

    def check_made(self, path, content, what=None):
        """QEMU finds nothing wrong with it, and reads the content, filled up to a sector."""
        self.qemu("qemu-img", "check", "-f", "qcow2", path)
        self.same(self.qemu_content(path), content.ljust(round_up(len(content), SECTOR), b"\0"), what)

    def stored(self, path):
        """How many bytes of data are in this file itself, as qemu-img tells."""
        rows = json.loads(self.qemu("qemu-img", "map", "--output=json", "-f", "qcow2", path))
        return sum(row["length"] for row in rows if row["data"] and row["depth"] == 0)

    def data_of(self, content, unit, base=b""):
        """How many bytes are to be stored: of units that are no zeros and differ from the base."""
        content = content.ljust(round_up(len(content), SECTOR), b"\0")
        base = base[:len(content)].ljust(len(content), b"\0")
        pieces = ((content[at:at + unit], base[at:at + unit]) for at in range(0, len(content), unit))
        return sum(len(one) for one, two in pieces if one != two and one.strip(b"\0"))

    def left(self, name):
        """What there is in the folder of that name, and of names that begin with it."""
        return sorted(path.name for path in self.scratch.iterdir() if path.name.startswith(name))


class RoundTrips(ConvertTest):
    def round_trips(self, mode):
        unit_of = {"extended": lambda cluster: cluster // 32}.get(mode, lambda cluster: cluster)
        cases = [(kind, size) for kind in KINDS for size in SIZES if mode != "extended" or size >= 16 * KIB]
        self.rng.shuffle(cases)
        for kind, cluster in cases[:scaled(len(cases))]:
            with self.subTest(kind=kind, cluster_size=cluster):
                what = (kind, cluster, mode)
                content = self.content_of(kind)
                full = content.ljust(round_up(len(content), SECTOR), b"\0")
                raw = self.file_of("disk.raw", content, holes=kind != "zeros")
                made, back, theirs = (self.scratch / name for name in ("made.qcow2", "back.raw", "theirs.qcow2"))
                error = self.convert("-O", "qcow2", *self.settings(cluster, mode), raw, made)
                self.assertEqual("rounded up" in error, len(full) != len(content), error)
                self.check_made(made, content, what)
                self.compare(raw, made)
                self.assertEqual(self.stored(made), self.data_of(content, unit_of(cluster)), what)
                info = self.qemu_info(made)
                more = info["format-specific"]["data"]
                self.assertEqual((info["cluster-size"], more["compression-type"], more["extended-l2"]),
                                 (cluster, "zstd" if mode == "zstd" else "zlib", mode == "extended"))
                self.assertEqual((info["virtual-size"], more["corrupt"], info.get("dirty-flag", False)),
                                 (len(full), False, False))
                self.convert(made, back)
                self.same(back.read_bytes(), full, what)
                back.unlink()
                options = [f"cluster_size={cluster}", f"compression_type={'zstd' if mode == 'zstd' else 'zlib'}"]
                options += ["extended_l2=on"] if mode == "extended" else []
                self.qemu("qemu-img", "convert", *MODES[mode][:1 if mode in ("zlib", "zstd") else 0], "-f", "raw", "-O",
                          "qcow2", "-o", ",".join(options), raw, theirs)
                self.convert(theirs, back)
                self.same(back.read_bytes(), full, what)
                self.convert("--force", "-O", "qcow2", *self.settings(cluster, mode), theirs, made)
                self.check_made(made, content, what)
                for path in (made, back, theirs):
                    path.unlink()

    def test_plain(self):
        self.round_trips("plain")

    def test_zlib(self):
        self.round_trips("zlib")

    def test_zstd(self):
        self.round_trips("zstd")

    def test_extended_l2(self):
        self.round_trips("extended")


class Made(ConvertTest):
    """qcow2 images that are made anew."""

    def test_the_same_bytes_each_time(self):
        content = self.content_of("odd") + self.rng.randbytes(600 * KIB)
        raw = self.file_of("disk.raw", content)
        base = self.file_of("base.raw", self.changed(content))
        for cluster, mode, more in itertools.product((512, 65536), MODES, ([], ["--base", base])):
            if mode == "extended" and cluster < 16 * KIB:
                continue
            with self.subTest(cluster_size=cluster, mode=mode, more=more):
                sums = set()
                for jobs in (1, 4, 4):
                    out = self.scratch / "out"
                    self.convert("-O", "qcow2", "-j", jobs, *self.settings(cluster, mode), *more, raw, out)
                    sums.add(sha256_of_file(out))
                    out.unlink()
                self.assertEqual(len(sums), 1)

    def test_small_and_odd_sizes(self):
        sizes = (0, 1, 511, 512, 513, 65535, 65536, 65537)
        for size, cluster in itertools.product(sizes, (512, 65536)):
            with self.subTest(size=size, cluster_size=cluster):
                content = self.rng.randbytes(size)
                raw, out = self.file_of("disk.raw", content), self.scratch / "out"
                out.unlink(missing_ok=True)
                error = self.convert("-O", "qcow2", *self.settings(cluster), raw, out)
                if size % SECTOR:
                    self.assertRegex(error, rf"\Asnaptool convert: warning: [^\n]*{round_up(size, SECTOR)}[^\n]*\n\Z")
                else:
                    self.assertEqual(error, "")
                self.assertEqual(self.qemu_info(out)["virtual-size"], round_up(size, SECTOR))
                self.check_made(out, content, size)

    def test_more_than_one_l2_table(self):
        """With clusters of 512 bytes, an L2 table reaches 32 KiB and a refcount block 128 KiB."""
        content = bytearray(3 * MIB)
        for at in (0, 32 * KIB - 512, 32 * KIB, 1000 * KIB, 2 * MIB, 3 * MIB - 512):
            content[at:at + 512] = self.rng.randbytes(512)
        content[MIB:MIB + 400 * KIB] = self.rng.randbytes(400 * KIB)
        raw = self.file_of("disk.raw", content)
        for mode in ("plain", "zstd"):
            out = self.scratch / mode
            self.convert("-O", "qcow2", *self.settings(512, mode), raw, out)
            self.check_made(out, bytes(content), mode)
            self.assertEqual(self.stored(out), self.data_of(bytes(content), 512))

    def test_what_does_not_get_smaller(self):
        content = self.rng.randbytes(256 * KIB) + b"a" * (256 * KIB) + self.rng.randbytes(1000) + b"b" * 150_000
        raw = self.file_of("disk.raw", content)
        sizes = {}
        for mode in ("plain", "zlib", "zstd"):
            out = self.scratch / mode
            self.convert("-O", "qcow2", *self.settings(65536, mode), raw, out)
            self.check_made(out, content, mode)
            sizes[mode] = out.stat().st_size
        self.assertLess(sizes["zlib"], sizes["plain"] - 200 * KIB)
        self.assertLess(sizes["zstd"], sizes["plain"] - 200 * KIB)

    def test_libqcow_reads_it(self):
        need(self, "qcowinfo")
        content = self.content_of("odd")
        raw = self.file_of("disk.raw", content)
        for mode in ("plain", "zlib"):
            out = self.scratch / mode
            self.convert("-O", "qcow2", *self.settings(65536, mode), raw, out)
            self.assertIn(str(round_up(len(content), SECTOR)), self.qemu("qcowinfo", out))

    def test_what_it_reads_is_what_read_reads(self):
        """Parts of an image, one with a parent, and an internal snapshot."""
        content = bytearray(self.rng.randbytes(300 * KIB))
        content[:SECTOR] = bytes(SECTOR)
        struct.pack_into("<B3sB3sII", content, 446, 0, b"\0\2\0", 0x83, b"\0\3\0", 64, 300)
        content[510:512] = b"\x55\xaa"
        content = bytes(content)
        base, out = self.file_of("base.raw", content), self.scratch / "out"
        for part, expected in (("#p1", content[64 * SECTOR:364 * SECTOR]), ("#+4k,70000", content[4096:74096])):
            self.convert("-O", "qcow2", f"{base}{part}", out)
            self.check_made(out, expected, part)
            out.unlink()
        disk = self.create("disk.qcow2", 400 * KIB, "base.raw", "raw")
        self.io(disk, "write -P 1 64k 70k", "write -z 200k 10k")
        first = self.qemu_content(disk)
        self.qemu("qemu-img", "snapshot", "-c", "one", disk)
        self.io(disk, "write -P 2 0 300k")
        self.refused(63, "convert", "-O", "qcow2", disk, out)
        for options, expected in ((["--follow-parents"], self.qemu_content(disk)),
                                  (["--follow-parents", "--internal-snapshot", "one"], first)):
            self.convert("-O", "qcow2", *options, disk, out)
            self.check_made(out, expected, options)
            self.assertNotIn("backing-filename", self.qemu_info(out))
            out.unlink()

    def test_verify(self):
        content = self.content_of("odd")
        raw = self.file_of("disk.raw", content)
        base = self.file_of("base.raw", self.changed(content, len(content) - 1000))
        there = self.file_of("there", self.rng.randbytes(len(content) + 1000))
        for options in ([], ["-S", "0"], ["-O", "qcow2"], ["-O", "qcow2", "-c"],
                        ["-O", "qcow2", *self.settings(65536, "extended")], ["-O", "qcow2", "--base", base],
                        ["-O", "qcow2", *self.settings(4096, "zstd"), "--base", base]):
            out = self.scratch / "out"
            self.convert("--verify", *options, raw, out)
            if "qcow2" in options:
                self.check_made(out, content, options)
            else:
                self.same(out.read_bytes(), content, options)
            out.unlink()
        self.convert("--verify", "-n", raw, there)
        self.same(there.read_bytes()[:len(content)], content, "-n")

    def test_json(self):
        content = self.content_of("random") + bytes(200 * KIB)
        raw, out = self.file_of("disk.raw", content), self.scratch / "out"
        for form, unit in (("qcow2", 65536), ("raw", 4096)):
            done = run("convert", "--output=json", "-O", form, raw, out)
            self.sound(done, (0,))
            result = json.loads(done.stdout)
            self.assertEqual((result["format_version"], result["format"], result["virtual_size"]),
                             (1, form, len(content)))
            data = self.data_of(content, unit)
            self.assertEqual((result["data_bytes"], result["zero_bytes"]), (data, len(content) - data))
            out.unlink()


class Overlays(ConvertTest):
    def overlay(self, source, base, out, *options, form="raw", source_content=None):
        """Makes one, and checks its content and what it names."""
        self.convert("-O", "qcow2", *options, "--base", base, source, out)
        content = source_content or source.read_bytes()
        self.check_made(out, content, options)
        info = self.qemu_info(out)
        self.assertEqual((out.parent / info["backing-filename"]).resolve(), base.resolve())
        self.assertEqual(info["backing-filename-format"], form)

    def test_only_what_differs(self):
        before = self.rng.randbytes(900 * KIB) + bytes(200 * KIB) + b"x" * (100 * KIB)
        after = bytearray(self.changed(before))
        after[256 * KIB:512 * KIB] = bytes(256 * KIB)
        after = bytes(after)
        raw, base = self.file_of("disk.raw", after), self.file_of("base.raw", before)
        for cluster, mode in ((512, "plain"), (65536, "plain"), (65536, "extended"), (4096, "zlib"), (65536, "zstd")):
            with self.subTest(cluster_size=cluster, mode=mode):
                out = self.scratch / "out"
                out.unlink(missing_ok=True)
                self.overlay(raw, base, out, *self.settings(cluster, mode))
                self.compare(raw, out)
                unit = cluster // 32 if mode == "extended" else cluster
                self.assertEqual(self.stored(out), self.data_of(after, unit, before))
                rows = json.loads(self.qemu("qemu-img", "map", "--output=json", "-f", "qcow2", out))
                inside = [row for row in rows if row["start"] >= 256 * KIB and
                          row["start"] + row["length"] <= 512 * KIB]
                self.assertTrue(inside)
                for row in inside:
                    self.assertEqual((row["zero"], row["data"], row["depth"]), (True, False, 0))

    def test_a_base_that_is_smaller_or_larger(self):
        sizes = (0, 1, 512, 100_001, 100_352, 131_072, 200_000, 300 * KIB)
        cases = [(source, base) for source in sizes[2:] for base in sizes]
        self.rng.shuffle(cases)
        for n, (size, base_size) in enumerate(cases[:scaled(200)]):
            before = self.rng.randbytes(base_size)
            kinds = {"cut or grown": before[:size].ljust(size, b"\0"), "changed": self.changed(before, size),
                     "zeros": bytes(size)}
            for kind, content in kinds.items():
                mode = list(MODES)[n % 4]
                with self.subTest(size=size, base=base_size, kind=kind, mode=mode):
                    raw, base = self.file_of("disk.raw", content), self.file_of("base.raw", before)
                    out = self.scratch / "out"
                    out.unlink(missing_ok=True)
                    self.overlay(raw, base, out, *self.settings(65536, mode))

    def test_what_an_odd_size_is_filled_up_with(self):
        """With zeros, as without a base, and not with what the base has there."""
        before = self.rng.randbytes(300 * KIB)
        raw, base, out = self.file_of("disk.raw", before[:100_001]), self.file_of("base.raw", before), self.scratch / "out"
        self.overlay(raw, base, out)
        self.compare(raw, out)
        self.convert("-O", "qcow2", "--verify", "--base", base, raw, self.scratch / "other")

    def test_nothing_differs(self):
        content = self.content_of("random")
        raw, base = self.file_of("disk.raw", content), self.file_of("base.raw", content)
        out = self.scratch / "out"
        self.overlay(raw, base, out)
        self.assertEqual(self.stored(out), 0)
        self.assertLessEqual(out.stat().st_size, 512 * KIB)

    def test_a_base_of_another_format(self):
        before = self.content_of("random")
        after = self.changed(before)
        raw = self.file_of("disk.raw", after)
        lowest = self.file_of("base.raw", before)
        self.qemu("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", lowest, self.scratch / "base.qcow2")
        middle = self.create("middle.qcow2", len(before), "base.raw", "raw")
        self.io(middle, "write -P 9 0 100k")
        for name, options in (("base.qcow2", []), ("middle.qcow2", ["--follow-parents"])):
            out = self.scratch / "out"
            self.overlay(raw, self.scratch / name, out, *options, form="qcow2")
            self.compare(raw, out)
            out.unlink()
        self.refused(63, "convert", "-O", "qcow2", "--base", middle, raw, out)
        # A raw disk may begin with the magic: then -F says so.
        disk = self.scratch / "base.qcow2"
        self.overlay(raw, disk, out, "-F", "raw")
        self.compare(raw, out)

    def test_the_name_of_the_base(self):
        before = self.rng.randbytes(100 * KIB)
        raw = self.file_of("disk.raw", self.changed(before))
        names = (("base.raw", "out", "base.raw"), ("base.raw", "new/out", "../base.raw"),
                 ("old/base.raw", "out", "old/base.raw"), ("./old/../base.raw", "out", "base.raw"))
        for folder in ("new", "old"):
            (self.scratch / folder).mkdir()
        for base, out, expected in names:
            with self.subTest(base=base, out=out):
                self.file_of(base, before)
                self.convert("-O", "qcow2", "--base", base, "disk.raw", out, cwd=self.scratch)
                self.assertEqual(self.qemu_info(self.scratch / out)["backing-filename"], expected)
                self.compare(raw, self.scratch / out)
                (self.scratch / out).unlink()
        # QEMU takes what is before a colon for a protocol, unless there is a slash before it.
        self.file_of("disk:1.raw", before)
        self.convert("-O", "qcow2", "--base", "./disk:1.raw", "disk.raw", "out", cwd=self.scratch)
        self.compare(raw, self.scratch / "out")
        self.convert("--follow-parents", self.scratch / "out", self.scratch / "back.raw")
        self.same((self.scratch / "back.raw").read_bytes(), raw.read_bytes(), "back")

    def test_a_name_that_is_too_long(self):
        folder = self.scratch
        for _ in range(6):
            folder /= "x" * 200
        folder.mkdir(parents=True)
        (folder / "base.raw").write_bytes(bytes(1000))
        raw, out = self.file_of("disk.raw", b"x" * 1024), self.scratch / "out"
        done = run("convert", "-O", "qcow2", "--base", folder / "base.raw", raw, out)
        self.sound(done, (63, 64))
        self.assertEqual(self.left("out"), [])

    def test_of_an_overlay_over_its_own_parent(self):
        before = self.rng.randbytes(400 * KIB)
        base = self.file_of("base.raw", before)
        disk = self.create("disk.qcow2", 600 * KIB, "base.raw", "raw", cluster_size=4096)
        self.io(disk, "write -P 1 64k 70k", "write -z 200k 64k", "write -P 2 500k 4k")
        expected, out = self.qemu_content(disk), self.scratch / "out"
        for options in ([], ["-c"], ["--verify"], ["--option", "extended_l2=on"], ["--follow-parents"]):
            self.overlay(disk, base, out, *options, source_content=expected)
            out.unlink()
        # Whose parent is an overlay itself.
        top = self.create("top.qcow2", 600 * KIB, "disk.qcow2", "qcow2")
        self.io(top, "write -P 3 32k 64k", "write -z 500k 4k")
        self.overlay(top, disk, out, "--follow-parents", source_content=self.qemu_content(top), form="qcow2")

    def test_a_parent_that_is_named_is_that_of_the_source(self):
        before = self.rng.randbytes(300 * KIB)
        self.file_of("base.raw", before)
        disk = self.create("disk.qcow2", 300 * KIB, "base.raw", "raw")
        self.io(disk, "write -P 1 64k 70k")
        expected, out = self.qemu_content(disk), self.scratch / "out"
        other = self.scratch / "other.qcow2"
        self.qemu("qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.scratch / "base.raw", other)
        (self.scratch / "base.raw").rename(self.scratch / "moved.raw")
        self.overlay(disk, other, out, "--parent", self.scratch / "moved.raw", source_content=expected, form="qcow2")

    def test_an_internal_snapshot_over_what_is_now(self):
        """The snapshot is that of the source: QEMU reads the base as it is now."""
        disk, out = self.create("disk.qcow2", 300 * KIB), self.scratch / "out"
        self.io(disk, "write -P 1 0 200k")
        first = self.qemu_content(disk)
        self.qemu("qemu-img", "snapshot", "-c", "one", disk)
        self.io(disk, "write -P 2 0 100k")
        self.overlay(disk, disk, out, "--internal-snapshot", "one", source_content=first, form="qcow2")
        other = self.scratch / "other.qcow2"
        self.qemu("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", disk, other)
        out.unlink()
        self.overlay(disk, other, out, "--internal-snapshot", "one", source_content=first, form="qcow2")

    def test_a_snapshot_store(self):
        before = self.rng.randbytes(MIB)
        origin, cow, out = self.file_of("origin", before), self.scratch / "cow", self.scratch / "out"
        self.sound(run("create", origin, cow), (0,))
        view = bytearray(before)
        for at, length, byte in ((8192, 5120, 5), (699_904, 70_144, 0), (MIB - 512, 512, 7)):
            self.sound(run("write", "-P", byte, "--offset", at, "--length", length, origin, cow), (0,))
            view[at:at + length] = bytes([byte]) * length
        self.same(self.read(f"{origin}@{cow}"), bytes(view), "read")
        for options in ([], ["-c"], self.settings(4096)):
            self.convert("-O", "qcow2", *options, "--base", origin, f"{origin}@{cow}", out)
            self.check_made(out, bytes(view), options)
            self.assertEqual(Path(self.qemu_info(out)["backing-filename"]).name, "origin")
            self.assertEqual(self.stored(out), self.data_of(view, 4096 if "cluster_size=4096" in options else 65536,
                                                            before))
            out.unlink()
        self.convert(f"{origin}@{cow}", out)
        self.same(out.read_bytes(), bytes(view), "raw")
        self.assertEqual(sha256_of_file(origin), sha256_of_file(self.file_of("same", before)))

    def test_a_base_that_is_more_than_a_file(self):
        origin, cow, out = self.file_of("origin", bytes(64 * KIB)), self.scratch / "cow", self.scratch / "out"
        raw = self.file_of("disk.raw", b"x" * 65536)
        self.sound(run("create", origin, cow), (0,))
        for base in (f"{origin}@{cow}", f"{origin}#+4k", f"{origin}#+0,512"):
            self.refused(63, "convert", "-O", "qcow2", "--base", base, raw, out)
        self.refused(1, "convert", "-O", "qcow2", "--base", self.scratch / "none", raw, out)
        self.assertEqual(self.left("out"), [])


class Bitmaps(ConvertTest):
    """The bitmap of what an overlay changed, as QEMU gives it to a program that makes backups."""

    def setUp(self):
        super().setUp()
        need(self, "qemu-nbd")

    def marked(self, path, name, size):
        """The ranges that QEMU calls dirty."""
        socket = self.scratch / "socket"
        self.qemu("qemu-nbd", "--fork", "-r", "-B", name, "-k", socket, "-f", "qcow2", path)
        rows = json.loads(self.qemu("qemu-img", "map", "--output=json", "--image-opts",
                                    f"driver=nbd,server.type=unix,server.path={socket},"
                                    f"x-dirty-bitmap=qemu:dirty-bitmap:{name}"))
        # What is dirty is told as having no data.
        return [(row["start"], min(row["start"] + row["length"], size)) for row in rows if not row["data"]]

    def expected(self, before, after, granularity):
        before = before[:len(after)].ljust(len(after), b"\0")
        ranges = []
        for start in range(0, len(after), granularity):
            end = min(start + granularity, len(after))
            if before[start:end] == after[start:end]:
                continue
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((start, end))
        return ranges

    def test_marks_what_changed(self):
        before = self.rng.randbytes(5 * MIB + 300 * SECTOR)
        modes = [(512, "plain"), (65536, "plain"), (65536, "extended"), (65536, "zstd"), (2 * MIB, "plain")]
        for n, granularity in enumerate((512, None, 4096, 65536, MIB, 64 * MIB, 2 << 30)):
            cluster, mode = modes[n % len(modes)]
            with self.subTest(granularity=granularity, cluster_size=cluster, mode=mode):
                size = self.rng.choice((len(before), len(before) - 100 * SECTOR, len(before) + 100 * SECTOR))
                after = self.changed(before, size)
                raw, base, out = self.file_of("disk.raw", after), self.file_of("base.raw", before), self.scratch / "out"
                out.unlink(missing_ok=True)
                asked = [] if granularity is None else ["--option", f"bitmap_granularity={granularity}"]
                self.convert("-O", "qcow2", *self.settings(cluster, mode), "--option", "bitmap=changed", *asked, "--base",
                             base, raw, out)
                self.check_made(out, after)
                listed, = self.qemu_info(out)["format-specific"]["data"]["bitmaps"]
                self.assertEqual(listed, {"flags": [], "name": "changed", "granularity": granularity or 4096})
                self.assertEqual(self.marked(out, "changed", size), self.expected(before, after, granularity or 4096))

    def test_more_than_one_cluster_of_it(self):
        """With clusters of 512 bytes, one of the bitmap is for 2 MiB of the image: some have no bit."""
        before = bytes(20 * MIB)
        after = bytearray(before)
        for at in (0, 3 * MIB + 511, 7 * MIB, 7 * MIB + 512, len(before) - 1):
            after[at] = 1
        raw, base, out = self.file_of("disk.raw", after), self.file_of("base.raw", before, holes=True), self.scratch / "out"
        self.convert("-O", "qcow2", "--option", "cluster_size=512", "--option", "bitmap=changed", "--option",
                     "bitmap_granularity=512", "--base", base, raw, out)
        self.check_made(out, bytes(after))
        self.assertEqual(self.marked(out, "changed", len(after)), self.expected(before, after, 512))

    def test_of_an_empty_image(self):
        raw, base, out = self.file_of("disk.raw", b""), self.file_of("base.raw", bytes(MIB)), self.scratch / "out"
        self.convert("-O", "qcow2", "--option", "bitmap=none", "--base", base, raw, out, status=63)
        self.assertFalse(out.exists())

    def test_nothing_changed(self):
        content = self.content_of("text")
        raw, base, out = self.file_of("disk.raw", content), self.file_of("base.raw", content), self.scratch / "out"
        self.convert("-O", "qcow2", "--option", "bitmap=none", "--base", base, raw, out)
        self.check_made(out, content)
        self.assertEqual(self.marked(out, "none", len(content)), [])

    def test_refused(self):
        raw, out = self.file_of("disk.raw", bytes(MIB)), self.scratch / "out"
        base = self.file_of("base.raw", bytes(MIB))
        over = ["--base", base]
        for status, options in ((64, ["bitmap=a"]), (64, [*over, "bitmap="]), (64, [*over, "bitmap=" + "a" * 1024]),
                                (64, [*over, "bitmap_granularity=4k"]),
                                *((64, [*over, "bitmap=a", f"bitmap_granularity={wrong}"])
                                  for wrong in ("0", "256", "600", "4G", "x", ""))):
            with self.subTest(options=options):
                settings = [word for one in options if one not in over for word in ("--option", one)]
                self.convert("-O", "qcow2", *(over if over[0] in options else []), *settings, raw, out, status=status)
                self.assertFalse(out.exists())
        for path in (raw, base):
            os.truncate(path, 4 << 40)
        self.convert("-O", "qcow2", "--option", "bitmap=a", "--option", "bitmap_granularity=512", *over, raw, out, status=63)
        self.assertFalse(out.exists())


class Raw(ConvertTest):
    def allocated(self, path):
        os.sync()
        return path.stat().st_blocks * 512

    def test_zeros_are_holes(self):
        content = bytearray(3 * MIB)
        content[MIB:MIB + 100 * KIB] = self.rng.randbytes(100 * KIB)
        content[2 * MIB + 4096:2 * MIB + 4097] = b"x"
        out = self.scratch / "out"
        full = self.file_of("full", content)
        sparse = self.file_of("sparse", content, holes=True)
        self.qemu("qemu-img", "convert", "-f", "raw", "-O", "qcow2", full, self.scratch / "disk.qcow2")
        for source in (full, sparse, self.scratch / "disk.qcow2"):
            self.convert(source, out)
            self.same(out.read_bytes(), bytes(content), source)
            self.assertLessEqual(self.allocated(out), 104 * KIB + 64 * KIB, source)
            out.unlink()
        self.convert("-S", "1M", full, out)
        self.same(out.read_bytes(), bytes(content), "-S 1M")
        self.assertGreaterEqual(self.allocated(out), 2 * MIB)
        self.assertLess(self.allocated(out), 5 * MIB // 2)
        out.unlink()
        self.convert("-S", "0", full, out)
        self.same(out.read_bytes(), bytes(content), "-S 0")
        self.assertGreaterEqual(self.allocated(out), 3 * MIB)
        for size in ("1000", "256", "128M", "3k"):
            self.refused(64, "convert", "--force", "-S", size, full, out)

    def test_odd_sizes_are_kept(self):
        for size in (0, 1, 511, 4097, 300_001):
            content = self.rng.randbytes(size // 2) + bytes(size - size // 2)
            raw, out = self.file_of("disk.raw", content), self.scratch / "out"
            self.assertEqual(self.convert(raw, out), "")
            self.same(out.read_bytes(), content, size)
            out.unlink()

    def test_into_a_file_that_is_there(self):
        content = self.content_of("odd")
        raw = self.file_of("disk.raw", content, holes=True)
        self.qemu("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, self.scratch / "disk.qcow2")
        full = content.ljust(round_up(len(content), SECTOR), b"\0")
        for source, expected in ((raw, content), (self.scratch / "disk.qcow2", full)):
            for more, options in ((0, []), (70_001, []), (70_001, ["-S", "0"]), (5, ["-t", "unsafe"])):
                old = self.rng.randbytes(len(expected) + more)
                there = self.file_of("there", old)
                inode = there.stat().st_ino
                self.convert("-n", *options, source, there)
                self.same(there.read_bytes(), expected + old[len(expected):], (source, more, options))
                self.assertEqual(there.stat().st_ino, inode)
        old = self.rng.randbytes(len(content) - 1)
        there = self.file_of("there", old)
        self.refused(73, "convert", "-n", raw, there)
        self.same(there.read_bytes(), old, "smaller")
        self.refused(1, "convert", "-n", raw, self.scratch / "none")
        self.assertEqual(self.left("none"), [])
        # What says how the input is read would not help.
        old = b"vhdxfile".ljust(len(content), b"\0")
        there = self.file_of("there", old)
        done = run("convert", "-n", raw, there)
        self.assertEqual(done.returncode, 63)
        self.assertIn("--force", done.stderr)
        self.assertNotIn("-f raw", done.stderr)
        self.same(there.read_bytes(), old, "an image")
        self.convert("-n", "--force", raw, there)
        self.same(there.read_bytes(), content, "forced")

    def test_to_standard_output(self):
        content = self.content_of("odd")
        raw = self.file_of("disk.raw", content, holes=True)
        made = self.scratch / "disk.qcow2"
        self.convert("-O", "qcow2", "-c", raw, made)
        for source, expected in ((raw, content), (made, content.ljust(round_up(len(content), SECTOR), b"\0"))):
            done = run("convert", source, "-", binary=True)
            self.sound(done, (0,))
            self.same(done.stdout, expected, source)
        done = run("convert", "-O", "qcow2", self.file_of("even", bytes(1024)), "-")
        self.sound(done, (63,))
        self.assertEqual(done.stdout, "")

    def test_the_cache(self):
        raw, out = self.file_of("disk.raw", self.content_of("odd")), self.scratch / "out"
        for form in ("raw", "qcow2"):
            for mode in ("writeback", "unsafe"):
                self.convert("-O", form, "-t", mode, raw, out)
                out.unlink()
        self.refused(64, "convert", "-t", "directsync", raw, out)
        need(self, "strace")
        for form, mode in itertools.product(("raw", "qcow2"), ("writeback", "unsafe")):
            trace = self.scratch / "trace"
            done = run_under_strace(["-o", str(trace), "-e", "trace=fsync,fdatasync"], "convert", "-O", form, "-t",
                                    mode, raw, out)
            self.sound(done, (0,))
            self.assertEqual("sync(" in trace.read_text(), mode == "writeback", (form, mode))
            out.unlink()


class Broken(ConvertTest):
    """What is left of what was not finished."""

    def setUp(self):
        super().setUp()
        self.content = self.rng.randbytes(MIB) + bytes(300 * KIB) + self.rng.randbytes(2 * MIB - 300 * KIB)
        self.raw = self.file_of("disk.raw", self.content)
        self.out = self.scratch / "out"
        self.partial = self.scratch / "out.partial"

    def goes_on(self, *options):
        """The same command finishes, and says that there was something."""
        error = self.convert(*options, self.raw, self.out)
        self.assertIn("out.partial", error)
        self.same(self.out.read_bytes(), self.content, "out")
        self.assertEqual(self.left("out"), ["out"])
        self.out.unlink()

    def test_interrupted_raw(self):
        need(self, "strace")
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            process = interrupted(number, "convert", "-j", "1", self.raw, self.out)
            self.assertEqual(process.returncode, status, process.stderr)
            self.assertEqual(self.left("out"), ["out.partial"])
            self.assertRegex(process.stderr, r"out\.partial' is kept[^\n]*continues from it")
            self.assertEqual(self.partial.stat().st_size, len(self.content))
            self.goes_on()

    def test_interrupted_qcow2(self):
        need(self, "strace")
        for options in ([], ["-c"]):
            process = interrupted(signal.SIGINT, "convert", "-O", "qcow2", "-j", "1", *options, self.raw, self.out)
            self.assertEqual(process.returncode, 130, process.stderr)
            self.assertEqual(self.left("out"), [])
        self.out.write_bytes(b"old")
        process = interrupted(signal.SIGINT, "convert", "-O", "qcow2", "-j", "1", "--force", self.raw, self.out)
        self.assertEqual(process.returncode, 130, process.stderr)
        self.assertEqual((self.left("out"), self.out.read_bytes()), (["out"], b"old"))

    def test_killed(self):
        need(self, "strace")
        for when in (1, 4, 9):
            kill = ["-o", "/dev/null", "-e", f"inject=pwrite64:signal=KILL:when={when}"]
            done = run_under_strace(kill, "convert", "-j", "1", self.raw, self.out)
            self.assertIn(done.returncode, (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr)
            self.assertEqual(self.left("out"), ["out.partial"])
            self.goes_on()
            done = run_under_strace(kill, "convert", "-O", "qcow2", "-j", "1", self.raw, self.out)
            self.assertIn(done.returncode, (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr)
            self.assertFalse(self.out.exists())
            self.convert("-O", "qcow2", self.raw, self.out)
            self.check_made(self.out, self.content)
            for path in self.scratch.glob("out*"):
                path.unlink()

    def test_garbage_in_what_was_left(self):
        """It is compared: neither its data nor its holes are trusted."""
        size = len(self.content)
        mixed = bytearray(self.content)
        for at in (0, 100_000, MIB + 50_000, size - 10):
            mixed[at:at + 5000] = self.rng.randbytes(len(mixed[at:at + 5000]))
        for left in (self.content, bytes(size), self.rng.randbytes(size), bytes(mixed)):
            for options in ([], ["-S", "0"], ["--verify", "-j", "1"]):
                self.partial.write_bytes(left)
                self.goes_on(*options)
        self.file_of("out.partial", bytes(size), holes=True)
        self.goes_on()

    def test_what_is_there_is_not_written_again(self):
        need(self, "strace")
        self.partial.write_bytes(self.content[:MIB] + bytes(len(self.content) - MIB))
        trace = self.scratch / "trace"
        done = run_under_strace(["-o", str(trace), "-e", "trace=pwrite64"], "convert", "-j", "1", self.raw, self.out)
        self.sound(done, (0,))
        rows = [line.rsplit(",", 1) for line in trace.read_text().splitlines() if "pwrite64(" in line]
        self.assertTrue(rows)
        self.assertGreaterEqual(min(int(row[1].split(")")[0]) for row in rows), MIB)
        self.same(self.out.read_bytes(), self.content, "out")

    def test_a_partial_of_something_else(self):
        for size in (1000, len(self.content) + 1):
            self.partial.write_bytes(b"x" * size)
            self.assertIn("out.partial", self.refused(64, "convert", self.raw, self.out))
            self.assertEqual((self.left("out"), self.partial.read_bytes()), (["out.partial"], b"x" * size))
            self.convert("--force", self.raw, self.out)
            self.same(self.out.read_bytes(), self.content, size)
            self.assertEqual(self.left("out"), ["out"])
            self.out.unlink()
        target = self.file_of("target", bytes(len(self.content)))
        self.partial.symlink_to(target)
        self.refused(64, "convert", "--force", self.raw, self.out)
        self.assertEqual(target.read_bytes().count(0), len(self.content))
        self.partial.unlink()
        self.partial.mkdir()
        self.refused(64, "convert", "--force", self.raw, self.out)

    def test_a_partial_that_is_the_input(self):
        self.raw.rename(self.partial)
        for options in ([], ["--force"]):
            self.refused(64, "convert", *options, self.partial, self.out)
        self.same(self.partial.read_bytes(), self.content, "the input")
        self.assertEqual(self.left("out"), ["out.partial"])

    def test_no_space(self):
        need(self, "strace")
        full = ["-o", "/dev/null", "-e", "inject=pwrite64:error=ENOSPC:when=4+"]
        done = run_under_strace(full, "convert", "-j", "1", self.raw, self.out)
        self.sound(done, (73,))
        self.assertEqual(self.left("out"), ["out.partial"])
        self.assertIn("continues from it", done.stderr)
        self.goes_on()
        for options in ([], ["-c"]):
            done = run_under_strace(full, "convert", "-O", "qcow2", "-j", "1", *options, self.raw, self.out)
            self.sound(done, (73,))
            self.assertEqual(self.left("out"), [])

    def test_files_that_may_not_grow(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))

        for options in ([], ["-c"]):
            done = run("convert", "-O", "qcow2", *options, self.raw, self.out, preexec_fn=limit)
            self.sound(done, (1, 73), options)
            self.assertEqual(self.left("out"), [])
        done = run("convert", self.raw, self.out, preexec_fn=limit)
        self.sound(done, (1, 73))
        self.assertFalse(self.out.exists())
        # What is left of it is not in the way of the next one.
        self.convert(self.raw, self.out)
        self.same(self.out.read_bytes(), self.content, "out")

    def test_a_source_that_cannot_be_read(self):
        self.refused(1, "convert", self.scratch / "none", self.out)
        self.refused(1, "convert", self.raw, self.scratch / "none" / "out")
        damaged, _ = damaged_image(self.scratch / "damaged")
        self.refused(65, "convert", damaged, self.out)
        self.refused(65, "convert", "-O", "qcow2", damaged, self.out)
        self.assertEqual(self.left("out"), [])
        # But what an earlier call left is kept.
        size = 8 * 65536
        self.partial.write_bytes(bytes(size))
        self.sound(run("convert", damaged, self.out), (65,))
        self.assertEqual(self.left("out"), ["out.partial"])


def damaged_image(path):
    """An image whose cluster 3 is beyond the end of the file; returns it, and its content with zeros there."""
    image = Qcow2(8 * 65536)
    for number in (0, 1, 2, 3, 4, 6):
        image.data(number, bytes([number + 1]) * 65536)
    raw = image.build()
    put(raw, image.places["entry", 3], 1 << 40 | COPIED)
    path.write_bytes(raw)
    image.discard(3)
    return path, image.content()


class Stores(ConvertTest):
    """-O dm-snapshot: the store's view is the image, and an overlay in between changes nothing."""

    def pair(self, size=2 * MIB):
        base = self.content_of("random")[:size].ljust(size, b"b")
        return self.file_of("base.raw", base), self.file_of("disk.raw", self.changed(base)), base

    def exceptions(self, cow):
        dump = run("dump", "--output=json", cow)
        self.assertEqual(dump.returncode, 0, dump.stderr)
        return dump.stdout

    def test_the_view_is_the_image(self):
        for chunk in (512, 4096, 65536, 2 * MIB):
            base, disk, content = self.pair()
            cow = self.scratch / "the.cow"
            cow.unlink(missing_ok=True)
            after = disk.read_bytes()
            self.convert("-O", "dm-snapshot", "--option", f"chunk_size={chunk}", "--base", base, "--verify", disk, cow)
            self.assertEqual(run("verify", base, cow).returncode, 0)
            self.same(run("read", f"{base}@{cow}", binary=True).stdout, after, chunk)
            changed = sum(content[at:at + chunk] != after[at:at + chunk] for at in range(0, len(after), chunk))
            self.assertEqual(json.loads(run("status", "--output=json", base, cow).stdout)["exceptions"], changed)
            # What the store is for: the image becomes the origin.
            self.assertEqual(run("merge", base, cow).returncode, 0)
            self.same(base.read_bytes(), after, chunk)

    def test_by_way_of_an_overlay(self):
        base, disk, _ = self.pair()
        first, second = self.scratch / "first.cow", self.scratch / "second.cow"
        overlay = self.scratch / "overlay.qcow2"
        self.convert("-O", "dm-snapshot", "--base", base, disk, first)
        for settings in ([], ["--option", "cluster_size=128k", "--option", "extended_l2=on"]):
            self.convert("-O", "qcow2", *settings, "--base", base, "--force", f"{base}@{first}", overlay)
            self.check_made(overlay, disk.read_bytes())
            self.convert("-O", "dm-snapshot", "--base", base, "--force", overlay, second)
            self.assertEqual(self.exceptions(second), self.exceptions(first))
            self.assertEqual(second.read_bytes(), first.read_bytes())

    def test_what_it_cannot_say(self):
        base, disk, _ = self.pair()
        longer = self.file_of("longer.raw", disk.read_bytes() + bytes(SECTOR))
        cow = self.scratch / "the.cow"
        self.assertIn("another size", self.convert("-O", "dm-snapshot", "--base", base, longer, cow, status=63))
        self.assertIn("--base", self.convert("-O", "dm-snapshot", disk, cow, status=64))
        for chunk in ("1000", "256", "4M", ""):
            self.assertIn("chunk_size", self.convert("-O", "dm-snapshot", "--base", base, "--option",
                                                     f"chunk_size={chunk}", disk, cow, status=64))
        self.convert("-O", "dm-snapshot", "-c", "--base", base, disk, cow, status=64)
        self.assertFalse(cow.exists())


class Salvage(ConvertTest):
    def setUp(self):
        super().setUp()
        self.path, self.content = damaged_image(self.scratch / "damaged")
        self.out = self.scratch / "out"

    def salvage(self, *options):
        error = self.convert("--salvage", *options, self.path, self.out, status=65)
        self.assertRegex(error, r"\A(snaptool convert: warning: [^\n]+\n)+\Z")
        self.assertIn(str(3 * 65536), error)
        self.assertIn("65536", error)
        self.assertEqual(self.left("out"), ["out"])

    def test_the_rest_is_right(self):
        for options in ([], ["-j", "1"], ["-S", "0"]):
            self.salvage(*options)
            self.same(self.out.read_bytes(), self.content, options)
            self.out.unlink()
        for options in ([], ["-c"], self.settings(4096), self.settings(2 * MIB), self.settings(65536, "extended")):
            self.salvage("-O", "qcow2", *options)
            self.check_made(self.out, self.content, options)
            self.out.unlink()
        there = self.file_of("out", b"\xff" * (len(self.content) + 1000))
        self.salvage("-n")
        self.same(there.read_bytes(), self.content + b"\xff" * 1000, "-n")

    def test_over_a_base(self):
        for before in (bytes([9]) * 8 * 65536, self.content):
            base = self.file_of("base.raw", before)
            self.out.unlink(missing_ok=True)
            self.salvage("-O", "qcow2", "--base", base)
            self.check_made(self.out, self.content)

    def test_other_damage(self):
        image = Qcow2(8 * 4096, cluster_bits=12)
        for number in range(8):
            image.data(number, bytes([number + 1]) * 4096)
        image.compressed(5, b"\7" * 4096, blob=b"\xff" * 100)
        image.write(self.path)
        image.discard(5)
        error = self.convert("--salvage", self.path, self.out, status=65)
        self.assertIn(str(5 * 4096), error)
        self.same(self.out.read_bytes(), image.content(), "compressed")
        self.out.unlink()
        # A table: 32 KiB, of three, of which there are data in two.
        image = Qcow2(3 * 64 * 512, cluster_bits=9)
        for number in (0, 1, 64, 128):
            image.data(number, bytes([number + 1]) * 512)
        raw = image.build()
        put(raw, image.places["l1"] + 8, 1 << 40 | COPIED)
        self.path.write_bytes(raw)
        image.discard(64)
        for options in ([], ["-O", "qcow2"]):
            error = self.convert("--salvage", *options, self.path, self.out, status=65)
            self.assertIn(f"{64 * 512} bytes at byte {64 * 512}", error)
            if options:
                self.check_made(self.out, image.content())
            else:
                self.same(self.out.read_bytes(), image.content(), "a table")
            self.out.unlink()

    def test_what_is_sound(self):
        raw = self.file_of("disk.raw", self.content_of("odd"))
        self.assertEqual(self.convert("--salvage", raw, self.out), "")
        self.same(self.out.read_bytes(), raw.read_bytes(), "out")

    def test_json(self):
        done = run("convert", "--salvage", "--output=json", self.path, self.out)
        self.sound(done, (65,))
        self.assertEqual(json.loads(done.stdout)["unreadable_bytes"], 65536)


class Refused(ConvertTest):
    def test_settings_are_told(self):
        """Without operands, as help is."""
        for form, word in (("qcow2", "cluster_size"), ("vmdk", "adapter_type"), ("vpc", "azure"), ("vhdx", "block_size"),
                           ("simg", "zeros"), ("ewf", "case_number"), ("vdi", "takes no --option"), ("raw", "part_size")):
            done = run("convert", "-O", form, "--option", "help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn(word, done.stdout)

    def test_bases_that_qemu_reads_otherwise(self):
        text = b"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"custom\"\nRW 16 ZERO\n"
        base = self.scratch / "base.vmdk"
        base.write_bytes(text)
        self.refused(63, "convert", "-O", "qcow2", "--base", base, self.raw, self.out)
        self.assertEqual(self.left("out"), [])

    def test_no_snapshots_within(self):
        for options in ([], ["-f", "raw"]):
            self.refused(64, "convert", "--internal-snapshot", "x", *options, self.raw, self.out)
        self.refused(64, "hash", "--internal-snapshot", "x", self.raw)

    def test_a_pipe_is_not_waited_for(self):
        fifo = self.scratch / "fifo"
        os.mkfifo(fifo)
        for form in ("vhdx", "vpc", "vdi", "qcow2"):
            self.refused(63, "convert", "-O", form, self.raw, fifo, timeout=20)

    def test_a_split_image_of_another_format(self):
        need(self, "qemu-img")
        whole = self.scratch / "whole"
        for form in ("qcow2", "vhdx"):
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, self.raw, whole], check=True)
            data = whole.read_bytes()
            half = len(data) // 2 + 1
            (self.scratch / "s.001").write_bytes(data[:half])
            (self.scratch / "s.002").write_bytes(data[half:])
            done = run("read", "-f", "split", self.scratch / "s.001", binary=True)
            self.assertEqual((done.returncode, done.stdout), (0, self.raw.read_bytes()), done.stderr)
        (self.scratch / "s.001").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(4090))
        (self.scratch / "s.002").write_bytes(bytes(100))
        self.refused(63, "read", "-f", "split", self.scratch / "s.001")

    def setUp(self):
        super().setUp()
        self.content = self.rng.randbytes(100 * KIB)
        self.raw = self.file_of("disk.raw", self.content)
        self.out = self.scratch / "out"

    def test_an_output_that_exists(self):
        self.out.write_bytes(b"old")
        for options in ([], ["-O", "qcow2"], ["-O", "qcow2", "-c"]):
            self.assertIn("--force", self.refused(64, "convert", *options, self.raw, self.out))
            self.assertEqual((self.left("out"), self.out.read_bytes()), (["out"], b"old"))
        self.convert("--force", "-O", "qcow2", self.raw, self.out)
        self.check_made(self.out, self.content)
        self.convert("--force", self.raw, self.out)
        self.same(self.out.read_bytes(), self.content, "out")
        self.out.unlink()
        self.out.mkdir()
        for options in ([], ["--force"]):
            self.refused(64, "convert", *options, self.raw, self.out)

    def names_of(self, path):
        link, hard = self.scratch / "symbolic", self.scratch / "hard"
        for name in (link, hard):
            name.unlink(missing_ok=True)
        link.symlink_to(path.name)
        os.link(path, hard)
        return path, link, hard, self.scratch / ".." / self.scratch.name / path.name

    def unchanged(self, status, *arguments):
        sums = {path: sha256_of_file(path) for path in self.scratch.iterdir()}
        self.refused(status, "convert", *arguments)
        self.assertEqual({path: sha256_of_file(path) for path in self.scratch.iterdir()}, sums, arguments)

    def test_an_output_that_is_the_input(self):
        for name in self.names_of(self.raw):
            for options in ([], ["--force"], ["--force", "-O", "qcow2"]):
                self.unchanged(64, *options, self.raw, name)

    def test_an_output_that_is_there_and_the_input(self):
        for name in self.names_of(self.raw):
            self.unchanged(64, "-n", self.raw, name)

    def test_an_output_that_is_the_base(self):
        base = self.file_of("base.raw", self.changed(self.content))
        for name in self.names_of(base):
            for options in ([], ["--force"]):
                self.unchanged(64, *options, "-O", "qcow2", "--base", base, self.raw, name)

    def test_an_output_that_is_a_parent(self):
        self.file_of("lowest.raw", self.content)
        self.create("middle.qcow2", 100 * KIB, "lowest.raw", "raw")
        top = self.create("top.qcow2", 100 * KIB, "middle.qcow2", "qcow2")
        for parent in ("lowest.raw", "middle.qcow2"):
            for name in self.names_of(self.scratch / parent):
                self.unchanged(64, "--force", "--follow-parents", top, name)
                self.unchanged(64, "-n", "--follow-parents", top, name)
        # Also where it is read as what the base is.
        for name in ("lowest.raw", "middle.qcow2"):
            self.unchanged(64, "--force", "--follow-parents", "-O", "qcow2", "--base", self.scratch / "middle.qcow2",
                           top, self.scratch / name)
        cow = self.scratch / "cow"
        self.sound(run("create", self.raw, cow), (0,))
        for name in (self.raw, cow):
            self.unchanged(64, "--force", f"{self.raw}@{cow}", name)

    def test_options(self):
        base = self.file_of("base.raw", bytes(1000))
        for settings in ([], ["-c"]):
            words = self.refused(64, "convert", "-O", "qcow2", *settings, "--option", "colour=red", self.raw, self.out)
            for name in ("cluster_size", "compression_type", "extended_l2"):
                self.assertIn(name, words)
        for size in ("0", "256", "1000", "4M", "3k", "", "-1", "64kk", "2^16"):
            self.refused(64, "convert", "-O", "qcow2", "--option", f"cluster_size={size}", self.raw, self.out)
        qcow2 = ["-O", "qcow2"]
        for options in (["-c"], ["--base", base], ["--option", "cluster_size=64k"], ["-O", "qed"],
                        qcow2 + ["-c", "--option", "extended_l2=on"], qcow2 + ["--option", "extended_l2=perhaps"],
                        qcow2 + ["--option", "extended_l2=on", "--option", "cluster_size=8k"],
                        qcow2 + ["--option", "compression_type=lz4"], qcow2 + ["--option", "cluster_size"],
                        qcow2 + ["--option", ""], qcow2 + ["-n"], qcow2 + ["-S", "4k"], ["--salvage", "--verify"]):
            self.refused(64, "convert", *options, self.raw, self.out)
        self.assertEqual(self.left("out"), [])
        self.refused(64, "convert", self.raw)
        self.refused(64, "convert", self.raw, self.out, self.out)

    def test_settings_that_are_given_twice_or_with_units(self):
        self.convert("-O", "qcow2", "--option", "cluster_size=4k", "--option", "cluster_size=128K", self.raw, self.out)
        self.assertEqual(self.qemu_info(self.out)["cluster-size"], 128 * KIB)
        self.check_made(self.out, self.content)

    def test_an_image_that_needs_larger_clusters(self):
        huge = self.scratch / "huge"
        with open(huge, "wb") as file:
            file.truncate(1 << 43)
            file.seek(5 << 40)
            file.write(b"here")
        self.refused(63, "convert", "-O", "qcow2", *self.settings(512), huge, self.out)
        self.assertEqual(self.left("out"), [])
        self.convert("-O", "qcow2", "--option", "cluster_size=2M", huge, self.out)
        self.qemu("qemu-img", "check", "-f", "qcow2", self.out)
        self.assertEqual(self.stored(self.out), 2 * MIB)
        self.io(self.out, f"read -P 0x68 {5 << 40} 1", f"read -P 0x65 {(5 << 40) + 3} 1", f"read -P 0 {4 << 40} 2M")


if __name__ == "__main__":
    main("convert")
