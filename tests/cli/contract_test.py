# SPDX-License-Identifier: Apache-2.0
"""What holds for every command of the table, and for naming files, locks and signals."""

import fcntl
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import json_keys  # noqa: E402
from fs_maker import TOOLS, Ext, File  # noqa: E402
from harness import (SEED, SNAPTOOL, ScratchTest, interrupted, main, need, need_loop_devices, need_terminals, run,  # noqa: E402
                     scaled, sha256_of_file)

ALLOWED_STATUS = {0, 1, 2, 3, 63, 64, 65, 66, 73, 75}


def commands():
    """The commands of the help but serve, which does not end by itself: serve_test is about it."""
    return [command for command in listed_commands() if command != "serve"]


def listed_commands():
    text = run("--help").stdout
    block = text.split("Commands:\n", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^  (\S+)", block, re.M)


def wait_until(done):
    end = time.monotonic() + 20
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("it did not come so far")
        time.sleep(0.01)


def readable_bytes(fd):
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]


def catches(pid, number):
    mask = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M).group(1)
    return int(mask, 16) >> (number - 1) & 1


class ContractTest(ScratchTest):
    numbers = itertools.count()

    def setUp(self):
        super().setUp()
        self.origin, self.cow = self.unpack_store("p-mix-c8")
        self.sums = sha256_of_file(self.origin), sha256_of_file(self.cow)

    def operands(self, command, origin=None, cow=None):
        """Operands with which the command reads this pair."""
        origin, cow = origin or self.origin, cow or self.cow
        if command in ("dump",):
            return [cow]
        if command in ("info", "map", "read", "hash", "export"):
            return [f"{origin}@{cow}"]
        if command in ("ls", "cat"):
            return [self.file_system() if cow == self.cow else cow] + (["file"] if command == "cat" else [])
        if command == "diff":
            return [f"{origin}@{cow}", f"{origin}@{cow}"]
        if command == "convert":
            return [f"{origin}@{cow}", self.scratch / f"converted-{next(self.numbers)}"]
        if command in ("merge", "repair"):
            return ["--dry-run", origin, cow]
        if command == "restore":
            return [self.dump_file() if cow == self.cow else cow, self.scratch / f"restored-{next(self.numbers)}"]
        if command == "create":
            return ["--measure", origin if cow == self.cow else cow]
        if command == "resize":
            return ["--minimum", cow]
        if command == "write":
            return ["-P", "0", "--length", "0", origin, cow]
        if command == "write-origin":
            return ["-P", "0", "--length", "0", "--snapshot", cow, origin]
        if command == "discard":
            return ["--discard-zeroes-cow", "--length", "0", origin, cow]
        if command == "batch":
            script = self.scratch / "the.script"
            script.write_text("status a\n")
            return ["--snapshot", f"a={cow}", origin, script]
        if command in ("apply", "diff-verify"):
            return [self.empty_diff(), f"{origin}@{cow}"]
        if command == "compose":
            return ["--unlinked", self.empty_diff(), self.empty_diff() if cow == self.cow else cow]
        if command == "invert":
            return ["--base", f"{origin}@{cow}", self.empty_diff()]
        if command == "undo":
            return ["--dry-run", self.undo_file(), origin, cow]
        return [origin, cow]

    def empty_diff(self):
        """A diff that changes nothing, for an image of the origin's size."""
        path = self.scratch / "the.snapdiff"
        if not path.exists():
            self.assertEqual(run("export", self.origin, "--base", self.origin, "-o", path).returncode, 0)
        return path

    def file_system(self):
        path = self.scratch / "the.ext4"
        if not path.exists():
            need(self, *TOOLS["Ext"])
            Ext(path, {"file": File(b"content")})
        return path

    def dump_file(self):
        path = self.scratch / "the.xml"
        if not path.exists():
            self.assertEqual(run("dump", self.cow, "-o", path).returncode, 0)
        return path

    def undo_file(self):
        """An undo file of a merge of the pair that has kept all, and done nothing yet."""
        path = self.scratch / "the.undo"
        if not path.exists():
            origin, cow = self.scratch / "undo.origin", self.scratch / "undo.cow"
            shutil.copy(self.origin, origin)
            shutil.copy(self.cow, cow)
            self.assertEqual(run("merge", "-q", "--undo", path, origin, cow).returncode, 0)
            os.truncate(path, path.stat().st_size - 4096)  # the mark that it is done
        return path

    def assert_untouched(self):
        self.assertEqual((sha256_of_file(self.origin), sha256_of_file(self.cow)), self.sums)

    def assert_refused(self, process, status, *words):
        """Failed with this status, and with one line on standard error that has the words."""
        self.assertEqual(process.returncode, status, process.stderr)
        self.assertEqual(process.stdout if isinstance(process.stdout, str) else "", "")
        self.assertRegex(process.stderr, r"\Asnaptool( [a-z-]+)?: [^\n]+\n\Z")
        for word in words:
            self.assertIn(word, process.stderr)
        self.assert_untouched()


