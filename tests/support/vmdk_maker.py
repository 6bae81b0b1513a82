# SPDX-License-Identifier: Apache-2.0
"""Makes VMDK images, also of kinds that qemu-img does not make: from VMware's "Virtual Disk Format 5.0", open-vmdk and
QEMU's block/vmdk.c, not from snaptool. What must not be read is junk."""

import struct
import zlib

SECTOR = 512
AT_END = 2**64 - 1
NEWLINES, REDUNDANT, ZERO_GRAINS, COMPRESSED, MARKERS = 1, 2, 4, 0x10000, 0x20000
DATA, ZERO, ABSENT = "data", "zero", "absent"


def padded(data, unit=SECTOR, fill=b"\0"):
    return data + fill * (-len(data) % unit)


def descriptor_text(extents, create_type="monolithicSparse", cid="0badcafe", parent="ffffffff", hint=None, more=()):
    lines = ["# Disk DescriptorFile", "version=1", 'encoding="UTF-8"', f"CID={cid}", f"parentCID={parent}",
             f'createType="{create_type}"']
    if hint is not None:
        lines.append(f'parentFileNameHint="{hint}"')
    return "\n".join([*lines, "", "# Extent description", *extents, "", "# The Disk Data Base", "#DDB", "",
                      'ddb.adapterType = "lsilogic"', *more, ""]).encode()


