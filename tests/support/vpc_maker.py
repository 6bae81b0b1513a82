# SPDX-License-Identifier: Apache-2.0
"""Makes VHD images, also of kinds that qemu-img does not make: from Microsoft's specification, not from snaptool."""

import struct
import uuid

FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
SECTOR = 512


def with_sum(data, at):
    data = bytearray(data)
    data[at:at + 4] = bytes(4)
    struct.pack_into(">I", data, at, ~sum(data) & 0xFFFFFFFF)
    return bytes(data)


class Vhd:
    """Blocks in any order, at any distance."""

    def __init__(self, size, kind=DYNAMIC, block=2 << 20, rng=None):
        self.size, self.kind, self.block, self.rng = size, kind, block, rng
        self.uuid, self.parent_uuid = uuid.UUID(int=rng.getrandbits(128)), uuid.UUID(int=0)
        self.parent_name, self.locators = "", []  # (code, bytes)
        self.blocks = {}  # number: (bitmap, data)
        self.order = []
        self.entries = -(-size // block)

    def add(self, number, data, own=None):
        """A block; `own`: which of its sectors are its own (all, if not said)."""
        sectors = self.block // SECTOR
        bits = bytearray(-(-(-(-sectors // 8)) // SECTOR) * SECTOR)
        for sector in range(sectors) if own is None else own:
            bits[sector // 8] |= 0x80 >> sector % 8
        self.blocks[number] = (bytes(bits), data.ljust(self.block, b"\xdd"))
        self.order.append(number)

    def footer(self):
        footer = bytearray(512)
        struct.pack_into(">8sIIQI4sI4sQQHBBI", footer, 0, b"conectix", 2, 0x10000, 512 if self.kind != FIXED else 2**64 - 1,
                         123456, b"win ", 0xA0000, b"Wi2k", self.size, self.size, 1, 4, 17, self.kind)
        footer[68:84] = self.uuid.bytes
        return with_sum(footer, 64)

    def header(self, table, places):
        header = bytearray(1024)
        struct.pack_into(">8sQQIII", header, 0, b"cxsparse", 2**64 - 1, table, 0x10000, self.entries, self.block)
        header[40:56] = self.parent_uuid.bytes
        name = self.parent_name.encode("utf-16-be")
        header[64:64 + len(name)] = name
        for i, ((code, data), place) in enumerate(zip(self.locators, places, strict=True)):
            struct.pack_into(">4sIIIQ", header, 576 + 24 * i, code, 512, len(data), 0, place)
        return with_sum(header, 36)

    def save(self, path):
        with open(path, "wb") as file:
            if self.kind == FIXED:
                file.write(b"".join(self.blocks[i][1] for i in range(self.entries))[:self.size] + self.footer())
                return
            places, at = [], 1536
            for _, data in self.locators:
                places.append(at)
                at += -(-len(data) // SECTOR) * SECTOR
            table = [0xFFFFFFFF] * self.entries
            where = -(-(at + 4 * self.entries) // SECTOR) * SECTOR
            for number in self.order:
                where += SECTOR * self.rng.randrange(3)
                table[number] = where // SECTOR
                file.seek(where)
                file.write(b"".join(self.blocks[number]))
                where = file.tell()
            file.write(self.footer())
            for place, (_, data) in zip(places, self.locators, strict=True):
                file.seek(place)
                file.write(data)
            file.seek(at)
            file.write(struct.pack(f">{self.entries}I", *table))
            file.seek(0)
            file.write(self.footer() + self.header(at, places))


def random_vhd(rng, path, size, parent=None, below=b"", **options):
    """Saves one with some blocks in random order; of a child, single sectors are its own, and the others hold junk. Returns
    it, and its content."""
    image = Vhd(size, kind=DIFFERENCING if parent else DYNAMIC, rng=rng, **options)
    content = bytearray(below[:size].ljust(size, b"\0"))
    numbers = list(range(image.entries))
    rng.shuffle(numbers)
    for number in numbers[:max(1, len(numbers) * 2 // 3)]:
        at = number * image.block
        length = min(image.block, size - at)
        data = bytearray(rng.randbytes(length))
        if parent is None:
            image.add(number, bytes(data))
            content[at:at + length] = data
            continue
        density = rng.choice([0.02, 0.5, 0.98])
        own = {sector for sector in range(image.block // SECTOR) if rng.random() < density}
        for sector in own:
            if rng.random() < 0.2:  # cleared: there is no other way to say so
                data[sector * SECTOR:(sector + 1) * SECTOR] = bytes(max(0, min(SECTOR, length - sector * SECTOR)))
            content[at + sector * SECTOR:at + (sector + 1) * SECTOR] = data[sector * SECTOR:(sector + 1) * SECTOR]
        image.add(number, bytes(data), own)
    if parent is not None:
        image.parent_uuid = parent.uuid
    return image, bytes(content[:size])
