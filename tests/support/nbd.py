# SPDX-License-Identifier: Apache-2.0
"""`snaptool serve` for tests, and a client that speaks NBD: fixed newstyle, simple replies, one request at a time."""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from harness import SNAPTOOL, need

READ, WRITE, DISCONNECT, FLUSH, TRIM, CACHE, WRITE_ZEROES = 0, 1, 2, 3, 4, 5, 6
FUA = 1


def environment(folder):
    """That of a `snaptool serve` whose nbdkit can load a plugin that has sanitizers: nbdkit itself has none.

    Only nbdkit gets them: some of the programs that serve may start hang with a sanitizer that they were not built with.
    """
    needed = subprocess.run(["ldd", SNAPTOOL], capture_output=True, text=True, check=True).stdout
    sanitizers = [line.split(" => ")[1].split(" ")[0] for line in needed.splitlines() if "libasan" in line or "libubsan" in line]
    if not sanitizers:
        return dict(os.environ)
    program = Path(folder) / "bin" / "nbdkit"
    if not program.exists():
        program.parent.mkdir()
        preload = shlex.quote(" ".join(sanitizers))
        program.write_text(f'#!/bin/sh\nLD_PRELOAD={preload} exec {shutil.which("nbdkit")} "$@"\n')
        program.chmod(0o755)
    return dict(os.environ, PATH=f"{program.parent}:{os.environ['PATH']}", ASAN_OPTIONS="detect_leaks=0")


def need_server(test):
    need(test, "nbdkit")
    plugin = Path(SNAPTOOL).parent / "nbdkit" / "nbdkit-snaptool-plugin.so"
    test.assertTrue(plugin.exists(), "the plugin was not built: is nbdkit-plugin-dev installed?")


class Server(contextlib.AbstractContextManager):
    """`snaptool serve` of an image, on a Unix socket."""

    def __init__(self, *arguments):
        self.folder = tempfile.TemporaryDirectory(prefix="snaptool-nbd-")
        self.path = Path(self.folder.name) / "socket"
        words = [SNAPTOOL, "serve", "--socket", str(self.path), *map(str, arguments)]
        self.process = subprocess.Popen(words, env=environment(self.folder.name), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.uri = self.process.stdout.readline().strip()
        if not self.uri:
            raise AssertionError(f"{words}: {self.stop()}")

    def stop(self, number=signal.SIGTERM):
        """Ends it; returns its exit status and what it said on standard error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, error = self.process.communicate(timeout=60)
        self.folder.cleanup()
        return self.process.returncode, error

    def kill(self):
        """As a power cut of the program: it, and what it started, get no further."""
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        self.process.kill()
        self.process.communicate(timeout=60)
        self.folder.cleanup()

    def connect(self):
        return Client(str(self.path))

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()


class NbdError(Exception):
    def __init__(self, number):
        super().__init__(os.strerror(number))
        self.errno = number


class Client(contextlib.AbstractContextManager):
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        magic, option, flags = struct.unpack(">8s8sH", self.take(18))
        assert (magic, option) == (b"NBDMAGIC", b"IHAVEOPT") and flags & 3 == 3, (magic, option, flags)
        # Fixed newstyle, no zeros; the option to go on with the default export by its name.
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        self.size, self.flags = struct.unpack(">QH", self.take(10))
        self.handle = 0

    def take(self, length):
        data = bytearray()
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise ConnectionError("the server has gone")
            data += more
        return bytes(data)

    def request(self, command, offset=0, length=0, data=b"", flags=0):
        self.handle += 1
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, command, self.handle, offset, length) + data)
        magic, error, handle = struct.unpack(">IIQ", self.take(16))
        assert (magic, handle) == (0x67446698, self.handle), (magic, handle)
        if error:
            raise NbdError(error)
        return self.take(length) if command == READ else b""

    def read(self, offset, length):
        return self.request(READ, offset, length)

    def read_all(self):
        step = 16 << 20
        return b"".join(self.read(at, min(step, self.size - at)) for at in range(0, self.size, step))

    def write(self, offset, data, fua=False):
        self.request(WRITE, offset, len(data), data, FUA if fua else 0)

    def zero(self, offset, length):
        self.request(WRITE_ZEROES, offset, length)

    def trim(self, offset, length):
        self.request(TRIM, offset, length)

    def cache(self, offset, length):
        self.request(CACHE, offset, length)

    def flush(self):
        self.request(FLUSH)

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, DISCONNECT, 0, 0, 0))
        self.socket.close()
