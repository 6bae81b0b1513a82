# SPDX-License-Identifier: Apache-2.0
"""exFAT as the library reads it, against what was put into volumes by another program (exfat_maker.py), which fsck.exfat
finds sound, and against dump.exfat, blkid and The Sleuth Kit."""

import calendar
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import exfat_maker  # noqa: E402
from exfat_maker import ExFat  # noqa: E402
from file_listing import FILE, FREE, METADATA, Listed, content_by_runs  # noqa: E402
from fs_maker import KIB, MIB, TIME, TOOLS, Dir, File, sha256, tool  # noqa: E402
from harness import ScratchTest, main, need, scaled  # noqa: E402
import random  # noqa: E402

SLOT = 32
READ_ONLY, HIDDEN, SYSTEM, FOLDER, ARCHIVE = 1, 2, 4, 0x10, 0x20
END = 0xFFFFFFFF


class ExfatTest(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, *TOOLS["ExFat"], "dump.exfat")
        self.rng = random.Random(1)
        self.image = self.scratch / "volume.img"

    def made(self, tree, chained=(), cluster=4096, size=None, options=()):
        def other(name, *arguments, **environment):
            if name == "mkfs.exfat":
                arguments = ["-b", "4K", "-c", str(cluster), *options, arguments[-1]]
            return tool(name, *arguments, **environment)

        with mock.patch.object(exfat_maker, "tool", other):
            self.volume = ExFat(self.image, tree, size=size, chained=chained)
        return self.volume

    def patch(self, at, data):
        with open(self.image, "r+b") as image:
            image.seek(at)
            image.write(data)

    def at(self, at, length):
        with open(self.image, "rb") as image:
            image.seek(at)
            return image.read(length)

    def listed(self, *ids, **limits):
        return Listed(self.image, *ids, **limits)

    def texts(self, listed, what=None):
        return [text for where, code, text in listed.errors if code == "corruption" and what in (None, where)]

    def set_at(self, name):
        return self.listed().names()[name] * SLOT

    def summed(self, at):
        """Mends the sum of a set."""
        whole = bytearray(self.at(at, SLOT * (1 + self.at(at, 2)[1])))
        total = 0
        for index, byte in enumerate(whole):
            if index not in (2, 3):
                total = ((total >> 1 | total << 15) + byte) & 0xFFFF
        self.patch(at + 2, struct.pack("<H", total))

    def change(self, name, *pieces):
        """(offset in the set, bytes); the sum goes with it. The place of the set."""
        at = self.set_at(name)
        for offset, data in pieces:
            self.patch(at + offset, data)
        self.summed(at)
        return at

    def free(self, at, clusters=()):
        """Deletes a set, as drivers do."""
        for index in range(1 + self.at(at, 2)[1]):
            self.patch(at + index * SLOT, bytes([self.at(at + index * SLOT, 1)[0] & 0x7F]))
        self.mark(clusters, False)

    def mark(self, clusters, used):
        for cluster in clusters:
            place = self.volume.bitmap + (cluster - 2) // 8
            old = self.at(place, 1)[0] & ~(1 << (cluster - 2) % 8)
            self.patch(place, bytes([old | used << (cluster - 2) % 8]))

    def link(self, cluster, following):
        self.patch(self.volume.fat + 4 * cluster, struct.pack("<I", following))

    def clusters_of(self, node):
        return [2 + (place + i - self.volume.heap) // self.volume.cluster for _, length, place in node["runs"]
                for i in range(0, length, self.volume.cluster)]

    def check(self):
        tool("fsck.exfat", "-n", self.image)

    def assert_same(self):
        listed, tree = self.listed(), self.volume.tree()
        self.assertEqual((listed.errors, listed.warnings, listed.magic), ([], [], True))
        names = listed.names()
        self.assertEqual(sorted(names), sorted(tree))
        self.assertEqual(sorted(x["node"] for x in listed.listed), sorted([1, *names.values()]))
        for name, seen in tree.items():
            node = listed.nodes[names[name]]
            self.assertEqual((node["type"], node["links"], node["deleted"]), (seen.kind, 1, False), name)
            self.assertEqual(node["times"], [[seen.mtime, 0], None, [seen.mtime // 2 * 2, 0], [seen.mtime, 0]], name)
            if seen.kind == "file":
                self.assertEqual((node["size"], node["sha256"]), (seen.size, seen.sha256), name)
                self.assertEqual(sha256(content_by_runs(self.image, node)), seen.sha256, name)
        self.assert_space(listed)
        return listed

    def assert_space(self, listed):
        text = tool("dump.exfat", self.image).decode()
        number = lambda pattern: int(re.search(pattern + r":\s*(\d+)", text)[1])  # noqa: E731
        ends = 0
        for x in listed.space:
            self.assertEqual(x["from"], ends)
            ends = x["to"]
        cluster = number("Cluster size")
        heap, size = number(r"Cluster Heap Offset \(sector offset\)") * 512, number(r"Volume Length\(sectors\)") * 512
        tables = sum(-(-number(f"{what} size") // cluster) for what in ("Bitmap", "Upcase table"))
        used = number("Total Clusters") - number("Free Clusters")
        self.assertEqual((ends, listed.itself["size"], listed.itself["block_size"]), (size, size, cluster))
        self.assertEqual(listed.used(METADATA), heap + tables * cluster)
        self.assertEqual(listed.used(FILE), (used - tables) * cluster)
        self.assertEqual(listed.used(FREE), size - heap - used * cluster)


class Trees(ExfatTest):
    def tree(self):
        tree = {"d": Dir(), "d/sub": Dir(), "d/sub/leaf": File(b"leaf"), "empty": File(), "README.TXT": File(b"q"), "lower.txt": File(b"w"),
                "MiX.txt": File(b"x"), "a b.c d": File(b"3"), ".hidden": File(b"4"), "two.dots.txt": File(b"5"),
                "d/A long name, ünïcode 😀.text": File(b"x" * 3000, mtime=TIME + 200 * 24 * 3600 + 3), "日本": File(b"6")}
        for size in (1, 4095, 4096, 4097, 40_000):
            tree[f"size{size}"] = File(self.rng.randbytes(size))
            tree[f"chained{size}"] = File(self.rng.randbytes(size))
        for length in (1, 14, 15, 16, 30, 31, 254, 255):
            tree["d/" + "n" * length] = File(b"%d" % length)
        return tree

    def test_all(self):
        tree = self.tree()
        self.made(tree, [name for name in tree if "chained" in name])
        self.check()
        self.assert_same()

    def test_clusters(self):
        tree = {"d": Dir(), "d/f": File(self.rng.randbytes(3000)), "big": File(self.rng.randbytes(70_000))}
        for cluster, size in ((512, 4 * MIB), (1024, 4 * MIB), (32 * KIB, 8 * MIB), (256 * KIB, 16 * MIB), (MIB, 24 * MIB)):
            with self.subTest(cluster=cluster):
                self.made(tree, ("big",), cluster, size)
                self.check()
                self.assert_same()

    def test_folders_of_many_clusters(self):
        """Sets lie across the borders of clusters."""
        self.made({"d": Dir(), **{f"d/a name that is so long that it needs three entries, {i:03}": File(b"%d" % i) for i in range(90)}},
                  cluster=512, size=4 * MIB)
        self.check()
        listed = self.assert_same()
        for name, number in list(listed.names().items())[::7]:
            self.assertEqual(self.listed(number).nodes[number], listed.nodes[number])

    def test_as_the_sleuth_kit_has_it(self):
        need(self, "fls", "icat")
        self.made(self.tree(), ("chained40000",))
        listed = self.listed()
        found = dict(re.findall(r"^r/r (\d+):\t([^$].*)$", tool("fls", "-r", "-p", self.image).decode(), re.MULTILINE))
        self.assertEqual(sorted(found.values()), sorted(n for n, i in listed.names().items() if listed.nodes[i]["type"] == "file"))
        for inode, name in list(found.items())[::5]:
            self.assertEqual(listed.nodes[listed.names()[name]]["sha256"], sha256(tool("icat", self.image, inode)))

    def test_labels(self):
        need(self, "blkid")
        for label in ("A LABEL", "ünï", "elevenchars"):
            self.made({"f": File(b"x")}, options=("-L", label))
            listed = self.assert_same()
            self.assertEqual((listed.label, listed.itself["uuid"], listed.itself["type"]), (label, "1234-5678", "exfat"))
            text = tool("blkid", "-p", self.image).decode()
            if label.isascii():
                self.assertIn(f'LABEL="{label}"', text)
            self.assertIn('UUID="1234-5678"', text)

    def test_long_chains(self):
        """Of more clusters than are kept of them."""
        self.made({"a": File(self.rng.randbytes(1_000_000)), "b": File(self.rng.randbytes(2_000_000))}, ("a", "b"), cluster=512)
        self.check()
        self.assert_same()

    def test_fragments(self):
        """The clusters of a chain in another order."""
        self.made({"f": File(self.rng.randbytes(50_000))}, ("f",))
        node = self.listed().nodes[self.set_at("f") // SLOT]
        clusters = self.clusters_of(node)
        data = [self.at(self.volume.place(cluster), 4096) for cluster in clusters]
        order = clusters[:1] + self.rng.sample(clusters[1:], len(clusters) - 1)
        for cluster, piece, following in zip(order, data, order[1:] + [END]):
            self.patch(self.volume.place(cluster), piece)
            self.link(cluster, following)
        self.check()
        listed = self.assert_same()
        self.assertEqual(self.clusters_of(listed.nodes[self.set_at("f") // SLOT])[:len(order)], order)


class Metadata(ExfatTest):
    def test_what_was_never_written(self):
        for valid in (0, 1, 4096, 5000, 9999, 10_000):
            for chained in ((), ("f",)):
                data = self.rng.randbytes(10_000)
                self.made({"f": File(data)}, chained)
                self.change("f", (SLOT + 8, struct.pack("<Q", valid)))
                self.check()
                listed = self.listed()
                node = listed.nodes[listed.names()["f"]]
                self.assertEqual(listed.errors, [])
                self.assertEqual((node["size"], node["sha256"], node["within"]), (10_000, sha256(data[:valid].ljust(10_000, b"\0")), 0))
                self.assertEqual(content_by_runs(self.image, node), data[:valid].ljust(10_000, b"\0"))

    def test_chains_that_are_none(self):
        """What the FAT has for a file without a chain says nothing."""
        self.made({"f": File(self.rng.randbytes(10_000))})
        for cluster in self.clusters_of(self.listed().nodes[self.set_at("f") // SLOT]):
            self.link(cluster, self.rng.randrange(1 << 32))
        self.assert_same()

    def test_times(self):
        self.made({"f": File(b"x")})
        for parts, zone in (((1980, 1, 1), 0), ((2000, 2, 29, 23, 59, 58), 4), ((2107, 12, 31, 12, 34, 56), -4), ((2038, 1, 19, 3, 14, 8), 56),
                            ((1999, 12, 31, 1, 2, 4), -48), ((2020, 1, 1, 0, 0, 0), -64), ((2020, 1, 1, 0, 0, 0), 63)):
            parts += (0,) * (6 - len(parts))
            year, month, day, hour, minute, second = parts
            stamp = struct.pack("<I", (year - 1980) << 25 | month << 21 | day << 16 | hour << 11 | minute << 5 | second // 2)
            when = calendar.timegm((*parts, 0, 0, 0)) - zone * 900
            self.change("f", (8, stamp * 3), (20, bytes([199, 50])), (22, bytes([0x80 | zone & 0x7F]) * 3))
            listed = self.listed()
            self.assertEqual(listed.warnings, [])
            self.assertEqual(listed.nodes[listed.names()["f"]]["times"],
                             [[when, 500_000_000], None, [when, 0], [when + 1, 990_000_000]])
            self.change("f", (22, bytes([zone & 0x7F]) * 3))
            listed = self.listed()
            self.assertEqual(listed.nodes[listed.names()["f"]]["times"][2], [when + zone * 900, 0])
            self.assertEqual(listed.warnings, ["some times have no zone: they are shown as if they were UTC"])
        for stamp in (0, 40 << 25 | 2 << 21 | 30 << 16, 40 << 25 | 13 << 21 | 1 << 16, 40 << 25 | 1 << 21 | 1 << 16 | 24 << 11,
                      40 << 25 | 1 << 21 | 1 << 16 | 60 << 5, 40 << 25 | 1 << 21 | 1 << 16 | 30):
            self.change("f", (8, struct.pack("<I", stamp) * 3), (22, b"\x80" * 3))
            self.assertEqual(self.listed(self.set_at("f") // SLOT).nodes.popitem()[1]["times"], [None] * 4)

    def test_attributes_count(self):
        self.made({"f": File(b"x"), "d": Dir()})
        sums = []
        for value in (0, READ_ONLY, HIDDEN, SYSTEM, ARCHIVE, ARCHIVE | HIDDEN):
            self.change("f", (4, struct.pack("<H", value)))
            sums.append(self.listed(self.set_at("f") // SLOT).nodes.popitem()[1]["sum"])
        self.assertEqual(sums, [0, READ_ONLY, HIDDEN, SYSTEM, ARCHIVE, ARCHIVE | HIDDEN])

    def test_entries_of_vendors(self):
        """They are passed over, and count as metadata."""
        self.made({"e": File(b"e"), "f": File(b"x" * 5000)})
        sums = set()
        at = self.set_at("f")
        for extra in (b"\xe0" + bytes(31), b"\xe0" + b"\1" * 31, b"\xe1" + bytes(31)):
            self.patch(at + 1, b"\3")
            self.patch(at + 3 * SLOT, extra)
            self.summed(at)
            listed = self.assert_same()  # fsck.exfat 1.2 knows none
            sums.add(listed.nodes[at // SLOT]["sum"])
        self.assertEqual(len(sums | {0}), 4)
        self.patch(at + 4 * SLOT, b"\xa0" + bytes(31) + b"\xa1" + bytes(31) + b"\x21" + bytes(31) + b"\xa7" + bytes(31))
        self.assertEqual(self.listed().errors, [])

    def test_what_was_deleted(self):
        data = {name: self.rng.randbytes(10_000) for name in ("flat", "chained")}
        self.made({"kept": File(b"k"), "d": Dir(), **{f"d/{name} with a long name": File(data[name]) for name in data}, "d/empty": File(), "gone": Dir()},
                  ("d/chained with a long name",))
        whole = self.listed()
        names = whole.names()
        lost = [f"d/{name} with a long name" for name in data] + ["d/empty", "gone"]
        clusters = {name: self.clusters_of(whole.nodes[names[name]]) for name in lost}
        for name in lost:
            self.free(names[name] * SLOT, clusters[name])
        self.check()
        listed = self.listed()
        self.assertEqual(listed.errors, [])
        self.assertEqual(sorted(listed.names()), ["d", "kept"])
        self.assertEqual(sorted(listed.free_names()), sorted((os.path.basename(name), names["d"] if "/" in name else 1, names[name],
                                                              "dir" if name == "gone" else "file") for name in lost))
        for name in data:
            number = names[f"d/{name} with a long name"]
            node = self.listed(number).nodes[number]
            self.assertEqual((node["deleted"], node["links"], node["sha256"]), (True, 0, sha256(data[name])))
            self.mark(clusters[f"d/{name} with a long name"][1:2], True)
            again = self.listed(number)
            self.assertEqual([x[:2] for x in again.errors], [("runs", "corruption"), ("content", "corruption")])
            self.assertIn("clusters that it may have had are in use", again.errors[0][2])
        # Those whose sum is wrong are none.
        self.patch(names["d/empty"] * SLOT + 8, b"\1")
        self.assertNotIn("empty", [x[0] for x in self.listed().free_names()])
        self.assertEqual(self.listed(names["d/empty"]).errors[0][:2], ("node", "not_found"))

    def test_it_says_how_it_was_left(self):
        self.made({"f": File(b"x")})
        for flags, said in ((0, []), (2, ["it was not unmounted: the last changes may be torn"]), (4, ["errors of its medium were found"]), (8, [])):
            self.patch(106, struct.pack("<H", flags))
            self.assertEqual(self.listed().warnings, said)
        self.patch(106, bytes(2))
        for at in (200, 5 * 512 + 7, 11 * 512 + 100):
            old = self.at(at, 1)
            self.patch(at, bytes([old[0] ^ 1]))
            listed = self.listed()
            self.assertEqual((listed.errors, listed.warnings), ([], ["the checksum of its boot sectors is wrong"]))
            self.patch(at, old)
        self.assert_same()

    def test_ids(self):
        self.made({"d": Dir(), "d/e": Dir(), "d/e/f": File(b"12"), "g": File()})
        # A set within a file is none of a folder.
        fake = self.at(self.set_at("d/e/f"), 3 * SLOT)
        self.made({"d": Dir(), "d/e": Dir(), "d/e/f": File(b"12"), "g": File(fake * 20)})
        listed = self.listed()
        for number, node in listed.nodes.items():
            self.assertEqual(self.listed(number).nodes[number], node)
        place = listed.nodes[listed.names()["g"]]["runs"][0][2] // SLOT
        end = self.image.stat().st_size // SLOT
        for number in (0, 2, 16, place, place + 3, end, 1 << 40, (1 << 64) - 1, listed.names()["g"] + 1, listed.names()["g"] - 1):
            self.assertEqual([x[:2] for x in self.listed(number).errors], [("node", "not_found")], number)

    def test_two_fats(self):
        """TexFAT: the active one is read, with its bitmap."""
        self.made({"f": File(self.rng.randbytes(10_000))}, ("f",))
        self.patch(92, struct.pack("<I", 500))  # clusters, so that two FATs fit
        whole = self.listed()
        boot = self.at(0, 512)
        fat, length = struct.unpack_from("<2I", boot, 80)
        self.patch(84, struct.pack("<I", length // 2))
        self.patch((fat + length // 2) * 512, self.at(fat * 512, length // 2 * 512))
        self.patch(110, b"\2")
        self.patch(106, struct.pack("<H", 1))
        root = whole.names()["f"] * SLOT // 4096 * 4096
        entry = next(at for at in range(root, root + 4096, 32) if self.at(at, 1) == b"\x81")
        self.patch(entry + 1, b"\1")
        self.patch(fat * 512 + 8, bytes(length // 2 * 512 - 8))
        listed = self.listed()
        self.assertEqual(listed.errors, [])
        self.assertEqual(listed.warnings, ["the checksum of its boot sectors is wrong", "its FAT and bitmap 1 are read, of two"])
        self.assertEqual((listed.nodes, listed.space), (whole.nodes, whole.space))


class Damaged(ExfatTest):
    """What is broken is said; the rest is read all the same."""

    def made_tree(self):
        self.made({"a": File(self.rng.randbytes(20_000)), "d": Dir(), "d/x": File(b"x"), "e": Dir(), "e/y": File(b"y" * 20_000), "z": File(b"z" * 600)}, ("a",))
        return self.image.read_bytes()

    def test_sets(self):
        whole = self.made_tree()
        names = self.listed().names()
        at = names["a"] * SLOT

        def after(offset, data, summed=True):
            self.image.write_bytes(whole)
            self.patch(at + offset, data)
            if summed:
                self.summed(at)
            listed = self.listed()
            self.assertEqual(listed.nodes[listed.names()["z"]]["sha256"], sha256(b"z" * 600))
            return listed

        for offset in (5, 2, 10, SLOT + 9, 2 * SLOT + 4, 2 * SLOT + 20):
            listed = after(offset, b"\x41", summed=False)
            self.assertIn(f"folder 1: the checksum of the entry at {names['a']} is wrong", self.texts(listed))
            self.assertNotIn(names["a"], listed.nodes)
            self.assertEqual([x[:2] for x in self.listed(names["a"]).errors], [("node", "corruption")])
        for offset, data, what in ((SLOT + 8, struct.pack("<Q", 20_001), "has 20000 bytes, 20001 of them written"), (2 * SLOT + 2, b"/", "an impossible name"),
                                   (2 * SLOT + 2, bytes(2), "an impossible name"), (2 * SLOT + 2, b".\0", "an impossible name"), (SLOT + 3, b"\0", "an impossible name"),
                                   (SLOT + 3, b"\x10", "an entry's name is cut"), (1, b"\1", "says of no stream"), (1, b"\0", "says of no stream"),
                                   (SLOT, b"\xc1", "says of no stream"), (SLOT, b"\x40", "is cut"), (1, b"\x12", "is cut"), (SLOT + 4, b"\x77", "the hash of the name 'a' is wrong"),
                                   (SLOT + 24, struct.pack("<Q", 1 << 63), "bytes"), (0, b"\x05", "of type 0xc0 where none can be"), (0, b"\x86", "of type 0x86 where none can be")):
            with self.subTest(what=what):
                self.assertTrue(any(what in text for text in self.texts(after(offset, data))), self.texts(after(offset, data)))

    def test_chains(self):
        whole = self.made_tree()
        names = self.listed().names()
        first = self.clusters_of(self.listed().nodes[names["a"]])[0]
        for cluster, value, what, known in ((first + 2, END, "its chain ends after 3 clusters", 3), (first + 1, first, "leads back to itself after 2", 2),
                                            (first + 2, 0, "leads to cluster 0, which is none", 3), (first + 1, 0xFFFFFFF7, f"its cluster {first + 1} is marked as bad", 1),
                                            (first, 5000, "leads to cluster 5000", 1)):
            self.image.write_bytes(whole)
            self.link(cluster, value)
            listed = self.listed()
            self.assertEqual([x[0] for x in listed.errors], ["runs", "content"])
            self.assertTrue(all(what in text for text in self.texts(listed)), listed.errors)
            self.assertEqual(sum(length for _, length, _ in listed.nodes[names["a"]]["runs"]), known * 4096)
        for name, value, what in (("a", 0, "it has no clusters"), ("a", 5000, "begins at cluster 5000"), ("e/y", 1020, "only 2 clusters come from its first on")):
            self.image.write_bytes(whole)
            self.change(name, (SLOT + 20, struct.pack("<I", value)))
            self.assertTrue(all(what in text for text in self.texts(self.listed(), "runs")))
            self.assertEqual([x[0] for x in self.listed().errors], ["runs", "content"])
        self.image.write_bytes(whole)
        self.change("e/y", (SLOT + 8, struct.pack("<QIIQ", 1 << 40, 0, first, 1 << 40)))
        self.assertEqual([x[0] for x in self.listed().errors][:1], ["runs"])

    def test_folders(self):
        whole = self.made_tree()
        names = self.listed().names()
        d, e = (self.clusters_of(self.listed().nodes[names[name]])[0] for name in "de")

        def after(name, *pieces):
            self.image.write_bytes(whole)
            self.change(name, *pieces)
            listed = self.listed()
            self.assertEqual(listed.nodes[listed.names()["z"]]["sha256"], sha256(b"z" * 600))
            return self.texts(listed)

        self.assertIn(f"folder {names['e']}: it has the clusters of folder {names['d']}", after("e", (SLOT + 20, struct.pack("<I", d))))
        self.assertIn(f"folder {names['e']}: it has no clusters", after("e", (SLOT + 20, struct.pack("<I", 0))))
        long = struct.pack("<Q", 99 * 4096)
        self.assertTrue(any("is in another folder, too" in text for text in after("d", (SLOT + 8, long), (SLOT + 24, long))))
        self.assertTrue(after("d", (SLOT + 8, struct.pack("<Q", 1 << 50)), (SLOT + 24, struct.pack("<Q", 1 << 50))))
        self.assertEqual(after("d", (SLOT + 8, bytes(8)), (SLOT + 20, bytes(12)), (SLOT + 1, b"\1")), [])  # an empty one may have none
        root, = struct.unpack_from("<I", whole, 96)
        self.assertIn(f"folder {names['d']}: it has the clusters of folder 1", after("d", (SLOT + 20, struct.pack("<I", root))))

    def test_tables(self):
        whole = self.made_tree()
        root = self.volume.place(struct.unpack_from("<I", whole, 96)[0])
        entry = {kind: next(at for at in range(root, root + 4096, 32) if whole[at] == kind) for kind in (0x81, 0x82)}
        upcase = self.volume.place(struct.unpack_from("<I", whole, entry[0x82] + 20)[0])
        for at, data, what in ((entry[0x81], b"\x01", "it has no bitmap: what is free is not known"), (entry[0x82], b"\x02", "it has no up-case table: hashes of names"),
                               (entry[0x81] + 24, struct.pack("<Q", 5), "its bitmap of 5 bytes"), (entry[0x81] + 20, struct.pack("<I", 0), "its bitmap: it has no clusters"),
                               (entry[0x82] + 24, struct.pack("<Q", 1 << 40), "its up-case table has"), (entry[0x82] + 20, struct.pack("<I", 1), "its up-case table: it begins"),
                               (upcase + 9, b"\x55", "the checksum of its up-case table is wrong"), (entry[0x82] + 4, b"\x55", "the checksum of its up-case table is wrong")):
            with self.subTest(what=what):
                self.image.write_bytes(whole)
                self.patch(at, data)
                listed = self.listed()
                self.assertEqual([what in text for text in listed.warnings], [True], listed.warnings)
                self.assertEqual([x[0] for x in listed.errors], ["space"] if "bitmap" in what else [])

    def test_boot_sectors(self):
        whole = self.made_tree()
        for at, data, code, what in ((105, b"\2", "unsupported", "version 2.0 of exFAT"), (108, b"\x08", "corruption", "sectors of 2^8"), (108, b"\x0d", "corruption", "2^13"),
                                     (109, b"\x11", "corruption", "impossible"), (110, b"\0", "corruption", "0 FATs"), (110, b"\3", "corruption", "3 FATs"),
                                     (92, struct.pack("<I", 1 << 20), "corruption", "do not fit"), (92, bytes(4), "corruption", "0 clusters"), (84, struct.pack("<I", 1), "corruption", "its FAT of 512"),
                                     (84, struct.pack("<I", 999), "corruption", "its FAT of"), (96, struct.pack("<I", 1), "corruption", "its root begins at cluster 1"),
                                     (96, struct.pack("<I", 5000), "corruption", "its root begins at cluster 5000"), (72, struct.pack("<Q", 1 << 62), "corruption", "impossible"),
                                     (88, struct.pack("<I", 1 << 31), "corruption", "do not fit")):
            self.image.write_bytes(whole)
            self.patch(at, data)
            listed = self.listed()
            self.assertEqual([x[:2] for x in listed.errors], [("open", code)], what)
            self.assertIn(what, listed.errors[0][2])
        self.image.write_bytes(whole[:MIB])
        self.assertIn(f"the image ends {len(whole) - MIB} bytes before its file system", self.listed().warnings)
        self.image.write_bytes(whole[:3000])
        self.assertEqual([x[:2] for x in self.listed().errors], [("open", "corruption")])

    def test_many_entries_for_one_chain(self):
        """Files, or folders: nothing takes longer than what is there."""
        for attributes in (ARCHIVE, FOLDER):
            self.made({"d": Dir(), **{f"d/{i}": File(b"x") for i in range(500)}}, cluster=512, size=2 * MIB)
            listed = self.listed()
            count = self.volume.clusters
            for cluster in range(2, 2 + count):
                self.patch(self.volume.fat + 4 * cluster, struct.pack("<I", cluster + 1))
            for i in range(500):
                at = listed.names()[f"d/{i}"] * SLOT
                self.patch(at + 4, struct.pack("<H", attributes))
                self.patch(at + SLOT + 1, b"\1")
                self.patch(at + SLOT + 8, struct.pack("<Q", (count - 100) * 512) + bytes(4) + struct.pack("<IQ", 6 + i % 40, (count - 100) * 512))
                self.summed(at)
            self.assertTrue(self.listed(timeout=10).errors)

    def test_mutants(self):
        """Bytes of the metadata are changed: no crash, nothing for ever, and not much memory."""
        self.made({"d": Dir(), **{f"d/a long name, {i}": File(b"%d" % i * 3000) for i in range(10)}, "e": Dir(), "e/f": Dir(), "e/f/g": File(b"g")}, ("d/a long name, 4",))
        self.free(self.set_at("d/a long name, 3"))
        whole = self.image.read_bytes()
        used = [at for at in range(0, len(whole), 32) if whole[at:at + 32].strip(b"\0") and not self.volume.place(3) <= at < self.volume.place(5)]
        sets = [x["id"] * SLOT for x in self.listed().entries]
        for number in range(scaled(300)):
            self.image.write_bytes(whole)
            for _ in range(self.rng.choice([1, 1, 2, 8, 32])):
                self.patch(self.rng.choice(used) + self.rng.randrange(32), bytes([self.rng.choice([0, 1, 5, 0x85, 0x7F, 0x80, 0xC0, 0xC1, 0xFF, self.rng.randrange(256)])]))
            for at in sets if self.rng.random() < 0.7 else ():
                if len(self.at(at, SLOT * (1 + self.at(at, 2)[1]))) > SLOT:
                    self.summed(at)
            if self.rng.random() < 0.1:
                os.truncate(self.image, self.rng.randrange(len(whole)))
            with self.subTest(number=number):
                Listed(self.image)


if __name__ == "__main__":
    main("exfat")