class EveryCommand(ContractTest):
    def test_there_are_the_commands_of_the_contract(self):
        self.assertEqual(set(listed_commands()), {
            "info", "status", "verify", "repair", "map", "read", "dump", "restore", "create", "resize", "write", "write-origin", "discard",
            "batch", "merge", "undo", "diff", "hash", "export", "convert", "apply", "diff-verify", "compose", "invert", "ls", "cat",
            "serve"})

    def test_help_and_version(self):
        for command in commands():
            for option in ("--help", "-h"):
                process = run(command, option)
                self.assertEqual((process.returncode, process.stderr), (0, ""))
                self.assertTrue(process.stdout.startswith(f"Usage: snaptool {command} "))
                self.assertLessEqual(max(map(len, process.stdout.splitlines())), 80, command)
            self.assertEqual(run("help", command).stdout, run(command, "--help").stdout)
            for option in ("--version", "-V"):
                self.assertRegex(run(command, option).stdout, r"\Asnaptool \d+\.\d+\.\d+\n\Z")

    def test_it_works(self):
        for command in commands():
            process = run(command, *self.operands(command), binary=True)
            self.assertEqual((process.returncode, process.stderr), (0, b""), command)
            self.assertNotEqual(process.stdout, b"")
        self.assert_untouched()

    def test_quiet(self):
        for command in commands():
            if command in ("read", "map", "dump", "hash", "export", "compose", "invert", "ls", "cat"):
                continue  # what they print is not a report but the data asked for
            process = run(command, "-q", *self.operands(command))
            self.assertEqual((process.returncode, process.stdout, process.stderr), (0, "", ""))

    def test_json(self):
        for command in commands():
            if "--output" not in run(command, "--help").stdout:
                continue
            out = ["-o", self.scratch / f"{command}.out"] if command in ("export", "compose", "invert") else []
            result = json.loads(run(command, "--output=json", *self.operands(command), *out).stdout)
            if command != "map":  # an array, as qemu-img map prints it
                self.assertEqual(result["format_version"], 1)

    def test_usage_errors(self):
        for command in commands():
            for bad in (["--nonsense"], ["-x"], ["--hel"], ["--jobs=0"], ["--output=xml"], []):
                operands = self.operands(command) if bad else []
                process = run(command, *bad, *operands)
                self.assert_refused(process, 64, f"snaptool {command} --help")
            if command not in ("apply", "compose", "diff-verify", "hash", "info", "verify"):  # these take any number
                self.assert_refused(run(command, *self.operands(command), "a", "b", "c"), 64)
        self.assert_refused(run(), 64)
        self.assert_refused(run("nonsense"), 64)
        self.assert_refused(run("check"), 64, "snaptool verify")
        self.assert_refused(run("commit"), 64, "snaptool merge")

    def test_missing_file(self):
        for command in commands():
            missing = self.scratch / "none"
            # 1 would say that the images differ.
            status = 2 if command == "diff" else 1
            self.assert_refused(run(command, *self.operands(command, cow=missing)), status, "none", "No such file")

    def test_directory_pipe_and_empty_file(self):
        pipe = self.scratch / "pipe"
        os.mkfifo(pipe)
        empty = self.scratch / "empty"
        empty.touch()
        for command in commands():
            self.assert_refused(run(command, *self.operands(command, cow=self.scratch)), 64, "directory")
            if command != "restore":  # which reads from one
                self.assert_refused(run(command, *self.operands(command, cow=pipe), timeout=10), 64, "pipe")
            if command not in ("verify", "info", "create"):
                process = run(command, *self.operands(command, cow=empty))
                # An empty file is no store, which is no damage; a dump or a diff of nothing is damaged. Nor is it a
                # file system.
                statuses = {"ls": [63], "cat": [63]}.get(command, [1, 2, 65])
                self.assertIn(process.returncode, statuses, command)

    def test_a_magic_of_0_is_no_store_yet(self):
        blank = self.scratch / "blank.img"
        blank.write_bytes(bytes(65536))
        view = run("info", f"{self.origin}@{blank}")
        self.assertEqual(view.returncode, 0, view.stderr)
        self.assertIn("a new store", view.stdout)
        bare = run("info", "-f", "dm-snapshot", blank)
        self.assertEqual(bare.returncode, 0, bare.stderr)
        self.assertIn("a new store", bare.stdout)
        for command in commands():
            process = run(command, *self.operands(command, cow=blank), binary=True)
            self.assertIn(process.returncode, ALLOWED_STATUS, (command, process.stderr))

    def test_damaged_stores_never_crash_it(self):
        content = self.cow.read_bytes()
        damaged = self.scratch / "damaged.img"
        rng = random.Random(SEED)
        for n in range(scaled(120)):
            data = bytearray(content[:rng.randrange(len(content))] if n % 3 == 0 else content)
            for _ in range(rng.randrange(1, 20)):
                # The header and the first area are where damage is interesting.
                at = rng.randrange(min(len(data), 8192)) if data else 0
                if at + 8 <= len(data):
                    data[at:at + 8] = rng.choice([rng.randbytes(8), b"\xff" * 8, b"\0" * 8,
                                                  struct.pack("<Q", 1 << rng.randrange(64))])
            damaged.write_bytes(data)
            before = sha256_of_file(damaged)
            for command in commands():
                process = run(command, *self.operands(command, cow=damaged), binary=True, timeout=20)
                self.assertIn(process.returncode, ALLOWED_STATUS, (command, n, process.stderr))
            self.assertEqual(sha256_of_file(damaged), before)
        self.assert_untouched()

    def test_full_and_closed_output(self):
        for command in commands():
            with open("/dev/full", "wb") as full:
                process = subprocess.run([SNAPTOOL, command, *map(str, self.operands(command))],
                                         stdout=full, stderr=subprocess.PIPE, check=False)
            self.assertEqual(process.returncode, 73, command)
            self.assertIn(b"No space left", process.stderr)
            process = subprocess.run(["sh", "-c", '"$@" >&-', "sh", SNAPTOOL, command,
                                      *map(str, self.operands(command))], capture_output=True, check=False)
            self.assertEqual(process.returncode, 2 if command == "diff" else 1, command)

    def test_no_message_goes_into_a_file(self):
        """With a standard stream closed, the first file that is opened would get its number."""
        view = run("read", f"{self.origin}@{self.cow}", binary=True).stdout
        for streams, status in ((">&-", 1), ("<&- >&-", 1), ("<&- >&- 2>&-", 1), ("<&-", 0), ("2>&-", 0)):
            with self.subTest(streams=streams):
                origin, cow = self.scratch / "o", self.scratch / "c"
                shutil.copy(self.origin, origin)
                shutil.copy(self.cow, cow)
                done = subprocess.run(["sh", "-c", f'"$@" {streams}', "sh", SNAPTOOL, "merge", "-v", str(origin),
                                       str(cow)], capture_output=True, check=False)
                self.assertEqual(done.returncode, status)
                self.assertEqual(origin.read_bytes(), view)
                self.assertEqual(run("verify", origin, cow).returncode, 0)

    def test_reader_of_the_pipe_is_gone(self):
        for command in commands():
            reader, writer = os.pipe()
            os.close(reader)
            process = subprocess.run([SNAPTOOL, command, *map(str, self.operands(command))],
                                     stdout=writer, stderr=subprocess.PIPE, check=False)
            os.close(writer)
            self.assertEqual((process.returncode, process.stderr), (141, b""), command)


    def test_stopped_while_nobody_reads(self):
        """One signal is enough, where the pipe is full and where a FIFO has no reader."""
        disk, fifo = self.scratch / "disk.img", self.scratch / "fifo"
        disk.write_bytes(random.Random(SEED).randbytes(3 << 20))
        os.mkfifo(fifo)
        for arguments in (["read", disk], ["convert", disk, "-"], ["convert", "-O", "rbd", disk, "-"],
                          ["export", "--full", disk], ["convert", disk, fifo], ["convert", "-O", "rbd", disk, fifo]):
            with self.subTest(arguments=arguments):
                reader, writer = os.pipe()
                with subprocess.Popen([SNAPTOOL, *map(str, arguments)], stdout=writer, stderr=subprocess.PIPE) as process:
                    os.close(writer)
                    if fifo in arguments:
                        wait_until(lambda pid=process.pid: catches(pid, signal.SIGINT))
                    else:
                        wait_until(lambda pipe=reader: readable_bytes(pipe) >= 1 << 16)
                    process.send_signal(signal.SIGINT)
                    try:
                        error = process.communicate(timeout=10)[1]
                    finally:
                        process.kill()
                        os.close(reader)
                self.assertEqual(process.returncode, 130, error)
                self.assertRegex(error, rb"\Asnaptool [a-z]+: interrupted[^\n]*\n\Z")


