# SPDX-License-Identifier: Apache-2.0
"""The guard matrix: every command that writes, against everything that it must not write past.

A row is a command, a column is a trouble; table.txt beside this file has the exit status of each cell, or '-' where the
trouble does not apply, with the reason in WHY_NOT. A cell that refuses changes no byte, makes no file, and says in one
line why. `guards_test.py --print` prints the table as it is.
"""

import ctypes
import fcntl
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import write_store  # noqa: E402
from fs_maker import Ext, File  # noqa: E402
import nbd  # noqa: E402
from harness import DATA, SNAPTOOL, ScratchTest, main, run, unpack, why_no_loop_devices  # noqa: E402

TABLE = Path(__file__).resolve().parent / "table.txt"
SIZE = 1 << 20
CHUNK = 8  # sectors
OPERATIONS = os.environ.get("SNAPTOOL_OPERATIONS", "")
NO_LOOP = why_no_loop_devices() or (None if shutil.which("losetup") else "not installed: losetup")
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24
# Commands that neither write in place nor make a file.
READERS = {"diff-verify", "info", "status", "verify"}


class Row:
    """A command. `writes` are files that it writes in place, `reads` its inputs, `makes` the file that it makes.

    `volume` are its arguments where the disk is the volume vg0/data of pv.img, or its snapshot s1.
    """

    def __init__(self, operation, arguments, writes=(), reads=(), makes=None, volume=None, store=None, small=None):
        self.operation, self.arguments = operation, arguments.split()
        self.writes, self.reads, self.makes = list(writes), list(reads), makes
        self.volume = volume.split() if volume else None
        self.store = store  # the store that it reads or writes
        self.small = small.split() if small else None  # what does not fit

    @property
    def files(self):
        return self.writes + self.reads


PV = "pv.img#vg0/data"
ROWS = {
    "merge": Row("merge", "merge o c", "oc", volume="merge pv.img#vg0/s1", store="c", small="merge o c --sibling tiny"),
    "merge -o": Row("output", "merge o c -o out", reads="oc", makes="out", store="c"),
    "merge of a child": Row("merge of a child", "merge o k", "o", ["k"]),
    "undo": Row("undo", "undo u m mc", ["m", "mc", "u"], volume="undo pv.undo pv.img#vg0/s1", store="mc", small="undo u m mc --sibling tiny"),
    "write": Row("write", "write -P 1 --length 64k o c", "c", "o", store="c", small="write -P 1 --length 1M o tiny"),
    "write-skip-equal": Row("write --skip-equal", "write --skip-equal -P 1 --length 64k o c", "c", "o", store="c",
                            small="write --skip-equal -P 1 --length 1M o tiny"),
    "write-origin": Row("write-origin", "write-origin -P 1 --length 64k --snapshot c o", "oc", store="c",
                        volume=f"write-origin -P 1 --length 4k {PV}", small="write-origin -P 1 --length 1M --snapshot tiny o"),
    "serve --write": Row("serve --write", "serve --write o c", "c", "o", store="c"),
    "discard": Row("discard", "discard --discard-zeroes-cow o c", "c", "o", store="c"),
    "discard, passed down": Row("discard passed down", "discard --discard-zeroes-cow --discard-passdown-origin o c", "oc", store="c",
                                volume="discard --discard-zeroes-cow --discard-passdown-origin pv.img#vg0/s1"),
    "batch": Row("batch", "batch --snapshot a=c o script", "oc", ["script"], store="c",
                 volume=f"batch --snapshot a=pv.img#vg0/s1 {PV} script", small="batch --snapshot a=tiny o@c script"),
    "apply": Row("apply", "apply d i", "i", "d", volume=f"apply pv.diff --journal j {PV}", small="apply d i@tiny"),
    "apply -o": Row("output", "apply d i -o out", reads="di", makes="out"),
    "convert": Row("output", "convert -O qcow2 o@c out", reads="oc", makes="out", store="c"),
    "convert, raw": Row("output", "convert o@c out", reads="oc", makes="out", store="c"),
    "convert -n": Row("convert -n", "convert -n o n", "n", "o", small="convert -n o script"),
    "create": Row("create", "create o out", reads="o", makes="out", small="create --size 4k o out"),
    "create, there": Row("create", "create o z", "z", "o", volume=f"create o {PV}", small="create --size 4k o z"),
    "resize": Row("resize", "resize c 4M", "c", store="c"),
    "repair": Row("output", "repair c -o out", reads="c", makes="out"),
    "restore": Row("restore", "restore dump out", reads=["dump"], makes="out"),
    "restore, there": Row("restore", "restore dump z", "z", ["dump"], volume=f"restore dump {PV}"),
    "export": Row("output", "export o@c -o out", reads="oc", makes="out", store="c"),
    "read -o": Row("output", "read o@c -o out", reads="oc", makes="out", store="c"),
    "hash -o": Row("output", "hash o@c -o out", reads="oc", makes="out", store="c"),
    "map -o": Row("output", "map o@c -o out", reads="oc", makes="out", store="c"),
    "ls -o": Row("output", "ls f -o out", reads="f", makes="out"),
    "cat -o": Row("output", "cat f big -o out", reads="f", makes="out"),
    "dump -o": Row("output", "dump c -o out", reads="c", makes="out"),
    "diff --report": Row("output", "diff o@c o@c --report out.html", reads="oc", makes="out.html", store="c"),
    "compose": Row("output", "compose --unlinked full d -o out", reads=["full", "d"], makes="out"),
    "invert": Row("output", "invert d --base i -o out", reads="di", makes="out"),
}

