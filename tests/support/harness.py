# SPDX-License-Identifier: Apache-2.0
"""What the Python tests share: running snaptool, scratch folders and sums."""

import atexit
import contextlib
import functools
import hashlib
import io
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import json_keys

SNAPTOOL = os.environ.get("SNAPTOOL", "")
# What runs of snaptool are forked from, if anything.
ZYGOTE = os.environ.get("SNAPTOOL_ZYGOTE", "")
DATA = Path(__file__).resolve().parent.parent / "data"
KERNEL_STORES = DATA / "kernel"
# What random tests do is fixed by the seed. 100 is full effort, as in the deep suite.
SEED = int(os.environ.get("SNAPTOOL_SEED", "1"))
EFFORT = int(os.environ.get("SNAPTOOL_EFFORT", "3"))
# How many of its slowest tests a program lists at the end.
SLOWEST = int(os.environ.get("SNAPTOOL_SLOWEST", "0"))
REQUIRE_PEERS = os.environ.get("SNAPTOOL_REQUIRE_PEERS") == "1"


class Zygote:
    """snaptool started once and forked for each run (see zygote.cc), which is much faster where it has sanitizers."""

    def __init__(self, env):
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            os.set_inheritable(other.fileno(), True)
            descriptor = other.fileno()
            self.process = subprocess.Popen(["bash", "-c", f'exec "$0" 3<&{descriptor}', ZYGOTE], pass_fds=[descriptor],
                                            stdin=subprocess.DEVNULL, env=dict(env))
        atexit.register(self.close)

    def close(self):
        self.socket.close()
        self.process.wait(timeout=60)

    def run(self, arguments, stdin, timeout, data=b"", cwd=None, fail_allocation=""):
        """What subprocess.run does with captured output; `data` is what standard input has if it is a pipe."""
        with contextlib.ExitStack() as stack:
            def pipe():
                ends = os.pipe()
                return [stack.enter_context(open(ends[0], "rb")), stack.enter_context(open(ends[1], "wb"))]

            out, error, status = pipe(), pipe(), pipe()
            if stdin == subprocess.PIPE:
                source, sink = pipe()
            else:
                source, sink = stack.enter_context(open(os.devnull, "rb")) if stdin == subprocess.DEVNULL else sys.stdin, None
            words = [str(cwd or os.getcwd()), fail_allocation, *arguments]
            files = [source, out[1], error[1], status[1]]
            socket.send_fds(self.socket, [b"".join(os.fsencode(word) + b"\0" for word in words)], [f.fileno() for f in files])
            for file in files[1:] + ([source] if sink else []):
                file.close()
            pid, = struct.unpack("i", status[0].read(4))
            late = threading.Event()
            guard = threading.Timer(timeout, lambda: (late.set(), os.kill(pid, signal.SIGKILL)))
            guard.start()
            texts = self.exchange(out[0], error[0], sink, data)
            number, = struct.unpack("i", status[0].read(4))
            guard.cancel()
            guard.join()
        if late.is_set():
            raise subprocess.TimeoutExpired(arguments, timeout)
        return subprocess.CompletedProcess(arguments, os.waitstatus_to_exitcode(number), *texts)

    @staticmethod
    def exchange(out, error, sink, data):
        """Writes the input, reads both outputs to their end."""
        texts = {out: [], error: []}
        data = memoryview(data)
        with selectors.DefaultSelector() as selector:
            for file in texts:
                selector.register(file, selectors.EVENT_READ)
            if sink:
                selector.register(sink, selectors.EVENT_WRITE)
            while selector.get_map():
                for key, _ in selector.select():
                    if key.fileobj is sink:
                        try:
                            data = data[os.write(sink.fileno(), data[:select.PIPE_BUF]):]
                        except BrokenPipeError:
                            data = data[:0]
                        if not data:
                            selector.unregister(sink)
                            sink.close()
                    elif piece := os.read(key.fd, 1 << 20):
                        texts[key.fileobj].append(piece)
                    else:
                        selector.unregister(key.fileobj)
        return [b"".join(pieces) for pieces in texts.values()]


@functools.cache
def zygote(env):
    return Zygote(env)


def run(*arguments, **options):
    """Runs snaptool and returns the finished process with text (or with binary=True, bytes) output. What it prints with
    --output=json must be as snaptool-json(7) has it. fail_allocation: which one fails, "12", or "12+" with all that follow
    (see zygote.cc)."""
    done = run_unchecked(*arguments, **options)
    json_keys.check_run([*map(str, arguments)], done.returncode, done.stdout)
    return done