class Sparse:
    """A hosted sparse extent (KDMV). `grains`: number -> (kind, data); those that are not in it are absent."""

    def __init__(self, sectors, rng, grain=128, entries=512, version=1, flags=NEWLINES, descriptor=b""):
        self.sectors, self.rng, self.grain, self.entries, self.version = sectors, rng, grain, entries, version
        self.flags, self.descriptor, self.grains = flags, descriptor, {}
        self.short_end, self.footer, self.unclean, self.lba_shift = False, True, 0, 0

    @property
    def grain_bytes(self):
        return self.grain * SECTOR

    def header(self, directory, overhead):
        compressed = self.flags & COMPRESSED
        header = struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", self.version, self.flags, self.sectors, self.grain,
                             1 if self.descriptor else 0, -(-len(self.descriptor) // SECTOR) if self.descriptor else 0,
                             self.entries, 0, directory, overhead, self.unclean, b"\n \r\n", 1 if compressed else 0)
        return padded(header)

    def stored(self, number, data):
        """A grain as it is in the file."""
        whole = data.ljust(self.grain_bytes, b"\xdd")
        if not self.flags & COMPRESSED:
            return whole
        packed = zlib.compress(data if self.short_end else whole)
        place = struct.pack("<Q", number * self.grain + self.lba_shift) if self.flags & MARKERS else b""
        return padded(place + struct.pack("<I", len(packed)) + packed, fill=b"\xdd")

    def tables(self):
        count = -(-self.sectors // (self.grain * self.entries))
        return [[0] * self.entries for _ in range(count)]

    def entry(self, tables, number, value):
        tables[number // self.entries][number % self.entries] = value

    def table_bytes(self, table):
        return padded(struct.pack(f"<{self.entries}I", *table))

    def file(self):
        """Tables in front: header, descriptor, tables, directory, grains in random order with junk between them."""
        head = padded(self.descriptor)
        at = 1 + len(head) // SECTOR
        tables, numbers = self.tables(), list(self.grains)
        self.rng.shuffle(numbers)
        table_sectors = len(self.table_bytes(tables[0])) // SECTOR
        used = [any(number // self.entries == i for number in numbers) for i in range(len(tables))]
        places = [2 + at + i * table_sectors if used[i] else 0 for i in range(len(tables))]
        directory = 2 + at + len(tables) * table_sectors
        junk = self.rng.randbytes(2 * SECTOR)
        overhead = directory + -(-4 * len(tables) // SECTOR)
        body, sector = [], overhead
        for number in numbers:
            kind, data = self.grains[number]
            if kind == ZERO:
                self.entry(tables, number, 1)
                continue
            gap = self.rng.randbytes(SECTOR * self.rng.choice([0, 0, 1, 3]))
            stored = self.stored(number, data)
            self.entry(tables, number, sector + len(gap) // SECTOR)
            body += [gap, stored]
            sector += (len(gap) + len(stored)) // SECTOR
        all_tables = b"".join(self.table_bytes(table) if there else self.rng.randbytes(table_sectors * SECTOR)
                              for table, there in zip(tables, used, strict=True))
        return b"".join([self.header(directory, overhead), head, junk, all_tables,
                         padded(struct.pack(f"<{len(places)}I", *places)), *body])

    def stream(self):
        """Grains, their tables behind them, the directory, the footer and the end."""
        def marker(kind, value):
            return padded(struct.pack("<QII", value, 0, kind))

        head = self.header(AT_END if self.footer else 0, 128) + padded(self.descriptor)
        parts, sector = [padded(head, 128 * SECTOR)], 128
        directory = []

        def add(data):
            nonlocal sector
            parts.append(data)
            sector += len(data) // SECTOR

        tables = self.tables()
        for index, table in enumerate(tables):
            mine = sorted(number for number in self.grains if number // self.entries == index)
            for number in mine:
                kind, data = self.grains[number]
                self.entry(tables, number, 1 if kind == ZERO else sector)
                if kind == DATA:
                    add(self.stored(number, data))
            if self.rng.random() < 0.3:
                add(marker(4, 0))  # progress
            if mine:
                add(marker(1, 4))
            directory.append(sector if mine else 0)
            if mine:
                add(self.table_bytes(table))
        stored = padded(struct.pack(f"<{len(directory)}I", *directory))
        add(marker(2, len(stored) // SECTOR))
        place = sector
        add(stored)
        if not self.footer:
            parts[0] = self.header(place, 128) + parts[0][SECTOR:]
            return b"".join(parts)
        return b"".join([*parts, marker(3, 1), self.header(place, 128), marker(0, 0)])


class Cowd:
    """An ESX sparse extent."""

    def __init__(self, sectors, rng, grain=1):
        self.sectors, self.rng, self.grain, self.grains = sectors, rng, grain, {}

    @property
    def grain_bytes(self):
        return self.grain * SECTOR

    def file(self):
        count = max(1, -(-self.sectors // (4096 * self.grain)))
        header = bytearray(self.rng.randbytes(2048))
        struct.pack_into("<4sIIIIIII", header, 0, b"COWD", 1, 3, self.sectors, self.grain, 4, count, 0)
        struct.pack_into("<I", header, 1648, 0)
        tables = [[0] * 4096 for _ in range(count)]
        numbers = sorted(self.grains)
        directory_sectors = -(-4 * count // SECTOR)
        used = [any(number // 4096 == i for number in numbers) for i in range(count)]
        places = [4 + directory_sectors + 32 * i if used[i] else 0 for i in range(count)]
        sector, body = 4 + directory_sectors + 32 * count, []
        self.rng.shuffle(numbers)
        for number in numbers:
            tables[number // 4096][number % 4096] = sector
            body.append(self.grains[number][1].ljust(self.grain_bytes, b"\xdd"))
            sector += self.grain
        return b"".join([header, padded(struct.pack(f"<{count}I", *places)),
                         *(struct.pack("<4096I", *table) for table in tables), *body])


def fill(extent, rng, below=b"", kinds=(DATA, ZERO, ABSENT), dense=1.0):
    """Gives an extent grains of these kinds; returns its content."""
    size = extent.sectors * SECTOR
    content = bytearray(below[:size].ljust(size, b"\0"))
    for number in range(-(-size // extent.grain_bytes)):
        at, kind = number * extent.grain_bytes, rng.choice(kinds)
        if rng.random() > dense:
            continue
        length = min(extent.grain_bytes, size - at)
        if kind == DATA:
            data = rng.randbytes(length // 2) + bytes([rng.randrange(256)]) * (length - length // 2)
            extent.grains[number] = (DATA, data)
            content[at:at + length] = data
        elif kind == ZERO:
            extent.grains[number] = (ZERO, b"")
            content[at:at + length] = bytes(length)
    return bytes(content)
