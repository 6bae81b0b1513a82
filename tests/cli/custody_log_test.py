# SPDX-License-Identifier: Apache-2.0
"""--log: what was run, what was opened and how it ended, for every command."""

import hashlib
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SNAPTOOL, ScratchTest, main, run  # noqa: E402


class CustodyLog(ScratchTest):
    def setUp(self):
        super().setUp()
        self.image, self.log = self.scratch / "disk.img", self.scratch / "case.log"
        self.image.write_bytes(os.urandom(8192))

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def test_what_is_opened_and_computed(self):
        before = self.image.stat()
        self.assertEqual(run("hash", "--log", self.log, self.image).returncode, 0)
        begin, *between, end = self.lines()
        self.assertEqual((begin["event"], begin["command"]), ("begin", ["hash", "--log", str(self.log), str(self.image)]))
        self.assertEqual((begin["user"], begin["directory"]), (os.getuid(), os.getcwd()))
        self.assertEqual({line["run"] for line in self.lines()}, {begin["run"]})
        [opened] = [line for line in between if line["event"] == "open"]
        self.assertEqual({key: opened[key] for key in ("absolute", "mode", "kind", "inode", "device", "size")},
                         {"absolute": str(self.image.resolve()), "mode": "read-only", "kind": "file", "inode": before.st_ino,
                          "device": before.st_dev, "size": 8192})
        [summed] = [line for line in between if line["event"] == "sum"]
        self.assertEqual((summed["algorithm"], summed["value"]), ("sha256", hashlib.sha256(self.image.read_bytes()).hexdigest()))
        self.assertEqual((end["event"], end["status"]), ("end", 0))

    def test_runs_follow_one_another(self):
        for image in (self.image, self.scratch / "none.img"):
            run("info", "--log", self.log, image)
        ends = [line for line in self.lines() if line["event"] == "end"]
        self.assertEqual([end["status"] == 0 for end in ends], [True, False])
        self.assertIn("none.img", ends[1]["problem"])
        self.assertEqual(len({line["run"] for line in self.lines()}), 2)

    def test_what_is_written_is_told(self):
        out = self.scratch / "out.qcow2"
        self.assertEqual(run("convert", "-O", "qcow2", "--log", self.log, self.image, out).returncode, 0)
        modes = {(Path(line["path"]).name, line["mode"]) for line in self.lines() if line["event"] == "open"}
        self.assertLessEqual({("disk.img", "read-only"), ("out.qcow2", "read-write")}, modes)
        self.assertNotIn(("disk.img", "read-write"), modes)

    def test_the_sums_that_are_stored_in_what_is_made(self):
        out = self.scratch / "out.E01"
        for options, path in (([], out), (["--option", "segment_size=1M"], self.scratch / "parts.E01")):
            self.log.unlink(missing_ok=True)
            done = run("convert", "-O", "ewf", *options, "--log", self.log, self.image, path)
            self.assertEqual(done.returncode, 0, done.stderr)
            sums = {line["algorithm"]: (line["of"], line["value"]) for line in self.lines() if line["event"] == "sum"}
            content = self.image.read_bytes()
            self.assertEqual(sums, {name: (str(path), hashlib.new(name, content).hexdigest()) for name in ("md5", "sha1")})

    def test_names_that_are_not_utf8(self):
        names = [b"disk\xff", b"disk\xfe"]
        for name in names:
            path = os.fsencode(self.scratch) + b"/" + name
            os.link(self.image, path)
            run("info", "--log", self.log, os.fsdecode(path))
        begins = [line for line in self.lines() if line["event"] == "begin"]
        self.assertEqual([bytes.fromhex(line["command_hex"][-1]).split(b"/")[-1] for line in begins], names)
        self.assertEqual([bytes.fromhex(line["command_hex"][0]) for line in begins], [b"info"] * 2)
        opened = [line for line in self.lines() if line["event"] == "open"]
        for key in ("path_hex", "absolute_hex"):
            self.assertEqual([bytes.fromhex(line[key]).split(b"/")[-1] for line in opened], names)

    def test_progress_does_not_go_into_it(self):
        run("info", "--log", self.log, self.image)
        lines = len(self.lines())
        with open(self.log, "ab") as log:
            done = subprocess.run([SNAPTOOL, "hash", f"--progress=jsonl:{log.fileno()}", "--log", self.log, self.image], pass_fds=[log.fileno()],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=30)
        self.assertEqual((done.returncode, done.stdout, len(self.lines())), (64, b"", lines), done.stderr)
        # Nor into what is read.
        with open(self.image, "ab") as image:
            done = subprocess.run([SNAPTOOL, "hash", f"--progress=jsonl:{image.fileno()}", self.image], pass_fds=[image.fileno()],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=30)
        self.assertEqual((done.returncode, self.image.stat().st_size), (64, 8192), done.stderr)

    def test_a_warning_is_in_it_even_if_it_is_not_printed(self):
        self.image.write_bytes(bytes(1000))
        done = run("convert", "-q", "-O", "raw", "--log", self.log, self.image, self.scratch / "out")
        events = [line["event"] for line in self.lines()]
        self.assertEqual((done.returncode, events[-1]), (0, "end"), done.stderr)

    def test_nothing_but_a_log_is_written_to(self):
        content = self.image.read_bytes()
        for path in (self.image, self.scratch):
            done = run("hash", "--log", path, self.image)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("--log", done.stderr)
        self.assertEqual(self.image.read_bytes(), content)
        link = self.scratch / "link"
        link.symlink_to(self.image)
        self.assertNotEqual(run("hash", "--log", link, self.image).returncode, 0)
        self.assertEqual(self.image.read_bytes(), content)

    def test_what_is_named_is_no_log(self):
        """Not even if it is empty, or not there yet."""
        empty = self.scratch / "empty.img"
        empty.touch()
        for command in (["hash", empty], ["diff", empty, self.image], ["diff", self.image, empty], ["convert", "-O", "raw", "--force", self.image, empty]):
            done = run(*command, "--log", empty)
            self.assertEqual((done.returncode, empty.stat().st_size), (64, 0), (command, done.stderr))
        new = self.scratch / "new.img"
        for command in (["hash", new], ["convert", "-O", "raw", self.image, new], ["read", self.image, "-o", new]):
            self.assertEqual((run(*command, "--log", new).returncode, new.exists()), (64, False), command)

    def test_what_a_batch_names_is_no_log(self):
        cow, script, data = (self.scratch / name for name in ("cow", "script", "data"))
        cow.touch()
        self.assertEqual(run("batch", self.image, "/dev/null", "--snapshot", f"s={cow}", "--log", cow).returncode, 64)
        self.assertEqual(cow.stat().st_size, 0)
        self.assertEqual(run("create", self.image, cow, "--force").returncode, 0)
        for line in (f"write s 0 512 -i {data}\n", f"read s 0 512 -o {data}\n"):
            script.write_text(line)
            run("info", "--log", data, self.image)
            before = cow.read_bytes()
            done = run("batch", self.image, script, "--snapshot", f"s={cow},chunk-size=4k", "--log", data)
            self.assertEqual((done.returncode, "named for something else" in done.stderr, cow.read_bytes() == before), (64, True, True), done.stderr)

    def test_the_log_is_not_printed_to(self):
        with open(self.log, "wb") as out:
            done = subprocess.run([SNAPTOOL, "info", "--log", self.log, self.image], stdout=out, stderr=subprocess.PIPE, check=False, timeout=30)
        self.assertEqual(done.returncode, 64, done.stderr)

    def test_a_line_that_was_torn(self):
        run("info", "--log", self.log, self.image)
        whole = len(self.lines())
        with open(self.log, "ab") as log:
            log.write(b'{"snaptool_log":1,"run"')
        self.assertEqual(run("info", "--log", self.log, self.image).returncode, 0)
        torn, *rest = self.log.read_text().splitlines()[whole:]
        self.assertEqual(torn, '{"snaptool_log":1,"run"')
        self.assertEqual([json.loads(line)["event"] for line in (rest[0], rest[-1])], ["begin", "end"])

    def test_a_new_file_is_named_in_full(self):
        run("convert", "-O", "raw", "--log", self.log, self.image, "out.raw", cwd=self.scratch)
        names = [line["absolute"] for line in self.lines() if line["event"] == "open"]
        self.assertTrue(all(name.startswith("/") for name in names), names)
        self.assertTrue(any(name.startswith(str(self.scratch.resolve() / "out.raw")) for name in names), names)

    def test_the_log_is_no_image(self):
        run("info", "--log", self.log, self.image)
        done = run("convert", "-O", "raw", "--force", "--log", self.log, self.image, self.log)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.lines()[0]["event"], "begin")

    def test_a_log_that_cannot_be_written_is_a_failure(self):
        done = run("hash", "--log", self.scratch / "no" / "folder.log", self.image)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, "")

    @unittest.skipUnless(Path("/dev/full").exists(), "no /dev/full")
    def test_devices_are_no_logs(self):
        self.assertNotEqual(run("hash", "--log", "/dev/full", self.image).returncode, 0)

    def test_a_run_that_is_refused(self):
        self.assertEqual(run("convert", "-O", "raw", "--log", self.log, self.image, self.image).returncode, 64)
        end = self.lines()[-1]
        self.assertEqual((end["event"], end["status"]), ("end", 64))
        self.assertIn("disk.img", end["problem"])


if __name__ == "__main__":
    main("custody_log")
