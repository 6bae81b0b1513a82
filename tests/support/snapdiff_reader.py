# SPDX-License-Identifier: Apache-2.0
"""Reads a snapdiff by libsnap/diff/FORMAT.md alone, and applies it: shares nothing with the library.

    python3 snapdiff_reader.py DIFF [BASE]     checks DIFF; with BASE, or of a full one, writes the target to stdout
"""

import hashlib
import struct
import subprocess
import sys

MIB = 1 << 20
KINDS = ("data", "zero", "discard")


class Damaged(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damaged(what)


def sha(data):
    return hashlib.sha256(data).digest()


class Snapdiff:
    """All of a stream: `records` are (window, [(offset, length, kind)], data, old digest or None)."""

    def __init__(self, stream):
        self.records = []
        self.expected = []
        self.base_content = self.target_content = None
        self.elements = {}  # how many there are of each name
        at = 0
        index, index_position, index_sum = [], 0, bytes(32)
        totals = [0, 0, 0]
        ended = False
        while at < len(stream):
            need(not ended, "more behind the end")
            magic, length = struct.unpack_from("<II", stream, at)
            need(magic == 0x184D2A57, f"no element at {at}")
            element = stream[at:at + 8 + length]
            need(len(element) == 8 + length, "cut")
            name = element[8:12].decode("latin-1")
            self.elements[name] = self.elements.get(name, 0) + 1
            position, at = at, at + len(element)
            if name == "SDH1":
                need(position == 0, "a second header")
                zero, must, may, self.flags, self.base_size, self.size = struct.unpack_from("<I5Q", element, 12)
                need(zero == 0 and must == 0 and may < 2 and self.flags < 8, "header")
                has_identities = may == 1
                self.parent = element[56:88]
                self.maker = element[88:].decode()
                header_sum, chain = sha(element), sha(element[8:88])
            elif name == "SDA1":
                need(not self.records and len(self.expected) < 64, "a late expectation")
                count, window = struct.unpack_from("<IQ", element, 12)
                extents = [struct.unpack_from("<III", element, 56 + 12 * i) for i in range(count)]
                need(length + 8 == 56 + 12 * count and all(kind == 0 for _, _, kind in extents), "expectation")
                self.expected.append((window, extents, element[24:56]))
                chain = sha(chain + element[8:])
            elif name == "SDB1":
                count, window, raw, stored, codec, flags = struct.unpack_from("<IQ4I", element, 12)
                need(not self.records or window > self.records[-1][0], "windows")
                need(length + 8 == 136 + 12 * count, "record")
                chain = sha(chain + element[8:28] + element[36:104] + element[136:])
                need(chain == element[104:136], "chain")
                payload = stream[at:at + stored]
                at += stored
                data = unpack(payload) if codec else b""
                need(len(data) == raw and sha(data) == element[40:72], "data")
                extents, end = [], 0
                for i in range(count):
                    offset, size, kind = struct.unpack_from("<III", element, 136 + 12 * i)
                    need(offset >= end and size > 0 and kind < 3, "extent")
                    end = offset + size
                    need(end <= MIB and window * MIB + end <= self.size, "extent behind the end")
                    extents.append((offset, size, KINDS[kind]))
                    totals[kind] += size
                need(sum(size for _, size, kind in extents if kind == "data") == raw, "extents' data")
                self.records.append((window, extents, data, element[72:104] if flags & 1 else None))
                index.append(struct.pack("<QQ", window, position))
            elif name == "SDX1":
                count, before, digest = struct.unpack_from("<IQ32s", element, 12)
                need((before, digest) == (index_position, index_sum), "index chain")
                need(element[56:] == b"".join(index) and count == len(index), "index")
                index, index_position, index_sum = [], position, sha(element)
            elif name == "sdi1":
                need(len(element) == 80 and sha(chain + element[8:48]) == element[48:], "identities")
                known, = struct.unpack_from("<I", element, 12)
                self.base_content = element[16:32] if known & 1 else None
                self.target_content = element[32:48] if known & 2 else None
            elif name == "SDE1":
                ended = True
                need(has_identities == ("sdi1" in self.elements), "identities that were announced")
                need(len(element) == 288 and sha(element[8:256]) == element[256:], "end")
                own, records, *counted, last = struct.unpack_from("<6Q", element, 16)
                need(own == position and records == len(self.records) and counted == totals, "end's numbers")
                need(not index and (last, element[64:96]) == (index_position, index_sum), "last index")
                need(element[96:160] == header_sum + chain, "end's digests")
                self.child, self.base_sum, self.target_sum = element[160:192], element[192:224], element[224:256]
                need(self.flags & 4 or self.child == chain, "child")
            else:
                need(name[0].islower(), f"element {name}")
        need(ended, "cut between two elements")

    def apply(self, base):
        """The target, as bytes; what each record expects of the base is checked."""
        image = bytearray(base[:self.size].ljust(max(self.size, len(base)), b"\0"))
        old = bytes(base).ljust(len(image), b"\0")
        for window, extents, digest in self.expected:
            start = window * MIB
            need(sha(b"".join(old[start + o:start + o + n] for o, n, _ in extents)) == digest, "expected of the base")
        for window, extents, data, digest in self.records:
            start = window * MIB
            if digest is not None:
                need(sha(b"".join(old[start + o:start + o + n] for o, n, _ in extents)) == digest, "base")
            for offset, length, kind in extents:
                piece, data = (data[:length], data[length:]) if kind == "data" else (bytes(length), data)
                image[start + offset:start + offset + length] = piece
        return bytes(image[:self.size])


def xxh3(data):
    done = subprocess.run(["xxhsum", "-H2"], input=data, stdout=subprocess.PIPE, check=True)
    return bytes.fromhex(done.stdout.split()[0].decode())


def identity(image):
    """What FORMAT.md says that an image's identity is."""
    high = low = 0
    for window in range((len(image) + MIB - 1) // MIB):
        content = bytes(image[window * MIB:(window + 1) * MIB]).ljust(MIB, b"\0")
        if any(content):
            part = xxh3(struct.pack("<Q", window) + xxh3(content))
            high, low = high + int.from_bytes(part[:8], "big"), low + int.from_bytes(part[8:], "big")
    return xxh3(struct.pack("<QQQ", len(image), high % 2**64, low % 2**64))


def unpack(frame):
    return subprocess.run(["zstd", "-dc"], input=frame, stdout=subprocess.PIPE, check=True).stdout


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        diff = Snapdiff(file.read())
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as file:
            sys.stdout.buffer.write(diff.apply(file.read()))
    elif diff.flags & 1:
        sys.stdout.buffer.write(diff.apply(b""))
