# SPDX-License-Identifier: Apache-2.0
"""ISO 9660, Rock Ridge and Joliet as the library reads them, against xorriso and isoinfo, and by images made record by
record. What Linux makes of images is in kernel/mounted_test.py."""

import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from file_listing import FILE, METADATA, Listed, content_by_runs, lister  # noqa: E402
from fs_maker import TIME, sha256, tool  # noqa: E402
from harness import ScratchTest, main, need, run, scaled  # noqa: E402
from iso_maker import (ASSOCIATED, FOLDER, GOES_ON, HIDDEN, PROTECTED, RECORDS, SECTOR, TIME_SECONDS, Disc, both32, ce, entry,  # noqa: E402
                       er, nm, px, record, sl, sp, tf)

PRIMARY_ROOT = 16 * SECTOR + 156
JOLIET_ROOT = 17 * SECTOR + 156
ROOT_SU = sp() + px(0o40755, 2) + er()


class IsoTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.image = self.scratch / "disc.iso"
        self.rng = random.Random(1)

    def listed(self, *ids, root=PRIMARY_ROOT, errors=(), warnings=(), **limits):
        listed = Listed(self.image, *ids, root=root, **limits)
        self.assertEqual((listed.errors, listed.warnings), (list(errors), list(warnings)))
        return listed

    def by_name(self, listed):
        return {name: listed.nodes[number] for name, number in listed.names().items()}

    def made(self, *records, **options):
        """Of records in the root, with Rock Ridge."""
        disc = options.pop("disc", None) or Disc()
        disc.save(self.image, disc.folder(records, su=ROOT_SU), **options)
        return disc

    def one(self, *records, **options):
        self.made(*records, **options)
        return self.by_name(self.listed())

    def damage(self, *records, **options):
        """What it says of the damage of a folder."""
        self.made(*records, **options)
        return [x[1:] for x in Listed(self.image, root=PRIMARY_ROOT).errors if x[0] in ("entries", "open")]


def make_source(folder):
    rng = random.Random(5)
    for size in (0, 1, 2047, 2048, 2049, 5000, 70_000, 400_000):
        (folder / f"size{size}").write_bytes(rng.randbytes(size))
    for name in ("few", "many", "empty"):
        (folder / name).mkdir()
    (folder / "few/one.txt").write_bytes(b"1")
    os.link(folder / "size5000", folder / "few/hard")
    for i in range(150):
        (folder / f"many/a name of some length, number {i}").write_bytes(b"%d" % i)
    for name in ("n" * 250, "\u00dcn\u00ef\U0001f600", "noext", "dot.", "UPPER.TXT", "a;1", ".hidden", "many.dots.here"):
        (folder / name).write_bytes(name.encode())
    deep = folder
    for i in range(12):
        deep = deep / f"deep{i}"
        deep.mkdir()
        (deep / "f").write_bytes(b"%d" % i)
    for i, target in enumerate(("a", "/abs/path", "../../up", ".", "..", "a//b", "dir/", "/", "t" * 90, "./a/../b",
                                "/".join("x" * 200 for _ in range(4)))):
        (folder / f"link{i}").symlink_to(target)
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        at = os.getcwd()
        os.chdir(folder)  # paths of sockets are short
        made.bind("sock")
        os.chdir(at)
    (folder / "size1").chmod(0o4711)
    (folder / "few").chmod(0o2750)
    for path in [folder, *sorted(folder.rglob("*"))]:
        os.utime(path, (TIME + 5, TIME), follow_symlinks=False)


