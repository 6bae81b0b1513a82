# SPDX-License-Identifier: Apache-2.0
"""NTFS that is damaged: what is told of it, and that the rest is read all the same."""

import re
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from ext_test import JOURNAL, KIB, MIB, lister  # noqa: E402
from fs_maker import Dir, File, tool  # noqa: E402
from harness import main, scaled  # noqa: E402
from ntfs_test import RECORD, TEXT, NtfsTest, Walked  # noqa: E402


class Damage(NtfsTest):
    def small(self, **options):
        return self.made({"d": Dir(), "d/f": File(b"f" * 3000), "g": File(b"g"), "big": Dir(),
                          **{f"big/name of some length {i:03}": File(b"%d" % i) for i in range(60)}}, **options)

    def assert_error(self, code, text, kinds=None):
        listed = Walked(self.image)
        found = [x for x in listed.errors if text in x[2]]
        self.assertTrue(found and all(x[1] == code for x in found), listed.errors)
        if kinds:
            self.assertEqual({x[0] for x in listed.errors}, kinds)
        return listed

    def test_torn_records(self):
        self.small()
        names = Walked(self.image).paths()
        self.patch(self.record_at(names["g"]) + 1022, b"\xab\xcd")
        listed = self.assert_error("corruption", f"record {names['g']} is torn", {"nodes", "entries"})
        self.assertEqual(listed.paths(), names)
        self.assertEqual(set(names.values()) - set(listed.nodes), {names["g"]})
        self.small()
        self.patch(self.record_at(0) + 510, b"\xab\xcd")
        listed = Walked(self.image)
        self.assertEqual(listed.warnings, ["record 0 is torn: not all of its sectors were written: its copy was read"])
        self.assertEqual(listed.paths(), names)

    def test_stale_entries(self):
        """Another file's sequence number, and a record that is free."""
        self.small()
        names = Walked(self.image).paths()
        at = self.record_at(names["g"])
        sequence = self.image.read_bytes()[at + 16:at + 18]
        self.patch(at + 16, b"\x77\0")
        listed = self.assert_error("corruption", "entry 'g' of folder 5 leads to another file's record by now", {"entries"})
        self.assertNotIn("g", listed.paths())
        self.assertEqual(listed.paths(deleted=True)["g"], RECORD)
        self.patch(at + 16, sequence + struct.pack("<HHHH", 1, 0x38, 0, 0)[2:4])
        self.patch(at + 22, b"\0\0")
        listed = self.assert_error("corruption", "entry 'g' of folder 5 leads to a free record", {"entries"})
        self.assertEqual(listed.paths(deleted=True)["g"], names["g"])

    def test_index_blocks(self):
        self.small()
        names = Walked(self.image).paths()
        data = self.image.read_bytes()
        block = [m.start() for m in re.finditer(b"INDX", data) if "name of some".encode("utf-16-le") in data[m.start():m.start() + 4096]][0]
        self.patch(block + 16, b"\x55")  # its number
        listed = self.assert_error("corruption", "has another block where block", {"entries"})
        self.assertLess(set(listed.paths().items()), set(names.items()))
        self.patch(block, data[block:block + 4096])
        self.patch(block + 510, b"\xab\xcd")
        self.assert_error("corruption", "is torn", {"entries"})
        self.patch(block, data[block:block + 4096])
        self.patch(block + 24, struct.pack("<II", 0x28, 9000))
        self.assert_error("corruption", "sizes are impossible", {"entries"})

    def test_runs(self):
        self.small()
        number = Walked(self.image).paths()["d/f"]
        at = self.record_at(number)
        record = self.image.read_bytes()[at:at + 1024]
        data = record.find(struct.pack("<I", 0x80), 0x38)
        for runs, text in ((b"\x41\x06\xff\xff\xff\x7f\0", "outside of the file system"),
                           (b"\x11\x07\x20\0", "more clusters than it has"), (b"\x11\x05\x20\0", "runs for 5 clusters of 6"),
                           (b"\x11\x06\x80\0", "outside of the file system"), (b"\xf1\x06\x20\0", "that is no run"), (b"\x10\x06\x20\0", "that is no run")):
            self.patch(at + data + 64, runs)
            self.assert_error("corruption", text, {"runs", "content"})
        self.patch(at, record)
        self.patch(at + data + 48, struct.pack("<QQ", 5000, 3000))
        self.assert_error("corruption", "has clusters for 3072 bytes of 5000", {"runs", "content"})

    def test_states_that_are_warned_of(self):
        self.small()
        at = self.record_at(3)
        record = self.image.read_bytes()[at:at + 1024]
        flags = record.find(struct.pack("<BBH", 3, 1, 0), 0x100)
        self.patch(at + flags + 2, b"\1")
        self.assertEqual(Walked(self.image).warnings, ["it is marked as dirty: Windows would check it"])
        self.patch(at + flags + 2, b"\0")
        listed = Walked(self.image)
        log = next(x["from"] for x in listed.space if x["space"] == JOURNAL)
        for clean in (0, 2):
            page = struct.pack("<4sHHQIIHHHH", b"RSTR", 30, 9, 0, 4096, 4096, 48, 0, 1, 1).ljust(48, b"\0")
            page += struct.pack("<QHHHH", 77, 1, 0xFFFF, 0, clean)
            self.patch(log, page)
            self.assertEqual(Walked(self.image).warnings, [] if clean else ["its log was not replayed: the last changes may be torn"])
        self.patch(log, b"what?")
        self.assertEqual(len(Walked(self.image).warnings), 1)
        self.made({"hiberfil-sys": File(b"wake" + b"h" * 900)})  # NTFS-3G mounts none with the right name
        self.image.write_bytes(self.image.read_bytes().replace("hiberfil-sys".encode("utf-16-le"), "hiberfil.sys".encode("utf-16-le")))
        self.assertEqual(Walked(self.image).warnings, [])
        self.patch(self.image.read_bytes().find(b"wakeh"), b"hibr")
        self.assertEqual(Walked(self.image).warnings, ["Windows was hibernated: what it had not yet written is not here"])

    def test_folders_that_share_all_their_blocks(self):
        """Their entries are one folder's, and looked at once."""
        self.small()
        names = Walked(self.image).paths()
        source = self.image.read_bytes()[(at := self.record_at(names["big"])):at + 1024]
        for name, number in names.items():
            if name.startswith("big/"):
                here = self.record_at(number)
                own = self.image.read_bytes()[here:here + 48]
                self.patch(here, source[:16] + own[16:18] + source[18:44] + own[44:48] + source[48:])
        started = time.monotonic()
        self.assert_error("corruption", "has an entry that is folder")
        self.assertLess(time.monotonic() - started, 10)

    def test_files_that_share_all_their_clusters(self):
        """They may not be more than the image has, which else would be as long to walk as their sum."""
        self.made({"big": File(bytes(range(256)) * 2000), **{f"f{i}": File() for i in range(30)}})
        names = Walked(self.image).paths()
        source = self.image.read_bytes()[(at := self.record_at(names["big"])):at + 1024]
        for i in range(30):
            here = self.record_at(names[f"f{i}"])
            own = self.image.read_bytes()[here:here + 48]
            self.patch(here, source[:16] + own[16:18] + source[18:44] + own[44:48] + source[48:])
        listed = self.assert_error("corruption", "those before it have more clusters than there are", {"runs"})
        others = sum(bin(byte).count("1") for byte in tool("ntfscat", "-i", "6", self.image)) - 1000
        self.assertAlmostEqual(len(listed.errors), 31 - (8192 - others) // 1000, delta=1)

    def test_parts_of_other_files(self):
        """What a list of attributes names has to say that it is this file's."""
        volume = self.made({"f": File(b"f"), "g": File(b"g")})
        for i in range(30):
            volume.write(f"f:stream {i:02} {'n' * 60}", 0, b"%d" % i * 20)
        number = Walked(self.image).paths()["f"]
        base = struct.pack("<Q", number | 1 << 48)
        data = self.image.read_bytes()
        part = [m.start() for m in re.finditer(b"FILE", data) if data[m.start() + 32:m.start() + 40] == base][0]
        for wrong in (number + 1 | 1 << 48, number | 2 << 48):
            self.patch(part + 32, struct.pack("<Q", wrong))
            listed = self.assert_error("corruption", f"is not, or no more, a part of record {number}", {"nodes", "entries"})
            self.assertNotIn(number, listed.nodes)
            self.assertIn("g", listed.paths())

    def test_compressed_data_that_are_broken(self):
        self.made({"packed": Dir(), "packed/f": File(TEXT)}, compressed=("packed",))
        number = Walked(self.image).paths()["packed/f"]
        first = self.clusters(number)[0] * 512
        self.patch(first, b"\xff\xbf" + b"\xff" * 400)
        self.assert_error("corruption", "compressed data", {"content"})

    def test_an_image_that_is_cut(self):
        self.small()
        whole = self.image.read_bytes()
        for size in (100, 512, 8 * KIB, 30 * KIB, 80 * KIB, 120 * KIB, 2 * MIB):
            self.image.write_bytes(whole[:size])
            with self.subTest(size=size):
                listed = Walked(self.image)
                self.assertTrue(listed.errors)
                self.assertTrue(all(x[1] in ("corruption", "not_found") for x in listed.errors), listed.errors)

    def test_mutants(self):
        """Bytes of the metadata are changed: no crash, nothing for ever, and not much memory."""
        volume = self.made({"d": Dir(), "d/f": File(b"f" * 3000), "d/f:s": File(b"s"), "packed": Dir(), "packed/p": File(TEXT[:60_000]), "sp": File(b"x", at=99_000, size=200_000),
                            **{f"d/name {i:03}": File(b"%d" % i) for i in range(30)}}, size=1100 * KIB, compressed=("packed",))
        for i in range(24):
            volume.write(f"d/f:stream {i:02} {'n' * 60}", 0, b"%d" % i * 20)
        volume.delete("d/name 005")
        whole = self.image.read_bytes()
        records = [m.start() for m in re.finditer(b"FILE|INDX", whole) if m.start() % 512 == 0]
        for number in range(scaled(1000)):
            bad = bytearray(whole)
            for _ in range(self.rng.choice([1, 1, 2, 8, 32])):
                at = self.rng.choice(records) + self.rng.randrange(500) if self.rng.random() < 0.95 else self.rng.randrange(80)
                bad[at] = self.rng.choice([0, 1, 0x7F, 0x80, 0xFF, self.rng.randrange(256)])
            if self.rng.random() < 0.1:
                del bad[self.rng.randrange(len(bad)):]
            self.image.write_bytes(bad)
            with self.subTest(number=number):
                lister(self.image)


if __name__ == "__main__":
    main("ntfs_damage")
