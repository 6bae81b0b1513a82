# SPDX-License-Identifier: Apache-2.0
"""Makes HFS+ and HFSX volumes naively, from Apple's TN1150: for what no tool here writes, such as hard links, compressed
files, resource forks, extended attributes and files in many pieces.

    made = HfsPlusMaker(path, [Item("d", folder=True), Item("d/f", b"text", rsrc=b"r"), ...], block=1024, node=1024)
    made.ids["d/f"]             # its catalog node id
"""

import dataclasses
import struct
import zlib
from pathlib import Path

EPOCH = 2082844800  # 1904 to 1970
TIME = 1577836800
PRIVATE = "\0\0\0\0HFS+ Private Data"
PRIVATE_FOLDERS = ".HFS+ Private Directory Data\r"
IGNORED = {*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF}


@dataclasses.dataclass
class Item:
    name: str  # a path; parts as they are on the disk
    data: bytes = b""
    rsrc: bytes = b""
    folder: bool = False
    mode: int = 0
    owner: int = 501
    group: int = 20
    finder: bytes = bytes(32)
    special: int = 0
    flags: int = 0x2
    owner_flags: int = 0
    xattrs: dict = dataclasses.field(default_factory=dict)
    time: int = TIME
    size: int = -1  # of the data fork, if another one is to be said
    pieces: int = 0  # of one block each, apart


@dataclasses.dataclass
class Large:
    """The value of an extended attribute that lies in blocks of its own."""
    data: bytes
    pieces: int = 0  # of one block each, apart
    size: int = -1  # if another one is to be said


def link(name, number):
    return Item(name, finder=b"hlnkhfs+".ljust(32, b"\0"), special=number, mode=0o100444)


def decmpfs(kind, size, data=b""):
    return struct.pack("<4sIQ", b"fpmc", kind, size) + data


def packed_fork(data, raw=()):
    """A resource fork with blocks of 64 KiB; those numbered in `raw` are not compressed."""
    pieces = [data[i:i + 65536] for i in range(0, len(data), 65536)]
    packed = [b"\xff" + piece if i in raw else zlib.compress(piece) for i, piece in enumerate(pieces)]
    at, table = 4 + 8 * len(packed), struct.pack("<I", len(packed))
    for piece in packed:
        table += struct.pack("<II", at, len(piece))
        at += len(piece)
    body = table + b"".join(packed)
    fork = struct.pack(">IIII", 256, 260 + len(body), 4 + len(body), 50).ljust(256, b"\0")
    return fork + struct.pack(">I", len(body)) + body + bytes(24) + b"\0\x1c\0\x32\0\0cmpf\0\0\0\x0a\0\x01\xff\xff" + bytes(8)


def utf16(text):
    return text.encode("utf-16-be", "surrogatepass")


def units(text):
    raw = utf16(text)
    return [int.from_bytes(raw[i:i + 2], "big") for i in range(0, len(raw), 2)]


def folded(text):
    """For names of letters whose small ones are a constant away."""
    return [0xFFFF if u == 0 else ord(chr(u).lower()) if not 0xD800 <= u < 0xE000 else u for u in units(text) if u not in IGNORED]


