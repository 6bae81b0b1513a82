# SPDX-License-Identifier: Apache-2.0
"""Expert Witness images (E01) that are read: of ewf-tools, of a maker, and what is broken."""

import hashlib
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from ewf_images import CHUNK, EwfTest  # noqa: E402
from ewf_maker import (PACKED, SECTION, Segment, add_chunks, errors_body, extension, header_body, make_ewf, split, summed, table_body,  # noqa: E402
                       volume_body)  # noqa: E402
from harness import SNAPTOOL, main, need, run, scaled  # noqa: E402
from vm_images import MIB, SECTOR  # noqa: E402

class FromEwfTools(EwfTest):
    def test_streamed(self):
        need(self, "ewfacquirestream")
        for form in ("encase2", "encase3", "encase4", "encase5", "encase6", "encase7", "linen5", "linen6", "ftk", "ewfx"):
            content = self.content(9)
            level = self.rng.choice(["none", "fast", "best"])
            self.peer("ewfacquirestream", "-q", "-t", "x", "-f", form, "-c", level, "-d", "sha1", data=content)
            path = next(self.scratch.glob("x.*01"))
            self.assert_reads(content, path=path)
            self.verified(0, path)
            path.unlink()

    def test_chunks_of_other_sizes(self):
        need(self, "ewfacquirestream")
        for sectors in (16, 1024, 32768):
            content = self.content(40)
            self.peer("ewfacquirestream", "-q", "-t", "x", "-b", sectors, "-c", "fast", data=content)
            self.assert_reads(content, path=self.scratch / "x.E01")
            (self.scratch / "x.E01").unlink()

    def test_files_that_end_within_a_sector(self):
        """They have a last chunk that is longer than the medium's rest, or one more."""
        need(self, "ewfacquire", "ewfexport")
        for size in (983107, 1000003, 32 * 1024 + 300, 99, 32 * 1024, 3 * 32 * 1024 - 1):
            (self.scratch / "raw.dd").write_bytes(self.rng.randbytes(size // 2) + b"w" * (size - size // 2))
            for level in ("fast", "none"):
                self.peer("ewfacquire", "-u", "-q", "-t", "x", "-d", "sha1", "-c", level, "raw.dd")
                content = (self.scratch / "raw.dd").read_bytes()[:size // SECTOR * SECTOR]
                if content:
                    self.peer("ewfexport", "-u", "-q", "-t", "out", "-f", "raw", "x.E01")
                    self.assertEqual((self.scratch / "out.raw").read_bytes(), content)
                self.assertEqual(self.good("read", self.scratch / "x.E01", binary=True).stdout, content)
                notes = self.verified(0, self.scratch / "x.E01")["notes"]
                self.assertEqual([f"{size % SECTOR} bytes" in note for note in notes], [True] if size % SECTOR else [])
                for path in (*self.scratch.glob("x.*"), *self.scratch.glob("out*")):
                    path.unlink()

    def test_segments(self):
        need(self, "ewfacquire")
        content = self.rng.randbytes(3 * MIB)
        (self.scratch / "raw.dd").write_bytes(content)
        for form, name in (("encase6", "x.E01"), ("smart", "x.s01"), ("encase1", "x.E01"), ("ftk", "x.E01")):
            self.peer("ewfacquire", "-u", "-q", "-t", "x", "-f", form, "-c", "none", "-S", MIB, "raw.dd")
            self.assertGreater(len(list(self.scratch.glob("x.*"))), 3)
            self.assert_reads(content, path=self.scratch / name)
            self.verified(0, self.scratch / name)
            for path in self.scratch.glob("x.*"):
                path.unlink()

    def test_what_it_says_of_itself(self):
        """As ewfinfo shows it."""
        need(self, "ewfacquirestream")
        content = self.content(3)
        self.peer("ewfacquirestream", "-q", "-t", "x", "-c", "best", "-C", "Case\u00e9 7", "-D", "a disk", "-E", "EV-1", "-e", "Jo",
                  "-N", "some notes", "-d", "sha1", "-m", "optical", data=content)
        info = self.info(self.scratch / "x.E01")
        self.assertEqual((info["format"], info["virtual_size"]), ("ewf", len(content)))
        details = json.dumps(info, ensure_ascii=False)
        for word in ("Case\u00e9 7", "a disk", "EV-1", "Jo", "some notes", "optical disc", '"best"', '"Linux"',
                     hashlib.md5(content).hexdigest(), hashlib.sha1(content).hexdigest(), '"segments": 1'):
            self.assertIn(word, details)

    def test_the_sleuth_kit_agrees(self):
        need(self, "img_cat")
        content = self.content(5)
        self.save(content)
        done = subprocess.run(["img_cat", "-i", "ewf", self.image], capture_output=True, check=True, timeout=60)
        self.assertEqual(done.stdout, content)

    def test_ewftools_read_what_the_maker_makes(self):
        """So that the maker is not only believed."""
        need(self, "ewfverify")
        for options in ({}, {"per_table": 3}, {"packed": lambda data: False}, {"per_segment": 4}, {"layout": "encase1"}):
            content = self.content(11)
            self.save(content, **options)
            self.peer("ewfverify", "-q", self.image)


class Reading(EwfTest):
    def test_what_is_made(self):
        for options in ({}, {"chunk_sectors": 1}, {"per_table": 1}, {"per_table": 7, "per_segment": 5},
                        {"packed": lambda data: False}, {"packed": lambda data: data[0] < 99}, {"chunk_sectors": 2048},
                        {"layout": "encase1", "per_table": 9}, {"sector": 2048, "chunk_sectors": 16}, {"guid": b"g" * 16,
                                                                                                       "per_segment": 9}):
            content = self.content(20, 4 * SECTOR)
            self.save(content, self.rng.choice("Ee"), **options)
            self.assert_reads(content)
            self.verified(0)
        content = self.content(20)
        self.save(content, "s", layout="smart", per_table=6, per_segment=13)
        self.assert_reads(content)

    def test_many_chunks_and_tables(self):
        content = self.rng.randbytes(SECTOR * 9000)
        for per_table in (10, 9000):
            self.save(content, chunk_sectors=1, per_table=per_table, packed=lambda data: False)
            self.assertEqual(self.good("read", self.image, binary=True).stdout, content)
            for _ in range(10):
                at = self.rng.randrange(len(content) - 2000)
                part = run("read", "--offset", at, "--length", 2000, self.image, binary=True).stdout
                self.assertEqual(part, content[at:at + 2000])

    def test_many_segments(self):
        """Past .E99 comes .EAA; past .EZZ, .FAA."""
        self.assertEqual([extension(n) for n in (1, 99, 100, 125, 126, 775, 776)],
                         ["E01", "E99", "EAA", "EAZ", "EBA", "EZZ", "FAA"])
        content = self.rng.randbytes(SECTOR * 790)
        self.save(content, chunk_sectors=1, per_segment=1)
        self.assertTrue((self.scratch / "image.FAO").exists())
        # More files than may be open by default.
        done = subprocess.run(["bash", "-c", 'ulimit -Sn 99 && exec "$0" read "$1"', SNAPTOOL, self.image], capture_output=True,
                              check=False, timeout=60)
        self.assertEqual((done.returncode, done.stdout == content), (0, True), done.stderr)

    def test_nothing(self):
        self.save(b"")
        self.assertEqual(self.good("read", self.image).stdout, "")
        self.assertEqual(self.info()["virtual_size"], 0)

    def test_a_last_chunk_that_is_stored_whole(self):
        for packed in (True, False):
            content = self.content(2)
            segment = Segment()
            count = len(content) // SECTOR
            segment.add("volume", volume_body(3, 64, SECTOR, count))
            whole = content + bytes(-len(content) % CHUNK)
            made = make_ewf(whole, packed=lambda data, packed=packed: packed)[0]
            body = made.data[made.place("sectors"):made.place("table") - SECTION]
            base = len(segment.data)
            entries = [entry for (entry,) in struct.iter_unpack("<I", made.data[made.place("table") + 24:][:12])]
            segment.add("sectors", bytes(body))
            segment.add("table", table_body(entries, base))
            segment.end("done")
            self.put(segment)
            self.assert_reads(content)

    def test_offsets_that_outgrew_31_bits(self):
        """EnCase 6.7 went on with all 32 bits, and without compression."""
        need(self, "ewfexport")
        chunks = [self.rng.randbytes(CHUNK) for _ in range(4)]
        segment = Segment()
        segment.add("volume", volume_body(4, 64, SECTOR, 256))
        start = len(segment.data)
        places = [(1 << 31) - CHUNK - 9 + number * (CHUNK + 4) for number in range(4)]
        end = start + places[3] + CHUNK + 4
        section = struct.pack("<16sQQ40x", b"sectors", end, end - start)
        with open(self.image, "wb") as file:
            file.write(segment.data + summed(section))
            for chunk, place in zip(chunks, places, strict=True):
                file.seek(start + place)
                file.write(summed(chunk))
            for kind in ("table", "table2"):
                body = table_body(places, start)
                at = end + (SECTION + len(body)) * (kind == "table2")
                file.seek(at)
                file.write(summed(struct.pack("<16sQQ40x", kind.encode(), at + SECTION + len(body), SECTION + len(body))) + body)
            file.write(summed(struct.pack("<16sQQ40x", b"done", at + SECTION + len(body), 0)))
        self.assertEqual(self.good("read", self.image, binary=True).stdout, b"".join(chunks))
        self.peer("ewfexport", "-u", "-q", "-t", "out", "-f", "raw", self.image)
        self.assertEqual((self.scratch / "out.raw").read_bytes(), b"".join(chunks))

    def test_texts_are_hostile(self):
        header = {"c": "a\x1b[31mred\u202e", "n": "\x07", "a": "x" * 5000, "m": "1142163845", "u": "no date", "p": "abc"}
        self.save(self.content(2), header=header)
        text = self.good("info", self.image).stdout
        for bad in ("\x1b", "\x07", "\u202e"):
            self.assertNotIn(bad, text)
        self.assertIn("2006-03-12T11:44:05Z", text)
        self.assertIn("no date", text)
        self.assertIn("password", text)
        json.loads(self.good("info", "--output=json", self.image).stdout)

    def test_partitions_within(self):
        need(self, "sfdisk")
        raw = self.scratch / "raw"
        raw.write_bytes(bytes(4 * MIB))
        subprocess.run(["sfdisk", "-q", raw], input=b"2048,1024,83\n", check=True, timeout=60)
        content = bytearray(raw.read_bytes())
        content[MIB:MIB + 5] = b"hello"
        self.save(bytes(content))
        self.assertEqual(self.good("read", "--length", 5, f"{self.image}#p1").stdout, "hello")


class Segments(EwfTest):
    def setUp(self):
        super().setUp()
        self.whole = self.content(20)
        self.save(self.whole, per_segment=6, guid=b"1" * 16)

    def test_one_is_missing(self):
        (self.scratch / "image.E03").unlink()
        self.refused(1, "hash", self.image, words=["image.E03"])

    def test_names_are_as_the_first_one_is_given(self):
        (self.scratch / "image.E02").write_bytes(b"no segment")
        done = subprocess.run([SNAPTOOL, "hash", "image.E01"], capture_output=True, check=False, timeout=60, cwd=self.scratch)
        self.assertEqual(done.returncode, 65)
        self.assertIn(b" 'image.E02': ", done.stderr)

    def test_misordered(self):
        second, third = self.scratch / "image.E02", self.scratch / "image.E03"
        third.write_bytes(second.read_bytes())
        self.refused(65, "hash", self.image, words=["image.E03", "segment 2", "not 3"])

    def test_of_another_image(self):
        other = make_ewf(self.whole, per_segment=6, guid=b"2" * 16)
        (self.scratch / "image.E02").write_bytes(other[1].data)
        self.refused(65, "hash", self.image, words=["image.E02", "of the image"])

    def test_of_another_medium(self):
        """Without an identifier, what `data` says of the medium tells."""
        for guid in (bytes(16), b"1" * 16):
            self.save(self.whole, per_segment=6, guid=guid)
            other = make_ewf(self.whole + bytes(SECTOR), per_segment=6, guid=guid)
            (self.scratch / "image.E02").write_bytes(other[1].data)
            for command in ("read", "hash", "verify"):
                done = run(command, self.image, binary=True)
                self.assertEqual(done.returncode, 2 if command == "verify" else 65, done.stderr)
            self.refused(65, "convert", self.image, self.scratch / "out", words=["image.E02", "another image"])

    def test_nothing_tells_that_it_is_of_another(self):
        """But the sums of the whole: convert compares them first, where identifiers do not say the same."""
        out = self.scratch / "out"
        derived = b"1" * 7 + b"\x81" + b"1" * 8
        for guid in (b"", bytes(16), derived):
            self.save(self.whole, per_segment=6, guid=guid)
            self.good("convert", self.image, out)
            self.assertEqual(out.read_bytes(), self.whole)
            out.unlink()
            other = make_ewf(self.whole[::-1], per_segment=6, guid=guid)
            (self.scratch / "image.E02").write_bytes(other[1].data)
            self.refused(65, "convert", self.image, out, words=["that is stored"])
            self.assertFalse(out.exists())
            self.verified(2)
            self.good("convert", "--ignore-invalid", self.image, out)
            out.unlink()

    def test_not_the_first(self):
        self.refused(64, "hash", self.scratch / "image.E02", words=["segment 2", "first"])

    def test_a_name_that_leads_nowhere(self):
        other = self.scratch / "evidence"
        other.write_bytes(self.image.read_bytes())
        self.refused(63, "hash", other, words=["x.E01"])

    def test_one_elsewhere_is_not_opened(self):
        (self.scratch / "elsewhere").mkdir()
        (self.scratch / "image.E02").rename(self.scratch / "elsewhere" / "image.E02")
        (self.scratch / "image.E02").symlink_to(self.scratch / "elsewhere" / "image.E02")
        self.assert_reads(self.whole)
        far = self.scratch / "far"
        far.mkdir()
        self.image.rename(far / "image.E01")
        (far / "image.E02").symlink_to(self.scratch / "elsewhere" / "image.E02")
        self.refused(63, "hash", far / "image.E01", words=["image.E02"])


class Damage(EwfTest):
    def setUp(self):
        super().setUp()
        self.whole = self.content(20)

    def damaged_chunk(self, packed, number):
        """An image whose chunk `number` has a byte changed; where it is in the image."""
        segment = self.save(self.whole, packed=lambda data: packed, per_table=7)[0]
        table, entry = divmod(number, 7)
        place = struct.unpack_from("<I", segment.data, segment.place("table", table) + 24 + 4 * entry)[0] & ~PACKED
        segment.flip("sectors", place - SECTION + 9, table)
        self.put(segment)
        return number * CHUNK

    def test_chunks(self):
        for packed in (True, False):
            for number in (0, 9, 20):
                at = self.damaged_chunk(packed, number)
                length = min(CHUNK, len(self.whole) - at)
                self.refused(65, "read", "--offset", at, "--length", 9, self.image, words=[f"chunk {number}", "image.E01"])
                self.refused(65, "hash", self.image)
                if number > 0:
                    others = self.good("read", "--length", at, self.image, binary=True)
                    self.assertEqual(others.stdout, self.whole[:at])
                result = self.verified(2)
                self.assertEqual(result["damaged"], [{"offset": at, "length": length}])
                self.assertEqual(result["damaged_bytes"], length)
                out = self.scratch / "out"
                self.refused(65, "convert", self.image, out)
                self.assertFalse(out.exists())
                done = run("convert", "--salvage", self.image, out)
                self.assertEqual(done.returncode, 65)
                self.assertIn(f"{length} bytes at byte {at} ", done.stderr)
                self.assertEqual(out.read_bytes(), self.whole[:at] + bytes(length) + self.whole[at + length:])
                out.unlink()

    def test_a_first_chunk_that_is_damaged(self):
        """Where what is in it would be told by it."""
        self.damaged_chunk(True, 0)
        done = self.good("info", self.image)
        self.assertIn("fixed disk", done.stdout)
        self.assertIn("chunk 0", done.stdout)
        self.assertEqual(self.good("read", "--offset", CHUNK, "--length", 9, self.image, binary=True).stdout,
                         self.whole[CHUNK:CHUNK + 9])

    def test_sums_of_the_whole(self):
        """A chunk whose own sum is right, in an image that was changed."""
        other = bytearray(self.whole)
        other[70000] ^= 1
        changed = make_ewf(bytes(other), sums=False)[0]
        whole = make_ewf(self.whole)[0]
        del changed.data[-SECTION:]
        for kind in ("digest", "hash"):
            start, size = whole.places[kind][0]
            changed.add(kind, bytes(whole.data[start:start + size]))
        changed.end("done")
        self.put(changed)
        self.assert_reads(bytes(other))
        result = self.verified(2)
        self.assertEqual(len(result["problems"]), 2)
        self.assertIn(hashlib.md5(self.whole).hexdigest(), result["problems"][0])
        self.assertIn(hashlib.md5(other).hexdigest(), result["problems"][0])
        self.assertIn(hashlib.sha1(self.whole).hexdigest(), result["problems"][1])

    def test_tables(self):
        """Of a table and its copy one will do, with a warning."""
        for kind, other in (("table", "table2"), ("table2", "table")):
            for at in (0, 26, -1):
                segment = self.save(self.whole, per_table=6)[0]
                segment.flip(kind, at, 1)
                self.put(segment)
                done = self.good("read", self.image, binary=True)
                self.assertEqual(done.stdout, self.whole)
                self.assertIn(b"damaged", done.stderr)
                self.assertIn("damaged", self.verified(2)["problems"][0])
                segment.flip(other, at, 1)
                self.put(segment)
                self.refused(65, "hash", self.image)
        for changes in ((1,), (1, -2, 1)):  # the latter have the same Adler-32
            segment = self.save(self.whole)[0]
            start, size = segment.places["table2"][0]
            entries = bytearray(segment.data[start + 24:start + size - 4])
            at = next(at for at in range(len(entries)) if all(0 <= entries[at + i] + by < 256 for i, by in enumerate(changes)))
            for number, by in enumerate(changes):
                entries[at + number] += by
            same = summed(bytes(entries))[-4:] == segment.data[start + size - 4:start + size]
            self.assertEqual(same, len(changes) == 3)
            segment.data[start + 24:start + size] = summed(bytes(entries))
            self.put(segment)
            self.refused(65, "hash", self.image, words=["differ"])

    def test_which_section_is_at_fault(self):
        """Not the one after it."""
        segment = Segment()
        segment.add("volume", volume_body(1, 64, SECTOR, 64))
        segment.add("sectors", zlib.compress(bytes(CHUNK)))
        place = len(segment.data)
        segment.add("table", table_body([SECTION | PACKED])[:24])
        segment.add("other")
        segment.end("done")
        self.put(segment)
        self.refused(65, "hash", self.image, words=[f"'table' at byte {place}"])
        self.assertNotIn("other", run("hash", self.image).stderr)

    def test_all_texts_are_looked_at(self):
        """Also those that repeat what is known."""
        for kind, number, changes in (("header2", 0, 1), ("header2", 1, 1), ("header", 0, 1)):
            segment = Segment()
            for name in ("header2", "header2", "header"):
                segment.add(name, header_body({"c": "7"}, name == "header2"))
            segment.add("volume", volume_body(1, 64, SECTOR, 64))
            add_chunks(segment, [bytes(CHUNK)], lambda data: True)
            segment.end("done")
            self.put(segment)
            self.verified(0)
            segment.flip(kind, 5, number, changes)
            self.put(segment)
            self.assertIn(f"'{kind}'", self.verified(2)["problems"][0])
            self.assertIn("7", json.dumps(self.info()))

    def test_bytes_between_chunks(self):
        """Nothing reads them; that they are there is told."""
        content = self.rng.randbytes(3 * CHUNK)
        for gap, notes in ((b"", []), (b"hidden", ["1 chunk has other bytes"])):
            segment = Segment()
            segment.add("volume", volume_body(3, 64, SECTOR, 192))
            base = len(segment.data)
            stored, entries = b"", []
            for number, data in enumerate(split(content, CHUNK)):
                entries.append(SECTION + len(stored))
                stored += summed(data) + (gap if number == 1 else b"")
            segment.add("sectors", stored)
            segment.add("table", table_body(entries, base))
            segment.end("done")
            self.put(segment)
            self.assert_reads(content)
            found = [note for note in self.verified(0)["notes"] if "MD5" not in note]
            self.assertEqual([note[:len("1 chunk has other bytes")] for note in found], notes)

    def test_a_sum_of_data(self):
        """Left out it may be, but not wrong."""
        for last, status in ((bytes(4), 0), (b"\1\2\3\4", 2)):
            segment = Segment()
            segment.add("volume", volume_body(1, 64, SECTOR, 64))
            add_chunks(segment, [bytes(CHUNK)], lambda data: True)
            segment.add("data", volume_body(1, 64, SECTOR, 64)[:-4] + last)
            segment.end("done")
            self.put(segment)
            self.verified(status)
            self.assert_reads(bytes(CHUNK))

    def test_entries(self):
        for entries in ([SECTION, 1], [SECTION - 1], [1 << 30], [SECTION + 9, SECTION], [PACKED | SECTION + 5]):
            segment = Segment()
            segment.add("volume", volume_body(len(entries), 64, SECTOR, 64 * len(entries)))
            base = len(segment.data)
            segment.add("sectors", summed(bytes(CHUNK)))
            segment.add("table", table_body(entries, base))
            segment.end("done")
            self.put(segment)
            self.refused(65, "hash", self.image)

    def shared_sectors(self, tables, chunks):
        """Tables, of numbers of chunks, that all lead into the same sectors."""
        segment = Segment()
        count = sum(map(len, tables))
        segment.add("volume", volume_body(count, 64, SECTOR, 64 * count))
        base = len(segment.data)
        bodies = [zlib.compress(data) for data in chunks]
        places = [SECTION + sum(map(len, bodies[:number])) for number in range(len(bodies))]
        segment.add("sectors", b"".join(bodies))
        for table in tables:
            for kind in ("table", "table2"):
                segment.add(kind, table_body([places[number] | PACKED for number in table], base))
        segment.end("done")
        self.put(segment)

    def test_tables_share_sectors_but_no_chunks(self):
        """So that no image is many times as large as its file could hold."""
        chunks = split(self.whole, CHUNK)[:6]
        self.shared_sectors([[0, 1], [2], [3, 4, 5]], chunks)
        self.assert_reads(b"".join(chunks))
        self.shared_sectors([[0, 1], [2, 3], [4, 5]], chunks)
        for kind in ("table", "table2"):
            whole = bytearray(self.image.read_bytes())
            whole[whole.index(kind.encode() + b"\0", whole.index(kind.encode() + b"\0") + 99) + SECTION + 26] ^= 0x40
            damaged = self.scratch / "damaged.E01"
            damaged.write_bytes(whole)
            done = run("read", damaged, binary=True)
            self.assertEqual((done.returncode, done.stdout), (0, b"".join(chunks)), done.stderr)
            self.assertIn(b"damaged", done.stderr)
        for tables in ([[0]] * 50, [[0, 1], [1, 2]], [[0, 1], [0, 2]], [[2, 3], [0, 1]], [[0, 1, 2], [1, 3]]):
            self.shared_sectors(tables, chunks)
            self.refused(65, "hash", self.image)

    def test_sections(self):
        good = self.save(self.whole)[0]
        for kind in ("volume", "sectors", "table", "digest", "done"):
            whole = bytearray(good.data)
            place = good.place(kind) - SECTION if kind != "done" else len(whole) - SECTION
            whole[place + 17] ^= 1
            self.image.write_bytes(whole)
            for command in ("hash", "info", "verify"):
                self.assertIn(run(command, self.image).returncode, (2, 65))
        for change, status in (({"kind": "volume", "at": 5}, 65), ({"kind": "volume", "at": -1}, 65)):
            segment = self.save(self.whole)[0]
            segment.flip(**change)
            self.put(segment)
            self.refused(status, "info", self.image)
        for kind in ("hash", "digest"):
            segment = self.save(self.whole)[0]
            segment.flip(kind, 3)
            self.put(segment)
            self.assertEqual(self.good("read", self.image, binary=True).stdout, self.whole)
            self.verified(2)

    def test_volumes(self):
        for status, fields in ((65, (20, 64, 512, 1285)), (65, (22, 64, 512, 1285)), (65, (21, 0, 512, 1285)),
                               (65, (21, 64, 0, 1285)), (65, (21, 64, 512, 1 << 60)), (63, (1, 1 << 16, 512, 1285)),
                               (65, (0, 64, 512, 0))):
            segment = self.save(self.whole)[0]
            start, size = segment.places["volume"][0]
            segment.data[start:start + size] = volume_body(*fields)
            self.put(segment)
            self.refused(status, "hash", self.image)

    def test_chunks_that_no_table_has(self):
        """It is not known which are missing: what there is is shown only to who asks for what is left."""
        there = 15 * CHUNK
        end = 21 * CHUNK
        whole = self.whole[:there]
        for first in (0, 6):  # those from there on may be in a wrong place
            segment = Segment()
            segment.add("volume", volume_body(21, 64, SECTOR, end // SECTOR))
            for at in (0, 9):
                add_chunks(segment, split(whole[at * CHUNK:(at + first if at == 0 and first else at + 9) * CHUNK], CHUNK),
                           lambda data: True)
            segment.end("done")
            self.put(segment)
            count = (first or 9) + 6
            shown = whole[:(first or 9) * CHUNK] + whole[9 * CHUNK:]
            for command in ("read", "hash"):
                self.refused(65, command, self.image, words=[f"{count} chunks", "21", "wrong place", "--ignore-invalid"])
            self.refused(65, "read", "--length", 9, self.image)
            done = run("read", "--ignore-invalid", "--length", count * CHUNK, self.image, binary=True)
            self.assertEqual((done.returncode, done.stdout), (0, shown))
            self.assertIn(b"wrong place", done.stderr)
            self.assertEqual(run("hash", "--ignore-invalid", self.image).returncode, 65)
            self.assertIn("wrong place", self.verified(2)["problems"][0])
            self.assertIn("wrong place", self.good("info", self.image).stdout)
            out = self.scratch / "out"
            self.refused(65, "convert", self.image, out)
            self.assertFalse(out.exists())
            done = run("convert", "--salvage", self.image, out)
            self.assertEqual((done.returncode, done.stderr.count("wrong place")), (65, 1))
            self.assertEqual(out.read_bytes(), shown + bytes(end - len(shown)))
            out.unlink()

    def salvaged(self, chunks, words):
        """That so many chunks are got out of it, and the rest is zeros."""
        out = self.scratch / "out"
        self.assertEqual(run("convert", self.image, out).returncode, 1 if "E03" in words else 65)
        self.assertFalse(out.exists())
        done = run("convert", "--salvage", self.image, out)
        self.assertEqual(done.returncode, 65 if chunks < 21 else 0, done.stderr)
        self.assertEqual(done.stderr.count(words), 1, done.stderr)
        there = self.whole[:chunks * CHUNK]
        self.assertEqual(out.read_bytes(), there + bytes(len(self.whole) - len(there)))
        out.unlink()
        if there:
            done = run("read", "--ignore-invalid", "--length", len(there), self.image, binary=True)
            self.assertEqual((done.returncode, done.stdout), (0, there), done.stderr)

    def test_what_is_left_of_a_cut_file(self):
        segment = self.save(self.whole, per_table=5)[0]
        whole = bytes(segment.data)
        for number, chunks in ((0, 0), (1, 5), (3, 15), (4, 20)):
            for length in (segment.place("sectors", number) + 99, segment.place("table", number) + 9):
                self.image.write_bytes(whole[:length])
                self.salvaged(chunks, "cut" if length < segment.place("sectors", number) else "impossible")
            # Of a table without its copy, it is not known that it is sound.
            self.image.write_bytes(whole[:segment.place("table2", number) - SECTION])
            self.salvaged(min(21, chunks + 5), "it was cut")
        self.image.write_bytes(whole[:-SECTION])
        self.salvaged(21, "it was cut")
        self.image.write_bytes(whole[:200])
        self.refused(65, "convert", "--salvage", self.image, self.scratch / "out")

    def test_much_is_missing(self):
        """It is told as one range, although threads go past it in pieces."""
        count = 38000
        segment = Segment()
        segment.add("volume", volume_body(count, 64, SECTOR, 64 * count))
        add_chunks(segment, [bytes(CHUNK)] * 3, lambda data: True)
        segment.end("next")
        self.put(segment)
        done = run("convert", "--salvage", "-j", "2", self.image, self.scratch / "out")
        self.assertEqual(done.returncode, 65)
        self.assertIn(f"{(count - 3) * CHUNK} bytes at byte {3 * CHUNK} could not be read", done.stderr)

    def test_what_is_left_where_a_section_is_broken(self):
        for kind, number, chunks in (("sectors", 2, 10), ("table", 2, 10), ("table2", 2, 15), ("digest", 0, 21)):
            segment = self.save(self.whole, per_table=5)[0]
            segment.data[segment.place(kind, number) - SECTION + 17] ^= 1
            self.put(segment)
            self.salvaged(chunks, "Adler-32")

    def test_what_is_left_without_the_last_segments(self):
        self.save(self.whole, per_segment=6)
        (self.scratch / "image.E03").unlink()
        self.salvaged(12, "E03")
        self.save(self.whole, per_segment=6, numbers=[1, 2, 5, 4])
        self.salvaged(12, "segment 5")

    def test_what_was_cut(self):
        whole = bytes(self.save(self.whole)[0].data)
        for length in [9, 13, 50, 89, 1141, 2000, len(whole) - SECTION, len(whole) - 1]:
            self.image.write_bytes(whole[:length])
            self.assertEqual(run("hash", self.image).returncode, 65, length)

    def test_two_images_in_one(self):
        """Its sections lead to one image by their lengths, and to another by their places."""
        segment = self.save(self.whole)[0]
        start = segment.place("volume") - SECTION
        body = struct.pack("<16sQQ40x", b"volume", segment.place("volume") + 1052, 5000)
        segment.data[start:start + SECTION] = summed(body)
        self.put(segment)
        self.refused(65, "hash", self.image, words=["5000"])

    def test_errors_of_the_acquisition(self):
        self.save(self.whole, errors=[(3, 5), (100, 1)])
        notes = self.verified(0)["notes"]
        self.assertIn("2560 bytes from byte 1536", notes[0])
        self.assertIn("512 bytes from byte 51200", notes[1])
        self.assertIn("2560 bytes from byte 1536", self.good("verify", self.image).stdout)
        self.assertIn("acquisition_errors", json.dumps(self.info()))

    def test_several_lists_of_errors(self):
        segment = Segment()
        segment.add("volume", volume_body(1, 64, SECTOR, 64))
        add_chunks(segment, [bytes(CHUNK)], lambda data: True)
        for ranges in ([(3, 5)], [(10, 1), (20, 2)]):
            segment.add("error2", errors_body(ranges))
        segment.end("done")
        self.put(segment)
        notes = self.verified(0)["notes"]
        for text in ("2560 bytes from byte 1536", "512 bytes from byte 5120", "1024 bytes from byte 10240"):
            self.assertTrue(any(text in note for note in notes), notes)
        self.assertIn('"acquisition_errors": 3', json.dumps(self.info()))
        segment = make_ewf(self.whole, errors=[(number, 2) for number in range(70)])[0]
        del segment.data[-SECTION:]
        segment.add("error2", errors_body([(9, 9)]))
        segment.end("done")
        self.put(segment)
        notes = self.verified(0)["notes"]
        self.assertEqual([note for note in notes if "in all" in note],
                         ["in all, 71 ranges with 149 sectors could not be read when it was acquired"])

    def test_other_kinds_are_named(self):
        for magic, word in ((b"EVF2\x0d\x0a\x81\0", "Ex01"), (b"LVF\x09\x0d\x0a\xff\0", "L01"), (b"LEF2\x0d\x0a\x81\0", "Lx01")):
            self.image.write_bytes(magic + bytes(1000))
            self.refused(63, "hash", self.image, words=[word, "ewfexport"])

    def test_mutants(self):
        self.save(self.content(3), per_table=2)
        self.assert_survives_mutants(scaled(60), where=2600)


if __name__ == "__main__":
    main("ewf")
