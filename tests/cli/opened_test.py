# SPDX-License-Identifier: Apache-2.0
"""What is opened for a name: the parents of an image, the parts of a split one, files named like parts, devices."""

import fcntl
import os
import random
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SEED, ScratchTest, main, need, run, run_under_strace, skip  # noqa: E402
from qcow2_maker import Qcow2  # noqa: E402

KIB = 1 << 10


class OpenedTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")
        self.work = self.scratch / "work"
        self.work.mkdir()

    def random_file(self, path, size=64 * KIB):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.rng.randbytes(size))
        return path

    def done(self, status, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, status, (arguments, done.stderr))
        return done

    def read(self, *arguments):
        return self.done(0, "read", *arguments, binary=True).stdout


class ParentsOfAnImage(OpenedTest):
    def overlay(self, name, backing, form="raw"):
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return Qcow2(64 * KIB, backing=str(backing), backing_format=form).write(path)

    def check(self, path, content, inside):
        """Follows `path` to `content`, which is inside of its folder or not."""
        if inside:
            self.assertEqual(self.read("--follow-parents", path), content)
        else:
            for command in (["read", path], ["map", path], ["hash", path], ["info", path],
                            ["convert", "-O", "raw", path, self.scratch / "new"]):
                words = self.done(63, *command, "--follow-parents").stderr
                self.assertIn("--follow-parents=anywhere", words)
            self.assertFalse((self.scratch / "new").exists())
        self.assertEqual(self.read("--follow-parents=anywhere", path), content)
        self.assertIn("--follow-parents", self.done(63, "read", path).stderr)

    def test_names(self):
        inside = self.random_file(self.work / "below/base.raw")
        outside = self.random_file(self.scratch / "outside.raw")
        beside = self.random_file(self.scratch / "work2/base.raw")  # a folder whose name begins the same
        (self.work / "to-outside").symlink_to(outside)
        (self.work / "to-inside").symlink_to(inside)
        (self.work / "folder").symlink_to(beside.parent)
        for name, target, is_inside in (
                ("below/base.raw", inside, True), ("./below/../below/base.raw", inside, True), (inside, inside, True),
                ("../work/below/base.raw", inside, True), ("to-inside", inside, True),
                ("../outside.raw", outside, False), (outside, outside, False), ("to-outside", outside, False),
                ("../work2/base.raw", beside, False), ("folder/base.raw", beside, False)):
            with self.subTest(name=name):
                self.check(self.overlay("top.qcow2", name), target.read_bytes(), is_inside)

    def test_it_is_the_folder_of_the_image_that_was_named(self):
        base = self.random_file(self.work / "base.raw")
        self.overlay("below/middle.qcow2", "../base.raw")
        self.check(self.overlay("top.qcow2", "below/middle.qcow2", "qcow2"), base.read_bytes(), True)
        self.check(self.work / "below/middle.qcow2", base.read_bytes(), False)
        self.assertEqual(self.done(0, "read", "--follow-parents", "top.qcow2", cwd=str(self.work), binary=True).stdout,
                         base.read_bytes())
        link = self.scratch / "linked.qcow2"  # names are relative to the link, as QEMU has it
        link.symlink_to("work/top.qcow2")
        self.done(66, "read", "--follow-parents", link)

    def test_a_base_that_the_user_names_too(self):
        outside = self.random_file(self.scratch / "outside.raw")
        top = self.overlay("top.qcow2", "../outside.raw")
        self.done(0, "convert", "-O", "qcow2", "--base", outside, top, self.scratch / "new.qcow2")

    def test_a_parent_is_locked(self):
        base = self.random_file(self.work / "base.raw")
        top = self.overlay("top.qcow2", "base.raw")
        with base.open("r+b") as writer:
            # What a program that writes the image holds: an OFD lock for writing on all of it.
            fcntl.fcntl(writer, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            for command in (["read", "--follow-parents", top], ["read", "--parent", base, top]):
                self.assertIn("base.raw", self.done(75, *command).stderr)
            self.done(0, "hash", "-U", "--follow-parents", top)
        self.done(0, "hash", "--follow-parents", top)

    def test_other_values_of_the_option(self):
        base = self.random_file(self.scratch / "base.raw")
        top = self.overlay("top.qcow2", base)
        for value in ("none", "no", "folder", "0"):
            self.assertIn("=anywhere", self.done(64, "hash", f"--follow-parents={value}", top).stderr)

    def test_what_is_no_plain_file(self):
        os.mkfifo(self.work / "fifo")
        for name in ("fifo", "/dev/zero", "below"):
            (self.work / "below").mkdir(exist_ok=True)
            words = self.done(63, "read", "--follow-parents", self.overlay("top.qcow2", name)).stderr
            self.assertIn("not a plain file", words)


class PartsOfASplitImage(OpenedTest):
    def parts(self, count=3):
        return [self.random_file(self.work / f"disk.{n + 1:03}", 4 * KIB) for n in range(count)]

    def refused(self, words):
        for command in (["hash"], ["info"], ["read"]):
            message = self.done(64, *command, "-f", "split", self.work / "disk.001").stderr
            self.assertIn(words, message)

    def test_links(self):
        for n in range(3):
            parts = self.parts()
            self.assertEqual(self.read("-f", "split", parts[0]), b"".join(part.read_bytes() for part in parts))
            target = parts[n].rename(self.scratch / "elsewhere")
            parts[n].symlink_to(target)
            self.refused(f"disk.{n + 1:03}' is a symbolic link")
            parts[n].unlink()

    def test_a_second_part_is_told_even_if_it_is_a_link(self):
        parts = self.parts()
        parts[1].unlink()
        parts[1].symlink_to(parts[2])
        self.assertIn("may be only a part", self.done(0, "hash", parts[0]).stderr)

    def test_the_same_file_twice(self):
        parts = self.parts()
        parts[2].unlink()
        parts[2].hardlink_to(parts[0])
        self.refused("another part")

    def test_what_is_no_file(self):
        parts = self.parts()
        parts[1].unlink()
        os.mkfifo(parts[1])
        self.refused("disk.002' is not a plain file")
        parts[1].unlink()
        parts[1].mkdir()
        self.refused("disk.002' is not a plain file")

    def test_none_is_there(self):
        """Nor does a name that names something else help: `file:` takes it as it is."""
        for name in (f"file:{self.work}/disk.001", f"{self.work}/disk.001"):
            for command in ("hash", "info"):
                self.assertIn("cannot open", self.done(1, command, "-f", "split", name).stderr)

    def test_more_than_a_file_can_have(self):
        for n in range(3):
            with open(self.work / f"disk.{n + 1:03}", "wb") as part:
                try:
                    part.truncate((1 << 62) + (1 << 61))
                except OSError:
                    skip(self, "the file system has no files of 6 EiB")
        self.assertIn("more than a file can have", self.done(65, "info", "-f", "split", self.work / "disk.001").stderr)

    @unittest.skipIf(os.geteuid() != 0, "only root gives files away")
    def test_another_owner(self):
        parts = self.parts()
        os.chown(parts[1], 12345, -1)
        self.refused("belongs to user 12345")
        for part in parts:
            os.chown(part, 12345, -1)
        self.done(0, "hash", "-f", "split", parts[0])


class FilesNamedLikeParts(OpenedTest):
    def test_the_file_is_taken_and_said(self):
        disk, cow = self.random_file(self.work / "disk"), self.random_file(self.work / "c@w")
        for tail in ("#p1", "#+1k", "#vg/lv", f"@{cow}", f",{cow}"):
            with self.subTest(tail=tail):
                path = self.random_file(Path(f"{disk}{tail}"))
                done = self.done(0, "hash", path)
                self.assertIn(f"there is a file named '{path}'", done.stderr)
                self.assertIn(f"nothing of '{disk}'", done.stderr)
                self.assertEqual(self.done(0, "hash", f"file:{path}").stderr, "")
                self.assertIn("there is a file named", self.done(0, "diff", "-f", "raw", path, path).stderr)

    def test_names_that_mean_nothing_else(self):
        self.random_file(self.work / "disk")
        (self.work / "folder").mkdir()
        for name in ("disk#7", "disk@nothing", "disk,nothing", "disk#", "alone#p1", "folder@x", "folder#p1/inside"):
            self.assertEqual(self.done(0, "hash", self.random_file(self.work / name)).stderr, "", name)


class Devices(OpenedTest):
    def test_a_character_device_is_not_opened(self):
        need(self, "strace")
        for command in (["info", "/dev/full"], ["read", "/dev/full"], ["verify", "/dev/full"],
                        ["diff", self.random_file(self.work / "a"), "/dev/full"],
                        ["write-origin", "-P", "1", "--offset", "0", "--length", "512", "/dev/full"]):
            trace = self.scratch / "trace"
            done = run_under_strace(["-o", str(trace), "-e", "trace=open,openat,openat2"], *command)
            self.assertIn(done.returncode, (2, 64), done.stderr)
            self.assertIn("a character device", done.stderr)
            opened = [line for line in trace.read_text().splitlines() if "O_PATH" not in line]
            self.assertNotIn("/dev/full", "\n".join(opened))


if __name__ == "__main__":
    main(__name__)
