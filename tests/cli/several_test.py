# SPDX-License-Identifier: Apache-2.0
"""info, hash and verify of several operands: each as if it were alone, and the worst exit status."""

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import KERNEL_STORES, ScratchTest, main, run, unpack  # noqa: E402
from json_keys import documents_of, is_error  # noqa: E402


class Several(ScratchTest):
    def setUp(self):
        super().setUp()
        self.origin, self.cow = self.unpack_store("p-mix-c8")
        self.other = self.scratch / "other.cow"
        unpack(KERNEL_STORES / "p-mix-c1" / "cow.img.zst", self.other)
        self.invalid = self.scratch / "invalid.cow"
        content = bytearray(self.cow.read_bytes())
        content[4:8] = bytes(4)  # the header's word that the store is valid
        self.invalid.write_bytes(content)
        self.missing = self.scratch / "missing"

    def alone(self, *arguments):
        return [run(*arguments[:-1], operand) for operand in arguments[-1]]

    def test_each_as_if_alone(self):
        images = (self.origin, self.scratch / "b", self.scratch / "c")
        for number, path in enumerate(images[1:]):
            path.write_bytes(bytes([number]) * 5000)
        for command, operands in ((["hash"], images), (["hash", "--algorithm", "md5,sha1"], images), (["info"], images),
                                  (["info"], (self.cow, self.other)), (["hash"], images[1:])):
            with self.subTest(command=command):
                done = run(*command, *operands)
                alone = self.alone(*command, operands)
                between = "\n" if command == ["info"] else ""
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(done.stdout, between.join(one.stdout for one in alone))
                done = run(*command, "--output=json", *operands)
                self.assertEqual(documents_of(done.stdout), [json.loads(run(*command, "--output=json", operand).stdout) for operand in operands])

    def test_what_it_prints_sha256sum_checks(self):
        files = [self.scratch / name for name in ("a file", "two\nlines", "x")]
        for number, path in enumerate(files):
            path.write_bytes(b"%d" % number)
        done = run("hash", *files)
        checked = subprocess.run(["sha256sum", "-c", "--strict"], input=done.stdout, capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertEqual(checked.stdout.count(": OK"), 3)

    def test_stores(self):
        done = run("verify", self.cow, self.other)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([line.split(": ")[0] for line in done.stdout.splitlines() if ": sound (" in line], [str(self.cow), str(self.other)])
        # The first of two that is no store is the origin of the other.
        self.assertEqual(json.loads(run("verify", "--output=json", self.origin, self.cow).stdout)["origin"], str(self.origin))
        done = run("verify", "--output=json", self.cow, self.invalid, self.other)
        self.assertEqual(done.returncode, 2)
        self.assertEqual([d["cow"] for d in documents_of(done.stdout)], [str(self.cow), str(self.invalid), str(self.other)])
        self.assertEqual([d["result"] for d in documents_of(done.stdout)], ["sound", "corrupt", "sound"])

    def test_two_that_have_checksums(self):
        """The first of two is no origin of evidence."""
        images = [self.scratch / name for name in ("1.E01", "2.E01", "3.simg")]
        for image in images:
            run("convert", "-O", "simg" if image.suffix == ".simg" else "ewf", self.origin, image)
        for operands in (images[:2], images[1:], [self.cow, images[0]], images):
            done = run("verify", *operands)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(done.stdout.count(": sound ("), len(operands))

    def test_the_worst_status(self):
        for command, operands, status in (("verify", (self.missing, self.cow, self.other), 1),
                                          ("verify", (self.missing, self.invalid, self.cow), 2),
                                          ("hash", (self.origin, self.missing, self.origin), 1),
                                          ("info", (self.missing, self.cow, self.origin), 1)):
            with self.subTest(command=command):
                done = run(command, *operands)
                self.assertEqual(done.returncode, status)
                self.assertRegex(done.stderr, rf"\Asnaptool {command}: [^\n]*missing[^\n]*\n\Z")
                for path in operands:
                    self.assertEqual(str(path) in done.stdout, path != self.missing)
                done = run(command, "--output=json", *operands)
                told = documents_of(done.stdout)
                self.assertEqual([is_error(json.dumps(one)) for one in told], [path == self.missing for path in operands])

    def test_what_is_about_one(self):
        done = run("hash", "--block-size=1M", self.origin, self.origin, self.origin)
        self.assertEqual(done.returncode, 64, done.stderr)
        self.assertIn("is about one", done.stderr)
        sums = self.scratch / "sums"
        run("hash", "--block-size=1M", self.origin, "-o", sums)
        done = run("verify", "--against", sums, self.origin, self.origin)
        self.assertEqual(done.returncode, 64, done.stderr)
        self.assertIn("of one image", done.stderr)

    def three(self):
        """Three files, of which one has a name that is escaped."""
        files = [self.scratch / name for name in ("a file", "two\nlines", "x")]
        for number, path in enumerate(files):
            path.write_bytes(b"%d" % number * 1000)
        return files

    def test_one_manifest_of_several(self):
        files, sums = self.three(), self.scratch / "sums"
        for extra in ([], ["--algorithm=md5,sha1"]):
            printed = run("hash", *extra, *files).stdout
            done = run("hash", *extra, *files, "-o", sums, "--force")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            self.assertEqual(sums.read_text(), printed)
        before = sums.read_bytes()
        done = run("hash", *files, "-o", sums)
        self.assertEqual(done.returncode, 64)  # it exists
        # All or nothing, and never an image: its lock is ours, or, without locks, it is told.
        for words, status in (([*files, self.missing], 1), ([files[0], sums], 75), ([files[0], sums, "--force-share"], 64)):
            done = run("hash", *words, "-o", sums, "--force")
            self.assertEqual((done.returncode, sums.read_bytes()), (status, before), done.stderr)
        self.assertEqual(run("hash", *files, self.missing, "-o", self.scratch / "new").returncode, 1)
        self.assertEqual([path.name for path in self.scratch.iterdir() if path.name.startswith("new")], [])

    def test_each_by_the_manifests_line_of_its_name(self):
        files, sums = self.three(), self.scratch / "sums"
        for extra in ([], ["--algorithm=sha256,md5"]):
            run("hash", *extra, *files, "-o", sums, "--force")
            for some in (files, files[1:], files[:1], []):
                done = run("verify", "--against", sums, *some)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(done.stdout.count(": matches the manifest"), len(some or files))
            self.assertEqual(run("verify", "--against", "-", input=sums.read_text()).returncode, 0)
        # As sha256sum has it, too.
        made = subprocess.run(["sha256sum", *files], capture_output=True, text=True, check=True).stdout
        self.assertEqual(run("verify", "--against", "-", input=made).returncode, 0)
        files[2].write_bytes(b"other")
        self.assertEqual(run("verify", "--against", sums, *files[:2]).returncode, 0)
        for some in (files, [], files[2:]):
            done = run("verify", "--against", sums, *some)
            self.assertEqual((done.returncode, done.stdout.count("does not match")), (2, 1))
        files[0].unlink()
        done = run("verify", "--against", sums)
        self.assertEqual(done.returncode, 2)  # what was found counts more than what could not be
        self.assertIn("a file", done.stderr)
        files[2].unlink()
        self.assertEqual(run("verify", "--against", sums).returncode, 1)

    def test_names_that_are_not_the_manifests(self):
        files, sums = self.three(), self.scratch / "sums"
        run("hash", *files, "-o", sums)
        other = self.scratch / "elsewhere"
        other.mkdir()
        moved = other / "x"
        moved.write_bytes(files[2].read_bytes())
        self.assertEqual(run("verify", "--against", sums, moved).returncode, 0)
        stranger = self.scratch / "stranger"
        stranger.write_bytes(files[2].read_bytes())
        done = run("verify", "--against", sums, stranger)
        self.assertEqual(done.returncode, 1)
        self.assertIn("has no checksum for", done.stderr)
        run("hash", *files, moved, "-o", sums, "--force")
        third = other / "third"
        third.mkdir()
        (third / "x").write_bytes(b"")
        done = run("verify", "--against", sums, third / "x")
        self.assertEqual(done.returncode, 1)
        self.assertIn("has several checksums for", done.stderr)
        self.assertEqual(run("verify", "--against", sums, moved, files[2]).returncode, 0)

    def test_a_pair_and_two_images_against_one_manifest(self):
        view = f"{self.origin}@{self.cow}"
        sums = self.scratch / "sums"
        run("hash", self.origin, view, "-o", sums)
        for operands, count in (([self.origin, self.cow], 1), ([self.origin, view], 2), ([view], 1), ([], 2)):
            done = run("verify", "--against", sums, *operands)
            self.assertEqual((done.returncode, done.stderr, done.stdout.count("matches")), (0, "", count))

    def test_a_manifest_that_names_nothing(self):
        sums = self.scratch / "sums"
        sums.write_text(run("hash", self.origin).stdout.split()[0] + "\n")
        self.assertEqual(run("verify", "--against", sums, self.origin).returncode, 0)
        done = run("verify", "--against", sums)
        self.assertEqual(done.returncode, 64)
        self.assertIn("does not say of which image", done.stderr)
        done = run("verify")
        self.assertEqual(done.returncode, 64)
        self.assertIn("missing operand", done.stderr)

    def test_the_log_has_all(self):
        log = self.scratch / "log"
        run("hash", self.origin, self.missing, self.other, "--log", log)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertEqual({Path(line["path"]).name for line in lines if line["event"] == "open"}, {self.origin.name, self.other.name})
        self.assertEqual(lines[-1]["status"], 1)


if __name__ == "__main__":
    main("several")
