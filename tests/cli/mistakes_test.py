# SPDX-License-Identifier: Apache-2.0
"""What operators do wrong with `snaptool merge`: each mistake is refused before the first write, and explained.

A row of MISTAKES is one mistake. It is tried on a pair of files of its own.
"""

import collections
import contextlib
import ctypes
import fcntl
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import write_store  # noqa: E402
from harness import REQUIRE_PEERS, ScratchTest, main, run, sha256_of_file, why_no_loop_devices  # noqa: E402

CHUNK = 8  # sectors
CHUNK_BYTES = CHUNK * 512
CHUNKS = 256
EXCEPTIONS = 100
HEAD = 32  # chunks that only rows about superblocks change
LEAST_ROWS = 20
CAP_DAC_OVERRIDE, PR_CAPBSET_READ, PR_CAPBSET_DROP = 1, 23, 24
UUIDS = bytes(range(16)), bytes(range(16, 32))


class NotHere(Exception):
    """The machine cannot make this mistake."""


class Pair:
    """An origin and a COW in a folder of their own, and what a row did to them."""

    def __init__(self, folder, stack):
        self.folder, self.stack = folder, stack
        self.origin, self.cow = folder / "origin.img", folder / "snapshot.cow"
        self.options = {}  # for subprocess.run
        rng = random.Random(1)
        self.content = bytearray(rng.randbytes(CHUNKS * CHUNK_BYTES))
        self.old_chunks = rng.sample(range(HEAD, CHUNKS), EXCEPTIONS)
        self.data = [rng.randbytes(CHUNK_BYTES) for _ in self.old_chunks]
        self.write()

    def write(self):
        self.origin.write_bytes(self.content)
        self.layout = write_store(self.cow, CHUNK, self.old_chunks, lambda index: self.data[index])

    def other(self, name):
        return self.folder / name

    def patch(self, path, offset, data):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def patch_entry(self, index, old, new):
        self.patch(self.cow, self.layout.area_chunk(0) * CHUNK_BYTES + 16 * index, struct.pack("<QQ", old, new))

    def put(self, *pieces):
        """Superblocks on the origin with the first UUID, and in the view with the second.

        A piece is (offset, bytes) or (offset, a function of the UUID).
        """
        chunks = sorted({offset // CHUNK_BYTES for offset, _ in pieces})
        for uuid in UUIDS:
            for offset, piece in pieces:
                data = piece if isinstance(piece, bytes) else piece(uuid)
                self.content[offset:offset + len(data)] = data
            if uuid == UUIDS[0]:
                before = bytes(self.content)
        self.old_chunks = self.old_chunks + chunks
        self.data = self.data + [bytes(self.content[n * CHUNK_BYTES:][:CHUNK_BYTES]) for n in chunks]
        self.content = before
        self.write()

    def lock(self, path, kind, start, length):
        file = self.stack.enter_context(open(path, "r+b"))
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqixxxx", kind, 0, start, length, 0))

    def attach(self, path, *options):
        """A loop device over the file."""
        if shutil.which("losetup") is None:
            raise NotHere("not installed: losetup")
        if reason := why_no_loop_devices():
            raise NotHere(reason)
        done = subprocess.run(["losetup", *options, "-f", "--show", str(path)], capture_output=True, text=True,
                              check=True)
        device = done.stdout.strip()
        self.stack.callback(subprocess.run, ["losetup", "-d", device], check=False)
        return device

    def attach_as(self, name, path, *options):
        """A loop device under a name in the folder, so that a row can name it."""
        self.other(name).symlink_to(self.attach(path, *options))


# The set-ups that are more than a line.

def written_by_qemu(pair):
    """A real QEMU that has it open, as a running virtual machine has."""
    if shutil.which("qemu-io") is None:
        raise NotHere("not installed: qemu-io")
    qemu = pair.stack.enter_context(subprocess.Popen(
        ["qemu-io", "-f", "raw", str(pair.origin)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT))
    pair.stack.callback(qemu.stdin.close)  # its end, before it is waited for
    if not qemu.stdout.read(len("qemu-io> ")).startswith(b"qemu-io"):
        raise NotHere("qemu-io does not open it")


def locked_like_qemu(pair):
    """QEMU's permission bytes, as file_lock.h tells them: reads and writes, and refuses other writers."""
    for byte in (100, 101, 201, 203):
        pair.lock(pair.origin, fcntl.F_RDLCK, byte, 1)


def without_write_permission(path_of):
    def set_up(pair):
        os.chmod(path_of(pair), 0o444)
        if os.geteuid() != 0:
            return
        # Root may write to anything, unless it is without the capability to.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_CAPBSET_READ, CAP_DAC_OVERRIDE, 0, 0, 0) != 1:
            raise NotHere("root may write to it")

        def drop():
            if libc.prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl")
        pair.options["preexec_fn"] = drop
    return set_up


def make_socket(pair):
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(pair.folder)  # its path must be short
        listener.bind("socket")
        os.chdir(here)


def physical_volume(uuid):
    return b"LABELONE".ljust(20, b"\0") + struct.pack("<I", 32) + b"LVM2 001" + uuid.hex().encode()


def cut_in_data(pair):
    os.truncate(pair.cow, 60 * CHUNK_BYTES)


def full_area_without_a_next(pair):
    """As many exceptions as an area takes; what lies behind them was not copied."""
    rng = random.Random(2)
    pair.old_chunks = rng.sample(range(CHUNKS), CHUNKS)
    pair.data = [b"x" * CHUNK_BYTES] * CHUNKS
    pair.write()
    os.truncate(pair.cow, pair.layout.area_chunk(1) * CHUNK_BYTES)


def done_with_undo(pair):
    """Another merge was done with this undo file."""
    for name in ("a", "b"):
        shutil.copy(pair.origin if name == "a" else pair.cow, pair.other(name))
    done = run("merge", "-q", "--undo", pair.other("old.undo"), pair.other("a"), pair.other("b"))
    if done.returncode != 0:
        raise AssertionError(done.stderr)


def small_sibling(pair):
    """Another snapshot of the origin, with room for a few chunks."""
    done = run("create", "--size", "64k", pair.origin, pair.other("full"))
    if done.returncode != 0:
        raise AssertionError(done.stderr)


def link(name, path_of):
    return lambda pair: os.link(path_of(pair), pair.other(name))


def symlink(name, path_of):
    return lambda pair: pair.other(name).symlink_to(path_of(pair))


def copy(name, path_of):
    return lambda pair: shutil.copy(path_of(pair), pair.other(name))


def nothing(_pair):
    pass


def origin_of(pair):
    return pair.origin


def cow_of(pair):
    return pair.cow


# In the arguments: {o} and {c} are the origin and the COW, {d} their folder.
Mistake = collections.namedtuple("Mistake", "name set_up arguments status words")
OC = "{o} {c}"
MISTAKES = [
    # Which file is which.
    Mistake("arguments swapped", nothing, "{c} {o}", 64, ["operands are swapped", "origin first"]),
    Mistake("swapped as a view", nothing, "{c}@{o}", 64, ["operands are swapped", "origin first"]),
    Mistake("the origin twice", nothing, "{o} {o}", 64, ["same file", "name the origin first, then its COW"]),
    Mistake("the COW twice", nothing, "{c} {c}", 64, ["same file", "name the origin first, then its COW"]),
    Mistake("a hard link", link("alias", origin_of), "{o} {d}/alias", 64, ["same file", "name the origin first"]),
    Mistake("a symbolic link", symlink("alias", cow_of), "{d}/alias {c}", 64, ["same file", "name the origin first"]),
    Mistake("the COW forgotten", nothing, "{o}", 64, ["the COW is missing", "ORIGIN COW or ORIGIN@COW"]),
    Mistake("one file too many", nothing, "{o} {c} {o}", 64, ["too many operands", "ORIGIN COW"]),
    Mistake("a view as the COW", copy("c2", cow_of), "{o} {o}@{c}", 64, ["names a view where a COW is expected"]),
    Mistake("a store over itself", nothing, "{o}@{c}@{c}", 64, ["same file"]),
    Mistake("an undo file for a stack", copy("c2", cow_of), "--undo {d}/u {o}@{c}@{d}/c2", 63, ["merge into a view"]),
    Mistake("no such COW", nothing, "{o} {d}/none", 1, ["{d}/none", "No such file", "name right?"]),
    Mistake("no such origin", nothing, "{d}/none {c}", 1, ["{d}/none", "No such file", "name right?"]),
    Mistake("a folder", nothing, "{d} {c}", 64, ["is a directory, not a file or block device"]),
    Mistake("a FIFO", lambda pair: os.mkfifo(pair.other("pipe")), "{o} {d}/pipe", 64,
            ["pipe", "not a file or block device"]),
    Mistake("a socket", make_socket, "{o} {d}/socket", 64, ["{d}/socket", "not a file or block device"]),
    Mistake("a character device", nothing, "{o} /dev/null", 64, ["character device", "not a file or block device"]),
    Mistake("standard input", nothing, "{o} -", 63, ["standard input", "a file or block device is needed"]),

    # Who else has it.
    Mistake("the COW is locked", lambda pair: pair.lock(pair.cow, fcntl.F_WRLCK, 0, 0), OC, 75,
            ["{c}", "in use by another program", "holds a lock", "stop that", "lsof"]),
    Mistake("the origin is locked", lambda pair: pair.lock(pair.origin, fcntl.F_WRLCK, 0, 0), OC, 75,
            ["{o}", "in use by another program", "virtual machine", "lsof"]),
    Mistake("the origin is read", lambda pair: pair.lock(pair.origin, fcntl.F_RDLCK, 100, 1), OC, 75,
            ["{o}", "in use by another program", "lsof"]),
    Mistake("the origin of a machine", locked_like_qemu, OC, 75, ["{o}", "virtual machine", "lsof"]),
    Mistake("the origin in QEMU", written_by_qemu, OC, 75, ["{o}", "virtual machine", "lsof"]),
    Mistake("seen read-only, too", locked_like_qemu, "--dry-run {o} {c}", 75, ["{o}", "QEMU", "lsof", "-U"]),
    Mistake("the COW behind a loop device", lambda pair: pair.attach(pair.cow), OC, 75,
            ["{c}", "attached to /dev/loop", "losetup -d"]),
    Mistake("the origin behind a loop device", lambda pair: pair.attach(pair.origin), OC, 75,
            ["{o}", "attached to /dev/loop", "losetup -d"]),
    Mistake("a loop device and its file", lambda pair: pair.attach_as("loop", pair.origin), "{d}/loop {o}", 64,
            ["lie in the same file", "name the origin first, then its COW"]),
    Mistake("two loop devices of one file",
            lambda pair: [pair.attach_as(name, pair.cow) for name in ("loop1", "loop2")], "{d}/loop1 {d}/loop2", 64,
            ["lie in the same file", "name the origin first, then its COW"]),
    Mistake("--force-share in place", nothing, "--force-share {o} {c}", 64, ["for reading only", "--dry-run or -o"]),
    Mistake("the origin is read-only", without_write_permission(origin_of), OC, 1,
            ["{o}", "for writing", "Permission denied", "you lack read or write permission"]),
    Mistake("the COW is read-only", without_write_permission(cow_of), OC, 1,
            ["{c}", "for writing", "Permission denied", "you lack read or write permission"]),
    Mistake("a read-only device", lambda pair: pair.attach_as("loop", pair.origin, "-r"), "{d}/loop {c}", 1,
            ["{d}/loop", "read-only device", "blockdev --setrw"]),

    # Another disk's store.
    Mistake("an origin that is too small", lambda pair: os.truncate(pair.origin, 100 * CHUNK_BYTES), OC, 65,
            ["origin has 100 chunks", "old-beyond-origin", "right origin, and whole?"]),
    Mistake("another ext4", lambda pair: pair.put((1080, b"\x53\xef"), (1128, bytes)), OC, 66,
            ["ext2/3/4", UUIDS[0].hex(), UUIDS[1].hex(), "another disk", "--force"]),
    Mistake("another XFS", lambda pair: pair.put((0, b"XFSB"), (32, bytes)), OC, 66,
            ["XFS", UUIDS[0].hex(), UUIDS[1].hex(), "another disk", "--force"]),
    Mistake("another Btrfs", lambda pair: pair.put((65600, b"_BHRfS_M"), (65568, bytes)), OC, 66,
            ["Btrfs", UUIDS[0].hex(), UUIDS[1].hex(), "another disk", "--force"]),
    Mistake("another GPT", lambda pair: pair.put((512, b"EFI PART"), (568, bytes)), OC, 66,
            ["GPT", UUIDS[0].hex(), UUIDS[1].hex(), "another disk", "--force"]),
    Mistake("another LVM PV", lambda pair: pair.put((512, physical_volume)), OC, 66,
            ["LVM2 physical volume", UUIDS[0].hex(), UUIDS[1].hex(), "another disk", "--force"]),
    Mistake("another ext4, into a new file", lambda pair: pair.put((1080, b"\x53\xef"), (1128, bytes)),
            "{o} {c} -o {d}/new", 66, ["ext2/3/4", "another disk", "--force"]),
    Mistake("another sum than expected", nothing, "--expect " + "ab" * 32 + " {o} {c}", 66,
            ["SHA-256", "not the expected abab", "right origin?"]),
    Mistake("no sum to expect", nothing, "--expect abcd {o} {c}", 64, ["--expect", "64 hex digits"]),

    # What is not a sound store.
    Mistake("an empty COW", lambda pair: os.truncate(pair.cow, 0), OC, 1,
            ["0 bytes", "not a store", "copied whole?"]),
    Mistake("a COW cut in its data", cut_in_data, OC, 65, ["the COW has 60 chunks", "new-beyond-cow", "copied whole?"]),
    Mistake("a COW cut before an area", full_area_without_a_next, OC, 65,
            ["past the end of the file", "missing-area", "copied whole?"]),
    Mistake("a qcow2 image", lambda pair: pair.patch(pair.cow, 0, b"QFI\xfb\0\0\0\3"), OC, 65,
            ["bad-magic", "qcow2 image", "qemu-img", "name the COW"]),
    Mistake("a random file", lambda pair: pair.cow.write_bytes(random.Random(3).randbytes(65536)), OC, 65,
            ["bad-magic", "SnAp", "name the COW"]),
    Mistake("marked invalid", lambda pair: pair.patch(pair.cow, 4, struct.pack("<I", 0)), OC, 65,
            ["marked invalid", "overflowed", "--ignore-invalid"]),
    Mistake("another version", lambda pair: pair.patch(pair.cow, 8, struct.pack("<I", 2)), OC, 65,
            ["version is 2", "snaptool verify"]),
    Mistake("no chunk size", lambda pair: pair.patch(pair.cow, 12, struct.pack("<I", 12)), OC, 65,
            ["chunk size is 12", "snaptool verify"]),
    Mistake("an entry beyond the origin", lambda pair: pair.patch_entry(50, 1 << 40, 52), OC, 65,
            ["old-beyond-origin", "right origin, and whole?"]),
    Mistake("an entry beyond the COW", lambda pair: pair.patch_entry(50, 50, 1 << 30), OC, 65,
            ["new-beyond-cow", "copied whole?"]),
    Mistake("an entry of metadata", lambda pair: pair.patch_entry(50, 3, 1), OC, 65,
            ["new-is-metadata", "snaptool verify", "sound copy"]),
    Mistake("two entries for a chunk", lambda pair: pair.patch_entry(50, pair.old_chunks[7], 52), OC, 65,
            ["duplicate-old", "--accept-duplicates"]),
    Mistake("one chunk for two entries", lambda pair: pair.patch_entry(50, 5, 20), OC, 65,
            ["duplicate-new", "snaptool verify", "sound copy"]),
    Mistake("the list's beginning wiped", lambda pair: pair.patch(pair.cow, CHUNK_BYTES, bytes(512)), OC, 65,
            ["68 entries lie past the end", "beginning wiped?", "sound copy", "--force"]),

    # Where to.
    Mistake("-o names the origin", nothing, "{o} {c} -o {o}", 64, ["{o}", "is an input", "name another file"]),
    Mistake("-o names the COW, by force", nothing, "{o} {c} --force -o {c}", 64, ["is an input", "name another file"]),
    Mistake("-o names a link to the origin", link("alias", origin_of), "{o} {c} --force -o {d}/alias", 64,
            ["is an input", "name another file"]),
    Mistake("-o names a loop device of the COW", lambda pair: pair.attach_as("loop", pair.cow),
            "{o} {c} --force -o {d}/loop", 64, ["is an input", "name another file"]),
    Mistake("-o names the file of a loop device", lambda pair: pair.attach_as("loop", pair.origin),
            "{d}/loop {c} --force -o {o}", 64, ["is an input", "name another file"]),
    Mistake("-o names a file that exists", copy("new", origin_of), "{o} {c} -o {d}/new", 64,
            ["exists already", "--force replaces it"]),
    Mistake("-o in no folder", nothing, "{o} {c} -o {d}/none/new", 1, ["{d}/none/new", "No such file"]),
    Mistake("-o with --dry-run", nothing, "{o} {c} --dry-run -o {d}/new", 64, ["go with a merge in place"]),
    Mistake("--undo names the COW", nothing, "--undo {c} {o} {c}", 64, ["is an input", "name another"]),
    Mistake("--undo of another merge", done_with_undo, "--undo {d}/old.undo {o} {c}", 66,
            ["belongs to a finished merge", "name another file"]),

    # How.
    Mistake("a sibling that is the COW", nothing, "--sibling {c} {o} {c}", 64, ["same file"]),
    Mistake("a sibling that is the origin", nothing, "--sibling {o} {o} {c}", 64, ["same file"]),
    Mistake("a sibling without room", small_sibling, "--sibling {d}/full {o} {c}", 73,
            ["{d}/full", "has room for", "resize"]),
    Mistake("a sibling for a new file", copy("c2", cow_of), "--sibling {d}/c2 {o} {c} -o {d}/new", 64,
            ["--sibling", "in place"]),
    Mistake("an unknown option", nothing, "--yes {o} {c}", 64, ["--yes", "snaptool merge --help"]),
    Mistake("an option cut short", nothing, "--dry {o} {c}", 64, ["--dry", "snaptool merge --help"]),
    Mistake("no such number of threads", nothing, "-j 0 {o} {c}", 64, ["--jobs", "from 1 to"]),
    Mistake("a speed of nothing", nothing, "-r 0 {o} {c}", 64, ["--rate-limit", "50M", "30%"]),
    Mistake("more than all of the time", nothing, "-r 101% {o} {c}", 64, ["--rate-limit", "50M", "30%"]),
    Mistake("a speed without a number", nothing, "-r % {o} {c}", 64, ["--rate-limit", "50M", "30%"]),
    Mistake("a speed for a new file", nothing, "-r 1M {o} {c} -o {d}/new", 64, ["--rate-limit", "in place"]),
]
# Mistakes in the command's own name.
COMMANDS = [
    Mistake("qemu-img's word", nothing, "commit {o} {c}", 64, ["'commit'", "did you mean 'snaptool merge'?"]),
    Mistake("an unknown command", nothing, "mrege {o} {c}", 64, ["'mrege'", "snaptool --help"]),
    Mistake("the option first", nothing, "--dry-run merge {o} {c}", 64, ["'--dry-run' comes after the command"]),
    Mistake("no command", nothing, "", 64, ["a command is missing", "snaptool --help"]),
]


def state_of(folder):
    """All that a write would change: the names, and of each file its SHA-256 and its time."""
    return {path.name: (path.stat().st_mtime_ns, sha256_of_file(path)) if path.is_file() else None
            for path in sorted(folder.iterdir())}


class Mistakes(ScratchTest):
    tried, skipped = 0, []

    def try_mistake(self, mistake, command):
        folder = self.scratch / mistake.name.replace(" ", "-")
        folder.mkdir()
        with contextlib.ExitStack() as stack:
            pair = Pair(folder, stack)
            try:
                mistake.set_up(pair)
            except NotHere as reason:
                if REQUIRE_PEERS and "not installed" in str(reason):
                    self.fail(str(reason))
                print(f"SKIPPED: {mistake.name}: {reason}")
                Mistakes.skipped.append(mistake.name)
                return
            names = {"o": pair.origin, "c": pair.cow, "d": folder}
            before = state_of(folder)
            done = run(*command, *(word.format(**names) for word in mistake.arguments.split()), timeout=20,
                       **pair.options)
            self.assertEqual((done.returncode, done.stdout), (mistake.status, ""), done.stderr)
            self.assertRegex(done.stderr, r"\Asnaptool( merge)?: [^\n]+\n\Z")
            for word in mistake.words:
                self.assertIn(word.format(**names), done.stderr)
            self.assertEqual(state_of(folder), before)
        Mistakes.tried += 1

    def test_each_is_refused_before_the_first_write(self):
        for command, mistakes in ((["merge"], MISTAKES), ([], COMMANDS)):
            for mistake in mistakes:
                with self.subTest(mistake.name):
                    self.try_mistake(mistake, command)
        self.assertGreaterEqual(Mistakes.tried, LEAST_ROWS)

    def test_the_pair_without_a_mistake_is_merged(self):
        """Otherwise every row could be refused for another reason than its own."""
        with contextlib.ExitStack() as stack:
            pair = Pair(self.scratch, stack)
            pair.put((1080, b"\x53\xef"))
            done = run("merge", pair.origin, pair.cow)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for old, data in zip(pair.old_chunks, pair.data, strict=True):
                pair.content = pair.content[:old * CHUNK_BYTES] + data + pair.content[(old + 1) * CHUNK_BYTES:]
            self.assertEqual(pair.origin.read_bytes(), bytes(pair.content))

    @classmethod
    def tearDownClass(cls):
        print(f"{cls.tried} mistakes refused of {len(MISTAKES) + len(COMMANDS)}; {len(cls.skipped)} skipped")


if __name__ == "__main__":
    main("mistakes")