class Tools(IsoTest):
    """Images of xorriso and genisoimage."""

    def setUp(self):
        super().setUp()
        need(self, "xorriso")
        self.source = self.scratch / "source"
        self.source.mkdir()
        make_source(self.source)

    def made_by(self, *command):
        self.image.unlink(missing_ok=True)
        # Without SOURCE_DATE_EPOCH, which xorriso takes for every time.
        done = subprocess.run([*command, "-o", self.image, self.source], capture_output=True, timeout=60, check=False,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"})
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])

    def extracted(self):
        folder = self.scratch / "extracted"
        subprocess.run(["rm", "-rf", folder], check=True)
        subprocess.run(["xorriso", "-osirrox", "on", "-indev", self.image, "-extract", "/", folder], check=True, capture_output=True)
        tool("chmod", "-R", "u+rwX", folder)
        return folder

    def assert_content(self, nodes):
        """By the names that the source has."""
        for name, node in nodes.items():
            path = self.source / name
            if path.is_file() and not path.is_symlink():
                self.assertEqual((node["size"], node["sha256"]), (path.stat().st_size, sha256(path.read_bytes())), name)
                if node["within"] == 0:
                    self.assertEqual(content_by_runs(self.image, node), path.read_bytes())

    def assert_rock_ridge(self, times=True):
        """All that the source has, and what xorriso reads of the image."""
        nodes = self.by_name(self.listed())
        seen = {str(p.relative_to(self.source)): p.lstat() for p in self.source.rglob("*")}
        names = {n for n in nodes if not n.startswith("rr_moved")}
        self.assertEqual(names, set(seen))
        xorriso = self.extracted()
        # It does not extract sockets.
        self.assertEqual(names - {"sock"}, {str(p.relative_to(xorriso)) for p in xorriso.rglob("*") if p.name != "rr_moved"})
        for name in names:
            status, node = seen[name], nodes[name]
            kind = {"1": "fifo", "4": "dir", "8": "file", "10": "symlink", "12": "socket"}[str(status.st_mode >> 12)]
            self.assertEqual((node["type"], node["mode"], node["owner"], node["group"]),
                             (kind, status.st_mode & 0o7777, status.st_uid, status.st_gid), name)
            if times and kind != "dir":
                # Reading it has changed when it was accessed.
                self.assertEqual(node["times"][:2] + node["times"][3:], [[TIME, 0], [int(status.st_ctime), 0], None], name)
            if kind == "symlink":
                target = os.readlink(xorriso / name)
                self.assertEqual((bytes.fromhex(node["target"]).decode(), node["size"]), (target, len(target)), name)
        self.assert_content(nodes)
        return nodes

    def test_rock_ridge(self):
        for options in (("-R", "-J"), ("-R", "-D"), ("-R", "-iso-level", "3", "-J", "-joliet-long")):
            with self.subTest(options):
                self.made_by("xorriso", "-as", "mkisofs", "-quiet", "-V", "A LABEL", *options)
                nodes = self.assert_rock_ridge()
                self.assertEqual(nodes["few/hard"]["links"], 2)
                listed = Listed(self.image)
                said = dict(re.findall(r"^(\w+)=(.*)$", tool("blkid", "-p", "-o", "export", self.image).decode(), re.MULTILINE))
                self.assertEqual((listed.itself["type"], listed.label, listed.itself["uuid"], listed.itself["block_size"]),
                                 (said["TYPE"], "A LABEL", said["UUID"], SECTOR))

    def test_genisoimage(self):
        need(self, "genisoimage", "isoinfo")
        (self.source / "link10").unlink()  # it writes such ones wrongly
        (self.source / "link5").unlink()  # a//b as a/b
        (self.source / "link6").unlink()  # dir/ as dir
        for options in (("-R",), ("-R", "-J", "-joliet-long"), ("-R", "-D")):
            with self.subTest(options):
                self.made_by("genisoimage", "-quiet", *options)
                self.assert_rock_ridge(times=False)

    def isoinfo(self, *options):
        """{path: (size, flags)} as it lists them."""
        names, folder = {}, ""
        for line in tool("isoinfo", "-l", "-i", self.image, *options).decode("latin-1").splitlines():
            if line.startswith("Directory listing of "):
                folder = line[len("Directory listing of "):].strip("/")
            elif found := re.match(r"([-d]).{9} +\d+ +\d+ +\d+ +(\d+) .{12}\[ *(\d+) (\w\w)\] +(.*)$", line):
                name = found[5].rstrip(" ")
                if name not in (".", ".."):
                    names[os.path.join(folder, name)] = (int(found[2]), int(found[3]) * SECTOR)
        return names

    def assert_isoinfo(self, listed, *options, joliet=False):
        nodes = self.by_name(listed)

        def place(node):
            return (node["size"], node["runs"][0][2]) if node["size"] else (0, None)

        def shown(name):
            name = re.sub(r";1$", "", name)
            return name if joliet else re.sub(r"\.$", "", name)

        theirs = {shown(n): v if v[0] else (0, None) for n, v in self.isoinfo(*options).items()}
        self.assertEqual({n: place(x) for n, x in nodes.items()}, theirs)
        return nodes

    def test_plain(self):
        need(self, "isoinfo")
        for maker in (("xorriso", "-as", "mkisofs", "-quiet", "--norock"), ("genisoimage", "-quiet"), ("genisoimage", "-quiet", "-l")):
            with self.subTest(maker):
                self.made_by(*maker)
                nodes = self.assert_isoinfo(self.listed())
                self.assertIn("UPPER.TXT", nodes)
                self.assertIn("NOEXT", nodes)
                self.assertEqual(nodes["SIZE5000"]["sha256"], sha256((self.source / "size5000").read_bytes()))
                self.assertEqual(nodes["SIZE5000"]["times"], [[TIME, 0], None, None, None])
                self.assertEqual((nodes["SIZE5000"]["mode"], nodes["SIZE5000"]["links"], nodes["SIZE5000"]["sum"]), (0, 1, 0))

    def test_joliet(self):
        need(self, "isoinfo")
        (self.source / "\u00dcn\u00ef\U0001f600").unlink()  # isoinfo knows no pairs
        (self.source / "\u00dcn\u00ef").write_bytes(b"umlauts")
        for maker in (("xorriso", "-as", "mkisofs", "-quiet", "--norock", "-J", "-joliet-long"), ("genisoimage", "-quiet", "-J", "-joliet-long")):
            with self.subTest(maker):
                self.made_by(*maker)
                nodes = self.assert_isoinfo(self.listed(root=JOLIET_ROOT), "-J", "-j", "iso8859-1", joliet=True)
                self.assert_content(nodes)
                self.assertIn("\u00dcn\u00ef", nodes)

    def test_zisofs(self):
        for name in ("zeros", "mixed"):
            (self.source / name).write_bytes(bytes(300_000) + (b"text " * 30_000 if name == "mixed" else b""))
        tool("xorriso", "-outdev", self.image, "-map", self.source, "/", "-set_filter_r", "--zisofs", "/", "--")
        nodes = self.by_name(self.listed())
        self.assertEqual(nodes["mixed"]["runs"], [[0, 450_000, None]])
        self.assertEqual(nodes["mixed"]["within"], 450_000)
        self.assert_content(nodes)

    def test_a_session_more(self):
        self.made_by("xorriso", "-as", "mkisofs", "-quiet", "-R")
        more = self.scratch / "more"
        more.write_bytes(b"more")
        tool("xorriso", "-dev", self.image, "-map", more, "/more", "-rm", "/size1", "--")
        nodes = self.by_name(self.listed())
        self.assertEqual((nodes["more"]["sha256"], "size1" in nodes), (sha256(b"more"), False))
        self.assert_content(nodes)

    def test_the_program(self):
        self.made_by("xorriso", "-as", "mkisofs", "-quiet", "-R", "-J")
        done = run("cat", self.image, "few/one.txt")
        self.assertEqual((done.returncode, done.stdout), (0, "1"), done.stderr)
        done = run("ls", self.image, "few")
        self.assertEqual((done.returncode, done.stdout), (0, "few/hard\nfew/one.txt\n"), done.stderr)

    def test_hybrids(self):
        """A table of partitions, and UDF, are told of."""
        self.made_by("xorriso", "-as", "mkisofs", "-quiet", "-R", "-hfsplus")
        self.listed(warnings=["it has a table of partitions, too: what else is in these is not shown"])
        self.made_by("xorriso", "-as", "mkisofs", "-quiet", "-R", "-append_partition", "2", "0xef", self.source / "size70000")
        self.listed(warnings=["it has a table of partitions, too: what else is in these is not shown"])
        done = run("cat", self.image, "few/one.txt")
        self.assertEqual((done.returncode, done.stdout), (0, "1"), done.stderr)
        need(self, "genisoimage")
        (self.source / "link10").unlink()
        self.made_by("genisoimage", "-quiet", "-R", "-udf")
        self.listed(warnings=["it holds a UDF file system, too, which is not read"])

    def test_boot(self):
        """The list of what boots is metadata, as the descriptors and path tables are."""
        self.made_by("xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-b", "size2048", "-no-emul-boot", "-c", "boot.cat")
        listed = Listed(self.image)
        report = tool("xorriso", "-indev", self.image, "-report_el_torito", "plain", "-toc").decode()
        catalog = int(re.search(r"El Torito cat path : |El Torito catalog  : +(\d+)", report)[1])
        metadata = [(x["from"], x["to"]) for x in listed.space if x["space"] == METADATA]
        self.assertTrue(any(a <= catalog * SECTOR < b for a, b in metadata), metadata)
        self.assertEqual(metadata[0][0], 0)
        data = self.image.read_bytes()
        for at in (16, 18):
            lba, = struct.unpack_from("<I", data, at * SECTOR + 140)
            self.assertTrue(any(a <= lba * SECTOR < b for a, b in metadata), metadata)
        self.assertEqual({x["space"] for x in listed.space}, {METADATA, FILE})


