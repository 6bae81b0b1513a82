# SPDX-License-Identifier: Apache-2.0
"""Expert Witness images (E01), made section by section from formats/ewf/FORMAT.md, for what no program at hand makes."""

import hashlib
import struct
import zlib

MAGIC = b"EVF\x09\x0d\x0a\xff\0"
PACKED = 0x80000000
SECTION = 76


def summed(body):
    return body + struct.pack("<I", zlib.adler32(body))


def descriptor(kind, next_one, size):
    return summed(struct.pack("<16sQQ40x", kind.encode(), next_one, size))


def volume_body(chunks, chunk_sectors, sector, sectors, guid=bytes(16), media=1, flags=3, level=1, errors=64):
    return summed(struct.pack("<B3xIIIQ12xB15xB3xI4x16s968x", media, chunks, chunk_sectors, sector, sectors, flags, level,
                              errors, guid))


def smart_body(chunks, chunk_sectors, sector, sectors):
    return summed(struct.pack("<IIIII65x5s", 1, chunks, chunk_sectors, sector, sectors, b"SMART"))


def table_body(entries, base=0, footer=True):
    head = summed(struct.pack("<I4xQ4x", len(entries), base))
    body = b"".join(struct.pack("<I", entry) for entry in entries)
    return head + (summed(body) if footer else body)


def header_body(values, utf16=True):
    keys = list(values)
    end = "\n" if utf16 else "\r\n"
    text = end.join(["1", "main", "\t".join(keys), "\t".join(values[key] for key in keys), "", ""])
    return zlib.compress(b"\xff\xfe" + text.encode("utf-16-le") if utf16 else text.encode("latin-1"))


def hash_body(content):
    return summed(hashlib.md5(content).digest() + bytes(16))


def digest_body(content):
    return summed(hashlib.md5(content).digest() + hashlib.sha1(content).digest() + bytes(40))


def errors_body(ranges):
    return (summed(struct.pack("<I512x", len(ranges)))
            + summed(b"".join(struct.pack("<II", first, count) for first, count in ranges)))


class Segment:
    """A file, to which sections are added; what is in it can be damaged before it is built."""

    def __init__(self, number=1):
        self.data = bytearray(MAGIC + struct.pack("<BHH", 1, number, 0))
        self.places = {}  # of each kind, where its sections' bodies are

    def add(self, kind, body=b"", size=None):
        start = len(self.data)
        length = SECTION + len(body)
        self.data += descriptor(kind, start + length, length if size is None else size) + body
        self.places.setdefault(kind, []).append((start + SECTION, len(body)))

    def end(self, kind, names_itself=True):
        start = len(self.data)
        self.data += descriptor(kind, start if names_itself else start + SECTION, 0 if names_itself else SECTION)

    def place(self, kind, number=0):
        return self.places[kind][number][0]

    def flip(self, kind, at=0, number=0, bits=1):
        """Damages a byte of a section's body; a negative place counts from its end."""
        start, size = self.places[kind][number]
        self.data[start + (at if at >= 0 else size + at)] ^= bits


def pack_chunk(data, compress):
    """A chunk as it is stored, and the bit of its entry."""
    if compress:
        return zlib.compress(data, 1), PACKED
    return summed(data), 0


def add_chunks(segment, chunks, packed, layout="e01"):
    """Chunks with their tables: after sectors of their own, or after the entries as the first writers put them."""
    bodies = [pack_chunk(data, packed(data)) for data in chunks]
    if layout == "e01":
        base = len(segment.data)
        at, entries = SECTION, []
    else:
        base = 0
        footer = 4 if layout == "encase1" else 0
        at, entries = len(segment.data) + SECTION + 24 + 4 * len(bodies) + footer, []
    for body, bit in bodies:
        entries.append(at | bit)
        at += len(body)
    stored = b"".join(body for body, _ in bodies)
    if layout == "e01":
        segment.add("sectors", stored)
        for kind in ("table", "table2"):
            segment.add(kind, table_body(entries, base))
    else:
        segment.add("table", table_body(entries, 0, layout == "encase1") + stored)


def split(content, size):
    return [content[at:at + size] for at in range(0, len(content), size)]


def make_ewf(content, *, chunk_sectors=64, sector=512, packed=lambda data: True, per_table=1000, per_segment=None,
             layout="e01", header=None, guid=b"", errors=None, sums=True, declared=None, numbers=None):
    """The segments of an image. `declared`: chunks that the volume says; `numbers`: what the segments call themselves."""
    chunks = split(content, chunk_sectors * sector)
    sectors = len(content) // sector
    count = len(chunks) if declared is None else declared
    parts = split(chunks, per_segment) if per_segment else [chunks]
    segments = []
    for index, part in enumerate(parts or [[]]):
        segment = Segment(numbers[index] if numbers else index + 1)
        if index == 0:
            if header:
                segment.add("header2", header_body(header))
                segment.add("header2", header_body(header))
            body = (smart_body if layout == "smart" else volume_body)(count, chunk_sectors, sector, sectors,
                                                                    *([guid] if guid else []))
            segment.add("volume", body)
        elif guid:
            segment.add("data", volume_body(count, chunk_sectors, sector, sectors, guid))
        for group in split(part, per_table):
            add_chunks(segment, group, packed, layout)
        if index + 1 < len(parts):
            segment.end("next", layout != "smart")
        else:
            if errors:
                segment.add("error2", errors_body(errors))
            if sums:
                segment.add("digest", digest_body(content))
                segment.add("hash", hash_body(content))
            segment.end("done", layout != "smart")
        segments.append(segment)
    return segments


def save_ewf(folder, segments, stem="image", kind="E"):
    """Writes them under their names; returns the first one's."""
    for index, segment in enumerate(segments):
        (folder / f"{stem}.{extension(index + 1, kind)}").write_bytes(segment.data)
    return folder / f"{stem}.{kind}01"


def extension(number, kind="E"):
    if number < 100:
        return f"{kind}{number:02}"
    at = number - 100
    first = "A" if kind.isupper() else "a"
    return chr(ord(kind) + at // 676) + chr(ord(first) + at // 26 % 26) + chr(ord(first) + at % 26)
