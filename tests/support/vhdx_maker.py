# SPDX-License-Identifier: Apache-2.0
"""Makes VHDX images, also of kinds that qemu-img does not make: from Microsoft's [MS-VHDX], not from snaptool."""

import struct
import uuid

KIB, MIB, UNIT = 1 << 10, 1 << 20, 4096
ABSENT, UNDEFINED, ZERO, UNMAPPED, RESERVED, OLD_UNMAPPED, PRESENT, PARTLY = range(8)
NULL = uuid.UUID(int=0)
BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
LOGICAL = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL = uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556")
DISK_ID = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
LOCATOR_TYPE = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913")


def crc_table():
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        yield number


CRC_TABLE = list(crc_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def with_sum(data):
    struct.pack_into("<I", data, 4, 0)
    # Zeros at the end take long to count: all tables are mostly that.
    struct.pack_into("<I", data, 4, crc32c(data))
    return data


def locator(values):
    """A parent locator of these keys and values."""
    head, text = bytearray(), bytearray()
    start = 20 + 12 * len(values)
    for key, value in values:
        words = [word.encode("utf-16-le") for word in (key, value)]
        head += struct.pack("<IIHH", start + len(text), start + len(text) + len(words[0]), *map(len, words))
        text += b"".join(words)
    return LOCATOR_TYPE.bytes_le + struct.pack("<HH", 0, len(values)) + head + text


class Vhdx:
    """Regions and blocks in any order; junk in all that must not be read. `damage` gets each structure by its name, to
    change it before its checksum is made."""

    def __init__(self, size, block=MIB, sector=512, rng=None, parent=None, fixed=False):
        self.size, self.block, self.sector, self.rng, self.fixed = size, block, sector, rng, fixed
        self.data_write, self.disk_id = (uuid.UUID(int=rng.getrandbits(128)) for _ in range(2))
        self.parent = parent  # pairs of a key and a value
        self.ratio = (sector << 23) // block
        self.states = [ABSENT] * -(-size // block)
        self.blocks = {}  # data by the number of the block
        self.own = {}     # of those that are there in part: numbers of the sectors that are
        self.log_guid, self.log_version, self.log = NULL, 0, rng.randbytes(MIB)
        self.more_regions, self.more_items = [], []
        self.damage = lambda name, data: None
        self.item_gap = 40  # bytes of junk before an item of the metadata, at most
        self.places = {}

    def add(self, number, data):
        self.states[number] = PRESENT
        self.blocks[number] = data.ljust(self.block, b"\xdd")

    def add_part(self, number, data, own):
        self.add(number, data)
        self.states[number] = PARTLY
        self.own[number] = own

    def lay_out(self):
        """Where all is, in MiB, and the length of the file."""
        entries = len(self.states) + max(0, len(self.states) - 1) // self.ratio
        if self.parent is not None:
            entries = -(-len(self.states) // self.ratio) * (self.ratio + 1)
        self.entries = entries
        lengths = {"log": len(self.log), "bat": max(1, -(-entries * 8 // MIB)) * MIB, "metadata": MIB}
        lengths |= {("block", number): self.block for number in self.blocks}
        lengths |= {("bits", number // self.ratio): MIB for number in self.own}
        names = list(lengths)
        self.rng.shuffle(names)
        end = MIB
        for name in names:
            self.places[name] = end
            end += lengths[name]
        self.bat_length, self.end = lengths["bat"], end

    def header(self, sequence):
        header = bytearray(4096)
        struct.pack_into("<4s4xQ", header, 0, b"head", sequence)
        for at, one in zip((16, 32, 48), (uuid.UUID(int=self.rng.getrandbits(128)), self.data_write, self.log_guid),
                           strict=True):
            header[at:at + 16] = one.bytes_le
        struct.pack_into("<HHIQ", header, 64, self.log_version, 1, len(self.log), self.places["log"])
        self.damage("header", header)
        return with_sum(header)

    def regions(self):
        table = bytearray(64 * KIB)
        rows = [(BAT, self.places["bat"], self.bat_length, 1), (METADATA, self.places["metadata"], MIB, 1),
                *self.more_regions]
        struct.pack_into("<4s4xI", table, 0, b"regi", len(rows))
        for number, (one, *fields) in enumerate(rows):
            table[16 + 32 * number:48 + 32 * number] = one.bytes_le + struct.pack("<QII", *fields)
        self.damage("regions", table)
        return with_sum(table)

    def metadata(self):
        flags = (1 if self.fixed else 0) | (2 if self.parent is not None else 0)
        items = [(DISK_ID, 6, self.disk_id.bytes_le), (SIZE, 6, struct.pack("<Q", self.size)),
                 (PARAMETERS, 4, struct.pack("<II", self.block, flags)), (PHYSICAL, 6, struct.pack("<I", 4096)),
                 (LOGICAL, 6, struct.pack("<I", self.sector)), *self.more_items]
        if self.parent is not None:
            items.append((LOCATOR, 4, locator(self.parent)))
        table, content = bytearray(64 * KIB), bytearray()
        struct.pack_into("<8s2xH", table, 0, b"metadata", len(items))
        for number, (one, flags, data) in enumerate(items):
            content += self.rng.randbytes(self.rng.randint(0, self.item_gap))
            table[32 + 32 * number:64 + 32 * number] = one.bytes_le + struct.pack("<IIII", 64 * KIB + len(content),
                                                                                len(data), flags, 0)
            content += data
        data = bytearray(table + content)
        self.damage("metadata", data)
        return data

    def bat(self):
        table = [0] * self.entries
        for number, state in enumerate(self.states):
            at = self.places.get(("block", number), 0)
            if state in (UNDEFINED, UNMAPPED):
                at = self.rng.randrange(1 << 40) * MIB  # where a block was once
            table[number + number // self.ratio] = at | state
        for chunk in {number // self.ratio for number in self.own}:
            table[chunk * (self.ratio + 1) + self.ratio] = self.places[("bits", chunk)] | PRESENT
        data = bytearray(struct.pack(f"<{len(table)}Q", *table))
        self.damage("bat", data)
        return data

    def bits(self, chunk):
        bits = bytearray(self.rng.randbytes(MIB))
        per_block = self.block // self.sector
        for number, own in self.own.items():
            if number // self.ratio != chunk:
                continue
            first = number % self.ratio * per_block
            bits[first // 8:(first + per_block) // 8] = bytes(per_block // 8)
            for sector in own:
                bits[(first + sector) // 8] |= 1 << (first + sector) % 8
        return bits

    def save(self, path):
        self.lay_out()
        junk = "made by a test".encode("utf-16-le").ljust(512, b"\xee")
        regions = self.regions()
        pieces = {0: b"vhdxfile" + junk, 64 * KIB: self.header(7), 128 * KIB: self.header(8), 192 * KIB: regions,
                  256 * KIB: regions, self.places["metadata"]: self.metadata(), self.places["bat"]: self.bat(),
                  self.places["log"]: self.log}
        pieces |= {self.places[("block", number)]: data for number, data in self.blocks.items()}
        pieces |= {self.places[("bits", chunk)]: self.bits(chunk) for chunk in {n // self.ratio for n in self.own}}
        with open(path, "wb") as file:
            for at, data in pieces.items():
                file.seek(at)
                file.write(data)
            file.truncate(self.end)


class Log:
    """The ring of a log: entries where they are put, junk elsewhere."""

    def __init__(self, guid, rng, size=MIB):
        self.guid, self.ring = guid, bytearray(rng.randbytes(size))

    def put(self, at, sequence, changes, tail, end, guid=None, flushed=None):
        """Changes are (offset, data of a unit) or (offset, bytes of zeros). Returns where the next entry goes."""
        descriptors, data = bytearray(), bytearray()
        for offset, what in changes:
            if isinstance(what, int):
                descriptors += struct.pack("<4s4xQQQ", b"zero", what, offset, sequence)
            else:
                descriptors += b"desc" + what[-4:] + what[:8] + struct.pack("<QQ", offset, sequence)
                data += struct.pack("<4sI", b"data", sequence >> 32) + what[8:-4] + struct.pack("<I", sequence & 0xFFFFFFFF)
        entry = bytearray(64) + descriptors
        entry += bytes(-len(entry) % UNIT) + data
        struct.pack_into("<4s4xIIQI4x", entry, 0, b"loge", len(entry), tail, sequence, len(changes))
        entry[32:48] = (guid or self.guid).bytes_le
        struct.pack_into("<QQ", entry, 48, end if flushed is None else flushed, end)
        with_sum(entry)
        for start in range(0, len(entry), UNIT):
            place = (at + start) % len(self.ring)
            self.ring[place:place + UNIT] = entry[start:start + UNIT]
        return (at + len(entry)) % len(self.ring)


def some_sectors(rng, count):
    """Numbers of sectors, in runs around the words and bytes of the bits."""
    own, at = [], 0
    while at < count:
        length = rng.choice([1, 2, 7, 63, 64, 65, 300])
        if rng.random() < 0.5:
            own += range(at, min(at + length, count))
        at += length
    return own


def random_vhdx(rng, path, size, parent=None, parent_content=b"", name=None, **options):
    """Saves one with blocks of every kind; returns it, and its content. The parent is a Vhdx, called `name`."""
    values = None
    if parent is not None:
        values = [("relative_path", f".\\{name}"), ("parent_linkage", f"{{{parent.data_write}}}"),
                  ("absolute_win32_path", f"\\\\?\\C:\\images\\{name}"), ("other", "junk")]
    image = Vhdx(size, rng=rng, parent=values, **options)
    content = bytearray(parent_content[:size].ljust(size, b"\0"))
    kinds = [PRESENT, ABSENT, ZERO, UNDEFINED, UNMAPPED, OLD_UNMAPPED] + ([PARTLY, PARTLY] if parent else [])
    for number in range(len(image.states)):
        at, kind = number * image.block, rng.choice(kinds)
        length = min(image.block, size - at)
        if kind == PRESENT:
            data = rng.randbytes(length)
            image.add(number, data)
            content[at:at + length] = data
        elif kind == PARTLY:
            data, own = rng.randbytes(image.block), some_sectors(rng, length // image.sector)
            image.add_part(number, data, own)
            for one in own:
                start = one * image.sector
                content[at + start:at + start + image.sector] = data[start:start + image.sector]
        else:
            image.states[number] = kind
            if kind != ABSENT:
                content[at:at + length] = bytes(length)
    image.save(path)
    return image, bytes(content)
