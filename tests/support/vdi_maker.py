# SPDX-License-Identifier: Apache-2.0
"""Makes VDI images, also of kinds that qemu-img does not make: from VirtualBox's VDICore.h, not from snaptool."""

import struct
import uuid

FREE, ZERO = 0xFFFFFFFF, 0xFFFFFFFE
DYNAMIC, FIXED, UNDO, DIFFERENCING = 1, 2, 3, 4


class Vdi:
    """Blocks in any order, with junk before each where `extra` is not 0."""

    def __init__(self, size, block=1 << 20, extra=0, kind=DYNAMIC, rng=None, parent=None):
        self.size, self.block, self.extra, self.kind, self.rng = size, block, extra, kind, rng
        self.uuid, self.modification = uuid.UUID(int=rng.getrandbits(128)), uuid.UUID(int=rng.getrandbits(128))
        self.parent = (parent.uuid, parent.modification) if parent else (uuid.UUID(int=0), uuid.UUID(int=0))
        self.map = [FREE] * (-(-size // block))
        self.blocks = []
        self.map_offset, self.comment = 512, b""

    def add(self, number, data):
        """A block's content; its place in the file is the next one."""
        self.map[number] = len(self.blocks)
        self.blocks.append(data.ljust(self.block, b"\xdd"))

    def header(self):
        data_offset = -(-(self.map_offset + 4 * len(self.map)) // 512) * 512
        header = bytearray(512)
        header[:39] = b"<<< Oracle VM VirtualBox Disk Image >>>"
        struct.pack_into("<IIIII", header, 64, 0xBEDA107F, 0x00010001, 0x190, self.kind, 0)
        header[84:84 + len(self.comment)] = self.comment
        struct.pack_into("<II", header, 340, self.map_offset, data_offset)
        struct.pack_into("<I", header, 360, 512)
        struct.pack_into("<QIIII", header, 368, self.size, self.block, self.extra, len(self.map), len(self.blocks))
        for at, one in zip((392, 408, 424, 440), (self.uuid, self.modification, *self.parent), strict=True):
            header[at:at + 16] = one.bytes_le
        return header, data_offset

    def save(self, path):
        header, data_offset = self.header()
        with open(path, "wb") as file:
            file.write(header)
            file.seek(self.map_offset)
            file.write(struct.pack(f"<{len(self.map)}I", *self.map))
            file.seek(data_offset)
            for block in self.blocks:
                file.write(self.rng.randbytes(self.extra) + block)


def random_vdi(rng, path, size, parent=None, parent_content=b"", **options):
    """Saves one with blocks of every kind in random order; returns it, and its content."""
    image = Vdi(size, rng=rng, parent=parent, kind=DIFFERENCING if parent else DYNAMIC, **options)
    content = bytearray(parent_content[:size].ljust(size, b"\0"))
    numbers = list(range(len(image.map)))
    rng.shuffle(numbers)
    for number in numbers:
        at, kind = number * image.block, rng.choice(["data", "zero", "free"])
        length = min(image.block, size - at)
        if kind == "data":
            data = rng.randbytes(length)
            image.add(number, data)
            content[at:at + length] = data
        elif kind == "zero":
            image.map[number] = ZERO
            content[at:at + length] = bytes(length)
    image.save(path)
    return image, bytes(content)
