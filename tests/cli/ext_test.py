# SPDX-License-Identifier: Apache-2.0
"""ext2, ext3 and ext4 as the library reads them, against what e2fsprogs say of the same images."""

import atexit
import json
import os
import random
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from fs_maker import KIB, MIB, TIME, TOOLS, UUID, Dir, Ext, File, Symlink, sha256, tool  # noqa: E402
from harness import ScratchTest, main, need, scaled  # noqa: E402

LISTER = os.environ.get("SNAPTOOL_FILE_LISTER", "")
FREE, JOURNAL, METADATA, NODES, FILE = range(5)
HASHED = 16 * MIB  # of larger files, the lister sums what lies in the image
GIB = 1 << 30


def lister(image, *ids):
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:quarantine_size_mb=4:allocator_may_return_null=0")
    with tempfile.TemporaryFile() as out:
        done = subprocess.run([LISTER, str(image), *map(str, ids)], stdout=out, stderr=subprocess.PIPE, timeout=20,
                              check=False, env=env,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64 * MIB, 64 * MIB)))
        assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
        out.seek(0)
        return [json.loads(line) for line in out.read().decode().splitlines()]


class Listed:
    def __init__(self, image, *ids):
        lines = lister(image, *ids)
        self.magic = lines[0]["magic"]
        self.errors = [(x["error"], x["code"], bytes.fromhex(x["text"]).decode()) for x in lines if "error" in x]
        self.nodes = {x["node"]: x for x in lines if "node" in x}
        self.entries = [x for x in lines if "entry" in x]
        self.space = [x for x in lines if "space" in x]
        self.itself = lines[-1]
        self.warnings = [bytes.fromhex(w).decode() for w in self.itself.get("warnings", ())]

    def names(self, deleted=False):
        """{path: inode}, of names in use; or {folder's inode: [(name, inode)]} of those that are free."""
        below, free = {}, {}
        for x in self.entries:
            pair = (os.fsdecode(bytes.fromhex(x["entry"])), x["id"])
            (free if x["deleted"] else below).setdefault(x["folder"], []).append(pair)
        if deleted:
            return free
        names, folders, seen = {}, [("", 2)], {2}
        while folders:
            path, folder = folders.pop()
            for name, inode in below.get(folder, ()):
                assert names.setdefault(os.path.join(path, name), inode) == inode
                if self.nodes.get(inode, {}).get("type") == "dir" and inode not in seen:
                    seen.add(inode)
                    folders.append((os.path.join(path, name), inode))
        return names


def signed(number):
    return number - (1 << 32) if number >> 31 else number


def time_in(text, name):
    found = re.search(rb"\b%b: 0x([0-9a-f]+)(?::([0-9a-f]+))?" % name, text)
    if not found:
        return None
    extra = int(found[2] or b"0", 16)
    return [signed(int(found[1], 16)) + ((extra & 3) << 32), extra >> 2]


def opened(path, block=1024):
    """The makers' way to debugfs, of an image that is there."""
    volume = Ext.__new__(Ext)
    volume.path, volume.block, volume.kind, volume.options = Path(path), block, "ext4", ()
    return volume


