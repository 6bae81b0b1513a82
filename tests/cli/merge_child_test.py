# SPDX-License-Identifier: Apache-2.0
"""Overlays merged into their parents: qemu-img's qcow2 over raw, against what QEMU shows of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SNAPTOOL, main, need, run, sha256_of_file  # noqa: E402
from vm_images import MIB, SECTOR, VmImageTest  # noqa: E402
from vpc_maker import random_vhd  # noqa: E402


class MergeChild(VmImageTest):
    def setUp(self):
        super().setUp()
        need(self, "qemu-img")
        self.parent, self.child = self.scratch / "base.img", self.scratch / "top.qcow2"

    def overlay(self, size=8 * MIB, child_size=None, writes=30):
        """A raw image, and an overlay that qemu-io wrote to. Returns what QEMU shows."""
        self.parent.write_bytes(self.rng.randbytes(size))
        self.child.unlink(missing_ok=True)
        self.qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", self.child, child_size or size)
        commands = []
        for _ in range(writes):
            length = SECTOR * self.rng.choice([1, 8, 200])
            at = SECTOR * self.rng.randrange(((child_size or size) - length) // SECTOR)
            kind = self.rng.choice([f"write -P {self.rng.randrange(1, 256)}", "write -z", "discard"])
            commands += ["-c", f"{kind} {at} {length}"]
        self.qemu("qemu-io", "-d", "unmap", "-f", "qcow2", *commands, self.child)
        return self.qemu_reads("qcow2", self.child)

    def test_the_parent_shows_what_the_child_did(self):
        for size, child_size in ((8 * MIB, None), (MIB, 3 * MIB), (3 * MIB + SECTOR, 2 * MIB)):
            content = self.overlay(size, child_size)
            tail = self.parent.read_bytes()[len(content):]
            child = self.child.read_bytes()
            before = sha256_of_file(self.parent)
            dry = json.loads(self.good("merge", "--dry-run", "--output=json", self.parent, self.child).stdout)
            self.assertEqual(sha256_of_file(self.parent), before)
            done = json.loads(self.good("merge", "--output=json", self.parent, self.child).stdout)
            self.assertEqual((done["bytes"], done["size"]), (dry["bytes"], len(content)))
            self.assertEqual(self.parent.read_bytes(), content + tail)
            self.assertEqual(self.child.read_bytes(), child)
            self.assertEqual(self.qemu_reads("qcow2", self.child), content)
            # Nothing is left to do.
            again = json.loads(self.good("merge", "--output=json", self.parent, self.child).stdout)
            self.assertEqual(again["bytes"], 0)

    def test_as_qemu_img_commits(self):
        content = self.overlay()
        copy = self.scratch / "copy"
        copy.mkdir()
        for path in (self.parent, self.child):
            (copy / path.name).write_bytes(path.read_bytes())
        self.qemu("qemu-img", "commit", "-q", copy / "top.qcow2")
        self.good("merge", self.parent, self.child)
        self.assertEqual(self.parent.read_bytes(), (copy / "base.img").read_bytes())
        self.assertEqual(self.parent.read_bytes(), content)

    def test_a_new_file(self):
        content = self.overlay()
        before = sha256_of_file(self.parent), sha256_of_file(self.child)
        out = self.scratch / "out"
        self.good("merge", "-o", out, self.parent, self.child)
        self.assertEqual(out.read_bytes(), content)
        self.assertEqual((sha256_of_file(self.parent), sha256_of_file(self.child)), before)
        piped = run("merge", "-o", "-", self.parent, self.child, binary=True)
        self.assertEqual((piped.returncode, piped.stdout), (0, content))

    def test_what_is_refused(self):
        self.overlay(MIB)
        other = self.scratch / "other.img"
        other.write_bytes(self.parent.read_bytes())
        before = sha256_of_file(other), sha256_of_file(self.child)
        self.refused(66, "merge", other, self.child, words=["base.img", "--force"])
        self.refused(64, "merge", "--sibling", other, self.parent, self.child, words=["--sibling"])
        self.refused(64, "merge", "--undo", other, self.parent, self.child)
        self.assertEqual((sha256_of_file(other), sha256_of_file(self.child)), before)
        self.good("merge", "--force", other, self.child)
        self.assertEqual(other.read_bytes(), self.qemu_reads("qcow2", self.child))
        # An image without a parent, and one that is over another format.
        alone = self.scratch / "alone.qcow2"
        self.qemu("qemu-img", "create", "-q", "-f", "qcow2", alone, MIB)
        self.refused(64, "merge", self.parent, alone, words=["no parent"])
        upper = self.scratch / "upper.qcow2"
        self.qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "top.qcow2", "-F", "qcow2", upper)
        self.refused(63, "merge", self.child, upper, words=["only a raw parent", "-o NEW"])
        out = self.scratch / "out"
        self.refused(63, "merge", "-o", out, self.child, upper, words=["--follow-parents"])
        self.good("merge", "--follow-parents", "-o", out, self.child, upper)
        self.assertEqual(out.read_bytes(), self.qemu_reads("qcow2", upper))

    def test_other_formats_make_a_new_image(self):
        base = self.scratch / "base.vhd"
        parent, below = random_vhd(self.rng, base, 300 * SECTOR, block=64 << 10)
        parent.save(base)
        child, content = random_vhd(self.rng, self.image, 300 * SECTOR, parent=parent, below=below, block=64 << 10)
        child.parent_name = "base.vhd"
        child.save(self.image)
        self.refused(63, "merge", base, self.image, words=["-o NEW"])
        out = self.scratch / "out"
        self.good("merge", "-o", out, base, self.image)
        self.assertEqual(out.read_bytes(), content)

    def test_stopped_and_gone_on_with(self):
        content = self.overlay(64 * MIB, writes=400)
        for how in (signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
            process = subprocess.Popen([SNAPTOOL, "merge", str(self.parent), str(self.child)], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, text=True)
            time.sleep(0.02)
            process.send_signal(how)
            _, error = process.communicate(timeout=30)
            self.assertIn(process.returncode, (0, 130, 143, -9, -2, -15), error)  # before it takes signals, too
            self.assertEqual(self.qemu_reads("qcow2", self.child), content)
        self.good("merge", self.parent, self.child)
        self.assertEqual(self.parent.read_bytes(), content)

    def test_under_another_name(self):
        self.overlay(MIB)
        link = self.scratch / "link.img"
        os.link(self.parent, link)
        self.good("merge", link, self.child)


if __name__ == "__main__":
    main("merge_child")
