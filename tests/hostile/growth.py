#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an input costs that was made to cost much: the time and the memory of each class, from 1 MiB on.

    SNAPTOOL=build/cli/snaptool tests/hostile/growth.py [--most MIB] [--only CLASS] [--markdown]

Each class makes an input of about so many bytes, and the commands that read it. At 1 MiB a command may take 2 s and 64 MiB;
from there on time and memory may grow as the input does, and no faster. Ctrl-C ends each within a second. Exit status: 1 if
something costs more."""

import argparse
import hashlib
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import ewf_maker  # noqa: E402
import rbd_maker  # noqa: E402
import simg_maker  # noqa: E402
import vhdx_maker  # noqa: E402
import vmdk_maker  # noqa: E402
from qcow2_maker import Qcow2  # noqa: E402
from vdi_maker import DIFFERENCING, FREE, ZERO, Vdi  # noqa: E402
from vpc_maker import Vhd  # noqa: E402
from vpc_maker import DIFFERENCING as VHD_DIFFERENCING  # noqa: E402

MIB = 1 << 20
MOST_SECONDS, MOST_MEMORY = 2, 64 * MIB  # at 1 MiB
MOST_TO_STOP = 1  # seconds from Ctrl-C to the end
LIMIT = 120  # seconds, whatever the size
CLASSES = {}


def hostile(function):
    CLASSES[function.__name__.replace("_", " ")] = function
    return function


def repeat(make, size):
    """make(0), make(1), ... until there are so many bytes."""
    pieces, number, length = [], 0, 0
    while length < size:
        pieces.append(make(number))
        length += len(pieces[-1])
        number += 1
    return pieces


# ---- LVM2, by its layout.h

def lvm_crc(data):
    return zlib.crc32(data, 0xf597a6cf ^ 0xffffffff) ^ 0xffffffff


def physical_volume(path, text, areas=1):
    """A PV whose metadata areas all say the same text."""
    text = text.encode() + b"\0"
    size = (len(text) + 1024 + 4095) // 4096 * 4096
    header = bytearray(32 + 32 + 8)
    header[:8], header[24:32] = b"LABELONE", b"LVM2 001"
    struct.pack_into("<QII", header, 8, 1, 0, 32)
    header[32:64] = b"p" * 32
    struct.pack_into("<Q", header, 64, 1 << 30)
    lists = struct.pack("<QQQQ", 4096 + areas * size, 0, 0, 0)
    for area in range(areas):
        lists += struct.pack("<QQ", 4096 + area * size, size)
    label = (header + lists + bytes(16)).ljust(512, b"\0")
    struct.pack_into("<I", label, 16, lvm_crc(bytes(label[20:])))
    with open(path, "wb") as file:
        file.seek(512)
        file.write(label)
        for area in range(areas):
            start = 4096 + area * size
            head = bytearray(512)
            head[4:20] = b" LVM2 x[5A%r0N*>"
            struct.pack_into("<IQQ", head, 20, 1, start, size)
            struct.pack_into("<QQII", head, 40, 512, len(text), lvm_crc(text), 0)
            struct.pack_into("<I", head, 0, lvm_crc(bytes(head[4:])))
            file.seek(start)
            file.write(head + text)
        file.truncate(4096 + areas * size + (64 << 20))


def group(volumes, more=""):
    return f"""vg0 {{ id = "{'g' * 32}" seqno = 1 extent_size = 128
physical_volumes {{ pv0 {{ id = "{'p' * 32}" device = "/dev/x" pe_start = 8192 pe_count = 900 }} }}
logical_volumes {{ {volumes} }} }} {more}"""


def volume(number, name=None, start=None):
    return (f'{name or f"v{number}"} {{ id = "{number:032}" status = ["VISIBLE"] segment1 {{ start_extent = 0 extent_count = 1 '
            f'type = "striped" stripe_count = 1 stripes = ["pv0", {number % 900 if start is None else start}] }} }}\n')


def reads_volume(path, name="v1"):
    return [["info", path], ["info", "--output=json", path], ["read", "--length", "512", f"{path}#vg0/{name}"]]


@hostile
def volumes(path, size):
    physical_volume(path, group("".join(repeat(volume, size))))
    return reads_volume(path)


@hostile
def volumes_in_two_areas(path, size):
    physical_volume(path, group("".join(repeat(volume, size // 2))), areas=2)
    return reads_volume(path)


@hostile
def snapshots(path, size):
    def three(number):
        return (volume(2 * number) + volume(2 * number + 1) +
                f's{number} {{ id = "{number:032}" segment1 {{ start_extent = 0 extent_count = 1 type = "snapshot" chunk_size = 8 '
                f'origin = "v{2 * number}" cow_store = "v{2 * number + 1}" }} }}\n')
    physical_volume(path, group("".join(repeat(three, size))))
    return reads_volume(path) + [["read", "--length", "512", f"{path}#vg0/v3"]]


@hostile
def snapshots_of_one_volume(path, size):
    def two(number):
        return (volume(number, f"c{number}") + f's{number} {{ id = "{number:032}" segment1 {{ start_extent = 0 extent_count = 1 '
                f'type = "snapshot" chunk_size = 8 origin = "v1" cow_store = "c{number}" }} }}\n')
    physical_volume(path, group(volume(1) + "".join(repeat(two, size))))
    return reads_volume(path)


@hostile
def snapshots_that_are_zeros(path, size):
    """COWs of the type "zero": each is a new store, which is found by reading it."""
    def two(number):
        return (f'c{number} {{ id = "{number:032}" segment1 {{ start_extent = 0 extent_count = 100 type = "zero" }} }} '
                f's{number} {{ id = "{number:032}" segment1 {{ start_extent = 0 extent_count = 1 type = "snapshot" chunk_size = 8 '
                f'origin = "v1" cow_store = "c{number}" }} }}\n')
    physical_volume(path, group(volume(1) + "".join(repeat(two, size))))
    return reads_volume(path)


@hostile
def segments(path, size):
    def segment(number):
        return (f'segment{number} {{ start_extent = {number} extent_count = 1 type = "striped" stripe_count = 1 '
                f'stripes = ["pv0", {number % 900}] }}\n')
    text = f'v1 {{ id = "{"v" * 32}" status = ["VISIBLE"] {"".join(repeat(segment, size))} }}'
    physical_volume(path, group(text))
    return reads_volume(path)


@hostile
def short_keys(path, size):
    physical_volume(path, group(volume(1), "a=1\n" * (size // 4)))
    return reads_volume(path)


@hostile
def empty_sections(path, size):
    physical_volume(path, group(volume(1) + "a{}" * (size // 3)))
    return reads_volume(path)


@hostile
def long_lists(path, size):
    physical_volume(path, group(volume(1).replace('"pv0",', '"pv0",1,' * (size // 8) + '"pv0",')))
    return reads_volume(path)


@hostile
def long_names(path, size):
    physical_volume(path, group(volume(1) + volume(2, "x" * size)))
    return reads_volume(path)


# ---- partition tables

def gpt(path, entries, size):
    table = b""
    for first, last in entries:
        table += uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le + uuid.uuid4().bytes + struct.pack("<QQQ", first, last, 0)
        table += b"x\0" * 36
    header = bytearray(b"EFI PART" + struct.pack("<IIIIQQQQ", 0x10000, 92, 0, 0, 1, 0, 0, 0) + bytes(16) +
                       struct.pack("<QIII", 2, len(entries), 128, zlib.crc32(table)))
    struct.pack_into("<I", header, 16, zlib.crc32(header))
    with open(path, "wb") as file:
        file.truncate(size)
        file.seek(446)
        file.write(struct.pack("<BBHBBHII", 0, 0, 0, 0xee, 0, 0, 1, 0xffffffff))
        file.seek(510)
        file.write(b"\x55\xaa" + header)
        file.seek(1024)
        file.write(table)


@hostile
def partitions(path, size):
    count = min(size // 128, 4096)
    gpt(path, [(8192 + 8 * n, 8192 + 8 * n + 7) for n in range(count)], 64 * MIB)
    return [["info", path], ["info", "--output=json", path], ["read", "--length", "512", f"{path}#p9999"],
            ["diff", "--report", f"{path}.html", "--force", path, path]]


@hostile
def partitions_within_themselves(path, size):
    gpt(path, [(0, size // 512 - 1)] * 4096, size)
    return [["info", path], ["diff", "--report", f"{path}.html", "--force", path, path]]


# ---- what else snaptool reads

@hostile
def exceptions(path, size):
    chunk = 4096
    with open(path, "wb") as file:
        file.write(struct.pack("<4sIII", b"SnAp", 1, 1, chunk // 512).ljust(chunk, b"\0"))
        per_area = chunk // 16
        areas = max(1, size // chunk)
        for area in range(areas):
            file.seek((1 + area * (per_area + 1)) * chunk)
            file.write(b"".join(struct.pack("<QQ", area * per_area + n, 2 + area * (per_area + 1) + n) for n in range(per_area)))
        file.truncate((1 + (areas + 1) * (per_area + 1)) * chunk)
    origin = path.with_name("origin")
    with open(origin, "wb") as file:
        file.truncate(areas * per_area * chunk)
    return [["status", origin, path], ["verify", origin, path], ["info", f"{origin}@{path}"], ["map", f"{origin}@{path}"]]


@hostile
def dump_of_exceptions(path, size):
    rows = repeat(lambda n: f'<exception old_chunk="{2 * n}" new_chunk="{n + 2 + n // 256}"/>\n', size)
    path.write_text('<dm_snapshot format_version="1" version="1" valid="1" chunk_size_sectors="8" cow_size="9999999999">' +
                    "".join(rows) + "</dm_snapshot>")
    return [["restore", "--force", path, f"{path}.new"]]


@hostile
def dump_of_one_run(path, size):
    length = size * 16
    path.write_text('<dm_snapshot format_version="1" version="1" valid="1" chunk_size_sectors="8" cow_size="999999999999999">'
                    f'<run old_chunk="0" new_chunk="2" length_chunks="{length}"/></dm_snapshot>')
    return [["restore", "--force", path, f"{path}.new"]]


@hostile
def manifest(path, size):
    rows = repeat(lambda n: f"{n * 65536} {n:064x}\n", size)
    image = path.with_name("image")
    with open(image, "wb") as file:
        file.truncate(len(rows) * 65536)
    path.write_text(f"# snaptool block manifest 1\n# size {len(rows) * 65536}\n# block-size 65536\n# algorithms sha256\n" + "".join(rows))
    return [["verify", "--against", path, image]]


@hostile
def manifest_of_heads(path, size):
    image = path.with_name("image")
    image.write_bytes(bytes(MIB))
    path.write_text("# snaptool block manifest 1\n# size 1048576\n# block-size 65536\n" + ("# algorithms " + "md5 " * 64 + "\n") * (size // 270))
    return [["verify", "--against", path, image]]


@hostile
def batch_script(path, size):
    origin = path.with_name("origin")
    origin.write_bytes(bytes(MIB))
    path.write_text("status a\n" * (size // 9))
    cow = path.with_name("cow")
    subprocess.run([SNAPTOOL, "create", "--force", origin, cow], check=True, stdout=subprocess.DEVNULL)
    return [["batch", "--snapshot", f"a={cow}", origin, path]]


@hostile
def line_without_end(path, size):
    path.write_bytes(b"x" * size)
    origin = path.with_name("origin")
    origin.write_bytes(bytes(MIB))
    return [["batch", origin, path], ["verify", "--against", path, origin], ["restore", "--force", path, f"{path}.new"]]


def rbd_stream(path, names, size, ranges):
    with open(path, "wb") as file:
        file.write(b"rbd diff v1\n")
        for tag, name in zip(b"ft", names, strict=True):
            file.write(struct.pack("<cI", bytes([tag]), len(name)) + name)
        file.write(struct.pack("<cQ", b"s", size))
        file.write(b"".join(struct.pack("<cQQ", b"z", *one) for one in ranges) + b"e")


@hostile
def diffs_of_many_zeros(path, size):
    count = size // 17 // 2
    one, two = path.with_name("one"), path.with_name("two")
    for file, names, shift in ((one, (b"a", b"b"), 0), (two, (b"b", b"c"), 512)):
        rbd_stream(file, names, 2048 * count, [(2048 * n + shift, 1024) for n in range(count)])
    base = path.with_name("base")
    with open(base, "wb") as file:
        file.truncate(2048 * count)
    return [["compose", one, two, "-o", path, "--force"], ["diff-verify", one], ["info", one],
            ["invert", "--base", base, one, "-o", path, "--force"], ["apply", one, base, "-o", path, "--force"]]


@hostile
def rbd_image_of_small_records(path, size):
    maker = rbd_maker.RbdMaker()
    count = size // 40
    maker.diff(4096 * count, [rbd_maker.write(4096 * n, b"x") for n in range(count)])
    path.write_bytes(maker.build())
    return [["info", path], ["map", path], ["hash", path]]


@hostile
def qcow2_of_small_clusters(path, size):
    image = Qcow2(size, cluster_bits=9)
    rng = random.Random(1)
    for cluster in range(0, size // 512, 2):
        image.data(cluster, rng.randbytes(512))
    image.write(path)
    return [["info", path], ["map", path], ["verify", path], ["hash", path]]


@hostile
def chain_of_small_clusters(path, size):
    """Parents that take turns: each run of the map is one cluster."""
    names = []
    for turn in range(4):
        name = path.with_name(f"layer{turn}")
        image = Qcow2(size // 4 * 4, cluster_bits=9, backing=str(names[-1].name) if names else None,
                      backing_format="qcow2" if names else None)
        for cluster in range(turn, size // 512, 4):
            image.data(cluster, bytes([turn + 1]) * 512)
        image.write(name)
        names.append(name)
    return [["map", "--follow-parents", names[-1]], ["hash", "--follow-parents", names[-1]]]


@hostile
def sparse_undo_file(path, size):
    with open(path, "wb") as file:
        file.truncate(size * 1024)
    origin, cow = path.with_name("origin"), path.with_name("cow")
    origin.write_bytes(bytes(MIB))
    subprocess.run([SNAPTOOL, "create", "--force", origin, cow], check=True, stdout=subprocess.DEVNULL)
    return [["undo", "--dry-run", path, origin, cow]]


# ---- virtual machines' images: tables that cost much, over data that lie in holes or are shared

def holes(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def vdi(path, entries, parent=None):
    """Blocks of a sector each."""
    image = Vdi(512 * len(entries), block=512, rng=random.Random(1), parent=parent, kind=DIFFERENCING if parent else 1)
    image.map, image.blocks = entries, [b"x" * 512]
    image.save(path)
    return image


def vhd(path, size, block, bits, there, parent=None, **options):
    """Its blocks are all in one place. `there`: which of them there are, in turns."""
    image = Vhd(size, block=block, rng=random.Random(1), **options)
    image.parent_name = "base"
    image.parent_uuid = parent.uuid if parent else image.parent_uuid
    where = -(-(1536 + 4 * image.entries) // 512) * 512
    table = [where // 512 if one else 0xffffffff for one in there] * (image.entries // len(there))
    with open(path, "wb") as file:
        file.write(image.footer() + image.header(1536, []) + struct.pack(f">{image.entries}I", *table))
        file.seek(where)
        file.write(bits * (-(-block // (512 * 8 * 512)) * 512))
        file.seek(block, os.SEEK_CUR)
        file.write(image.footer())
    return image


def vhd_child(path, blocks, bits, parent=None):
    """Blocks of 256 MiB. The parent is raw if it is not given."""
    return vhd(path, blocks << 28, 1 << 28, bits, [True], parent, kind=VHD_DIFFERENCING)


class LargeVhdx(vhdx_maker.Vhdx):
    """Its blocks are a hole, all alike, and so are the bits of its sectors. A table of blocks that are absent is a hole, too."""

    def __init__(self, size, block=1 << 28, parent=None, fill=b"\0"):
        name = parent and [("parent_linkage", f"{{{parent.data_write}}}"), ("relative_path", f".\\{parent.path.name}")]
        super().__init__(MIB, block=block, rng=random.Random(1), parent=name)
        self.size, self.fill = size, fill
        self.count = -(-size // block)
        self.table = b""

    def lay_out(self):
        super().lay_out()
        entries = -(-self.count // self.ratio) * (self.ratio + 1)
        self.places["bat"], self.bat_length = self.end, -(-entries * 8 // MIB) * MIB
        self.bits_at = self.end + self.bat_length
        self.end = self.bits_at + MIB + max(1 << 28, min(self.size, 1 << 36))

    def bat(self):
        return self.table

    def save(self, path, state=vhdx_maker.ABSENT):
        self.path = path
        self.lay_out()
        if state != vhdx_maker.ABSENT:
            shared = state == vhdx_maker.PARTLY
            places = [self.bits_at + MIB + (0 if shared else number * self.block) | state for number in range(self.count)]
            chunks = [places[at:at + self.ratio] for at in range(0, self.count, self.ratio)]
            self.table = b"".join(struct.pack(f"<{self.ratio + 1}Q", *(chunk + [0] * (self.ratio - len(chunk))),
                                              self.bits_at | vhdx_maker.PRESENT) for chunk in chunks)
        super().save(path)
        with open(path, "r+b") as file:
            file.seek(self.bits_at)
            file.write(self.fill * MIB)
        return self


def vhdx_of_turns(path, size):
    """Every second sector is the parent's."""
    base = LargeVhdx(MIB, MIB).save(path.with_name("base"))
    return LargeVhdx(size, parent=base, fill=b"\xaa").save(path, vhdx_maker.PARTLY)