class NamingFiles(ContractTest):
    def test_swapped_operands_are_explained(self):
        for command in ("merge", "status", "verify"):
            self.assert_refused(run(command, self.cow, self.origin), 64, "swapped", "origin")

    def test_the_same_file_twice(self):
        alias = self.scratch / "alias"
        os.link(self.origin, alias)
        for command in ("merge", "status", "verify"):
            self.assert_refused(run(command, self.origin, alias), 64, "same file")

    def test_a_lone_store_is_no_image(self):
        self.assert_refused(run("read", self.cow), 64, "ORIGIN@")
        raw = run("read", "-f", "raw", self.cow, binary=True)
        self.assertEqual(raw.stdout, self.cow.read_bytes())

    def test_parts_that_are_not_there(self):
        self.assert_refused(run("read", f"{self.origin}#p2"), 1, "no partition table")
        self.assert_refused(run("read", f"{self.origin}#vg0/data"), 1, "no LVM2 physical volume")
        self.assert_refused(run("read", f"{self.origin}#+1E"), 64, "passes the end")
        self.assert_refused(run("read", f"{self.origin}#2"), 64, "names no part")

    def test_odd_names(self):
        odd = self.scratch / "a@b #c\n\x1b[31m.img"
        os.rename(self.origin, odd)
        process = run("status", odd, self.cow)
        self.assertEqual(process.returncode, 0, process.stderr)
        process = run("status", f"file:{odd}", self.cow)
        self.assertEqual(process.returncode, 0, process.stderr)
        os.rename(odd, self.origin)
        self.assert_refused(run("status", f"file:{odd}", self.cow), 1, r"\x1b")

    def test_an_origin_that_is_too_small(self):
        with open(self.origin, "r+b") as file:
            file.truncate(64 * 1024)
        self.sums = sha256_of_file(self.origin), self.sums[1]
        self.assert_refused(run("merge", self.origin, self.cow), 65, "old-beyond-origin")

    def test_output_files(self):
        view = run("read", f"{self.origin}@{self.cow}", binary=True).stdout
        out = self.scratch / "out.img"
        self.assertEqual(run("read", f"{self.origin}@{self.cow}", "-o", out).returncode, 0)
        self.assertEqual(out.read_bytes(), view)
        self.assert_refused(run("read", f"{self.origin}@{self.cow}", "-o", out), 64, "exists", "--force")
        for target in (self.origin, self.cow):
            for command in ("read", "merge"):
                operands = self.operands("read")
                self.assert_refused(run(command, *operands, "-o", target, "--force"), 64, "input")
        listing = sorted(path.name for path in self.scratch.iterdir())
        self.assertEqual(listing, ["cow.img", "origin.img", "out.img"])

    def test_output_to_a_pipe_by_name(self):
        pipe = self.scratch / "pipe"
        os.mkfifo(pipe)
        view = run("read", f"{self.origin}@{self.cow}", binary=True).stdout
        for command in (["read", f"{self.origin}@{self.cow}"], ["merge", self.origin, self.cow]):
            with open(self.scratch / "read", "wb") as copy:
                reader = subprocess.Popen(["cat", str(pipe)], stdout=copy)
                done = run(*command, "-o", pipe)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                reader.wait(timeout=20)
            self.assertEqual((self.scratch / "read").read_bytes(), view)
            self.assertEqual(run(*command, "-o", "/dev/null").returncode, 0)
            self.assertEqual(run(*command, "-o", "/dev/full").returncode, 73)
            self.assertTrue(pipe.is_fifo())
        self.assert_untouched()

    def test_binary_is_not_written_to_a_terminal(self):
        need(self, "script")
        need_terminals(self)
        command = f"{SNAPTOOL} read {self.origin}@{self.cow}"
        done = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 64)
        self.assertIn("terminal", done.stdout)

    def test_ranges(self):
        view = run("read", f"{self.origin}@{self.cow}", binary=True).stdout
        part = run("read", f"{self.origin}@{self.cow}", "--offset=3k", "--length", "7s", binary=True).stdout
        self.assertEqual(part, view[3072:3072 + 3584])
        size = len(view)
        self.assert_refused(run("read", f"{self.origin}@{self.cow}", "--offset", size + 1), 64, "--offset")
        self.assert_refused(run("read", f"{self.origin}@{self.cow}", "--length", size + 1), 64, "--length")
        self.assert_refused(run("read", f"{self.origin}@{self.cow}", "--length=-1"), 64)

    def test_a_hole_stays_a_hole(self):
        sparse, out = self.scratch / "sparse.img", self.scratch / "out.img"
        with open(sparse, "wb") as file:
            file.truncate(1 << 33)
            file.seek(5 << 20)
            file.write(b"x" * 4096)
        self.assertEqual(run("read", sparse, "-o", out).returncode, 0)
        self.assertEqual(out.stat().st_size, 1 << 33)
        self.assertLess(out.stat().st_blocks * 512, 1 << 20)

    def test_map_names_the_file_of_each_range(self):
        view = run("read", f"{self.origin}@{self.cow}", binary=True).stdout
        rows = json.loads(run("map", "--output=json", f"{self.origin}@{self.cow}").stdout)
        at = 0
        for row in rows:
            self.assertEqual(row["start"], at)
            with open(row["filename"], "rb") as file:
                file.seek(row["offset"])
                self.assertEqual(file.read(row["length"]), view[at:at + row["length"]])
            self.assertEqual(row["depth"], 0 if row["filename"] == str(self.cow) else 1)
            at += row["length"]
        self.assertEqual(at, len(view))


