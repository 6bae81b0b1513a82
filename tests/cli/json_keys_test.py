# SPDX-License-Identifier: Apache-2.0
"""What snaptool-json(7) documents is printed, and errors are json where json was asked for.

That nothing else is printed, and nothing of another type, is looked at wherever a test runs snaptool (json_keys.py)."""

import json
import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
import json_keys  # noqa: E402
import nbd  # noqa: E402
from crafted import write_store  # noqa: E402
from ewf_maker import Segment, add_chunks, digest_body, errors_body, header_body, save_ewf, volume_body  # noqa: E402
from fs_maker import Dir, Ext, File, Symlink  # noqa: E402
from harness import DATA, SEED, SNAPTOOL, ScratchTest, main, need, run, run_unchecked, unpack  # noqa: E402
from qcow2_maker import Qcow2  # noqa: E402
from rbd_maker import RbdMaker, meta  # noqa: E402
from vdi_maker import random_vdi  # noqa: E402
from vmdk_maker import descriptor_text  # noqa: E402
from vpc_maker import random_vhd  # noqa: E402

MIB = 1 << 20
ALGORITHMS = "sha256,sha512,sha1,md5"
# What no small command prints.
RARE = {
    **dict.fromkeys((("merge", path) for path in ("unreadable_count", "kept_exceptions", "unreadable[]", "unreadable[].old_chunk",
                                                  "unreadable[].new_chunk", "unreadable[].problem")),
                    "a medium with bad sectors; the contract test has one"),
    **dict.fromkeys((("progress", path) for path in ("description", "transferred", "size", "elapsed")),
                    "it is no document; the contract test reads it"),
}


class Table(ScratchTest):
    def test_a_key_means_one_thing(self):
        """One type for a name, and the unit that the name says."""
        types = {}
        for command, rows in json_keys.table().items():
            for path, row in rows.items():
                name = path.rpartition(".")[2].removesuffix("[]")
                if (command, path) in (("dump", "runs[]"), ("dump", "valid")):
                    continue  # the list is what others count, and the header's number what others read as a bool
                unit = re.search(r"_(sectors|chunks?)$", name)
                kind = row.type.removesuffix("|hex")
                if name != "volume_sector":
                    self.assertEqual(kind if kind in ("sectors", "chunk", "chunks") else None, unit and unit[1], (command, path))
                if name not in ("", "*"):
                    types.setdefault((name, path.endswith("[]")), {}).setdefault(kind, []).append((command, path))
        self.assertEqual({name: kinds for name, kinds in types.items() if len(kinds) > 1}, {})

    def test_the_checker_sees_what_is_wrong(self):
        good = {"format_version": 1, "cow": "c", "exceptions": 3}
        for bad in ({**good, "more": 1}, {**good, "exceptions": "3"}, {**good, "exceptions": None}, {**good, "cow": ["c"]},
                    {"format_version": 1, "cow": "c"}, {**good, "exceptions": True}, [good]):
            checker = json_keys.Checker()
            checker.check("restore", bad)
            self.assertEqual(len(checker.problems), 1, bad)
        checker = json_keys.Checker()
        checker.check("restore", good)
        self.assertEqual(checker.problems, [])