class ExtTest(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, *TOOLS["Ext"], "dumpe2fs", "e2fsck")
        self.rng = random.Random(1)
        self.image = self.scratch / "volume.img"

    def free_numbers(self, word):
        text = tool("dumpe2fs", self.image).decode()
        numbers = set()
        for line in re.findall(rf"^  Free {word}: (.*)$", text, re.MULTILINE):
            for first, last in re.findall(r"(\d+)(?:-(\d+))?", line):
                numbers.update(range(int(first), int(last or first) + 1))
        return numbers, text

    def assert_node(self, node, text, data):
        def number(pattern, base=10):
            return int(re.search(pattern, text)[1], base)

        kind = {b"regular": "file", b"directory": "dir", b"symlink": "symlink", b"FIFO": "fifo", b"character": "char",
                b"block": "block", b"socket": "socket"}.get(re.search(rb"Type: (\S+)", text)[1])
        self.assertEqual(node["type"], kind)
        self.assertEqual((node["mode"], node["owner"], node["group"], node["links"]),
                         (number(rb"Mode:\s+(\d+)", 8), number(rb"User:\s+(\d+)"), number(rb"Group:\s+(\d+)"),
                          number(rb"Links: (\d+)")))
        if kind not in ("char", "block"):
            self.assertEqual(node["size"], number(rb"Size: (\d+)"))
        self.assertEqual(node["generation"] >> 32, number(rb"Generation: (\d+)"))
        names = (b"mtime", b"ctime", b"atime", b"crtime")
        self.assertEqual(node["times"], [time_in(text, name) for name in names])
        self.assertFalse(node["deleted"])
        within = int(re.search(rb"Flags: 0x(\w+)", text)[1], 16) & 0x10000000 or b"Fast link dest" in text
        self.assertEqual(node["within"], node["size"] if within else 0)
        if data is not None:
            self.assertEqual(node["sha256"], sha256(data))
            inline = int(re.search(rb"Flags: 0x(\w+)", text)[1], 16) & 0x10000000
            if not inline:
                self.assertEqual(self.by_runs(node), data)

    def by_runs(self, node):
        """The content, of what the runs say."""
        data, end = b"", 0
        with open(self.image, "rb") as image:
            for offset, length, place in node["runs"]:
                self.assertEqual(offset, end)
                end += length
                if place is None:
                    data += bytes(length)
                else:
                    image.seek(place)
                    data += image.read(length)
        self.assertGreaterEqual(len(data), node["size"])
        return data[:node["size"]]

    def assert_same(self, block=1024, warnings=()):
        """All that is listed is what debugfs and dumpe2fs say."""
        listed, volume = Listed(self.image), opened(self.image, block)
        self.assertEqual(listed.errors, [])
        self.assertTrue(listed.magic)
        self.assertEqual(listed.warnings, list(warnings))
        names = volume.names()
        self.assertEqual(listed.names(), names)
        inodes = sorted(set(names.values()) | {2})
        with tempfile.TemporaryDirectory() as folder:
            texts = volume.debugfs(*[f"stat <{n}>" for n in inodes], write=False)
            files = [n for n, t in zip(inodes, texts) if b"Type: regular" in t
                     and int(re.search(rb"Size: (\d+)", t)[1]) <= HASHED]
            links = [n for n, t in zip(inodes, texts) if b"Type: symlink" in t]
            if files + links:
                volume.debugfs(*[f"dump <{n}> {folder}/{n}" for n in files + links], write=False)
            for n, text in zip(inodes, texts):
                with self.subTest(inode=n):
                    size = int(re.search(rb"Size: (\d+)", text)[1])
                    # Of inline data debugfs writes more, or less where all is a hole.
                    data = Path(folder, str(n)).read_bytes()[:size].ljust(size, b"\0") if n in files else None
                    self.assert_node(listed.nodes[n], text, data)
                    if n in links:
                        fast = re.search(rb'Fast link dest: "(.*)"\n', text, re.DOTALL)
                        target = fast[1] if fast else Path(folder, str(n)).read_bytes()[:size]
                        self.assertEqual(bytes.fromhex(listed.nodes[n]["target"]), target)
        self.assert_space(listed, block)
        return listed

    def assert_space(self, listed, block):
        free, text = self.free_numbers("blocks")
        found, metadata, ends = set(), set(), 0
        kinds = {kind: 0 for kind in range(5)}
        for x in listed.space:
            self.assertEqual(x["from"], ends)
            ends = x["to"]
            kinds[x["space"]] += x["to"] - x["from"]
            if x["space"] == FREE:
                found.update(range(x["from"] // block, x["to"] // block))
            if x["space"] == METADATA:
                metadata.update(range(x["from"] // block, x["to"] // block))
        # With clusters, dumpe2fs gives the first block of each.
        cluster = int((re.search(r"^Cluster size: +(\d+)", text, re.MULTILINE) or [0, block])[1]) // block
        free = {number + i for number in free for i in range(cluster)} if cluster > 1 and not free >= found else free
        self.assertEqual(found, free)
        said = re.findall(r"(?:superblock|Group descriptors?|Reserved GDT blocks|Block bitmap|Inode bitmap) at (\d+)(?:-(\d+))?", text)
        self.assertEqual(metadata, {0, *(n for a, b in said for n in range(int(a), int(b or a) + 1))})
        tables = [(int(a), int(b)) for a, b in re.findall(r"Inode table at (\d+)-(\d+)", text)]
        self.assertEqual(sorted((x["from"] // block, x["to"] // block - 1) for x in listed.space if x["space"] == NODES),
                         sorted(tables))
        journal = re.search(r"^Total journal size: +(\d+)k", text, re.MULTILINE)
        # The blocks of a journal's own map are files'.
        self.assertEqual(kinds[JOURNAL], int(journal[1]) * KIB if journal else 0)
        unused, _ = self.free_numbers("inodes")
        count = int(re.search(r"^Inode count: +(\d+)", text, re.MULTILINE)[1])
        first = int((re.search(r"^First inode: +(\d+)", text, re.MULTILINE) or [0, 11])[1])
        hidden = {int(n) for n in re.findall(r"^(?:Orphan file inode|Project quota inode): +(\d+)", text, re.MULTILINE)}
        used = {2} | set(range(first, count + 1)) - unused - hidden
        self.assertEqual(set(listed.nodes), used)

    def sums_mended(self, *commands):
        """debugfs mends the sums of what it writes."""
        opened(self.image).debugfs(*commands)


class Features(ExtTest):
    """One tree in file systems of every kind."""
    folder = None

    def source(self):
        if Features.folder:
            return Features.folder
        folder = Features.folder = Path(tempfile.mkdtemp(prefix="snaptool-test-ext-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        rng = random.Random(5)

        def save(name, data, mtime=TIME):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (mtime, mtime))

        for size in (0, 1, 59, 60, 61, 100, 156, 157, 1023, 1024, 1025, 5000, 70_000, 400_000):
            save(f"size{size}", rng.randbytes(size))
        for i in range(150):
            save(f"many/a name of some length, number {i}", b"%d" % i)
        save("few/one", b"1")
        save("n" * 255, b"long name")
        save(os.fsdecode(b"odd \x01\x1b\xff\xc3\xa9\"\\'name"), b"odd name")
        for at, size in ((0, 30_000), (300_000, 500_000), (12 * KIB, 12 * KIB + 1), (5000, 9 * MIB)):
            with open(folder / f"sparse{at}", "wb") as file:
                file.seek(at)
                file.write(b"data")
                file.truncate(max(size, at + 4))
        with open(folder / "all hole", "wb") as file:
            file.truncate(300_000)
        for length in (1, 58, 59, 60, 61, 150, 900):
            (folder / f"link{length}").symlink_to("t" * length)
        os.link(folder / "size5000", folder / "few/hard")
        os.mkfifo(folder / "fifo")
        (folder / "size61").chmod(0o4711)
        return folder

    def make(self, *options, size=8 * MIB, block=1024):
        self.image.unlink(missing_ok=True)
        tool("mke2fs", "-q", "-F", "-b", str(block), "-U", UUID, "-L", "a label", "-E",
             f"hash_seed={UUID},lazy_itable_init=0", "-d", self.source(), *options, self.image, f"{size // KIB}k")

    def try_all(self, *cases):
        for case in cases:
            options, more = case if isinstance(case[-1], dict) else (case, {})
            if isinstance(options, str):
                options = (options,)
            with self.subTest(case=case):
                self.make(*options, **more)
                listed = self.assert_same(more.get("block", 1024))
                self.assertEqual(bytes.fromhex(listed.itself["label"]), b"a label" if "-r" not in options else b"")
                self.assertEqual(listed.itself["uuid"], UUID if "-r" not in options else "")
                self.assertEqual((listed.itself["block_size"], listed.itself["size"]),
                                 (more.get("block", 1024), more.get("size", 8 * MIB)))

    def test_old_ones(self):
        self.try_all(("-t", "ext2"), ("-t", "ext2", "-O", "none"), (("-t", "ext2"), {"block": 4096}), ("-t", "ext3"),
                     (("-t", "ext3", "-g", "1024"), {"block": 2048}), ("-t", "ext2", "-O", "^filetype", "-g", "512"))
        for kind in ("ext2", "ext3", "ext4"):
            self.make("-t", kind)
            self.assertEqual(Listed(self.image).itself["type"], kind)

    def test_ext4(self):
        self.try_all(("-t", "ext4"), (("-t", "ext4"), {"block": 4096, "size": 16 * MIB}), ("-t", "ext4", "-I", "128"),
                     ("-t", "ext4", "-I", "1024"), ("-t", "ext4", "-g", "512", "-N", "512"),
                     ("-t", "ext4", "-O", "^extents,^64bit"), ("-t", "ext4", "-O", "^metadata_csum,uninit_bg", "-g", "512"),
                     ("-t", "ext4", "-O", "^metadata_csum,uninit_bg,^64bit", "-g", "512"),
                     ("-t", "ext4", "-O", "^has_journal,^flex_bg", "-g", "1024"),
                     (("-t", "ext4"), {"block": 65536, "size": 64 * MIB}))

    def test_groups(self):
        self.try_all(("-t", "ext4", "-O", "meta_bg,^resize_inode", "-g", "256", "-N", "512"),
                     ("-t", "ext4", "-O", "meta_bg,^resize_inode,^flex_bg,^64bit", "-g", "512", "-N", "512"),
                     ("-t", "ext4", "-O", "sparse_super2,^resize_inode", "-g", "512", "-N", "512"),
                     ("-t", "ext4", "-O", "^sparse_super,^resize_inode", "-g", "1024"),
                     ("-t", "ext4", "-E", "packed_meta_blocks=1", "-g", "512", "-N", "512"),
                     ("-t", "ext4", "-O", "bigalloc", "-C", "16384"),
                     (("-t", "ext4", "-O", "bigalloc", "-C", "65536"), {"block": 4096, "size": 32 * MIB}))

    def test_content_and_metadata(self):
        self.try_all(("-t", "ext4", "-O", "inline_data"), (("-t", "ext4", "-O", "inline_data", "-I", "512"), {"block": 4096}),
                     ("-t", "ext4", "-O", "metadata_csum_seed"), ("-t", "ext4", "-O", "ea_inode,large_dir"),
                     ("-t", "ext4", "-O", "project,quota"), ("-t", "ext4", "-O", "mmp,verity"),
                     ("-t", "ext4", "-O", "casefold,encrypt", "-E", "encoding=utf8"),
                     ("-t", "ext4", "-O", "orphan_file,fast_commit"))

    def test_an_index(self):
        """e2fsck -D gives large folders one; its blocks have no names."""
        self.make("-t", "ext4")
        subprocess.run(["e2fsck", "-fyD", self.image], capture_output=True, check=False)
        self.assertIn("Flags: 0x81000", opened(self.image).debugfs("stat /many", write=False)[0].decode())
        root = int(opened(self.image).debugfs("bmap /many 0", write=False)[0].split()[0]) * KIB
        with open(self.image, "r+b") as image:
            image.seek(root + 200)
            image.write(struct.pack("<IHBB4s", 12, 12, 4, 1, b"fake"))
        self.assertEqual(self.assert_same().names(deleted=True), {})


class Oddities(ExtTest):
    def made(self, tree, **options):
        return Ext(self.image, tree, **options)

    def node(self, name):
        return Listed(self.image, opened(self.image).status(name).inode).nodes.popitem()[1]

    def test_times(self):
        for kind, options in (("ext4", ()), ("ext4", ("-I", "128")), ("ext2", ())):
            volume = self.made({"f": File(b"x")}, kind=kind, options=options)
            for seconds in (-1, -100_000, -(1 << 31), 0, (1 << 31) - 1, 1 << 31, 5_000_000_000, (1 << 32) - 1, 1 << 33,
                            14_000_000_000):
                wide = "-I" not in options
                if not -(1 << 31) <= seconds < 1 << 31 and not wide:
                    continue
                extra = (seconds - signed(seconds & 0xFFFFFFFF)) >> 32
                commands = [f"set_inode_field /f {field} {seconds & 0xFFFFFFFF:#x}" for field in ("mtime", "atime", "ctime")]
                if wide:
                    commands += [f"set_inode_field /f {field}_extra {extra | 123_456_789 << 2:#x}"
                                 for field in ("mtime", "atime", "ctime")]
                volume.debugfs(*commands)
                self.assertEqual(self.node("f")["times"][:3], [[seconds, 123_456_789 if wide else 0]] * 3)
                self.assert_same()

    def test_owners_of_32_bits(self):
        volume = self.made({"f": File(b"x")})
        volume.debugfs("set_inode_field /f uid 4000000001", "set_inode_field /f gid 3000000001")
        node = self.node("f")
        self.assertEqual((node["owner"], node["group"]), (4_000_000_001, 3_000_000_001))

    def test_sparse_and_large(self):
        for kind, block in (("ext4", 1024), ("ext4", 4096), ("ext2", 1024), ("ext3", 4096)):
            with self.subTest(kind=kind, block=block):
                at = 5 * GIB + 77
                self.made({"f": File(b"first", at=3000)}, kind=kind, block=block, size=8 * MIB)
                with tempfile.NamedTemporaryFile() as file:
                    for place, data in ((0, b"first"), (2 * GIB, b"middle"), (at, b"last")):
                        file.seek(place)
                        file.write(data)
                    file.flush()
                    opened(self.image).debugfs(f"write {file.name} big")
                node = self.node("big")
                self.assertEqual(node["size"], at + 4)
                placed = {offset: place for offset, _, place in node["runs"] if place is not None}
                self.assertEqual(sorted(placed), [0, 2 * GIB, at // block * block])
                image = self.image.read_bytes()
                for offset, data in ((0, b"first"), (2 * GIB, b"middle"), (at, b"last")):
                    place = placed[offset // block * block] + offset % block
                    self.assertEqual(image[place:place + len(data)], data)
                self.assert_same(block)

    def test_fragments(self):
        """Each second block of a file: many extents, or pointers of all levels."""
        for kind in ("ext4", "ext2"):
            volume = self.made({}, kind=kind, size=8 * MIB)
            with tempfile.NamedTemporaryFile() as file:
                for i in range(0, 2600, 2):
                    file.seek(i * KIB)
                    file.write(self.rng.randbytes(1000))
                for i in range(70_000, 70_040, 2):  # past what two levels reach
                    file.seek(i * KIB)
                    file.write(self.rng.randbytes(1000))
                file.flush()
                volume.debugfs(f"write {file.name} f")
            listed = self.assert_same()
            node = listed.nodes[volume.status("f").inode]
            self.assertEqual(sum(place is not None for _, _, place in node["runs"]), 1320)
            image, data = self.image.read_bytes(), b""  # of so large a file, holes are not summed
            for offset, length, place in node["runs"]:
                data += image[place:place + min(length, node["size"] - offset)] if place is not None else b""
            self.assertEqual(node["sha256"], sha256(data))

    def test_never_written(self):
        """fallocate within debugfs makes unwritten extents: zeros, whatever lies there."""
        volume = self.made({"f": File(b"x" * 5000)})
        volume.debugfs("fallocate /f 20 40", "set_inode_field /f size 50000")
        start, end = 5 * KIB, 50_000
        block = int(volume.debugfs("bmap /f 25", write=False)[0].split()[0])
        with open(self.image, "r+b") as image:
            image.seek(block * KIB)
            image.write(b"what was there before")
        node = self.node("f")
        self.assertEqual([x for x in node["runs"] if x[2] is None], [[start, end - start, None]])
        self.assertEqual(node["sha256"], sha256(b"x" * 5000 + bytes(end - 5000)))
        self.assert_same()

    def test_blocks_of_64_kib(self):
        """An empty one of a folder has an entry of 65536 bytes, which two bytes cannot say."""
        for options in (("-O", "^has_journal"), ("-O", "^has_journal,^metadata_csum")):
            volume = self.made({"f": File(b"x"), "d": Dir()}, block=65536, size=8 * MIB, options=options)
            volume.debugfs("expand_dir /d", "expand_dir /d")
            self.assert_same(65536)
            self.assertEqual(self.node("d")["size"], 3 * 65536)

    def test_deep_folders(self):
        tree, path = {}, ""
        volume = self.made(tree, size=4 * MIB, options=("-N", "512"))
        commands = []
        for i in range(300):
            path += f"/d{i}"
            commands += [f"mkdir d{i}", f"cd d{i}"]
        volume.debugfs(*commands)
        self.assertEqual(max(name.count("/") for name in self.assert_same().names()), 299)

    def test_attributes(self):
        """Those in the inode and in a block, and large ones in an inode of their own, count, and their order does not."""
        for options in (("-I", "128"), (), ("-O", "ea_inode")):
            volume = self.made({"f": File(b"x"), "g": File(b"y")}, options=options)
            sums = [self.node("f")["sum"]]
            self.assertEqual(sums, [0])
            values = ["a", "b", "c" * 500] + (["d" * 3000] if "ea_inode" in options else [])
            for i, value in enumerate(values):
                with tempfile.NamedTemporaryFile("w") as file:
                    file.write(value)
                    file.flush()
                    volume.debugfs(f"ea_set -f {file.name} /f user.name{i}")
                sums.append(self.node("f")["sum"])
            volume.debugfs("ea_set /f user.name0 z")
            sums.append(self.node("f")["sum"])
            self.assertEqual(len(set(sums)), len(sums))
            volume.debugfs("ea_rm /f user.name1", "ea_rm /f user.name2", "ea_set /g user.name0 z")
            if "ea_inode" not in options:
                self.assertEqual(self.node("f")["sum"], self.node("g")["sum"])
            listed = Listed(self.image)
            self.assertEqual(listed.errors, [])

    def test_flags_and_devices_count(self):
        volume = self.made({"f": File(b"x")})
        volume.debugfs("set_inode_field /f flags 0x80010", "mknod null c 1 3", "mknod zero c 1 5", "mknod pipe p",
                       "mknod disk b 8 1")
        sums = [self.node(name)["sum"] for name in ("f", "null", "zero", "disk")]
        self.assertEqual(len({0, *sums}), 5)
        self.assertEqual([self.node(name)["type"] for name in ("null", "disk", "pipe")], ["char", "block", "fifo"])
        self.assert_same()
        volume.debugfs("set_inode_field /f flags 0x80810")
        self.assertTrue(self.node("f")["encrypted"])

    def test_what_was_deleted(self):
        volume = self.made({"d": Dir(), **{f"d/name{i}": File(b"%d" % i) for i in range(9)}, "kept": File(b"k")})
        inodes = {i: volume.status(f"d/name{i}").inode for i in range(9)}
        folder = volume.status("d").inode
        for i in (2, 3, 7):
            volume.delete(f"d/name{i}")
        listed = Listed(self.image)
        self.assertEqual(listed.errors, [])
        self.assertEqual(listed.names(deleted=True), {folder: [(f"name{i}", inodes[i]) for i in (2, 3, 7)]})
        self.assertEqual(sorted(listed.names()), sorted(volume.names()))
        self.assertNotIn(inodes[2], listed.nodes)
        freed = Listed(self.image, inodes[2]).nodes[inodes[2]]
        self.assertTrue(freed["deleted"])
        # A name that leads to a free inode is shown as one that is free.
        volume.debugfs(f"kill_file <{inodes[5]}>", f"freei <{inodes[5]}>")
        self.assertIn((f"name5", inodes[5]), Listed(self.image).names(deleted=True)[folder])
        self.assertEqual(Listed(self.image, 0).errors[0][1], "not_found")
        self.assertEqual(Listed(self.image, 257).errors[0][1], "not_found")

    def test_rubbish_where_nothing_was_ever(self):
        """Groups that were never used have tables of anything."""
        for options in (("-O", "^metadata_csum,uninit_bg,^has_journal"), ("-O", "^has_journal")):
            self.made({"f": File(b"x")}, size=8 * MIB, options=(*options, "-g", "1024"))
            text = tool("dumpe2fs", self.image).decode()
            tables = re.findall(r"INODE_UNINIT.*\n(?:.*\n)*?.*Inode table at (\d+)-(\d+)", text)
            self.assertGreater(len(tables), 3)
            with open(self.image, "r+b") as image:
                for first, last in tables:
                    image.seek(int(first) * KIB)
                    image.write(self.rng.randbytes((int(last) + 1 - int(first)) * KIB))
            self.assertEqual(self.assert_same().nodes.keys(), {2, 11, 12})
            node = Listed(self.image, 200).nodes[200]
            self.assertEqual((node["deleted"], node["size"], node["runs"]), (True, 0, []))

    def test_it_says_how_it_was_left(self):
        volume = self.made({"f": File(b"x")}, kind="ext3", size=4 * MIB)
        volume.debugfs("feature needs_recovery")
        self.assertEqual(len(Listed(self.image).warnings), 1)
        self.assertIn("journal was not replayed", Listed(self.image).warnings[0])
        volume.debugfs("feature -needs_recovery", "set_super_value state 0")
        self.assertIn("not unmounted", Listed(self.image).warnings[0])
        volume.debugfs("set_super_value state 3")
        self.assertIn("found errors", Listed(self.image).warnings[0])

    def test_what_is_not_read(self):
        self.made({"f": File(b"x")})
        whole = self.image.read_bytes()
        for bit, name in ((1, "compression"), (8, "journal_dev"), (0x1000, "dirdata"), (0x40000, "0x40000"), (1 << 31, "0x80000000")):
            incompat, = struct.unpack_from("<I", whole, 1024 + 0x60)
            self.image.write_bytes(whole[:1024 + 0x60] + struct.pack("<I", incompat | bit) + whole[1024 + 0x64:])
            error, = Listed(self.image).errors
            self.assertEqual(error[:2], ("open", "unsupported"))
            self.assertIn(name, error[2])


class Damaged(ExtTest):
    """What is broken is said; the rest is read all the same."""

    def made(self, **options):
        folder = {f"d/{i:03}": File(b"%d" % i) for i in range(60)}
        volume = Ext(self.image, {"a": File(b"a" * 3000), "d": Dir(), **folder, "z": File(b"z" * 3000)}, **options)
        volume.debugfs("ea_set /a user.name " + "v" * 300)
        return volume

    def patch(self, at, data):
        with open(self.image, "r+b") as image:
            image.seek(at)
            image.write(data)

    def flip(self, at):
        self.patch(at, bytes([self.image.read_bytes()[at] ^ 0x40]))

    def inode_at(self, volume, name):
        where = volume.debugfs(f"imap {volume.quoted(name)}", write=False)[0].decode()
        block, offset = re.search(r"located at block (\d+), offset (0x[0-9a-f]+)", where).groups()
        return int(block) * volume.block + int(offset, 16)

    def block_of(self, volume, name, index=0):
        return int(volume.debugfs(f"bmap {volume.quoted(name)} {index}", write=False)[0].split()[0]) * volume.block

    def test_sums(self):
        volume = self.made()
        whole = self.image.read_bytes()
        attributes = int(re.search(rb"File ACL: (\d+)", volume.debugfs("stat /a", write=False)[0])[1]) * KIB
        text = tool("dumpe2fs", self.image).decode()
        bitmaps = {word: int(re.search(rf"{word} bitmap at (\d+)", text)[1]) * KIB for word in ("Block", "Inode")}
        a, d, z = (volume.status(name).inode for name in "adz")
        names, inode_a, folder_at = volume.names(), self.inode_at(volume, "a"), self.block_of(volume, "d")

        def after(at):
            self.image.write_bytes(whole)
            self.flip(at)
            return Listed(self.image)

        for at, what in ((inode_a + 0x9F, f"the checksum of inode {a} is wrong"),
                         (inode_a + 200, f"the checksum of inode {a} is wrong"),
                         (inode_a + 0x7C, f"the checksum of inode {a} is wrong"),
                         (attributes + 900, "the checksum of the extended attributes"),
                         (bitmaps["Inode"] + 31, "the checksum of the inode bitmap of group 0 is wrong")):
            listed = after(at)
            self.assertEqual([(x[:2], what in x[2]) for x in listed.errors], [(("nodes", "corruption"), True)], what)
            self.assertIn(z, listed.nodes)
            if "bitmap" not in what:
                self.assertNotIn(a, listed.nodes)
                self.assertEqual([x[1] for x in Listed(self.image, a).errors], ["corruption"])
        listed = after(bitmaps["Block"] + 100)
        self.assertEqual([x[:2] for x in listed.errors if x[0] == "space"], [("space", "corruption")])
        listed = after(folder_at + 32)
        self.assertIn(("entries", "corruption", f"the checksum of block 0 of folder {d} is wrong"), listed.errors)
        self.assertEqual(listed.names().keys(), names.keys() - {"d/000"} | {"d/p00"})
        for at, what in ((1024 + 0x78, "superblock"), (2048 + 0xC, "descriptor of group 0")):
            listed = after(at)
            self.assertEqual((listed.errors, len(listed.warnings)), ([], 1))
            self.assertIn(what, listed.warnings[0])

    def test_sums_of_a_tree_of_extents(self):
        volume = self.made()
        with tempfile.NamedTemporaryFile() as file:
            for i in range(0, 40, 2):
                file.seek(i * KIB)
                file.write(b"x")
            file.flush()
            volume.debugfs(f"write {file.name} f")
        text = volume.debugfs("ex /f", write=False)[0].decode()
        node = int(re.search(r"0/ 1 +1/ +1 +0 - +\d+ +(\d+)", text)[1]) * KIB
        inode = volume.status("f").inode
        self.assert_same()
        self.flip(node + 4 + 12)
        self.assertIn(("runs", "corruption", f"the checksum of a node of extents of inode {inode} is wrong"), Listed(self.image).errors)

    def test_structures(self):
        """Without sums, what is impossible in itself."""
        volume = self.made(options=("-O", "^metadata_csum,^has_journal"))
        whole = self.image.read_bytes()
        a, d = self.inode_at(volume, "a"), self.inode_at(volume, "d")
        entries = self.block_of(volume, "d")
        text = tool("dumpe2fs", self.image).decode()
        table = int(re.search(r"Inode table at (\d+)", text)[1])
        for at, data, what in (
                (a + 0x28, b"\0", "a node of extents has no magic"), (a + 0x2E, struct.pack("<H", 6), "a node of extents of depth 6"),
                (a + 0x2A, struct.pack("<H", 9), "a node of extents of depth 0 with 9 of 4"),
                (a + 0x38, struct.pack("<H", 0), "the extents of inode"), (a + 0x3C, struct.pack("<I", 2047), "blocks from 2047 on"),
                (a + 0x3C, struct.pack("<I", 0), "blocks from 0 on"), (a + 0x6C, struct.pack("<I", 1 << 20), "the size of inode"),
                (a + 0x80, struct.pack("<H", 999), "bytes more, which is impossible"), (a + 0x68, struct.pack("<I", 99999), "block 99999 of 2048"),
                (a + 0x68, struct.pack("<I", table), f"block {table} has no extended attributes"),
                (d + 0x4, struct.pack("<I", 3000), "of 3000 bytes has"), (d + 0x4, struct.pack("<I", 9 << 20), "folder"),
                (entries + 4, struct.pack("<H", 0), "has an entry of 0 bytes"), (entries + 28, struct.pack("<H", 2000), "has an entry of 2000 bytes"),
                (entries + 24, struct.pack("<I", 9999), "has an entry for inode 9999 of 256"),
                (entries + 32, b"/", "an entry with an impossible name"), (entries + 30, b"\0", "an entry with an impossible name"),
                (2048 + 8, struct.pack("<I", 5000), "lies at block 5000 of 2048"), (2048 + 8, struct.pack("<I", 1), "lies at block 1 of 2048"),
                (2048, struct.pack("<I", table + 1), "lie on one another")):
            with self.subTest(what):
                self.image.write_bytes(whole)
                self.patch(at, data)
                listed = Listed(self.image)
                self.assertTrue(any(x[1] == "corruption" and what in x[2] for x in listed.errors), listed.errors)

    def test_superblocks(self):
        volume = self.made(options=("-O", "^metadata_csum,^has_journal"))
        whole = self.image.read_bytes()
        for at, data, what in ((0x18, 7, "blocks of 2^7"), (0x58, 100, "inodes of"), (0x58, 2048, "inodes of"), (0x0, 1 << 20, "do not go with"),
                               (0x20, 0, "blocks in a group"), (0x20, 8193, "blocks in a group"), (0x28, 0, "inodes in a group"),
                               (0x28, 8193, "inodes in a group"), (0x4, 1, "blocks are impossible"), (0x14, 2, "blocks are impossible"),
                               (0x4, 1 << 30, "do not go with"), (0x38, 0, "the magic is missing")):
            self.image.write_bytes(whole)
            self.patch(1024 + at, struct.pack("<I" if at not in (0x58, 0x38) else "<H", data))
            listed = Listed(self.image)
            self.assertEqual([x[:2] for x in listed.errors], [("open", "corruption")], what)
            self.assertIn(what, listed.errors[0][2])
        self.image.write_bytes(whole[:1500])
        self.assertIn("the image ends", Listed(self.image).errors[0][2])
        self.image.write_bytes(whole[:len(whole) // 2])
        listed = Listed(self.image)
        self.assertIn("the image ends 1048576 bytes before its file system", listed.warnings)
        self.assertEqual(volume.status("a").inode in listed.nodes, True)

    def test_maps_that_share_their_tables(self):
        """A map whose tables lead to themselves is no longer than the image."""
        for kind in ("ext2", "ext4"):
            volume = Ext(self.image, {"f": File(b"x" * 400_000)}, kind=kind, options=("-O", "^metadata_csum,^has_journal") if kind == "ext4" else ())
            inode = self.inode_at(volume, "f")
            if kind == "ext2":
                table, = struct.unpack_from("<I", self.image.read_bytes(), inode + 0x28 + 48)
                self.patch(table * KIB, struct.pack("<I", table) * 256)
                self.patch(inode + 0x28 + 48, struct.pack("<3I", table, table, table))
            else:
                table = self.block_of(volume, "f") // KIB
                self.patch(inode + 0x2A, struct.pack("<HHH", 4, 4, 5))
                self.patch(table * KIB, struct.pack("<HHHHI", 0xF30A, 84, 84, 4, 0) + b"".join(
                    struct.pack("<IIHH", i, table, 0, 0) for i in range(84)))
                self.patch(inode + 0x34, b"".join(struct.pack("<IIHH", i * 84, table, 0, 0) for i in range(4)))
            self.patch(inode + 0x4, struct.pack("<I", 0xFFFFFFFF))
            self.assertTrue(any(x[:2] == ("runs", "corruption") for x in Listed(self.image).errors), kind)
            if kind == "ext2":  # tables again and again, and no block of the file
                self.patch(inode + 0x28, struct.pack("<15I", *[0] * 14, table))
                self.patch(table * KIB, struct.pack("<256I", *[table + 1] * 256) + struct.pack("<256I", *[table + 2] * 256) + bytes(KIB))
                self.assertTrue(any(x[:2] == ("runs", "corruption") for x in Listed(self.image).errors), kind)

    def test_files_that_share_all_their_blocks(self):
        """They may not be more than the image has, which else would be as long to walk as their sum."""
        volume = Ext(self.image, {"f": File(self.rng.randbytes(400_000)), **{f"{i}": File() for i in range(9)}},
                     options=("-O", "^metadata_csum,^has_journal"))
        at = self.inode_at(volume, "f")
        inode = self.image.read_bytes()[at:at + 256]
        for i in range(9):
            self.patch(self.inode_at(volume, str(i)), inode)
        errors = [x for x in Listed(self.image).errors if x[0] == "runs"]
        self.assertEqual(len(errors), 10 - 2 * KIB // 391)
        self.assertIn("have more blocks than the image", errors[0][2])

    def test_content_within_that_is_too_long(self):
        volume = Ext(self.image, {"f": File(b"inline"), "l": Symlink("t" * 70)}, options=("-O", "inline_data,^metadata_csum"))
        self.patch(self.inode_at(volume, "f") + 0x4, struct.pack("<I", 5_000_000))
        self.patch(self.inode_at(volume, "l") + 0x4, struct.pack("<I", 1000))
        listed = Listed(self.image)
        self.assertEqual([x[:2] for x in listed.errors], [("target", "corruption")])
        self.assertEqual(listed.nodes[volume.status("f").inode]["sha256"], sha256(b"inline" + bytes(5_000_000 - 6)))

    def test_mutants(self):
        """Bytes of the metadata are changed: no crash, nothing for ever, and not much memory."""
        for options in (("-O", "^metadata_csum,^has_journal"), ("-O", "inline_data,^metadata_csum,^has_journal"), ("-O", "^extents,^64bit,^metadata_csum,^has_journal"),
                        ("-O", "meta_bg,^resize_inode,^metadata_csum,^has_journal", "-g", "256")):
            self.made(options=options)
            whole = self.image.read_bytes()
            used = [at for at in range(0, len(whole), 64) if whole[at:at + 64].strip(b"\0")]
            for number in range(scaled(400)):
                bad = bytearray(whole)
                for _ in range(self.rng.choice([1, 1, 2, 8, 32])):
                    at = self.rng.choice(used) + self.rng.randrange(64)
                    bad[at] = self.rng.choice([0, 1, 0x7F, 0x80, 0xFF, self.rng.randrange(256)])
                if self.rng.random() < 0.1:
                    del bad[self.rng.randrange(len(bad)):]
                self.image.write_bytes(bad)
                with self.subTest(options=options, number=number):
                    lister(self.image)


if __name__ == "__main__":
    main("ext")
