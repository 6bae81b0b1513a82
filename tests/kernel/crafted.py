# SPDX-License-Identifier: Apache-2.0
"""Stores made by hand in the kernel's format, where a kernel is not at hand or would be too slow; a naive reader."""

import itertools
import struct
from pathlib import Path

SECTOR = 512
HEADER = struct.Struct("<IIII")
ENTRY = struct.Struct("<QQ")
MAGIC = 0x70416E53


class Layout:
    """Where things lie in a store of this chunk size (in sectors)."""

    def __init__(self, chunk):
        self.chunk_bytes = chunk * SECTOR
        self.per_area = self.chunk_bytes // ENTRY.size

    def area_chunk(self, area):
        return 1 + area * (self.per_area + 1)

    def new_chunk(self, index):
        """The chunk that the kernel gives to the exception with this index."""
        area, entry = divmod(index, self.per_area)
        return self.area_chunk(area) + 1 + entry

    def areas(self, exceptions):
        """How many areas the kernel has written: the current one counts, even empty."""
        return exceptions // self.per_area + 1

    def is_metadata(self, offset, length):
        """Whether these bytes lie in one area."""
        first, last = offset // self.chunk_bytes, (offset + length - 1) // self.chunk_bytes
        return first == last and first % (self.per_area + 1) == 1 % (self.per_area + 1)


def write_store(path, chunk, old_chunks, data_of, behind=()):
    """Writes a store with one exception for each of `old_chunks`, in this order.

    `data_of(index)` gives the chunk's data, or None for a hole. `behind` are entries (old, new) that follow
    the terminator of the last area, as a torn clear leaves them.
    """
    layout = Layout(chunk)
    areas = layout.areas(len(old_chunks))
    with open(path, "wb") as file:
        file.write(HEADER.pack(MAGIC, 1, 1, chunk))
        for area in range(areas):
            first = area * layout.per_area
            entries = [(old, layout.new_chunk(first + i))
                       for i, old in enumerate(old_chunks[first:first + layout.per_area])]
            if area == areas - 1 and behind:
                entries += [(0, 0), *behind]
            file.seek(layout.area_chunk(area) * layout.chunk_bytes)
            file.write(b"".join(ENTRY.pack(*entry) for entry in entries))
        for index in range(len(old_chunks)):
            data = data_of(index)
            if data is not None:
                file.seek(layout.new_chunk(index) * layout.chunk_bytes)
                file.write(data)
        file.truncate(layout.area_chunk(areas) * layout.chunk_bytes)
    return layout


def random_pair(rng, origin, cow, chunk, sectors, exceptions):
    """Writes an origin and a store over it, of some runs and some single chunks; returns the view."""
    content = bytearray(rng.randbytes(sectors * SECTOR))
    Path(origin).write_bytes(content)
    size = chunk * SECTOR
    chunks = -(-sectors // chunk)
    old_chunks = []
    free = set(range(chunks))
    while len(old_chunks) < exceptions:
        at = rng.choice(tuple(free))
        for old in range(at, min(at + rng.choice([1, 1, 12]), chunks)):
            if old in free and len(old_chunks) < exceptions:
                free.remove(old)
                old_chunks.append(old)
    data = [rng.randbytes(size) for _ in old_chunks]
    write_store(cow, chunk, old_chunks, lambda index: data[index])
    for old, new in zip(old_chunks, data, strict=True):
        content[old * size:(old + 1) * size] = new
    return content[:sectors * SECTOR]


def naive_entries(cow, chunk):
    """The list of a store of `chunk` sectors, from its bytes: (byte of the entry, old chunk, new chunk) of each."""
    layout = Layout(chunk)
    for index in itertools.count():
        area, entry = divmod(index, layout.per_area)
        at = layout.area_chunk(area) * layout.chunk_bytes + entry * ENTRY.size
        old, new = ENTRY.unpack_from(cow, at)
        if new == 0:
            return
        yield at, old, new


def naive_view(origin, cow):
    """What the snapshot shows, from the bytes of both files; also the list, as [(old, new)]."""
    magic, valid, version, chunk = HEADER.unpack_from(cow)
    if (magic, valid, version) != (MAGIC, 1, 1):
        raise ValueError(f"no sound store: {magic:#x}, {valid}, {version}")
    size = chunk * SECTOR
    view, seen, entries = bytearray(origin), set(), []
    for _, old, new in naive_entries(cow, chunk):
        entries.append((old, new))
        if old not in seen:
            seen.add(old)
            view[old * size:(old + 1) * size] = cow[new * size:(new + 1) * size]
            del view[len(origin):]
    return view, entries