def tree_file(records, node, compare, most_key, total=None):
    """A B-tree of sorted (key with its length, data)."""
    room, nodes = node - 14, {}
    level, number, height, levels = records, 1, 1, []
    while level:
        below, group, used = [], [], 2
        groups = []
        for key, data in level:
            size = len(key) + len(data) + 2
            if used + size > room:
                groups.append(group)
                group, used = [], 2
            group.append((key, data))
            used += size
        groups.append(group)
        first = number
        for i, group in enumerate(groups):
            links = (number + 1 if i + 1 < len(groups) else 0, number - 1 if i else 0)
            nodes[number] = node_bytes(node, links, -1 if height == 1 else 0, height, [k + d for k, d in group])
            below.append((group[0][0], struct.pack(">I", number)))
            number += 1
        levels.append((first, number - 1))
        height += 1
        level = below if len(below) > 1 else None
    in_head, in_map = (node - 256) * 8, (node - 20) * 8
    total = max(total or 0, number)
    maps = max(0, -(-(total - in_head) // in_map)) if total > in_head else 0
    total = max(total, number + maps)
    bits = bytearray(-(-total // 8))
    for used in range(number + maps):
        bits[used // 8] |= 0x80 >> used % 8
    pieces = [bytes(bits[:in_head // 8]).ljust(in_head // 8, b"\0")]
    for i in range(maps):
        start = in_head // 8 + i * (in_map // 8)
        nodes[number + i] = node_bytes(node, (number + i + 1 if i + 1 < maps else 0, 0), 2, 0,
                                       [bytes(bits[start:start + in_map // 8]).ljust(in_map // 8, b"\0")])
    head = struct.pack(">HIIIIHHIIHIBBI64x", len(levels), number - 1 if levels else 0, len(records),
                       levels[0][0] if levels else 0, levels[0][1] if levels else 0, node, most_key, total, total - number - maps,
                       0, node, 0, compare, 2 if most_key == 10 else 6)
    nodes[0] = node_bytes(node, (number if maps else 0, 0), 1, 0, [head, bytes(128), pieces[0]])
    return b"".join(nodes.get(i, bytes(node)) for i in range(total))


def node_bytes(node, links, kind, height, records):
    data = struct.pack(">IIbBHH", *links, kind, height, len(records), 0)
    offsets = []
    for record in records:
        offsets.append(len(data))
        data += record
    offsets.append(len(data))
    tail = b"".join(struct.pack(">H", offset) for offset in reversed(offsets))
    assert len(data) + len(tail) <= node, (len(data), len(tail))
    return data.ljust(node - len(tail), b"\0") + tail


class HfsPlusMaker:
    def __init__(self, path, items, block=1024, node=1024, blocks=4096, hfsx=False, binary=False, wrapper=0, label="volume",
                 attributes=0x100, journal=None, identifier=bytes(8), extra_nodes=0, catalog_pieces=0):
        self.path, self.block, self.node, self.blocks, self.binary = Path(path), block, node, blocks, binary
        self.disk = bytearray(block * blocks)
        self.used, self.cursor, self.overflow = set(range(-(-1536 // block))), -(-1536 // block), []
        self.ids, self.records, self.xattrs = {"": 2}, [], []
        if journal:
            self.add_journal(journal)
        bitmap = self.take(-(-(-(-blocks // 8)) // block))
        self.add(Item(label, folder=True), 2, 1)
        number = 16
        for item in items:
            self.add(item, number, self.ids[item.name.rpartition("/")[0]])
            self.ids[item.name] = number
            number += 1
        catalog = self.save(tree_file(self.sorted_catalog(), node, 0xBC if binary else 0xCF, 516, extra_nodes or None), 4,
                            pieces=catalog_pieces)
        xattrs = b""
        if self.xattrs:
            xattrs = self.save(tree_file([x[1:] for x in sorted(self.xattrs)], node, 0, 266), 8)
        records = [(struct.pack(">HBBII", 10, fork, 0, i, first), data) for (i, fork, first), data in sorted(self.overflow)]
        extents = self.save(tree_file(records, node, 0, 10), 3)
        self.used |= {blocks - 1, blocks - -(-1024 // block)}
        bits = bytearray(bitmap[1] * block)
        for used in self.used:
            bits[used // 8] |= 0x80 >> used % 8
        self.disk[bitmap[0] * block:(bitmap[0] + bitmap[1]) * block] = bits
        allocation = self.fork(len(bits), [bitmap])
        files = sum(not item.folder for item in items)
        header = struct.pack(">2sHI4s15IQ24x8s", b"HX" if hfsx else b"H+", 5 if hfsx else 4,
                             attributes | (0x2000 if journal else 0), b"HFSJ" if journal else b"10.0", self.journal_block if journal else 0,
                             TIME + EPOCH, TIME + EPOCH, 0, TIME + EPOCH, files, len(items) - files, block, blocks,
                             blocks - len(self.used), 0, block, block, number, 1, 1, identifier)
        header = header + allocation + extents + catalog + (xattrs or bytes(80)) + bytes(80)
        assert len(header) == 512
        self.disk[1024:1536] = self.disk[-1024:-512] = header
        if wrapper:
            outer = bytearray(wrapper)
            outer[1024:1536] = struct.pack(">2s18xIIHH", b"BD", 4096, 0, 16, 1).ljust(36, b"\0") + b"\4wrap" + bytes(83) + \
                struct.pack(">2sHH", b"H+", (wrapper - 16 * 512) // 4096, len(self.disk) // 4096) + bytes(382)
            self.disk = outer + self.disk + bytes(4096)
        self.path.write_bytes(self.disk)

    def take(self, count):
        start = self.cursor
        self.cursor += count
        assert self.cursor < self.blocks - 2, "full"
        self.used |= set(range(start, start + count))
        return start, count

    def fork(self, size, extents):
        flat = [x for extent in extents[:8] for x in extent] + [0] * (16 - 2 * len(extents[:8]))
        return struct.pack(">QII16I", size, self.block, sum(count for _, count in extents), *flat)

    def place(self, data, pieces):
        count, extents = -(-len(data) // self.block), []
        if pieces:
            for _ in range(count):
                extents.append(self.take(1))
                self.cursor += 1
        elif count:
            extents.append(self.take(count))
        at = 0
        for start, length in extents:
            part = data[at:at + length * self.block]
            self.disk[start * self.block:start * self.block + len(part)] = part
            at += len(part)
        return extents

    @staticmethod
    def more(extents):
        """What does not fit into a fork: (first block, its extents)."""
        done = sum(length for _, length in extents[:8])
        for i in range(8, len(extents), 8):
            some = extents[i:i + 8]
            flat = [x for extent in some for x in extent] + [0] * (16 - 2 * len(some))
            yield done, struct.pack(">16I", *flat)
            done += sum(length for _, length in some)

    def save(self, data, number, kind=0, pieces=0, size=-1):
        extents = self.place(data, pieces)
        self.overflow += [((number, kind, done), raw) for done, raw in self.more(extents)]
        return self.fork(len(data) if size < 0 else size, extents)

    def add_journal(self, state):
        """`state`: (start, end) of it."""
        self.journal_block = self.take(1)[0]
        at, count = self.take(8)
        info = struct.pack(">I32xQQ", 1, at * self.block, count * self.block)
        place = self.journal_block * self.block
        self.disk[place:place + len(info)] = info
        head = struct.pack("<IIQQQIII", 0x4A4E4C78, 0x12345678, *state, count * self.block, 4096, 0, 512)
        self.disk[at * self.block:at * self.block + len(head)] = head

    def add(self, item, number, parent):
        name = item.name.rpartition("/")[2]
        mode = item.mode or (0o40755 if item.folder else 0o100644)
        when = item.time + EPOCH
        flags = item.flags | (4 if item.xattrs else 0)
        record = struct.pack(">HHIIIIIIIIIBBHI32sII", 1 if item.folder else 2, flags, 0, number, when, when + 1, when + 2, when + 3, 0,
                             item.owner, item.group, 0, item.owner_flags, mode, item.special, item.finder, 0, 0)
        if not item.folder:
            record += self.save(item.data, number, 0, item.pieces, item.size) + self.save(item.rsrc, number, 255, item.pieces)
        self.records.append((parent, name, record))
        self.records.append((number, "", struct.pack(">HHIH", 3 if item.folder else 4, 0, parent, len(units(name))) + utf16(name)))
        for key, value in item.xattrs.items():
            if isinstance(value, Large):
                extents = self.place(value.data, value.pieces)
                size = len(value.data) if value.size < 0 else value.size
                records = [(0, struct.pack(">I4x", 0x20) + self.fork(size, extents))]
                records += [(done, struct.pack(">I4x", 0x30) + raw) for done, raw in self.more(extents)]
            else:
                records = [(0, struct.pack(">I8xI", 0x10, len(value)) + value + bytes(len(value) % 2))]
            for done, data in records:
                raw = struct.pack(">HIIH", 0, number, done, len(units(key))) + utf16(key)
                self.xattrs.append(((number, units(key)), struct.pack(">H", len(raw)) + raw, data))

    def sorted_catalog(self):
        order = units if self.binary else folded
        out = []
        for parent, name, data in sorted(self.records, key=lambda r: (r[0], order(r[1]))):
            raw = struct.pack(">IH", parent, len(units(name))) + utf16(name)
            out.append((struct.pack(">H", len(raw)) + raw, data))
        return out