class Records(IsoTest):
    """Directory records, and what they lead to."""

    def plain(self, *records, disc=None, **options):
        """{name: node} of an image without extensions."""
        disc = disc or Disc()
        disc.save(self.image, disc.folder(records), **options)
        return self.by_name(self.listed())

    def test_names(self):
        for name, shown in (("A.B;1", "A.B"), ("A.;1", "A"), ("A.;2", "A.;2"), ("A.B;12", "A.B;12"), ("A.", "A."), (".;1", ".;1"), (";1", ";1"), ("a b~", "a b~"),
                            (b"\xe9.TXT;1", os.fsdecode(b"\xe9.TXT")), ("A;1;1", "A;1"), ("..;1", None), ("X/Y", None), (b"X\0Y", None), ("..", None)):
            with self.subTest(name):
                disc = Disc()
                disc.save(self.image, disc.folder([record(name), record("Z")]))
                listed = Listed(self.image, root=PRIMARY_ROOT)
                self.assertEqual(list(listed.names()), [shown, "Z"] if shown and shown != ".;1" else ["Z"])
                if shown is None or shown == ".;1":
                    self.assertEqual(len(listed.errors), 1)
                    self.assertIn("has an impossible name", listed.errors[0][2])

    def test_joliet_names(self):
        pair, half = "\U0001f600".encode("utf-16-be"), b"\xd8\x3d"
        names = {"x.txt;1".encode("utf-16-be"): b"x.txt", pair: "\U0001f600".encode(), half + b"\0a": b"\xed\xa0\xbda", b"\xdc\0" + half: b"\xed\xb0\x80\xed\xa0\xbd",
                 "dot.".encode("utf-16-be"): b"dot.", "end\0\0".encode("utf-16-be"): b"end", "\u4e2d".encode("utf-16-be"): "\u4e2d".encode(), b"\0ab": b"a"}
        disc = Disc()
        folder = disc.folder([record("OTHER")])
        disc.save(self.image, folder, joliet=disc.folder([record(name) for name in names]))
        listed = self.listed(root=JOLIET_ROOT)
        self.assertEqual([bytes.fromhex(x["entry"]) for x in listed.entries], list(names.values()))
        self.assertEqual((listed.label, listed.itself["uuid"]), ("LABEL", "2020-01-02-03-04-05-00"))

    def test_which_tree(self):
        """Rock Ridge, unless its root is empty; else Joliet; else plain names."""
        for su, plain, joliet, shown in ((ROOT_SU, [record("A", su=nm("rock"))], [record(b"\0j")], "rock"), (b"", [record("A")], [record(b"\0j")], "j"),
                                         (ROOT_SU, [], [record(b"\0j")], "j"), (b"", [record("A")], None, "A"), (sp(), [record("A", su=nm("rock"))], None, "A"),
                                         (entry("RR", b"\x89"), [record("A", su=nm("old"))], None, "old"), (bytes(14) + sp(14) + er(), [record("A", su=bytes(14) + nm("xa"))], None, "xa")):
            disc = Disc()
            folder = disc.folder(plain, su=su)
            disc.save(self.image, folder, joliet=disc.folder(joliet) if joliet else None)
            names = [bytes.fromhex(x["entry"]).decode() for x in Listed(self.image).entries]
            self.assertEqual(names, [shown])

    def test_times(self):
        for when, seconds in (((120, 1, 2, 3, 4, 5, 0), TIME_SECONDS), ((120, 1, 2, 3, 4, 5, 4), TIME_SECONDS - 3600), ((120, 1, 2, 3, 4, 5, -23), TIME_SECONDS + 23 * 900),
                              ((70, 1, 1, 0, 0, 0, 0), 0), ((0, 1, 1, 0, 0, 0, 0), -2208988800), ((255, 12, 31, 23, 59, 59, 0), 5869583999), ((100, 2, 29, 0, 0, 0, 0), 951782400),
                              ((0, 0, 0, 0, 0, 0, 0), None), ((120, 13, 1, 0, 0, 0, 0), None), ((120, 1, 1, 24, 0, 0, 0), None), ((120, 1, 1, 0, 0, 0, 100), None)):
            nodes = self.plain(record("F", time=when))
            self.assertEqual(nodes["F"]["times"], [None if seconds is None else [seconds, 0], None, None, None], when)

    def test_flags(self):
        """Of what is hidden, or has records, or is protected, the sum tells; an associated file is one of its own."""
        disc = Disc()
        a, b = disc.put(b"fork"), disc.put(b"content")
        nodes = self.plain(record("F", a, 4, ASSOCIATED), record("F", b, 7), record("H", flags=HIDDEN), record("R", flags=RECORDS), record("P", flags=PROTECTED),
                           record("S", su=b"what others keep"), record("0", su=bytes(8)), disc=disc)
        self.assertEqual((nodes["F:associated"]["sha256"], nodes["F"]["sha256"]), (sha256(b"fork"), sha256(b"content")))
        self.assertEqual((nodes["F"]["sum"], nodes["0"]["sum"]), (0, 0))
        self.assertEqual(len({nodes[name]["sum"] for name in "FHRPS"}), 5)

    def test_blocks(self):
        for block in (512, 1024, 2048):
            with self.subTest(block):
                disc = Disc(block)
                disc.put(b"so that nothing else lies where a sector begins")
                contents = {f"F{i}": self.rng.randbytes(i * 97) for i in range(60)}
                inner = disc.folder([record("IN", disc.put(b"inner"), 5)])
                records = [record(n, disc.put(c), len(c)) for n, c in contents.items()] + [record("D", *inner, FOLDER)]
                nodes = self.plain(*records, disc=disc)
                self.assertEqual({n: nodes[n]["sha256"] for n in contents}, {n: sha256(c) for n, c in contents.items()})
                self.assertEqual(nodes["D/IN"]["sha256"], sha256(b"inner"))
                self.assertEqual(Listed(self.image).itself["block_size"], block)
        disc = Disc(4096)
        disc.save(self.image, disc.folder([]))
        self.assertEqual(Listed(self.image).errors, [("open", "unsupported", "its logical blocks have 4096 bytes")])

    def test_attribute_records(self):
        """They lie before the content."""
        disc = Disc()
        records = []
        for name, attributes in (("A", b"same"), ("B", b"same"), ("C", b"other")):
            place = disc.put(attributes, 2)
            disc.put(b"content")
            records.append(record(name, place, 7, xar=2))
        nodes = self.plain(*records, record("D"), disc=disc)
        self.assertEqual({nodes[n]["sha256"] for n in "ABC"}, {sha256(b"content")})
        self.assertEqual((nodes["A"]["sum"] == nodes["B"]["sum"], nodes["A"]["sum"] == nodes["C"]["sum"], nodes["D"]["sum"]), (True, False, 0))

    def test_several_pieces(self):
        """Also of lengths that are no blocks; over the end of a sector; many."""
        disc = Disc()
        parts = [self.rng.randbytes(size) for size in (5000, 1, 2048, 0, 777)]
        many = [self.rng.randbytes(3) for _ in range(200)]

        def records(name, pieces):
            return [record(name, disc.put(p), len(p), GOES_ON if i + 1 < len(pieces) else 0) for i, p in enumerate(pieces)]

        nodes = self.plain(record("A"), *records("F", parts), *records("MANY", many), record("Z"), disc=disc)
        self.assertEqual(list(nodes), ["A", "F", "MANY", "Z"])
        for name, pieces in (("F", parts), ("MANY", many)):
            self.assertEqual((nodes[name]["size"], nodes[name]["sha256"]), (len(b"".join(pieces)), sha256(b"".join(pieces))))
            self.assertEqual(content_by_runs(self.image, nodes[name]), b"".join(pieces))
        # Places of records within a file are none of files.
        many_at = nodes["MANY"]["node"]
        self.assertEqual([x[1] for x in Listed(self.image, many_at + 38).errors], ["not_found"])

    def test_pieces_that_do_not_fit(self):
        disc = Disc()
        place = disc.put(b"1")
        self.assertIn("has no last record", self.damage(record("F", place, 1, GOES_ON), disc=disc)[0][1])
        disc = Disc()
        self.assertIn("has records with other names", self.damage(record("F", flags=GOES_ON), record("G"), disc=disc)[0][1])

    def test_ids(self):
        """Any place that is no record's is not found, also without a walk before."""
        disc = Disc()
        inner = disc.folder([record("IN", disc.put(b"inner"), 5)] + [record(f"N{i}") for i in range(100)])
        content = disc.put(record("FAKE", 3, 7))
        disc.save(self.image, disc.folder([record("D", *inner, FOLDER), record("F", content, 40)]))
        listed = self.listed()
        ids = set(listed.nodes)
        self.assertEqual(ids, {PRIMARY_ROOT, *listed.names().values()})
        self.assertEqual(len(ids), 104)
        for number in sorted(ids)[::7] + [max(ids)]:
            self.assertEqual(Listed(self.image, number).nodes, {number: listed.nodes[number]})
        for number in (0, 1, 2048, content * SECTOR, inner[0] * SECTOR, inner[0] * SECTOR + 34, min(ids - {PRIMARY_ROOT}) + 2, 1 << 63):
            self.assertEqual([x[1] for x in Listed(self.image, number).errors], ["not_found"], number)

    def test_what_is_not_read(self):
        disc = Disc()
        place = disc.put(b"content")
        self.made(record("I", place, 7, unit=1, gap=1, su=px(0o100644)), record("SPARSE", place, 7, su=px(0o100644) + entry("SF", both32(1) + both32(5) + b"\1")),
                  record("PACKED", place, 7, su=px(0o100644) + entry("ZF", b"PZ\4\x0f" + both32(99))), record("OK", place, 7, su=px(0o100644)), disc=disc)
        listed = Listed(self.image, root=PRIMARY_ROOT)
        self.assertEqual({x[1] for x in listed.errors}, {"unsupported"})
        # Of one that is larger than 16 MiB, only the runs are asked for.
        self.assertEqual(sorted(x[0] for x in listed.errors), ["content"] * 2 + ["runs"] * 3)
        nodes = self.by_name(listed)
        self.assertEqual((nodes["OK"]["sha256"], nodes["SPARSE"]["size"]), (sha256(b"content"), (1 << 32) + 5))

    def test_a_set_of_volumes(self):
        disc = Disc()
        place = disc.put(b"content")
        disc.save(self.image, disc.folder([record("HERE", place, 7, volume=2), record("THERE", place, 7, volume=1)]), volumes=(2, 3))
        listed = Listed(self.image, root=PRIMARY_ROOT)
        self.assertEqual({x[1:] for x in listed.errors}, {("unsupported", "it lies on volume 1 of a set of 3; this is 2")})
        self.assertEqual(self.by_name(listed)["HERE"]["sha256"], sha256(b"content"))


