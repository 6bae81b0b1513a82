# SPDX-License-Identifier: Apache-2.0
"""map --as, and split images: read by the programs that they are for."""

import random
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SEED, ScratchTest, main, need, run  # noqa: E402

BLOCK = 4096


class MapTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")

    def sparse(self, name, size, pieces):
        path = self.scratch / name
        with open(path, "wb") as file:
            file.truncate(size)
            for offset, length in pieces:
                file.seek(offset)
                file.write(self.rng.randbytes(length))
        return path

    def images(self):
        """Empty, a part of a block, all data, all hole, and pieces here and there."""
        yield self.sparse("empty", 0, [])
        yield self.sparse("tiny", 100, [(0, 100)])
        yield self.sparse("full", 10 * BLOCK + 1, [(0, 10 * BLOCK + 1)])
        yield self.sparse("hole", 1 << 20, [])
        yield self.sparse("ends", 1 << 20, [(0, 1), ((1 << 20) - 1, 1)])
        for n in range(5):
            size = (1 << 20) + self.rng.randrange(BLOCK)
            yield self.sparse(f"pieces{n}", size, [(self.rng.randrange(size - 20000), self.rng.randrange(1, 20000))
                                                   for _ in range(12)])

    def map_as(self, kind, *arguments):
        done = run("map", "--as", kind, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def qemu_ranges(self, image):
        """{(offset, length)} of the data, and of the zeros, as qemu-img tells them of a raw image."""
        done = subprocess.run(["qemu-img", "map", "--output=json", "-f", "raw", image], check=True, capture_output=True,
                              text=True)
        merged = []
        for start, length, zero in re.findall(r'"start": (\d+), "length": (\d+).*?"zero": (\w+)', done.stdout):
            merged.append([int(start), int(length), zero == "true"])
        return merged

    def refused(self, status, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertRegex(done.stderr, r"\Asnaptool [a-z-]+: [^\n]+\n")
        return done.stderr


class Bmap(MapTest):
    def bmap(self, image):
        path = self.scratch / "the.bmap"
        path.write_text(self.map_as("bmap", image))
        return path

    def copy(self, bmap, image):
        out = self.scratch / "copy"
        out.unlink(missing_ok=True)
        done = subprocess.run(["bmaptool", "-q", "copy", "--bmap", bmap, image, out], capture_output=True, text=True,
                              check=False)
        return done, out

    def test_bmaptool_copies_by_it(self):
        need(self, "bmaptool")
        for image in self.images():
            if image.stat().st_size == 0:
                continue  # bmaptool makes none of it either
            done, out = self.copy(self.bmap(image), image)
            self.assertEqual(done.returncode, 0, (image, done.stderr))
            self.assertEqual(out.read_bytes(), image.read_bytes(), image)

    def test_it_has_the_blocks_that_bmaptool_finds(self):
        need(self, "bmaptool")
        for image in self.images():
            if image.stat().st_size == 0:
                continue
            theirs = subprocess.run(["bmaptool", "create", image], check=True, capture_output=True, text=True).stdout
            ours = self.map_as("bmap", image)
            ranges = r'<Range chksum="(\w+)">\s*([\d-]+)\s*</Range>'
            self.assertEqual(re.findall(ranges, ours), re.findall(ranges, theirs), image)
            for name in ("ImageSize", "BlockSize", "BlocksCount", "MappedBlocksCount", "ChecksumType"):
                value = rf"<{name}>\s*(\w+)\s*</{name}>"
                self.assertEqual(re.findall(value, ours), re.findall(value, theirs), (image, name))

    def test_bmaptool_refuses_what_has_changed(self):
        need(self, "bmaptool")
        image = self.sparse("image", 1 << 20, [(8192, 30000)])
        bmap = self.bmap(image)
        content = bytearray(image.read_bytes())
        content[9000] ^= 1
        other = self.scratch / "other"
        other.write_bytes(content)
        self.assertIn("checksum", self.copy(bmap, other)[0].stderr)
        bmap.write_text(bmap.read_text().replace(">2-9<", ">2-8<"))
        self.assertIn("checksum", self.copy(bmap, image)[0].stderr)

    def test_of_a_view(self):
        need(self, "bmaptool")
        origin, cow, view = self.sparse("origin", 1 << 20, [(0, 70000)]), self.scratch / "cow", self.scratch / "view"
        self.assertEqual(run("create", origin, cow).returncode, 0)
        self.assertEqual(run("write", "-P", "5", "--offset", "512k", "--length", "9k", origin, cow).returncode, 0)
        self.assertEqual(run("read", f"{origin}@{cow}", "-o", view).returncode, 0)
        done, out = self.copy(self.bmap(f"{origin}@{cow}"), view)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(out.read_bytes(), view.read_bytes())


class Ddrescue(MapTest):
    def test_ddrescuelog_reads_it(self):
        need(self, "ddrescuelog", "qemu-img")
        for image in self.images():
            if image.stat().st_size == 0:
                continue
            mapfile = self.scratch / "mapfile"
            mapfile.write_text(self.map_as("ddrescue", image))
            blocks = {}
            for status in "+?":
                done = subprocess.run(["ddrescuelog", "-b1", f"--list-blocks={status}", mapfile], check=True,
                                      capture_output=True, text=True)
                blocks[status] = {int(line) for line in done.stdout.split()}
            expected = {"+": set(), "?": set()}
            for start, length, zero in self.qemu_ranges(image):
                expected["?" if zero else "+"].update(range(start, start + length))
            size = image.stat().st_size  # qemu rounds up to sectors
            self.assertEqual(blocks, {s: {b for b in e if b < size} for s, e in expected.items()}, image)

    def test_ddrescue_copies_by_it(self):
        need(self, "ddrescue")
        image = self.sparse("image", 1 << 20, [(8192, 30000), (600_000, 5)])
        domain, out = self.scratch / "domain", self.scratch / "out"
        domain.write_text(self.map_as("ddrescue", image))
        done = subprocess.run(["ddrescue", "-q", "-m", domain, image, out], check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(out.read_bytes(), image.read_bytes()[:out.stat().st_size])
        self.assertEqual(image.read_bytes()[out.stat().st_size:].strip(b"\0"), b"")


class Borg(MapTest):
    def rows(self, *arguments):
        rows = [line.split(" ") for line in self.map_as("borg", *arguments).splitlines()]
        return [(int(start), int(length), kind) for start, length, kind in rows]

    def test_data_and_zeros(self):
        for image in self.images():
            content, at = image.read_bytes(), 0
            for start, length, kind in self.rows(image):
                self.assertEqual(start, at)
                self.assertIn(kind, ("data", "zero"))
                if kind == "zero":
                    self.assertEqual(content[start:start + length].strip(b"\0"), b"")
                at += length
            self.assertEqual(at, len(content))

    def test_what_is_the_same(self):
        """A backup of an origin, the last one having been made of its snapshot."""
        origin, cow = self.sparse("origin", (1 << 20) + 512, [(0, 300_000)]), self.scratch / "cow"
        before = origin.read_bytes()
        self.assertEqual(run("create", origin, cow).returncode, 0)
        for offset in (8192, 12288, 700_416, 1 << 20):
            done = run("write-origin", "-P", "7", "--offset", offset, "--length", "512", "--snapshot", cow, origin)
            self.assertEqual(done.returncode, 0, done.stderr)
        rows = self.rows(origin, "--changes", cow)
        self.assertEqual([kind for _, _, kind in rows], ["same", "data", "same", "data", "same", "data"])
        archive, content = bytearray(before), origin.read_bytes()
        for start, length, kind in rows:
            if kind == "data":
                archive[start:start + length] = content[start:start + length]
        self.assertEqual(archive, content)
        self.assertNotEqual(content, before)

    def test_options_that_do_not_go_together(self):
        image = self.sparse("image", 8192, [(0, 8192)])
        self.refused(64, "map", "--as", "borg", "--output=json", image)
        self.refused(64, "map", "--changes", image, image)
        self.refused(64, "map", "--as", "vhd", image)


class Split(MapTest):
    def split(self, size, part, *options):
        """An image, and its parts as split(1) makes them."""
        image = self.sparse("image", size, [(0, size // 3), (size // 2, size // 4)])
        subprocess.run(["split", "-b", str(part), *options, image, self.scratch / "disk."], check=True)
        return image, sorted(self.scratch.glob("disk.*"))

    def test_it_begins_with_the_first_part(self):
        """A .000 beside the .001 that was named."""
        for n in range(3):
            (self.scratch / f"x.00{n}").write_bytes(self.rng.randbytes(BLOCK))
        self.assertIn("begins with it", self.refused(64, "hash", "-f", "split", self.scratch / "x.001"))
        self.assertEqual(run("hash", "-f", "split", self.scratch / "x.000").returncode, 0)
        (self.scratch / "x.000").unlink()
        self.assertEqual(run("hash", "-f", "split", self.scratch / "x.001").returncode, 0)

    def test_it_is_what_was_split(self):
        for options in (["-a3", "--numeric-suffixes=1"], ["-a3", "-d"], ["-a2"]):
            for size, part in ((300_000, 4096), (8192, 4096), (100, 4096), (5_000_000, 150_000)):
                image, parts = self.split(size, part, *options)
                self.assertEqual(run("read", "-f", "split", parts[0], binary=True).stdout, image.read_bytes())
                self.assertEqual(run("diff", "-F", "split", image, parts[0]).returncode, 0)
                for path in parts:
                    path.unlink()

    def test_img_cat_reads_the_same(self):
        need(self, "img_cat")
        _, parts = self.split(300_000, 100_352, "-a3", "--numeric-suffixes=1")
        theirs = subprocess.run(["img_cat", "-i", "raw", *parts], check=True, capture_output=True).stdout
        self.assertEqual(run("read", "-f", "split", parts[0], binary=True).stdout, theirs)

    def test_what_is_behind_it(self):
        image, parts = self.split(300_000, 4096, "-a3", "-d")
        self.assertEqual(run("read", "-f", "split", f"{parts[0]}#+4000,5k", binary=True).stdout,
                         image.read_bytes()[4000:9120])
        self.assertIn('"virtual_size": 300000', run("info", "-f", "split", "--output=json", parts[0]).stdout)
        manifest = self.scratch / "manifest"
        manifest.write_text(run("hash", "--block-size", "4k", image).stdout)
        self.assertEqual(run("verify", "-f", "split", "--against", manifest, parts[0]).returncode, 0)
        rows = run("map", "-f", "split", "--output=json", parts[0]).stdout
        self.assertIn(str(parts[1]), rows)

    def test_gaps_and_short_parts(self):
        _, parts = self.split(30_000, 4096, "-a3", "--numeric-suffixes=1")
        self.assertEqual(len(parts), 8)
        whole = parts[3].read_bytes()
        parts[3].unlink()
        self.assertIn("disk.004' is missing", self.refused(65, "read", "-f", "split", parts[0]))
        parts[3].write_bytes(whole[:-1])
        self.assertIn("only the last part may be shorter", self.refused(65, "read", "-f", "split", parts[0]))
        parts[3].write_bytes(whole + b"x")
        self.assertIn("do not belong together", self.refused(65, "read", "-f", "split", parts[0]))

    def test_names_that_are_no_first_part(self):
        image, parts = self.split(30_000, 4096, "-a3", "--numeric-suffixes=1")
        for path in (parts[1], image):
            self.assertIn("first part", self.refused(64, "read", "-f", "split", path))

    def test_one_part_alone_is_told(self):
        _, parts = self.split(30_000, 4096, "-a3", "--numeric-suffixes=1")
        done = run("read", parts[0], binary=True)
        self.assertEqual((done.returncode, len(done.stdout)), (0, 4096))
        self.assertIn(b"-f split", done.stderr)
        self.assertEqual(run("read", parts[1], binary=True).stderr, b"")

    def test_it_is_not_written_to(self):
        image, parts = self.split(8192, 4096, "-a3", "-d")
        other, diff = self.sparse("other", 8192, [(0, 8192)]), self.scratch / "the.snpd"
        self.assertEqual(run("export", "--base", image, other, "-o", diff).returncode, 0)
        before = [path.read_bytes() for path in parts]
        self.refused(63, "apply", "-f", "split", diff, parts[0])
        self.assertEqual([path.read_bytes() for path in parts], before)


if __name__ == "__main__":
    main("maps and split images")
