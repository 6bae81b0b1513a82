# SPDX-License-Identifier: Apache-2.0
"""Parts of images: partitions, slices, LVM2 volumes; and that nobody who reads them writes."""

import json
import os
import random
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
from crafted import write_store  # noqa: E402
from harness import DATA, SEED, ScratchTest, main, need, run, run_under_strace, scaled, sha256_of_file, unpack  # noqa: E402

LVM = DATA / "lvm"
KERNEL = (LVM / "lvm.txt").read_text()
SUMS = dict(re.findall(r"^sum (\w+) ([0-9a-f]{64})$", KERNEL, re.M))
STATUS = dict(re.findall(r"^vg0-(s\d): (0 \d+ snapshot (?:\d+/\d+ \d+|Invalid))$", KERNEL, re.M))
PV_BYTES = 24 << 20


def lvm_crc(data):
    return zlib.crc32(data, 0xf597a6cf ^ 0xffffffff) ^ 0xffffffff


class PartsTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.pv = self.scratch / "pv.img"
        unpack(LVM / "pv.img.zst", self.pv)

    def sum_of(self, *operands):
        done = run("hash", *operands)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()[0]

    def refused(self, status, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertRegex(done.stderr, r"\Asnaptool [a-z-]+: [^\n]+\n\Z")
        return done.stderr

    def info(self, image):
        done = run("info", "--output=json", image)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def damaged(self, edits, name="damaged.img"):
        """A copy of the PV with bytes changed: {offset: bytes}."""
        path = self.scratch / name
        data = bytearray(self.pv.read_bytes())
        for offset, content in edits.items():
            data[offset:offset + len(content)] = content
        path.write_bytes(data)
        return path


class Volumes(PartsTest):
    def test_what_the_kernel_read(self):
        self.assertEqual(set(SUMS), {"data", "s1", "s2"})
        for name, expected in SUMS.items():
            self.assertEqual(self.sum_of(f"{self.pv}#vg0/{name}"), expected, name)
        self.assertEqual(self.sum_of(f"{self.pv}#vg0/data-real"), SUMS["data"])
        self.assertEqual(self.sum_of("--vgcfg", LVM / "vg0.conf", f"{self.pv}#vg0/s1"), SUMS["s1"])

    def test_a_backup_that_was_named_is_used_or_refused(self):
        info = run("info", "--vgcfg", LVM / "vg0.conf", self.pv)
        self.assertEqual(info.returncode, 0, info.stderr)
        broken, other = self.scratch / "broken", self.scratch / "other"
        text = (LVM / "vg0.conf").read_text()
        broken.write_text(text[:len(text) // 2])
        group = re.search(r'id = "(.)', text)
        other.write_text(text[:group.start(1)] + ("y" if group[1] == "x" else "x") + text[group.end(1):])
        physical = re.search(r'pv0 \{\s*id = "(.)', text)
        foreign = self.scratch / "foreign"
        foreign.write_text(text[:physical.start(1)] + ("y" if physical[1] == "x" else "x") + text[physical.end(1):])
        plain = self.scratch / "plain"
        plain.write_bytes(bytes(1 << 20))
        for backup, image in ((broken, self.pv), (other, self.pv), (foreign, self.pv), (LVM / "vg0.conf", plain)):
            done = run("info", "--vgcfg", backup, image)
            self.assertNotEqual(done.returncode, 0, backup)
            self.assertEqual(done.stdout, "")

    def test_a_volume_that_passes_the_end_is_not_listed_as_whole(self):
        whole = run("info", self.pv).stdout
        self.assertNotIn("beyond the end", whole)
        cut = self.scratch / "cut"
        cut.write_bytes(self.pv.read_bytes()[:3 << 20])
        done = run("info", cut)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("beyond the end", done.stdout)
        volumes = json.loads(run("info", "--output=json", cut).stdout)["lvm2"]["lvs"]
        self.assertTrue(any("problem" in volume for volume in volumes))

    def test_the_kernels_status(self):
        self.assertEqual(set(STATUS), {"s1", "s2", "s3"})
        for name, expected in STATUS.items():
            self.assertEqual(run("status", f"{self.pv}#vg0/{name}").stdout.strip(), expected)
            self.assertEqual(run("status", f"{self.pv}#vg0/data", f"{self.pv}#vg0/{name}-cow").stdout.strip(), expected)

    def test_an_invalid_snapshot_is_said_to_be_so(self):
        self.assertIn("invalid", self.refused(65, "read", f"{self.pv}#vg0/s3"))
        done = run("read", "--ignore-invalid", f"{self.pv}#vg0/s3", binary=True)
        self.assertEqual((done.returncode, len(done.stdout)), (0, 8448 * 512))
        self.assertEqual(run("verify", f"{self.pv}#vg0/s3-cow").returncode, 2)

    def test_commands_on_the_cow(self):
        for name in ("s1", "s1-cow"):
            self.assertEqual(run("verify", f"{self.pv}#vg0/{name}").returncode, 0)
            self.assertIn("chunk_size", run("dump", f"{self.pv}#vg0/{name}").stdout)
        self.assertIn("ORIGIN@", self.refused(64, "read", f"{self.pv}#vg0/s1-cow"))
        self.refused(63, "resize", f"{self.pv}#vg0/s1-cow", "1M")

    def test_info_shows_the_tree(self):
        group = self.info(self.pv)["lvm2"]
        self.assertEqual((group["vg_name"], group["seqno"], group["extent_size"]), ("vg0", 11, 128 << 10))
        data = group["lvs"][0]
        self.assertEqual([lv["name"] for lv in group["lvs"]], ["data"])
        snapshots = {s["name"]: s for s in data["snapshots"]}
        self.assertEqual({n: s["chunk_size_sectors"] for n, s in snapshots.items()}, {"s1": 16, "s2": 128, "s3": 8})
        self.assertEqual({n: s["store"]["valid"] for n, s in snapshots.items()}, {"s1": True, "s2": True, "s3": False})
        text = run("info", self.pv).stdout
        # lvs printed these as Snap%.
        for words in ("32.81% full", "32.14% full", "Invalid"):
            self.assertIn(words, text)

    def test_map_names_the_disk(self):
        for image in ("data", "s1"):
            content = run("read", f"{self.pv}#vg0/{image}", binary=True).stdout
            rows = json.loads(run("map", "--output=json", f"{self.pv}#vg0/{image}").stdout)
            disk = self.pv.read_bytes()
            for row in rows:
                self.assertEqual(row["filename"], str(self.pv))
                self.assertEqual(disk[row["offset"]:row["offset"] + row["length"]],
                                 content[row["start"]:row["start"] + row["length"]])
            self.assertEqual(sum(row["length"] for row in rows), len(content))

    def test_names_that_are_not_there(self):
        self.assertIn("data, s1, s2, s3", self.refused(1, "read", f"{self.pv}#vg0/none"))
        self.assertIn("vg0", self.refused(1, "read", f"{self.pv}#vg1/data"))
        self.assertIn("snapshot0", self.refused(1, "read", f"{self.pv}#vg0/snapshot0"))
        self.assertIn("one image only", self.refused(64, "read", f"{self.pv},{self.pv}"))
        self.assertIn("same PV", self.refused(64, "read", f"{self.pv},{self.pv}#vg0/data"))
        self.assertIn("is a snapshot of", self.refused(64, "status", f"{self.pv}#vg0/s2-cow", f"{self.pv}#vg0/s1"))

    def test_an_output_does_not_overwrite_its_source(self):
        before = sha256_of_file(self.pv)
        self.assertIn("input", self.refused(64, "read", f"{self.pv}#vg0/s1", "-o", self.pv, "--force"))
        self.assertIn("input", self.refused(64, "diff", f"{self.pv}#vg0/s1", f"{self.pv}#vg0/data", "--force",
                                            "--report", self.rename_pv("pv.json")))
        self.assertEqual(sha256_of_file(self.pv), before)

    def rename_pv(self, name):
        link = self.scratch / name
        link.symlink_to(self.pv)
        return link


class Making(PartsTest):
    def test_a_store_in_a_part(self):
        disk = self.scratch / "disk"
        disk.write_bytes(b"o" * (1 << 20) + bytes(3 << 20))
        origin, cow = f"{disk}#+0,1M", f"{disk}#+2M,256k"
        before = sorted(self.scratch.iterdir())
        self.assertIn("part of", self.refused(64, "create", "--size", "1M", origin, cow))
        self.assertEqual(run("create", origin, cow).returncode, 0)
        self.assertEqual(run("status", origin, cow).stdout.split()[3:], ["16/512", "16"])
        self.assertEqual(run("write", "-P", "7", "--length", "8k", origin, cow).returncode, 0)
        self.assertIn("already", self.refused(64, "create", origin, cow))
        self.assertIn("content", self.refused(64, "create", f"{disk}#+3M,512k", f"{disk}#+512k,128k"))
        self.assertIn("same file", self.refused(64, "create", origin, f"{disk}#+512k,1M"))
        self.assertEqual(run("merge", origin, cow).returncode, 0)
        data = disk.read_bytes()
        self.assertEqual(data[:1 << 20], b"\7" * 8192 + b"o" * ((1 << 20) - 8192))
        self.assertEqual(data[1 << 20:2 << 20] + data[(2 << 20) + (256 << 10):], bytes((3 << 20) - (256 << 10)))
        self.assertEqual(sorted(self.scratch.iterdir()), before)

    def test_an_output_is_no_part(self):
        """Not even a new file that would be named like one."""
        before = sorted(self.scratch.iterdir())
        for arguments in (["read", "-o"], ["hash", "-o"], ["diff", self.pv, "--report"]):
            words = self.refused(64, *arguments, f"{self.pv}#p1.json", self.pv)
            self.assertIn("would be a part of", words)
        self.assertEqual(sorted(self.scratch.iterdir()), before)


class Merging(PartsTest):
    def test_a_cow_partition_that_ends_within_a_page(self):
        """Seven sectors, of chunks of 512 bytes; what lies after it is not the COW's."""
        data = random.Random(SEED).randbytes(512)
        write_store(self.scratch / "cow", 1, [3], lambda _: data)
        cow = (self.scratch / "cow").read_bytes()[:7 * 512].ljust(7 * 512, b"\0")
        disk = bytearray(64 * 512)
        for number, (start, size) in enumerate([(8, 16), (32, 7)]):
            struct.pack_into("<B3xB3xII", disk, 446 + 16 * number, 0, 0x83, start, size)
        disk[510:512] = b"\x55\xaa"
        disk[32 * 512:39 * 512] = cow
        (self.scratch / "disk").write_bytes(disk)
        done = run("merge", self.scratch / "disk#p1", self.scratch / "disk#p2", timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        disk[11 * 512:12 * 512] = data
        self.assertEqual((self.scratch / "disk").read_bytes()[:32 * 512], disk[:32 * 512])

    def test_into_a_volume_in_place(self):
        others = {name: self.sum_of(f"{self.pv}#vg0/{name}") for name in ("s1",)}
        siblings = self.refused(64, "merge", f"{self.pv}#vg0/s1")
        self.assertIn("vg0/s2", siblings)
        self.assertIn("--sibling", siblings)
        self.assertNotIn("vg0/s3", siblings)  # it is invalid: nothing is lost
        done = run("merge", "--force", f"{self.pv}#vg0/s1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("lvremove vg0/s1", done.stdout)
        self.assertEqual(self.sum_of(f"{self.pv}#vg0/data"), others["s1"])
        self.assertEqual(run("status", f"{self.pv}#vg0/s1").stdout.strip(), "0 8448 snapshot 32/3072 32")
        self.assertEqual(self.sum_of(f"{self.pv}#vg0/s1"), others["s1"])

    def test_a_sibling_keeps_its_view(self):
        self.assertNotEqual(SUMS["s1"], SUMS["s2"])
        done = run("merge", f"{self.pv}#vg0/s1", "--sibling", f"{self.pv}#vg0/s2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.sum_of(f"{self.pv}#vg0/data"), SUMS["s1"])
        self.assertEqual(self.sum_of(f"{self.pv}#vg0/s2"), SUMS["s2"])

    def test_metadata_that_may_be_out_of_date(self):
        """Extents may have moved since: then a volume is read, but not written."""
        text = (LVM / "vg0.conf").read_text()
        older, partial = self.scratch / "older.conf", self.scratch / "partial.conf"
        older.write_text(text.replace("seqno = 11", "seqno = 10"))
        missing = ('pv7 {\nid = "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"\n'
                   'device = "/dev/sdz"\npe_start = 8\npe_count = 9\n}\n')
        partial.write_text(text.replace("physical_volumes {", "physical_volumes {\n" + missing))
        before = sha256_of_file(self.pv)
        for conf, words in ((older, "newer than the backup"), (partial, "aaaaaaaaaa")):
            read = run("hash", "--vgcfg", conf, f"{self.pv}#vg0/s1")
            self.assertEqual((read.returncode, read.stdout.split()[0]), (0, SUMS["s1"]), read.stderr)
            self.assertEqual("newer" in read.stderr, conf == older)
            for command in (["write", "-i", os.devnull], ["discard", "--discard-zeroes-cow", "--length", "16k"]):
                options = [*command[1:], "--vgcfg", conf]
                done = run(command[0], *options, f"{self.pv}#vg0/s1")
                self.assertEqual(done.returncode, 64, done.stderr)
                self.assertIn("out of date", done.stderr)
                self.assertIn(words, done.stderr)
        self.assertEqual(sha256_of_file(self.pv), before)
        self.assertEqual(run("merge", "--force", "--vgcfg", partial, f"{self.pv}#vg0/s1").returncode, 0)
        self.assertEqual(self.sum_of(f"{self.pv}#vg0/data"), SUMS["s1"])

    def test_nothing_else_of_the_disk_is_touched(self):
        before = self.pv.read_bytes()
        rows = [row for name in ("data-real", "s1-cow") for row in
                json.loads(run("map", "-f", "raw", "--output=json", f"{self.pv}#vg0/{name}").stdout)]
        self.assertEqual(run("merge", "--force", "--verify", f"{self.pv}#vg0/data", f"{self.pv}#vg0/s1").returncode, 0)
        after = bytearray(self.pv.read_bytes())
        for row in rows:
            after[row["offset"]:row["offset"] + row["length"]] = before[row["offset"]:row["offset"] + row["length"]]
        self.assertEqual(bytes(after), before)

    def test_merge_to_a_new_file_and_dry_run(self):
        before = sha256_of_file(self.pv)
        out = self.scratch / "out.img"
        self.assertEqual(run("merge", f"{self.pv}#vg0/s1", "-o", out).returncode, 0)
        self.assertEqual(sha256_of_file(out), SUMS["s1"])
        self.assertEqual(run("merge", "--dry-run", "--force", f"{self.pv}#vg0/s1").returncode, 0)
        self.assertEqual(sha256_of_file(self.pv), before)

    def test_undo_brings_the_disk_back(self):
        before = sha256_of_file(self.pv)
        undo = self.scratch / "the.undo"
        self.assertEqual(run("merge", "--force", "--undo", undo, f"{self.pv}#vg0/s1").returncode, 0)
        self.assertNotEqual(sha256_of_file(self.pv), before)
        refused = run("undo", undo, f"{self.pv}#vg0/s1")
        self.assertEqual((refused.returncode, "vg0/s2" in refused.stderr), (64, True), refused.stderr)
        done = run("undo", "--force", undo, f"{self.pv}#vg0/s1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sha256_of_file(self.pv), before)

    def test_writes_keep_the_other_snapshots(self):
        refused = self.refused(64, "write-origin", "-P", "7", "--length", "64k", f"{self.pv}#vg0/data")
        self.assertIn("vg0/s1, vg0/s2", refused)
        done = run("write-origin", "-P", "7", "--length", "64k", "--snapshot", f"{self.pv}#vg0/s1", "--snapshot",
                   f"{self.pv}#vg0/s2-cow", f"{self.pv}#vg0/data")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("s1", "s2"):
            self.assertEqual(self.sum_of(f"{self.pv}#vg0/{name}"), SUMS[name])
        start = run("read", "--length", "64k", f"{self.pv}#vg0/data", binary=True).stdout
        self.assertEqual(start, b"\7" * 65536)
        done = run("write", "-P", "9", "--offset", "8k", "--length", "4k", f"{self.pv}#vg0/s1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(run("read", "--offset", "8k", "--length", "4k", f"{self.pv}#vg0/s1", binary=True).stdout,
                         b"\x09" * 4096)
        self.assertEqual(self.sum_of(f"{self.pv}#vg0/s2"), SUMS["s2"])


class DamagedVolumes(PartsTest):
    """Label in sector 1, its metadata area from byte 4096 on."""

    AREA = 4096

    def area_header(self):
        return bytearray(self.pv.read_bytes()[self.AREA:self.AREA + 512])

    def with_area_header(self, edit):
        header = self.area_header()
        edit(header)
        struct.pack_into("<I", header, 0, lvm_crc(header[4:]))
        return self.damaged({self.AREA: header})

    def text(self):
        header = self.area_header()
        offset, size = struct.unpack_from("<QQ", header, 40)
        return self.pv.read_bytes()[self.AREA + offset:self.AREA + offset + size]

    def with_text(self, text, offset=1024):
        """The PV with another metadata text, sound as to its sums."""
        path = self.scratch / "edited.img"
        data = bytearray(self.pv.read_bytes())
        start, size = struct.unpack_from("<QQ", data, self.AREA + 24)
        self.assertEqual(start, self.AREA)
        for n, byte in enumerate(text):
            place = offset + n
            data[start + (place if place < size else place - size + 512)] = byte
        header = data[start:start + 512]
        struct.pack_into("<QQI", header, 40, offset, len(text), lvm_crc(text))
        struct.pack_into("<I", header, 0, lvm_crc(header[4:]))
        data[start:start + 512] = header
        path.write_bytes(data)
        return path

    def test_the_crc_is_lvms(self):
        self.assertEqual(struct.unpack_from("<I", self.area_header(), 0)[0], lvm_crc(bytes(self.area_header()[4:])))

    def test_damaged_label(self):
        for offset, content in ((512 + 16, b"\0\0\0\0"), (512 + 8, b"\2"), (512 + 20, b"\xff\xff\xff\xff"), (560, b"x")):
            image = self.damaged({offset: content})
            self.assertIn("label", self.refused(65, "read", f"{image}#vg0/data"))
        image = self.damaged({512: bytes(512)})
        self.assertIn("no label", self.refused(1, "read", f"{image}#vg0/data"))

    def test_damaged_metadata(self):
        for offset, word in ((4096, "CRC"), (4096 + 4, "no header"), (4096 + 40, "CRC")):
            image = self.damaged({offset: b"\xa5"})
            self.assertIn(word, self.refused(65, "read", f"{image}#vg0/data"))
        offset = struct.unpack_from("<Q", self.area_header(), 40)[0]
        image = self.damaged({self.AREA + offset + 100: b"!"})
        self.assertIn("text with a wrong CRC", self.refused(65, "read", f"{image}#vg0/data"))
        # A backup of the metadata helps.
        self.assertEqual(self.sum_of("-q", "--vgcfg", LVM / "vg0.conf", f"{image}#vg0/s2"), SUMS["s2"])

    def test_impossible_places(self):
        def put(at, *values):
            return lambda header: struct.pack_into(f"<{len(values)}Q", header, at, *values)
        for edit, word in ((put(40, 1 << 40), "does not lie in it"), (put(48, 1 << 40), "does not lie in it"),
                           (put(24, 8192), "another place"), (put(32, 1 << 50), "another place"),
                           (put(40, 100), "does not lie in it")):
            self.assertIn(word, self.refused(65, "read", f"{self.with_area_header(edit)}#vg0/data"))

    def test_no_metadata_here(self):
        for edit in (lambda h: struct.pack_into("<Q", h, 40, 0), lambda h: struct.pack_into("<I", h, 60, 1)):
            image = self.with_area_header(edit)
            self.assertIn("--vgcfg", self.refused(1, "read", f"{image}#vg0/data"))
            self.assertEqual(self.sum_of("--vgcfg", LVM / "vg0.conf", f"{image}#vg0/data"), SUMS["data"])

    def test_a_text_that_wraps(self):
        text = self.text()
        size = struct.unpack_from("<Q", self.area_header(), 32)[0]
        for offset in (size - 512, size - 1, size - len(text), 512):
            image = self.with_text(text, offset)
            self.assertEqual(self.sum_of(f"{image}#vg0/s1"), SUMS["s1"], offset)

    def test_texts_that_are_refused(self):
        text = self.text().decode().rstrip("\0")
        lv = text.index("\ndata {")
        for old, new, status, word in (
                ('type = "striped"', 'type = "raid1"', 63, "'raid1'"),
                ('type = "striped"', 'type = "thin"', 63, "'thin'"),
                ('"pv0", 0', '"data", 0', 65, "lies in itself"),
                ('"pv0", 0', '"s2", 0', 63, "lies in the volume 's2'"),
                ('"pv0", 0', '"pv9", 0', 65, "outside"),
                ('"pv0", 0', '"pv0", 183', 65, "outside"),
                ('"pv0", 0', '"pv0", 9223372036854775807', 65, "outside"),
                ("start_extent = 16", "start_extent = 17", 65, "gap"),
                ("extent_count = 17", "extent_count = 9223372036854775807", 65, "larger than any"),
                ('cow_store = "s1"', 'cow_store = "s2"', 65, "COW of two"),
                ('origin = "data"', 'origin = "s2"', 65, "one itself"),
                ('origin = "data"', 'origin = "gone"', 65, "not there"),
                ("extent_size = 256", "extent_size = 0", 65, "extent size"),
                ("seqno = 11", "seqno = -1", 65, "seqno"),
                ("stripe_count = 1", "stripe_count = 2", 65, "stripes"),
                ("segment1 {", "segment1 ", 65, "line"),
        ):
            start = lv if text.find(old, lv) >= 0 and old != "extent_size = 256" else 0
            at = text.index(old, start)
            image = self.with_text((text[:at] + new + text[at + len(old):]).encode() + b"\0")
            self.assertIn(word, self.refused(status, "read", f"{image}#vg0/data"), (old, new))
        self.assertIn("nested", self.refused(65, "read", f"{self.with_text(b'a {' * 5000)}#vg0/data"))

    def test_a_pv_that_was_cut(self):
        content, cut = self.pv.read_bytes(), self.scratch / "cut.img"
        for size in (4096, 5000, 8192, 1_000_000, 5_000_000):
            cut.write_bytes(content[:size])
            for name in ("data", "s1"):
                self.assertRegex(self.refused(65, "hash", f"{cut}#vg0/{name}"), "ends at byte|more than are there")
        cut.write_bytes(content[:12_000_000])  # neither volume lies behind
        for name in ("data", "s1"):
            self.assertEqual(self.sum_of(f"{cut}#vg0/{name}"), SUMS[name])

    def test_quoting_and_comments(self):
        text = self.text().decode().rstrip("\0")
        odd = ('# a { comment "\n' + text.replace("seqno = 11", 'tags = ["a\\"b", "#no", "{", \'x\']\n'
                                                  "seqno=11 # } not the end"))
        self.assertEqual(self.sum_of(f"{self.with_text(odd.encode())}#vg0/s1"), SUMS["s1"])

    def test_a_merge_that_waits(self):
        """What `lvconvert --merge` of an origin in use leaves: the kernel shows the view as the origin."""
        text = self.text().decode()
        image = self.with_text(text.replace('cow_store = "s1"', 'merging_store = "s1"').encode())
        self.assertEqual(self.sum_of(f"{image}#vg0/data"), SUMS["s1"])
        self.assertEqual(self.sum_of(f"{image}#vg0/data-real"), SUMS["data"])
        self.assertEqual(self.sum_of(f"{image}#vg0/s2"), SUMS["s2"])
        self.assertIn("being merged", run("info", image).stdout)
        done = run("merge", "--force", f"{image}#vg0/data", f"{image}#vg0/s1-cow")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.sum_of(f"{image}#vg0/data-real"), SUMS["s1"])

    def test_a_virtual_origin(self):
        text = self.text().decode()
        start = text.index("segment1 {", text.index("\ndata {"))
        end = text.index("\ns1 {")
        zero = 'segment1 {\nstart_extent = 0\nextent_count = 33\ntype = "zero"\n}\n}\n'
        image = self.with_text((text[:start] + zero + text[end:]).encode())
        self.assertEqual(run("read", f"{image}#vg0/data", binary=True).stdout, bytes(33 * 131072))
        cow = run("read", "-f", "raw", f"{image}#vg0/s1-cow", "-o", self.scratch / "cow").returncode
        self.assertEqual(cow, 0)
        zeros = self.scratch / "zeros"
        zeros.write_bytes(bytes(33 * 131072))
        self.assertEqual(self.sum_of(f"{image}#vg0/s1"), self.sum_of(f"{zeros}@{self.scratch / 'cow'}"))


class Partitions(PartsTest):
    def disk(self, label, script, size=64 << 20):
        """A disk partitioned by sfdisk; what it says of it."""
        need(self, "sfdisk")
        path = self.scratch / "disk.dd"
        with open(path, "wb") as file:
            file.truncate(size)
        subprocess.run(["sfdisk", "-q", "--wipe", "never", str(path)], input=f"label: {label}\n{script}\n", text=True,
                       check=True, capture_output=True)
        return path, self.sfdisk(path)

    @staticmethod
    def sfdisk(path):
        table = json.loads(subprocess.run(["sfdisk", "--json", str(path)], capture_output=True, text=True,
                                          check=True).stdout)["partitiontable"]
        sector = table.get("sectorsize", 512)
        return {int(re.search(r"(\d+)$", p["node"]).group(1)):
                (p["start"] * sector, p["size"] * sector, p["type"], p.get("name", "")) for p in table["partitions"]}

    def ours(self, path):
        table = self.info(path)["partition_table"]
        return {p["number"]: (p["offset"], p["length"], re.sub(r"^0x0?", "", p["type"]), p["name"])
                for p in table["partitions"]}

    def put(self, path, offset, content):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(content)

    def test_mbr_with_logical_partitions(self):
        path, expected = self.disk("dos", "size=4M, type=7\nsize=8M, type=8e\nsize=20M, type=5\nsize=2M, type=c\n"
                                   "size=3M, type=83\nsize=4M, type=82\nsize=1M, type=83")
        expected = {n: row for n, row in expected.items() if row[2] not in ("5", "f")}
        self.assertEqual(set(expected), {1, 2, 4, 5, 6, 7})
        self.assertEqual(self.ours(path), expected)
        for number, (offset, length, _, _) in expected.items():
            mark = f"this is {number}".encode()
            self.put(path, offset, mark)
            done = run("read", f"{path}#p{number}", binary=True)
            self.assertEqual((done.stdout[:len(mark)], len(done.stdout)), (mark, length))
        self.assertIn("p1, p2, p4, p5, p6, p7", self.refused(1, "read", f"{path}#p3"))

    def test_sleuthkit_finds_the_same(self):
        need(self, "mmls")
        for label, script in (("dos", "size=4M, type=7\nsize=20M, type=5\nsize=2M, type=c\nsize=3M, type=83"),
                              ("gpt", "size=1M, type=uefi\nsize=30M, type=lvm\nsize=2M, type=linux")):
            path, _ = self.disk(label, script)
            done = subprocess.run(["mmls", "-a", path], check=True, capture_output=True, text=True).stdout
            # "002:  000:000   0000002048   0000010239   0000008192   NTFS / exFAT (0x07)"; containers are "Meta".
            theirs = [(int(start) * 512, int(length) * 512) for start, length in
                      re.findall(r"^\d+:\s+[\d:]+\s+(\d+)\s+\d+\s+(\d+)", done, re.M)]
            self.assertEqual(sorted(row[:2] for row in self.ours(path).values()), sorted(theirs), done)
            self.assertEqual(len(theirs), 3)

    def test_partitions_that_overlap(self):
        path, expected = self.disk("dos", "size=4M\nsize=4M\nsize=4M")
        data = bytearray(path.read_bytes())
        struct.pack_into("<I", data, 446 + 12, 8192 + 1)  # one sector more
        path.write_bytes(data)
        gpt = self.scratch / "gpt.dd"
        gpt.write_bytes(bytes(32 << 20))
        need(self, "sgdisk")
        subprocess.run(["sgdisk", "-n1:2048:+1M", "-n2:8192:+1M", gpt], check=True, capture_output=True)
        data = bytearray(gpt.read_bytes())
        for table, header in ((1024, 512), ((32 << 20) - 33 * 512, (32 << 20) - 512)):
            struct.pack_into("<Q", data, table + 40, 8192)  # the last sector of the first is the first of the second
            struct.pack_into("<I", data, header + 88, zlib.crc32(data[table:table + 128 * 128]))
            struct.pack_into("<I", data, header + 16, 0)
            struct.pack_into("<I", data, header + 16, zlib.crc32(data[header:header + 92]))
        gpt.write_bytes(data)
        cow = self.scratch / "cow"
        for disk, length in ((path, expected[1][1] + 512), (gpt, (8192 - 2048 + 1) * 512)):
            self.assertIn("partitions 1 and 2 overlap", run("info", disk).stdout)
            done = run("read", f"{disk}#p1", binary=True)
            self.assertEqual((done.returncode, len(done.stdout)), (0, length))
            self.assertIn(b"overlap", done.stderr)
            cow.unlink(missing_ok=True)
            self.assertEqual(run("create", f"{disk}#p1", cow).returncode, 0)
            before = sha256_of_file(disk)
            for number in (1, 2):
                done = run("write-origin", "-P", "7", "--length", "512", f"{disk}#p{number}")
                self.assertEqual(done.returncode, 65, done.stderr)
                self.assertIn(f"shares bytes with partition {3 - number}", done.stderr)
            self.assertEqual(run("merge", f"{disk}#p1", cow).returncode, 65)
            self.assertEqual(sha256_of_file(disk), before)
        self.assertEqual(run("write-origin", "-P", "7", "--length", "512", f"{path}#p3").returncode, 0)

    def test_partitions_over_the_table(self):
        """What begins at sector 0 holds the table, which would be told again and again."""
        disk = self.scratch / "gpt.dd"
        count = 1000
        table = b"".join(bytes([1]) * 32 + struct.pack("<QQQ", 0, (8 << 20) // 512 - 1, 0) + bytes(72) for _ in range(count))
        header = bytearray(b"EFI PART" + struct.pack("<IIIIQQQQ", 0x10000, 92, 0, 0, 1, 0, 0, 0) + bytes(16) +
                           struct.pack("<QIII", 2, count, 128, zlib.crc32(table)))
        struct.pack_into("<I", header, 16, zlib.crc32(header))
        mbr = bytes(446) + struct.pack("<BBHBBHII", 0, 0, 0, 0xEE, 0, 0, 1, 0xFFFFFFFF) + bytes(48) + b"\x55\xaa"
        disk.write_bytes((mbr + header.ljust(512, b"\0") + table).ljust(8 << 20, b"\0"))
        done = run("info", disk, timeout=20)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLess(len(done.stdout), 1000 * 400)
        self.assertIn("1000 partitions from 1 to 1000: bytes are shared with the partition table", done.stdout)
        self.assertIn("999 partitions from 2 to 1000: bytes are shared with other partitions", done.stdout)
        done = run("read", f"{disk}#p7", "--length", "512", binary=True)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"shared with the partition table", done.stderr)
        before = sha256_of_file(disk)
        done = run("write-origin", "-P", "7", "--length", "512", f"{disk}#p7")
        self.assertEqual(done.returncode, 65)
        self.assertIn("shares bytes with the partition table", done.stderr)
        self.assertEqual(sha256_of_file(disk), before)
        done = run("read", f"{disk}#p5000")
        self.assertEqual(done.returncode, 1)
        self.assertLess(len(done.stderr), 600)

    def test_a_chain_that_comes_back(self):
        path, expected = self.disk("dos", "size=1M\nsize=1M\nsize=1M\nsize=20M, type=5\nsize=2M\nsize=3M\nsize=1M")
        extended = expected[4][0]
        data = bytearray(path.read_bytes())
        # The second sector of the chain names the first as the next.
        second = extended + struct.unpack_from("<I", data, extended + 446 + 16 + 8)[0] * 512
        struct.pack_into("<I", data, second + 446 + 16 + 8, 0)
        path.write_bytes(data)
        self.assertIn("comes back", self.refused(65, "read", f"{path}#p5"))
        done = run("info", path)
        self.assertEqual(done.returncode, 0)
        self.assertIn("comes back", done.stdout)

    def test_gpt(self):
        path, expected = self.disk("gpt", 'size=1M, type=uefi, name="EFI system"\nsize=30M, type=lvm, name="n\u00e4me"\n'
                                   "size=2M, type=linux")
        self.assertEqual(self.ours(path), expected)
        self.put(path, expected[2][0], self.pv.read_bytes())
        self.assertEqual(self.sum_of(f"{path}#p2#vg0/s2"), SUMS["s2"])
        tree = run("info", path).stdout
        for words in ("#p1", "EFI system", "#p2", "Linux LVM", "volume group vg0", "#vg0/s1", "Invalid"):
            self.assertIn(words, tree)
        # Any damage to the one at the start: the backup is used, and it is said.
        good = path.read_bytes()
        for offset in (512, 512 + 16, 512 + 40, 1024, 1024 + 56):
            self.put(path, offset, bytes([good[offset] ^ 0xff]))
            done = run("hash", f"{path}#p2#vg0/s2")
            self.assertEqual((done.returncode, done.stdout.split()[0]), (0, SUMS["s2"]))
            self.assertIn("backup", done.stderr)
            path.write_bytes(good)
        self.put(path, 512, b"\xa5")
        self.put(path, len(good) - 512, b"\xa5")
        self.assertIn("damaged", self.refused(65, "read", f"{path}#p1"))
        # A disk that was cut lacks its backup, and a part of what is behind.
        path.write_bytes(good[:20 << 20])
        done = run("read", "--length", "64k", f"{path}#p2", binary=True)
        self.assertEqual((done.returncode, done.stdout), (0, self.pv.read_bytes()[:65536]))
        self.assertIn(b"continues past the end", done.stderr)
        self.assertEqual(run("read", f"{path}#p2", binary=True).returncode, 65)

    def test_gpt_by_sgdisk_with_odd_numbers(self):
        need(self, "sgdisk")
        path = self.scratch / "disk.dd"
        with open(path, "wb") as file:
            file.truncate(64 << 20)
        for options in (["-o", "-n", "7:0:+2M", "-c", "7:seven", "-n", "128:0:+1M"], ["-h", "7"]):
            subprocess.run(["sgdisk", *options, str(path)], check=True, capture_output=True)
        rows = self.ours(path)
        self.assertTrue({7, 128} <= set(rows))
        self.assertEqual(rows[7][3], "seven")
        self.assertEqual({n: rows[n] for n in (7, 128)},
                         {n: row for n, row in self.sfdisk_gpt(path).items() if n in (7, 128)})

    @staticmethod
    def sfdisk_gpt(path):
        """What sgdisk says, since sfdisk may take the hybrid MBR for the table."""
        rows = {}
        for number in (7, 128):
            text = subprocess.run(["sgdisk", "-i", str(number), str(path)], capture_output=True, text=True,
                                  check=True).stdout
            first, last = (int(re.search(rf"{word} sector: (\d+)", text).group(1)) for word in ("First", "Last"))
            kind = re.search(r"GUID code: (\S+)", text).group(1)
            name = re.search(r"Partition name: '(.*)'", text).group(1)
            rows[number] = (first * 512, (last - first + 1) * 512, kind, name)
        return rows

    def test_4k_sectors(self):
        path, _ = self.disk("gpt", "size=4M\nsize=8M")
        # The same table as a disk with sectors of 4 KiB has it, made by hand from the other's entries.
        data = bytearray(path.read_bytes())
        entries = bytearray(data[1024:1024 + 128 * 128])
        for n in range(2):
            first, last = struct.unpack_from("<QQ", entries, n * 128 + 32)
            struct.pack_into("<QQ", entries, n * 128 + 32, first // 8, (last + 1) // 8 - 1)
        header = bytearray(data[512:512 + 92])
        struct.pack_into("<Q", header, 72, 2)
        struct.pack_into("<I", header, 88, zlib.crc32(entries))
        struct.pack_into("<I", header, 16, 0)
        struct.pack_into("<I", header, 16, zlib.crc32(header))
        data[512:] = bytes(len(data) - 512)
        data[4096:4096 + 92] = header
        data[8192:8192 + len(entries)] = entries
        expected = self.ours(path)
        big = self.scratch / "big.dd"
        big.write_bytes(data)
        self.assertEqual(self.ours(big), expected)
        self.assertEqual(self.info(big)["partition_table"]["sector_size"], 4096)

    def test_no_table(self):
        self.assertNotIn("partition_table", self.info(self.pv))
        boot = self.scratch / "boot"
        boot.write_bytes(b"\xeb\x3c\x90MSDOS5.0" + b"code" * 120 + bytes(19) + b"\x55\xaa" + bytes(4096))
        self.assertNotIn("partition_table", self.info(boot))
        self.assertIn("no partition table", self.refused(1, "read", f"{boot}#p1"))

    def test_a_partition_of_a_view(self):
        path, expected = self.disk("dos", "size=4M, type=83\nsize=8M, type=83", size=32 << 20)
        cow = self.scratch / "cow"
        self.assertEqual(run("create", path, cow).returncode, 0)
        offset = expected[2][0]
        self.assertEqual(run("write", "-P", "5", "--offset", offset, "--length", "4k", path, cow).returncode, 0)
        part = run("read", f"{path}@{cow}#p2", binary=True).stdout
        self.assertEqual((part[:4096], len(part)), (b"\5" * 4096, expected[2][1]))
        self.assertEqual(run("read", f"{path}#p2", "--length", "4k", binary=True).stdout, bytes(4096))
        self.assertIn("#p2", run("info", f"{path}@{cow}").stdout)
        rows = json.loads(run("map", "--output=json", f"{path}@{cow}#p2").stdout)
        self.assertEqual((rows[0]["filename"], rows[0]["depth"]), (str(cow), 0))
        self.assertEqual((rows[1]["filename"], rows[1]["offset"], rows[1]["depth"]), (str(path), offset + 4096, 1))
        self.refused(63, "write", "-P", "5", "--length", "4k", f"{path}@{cow}#p2")

    def test_slices(self):
        content = self.pv.read_bytes()
        for part, expected in (("+1M", content[1 << 20:]), ("+1M,3k", content[1 << 20:(1 << 20) + 3072]),
                               ("+8s,1s", content[4096:4608]), ("+512#+512,7", content[1024:1031]),
                               (f"+{len(content)}", b"")):
            self.assertEqual(run("read", f"{self.pv}#{part}", binary=True).stdout, expected, part)
        self.refused(64, "read", f"{self.pv}#+1M,1T")
        inner = self.scratch / "behind-a-header.img"
        inner.write_bytes(b"h" * 4096 + content)
        self.assertEqual(self.sum_of(f"{inner}#+4k#vg0/data"), SUMS["data"])


class Evidence(PartsTest):
    def test_no_reader_writes(self):
        need(self, "strace")
        data, s1, s2 = (f"{self.pv}#vg0/{name}" for name in ("data", "s1", "s2"))
        manifest = self.scratch / "manifest"
        manifest.write_text(run("hash", "--block-size", "1M", s1).stdout)
        os.utime(self.pv, (1_000_000_000, 1_000_000_000))
        before = sha256_of_file(self.pv), self.pv.stat().st_mtime_ns, self.pv.stat().st_ctime_ns
        os.utime(self.pv, (1_000_000_000, 1_000_000_000))
        atime = self.pv.stat().st_atime_ns
        commands = [["info", self.pv], ["status", s1], ["verify", s1], ["verify", "--against", manifest, s1],
                    ["map", s1], ["read", s1, "-o", self.scratch / "view"], ["dump", f"{s1}-cow"],
                    ["merge", "--dry-run", "--force", s1], ["create", "--measure", data], ["hash", s1],
                    ["merge", s1, "-o", self.scratch / "merged"],
                    ["resize", "--minimum", f"{s1}-cow"], ["diff", s1, s2, "--report", self.scratch / "r.html"]]
        for command in commands:
            trace = self.scratch / "trace"
            done = run_under_strace(["-o", str(trace), "-e", "trace=open,openat,creat,truncate,ftruncate,unlink,rename"],
                                    *command, "-v")
            self.assertIn(done.returncode, (0, 1), (command, done.stderr))
            self.assertIn(f"'{self.pv}' is opened read-only", done.stderr, command)
            self.assertNotIn("for writing", done.stderr, command)
            text = trace.read_text()
            opened = [line for line in text.splitlines() if str(self.pv) in line]
            self.assertTrue(opened, command)
            for line in opened:
                self.assertIn("O_RDONLY", line, command)
                self.assertNotRegex(line, "O_RDWR|O_WRONLY|O_TRUNC|unlink|rename|truncate", command)
        self.assertEqual(self.pv.stat().st_atime_ns, atime)
        self.assertEqual((sha256_of_file(self.pv), self.pv.stat().st_mtime_ns), before[:2])

    def test_damaged_disks_never_crash_it(self):
        rng = random.Random(SEED)
        content = self.pv.read_bytes()[:1 << 20]
        disk = self.scratch / "hostile.img"
        for n in range(scaled(600)):
            data = bytearray(content[:rng.randrange(len(content))] if n % 5 == 0 else content)
            data += bytes(max(0, PV_BYTES - len(data)) if n % 2 else 0)
            for _ in range(rng.randrange(1, 10)):
                at = rng.choice([rng.randrange(512, 1024), rng.randrange(4096, 4608), rng.randrange(4608, 40000)])
                if at + 8 <= len(data):
                    data[at:at + 8] = rng.choice([rng.randbytes(8), b"\xff" * 8, bytes(8)])
            # Sound sums, so that what is behind them is looked at.
            if len(data) > 8192 and n % 3:
                label = bytes(data[532:1024])
                struct.pack_into("<I", data, 528, lvm_crc(label))
                offset, size = struct.unpack_from("<QQ", data, 4136)
                if offset < 1 << 20 and size < 1 << 20:
                    struct.pack_into("<I", data, 4152, lvm_crc(bytes(data[4096 + offset:4096 + offset + size])))
                struct.pack_into("<I", data, 4096, lvm_crc(bytes(data[4100:4608])))
            disk.write_bytes(data)
            for command in (["info", disk], ["read", "--length", "4k", f"{disk}#vg0/s1"], ["verify", f"{disk}#vg0/s2"]):
                done = run(*command, binary=True, timeout=20)
                self.assertIn(done.returncode, (0, 1, 2, 3, 63, 64, 65), (n, command, done.stderr))


if __name__ == "__main__":
    main("parts")
