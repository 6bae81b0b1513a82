# SPDX-License-Identifier: Apache-2.0
"""Makes small exFAT volumes, as fs_maker.py does other file systems. mkfs.exfat formats them; since no tool fills them
without mounting, that is done here, from Microsoft's specification. fsck.exfat (check) has the last word on it."""

import os
import struct
import time

from fs_maker import Dir, File, Iso, read_folder, tool

USED, DIRECTORY, READ_ONLY = 2, 0x10, 1


class ExFat(Iso):
    """As Iso, a change makes all of it anew, and tree() is what it was made of. `chained`: files that have a chain in the
    FAT; the others say that they have none. Sparse files are written out."""
    SECTOR = 512

    def __init__(self, path, tree, size=None, chained=()):
        self.chained = chained
        super().__init__(path, tree, size or 4 << 20)

    def changed(self):
        if not self.whole:
            return
        self.settle_times()
        self.path.write_bytes(b"")
        os.truncate(self.path, self.size)
        tool("mkfs.exfat", "-b", "4K", "-c", "4096", self.path)
        self.image = bytearray(self.path.read_bytes())
        self.settle_serial()
        fat, _, heap, self.clusters, root = struct.unpack_from("<5I", self.image, 80)
        self.cluster = self.SECTOR << self.image[109]
        self.fat, self.heap = fat * self.SECTOR, heap * self.SECTOR
        old = self.image[self.place(root):self.place(root) + self.cluster]
        system = [old[at:at + 32] for at in range(0, len(old), 32) if old[at] in (0x81, 0x82, 0x83)]
        self.bitmap = self.place(struct.unpack_from("<I", next(e for e in system if e[0] == 0x81), 20)[0])
        upcase = next(e for e in system if e[0] == 0x82)
        table = self.place(struct.unpack_from("<I", upcase, 20)[0])
        self.upcase = self.upcase_table(self.image[table:table + struct.unpack_from("<Q", upcase, 24)[0]])
        content = b"".join(system) + self.entries("")
        assert len(content) <= self.cluster, "too much in the root folder"
        self.store(root, content + bytes(-len(content) % self.cluster))
        self.path.write_bytes(self.image)

    def settle_serial(self):
        """One serial number always, and the sums of both boot regions that go with it."""
        for start in (0, 12 * self.SECTOR):
            struct.pack_into("<I", self.image, start + 100, 0x12345678)
            total = 0
            for at, byte in enumerate(self.image[start:start + 11 * self.SECTOR]):
                if at not in (106, 107, 112):
                    total = ((total >> 1 | total << 31) + byte) & 0xFFFFFFFF
            self.image[start + 11 * self.SECTOR:start + 12 * self.SECTOR] = struct.pack("<I", total) * (self.SECTOR // 4)

    @staticmethod
    def upcase_table(packed):
        table, at = {}, 0
        words = iter(struct.unpack(f"<{len(packed) // 2}H", packed))
        for word in words:
            if word == 0xFFFF:
                at += next(words, 0)  # the last one may stand for itself
            else:
                table[at] = word
                at += 1
        return table

    def place(self, cluster):
        return self.heap + (cluster - 2) * self.cluster

    def store(self, first, content):
        """`content` from cluster `first` on, where the first may be taken already."""
        count = -(-len(content) // self.cluster)
        self.image[self.place(first):self.place(first) + len(content)] = content
        for cluster in range(first, first + count):
            self.image[self.bitmap + (cluster - 2) // 8] |= 1 << (cluster - 2) % 8
        return count

    def allocate(self, content, chained):
        """The first cluster of it, in free clusters that follow each other."""
        if not content:
            return 0
        count = -(-len(content) // self.cluster)
        free = [not self.image[self.bitmap + i // 8] >> i % 8 & 1 for i in range(self.clusters)]
        first = 2 + next(i for i in range(self.clusters - count) if all(free[i:i + count]))
        self.store(first, content)
        for cluster in range(first, first + count if chained else first):
            following = cluster + 1 if cluster + 1 < first + count else 0xFFFFFFFF
            struct.pack_into("<I", self.image, self.fat + 4 * cluster, following)
        return first

    def entries(self, folder):
        """The entries of what is in a folder; what lies below it is stored on the way."""
        made = b""
        for name in sorted(n for n in self.mtimes if n and os.path.dirname(n) == folder):
            path = self.folder / name
            if path.is_dir():
                content = self.entries(name)
                content += bytes(-len(content) % self.cluster or (0 if content else self.cluster))
                attributes, chained = DIRECTORY, False
            else:
                content, chained = path.read_bytes(), name in self.chained
                attributes = 0 if path.stat().st_mode & 0o200 else READ_ONLY
            first = self.allocate(content, chained)
            made += self.entry_set(os.path.basename(name), attributes, first, len(content), chained, self.mtimes[name])
        return made

    def entry_set(self, name, attributes, first, length, chained, mtime):
        wide = name.encode("utf-16-le")
        pieces = [wide[at:at + 30] for at in range(0, len(wide), 30)]
        at = time.gmtime(mtime)
        stamp = (at.tm_year - 1980) << 25 | at.tm_mon << 21 | at.tm_mday << 16 | at.tm_hour << 11 | at.tm_min << 5 | at.tm_sec // 2
        flags = 1 | (USED if length and not chained else 0)
        file = struct.pack("<BBHHHIIIBBBBB7x", 0x85, 1 + len(pieces), 0, attributes, 0, stamp, stamp, stamp, at.tm_sec % 2 * 100,
                           at.tm_sec % 2 * 100, 0x80, 0x80, 0x80)
        stream = struct.pack("<BBBBHHQIIQ", 0xC0, flags, 0, len(wide) // 2, self.name_hash(wide), 0, length, 0, first, length)
        names = b"".join(struct.pack("<BB30s", 0xC1, 0, piece) for piece in pieces)
        whole = bytearray(file + stream + names)
        total = 0
        for index, byte in enumerate(whole):
            if index not in (2, 3):
                total = ((total >> 1 | total << 15) + byte) & 0xFFFF
        struct.pack_into("<H", whole, 2, total)
        return bytes(whole)

    def name_hash(self, wide):
        total = 0
        for unit in struct.unpack(f"<{len(wide) // 2}H", wide):
            for byte in struct.pack("<H", self.upcase.get(unit, unit)):
                total = ((total >> 1 | total << 15) + byte) & 0xFFFF
        return total

    def create(self, name, node):
        if not isinstance(node, (Dir, File)):
            self.unsupported()
        super().create(name, node)

    link = Iso.unsupported

    def check(self):
        tool("fsck.exfat", "-n", self.path)

    def tree(self):
        return read_folder(self.folder)
