# SPDX-License-Identifier: Apache-2.0
"""Files within an image: ls and cat, against what e2fsprogs says of them."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from fs_maker import TIME, TOOLS, Dir, Ext, File, Link, Symlink  # noqa: E402
from harness import SEED, ScratchTest, main, need, run  # noqa: E402


class Files(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, *TOOLS["Ext"])
        self.rng = random.Random(f"{SEED}{self.id()}")
        self.image = self.scratch / "disk.img"
        self.tree = {"d": Dir(), "d/sub": Dir(), "d/sub/leaf": File(b"leaf", mtime=TIME + 5), "empty": File(), "link": Symlink("d/sub/leaf"),
                     "big": File(self.rng.randbytes(100_000)), "sparse": File(b"end", at=300_000, size=500_000), "hard": Link("big"),
                     "od\x1bd": File(b"1"), "ünïcode": File(b"2"), "d/" + "n" * 200: File(b"3")}
        self.volume = Ext(self.image, self.tree, size=4 << 20)

    def good(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual((done.returncode, done.stderr if isinstance(done.stderr, str) else ""), (0, ""), (arguments, done.stderr))
        return done

    def listed_rows(self, *arguments):
        return json.loads(self.good("ls", "--output=json", *arguments).stdout)["files"]

    def listed(self, *arguments):
        return {one["path"]: one for one in self.listed_rows(*arguments)}

    def test_all_of_it(self):
        listed = self.listed("-R", self.image)
        seen = self.volume.tree()
        self.assertEqual(sorted(listed), sorted(seen))
        kinds = {"dir": "folder", "symlink": "link"}
        for path, one in seen.items():
            row = listed[path]
            self.assertEqual(row["type"], kinds.get(one.kind, one.kind), path)
            self.assertEqual((row["inode"], int(row["mode"], 8)), (one.inode, one.mode), path)
            if one.kind == "file":
                self.assertEqual(row["size"], one.size)
                self.assertEqual(self.good("cat", self.image, path, binary=True).stdout, self.volume.content(path))
            if one.kind == "symlink":
                self.assertEqual(row["target"], one.target)

    def test_a_folder_a_file_and_a_partition(self):
        self.assertEqual(sorted(self.listed(self.image, "d")), sorted(path for path in self.tree if path.startswith("d/") and
                                                                      path.count("/") == 1))
        self.assertEqual(self.good("ls", self.image, "/d/sub/").stdout, "d/sub/leaf\n")
        self.assertEqual(self.good("ls", self.image, "d/sub/leaf").stdout, "d/sub/leaf\n")
        self.assertIn("2020-01-01T00:00:05", self.good("ls", "-l", self.image, "d/sub").stdout)
        self.assertIn("od\\x1bd\n", self.good("ls", self.image).stdout)
        whole = self.scratch / "whole.dd"
        whole.write_bytes(bytes(1 << 20) + self.image.read_bytes())
        self.assertEqual(self.good("cat", f"{whole}#+1M", "d/sub/leaf").stdout, "leaf")

    def test_holes_stay_holes(self):
        out = self.scratch / "out"
        self.good("cat", self.image, "sparse", "-o", out)
        self.assertEqual(out.read_bytes(), self.volume.content("sparse"))
        self.assertLess(out.stat().st_blocks * 512, 100_000)

    def test_by_inode(self):
        inode = self.volume.tree()["big"].inode
        self.assertEqual(self.good("cat", self.image, "--inode", inode, binary=True).stdout, self.volume.content("big"))

    def test_no_two_names_look_alike(self):
        names = [b"n\xff", b"n\xfe", "n\ufffd".encode(), b"n\\xff", b"n\x1b", b"n\\x1b", b"n\\"]
        Ext(self.image, {os.fsdecode(name): File(b"in " + name) for name in names})
        for form in ([], ["-l"]):
            printed = [line.split()[-1] for line in self.good("ls", *form, self.image).stdout.splitlines()]
            read = [subprocess.run(["bash", "-c", f"printf %s $'{line}'"], stdout=subprocess.PIPE, check=True).stdout for line in printed]
            self.assertEqual(sorted(set(read) - {b"lost+found"}), sorted(names))
        for name in names:
            self.assertEqual(self.good("cat", self.image, os.fsdecode(name), binary=True).stdout, b"in " + name)
        told = [(one["path"], one.get("path_hex")) for one in self.listed_rows(self.image)]
        self.assertEqual(sorted((path.encode() if hexed is None else bytes.fromhex(hexed)) for path, hexed in told if path != "lost+found"), sorted(names))
        self.assertEqual(sorted(hexed for _, hexed in told if hexed), ["6efe", "6eff"])

    def test_targets_that_are_not_utf8(self):
        Ext(self.image, {"a": Symlink("\udcff"), "b": Symlink("\udcfe"), "c": Symlink("\\xff")})
        rows = {row["path"]: row for row in self.listed_rows(self.image)}
        self.assertEqual([rows[name].get("target_hex") for name in "abc"], ["ff", "fe", None])
        for name, target in (("a", "\\xff"), ("c", "\\x5cxff")):
            self.assertIn(f" {name} -> {target}\n", self.good("ls", "-l", self.image).stdout)

    def test_deleted(self):
        self.volume.delete("empty")
        self.assertNotIn("empty", self.good("ls", self.image).stdout)
        self.assertIn("empty (deleted)\n", self.good("ls", "--deleted", self.image).stdout)

    def test_what_is_refused(self):
        def refused(status, *arguments, words=()):
            done = run(*arguments)
            self.assertEqual((done.returncode, done.stdout), (status, ""), (arguments, done.stderr))
            self.assertRegex(done.stderr, r"\Asnaptool [a-z]+: [^\n]+\n\Z")
            for word in words:
                self.assertIn(word, done.stderr)

        refused(1, "cat", self.image, "none", words=["'none'"])
        refused(1, "ls", self.image, "d/none")
        refused(1, "ls", self.image, "big/none", words=["not a folder"])
        refused(64, "cat", self.image, "d", words=["not a regular file"])
        refused(64, "cat", self.image, "link")
        refused(64, "cat", self.image)
        refused(64, "cat", self.image, "big", "--inode", "12")
        refused(64, "cat", self.image, "--inode", "12x")
        refused(1, "cat", self.image, "--inode", "99999999")
        empty = self.scratch / "empty"
        empty.write_bytes(bytes(1 << 20))
        refused(63, "ls", empty, words=["no file system"])
        for magic, at, name in ((b"XFSB", 0, "XFS"), (b"_BHRfS_M", 0x10040, "btrfs"), (b"LABELONE", 512, "LVM")):
            data = bytearray(1 << 20)
            data[at:at + len(magic)] = magic
            empty.write_bytes(data)
            refused(63, "ls", empty, words=[name, "not read"])

    def test_what_is_broken_is_told_of(self):
        """The rest is listed all the same."""
        with open(self.image, "r+b") as image:
            data = image.read()
            at = data.index(b"\4\1leaf")  # the name's length, its type, and the name
            image.seek(at)
            image.write(b"\xff")
        for form in ([], ["--output=json"]):
            done = run("ls", "-R", *form, self.image)
            self.assertEqual(done.returncode, 65, done.stderr)
            self.assertIn("sparse", done.stdout)
            self.assertNotIn("d/sub/leaf", done.stdout.splitlines())
        self.assertNotIn("d/sub/leaf", [one["path"] for one in json.loads(done.stdout)["files"]])


if __name__ == "__main__":
    main("files")
