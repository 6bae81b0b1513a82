# SPDX-License-Identifier: Apache-2.0
"""Makes and changes small NTFS volumes, as fs_maker.py does other file systems."""

import calendar
import ctypes
import os
import re
import struct
import time

from fs_maker import MIB, Dir, File, Link, Seen, Symlink, Volume, sha256, tool


def libntfs():
    """NTFS-3G's library, of which its tools are made: none of them makes a folder, a link or a stream."""
    library, pointer = ctypes.CDLL("libntfs-3g.so.89", use_errno=True), ctypes.c_void_p
    u8, u32, text, size = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t
    for name, result, *arguments in [
            ("ntfs_mount", pointer, text, ctypes.c_ulong), ("ntfs_umount", ctypes.c_int, pointer, ctypes.c_int),
            ("ntfs_pathname_to_inode", pointer, pointer, pointer, text), ("ntfs_inode_close", ctypes.c_int, pointer),
            ("ntfs_inode_close_in_dir", ctypes.c_int, pointer, pointer),
            ("ntfs_create", pointer, pointer, u32, text, u8, u32),
            ("ntfs_delete", ctypes.c_int, pointer, text, pointer, pointer, text, u8),
            ("ntfs_link", ctypes.c_int, pointer, pointer, text, u8),
            ("ntfs_attr_open", pointer, pointer, u32, text, u32), ("ntfs_attr_close", None, pointer),
            ("ntfs_attr_add", ctypes.c_int, pointer, u32, text, u8, text, ctypes.c_int64),
            ("ntfs_attr_pwrite", ctypes.c_int64, pointer, ctypes.c_int64, ctypes.c_int64, text),
            ("ntfs_attr_pclose", ctypes.c_int, pointer), ("ntfs_attr_truncate", ctypes.c_int, pointer, ctypes.c_int64),
            ("ntfs_inode_set_times", ctypes.c_int, pointer, text, size, ctypes.c_int),
            ("ntfs_create_symlink", pointer, pointer, u32, text, u8, text, ctypes.c_int),
            ("ntfs_set_ntfs_reparse_data", ctypes.c_int, pointer, text, size, ctypes.c_int),
            ("ntfs_set_ntfs_dos_name", ctypes.c_int, pointer, pointer, text, size, ctypes.c_int),
            ("ntfs_set_ntfs_ea", ctypes.c_int, pointer, text, size, ctypes.c_int),
            ("ntfs_set_ntfs_attrib", ctypes.c_int, pointer, text, size, ctypes.c_int)]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Ntfs(Volume):
    """NTFS. `name:stream` is a stream of a file. `compressed`: folders whose new files are compressed."""
    SIZE = 4 * MIB
    READ_ONLY, COMPRESSED, SPARSE, DATA = 1, 0x800, 0x200, 0x80

    def __init__(self, path, tree, size=None, cluster=512, compressed=(), sector=512):
        self.cluster, self.compressed, self.sector = cluster, compressed, sector
        self.library = libntfs()
        super().__init__(path, tree, size)

    def make(self):
        self.path.write_bytes(b"")
        os.truncate(self.path, self.size)
        tool("mkntfs", "-F", "-q", "-Q", "-s", str(self.sector), "-p", "0", "-H", "16", "-S", "63", "-c", str(self.cluster), self.path)
        tool("ntfslabel", "--new-serial=0123456789abcdef", self.path)

    def inside(self, work):
        """`work` between mounting and unmounting: each by itself, since the library does not see all of its own changes."""
        volume = self.library.ntfs_mount(os.fsencode(self.path), 0)
        self.worked(volume)
        state = ctypes.cast(volume + 2 * ctypes.sizeof(ctypes.c_void_p), ctypes.POINTER(ctypes.c_ulong))
        state[0] |= 1 << 6  # NV_Compression
        try:
            return work(volume)
        finally:
            assert self.library.ntfs_umount(volume, 0) == 0

    @staticmethod
    def worked(result):
        if not result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    def open(self, volume, name):
        return self.worked(self.library.ntfs_pathname_to_inode(volume, None, os.fsencode("/" + name)))

    @staticmethod
    def wide(name):
        data = os.path.basename(name).encode("utf-16-le", "surrogatepass")
        return data + bytes(2), len(data) // 2

    def with_inode(self, name, work):
        def opened(volume):
            inode = self.open(volume, name)
            try:
                return work(inode)
            finally:
                self.library.ntfs_inode_close(inode)
        return self.inside(opened)

    def write(self, name, at, data, size=None):
        """Writes to a file or a stream, which is made if needed, after it was given the size."""
        name, _, stream = name.partition(":")
        wide = self.wide(stream) if stream else (ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(
            self.library, "AT_UNNAMED")), 2), 0)

        def work(inode):
            attribute = self.library.ntfs_attr_open(inode, self.DATA, *wide)
            if not attribute:
                self.worked(self.library.ntfs_attr_add(inode, self.DATA, *wide, b"", 0) == 0)
                attribute = self.worked(self.library.ntfs_attr_open(inode, self.DATA, *wide))
            if size is not None:
                self.worked(self.library.ntfs_attr_truncate(attribute, size) == 0)
            done = 0
            while done < len(data):
                wrote = self.library.ntfs_attr_pwrite(attribute, at + done, len(data) - done, data[done:])
                self.worked(wrote > 0)
                done += wrote
            self.library.ntfs_attr_pclose(attribute)
            self.library.ntfs_attr_close(attribute)
        self.with_inode(name, work)

    def create(self, name, node):
        if isinstance(node, Link):
            self.link(node.of, name)
            return
        if isinstance(node, Symlink):
            self.unsupported()

        def work(volume):
            folder = self.open(volume, os.path.dirname(name))
            inode = self.worked(self.library.ntfs_create(folder, 0, *self.wide(name),
                                                         0o40000 if isinstance(node, Dir) else 0o100000))
            self.library.ntfs_inode_close_in_dir(inode, folder)
            self.library.ntfs_inode_close(folder)
        if ":" not in name:
            self.inside(work)
        if name in self.compressed:
            self.attributes(name, self.COMPRESSED)
        if isinstance(node, File):
            if node.size is not None or node.at:
                self.attributes(name, self.SPARSE)
            self.write(name, node.at, node.content, node.size)
            self.touch(name.partition(":")[0], node.mtime)
        else:
            self.touch(name, node.mtime)

    def attributes(self, name, value):
        self.with_inode(name, lambda inode: self.library.ntfs_set_ntfs_attrib(inode, struct.pack("<I", value), 4, 0))

    def reparse(self, name, tag, data):
        """Makes of a file or folder what the tag says."""
        value = struct.pack("<IHH", tag, len(data), 0) + data
        self.with_inode(name, lambda inode: self.worked(self.library.ntfs_set_ntfs_reparse_data(inode, value, len(value), 0) == 0))

    def symlink(self, name, target):
        """As NTFS-3G makes one: a file of Interix."""
        def work(volume):
            folder = self.open(volume, os.path.dirname(name))
            wide = target.encode("utf-16-le") + bytes(2)
            inode = self.worked(self.library.ntfs_create_symlink(folder, 0, *self.wide(name), wide, len(wide) // 2 - 1))
            self.library.ntfs_inode_close_in_dir(inode, folder)
            self.library.ntfs_inode_close(folder)
        self.inside(work)

    def dos_name(self, name, short):
        def work(volume):  # which closes both
            inode, folder = self.open(volume, name), self.open(volume, os.path.dirname(name))
            self.worked(self.library.ntfs_set_ntfs_dos_name(inode, folder, short.encode(), len(short), 0) == 0)
        self.inside(work)

    def delete(self, name):
        self.inside(lambda volume: self.worked(self.library.ntfs_delete(
            volume, None, self.open(volume, name), self.open(volume, os.path.dirname(name)), *self.wide(name)) == 0))

    def link(self, name, new):
        def work(volume):
            inode, folder = self.open(volume, name), self.open(volume, os.path.dirname(new))
            self.worked(self.library.ntfs_link(inode, folder, *self.wide(new)) == 0)
            self.library.ntfs_inode_close_in_dir(inode, folder)
            self.library.ntfs_inode_close(folder)
        self.inside(work)

    def rename(self, old, new):
        self.link(old, new)
        self.delete(old)

    def chmod(self, name, mode):
        self.attributes(name, 0 if mode & 0o200 else self.READ_ONLY)

    def touch(self, name, mtime):
        times = struct.pack("<3Q", *[(mtime + 11644473600) * 10**7] * 3)
        self.with_inode(name, lambda inode: self.worked(self.library.ntfs_inode_set_times(inode, times, 24, 0) == 0))

    def rewrite(self, name, at, data):
        self.write(name, at, data)

    def resized(self, name, data):
        self.write(name, 0, data, len(data))

    def content(self, name):
        name, _, stream = name.partition(":")
        return tool("ntfscat", *(["-n", stream] if stream else []), self.path, "/" + name)

    def tree(self):
        """Without streams and modes; of times, the minute."""
        seen, folder = {}, ""
        for line in os.fsdecode(tool("ntfsls", "-F", "-R", "-l", "-i", self.path)).split("\n"):
            if line.startswith("/") and line.endswith(":"):
                folder = line[1:-1]
            match = re.match(r" *(\d+) +(\d+) (\w{3} +\d+ \d\d:\d\d \d{4}) (.*?)(/?)$", line)
            if not match or match[4] in (".", ".."):
                continue
            one = Seen("dir" if match[5] else "file", int(match[1]),
                       mtime=calendar.timegm(time.strptime(match[3], "%b %d %H:%M %Y")))
            if one.kind == "file":
                data = tool("ntfscat", "-i", match[1], self.path)
                one.size, one.sha256 = int(match[2]), sha256(data)
            seen[os.path.join(folder, match[4])] = one
        return seen
