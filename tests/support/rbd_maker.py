# SPDX-License-Identifier: Apache-2.0
"""Makes and reads Ceph's whole images (rbd export --export-format 2), by formats/rbd/FORMAT.md alone.

    disk = Disk(size)                              # what a guest sees
    disk.write(at, data)                           # also discard() and resize()
    image = RbdMaker()
    image.diff(len(disk.content), disk.ranges(rng), to=b"one")
    stream = image.build()                         # chunks() are its pieces, each at a boundary of the format
    properties, diffs = read_image(stream)         # strictly: what it does not know is an error
"""

import re
import struct

IMAGE, DIFFS, DIFF = b"rbd image v2\n", b"rbd image diffs v2\n", b"rbd diff v2\n"


def number(value):
    return struct.pack("<Q", value)


def text(value):
    return struct.pack("<I", len(value)) + value


def record(tag, content, length=None):
    return tag + number(len(content) if length is None else length) + content


def write(offset, data):
    return record(b"w", number(offset) + number(len(data)) + data)


def zeros(offset, length):
    return record(b"z", number(offset) + number(length))


def meta(key, value):
    return record(b"M", text(key) + text(value))


class RbdMaker:
    """`properties` and each of `diffs` are lists of records, to be changed at will."""

    def __init__(self, *more, order=22):
        self.properties = [record(tag, number(value)) for tag, value in
                           ((b"O", order), (b"T", 61), (b"U", 1 << order), (b"C", 1))] + list(more)
        self.diffs = []
        self.count = None  # another number of diffs than there are
        self.name = b""

    def diff(self, size, ranges=(), to=b"", more=()):
        """One more, from where the last one leads to; without `to` it leads to now."""
        names = [record(tag, text(name)) for tag, name in ((b"f", self.name), (b"t", to)) if name]
        self.diffs.append([*names, *more, record(b"s", number(size)), *ranges])
        self.name = to
        return self

    def chunks(self):
        yield from (IMAGE, *self.properties, b"E", DIFFS)
        yield number(len(self.diffs) if self.count is None else self.count)
        for records in self.diffs:
            yield from (DIFF, *records, b"e")

    def build(self):
        return b"".join(self.chunks())


class Disk:
    """A naive disk that knows which of its bytes have changed since they were last asked for."""

    KEPT, DATA, ZEROS = b"\0", b"\1", b"\2"

    def __init__(self, size):
        self.content = bytearray(size)
        self.changed = bytearray(size)
        self.before = 0  # its size at the last snapshot

    def write(self, at, data):
        self.content[at:at + len(data)] = data
        self.changed[at:at + len(data)] = self.DATA * len(data)

    def discard(self, at, length):
        self.content[at:at + length] = bytes(length)
        self.changed[at:at + length] = self.ZEROS * length

    def resize(self, size):
        """What is cut off and comes back is zeros; a diff must say so where its parent has something."""
        for array in (self.content, self.changed):
            del array[size:]
        old = len(self.content)
        self.content += bytes(size - old)
        self.changed += self.ZEROS * max(0, min(size, self.before) - old)
        self.changed += self.KEPT * (size - len(self.changed))

    def ranges(self, rng):
        """Records of what has changed, in pieces, with empty ones and unknown ones in between."""
        records = []
        for run in re.finditer(rb"[\x01]+|[\x02]+", self.changed):
            at, end = run.span()
            while at < end:
                records += [record(b"?", rng.randbytes(rng.randrange(40)))] * (rng.random() < 0.1)
                records += [rng.choice((write(at, b""), zeros(at, 0)))] * (rng.random() < 0.2)
                length = min(end - at, rng.choice((end, rng.randrange(1, 2000), rng.randrange(1, 70_000))))
                kind = self.changed[at:at + 1]
                records.append(write(at, self.content[at:at + length]) if kind == self.DATA else zeros(at, length))
                at += length
        self.changed = bytearray(len(self.content))
        self.before = len(self.content)
        return records


