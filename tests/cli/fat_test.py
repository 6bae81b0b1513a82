# SPDX-License-Identifier: Apache-2.0
"""FAT12, FAT16 and FAT32 as the library reads them, against what mtools, fsck.fat and The Sleuth Kit say of the same images."""

import calendar
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from file_listing import FILE, FREE, METADATA, Listed, content_by_runs  # noqa: E402
from fs_maker import KIB, MIB, TIME, TOOLS, Dir, Fat, File, sha256, tool  # noqa: E402
from harness import ScratchTest, main, need, scaled  # noqa: E402

SLOT = 32
READ_ONLY, HIDDEN, SYSTEM, LABEL, FOLDER, ARCHIVE = 1, 2, 4, 8, 16, 32
END, MINUTE = 0x0FFFFFFF, 60


def slot(name, attributes=ARCHIVE, cluster=0, size=0, cases=0, created=(0, 0, 0), accessed=0, modified=(0, 0)):
    assert len(name) == 11
    return struct.pack("<11sBBBHHHHHHHI", name, attributes, cases, *created, accessed, cluster >> 16, *modified,
                       cluster & 0xFFFF, size)


def name_sum(name):
    total = 0
    for byte in name:
        total = ((total & 1) << 7 | total >> 1) + byte & 0xFF
    return total


def long_slots(text, name, numbers=None):
    """The parts of a long name, in the order of the disk. `text`: UTF-16-LE, or what becomes it."""
    wide = text if isinstance(text, bytes) else text.encode("utf-16-le", "surrogatepass")
    if len(wide) % 26:
        wide += b"\0\0"
        wide += b"\xff" * (-len(wide) % 26)
    parts = [wide[at:at + 26] for at in range(0, len(wide), 26)]
    slots = []
    for i, part in enumerate(parts, 1):
        number = i | (0x40 if i == len(parts) else 0)
        slots.append(struct.pack("<B10sBBB12sH4s", number, part[:10], 0xF, 0, name_sum(name), part[10:22], 0, part[22:]))
    return b"".join(slots[::-1])