WHY_NOT = {
    "place": "it writes nothing in place",
    "file": "it makes no file",
    "one": "it has one file",
    "volume": "it takes no part of a file, or writes no disk",
    "store": "no store is part of it, or a damaged one is what it is for",
    "merge": "only a merge cannot be told from a mistake afterwards",
    "raw": "it writes no disk",
    "room": "what it writes has a place already, or the file system says it",
    "grow": "it makes no file larger",
    "apply": "it is what the journal waits for",
    "none": "of no input",
}


def lvm_crc(data):
    return ~zlib.crc32(data, ~0xF597A6CF & 0xFFFFFFFF) & 0xFFFFFFFF


def edit_metadata(path, edit):
    """Has the PV say something else of its volumes."""
    with open(path, "r+b") as file:
        file.seek(4096)
        header = bytearray(file.read(512))
        offset, size = struct.unpack_from("<QQ", header, 40)
        file.seek(4096 + offset)
        text = edit(file.read(size).rstrip(b"\0").decode()).encode() + b"\0"
        file.seek(4096 + offset)
        file.write(text)
        struct.pack_into("<QI", header, 48, len(text), lvm_crc(text))
        struct.pack_into("<I", header, 0, lvm_crc(bytes(header[4:])))
        file.seek(4096)
        file.write(header)


