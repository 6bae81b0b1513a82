# SPDX-License-Identifier: Apache-2.0
"""apply, stopped half way: what its journal belongs to, what is done without it; devices, and folders that cannot be read."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import main, need, need_loop_devices, run, run_under_strace, skip  # noqa: E402
from qcow2_maker import Qcow2  # noqa: E402
from snapdiff_test import MIB, SnapdiffTest  # noqa: E402


class Half(SnapdiffTest):
    def setUp(self):
        super().setUp()
        need(self, "strace")
        self.journal = self.scratch / "image.snaptool-journal"

    def half_apply(self, diff):
        """An image between two states, and the journal that says so."""
        image = self.file("image", self.base)
        run_under_strace(["-o", "/dev/null", "-e", "inject=pwrite64:signal=KILL:when=4"], "apply", "-q", "-j", "1", diff, image)
        self.assertTrue(self.journal.exists())
        self.assertNotIn(image.read_bytes(), (self.base, self.child))
        return image


class OfAnImage(Half):
    def test_another_image_in_its_place(self):
        diff = self.export("diff", self.b, "--base", self.a)
        image = self.half_apply(diff)
        torn = image.read_bytes()
        other = self.rng.randbytes(len(torn))
        image.write_bytes(other)
        self.refused(66, "apply", diff, image, words=["not the image"])
        self.assertEqual(image.read_bytes(), other)
        copy = self.file("copy", torn)
        os.replace(copy, image)
        self.refused(66, "apply", diff, image, words=["another file", "--force"])
        self.assertEqual(image.read_bytes(), torn)
        self.good("apply", "--force", diff, image)
        self.assertEqual(image.read_bytes(), self.child)

    def test_the_journal_of_a_view_is_elsewhere(self):
        """The COW's mark leads to it: the half of an apply is not merged."""
        self.need_marks()
        child = self.file("child", self.child[:len(self.base)])
        diff, cow, journal = self.export("diff", child, "--base", self.a), self.scratch / "cow", self.scratch / "elsewhere"
        self.good("create", self.a, cow)
        self.good("write", "-P", "1", "--length", "1M", self.a, cow)
        self.good("write", "--offset", "0", "-i", self.a, "--length", "1M", self.a, cow)
        words = ["apply", "-q", "-j", "1", "--journal", journal, diff, f"{self.a}@{cow}"]
        run_under_strace(["-o", "/dev/null", "-e", "inject=pwrite64:signal=KILL:when=4"], *words)
        self.assertTrue(journal.exists())
        self.refused(75, "merge", self.a, cow, words=["half done", str(journal)])
        self.good(*words)
        self.good("merge", self.a, cow)
        self.assertEqual(self.a.read_bytes(), child.read_bytes())

    def test_no_room_for_the_journal(self):
        """Then nothing was begun: the image keeps its size."""
        diff = self.export("diff", self.b, "--base", self.a)
        done = run("apply", "--journal", self.scratch / "nowhere" / "journal", diff, self.a)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(self.a.read_bytes(), self.base)

    def test_without_a_journal_what_grew_is_zeros(self):
        grown = self.file("grown", self.base + bytes(2 * MIB))
        diff = self.export("diff", grown, "--base", self.a)
        image = self.file("image", self.base + self.rng.randbytes(2 * MIB))
        self.good("apply", "--resume-without-journal", diff, image)
        self.assertEqual(image.read_bytes(), grown.read_bytes())
        rbd = self.export("rbd", grown, "--base", self.a, "-O", "rbd", "--from-snap", "one")
        self.refused(64, "apply", "--resume-without-journal", rbd, image, words=["no checksums"])

    def test_without_a_journal_a_view_is_read_whole(self):
        diff = self.export("diff", self.file("child", self.child[:len(self.base)]), "--base", self.a)
        other, cow = self.file("other", self.rng.randbytes(8 * MIB)), self.scratch / "cow"
        self.good("create", other, cow)
        self.refused(66, "apply", "--resume-without-journal", diff, f"{other}@{cow}", words=["not the image"])

    def test_by_another_name(self):
        diff = self.export("diff", self.b, "--base", self.a)
        image = self.half_apply(diff)
        folder = self.scratch / "folder"
        folder.mkdir()
        (folder / "link").symlink_to(image)
        self.good("apply", diff, folder / "link")
        self.assertEqual(image.read_bytes(), self.child)
        self.assertFalse(self.journal.exists())

    def need_marks(self):
        probe = self.file("probe", b"")
        try:
            os.setxattr(probe, "user.snaptool.apply", b"x")
        except OSError as error:
            skip(self, f"no extended attributes here: {error.strerror}")

    def test_the_image_is_renamed(self):
        """A mark of the image leads to its journal."""
        self.need_marks()
        diff = self.export("diff", self.b, "--base", self.a)
        image, moved = self.half_apply(diff), self.scratch / "moved"
        image.rename(moved)
        cow = self.scratch / "cow"
        self.good("create", moved, cow)
        self.refused(75, "write-origin", "--snapshot", cow, "-P", "1", "--length", "4k", moved, words=["half done", str(self.journal)])
        self.assertIn("half done", self.good("hash", moved).stderr)
        self.refused(75, "apply", "--journal", self.scratch / "other", diff, moved, words=["half done", str(self.journal)])
        self.good("apply", diff, moved)
        self.assertEqual((moved.read_bytes(), os.listxattr(moved)), (self.child, []))
        self.assertFalse(self.journal.exists())
        self.assertEqual(self.good("hash", moved).stderr, "")

    def test_the_journal_is_elsewhere(self):
        """The mark leads to it, and it is written to, and removed."""
        self.need_marks()
        diff, image = self.export("diff", self.b, "--base", self.a), self.file("image", self.base)
        journal = self.scratch / "elsewhere/journal"
        journal.parent.mkdir()
        run_under_strace(["-o", "/dev/null", "-e", "inject=pwrite64:signal=KILL:when=4"], "apply", "-q", "-j", "1", "--journal",
                         journal, diff, image)
        self.assertTrue(journal.exists())
        top = Qcow2(len(image.read_bytes()) // 512 * 512, backing=str(image), backing_format="raw").write(self.scratch / "top")
        self.assertIn("half done", self.good("hash", "--follow-parents", top).stderr)
        self.good("apply", diff, image)
        self.assertEqual(image.read_bytes(), self.child)
        self.assertFalse(journal.exists())

    def test_a_mark_without_its_journal(self):
        """It was given up, or the mark came with a copy: it says nothing."""
        self.need_marks()
        diff = self.export("diff", self.b, "--base", self.a)
        image, moved = self.half_apply(diff), self.scratch / "moved"
        image.rename(moved)
        copy = self.file("copy", moved.read_bytes())
        os.setxattr(copy, "user.snaptool.apply", os.fsencode(self.journal))
        self.assertEqual(self.good("hash", copy).stderr, "")
        self.journal.unlink()
        self.assertEqual(self.good("hash", moved).stderr, "")

    def test_the_journal_is_lost(self):
        diff = self.export("diff", self.b, "--base", self.a, "--verify-base")
        image = self.half_apply(diff)
        self.refused(64, "apply", "--resume-without-journal", diff, image, words=["journal"])
        self.journal.unlink()
        image.write_bytes(self.child[:1500] + self.base[1500:])  # in the middle of a window
        self.refused(66, "apply", diff, image)
        self.good("apply", "--resume-without-journal", diff, image)
        self.assertEqual(image.read_bytes(), self.child)
        other = self.file("other", self.rng.randbytes(len(self.base)))
        self.refused(66, "apply", "--resume-without-journal", diff, other, words=["not the image"])

    def test_rbd_diffs_of_one_length(self):
        """They have no sums: all of their bytes say which they are."""
        diff = self.export("diff", self.b, "--base", self.a, "-O", "rbd", "--from-snap", "one")
        image = self.half_apply(diff)
        torn = image.read_bytes()
        content = bytearray(diff.read_bytes())
        content[len(content) // 2] ^= 1
        done = run("apply", self.file("other", content), image)
        self.assertEqual(done.returncode, 66, done.stderr)
        self.assertIn("journal of another", done.stderr)
        self.assertEqual(image.read_bytes(), torn)


class Places(SnapdiffTest):
    def test_a_folder_that_cannot_be_read(self):
        need(self, "strace")
        folder = self.scratch / "diffs"
        folder.mkdir()
        diff = self.export("diffs/diff", self.b, "--base", self.a)
        trace = ["-o", "/dev/null", "-P", folder, "-e", "inject=openat:error=EACCES"]
        done = run_under_strace(trace, "apply", "-q", diff, self.a)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.a.read_bytes(), self.child)

    def loop_device(self, size):
        need_loop_devices(self)
        path = self.file("device", bytes(size))
        device = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True, check=True).stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", device], check=False)
        return path, device

    def test_onto_a_device(self):
        diff = self.export("diff", self.b, "--base", self.a)
        path, device = self.loop_device(6 * MIB)
        self.good("apply", diff, self.a, "-o", device, "--force")
        self.assertEqual(path.read_bytes()[:len(self.child)], self.child)
        long = self.file("long", self.base + bytes(4096))
        before = path.read_bytes()
        self.refused(66, "apply", diff, long, "-o", device, "--force", words=["bytes"])
        self.assertEqual(path.read_bytes(), before)

    def test_too_small_a_device(self):
        diff = self.export("diff", self.b, "--base", self.a)
        path, device = self.loop_device(5 * MIB)
        self.refused(73, "apply", diff, self.a, "-o", device, "--force")
        self.assertEqual(path.read_bytes(), bytes(5 * MIB))


if __name__ == "__main__":
    main("resumed apply")
