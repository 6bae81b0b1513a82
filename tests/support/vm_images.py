# SPDX-License-Identifier: Apache-2.0
"""What the tests of VMware's, Microsoft's and VirtualBox's formats have in common."""

import json
import os
import random
import subprocess

from harness import SEED, ScratchTest, need, run

KIB, MIB, SECTOR = 1 << 10, 1 << 20, 512
# One allocation of more than 64 MiB ends the program, where it is built with AddressSanitizer.
SMALL = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:max_allocation_size_mb=64:allocator_may_return_null=0")
SIZES = (1, 17, 2049, 8191, 8192, 9001)  # sectors: around blocks, none of them a round number


class VmImageTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")
        self.image = self.scratch / "image"

    def some_content(self, sectors):
        """Holes, zeros and data of many lengths."""
        content = bytearray(sectors * SECTOR)
        at = 0
        while at < len(content):
            length = SECTOR * self.rng.choice([1, 3, 8, 130, 2048])
            if self.rng.random() < 0.5:
                content[at:at + length] = self.rng.randbytes(min(length, len(content) - at))
            at += length
        return bytes(content)

    def qemu(self, *arguments):
        done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False, timeout=60,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, (arguments, done.stdout, done.stderr))
        return done.stdout

    def qemu_makes(self, name, content, *options):
        """An image of that content, and what qemu-img reads in it, which may be longer."""
        need(self, "qemu-img")
        raw = self.scratch / "source.raw"
        raw.write_bytes(content)
        self.image.unlink(missing_ok=True)
        self.qemu("qemu-img", "convert", "-q", "-f", "raw", "-O", name, *options, raw, self.image)
        return self.qemu_reads(name)

    def qemu_reads(self, name, path=None):
        out = self.scratch / "qemu.raw"
        out.unlink(missing_ok=True)
        self.qemu("qemu-img", "convert", "-q", "-f", name, "-O", "raw", path or self.image, out)
        return out.read_bytes()

    def good(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        return done

    def info(self, path=None):
        return json.loads(self.good("info", "--output=json", path or self.image).stdout)

    def assert_reads(self, content, *options, path=None):
        """As a whole, and in ranges of every alignment; and its map is true."""
        path = path or self.image
        done = run("read", *options, path, binary=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout), len(content))
        self.assertEqual(done.stdout, content)
        for _ in range(6):
            at = self.rng.randrange(len(content))
            length = min(len(content) - at, self.rng.choice([1, 511, 4097, 70000]))
            part = run("read", *options, "--offset", at, "--length", length, path, binary=True).stdout
            self.assertEqual(part, content[at:at + length], (at, length))
        end = 0
        for extent in json.loads(self.good("map", "--output=json", *options, path).stdout):
            self.assertEqual(extent["start"], end)
            end += extent["length"]
            if extent["zero"]:
                self.assertEqual(content[extent["start"]:end].count(0), extent["length"])
        self.assertEqual(end, len(content))

    def assert_only_data_take_space(self, form, most):
        """A TiB with one place that is not zeros; `most` bytes on the medium."""
        raw = self.scratch / "raw"
        with open(raw, "wb") as file:
            file.truncate(1 << 40)
            file.seek(700 << 30)
            file.write(b"x" * 5000)
        self.good("convert", "-O", form, raw, self.image)
        self.assertLess(self.image.stat().st_blocks * 512, most)
        part = self.good("read", "--offset", (700 << 30) - 10, "--length", 5020, self.image, binary=True).stdout
        self.assertEqual(part, bytes(10) + b"x" * 5000 + bytes(10))

    def refused(self, status, *arguments, words=(), **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, status, (arguments, done.stderr))
        self.assertRegex(done.stderr, r"\Asnaptool [a-z-]+: [^\n]+\n\Z", arguments)
        self.assertEqual(done.stdout, "", arguments)
        for word in words:
            self.assertIn(word, done.stderr)
        return done.stderr

    def assert_survives_mutants(self, rounds, *options, where=2048):
        """Bytes of its beginning and end are changed, and its end cut off: no crash, no run for ever, no memory."""
        whole = self.image.read_bytes()
        for number in range(rounds):
            bad = bytearray(whole)
            for _ in range(self.rng.choice([1, 1, 2, 8])):
                at = self.rng.randrange(min(where, len(bad))) if self.rng.random() < 0.8 else \
                    len(bad) - 1 - self.rng.randrange(min(where, len(bad)))
                bad[at] = self.rng.choice([0, 1, 0x7F, 0x80, 0xFF, self.rng.randrange(256)])
            if self.rng.random() < 0.2:
                del bad[self.rng.randrange(len(bad)):]
            self.image.write_bytes(bad)
            command = self.rng.choice([["info"], ["hash", *options], ["map", *options]])
            done = run(*command, self.image, env=SMALL, timeout=60)
            self.assertNotRegex(done.stderr, "Sanitizer|runtime error|terminate called", (number, command))
            self.assertIn(done.returncode, (0, 63, 64, 65, 66, 69), (number, command, done.stderr))
        self.image.write_bytes(whole)
