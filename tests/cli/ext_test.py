# SPDX-License-Identifier: Apache-2.0
"""ext2, ext3 and ext4 as the library reads them, against what e2fsprogs say of the same images."""

import atexit
import json
import os
import random
import re
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


def lister(image, *ids, limits=False):
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:quarantine_size_mb=4:allocator_may_return_null=0")
    done = subprocess.run([LISTER, str(image), *map(str, ids)], capture_output=True, timeout=20, check=False, env=env)
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    assert not limits or len(done.stdout) < 64 * MIB
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


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
        names, folders = {}, [("", 2)]
        while folders:
            path, folder = folders.pop()
            for name, inode in below.get(folder, ()):
                names[os.path.join(path, name)] = inode
                if self.nodes[inode]["type"] == "dir":
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
        found, ends = set(), 0
        kinds = {kind: 0 for kind in range(5)}
        for x in listed.space:
            self.assertEqual(x["from"], ends)
            ends = x["to"]
            kinds[x["space"]] += x["to"] - x["from"]
            if x["space"] == FREE:
                found.update(range(x["from"] // block, x["to"] // block))
        # With clusters, dumpe2fs gives the first block of each.
        cluster = int((re.search(r"^Cluster size: +(\d+)", text, re.MULTILINE) or [0, block])[1]) // block
        free = {number + i for number in free for i in range(cluster)} if cluster > 1 and not free >= found else free
        self.assertEqual(found, free)
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
        self.assertEqual(self.assert_same().names(deleted=True), {})


if __name__ == "__main__":
    main("ext")
