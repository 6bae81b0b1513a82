# SPDX-License-Identifier: Apache-2.0
"""HFS+ and HFSX as the library reads them, against The Sleuth Kit, 7-Zip and what the makers put there."""

import dataclasses
import random
import re
import struct
import subprocess
import sys
import time
import unicodedata
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from ext_test import FREE, JOURNAL, METADATA, NODES, Listed  # noqa: E402
from fs_maker import TOOLS, Dir, File, HfsPlus, Symlink, sha256, tool  # noqa: E402
from harness import ScratchTest, main, need, run, scaled  # noqa: E402
from hfsplus_maker import (PRIVATE, PRIVATE_FOLDERS, TIME, HfsPlusMaker, Item, Large, decmpfs, link, packed_fork)  # noqa: E402

STREAM = 1 << 48


def shown(name):
    """A path of the maker's, as it is shown."""
    return name.replace("\0", "␀")


class HfsTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.image = self.scratch / "volume.img"
        self.rng = random.Random(1)

    def make(self, items, **options):
        return HfsPlusMaker(self.image, items, **options)

    def listed(self, errors=()):
        listed = Listed(self.image)
        self.assertTrue(listed.magic)
        self.assertEqual([error[:2] for error in listed.errors], list(errors), listed.errors)
        return listed

    def node(self, number):
        listed = Listed(self.image, number)
        self.assertEqual(listed.errors, [])
        return listed.nodes[number]

    def by_runs(self, node):
        image, data, end = self.image.read_bytes(), b"", 0
        for offset, length, place in node["runs"]:
            self.assertEqual(offset, end)
            end += length
            data += image[place:place + length]
        self.assertGreaterEqual(len(data), node["size"])
        return data[:node["size"]]

    def assert_made(self, made, items):
        """Names, nodes and content are those of the items; the space is what the maker used."""
        listed = self.listed()
        names = listed.names()
        streams = {name for name in names if names[name] >= STREAM}
        links = {made.ids[f"{PRIVATE}/iNode{item.special}"]: item for item in items if item.finder[:4] == b"hlnk"}
        for item in items:
            if item.finder[:4] == b"hlnk":
                self.assertEqual(names[shown(item.name)], made.ids[f"{PRIVATE}/iNode{item.special}"])
                self.assertNotIn(made.ids[item.name], listed.nodes)
                continue
            self.assertEqual(names[shown(item.name)], made.ids[item.name], item.name)
            node = listed.nodes[made.ids[item.name]]
            mode = item.mode or (0o40755 if item.folder else 0o100644)
            self.assertEqual((node["mode"], node["owner"], node["group"]), (mode & 0o7777, item.owner, item.group))
            self.assertEqual(node["times"], [[item.time + i, 0] for i in (1, 2, 3, 0)])
            self.assertEqual(node["links"], item.special if node["node"] in links else 1)
            if not item.folder and mode >> 12 == 8 and "com.apple.decmpfs" not in item.xattrs:
                self.assertEqual((node["size"], node["sha256"]), (len(item.data), sha256(item.data)), item.name)
                self.assertEqual(self.by_runs(node), item.data)
            if item.rsrc and "com.apple.decmpfs" not in item.xattrs:
                stream = names[shown(item.name) + ":rsrc"]
                self.assertEqual(stream % STREAM, made.ids[item.name])
                self.assertEqual(listed.nodes[stream]["sha256"], sha256(item.rsrc))
                self.assertEqual(self.by_runs(listed.nodes[stream]), item.rsrc)
                streams.discard(shown(item.name) + ":rsrc")
        self.assertEqual(len(names) - len(streams), sum(1 for i in items) + sum(
            1 for i in items if i.rsrc and "com.apple.decmpfs" not in i.xattrs))
        return listed

    def assert_space(self, listed, made, base=0):
        kinds = {kind: set() for kind in range(5)}
        end = 0
        for x in listed.space:
            self.assertEqual(x["from"], end)
            end = x["to"]
            if end > base:
                kinds[x["space"]].update(range(max(x["from"] - base, 0) // made.block, -(-(end - base) // made.block)))
        self.assertEqual(kinds[FREE], set(range(made.blocks)) - made.used)
        self.assertTrue(kinds[NODES] and kinds[METADATA])
        return kinds

    def assert_peers(self, made, items):
        """TSK and 7-Zip say the same of names and content."""
        need(self, "fls", "icat", "7z")
        for item in items:
            if not item.folder and item.finder[:4] != b"hlnk" and "com.apple.decmpfs" not in item.xattrs:
                done = subprocess.run(["icat", "-f", "hfs", self.image, str(made.ids[item.name])], capture_output=True, check=True)
                self.assertEqual(done.stdout, item.data, item.name)
        paths = re.findall(r"^Path = volume/(.*)$", tool("7z", "l", "-slt", self.image).decode(), re.MULTILINE)
        self.assertEqual(sorted(p for p in paths if ":" not in p),
                         sorted(i.name.replace(PRIVATE, "[HFS+ Private Data]") for i in items if ":" not in i.name))


class Trees(HfsTest):
    def tree(self):
        rng = self.rng
        items = [Item("d", folder=True, mode=0o40700, owner=7, group=8), Item("empty"), Item("d/one", b"1", time=TIME - 9),
                 Item("d/both", b"data" * 300, rsrc=b"resource" * 200), Item("d/only rsrc", rsrc=b"r"),
                 Item("d/pieces", rng.randbytes(40_000), rsrc=rng.randbytes(30_000), pieces=1),
                 Item("ln", b"d/one", mode=0o120777), Item("many", folder=True)]
        items += [Item(f"many/{'Aa'[i % 2]}name{i:03}", b"%d" % i) for i in range(90)]
        return items

    def test_blocks_and_nodes(self):
        for options in ({"block": 512, "node": 512, "blocks": 8192}, {"block": 1024, "node": 4096}, {"block": 4096, "node": 1024},
                        {"block": 4096, "node": 32768}, {"block": 1024, "node": 8192, "catalog_pieces": 1},
                        {"hfsx": True}, {"hfsx": True, "binary": True}, {"node": 512, "extra_nodes": 3000, "blocks": 8192}):
            with self.subTest(**options):
                self.rng = random.Random(2)
                items = self.tree()
                made = self.make(items, **options)
                listed = self.assert_made(made, items)
                self.assert_space(listed, made)
                self.assertEqual(listed.itself["type"], "hfsx" if options.get("hfsx") else "hfsplus")
                self.assertEqual(bytes.fromhex(listed.itself["label"]), b"volume")
                self.assertEqual(listed.nodes[made.ids["ln"]]["target"], b"d/one".hex())
        self.assertEqual(listed.warnings, [])

    def test_peers(self):
        items = self.tree()
        made = self.make(items, node=4096)
        self.assert_made(made, items)
        self.assert_peers(made, items)

    def test_many_pieces(self):
        """The tree of extents has levels. (7-Zip reads no such one.)"""
        need(self, "icat")
        data = self.rng.randbytes(900_000)
        made = self.make([Item("a", data, pieces=1), Item("b", b"x"), Item("c", data[::-1], rsrc=data[5:], pieces=1)], blocks=8192)
        self.assert_made(made, [Item("a", data), Item("b", b"x"), Item("c", data[::-1], rsrc=data[5:])])
        for name, content in (("a", data), ("c", data[::-1])):
            done = subprocess.run(["icat", "-f", "hfs", self.image, str(made.ids[name])], capture_output=True, check=True)
            self.assertEqual(done.stdout, content)

    def test_within_hfs(self):
        items = self.tree()
        base = 16 * 512 + 40 * 4096
        made = self.make(items, wrapper=base)
        listed = self.assert_made(made, items)
        self.assert_space(listed, made, base)
        self.assertEqual(listed.itself["size"], base + made.block * made.blocks)
        with open(self.image, "r+b") as image:
            image.seek(1024 + 124)
            image.write(b"\0\0")
        error, = Listed(self.image).errors
        self.assertEqual(error, ("open", "unsupported", "it is HFS (standard), which is not read"))

    def test_of_xorriso(self):
        need(self, *TOOLS["HfsPlus"], "fls", "icat", "blkid")
        tree = {"d": Dir(), "d/a": File(b"hello"), "ln": Symlink("d/a"), "big": File(b"z" * 300_000), "empty": File(b""),
                "Größe": File(b"u"), **{f"d/n{i}": File(b"%d" % i) for i in range(200)}}
        volume = HfsPlus(self.image, tree)
        listed = self.listed()
        names = {unicodedata.normalize("NFC", name): number for name, number in listed.names().items()}
        seen = volume.tree()
        self.assertEqual(names.keys(), seen.keys())
        ids = {}
        for line in tool("fls", "-r", "-p", "-f", "hfs", self.image).decode().splitlines():
            found = re.match(r"(\S)/. (\d+):\t(.*)", line)
            if not found[3].startswith("$"):
                ids[unicodedata.normalize("NFC", found[3])] = int(found[2])
        self.assertEqual(names, ids)
        for name, one in seen.items():
            node = listed.nodes[names[name]]
            self.assertEqual(node["type"], one.kind)
            if one.kind == "file":
                self.assertEqual((node["size"], node["sha256"], node["mode"]), (one.size, one.sha256, one.mode))
                self.assertEqual(node["times"][0], [one.mtime, 0])
            if one.kind == "symlink":
                self.assertEqual(bytes.fromhex(node["target"]).decode(), one.target)

    def test_uuid(self):
        need(self, "blkid")
        self.make([], identifier=b"\1\2\3\4\5\6\7\x88")
        said = tool("blkid", "-p", "-o", "value", "-s", "UUID", self.image).decode().strip()
        self.assertEqual(self.listed().itself["uuid"], said)


class Links(HfsTest):
    def test_hard_links(self):
        items = [Item("d", folder=True), Item(PRIVATE, folder=True), Item(f"{PRIVATE}/iNode77", b"shared", special=3, rsrc=b"too"),
                 Item(f"{PRIVATE}/temp5", b"open, but deleted"), link("a", 77), link("d/b", 77), link("d/c", 77)]
        made = self.make(items)
        listed = self.listed()
        number, names = made.ids[f"{PRIVATE}/iNode77"], listed.names()
        self.assertEqual({names[n] for n in ("a", "d/b", "d/c", shown(f"{PRIVATE}/iNode77"))}, {number})
        self.assertEqual(len({names[n + ":rsrc"] for n in ("a", "d/b", "d/c")}), 1)
        self.assertEqual((listed.nodes[number]["links"], listed.nodes[number]["sha256"]), (3, sha256(b"shared")))
        self.assertEqual(Listed(self.image, made.ids["a"]).errors[0][1], "not_found")
        # TSK takes the link's number for the id, which macOS makes the same.
        need(self, "fls")
        self.make([Item("d", folder=True), Item(PRIVATE, folder=True), Item(f"{PRIVATE}/iNode18", b"x", special=1), link("d/a", 18)])
        said = tool("fls", "-r", "-p", "-f", "hfs", self.image).decode()
        self.assertEqual(self.listed().names()["d/a"], int(re.search(r"r/r (\d+):\td/a$", said, re.MULTILINE)[1]))

    def test_that_lead_nowhere(self):
        made = self.make([link("a", 77), Item("b", b"b")])
        listed = self.listed([("entries", "corruption")])
        self.assertIn("leads to node 77", listed.errors[0][2])
        self.assertEqual(listed.names(), {"a": made.ids["a"], "b": made.ids["b"]})
        self.assertEqual(Listed(self.image, made.ids["a"]).errors[0][1], "corruption")

    def test_of_folders(self):
        """They are links to a path: else a walk could go round."""
        finder = b"fdrpMACS".ljust(32, b"\0")
        made = self.make([Item(PRIVATE_FOLDERS, folder=True), Item(f"{PRIVATE_FOLDERS}/dir_30", folder=True),
                          Item(f"{PRIVATE_FOLDERS}/dir_30/up", finder=finder, special=30), Item("again", finder=finder, special=30)])
        listed = self.listed()
        for name in ("again", f"{PRIVATE_FOLDERS}/dir_30/up"):
            node = listed.nodes[made.ids[name]]
            self.assertEqual((node["type"], bytes.fromhex(node["target"]).decode()), ("symlink", f"/{PRIVATE_FOLDERS}/dir_30"))
            self.assertEqual(node["size"], len(f"/{PRIVATE_FOLDERS}/dir_30"))


class Oddities(HfsTest):
    def packed(self, name, kind, size, data=b"", rsrc=b"", flag=0x20, **more):
        return Item(name, owner_flags=flag, rsrc=rsrc, xattrs={"com.apple.decmpfs": decmpfs(kind, size, data)}, **more)

    def test_compressed(self):
        text, big = b"a line of text\n" * 60, self.rng.randbytes(3000) * 70
        made = self.make([self.packed("one", 1, 5, b"plain"), self.packed("zlib", 3, len(text), zlib.compress(text)),
                          self.packed("raw", 3, 9, b"\xff" + b"as it is."), self.packed("fork", 4, len(big), rsrc=packed_fork(big, {1})),
                          self.packed("no flag", 3, len(text), zlib.compress(text), flag=0),
                          self.packed("flat", 3, 6 << 20, zlib.compress(bytes(6 << 20)))], node=16384)
        listed = self.listed()
        for name, data in (("one", b"plain"), ("zlib", text), ("raw", b"as it is."), ("fork", big), ("no flag", text), ("flat", bytes(6 << 20))):
            node = listed.nodes[made.ids[name]]
            self.assertEqual((node["size"], node["sha256"], node["within"]), (len(data), sha256(data), len(data)), name)
        self.assertEqual([n for n in listed.names() if ":" in n], [])
        need(self, "icat")
        for name, data in (("zlib", text), ("fork", big)):
            done = subprocess.run(["icat", "-f", "hfs", self.image, str(made.ids[name])], capture_output=True, check=True)
            self.assertEqual(done.stdout, data)

    def test_compressed_otherwise(self):
        kinds = {5: "sparse", 7: "LZVN", 8: "LZVN", 9: "unknown", 10: "unknown", 11: "LZFSE", 12: "LZFSE", 99: "unknown"}
        made = self.make([self.packed(f"f{kind}", kind, 1000, b"?", rsrc=b"r" * (kind in (8, 10, 12))) for kind in kinds])
        listed = self.listed([("content", "unsupported")] * len(kinds))
        for (kind, name), error in zip(sorted(kinds.items(), key=lambda k: f"f{k[0]}"), listed.errors):
            self.assertIn(f"(type {kind}, {name})", error[2])
            self.assertEqual(listed.nodes[made.ids[f"f{kind}"]]["size"], 1000)
        self.assertEqual([n for n in listed.names() if ":" in n], [])

    def test_compressed_wrongly(self):
        big = self.rng.randbytes(100_000)
        fork = packed_fork(big)
        cut = bytearray(fork)
        struct.pack_into("<I", cut, 260, 9)
        far = bytearray(fork)
        struct.pack_into("<I", far, 264, 1 << 31)
        for item in (self.packed("f", 3, 100, zlib.compress(b"x" * 99)), self.packed("f", 3, 100, zlib.compress(b"x" * 101)),
                     self.packed("f", 3, 100), self.packed("f", 1, 100, b"x"), self.packed("f", 4, len(big)),
                     self.packed("f", 4, len(big), rsrc=fork[:5000]), self.packed("f", 4, len(big), rsrc=bytes(cut)),
                     self.packed("f", 4, len(big), rsrc=bytes(far)), self.packed("f", 3, 1 << 40, zlib.compress(b"x")),
                     self.packed("f", 4, 1 << 40, rsrc=fork)):
            self.make([item])
            with self.subTest(item=item.xattrs["com.apple.decmpfs"][:16]):
                if struct.unpack_from("<Q", item.xattrs["com.apple.decmpfs"], 8)[0] < 1 << 30:
                    self.listed([("content", "corruption")])
                else:
                    self.assertEqual(Listed(self.image).nodes[16]["size"], 1 << 40)
        self.make([Item("f", owner_flags=0x20)])
        self.listed([("nodes", "corruption")])

    def test_names(self):
        names = ["a:b", "Zoe\u0308", "\ud800x", "\U0001F600", "K" * 255, " ", "ab\0c", "a\u200db", "д", "Д1"]
        made = self.make([Item(n, n.encode("utf-8", "surrogatepass")) for n in names], node=4096)
        listed = self.listed()
        found = {bytes.fromhex(x["entry"]): x["id"] for x in listed.entries}
        for name in names:
            text = name.replace("\0", "␀").encode("utf-8", "surrogatepass")
            self.assertEqual(found[text], made.ids[name])
            self.assertEqual(self.node(made.ids[name])["sha256"], sha256(name.encode("utf-8", "surrogatepass")))

    def test_a_slash_is_a_colon(self):
        made = self.make([Item("ab", b"x")])
        disk = bytearray(self.image.read_bytes())
        at = -1
        while (at := disk.find("ab".encode("utf-16-be"), at + 1)) >= 0:
            disk[at:at + 4] = "a/".encode("utf-16-be")
        self.image.write_bytes(disk)
        self.assertEqual(self.listed().names(), {"a:": made.ids["ab"]})

    def test_what_else_is_kept(self):
        plain = Item("f", b"x")
        cases = [plain, dataclasses.replace(plain, finder=b"TEXTttxt".ljust(32, b"\0")), dataclasses.replace(plain, flags=3),
                 dataclasses.replace(plain, owner_flags=2), dataclasses.replace(plain, xattrs={"a": b"1"}),
                 dataclasses.replace(plain, xattrs={"a": b"2"}), dataclasses.replace(plain, xattrs={"b": b"1"}),
                 dataclasses.replace(plain, xattrs={"a": b"1", "b": b"1"}), Item("f", mode=0o20644, special=5),
                 Item("f", mode=0o20644, special=6)]
        sums = []
        for case in cases:
            self.make([case])
            sums.append(self.listed().nodes[16]["sum"])
        self.assertEqual((sums[0], len(set(sums))), (0, len(sums)))

    def large_sum(self, *value, **options):
        self.make([Item("f", b"x", xattrs={"a": b"1", "b": Large(*value), "c": b"3"})], **options)
        return self.listed().nodes[16]["sum"]

    def test_large_attributes(self):
        """Their content counts, not where it lies; where there is none, that does."""
        data = self.rng.randbytes(150_000)
        sums = {self.large_sum(data[:at] + b"?" + data[at + 1:]) for at in (0, 70_000, 149_999)}
        sums |= {self.large_sum(data[:-1]), self.large_sum(b""), self.large_sum(data[:500])}
        self.assertEqual(len(sums), 6)
        whole = self.large_sum(data)
        self.assertNotIn(whole, sums)
        self.assertEqual({self.large_sum(data, 1), self.large_sum(data, 1, block=512)}, {whole})
        short = self.large_sum(data, 0, 1 << 30)
        self.assertEqual((short, short == whole), (self.large_sum(data[::-1], 0, 1 << 30), False))

    def changed_at(self, place, items, **options):
        """What is told of after one byte was changed."""
        before = self.scratch / "before.img"
        HfsPlusMaker(before, items, **options)
        disk = bytearray(before.read_bytes())
        disk[place(disk)] ^= 1
        self.image.write_bytes(disk)
        told = set()
        for option in ("--files", "--files=full"):
            done = run("diff", option, before, self.image)
            self.assertEqual(done.stderr, "")
            told.add((done.returncode, *(line for line in done.stdout.splitlines() if line.startswith("  ") and "bytes that differ" not in line)))
        return told

    def test_large_attributes_that_change(self):
        data = self.rng.randbytes(30_000)
        for name in ("f", "d"):
            for options in ({}, {"pieces": 1}):
                items = [Item("d", folder=True, xattrs={"a": Large(data, **options)} if name == "d" else {}),
                         Item("f", b"x", xattrs={"a": Large(data, **options)} if name == "f" else {})]
                for at in (0, 15_000, 29_999):
                    with self.subTest(name=name, at=at, **options):
                        told = self.changed_at(lambda disk, at=at: disk.find(data[at:at + 8] if at < 29_990 else data[-8:]) + 7 * (at > 29_990), items)
                        self.assertEqual(told, {(1, f"  changed   {name} (attributes)")})

    def test_compressed_content_that_changes(self):
        big = self.rng.randbytes(200_000)
        items = [self.packed("f", 4, len(big), rsrc=packed_fork(big, {0, 1, 2, 3})), Item("g", b"g")]
        self.assertEqual(self.changed_at(lambda disk: disk.find(big[150_000:150_010]), items), {(1, "  modified  f (content)")})

    def test_kinds(self):
        kinds = {"fifo": 1, "char": 2, "block": 6, "symlink": 0xA, "socket": 0xC, "file": 8}
        made = self.make([Item(name, mode=kind << 12 | 0o600) for name, kind in kinds.items()])
        listed = self.listed()
        self.assertEqual({name: listed.nodes[made.ids[name]]["type"] for name in kinds}, {name: name for name in kinds})

    def test_generations(self):
        self.make([Item("f")], attributes=0x1100)
        self.assertEqual(self.listed().nodes[16]["generation"], TIME)
        self.make([Item("f")])
        self.assertEqual(self.listed().nodes[16]["generation"], 0)

    def test_it_says_how_it_was_left(self):
        for options, words in (({"attributes": 0}, ["not unmounted"]), ({"attributes": 0x900}, ["inconsistent"]),
                               ({"journal": (512, 512)}, []), ({"journal": (512, 1024)}, ["journal was not replayed"])):
            made = self.make([Item("f", b"x")], **options)
            listed = self.listed()
            self.assertEqual(len(listed.warnings), len(words))
            self.assertTrue(all(word in warning for word, warning in zip(words, listed.warnings)))
            kinds = self.assert_space(listed, made)
            self.assertEqual(len(kinds[JOURNAL]), 9 if "journal" in options else 0)

    def test_ids_at(self):
        items = [Item(f"n{i}", b"x") for i in range(100)]
        made = self.make(items)
        first = [x for x in self.listed().space if x["space"] == NODES]
        self.assertEqual(first[0]["ids"][0], 2)
        self.assertEqual(max(x["ids"][1] for x in first), max(made.ids.values()))


class Damaged(HfsTest):
    def setUp(self):
        super().setUp()
        self.made = self.make([Item("d", folder=True)] + [Item(f"d/{i:03}", b"%d" % i) for i in range(100)] +
                              [Item("frag", self.rng.randbytes(30_000), pieces=1), Item("x", b"x", xattrs={"a": b"b"})])
        self.whole = self.image.read_bytes()

    def tree_at(self, at):
        """Where the first extent of one of the volume's own files lies."""
        return struct.unpack_from(">I", self.whole, 1024 + at + 16)[0] * 1024

    def after(self, at, data):
        self.image.write_bytes(self.whole[:at] + data + self.whole[at + len(data):])
        return Listed(self.image)

    def test_structures(self):
        catalog, extents = self.tree_at(272), self.tree_at(192)
        leaf = catalog + 3 * 1024
        for at, data, what in (
                (leaf + 8, b"\0", "node 3 of the catalog is not of level 1"), (leaf + 10, b"\xff\xff", "has 65535 records"),
                (leaf + 1022, b"\xff\xff", "has a record at 65535"), (leaf + 14, b"\xff\xff", "has a key of 65535 bytes"),
                (leaf, struct.pack(">I", 2), "out of order"), (leaf, struct.pack(">I", 3), "out of order"),
                (leaf, struct.pack(">I", 9999), "node 9999 of the catalog is named"),
                (catalog + 14 + 106 + 128, b"\xef", "node 3 of the catalog is free, but in the tree"),
                (catalog + 14 + 10, struct.pack(">I", 0), "has no first leaf"),
                (extents + 1024 + 14 + 12, struct.pack(">I", 4000) * 2, "4000 blocks from 4000 on"),
                (extents + 1024 + 14 + 8, struct.pack(">I", 9), "leave out or repeat")):
            with self.subTest(what):
                listed = self.after(at, data)
                self.assertTrue(any(x[1] == "corruption" and what in x[2] for x in listed.errors), listed.errors)
                self.assertIn(2 if "first leaf" not in what else None, [*listed.nodes, None])
        # What lies behind a broken leaf is read all the same.
        self.assertIn("d/099", self.after(leaf + 8, b"\0").names())

    def test_headers(self):
        catalog = self.tree_at(272)
        for at, data, what in ((1024 + 40, struct.pack(">I", 1000), "blocks of 1000 bytes"), (1024 + 44, struct.pack(">I", 9), "are named, of 9"),
                               (catalog + 32, b"\3\xe8", "is no header"), (catalog + 14, b"\0\x63", "is impossible"),
                               (1024 + 272 + 16, b"\xff" * 4, "are named, of"), (catalog + 14 + 22, b"\xff" * 4, "is impossible")):
            listed = self.after(at, data)
            self.assertEqual([x[:2] for x in listed.errors], [("open", "corruption")], what)
            self.assertIn(what, listed.errors[0][2])
        self.assertEqual(self.after(1026, b"\0\7").errors[0][1], "unsupported")
        self.image.write_bytes(self.whole[:-5000])
        self.assertIn("the image ends 5000 bytes before its file system", self.listed().warnings)

    def test_that_would_take_long(self):
        """One file many times over, with all pieces and all attributes that there are; each second one pushes it out of what is kept."""
        many = {f"{i:04}": b"" for i in range(3000)}
        items = [Item("x", self.rng.randbytes(100 * 1024), pieces=1, xattrs=many)] + [Item(f"{i:04}", b"x") for i in range(1200)]
        made = self.make(items, node=8192)
        disk, data, x = bytearray(self.image.read_bytes()), [], made.ids["x"]
        for record in made.records:
            if record[2][:2] == b"\0\2":
                data.append(record[2])
        at = 0
        for i, record in enumerate(data[1:]):
            at = disk.find(record, at)
            disk[at:at + len(record)] = data[0] if i % 2 else record[:8] + struct.pack(">I", x + 64 * 50) + record[12:]
        self.image.write_bytes(disk)
        started = time.monotonic()
        listed = Listed(self.image)
        self.assertLess(time.monotonic() - started, 8)
        self.assertTrue(any("more blocks than there are" in x[2] for x in listed.errors))

    def test_at_random(self):
        """Whatever it is, it ends, and soon."""
        places = [at for at in (self.tree_at(k) for k in (192, 272, 352))]
        for _ in range(scaled(400)):
            disk = bytearray(self.whole)
            for _ in range(self.rng.randrange(1, 12)):
                at = self.rng.choice(places) + self.rng.randrange(4096) if self.rng.random() < .8 else 1024 + self.rng.randrange(512)
                disk[at] = self.rng.choice((0, 1, 0xFF, 0x80, self.rng.randrange(256)))
            self.image.write_bytes(disk)
            Listed(self.image)


if __name__ == "__main__":
    main("hfsplus")
