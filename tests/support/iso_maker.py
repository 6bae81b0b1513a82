# SPDX-License-Identifier: Apache-2.0
"""Makes ISO 9660 images of single records and entries, also of what no tool makes. Written from the standards, and apart
from what reads them in snaptool.

    disc = Disc()
    place = disc.put(b"content")
    root = disc.folder([record("A.;1", place, 7)])
    disc.save(path, root)
"""

import struct

SECTOR = 2048
TIME = (120, 1, 2, 3, 4, 5, 0)  # 2020-01-02 03:04:05
TIME_SECONDS = 1577934245
HIDDEN, FOLDER, ASSOCIATED, RECORDS, PROTECTED, GOES_ON = 1, 2, 4, 8, 16, 128


def both16(number):
    return struct.pack("<H", number) + struct.pack(">H", number)


def both32(number):
    return struct.pack("<I", number) + struct.pack(">I", number)


def record(name, place=0, size=0, flags=0, su=b"", time=TIME, xar=0, unit=0, gap=0, volume=1):
    """A directory record; `place`: a block, `su`: what is behind the name."""
    name = name.encode() if isinstance(name, str) else name
    body = bytes([xar]) + both32(place) + both32(size) + struct.pack("6Bb", *time) + bytes([flags, unit, gap])
    body += both16(volume) + bytes([len(name)]) + name + bytes((len(name) + 1) % 2) + su
    body += bytes((len(body) + 1) % 2)
    return bytes([len(body) + 1]) + body


def entry(kind, data=b""):
    """One of SUSP."""
    return kind.encode() + bytes([len(data) + 4, 1]) + data


def sp(skipped=0):
    return entry("SP", bytes([0xBE, 0xEF, skipped]))


def er():
    return entry("ER", bytes([10, 0, 0, 1]) + b"RRIP_1991A")


def ce(block, offset, length):
    return entry("CE", both32(block) + both32(offset) + both32(length))


def px(mode, links=1, user=0, group=0, serial=None):
    return entry("PX", both32(mode) + both32(links) + both32(user) + both32(group) + (both32(serial) if serial is not None else b""))


def nm(name, flags=0):
    return entry("NM", bytes([flags]) + (name.encode() if isinstance(name, str) else name))


def sl(*components, flags=0):
    """Components: (flags, text)."""
    return entry("SL", bytes([flags]) + b"".join(bytes([f, len(t)]) + t for f, t in components))


def tf(flags, *times):
    return entry("TF", bytes([flags]) + b"".join(times))


class Disc:
    def __init__(self, block=SECTOR):
        self.block = block
        self.image = bytearray(24 * SECTOR)

    def put(self, data, blocks=0):
        """Returns its block. It takes at least as many as `blocks`."""
        place = len(self.image) // self.block
        self.image += data + bytes(max(-len(data) % self.block, blocks * self.block - len(data)))
        return place

    def folder(self, records, su=b"", size=None):
        """Returns (block, bytes). `su`: of its record of itself."""
        place = len(self.image) // self.block

        def laid_out(length):
            data = b""
            for one in [record(b"\0", place, length, FOLDER, su), record(b"\1", place, length, FOLDER), *records]:
                if len(data) % SECTOR + len(one) > SECTOR:
                    data += bytes(-len(data) % SECTOR)
                data += one
            return data + bytes(-len(data) % SECTOR)

        length = size or len(laid_out(0))
        self.put(laid_out(length))
        return place, length

    def descriptor(self, root, kind=1, label="LABEL", escape=b"", volumes=(1, 1), blocks=None, version=1):
        data = bytearray(SECTOR)
        data[0:7] = bytes([kind]) + b"CD001" + bytes([version])
        text = label.encode("utf-16-be" if escape else "ascii")
        data[40:72] = (text + (b"\0 " * 16 if escape else b" " * 32))[:32]
        data[80:88] = both32(len(self.image) // self.block if blocks is None else blocks)
        data[88:88 + len(escape)] = escape
        data[120:124], data[124:128], data[128:132] = both16(volumes[1]), both16(volumes[0]), both16(self.block)
        data[156:190] = record(b"\0", root[0], root[1], FOLDER, volume=volumes[0])
        for at in (813, 830, 847, 864):
            data[at:at + 17] = b"2020010203040500\0"
        data[881] = 1
        return bytes(data)

    def save(self, path, root, joliet=None, more=(), end=b"\xffCD001\1", **options):
        self.image += bytes(-len(self.image) % SECTOR)
        descriptors = [self.descriptor(root, **options)]
        if joliet:
            descriptors.append(self.descriptor(joliet, kind=2, escape=b"%/E"))
        descriptors += [*more, end]
        for number, data in enumerate(descriptors):
            at = (16 + number) * SECTOR
            self.image[at:at + len(data)] = data
        with open(path, "wb") as file:
            file.write(self.image)