class Merging(ContractTest):
    def test_dry_run_says_what_and_writes_nothing(self):
        process = run("merge", "--dry-run", self.origin, self.cow)
        self.assertEqual(process.returncode, 0)
        self.assertIn("Nothing was written", process.stdout)
        self.assert_untouched()

    def test_expect(self):
        view = run("read", f"{self.origin}@{self.cow}", "-o", self.scratch / "view")
        self.assertEqual(view.returncode, 0)
        expected = sha256_of_file(self.scratch / "view")
        self.assert_refused(run("merge", "--expect", "0" * 64, self.origin, self.cow), 66, "expected")
        self.assert_refused(run("merge", "--expect", "beef", self.origin, self.cow), 64)
        process = run("merge", "--expect", expected.upper(), self.origin, self.cow)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertEqual(sha256_of_file(self.origin), expected)
        self.assertIn("nothing to merge", run("merge", self.origin, self.cow).stdout)

    def test_a_store_of_another_disk_is_recognised(self):
        """An ext4 whose UUID the snapshot has changed: what a store over the wrong origin looks like."""
        need(self, "mkfs.ext4", "tune2fs", "blkid")
        origin, changed = self.scratch / "fs.img", self.scratch / "changed.img"
        with open(origin, "wb") as file:
            file.truncate(8 << 20)
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["mkfs.ext4", "-q", "-F", str(origin)], **quiet)
        shutil.copy(origin, changed)
        subprocess.run(["tune2fs", "-f", "-U", "random", str(changed)], **quiet)
        uuids = [subprocess.run(["blkid", "-p", "-s", "UUID", "-o", "value", str(path)], check=True,
                                capture_output=True, text=True).stdout.strip().replace("-", "")
                 for path in (origin, changed)]
        cow = self.scratch / "fs.cow"
        old, new = origin.read_bytes(), changed.read_bytes()
        chunks = [n for n in range(len(old) // 4096) if old[n * 4096:][:4096] != new[n * 4096:][:4096]]
        area = b"".join(struct.pack("<QQ", n, 2 + i) for i, n in enumerate(chunks)).ljust(4096, b"\0")
        header = struct.pack("<4I", 0x70416e53, 1, 1, 8).ljust(4096, b"\0")
        cow.write_bytes(header + area + b"".join(new[n * 4096:][:4096] for n in chunks))
        self.assertEqual(run("read", f"{origin}@{cow}", binary=True).stdout, new)

        for arguments in ([], ["--dry-run"], ["-o", self.scratch / "out"]):
            process = run("merge", *arguments, origin, cow)
            self.assert_refused(process, 66, *uuids, "ext2/3/4", "--force")
            self.assertEqual(origin.read_bytes(), old)
        done = run("merge", "--force", origin, cow)
        self.assertEqual(done.returncode, 0)
        self.assertIn("warning", done.stderr)
        self.assertEqual(origin.read_bytes(), new)

    def test_verify(self):
        view = run("read", f"{self.origin}@{self.cow}", binary=True).stdout
        new = self.scratch / "new"
        self.assertEqual(run("merge", "--verify", self.origin, self.cow, "-o", new).returncode, 0)
        self.assertEqual(new.read_bytes(), view)
        done = run("merge", "--verify", self.origin, self.cow)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.origin.read_bytes(), view)

    def test_progress_as_json_lines(self):
        reader, writer = os.pipe()
        process = run("merge", f"--progress=jsonl:{writer}", self.origin, self.cow, pass_fds=[writer])
        os.close(writer)
        self.assertEqual(process.returncode, 0)
        with os.fdopen(reader) as lines:
            rows = [json.loads(line) for line in lines]
            self.assertEqual([json_keys.check_document("progress", row) for row in rows], [[]] * len(rows))
        self.assertEqual(set(rows[-1]), {"description", "transferred", "size", "elapsed"})
        self.assertEqual(rows[-1]["transferred"], rows[-1]["size"])
        self.assertGreater(rows[-1]["size"], 0)

    def test_progress_eats_no_operand(self):
        process = run("merge", "-p", self.origin, self.cow)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertIn("merging: 100.0%", process.stderr)

    def test_a_descriptor_that_is_not_open(self):
        self.assert_refused(run("merge", "--progress=jsonl:77", self.origin, self.cow), 64, "77")

    def test_force_share_is_not_for_writers(self):
        self.assert_refused(run("merge", "-U", self.origin, self.cow), 64, "force-share")

    def test_read_only_files(self):
        if os.geteuid() == 0:
            return  # root may write to them
        os.chmod(self.origin, 0o400)
        self.assert_refused(run("merge", self.origin, self.cow), 1, "Permission denied")

    def test_stopped_by_a_signal(self):
        """SIGINT and SIGTERM in the middle: exit status, the command that resumes, and it resumes."""
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.subTest(status):
                origin, cow, expected = self.large_store()
                process = interrupted(number, "merge", "-j", "1", origin, cow)
                stderr = process.stderr
                self.assertEqual(process.returncode, status, stderr)
                self.assertTrue(stderr.startswith("snaptool merge: interrupted ("), stderr)
                self.assertIn(f"'snaptool merge {origin} {cow}' resumes)", stderr)
                view = run("read", f"{origin}@{cow}", "-o", self.scratch / "view", "--force")
                self.assertEqual(view.returncode, 0)
                self.assertEqual(sha256_of_file(self.scratch / "view"), expected)
                self.assertEqual(run("merge", origin, cow).returncode, 0)
                self.assertEqual(sha256_of_file(origin), expected)

    def test_undo_brings_both_back(self):
        undo = self.scratch / "merge.undo"
        process = run("merge", "--undo", undo, self.origin, self.cow)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertIn(f"snaptool undo {undo} {self.origin} {self.cow}", process.stdout)
        self.assertNotEqual(sha256_of_file(self.origin), self.sums[0])
        merged = sha256_of_file(self.origin), sha256_of_file(self.cow)
        kept = sha256_of_file(undo)
        # The same again, as after a power cut in its last instant: there is nothing left to do.
        process = run("merge", "--undo", undo, self.origin, self.cow)
        self.assertEqual((process.returncode, process.stderr), (0, ""))
        self.assertEqual((sha256_of_file(self.origin), sha256_of_file(self.cow), sha256_of_file(undo)),
                         (*merged, kept))
        process = run("undo", "--dry-run", undo, self.origin, self.cow)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertEqual((sha256_of_file(self.origin), sha256_of_file(self.cow)), merged)
        process = run("undo", undo, f"{self.origin}@{self.cow}")
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertIn("restored", process.stdout)
        self.assert_untouched()
        # Again, it finds them as they are to be.
        self.assertEqual(run("undo", undo, self.origin, self.cow).returncode, 0)
        self.assert_untouched()
        self.assert_refused(run("merge", "--undo", undo, self.origin, self.cow), 66, "taken back", "name another file")

    def test_the_undo_file_is_what_its_description_says(self):
        """libsnap/snap/merge/UNDO.md, read by its tables and nothing else."""
        origin, cow, _ = self.large_store()
        before, undo = Path(origin).read_bytes(), self.scratch / "large.undo"
        store = Path(cow).read_bytes()
        entries = [struct.unpack_from("<QQ", store, (1 + area * 257) * 4096 + i * 16)
                   for area in range(4) for i in range(256)][:1000]
        self.assertEqual(run("merge", "-q", "--undo", undo, origin, cow).returncode, 0)
        after, data = Path(origin).read_bytes(), undo.read_bytes()

        def sha(part):
            return hashlib.sha256(part).digest()

        def up(size):
            return -(-size // 4096) * 4096

        self.assertEqual(data[:40], b"SNAPUNDO" + struct.pack("<IIQQQ", 1, 8, len(before), len(store), 1000))
        self.assertEqual(data[40:72], sha(data[:40]))
        at, number, end = 4096, 0, 1000
        while True:
            self.assertEqual(data[at:at + 8], b"UNDO-REC")
            kind, sequence, first, count, ranges, size = struct.unpack_from("<6Q", data, at + 8)
            self.assertEqual((sequence, data[at + 88:at + 120]), (number, sha(data[at:at + 88])))
            if kind == 2:
                break
            self.assertEqual((kind, first + count), (1, end))
            tables = at + 4096
            length = count * 16 + ranges * 24 + -(-size // 2**20) * 32
            self.assertEqual(data[at + 56:at + 88], sha(data[tables:tables + length]))
            self.assertEqual([struct.unpack_from("<QQ", data, tables + i * 16) for i in range(count)],
                             entries[first:first + count])
            old = tables + up(length)
            for piece in range(-(-size // 2**20)):
                part = data[old + piece * 2**20:old + min(size, (piece + 1) * 2**20)]
                place = tables + count * 16 + ranges * 24 + piece * 32
                self.assertEqual(data[place:place + 32], sha(part))
            place = old
            for n in range(ranges):
                source, target, bytes_ = struct.unpack_from("<3Q", data, tables + count * 16 + n * 24)
                self.assertEqual(data[place:place + bytes_], before[target:target + bytes_])
                self.assertEqual(store[source:source + bytes_], after[target:target + bytes_])
                place += bytes_
            self.assertEqual(place, old + size)
            at, number, end = old + up(size), number + 1, first
        self.assertEqual((end, len(data)), (0, at + 4096))
        self.assertEqual(data[at + 56:at + 88], sha(after[:2**20] + after[-2**20:]))

    def test_undo_file_and_journal_through_a_link_that_leads_to_nothing(self):
        folder = self.scratch / "elsewhere"
        folder.mkdir()
        undo, target = self.scratch / "link", folder / "real"
        undo.symlink_to(target)
        before = sha256_of_file(self.origin)
        self.assertEqual(run("merge", "-q", "--undo", undo, self.origin, self.cow).returncode, 0)
        self.assertTrue(undo.is_symlink() and target.is_file())
        self.assertEqual(run("undo", undo, self.origin, self.cow).returncode, 0)
        self.assertEqual(sha256_of_file(self.origin), before)
        view = f"{self.origin}@{self.cow}"
        diff, journal, made = self.scratch / "diff", self.scratch / "journal", folder / "made"
        self.assertEqual(run("export", view, "--base", self.origin, "-o", diff).returncode, 0)
        journal.symlink_to(made)
        done = run("apply", "--journal", journal, diff, self.origin)
        self.assertEqual(done.returncode, 0, done.stderr)
        # What is of no use any more goes, and not the link.
        self.assertTrue(journal.is_symlink() and not made.exists())

    def test_undo_refuses_what_was_changed(self):
        undo = self.scratch / "merge.undo"
        self.assertEqual(run("merge", "-q", "--undo", undo, self.origin, self.cow).returncode, 0)
        with open(self.origin, "r+b") as file:
            file.write(b"a mount would write here")
        self.sums = sha256_of_file(self.origin), sha256_of_file(self.cow)
        self.assert_refused(run("undo", undo, self.origin, self.cow), 66, "changed after the merge", "nothing was written")
        self.assert_refused(run("undo", self.cow, self.origin, self.cow), 64, "undo file")
        self.assert_refused(run("undo", self.scratch / "none", self.origin, self.cow), 1, "none")
        other = self.scratch / "other"
        other.write_bytes(b"something else" * 1000)
        self.assert_refused(run("undo", other, self.origin, self.cow), 65, "not an undo file")

    def test_undo_file_must_be_its_own(self):
        for path in (self.origin, self.cow):
            self.assert_refused(run("merge", "--undo", path, self.origin, self.cow), 64, "input")
        other = self.scratch / "other"
        other.write_bytes(b"something else" * 1000)
        self.assert_refused(run("merge", "--undo", other, self.origin, self.cow), 65, "not an undo file")
        self.assert_refused(run("merge", "--undo", self.scratch / "none" / "x", self.origin, self.cow), 1, "none")
        self.assert_refused(run("merge", "--undo", other, self.origin, self.cow, "-o", self.scratch / "new"), 64)
        self.assertFalse((self.scratch / "none").exists())

    def test_an_interrupted_merge_goes_on_with_its_undo_file(self):
        origin, cow, expected = self.large_store()
        before = sha256_of_file(origin), sha256_of_file(cow)
        undo = self.scratch / "large.undo"
        # With the first 40 writes the undo file is there, and the origin's have begun.
        process = interrupted(signal.SIGINT, "merge", "-j", "1", "--undo", undo, origin, cow, writes=40, times=3)
        self.assertEqual(process.returncode, 130)
        self.assertIn(f"--undo {undo} {origin} {cow}", process.stderr)
        process = run("merge", "-q", "--undo", undo, origin, cow)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertEqual(sha256_of_file(origin), expected)
        process = run("undo", "-q", undo, origin, cow)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertEqual((sha256_of_file(origin), sha256_of_file(cow)), before)

    def test_salvage_gets_past_what_cannot_be_read(self):
        origin, cow, _ = self.large_store()
        # The reads of data that fail: chunk 300 of the COW, from whichever call.
        bad = 300 * 4096
        view = (self.scratch / "large.view").read_bytes()
        before = (self.scratch / "large.img").read_bytes()
        content = (self.scratch / "large.cow").read_bytes()
        old = next(struct.unpack_from("<Q", content, area * 257 * 4096 + 4096 + i * 16)[0]
                   for area in range(4) for i in range(256)
                   if struct.unpack_from("<Q", content, area * 257 * 4096 + 4096 + i * 16 + 8)[0] == 300)
        library = self.failing_reads(bad, 4096)
        # With AddressSanitizer its library is the second, and takes what it wraps from this one.
        environment = dict(os.environ, LD_PRELOAD=str(library), FAIL_NAME=str(cow),
                           ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0")
        plain = run("merge", origin, cow, env=environment)
        self.assertEqual(plain.returncode, 1)
        self.assertIn("Input/output error", plain.stderr)
        self.assertIn("300", plain.stderr)
        process = run("merge", "--salvage", origin, cow, env=environment)
        self.assertEqual(process.returncode, 1, process.stderr)
        self.assertIn(f"COW chunk 300, for origin chunk {old}", process.stdout)
        self.assertIn("could not be read", process.stderr)
        told = run("merge", "--salvage", "--output=json", origin, cow, env=environment)
        self.assertEqual([row["new_chunk"] for row in json.loads(told.stdout)["unreadable"]], [300])
        expected = bytearray(view)
        expected[old * 4096:(old + 1) * 4096] = before[old * 4096:(old + 1) * 4096]
        self.assertEqual(Path(origin).read_bytes(), bytes(expected))
        # With a medium that reads again, the rest.
        process = run("merge", origin, cow)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertEqual(Path(origin).read_bytes(), (self.scratch / "large.view").read_bytes())

    def failing_reads(self, start, length):
        """A library to preload, with which reads of these bytes of the file FAIL_NAME fail."""
        need(self, "cc")
        source, library = self.scratch / "fail.c", self.scratch / "fail.so"
        source.write_text(f"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static ssize_t failing(const char *name, int fd, void *to, size_t count, off_t at) {{
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  const char *bad = getenv("FAIL_NAME");
  if (length > 0 && bad && at < {start + length}L && at + (off_t)count > {start}L) {{
    path[length] = 0;
    if (strcmp(path, bad) == 0) {{ errno = EIO; return -1; }}
  }}
  ssize_t (*next)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, name);
  return next(fd, to, count, at);
}}
ssize_t pread(int fd, void *to, size_t count, off_t at) {{ return failing("pread", fd, to, count, at); }}
ssize_t pread64(int fd, void *to, size_t count, off_t at) {{ return failing("pread64", fd, to, count, at); }}
""")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        return library

    def test_an_interrupted_output_leaves_nothing(self):
        origin, cow, _ = self.large_store()
        out = self.scratch / "new.img"
        process = interrupted(signal.SIGINT, "merge", "-j", "1", origin, cow, "-o", out)
        self.assertEqual(process.returncode, 130)
        self.assertEqual([p.name for p in self.scratch.iterdir() if p.name.startswith("new")], [])

    def large_store(self):
        """A store of 1000 scattered chunks, and the SHA-256 of its view by a model of ten lines."""
        rng = random.Random(7)
        chunk, count = 4096, 1000
        origin = bytearray(rng.randbytes(1 << 20) * 16)
        per_area = chunk // 16
        cow = bytearray((2 + count + count // per_area + 2) * chunk)
        cow[:16] = struct.pack("<4I", 0x70416e53, 1, 1, chunk // 512)
        view = bytearray(origin)
        for k, old in enumerate(rng.sample(range(len(origin) // chunk), count)):
            area, index = divmod(k, per_area)
            new = 2 + area * (per_area + 1) + index
            struct.pack_into("<QQ", cow, (1 + area * (per_area + 1)) * chunk + index * 16, old, new)
            data = rng.randbytes(chunk)
            cow[new * chunk:(new + 1) * chunk] = data
            view[old * chunk:(old + 1) * chunk] = data
        paths = self.scratch / "large.img", self.scratch / "large.cow"
        paths[0].write_bytes(origin)
        paths[1].write_bytes(cow)
        (self.scratch / "large.view").write_bytes(view)
        return *map(str, paths), sha256_of_file(self.scratch / "large.view")


class BlockDevices(ContractTest):
    """On loop devices, where the machine has them and lets us."""

    def setUp(self):
        super().setUp()
        need_loop_devices(self)

    def attach(self, path):
        device = subprocess.run(["losetup", "-f", "--show", str(path)], capture_output=True, text=True,
                                check=True).stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", device], check=False)
        return device

    def test_a_merge_on_devices(self):
        origin, cow = self.attach(self.origin), self.attach(self.cow)
        self.assertEqual(run("status", origin, cow).stdout, run("status", self.origin, self.cow).stdout)
        view = run("read", f"{origin}@{cow}", binary=True).stdout
        done = run("merge", origin, cow)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(run("read", "-f", "raw", origin, binary=True).stdout, view)
        self.assertEqual(run("verify", origin, cow).returncode, 0)

    def test_a_file_behind_a_loop_device_is_busy(self):
        device = self.attach(self.cow)
        self.assert_refused(run("merge", self.origin, self.cow), 75, device, "losetup -d")

    def test_one_device_under_two_names(self):
        device = self.attach(self.origin)
        alias = self.scratch / "alias"
        alias.symlink_to(device)
        self.assert_refused(run("merge", device, alias), 64, "same file")

    def test_output_to_a_device(self):
        target = self.scratch / "target.img"
        target.write_bytes(b"\xee" * (4 << 20))
        device = self.attach(target)
        view = run("read", f"{self.origin}@{self.cow}", binary=True).stdout
        self.assert_refused(run("read", f"{self.origin}@{self.cow}", "-o", device), 64, "exists")
        self.assertEqual(run("read", f"{self.origin}@{self.cow}", "-o", device, "--force").returncode, 0)
        self.assertEqual(run("read", "-f", "raw", device, binary=True).stdout, view)


class Locks(ContractTest):
    def lock(self, path, kind, start, length):
        file = open(path, "r+b")
        self.addCleanup(file.close)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqixxxx", kind, 0, start, length, 0))
        return file

    def test_what_another_writer_holds_is_busy(self):
        self.empty_diff()  # before it is locked
        for path in (self.origin, self.cow):
            holder = self.lock(path, fcntl.F_WRLCK, 0, 0)
            for command in commands():
                # These look at one of the two only, or at neither.
                if command in ("compose", "restore", "ls", "cat") or (command in ("dump", "resize") and path == self.origin) or (
                        command == "create" and path == self.cow):
                    continue
                self.assert_refused(run(command, *self.operands(command)), 75)
            self.assert_refused(run("merge", self.origin, self.cow), 75)
            shared = run("status", "-U", self.origin, self.cow)
            self.assertEqual(shared.returncode, 0)
            holder.close()

    def test_a_reader_stops_only_writers(self):
        self.lock(self.cow, fcntl.F_RDLCK, 100, 1)
        self.assertEqual(run("status", self.origin, self.cow).returncode, 0)
        self.assert_refused(run("merge", self.origin, self.cow), 75)


if __name__ == "__main__":
    main("command line contract")
