# SPDX-License-Identifier: Apache-2.0
"""Makes small file systems without mounting them, changes them, and says what is in them: by the tools of each file
system (e2fsprogs, mtools, xorriso; NTFS: ntfs_maker.py), so that it shares nothing with what reads them in snaptool.

    volume = Ext(path, {"d": Dir(), "d/a": File(b"text"), "ln": Symlink("d/a"), "hard": Link("d/a")}, kind="ext4", block=1024)
    volume.append("d/a", b"more")         # also create, delete, rename, rewrite, truncate, touch, chmod, link, replace
    volume.tree()                         # {"d/a": Seen(kind="file", inode=12, size=8, ...), ...}

Each is the same, byte by byte, whenever it is made (not NTFS). What a file system or its tools cannot do raises
Unsupported.
"""

import dataclasses
import hashlib
import os
import re
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Optional

TIME = 1577836800  # 2020-01-01: when everything was made, and the time of what says no other
UUID = "11111111-2222-3333-4444-555555555555"
KIB, MIB = 1 << 10, 1 << 20
# What each class needs.
TOOLS = {"Ext": ["mkfs.ext4", "debugfs"], "Fat": ["mkfs.fat", "mcopy", "mshowfat"],
         "Ntfs": ["mkntfs", "ntfslabel", "ntfsls", "ntfscat"], "Iso": ["xorriso"], "HfsPlus": ["xorriso"],
         "ExFat": ["mkfs.exfat", "fsck.exfat"]}


class Unsupported(Exception):
    pass


@dataclasses.dataclass
class File:
    """`content` lies at `at` in a file of `size` bytes (as long as needed, if None). The rest is holes, where there are."""
    content: bytes = b""
    at: int = 0
    size: Optional[int] = None
    mode: int = 0o644
    mtime: int = TIME

    def data(self):
        end = self.at + len(self.content)
        return bytes(self.at) + self.content + bytes((self.size or end) - end)

    def save(self, path):
        with open(path, "wb") as file:
            file.seek(self.at)
            file.write(self.content)
            if self.size is not None:
                file.truncate(self.size)
        os.utime(path, (self.mtime, self.mtime))


@dataclasses.dataclass
class Dir:
    mode: int = 0o755
    mtime: int = TIME


@dataclasses.dataclass
class Symlink:
    target: str


@dataclasses.dataclass
class Link:
    """One more name of the file `of`, which stands before it in the tree."""
    of: str


@dataclasses.dataclass
class Seen:
    """What a tool says of a name; None is what it does not know."""
    kind: str  # file, dir, symlink, other
    inode: Optional[int] = None
    size: Optional[int] = None
    mode: Optional[int] = None
    mtime: Optional[int] = None
    links: Optional[int] = None
    sha256: Optional[str] = None
    target: Optional[str] = None
    created: Optional[int] = None


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def tool(*arguments, stdin=None, **environment):
    """What a tool printed. It runs in UTC, in UTF-8, and at TIME where it can be told."""
    env = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "TZ": "UTC",
           "SOURCE_DATE_EPOCH": str(TIME), "E2FSPROGS_FAKE_TIME": str(TIME), "MTOOLSRC": "/dev/null",
           "MTOOLS_SKIP_CHECK": "1", **environment}
    done = subprocess.run([os.fspath(a) for a in arguments], input=stdin, capture_output=True, env=env, timeout=120,
                          check=False)
    if done.returncode:
        raise AssertionError((arguments, done.stdout[-2000:], done.stderr[-2000:]))
    return done.stdout


def read_folder(folder):
    """The tree of a folder of this machine, as {name: Seen}, without inodes."""
    seen = {}
    for path in sorted(Path(folder).rglob("*")):
        status, name = path.lstat(), str(path.relative_to(folder))
        if path.is_symlink():
            seen[name] = Seen("symlink", target=os.readlink(path))
        elif path.is_dir():
            seen[name] = Seen("dir", mode=status.st_mode & 0o7777, mtime=int(status.st_mtime))
        else:
            seen[name] = Seen("file", size=status.st_size, mode=status.st_mode & 0o7777, mtime=int(status.st_mtime),
                              sha256=sha256(path.read_bytes()))
    return seen