def random_image(rng, generations, most):
    """Returns an RbdMaker, and its states: [(name, content)], the last without a name."""
    image = RbdMaker(*(meta(b"key %d" % n, rng.randbytes(n).hex().encode()) for n in range(rng.randrange(4))),
                     *[record(b"?", b"unknown")] * rng.randrange(2), order=rng.randrange(12, 26))
    rng.shuffle(image.properties)
    states = []
    disk = Disk(rng.randrange(1, most))
    for generation in range(generations):
        for _ in range(rng.randrange(12)):
            at = rng.randrange(len(disk.content) + 1)
            length = min(rng.choice((1, 512, 4096, rng.randrange(60_000))), len(disk.content) - at)
            kind = rng.random()
            if kind < 0.5:
                disk.write(at, rng.choice((rng.randbytes(length), b"\xff" * length, bytes(length))))
            elif kind < 0.8:
                disk.discard(at, length)
            else:
                disk.resize(rng.randrange(most))
        name = b"" if generation + 1 == generations else rng.choice((b"of %d", b"%d\xc3\xa4")) % (generation + 7)
        more = [record(b"p", b"\1")] * rng.randrange(2) + [record(b"\xff", b"unknown")] * rng.randrange(2)
        image.diff(len(disk.content), disk.ranges(rng), to=name, more=more)
        states.append((name.decode(), bytes(disk.content)))
    return image, states


class Stream:
    def __init__(self, content):
        self.content = content
        self.at = 0

    def take(self, length):
        piece = self.content[self.at:self.at + length]
        assert len(piece) == length, "cut"
        self.at += length
        return piece

    def number(self):
        return struct.unpack("<Q", self.take(8))[0]

    def text(self):
        return self.take(struct.unpack("<I", self.take(4))[0])

    def expect(self, banner):
        assert self.take(len(banner)) == banner, banner

    def records(self, last):
        """Each tag; what is not taken of a record until the next one is an error."""
        while (tag := self.take(1)) != last:
            end = self.number() + self.at
            yield tag
            assert self.at == end, f"a record {tag} of a wrong length"

    def diff(self):
        """(from, to, size, [(offset, length, data or None for zeros)])."""
        self.expect(DIFF)
        names, size, ranges = {}, None, []
        for tag in self.records(b"e"):
            if tag in (b"f", b"t"):
                assert tag not in names and size is None, tag
                names[tag] = self.text()
            elif tag == b"s":
                assert size is None, "two sizes"
                size = self.number()
            else:
                assert tag in (b"w", b"z") and size is not None, tag
                offset, length = self.number(), self.number()
                assert not ranges or offset >= ranges[-1][0] + ranges[-1][1], "ranges that do not ascend"
                assert offset + length <= size, "a range beyond the end"
                ranges.append((offset, length, self.take(length) if tag == b"w" else None))
        assert size is not None, "no size"
        return names.get(b"f"), names.get(b"t"), size, ranges


def read_image(content):
    """([(tag, value)], diffs as Stream.diff() returns them)."""
    stream = Stream(content)
    stream.expect(IMAGE)
    properties = []
    for tag in stream.records(b"E"):
        assert tag in (b"O", b"T", b"U", b"C", b"M"), tag
        properties.append((tag, stream.number() if tag != b"M" else (stream.text(), stream.text())))
    stream.expect(DIFFS)
    diffs = [stream.diff() for _ in range(stream.number())]
    assert stream.at == len(content), "more behind the end"
    for before, after in zip([(None, None), *diffs], diffs, strict=False):
        assert after[0] == before[1], "names that do not follow"
    assert diffs and diffs[-1][1] is None, "it does not lead to now"
    return properties, diffs


def contents(diffs):
    """Of each state, the oldest first."""
    content = bytearray()
    for _, _, size, ranges in diffs:
        content = content[:size].ljust(size, b"\0")
        for offset, length, data in ranges:
            content[offset:offset + length] = bytes(length) if data is None else data
        yield bytes(content)
