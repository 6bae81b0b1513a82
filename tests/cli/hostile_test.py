# SPDX-License-Identifier: Apache-2.0
"""What an attacker made: names that drive a terminal, and images that ask for more time or memory than they have bytes."""

import json
import os
import struct
import subprocess
import sys
import unicodedata
import xml.dom.minidom
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from contract_test import ContractTest, commands  # noqa: E402
from harness import ScratchTest, main, run  # noqa: E402
from qcow2_maker import Qcow2  # noqa: E402

MIB = 1 << 20

# An escape sequence, a line of its own, a bidirectional control, a C1 control, a surrogate, a noncharacter.
ODD = os.fsdecode(b"e\x1b]0;x\x07\nFAKE \xe2\x80\xae\xc2\x9b\xed\xa0\x80\xef\xbf\xbf<&'\"v")


class OddNames(ContractTest):
    def setUp(self):
        super().setUp()
        odd = self.scratch / ODD
        odd.mkdir()
        for name in ("origin", "cow"):
            path = getattr(self, name)
            setattr(self, name, path.rename(odd / (ODD + path.name)))
        self.scratch = odd

    def assert_harmless(self, output, what):
        text = output.decode()  # well-formed, or it fails
        for character in text:
            category = unicodedata.category(character)
            self.assertTrue(character in "\n\t" or category not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp"), (what, character))
        self.assertFalse([line for line in text.splitlines() if line.startswith("FAKE")], (what, text))

    def test_every_command(self):
        for command in commands():
            if command in ("read", "cat", "dump", "export", "compose", "invert"):  # their output is data
                continue
            for options in ([], ["-v"], ["--output=json"]):
                done = run(command, *options, *self.operands(command), binary=True)
                self.assertEqual(done.returncode, 0, (command, done.stderr))
                self.assert_harmless(done.stdout, command)
                self.assert_harmless(done.stderr, command)
                if options == ["--output=json"]:
                    json.loads(done.stdout)

    def test_every_error(self):
        gone = self.scratch / (ODD + "gone")
        for command in commands():
            done = run(command, *self.operands(command, gone, gone), binary=True)
            self.assertNotEqual(done.returncode, 0, command)
            self.assert_harmless(done.stdout, command)
            self.assert_harmless(done.stderr, command)
            self.assertEqual(done.stderr.count(b"\n"), 1, command)

    def test_other_outputs(self):
        image = f"{self.origin}@{self.cow}"
        for words in (["hash", "--block-size", "64k", image], ["hash", "--algorithm", "md5,sha1", image],
                      ["map", "--as", "bmap", image], ["map", "--as", "ddrescue", image], ["info", self.origin], ["map", self.origin],
                      ["hash", self.origin], ["diff", self.origin, image]):
            done = run(*words, binary=True)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assert_harmless(done.stdout, words)

    def test_reports_are_well_formed(self):
        for name in ("r.xml", "r.html", "r.json"):
            report = self.scratch / name
            done = run("diff", f"{self.origin}@{self.cow}", self.origin, "--report", report, binary=True)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assert_harmless(report.read_bytes(), name)
        xml.dom.minidom.parse(os.fspath(self.scratch / "r.xml"))

    def test_a_command_to_run_again_is_one(self):
        """The shell takes from a message the very name that was given."""
        done = run("merge", "--undo", self.scratch / "undo", self.origin, self.cow)
        self.assertEqual(done.returncode, 0, done.stderr)
        command = done.stdout.split("'snaptool ", 1)[1].rsplit("' takes", 1)[0]
        words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
        self.assertEqual(words.split(b"\0")[1:-1], [os.fsencode(path) for path in (self.scratch / "undo", self.origin, self.cow)])


class Messages(ScratchTest):
    """What is wrong many times over is told in a few lines, and a long name in one of a screen."""

    def store(self, entries, chunks):
        """A store of chunks of 512 bytes, 32 entries an area."""
        data = bytearray(struct.pack("<4I", 0x70416e53, 1, 1, 1).ljust(512, b"\0"))
        data += b"\0" * 512 * (chunks - 1)
        for at, entry in enumerate(entries):
            area, index = divmod(at, 32)
            struct.pack_into("<QQ", data, 512 * (1 + 33 * area) + 16 * index, *entry)
        path = self.scratch / "cow"
        path.write_bytes(data)
        return path

    def test_findings_that_repeat(self):
        count = 200  # every one beyond the end
        cow = self.store([(n, 100_000 + n) for n in range(count)], 33 * 8)
        done = run("verify", cow)
        self.assertEqual(done.returncode, 2, done.stderr)
        lines = done.stdout.splitlines()
        self.assertLess(len(lines), 12, done.stdout)
        self.assertEqual(len([line for line in lines if line.startswith("corrupt: new-beyond-cow: area 0 entry ")]), 3)
        area, index = divmod(count - 1, 32)
        self.assertIn(f"corrupt: new-beyond-cow: {count - 3} more, up to area {area} entry {index} "
                      f"(byte {512 * (1 + 33 * area) + 16 * index})", lines)
        verbose = run("verify", "-v", cow).stdout.splitlines()
        self.assertEqual(len([line for line in verbose if line.startswith("corrupt: new-beyond-cow: area")]), 100)
        self.assertLess(len(run("repair", "--dry-run", cow).stdout.splitlines()), 16)

    def test_three_are_told_one_by_one(self):
        done = run("verify", self.store([(n, 1000 + n) for n in range(3)], 40))
        self.assertNotIn(" more, up to", done.stdout)
        self.assertEqual(done.stdout.count("new-beyond-cow"), 3)

    def test_long_names(self):
        """Of an image, and of the command line."""
        parent = "p" * 1000
        top = Qcow2(1 << 16, backing=parent, backing_format="f" * 3000).write(self.scratch / "top")
        for options in ([], ["--follow-parents"]):
            done = run("read", *options, top)
            self.assertEqual(done.returncode, 63, done.stderr)
            self.assertLess(len(done.stderr), 900)
            self.assertGreater(len(done.stderr), 400)
        done = run("hash", "x" * 60_000, stdin=subprocess.PIPE)
        self.assertNotEqual(done.returncode, 0)
        self.assertLess(len(done.stderr), 4000)
        self.assertIn("...", done.stderr)
        dump = self.scratch / "dump"
        for text in (f"<{'e' * 20_000}/>", f'<dm_snapshot {"a" * 20_000}="1"/>', f'<dm_snapshot version="{"7" * 20_000}"/>',
                     f'{{"{"k" * 20_000}": 1}}', f'{{"format_version": "{"v" * 20_000}"}}'):
            dump.write_text(text)
            done = run("restore", dump, self.scratch / "new")
            self.assertEqual(done.returncode, 65, done.stderr)
            self.assertLess(len(done.stderr), 600)

    def test_long_names_in_manifests(self):
        """A name that fills lines is read back as it was written."""
        image = self.scratch / "image"
        image.write_bytes(b"x" * 5000)
        name = "./" * 1000 + "image"
        for options in ([], ["--block-size", "4k"]):
            manifest = self.scratch / "manifest"
            done = run("hash", *options, name, cwd=str(self.scratch))
            self.assertEqual(done.returncode, 0, done.stderr)
            manifest.write_text(done.stdout)
            self.assertEqual(run("verify", "--against", manifest, image).returncode, 0)

    def test_sums_in_upper_case(self):
        image, manifest = self.scratch / "image", self.scratch / "manifest"
        image.write_bytes(b"x" * 5000)
        for options in ([], ["--block-size", "4k"]):
            text = run("hash", *options, image).stdout
            for line in text.splitlines():
                text = text.replace(line.split()[-1 if options else 0], line.split()[-1 if options else 0].upper()) if line[0] != "#" else text
            self.assertNotEqual(text, text.lower())
            manifest.write_text(text)
            done = run("verify", "--against", manifest, image)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_time_that_is_none(self):
        image = self.scratch / "image"
        image.write_bytes(b"x" * 5000)
        for value in ("9223372036854775807", "junk", "-1", "1x", "99999999999999999999"):
            done = run("diff", image, "file:" + str(image), "--report", self.scratch / "r.json", stdin=subprocess.PIPE,
                       env=dict(os.environ, SOURCE_DATE_EPOCH=value))
            self.assertEqual(done.returncode, 64, (value, done.stderr))
            self.assertIn("SOURCE_DATE_EPOCH", done.stderr)


class Diffs(ScratchTest):
    def good(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def sparse(self, name, size):
        path = self.scratch / name
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def rbd(self, name, names, size, ranges):
        """Written by Ceph's doc/dev/rbd-diff. A range: (offset, length) of zeros."""
        stream = b"rbd diff v1\n"
        for tag, text in zip(b"ft", names, strict=True):
            stream += struct.pack("<cI", bytes([tag]), len(text)) + text
        stream += struct.pack("<cQ", b"s", size)
        for offset, length in ranges:
            stream += struct.pack("<cQQ", b"z", offset, length)
        path = self.scratch / name
        path.write_bytes(stream + b"e")
        return path

    def test_more_zeros_than_any_disk(self):
        """Ranges of rbd's are as large as they like."""
        huge = 1 << 62
        one = self.rbd("one", (b"a", b"b"), huge, [(0, huge // 2)])
        two = self.rbd("two", (b"b", b"c"), huge, [(5 * MIB, huge // 2 + 7), (huge - 99, 99)])
        both, back = self.scratch / "both", self.scratch / "back"
        self.good("compose", one, two, "-o", both, timeout=20)
        stream = both.read_bytes()
        self.assertLess(len(stream), 4096)
        at = stream.index(b"s" + struct.pack("<Q", huge)) + 9
        ranges = []
        while stream[at:at + 1] == b"z":
            ranges.append(struct.unpack_from("<QQ", stream, at + 1))
            at += 17
        self.assertEqual(stream[at:], b"e")
        merged = []
        for offset, length in ranges:
            if merged and sum(merged[-1]) == offset:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((offset, length))
        self.assertEqual(merged, [(0, 5 * MIB + huge // 2 + 7), (huge - 99, 99)])
        base = self.sparse("base", 3 * MIB)
        self.good("invert", self.rbd("grows", (b"a", b"b"), huge, [(MIB, huge // 2)]), "--base", base, "-o", back, timeout=20)

    def test_zeros_for_each_of_which_there_is_a_record(self):
        large, small = self.sparse("large", 3 << 40), self.sparse("small", 100)
        self.good("export", small, "--base", large, "-o", self.scratch / "1")
        self.good("export", large, "--base", small, "-o", self.scratch / "2")
        one, two, both = self.scratch / "1", self.scratch / "2", self.scratch / "both"
        done = run("compose", one, two, "-o", both, timeout=20)
        self.assertEqual(done.returncode, 63, done.stderr)
        self.assertIn("--max-zeroed", done.stderr)
        self.assertFalse(both.exists())
        middle = self.sparse("middle", 4 << 30)
        self.good("export", small, "--base", middle, "-o", one, "--force")
        self.good("export", middle, "--base", small, "-o", two, "--force")
        self.good("compose", one, two, "-o", both, timeout=20)
        self.assertEqual(run("compose", one, two, "--max-zeroed", "1G", "-o", both, "--force").returncode, 63)


if __name__ == "__main__":
    main("hostile")