class Volume:
    """`size` bytes at `path`, with `tree` in it: {name: File, Dir, Symlink or Link}, folders before what they hold."""
    SIZE = MIB

    def __init__(self, path, tree, size=None):
        self.path = Path(path)
        self.size = size or self.SIZE
        self.make()
        self.whole = False  # until all of the tree is in it
        for name, node in tree.items():
            self.create(name, node)
        self.whole = True
        self.changed()

    def changed(self):
        """For those that are made anew for each change."""

    def content(self, name):
        """The content of a file, by the tools of the file system."""
        raise NotImplementedError

    def replace(self, name, data):
        """A new file under an old name, as editors save: most often with another inode."""
        self.delete(name)
        self.create(name, File(data))

    def append(self, name, data):
        self.resized(name, self.content(name) + data)

    def truncate(self, name, size):
        self.resized(name, (self.content(name) + bytes(size))[:size])

    def patch(self, pieces, at, data):
        """Writes into the image itself. `pieces`: (offset in the image, length) of each part of the file."""
        with open(self.path, "r+b") as image:
            for offset, length in pieces:
                part, data = data[:max(length - at, 0)], data[max(length - at, 0):]
                if part:
                    image.seek(offset + at)
                    image.write(part)
                at = max(at - length, 0)
        assert not data, "the file ends before"

    def unsupported(self, *_):
        raise Unsupported(type(self).__name__)

    create = delete = rename = rewrite = resized = touch = chmod = link = unsupported


