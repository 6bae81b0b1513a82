# SPDX-License-Identifier: Apache-2.0
"""Makes qcow2 images byte by byte, sound ones and hostile ones, by QEMU's docs/interop/qcow2.txt alone.

    image = Qcow2(size, cluster_bits=12, compression="zstd")
    image.data(3, content)              # the cluster of this number; also compressed(), zero(), subclusters()
    image.header["size"] = 1 << 63      # any field of the header is what is written here
    raw = image.build()                 # a bytearray, to be patched by put(), with what image.places tells
    image.content(parent)               # what a reader must see

`places` tells where build() put things: "l1", "refcount_table", ("l2", table), ("cluster", number), "snapshots".
"""

import struct
import subprocess
import zlib
from pathlib import Path

MAGIC = 0x514649FB
FIELDS = {  # name: (offset, format)
    "magic": (0, ">I"), "version": (4, ">I"), "backing_offset": (8, ">Q"), "backing_length": (16, ">I"),
    "cluster_bits": (20, ">I"), "size": (24, ">Q"), "encryption": (32, ">I"), "l1_size": (36, ">I"),
    "l1_offset": (40, ">Q"), "refcount_table_offset": (48, ">Q"), "refcount_table_clusters": (56, ">I"),
    "nb_snapshots": (60, ">I"), "snapshots_offset": (64, ">Q"), "incompatible": (72, ">Q"), "compatible": (80, ">Q"),
    "autoclear": (88, ">Q"), "refcount_order": (96, ">I"), "header_length": (100, ">I"), "compression": (104, ">B"),
}
BACKING_FORMAT, FEATURE_NAMES, BITMAPS, DATA_FILE = 0xE2792ACA, 0x6803F857, 0x23852875, 0x44415441
DIRTY, CORRUPT, EXTERNAL_DATA, COMPRESSION_TYPE, EXTENDED_L2 = 1, 2, 4, 8, 16
COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1


def put(image, offset, value, form=">Q"):
    struct.pack_into(form, image, offset, value)


def put_field(image, name, value):
    offset, form = FIELDS[name]
    struct.pack_into(form, image, offset, value)


def field(image, name):
    offset, form = FIELDS[name]
    return struct.unpack_from(form, image, offset)[0]


def deflate(content, window=12):
    packer = zlib.compressobj(9, zlib.DEFLATED, -window)
    return packer.compress(content) + packer.flush()


def zstd(content):
    return subprocess.run(["zstd", "-q", "-c", "--no-check"], input=content, stdout=subprocess.PIPE, check=True).stdout


def zstd_frame_of_one_byte(length, byte, window_log):
    """A frame by hand: RLE blocks behind a header that asks for this window."""
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3])
    while length > 0:
        block = min(length, 128 << 10)
        length -= block
        frame += struct.pack("<I", block << 3 | 1 << 1 | (length == 0))[:3] + bytes([byte])
    return frame


class Cluster:
    """A guest cluster. `parts` are its contents by subcluster: bytes, 0 for zeros, None for the parent's."""

    def __init__(self, kind, parts, blob=None):
        self.kind = kind  # data, zero (without a host cluster), zero_allocated, compressed, subclusters
        self.parts = parts
        self.blob = blob
        self.offset = None


