# SPDX-License-Identifier: Apache-2.0
"""Makes Android sparse images: from the comments in AOSP's libsparse/sparse_format.h, not from snaptool.

    image = Simg(4096, rng=rng)
    image.raw(data)
    image.fill(b"abcd", 3)
    image.dont_care(5)
    image.sum()
    image.content                                  # what it reads as
    image.build()                                  # its bytes; total, count, major ... may be set before
"""

import struct
import zlib

MAGIC = 0xED26FF3A
RAW, FILL, DONT_CARE, CRC = 0xCAC1, 0xCAC2, 0xCAC3, 0xCAC4


class Simg:
    """Headers may be longer than what is known of them: junk follows."""

    def __init__(self, block=4096, rng=None, header_size=28, chunk_header_size=12):
        self.block, self.rng = block, rng
        self.header_size, self.chunk_header_size = header_size, chunk_header_size
        self.major, self.minor, self.checksum = 1, 0, 0
        self.total = self.count = None  # other numbers of blocks and chunks than there are
        self.chunks = []
        self.content = b""

    def chunk(self, kind, blocks, data, size=None):
        """Whatever it is; `size` is what it says that it has in the file."""
        size = self.chunk_header_size + len(data) if size is None else size
        junk = self.rng.randbytes(self.chunk_header_size - 12) if self.chunk_header_size > 12 else b""
        reserved = self.rng.getrandbits(16) if self.rng else 0
        self.chunks.append(struct.pack("<HHII", kind, reserved, blocks, size) + junk + data)

    def raw(self, data):
        self.chunk(RAW, len(data) // self.block, data)
        self.content += data

    def fill(self, word, blocks):
        self.chunk(FILL, blocks, word)
        self.content += word * (blocks * self.block // 4)

    def dont_care(self, blocks):
        self.chunk(DONT_CARE, blocks, b"")
        self.content += bytes(blocks * self.block)

    def sum(self, wrong=0):
        self.chunk(CRC, 0, struct.pack("<I", zlib.crc32(self.content) ^ wrong))

    def header(self):
        total = len(self.content) // self.block if self.total is None else self.total
        count = len(self.chunks) if self.count is None else self.count
        known = struct.pack("<IHHHHIIII", MAGIC, self.major, self.minor, self.header_size, self.chunk_header_size,
                            self.block, total, count, self.checksum)
        return known + (self.rng.randbytes(self.header_size - 28) if self.header_size > 28 else b"")

    def build(self):
        return self.header() + b"".join(self.chunks)


def random_simg(rng, block=4096, chunks=20, sums=True, **options):
    """Chunks of every kind, none or several blocks long."""
    image = Simg(block, rng=rng, **options)
    for _ in range(chunks):
        blocks = rng.choice([0, 1, 1, 2, 5, 40])
        kind = rng.choice([RAW, RAW, FILL, FILL, DONT_CARE, CRC])
        if kind == RAW:
            image.raw(rng.randbytes(blocks * block))
        elif kind == FILL:
            image.fill(rng.choice([bytes(4), rng.randbytes(4), b"\xff" * 4]), blocks)
        elif kind == DONT_CARE:
            image.dont_care(blocks)
        elif sums:
            image.sum()
    if sums:
        image.checksum = zlib.crc32(image.content)
    return image


def split_simg(rng, content, block=4096, parts=3):
    """Images of the same size that are the content when laid over one another. Where a later one has something, the
    earlier ones may have junk; where nobody has, it reads as zeros, and so it is returned."""
    images = [Simg(block, rng=rng) for _ in range(parts)]
    seen = b""
    for at in range(0, len(content), block):
        piece = content[at:at + block]
        owner = rng.randrange(-1, parts)
        for number, image in enumerate(images):
            if number == owner:
                image.raw(piece)
            elif number < owner and rng.random() < 0.3:
                image.fill(rng.randbytes(4), 1)
            else:
                image.dont_care(1)
        seen += piece if owner >= 0 else bytes(len(piece))
    return images, seen


def read_simg(data):
    """Of an image as snaptool makes them, strictly: header fields, chunks as (kind, blocks, data), and the content."""
    magic, major, minor, head, chunk_head, block, total, count, checksum = struct.unpack_from("<IHHHHIIII", data)
    assert (magic, major, minor, head, chunk_head, checksum) == (MAGIC, 1, 0, 28, 12, 0)
    chunks, content, at = [], b"", head
    for _ in range(count):
        kind, reserved, blocks, size = struct.unpack_from("<HHII", data, at)
        body = data[at + 12:at + size]
        assert reserved == 0 and len(body) == size - 12
        assert len(body) == {RAW: blocks * block, FILL: 4, DONT_CARE: 0, CRC: 4}[kind]
        if kind == CRC:
            assert blocks == 0 and struct.unpack("<I", body)[0] == zlib.crc32(content)
        chunks.append((kind, blocks, body))
        content += body if kind == RAW else (body or bytes(4)) * (blocks * block // 4)
        at += size
    assert at == len(data) and len(content) == total * block
    return block, chunks, content