def run_unchecked(*arguments, **options):
    binary = options.pop("binary", False)
    stdin = options.pop("stdin", subprocess.DEVNULL)
    timeout = options.pop("timeout", 120)
    command = [SNAPTOOL, *map(str, arguments)]
    if not ZYGOTE or options.keys() - {"input", "cwd", "env", "fail_allocation"} or stdin not in (subprocess.DEVNULL, None):
        if "input" not in options:
            options["stdin"] = stdin
        return subprocess.run(command, capture_output=True, text=not binary, timeout=timeout, check=False, **options)
    if "input" in options:
        data = options.pop("input")
        options["data"], stdin = data.encode() if isinstance(data, str) else data, subprocess.PIPE
    # One for each set of variables: some count when the program starts (LD_PRELOAD, ASAN_OPTIONS).
    variables = tuple(sorted(options.pop("env", os.environ).items()))
    done = zygote(variables).run(command, stdin, timeout, **options)
    if not binary:
        done.stdout, done.stderr = (io.TextIOWrapper(io.BytesIO(text)).read() for text in (done.stdout, done.stderr))
    return done


def scaled(normal):
    """How many of `normal` cases to try: all at full effort, fewer in the default suite; at least 1."""
    return max(1, normal * EFFORT // 100)


# What a process under strace needs: LeakSanitizer, where snaptool is built with it, does not work under ptrace, and
# would end it with status 1.
TRACED = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")


def run_under_strace(options, *arguments):
    """Runs snaptool with these options of strace, which can count its calls and kill it at one of them.

    What it counts is per thread: with `-j 1` there is one.
    """
    return subprocess.run(["strace", "-f", "-qq", *options, SNAPTOOL, *map(str, arguments)], capture_output=True,
                          text=True, check=False, stdin=subprocess.DEVNULL, env=TRACED)


def interrupted(number, *arguments, writes=3, times=1):
    """Runs snaptool and sends it a signal (or several, one on top of the other) in the middle, once it has begun so many writes; returns it when it has ended.

    From there on each write takes 20 ms, so that it is not done before the signal comes.
    """
    with tempfile.TemporaryDirectory(prefix="snaptool-test-") as folder:
        trace = Path(folder) / "trace"
        process = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", trace, "-e", "trace=pwrite64", "-e",
             f"inject=pwrite64:delay_enter=20000:when={writes}+", SNAPTOOL, *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=TRACED)
        end = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < end:
            if trace.exists() and trace.read_bytes().count(b"pwrite64(") > writes:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                for _ in range(times):
                    os.kill(int(children[0]), number)
                break
            time.sleep(0.01)
        try:
            out, error = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, out, error)


def sha256_of_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(source, target):
    """Decompresses a .zst of the test data; holes stay holes."""
    subprocess.run(["zstd", "-q", "-d", "-f", "--sparse", "--long=27", str(source), "-o", str(target)],
                   check=True, stdin=subprocess.DEVNULL)


def need(test, *programs):
    """Skips the test with a printed reason when a program is missing; fails where nothing may be skipped."""
    from shutil import which
    missing = [program for program in programs if which(program) is None]
    if not missing:
        return
    reason = "not installed: " + ", ".join(missing)
    if REQUIRE_PEERS:
        test.fail(reason)
    skip(test, reason)


def skip(test, reason):
    """Skips it, and says so: ctest counts it as passed."""
    print(f"SKIPPED: {test.id()}: {reason}")
    test.skipTest(reason)


def why_no_loop_devices():
    """Why this machine cannot have loop devices (a chroot without /dev or /sys, not root); None where it can."""
    try:
        os.close(os.open("/dev/loop-control", os.O_RDWR))
    except OSError as error:
        return f"no loop devices here: /dev/loop-control: {error.strerror}"
    return None if Path("/sys/block").is_dir() else "no loop devices here: no /sys"


def need_loop_devices(test):
    need(test, "losetup")
    if reason := why_no_loop_devices():
        skip(test, reason)


def need_terminals(test):
    try:
        for end in os.openpty():
            os.close(end)
    except OSError as error:
        print(f"SKIPPED: {test.id()}: no pseudo-terminals here: {error.strerror}")
        test.skipTest("no pseudo-terminals")


class ScratchTest(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="snaptool-test-")
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)

    def unpack_store(self, name):
        """Unpacks one of the kernel's stores; returns (origin as it was at the end, COW)."""
        folder = KERNEL_STORES / name
        origin, cow = self.scratch / "origin.img", self.scratch / "cow.img"
        after = folder / "origin.after.img.zst"
        unpack(after if after.exists() else folder / "origin.img.zst", origin)
        unpack(folder / "cow.img.zst", cow)
        return origin, cow


class _TimedResult(unittest.TextTestResult):
    """Keeps how long each test took, its setUp and clean-up included."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seconds = []

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def stopTest(self, test):
        self.seconds.append((time.monotonic() - self.started, test.id().removeprefix("__main__.")))
        super().stopTest(test)


def main(name):
    """Runs the tests of the calling module (or those that the command line names) and says how long the longest took."""
    if not SNAPTOOL:
        sys.exit("set SNAPTOOL to the program to be tested")
    start = time.monotonic()
    runner = unittest.TextTestRunner(resultclass=_TimedResult, verbosity=1)
    result = unittest.main(exit=False, testRunner=runner).result
    print(f"{name}: {time.monotonic() - start:.1f} s")
    for seconds, test in sorted(result.seconds, reverse=True)[:SLOWEST]:
        print(f"{seconds:8.2f} s {test}")
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)