class Qcow2:
    def __init__(self, size, *, version=3, cluster_bits=16, refcount_order=4, extended=False, compression="zlib",
                 backing=None, backing_format=None, incompatible=0, compatible=0, autoclear=0, extensions=(),
                 header_length=None):
        self.size, self.version, self.cluster_bits, self.refcount_order = size, version, cluster_bits, refcount_order
        self.extended, self.compression = extended, compression
        self.backing = backing.encode() if isinstance(backing, str) else backing
        self.incompatible = incompatible | (EXTENDED_L2 if extended else 0)
        self.incompatible |= COMPRESSION_TYPE if compression == "zstd" else 0
        self.compatible, self.autoclear = compatible, autoclear
        self.extensions = list(extensions)  # (type, data) or (type, data, length to claim)
        if backing_format is not None:
            self.extensions.insert(0, (BACKING_FORMAT, backing_format.encode()))
        self.header_length = header_length or (72 if version < 3 else 112)
        self.cluster_size = 1 << cluster_bits
        self.subcluster_size = self.cluster_size // (32 if extended else 1)
        self.l2_entries = self.cluster_size // (16 if extended else 8)
        self.clusters = {}
        self.snapshots = []  # (id, name, size, clusters)
        self.bitmaps = []  # (name, granularity bits, flags)
        self.header = {}
        self.places = {}

    # What a guest has written.

    def padded(self, content, size=None):
        return bytes(content).ljust(size or self.cluster_size, b"\0")

    def data(self, number, content):
        content = self.padded(content)
        step = self.subcluster_size
        self.clusters[number] = Cluster("data", [content[at:at + step] for at in range(0, len(content), step)])

    def zero(self, number, allocated=False):
        self.clusters[number] = Cluster("zero_allocated" if allocated else "zero", [0] * (32 if self.extended else 1))

    def compressed(self, number, content, blob=None):
        """With a blob, that is what is stored, whatever it is. What does not get smaller is stored as it is."""
        self.data(number, content)
        if blob is None:
            blob = zstd(self.padded(content)) if self.compression == "zstd" else deflate(self.padded(content))
            if len(blob) >= self.cluster_size:
                return
        self.clusters[number].kind, self.clusters[number].blob = "compressed", blob

    def subclusters(self, number, parts):
        """32 parts, each bytes, 0 (zeros) or None (the parent's)."""
        self.clusters[number] = Cluster("subclusters", [self.padded(part, self.subcluster_size) if part else part
                                                        for part in parts])

    def discard(self, number):
        self.clusters.pop(number, None)

    def snapshot(self, ident, name):
        """An internal snapshot of what there is now."""
        self.snapshots.append((ident.encode(), name.encode(), self.size, dict(self.clusters)))

    def bitmap(self, name, granularity_bits=16, in_use=False, auto=False):
        self.bitmaps.append((name.encode(), granularity_bits, in_use | auto << 1))

    # The model.

    def content(self, parent=b"", snapshot=None):
        """The guest's bytes, over those of the parent; of an internal snapshot by its number."""
        size, clusters = (self.size, self.clusters) if snapshot is None else self.snapshots[snapshot][2:]
        image = bytearray(bytes(parent[:size]).ljust(size, b"\0"))
        for number, cluster in clusters.items():
            for i, part in enumerate(cluster.parts):
                at = number * self.cluster_size + i * self.subcluster_size
                if part is not None and at < size:
                    end = min(size, at + self.subcluster_size)
                    image[at:end] = (part or bytes(self.subcluster_size))[:end - at]
        return bytes(image)

    # The file.

    def build(self):
        self.image = bytearray(self.cluster_size)
        self.counts = {0: 1}
        self.places = {}
        self.tail = None  # where the next compressed cluster may begin
        tables = [(self.size, self.clusters)] + [(size, clusters) for _, _, size, clusters in self.snapshots]
        for _, clusters in tables:
            for cluster in clusters.values():
                cluster.offset = None
        for _, clusters in tables:
            for number in sorted(clusters):
                self.place(clusters[number])
        l1s = []
        for i, (size, clusters) in reversed(list(enumerate(tables))):
            l1s.insert(0, self.place_tables(size, clusters, active=i == 0))
        snapshots = self.place_snapshots(l1s[1:])
        extensions = self.extensions + self.place_bitmaps()
        table, table_clusters = self.place_refcounts()
        self.place_header(l1s[0], snapshots, extensions, table, table_clusters)
        return self.image

    def write(self, path):
        Path(path).write_bytes(self.build())
        return path

    def allocate(self, length):
        """New clusters at the end, whole ones; returns where they begin."""
        at = -len(self.image) % self.cluster_size
        self.image += bytes(at)
        offset, clusters = len(self.image), -(-length // self.cluster_size)
        self.image += bytes(clusters * self.cluster_size)
        for n in range(clusters):
            self.counts[offset // self.cluster_size + n] = 1
        return offset

    def add(self, data):
        offset = self.allocate(len(data))
        self.image[offset:offset + len(data)] = data
        return offset

    def touch(self, start, end, count=1):
        for n in range(start // self.cluster_size, (end - 1) // self.cluster_size + 1):
            self.counts[n] = self.counts.get(n, 0) + count

    def place(self, cluster):
        """Gives it its host cluster, or one more reference to it."""
        if cluster.kind == "zero":
            return
        if cluster.kind == "compressed":
            if cluster.offset is None:
                self.place_blob(cluster)
            start, end = cluster.offset, cluster.offset + len(cluster.blob)
            self.touch(start // 512 * 512, -(-end // 512) * 512)
        elif cluster.offset is None:
            step = self.subcluster_size
            # What is behind a subcluster that is not read is no zeros, so that reading it would be seen.
            parts = [part or b"\xee" * step for part in cluster.parts]
            cluster.offset = self.add(b"".join(parts))
        else:
            self.counts[cluster.offset // self.cluster_size] += 1

    def place_blob(self, cluster):
        length = len(cluster.blob)
        most = ((1 << (1 << self.refcount_order)) - 1) // (1 + len(self.snapshots))
        start = self.tail
        if start is not None:
            touched = range(start // self.cluster_size, (start + length - 1) // self.cluster_size + 1)
            if any(self.counts.get(n, 0) >= most for n in touched) or len(self.image) != self.tail_end:
                start = None
        if start is None:
            start = self.allocate(0)
        # The clusters up to its end, which the reference counts of the blobs alone hold.
        whole = -(-(start + max(length, 1)) // self.cluster_size) * self.cluster_size
        self.image += bytes(max(0, whole - len(self.image)))
        self.image[start:start + length] = cluster.blob
        cluster.offset, self.tail, self.tail_end = start, start + length, len(self.image)

    def place_tables(self, size, clusters, active):
        """The L1 and L2 tables of the image or of a snapshot; returns (offset, entries)."""
        covered = self.cluster_size * self.l2_entries
        l1 = [0] * -(-size // covered)
        for table in sorted({number // self.l2_entries for number in clusters}):
            words = [0] * (self.cluster_size // 8)
            for number, cluster in clusters.items():
                if number // self.l2_entries == table:
                    step = 2 if self.extended else 1
                    at = number % self.l2_entries * step
                    words[at:at + step] = self.entry(cluster)[:step]
            offset = self.add(struct.pack(f">{len(words)}Q", *words))
            l1[table] = offset | COPIED
            if active:
                self.places["l2", table] = offset
                for number in clusters:
                    self.places["entry", number] = (self.places.get(("l2", number // self.l2_entries), 0) +
                                                    number % self.l2_entries * (16 if self.extended else 8))
        offset = self.add(struct.pack(f">{len(l1)}Q", *l1)) if l1 else 0
        if active:
            self.places["l1"] = offset
            self.places.update({("cluster", number): cluster.offset for number, cluster in clusters.items()
                                if cluster.offset is not None})
        return offset, len(l1)

    def entry(self, cluster):
        """The L2 entry, and its bitmap of subclusters."""
        if cluster.kind == "compressed":
            bits = 62 - (self.cluster_bits - 8)
            end = cluster.offset + max(len(cluster.blob), 1) - 1
            return COMPRESSED | ((end >> 9) - (cluster.offset >> 9)) << bits | cluster.offset, 0
        word = cluster.offset or 0
        if word and self.counts[word // self.cluster_size] == 1:
            word |= COPIED
        if cluster.kind.startswith("zero") and not self.extended:
            word |= ZERO
        allocated = sum(1 << i for i, part in enumerate(cluster.parts) if part)
        zeros = sum(1 << i for i, part in enumerate(cluster.parts) if part == 0)
        return word, allocated | zeros << 32

    def place_snapshots(self, l1s):
        table = b""
        for (ident, name, size, _), (offset, entries) in zip(self.snapshots, l1s, strict=True):
            extra = struct.pack(">QQ", 0, size) if self.version > 2 else b""
            table += struct.pack(">QIHHIIQII", offset, entries, len(ident), len(name), 1_700_000_000, 0, 0, 0,
                                 len(extra)) + extra + ident + name
            table += bytes(-len(table) % 8)
        self.places["snapshots"] = self.add(table) if table else 0
        return self.places["snapshots"]

    def place_bitmaps(self):
        if not self.bitmaps:
            return []
        directory = b""
        for name, bits, flags in self.bitmaps:
            entries = -(-(-(-self.size >> bits) + 7 >> 3) // self.cluster_size)
            table = self.allocate(8 * entries)  # zeros: no bit is set
            entry = struct.pack(">QIIBBHI", table, entries, flags, 1, bits, len(name), 0) + name
            directory += entry + bytes(-len(entry) % 8)
        self.autoclear |= 1
        offset = self.add(directory)
        return [(BITMAPS, struct.pack(">IIQQ", len(self.bitmaps), 0, len(directory), offset))]

    def place_refcounts(self):
        bits = 1 << self.refcount_order
        per_block = self.cluster_size * 8 // bits
        used = -(-len(self.image) // self.cluster_size)
        blocks = tables = 1
        while used + blocks + tables > blocks * per_block or blocks * 8 > tables * self.cluster_size:
            blocks = max(blocks, -(-(used + blocks + tables) // per_block))
            tables = max(tables, -(-blocks * 8 // self.cluster_size))
        table = self.allocate(tables * self.cluster_size)
        first = self.allocate(blocks * self.cluster_size)
        for i in range(blocks):
            put(self.image, table + 8 * i, first + i * self.cluster_size)
        for number, count in self.counts.items():
            assert count < 1 << bits, "more references than the refcounts can hold"
            at, bit = divmod(number * bits, 8)
            if bits < 8:
                self.image[first + at] |= count << bit
            else:
                self.image[first + at:first + at + bits // 8] = count.to_bytes(bits // 8, "big")
        self.places["refcount_table"] = table
        return table, tables

    def place_header(self, l1, snapshots, extensions, table, table_clusters):
        tail = bytearray()
        for kind, data, *claimed in extensions:
            tail += struct.pack(">II", kind, claimed[0] if claimed else len(data)) + data + bytes(-len(data) % 8)
        tail += bytes(8)
        backing = self.header_length + len(tail) if self.backing else 0
        tail += self.backing or b""
        values = {"magic": MAGIC, "version": self.version, "backing_offset": backing,
                  "backing_length": len(self.backing or b""), "cluster_bits": self.cluster_bits, "size": self.size,
                  "l1_size": l1[1], "l1_offset": l1[0], "refcount_table_offset": table,
                  "refcount_table_clusters": table_clusters, "nb_snapshots": len(self.snapshots),
                  "snapshots_offset": snapshots}
        if self.version > 2:
            values |= {"incompatible": self.incompatible, "compatible": self.compatible, "autoclear": self.autoclear,
                       "refcount_order": self.refcount_order, "header_length": self.header_length}
            if self.header_length > 104:
                values["compression"] = int(self.compression == "zstd")
        header = bytearray(self.header_length)
        for name, value in values.items():
            put_field(header, name, value)
        header += tail
        assert len(header) <= self.cluster_size, "the header passes its cluster"
        self.image[:len(header)] = header
        for name, value in self.header.items():
            put_field(self.image, name, value)


def feature_names(*names):
    """The extension with the names of features: (kind: 0 incompatible, 1 compatible, 2 autoclear; bit; name)."""
    return FEATURE_NAMES, b"".join(struct.pack(">BB46s", kind, bit, name.encode()) for kind, bit, name in names)


def random_image(rng, *, backing=None, backing_format=None, cluster_bits=None, most=1 << 20):
    """An image with clusters of all kinds; its size is no multiple of a cluster, but of a sector."""
    version = rng.choice((2, 3, 3, 3))
    bits = cluster_bits or rng.randrange(9, 17)
    extended = version == 3 and bits >= 14 and rng.random() < 0.6
    count = rng.randrange(3, max(4, min(200, most >> bits)))
    size = count * (1 << bits) - 512 * rng.randrange(0, 1 << bits - 9)
    image = Qcow2(size, version=version, cluster_bits=bits, refcount_order=rng.randrange(7) if version == 3 else 4,
                  extended=extended, compression=rng.choice(("zlib", "zstd")) if version == 3 else "zlib",
                  backing=backing, backing_format=backing_format)
    packs = 0
    for number in range(count):
        step = image.subcluster_size
        kind = rng.choice(["none", "data", "compressed"] + (["zero", "allocated zero"] if version == 3 else []) +
                          (["subclusters"] * 3 if extended else []))
        if kind == "data":
            image.data(number, rng.randbytes(image.cluster_size))
        elif kind == "compressed":
            packs += 1
            length = image.cluster_size // rng.choice((2, 4, 64))
            content = (rng.randbytes(length) + bytes([rng.randrange(256)]) * image.cluster_size)[:image.cluster_size]
            if image.compression == "zstd" and packs > 12:  # each is a process
                image.data(number, content)
            else:
                image.compressed(number, content)
        elif kind == "subclusters":
            image.subclusters(number, [rng.choice((None, 0, rng.randbytes(step))) for _ in range(32)])
        elif kind != "none":
            image.zero(number, allocated=kind == "allocated zero")
    return image
