# SPDX-License-Identifier: Apache-2.0
"""What an attacker made: names that drive a terminal, and images that ask for more time or memory than they have bytes."""

import json
import os
import subprocess
import sys
import unicodedata
import xml.dom.minidom
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from contract_test import ContractTest, commands  # noqa: E402
from harness import main, run  # noqa: E402

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


if __name__ == "__main__":
    main("hostile")
