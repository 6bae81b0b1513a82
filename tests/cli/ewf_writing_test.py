# SPDX-License-Identifier: Apache-2.0
"""Expert Witness images (E01) that are made: what ewf-tools, The Sleuth Kit and snaptool read in them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from ewf_images import CHUNK, EwfTest  # noqa: E402
from harness import SNAPTOOL, main, need, run  # noqa: E402
from simg_maker import DONT_CARE, Simg  # noqa: E402
from vm_images import KIB, MIB, SECTOR  # noqa: E402


class Writing(EwfTest):
    def setUp(self):
        super().setUp()
        self.raw = self.scratch / "raw"

    def make(self, content, *options, env=None):
        self.raw.write_bytes(content)
        self.image.unlink(missing_ok=True)
        self.good("convert", "-O", "ewf", *options, self.raw, self.image, **({"env": env} if env else {}))
        return self.image.read_bytes()

    def fixed(self):
        return dict(os.environ, SOURCE_DATE_EPOCH="1142163845")

    def test_as_it_is_read(self):
        """By ewf-tools, The Sleuth Kit and snaptool; and what is stored of it is its sum."""
        need(self, "ewfverify", "ewfexport", "img_cat")
        for options in ([], ["compression=none"], ["compression=best", "chunk=1M"], ["chunk=8k"]):
            content = self.content(40)
            self.make(content, *(word for option in options for word in ("--option", option)))
            self.assert_reads(content)
            self.verified(0)
            self.assertIn("SUCCESS", self.peer("ewfverify", "-q", self.image))
            self.peer("ewfexport", "-u", "-q", "-t", "export", "-f", "raw", self.image)
            self.assertEqual((self.scratch / "export.raw").read_bytes(), content)
            done = subprocess.run(["img_cat", "-i", "ewf", self.image], capture_output=True, check=True, timeout=60)
            self.assertEqual(done.stdout, content)
            about = self.peer("ewfinfo", self.image)
            self.assertIn(hashlib.md5(content).hexdigest(), about)
            self.assertIn(hashlib.sha1(content).hexdigest(), about)

    def test_sizes(self):
        need(self, "ewfverify")
        for size in (SECTOR, CHUNK - SECTOR, CHUNK, CHUNK + SECTOR, 4 * CHUNK, 5 * CHUNK):
            for content in (bytes(size), self.rng.randbytes(size)):
                self.make(content)
                self.peer("ewfverify", "-q", self.image)
                self.assert_reads(content)
        self.make(b"")
        self.assertEqual(self.info()["virtual_size"], 0)
        self.verified(0)
        done = run("convert", "-O", "ewf", "--force", self.file_of(b"x"), self.image)
        self.assertIn("rounded up to 512", done.stderr)
        self.assert_reads(b"x" + bytes(511))

    def file_of(self, content):
        self.raw.write_bytes(content)
        return self.raw

    def test_more_than_a_table_holds(self):
        """Of zeros 16,375 chunks, of noise 8 MiB."""
        need(self, "ewfexport")
        noise = self.rng.randbytes(20 * MIB)
        with open(self.raw, "wb") as file:
            file.truncate(180 * MIB)
            file.seek(150 * MIB)
            file.write(noise)
        self.good("convert", "-O", "ewf", "--option", "chunk=8k", self.raw, self.image)
        self.assertLess(self.image.stat().st_size, 23 * MIB)
        self.verified(0)
        part = self.good("read", "--offset", 149 * MIB, "--length", 22 * MIB, self.image, binary=True).stdout
        self.assertEqual(part, bytes(MIB) + noise + bytes(MIB))
        self.peer("ewfexport", "-u", "-q", "-t", "export", "-f", "raw", "-o", 149 * MIB, "-B", 22 * MIB, self.image)
        self.assertEqual((self.scratch / "export.raw").read_bytes(), part)

    def test_through_a_pipe(self):
        content = self.content(300)
        made = self.make(content, env=self.fixed())
        with subprocess.Popen([SNAPTOOL, "convert", "-O", "ewf", self.raw, "-"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=self.fixed()) as process:
            piped = process.stdout.read()
        self.assertEqual(process.returncode, 0)
        self.assertEqual(piped, made)

    def test_texts(self):
        need(self, "ewfinfo")
        texts = {"case_number": "Case\u00e9 \U0001f600", "evidence_number": "7", "description": "x" * 2999, "examiner": "Jo D.",
                 "notes": "found in a box"}
        self.make(self.content(2), *(word for text in texts.items() for word in ("--option", "=".join(text))))
        info = json.dumps(self.info(), ensure_ascii=False)
        about = self.peer("ewfinfo", self.image)
        for text in texts.values():
            self.assertIn(text, info)
        for name in ("evidence_number", "examiner", "notes"):
            self.assertIn(texts[name], about)

    def test_nobody_is_named_unasked(self):
        """And what is made at a fixed time is made the same again."""
        made = self.make(self.content(9), env=self.fixed())
        info = self.info()
        self.assertIn("2006-03-12T11:44:05Z", json.dumps(info))
        for word in ("case number", "examiner", "notes"):
            self.assertNotIn(word, self.good("info", self.image).stdout)
        self.assertEqual(self.make(self.raw.read_bytes(), env=self.fixed()), made)

    def test_identifiers(self):
        """At a fixed time it comes of the settings, the size and the first chunk, holes being zeros."""
        def identifier():
            return next(line for line in self.good("info", self.image).stdout.splitlines() if "set identifier" in line).split()[-1]

        content = self.content(9)
        self.make(content, env=self.fixed())
        first = identifier()
        self.assertEqual(first[14], "8")
        found = {first}
        for other, options in ((content[:-SECTOR], []), (bytes([content[0] ^ 1]) + content[1:], []),
                               (content, ["--option", "notes=x"]), (content, ["--option", "chunk=64k"])):
            self.make(other, *options, env=self.fixed())
            found.add(identifier())
        self.assertEqual(len(found), 5)
        self.make(content)
        random = identifier()
        self.assertNotIn(random, found)
        self.assertEqual(random[14], "4")
        made = self.make(bytes(CHUNK) + content, env=self.fixed())
        self.raw.unlink()
        with open(self.raw, "wb") as file:
            file.seek(CHUNK)
            file.write(content)
        self.image.unlink()
        self.good("convert", "-O", "ewf", self.raw, self.image, env=self.fixed())
        self.assertEqual(self.image.read_bytes(), made)

    def test_read_back(self):
        self.make(self.content(50), "--verify")
        self.raw.write_bytes(self.content(5))
        done = run("convert", "-O", "ewf", self.raw, self.image)
        self.assertEqual(done.returncode, 64)
        self.assertIn("--force", done.stderr)

    def test_what_cannot_be_made(self):
        out = self.scratch / "out"
        self.raw.write_bytes(bytes(MIB))
        for options in (["--base", self.raw], ["-c", "--option", "compression=none"], ["--option", "x=1"], ["--option", "compression=9"],
                        ["--option", "chunk=3000"], ["--option", "chunk=4k"], ["--option", "chunk=32M"],
                        ["--option", "notes=two\nlines"], ["--option", "notes=" + "x" * 3000]):
            done = run("convert", "-O", "ewf", *options, self.raw, out)
            self.assertIn(done.returncode, (63, 64), done.stderr)
            self.assertFalse(out.exists())
        self.assertEqual(run("convert", "-O", "ewf", self.raw, out, env=dict(os.environ, SOURCE_DATE_EPOCH="x")).returncode, 64)
        large = Simg(64 * KIB)
        large.chunk(DONT_CARE, 1 << 31, b"")
        large.total = 1 << 31
        self.raw.write_bytes(large.build())
        self.refused(63, "convert", "-O", "ewf", self.raw, out, words=["more than"])
        self.assertFalse(out.exists())


if __name__ == "__main__":
    main("ewf_writing")