class World:
    """A folder with all that the rows name, copied for each cell."""

    def __init__(self, folder):
        self.folder = folder
        rng = __import__("random").Random(7)
        self.put("o", rng.randbytes(SIZE))
        chunks = [3, 4, 9, 100]
        write_store(folder / "c", CHUNK, chunks, lambda _: rng.randbytes(CHUNK * 512))
        with open(folder / "c", "r+b") as file:
            file.truncate(2 << 20)
        write_store(folder / "tiny", CHUNK, [], lambda _: b"")
        with open(folder / "tiny", "r+b") as file:
            file.truncate(3 * CHUNK * 512)
        for source, target in (("o", "m"), ("c", "mc"), ("o", "i")):
            shutil.copy(folder / source, folder / target)
        self.put("n", bytes(SIZE))
        Ext(folder / "f", {"big": File(rng.randbytes(9000))})
        self.put("z", bytes(SIZE))
        self.put("script", b"write a 0 64k -P 1\nwrite-origin 0 4k -P 2\nmerge a\n")
        self.do("merge", "m", "mc", "--undo", "u")
        self.do("export", "o@c", "-o", "d")
        self.do("export", "--full", "o", "-o", "full")
        self.do("dump", "c", "-o", "dump")
        self.do("convert", "-O", "qcow2", "o", "q")
        self.do("convert", "-O", "qcow2", "--base", "o", "o@c", "k")
        unpack(DATA / "lvm" / "pv.img.zst", folder / "pv.img")
        self.do("read", PV, "-o", "lv")
        with open(folder / "lv", "r+b") as file:
            file.write(b"changed")
        self.do("export", "lv", "--base", PV, "-o", "pv.diff")
        shutil.copy(folder / "pv.img", folder / "before.img")
        self.do("merge", "--force", "--undo", "pv.undo", "pv.img#vg0/s1")
        (folder / "pv.img").rename(folder / "merged.img")
        (folder / "before.img").rename(folder / "pv.img")

    def put(self, name, data):
        (self.folder / name).write_bytes(data)

    def do(self, *arguments):
        done = run(*arguments, cwd=self.folder)
        assert done.returncode == 0, (arguments, done.stderr)


def lock(path):
    file = open(path, "r+b")
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, 0, 0, 0))
    return file