class EveryKey(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, "mkfs.ext4", "debugfs", "sfdisk")
        self.rng = random.Random(SEED)
        self.origin, self.cow = self.unpack_store("p-mix-c8")
        self.view = f"{self.origin}@{self.cow}"

    def path(self, name):
        return self.scratch / name

    def json(self, *arguments, status=0, **options):
        done = run(*arguments, "--output=json", **options)
        self.assertEqual(done.returncode, status, (arguments, done.stderr))
        return json.loads(done.stdout)

    def file(self, name, content):
        self.path(name).write_bytes(content)
        return self.path(name)

    def test_each_is_printed(self):
        json_keys.SEEN.clear()
        for part in (self.stores, self.repairs, self.writes, self.merges, self.diffs, self.images, self.sums, self.formats,
                     self.evidence, self.disks, self.files, self.served, self.errors):
            part()
        documented = {(command, path) for command, rows in json_keys.table().items() for path in rows}
        self.assertEqual(sorted(documented - json_keys.SEEN - RARE.keys()), [])
        self.assertLessEqual(RARE.keys(), documented)

    def stores(self):
        self.json("status", self.origin, self.cow)
        self.json("verify", self.origin, self.cow)
        self.json("dump", self.cow)
        self.json("info", self.cow)
        self.json("info", self.view)
        self.json("info", "-f", "dm-snapshot", self.file("zeros", bytes(MIB)))
        self.json("info", "-f", "dm-snapshot", self.file("noise", self.rng.randbytes(MIB)))
        self.json("map", self.view)
        self.json("create", "--measure", self.origin)
        self.json("create", self.origin, self.path("new.cow"))
        self.json("resize", "--minimum", self.cow)
        self.json("resize", self.path("new.cow"), "8M")
        self.file("dump", run("dump", self.cow).stdout.encode())
        self.json("restore", self.path("dump"), self.path("restored"))

    def repairs(self):
        damaged = bytearray(self.cow.read_bytes())
        struct.pack_into("<Q", damaged, 4096 + 16 * 5 + 8, 1 << 60)
        self.json("verify", self.file("damaged", damaged), status=2)
        self.json("repair", self.origin, self.path("damaged"), "-o", self.path("repaired"))

    def writes(self):
        origin, cow = self.file("o", self.rng.randbytes(MIB)), self.path("c")
        self.json("create", "--size", "40k", origin, cow)
        self.json("write", "--skip-equal", "-P", "7", "--length", "8k", origin, cow)
        script = self.file("script", b"status a\nread a 0 4096 --sha256\nwrite a 0 1M -P 1\n")
        self.json("batch", "--snapshot", f"a={cow}", origin, script, status=73)
        self.json("create", "--force", "--size", "40k", origin, cow)
        self.json("write-origin", "--allow-invalidate", "-P", "7", "--length", "1M", "--snapshot", cow, origin)
        self.json("create", "--force", origin, cow)
        self.json("discard", "--discard-zeroes-cow", "--length", "4k", origin, cow)

    def merges(self):
        origin, cow = self.file("merged", self.origin.read_bytes()), self.file("merged.cow", self.cow.read_bytes())
        second = self.path("second.cow")
        self.json("merge", origin, cow, "-o", self.path("new"))
        self.json("create", origin, second)
        self.json("merge", "--dry-run", "--flatten", second, origin, cow)
        self.json("merge", "--undo", self.path("undo"), origin, cow)
        self.json("undo", self.path("undo"), origin, cow)
        child = Qcow2(MIB, backing="below", backing_format="raw")
        child.data(1, b"child")
        self.json("merge", self.file("below", bytes(MIB)), child.write(self.path("child")))

    def diffs(self):
        one, two = self.path("one"), self.path("two")
        self.json("export", "--verify-base", "--base", self.origin, self.view, "-o", one)
        self.json("export", "--verify-base", "--base", self.view, self.origin, "-o", two)
        self.json("info", one)
        self.json("diff-verify", one, self.origin)
        self.json("compose", "--unlinked", one, two, "-o", self.path("composed"))
        self.json("invert", "--base", self.origin, one, "-o", self.path("inverted"))
        self.json("apply", one, self.origin, "-o", self.path("applied"))
        self.json("export", "-O", "rbd", "--from-snap", "one", "--base", self.origin, self.view, "-o", self.path("of-rbd"))
        self.json("info", self.path("of-rbd"))

    def images(self):
        self.json("diff", "--hash", "--hex=16", self.origin, self.view, status=1)
        report = self.path("report.json")
        self.assertEqual(run("diff", "--report", report, "--case", "7", "--examiner", "A", "--note", "n", "--algorithm", ALGORITHMS,
                             self.origin, self.view).returncode, 1)
        json_keys.check_document("diff", json.loads(report.read_text()))
        for options in ([], ["--block-size", "1M"]):
            self.json("hash", "--algorithm", ALGORITHMS, *options, self.origin)
        manifest = self.file("manifest", run("hash", "--block-size", "64k", self.origin).stdout.encode())
        self.json("verify", "--against", manifest, self.view, status=2)

    def sums(self):
        self.json("convert", "-O", "simg", self.origin, self.path("x.simg"))
        self.json("verify", self.path("x.simg"))
        self.json("info", self.path("x.simg"))

    def formats(self):
        for form in ("qcow2", "vmdk", "vpc", "vhdx", "vdi", "ewf", "rbd"):
            self.json("convert", "-O", form, self.origin, self.path(f"x.{form}"))
            self.json("info", self.path(f"x.{form}"))
        packed = self.path("packed")
        self.json("convert", "-c", "-O", "qcow2", self.origin, packed)
        self.json("map", packed)
        image = Qcow2(MIB, backing="below", backing_format="raw")
        image.snapshot("1", "one")
        image.bitmap("bits")
        self.json("info", image.write(self.path("over")))
        self.json("info", self.file("x.gz", bytes([0x1f, 0x8b, 8]) + bytes(4096)))
        noted = RbdMaker(meta(b"key", b"value")).diff(MIB)
        self.json("info", self.file("noted", noted.build()))
        text = descriptor_text(['RW 2048 SPARSE "x.vmdk"'], parent="12345678", hint="folder/parent.vmdk")
        self.json("info", self.file("child.vmdk", text.ljust(1024, b"\0")))
        parent, below = random_vhd(self.rng, self.path("parent.vhd"), MIB)
        child, _ = random_vhd(self.rng, self.path("child.vhd"), MIB, parent=parent, below=below)
        child.parent_name = "parent.vhd"
        child.save(self.path("child.vhd"))
        self.json("info", self.path("child.vhd"))
        disk, content = random_vdi(self.rng, self.path("parent.vdi"), MIB)
        random_vdi(self.rng, self.path("child.vdi"), MIB, parent=disk, parent_content=content)
        self.json("info", self.path("child.vdi"))

    def evidence(self):
        content = self.rng.randbytes(2 * 32768)
        segment = Segment()
        values = dict.fromkeys(("c", "n", "a", "e", "t", "md", "sn", "l", "ov", "av", "p"), "text")
        segment.add("header2", header_body({**values, "m": "1142163845", "u": "1142163845"}))
        segment.add("volume", volume_body(2, 64, 512, 128, bytes(range(16))))
        add_chunks(segment, [content[:32768], content[32768:]], lambda data: True, "e01")
        segment.add("error2", errors_body([(3, 1)]))
        segment.add("digest", digest_body(content))
        segment.end("done")
        image = save_ewf(self.scratch, [segment], stem="case")
        self.json("info", image)
        data = bytearray(image.read_bytes())
        data[segment.place("sectors") + 200] ^= 1
        self.json("verify", self.file("bad.E01", data), status=2)
        self.file("many.dd", self.rng.randbytes(3 * MIB))
        self.json("convert", "-O", "ewf", "--option", "segment_size=1M", self.path("many.dd"), self.path("many.E01"))
        self.json("info", self.path("many.E01"))

    def disks(self):
        pv = self.path("pv.img")
        unpack(DATA / "lvm" / "pv.img.zst", pv)
        group = self.json("info", pv)["lvm2"]
        volume = f"{pv}#{group['vg_name']}/{group['lvs'][0]['name']}"
        [first, *_] = self.json("map", volume)
        swap = struct.pack("<III", 1, 100, 0).ljust(4086 - 1024, b"\0") + b"SWAPSPACE2"
        with open(pv, "r+b") as file:
            file.seek(first["offset"] + 1024)
            file.write(swap)
        self.json("info", pv)
        disk = self.path("disk")
        with open(disk, "wb") as file:
            file.truncate(40 * MIB)
        subprocess.run(["sfdisk", "-q", disk], input=b"label: gpt\nsize=26M\nsize=8M\n", check=True, timeout=60)
        content = bytearray(disk.read_bytes())
        content[MIB:MIB + len(pv.read_bytes())] = pv.read_bytes()
        inner = self.file("inner", bytes(8 * MIB))
        subprocess.run(["sfdisk", "-q", inner], input=b"2048,1024,83\n", check=True, timeout=60)
        content[27 * MIB:35 * MIB] = inner.read_bytes()
        self.json("info", self.file("disk", content))
        content[27 * MIB:35 * MIB] = (bytes(1024) + swap).ljust(8 * MIB, b"\0")
        self.json("info", self.file("disk", content))
        def extended(start):
            return bytes(446) + struct.pack("<BBHBBHII", 0, 0, 0, 5, 0, 0, start, 1024) + bytes(48) + b"\x55\xaa"
        endless = (extended(64).ljust(64 * 512, b"\0") + extended(0)).ljust(MIB, b"\0")  # its second table leads to itself
        self.json("info", self.file("endless", endless))
        content[27 * MIB:28 * MIB] = endless
        self.json("info", self.file("disk", content))
        apple = b"ER\x02\x00".ljust(512, b"\0") + b"PM\0\0".ljust(512, b"\0")
        self.json("info", self.file("apple", apple.ljust(MIB, b"\0")))
        data = pv.read_bytes()
        self.json("info", self.file("cut", data[:3 * MIB]))
        self.json("info", self.file("no-text", data[:4096].ljust(MIB, b"\0")))

    def served(self):
        words = [SNAPTOOL, "serve", "--output=json", self.file("served", bytes(4096))]
        with subprocess.Popen(words, env=nbd.environment(self.scratch), stdout=subprocess.PIPE, text=True) as process:
            text = "".join(iter(process.stdout.readline, "}\n")) + "}\n"
            process.terminate()
        json_keys.check_run(words[1:], 0, text)

    def files(self):
        before, after = self.path("before.img"), self.path("after.img")
        tree = {"d": Dir(), "d/f": File(b"leaf"), "ln": Symlink("d/f"), "gone": File(b"g" * 5000), "locked": File(b"secret"),
                "lost": File(b"lost")}
        volume = Ext(before, tree, size=4 * MIB, options=("-O", "^has_journal,metadata_csum"))
        volume.debugfs("set_inode_field /locked flags 0x80800")
        shutil.copy(before, after)
        volume.path = after
        volume.replace("d/f", b"another leaf")
        volume.debugfs('symlink "/ln2" "d/f"', "set_inode_field /locked mode 0100600")
        volume.delete("gone")
        self.json("ls", "-R", "--deleted", after)
        self.json("diff", "--files", before, after, status=1)
        with open(after, "ab") as file:
            file.write(b"x" * 4096)
        self.json("diff", "--files", before, after, status=1)
        ext = bytearray(before.read_bytes())
        ext[1024 + 96:1024 + 100] = b"\xff" * 4  # features that no reader knows
        self.json("info", self.file("unknown", ext))
        xfs = [self.file(name, b"XFSB" + bytes(MIB) + name.encode()) for name in ("xfs1", "xfs2")]
        self.json("diff", "--files", *xfs, status=1)
        [where] = volume.debugfs("imap /lost")
        block, offset = (int(number, 0) for number in re.search(rb"at block (\d+), offset (\w+)", where).groups())
        content = bytearray(after.read_bytes())
        content[block * 1024 + offset + 4] ^= 1  # its sum is wrong
        self.json("ls", "-R", self.file("broken.img", content), status=65)

    def errors(self):
        self.json("info", self.path("none"), status=1)