def vmdk(path, tables, grain=1, flags=vmdk_maker.NEWLINES | vmdk_maker.ZERO_GRAINS, data=b"x" * 512, parent=False, at=2048):
    """Grain tables of 512 numbers; behind them `data`, which has the number `at`: a sector."""
    count, directory = len(tables), 64
    sectors = 512 * grain * count
    text = vmdk_maker.descriptor_text([f'RW {sectors} SPARSE "{path.name}"'], parent="12345678" if parent else "ffffffff",
                                      hint="base" if parent else None)
    image = vmdk_maker.Sparse(sectors, random.Random(1), grain=grain, version=2, flags=flags, descriptor=text)
    first = directory + -(-4 * count // 512)
    end = first + 4 * count
    with open(path, "wb") as file:
        file.write(image.header(directory, end) + text)
        file.seek(directory * 512)
        file.write(b"".join(struct.pack("<I", first + 4 * number) for number in range(count)))
        file.seek(first * 512)
        for table in tables:
            file.write(struct.pack("<512I", *(end if number == at else number for number in table)))
        file.write(vmdk_maker.padded(data))


def over(parent, path):
    """The options to read a child over a parent that has another identity."""
    return ["--ignore-invalid", "--parent", parent, path]


@hostile
def vmdk_of_many_extents(path, size):
    """As many as are read, and junk up to the largest descriptor that is read."""
    lines = [f'RW 1 FLAT "piece" {number}' for number in range(4096)]
    lines += repeat(lambda number: f"k{number}=1", size * 3 // 4 - 128 * 1024)
    path.write_bytes(vmdk_maker.descriptor_text(lines, "custom"))
    (path.with_name("piece")).write_bytes(bytes(4096 * 512))
    return [["info", path], ["map", path], ["hash", path]]


@hostile
def vmdk_of_small_grains(path, size):
    """Data and zeros take turns, sector by sector."""
    vmdk(path, [[2048, 1] * 256] * (size // 2048))
    return [["info", path], ["map", path], ["hash", path]]


@hostile
def vmdk_of_tables_far_apart(path, size):
    """A table has one number, and each is on a page of its own."""
    count = size // 4
    image = vmdk_maker.Sparse(count, random.Random(1), grain=1, entries=1)
    first = 64 + -(-4 * count // 512)
    with open(path, "wb") as file:
        file.write(image.header(64, first))
        file.seek(64 * 512)
        file.write(struct.pack(f"<{count}I", *(first + 128 * number for number in range(count))))
        file.truncate((first + 128 * count) * 512)
    return [["info", path], ["map", path], ["hash", path]]


@hostile
def vmdk_of_large_packed_grains(path, size):
    """Grains of 16 MiB, of a few bytes each; a child has every second sector, so they are read in small pieces."""
    grains, grain = max(1, size // (MIB // 4)), 16 * MIB
    packed = zlib.compress(bytes(range(256)) * (grain // 256))
    flags = vmdk_maker.NEWLINES | vmdk_maker.COMPRESSED
    parent = path.with_name("base")
    vmdk(parent, [[2048] * grains + [0] * (512 - grains)], grain // 512, flags, struct.pack("<I", len(packed)) + packed)
    vmdk(path, [[2048, 0] * 256] * (grains * grain // (512 * 512)), parent=True)
    return [["map", parent], ["hash", *over(parent, path)], ["convert", "--force", *over(parent, path), f"{path}.new"]]


@hostile
def vhd_of_single_sectors(path, size):
    """Every second sector is the parent's."""
    base = holes(path.with_name("base"), size)
    vhd_child(path, size // MIB, b"\xaa")
    return [["info", path], ["map", *over(base, path)], ["hash", *over(base, path)]]


@hostile
def vhdx_of_single_sectors(path, size):
    vhdx_of_turns(path, 256 * size)
    return [["info", path], ["map", "--follow-parents", path], ["hash", "--follow-parents", path]]


@hostile
def vhdx_of_64_tib(path, size):
    """The largest one, of the smallest blocks; its table is a hole."""
    LargeVhdx(1 << 46, MIB).save(path)
    return [["info", path], ["map", path], ["read", "--length", "512", path]]


def vhdx_with_log(path, size, entries):
    """`entries`: the changes of each entry of the log."""
    image = LargeVhdx(256 * size)
    image.log_guid = uuid.UUID(int=7)
    log = vhdx_maker.Log(image.log_guid, random.Random(1), size)
    image.log = log.ring
    image.lay_out()
    place, end = image.bits_at + MIB, image.end
    at = 0
    for sequence, changes in enumerate(entries, 1):
        at = log.put(at, sequence, [(place + offset, length) for offset, length in changes], 0, end)
    image.save(path, vhdx_maker.PRESENT)
    return [["info", path], ["map", path], ["hash", path]]


@hostile
def vhdx_log_of_short_entries(path, size):
    """Each cuts what the one before has laid over the file in two."""
    count = size // 4096
    return vhdx_with_log(path, size, [[(4096 * number, 4096 * 2 * (count - number))] for number in range(count)])


@hostile
def vhdx_log_of_many_changes(path, size):
    return vhdx_with_log(path, size, [[(8192 * number, 4096) for number in range(size // 32 - 4)]])


@hostile
def vdi_of_small_blocks(path, size):
    vdi(path, [0, ZERO] * (size // 8))
    return [["info", path], ["map", path], ["hash", path]]


# A child that has nothing, whose map tells so piece by piece, over a parent that changes from sector to sector.

def reads_child(words):
    return [["map", *words], ["hash", *words], ["convert", "--force", *words, f"{words[-1]}.new"]]


@hostile
def vdi_over_small_blocks(path, size):
    base = path.with_name("base")
    vdi(path, [FREE] * (size // 4), vdi(base, [0, ZERO] * (size // 8)))
    return reads_child(over(base, path))


@hostile
def vmdk_over_small_blocks(path, size):
    base = path.with_name("base")
    vmdk(base, [[2048, 1] * 256] * (size // 2048))
    vmdk(path, [[0] * 512] * (size // 2048), parent=True)
    return reads_child(over(base, path))


@hostile
def vhd_over_small_blocks(path, size):
    base = path.with_name("base")
    vhd_child(path, max(1, size // (2 * MIB)), b"\0", vhd(base, 128 * size, 512, b"\xff", [True, False]))
    return reads_child(over(base, path))


@hostile
def vhdx_over_small_blocks(path, size):
    LargeVhdx(256 * size, parent=vhdx_of_turns(path.with_name("middle"), 256 * size)).save(path, vhdx_maker.PARTLY)
    return reads_child(["--follow-parents", path])


@hostile
def simg_of_short_chunks(path, size):
    """Blocks of four bytes, and a chunk of each kind after the other."""
    image = simg_maker.Simg(block=4)
    image.total, seen = 0, 0
    kinds = [(simg_maker.RAW, b"abcd"), (simg_maker.FILL, b"efgh"), (simg_maker.DONT_CARE, b"")]
    for number in range(size // 44 // 4 * 4):
        kind, data = kinds[number % 3]
        image.chunk(kind, 1, data)
        image.total += 1
        seen = zlib.crc32(data or bytes(4), seen)
        if number % 4 == 0:
            image.chunk(simg_maker.CRC, 0, struct.pack("<I", seen))
    path.write_bytes(image.build())
    return [["info", path], ["map", path], ["hash", path], ["verify", path]]


@hostile
def simg_of_empty_chunks(path, size):
    """Between two that have blocks."""
    image = simg_maker.Simg(block=4)
    image.total = 64
    image.fill(b"abcd", 32)
    for _ in range(size // 12):
        image.chunk(simg_maker.DONT_CARE, 0, b"")
    image.fill(b"efgh", 32)
    path.write_bytes(image.build())
    return [["info", path], ["map", path], ["hash", path], ["verify", path]]


@hostile
def simg_of_large_fills(path, size):
    """As large as they can be: their sums are known without them."""
    count = size // 16
    blocks = ((1 << 32) - 1) // count
    image = simg_maker.Simg(block=min((1 << 62) // (count * blocks) // 4 * 4, (1 << 32) - 4))
    for number in range(count):
        image.chunk(simg_maker.FILL, blocks, struct.pack("<I", number + 1))
    image.total = count * blocks
    path.write_bytes(image.build())
    return [["info", path], ["map", path], ["read", "--length", "512", path], ["verify", path]]


READS_EVIDENCE = ("info", "map", "hash", "verify")


@hostile
def ewf_of_small_tables(path, size):
    """Of one chunk each, of one sector."""
    path = path.with_suffix(".E01")
    content = random.Random(1).randbytes(512 * (size // 1000))
    image = ewf_maker.make_ewf(content, chunk_sectors=1, per_table=1, packed=lambda data: False)[0]
    path.write_bytes(image.data)
    return [[command, path] for command in READS_EVIDENCE]


@hostile
def ewf_of_large_packed_chunks(path, size):
    """Of 16 MiB, of a few bytes each, and all in one place."""
    path = path.with_suffix(".E01")
    chunk = zlib.compress(bytes(range(256)) * (16 * MIB // 256), 9)
    count = max(1, size // (MIB // 4))
    image = ewf_maker.Segment()
    image.add("volume", ewf_maker.volume_body(count, 32768, 512, 32768 * count))
    for _ in range(count):
        base = len(image.data)
        image.add("sectors", chunk)
        image.add("table", ewf_maker.table_body([ewf_maker.PACKED | ewf_maker.SECTION], base))
    image.end("done")
    path.write_bytes(image.data)
    return [[command, path] for command in READS_EVIDENCE]


@hostile
def ewf_of_many_headers(path, size):
    """Each of them unpacks to a MiB."""
    path = path.with_suffix(".E01")
    image = ewf_maker.Segment()
    text = zlib.compress(b"1\r\nmain\r\n" + b"x" * (MIB - 99), 9)
    for _ in range(size // 2 // len(text)):
        image.add("header", text)
        image.add("header2", text)
    image.add("volume", ewf_maker.volume_body(0, 1, 512, 0))
    image.end("done")
    path.write_bytes(image.data)
    return [[command, path] for command in READS_EVIDENCE]


@hostile
def ewf_of_one_large_table(path, size):
    """All its entries are impossible."""
    path = path.with_suffix(".E01")
    count = size // 8
    image = ewf_maker.Segment()
    image.add("volume", ewf_maker.volume_body(count, 1, 512, count))
    base = len(image.data)
    image.add("sectors", bytes(64))
    for kind in ("table", "table2"):
        image.add(kind, ewf_maker.table_body([76] * count, base))
    image.end("done")
    path.write_bytes(image.data)
    return [[command, path] for command in READS_EVIDENCE] + [["convert", "--salvage", "--force", path, f"{path}.new"]]


def block_map(path, rows, blocks, version):
    """Its own sum is right. Every second block of 512 bytes is in it."""
    zeros = "0" * 64
    own = f"<ChecksumType> sha256 </ChecksumType><BmapFileChecksum> {zeros} </BmapFileChecksum>" if version == "2.0" else ""
    text = (f'<bmap version="{version}"><ImageSize>{512 * blocks}</ImageSize><BlockSize>512</BlockSize>'
            f"<BlocksCount>{blocks}</BlocksCount><MappedBlocksCount>{len(rows)}</MappedBlocksCount>{own}"
            f"<BlockMap>{''.join(rows)}</BlockMap></bmap>")
    path.write_text(text.replace(zeros, hashlib.sha256(text.encode()).hexdigest(), 1))
    image = holes(path.with_name("image"), 512 * blocks)
    return [["convert", "--force", "--bmap", path, image, f"{path}.new"]]


@hostile
def block_map_of_short_ranges(path, size):
    rows = repeat(lambda number: f"<Range>{2 * number}</Range>", size)
    return block_map(path, rows, 2 * len(rows), "1.2")


@hostile
def block_map_of_sums(path, size):
    digits = hashlib.sha256(bytes(512)).hexdigest()
    rows = repeat(lambda number: f'<Range chksum="{digits}">{2 * number}</Range>', size)
    return block_map(path, rows, 2 * len(rows), "2.0")


# ---- measuring

# What a process is charged with includes the memory of the one that it was forked from: that has to be a small one.
LAUNCHER = f"""
import os, resource, sys, time
start = time.monotonic()
child = os.fork()
if child == 0:
    resource.setrlimit(resource.RLIMIT_CPU, ({LIMIT}, {LIMIT}))
    for fd, path in zip((0, 1, 2), ("/dev/null", *sys.argv[1:3])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), fd)
    os.execv(sys.argv[3], sys.argv[3:])
_, status, usage = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
"""


def measure(command):
    """(status, seconds, seconds of the processors, bytes of memory, bytes of output, messages)"""
    out, error = FOLDER.parent / (FOLDER.name + ".out"), FOLDER.parent / (FOLDER.name + ".err")
    try:
        done = subprocess.run([sys.executable, "-S", "-E", "-c", LAUNCHER, out, error, SNAPTOOL, *map(str, command)],
                              capture_output=True, text=True, check=True)
        status, seconds, processor, memory = done.stdout.split()
        text = error.read_bytes()[:100000].decode(errors="replace")
        return int(status), float(seconds), float(processor), int(memory), out.stat().st_size + error.stat().st_size, text
    finally:
        out.unlink(missing_ok=True)
        error.unlink(missing_ok=True)


def seconds_to_stop(command):
    """How long a command goes on after Ctrl-C in the middle."""
    with subprocess.Popen([SNAPTOOL, *map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as child:
        time.sleep(MOST_TO_STOP / 2)
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        child.wait()
        return time.monotonic() - start


def shown(command):
    return " ".join(word.name if isinstance(word, Path) else str(word).replace(str(FOLDER) + "/", "") for word in command)


def classes(only, most):
    bad, rows = 0, []
    for name, make in CLASSES.items():
        if only and only not in name:
            continue
        base = {}
        size = MIB
        while size <= most * MIB:
            for file in FOLDER.iterdir():
                file.unlink()
            made = make(FOLDER / "input", size)
            for index, command in enumerate(made):
                status, seconds, processor, memory, output, text = measure(command)
                wrong = []
                if status < 0 or status not in (0, 1, 2, 3, 63, 64, 65, 66, 73):
                    wrong.append(f"exit {status}: {text[-200:]}")
                if len(text) > 50000:
                    wrong.append(f"{len(text)} bytes of messages")
                if size == MIB:
                    base[index] = processor, memory
                    if seconds > MOST_SECONDS or memory > MOST_MEMORY:
                        wrong.append("more than 2 s or 64 MiB")
                else:
                    factor = size / MIB
                    if processor > 0.5 and processor > 1.7 * factor * max(base[index][0], 0.02):
                        wrong.append("faster than linear in time")
                    if memory > MOST_MEMORY and memory > 1.3 * factor * base[index][1]:
                        wrong.append("faster than linear in memory")
                if seconds > 2 * MOST_TO_STOP and (late := seconds_to_stop(command)) > MOST_TO_STOP:
                    wrong.append(f"goes on for {late:.1f} s after Ctrl-C")
                rows.append((name, shown(command), size // MIB, status, seconds, memory // MIB))
                print(f"{name:32} {size // MIB:3} MiB  {shown(command):60.60} exit {status:3} {seconds:7.2f} s {memory // MIB:5} MiB "
                      f"{output:9} bytes {'; '.join(wrong)}", flush=True)
                bad += bool(wrong)
            size *= 4
    return bad, rows


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--most", type=int, default=16, help="MiB of the largest input")
    arguments.add_argument("--only", default="")
    arguments.add_argument("--markdown", action="store_true")
    given = arguments.parse_args()
    bad, rows = classes(given.only, given.most)
    if given.markdown:
        print("\n| class | inputs | worst time at 1 MiB | worst memory at 1 MiB | at the largest |\n|---|---|---|---|---|")
        for name in dict.fromkeys(row[0] for row in rows):
            mine = [row for row in rows if row[0] == name]
            small = [row for row in mine if row[2] == 1]
            large = [row for row in mine if row[2] == max(row[2] for row in mine)]
            print(f"| {name} | {len(mine)} | {max(row[4] for row in small):.2f} s | {max(row[5] for row in small)} MiB | "
                  f"{large[0][2]} MiB: {max(row[4] for row in large):.2f} s, {max(row[5] for row in large)} MiB |")
    print(f"{len(rows) - bad} of {len(rows)} within bounds")
    return bad > 0


if __name__ == "__main__":
    SNAPTOOL = os.path.abspath(os.environ["SNAPTOOL"])
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        FOLDER = Path(folder)
        sys.exit(main())
