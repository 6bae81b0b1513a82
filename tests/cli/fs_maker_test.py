# SPDX-License-Identifier: Apache-2.0
"""The makers of file systems (support/fs_maker.py and others): what they make is what was described, sound by the file
system's own checker, and the same each time."""

import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from exfat_maker import ExFat  # noqa: E402
from fs_maker import TIME, TOOLS, Dir, Ext, Fat, File, HfsPlus, Iso, Link, Symlink, Unsupported, sha256, tool  # noqa: E402
from harness import ScratchTest, main, need  # noqa: E402
from ntfs_maker import Ntfs  # noqa: E402

HOUR = 3600


class FsMakerTest(ScratchTest):
    links = symlinks = False
    waits = True  # once in a test

    def setUp(self):
        super().setUp()
        self.rng = random.Random(1)
        self.big = self.rng.randbytes(40000)
        self.image = self.scratch / "volume.img"

    def make(self, tree):
        raise NotImplementedError

    def check(self):
        """The file system's own checker, where there is one."""

    def described(self):
        tree = {"d": Dir(), "d/sub": Dir(), "d/sub/leaf": File(b"leaf"), "tiny": File(b"0123456789"), "empty": File(),
                "big": File(self.big), "d/A long name, ünïcode.text": File(b"x" * 3000, mtime=TIME + 200 * 24 * HOUR + 2),
                "n" * 120: File(b"long"), "sparse": File(b"end", at=50000, size=90000)}
        if self.links:
            tree["hard"] = Link("tiny")
        if self.symlinks:
            tree.update({"short": Symlink("d/sub"), "longer": Symlink("q" * 150)})
        return tree

    def made(self):
        return self.make(self.described())

    def same(self, seen, tree):
        self.assertEqual(sorted(set(seen) - {"lost+found"}), sorted(tree))
        for name, node in tree.items():
            one = seen[name]
            kind = {File: "file", Link: "file", Dir: "dir", Symlink: "symlink"}[type(node)]
            self.assertEqual(one.kind, kind, name)
            if kind == "symlink":
                self.assertEqual(one.target, node.target)
            elif kind == "file":
                node = tree[node.of] if isinstance(node, Link) else node
                self.assertEqual((one.size, one.sha256), (len(node.data()), sha256(node.data())), name)
                if one.mtime is not None:
                    self.assertLess(abs(one.mtime - node.mtime), 60, name)

    def whole(self):
        """What was described, and the same when it is made again a second later."""
        volume = self.made()
        self.same(volume.tree(), self.described())
        self.check()
        if self.waits and type(volume) is not Ntfs:
            first = self.image.read_bytes()
            time.sleep(1.1)
            self.made()
            self.assertEqual(self.image.read_bytes(), first)
            self.waits = False

    def changed(self):
        """Every change that it knows of, all of them in one volume."""
        volume, tree = self.made(), self.described()

        def change(name, *arguments):
            try:
                getattr(volume, name)(*arguments)
                return True
            except Unsupported:
                return False

        self.assertTrue(change("append", "big", b"more" * 1000))
        self.assertTrue(change("rewrite", "big", 1000, b"rewritten" * 300))
        tree["big"] = File(self.big[:1000] + b"rewritten" * 300 + self.big[3700:] + b"more" * 1000, mtime=None)
        self.assertTrue(change("truncate", "tiny", 4))
        tree["tiny"] = File(b"0123", mtime=None)
        self.assertTrue(change("rename", "d/sub/leaf", "d/sub/renamed"))
        tree["d/sub/renamed"] = tree.pop("d/sub/leaf")
        self.assertTrue(change("touch", "d/sub/renamed", TIME + HOUR))
        tree["d/sub/renamed"].mtime = TIME + HOUR
        self.assertTrue(change("delete", "empty"))
        del tree["empty"]
        self.assertTrue(change("create", "new", File(b"new" * 400)))
        tree["new"] = File(b"new" * 400)
        self.assertTrue(change("chmod", "new", 0o444))
        self.assertTrue(change("replace", "d/A long name, ünïcode.text", b"replaced"))
        tree["d/A long name, ünïcode.text"] = File(b"replaced")
        self.assertTrue(change("create", "folder", Dir()))
        self.assertTrue(change("rename", "folder", "folder 2"))
        tree["folder 2"] = Dir()
        if change("link", "new", "d/new too"):
            tree["d/new too"] = Link("new")
        self.assertEqual("d/new too" in tree, self.links)
        seen = volume.tree()
        for name in ("big", "tiny"):
            tree[name].mtime = seen[name].mtime or TIME
        self.same(seen, tree)
        if seen["new"].mode is not None:
            self.assertEqual(seen["new"].mode, 0o444)
        self.check()


