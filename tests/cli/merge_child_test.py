# SPDX-License-Identifier: Apache-2.0
"""Overlays merged into their parents: qemu-img's qcow2 over raw, against what QEMU shows of them."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SNAPTOOL, main, need, run, sha256_of_file  # noqa: E402
from vhdx_maker import random_vhdx  # noqa: E402
from vm_images import KIB, MIB, SECTOR, VmImageTest  # noqa: E402
from vpc_maker import DYNAMIC, FIXED, random_vhd  # noqa: E402


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
            self.assertEqual((done["bytes"], done["virtual_size"]), (dry["bytes"], len(content)))
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
        self.refused(64, "merge", self.parent, alone, words=["is over no other image"])
        upper = self.scratch / "upper.qcow2"
        self.qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "top.qcow2", "-F", "qcow2", upper)
        self.refused(63, "merge", self.child, upper, words=["not written in place", "-o NEW"])
        out = self.scratch / "out"
        self.refused(63, "merge", "-o", out, self.child, upper, words=["--follow-parents"])
        self.good("merge", "--follow-parents", "-o", out, self.child, upper)
        self.assertEqual(out.read_bytes(), self.qemu_reads("qcow2", upper))

    def vhd_chain(self, size=1300 * SECTOR, block=256 * KIB, depth=3, kind=DYNAMIC):
        """Images each over the one before it, and their contents."""
        chain = []
        for number in range(depth):
            path = self.scratch / f"{number}.vhd"
            parent, below = chain[-1][1:] if chain else (None, b"")
            image, content = random_vhd(self.rng, path, size, parent=parent, below=below, block=block)
            if parent is None and kind == FIXED:
                image.kind = FIXED
                image.blocks = {n: (b"", content[n * block:(n + 1) * block].ljust(block, b"\0")) for n in range(image.entries)}
            image.parent_name = f"{number - 1}.vhd"
            image.save(path)
            chain.append((path, image, content))
        return chain

    def test_vhd_into_vhd(self):
        for kind in (DYNAMIC, FIXED, DYNAMIC):
            base, top = self.vhd_chain(depth=2, kind=kind)
            other = self.scratch / "other.vhd"
            other.write_bytes(top[0].read_bytes())
            child = top[0].read_bytes()
            before = sha256_of_file(base[0])
            dry = json.loads(self.good("merge", "--dry-run", "--output=json", base[0], top[0]).stdout)
            self.assertEqual(sha256_of_file(base[0]), before)
            done = json.loads(self.good("merge", "--output=json", base[0], top[0]).stdout)
            self.assertEqual(dry["bytes"], done["bytes"])
            self.assert_reads(top[2], path=base[0])
            self.assertEqual(self.qemu_reads("vpc", base[0])[:len(top[2])], top[2])
            self.assertEqual(top[0].read_bytes(), child)
            self.assertEqual(self.good("info", base[0]).stderr, "")
            # Once more, there is nothing to do.
            again = json.loads(self.good("merge", "--output=json", base[0], top[0]).stdout)
            self.assertEqual(again["bytes"], 0)

    def test_what_is_over_the_child_may_be_over_the_parent(self):
        base, middle, top = self.vhd_chain()
        sibling, _ = random_vhd(self.rng, self.image, middle[1].size, parent=base[1], below=base[2], block=256 * KIB)
        sibling.parent_name = "0.vhd"
        sibling.save(self.image)
        self.good("merge", base[0], middle[0])
        self.assert_reads(top[2], "--parent", base[0], path=top[0])
        self.refused(66, "read", "--follow-parents", self.image, words=["another image"])
        self.good("merge", base[0], top[0])
        self.assert_reads(top[2], path=base[0])

    def test_into_the_middle_of_a_chain(self):
        base, middle, top = self.vhd_chain()
        before = sha256_of_file(base[0])
        self.refused(63, "merge", middle[0], top[0], words=["--follow-parents"])
        self.good("merge", "--follow-parents", middle[0], top[0])
        self.assert_reads(top[2], "--follow-parents", path=middle[0])
        self.assertEqual(sha256_of_file(base[0]), before)

    def test_vhdx_into_vhdx(self):
        base, top, grand = (self.scratch / f"{n}.vhdx" for n in range(3))
        size = 5 * MIB + 3 * SECTOR
        for _ in range(4):
            parent, below = random_vhdx(self.rng, base, size)
            child, content = random_vhdx(self.rng, top, size, parent=parent, parent_content=below, name="0.vhdx")
            _, last = random_vhdx(self.rng, grand, size, parent=child, parent_content=content, name="1.vhdx")
            # A parent that is a child itself.
            self.refused(63, "merge", "--follow-parents", top, grand, words=["differencing"])
            self.good("merge", base, top)
            self.assert_reads(content, path=base)
            self.assertEqual(self.qemu_reads("vhdx", base), content)
            self.qemu("qemu-img", "check", "-q", "-f", "vhdx", base)
            self.assertEqual(json.loads(self.good("merge", "--output=json", base, top).stdout)["bytes"], 0)
            self.assert_reads(last, "--parent", base, path=grand)

    def test_qcow2_into_vhd(self):
        base, = self.vhd_chain(depth=1)
        self.qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "0.vhd", "-F", "vpc", self.child, len(base[2]))
        self.qemu("qemu-io", "-f", "qcow2", "-c", "write -P 7 100k 300k", "-c", "write -z 500k 64k", self.child)
        content = bytearray(base[2])
        content[100 * KIB:400 * KIB] = b"\7" * (300 * KIB)
        content[500 * KIB:564 * KIB] = bytes(64 * KIB)
        self.good("merge", base[0], self.child)
        self.assert_reads(bytes(content), path=base[0])
        self.assertEqual(json.loads(self.good("merge", "--output=json", base[0], self.child).stdout)["bytes"], 0)

    def test_what_a_parent_must_not_be(self):
        base, top = self.vhd_chain(depth=2)
        whole = base[0].read_bytes()
        other, _ = random_vhd(self.rng, self.image, base[1].size, block=256 * KIB)
        other.save(self.image)
        self.refused(66, "merge", self.image, top[0], words=["another image"])
        self.refused(66, "merge", "--force", self.image, top[0], words=["another image"])
        # Two blocks in one place: a write to one would change the other.
        table = struct.unpack_from(">6I", whole, 1536)
        first, second = [n for n in range(6) if table[n] != 2**32 - 1][:2]
        bad = bytearray(whole)
        struct.pack_into(">I", bad, 1536 + 4 * first, table[second])
        base[0].write_bytes(bad)
        self.refused(65, "merge", base[0], top[0], words=["not written to"])
        self.assertEqual(base[0].read_bytes(), bad)
        base[0].write_bytes(whole)
        # Of another size.
        longer, _ = random_vhd(self.rng, top[0], base[1].size + SECTOR, parent=base[1], below=base[2], block=256 * KIB)
        longer.parent_name = "0.vhd"
        longer.save(top[0])
        self.refused(63, "merge", base[0], top[0], words=["-o NEW"])
        self.assertEqual(base[0].read_bytes(), whole)

    def test_footers_that_are_not_where_they_should_be(self):
        """What the file ends with instead is data, and stays."""
        def cut(whole):
            return whole[:-SECTOR]

        def old(whole):
            return whole[:-1]

        for change in (cut, old):
            base, top = self.vhd_chain(size=2 * 256 * KIB, depth=2)
            base[0].write_bytes(change(base[0].read_bytes()))
            before = run("read", base[0], binary=True).stdout
            self.assertEqual(before, base[2])
            self.good("merge", base[0], top[0])
            self.assert_reads(top[2], path=base[0])
            self.assertEqual(self.qemu_reads("vpc", base[0])[:len(top[2])], top[2])
            self.assertEqual(self.good("info", base[0]).stderr, "")

        # A block that has the footer as its last sector.
        base, top = self.vhd_chain(size=2 * 256 * KIB, depth=2)
        whole = bytearray(base[0].read_bytes())
        last = max(n for n in struct.unpack_from(">2I", whole, 1536) if n != 2**32 - 1)
        number = struct.unpack_from(">2I", whole, 1536).index(last)
        struct.pack_into(">I", whole, 1536 + 4 * number, last + 1)
        base[0].write_bytes(whole)
        self.refused(65, "merge", base[0], top[0], words=["not written to"])
        self.assertEqual(base[0].read_bytes(), whole)

    def test_a_fixed_parent_of_half_a_sector(self):
        base, top = self.vhd_chain(size=256 * KIB + 1000, depth=2, kind=FIXED)
        self.good("merge", base[0], top[0])
        self.assert_reads(top[2], path=base[0])
        self.assertEqual(base[0].read_bytes()[-512:][:8], b"conectix")

    def test_the_same_uuid_is_no_merge(self):
        base, top = self.vhd_chain(depth=2)
        top[1].uuid = top[1].parent_uuid
        top[1].save(top[0])
        self.good("merge", base[0], top[0])
        self.assert_reads(top[2], path=base[0])

    def test_a_child_that_was_written_after_its_merge(self):
        base, top = self.vhd_chain(depth=2)
        self.good("merge", base[0], top[0])
        number = next(iter(top[1].blocks))
        bits, data = top[1].blocks[number]
        content = bytearray(top[2])
        at = number * top[1].block
        top[1].blocks[number] = (bytes([bits[0] | 0x80]) + bits[1:], b"n" * SECTOR + data[SECTOR:])
        content[at:at + SECTOR] = b"n" * SECTOR
        top[1].save(top[0])
        self.good("merge", base[0], top[0])
        self.assert_reads(bytes(content), path=base[0])

    def test_a_parent_of_two_places(self):
        """Beside a link lies another one than beside what it leads to."""
        base, middle, top = self.vhd_chain()
        folder = self.scratch / "folder"
        folder.mkdir()
        (folder / "1.vhd").symlink_to(middle[0])
        (folder / "0.vhd").write_bytes(base[0].read_bytes())
        for words in (["merge", "--follow-parents", folder / "1.vhd", top[0]], ["hash", "--follow-parents", folder / "1.vhd"]):
            self.refused(66, *words, words=["is a link"])

    def test_what_a_stopped_merge_leaves_shows_nowhere(self):
        """QEMU puts a new block past the last one, and takes what is there for zeros."""
        base, top = self.vhd_chain(size=40 * 256 * KIB, block=256 * KIB, depth=2)
        lacking = set(top[1].blocks) - set(base[1].blocks)
        self.assertGreater(len(lacking), 1)
        limited = subprocess.run(["bash", "-c", f'ulimit -f {base[0].stat().st_size // 1024 + 600}; exec "$@"', "-", SNAPTOOL,
                                  "merge", base[0], top[0]], capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(limited.returncode, 1, limited.stderr)
        self.assertIn("nothing is lost", limited.stderr)
        shown = self.qemu_reads("vpc", base[0])
        at = max(lacking) * 256 * KIB
        self.qemu("qemu-io", "-f", "vpc", "-c", f"write -P 9 {at} 512", base[0])
        self.assertEqual(self.qemu_reads("vpc", base[0]), shown[:at] + b"\t" * 512 + shown[at + 512:])

    def test_vhd_stopped_and_gone_on_with(self):
        base, top = self.vhd_chain(size=24 * MIB, block=2 * MIB, depth=2)
        for how in (signal.SIGINT, signal.SIGKILL, signal.SIGKILL):
            process = subprocess.Popen([SNAPTOOL, "merge", str(base[0]), str(top[0])], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            time.sleep(self.rng.choice([0.1, 0.15, 0.2]))
            process.send_signal(how)
            process.communicate(timeout=30)
            self.assert_reads(top[2], "--follow-parents", "--ignore-invalid", path=top[0])
        self.good("merge", base[0], top[0])
        self.assert_reads(top[2], path=base[0])

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
