# SPDX-License-Identifier: Apache-2.0
"""What a person sees of -p on a terminal, by a small model of one; and the line on SIGUSR1."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SNAPTOOL, ScratchTest, main, run  # noqa: E402

MIB = 1 << 20
WAIT = 60  # seconds until something is taken for stuck


class Screen:
    """A terminal that knows \\r, \\n, erasing to the end of the line and wrapping; rows[-1] has the cursor."""

    def __init__(self, width):
        self.width, self.rows, self.column = width, [""], 0
        self.frames = []  # (width, the row) each time the cursor went back to its start
        self.on_its_way = 0  # lines that may be meant for another width

    def resize(self, width):
        self.width = width
        self.rows[-1] = self.rows[-1][:width]
        self.column = min(self.column, width - 1)
        self.on_its_way = 2  # what is there, and one whose drawing has begun

    def feed(self, text):
        for token in re.findall(r"\x1b\[K|[^\x1b]", text):
            if token == "\r":
                if self.on_its_way == 0:
                    self.frames.append((self.width, self.rows[-1]))
                self.on_its_way = max(0, self.on_its_way - 1)
                self.column = 0
            elif token == "\n":
                self.rows.append("")
            elif token == "\x1b[K":
                self.rows[-1] = self.rows[-1][:self.column]
            elif self.column < self.width or self.on_its_way == 0:
                if self.column == self.width:
                    self.rows.append("")
                    self.column = 0
                row = self.rows[-1]
                self.rows[-1] = row[:self.column] + token + row[self.column + 1:]
                self.column += 1


class Session:
    """snaptool on a terminal of its own, from which it can be interrupted; its standard input is a pipe."""

    def __init__(self, test, width, *arguments, **environment):
        self.master, slave = os.openpty()
        self.screen, self.bytes, self.pending = Screen(width), b"", b""
        self.set_width(width)
        env = {**os.environ, "TERM": "xterm", **environment}
        self.process = subprocess.Popen([SNAPTOOL, *map(str, arguments)], stdin=subprocess.PIPE, stdout=slave,
                                        stderr=slave, env=env, start_new_session=True, bufsize=0,
                                        preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0))
        os.close(slave)
        test.addCleanup(self.close)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=WAIT)
        self.process.stdin.close()
        os.close(self.master)

    def set_width(self, width):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", 24, width, 0, 0))

    def resize(self, width):
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        while select.select([self.master], [], [], 0)[0]:
            self.read_some()
        self.set_width(width)
        self.screen.resize(width)
        os.kill(self.process.pid, signal.SIGWINCH)
        os.kill(self.process.pid, signal.SIGCONT)

    def read_some(self):
        """Applies what comes next; False at the end."""
        if not select.select([self.master], [], [], WAIT)[0]:
            raise TimeoutError(self.screen.rows)
        try:
            piece = os.read(self.master, 4096)
        except OSError:  # EIO: nobody has the other end
            return False
        self.bytes += piece
        self.pending += piece
        # An escape sequence may have come in two pieces.
        whole = re.sub(rb"\x1b\[?$", b"", self.pending)
        self.screen.feed(whole.decode())
        self.pending = self.pending[len(whole):]
        return bool(piece)

    def until(self, condition):
        end = time.monotonic() + WAIT
        while not condition():
            if time.monotonic() > end or not self.read_some():
                raise AssertionError(f"{self.screen.rows} {self.screen.frames[-3:]}")

    def next_frames(self, count):
        """Those whose drawing began from now on."""
        first = len(self.screen.frames) + 1  # one may be on its way
        self.until(lambda: len(self.screen.frames) >= first + count)
        return [frame for _, frame in self.screen.frames[first:first + count]]

    def finish(self):
        while self.read_some():
            pass
        self.process.wait(timeout=WAIT)
        return self.process.returncode


class Bar(ScratchTest):
    def setUp(self):
        super().setUp()
        self.origin, self.cow = self.scratch / "origin", self.scratch / "cow"
        with open(self.origin, "wb") as file:
            file.truncate(8 * MIB)
        self.assertEqual(run("create", self.origin, self.cow).returncode, 0)

    def writing(self, width, *options, **environment):
        """A write of 4 MiB that waits for them, and the first of them."""
        session = Session(self, width, "write", *options, "--length", "4M", "-i", "-", self.origin, self.cow,
                          **environment)
        session.process.stdin.write(bytes(MIB))
        return session

    def end(self, session):
        session.process.stdin.write(bytes(3 * MIB))
        session.process.stdin.close()
        self.assertEqual(session.finish(), 0)

    def assert_one_line(self, session):
        """That no update left a line, nor reached the end of one."""
        self.assertEqual(len(session.screen.rows), 1, session.screen.rows)
        for width, frame in session.screen.frames:
            self.assertLess(len(frame), width, frame)

    def assert_steady(self, frames):
        """That what does not change its length stands where it stood."""
        places = {tuple(match.start() for match in re.finditer(r"%|/s|left|\[|\]|iB in", frame)) for frame in frames}
        self.assertEqual(len(places), 1, frames)

    def check_width(self, width, other):
        """The bar at one width, then after the terminal got another one."""
        fields = {30: ("%",), 80: ("%", "[", "iB in", "/s", "left"), 200: ("%", "of 4.00 MiB", "[", "iB in", "/s", "left")}
        session = self.writing(width, "-p")
        session.until(lambda: " 25" in session.screen.rows[-1])
        for now in (width, other):
            if now != width:
                session.resize(now)
            frames = session.next_frames(3)
            self.assert_one_line(session)
            self.assert_steady(frames)
            for frame in frames:
                self.assertTrue(frame.startswith("writing:"), frame)
                for field in fields[now]:
                    self.assertIn(field, frame)
                self.assertLessEqual(len(frame), 130)
        self.end(session)
        last, *report, empty = session.screen.rows
        self.assertRegex(last, r"^writing: 100(\.0)?%.*[^ ]$")
        self.assertNotIn("left", last)
        self.assertLess(len(last), other)
        self.assertNotRegex("".join(report), "writing|%")
        self.assertEqual(empty, "")

    def test_narrow(self):
        self.check_width(30, 200)

    def test_usual(self):
        self.check_width(80, 30)

    def test_wide(self):
        self.check_width(200, 80)

    def test_an_error_has_a_line_of_its_own(self):
        session = self.writing(80, "-p")
        session.until(lambda: " 25" in session.screen.rows[-1])
        self.assert_one_line(session)
        session.process.stdin.close()
        self.assertEqual(session.finish(), 1)
        bar, error, empty = session.screen.rows
        self.assertRegex(bar, "^writing:  25")
        self.assertRegex(error, "^snaptool write: ")
        self.assertEqual(empty, "")

    def test_interrupted(self):
        for width in (30, 200):
            with self.subTest(width=width):
                session = self.writing(width, "-p")
                session.until(lambda: " 25" in session.screen.rows[-1])
                os.write(session.master, b"\x03")  # Ctrl-C, which the terminal shows as ^C
                self.assertEqual(session.finish(), 130)
                self.assertIn(b"^C", session.bytes)
                self.assertRegex(session.screen.rows[0], "^writing:")
                self.assertRegex(session.screen.rows[1], "^snaptool write: ")

    def test_where_nothing_can_be_drawn_over(self):
        session = self.writing(80, "-p", TERM="dumb")
        self.end(session)
        self.assertNotIn(b"\x1b", session.bytes)
        self.assertNotRegex(session.bytes, rb"\r[^\n]")
        self.assertRegex(session.screen.rows[0], r"^writing: 100\.0% of 4\.00 MiB 4\.00 MiB in ")

    def test_a_line_on_demand(self):
        for options in ([], ["-p"]):
            with self.subTest(options=options):
                session = self.writing(80, *options)
                if options:
                    session.until(lambda: " 25" in session.screen.rows[-1])
                os.kill(session.process.pid, signal.SIGUSR1)
                session.until(lambda: len(session.screen.rows) > 1)
                self.assertRegex(session.screen.rows[0],
                                 r"^writing: +(0|25)\.0% of 4\.00 MiB +[0-9.]+ M?i?B in .*/s .* left$")
                self.end(session)

    def test_a_line_on_demand_without_a_terminal(self):
        arguments = ["write", "--length", "4M", "-i", "-", self.origin, self.cow]
        with subprocess.Popen([SNAPTOOL, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, bufsize=0) as process:
            process.stdin.write(bytes(MIB))
            # Its handler is there once it has read something.
            os.kill(process.pid, signal.SIGUSR1)
            line = b""
            while not line.endswith(b"\n"):
                self.assertTrue(select.select([process.stderr], [], [], WAIT)[0], line)
                line += process.stderr.read(4096)
            process.stdin.write(bytes(3 * MIB))
            process.stdin.close()
            rest = process.stderr.read()
            self.assertEqual(process.wait(timeout=WAIT), 0)
        self.assertRegex(line, rb"^writing: +(0|25)\.0% of 4\.00 MiB .*\n$")
        self.assertEqual(rest, b"")


class Holes(ScratchTest):
    def test_they_are_no_bytes_that_were_moved(self):
        source = self.scratch / "sparse"
        with open(source, "wb") as file:
            file.truncate(1024 * MIB)
            for at in (0, 500 * MIB, 1023 * MIB):
                file.seek(at)
                file.write(os.urandom(MIB))
        for arguments in (["read", source, "-o"], ["convert", source, "-O", "qcow2"], ["convert", source, "-O", "raw"]):
            with self.subTest(arguments=arguments):
                out = self.scratch / "out"
                done = run(arguments[0], "-p", *arguments[1:], out)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertRegex(done.stderr, r"\w+: 100\.0% of 1\.00 GiB 3\.00 MiB in ")
                out.unlink()


class Commands(ScratchTest):
    def test_those_that_run_long_have_it(self):
        for command in ("apply", "batch", "cat", "compose", "convert", "diff", "diff-verify", "discard", "dump", "export",
                        "hash", "invert", "map", "merge", "read", "repair", "restore", "undo", "verify", "write",
                        "write-origin"):
            self.assertIn("--progress", run(command, "--help").stdout, command)


if __name__ == "__main__":
    main("progress")