class Errors(ScratchTest):
    def error(self, status, code, *arguments, **options):
        """That it fails, and says so in json as on standard error; what is said."""
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, status, (arguments, done.stderr))
        told = json.loads(done.stdout)
        command = told["command"] and f" {told['command']}" or ""
        self.assertEqual(done.stderr.splitlines()[-1], f"snaptool{command}: {told['error']}")
        self.assertEqual((told["exit_status"], told["code"]), (status, code))
        return told

    def test_every_command(self):
        for command in json_keys.table().keys() - {"error", "progress"}:
            out = ["-o", self.scratch / "new"] if command in ("export", "compose", "invert") else []
            for words in (["--output=json"], ["--nonsense", "--output", "json"]):
                told = self.error(64, "invalid_argument", command, *words, *out)
                self.assertEqual((told["format_version"], told["command"]), (1, command))

    def test_kinds(self):
        store, zeros = self.scratch / "store", self.scratch / "zeros"
        zeros.write_bytes(bytes(1 << 16))
        write_store(store, 8, [1, 2], lambda index: bytes(4096), behind=[])
        with open(store, "r+b") as file:
            file.seek(4096 + 8)
            file.write(struct.pack("<Q", 1 << 60))
        self.error(1, "not_found", "info", "--output=json", self.scratch / "none")
        self.error(2, "not_found", "diff", "--output=json", self.scratch / "none", zeros)
        self.error(65, "corruption", "status", "--output=json", zeros, store)
        self.error(64, "invalid_argument", "hash", "--output=json", self.scratch)
        self.assertIsNone(self.error(64, "invalid_argument", "nonsense", "--output=json")["command"])

    def test_not_where_json_was_not_asked_for(self):
        for words in (["info"], ["info", "--", "--output=json"], ["info", "--output=human", "a", "b"]):
            done = run_unchecked(*words, self.scratch / "none")
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(done.stdout, "", words)

    def test_not_among_data(self):
        missing, image = self.scratch / "none", self.scratch / "image"
        image.write_bytes(bytes(4096))
        for words in (["export", "--base", missing, image], ["compose", missing, missing], ["invert", "--base", image, missing],
                      ["convert", missing, "-"],
                      ["convert", missing, "/dev/stdout"], ["dump", "--pack", missing], ["merge", "-o", "-", missing, image]):
            done = run(*words, "--output=json")
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(done.stdout, "", words)
        self.error(1, "not_found", "export", "--output=json", "--base", missing, image, "-o", self.scratch / "new")

    def many_ranges(self):
        """An image whose ranges make long lists, and whose last table is not there."""
        image = Qcow2(2 * MIB, cluster_bits=9)
        for number in range(0, 4096, 2):
            image.data(number, b"%d" % number)
        data = bytearray(image.build())
        table, = struct.unpack_from(">Q", data, 40)
        struct.pack_into(">Q", data, table + 8 * (4096 // 64 - 1), 1 << 63 | 1 << 50)
        path = self.scratch / 'ma]}"[{\\ny'
        path.write_bytes(data)
        return path

    def test_a_list_that_is_cut_short(self):
        image = self.many_ranges()
        done = run("hash", "--output=json", "--block-size", "512", image)
        self.assertEqual(done.returncode, 65, done.stderr)
        told = json.loads(done.stdout)
        self.assertEqual((told["exit_status"], told["code"], told["command"]), (65, "corruption", "hash"))
        self.assertEqual(done.stderr, f"snaptool hash: {told['error']}\n")
        self.assertGreater(len(told["blocks"]), 100)
        self.assertEqual([row["offset"] for row in told["blocks"]], list(range(0, 512 * len(told["blocks"]), 512)))
        done = run("map", "--output=json", image)
        self.assertEqual(done.returncode, 65, done.stderr)
        rows = json.loads(done.stdout)
        self.assertGreater(len(rows), 100)
        self.assertEqual([row["start"] for row in rows[1:]], [row["start"] + row["length"] for row in rows[:-1]])


if __name__ == "__main__":
    main("json keys")