class Ext(Volume):
    """ext2, ext3 or ext4. `options` go to mke2fs, such as "-O", "inline_data"."""

    def __init__(self, path, tree, size=None, kind="ext4", block=1024, options=()):
        self.kind, self.block, self.options = kind, block, options
        super().__init__(path, tree, size or (2 * MIB if block == 1024 else 4 * MIB))

    def make(self):
        self.path.unlink(missing_ok=True)
        options = [] if "-O" in self.options else ["-O", "^has_journal"] if self.kind != "ext3" else []
        tool(f"mkfs.{self.kind}", "-q", "-F", "-b", str(self.block), "-N", "256", "-U", UUID, "-E",
             f"hash_seed={UUID},lazy_itable_init=0,root_owner=0:0", *options, *self.options, self.path,
             f"{self.size // KIB}k")

    @staticmethod
    def quoted(name):
        assert "\n" not in name
        return '"/' + name.replace('"', '""') + '"'

    def debugfs(self, *commands, write=True):
        """What each of the commands printed."""
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogateescape", suffix=".debugfs") as script:
            script.write("".join(command + "\n" for command in commands))
            script.flush()
            said = tool("debugfs", *(["-w"] if write else []), "-f", script.name, self.path)
        parts = re.split(rb"^debugfs: [^\n]*\n", said, flags=re.MULTILINE)[1:]
        assert len(parts) == len(commands), (commands, said)
        for command, part in zip(commands, parts):
            assert not re.search(rb"not found|No such|usage|Usage|Could not|error", part), (command, part)
        return parts

    def stamped(self, name, node, kind):
        fields = {"mode": f"0{kind | node.mode:o}", **{t: f"@{node.mtime}" for t in ("mtime", "ctime", "atime")}}
        return [f"set_inode_field {self.quoted(name)} {field} {value}" for field, value in fields.items()]

    def create(self, name, node):
        folder, last = os.path.split(name)
        if isinstance(node, Dir):
            self.debugfs(f"mkdir {self.quoted(name)}", *self.stamped(name, node, 0o40000))
        elif isinstance(node, Symlink):
            self.debugfs(f'symlink {self.quoted(name)} "{node.target}"')
        elif isinstance(node, Link):
            self.link(node.of, name)
        else:
            with tempfile.NamedTemporaryFile() as file:
                node.save(file.name)
                self.debugfs(f"cd {self.quoted(folder)}", f'write {file.name} {self.quoted(last).replace("/", "", 1)}',
                             *self.stamped(name, node, 0o100000))

    def delete(self, name):
        self.debugfs(f"{'rmdir' if self.status(name).kind == 'dir' else 'rm'} {self.quoted(name)}")

    def rename(self, old, new):
        """A folder may only get a new name in the folder that it is in."""
        if self.status(old).kind == "dir" and os.path.dirname(old) != os.path.dirname(new):
            self.unsupported()
        self.debugfs(f"ln {self.quoted(old)} {self.quoted(new)}", f"unlink {self.quoted(old)}")

    def link(self, name, new):
        links = self.status(name).links + 1
        self.debugfs(f"ln {self.quoted(name)} {self.quoted(new)}",
                     f"set_inode_field {self.quoted(name)} links_count {links}")

    def touch(self, name, mtime):
        self.debugfs(f"set_inode_field {self.quoted(name)} mtime @{mtime}")

    def chmod(self, name, mode):
        kind = {"dir": 0o40000, "file": 0o100000}[self.status(name).kind]
        self.debugfs(f"set_inode_field {self.quoted(name)} mode 0{kind | mode:o}")

    def rewrite(self, name, at, data):
        blocks = -(-self.status(name).size // self.block)
        mapped = self.debugfs(*[f"bmap {self.quoted(name)} {index}" for index in range(blocks)], write=False)
        self.patch([(int(block.split()[0]) * self.block, self.block) for block in mapped], at, data)

    def resized(self, name, data):
        """The same inode, with other blocks: those of a new file are given to it. For files of few extents."""
        temporary, inode = ".resized", self.status(name).inode
        old = self.debugfs(f"stat <{inode}>", write=False)[0]
        keep = File(data, mode=int(re.search(rb"Mode:\s+(\d+)", old)[1], 8), mtime=TIME + 60)
        links = int(re.search(rb"Links: (\d+)", old)[1])
        self.create(temporary, keep)
        made = self.status(temporary).inode
        self.debugfs(*([f"punch <{inode}> 0"] if self.status(name).size else []), f"copy_inode <{made}> <{inode}>",
                     f"set_inode_field <{inode}> links_count {links}", f"unlink {self.quoted(temporary)}",
                     f"clri <{made}>", f"kill_file <{made}>")

    def content(self, name):
        with tempfile.TemporaryDirectory() as folder:
            self.debugfs(f"dump {self.quoted(name)} {folder}/file", write=False)
            return Path(folder, "file").read_bytes()[:self.status(name).size]  # of inline data, debugfs writes more

    def in_use(self, inode):
        said = self.debugfs(f"testi <{inode}>", f"stat <{inode}>", write=False)
        return b"is marked in use" in said[0] and self.seen(said[1]).links > 0

    def status(self, name):
        return self.seen(self.debugfs(f"stat {self.quoted(name)}", write=False)[0])

    @staticmethod
    def seen(text):
        def number(pattern, base=10):
            return int(re.search(pattern, text)[1], base)

        kind = {b"regular": "file", b"directory": "dir", b"symlink": "symlink"}.get(re.search(rb"Type: (\S+)", text)[1])
        target = re.search(rb'Fast link dest: "(.*)"\n', text, re.DOTALL)
        return Seen(kind or "other", number(rb"Inode: (\d+)"), number(rb"Size: (\d+)"), number(rb"Mode:\s+(\d+)", 8),
                    number(rb"\bmtime: 0x([0-9a-f]+)", 16), number(rb"Links: (\d+)"),
                    target=target and os.fsdecode(target[1]),
                    created=number(rb"\bcrtime: 0x([0-9a-f]+)", 16) if b"crtime: " in text else None)

    def names(self):
        """{name: inode}, folder by folder."""
        names, folders = {}, {"": 2}
        while folders:
            lists = self.debugfs(*[f"ls -p <{inode}>" for inode in folders.values()], write=False)
            below = {}
            for folder, text in zip(folders, lists):
                for inode, mode, name in re.findall(rb"^/(\d+)/(\d+)/\d+/\d+/(.*)/\d*/$", text, re.MULTILINE):
                    if name not in (b".", b"..") and inode != b"0":
                        path = os.path.join(folder, os.fsdecode(name))
                        names[path] = int(inode)
                        if mode.startswith(b"04"):
                            below[path] = int(inode)
            folders = below
        return names

    def tree(self):
        names = self.names()
        inodes = sorted(set(names.values()))
        seen = {n: self.seen(t) for n, t in zip(inodes, self.debugfs(*[f"stat <{n}>" for n in inodes], write=False))}
        with tempfile.TemporaryDirectory() as folder:
            read = [n for n in inodes if seen[n].kind == "file" or seen[n].kind == "symlink" and seen[n].target is None]
            if read:
                self.debugfs(*[f"dump <{n}> {folder}/{n}" for n in read], write=False)
            for n in read:
                data = Path(folder, str(n)).read_bytes()[:seen[n].size]
                if seen[n].kind == "file":
                    seen[n].sha256 = sha256(data)
                else:
                    seen[n].target = os.fsdecode(data)
        return {name: seen[inode] for name, inode in names.items()}


class Fat(Volume):
    """FAT12, FAT16 or FAT32. It has no links, and no inodes that mtools would know."""

    def __init__(self, path, tree, size=None, bits=12):
        self.bits = bits
        super().__init__(path, tree, size or {12: MIB, 16: 5 * MIB, 32: 34 * MIB}[bits])

    def make(self):
        self.path.unlink(missing_ok=True)
        tool("mkfs.fat", "-F", str(self.bits), "-s", "1", "-i", "12345678", "--invariant", "-C", self.path,
             str(self.size // KIB))

    def mtool(self, name, *arguments):
        return tool(name, "-i", self.path, *arguments)

    def create(self, name, node):
        if isinstance(node, Dir):
            self.mtool("mmd", "::" + name)
        elif isinstance(node, File):
            with tempfile.TemporaryDirectory() as folder:
                node.save(Path(folder, "file"))
                self.mtool("mcopy", "-m", "-o", Path(folder, "file"), "::" + name)
            if not node.mode & 0o200:
                self.chmod(name, node.mode)
        else:
            self.unsupported()

    def delete(self, name):
        self.mtool("mdeltree", "::" + name)

    def rename(self, old, new):
        self.mtool("mmove" if os.path.dirname(old) != os.path.dirname(new) else "mren", "::" + old, "::" + new)

    def chmod(self, name, mode):
        self.mtool("mattrib", "-r" if mode & 0o200 else "+r", "::" + name)

    def resized(self, name, data):
        self.create(name, File(data, mtime=TIME + 60))

    def geometry(self):
        """Where cluster 2 starts, and the length of a cluster."""
        boot = self.path.read_bytes()[:64]
        sector, per_cluster, reserved, fats, root, _, _, short = struct.unpack_from("<HBHBHHBH", boot, 11)
        fat = short or struct.unpack_from("<I", boot, 36)[0]
        return (reserved + fats * fat) * sector + root * 32, per_cluster * sector

    def pieces(self, name):
        start, length = self.geometry()
        text = self.mtool("mshowfat", "::" + name).decode()
        runs = re.findall(r"<(\d+)(?:-(\d+))?>", text)
        return [(start + (int(first) - 2) * length, (int(last or first) - int(first) + 1) * length) for first, last in runs]

    def rewrite(self, name, at, data):
        self.patch(self.pieces(name), at, data)

    def touch(self, name, mtime):
        """Only the time in the entry, which is found by the first cluster and the size: the file has to have some."""
        start, length = self.geometry()
        cluster = (self.pieces(name)[0][0] - start) // length + 2
        key = struct.pack("<I", len(self.content(name)))
        image = bytearray(self.path.read_bytes())
        found = [o for o in range(0, len(image), 32)
                 if image[o + 28:o + 32] == key and image[o + 26:o + 28] == struct.pack("<H", cluster & 0xFFFF)
                 and image[o + 20:o + 22] == struct.pack("<H", cluster >> 16) and image[o] not in (0, 0xE5)]
        assert len(found) == 1, found
        at = time.gmtime(mtime)
        struct.pack_into("<HH", image, found[0] + 22, at.tm_hour << 11 | at.tm_min << 5 | at.tm_sec // 2,
                         (at.tm_year - 1980) << 9 | at.tm_mon << 5 | at.tm_mday)
        self.path.write_bytes(image)

    def content(self, name):
        return self.mtool("mtype", "::" + name)

    def tree(self):
        with tempfile.TemporaryDirectory() as folder:
            self.mtool("mcopy", "-s", "-m", "-n", "-Q", "::/", folder)
            seen = read_folder(folder)
        for one in seen.values():
            one.mode = None
            if one.kind == "dir":
                one.mtime = None
        return seen


class Iso(Volume):
    """ISO 9660 with Rock Ridge and Joliet. A change makes all of it anew, of a folder of this machine."""
    OPTIONS = ["-R", "-J"]

    def make(self):
        scratch = tempfile.TemporaryDirectory(prefix="snaptool-test-iso-")
        self.scratch, self.folder = scratch, Path(scratch.name)
        self.mtimes = {"": TIME}

    def create(self, name, node):
        path = self.folder / name
        if isinstance(node, Dir):
            path.mkdir(mode=node.mode)
        elif isinstance(node, Symlink):
            path.symlink_to(node.target)
        elif isinstance(node, Link):
            os.link(self.folder / node.of, path)
        else:
            node.save(path)
            path.chmod(node.mode)
        self.mtimes[name] = getattr(node, "mtime", TIME)
        self.changed()

    def changed(self):
        if not self.whole:
            return
        self.settle_times()
        self.path.unlink(missing_ok=True)
        when = time.strftime("%Y%m%d%H%M%S00", time.gmtime(TIME))
        tool("xorriso", "-as", "mkisofs", "-quiet", f"--modification-date={when}", "--set_all_file_dates", "set_to_mtime",
             *self.OPTIONS, "-o", self.path, self.folder)

    def settle_times(self):
        for name, mtime in sorted(self.mtimes.items(), reverse=True):
            os.utime(self.folder / name, (mtime, mtime), follow_symlinks=False)

    def delete(self, name):
        path = self.folder / name
        (path.rmdir if path.is_dir() and not path.is_symlink() else path.unlink)()
        del self.mtimes[name]
        self.changed()

    def rename(self, old, new):
        (self.folder / old).rename(self.folder / new)
        self.mtimes = {new + n[len(old):] if n == old or n.startswith(old + "/") else n: t for n, t in self.mtimes.items()}
        self.changed()

    def link(self, name, new):
        self.create(new, Link(name))

    def rewrite(self, name, at, data):
        old = self.content(name)
        self.resized(name, old[:at] + data + old[at + len(data):])

    def resized(self, name, data):
        (self.folder / name).write_bytes(data)
        self.changed()

    def chmod(self, name, mode):
        (self.folder / name).chmod(mode)
        self.changed()

    def touch(self, name, mtime):
        self.mtimes[name] = mtime
        self.changed()

    def content(self, name):
        return (self.folder / name).read_bytes()

    def tree(self):
        with tempfile.TemporaryDirectory() as folder:
            tool("xorriso", "-osirrox", "on", "-indev", self.path, "-extract", "/", folder)
            tool("chmod", "-R", "u+rX", folder)
            return read_folder(folder)


class HfsPlus(Iso):
    """HFS+, as xorriso makes it beside an ISO 9660 file system. No tool here reads it: tree() is what it was made of."""
    OPTIONS = ["-R", "-hfsplus"]

    def changed(self):
        super().changed()
        if not self.whole:
            return
        disk = self.path.read_bytes()
        for block in range(512, 16 * 512, 512):  # Apple's partition map
            if disk[block:block + 2] == b"PM" and disk[block + 48:block + 57] == b"Apple_HFS":
                start, sectors = struct.unpack_from(">II", disk, block + 8)
                self.path.write_bytes(disk[start * 512:(start + sectors) * 512])
                return
        raise AssertionError("no HFS+ in it")

    def tree(self):
        return read_folder(self.folder)
