# SPDX-License-Identifier: Apache-2.0
"""Hyper-V's images: what qemu-img made, what it cannot make or read, what snaptool made, and what is broken."""

import struct
import subprocess
import sys
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import main, need, run, scaled  # noqa: E402
from vhdx_maker import (ABSENT, BAT, LOCATOR, LOCATOR_TYPE, PARTLY, PRESENT, RESERVED, UNIT, ZERO, Log,  # noqa: E402
                        Vhdx, random_vhdx)
from vm_images import KIB, MIB, SECTOR, SIZES, SMALL, VmImageTest  # noqa: E402

HEADERS, REGIONS = (64 * KIB, 128 * KIB), (192 * KIB, 256 * KIB)
GIB = 1 << 30
FOLLOW = "--follow-parents"


class VhdxTest(VmImageTest):
    def flip(self, *places):
        """Makes what has a checksum there wrong."""
        with open(self.image, "r+b") as file:
            for at in places:
                file.seek(at + 100)
                file.write(b"\x55")

    def img_cat(self):
        done = subprocess.run(["img_cat", "-i", "vhd", self.image], capture_output=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def put(self, at, data):
        with open(self.image, "r+b") as file:
            file.seek(at)
            file.write(data)


class Reading(VhdxTest):
    def test_what_qemu_makes(self):
        several = ["subformat=dynamic", "block_size=1M,block_state_zero=off", "subformat=fixed,block_size=2M"]
        for sectors, options in zip(SIZES, several * 2, strict=True):
            content = self.qemu_makes("vhdx", self.some_content(sectors), "-o", options)
            self.assert_reads(content)
            info = self.info()
            self.assertEqual((info["format"], info["virtual_size"]), ("vhdx", len(content)))
            self.assertEqual(info["variant"], "fixed" if "fixed" in options else "dynamic")

    def test_regions_and_blocks_in_any_order(self):
        """Also of sizes of sectors that qemu-img does not read."""
        for block, sector in ((MIB, 512), (2 * MIB, 4096), (8 * MIB, 512), (MIB, 4096)):
            size = self.rng.randrange(1, 10 * MIB // sector) * sector
            image, content = random_vhdx(self.rng, self.image, size, block=block, sector=sector)
            self.assert_reads(content)
            info = self.info()
            self.assertEqual((info["block_size"], info["logical_sector_size"], info["physical_sector_size"]),
                             (block, sector, 4096))
            self.assertEqual((info["log"], info["virtual_disk_id"]), ("empty", str(image.disk_id)))
            need(self, "img_cat")
            self.assertTrue(self.img_cat() == content)

    def test_several_chunks(self):
        """An entry of the table is not a block's behind each 4 GiB."""
        image = Vhdx(9 * GIB, block=256 * MIB, rng=self.rng)
        datas = {0: b"", 15: b"", 16: b"", 31: b"", 32: b"", 35: b""}
        for number in datas:
            image.states[number] = PRESENT
            image.blocks[number] = datas[number] = self.rng.randbytes(5000)
        image.save(self.image)
        for number, data in datas.items():
            got = self.good("read", "--offset", number * image.block, "--length", 6000, self.image, binary=True).stdout
            self.assertEqual(got, data + bytes(1000), number)
        self.assertEqual(self.good("map", self.image).returncode, 0)


class Copies(VhdxTest):
    def test_one_of_two_copies(self):
        """Of the headers and tables of regions, of which only one must be sound; and what is junk is not read."""
        image, content = random_vhdx(self.rng, self.image, 3 * MIB)
        for places in ((HEADERS[0],), (HEADERS[1],), (REGIONS[0],), (REGIONS[1],), (HEADERS[1], REGIONS[0])):
            image.save(self.image)
            self.flip(*places)
            self.assert_reads(content)
            self.assertIn("broken", self.good("hash", self.image).stderr)
            self.assertIn("broken", self.good("info", self.image).stdout)
        for places in (HEADERS, REGIONS):
            image.save(self.image)
            self.flip(*places)
            self.refused(65, "hash", self.image, words=["wrong checksum"])

    def test_the_newer_header(self):
        image, content = random_vhdx(self.rng, self.image, 2 * MIB)
        newer, image.data_write = image.data_write, uuid.UUID(int=1)
        older = image.header(6)
        image.data_write = newer
        for places in (HEADERS, HEADERS[::-1]):
            self.put(places[0], older)
            self.put(places[1], image.header(7))
            self.assert_reads(content)
            self.assertNotIn("problem", self.good("info", self.image).stdout)
        same = image.header(9)
        for at in HEADERS:
            self.put(at, same)
        self.assert_reads(content)
        self.put(HEADERS[0], image.header(9))
        self.refused(65, "hash", self.image, words=["none is the newer"])

    def test_what_need_not_be_known(self):
        image = Vhdx(MIB, rng=self.rng)
        image.more_regions = [(uuid.UUID(int=5), 77, 5, 0)]
        image.more_items = [(uuid.UUID(int=6), 0, b"x"), (uuid.UUID(int=7), 1, b"y")]
        image.save(self.image)
        self.assert_reads(bytes(MIB))
        image.more_regions[0] = (uuid.UUID(int=5), MIB, MIB, 1)
        image.save(self.image)
        self.refused(63, "hash", self.image, words=[str(uuid.UUID(int=5))])
        image.more_regions = []
        image.more_items[0] = (uuid.UUID(int=6), 4, b"x")
        image.save(self.image)
        self.refused(63, "hash", self.image, words=[str(uuid.UUID(int=6))])


class Parents(VhdxTest):
    def setUp(self):
        super().setUp()
        self.base = self.scratch / "base.vhdx"

    def chain(self, size, **options):
        parent, below = random_vhdx(self.rng, self.base, size, **options)
        child, content = random_vhdx(self.rng, self.image, size, parent=parent, parent_content=below, name="base.vhdx",
                                     **options)
        return parent, child, content

    def test_over_a_parent(self):
        for block, sector in ((MIB, 512), (2 * MIB, 4096)):
            parent, child, content = self.chain(self.rng.randrange(3 * MIB // sector, 9 * MIB // sector) * sector,
                                            block=block, sector=sector)
            self.assert_reads(content, FOLLOW)
            info = self.info()
            self.assertEqual((info["variant"], info["backing_filename"]), ("differencing", "base.vhdx"))
            self.assertEqual(info["backing_identity"], f"data write GUID {{{parent.data_write}}}")
            self.assertEqual(info["data_write_guid"], str(child.data_write))

    def test_three_levels(self):
        below, content = random_vhdx(self.rng, self.base, 5 * MIB)
        for name in ("middle.vhdx", "image"):
            above = self.scratch / name
            below, content = random_vhdx(self.rng, above, 6 * MIB, parent=below, parent_content=content,
                                         name="base.vhdx" if name != "image" else "middle.vhdx")
        self.assert_reads(content, FOLLOW)

    def test_bits_of_a_later_chunk(self):
        size = 4 * GIB + 3 * MIB
        parent = Vhdx(size, rng=self.rng)
        expected = bytearray(4 * MIB)
        first = size // MIB - 4
        for number in range(first, first + 4):
            data = self.rng.randbytes(MIB)
            parent.add(number, data)
            expected[(number - first) * MIB:(number - first + 1) * MIB] = data
        parent.save(self.base)
        child = Vhdx(size, rng=self.rng, parent=[("parent_linkage", f"{{{parent.data_write}}}"),
                                                 ("relative_path", "base.vhdx")])
        for number in range(first, first + 3):
            data, own = self.rng.randbytes(MIB), [0, 1, 63, 64, 700, 2047]
            child.add_part(number, data, own)
            for one in own:
                at = (number - first) * MIB + one * SECTOR
                expected[at:at + SECTOR] = data[one * SECTOR:(one + 1) * SECTOR]
        child.save(self.image)
        got = self.good("read", "--offset", first * MIB, "--length", 4 * MIB, FOLLOW, self.image,
                        binary=True).stdout
        self.assertTrue(got == expected)

    def test_another_parent(self):
        """It is known by its data write GUID, or by the second one that the child has."""
        parent, child, content = self.chain(2 * MIB)
        old, parent.data_write = parent.data_write, uuid.UUID(int=9)
        parent.save(self.base)
        self.refused(66, "read", FOLLOW, self.image, words=[str(old), "was changed since"])
        done = run("read", FOLLOW, "--ignore-invalid", self.image, binary=True)
        self.assertEqual((done.returncode, done.stdout), (0, content))
        child.parent.append(("parent_linkage2", f"{{{str(parent.data_write).upper()}}}"))
        child.save(self.image)
        self.assert_reads(content, FOLLOW)

    def test_where_it_is(self):
        """In this order: the relative path; what the others end with, in the folder of the image."""
        _, child, content = self.chain(2 * MIB)
        linkage = child.parent[1]
        for paths in ([("volume_path", "\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\base.vhdx")],
                      [("absolute_win32_path", "\\\\?\\C:\\x\\base.vhdx")],
                      [("absolute_win32_path", "C:\\base.vhdx"), ("relative_path", "..\\gone\\other.vhdx")]):
            child.parent = [*paths, linkage]
            child.save(self.image)
            self.assert_reads(content, FOLLOW)
        folder = self.scratch / "below"
        folder.mkdir()
        self.base.rename(folder / "base.vhdx")
        self.refused(66, "hash", FOLLOW, self.image, words=["not there"])
        child.parent = [("relative_path", ".\\below\\base.vhdx"), linkage]
        child.save(self.image)
        self.assert_reads(content, FOLLOW)
        child.parent = [linkage]
        child.save(self.image)
        self.refused(66, "hash", FOLLOW, self.image, words=["does not say where"])
        self.assert_reads(content, "--parent", folder / "base.vhdx")

    def test_what_is_broken(self):
        _, child, _ = self.chain(2 * MIB)
        child.states, child.blocks, child.own = [PARTLY] * 2, {0: bytes(MIB), 1: bytes(MIB)}, {0: [1], 1: [2]}
        for state in (ABSENT, ZERO, MIB | PARTLY):
            child.damage = lambda name, data, state=state: name == "bat" and struct.pack_into("<Q", data, 8 * 4096, state)
            child.save(self.image)
            self.refused(65, "hash", FOLLOW, self.image, words=["chunk 0"])
        child.damage = lambda name, data: None
        linkage = ("parent_linkage", f"{{{uuid.UUID(int=3)}}}")
        for values in ([("relative_path", "base.vhdx")], [linkage, linkage], [("parent_linkage", "{x}")]):
            child.parent = values
            child.save(self.image)
            self.refused(65, "hash", FOLLOW, self.image, words=["parent"])
        child.parent = [linkage]

        def other_type(name, data):
            at = data.find(LOCATOR_TYPE.bytes_le)
            if name == "metadata":
                data[at:at + 16] = bytes(16)

        def without_locator(name, data):
            at = data.find(LOCATOR.bytes_le)
            if name == "metadata":
                data[at:at + 32] = bytes(32)

        for damage, status in ((other_type, 63), (without_locator, 65)):
            child.damage = damage
            child.save(self.image)
            self.refused(status, "hash", FOLLOW, self.image, words=["parent locator"])


class Logs(VhdxTest):
    """A file that was not closed: its log is replayed in memory, and the file stays as it is."""

    def dirty(self, size=4 * MIB):
        """An image whose block table is junk, and its log."""
        image = Vhdx(size, rng=self.rng)
        for number in range(len(image.states) - 1):
            image.add(number, self.rng.randbytes(MIB))
        image.states[-1] = ZERO
        image.log_guid = uuid.UUID(int=self.rng.getrandbits(128))
        image.lay_out()
        layout, image.lay_out = image.places, lambda: None
        table = bytes(image.bat()).ljust(UNIT, b"\0")
        image.damage = lambda name, data: name == "bat" and data.__setitem__(slice(None), self.rng.randbytes(len(data)))
        content = b"".join(image.blocks[number] for number in range(len(image.states) - 1)) + bytes(MIB)
        return image, Log(image.log_guid, self.rng), layout, table, bytearray(content)

    def save(self, image, log):
        image.log = bytes(log.ring)
        image.save(self.image)

    def assert_replays(self, content):
        before = self.image.read_bytes()
        self.assert_reads(bytes(content))
        self.assertEqual(self.info()["log"], "replayed in memory")
        self.assertTrue(self.image.read_bytes() == before)

    def test_the_tail_and_what_is_behind_it(self):
        """Entries go round the end of the ring; those before the tail, of older rounds and of other logs are not applied."""
        image, log, places, table, content = self.dirty()
        junk, end = self.rng.randbytes(UNIT), image.end
        data = self.rng.randbytes(UNIT)
        block = places[("block", 1)]
        start = MIB - 3 * UNIT
        at = log.put(start, 1 << 40, [(places["metadata"], junk)], start, end)
        tail = at
        at = log.put(at, (1 << 40) + 1, [(places["bat"], junk), (places["bat"], table)], tail, end)
        at = log.put(at, (1 << 40) + 2, [(block, 3 * UNIT), (block + UNIT, data), (block + 5 * UNIT, 0)], tail, end)
        # The last block is behind the end of the file, which is to grow.
        grown = bytearray(table)
        struct.pack_into("<Q", grown, 8 * 3, end | PRESENT)
        at = log.put(at, (1 << 40) + 3, [(places["bat"], bytes(grown))], tail, end + MIB, flushed=end)
        last = at
        log.put(at, (1 << 40) + 4, [], tail, end + MIB, flushed=end)
        log.put(100 * UNIT, 1 << 30, [(places["bat"], junk)], 100 * UNIT, end)
        log.put(120 * UNIT, 1 << 50, [(places["bat"], junk)], 120 * UNIT, end, guid=uuid.UUID(int=4))
        log.put(140 * UNIT, 1 << 50, [(places["bat"], junk)], 100 * UNIT, end)  # of which the rest is gone
        self.save(image, log)
        content[MIB:MIB + 3 * UNIT] = bytes(UNIT) + data + bytes(UNIT)
        self.assert_replays(content)
        # Without its last entry, the one before is the last; but nothing of an entry counts that is not whole.
        for place in (last, last - UNIT):
            log.ring[place + 100] ^= 1
            self.save(image, log)
            self.assert_replays(content)

    def test_many_changes(self):
        """More descriptors than a unit has room for."""
        image, log, places, table, content = self.dirty()
        changes = [(places["bat"], table)]
        for number in range(300):
            block, unit = self.rng.randrange(3), self.rng.randrange(256)
            data = self.rng.choice([UNIT, self.rng.randbytes(UNIT)])
            if len(changes) > 200 and isinstance(data, bytes):
                continue
            changes.append((places[("block", block)] + unit * UNIT, data))
            at = block * MIB + unit * UNIT
            content[at:at + UNIT] = bytes(UNIT) if isinstance(data, int) else data
        log.put(0, 5, changes, 0, image.end)
        self.save(image, log)
        self.assert_replays(content)

    def test_qemu_repairs_it_alike(self):
        need(self, "qemu-img")
        image, log, places, table, _ = self.dirty()
        block = places[("block", 2)]
        at = log.put(8 * UNIT, 5, [(places["bat"], table), (block, 2 * UNIT)], 8 * UNIT, image.end)
        log.put(at, 6, [(block + UNIT, self.rng.randbytes(UNIT))], 8 * UNIT, image.end)
        self.save(image, log)
        content = self.good("read", self.image, binary=True).stdout
        self.qemu("qemu-img", "check", "-q", "-f", "vhdx", "-r", "all", self.image)
        self.assertTrue(self.qemu_reads("vhdx") == content)
        self.assertEqual(self.info()["log"], "empty")

    def test_what_is_broken(self):
        image, log, places, table, _ = self.dirty()
        self.save(image, log)
        self.refused(65, "hash", self.image, words=["log"])
        log.put(4 * UNIT, 5, [(places["bat"], table)], 2 * UNIT, image.end)
        self.save(image, log)
        self.refused(65, "info", self.image, words=["no whole sequence"])
        log.put(4 * UNIT, 5, [(places["bat"], table)], 4 * UNIT, image.end, flushed=image.end + MIB)
        self.save(image, log)
        self.refused(65, "hash", self.image, words=["when its log was written"])
        log.put(4 * UNIT, 5, [(places["bat"], table)], 4 * UNIT, image.end)
        log.put(9 * UNIT, 5, [(places["bat"], table)], 9 * UNIT, image.end)
        self.save(image, log)
        self.refused(65, "hash", self.image, words=["end alike"])
        log.put(9 * UNIT, 5, [(places["bat"] + 1, table)], 9 * UNIT, image.end)
        log.put(20 * UNIT, 6, [(places["bat"], table[:-1] + b"x")], 20 * UNIT, image.end)
        log.ring[21 * UNIT] ^= 1
        self.save(image, log)
        self.good("hash", self.image)
        for field, at, value, status in (("<H", 64, 1, 63), ("<I", 68, 0, 65), ("<Q", 72, 1, 65), ("<Q", 72, 1 << 63, 65),
                                         ("<I", 68, 5 * MIB + 1, 65)):
            image.damage = lambda name, data, change=(field, at, value): name == "header" and struct.pack_into(
                change[0], data, *change[1:])
            for number, place in enumerate(HEADERS):
                self.put(place, image.header(9 + number))
            self.refused(status, "hash", self.image, words=["log"])


class Broken(VhdxTest):
    def test_what_is_impossible(self):
        image, _ = random_vhdx(self.rng, self.image, 3 * MIB)
        image.states = [PRESENT, ABSENT, ABSENT]
        image.blocks = {0: bytes(MIB)}
        image.item_gap = 0

        def item(number):
            return 64 * KIB + sum((16, 8, 8, 4)[:number])

        for name, field, at, value, status, word in (
                ("header", "<H", 66, 2, 63, "version 2"), ("header", "<4s", 0, b"HEAD", 65, "header"),
                ("regions", "<I", 8, 2048, 65, "regions"), ("regions", "<I", 8, 1, 65, "metadata"),
                ("regions", "<Q", 32, MIB + 4096, 65, "block table"), ("regions", "<Q", 32, 0, 65, "block table"),
                ("regions", "<Q", 32, (1 << 64) - MIB, 65, "block table"), ("regions", "<I", 40, 5, 65, "block table"),
                ("regions", "<16s", 48, BAT.bytes_le, 65, "second"),
                ("metadata", "<8s", 0, b"METADATA", 65, "metadata"), ("metadata", "<H", 10, 2048, 65, "items"),
                ("metadata", "<H", 10, 4, 65, "logical"), ("metadata", "<I", 48, 5, 65, "disk id"),
                ("metadata", "<I", 48, MIB - 8, 65, "disk id"), ("metadata", "<I", 52, 8, 65, "disk id"),
                ("metadata", "<I", item(2), 3 * MIB, 65, "blocks of"),
                ("metadata", "<I", item(2), 512 * KIB, 65, "blocks of"),
                ("metadata", "<I", item(2), 512 * MIB, 65, "blocks of"), ("metadata", "<I", item(2) + 4, 2, 65, "locator"),
                ("metadata", "<I", item(4), 1024, 65, "sectors"), ("metadata", "<Q", item(1), 1000, 65, "size"),
                ("metadata", "<Q", item(1), 1 << 60, 65, "size"), ("metadata", "<Q", item(1), 1 << 44, 65, "entries"),
                ("bat", "<Q", 0, RESERVED, 65, "block 0"), ("bat", "<Q", 0, MIB | PARTLY, 65, "block 0"),
                ("bat", "<Q", 0, PRESENT, 65, "place 0"), ("bat", "<Q", 8, (1 << 64) - MIB | PRESENT, 65, "place 1"),
                ("bat", "<Q", 8, 90 * MIB | PRESENT, 65, "ends at byte")):
            def damage(part, data):
                if part == name:
                    struct.pack_into(field, data, at, value)

            image.damage = damage
            image.save(self.image)
            self.refused(status, "hash", self.image, words=[word])
            if name == "bat" and at == 8:
                self.assertEqual(self.good("read", "--offset", 2 * MIB, self.image, binary=True).stdout, bytes(MIB))

    def test_its_end_is_cut_off(self):
        image, _ = random_vhdx(self.rng, self.image, 3 * MIB)
        whole = self.image.read_bytes()
        for size in (0, 7, 8, 70 * KIB, 200 * KIB, 300 * KIB, MIB, image.places["metadata"], image.places["bat"]):
            self.image.write_bytes(whole[:size])
            done = run("hash", "-f", "vhdx", self.image)
            self.assertEqual(done.returncode, 65, (size, done.stderr))

    def test_mutants(self):
        """Bytes of all structures are changed under checksums that are right."""
        parent, below = random_vhdx(self.rng, self.scratch / "base.vhdx", 2 * MIB)
        for number in range(scaled(300)):
            image, _ = random_vhdx(self.rng, self.image, 3 * MIB, parent=parent, parent_content=below, name="base.vhdx")
            wanted = self.rng.choice(["header", "regions", "metadata", "bat", "log"])
            if wanted == "log" or self.rng.random() < 0.2:
                image.log_guid = uuid.UUID(int=1)
                log = Log(image.log_guid, self.rng)
                at = log.put(0, 5, [(image.places["bat"], self.rng.randbytes(UNIT)), (MIB, 5 * UNIT)], 0, image.end)
                log.put(at, 6, [(0, 1 << 62)], 0, image.end)
                if wanted == "log":
                    log.ring[self.rng.randrange(200)] ^= 1 << self.rng.randrange(8)
                image.log = bytes(log.ring)

            def damage(part, data):
                if part != wanted:
                    return
                ends = {"header": 80, "regions": 80, "metadata": 230}
                for _ in range(self.rng.choice([1, 1, 3])):
                    at = self.rng.randrange(ends.get(part, min(len(data), 40)))
                    if part == "metadata" and self.rng.random() < 0.5:
                        at = len(data) - 1 - self.rng.randrange(300)
                    data[at] = self.rng.choice([0, 1, 0x7F, 0x80, 0xFF, self.rng.randrange(256)])

            image.damage = damage
            image.save(self.image)
            command = self.rng.choice(["info", "hash", "map"])
            done = run(command, *([FOLLOW] if command != "info" else []), self.image, env=SMALL, timeout=60)
            self.assertNotRegex(done.stderr, "Sanitizer|runtime error|terminate called", (number, command))
            self.assertIn(done.returncode, (0, 63, 64, 65, 66, 69), (number, command, done.stderr))


class Writing(VhdxTest):
    def test_qemu_reads_what_is_made(self):
        need(self, "qemu-img")
        raw = self.scratch / "raw"
        for sectors, options in zip(SIZES, ([], ["subformat=fixed"], ["block_size=1M"], ["block_size=2M"],
                                            ["subformat=fixed", "block_size=1M"], ["block_size=256M"]), strict=True):
            content = self.some_content(sectors)
            raw.write_bytes(content)
            self.image.unlink(missing_ok=True)
            words = [word for option in options for word in ("--option", option)]
            self.good("convert", "-O", "vhdx", "--verify", *words, raw, self.image)
            self.assertEqual(self.qemu_reads("vhdx"), content)
            self.assertIn("No errors", self.qemu("qemu-img", "check", "-f", "vhdx", self.image))
            self.assert_reads(content)
            self.assertEqual(self.info()["variant"], "fixed" if "subformat=fixed" in options else "dynamic")

    def test_what_the_file_has(self):
        """By the specification: both headers and both tables of regions, an empty log, all on whole MiB."""
        raw = self.scratch / "raw"
        raw.write_bytes(bytes(3 * MIB) + b"x" + bytes(5 * MIB - 1))
        self.good("convert", "-O", "vhdx", "--option", "block_size=1M", raw, self.image)
        made = self.image.read_bytes()
        self.assertEqual(made[:8], b"vhdxfile")
        for at in HEADERS:
            self.assertEqual(made[at:at + 4], b"head")
            self.assertEqual(made[at + 48:at + 64], bytes(16))
            self.assertEqual(struct.unpack_from("<HHIQ", made, at + 64), (0, 1, MIB, MIB))
        self.assertEqual(made[REGIONS[0]:REGIONS[0] + 64 * KIB], made[REGIONS[1]:REGIONS[1] + 64 * KIB])
        entries = struct.unpack_from("<9Q", made, 3 * MIB)
        self.assertEqual(entries, (ZERO,) * 3 + (4 * MIB | PRESENT,) + (ZERO,) * 4 + (0,))
        self.assertEqual(len(made), 5 * MIB)
        need(self, "img_cat")
        self.assertTrue(self.img_cat() == raw.read_bytes())
        self.flip(HEADERS[0], REGIONS[1])
        self.assertEqual(self.good("read", self.image, binary=True).stdout, raw.read_bytes())

    def test_only_what_has_data_takes_space(self):
        self.assert_only_data_take_space("vhdx", 6 * MIB)
        need(self, "qemu-img")
        self.assertIn("No errors", self.qemu("qemu-img", "check", "-f", "vhdx", self.image))

    def test_what_cannot_be_made(self):
        raw, out = self.scratch / "raw", self.scratch / "out"
        raw.write_bytes(bytes(MIB))
        for options in (["--base", raw], ["-c"], ["--option", "x=1"], ["--option", "subformat=thin"],
                        ["--option", "block_size=3M"], ["--option", "block_size=512k"], ["--option", "block_size=512M"]):
            done = run("convert", "-O", "vhdx", *options, raw, out)
            self.assertIn(done.returncode, (63, 64), done.stderr)
            self.assertFalse(out.exists())
        raw.write_bytes(b"")
        self.refused(63, "convert", "-O", "vhdx", raw, out, words=["0 bytes"])
        need(self, "qemu-img")
        self.qemu("qemu-img", "create", "-q", "-f", "qcow2", self.image, (64 << 40) + SECTOR)
        self.refused(63, "convert", "-O", "vhdx", self.image, out, words=["64 TiB"])


if __name__ == "__main__":
    main("vhdx")
