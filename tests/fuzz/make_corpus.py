# SPDX-License-Identifier: Apache-2.0
"""Makes the seeds of the fuzzers: python3 make_corpus.py FOLDER (the folder `corpus` beside this file)."""

import hashlib
import random
import struct
import sys
import uuid
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import iso_maker as iso  # noqa: E402
from ewf_maker import make_ewf  # noqa: E402
from exfat_maker import ExFat  # noqa: E402
from fs_maker import Dir, Ext, Fat, File, Link, Symlink  # noqa: E402
from hfsplus_maker import PRIVATE, HfsPlusMaker, Item, decmpfs, link, packed_fork  # noqa: E402
from ntfs_maker import Ntfs  # noqa: E402
from qcow2_maker import Qcow2, feature_names, random_image  # noqa: E402
from simg_maker import random_simg  # noqa: E402
from vdi_maker import random_vdi  # noqa: E402
from vhdx_maker import Log, Vhdx  # noqa: E402
from vmdk_maker import (ABSENT, COMPRESSED, DATA, MARKERS, NEWLINES, ZERO_GRAINS, Cowd, Sparse, descriptor_text,  # noqa: E402
                        fill)
from vpc_maker import random_vhd  # noqa: E402


def store(entries, chunk=512, valid=1, version=1, chunks=None, magic=0x70416e53):
    per_area = chunk // 16
    last = max([new for _, new in entries if new < 1000] + [1 + len(entries) // per_area * (per_area + 1)])
    size = (chunks or last + 1) * chunk
    data = bytearray(b"".join(bytes([65 + i % 26]) * 64 for i in range(size // 64)))
    data[:chunk] = struct.pack("<4I", magic, valid, version, chunk // 512).ljust(chunk, b"\0")
    for area in range(len(entries) // per_area + 1):
        at = (1 + area * (per_area + 1)) * chunk
        rows = entries[area * per_area:(area + 1) * per_area]
        data[at:at + chunk] = b"".join(struct.pack("<QQ", *row) for row in rows).ljust(chunk, b"\0")[:chunk]
    return bytes(data)


TEXT = """vg0 {
id = "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg"
seqno = 7
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
extent_size = 128 # 64 Kilobytes
physical_volumes {
pv0 {
id = "pppppp-pppp-pppp-pppp-pppp-pppp-pppppp"
device = "/dev/\\"odd\\\\name\\""
pe_start = 256
pe_count = 100
}
}
logical_volumes {
data {
id = "1"
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 2
segment1 {
start_extent = 0
extent_count = 2
type = "striped"
stripe_count = 2
stripe_size = 16
stripes = ["pv0", 0, "pv0", 5]
}
segment2 {
start_extent = 2
extent_count = 3
type = "striped"
stripe_count = 1
stripes = ["pv0", 10]
}
}
s1 {
id = "2"
status = []
segment1 {
start_extent = 0
extent_count = 4
type = "%s"
stripe_count = 1
stripes = ["%s", 20]
}
}
snapshot0 {
id = "3"
status = ["READ", "WRITE", "VISIBLE"]
segment1 {
start_extent = 0
extent_count = 5
type = "snapshot"
chunk_size = 8
origin = "data"
%s = "s1"
}
}
}
}
"""


def text(kind="striped", area="pv0", store="cow_store"):
    return (TEXT % (kind, area, store)).encode() + b"\0"


def volume(content, wrap=False):
    """A PV with its label in sector 1, and 8 KiB of metadata; the sums are left to the fuzzer."""
    disk = bytearray(16384)
    label = b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001" + b"p" * 32
    label += struct.pack("<Q4Q4Q", 8 << 20, 131072, 0, 0, 0, 4096, 8192, 0, 0)
    disk[512:512 + len(label)] = label
    at = 8192 - 700 if wrap else 1024
    first = content[:8192 - at]
    area = struct.pack("<I16sIQQ", 0, b" LVM2 x[5A%r0N*>", 1, 4096, 8192)
    area += struct.pack("<QQII", at, len(content), 0, 0)
    disk[4096:4096 + len(area)] = area
    disk[4096 + at:4096 + at + len(first)] = first
    rest = content[len(first):]
    disk[4608:4608 + len(rest)] = rest
    return bytes(disk)


def mbr(*entries, junk=0):
    """A boot sector with (type, start, count)."""
    table = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries)
    return bytes([junk]) * 446 + table.ljust(64, b"\0") + b"\x55\xaa"


def gpt(sector, partitions):
    disk = bytearray(12 * sector)
    disk[:512] = mbr((0xee, 1, 0xffffffff))
    head = b"EFI PART" + struct.pack("<IIIIQQQQ", 0x10000, 92, 0, 0, 1, 2000, 6, 1990) + b"g" * 16
    head += struct.pack("<QIII", 2, len(partitions), 128, 0)
    disk[sector:sector + len(head)] = head
    for i, (first, last, name) in enumerate(partitions):
        entry = b"t" * 16 + b"u" * 16 + struct.pack("<QQQ", first, last, 0) + name.encode("utf-16-le")
        disk[2 * sector + 128 * i:2 * sector + 128 * i + len(entry)] = entry
    return bytes(disk)


def disks():
    """The first byte says whose sums are made to fit: see disk_fuzz.cc."""
    chain = mbr((0x83, 1, 9), (0x0f, 10, 100)) + bytes(9 * 512) + mbr((0x83, 1, 5), (5, 10, 20)) + bytes(9 * 512)
    parts = [(6, 100, "one"), (200, 199, "bad"), (300, 1 << 40, "b\U0001f600")]
    return {
        "mbr": b"\0" + mbr((0x83, 2048, 4096), (0x8e, 8192, 1 << 31)), "mbr-code": b"\0" + mbr((0x83, 1, 1), junk=9),
        "mbr-logical": b"\0" + chain + mbr((0x83, 1, 5)), "mbr-cycle": b"\0" + chain + mbr((5, 10, 5)),
        "gpt-512": b"\1" + gpt(512, parts), "gpt-4k": b"\2" + gpt(4096, parts), "gpt-bad-sum": b"\0" + gpt(512, parts),
        "pv": b"\3" + volume(text()), "pv-wrapped": b"\3" + volume(text(), wrap=True), "pv-bad-sum": b"\0" + volume(text()),
        "pv-raid": b"\3" + volume(text("raid1")), "pv-in-lv": b"\3" + volume(text(area="data")),
        "pv-cycle": b"\3" + volume(text(area="s1")), "pv-merging": b"\3" + volume(text(store="merging_store")),
        "text": b"\4" + text(), "text-lists": b"\4vg { extent_size = 1 a = [] b = [1, -2, \"x\"] c { d { e = 1.5 } } }",
        "text-deep": b"\4" + b"a { " * 40, "text-quotes": b'\4vg { a = "x\\"y" b = \'z\' # end\n}',
    }


def element(name, body):
    return struct.pack("<II", 0x184D2A57, 4 + len(body)) + name + body


def zstd_raw(data):
    """A zstd frame with content size and one stored block (RFC 8878)."""
    return struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data)) + struct.pack("<I", 1 | len(data) << 3)[:3] + data


def record(window, extents, data, old=None):
    payload = zstd_raw(data) if data else b""
    head = struct.pack("<IQIIII", len(extents), window, len(data), len(payload), bool(data), old is not None)
    digests = hashlib.sha256(data).digest() + (old or bytes(32)) + bytes(32)
    return element(b"SDB1", head + digests + b"".join(struct.pack("<III", *e) for e in extents)) + payload


def snapdiff(records, flags=0, base=3 << 20, size=3 << 20, extra=b""):
    """One whose sums do not fit yet: the fuzzer makes them."""
    stream = element(b"SDH1", struct.pack("<IQQQQQ", 0, 0, 0, flags, base, size) + bytes(32) + b"seed") + extra
    index, totals = b"", [0, 0, 0]
    for window, extents, data, old in records:
        index += struct.pack("<QQ", window, len(stream))
        stream += record(window, extents, data, old)
        for _, length, kind in extents:
            totals[kind] += length
    if index:
        stream += element(b"SDX1", struct.pack("<IQ", len(records), 0) + bytes(32) + index)
    end = struct.pack("<IQ4Q", 0, 0, len(records), *totals) + bytes(280 - 4 - 4 - 8 - 32)
    return b"\x01" + stream + element(b"SDE1", end)


def diffs():
    zeros = hashlib.sha256(bytes(4096)).digest()
    one = [(0, [(0, 4096, 0)], b"x" * 4096, zeros), (2, [(512, 4096, 1)], b"", zeros), ]
    ranges = struct.pack("<cQQ", b"w", 4096, 5) + b"hello" + struct.pack("<cQQ", b"z", 1 << 20, 70000)
    ranges2 = struct.pack("<cQQQ", b"w", 21, 4096, 5) + b"hello" + struct.pack("<cQQQ", b"z", 16, 1 << 20, 70000)
    expected = element(b"SDA1", struct.pack("<IQ", 1, 1) + zeros + struct.pack("<III", 0, 4096, 0))
    return {
        "plain": snapdiff(one), "empty": snapdiff([]), "full": snapdiff([(0, [(0, 9, 0)], b"fullfull!", None)], 1, 0),
        "kinds": snapdiff([(0, [(0, 4096, 0), (4096, 512, 1), (8192, 4096, 2)], b"y" * 4096, None)]),
        "grow": snapdiff(one, size=4 << 20), "shrink": snapdiff(one[:1], size=4097), "expected": snapdiff(one, extra=expected),
        "long-extent": snapdiff([(0, [(0, 1 << 31, 0)], b"z" * 100, None)]),
        "skipped": snapdiff(one, extra=element(b"sign", b"later")), "other-base": snapdiff(one, base=2 << 20),
        "rbd1": b"\0rbd diff v1\n" + b"f\x01\0\0\0a" + b"s" + struct.pack("<Q", 3 << 20) + ranges + b"e",
        "rbd2": b"\0rbd diff v2\n" + b"t" + struct.pack("<Q", 5) + b"\x01\0\0\0a" + b"s"
                + struct.pack("<QQ", 8, 2 << 20) + b"p" + struct.pack("<Q", 1) + b"\1" + ranges2 + b"e",
    }


def rbd_record(tag, content=b""):
    return tag + struct.pack("<Q", len(content)) + content


def rbd_diff(before, name, size, ranges):
    named = [rbd_record(tag, struct.pack("<I", len(text)) + text) for tag, text in ((b"f", before), (b"t", name)) if text]
    records = [rbd_record(b"z", struct.pack("<QQ", offset, data)) if isinstance(data, int) else
               rbd_record(b"w", struct.pack("<QQ", offset, len(data)) + data) for offset, data in ranges]
    return b"rbd diff v2\n" + b"".join([*named, rbd_record(b"s", struct.pack("<Q", size)), *records]) + b"e"


def rbd_image(diffs, more=b""):
    properties = b"".join(rbd_record(tag, struct.pack("<Q", value)) for tag, value in
                          ((b"O", 22), (b"T", 61), (b"U", 1 << 22), (b"C", 1)))
    return (b"rbd image v2\n" + properties + more + b"E" + b"rbd image diffs v2\n" + struct.pack("<Q", len(diffs))
            + b"".join(diffs))


def rbd():
    """The first byte: 4, and the snapshot "one" (2); see image_fuzz.cc."""
    one = rbd_image([rbd_diff(b"", b"", 9000, [(100, b"abc" * 40), (4096, 200), (8000, b"x" * 1000)])])
    two = rbd_image([rbd_diff(b"", b"one", 9000, [(0, b"abc" * 400)]), rbd_diff(b"one", b"two", 5000, [(100, 50), (4000, b"q" * 900)]),
                     rbd_diff(b"two", b"", 12000, [(6000, b"m" * 10)])],
                    rbd_record(b"M", b"\3\0\0\0key\5\0\0\0value") + rbd_record(b"X", b"unknown"))
    return {"rbd": b"\4" + one, "rbd-snapshots": b"\4" + two, "rbd-one": b"\6" + two, "rbd-cut": b"\4" + two[:300],
            "rbd-empty": b"\4" + rbd_image([rbd_diff(b"", b"", 0, [])])}


def packed_vhdx(path):
    """MiB of the file (1), then what is not zeros: offset (4), length (2), bytes; see image_fuzz.cc."""
    whole = path.read_bytes()
    out = bytearray([len(whole) >> 20])
    for at in range(0, len(whole), 512):
        piece = whole[at:at + 512].rstrip(b"\0")
        if piece:
            out += struct.pack("<IH", at, len(piece)) + piece
    return bytes(out)


def vhdx(path):
    rng, mib = random.Random(1), 1 << 20
    image = Vhdx(3 * mib, rng=rng)
    image.log = bytes(mib)
    image.add(1, b"x" * 600)
    image.blocks[1] = b"x" * 600
    image.save(path)
    yield "vhdx", b"\x10" + packed_vhdx(path)
    child = Vhdx(3 * mib, rng=rng, parent=[("parent_linkage", f"{{{image.data_write}}}"), ("relative_path", "p.vhdx")])
    child.log = bytes(mib)
    child.add_part(0, b"", [1, 70])
    child.blocks[0] = b"y" * 900
    child.bits = lambda chunk: b"\x02" + bytes(7) + b"\x40"
    child.save(path)
    yield "vhdx-child", b"\x11" + packed_vhdx(path)
    image.log_guid = uuid.UUID(int=1)
    log = Log(image.log_guid, rng)
    log.ring = bytearray(mib)
    image.lay_out()
    image.lay_out = lambda: None
    log.put(0, 5, [(image.places["bat"], bytes(image.bat()).ljust(4096, b"\0")), (image.places[("block", 1)], 4096)], 0, image.end)
    image.log = bytes(log.ring)
    image.save(path)
    yield "vhdx-log", b"\x10" + packed_vhdx(path)


def vmdk():
    rng = random.Random(1)

    def filled(flags, **options):
        extent = Sparse(40, rng, grain=8, flags=flags, descriptor=descriptor_text(['RW 40 SPARSE "a"'], **options))
        fill(extent, rng, kinds=(DATA, ABSENT))
        return extent
    yield "vmdk-child", b"\x15" + filled(NEWLINES | ZERO_GRAINS, parent="1", hint="p").file()
    yield "vmdk-stream", b"\x14" + filled(NEWLINES | COMPRESSED | MARKERS, create_type="streamOptimized").stream()
    text = descriptor_text(["RW 9 FLAT \"a\" 1", "RW 5 ZERO", "NOACCESS 3 ZERO", "RW 40 SPARSE \"b\""], "custom")
    yield "vmdk-descriptor", b"\x14" + text
    redo = Cowd(40, rng, 8)
    fill(redo, rng, kinds=(DATA, ABSENT))
    yield "vmdk-cowd", b"\x14" + redo.file()


def vm_images(path):
    """The first byte has the format's number, times 4, and 1 with a parent; see image_fuzz.cc."""
    rng = random.Random(1)
    parent, below = random_vdi(rng, path, 20_000, block=4096)
    yield "vdi", b"\x08" + path.read_bytes()
    random_vdi(rng, path, 20_000, block=4096, extra=512, parent=parent, parent_content=below)
    yield "vdi-child", b"\x09" + path.read_bytes()
    parent, below = random_vhd(rng, path, 20_480, block=4096)
    parent.save(path)
    yield "vpc", b"\x0c" + path.read_bytes()
    child, _ = random_vhd(rng, path, 20_480, block=4096, parent=parent, below=below)
    child.locators, child.parent_name = [(b"W2ru", ".\\p.vhd".encode("utf-16-le")), (b"MacX", b"file://./p")], "p"
    child.save(path)
    yield "vpc-child", b"\x0d" + path.read_bytes()
    yield from vhdx(path)
    yield from vmdk()
    for number, (block, options) in enumerate(((8, {}), (64, {"header_size": 32, "chunk_header_size": 16}), (512, {}))):
        yield f"simg-{number}", b"\x18" + random_simg(rng, block=block, chunks=14, **options).build()
    yield from ewf(rng)
    path.unlink()


def ewf(rng):
    content = bytes(1024) + rng.randbytes(1024) + b"word" * 512 + rng.randbytes(512)
    header = {"a": "d", "c": "1", "m": "1142163845", "p": "0"}
    options = {"chunk_sectors": 2, "packed": lambda data: data[0] < 128}
    for name, more in (("e01", {"header": header, "errors": [(1, 2)]}), ("smart", {"layout": "smart", "packed": lambda data: True}),
                       ("encase1", {"layout": "encase1"}), ("tables", {"per_table": 1, "sums": False})):
        yield f"ewf-{name}", b"\x1c" + bytes(make_ewf(content, **{**options, **more})[0].data)


def qcow2():
    """The first byte: with a parent (1), of the snapshot "one" (2); see image_fuzz.cc."""
    rng = random.Random(1)
    seeds = {f"random-{n}": bytes([n % 2]) + random_image(rng, cluster_bits=9 + n % 3, most=12_000).build()
             for n in range(6)}
    overlay = random_image(rng, cluster_bits=9, most=8000, backing="parent.raw", backing_format="raw")
    overlay.snapshot("1", "one")
    overlay.bitmap("changed", 12)
    seeds["overlay"] = b"\3" + overlay.build()
    subclusters = Qcow2(40_000, cluster_bits=14, extended=True, backing="parent.raw")
    subclusters.subclusters(0, [(None, 0, b"s")[i % 3] for i in range(32)])
    seeds["subclusters"] = b"\1" + subclusters.build()
    unknown = Qcow2(4096, cluster_bits=9, incompatible=1 << 9, extensions=[feature_names((0, 9, "colour"))])
    seeds["unknown-feature"] = b"\0" + unknown.build()
    return seeds


def hex_sum(text, digits):
    return (hashlib.sha256(text.encode()).hexdigest() * 2)[:digits].encode()


def manifests():
    """The first byte: 0 a manifest, 1 the name of an image; see manifest_fuzz.cc."""
    def blocks(size, block, algorithms, more=b"", rows=None):
        head = b"# snaptool block manifest 1\n# image disk.dd\n# size %d\n# block-size %d\n" % (size, block)
        head += b"# algorithms%b\n" % b"".join(b" " + name for name, _ in algorithms) + more
        sums = b" ".join(hex_sum("block", digits) for _, digits in algorithms)
        return b"\0" + head + b"".join(b"%d %b\n" % (at, sums) for at in rows or range(0, size, block))

    four = [(b"SHA256", 64), (b"SHA512", 128), (b"SHA1", 40), (b"MD5", 32)]
    tagged = b"".join(b"%b (a (b) = c) = %b\n" % (name, hex_sum("x", digits)) for name, digits in four)
    plain = b"".join(hex_sum("x", digits) + b"  disk.dd\n" for _, digits in four)
    two = [(b"sha256", 64), (b"md5", 32)]
    return {
        "blocks": blocks(10_000, 4096, two, b"# a comment\n\n"),
        "empty-image": blocks(0, 512, [(b"sha1", 40)]),
        "not-in-order": blocks(8192, 4096, two, rows=[0, 8192]), "plain": b"\0# a comment\n\n" + plain,
        "tagged": b"\0\\" + tagged, "version": b"\0# snaptool block manifest 2\n",
        "name": b"\1 a\\b\nc\r) = (\x1b\xff\xe2\x80\xa8\xc3\xa9",
        "large": blocks(2000 * 512, 512, two, b"# the same sums in every block\n"),
    }


def scripts():
    verbs = (b"write a 0 4k -P 0x55\nwrite-origin 4M 64k -i 'patch file.bin'\nread a 8s 1M -o out --sha256\n"
             b"discard \"b c\" 512 1G\nstatus a\r\nhandover a b\nmerge a\nflush\n")
    quotes = (b"# all of it\n\n  \tstatus a#b # there\nstatus 'it'\\''s'\nstatus \"a\\\"b\\\\c\"\n"
              b"status '' \nstatus -- -x\nflush")
    line = b"write 'a snapshot with a long name' %d 4096 --pattern=0x%02x # and a comment that fills the line a bit more\n"
    return {
        "verbs": verbs, "quotes": quotes, "unprintable": b"status \x1b[2J\xff\\\xc2\x9b'\"'\n",
        "open-quote": b"flush\nstatus 'a",
        "unknown": b"flush\n\nnonsense", "no-sector": b"read a 1 512", "both": b"write a 0 512 -P 1 -i f",
        "large": b"".join(line % (i * 4096, i % 256) for i in range(2500)),
    }


def names():
    """The first byte: 0 names of images, 1 sizes, 2 a text; see names_fuzz.cc."""
    images = [b"/", b"/dev/null#p2", b"/@/dev/null@.", b"/,.#vg0/data", b"/#p1,.#+1M,4k#vg0/data-cow",
              b"/#+8s@.#p3#vg/lv", b"/#p1#+512", b"file:/@b#p1", b"-", b"none@/", b"/@", b"/#", b"/#p0", b"/#+x",
              b"/#a/b/c", b"/@.x", b"/,", b"/#+0,1,."]
    sizes = [b"", b"0", b"8s", b"4k", b"64KiB", b"1M", b"2g", b"3T", b"4P", b"7E", b"8E", b"5B", b"1.5M", b"-1", b"+1",
             b"4kb", b"9223372036854775807", b"9223372036854775808", b"99999999999999999999", b"\xff" * 8,
             b"\x00\x04", b"\xff\x03"]
    bad = b"\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82 \xf0\x9f\x98 \xff\x80"
    marks = "\x00\x1b\x7f\x85\u061c\u200e\u2028\u202e\u2066\ufdd0\ufeff\ufffb\ufffe\U0001ffff".encode()
    return {
        "images": b"\0" + b"\0".join(images), "sizes": b"\1" + b"\0".join(sizes),
        "ascii": b"\2plain \\x1b text\twith\nlines", "ill-formed": b"\2" + bad,
        "harmful": b"\2" + marks + "\u00e9\u20ac\U0001f600".encode(),
        "cut": b"\2" + b"x" * 98 + "\U0001f600\U0001f600".encode(),
        "long": b"\2" + (marks + bad) * 300, "tails": b"\2a" + b"\x80" * 200,
    }


def configs():
    all_of_it = b"""# Generated by LVM2
contents = "Text Format Volume Group"
d = "a \\"b\\" \\\\" # end
empty = []
vg0 { size = 128\tlist = ["a", 'b"c', -7,
 1.5, x] 'key with "' = 'a\\' "k" = 0 s { } s { x=1 y="" } x=2 x=3 }
"""
    volume_of = (b"lv%d {\nid = \"%04d-aaaa\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\n"
                 b"segment1 {\nstripes = [\"pv0\", %d]\n}\n}\n")
    many = b"".join(volume_of % (i, i, i) for i in range(2500))
    return {
        "all": all_of_it + bytes(3), "volume-group": text(), "deepest": b"a{" * 32 + b"x=1" + b"}" * 32,
        "too-deep": b"a{" * 33 + b"}" * 33, "number": b"a = 9223372036854775807 b = 9223372036854775808",
        "open": b"a { b = [1,", "quote": b"a = \"x\\",
        "large": b"vg0 {\nextent_size = 8192\nlogical_volumes {\n" + many + b"}\n}\n",
    }


def reports():
    """The first byte: 0 a page, 1 DFXML, 2 JSON, 3 facts. Then eight texts: see report_fuzz.cc."""
    markup = [b"<script>alert(1)</script>.img", b"a&amp;\"b'c.cow", b"snaptool diff '<a>' ]]>", b"--><x y='\">",
              b"#p1<b>", b"#p2#vg0/<i>", b"<file>", b"\\u0000"]
    strange = [b"\x1b]0;x\x07", "\u00e9\U0001f600\u202e\u2028".encode(), b"\xc3(\xf0\x9f", b"a\nb\tc\x00d", b"",
               "#\ufffe\ufeff".encode(), b"\x80", b"\x7f"]
    return {f"{kind}-{what}": bytes([i]) + b"\xff".join(texts)
            for i, kind in enumerate(["page", "dfxml", "json", "facts"])
            for what, texts in (("markup", markup), ("strange", strange))}


def write_texts(folder):
    """The seeds of what reads or prints text."""
    for kind, seeds in {"manifest": manifests(), "script": scripts(), "names": names(), "config": configs(),
                        "report": reports()}.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (folder / kind / name).write_bytes(data)


def numbers(*values):
    return struct.pack("<%dH" % len(values), *values)


def chains():
    """See chain_case.h: bits, the diff that is turned round, the first state, then each diff."""
    direct, damaged, full, identities, ids, three = 1, 2, 4, 8, 16, 32

    def size(number):
        if number == 1 << 20:
            return b"\3"
        return b"\0" + numbers(number) if number < 65536 else b"\2" + numbers(number // 18)

    def edit(*changes, to=None):  # a change: unit (and 4 for every other), value, how many, the first
        head = b"\1" if to is None else b"\0" + size(to)
        return head + bytes([len(changes)]) + b"".join(struct.pack("<BBHH", *one) for one in changes)

    def window(kinds, unit, stride, length, most, first, known=1):
        return bytes([kinds, unit, stride - 1, length - 1]) + numbers(most - 1, first) + bytes([9, known])

    def case(bits, which, first, *rest):
        return bytes([bits, which]) + first + b"".join(rest)

    filled = edit((3, 9, 20, 0))
    some = [edit((2, 7, 3, 1), (1, 0, 40, 9)), edit((2, 8, 3, 2), (0, 3, 9, 4095))]
    sizes = [edit((2, 1, 9, 3), to=1_100_016), edit((1, 4, 3, 70), to=60_000), edit((3, 6, 9, 1), to=1 << 20)]
    large = b"\2" + numbers(65535) + filled + b"\0"
    dense = b"\1" + window(0, 0, 16, 4, 65536, 0) + window(1, 0, 16, 4, 65536, 4)
    small = size(1 << 20) + filled + b"\0\1" + window(3, 9, 8, 3, 99, 100) + b"\1" + window(3, 6, 9, 9, 300, 7, 0)
    return {
        "plain": case(identities | ids, 1, size(200_000), filled, b"\3", *some),
        "alternating": case(ids, 0, size(1 << 20), filled, b"\0", edit((5, 7, 2047, 1)), edit((5, 0, 2047, 0))),
        "sizes": case(identities | ids | three, 1, size(1 << 20), filled, b"\1", *sizes),
        "full": case(full | identities | ids, 1, b"", b"\3", edit((3, 9, 5, 0), to=400_000), some[0]),
        "direct": case(direct | ids, 0, small),
        "dense": case(direct, 0, large, dense, b"\1" + window(3, 0, 16, 4, 65536, 4)),
        "dense-apart": case(direct, 1, large, dense, b"\1" + window(3, 0, 16, 4, 65536, 8)),
        # Of the second diff, whose record is behind 88 bytes: an extent's length, and another one's kind.
        "damaged": case(direct | damaged, 1, small, struct.pack("<BHBBHBB", 2 << 2 | 1, 240, 0, 16, 256, 0, 1)),
        "left-out": case(identities | three | damaged, 0, size(200_000), filled, b"\3", *some, some[0], b"\xc0"),
    }


def journals():
    """See journal_fuzz.cc: which apply and where it stopped, what is done, where it stops again, a size; changes."""
    def case(which, stop, how=0, again=0, cut=0, changes=()):
        return bytes([which | (stop - 1) << 2, how, again, cut]) + b"".join(bytes(one) for one in changes)

    seal, cut, mark, own = 1, 2, 4, 8
    both = [(at, slot, value) for slot in (0, 1) for at, value in ((64, 1), (72, 3))]
    return {
        "grows": case(0, 3), "is-cut": case(1, 5, again=2),
        "windows": case(2, 3, seal, changes=both),
        "last-number": case(3, 4, seal, again=2, changes=[(at, 1, 255) for at in range(8, 16)]),
        "newer-slot": case(0, 5, changes=[(100, 0, 1)]), "truncated": case(1, 2, cut, cut=3),
        "gone": case(0, 2, cut, again=3), "mark": case(3, 3, seal | mark | own), "other-mark": case(3, 3, mark),
    }


def splits():
    """See split_fuzz.cc and split_case.h."""
    def lengths(length, last=None, odd=None):
        return (numbers(length) + (b"\1" if last is None else b"\0" + numbers(last))
                + (b"\1" if odd is None else b"\0" + numbers(odd[1]) + bytes([odd[0]])))

    def folder(stem, how, first, count, *more, gaps=(), asked=None, odd=7):
        return (bytes([1, stem, how, first, count, len(gaps), *gaps, 0, first if asked is None else asked, odd])
                + (b"".join(more) or lengths(600, 20)))

    digits, letters = 4, 3
    return {
        "memory": b"\0\x08" + lengths(300, 77) + b"\0" + numbers(299, 4, 600, 900, 0, 3),
        "memory-odd": b"\0\x08" + lengths(300, odd=(3, 299)),
        "digits": folder(0, digits, 0, 12), "from-one": folder(3, digits + 2, 1, 20), "gap": folder(0, digits, 1, 9, gaps=[5]),
        "letters": folder(2, letters, 0, 30), "all-names": folder(2, letters, 0, 255), "zeroth": folder(1, digits, 0, 4, asked=1),
        "link": folder(0, digits, 0, 5, odd=2 * 8 + 1), "two-names": folder(0, digits, 0, 5, lengths(90), odd=2 * 8 + 3),
    }


def trees():
    """See tree_builder.h and tree_volumes.h: the disk's size, then what is in it."""
    raw, mbr_, gpt_, volume_, store_, nothing = (bytes([i]) for i in range(6))

    def table(count, *within, odd=b"\0", sector=0, damage=b"\0", used=65535):
        return (gpt_ + bytes([sector, [4, 128, 4096, 4097].index(count)]) + numbers(used) + odd + b"".join(within)
                + damage + b"\0")

    def group(how, *kinds, damage=b"\0"):
        return volume_ + bytes([how, 0, 0, *(kinds * 8)[:8], 0, 0]) + damage

    odd = b"\5" + numbers(7, 40) + b"\3" + numbers(9) + numbers(5, 9) + b"\x30" + numbers(0)
    snapshots = group(20 << 3, 0, 4, 5, 2, 3, 36, 6, 7)
    logical = mbr_ + b"\x10" + numbers(99) + b"\3" + b"\x08" + snapshots
    logical += b"\x07" + numbers(40) + b"\3" + numbers(9) + nothing + b"\0" + store_ + b"\1"
    return {
        "gpt-4096": b"\x3f" + table(4096, nothing, nothing, nothing),
        "gpt-nested": b"\x3f" + table(4, logical, table(128, snapshots, nothing, store_ + b"\2"), snapshots, used=3),
        "gpt-backup": b"\x10" + table(128, nothing, snapshots, nothing, damage=b"\3\x50", odd=odd, used=8),
        "mbr-logical": b"\x20" + logical, "mbr-loop": b"\x20" + mbr_ + b"\x10" + numbers(200) + b"\0" + b"\x20" * 3,
        "lvm-large": b"\x3f" + group(7, 0, 4, 25, 24, 3, 0, 28, 2), "lvm": b"\x20" + snapshots,
        "lvm-spoiled": b"\x20" + group(20 << 3, 0, 4, damage=b"\2\2" + numbers(210) + b"9" + numbers(400) + b"}"),
        "raw": b"\0" + raw + numbers(1024) + mbr((0x83, 1, 1), (0x83, 1, 9)),
    }


def write_driven(folder):
    """The seeds of what makes its input of a few bytes."""
    for kind, seeds in {"chain": chains(), "journal": journals(), "split": splits(), "tree": trees()}.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (folder / kind / name).write_bytes(data)


def packed_disk(disk, how, step=128):
    """The first byte: 1 without sums; the size in units of 32 KiB; then offset, length and bytes; see files_fuzz.cc."""
    seed = bytes([how, len(disk) // (32 << 10)])
    for at in range(0, len(disk), step):
        piece = disk[at:at + step].rstrip(b"\0")
        if piece and piece.strip(b"\xff"):
            seed += struct.pack("<IH", at, len(piece)) + piece
    return seed


def isos(path):
    """Of few blocks, with what records can have."""
    def saved(disc, *folders):
        disc.put(bytes(-len(disc.image) % (32 << 10) + (32 << 10)))
        disc.save(path, *folders)
        disk = path.read_bytes()
        return packed_disk(disk[:len(disk) >> 15 << 15], 0)

    own = iso.sp() + iso.px(0o40755, 2) + iso.er()
    disc = iso.Disc()
    one, packed = disc.put(b"one"), disc.put(b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07" + struct.pack("<IBBHIII", 40_000, 4, 15, 0, 28, 28, 45) + zlib.compress(bytes(7232)))
    more = disc.put(iso.nm("goes on") + iso.px(0o100644) + iso.entry("ST"))
    inner = disc.folder([iso.record("IN", one, 3, su=iso.nm("in"))], su=own)
    links = (iso.sl((8, b""), (4, b""), (1, b"a"), flags=1) + iso.sl((0, b"b")), iso.sl((2, b"")))
    yield "iso-rock", saved(disc, disc.folder([
        iso.record("F.;1", one, 3, iso.GOES_ON, iso.px(0o100644)), iso.record("F.;1", one, 2), iso.record("D", *inner, iso.FOLDER, iso.nm("d")),
        iso.record("C", su=iso.nm("x", 1) + iso.ce(more, 0, 100)), iso.record("M", su=iso.entry("CL", iso.both32(inner[0]))),
        iso.record("R", *inner, iso.FOLDER, iso.entry("RE")), iso.record("Z", packed, 60, su=iso.entry("ZF", b"pz\4\x0f" + iso.both32(40_000))),
        *[iso.record(f"L{i}", su=iso.px(0o120777) + link) for i, link in enumerate(links)],
        iso.record("T", su=iso.tf(0x8E, *[b"2020010203040506\4"] * 3) + iso.entry("AA", b"?") + iso.entry("PN", iso.both32(1) * 2))], su=own))
    disc = iso.Disc(512)
    one = disc.put(b"one")
    plain = disc.folder([iso.record("A.B;1", one, 3, xar=1), iso.record("A.B;1", one, 3, iso.ASSOCIATED), iso.record("I", one, 3, unit=1, gap=1)])
    yield "iso-joliet", saved(disc, plain, disc.folder([iso.record(b"\0j\xd8\0", one, 3), iso.record(b"\0d", *plain, iso.FOLDER)]))
    path.unlink()


def file_systems(path):
    """The first byte: 1 without sums; the size in units of 32 KiB; then offset, length and bytes; see files_fuzz.cc."""
    tree = {"d": Dir(), "d/one": File(b"1"), "d/two": File(b"2" * 1500), "d/hard": None, "gone": File(b"g"),
            "sparse": File(b"end", at=20_000), "short": Symlink("d/one"), "long": Symlink("t" * 100)}
    tree["d/hard"] = Link("d/one")
    plain = "^has_journal,^resize_inode"
    for name, how, kind, options in (
            ("ext2", 0, "ext2", ("-O", plain)), ("ext4", 0, "ext4", ("-O", plain)), ("ext4-no-sums", 1, "ext4", ("-O", plain)),
            ("inline", 1, "ext4", ("-O", plain + ",inline_data")), ("meta-groups", 1, "ext4", ("-O", plain + ",meta_bg", "-g", "256")),
            ("clusters", 1, "ext4", ("-O", plain + ",bigalloc", "-C", "4096")), ("old-sums", 0, "ext4", ("-O", plain + ",^metadata_csum,uninit_bg"))):
        volume = Ext(path, tree, size=512 << 10, kind=kind, options=(*options, "-N", "32"))
        volume.debugfs("ea_set /d/two user.a value", "ea_set /d/two user.b " + "v" * 200)
        if name == "ext2" or name.startswith("ext4"):
            volume.delete("gone")
        yield name, packed_disk(path.read_bytes(), how)
    path.unlink()
    tree = {name: node for name, node in tree.items() if isinstance(node, (Dir, File))}
    for name, bits in (("fat12", 12), ("fat16", 16)):
        volume = Fat(path, {**tree, "a name that is long": File(b"long" * 200)}, bits=bits, size=512 << 10 if bits == 12 else 3 << 20)
        volume.delete("gone")
        yield name, packed_disk(path.read_bytes(), 0)
    ExFat(path, tree, size=2 << 20, chained=("sparse",))
    yield "exfat", packed_disk(path.read_bytes(), 0)
    yield from ntfs_file_systems(path)
    yield from isos(path)
    yield from hfsplus_file_systems(path)
    path.unlink()


def hfsplus_file_systems(path):
    text = b"a line\n" * 300
    for name, options in (("hfsplus", {"block": 512, "node": 512}), ("hfsx", {"block": 1024, "node": 1024, "hfsx": True, "binary": True}),
                          ("hfsplus-wrapped", {"block": 4096, "node": 1024, "wrapper": 32 << 10})):
        HfsPlusMaker(path, [
            Item("d", folder=True), Item("d/one", b"1", rsrc=b"r"), Item(PRIVATE, folder=True), Item(f"{PRIVATE}/iNode19", b"i", special=2),
            link("a", 19), link("d/b", 19), Item("pieces", b"p" * 9000, pieces=1), Item("x", xattrs={"a": b"1", "b": b"2"}),
            Item("zlib", owner_flags=0x20, xattrs={"com.apple.decmpfs": decmpfs(3, len(text), zlib.compress(text))}),
            Item("fork", owner_flags=0x20, rsrc=packed_fork(text), xattrs={"com.apple.decmpfs": decmpfs(4, len(text))}),
            *(Item(f"d/n{i}") for i in range(12))], blocks=(224 << 10) // options["block"], journal=(512, 512), **options)
        yield name, packed_disk(path.read_bytes(), 0)
    path.unlink()


def ntfs_file_systems(path):
    """Made anew they have other times."""
    for cluster in (512, 4096):
        text = b"text that is packed " * 400
        volume = Ntfs(path, {"d": Dir(), "d/one": File(b"1"), "d/two": File(b"2" * 1500), "d/hard": Link("d/one"), "gone": File(b"g"), "d/two:stream": File(b"s"),
                             "sparse": File(b"end", at=20_000), "p": Dir(), "p/packed": File(text, size=90_000)}, size=1120 << 10, cluster=cluster, compressed=("p",))
        volume.symlink("link", "d/one")
        volume.reparse("d/hard", 0xA000000C, struct.pack("<4HI", 0, 2, 2, 2, 0) + b"a\0b\0")
        for i in range(12):
            volume.write(f"d/two:{i} {'n' * 50}", 0, b"a" * 20)
        volume.delete("gone")
        disk = bytearray(path.read_bytes())
        # Large, and not looked at: the program that boots, upper case, the names of attributes, the MFT's copy.
        for at, size in ((512, 7680), (disk.find(struct.pack("<96H", *range(96))), 128 << 10), (disk.find("$STANDARD_INF".encode("utf-16-le")), 2560),
                         (struct.unpack_from("<Q", disk, 56)[0] * cluster, 4096)):
            disk[at:at + size] = bytes(size)
        yield f"ntfs-{cluster}", packed_disk(disk, 0, 32)


def packed_disk(disk, how):
    seed = bytes([how, -(-len(disk) // (32 << 10))])
    for at in range(0, len(disk), 128):
        piece = disk[at:at + 128].rstrip(b"\0")
        if piece and piece.strip(b"\xff"):
            seed += struct.pack("<IH", at, len(piece)) + piece
    return seed


def main():
    folder = Path(sys.argv[1])
    plain = [(2, 2), (0, 3), (5, 4)]
    full = [(i, 2 + i + (i // 32)) for i in range(32)]
    torn = bytearray(store(plain))
    torn[512:528] = bytes(16)
    seeds = {
        "plain": store(plain), "empty": store([], chunks=3), "full-area": store(full + [(40, 35)]),
        "area-exactly-full": store(full), "no-successor": store(full)[:34 * 512],
        "duplicate-old": store([(3, 2), (3, 4)]), "duplicate-new": store([(3, 2), (4, 2)]),
        "beyond-cow": store([(1, 5000)], chunks=4), "beyond-origin": store([(5000, 2)]),
        "old-high": store([(0, 2), (40 << 56, 3), (2, 4)]),
        "metadata": store([(1, 1)]), "high-byte": store([(1, 1 << 56)], chunks=4),
        "torn-clear": bytes(torn), "invalid": store(plain, valid=0), "version": store(plain, version=2),
        "magic-zero": store(plain, magic=0), "chunk-4k": store(plain, chunk=4096),
        "out-of-order": store([(4, 10), (1, 3), (2, 7)]), "runs": store([(i, 2 + i) for i in range(20)]),
    }
    (folder / "store").mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (folder / "store" / name).write_bytes(bytes([100]) + data)
    arguments = {
        "merge": b"\x06-p\0--dry-run\0a\0b", "read": b"\x04a@b@c\0--offset=4k\0-o\0-", "odd": b"\x01--\0-\0file:x#p2",
        "sizes": b"\x008s\0" b"4k\0" b"16E\0" b"64KiB\0-1", "placeholder": b"\x06--%original_token%\0a", "progress": b"\x06--progress=jsonl:3\0-pq\0-j4",
    }
    (folder / "arguments").mkdir(parents=True, exist_ok=True)
    for name, data in arguments.items():
        (folder / "arguments" / name).write_bytes(data)
    # How far the merge had come, what is done, and changed bytes as (place, value).
    undo = {f"state-{n}-{what}": bytes([n, what]) for n in range(6) for what in (0, 1, 2, 4, 5)}
    for name, place in {"version": 8, "origin-size": 16, "exceptions": 32, "kind": 4104, "number": 4112, "first": 4120,
                        "entries": 4128, "ranges": 4136, "bytes": 4144, "entry": 8192, "range": 8448}.items():
        undo[f"changed-{name}"] = struct.pack("<BBHB", 5, 1, place, 7)
    (folder / "undo").mkdir(parents=True, exist_ok=True)
    for name, data in undo.items():
        (folder / "undo" / name).write_bytes(data)
    (folder / "diff").mkdir(parents=True, exist_ok=True)
    for name, data in diffs().items():
        (folder / "diff" / name).write_bytes(data)
    (folder / "image").mkdir(parents=True, exist_ok=True)
    for name, data in {**qcow2(), **rbd(), **dict(vm_images(folder / "made"))}.items():
        (folder / "image" / name).write_bytes(data)
    (folder / "files").mkdir(parents=True, exist_ok=True)
    for name, data in file_systems(folder / "made"):
        (folder / "files" / name).write_bytes(data)
    (folder / "disk").mkdir(parents=True, exist_ok=True)
    for name, data in disks().items():
        (folder / "disk" / name).write_bytes(data)
    write_texts(folder)
    write_driven(folder)


if __name__ == "__main__":
    main()
