# SPDX-License-Identifier: Apache-2.0
"""NTFS as the library reads it, against what NTFS-3G and The Sleuth Kit say of the same images."""

import calendar
import os
import random
import re
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from ext_test import FREE, HASHED, JOURNAL, KIB, METADATA, MIB, NODES, Listed  # noqa: E402
from fs_maker import TIME, TOOLS, Dir, File, Link, sha256, tool  # noqa: E402
from harness import ScratchTest, main, need, scaled  # noqa: E402
from ntfs_maker import Ntfs  # noqa: E402

ROOT, FIRST = 5, 24
SYSTEM = {"$MFT", "$MFTMirr", "$LogFile", "$Volume", "$AttrDef", "$Bitmap", "$Boot", "$BadClus", "$Secure", "$UpCase", "$Extend"}
RECORD = (1 << 48) - 1
SYMLINK, JUNCTION, LX_SYMLINK, LX_FIFO, WOF, DEDUP = 0xA000000C, 0xA0000003, 0xA000001D, 0x80000024, 0x80000017, 0x80000013
TEXT = b"a line of text, and one more\n" * 9000


def seconds(text):
    """Of a time of istat's."""
    whole, fraction = re.match(r"(\S+ \S+)\.(\d+) \(UTC\)", text).groups()
    return [calendar.timegm(time.strptime(whole, "%Y-%m-%d %H:%M:%S")), int(fraction)]


class Walked(Listed):
    def paths(self, deleted=False):
        """{path: id}, of names in use; or those of folders in use that are free."""
        below, names, folders = {}, {}, [("", ROOT)]
        for x in self.entries:
            below.setdefault(x["folder"], []).append((os.fsdecode(bytes.fromhex(x["entry"])), x["id"], x["deleted"]))
        seen = {ROOT}
        while folders:
            path, folder = folders.pop()
            for name, inode, free in below.get(folder, ()):
                whole = os.path.join(path, name)
                if free == deleted:
                    assert whole not in names, whole
                    names[whole] = inode
                if not free and self.nodes.get(inode, {}).get("type") == "dir" and inode not in seen:
                    seen.add(inode)
                    folders.append((whole, inode))
        return names


