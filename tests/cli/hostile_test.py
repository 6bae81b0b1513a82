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
            if command in ("read", "dump", "export", "compose", "invert"):  # their output is data
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
        command = done.stdout.split("'snaptool ", 1)[1].rsplit("' brings", 1)[0]
        words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
        self.assertEqual(words.split(b"\0")[1:-1], [os.fsencode(path) for path in (self.scratch / "undo", self.origin, self.cow)])


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
