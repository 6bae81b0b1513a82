# SPDX-License-Identifier: Apache-2.0
"""Android's sparse images: of a maker, of img2simg, what simg2img makes of ours, and what is broken."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SNAPTOOL, main, need, run, scaled  # noqa: E402
from simg_maker import CRC, DONT_CARE, FILL, RAW, Simg, random_simg, read_simg, split_simg  # noqa: E402
from vm_images import KIB, MIB, VmImageTest  # noqa: E402

BLOCK, CHUNK = 4096, 64 * KIB


class SimgTest(VmImageTest):
    def save(self, image):
        self.image.write_bytes(image.build())
        return image

    def round(self, content):
        return content + bytes(-len(content) % BLOCK)

    def peer(self, *arguments):
        done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, (arguments, done.stdout, done.stderr))


class Reading(SimgTest):
    def test_chunks_of_every_kind(self):
        for options in ({}, {"block": 4}, {"block": 1028}, {"block": 64 * KIB, "chunks": 8},
                        {"header_size": 32, "chunk_header_size": 16}, {"header_size": 1000, "chunk_header_size": 13}):
            image = self.save(random_simg(self.rng, **options))
            if image.content:
                self.assert_reads(image.content)
            info = self.info()
            self.assertEqual((info["format"], info["virtual_size"]), ("simg", len(image.content)))

    def test_what_it_says_of_itself(self):
        image = Simg(rng=self.rng)
        image.minor = 1
        image.raw(self.rng.randbytes(3 * BLOCK))
        image.dont_care(5)
        image.fill(b"abcd", 2)
        self.save(image)
        self.assert_reads(image.content)
        self.assertIn('"dont_care_bytes": 20480', self.good("info", "--output=json", self.image).stdout)
        self.assertIn('"checksum": false', self.good("info", "--output=json", self.image).stdout)
        image.sum()
        self.save(image)
        self.assertIn('"checksum": true', self.good("info", "--output=json", self.image).stdout)

    def test_nothing(self):
        self.save(Simg())
        self.assertEqual(self.good("read", self.image).stdout, "")
        self.assertEqual(self.info()["virtual_size"], 0)

    def test_many_chunks(self):
        """More than there are places to look from."""
        image = Simg(4)
        image.chunks = [struct.pack("<HHIIi", FILL, 0, 1, 16, number) for number in range(1, 150_001)]
        image.total = 150_000
        self.save(image)
        content = b"".join(struct.pack("<i", number) for number in range(1, 150_001))
        self.assertEqual(self.good("read", self.image, binary=True).stdout, content)
        for _ in range(10):
            at = self.rng.randrange(len(content))
            part = run("read", "--offset", at, "--length", min(9, len(content) - at), self.image, binary=True).stdout
            self.assertEqual(part, content[at:at + 9])

    def test_a_large_fill_takes_no_time(self):
        image = Simg()
        image.chunk(FILL, 1 << 31, b"wxyz")
        image.chunk(DONT_CARE, (1 << 31) - 1, b"")
        image.total = (1 << 32) - 1
        self.save(image)
        self.assertEqual(self.info()["virtual_size"], BLOCK * image.total)
        part = self.good("read", "--offset", (1 << 43) - 5, "--length", 8, self.image).stdout
        self.assertEqual(part, "zwxyz\0\0\0")

    def test_what_img2simg_makes(self):
        need(self, "img2simg")
        raw = self.scratch / "raw"
        for sectors in (1, 17, 2049, 9001):
            content = self.some_content(sectors)
            raw.write_bytes(content)
            self.peer("img2simg", raw, self.image)
            self.assert_reads(self.round(content))


class Whole(SimgTest):
    def test_sums(self):
        """They are of all of it: a read of a range cannot compare them, and verify does."""
        for wrong in (0, 1):
            image = random_simg(self.rng, sums=False)
            image.sum(wrong=wrong)
            self.save(image)
            done = run("verify", self.image)
            self.assertEqual(done.returncode, 2 if wrong else 0, done.stderr)
            self.assertIn("corrupt" if wrong else "sound", done.stdout)
            self.assertEqual("CRC-32" in done.stdout, bool(wrong))
            out = self.scratch / f"out{wrong}"
            if wrong:
                self.refused(65, "convert", self.image, out, words=["CRC-32", "--ignore-invalid"])
            self.good("convert", *(["--ignore-invalid"] if wrong else []), self.image, out)
            result = json.loads(run("verify", "--output=json", self.image).stdout)
            self.assertEqual((result["format"], result["result"]), ("simg", "corrupt" if wrong else "sound"))

    def test_parts(self):
        content = self.some_content(300).ljust(160 * KIB, b"\0")
        for names in (["x.0", "x.1", "x.2"], [f"y_sparsechunk{n}" for n in range(1, 12)]):
            images, seen = split_simg(self.rng, content, parts=len(names))
            paths = [self.scratch / name for name in names]
            for image, path in zip(images, paths, strict=True):
                path.write_bytes(image.build())
            self.assert_reads(seen, "-f", "split", path=paths[0])
            self.assertIn("-f split", run("hash", paths[1]).stderr)
            self.refused(64, "hash", "-f", "split", paths[2], words=["first part"])
            paths[1].unlink()
            paths[1].symlink_to(paths[0])
            self.refused(64, "hash", "-f", "split", paths[0], words=["symbolic link"])
        # A gap, and one that is alone.
        gap = self.scratch / "z.0"
        for number in (0, 1, 3):
            (self.scratch / f"z.{number}").write_bytes(images[number].build())
        self.refused(65, "hash", "-f", "split", gap, words=["z.2", "z.3", "gap"])
        self.assertIn("-f split", run("hash", self.scratch / "z.3").stderr)
        alone = self.scratch / "w.0"
        alone.write_bytes(images[0].build())
        self.refused(64, "hash", "-f", "split", alone, words=["only part"])
        other = Simg(4096, rng=self.rng)
        other.dont_care(3)
        paths[1].unlink()
        paths[1].write_bytes(other.build())
        self.refused(65, "hash", "-f", "split", paths[0])


class Damage(SimgTest):
    def some(self):
        image = Simg(rng=self.rng)
        image.raw(self.rng.randbytes(2 * BLOCK))
        image.fill(b"1234", 3)
        image.dont_care(2)
        image.raw(self.rng.randbytes(BLOCK))
        return image

    def test_headers(self):
        good = bytearray(self.some().build())
        for at, form, value, status in ((4, "<H", 2, 63), (4, "<H", 0, 63), (8, "<H", 27, 65), (10, "<H", 11, 65),
                                        (12, "<I", 0, 65), (12, "<I", 4098, 65), (12, "<I", 8192, 65),
                                        (16, "<I", 7, 65), (16, "<I", 9, 65), (16, "<I", 0, 65),
                                        (20, "<I", 3, 65), (20, "<I", 5, 65), (20, "<I", (1 << 32) - 1, 65),
                                        (20, "<I", 0, 65), (8, "<H", 60_000, 65)):
            bad = bytearray(good)
            struct.pack_into(form, bad, at, value)
            self.image.write_bytes(bad)
            for command in ("hash", "info"):
                self.refused(status, command, self.image)
        struct.pack_into("<II", good, 12, (1 << 32) - 4, (1 << 32) - 1)
        self.image.write_bytes(good)
        self.refused(65, "hash", self.image, words=["more than any image has"])

    def test_chunks(self):
        for kind, blocks, data, size in ((0xCAC0, 0, b"", None), (0xCAC5, 0, b"", None), (0, 0, b"", None),
                                         (RAW, 1, bytes(BLOCK - 4), None), (RAW, 1, bytes(BLOCK), 12),
                                         (RAW, 1 << 20, b"", 12), (FILL, 1, b"", None), (FILL, 1, bytes(8), None),
                                         (FILL, 1, bytes(4), 0), (DONT_CARE, 1, bytes(4), None), (CRC, 0, b"", None),
                                         (CRC, 1, bytes(4), None), (DONT_CARE, 9, b"", None)):
            image = self.some()
            image.total = 9
            image.chunk(kind, blocks, data, size)
            self.save(image)
            self.refused(65, "hash", self.image, words=["at byte"])

    def test_what_was_cut(self):
        whole = self.some().build()
        places = [0, 27, 28, 35, 40, 41, 5000, len(whole) - BLOCK, len(whole) - 1]
        for length in places[1:]:
            self.image.write_bytes(whole[:length])
            self.refused(65, "hash", self.image)
            self.refused(65, "read", "--length", "1", self.image)

    def test_bytes_behind_the_end(self):
        image = self.some()
        self.image.write_bytes(image.build() + b"junk" * 9)
        done = self.good("read", self.image, binary=True)
        self.assertEqual(done.stdout, image.content)
        self.assertIn("36 bytes past its last chunk", self.good("info", self.image).stdout
                      + self.good("info", self.image).stderr)

    def test_mutants(self):
        self.save(random_simg(self.rng, block=64, chunks=40))
        self.assert_survives_mutants(scaled(40))


class Writing(SimgTest):
    def make(self, content, *options, status=0):
        raw = self.scratch / "raw"
        raw.write_bytes(content)
        self.image.unlink(missing_ok=True)
        done = run("convert", "-O", "simg", *options, raw, self.image)
        self.assertEqual(done.returncode, status, done.stderr)
        return read_simg(self.image.read_bytes())

    def content(self):
        """Whole chunks of zeros, of one word, of mixed things, and an end that is no whole block."""
        chunks = [bytes(CHUNK), bytes(CHUNK), b"word" * (CHUNK // 4), self.rng.randbytes(CHUNK),
                  bytes(CHUNK - 1) + b"x", self.rng.randbytes(5000) + bytes(CHUNK - 5000)]
        self.rng.shuffle(chunks)
        return b"".join(chunks) + self.rng.randbytes(self.rng.randrange(1, CHUNK))

    def test_as_it_is_read(self):
        for zeros in ("fill", "dont-care"):
            for crc in ("off", "on"):
                content = self.content()
                block, chunks, made = self.make(content, "--option", f"zeros={zeros}", "--option", f"crc={crc}")
                self.assertEqual((block, made), (BLOCK, self.round(content)))
                self.assertEqual(len(chunks), 7 + (crc == "on"))
                self.assertEqual(chunks[-1][0] == CRC, crc == "on")
                self.assertEqual([kind for kind, _, _ in chunks].count(DONT_CARE), 2 if zeros == "dont-care" else 0)
                self.assertIn((FILL, CHUNK // BLOCK, b"word"), chunks)
                self.assert_reads(made)

    def test_sizes(self):
        for size in (0, BLOCK, CHUNK, MIB, MIB + BLOCK):
            for content in (bytes(size), self.rng.randbytes(size)):
                for crc in ("off", "on"):
                    self.assertEqual(self.make(content, "--option", f"crc={crc}")[2], content)

    def test_holes_of_a_large_image(self):
        """It has at most 2^20 chunks, which grow with it; its sum is known without reading so much of zeros."""
        raw = self.scratch / "raw"
        with open(raw, "wb") as file:
            file.truncate(1 << 40)
            file.seek(700 << 30)
            file.write(b"x" * 5000)
        self.good("convert", "-O", "simg", "--option", "zeros=dont-care", "--option", "crc=on", raw, self.image)
        self.assertLess(self.image.stat().st_size, 16 * MIB)
        head = struct.unpack_from("<IIII", self.image.read_bytes(), 12)
        self.assertEqual(head, (BLOCK, 1 << 28, (1 << 20) + 1, 0))
        part = self.good("read", "--offset", (700 << 30) - 10, "--length", 5020, self.image, binary=True).stdout
        self.assertEqual(part, bytes(10) + b"x" * 5000 + bytes(10))

    def test_through_a_pipe(self):
        content = self.content()
        made = self.make(content)[2]
        with subprocess.Popen([SNAPTOOL, "convert", "-O", "simg", self.scratch / "raw", "-"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=os.environ) as process:
            piped = process.stdout.read()
        self.assertEqual(process.returncode, 0)
        self.assertEqual(piped, self.image.read_bytes())
        self.assertEqual(read_simg(piped)[2], made)

    def test_simg2img_reads_what_is_made(self):
        need(self, "simg2img")
        out = self.scratch / "out"
        for options in ([], ["--option", "zeros=dont-care"], ["--option", "crc=on"]):
            made = self.make(self.content(), *options)[2]
            self.peer("simg2img", self.image, out)
            self.assertEqual(out.read_bytes(), made)

    def test_simg2simg_reads_it_too(self):
        """The parts that it makes, laid over one another by simg2img, are the image."""
        need(self, "simg2img", "simg2simg")
        content = self.rng.randbytes(MIB)
        self.make(content)
        self.peer("simg2simg", self.image, self.scratch / "part", 300_000)
        parts = sorted(self.scratch.glob("part.*"))
        self.assertGreater(len(parts), 2)
        out = self.scratch / "out"
        self.peer("simg2img", *parts, out)
        self.assertEqual(out.read_bytes(), content)
        for part in parts:
            self.assertEqual(self.info(part)["virtual_size"], MIB)

    def test_what_cannot_be_made(self):
        raw, out = self.scratch / "raw", self.scratch / "out"
        raw.write_bytes(bytes(MIB))
        for options in (["--base", raw], ["-c"], ["--option", "x=1"], ["--option", "zeros=none"],
                        ["--option", "crc=yes"], ["--option", "zeros="]):
            done = run("convert", "-O", "simg", *options, raw, out)
            self.assertIn(done.returncode, (63, 64), done.stderr)
            self.assertFalse(out.exists())
        large = Simg(2 * BLOCK)
        large.chunk(DONT_CARE, 1 << 31, b"")
        large.total = 1 << 31
        self.save(large)
        self.refused(63, "convert", "-O", "simg", self.image, out, words=["more than"])
        self.assertFalse(out.exists())


if __name__ == "__main__":
    main("simg")