class NtfsTest(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, *TOOLS["Ntfs"], "ntfsinfo", "ntfsfix", "fls", "istat", "icat")
        self.rng = random.Random(1)
        self.image = self.scratch / "volume.img"

    def made(self, tree, **options):
        self.image.unlink(missing_ok=True)
        return Ntfs(self.image, tree, **options)

    def record_at(self, number):
        """Where it lies, as long as the MFT is in one piece there."""
        data = self.image.read_bytes()
        at = data.find(b"FILE", struct.unpack_from("<Q", data, 48)[0] * struct.unpack_from("<H", data, 11)[0] * data[13])
        at += 1024 * number
        assert data[at:at + 4] == b"FILE" and struct.unpack_from("<I", data, at + 44)[0] == number
        return at

    def patch(self, at, data):
        with open(self.image, "r+b") as image:
            image.seek(at)
            image.write(data)

    def patched(self, number, old, new):
        """Bytes of a record, whose sectors' ends they must not be."""
        at = self.record_at(number)
        record = self.image.read_bytes()[at:at + 1024]
        self.assertEqual(record.count(old), 1)
        self.patch(at + record.find(old), new)

    def peer_paths(self):
        """{path: record}, system files too, without streams."""
        names, folder = {}, ""
        for line in os.fsdecode(tool("ntfsls", "-F", "-R", "-a", "-s", "-l", "-i", self.image)).split("\n"):
            if line.startswith("/") and line.endswith(":"):
                folder = line[1:-1]
            match = re.match(r" *(\d+) +(\d+) (\w{3} +\d+ \d\d:\d\d \d{4}) (.*?)(/?)$", line)
            if match and match[4] not in (".", ".."):
                names[os.path.join(folder, match[4])] = int(match[1])
        return names

    def peer_streams(self):
        return {name: int(number) for number, name in re.findall(
            r"^./. (\d+)-128-\d+:\t(?!.*/\.:)(.*:.*)$", os.fsdecode(tool("fls", "-r", "-p", "-u", self.image)), re.MULTILINE)}

    def by_runs(self, node):
        """The content, of what the runs say; nothing where it is not the bytes of the image."""
        data, end = b"", 0
        with open(self.image, "rb") as image:
            for offset, length, place in node["runs"]:
                self.assertEqual(offset, end)
                end += length
                if place is not None:
                    image.seek(place)
                data += bytes(length) if place is None else image.read(length)
        self.assertEqual(end, node["size"])
        return data if node["within"] == 0 else None

    def assert_node(self, node, text):
        self.assertEqual(node["generation"], int(re.search(r"Sequence: (\d+)", text)[1]))
        standard = text[text.index("$STANDARD_INFORMATION Attribute"):]
        names = ("File Modified", "MFT Modified", "Accessed", "Created")
        for found, name in zip(node["times"], names):
            if 0 <= found[0] < 1 << 32:  # others are not what istat says
                self.assertEqual(found, seconds(re.search(rf"{name}:\t(.*)", standard)[1]))
        self.assertFalse(node["deleted"])

    def assert_content(self, node, name, stream=""):
        if node["type"] != "file" or node["size"] > HASHED:
            return
        data = tool("ntfscat", "-i", str(node["node"] & RECORD), *(["-n", stream] if stream else []), self.image) if node["size"] else b""
        self.assertEqual(node["sha256"], sha256(data), name)
        plain = self.by_runs(node)
        if plain is not None:
            self.assertEqual(plain, data, name)

    def some(self, of):
        """Each has a process of the peer's."""
        of = sorted(of)
        return sorted(self.rng.sample(of, min(len(of), max(scaled(1000), 12))))

    def assert_same(self, warnings=(), errors=()):
        listed = Walked(self.image)
        self.assertEqual(listed.errors, list(errors))
        self.assertTrue(listed.magic)
        self.assertEqual(listed.warnings, list(warnings))
        paths, names, streams = listed.paths(), self.peer_paths(), self.peer_streams()
        found = {(p, i & RECORD) for p, i in paths.items()}
        self.assertEqual(found ^ set({**names, **streams}.items()), set())
        self.assertEqual({p for p in paths if "/" not in p and p.startswith("$") and ":" not in p}, SYSTEM)
        for number in self.some({i for i in names.values()} | {ROOT}):
            text = os.fsdecode(tool("istat", "-z", "UTC", self.image, str(number)))
            with self.subTest(number=number):
                self.assert_node(listed.nodes[number], text)
                short = len(re.findall(r"^Name: [^a-z]*~\d[^a-z]*$", text, re.MULTILINE))
                self.assertEqual(listed.nodes[number]["links"], len(re.findall("^Name: ", text, re.MULTILINE)) - short)
        for name, number in self.some(paths.items()):
            with self.subTest(name=name):
                self.assertEqual(number >> 48 == 0, name not in streams)
                # Of the records of $MFT, ntfscat shows what they are when they were mended.
                if number & RECORD >= FIRST or name in ("$Bitmap", "$UpCase", "$Secure:$SDS", "$AttrDef"):
                    self.assert_content(listed.nodes[number], name, name.rpartition(":")[2] if name in streams else "")
        self.assertEqual(set(listed.nodes), set(paths.values()) | {ROOT})
        self.assert_space(listed)
        return listed

    def clusters(self, number, kind=128):
        """Those of an attribute, of istat."""
        text = os.fsdecode(tool("istat", self.image, str(number)))
        found = re.search(rf"^Type: \$\w+ \({kind}-\d+\)   Name: N/A   Non-Resident.*\n((?:[\d ]+\n?)+)", text, re.MULTILINE)
        return [int(n) for n in found[1].split()] if found else []

    def assert_space(self, listed):
        size = listed.itself["block_size"]
        bitmap = tool("ntfscat", "-i", "6", self.image)
        ends, kinds = 0, {kind: set() for kind in range(5)}
        for x in listed.space:
            self.assertEqual(x["from"], ends)
            ends = x["to"]
            kinds[x["space"]].update(range(x["from"] // size, -(-x["to"] // size)))
        clusters = range(struct.unpack_from("<Q", self.image.read_bytes(), 40)[0] * self.sector // size)
        self.assertEqual(kinds[FREE], {n for n in clusters if not bitmap[n // 8] >> n % 8 & 1})
        self.assertLessEqual(set(self.clusters(0)) - {0}, kinds[NODES])
        self.assertEqual(kinds[JOURNAL], set(self.clusters(2)))
        for number in (1, 4, 6, 7, 10):
            self.assertLessEqual(set(self.clusters(number)), kinds[METADATA])
        ids = [x["ids"] for x in listed.space if x["space"] == NODES]
        self.assertIn(0, [first for first, _ in ids])

    sector = 512


class Reading(NtfsTest):
    def tree(self):
        files = {f"size{n}": File(self.rng.randbytes(n)) for n in (0, 1, 500, 690, 1023, 5000, 70_000)}
        return {"d": Dir(), "d/e": Dir(), "d/e/f": File(b"deep"), "empty": Dir(), **files,
                "of two names": File(b"two"), "d/the other": Link("of two names"), "ü \ud83d\ude00 ё".encode("utf-16", "surrogatepass").decode("utf-16"): File(b"odd"),
                "d/old": File(b"old", mtime=-5_000_000_000), "d/late": File(b"late", mtime=1 << 33),
                "size5000:a stream": File(b"s" * 4000), "size5000:small": File(b"s"), "d:of a folder": File(b"f"),
                "packed": Dir(), "packed/text": File(TEXT), "packed/noise": File(self.rng.randbytes(150_000)),
                "packed/both": File(TEXT + self.rng.randbytes(100_000) + bytes(200_000) + TEXT[:5000]),
                "packed/zeros": File(bytes(300_000)), "packed/short": File(b"short"), "packed/hole": File(TEXT, at=200_000, size=900_000),
                "sparse": File(b"data", at=300_000, size=500_000), "all hole": File(size=800_000),
                "many": Dir(), **{f"many/a name of some length, number {i}": File(b"%d" % i) for i in range(90)}}

    def test_tree(self):
        self.made(self.tree(), compressed=("packed",))
        listed = self.assert_same()
        self.assertEqual(listed.itself["uuid"], "0123456789ABCDEF")
        self.assertEqual((listed.itself["type"], listed.itself["block_size"], listed.itself["size"]), ("ntfs", 512, 4 * MIB))
        names = listed.paths()
        self.assertGreater(listed.nodes[names["packed/text"]]["within"], 0)
        self.assertEqual(listed.nodes[names["d/old"]]["times"][0], [-5_000_000_000, 0])
        self.assertEqual(listed.nodes[names["all hole"]]["runs"], [[0, 800_000, None]])
        tool("ntfslabel", self.image, "Ein Name ü")
        self.assertEqual(bytes.fromhex(Walked(self.image).itself["label"]), "Ein Name ü".encode())

    def test_clusters_and_sectors(self):
        for cluster, sector, size in ((65536, 512, 16 * MIB), (4096, 4096, 12 * MIB)):
            with self.subTest(cluster=cluster, sector=sector):
                self.sector = sector
                tree = {name: node for name, node in self.tree().items() if not name.startswith("many/")}
                self.made(tree, size=size, cluster=cluster, sector=sector, compressed=("packed",) if cluster == 4096 else ())
                listed = self.assert_same()
                self.assertEqual(listed.itself["block_size"], cluster)

    def test_attribute_lists(self):
        """Streams and runs that one record does not hold."""
        volume = self.made({"d": Dir(), "f": File(b"f"), "d/g": File(b"g")}, size=8 * MIB)
        for i in range(40):
            volume.write(f"f:stream {i:02} {'n' * 60}", 0, b"%d" % i * 20)
        for i in range(220):
            volume.write("d/g", i * KIB, self.rng.randbytes(512), i * KIB + 512)
            volume.write("f:stream 00 " + "n" * 60, i * 512, b"b" * 512)
        packed = TEXT[:40_000] + self.rng.randbytes(30_000)
        volume.create("p", Dir())
        volume.attributes("p", volume.COMPRESSED)
        volume.create("p/packed", File())
        for i in range(70):
            volume.write("p/packed", i * 65_000, packed)
            volume.write("d/g", (i + 300) * KIB, b"g" * 512)
        for i in range(30):
            volume.link("f", f"d/name {i} {'m' * 100}")
        listed = self.assert_same()
        self.assertIn("ATTRIBUTE_LIST", os.fsdecode(tool("istat", self.image, str(listed.paths()["d/g"]))))
        self.assertEqual(listed.nodes[listed.paths()["f"]]["links"], 31)
        number = listed.paths()["p/packed"]
        self.assertIn("ATTRIBUTE_LIST", os.fsdecode(tool("istat", self.image, str(number))))
        self.assertGreater(listed.nodes[number]["within"], 0)
        self.assert_content(listed.nodes[number], "p/packed")
        self.assertEqual(sha256(tool("icat", self.image, str(number))), listed.nodes[number]["sha256"])

    def test_an_mft_in_many_pieces(self):
        """Its own list of attributes, in records that only the list leads to."""
        volume = self.made({"d": Dir()}, size=12 * MIB)

        def work(loaded):
            folder = volume.open(loaded, "d")
            for i in range(1 << 20):
                inode = volume.library.ntfs_create(folder, 0, *volume.wide(f"n{i}"), 0o100000)
                if not inode:  # it is full
                    break
                attribute = volume.worked(volume.library.ntfs_attr_open(inode, volume.DATA, None, 0))
                if i % 4 == 0:  # in between, so that it finds no room behind it
                    volume.library.ntfs_attr_pwrite(attribute, 0, 1100, b"x" * 1100)
                volume.library.ntfs_attr_close(attribute)
                volume.library.ntfs_inode_close_in_dir(inode, folder)
            volume.library.ntfs_inode_close(folder)
        volume.inside(work)
        self.assertIn("$ATTRIBUTE_LIST", os.fsdecode(tool("istat", self.image, "0")))
        self.assert_same()

    def test_links_and_what_else_a_file_may_be(self):
        volume = self.made({name: File(b"") for name in ("plain", "lx", "fifo", "nfs", "short")} | {"junction": Dir(), "broken": File(), "d": Dir()})
        volume.symlink("d/interix", "../target/ü")

        def names(substitute, shown, *more):
            a, b = (text.encode("utf-16-le") for text in (substitute, shown))
            return struct.pack("<4H", 0, len(a), len(a), len(b)) + b"".join(more) + a + b

        volume.reparse("plain", SYMLINK, names("\\??\\C:\\x\\y", "C:\\shown", bytes(4)))
        volume.reparse("junction", JUNCTION, names("\\??\\D:\\folder", ""))
        volume.reparse("lx", LX_SYMLINK, struct.pack("<I", 2) + b"../a/b")
        volume.reparse("fifo", 0x8000ABCD, bytes(8))  # NTFS-3G makes no such without WSL's attributes
        self.patched(Walked(self.image).paths()["fifo"], struct.pack("<I", 0x8000ABCD), struct.pack("<I", LX_FIFO))
        volume.reparse("nfs", 0x80000014, b"LNK\0\0\0\0\0" + "n/f/s".encode("utf-16-le"))
        volume.reparse("broken", SYMLINK, struct.pack("<5H", 0, 0, 4, 400, 0) + b"abcd")
        volume.reparse("short", 0x8000ABCD, b"what nobody knows")
        listed = Walked(self.image)
        found = {name: (listed.nodes[i]["type"], bytes.fromhex(listed.nodes[i]["target"])) for name, i in listed.paths().items() if i >= FIRST and "$" not in name}
        self.assertEqual(found, {"plain": ("symlink", b"C:\\shown"), "junction": ("symlink", b"D:\\folder"), "lx": ("symlink", b"../a/b"),
                                 "fifo": ("fifo", b""), "nfs": ("symlink", b"n/f/s"), "broken": ("symlink", b""), "short": ("file", b""),
                                 "d": ("dir", b""), "d/interix": ("symlink", "../target/ü".encode())})
        self.assertEqual([x[:2] for x in listed.errors], [("target", "corruption")])

    def test_content_that_is_elsewhere(self):
        """It is not the zeros that the file's own stream has."""
        volume = self.made({"wof": File(size=50_000), "wof:WofCompressedData": File(b"packed"), "dedup": File(size=50_000), "own": File(b"own")})
        volume.reparse("wof", WOF, bytes(16))
        volume.reparse("dedup", DEDUP, bytes(16))
        volume.reparse("own", 0x9000601A, bytes(16))  # a cloud's, but all there
        listed = Walked(self.image)
        names = listed.paths()
        self.assertEqual({(x[0], x[1]) for x in listed.errors}, {("runs", "unsupported"), ("content", "unsupported")})
        self.assertEqual(len(listed.errors), 4)
        self.assertIn("(WOF)", listed.errors[0][2])
        self.assertEqual([listed.nodes[names[n]]["sha256"] for n in ("wof", "dedup")], ["", ""])
        self.assertEqual(listed.nodes[names["wof:WofCompressedData"]]["sha256"], sha256(b"packed"))
        self.assertEqual(listed.nodes[names["own"]]["sha256"], sha256(b"own"))

    def test_names_for_dos(self):
        volume = self.made({"d": Dir(), "d/A long name.text": File(b"long"), "d/other": File(b"o")})
        before = Walked(self.image)
        volume.dos_name("d/A long name.text", "ALONGN~1.TEX")
        listed = self.assert_same()
        self.assertEqual(set(name for name in listed.paths() if name.startswith("d")), {"d", "d/A long name.text", "d/other"})
        number = listed.paths()["d/A long name.text"]
        self.assertEqual(listed.nodes[number]["links"], 1)
        self.assertNotEqual(listed.nodes[number]["sum"], before.nodes[number]["sum"])
        other = listed.paths()["d/other"]
        self.assertEqual(listed.nodes[other]["sum"], before.nodes[other]["sum"])

    def test_metadata_is_summed(self):
        volume = self.made({"f": File(b"f"), "same": File(b"f"), "g": File(b"g")})
        sums = [{name: listed.nodes[i]["sum"] for name, i in listed.paths().items()} for listed in [Walked(self.image)]]
        volume.chmod("f", 0o444)
        volume.rewrite("g", 0, b"G" * 3000)
        volume.touch("g", TIME + 99)
        after = Walked(self.image)
        changed = {name for name, i in after.paths().items() if after.nodes[i]["sum"] != sums[0][name]}
        self.assertEqual(changed, {"f"})
        value = struct.pack("<IBBH", 20, 0, 4, 5) + b"NAME\0value\0\0"
        volume.with_inode("g", lambda inode: volume.worked(volume.library.ntfs_set_ntfs_ea(inode, value, 20, 0) == 0))
        last = Walked(self.image)
        changed = {name for name, i in last.paths().items() if last.nodes[i]["sum"] != after.nodes[i]["sum"]}
        self.assertEqual(changed, {"g"})

    def test_encrypted_and_never_written(self):
        """Bytes as they lie; and zeros past what is initialized, whatever lies there."""
        self.made({"secret": File(b"c" * 3000), "part": File(b"p" * 3000)})
        names = Walked(self.image).paths()
        at = self.record_at(names["secret"])
        record = self.image.read_bytes()[at:at + 1024]
        data = record.find(struct.pack("<I", 0x80), 0x38)
        self.patch(at + data + 12, struct.pack("<H", 0x4000))
        at = self.record_at(names["part"])
        self.patch(at + data + 56, struct.pack("<Q", 1000))
        listed = Walked(self.image)
        self.assertEqual(listed.errors, [])
        self.assertTrue(listed.nodes[names["secret"]]["encrypted"])
        self.assertEqual(self.by_runs(listed.nodes[names["secret"]]), b"c" * 3000)
        node = listed.nodes[names["part"]]
        self.assertEqual(node["sha256"], sha256(b"p" * 1000 + bytes(2000)))
        self.assertEqual(self.by_runs(node), b"p" * 1000 + bytes(2000))
        self.assertEqual(sha256(tool("icat", self.image, str(names["part"]))[:3000]), node["sha256"])


class Deleted(NtfsTest):
    def test_names_that_are_free(self):
        """In the slack of the index, and in free records; never as if they were in use."""
        tree = {"d": Dir(), "keep": File(b"k" * 2000), **{f"d/name {i:03}": File(b"%d" % i * 300) for i in range(60)}}
        volume = self.made({**tree, "d/name 007:s": File(b"stream"), "gone": Dir(), "gone/in it": File(b"in it")})
        before = Walked(self.image)
        names = before.paths()
        gone = [f"d/name {i:03}" for i in range(3, 50, 4)] + ["gone/in it", "gone"]
        for name in gone:
            volume.delete(name)
        listed = self.assert_same()
        free = listed.paths(deleted=True)
        for name in gone:
            if not name.startswith("gone/"):
                self.assertEqual(free[name], names[name], name)
        self.assertEqual(free["d/name 007:s"], names["d/name 007:s"])
        self.assertEqual(set(free) - set(gone), {"d/name 007:s"})
        # The Sleuth Kit shows them, too.
        peer = set(re.findall(r"^./. \* (\d+)-\d+-\d+:\t([^:\n]*)", os.fsdecode(tool("fls", "-r", "-p", "-d", self.image)), re.MULTILINE))
        self.assertLessEqual({(str(names[n]), n) for n in gone if "/in" not in n and n != "gone"}, peer)
        for node in Walked(self.image, *[names[n] for n in gone]).nodes.values():
            self.assertTrue(node["deleted"])
            if node["type"] == "file":
                self.assertEqual((node["sha256"], node["times"]), tuple(before.nodes[node["node"]][k] for k in ("sha256", "times")))

    def test_what_took_their_place(self):
        """A name whose record another file has is not that file's."""
        volume = self.made({f"name {i:03}": File(b"%d" % i) for i in range(40)})
        names = Walked(self.image).paths()
        for i in range(40):
            volume.delete(f"name {i:03}")
        for i in range(10):
            volume.create(f"new {i}", File(b"new"))
        listed = self.assert_same()
        taken = set(names.values()) & {i for name, i in listed.paths().items() if name.startswith("new")}
        self.assertTrue(taken)
        for name, number in listed.paths(deleted=True).items():
            self.assertIn(number, (names[name], RECORD), name)
            self.assertNotIn(number, taken)

    def test_renamed(self):
        volume = self.made({"a name": File(b"one"), "z": File(b"z")})
        volume.rename("a name", "other")
        listed = self.assert_same()
        self.assertLessEqual(set(listed.paths(deleted=True).items()), {("a name", listed.paths()["other"])})


if __name__ == "__main__":
    main("ntfs")