class Sharing(IsoTest):
    """Rock Ridge, and how entries lie in system use areas."""

    def test_owners_and_times(self):
        short = bytes([120, 1, 2, 3, 4, 5, 0])

        def at(second):
            return bytes([120, 1, 2, 3, 4, second, 0])

        nodes = self.one(record("A", su=px(0o104751, 3, 70000, 80000, 9) + tf(0x0F, at(1), at(2), at(3), at(4))),
                         record("B", su=px(0o100644) + tf(0x82, b"2020010203040577\x04")), record("C", su=tf(0x7E, *[short] * 6)),
                         record("D", su=tf(0x80 | 0x0A, b"2020010203040500\0", b"0000000000000000\0")))
        a = nodes["A"]
        self.assertEqual((a["mode"], a["links"], a["owner"], a["group"]), (0o4751, 3, 70000, 80000))
        self.assertEqual(a["times"], [[TIME_SECONDS - 3, 0], [TIME_SECONDS - 1, 0], [TIME_SECONDS - 2, 0], [TIME_SECONDS - 4, 0]])
        self.assertEqual(nodes["B"]["times"][0], [TIME_SECONDS - 3600, 770_000_000])
        self.assertEqual(nodes["C"]["times"], [[TIME_SECONDS, 0]] * 3 + [None])
        self.assertEqual(nodes["D"]["times"], [[TIME_SECONDS, 0], None, None, None])

    def test_types(self):
        kinds = {"fifo": 0o010000, "char": 0o020000, "block": 0o060000, "file": 0o100000, "socket": 0o140000}
        nodes = self.one(*[record(name.upper(), su=nm(name) + px(mode | 0o600) + (entry("PN", both32(1) + both32(7)) if name in ("char", "block") else b""))
                           for name, mode in kinds.items()], record("OTHER", su=nm("char2") + px(0o020600) + entry("PN", both32(1) + both32(8))))
        self.assertEqual({n: nodes[n]["type"] for n in kinds}, {n: n for n in kinds})
        self.assertEqual(len({nodes[n]["sum"] for n in ("char", "char2", "fifo")}), 3)

    def test_targets(self):
        for entries, target in ((sl((0, b"a"), (0, b"b")), "a/b"), (sl((8, b""), (0, b"a")), "/a"), (sl((8, b"")), "/"), (sl((4, b""), (2, b""), (0, b"x")), ".././x"),
                                (sl((1, b"one"), (0, b"two"), (0, b"three")), "onetwo/three"), (sl((1, b"one"), flags=1) + sl((0, b"two")), "onetwo"),
                                (sl((0, b"one"), flags=1) + sl((0, b"two")), "one/two"), (sl((0, b"a"), (0, b""), (0, b"b")), "a//b")):
            node = self.one(record("L", su=px(0o120777) + entries))["L"]
            self.assertEqual((bytes.fromhex(node["target"]).decode(), node["size"], node["within"], node["type"]), (target, len(target), len(target), "symlink"))
        for component in ((0x10, b""), (0x20, b"")):
            self.made(record("L", su=px(0o120777) + sl(component, (0, b"a"))))
            self.assertEqual([x[:2] for x in Listed(self.image).errors], [("target", "unsupported")])
        self.made(record("L", su=px(0o120777)))
        self.assertEqual([x[:2] for x in Listed(self.image).errors], [("target", "corruption")])
        for entries in (sl((1, b"a")), sl((0, b"a"), flags=1), sl((0, b"a")) + sl((0, b"b")), entry("SL", b"\0\0\7ab"), entry("SL")):
            self.assertEqual(self.damage(record("L", su=px(0o120777) + entries))[0][0], "corruption")

    def test_names(self):
        for entries, name in ((nm("one", 1) + nm("two"), "onetwo"), (nm("one", 1) + px(0o100644) + nm("two", 1) + nm("3"), "onetwo3"), (nm(""), None),
                              (nm("x" * 200), "x" * 200), (nm("caf\u00e9"), "caf\u00e9"), (nm("", 2), "F"), (px(0o100644), "F")):
            disc = Disc()
            disc.save(self.image, disc.folder([record("F;1", su=entries)], su=ROOT_SU))
            listed = Listed(self.image, root=PRIMARY_ROOT)
            self.assertEqual(list(listed.names()), [name] if name else [])
            self.assertEqual(len(listed.errors), 0 if name else 1)
        for entries in (nm("one", 1), nm("one") + nm("two"), nm("x", 0x20), entry("NM")):
            self.made(record("F;1", su=entries))
            listed = Listed(self.image, root=PRIMARY_ROOT)
            self.assertEqual({x[1] for x in listed.errors}, {"corruption"})
            self.assertIn(list(listed.names()), (["F"], ["one"]))

    def test_continuations(self):
        """Areas in a chain, each anywhere; what follows an end is not read; circles end."""
        disc = Disc()
        last = disc.put(bytes(100) + nm("end") + entry("ST") + nm("never"))
        middle = disc.put(nm("a" * 200, 1) + ce(last, 100, 50) + px(0o100640))
        first = ce(middle, 0, 205 + 28 + 36) + nm("b", 1)
        node = self.one(record("F", su=first), disc=disc)["ba" + "a" * 199 + "end"]
        self.assertEqual(node["mode"], 0o640)
        for make in (lambda b: ce(b, 0, 28), lambda b: entry("XX") + ce(b, 0, 32), lambda b: ce(b, 0, 28) * 2):
            disc = Disc()
            block = len(disc.image) // SECTOR
            disc.put(make(block))
            self.assertIn("system use areas", self.damage(record("F", su=ce(block, 0, len(make(block)))), disc=disc)[0][1])
        for bad in (ce(1 << 30, 0, 100), ce(20, 0, 4000), ce(20, 1 << 31, 100), entry("CE", b"12")):
            self.assertEqual(self.damage(record("F", su=bad))[0][0], "corruption")
        for bad in (b"PX\3\1", b"PX\xff\1", entry("PX"), entry("TF"), entry("TF", b"\7abc"), entry("CL"), entry("ZF"), entry("SF")):
            self.assertEqual(self.damage(record("F", su=bad))[0][0], "corruption", bad)

    def test_what_is_not_known(self):
        """It is in the sum, as far as it is in use."""
        nodes = self.one(record("A"), record("B", su=entry("AA", b"one")), record("C", su=entry("AA", b"two")), record("D", su=entry("AA", b"one") + px(0o100600)),
                         record("E", su=entry("ST") + entry("AA", b"one")), record("F", su=entry("PD", b"pad")))
        sums = {name: nodes[name]["sum"] for name in "ABCDEF"}
        self.assertEqual((sums["A"], sums["E"], sums["F"], sums["B"]), (0, 0, 0, sums["D"]))
        self.assertEqual(len(set(sums.values())), 3)

    def test_moved_folders(self):
        """Shown where their names are, and nowhere else."""
        disc = Disc()
        deep = disc.folder([record("IN", disc.put(b"deep"), 4, su=nm("in"))], su=px(0o40700, 2, 5, 6))
        moved = disc.folder([record("DEEP", *deep, FOLDER, su=nm("deep") + entry("RE"))])
        disc.save(self.image, disc.folder([record("RR_MOVED", *moved, FOLDER, su=nm("rr_moved") + px(0o40755)),
                                           record("HERE", su=nm("here") + px(0o40755) + entry("CL", both32(deep[0])))], su=ROOT_SU))
        listed = self.listed()
        nodes = self.by_name(listed)
        self.assertEqual(sorted(nodes), ["here", "here/in", "rr_moved"])
        self.assertEqual(len(listed.nodes), 4)
        here = nodes["here"]
        self.assertEqual((here["type"], here["mode"], here["owner"], here["size"], nodes["here/in"]["sha256"]), ("dir", 0o700, 5, SECTOR, sha256(b"deep")))
        self.assertEqual([x[1] for x in Listed(self.image, moved[0] * SECTOR + 68).errors], ["not_found"])
        for block in (deep[0] + 1, 1 << 30, 0):
            self.assertEqual(self.damage(record("F", su=entry("CL", both32(block))))[0][0], "corruption")

    def test_zisofs(self):
        content = bytes(40_000) + self.rng.randbytes(33_000) + b"end"

        def packed(head=b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07", size=len(content), bits=15, damage=None):
            blocks = [content[i:i + (1 << 15)] for i in range(0, len(content), 1 << 15)]
            data = [zlib.compress(b) if any(b) else b"" for b in blocks]
            at = 16 + 4 * (len(data) + 1)
            pointers = [at + sum(map(len, data[:i])) for i in range(len(data) + 1)]
            if damage:
                pointers[damage[0]] = damage[1]
            return head + struct.pack("<IBBH", size, 4, bits, 0) + struct.pack(f"<{len(pointers)}I", *pointers) + b"".join(data)

        def made(file, zf):
            disc = Disc()
            self.made(record("Z", disc.put(file), len(file), su=px(0o100644) + zf), disc=disc)
            return Listed(self.image, root=PRIMARY_ROOT)

        sound = entry("ZF", b"pz\4\x0f" + both32(len(content)))
        listed = made(packed(), sound)
        node = self.by_name(listed)["Z"]
        self.assertEqual((listed.errors, node["size"], node["sha256"], node["within"]), ([], len(content), sha256(content), len(content)))
        for file, zf, code in ((packed(head=bytes(8)), sound, "corruption"), (packed(size=5), sound, "corruption"), (packed(damage=(1, 1 << 30)), sound, "corruption"),
                               (packed(damage=(2, 5)), sound, "corruption"), (packed()[:30], sound, "corruption"), (packed(bits=20), entry("ZF", b"pz\4\x14" + both32(len(content))), "unsupported"),
                               (packed()[:-2000] + bytes(2000), sound, "corruption"), (packed(), entry("ZF", b"pz\4\x0f" + both32(0xFFFFFFFF)), "corruption")):
            self.assertEqual({x[1] for x in made(file, zf).errors}, {code}, (file[:24], zf))


class Damaged(IsoTest):
    def patch(self, at, data):
        with open(self.image, "r+b") as image:
            image.seek(at)
            image.write(data)

    def small(self):
        disc = Disc()
        inner = disc.folder([record("IN", disc.put(b"inner"), 5, su=nm("in") + px(0o100644))], su=px(0o40755))
        root = disc.folder([record("A", disc.put(b"content"), 7, su=nm("a") + px(0o100644)), record("D", *inner, FOLDER, su=nm("d") + px(0o40755)),
                            record("Z", disc.put(b"last"), 4, su=nm("z") + px(0o100644))], su=ROOT_SU)
        disc.save(self.image, root)
        return root, inner

    def test_descriptors(self):
        self.small()
        whole = self.image.read_bytes()
        at = 16 * SECTOR
        for place, data, code, what in ((at, b"\3", "corruption", "no descriptor of a volume"), (at + 128, struct.pack("<H", 4096), "unsupported", "4096 bytes"), (at + 128, b"\0\0", "unsupported", "0 bytes"),
                                        (at + 156, b"\0", "corruption", "directory record"), (at + 156 + 25, b"\0", "corruption", "root is no folder"), (at, b"\xff", "corruption", "no descriptor")):
            self.image.write_bytes(whole)
            self.patch(place, data)
            (error,) = Listed(self.image).errors
            self.assertEqual((error[0], error[1], what in error[2]), ("open", code, True), error)
        for place, data, warning in ((17 * SECTOR, b"\0", "the list of its descriptors has no end"), (at + 80, struct.pack("<I", 1000), "the image ends 1988608 bytes before its file system"),
                                     (at + 80, struct.pack("<I", 24), "it says that it has 49152 bytes, but its root ends at"), (at + 80, bytes(4), "it says that it has 0 bytes, but its root ends at"),
                                     (at + 84, bytes(4), "numbers differ between their two byte orders (byte 32768)")):
            self.image.write_bytes(whole)
            self.patch(place, data)
            listed = Listed(self.image, root=PRIMARY_ROOT)
            self.assertEqual((listed.errors, sorted(listed.names())), ([], ["a", "d", "d/in", "z"]))
            self.assertIn(warning, listed.warnings[0])

    def test_records(self):
        root, inner = self.small()
        whole = self.image.read_bytes()
        a = root[0] * SECTOR + whole[root[0] * SECTOR:].index(record("A")[32:34]) - 32
        d = root[0] * SECTOR + whole[root[0] * SECTOR:].index(b"\1D") - 32
        for at, data, what, names in ((a, b"\x21", "directory record at byte", []), (a, b"\xff", "has an impossible name", None), (a + 32, b"\0", "has a name of 0 bytes", []), (a + 32, b"\xf0", "has a name of 240 bytes", []),
                                      (d + 2, struct.pack("<I", 5000), "lies outside of the file system", ["a", "d", "z"]), (d + 10, struct.pack("<I", 1 << 30), "lies outside of the file system", ["a", "d", "z"]),
                                      (d + 2, struct.pack("<I", root[0]), "another record leads to", ["a", "d", "z"]), (d + 10, struct.pack("<I", 4096), "does not begin with a record of itself", None),
                                      (d + 25, b"\0", "by its record, or by its mode", ["a", "d", "z"]), (d + 26, b"\1", "several pieces", ["a", "d", "z"]), (d + 25, b"\x82", "has records with other names", None),
                                      (inner[0] * SECTOR + 33, b"x", "does not begin with a record of itself", None), (a + 2, struct.pack("<I", 5000), "lies outside of the file system", None)):
            with self.subTest(what=what, at=at):
                self.image.write_bytes(whole)
                self.patch(at, data)
                listed = Listed(self.image, root=PRIMARY_ROOT)
                if data != b"\xff":
                    self.assertTrue(any(x[1] == "corruption" and what in x[2] for x in listed.errors), listed.errors)
                if names is not None:
                    self.assertEqual(list(listed.names()), names)
        self.image.write_bytes(whole)
        self.patch(d + 10, bytes(8))
        self.assertIn("has no bytes", Listed(self.image, root=PRIMARY_ROOT).errors[0][2])
        self.image.write_bytes(whole + bytes(1 << 20))
        self.assertIn("the image continues for 1048576 bytes after it", Listed(self.image).warnings[0])
        self.image.write_bytes(whole)
        self.patch(a + 2 + 7, b"\x99")
        self.assertIn("numbers differ", Listed(self.image).warnings[0])

    def test_cut_images(self):
        self.small()
        whole = self.image.read_bytes()
        for size in (0, 1000, 32768, 32780, 34000, 36864, 49152, 50000, 51300, len(whole) - 2048):
            self.image.write_bytes(whole[:size])
            listed = Listed(self.image, root=PRIMARY_ROOT)
            self.assertTrue(listed.errors or listed.warnings, size)

    def assert_bounded(self):
        begun = time.monotonic()
        listed = Listed(self.image, root=PRIMARY_ROOT, timeout=20, memory=160)
        self.assertLess(time.monotonic() - begun, 5)
        return listed

    def test_folders_that_share_all(self):
        """As many records as there is room for, which all lead to a folder that is as large."""
        for kind in ("one", "overlapping", "root"):
            with self.subTest(kind):
                disc = Disc()
                large = disc.folder([record("A")] * 2000)
                places = {"one": [large] * 2000, "overlapping": [(large[0] + i % 30, large[1] - i % 30 * SECTOR) for i in range(2000)],
                          "root": [(len(disc.image) // SECTOR, Disc().folder([record("D")] * 2000)[1])] * 2000}[kind]
                disc.save(self.image, disc.folder([record("D", *place, FOLDER) for place in places]))
                listed = self.assert_bounded()
                self.assertIn("another record leads to", listed.errors[-1][2])
                self.assertLess(len(listed.entries), 30_000)

    def test_areas_that_all_share(self):
        """Records with long chains of areas, all the same."""
        disc = Disc()
        first = len(disc.image) // SECTOR
        for i in range(30):
            disc.put(entry("XX", b"\1" * 4) * 250 + ce(first + i + 1, 0, 2028))
        disc.put(entry("ST"))
        disc.save(self.image, disc.folder([record("A", su=ce(first, 0, 2028))] * 2000, su=ROOT_SU))
        listed = self.assert_bounded()
        self.assertIn("the system use areas of all records are more than the image can have", [x[2] for x in listed.errors])

    def test_many_pieces(self):
        disc = Disc()
        place = disc.put(b"x")
        disc.save(self.image, disc.folder([record("A", place, 1, GOES_ON)] * 17_000 + [record("A", place, 1)]))
        listed = self.assert_bounded()
        self.assertEqual({x[1:] for x in listed.errors}, {("unsupported", "it is in more than 16384 pieces")})

    def test_mutants(self):
        """Bytes of the metadata are changed: no crash, nothing for ever, and not much memory."""
        self.small()
        images = [self.image.read_bytes()]
        if shutil.which("xorriso"):
            source = self.scratch / "source"
            source.mkdir()
            make_source(source)
            for name in ("size70000", "size400000", "many"):
                subprocess.run(["rm", "-r", source / name], check=True)
            for options in (("-R", "-J"), ("--norock", "-J"), ("--norock",), ("-R", "-D")):
                tool("xorriso", "-as", "mkisofs", "-quiet", *options, "-o", self.image, source)
                images.append(self.image.read_bytes())
                self.image.unlink()
        for number in range(scaled(600)):
            whole = images[number % len(images)]
            used = [at for at in range(32768, min(len(whole), 300_000), 64) if whole[at:at + 64].strip(b"\0")]
            bad = bytearray(whole)
            for _ in range(self.rng.choice([1, 1, 2, 8, 32])):
                at = self.rng.choice(used) + self.rng.randrange(64)
                bad[at] = self.rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, self.rng.randrange(256)])
            if self.rng.random() < 0.1:
                del bad[self.rng.randrange(len(bad)):]
            self.image.write_bytes(bad)
            with self.subTest(number=number):
                lister(self.image, timeout=10)


class Named(IsoTest):
    """What is not read is known by its name."""

    def test_names(self):
        for at, magic, name in ((0x8001, b"BEA01", "UDF"), (0x8009, b"CDROM", "High Sierra"), (16 * 2352 + 17, b"CD001", "ISO 9660 in raw sectors of 2352 bytes"),
                                (16 * 2352 + 25, b"CD001", "ISO 9660 in raw sectors of 2352 bytes")):
            self.image.write_bytes(bytes(at) + magic + bytes(100_000))
            done = run("ls", self.image)
            self.assertIn(f"holds {name}, whose files are not read", done.stderr)


if __name__ == "__main__":
    main("iso")