class Cell:
    """A try of a command in a world of its own."""

    def __init__(self, test, row):
        self.row, self.test = row, test
        self.folder = Path(tempfile.mkdtemp(dir=test.scratch))
        for name in {*row.files, "tiny", "script", "dump", "q", "c", "o"}:
            shutil.copy(test.world.folder / name, self.folder / name)
        self.options, self.words, self.expect_made = {}, [], False

    def state(self):
        return {path.name: (path.read_bytes() if path.is_file() else os.readlink(path) if path.is_symlink() else None)
                for path in self.folder.iterdir()}

    def go(self, arguments, stdout=None):
        """The exit status; a refusal must change nothing and say why."""
        before = self.state()
        if arguments[0] == "serve":
            arguments = [*arguments, "--", "true"]
        if stdout or self.options:
            with open(self.folder / stdout, "ab") if stdout else open(os.devnull, "wb") as out:
                done = subprocess.run([SNAPTOOL, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out,
                                      stderr=subprocess.PIPE, text=True, timeout=60, check=False, **self.options)
        else:
            done = run(*arguments, cwd=self.folder)
        if done.returncode != 0:
            after = self.state()
            changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
            self.test.assertEqual(changed, [], (arguments, done.stderr))
            lines = [line for line in done.stderr.splitlines() if "warning:" not in line]
            self.test.assertEqual(len(lines), 1, (arguments, done.stderr))
            for word in self.words:
                self.test.assertIn(word, done.stderr, arguments)
        return done.returncode

    def go_all(self, tries):
        statuses = {self.go(arguments) for arguments in tries}
        self.test.assertEqual(len(statuses), 1, statuses)
        return statuses.pop()


def forced(row):
    return [*row.arguments, "--force"]


def in_use(cell):
    row = cell.row
    statuses = set()
    if row.makes:
        (cell.folder / row.makes).write_bytes(b"old")
    for name in [*row.writes, *([row.makes] if row.makes else [])]:
        with lock(cell.folder / name):
            statuses.add(cell.go(forced(row) if row.makes else row.arguments))
    cell.test.assertEqual(len(statuses), 1, statuses)
    return statuses.pop()


def attached(cell):
    row = cell.row
    if not row.writes:
        return "place"
    statuses = set()
    for name in row.writes:
        if name == "u":
            continue
        done = subprocess.run(["losetup", "-f", "--show", cell.folder / name], capture_output=True, text=True, timeout=20, check=False)
        cell.test.assertEqual(done.returncode, 0, done.stderr)
        try:
            statuses.add(cell.go(row.arguments))
        finally:
            subprocess.run(["losetup", "-d", done.stdout.strip()], timeout=20, check=False)
    cell.test.assertEqual(len(statuses), 1, statuses)
    return statuses.pop()


def second_name(link):
    def trouble(cell):
        row = cell.row
        if row.makes:
            link(cell.folder / row.reads[0], cell.folder / row.makes)
            return cell.go(forced(row)) if row.operation not in ("create", "restore") else cell.go(row.arguments)
        if len(row.files) < 2:
            return "one"
        first, *others = row.files
        if row.operation in ("create", "restore", "convert -n"):
            (cell.folder / row.writes[0]).unlink()
            link(cell.folder / row.reads[0], cell.folder / row.writes[0])
            return cell.go(row.arguments)
        for name in others:
            if name == "script":
                continue
            (cell.folder / name).rename(cell.folder / "kept")
            link(cell.folder / first, cell.folder / name)
            status = cell.go(row.arguments)
            (cell.folder / "kept").replace(cell.folder / name)
            if status != 64:
                return status
        return 64
    return trouble


def printed_into(cell):
    inputs = [name for name in cell.row.files if name not in ("script", "dump")]
    if not inputs:
        return "none"
    statuses = {cell.go(cell.row.arguments, stdout=name) for name in inputs}
    cell.test.assertEqual(len(statuses), 1, statuses)
    return statuses.pop()


def use_volume(cell):
    world = cell.test.world.folder
    shutil.copy(world / ("merged.img" if cell.row.operation == "undo" else "pv.img"), cell.folder / "pv.img")
    for name in ("pv.undo", "pv.diff"):
        os.link(world / name, cell.folder / name)


def siblings(cell):
    if not cell.row.volume:
        return "volume"
    use_volume(cell)
    cell.words = ["vg0/s2"]
    return cell.go(cell.row.volume)


def shared_bytes(cell):
    if not cell.row.volume:
        return "volume"
    use_volume(cell)

    def overlap(text):
        # s2's extents where those of the origin are.
        place = re.search(r"\n\tdata \{.*?stripes = \[\s*\"pv0\", (\d+)", text.replace("logical_volumes {", "\n"), re.S)
        start = re.search(r"data \{.*?\"pv0\", (\d+)", text, re.S).group(1) if not place else place.group(1)
        begin = text.index("s2 {")
        at = re.compile(r"\"pv0\", (\d+)").search(text, begin)
        return text[:at.start(1)] + start + text[at.end(1):]

    edit_metadata(cell.folder / "pv.img", overlap)
    cell.words = ["shares bytes with"]
    return cell.go([*cell.row.volume, "--force"])


def over_metadata(cell):
    if not cell.row.volume:
        return "volume"
    use_volume(cell)
    edit_metadata(cell.folder / "pv.img", lambda text: re.sub(r"pe_start = \d+", "pe_start = 8", text))
    cell.words = ["shares bytes with the metadata"]
    return cell.go([*cell.row.volume, "--force"])


def other_uuid(cell):
    if cell.row.arguments[0] not in ("merge", "batch"):
        return "merge"
    uuids = [bytes(range(16)), bytes(range(16, 32))]
    blocks = []
    for uuid in uuids:
        block = bytearray(4096)
        block[1024 + 56:1024 + 58] = b"\x53\xef"
        block[1024 + 104:1024 + 120] = uuid
        blocks.append(bytes(block))
    with open(cell.folder / "o", "r+b") as file:
        file.write(blocks[0])
    write_store(cell.folder / "c", CHUNK, [0, 5], lambda index: blocks[1])
    cell.words = ["UUID"]
    if cell.row.arguments[0] == "batch":
        (cell.folder / "script").write_text("merge a\n")
    return cell.go(cell.row.arguments)


def corrupt(cell):
    if not cell.row.store:
        return "store"
    with open(cell.folder / cell.row.store, "r+b") as file:
        file.seek(CHUNK * 512)
        file.write(struct.pack("<QQ", 5, 1))  # data in the area
    return cell.go(cell.row.arguments)


def qcow2(cell):
    row = cell.row
    disk = {"merge": "o", "write-origin": "o", "discard": "o", "batch": "o", "undo": "m", "apply": "i", "convert": "n"}.get(row.arguments[0])
    if not row.writes or not disk or disk not in row.writes:
        return "raw"
    shutil.copy(cell.folder / "q", cell.folder / disk)
    return cell.go(row.arguments)


def no_room(cell):
    if not cell.row.small:
        return "room"
    if cell.row.arguments[0] == "batch":
        shutil.copy(cell.folder / "tiny", cell.folder / "c")
        shutil.copy(cell.test.world.folder / "c", cell.folder / "tiny")
        (cell.folder / "script").write_text("merge a\n")
    return cell.go(cell.row.small)


def limited(cell):
    if not cell.row.makes and cell.row.arguments[0] != "resize":
        return "grow"
    limit = {"hash": 8, "map": 8, "dump": 8, "ls": 8}.get(cell.row.arguments[0], 2048)
    cell.options["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return cell.go(cell.row.arguments)


def private(cell):
    row = cell.row
    if not row.makes:
        return "file"
    for name in row.files:
        os.chmod(cell.folder / name, 0o600)
    status = cell.go(row.arguments)
    mode = os.stat(cell.folder / row.makes).st_mode & 0o777
    cell.test.assertEqual(mode, 0o600, row.arguments)
    return status


def read_only(cell):
    row = cell.row
    if row.makes:
        (cell.folder / row.makes).write_bytes(b"old")

    def drop():
        if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0:
            os._exit(99)

    if os.geteuid() == 0:  # root may write to anything, unless it is without the capability to
        cell.options["preexec_fn"] = drop
    statuses = set()
    for name in [*row.writes, *([row.makes] if row.makes else [])]:
        os.chmod(cell.folder / name, 0o444)
        statuses.add(cell.go(forced(row) if row.makes else row.arguments))
        os.chmod(cell.folder / name, 0o644)
    cell.test.assertEqual(len(statuses), 1, statuses)
    return statuses.pop()


def dangling(cell):
    row = cell.row
    statuses = set()
    for name in [*row.writes, *([row.makes] if row.makes else [])]:
        path = cell.folder / name
        kept = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        target = cell.folder / "nowhere"
        path.symlink_to(target)
        statuses.add(cell.go(row.arguments))
        cell.test.assertTrue(path.is_symlink(), row.arguments)
        path.unlink()
        target.unlink(missing_ok=True)
        if kept is not None:
            path.write_bytes(kept)
    cell.test.assertEqual(len(statuses), 1, statuses)
    return statuses.pop()


def foreign_partial(cell):
    row = cell.row
    if not row.makes:
        return "file"
    victim = cell.folder / "victim"
    victim.write_bytes(b"V" * SIZE)
    os.link(victim, cell.folder / (row.makes + ".partial"))
    status = cell.go(row.arguments)
    cell.test.assertEqual(victim.read_bytes(), b"V" * SIZE)
    return status


def pending_apply(cell):
    row = cell.row
    if not row.writes:
        return "place"
    if row.operation == "apply":
        return "apply"
    statuses = set()
    for name in row.writes:
        if name == "u":
            continue
        journal = cell.folder / (name + ".snaptool-journal")
        journal.write_bytes(b"")
        statuses.add(cell.go(row.arguments))
        journal.unlink()
    cell.test.assertEqual(len(statuses), 1, statuses)
    return statuses.pop()


COLUMNS = {
    "in use": in_use,
    "loop": attached,
    "hard link": second_name(os.link),
    "symlink": second_name(lambda source, target: target.symlink_to(source)),
    "stdout": printed_into,
    "siblings": siblings,
    "shared": shared_bytes,
    "metadata": over_metadata,
    "UUID": other_uuid,
    "corrupt": corrupt,
    "qcow2": qcow2,
    "no room": no_room,
    "limit": limited,
    "0600": private,
    "read-only": read_only,
    "dangling": dangling,
    "partial": foreign_partial,
    "journal": pending_apply,
}


def read_table():
    lines = [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    names = [name.strip() for name in lines[0].split("|")[1:]]
    return {line.split("|")[0].strip(): dict(zip(names, (cell.strip() for cell in line.split("|")[1:]), strict=True)) for line in lines[1:]}


def print_table(rows):
    width = max(map(len, ROWS))
    print(" " * width + "".join(f" | {name}" for name in COLUMNS))
    for name, cells in rows.items():
        print(f"{name:{width}}" + "".join(f" | {cells.get(column, '?'):>{len(column)}}" for column in COLUMNS))


class Matrix(ScratchTest):
    def setUp(self):
        super().setUp()
        (self.scratch / "world").mkdir()
        os.environ.update(nbd.environment(self.scratch))
        self.world = World(self.scratch / "world")

    def cells_of(self, name):
        row = ROWS[name]
        found = {}
        for column, trouble in COLUMNS.items():
            if trouble is attached and NO_LOOP and row.writes:
                found[column] = read_table()[name][column]
                continue
            with self.subTest(row=name, column=column):
                cell = Cell(self, row)
                result = trouble(cell)
                found[column] = str(result) if isinstance(result, int) else f"- {result}"
                shutil.rmtree(cell.folder)
        return found

    def check(self, rows):
        if NO_LOOP:
            print(f"SKIPPED: the column 'loop': {NO_LOOP}")
        found = {name: self.cells_of(name) for name in rows}
        if EXTRA:
            return print_table(found)
        expected = read_table()
        for name in rows:
            self.assertEqual(found[name], expected[name], name)


class InPlace(Matrix):
    def test_every_cell(self):
        self.check([name for name, row in ROWS.items() if row.writes])


class NewFiles(Matrix):
    def test_every_cell(self):
        self.check([name for name, row in ROWS.items() if row.makes])


class Table(ScratchTest):
    def test_rows(self):
        self.assertEqual(list(read_table()), list(ROWS))
        for row in ROWS.values():
            self.assertNotEqual(bool(row.writes), bool(row.makes))

    def test_reasons(self):
        for name, cells in read_table().items():
            self.assertEqual(list(cells), list(COLUMNS), name)
            for cell in cells.values():
                if cell.startswith("-"):
                    self.assertIn(cell[2:], WHY_NOT)

    def test_every_command_has_a_row(self):
        commands = set(re.findall(r"^  ([a-z-]+) +[a-z]", run("--help").stdout, re.M))
        self.assertGreater(len(commands), 20)
        self.assertEqual({row.arguments[0] for row in ROWS.values()} | READERS, commands)

    def test_every_operation_has_a_row(self):
        done = subprocess.run([OPERATIONS], capture_output=True, text=True, timeout=60, check=True)
        declared = {line.split(": ")[0]: set(line.split(": ")[1].split()) for line in done.stdout.splitlines()}
        self.assertEqual({row.operation for row in ROWS.values()}, set(declared))
        for name, row in ROWS.items():
            flags, cells = declared[row.operation], read_table()[name]
            if row.makes:
                self.assertIn("makes_file", flags, name)
            if "writes_disk" in flags and row.volume:
                self.assertEqual(cells["siblings"], "64", name)
            self.assertEqual(cells["journal"] == "- apply", "finishes_apply" in flags, name)


EXTRA = [word for word in sys.argv if word == "--print"]
if __name__ == "__main__":
    sys.argv = [word for word in sys.argv if word != "--print"]
    main("guards")