class FatTest(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, *TOOLS["Fat"], "fsck.fat", "mdir", "minfo")
        self.rng = random.Random(1)
        self.image = self.scratch / "volume.img"

    def made(self, tree, **options):
        self.volume = Fat(self.image, tree, **options)
        return self.volume

    def formatted(self, *options, size=MIB):
        """An empty one, of mkfs.fat's options."""
        self.image.unlink(missing_ok=True)
        tool("mkfs.fat", "--invariant", *options, "-C", self.image, str(size // KIB))
        self.volume = Fat.__new__(Fat)
        self.volume.path, self.volume.size = self.image, size
        return self.volume

    def patch(self, at, data):
        with open(self.image, "r+b") as image:
            image.seek(at)
            image.write(data)

    def at(self, at, length):
        with open(self.image, "rb") as image:
            image.seek(at)
            return image.read(length)

    def root_at(self):
        """Of FAT12 and FAT16: before cluster 2."""
        start, _ = self.volume.geometry()
        return start - struct.unpack("<H", self.at(17, 2))[0] * SLOT

    def with_root(self, slots):
        self.patch(self.root_at(), slots + bytes(SLOT))

    def fat_entry(self, cluster, value=None, copies=2):
        """Of FAT12, FAT16 and FAT32; `value`: sets it."""
        boot = self.at(0, 64)
        sector, _, reserved, fats, _, _, _, short = struct.unpack_from("<HBHBHHBH", boot, 11)
        length = (short or struct.unpack_from("<I", boot, 36)[0]) * sector
        bits = self.bits()
        start, width = reserved * sector + cluster * bits // 8, 4 if bits == 32 else 2
        old = int.from_bytes(self.at(start, width), "little")
        if value is not None:
            if bits == 12:
                new = old & 0x000F | (value & 0xFFF) << 4 if cluster % 2 else old & 0xF000 | value & 0xFFF
            else:
                new = value & ((1 << bits) - 1)
            for copy in range(min(copies, fats)):
                self.patch(start + copy * length, new.to_bytes(width, "little"))
        return (old >> 4 if cluster % 2 else old & 0xFFF) if bits == 12 else old

    def bits(self):
        sector, per_cluster, reserved, fats, root, sectors, _, short = struct.unpack("<HBHBHHBH", self.at(11, 13))
        heap = reserved + fats * short + root * SLOT // sector
        clusters = ((sectors or struct.unpack("<I", self.at(32, 4))[0]) - heap) // per_cluster
        return 32 if not short else 12 if clusters < 4085 else 16

    def fsck(self):
        done = subprocess.run(["fsck.fat", "-nv", self.image], capture_output=True, check=False,
                              env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))
        return done.stdout.decode(errors="replace")

    def listed(self, *ids, **limits):
        return Listed(self.image, *ids, **limits)

    def texts(self, listed, what=None):
        return [text for where, code, text in listed.errors if code == "corruption" and what in (None, where)]

    def assert_same(self, listed=None):
        """Names, content, times and space are as mtools and fsck.fat have them."""
        listed = listed or self.listed()
        self.assertEqual(listed.errors, [])
        self.assertEqual(listed.warnings, [])
        names, tree = listed.names(), self.volume.tree()
        self.assertEqual(sorted(names), sorted(tree))
        self.assertEqual(sorted(x["node"] for x in listed.listed), sorted([1, *names.values()]))
        for name, seen in tree.items():
            node = listed.nodes[names[name]]
            self.assertEqual((node["type"], node["deleted"], node["links"]), (seen.kind, False, 1), name)
            if seen.kind != "file":
                continue
            self.assertEqual((node["size"], node["sha256"], node["times"][0]), (seen.size, seen.sha256, [seen.mtime, 0]), name)
            self.assertEqual(sha256(content_by_runs(self.image, node)), seen.sha256)
            if seen.size:
                self.assertEqual(self.joined(node["runs"]), self.joined(
                    [(0, length, place) for place, length in self.volume.pieces(name)]), name)
        self.assert_space(listed)
        return listed

    @staticmethod
    def joined(runs):
        """(place, length), of what lies together."""
        joined = []
        for _, length, place in runs:
            if joined and joined[-1][0] + joined[-1][1] == place:
                joined[-1][1] += length
            else:
                joined.append([place, length])
        return joined

    def assert_space(self, listed):
        text, size = self.fsck(), self.image.stat().st_size
        number = lambda pattern: int(re.search(pattern, text)[1])  # noqa: E731
        ends = 0
        for x in listed.space:
            self.assertEqual(x["from"], ends)
            ends = x["to"]
        self.assertEqual(ends, size)
        cluster, clusters = number(r"(\d+) bytes per cluster"), number(r"(\d+) data clusters")
        used = int(re.search(r" files, (\d+)/\d+ clusters", text)[1])
        heap = number(r"Data area starts at byte (\d+)")
        root = re.search(r"Root directory starts at byte (\d+)", text)
        root = int(root[1]) if root else heap
        self.assertEqual(listed.used(METADATA), root)
        self.assertEqual(listed.used(FILE), used * cluster + heap - root)
        self.assertEqual(listed.used(FREE), size - root - listed.used(FILE))
        self.assertEqual((listed.itself["block_size"], listed.itself["size"]), (cluster, size))
        self.assertEqual(listed.itself["type"], "fat" + re.search(r"(\d+) bit entries", text)[1])
        self.assertEqual(clusters, number(r"/(\d+) clusters"))


class Trees(FatTest):
    def tree(self):
        tree = {"d": Dir(), "d/sub": Dir(), "d/sub/leaf": File(b"leaf"), "empty": File(), "README.TXT": File(b"q"),
                "lower.txt": File(b"w"), "MiX.txt": File(b"x"), "low.EXT": File(b"1"), "UP.ext": File(b"2"),
                "ÄÖÜ.TXT": File(b"12"), "a b.c d": File(b"3"), ".hidden": File(b"4"), "two.dots.txt": File(b"5"),
                "d/A long name, ünïcode 😀.text": File(b"x" * 3000, mtime=TIME + 200 * 24 * 3600 + 2)}
        for size in (1, 511, 512, 513, 4096, 40_000):
            tree[f"size{size}"] = File(self.rng.randbytes(size))
        for i in range(40):
            tree[f"d/a name of some length, number {i}"] = File(b"%d" % i)
        return tree

    def test_all_kinds(self):
        for bits in (12, 16, 32):
            with self.subTest(bits=bits):
                self.made(self.tree(), bits=bits)
                self.assert_same()

    def fill(self, tree):
        for name, node in tree.items():
            self.volume.create(name, node)

    def test_sectors_and_clusters(self):
        tree = {"d": Dir(), **{f"d/a name of some length, number {i}": File(b"%d" % i) for i in range(20)},
                "big": File(self.rng.randbytes(200_000)), "small": File(b"x")}
        for options, size in ((("-F", "12", "-S", "1024", "-s", "2"), MIB), (("-F", "12", "-S", "4096", "-s", "1"), 2 * MIB),
                              (("-F", "12", "-s", "128", "-f", "1"), 4 * MIB), (("-F", "16", "-S", "2048", "-s", "1"), 12 * MIB),
                              (("-F", "12", "-s", "8", "-R", "7", "-r", "112"), MIB), (("-F", "12", "-S", "4096", "-s", "64"), 8 * MIB),
                              (("-F", "32", "-s", "1", "-f", "1"), 36 * MIB)):
            with self.subTest(options=options):
                self.formatted(*options, size=size)
                self.fill(tree)
                self.assert_same()

    def test_fragments(self):
        for bits in (12, 16, 32):
            self.made({f"f{i}": File(self.rng.randbytes(700)) for i in range(60)}, bits=bits)
            used, clusters = map(int, re.search(r"files, (\d+)/(\d+) clusters", self.fsck()).groups())
            self.volume.create("rest", File(size=(clusters - used) * 512))
            for i in range(0, 60, 2):
                self.volume.delete(f"f{i}")
            self.volume.create("big", File(self.rng.randbytes(25_000)))
            self.assertGreater(len(self.volume.pieces("big")), 20)
            self.assert_same()

    def test_long_chains(self):
        """Of more clusters than are kept of them."""
        self.made({"a": File(self.rng.randbytes(1_000_000)), "gap": File(b"x"), "b": File(self.rng.randbytes(3_000_000))}, bits=16)
        self.assert_same()

    def test_which_one_it_is(self):
        """The count of clusters decides, and not what the boot sector calls it."""
        for clusters, bits in ((4084, 12), (4085, 16), (65_524, 16)):
            self.formatted("-F", "12")
            self.image.write_bytes(b"")
            fat = 256
            heap = 1 + fat + 32
            boot = struct.pack("<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"mkfs.fat", 512, 1, 1, 1, 512, 0, 0xF8, fat, 32, 2, 0, 0)
            boot = boot[:32] + struct.pack("<I", heap + clusters)
            self.patch(0, boot)
            self.patch(510, b"\x55\xaa")
            self.patch(54, b"FAT16   " if bits == 12 else b"FAT12   ")
            self.patch(512, {12: b"\xf8\xff\xff", 16: b"\xf8\xff\xff\xff"}[bits])
            os.truncate(self.image, (heap + clusters) * 512)
            self.volume.create("f", File(b"x" * 5000))
            self.volume.create("g", File(b"y" * 5000))
            self.assertIn(f" {bits} bit entries", self.fsck())
            listed = self.assert_same()
            self.assertEqual(listed.itself["type"], f"fat{bits}")


    def test_as_the_sleuth_kit_has_it(self):
        """Names, also deleted ones, and content."""
        need(self, "fls", "icat")
        for bits in (12, 32):
            self.made({"d": Dir(), "gone": File(b"g" * 1000), "d/a name that is gone": File(b"n" * 2000), **{
                f"d/{name}": node for name, node in self.tree().items() if isinstance(node, File) and "/" not in name and name.isascii()}}, bits=bits)
            self.volume.delete("gone")
            self.volume.delete("d/a name that is gone")
            listed = self.listed()
            lines = re.findall(r"^r/r (\* )?(\d+)(?:\(realloc\))?:\t(.*)$", tool("fls", "-r", "-p", self.image).decode(), re.MULTILINE)
            self.assertEqual(sorted(name for free, _, name in lines if not free),
                             sorted(n for n, i in listed.names().items() if listed.nodes[i]["type"] == "file"))
            free = {os.path.basename(name): inode for free, inode, name in lines if free}
            self.assertEqual(sorted(free), sorted(x[0] for x in listed.free_names()))
            for inode, name in [(inode, name) for free, inode, name in lines if not free][::4]:
                self.assertEqual(listed.nodes[listed.names()[name]]["sha256"], sha256(tool("icat", self.image, inode)))
            for name, _, number, _ in listed.free_names():
                self.assertEqual(self.listed(number).nodes[number]["sha256"], sha256(tool("icat", "-r", self.image, free[name])))


class Names(FatTest):
    def names_of(self, slots):
        self.formatted("-F", "12", "-s", "1")
        self.with_root(slots)
        listed = self.listed()
        self.assertEqual(listed.errors, [])
        return sorted(listed.names())

    def by_mtools(self):
        text = tool("mdir", "-i", self.image, "-b", "-a", "::/").decode()
        return sorted(line[3:] for line in text.splitlines())

    def test_short_names(self):
        """Code page 437, as Python has it."""
        everything = b"".join(slot(b"%c%c         " % (0x41 + code % 26, code)) for code in range(0x80, 0x100))
        self.assertEqual(self.names_of(everything),
                         sorted(chr(0x41 + code % 26) + bytes([code]).decode("cp437") for code in range(0x80, 0x100)))
        self.assertEqual(self.names_of(slot(b"\x05AB     C  ")), ["σAB.C"])
        self.assertEqual(self.names_of(slot(b"A B C   D E")), ["A B C.D E"])

    def test_short_names_are_those_of_mtools(self):
        slots = b"".join([slot(b"PLAIN   TXT"), slot(b"LOWBASE TXT", cases=8), slot(b"LOWEXT  TXT", cases=16), slot(b"LOWBOTH TXT", cases=24),
                          slot(b"NOEXT      "), slot(b"\x8e\x99\x9a     \x8e  ", cases=0), slot(b"A.B     C  "), slot(b"~!#$%&'-({)")])
        self.assertEqual(self.names_of(slots), self.by_mtools())

    def test_long_names(self):
        texts = ["x" * n for n in (1, 12, 13, 14, 26, 27, 195, 196, 247, 254, 255)] + ["ünï", "日本語", " lead", "dot."]
        slots = b"".join(long_slots(text, b"N%-7d   " % i) + slot(b"N%-7d   " % i) for i, text in enumerate(texts))
        self.assertEqual(self.names_of(slots), sorted(texts))
        self.assertEqual(self.names_of(slots), self.by_mtools())

    def test_units_that_are_no_characters(self):
        """Half a pair stays one; no two names become the same."""
        self.formatted("-F", "12", "-s", "1")
        self.with_root(b"".join(long_slots(text, b"N%-7d   " % i) + slot(b"N%-7d   " % i)
                                for i, text in enumerate(("\ud800", "\udc00", "a\udfffb", "\udc00\ud800"))))
        listed = self.listed()
        self.assertEqual([bytes.fromhex(x["entry"]) for x in listed.entries],
                         [text.encode("utf-8", "surrogatepass") for text in ("\ud800", "\udc00", "a\udfffb", "\udc00\ud800")])

    def test_parts_that_do_not_belong(self):
        """Then the short name counts."""
        name = b"SHORT   TXT"
        long = long_slots("the long name of a file.txt", name)
        first, second, third = (long[at:at + SLOT] for at in range(0, 96, SLOT))
        for slots in (long[SLOT:], first + third, first + second, second + third, third + second + first, first + first + second + third[:13] + b"\0" + third[14:],
                      long_slots("other", b"OTHER   TXT"), long + slot(b"LABEL      ", LABEL), first + b"\xe5" + second[1:] + third,
                      long_slots("", name), long_slots(".", name), long_slots("..", name), long_slots("a/b", name),
                      long_slots("x" * 256, name), long_slots("x" * 260, name)):
            with self.subTest(slots=slots):
                self.assertEqual(self.names_of(slots + slot(name)), ["SHORT.TXT"])
        for slots in (first + long, second + long, third + long, long_slots("x", b"OTHER      ") + long):
            self.assertEqual(self.names_of(slots + slot(name)), ["the long name of a file.txt"])

    def test_impossible_names(self):
        self.formatted("-F", "12", "-s", "1")
        self.with_root(slot(b"A/B     TXT") + slot(b"A\0B     TXT") + slot(b"           ") + slot(b"OK         "))
        listed = self.listed()
        self.assertEqual(list(listed.names()), ["OK"])
        self.assertTrue(self.texts(listed) and all("impossible name" in text for text in self.texts(listed)))

    def test_what_comes_after_the_end(self):
        self.formatted("-F", "12", "-s", "1")
        self.patch(self.root_at(), slot(b"A          ") + bytes(SLOT) + slot(b"B          "))
        self.assertEqual(list(self.listed().names()), ["A"])
        self.assertEqual(self.listed(self.root_at() // SLOT + 2).errors[0][1], "not_found")

    def test_labels(self):
        for option, said in ((("-n", "A LABEL"), "A LABEL"), ((), "")):
            self.formatted("-F", "12", "-s", "1", *option)
            listed = self.listed()
            self.assertEqual((listed.label, listed.names(), listed.itself["uuid"]), (said, {}, "1234-ABCD"))
        self.formatted("-F", "12", "-s", "1", "-n", "OLD")
        tool("mlabel", "-i", self.image, "::NEW")
        self.assertEqual(self.listed().label, "NEW")
        need(self, "blkid")
        text = tool("blkid", "-p", self.image).decode()
        self.assertIn('UUID="1234-ABCD"', text)
        self.assertIn('LABEL="NEW"', text)


class Metadata(FatTest):
    def node_with(self, entry):
        self.formatted("-F", "12", "-s", "1")
        self.with_root(entry)
        return self.listed(self.root_at() // SLOT).nodes[self.root_at() // SLOT]

    def test_times(self):
        def stamp(year, month, day, hour=0, minute=0, second=0):
            return (year - 1980) << 9 | month << 5 | day, hour << 11 | minute << 5 | second // 2

        for parts in ((1980, 1, 1), (2000, 2, 29, 23, 59, 58), (2107, 12, 31, 12, 34, 56), (2038, 1, 19, 3, 14, 8), (1999, 12, 31, 1, 2, 4)):
            date, clock = stamp(*parts)
            expected = calendar.timegm((*parts, 0, 0, 0)[:6]) if len(parts) > 3 else calendar.timegm((*parts, 0, 0, 0))
            day = calendar.timegm((*parts[:3], 0, 0, 0))
            for hundredths in (0, 1, 99, 100, 199):
                node = self.node_with(slot(b"A          ", created=(hundredths, clock, date), accessed=date, modified=(clock, date)))
                self.assertEqual(node["times"], [[expected, 0], None, [day, 0], [expected + hundredths // 100, hundredths % 100 * 10_000_000]])
        good = stamp(2001, 2, 3)[0]
        for date, clock, hundredths in ((0, 0, 0), (21 << 9 | 2 << 5 | 30, 0, 0), (good & ~0x1E0, 0, 0), (good | 13 << 5, 0, 0), (good & ~31, 0, 0),
                                        (good, 24 << 11, 0), (good, 60 << 5, 0), (good, 30, 0)):
            node = self.node_with(slot(b"A          ", created=(hundredths, clock, date), accessed=date, modified=(clock, date)))
            self.assertEqual((node["times"][0], node["times"][3]), (None, None))
        node = self.node_with(slot(b"A          ", created=(200, 0, good), modified=(0, good)))
        self.assertEqual((node["times"][3], node["times"][0] is None), (None, False))

    def test_times_as_istat_has_them(self):
        need(self, "istat", "fls")
        self.made({"f": File(b"x", mtime=TIME + 12346)}, bits=12)
        number = re.search(r"r/r (\d+):\tf$", tool("fls", self.image).decode(), re.MULTILINE)[1]
        text = tool("istat", "-z", "UTC", self.image, number).decode()
        names = self.listed()
        times = names.nodes[names.names()["f"]]["times"]
        for word, time in (("Written", times[0]), ("Accessed", times[2]), ("Created", times[3])):
            said = re.search(rf"{word}:\t(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)", text).groups()
            self.assertEqual(time[0], calendar.timegm(tuple(map(int, said))), word)

    def test_attributes_count(self):
        self.made({"f": File(b"x"), "a long name": File(b"x")}, bits=12)
        sums = []
        for option in ("+a", "-a", "+r", "-r", "+h", "-h", "+s", "-s"):
            tool("mattrib", "-i", self.image, option, "::f")
            listed = self.listed()
            sums.append(listed.nodes[listed.names()["f"]]["sum"])
        self.assertEqual(sums, [ARCHIVE, 0, READ_ONLY, 0, HIDDEN, 0, SYSTEM, 0])

    def test_short_names_beside_long_ones_count(self):
        """Also where the two lie in different clusters."""
        sums = set()
        for name in (b"ONE     TXT", b"TWO     TXT"):
            for before in (0, 15):
                self.formatted("-F", "32", "-s", "1", size=36 * MIB)
                self.volume.create("d", Dir())
                start, length = self.volume.geometry()
                at = start + (self.volume.pieces("d")[0][0] - start)
                for cluster, following in ((3, 9), (9, END)):
                    self.fat_entry(cluster, following)
                self.assertEqual(at, start + length)
                filler = b"".join(slot(b"F%-10d" % i) for i in range(before - 3))
                slots = self.image.read_bytes()[at:at + 64] + filler + long_slots("the long name", name) + slot(name)
                slots += bytes(1024 - len(slots))
                self.patch(at, slots[:512])
                self.patch(start + 7 * 512, slots[512:])
                listed = self.listed()
                self.assertEqual(listed.errors, [])
                number = listed.names()["d/the long name"]
                sums.add(listed.nodes[number]["sum"])
                self.assertEqual(self.listed(number).nodes[number]["sum"], listed.nodes[number]["sum"])
        self.assertEqual(len(sums), 2)

    def test_what_was_deleted(self):
        tree = {"kept": File(b"k"), "SHORT.TXT": File(b"s" * 1000), "a long name of some length": File(b"l" * 2000), "d": Dir(), "d/x y z": File(b"1"),
                "lower.txt": File(b"w"), "empty": File(), "gone": Dir()}
        for bits in (12, 16, 32):
            self.made(tree, bits=bits)
            ids = self.listed().names()
            for name in ("SHORT.TXT", "a long name of some length", "d/x y z", "lower.txt", "empty", "gone"):
                self.volume.delete(name)
            listed = self.assert_same()
            found = {(name, number, kind) for name, _, number, kind in listed.free_names()}
            self.assertEqual(found, {("_HORT.TXT", ids["SHORT.TXT"], "file"), ("a long name of some length", ids["a long name of some length"], "file"),
                                     ("x y z", ids["d/x y z"], "file"), ("_ower.txt", ids["lower.txt"], "file"), ("_mpty", ids["empty"], "file"),
                                     ("_one", ids["gone"], "dir")})
            number = ids["a long name of some length"]
            node = self.listed(number).nodes[number]
            self.assertEqual((node["deleted"], node["links"], node["size"], node["sha256"]), (True, 0, 2000, sha256(b"l" * 2000)))
            self.volume.create("new", File(b"n" * 400))
            start, length = self.volume.geometry()
            taken = self.volume.pieces("new")[0][0]
            if node["runs"][0][2] <= taken < node["runs"][0][2] + 2000:
                continue
            self.fat_entry((node["runs"][0][2] - start) // length + 3, END)
            again = self.listed(number)
            self.assertEqual([x[:2] for x in again.errors], [("runs", "corruption"), ("content", "corruption")])
            self.assertIn("clusters that it may have had are in use", again.errors[0][2])

    def test_deleted_long_names_that_are_not_their_own(self):
        self.formatted("-F", "12", "-s", "1")
        name, free = b"SHORT   TXT", lambda slots: b"".join(b"\xe5" + slots[at + 1:at + SLOT] for at in range(0, len(slots), SLOT))
        one, other = long_slots("the long name of a file.txt", name), long_slots("another name of a file.txt", b"OTHER   TXT")
        entry = b"\xe5" + slot(name, cluster=0)[1:]
        for slots, found in ((free(one), "the long name of a file.txt"), (one, "_HORT.TXT"), (free(other) + free(one), "the long name of a file.txt"),
                             (free(one)[32:], "the long name of a file.txt"[:26]), (free(one[32:] + one[:32]), "_HORT.TXT"),
                             (free(one.replace(bytes([name_sum(name)]), bytes([name_sum(b"aHORT   TXT")]))), "_HORT.TXT")):
            self.with_root(slots + entry)
            self.assertEqual([x[0] for x in self.listed().free_names()], [found])
        for attributes, cluster, size in ((ARCHIVE, 0, 5), (ARCHIVE, 60_000, 5), (0x80, 0, 0), (FOLDER, 5, 5), (LABEL, 0, 0)):
            self.with_root(b"\xe5" + slot(name, attributes, cluster, size)[1:])
            self.assertEqual(self.listed().free_names(), [])
            self.assertEqual(self.listed(self.root_at() // SLOT).errors[0][1], "not_found")

    def test_it_says_how_it_was_left(self):
        for bits, state, clean, good in ((12, 0x25, None, None), (16, 0x25, 0x7FFF, 0xBFFF), (32, 0x41, 0x07FFFFFF, 0x0BFFFFFF)):
            self.made({"f": File(b"x")}, bits=bits)
            self.assertEqual(self.listed().warnings, [])
            self.patch(state, b"\1")
            self.assertEqual(self.listed().warnings, ["it was not unmounted: the last changes may be torn"])
            self.assertIn("Dirty bit", self.fsck())
            self.patch(state, b"\2")
            self.assertEqual(self.listed().warnings, ["errors of its medium were found"])
            self.patch(state, b"\0")
            for value, word in ((clean, "unmounted"), (good, "medium")):
                if value:
                    self.fat_entry(1, value)
                    self.assertEqual([word in text for text in self.listed().warnings], [True])

    def test_fats_that_differ(self):
        self.made({"f": File(b"x" * 2000)}, bits=16)
        self.fat_entry(3, 0xFFFF, copies=1)
        listed = self.listed()
        self.assertEqual(listed.warnings, ["its FATs 0 and 1 differ: FAT 0 is read"])
        self.assertEqual([x[0] for x in listed.errors], ["runs", "content"])
        self.assertIn("FATs differ", self.fsck())

    def test_one_fat_that_is_in_use(self):
        self.made({"f": File(b"x" * 2000)}, bits=32)
        whole = self.listed()
        self.fat_entry(4, END, copies=1)
        self.patch(40, struct.pack("<H", 0x81))
        listed = self.listed()
        self.assertEqual((listed.errors, listed.warnings), ([], ["only its FAT 1 is kept up to date"]))
        self.assertEqual(listed.nodes, whole.nodes)
        self.patch(40, struct.pack("<H", 0x82))
        self.assertEqual(self.listed().errors[0][:2], ("open", "corruption"))

    def test_ids(self):
        self.made({"d": Dir(), "d/e": Dir(), "d/e/a long name": File(b"12"), "f": File(slot(b"LIKEAN  ENT") * 40)}, bits=16)
        listed = self.listed()
        for number, node in listed.nodes.items():
            self.assertEqual(self.listed(number).nodes[number], node)
        place = listed.nodes[listed.names()["f"]]["runs"][0][2]
        end = self.image.stat().st_size // SLOT
        for number in (0, 2, 16, place // SLOT, place // SLOT + 1, end - 1, end, end + 1, 1 << 40, (1 << 64) - 1, listed.names()["d/e/a long name"] - 1):
            self.assertEqual([x[:2] for x in self.listed(number).errors], [("node", "not_found")], number)


class Damaged(FatTest):
    """What is broken is said; the rest is read all the same."""

    def first(self, name):
        start, length = self.volume.geometry()
        return (self.volume.pieces(name)[0][0] - start) // length + 2

    def entry_at(self, name):
        return self.listed().names()[name] * SLOT

    def test_chains(self):
        tree = {"a": File(b"a" * 3000), "d": Dir(), "d/x": File(b"x"), "z": File(b"z" * 600)}
        for bits in (12, 16, 32):
            bad, end = (0xFF7, 0xFFF) if bits == 12 else (0xFFF7, 0xFFFF) if bits == 16 else (0xFFFFFF7, END)
            self.made(tree, bits=bits)
            whole, first, number = self.image.read_bytes(), self.first("a"), self.listed().names()["a"]
            for cluster, value, what, known in ((first + 2, end, "its chain ends after 3 clusters", 3), (first + 1, first, "leads back to itself after 2", 2),
                                                (first + 2, first + 2, "leads back to itself after 3", 3), (first + 3, 0, f"its cluster {first + 3} is free", 3),
                                                (first, 0, f"its cluster {first} is free", 0), (first + 1, bad, f"its cluster {first + 1} is marked as bad", 1),
                                                (first + 1, 1, "leads to cluster 1, which is none", 2), (first, bad - 1, f"leads to cluster {bad - 1}", 1),
                                                (first + 5, 0, f"its cluster {first + 5} is free", 5), (first + 5, first, None, 6)):
                with self.subTest(bits=bits, what=what):
                    self.image.write_bytes(whole)
                    self.fat_entry(cluster, value)
                    listed = self.listed()
                    self.assertEqual(sum(length for _, length, _ in listed.nodes[number]["runs"]), known * 512)
                    if what is None:  # what it needs is there
                        self.assertEqual(listed.nodes[number]["sha256"], sha256(b"a" * 3000))
                        continue
                    self.assertEqual([x[0] for x in listed.errors], ["runs", "content"])
                    self.assertTrue(all(what in text for text in self.texts(listed)), listed.errors)
                    self.assertEqual(listed.nodes[listed.names()["z"]]["sha256"], sha256(b"z" * 600))
            for field, value in ((26, 0), (26, 1), (26, 0xF000 if bits != 32 else 0xFFFF)):
                self.image.write_bytes(whole)
                self.patch(number * SLOT + field, struct.pack("<H", value))
                if bits == 32 and value > 1:
                    self.patch(number * SLOT + 20, struct.pack("<H", 0x0FFF))
                self.assertEqual([x[0] for x in self.listed().errors], ["runs", "content"])

    def test_sizes_past_the_chain(self):
        self.made({"a": File(b"a" * 3000)}, bits=12)
        for size in (3073, 1 << 20, (1 << 32) - 1):
            self.patch(self.entry_at("a") + 28, struct.pack("<I", size))
            listed = self.listed()
            self.assertEqual(self.texts(listed, "runs"), [f"file {listed.names()['a']}: its chain ends after 6 clusters"])
            if size < 16 * MIB:
                self.assertEqual(listed.nodes[listed.names()["a"]]["sha256"], "")
        self.patch(self.entry_at("a") + 28, struct.pack("<I", 10))
        self.assertEqual(self.listed().errors, [])

    def test_folders(self):
        tree = {"d": Dir(), "d/x": File(b"x"), "e": Dir(), "e/y": File(b"y"), "z": File(b"z" * 600)}
        for bits in (12, 32):
            self.made(tree, bits=bits)
            whole, names = self.image.read_bytes(), self.listed().names()
            start, length = self.volume.geometry()
            d, e = (struct.unpack_from("<H", whole, names[name] * SLOT + 26)[0] for name in "de")

            def after(at, data):
                self.image.write_bytes(whole)
                self.patch(at, data)
                return self.listed()

            listed = after(names["e"] * SLOT + 26, struct.pack("<H", d))
            self.assertEqual(self.texts(listed, "nodes"), [f"folder {names['e']}: it has the clusters of folder {names['d']}"])
            self.assertNotIn(names["e"], listed.nodes)
            listed = after(names["e"] * SLOT + 26, struct.pack("<H", 0))
            self.assertIn("it has no clusters", self.texts(listed)[0])
            z = struct.unpack_from("<H", whole, names["z"] * SLOT + 26)[0]
            listed = after(names["e"] * SLOT + 26, struct.pack("<H", z))
            self.assertTrue(any("does not begin with '.'" in text for text in self.texts(listed)))
            for at in (0, 32):
                listed = after(start + (e - 2) * length + at, b"X")
                self.assertTrue(any("does not begin with '.'" in text for text in self.texts(listed)))
            self.assertIn("z", listed.names())
            # A folder within itself, and chains that loop or meet.
            listed = after(start + (d - 2) * length + 64, slot(b"LOOP       ", FOLDER, d))
            self.assertTrue(any(f"it has the clusters of folder {names['d']}" in text for text in self.texts(listed)))
            for first, second, what in ((d, d, "leads back to itself after 1"), (d, e, "is in another folder, too"), (d, 0, f"its cluster {d} is free")):
                self.image.write_bytes(whole)
                self.fat_entry(first, second)
                listed = self.listed()
                self.assertTrue(any(what in text for text in self.texts(listed)), listed.errors)
                self.assertIn("z", listed.names())

    def test_boot_sectors(self):
        self.made({"a": File(b"a")}, bits=32)
        whole = self.image.read_bytes()
        for at, data, code, what in ((11, b"\0\0", "corruption", "of 0 bytes are impossible"), (13, b"\3", "corruption", "clusters of 3 sectors"),
                                     (14, b"\0\0", "corruption", "after 0 others"), (16, b"\0", "corruption", "0 FATs"), (36, bytes(4), "corruption", "of 0 sectors"),
                                     (32, struct.pack("<I", 50), "corruption", "end before its first cluster"), (36, b"\xff\xff\xff\x7f", "corruption", "end before"),
                                     (42, b"\1\0", "unsupported", "version 0x1 of FAT32"), (32, b"\xff" * 4, None, None), (44, bytes(4), None, None)):
            self.image.write_bytes(whole)
            self.patch(at, data)
            listed = self.listed()
            if code:
                self.assertEqual([x[:2] for x in listed.errors], [("open", code)])
                self.assertIn(what, listed.errors[0][2])
        self.image.write_bytes(whole[:MIB])
        self.assertEqual([x[2] for x in self.listed().errors if x[0] == "open"], [])
        self.assertIn(f"the image ends {len(whole) - MIB} bytes before its file system", self.listed().warnings)
        self.image.write_bytes(whole[:100_000])
        self.assertEqual(self.listed().errors[0][2], "the image ends within its FAT")
        self.image.write_bytes(whole)
        self.patch(32, struct.pack("<I", len(whole) // 512 + 4 * 67_000))
        self.assertTrue(any("its FAT has entries for" in text for text in self.listed().warnings))

    def test_what_has_no_magic(self):
        self.made({}, bits=12)
        whole = self.image.read_bytes()
        self.assertTrue(self.listed().magic)
        self.patch(54, b"XXX")
        self.assertTrue(self.listed().magic)
        for at, data in ((510, b"\0\0"), (11, b"\1\2"), (21, b"\1"), (16, b"\0"), (16, b"\x55")):
            self.image.write_bytes(whole[:54] + b"XXX" + whole[57:])
            self.patch(at, data)
            self.assertFalse(self.listed().magic)

    def test_many_entries_for_one_chain(self):
        """Files, or folders: nothing takes longer than what is there."""
        for attributes, size in ((ARCHIVE, (1 << 32) - 1), (ARCHIVE, 900_000), (FOLDER, 0)):
            self.formatted("-F", "12", "-s", "1", "-r", "2048")
            count = 1700
            links = [*range(3, 3 + count), 0xFFF]
            packed = b"".join((a | b << 12).to_bytes(3, "little") for a, b in zip(links[::2], [*links[1::2], 0]))
            for copy in range(2):
                self.patch(512 * (1 + 6 * copy) + 3, packed)
            self.with_root(b"".join(slot(b"N%-10d" % i, attributes, 2 + i, size) for i in range(1600)))
            start, length = self.volume.geometry()
            self.patch(start, b"".join((slot(b".          ", FOLDER, cluster) + slot(b"..         ", FOLDER) + b"".join(
                slot(b"M%-4d%-6d" % (i, cluster), FOLDER, (cluster * 7 + i * 13) % count + 2) for i in range(14))) for cluster in range(2, 2 + count)))
            listed = self.listed(timeout=10)
            self.assertTrue(listed.errors)

    def test_mutants(self):
        """Bytes of the metadata are changed: no crash, nothing for ever, and not much memory."""
        for bits in (12, 16, 32):
            self.made({"d": Dir(), **{f"d/a long name, {i}": File(b"%d" % i * 300) for i in range(10)}, "e": Dir(), "e/f": Dir(), "e/f/g": File(b"g")}, bits=bits)
            self.volume.delete("d/a long name, 3")
            whole = self.image.read_bytes()
            used = [at for at in range(0, len(whole), 32) if whole[at:at + 32].strip(b"\0")]
            for number in range(scaled(200)):
                bad = bytearray(whole)
                for _ in range(self.rng.choice([1, 1, 2, 8, 32])):
                    at = self.rng.choice(used) + self.rng.randrange(32)
                    bad[at] = self.rng.choice([0, 1, 5, 0xE5, 0x7F, 0x80, 0xFF, self.rng.randrange(256)])
                if self.rng.random() < 0.1:
                    del bad[self.rng.randrange(len(bad)):]
                self.image.write_bytes(bad)
                with self.subTest(bits=bits, number=number):
                    Listed(self.image)


if __name__ == "__main__":
    main("fat")
