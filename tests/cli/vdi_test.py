# SPDX-License-Identifier: Apache-2.0
"""VirtualBox's images: what qemu-img made, what it cannot make, what snaptool made, and what is broken."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import main, need, run, scaled  # noqa: E402
from vdi_maker import random_vdi  # noqa: E402
from vm_images import KIB, MIB, SECTOR, SIZES, VmImageTest  # noqa: E402


class Reading(VmImageTest):
    def test_what_qemu_makes(self):
        for sectors in SIZES:
            for options in ([], ["-o", "static=on"]):
                content = self.qemu_makes("vdi", self.some_content(sectors), *options)
                self.assert_reads(content)
                info = self.info()
                self.assertEqual((info["format"], info["virtual_size"]), ("vdi", len(content)))

    def test_blocks_in_any_order(self):
        """Sizes of blocks that qemu-img refuses, and bytes before each that it takes for data."""
        for block, extra in ((MIB, 0), (64 * KIB, 0), (64 * KIB, 512), (SECTOR, 0), (4 * MIB, 4096)):
            size = self.rng.randrange(1, 4000) * SECTOR
            _, content = random_vdi(self.rng, self.image, size, block=block, extra=extra)
            self.assert_reads(content)

    def test_a_chain_is_named_image_by_image(self):
        size = 40 * 64 * KIB
        chain = [(None, b"")]
        for number in range(4):
            path = self.scratch / f"{number}.vdi"
            parent, below = chain[-1]
            chain.append(random_vdi(self.rng, path, size, parent=parent, parent_content=below, block=64 * KIB))
        paths = [self.scratch / f"{number}.vdi" for number in range(4)]
        parents = [word for number in (2, 1, 0) for word in ("--parent", paths[number])]
        self.assert_reads(chain[-1][1], *parents, path=paths[3])
        self.refused(66, "read", *parents[:4], paths[3], words=["'" + str(paths[1]), "--parent"])
        self.refused(66, "read", *parents[2:4], *parents[:2], paths[3], words=["another image"])
        self.refused(64, "read", *parents, "--parent", paths[1], paths[3], words=[f"'{paths[0]}' has no parent"])

    def test_over_a_parent(self):
        """Its name is nowhere: it is named, and must be the one that was meant, as it was then."""
        base = self.scratch / "base.vdi"
        size = 2500 * SECTOR
        parent, below = random_vdi(self.rng, base, size, block=64 * KIB)
        _, content = random_vdi(self.rng, self.image, size, parent=parent, parent_content=below, block=64 * KIB)
        self.refused(66, "read", self.image, words=["does not say where", "--parent"])
        self.assert_reads(content, "--parent", base)
        self.assertIn(str(parent.uuid), self.info()["backing_identity"])
        parent.modification = parent.uuid
        parent.save(base)
        self.refused(66, "read", "--parent", base, self.image, words=["was changed since"])
        done = run("read", "--parent", base, "--ignore-invalid", self.image, binary=True)
        self.assertEqual((done.returncode, done.stdout), (0, content))
        self.assertIn(b"was changed since", done.stderr)

    def test_over_nobody_knows_what(self):
        image, _ = random_vdi(self.rng, self.image, 3000 * SECTOR, block=64 * KIB)
        for kind in (3, 4):
            image.kind = kind
            image.save(self.image)
            self.refused(66, "hash", self.image, words=["does not say over which"])
        image.kind = 1
        image.save(self.image)
        self.refused(64, "hash", "--internal-snapshot", "x", self.image, words=["no snapshots within"])
        self.refused(63, "verify", self.image, words=["no sums", "--against"])

    def test_what_is_broken(self):
        image, content = random_vdi(self.rng, self.image, 3000 * SECTOR, block=64 * KIB)
        number = image.map.index(max(entry for entry in image.map if entry < 1 << 31))
        image.map[number] = len(image.blocks) + 5
        image.save(self.image)
        self.refused(65, "hash", self.image, words=["ends at byte"])
        self.assertEqual(self.good("read", "--length", "0", self.image).stdout, "")
        for at, value, status in ((68, 0x00000001, 63), (76, 9, 65), (360, 4096, 63), (376, 1000, 65), (376, 0, 65),
                                  (384, 1, 65), (340, 3, 65), (380, 1, 65)):
            header = image.header()[0]
            struct.pack_into("<I", header, at, value)
            self.image.write_bytes(bytes(header) + bytes(MIB))
            self.refused(status, "hash", self.image)
        image.save(self.image)
        self.assert_survives_mutants(scaled(20))


class Writing(VmImageTest):
    def test_qemu_reads_what_is_made(self):
        need(self, "qemu-img")
        raw = self.scratch / "raw"
        for sectors in (*SIZES, 40 * 2048 + 3):
            content = self.some_content(sectors)
            raw.write_bytes(content)
            self.image.unlink(missing_ok=True)
            self.good("convert", "-O", "vdi", raw, self.image)
            self.assertEqual(self.qemu_reads("vdi"), content)
            self.assertIn("No errors", self.qemu("qemu-img", "check", "-f", "vdi", self.image))
            self.assert_reads(content)

    def test_only_what_has_data_takes_space(self):
        self.assert_only_data_take_space("vdi", 6 * MIB)

    def test_what_cannot_be_made(self):
        raw, out = self.scratch / "raw", self.scratch / "out"
        raw.write_bytes(bytes(MIB))
        for options in (["--base", raw], ["-c"], ["--option", "x=1"]):
            done = run("convert", "-O", "vdi", *options, raw, out)
            self.assertIn(done.returncode, (63, 64), done.stderr)
            self.assertFalse(out.exists())


if __name__ == "__main__":
    main("vdi")