class Ext4(FsMakerTest):
    links = symlinks = True
    options = {}

    def make(self, tree):
        need(self, *TOOLS["Ext"])
        return Ext(self.image, tree, **self.options)

    def check(self):
        tool("e2fsck", "-fn", self.image)

    def test_all(self):
        for self.options in ({}, {"block": 4096}, {"kind": "ext2"}, {"kind": "ext3", "size": 4 << 20}):
            with self.subTest(**self.options):
                self.whole()
                self.changed()

    def test_inodes_say_what_became_of_a_file(self):
        volume = self.made()
        before = volume.tree()
        volume.append("big", b"more")
        volume.replace("d/sub/leaf", b"other")
        volume.rename("tiny", "d/tiny")
        after = volume.tree()
        self.assertEqual(after["big"].inode, before["big"].inode)
        self.assertEqual(after["d/tiny"].inode, before["tiny"].inode)
        self.assertEqual((before["hard"].links, after["hard"].links), (2, 2))

    def test_names_that_are_odd(self):
        tree = {'a"b\\c': File(b"1"), "\x01\x7f": File(b"2"), " ": File(b"3"), "é" * 127: File(b"4"), "\udcff": File(b"5")}
        self.same(self.make(tree).tree(), tree)


class Fats(FsMakerTest):
    bits = 12

    def make(self, tree):
        need(self, *TOOLS["Fat"])
        return Fat(self.image, tree, bits=self.bits)

    def check(self):
        tool("fsck.fat", "-n", self.image)

    def test_all(self):
        for self.bits in (12, 16, 32):
            with self.subTest(bits=self.bits):
                self.whole()
                self.changed()


class ExFats(FsMakerTest):
    def make(self, tree):
        need(self, *TOOLS["ExFat"])
        return ExFat(self.image, tree, chained=("big",))

    def check(self):
        tool("fsck.exfat", "-n", self.image)

    def test_all(self):
        self.whole()
        self.changed()


class NtfsVolumes(FsMakerTest):
    links = True

    def make(self, tree):
        need(self, *TOOLS["Ntfs"])
        return Ntfs(self.image, tree, compressed=("packed",))

    def check(self):
        tool("ntfsfix", "-n", self.image)

    def test_all(self):
        self.whole()
        self.changed()

    def test_streams_and_compression(self):
        text = b"a line of text\n" * 20000
        volume = self.make({"f": File(b"main"), "f:stream": File(b"s" * 3000), "packed": Dir(), "packed/text": File(text)})
        self.assertEqual(volume.content("f"), b"main")
        self.assertEqual(volume.content("f:stream"), b"s" * 3000)
        self.assertEqual(volume.tree()["packed/text"].sha256, sha256(text))
        self.assertNotIn(text[:8192], self.image.read_bytes())


class Isos(FsMakerTest):
    links = symlinks = True
    kind = Iso

    def make(self, tree):
        need(self, *TOOLS["Iso"])
        return self.kind(self.image, tree)

    def test_all(self):
        self.whole()
        self.changed()


class HfsPlusVolumes(Isos):
    kind = HfsPlus

    def test_it_is_one(self):
        self.made()
        self.assertEqual(self.image.read_bytes()[1024:1028], b"H+\0\4")
        self.assertEqual(os.path.getsize(self.image) % 512, 0)
        self.assertIn(self.big, self.image.read_bytes())


if __name__ == "__main__":
    main("fs_maker")
