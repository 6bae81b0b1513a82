# SPDX-License-Identifier: Apache-2.0
"""convert --bmap: what bmaptool copies by the same map, and maps, images and texts that do not fit together."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SEED, ScratchTest, main, need, run, scaled  # noqa: E402

BLOCK, KIB, MIB = 4096, 1 << 10, 1 << 20
OWN_SUM = {"1.3": "BmapFileSHA1", "1.4": "BmapFileChecksum", "2.0": "BmapFileChecksum"}


def make_bmap(content, ranges, version="2.0", kind="sha256", block=BLOCK, sums=True, **changed):
    """The text of a map of these ranges, (first, last) blocks, as bmaptool's BmapCreate.py says for each version."""
    kind = "sha1" if version == "1.3" else kind
    values = {"ImageSize": len(content), "BlockSize": block, "BlocksCount": -(-len(content) // block),
              "MappedBlocksCount": sum(last - first + 1 for first, last in ranges)}
    lines = ['<?xml version="1.0" ?>', "<!-- A block map -->", f'<bmap version="{version}">']
    lines += [f"    <{name}> {changed.get(name, value)} </{name}>" for name, value in values.items()]
    if version in ("1.4", "2.0"):
        lines.append(f"    <ChecksumType> {kind} </ChecksumType>")
    zeros = "0" * len(hashlib.new(kind).hexdigest())
    if version in OWN_SUM:
        lines.append(f"    <{OWN_SUM[version]}> {zeros} </{OWN_SUM[version]}>")
    lines.append("    <BlockMap>")
    for first, last in ranges:
        digits = hashlib.new(kind, content[first * block:(last + 1) * block]).hexdigest()
        attribute = f'{"sha1" if version == "1.3" else "chksum"}="{digits}"' if sums and version in OWN_SUM else ""
        lines.append(f"        <Range {attribute}> {first}{f'-{last}' if last > first else ''} </Range>")
    text = "\n".join([*lines, "    </BlockMap>", "</bmap>", ""])
    return text.replace(f"> {zeros} <", f"> {hashlib.new(kind, text.encode()).hexdigest()} <")


def by_ranges(content, ranges, below, block=BLOCK):
    """What is made of `below` when these ranges of `content` are written over it."""
    made = bytearray(below)
    for first, last in ranges:
        piece = content[first * block:(last + 1) * block]
        made[first * block:first * block + len(piece)] = piece
    return bytes(made)


class BmapTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")
        self.image, self.bmap, self.target = (self.scratch / name for name in ("image", "image.bmap", "target"))

    def some(self, size=MIB + 777, block=BLOCK):
        """An image that is junk where nothing is mapped, with zeros in some of what is, and ranges; the last block, too."""
        content, blocks, ranges, at = bytearray(self.rng.randbytes(size)), -(-size // block), [], 0
        while at < blocks - 1:
            last = min(blocks - 2, at + self.rng.choice([0, 0, 1, 5, 30]))
            if self.rng.random() < 0.5:
                ranges.append((at, last))
                if self.rng.random() < 0.3:
                    content[at * block:(at + 1) * block] = bytes(block)
            at = last + 1 + self.rng.randrange(4)
        ranges.append((blocks - 1, blocks - 1))
        return bytes(content), ranges

    def save(self, content, text):
        self.image.write_bytes(content)
        self.bmap.write_text(text)

    def convert(self, *options):
        return run("convert", "--bmap", self.bmap, *options, self.image, self.target)

    def good(self, *options):
        done = self.convert(*options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.target.read_bytes()

    def refused(self, status, *words):
        """Nothing is written: neither into a file that is there, nor into a new one."""
        for there in (False, True):
            self.target.unlink(missing_ok=True)
            if there:
                self.target.write_bytes(b"\xee" * (2 * MIB))
            done = self.convert(*(["-n"] if there else []))
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertRegex(done.stderr, r"\Asnaptool convert: [^\n]+\n\Z")
            for word in words:
                self.assertIn(word, done.stderr)
            self.assertEqual(self.target.exists(), there)
            if there:
                self.assertEqual(self.target.read_bytes(), b"\xee" * (2 * MIB))
        self.target.unlink()

    def bmaptool(self, *arguments):
        done = subprocess.run(["bmaptool", "-q", *map(str, arguments)], capture_output=True, text=True, check=False,
                              timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def bmaptool_copies(self):
        out = self.scratch / "theirs"
        out.unlink(missing_ok=True)
        self.bmaptool("copy", "--bmap", self.bmap, self.image, out)
        return out.read_bytes()


class Copying(BmapTest):
    def test_a_new_file_has_holes(self):
        content, ranges = self.some(8 * MIB)
        ranges = [(first, last) for first, last in ranges if first > 1800 or last < 30]
        self.save(content, make_bmap(content, ranges))
        self.assertEqual(self.good(), by_ranges(content, ranges, bytes(len(content))))
        self.assertLess(self.target.stat().st_blocks * 512, 3 * MIB)

    def test_of_a_file_that_is_there_the_rest_stays(self):
        content, ranges = self.some()
        self.save(content, make_bmap(content, ranges))
        for extra in (0, 5, MIB):
            old = self.rng.randbytes(len(content) + extra)
            self.target.write_bytes(old)
            for jobs in (1, 4):
                self.assertEqual(self.good("-n", "-j", jobs), by_ranges(content, ranges, old))

    def test_every_version_and_kind(self):
        for version, kind in (("1.0", ""), ("1.2", ""), ("1.3", "sha1"), ("1.4", "sha256"), ("2.0", "md5"),
                              ("2.0", "sha1"), ("2.0", "sha512"), ("2.0", "sha256")):
            for block in (512, BLOCK, 5000):
                content, ranges = self.some(200_001, block)
                self.save(content, make_bmap(content, ranges, version, kind or "sha256", block))
                self.target.unlink(missing_ok=True)
                self.assertEqual(self.good(), by_ranges(content, ranges, bytes(len(content)), block))

    def test_bmaptool_copies_the_same(self):
        need(self, "bmaptool")
        for version in ("1.2", "1.3", "1.4", "2.0"):
            for sums in (True, False):
                content, ranges = self.some(self.rng.randrange(5000, MIB))
                self.save(content, make_bmap(content, ranges, version, sums=sums))
                self.target.unlink(missing_ok=True)
                self.assertEqual(self.good(), self.bmaptool_copies())

    def test_maps_of_bmaptool_and_of_ours(self):
        need(self, "bmaptool")
        with open(self.image, "wb") as file:
            file.truncate(3 * MIB + 100)
            for _ in range(9):
                file.seek(self.rng.randrange(3 * MIB - 60_000))
                file.write(self.rng.randbytes(self.rng.randrange(1, 60_000)))
        content = self.image.read_bytes()
        for kind in ("sha256", "sha512", "sha1", "md5"):
            self.bmap.write_text(self.created(kind))
            self.target.unlink(missing_ok=True)
            self.assertEqual(self.good(), content)
        done = run("map", "--as", "bmap", self.image)
        self.bmap.write_text(done.stdout)
        self.target.unlink()
        self.assertEqual(self.good(), content)
        self.assertEqual(self.bmaptool_copies(), content)

    def test_of_a_view_and_a_qcow2_image(self):
        """A format that rounds the size up: what is behind the map's is zeros."""
        need(self, "qemu-img")
        content, ranges = self.some(300_001)
        self.save(content, make_bmap(content, ranges))
        raw, self.image = self.image, self.scratch / "image.qcow2"
        done = run("convert", "-O", "qcow2", raw, self.image)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.good(), by_ranges(content, ranges, bytes(len(content))))
        origin, cow = raw, self.scratch / "cow"
        origin.write_bytes(content + bytes(-len(content) % 512))
        self.assertEqual(run("create", origin, cow).returncode, 0)
        self.image = f"{origin}@{cow}"
        self.target.unlink()
        self.assertEqual(self.good(), by_ranges(content, ranges, bytes(len(content))))

    def test_nothing_is_mapped(self):
        content = self.rng.randbytes(10_000)
        self.save(content, make_bmap(content, []))
        self.assertEqual(self.good(), bytes(10_000))
        self.save(b"", make_bmap(b"", []))
        self.target.unlink()
        self.assertEqual(self.good(), b"")

    def created(self, kind):
        """What bmaptool makes of the image; the program makes sha256 only."""
        code = ("import sys; from bmaptools.BmapCreate import BmapCreate; "
                "BmapCreate(sys.argv[1], sys.argv[2], sys.argv[3]).generate()")
        out = self.scratch / "created"
        subprocess.run(["/usr/bin/python3", "-c", code, self.image, out, kind], check=True, timeout=60)
        return out.read_text()


class Refused(BmapTest):
    def test_the_map_is_no_output(self):
        content, ranges = self.some()
        self.save(content, make_bmap(content, ranges))
        link = self.scratch / "link"
        os.link(self.bmap, link)
        before = self.bmap.read_bytes()
        for target in (self.bmap, link):
            for options in (["--force"], ["-n", "--force"]):
                done = run("convert", "--bmap", self.bmap, *options, self.image, target)
                self.assertEqual(done.returncode, 64, done.stderr)
                self.assertIn("input", done.stderr)
        self.assertEqual(self.bmap.read_bytes(), before)

    def test_an_image_that_was_changed(self):
        content, ranges = self.some()
        text = make_bmap(content, ranges)
        for first, last in (ranges[0], ranges[-1], self.rng.choice(ranges)):
            bad, end = bytearray(content), min((last + 1) * BLOCK, len(content))
            bad[self.rng.randrange(first * BLOCK, end)] ^= 1
            self.save(bad, text)
            self.refused(65, "not the image of the block map", f"from byte {first * BLOCK} on")
        outside = bytearray(content)
        free = next(n for n in range(len(content) // BLOCK) if not any(a <= n <= b for a, b in ranges))
        outside[free * BLOCK] ^= 1
        self.save(outside, text)
        self.good()

    def test_a_map_that_was_changed(self):
        content, ranges = self.some()
        text = make_bmap(content, ranges)
        places = [text.index("A block map"), text.index("> ", text.index("<ImageSize")) + 2,
                  text.index("BmapFileChecksum> ") + 18, text.index('chksum="') + 8, text.rindex("> ") + 2]
        for at in places:
            other = "1" if text[at] != "1" else "2"
            self.save(content, text[:at] + other + text[at + 1:])
            self.refused(65, str(self.bmap))

    def test_a_map_of_another_image(self):
        content, ranges = self.some()
        self.save(content[:-1], make_bmap(content, ranges))
        self.refused(65, "bytes, not")
        self.save(content + b"x", make_bmap(content, ranges))
        self.refused(65, "it has more than the")
        other, other_ranges = self.some()
        self.save(content, make_bmap(other, other_ranges))
        self.refused(65, "not the image of the block map")

    def test_numbers_that_do_not_fit_together(self):
        content, ranges = self.some()
        for changed in ({"ImageSize": len(content) + BLOCK}, {"ImageSize": -1}, {"ImageSize": 1 << 63}, {"BlockSize": 0},
                        {"BlockSize": 512}, {"BlockSize": 1 << 64}, {"BlocksCount": 1}, {"MappedBlocksCount": 0},
                        {"MappedBlocksCount": "many"}):
            self.save(content, make_bmap(content, ranges, **changed))
            self.refused(65, str(self.bmap))
        blocks = -(-len(content) // BLOCK)
        for wrong in ([(0, blocks)], [(5, 6), (6, 7)], [(5, 6), (1, 2)], [(1 << 62, 1 << 62)]):
            self.save(content, make_bmap(content, wrong))
            self.refused(65, str(self.bmap))

    def test_what_is_not_read(self):
        content, ranges = self.some(50_000)
        for version, kind in (("3.0", "sha256"), ("1.5", "sha256"), ("2.0", "sha384")):
            self.save(content, make_bmap(content, ranges, version, kind))
            self.refused(63, str(self.bmap))
        text = make_bmap(content, ranges)
        self.save(content, "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + text)
        self.refused(63, "gpg")
        for bad in ("", "junk", "<html></html>", text[:200], text.replace("<bmap", "<!DOCTYPE bmap><bmap")):
            self.save(content, bad)
            self.refused(65, str(self.bmap))

    def test_a_target_that_is_too_small(self):
        content, ranges = self.some(50_000)
        self.save(content, make_bmap(content, ranges))
        self.target.write_bytes(b"\xee" * 49_999)
        done = self.convert("-n")
        self.assertEqual(done.returncode, 73, done.stderr)
        self.assertEqual(self.target.read_bytes(), b"\xee" * 49_999)

    def test_mutants(self):
        """Of a map without sums, so that some are taken."""
        content, ranges = self.some(60_000)
        text = make_bmap(content, ranges, "1.2").encode()
        for _ in range(scaled(200)):
            bad = bytearray(text)
            for _ in range(self.rng.choice([1, 2, 5])):
                bad[self.rng.randrange(len(bad))] = self.rng.choice(b"0123456789<>/- &x\0\xff")
            self.image.write_bytes(content)
            self.bmap.write_bytes(bad)
            self.target.unlink(missing_ok=True)
            done = self.convert()
            self.assertIn(done.returncode, (0, 63, 65), (bytes(bad), done.stderr))
            self.assertNotRegex(done.stderr, "Sanitizer|runtime error|terminate called")
            self.assertEqual(self.target.exists(), done.returncode == 0)


if __name__ == "__main__":
    main("block maps")
