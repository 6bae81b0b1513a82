# SPDX-License-Identifier: Apache-2.0
"""diff, its reports, hash and verify --against: compared with naive ones, and with the tools that read them."""

import datetime
import hashlib
import html
import json
import math
import os
import random
import re
import shlex
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from dfxml import assert_dfxml  # noqa: E402
from harness import SEED, SNAPTOOL, ZYGOTE, ScratchTest, main, need, run, run_under_strace, scaled, sha256_of_file  # noqa: E402
from html_page import Page  # noqa: E402


def naive_ranges(a, b, unit=512):
    """[(offset, length, changed bytes)] of two byte strings; the shorter goes on with zeros."""
    size = max(len(a), len(b))
    a, b = a.ljust(size, b"\0"), b.ljust(size, b"\0")
    ranges = []
    for at in range(0, size, unit):
        one, other = a[at:at + unit], b[at:at + unit]
        if one == other:
            continue
        changed = sum(x != y for x, y in zip(one, other, strict=True))
        if ranges and ranges[-1][0] + ranges[-1][1] == at:
            offset, length, before = ranges[-1]
            ranges[-1] = (offset, length + len(one), before + changed)
        else:
            ranges.append((at, len(one), changed))
    return ranges


def entropy(data):
    return -sum(n / len(data) * math.log2(n / len(data)) for n in Counter(data).values()) + 0.0


class DiffTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")

    @classmethod
    def setUpClass(cls):
        print(f"seed {SEED} (SNAPTOOL_SEED replays it)")

    def file(self, name, content):
        path = self.scratch / name
        path.write_bytes(content)
        return path

    def sparse(self, name, size, pieces):
        path = self.scratch / name
        with open(path, "wb") as file:
            file.truncate(size)
            for offset, content in pieces:
                file.seek(offset)
                file.write(content)
        return path

    def diff(self, *arguments):
        done = run("diff", "--output=json", *arguments)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual(result["summary"]["equal"], done.returncode == 0)
        return result

    def changed_pair(self, size=300_000):
        a = self.rng.randbytes(size)
        b = bytearray(a)
        for _ in range(self.rng.randrange(1, 8)):
            at = self.rng.randrange(size)
            length = min(size - at, self.rng.choice([1, 40, 3000]))
            b[at:at + length] = self.rng.randbytes(length)
        return a, bytes(b)


class Ranges(DiffTest):
    def test_against_a_naive_one(self):
        for n in range(60):
            size = self.rng.choice([0, 1, 511, 512, 4096, 100_000, 1_500_000])
            pieces = [(self.rng.randrange(size + 1), self.rng.choice([bytes(5000), self.rng.randbytes(3000), b"z"]))
                      for _ in range(self.rng.randrange(4))]
            a = self.sparse("a", size, pieces)
            more = [(self.rng.randrange(size + 1), self.rng.randbytes(self.rng.choice([1, 600, 9000])))
                    for _ in range(self.rng.randrange(3))]
            b = self.sparse("b", self.rng.choice([size, size, size + 70_000]), pieces + more)
            unit = self.rng.choice([512, 512, 4096, 1536, 1 << 20])
            expected = naive_ranges(a.read_bytes(), b.read_bytes(), unit)
            for jobs in (1, 4):
                result = self.diff("--granularity", unit, "-j", jobs, a, b)
                found = [(r["offset"], r["length"], r["changed_bytes"]) for r in result["ranges"]]
                self.assertEqual(found, expected, (n, unit))
            summary = result["summary"]
            self.assertEqual((summary["range_count"], summary["range_bytes"], summary["changed_bytes"]),
                             (len(expected), sum(r[1] for r in expected), sum(r[2] for r in expected)))
            self.assertEqual(summary["compared_bytes"] + summary["hole_bytes"] + summary["same_storage_bytes"],
                             max(a.stat().st_size, b.stat().st_size))
            self.assertEqual(run("diff", a, b).returncode, subprocess.run(["cmp", "-s", a, b], check=False).returncode
                             if a.stat().st_size == b.stat().st_size else 1 if expected else 0)

    def test_it_agrees_with_qemu_img(self):
        need(self, "qemu-img")
        for _ in range(10):
            a, b = (self.file(n, c) for n, c in zip("ab", self.changed_pair(self.rng.choice([4096, 300_032])),
                                                    strict=True))
            for options in ([], ["-s"]):
                theirs = subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", *options, a, b],
                                        check=False).returncode
                self.assertEqual(run("diff", "-q", *(["--strict"] if options else []), a, b).returncode, theirs)

    def test_forty_pairs_by_qemu_img_and_cmp(self):
        """Every pair of a hole, zeros and data of some sizes, and of odd ones: equal, strictly, and by which bytes."""
        need(self, "qemu-img")
        kinds = {"hole": [], "zeros": [(0, bytes(65536))], "tail": [(65535, b"x")], "head": [(0, b"x")],
                 "one-bit": [(40_000, b"\1")], "data": [(0, b"d" * 65536)]}
        shapes = [(kind, 65536) for kind in kinds] + [("hole", 65536 + 512), ("hole", 131_072), ("data", 65536 + 4096)]
        files = {shape: self.sparse("-".join(map(str, shape)), shape[1], kinds[shape[0]]) for shape in shapes}
        pairs = [(files[a], files[b]) for i, a in enumerate(shapes) for b in shapes[i:]]
        odd = [self.sparse(f"odd{n}", n, [(0, b"o" * (n - 1))]) for n in (511, 513, 65535)]
        pairs += [(a, b) for i, a in enumerate(odd) for b in odd[i:]]
        self.assertGreaterEqual(len(pairs), 40)
        for a, b in pairs:
            for options, strict in (([], []), (["-s"], ["--strict"])):
                theirs = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", *options, a, b], check=False,
                                        capture_output=True)
                ours = run("diff", *strict, a, b)
                self.assertEqual(ours.returncode, theirs.returncode, (a.name, b.name, strict, theirs.stdout))
            if a.stat().st_size == b.stat().st_size:
                bytes_of_cmp = subprocess.run(["cmp", "-l", a, b], check=False, capture_output=True).stdout.count(b"\n")
                self.assertEqual(self.diff(a, b)["summary"]["changed_bytes"], bytes_of_cmp, (a.name, b.name))

    def test_strict(self):
        hole = self.sparse("hole", 1 << 20, [(0, b"x")])
        zeros = self.sparse("zeros", 1 << 20, [(0, b"x"), (65536, bytes(8192))])
        longer = self.sparse("longer", (1 << 20) + 512, [(0, b"x")])
        self.assertEqual(self.diff(hole, zeros)["ranges"], [])
        self.assertEqual(self.diff("--strict", hole, zeros)["ranges"],
                         [{"offset": 65536, "length": 8192, "changed_bytes": 0}])
        self.assertTrue(self.diff(hole, longer)["summary"]["equal"])
        self.assertFalse(self.diff("--strict", hole, longer)["summary"]["equal"])

    def test_what_need_not_be_read_is_not(self):
        need(self, "strace")
        content = self.rng.randbytes(8 << 20)
        origin, cow = self.file("origin", content), self.scratch / "cow"
        self.assertEqual(run("create", origin, cow).returncode, 0)
        for offset in (0, 1 << 20, 5 << 20):
            self.assertEqual(run("write", "-P", "1", "--offset", offset, "--length", "100s", origin, cow).returncode, 0)

        def bytes_read(*operands):
            trace = self.scratch / "trace"
            done = run_under_strace(["-o", str(trace), "-e", "trace=pread64", "-P", str(origin)], "diff", *operands)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            return sum(int(n) for n in re.findall(r"\) += (\d+)$", trace.read_text(), re.M))
        chunks = 3 * 13 * 4096
        self.assertLess(bytes_read(origin, f"{origin}@{cow}"), chunks + 65536)
        self.assertLess(bytes_read(origin, origin), 65536)
        self.assertLess(bytes_read(f"{origin}#+1M", f"{origin}#+1M"), 65536)
        self.assertGreater(bytes_read(origin, self.file("copy", content)), 8 << 20)
        summary = self.diff(origin, f"{origin}@{cow}")["summary"]
        self.assertEqual((summary["compared_bytes"], summary["chunk_size_sectors"]), (chunks, 8))
        self.assertEqual(summary["same_storage_bytes"], (8 << 20) - chunks)
        self.assertLessEqual(summary["changed_bytes"], 300 * 512)

    def test_hex_and_hashes(self):
        a = self.file("a", b"The quick brown fox jumps over the lazy dog." + bytes(2000))
        b = self.file("b", b"The quick brown fox jumps over the crazy dog" + bytes(2000))
        done = run("diff", "--hex=64", "--hash", a, b)
        self.assertIn("  - 00000020  68 65 20 6c 61 7a 79 20  64 6f 67 2e 00 00 00 00  |he lazy dog.....|", done.stdout)
        self.assertIn("|he crazy dog....|", done.stdout)
        for path in (a, b):
            self.assertIn(hashlib.sha256(path.read_bytes()[:512]).hexdigest(), done.stdout)
        ranges = self.diff("--hex=16", "--hash", a, b)["ranges"]
        self.assertEqual(ranges[0]["hex_offset"], 32)
        self.assertEqual(bytes.fromhex(ranges[0]["after"]["hex"]), b.read_bytes()[32:48])
        self.assertAlmostEqual(ranges[0]["before"]["entropy"], entropy(a.read_bytes()[:512]), 6)

    def test_trouble_is_not_a_difference(self):
        a = self.file("a", bytes(4096))
        for operands, status in (([a, self.scratch / "none"], 2), (["--granularity", "100", a, a], 64),
                                 (["--hex=1M", a, a], 64), (["--report", self.scratch / "r.txt", a, a], 64),
                                 ([a, f"{a}#p1"], 2), ([a, self.scratch], 64)):
            done = run("diff", *operands)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual(done.stdout, "")


class Reports(DiffTest):
    def setUp(self):
        super().setUp()
        content, changed = self.changed_pair()
        while content == changed:
            content, changed = self.changed_pair()
        self.a, self.b = self.file("a <&'\".img", content), self.file("b.img", changed)
        self.expected = naive_ranges(content, changed)

    def report(self, name, *options):
        path = self.scratch / name
        done = run("diff", *options, self.a, self.b, "--report", path)
        self.assertEqual(done.returncode, 1, done.stderr)
        return path

    def test_json(self):
        report = json.loads(self.report("r.json").read_text())
        self.assertEqual([(r["offset"], r["length"], r["changed_bytes"]) for r in report["ranges"]], self.expected)
        for image, path in (("image1", self.a), ("image2", self.b)):
            self.assertEqual(report[image]["sha256"], sha256_of_file(path))
        for row in report["ranges"]:
            for side, path in (("before", self.a), ("after", self.b)):
                content = path.read_bytes()[row["offset"]:row["offset"] + row["length"]]
                self.assertEqual(row[side]["sha256"], hashlib.sha256(content).hexdigest())
                self.assertAlmostEqual(row[side]["entropy"], entropy(content), 6)
        self.assertEqual(shlex.split(report["command_line"]), ["snaptool", "diff", str(self.a), str(self.b), "--report", str(self.scratch / "r.json")])

    def test_dfxml(self):
        root = ET.fromstring(self.report("r.xml", "--case", "7", "--note", "a", "--algorithm", "md5,sha512", "--hex=8").read_bytes())
        assert_dfxml(self, root)
        ns = {"d": root.tag[1:].partition("}")[0]}
        names = [e.text for e in root.findall("d:source/d:image_filename", ns)]
        self.assertEqual(names, [str(self.a), str(self.b)])
        images = root.findall("d:source/{urn:snaptool:diff:1}image", ns)
        self.assertEqual([(image.get("when"), int(image.get("size"))) for image in images],
                         [("before", self.a.stat().st_size), ("after", self.b.stat().st_size)])
        for image, path in zip(images, (self.a, self.b), strict=True):
            self.assertEqual({e.get("type"): e.text for e in image.findall("d:hashdigest", ns)},
                             {name: hashlib.new(name, path.read_bytes()).hexdigest() for name in ("md5", "sha512")})
        runs = root.findall(".//d:byte_run", ns)
        self.assertEqual(len(runs), 2 * len(self.expected))
        for n, run_element in enumerate(runs):
            path = self.b if n % 2 else self.a
            offset, length = int(run_element.get("file_offset")), int(run_element.get("len"))
            self.assertEqual((offset, length), self.expected[n // 2][:2])
            self.assertEqual(int(run_element.get("img_offset")), offset)
            content = path.read_bytes()[offset:offset + length]
            self.assertEqual(run_element.find("d:hashdigest", ns).text, hashlib.sha256(content).hexdigest())

    def test_several_that_say_who_made_them(self):
        names = [self.scratch / f"r.{ending}" for ending in ("json", "xml", "html")]
        done = run("diff", self.a, self.b, *(word for name in names for word in ("--report", name)), "--case", "2026/<7>", "--examiner", "A. B & C",
                   "--note", "first", "--note", "second", "--algorithm", "md5,sha1,sha256", "--hex=8")
        self.assertEqual(done.returncode, 1, done.stderr)
        report = json.loads(names[0].read_text())
        self.assertEqual([report[key] for key in ("case_number", "examiner", "notes", "host")],
                         ["2026/<7>", "A. B & C", ["first", "second"], os.uname().nodename])
        self.assertIn(report["program_sha256"], [sha256_of_file(path) for path in (SNAPTOOL, ZYGOTE) if path])
        texts = [html.unescape(name.read_text()) for name in names[1:]]
        for text in texts:
            for part in ("2026/<7>", "A. B & C", "first", "second", report["host"], report["program_sha256"]):
                self.assertIn(part, text)
        for key, path in (("image1", self.a), ("image2", self.b)):
            facts = path.stat()
            seconds = datetime.datetime.fromtimestamp(int(facts.st_mtime), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
            self.assertEqual(report[key]["files"][0]["filename"], str(path))
            self.assertEqual(report[key]["files"][0]["file_size"], facts.st_size)
            self.assertTrue(report[key]["files"][0]["modified"].startswith(seconds))
            for algorithm in ("md5", "sha1", "sha256"):
                sum_ = hashlib.new(algorithm, path.read_bytes()).hexdigest()
                self.assertEqual(report[key][algorithm], sum_)
                for text in texts:
                    self.assertIn(sum_, text)
            for text in texts:
                self.assertIn(str(path), text)
                self.assertIn(seconds, text)
        row = report["ranges"][0]
        self.assertIn(f">{row['before']['hex']}</snaptool:hex>", texts[0])
        self.assertIn(f"  - {row['hex_offset']:08x}  " + bytes.fromhex(row["before"]["hex"]).hex(" "), texts[1])

    def test_names_of_reports(self):
        for names in (("r.json", "r.txt"), ("r.json", "./r.json")):
            done = run("diff", self.a, self.b, *(word for name in names for word in ("--report", name)), cwd=self.scratch)
            self.assertEqual(done.returncode, 64, done.stderr)
            self.assertFalse((self.scratch / "r.json").exists())

    def test_two_names_of_one_report(self):
        os.symlink("new.json", self.scratch / "to-new.json")
        os.symlink(".", self.scratch / "folder")
        (self.scratch / "old.json").write_text("old")
        os.symlink("old.json", self.scratch / "to-old.json")
        os.link(self.scratch / "old.json", self.scratch / "same-old.json")
        for names in (("new.json", "to-new.json"), ("to-new.json", "new.json"), ("new.json", "folder/new.json"),
                      ("old.json", "to-old.json"), ("old.json", "same-old.json")):
            done = run("diff", "--force", self.a, self.b, *(word for name in names for word in ("--report", name)), cwd=self.scratch)
            self.assertEqual(done.returncode, 64, (names, done.stderr))
            self.assertIn("given twice", done.stderr)
            self.assertFalse((self.scratch / "new.json").exists())
            self.assertEqual((self.scratch / "old.json").read_text(), "old")

    def test_html(self):
        page = self.report("r.html").read_text()
        for path in (self.a, self.b):
            self.assertIn(sha256_of_file(path), page)
        self.assertNotIn("<script", page)
        self.assertNotIn("a <&", page)
        self.assertIsNone(re.search(r"(?:src|href)=[\"'](?!#)", page))
        self.assertEqual(len(re.findall('<td class="hash">[0-9a-f]{64}<br>', page)), len(self.expected))

    def test_html_tells_what_became_of_a_range(self):
        a = self.sparse("a.dd", 1 << 20, [(0, b"x" * 512), (8192, b"x" * 512), (65536, b"x" * 512)])
        b = self.sparse("b.dd", (1 << 20) + 8192, [(0, b"y" * 512), (65536, b"x" * 512), (1 << 20, b"z" * 512)])
        path = self.scratch / "r.html"
        for one, other, kinds in ((a, b, ["changed", "now zeros", "only in one image"]),
                                  (b, a, ["changed", "changed", "only in one image"])):
            self.assertEqual(run("diff", one, other, "--force", "--report", path).returncode, 1)
            page = path.read_text()
            self.assertEqual(re.findall(r'</td><td>([\w ]+)</td><td class="hash">', page), kinds)
            overview = page[page.index("<svg"):page.index("</svg>")]
            for name, kind in (("changed", "changed"), ("zeroed", "now zeros"), ("only", "only in one image")):
                self.assertEqual(f'class="c {name}"' in overview, kind in kinds)
            self.assertEqual(overview.count('class="o"'), 1)

    def test_the_time_of_a_report(self):
        path = self.scratch / "r.json"
        for date, shown in (("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"), ("@86399", "1970-01-01T23:59:59Z")):
            self.assertEqual(run("diff", "--date", date, self.a, self.b, "--force", "--report", path).returncode, 1)
            self.assertIn(shown, path.read_text())
        for date in ("yesterday", "2026-01-02", "2026-01-02T03:04:05", "@", "@5x"):
            self.assertEqual(run("diff", "--date", date, self.a, self.b).returncode, 64, date)

    def test_equal_images(self):
        path = self.scratch / "r.html"
        self.assertEqual(run("diff", self.a, self.a, "--report", path).returncode, 0)
        self.assertIn("are equal", path.read_text())

    def test_a_report_appears_whole_or_not_at_all(self):
        path = self.scratch / "r.json"
        path.write_text("mine")
        self.assertEqual(run("diff", self.a, self.b, "--report", path).returncode, 64)
        self.assertEqual(run("diff", self.a, self.scratch / "none", "--force", "--report", path).returncode, 2)
        self.assertEqual(path.read_text(), "mine")
        self.assertEqual(run("diff", self.a, self.b, "--force", "--report", path).returncode, 1)
        self.assertEqual(len(json.loads(path.read_text())["ranges"]), len(self.expected))
        self.assertEqual([p.name for p in self.scratch.iterdir() if "partial" in p.name], [])


DATA = Path(__file__).resolve().parent.parent / "data"
OUTSIDE = "Outside of all partitions and volumes"
SECTOR = 512
# In sectors, as the tables below have them. #p5 lies in an extended partition, which holds its own table only.
EXTENDED = (1000, 500)
PARTITIONS = {"#p1": (64, 400), "#p2": (464, 300), "#p5": (1063, 400)}
DISK_SECTORS = 2000


def partition_entry(kind, start, count):
    return struct.pack("<B3sB3sII", 0, b"\0\0\0", kind, b"\0\0\0", start, count)


def partitioned_disk():
    disk = bytearray(DISK_SECTORS * SECTOR)
    disk[446:494] = b"".join(partition_entry(*entry) for entry in ((0x83, *PARTITIONS["#p1"]), (0x83, *PARTITIONS["#p2"]), (0x0f, *EXTENDED)))
    start, count = PARTITIONS["#p5"]
    at = EXTENDED[0] * SECTOR
    disk[at + 446:at + 462] = partition_entry(0x83, start - EXTENDED[0], count)
    for table in (0, at):
        disk[table + 510:table + 512] = b"\x55\xaa"
    return disk


def innermost(offset, length):
    """The smallest partition that holds all of the range, and where in it the range begins."""
    holding = [(size, name, offset - start * SECTOR) for name, (start, size) in PARTITIONS.items()
               if start * SECTOR <= offset and offset + length <= (start + size) * SECTOR]
    return min(holding)[1:] if holding else (OUTSIDE, None)


def luminance(color):
    channels = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


class Pages(DiffTest):
    def page(self, before, after, *options):
        path = self.scratch / "r.html"
        a, b = self.file("a.dd", before), self.file("b.dd", after)
        self.assertEqual(run("diff", "-q", *options, a, b, "--force", "--report", path).returncode, 1)
        return Page(path.read_text())

    def assert_ranges(self, page, expected):
        """Each range has one row, in the section of the partition that holds it, and the captions add up."""
        model = {}
        for offset, length, changed in expected:
            name, within = innermost(offset, length)
            model.setdefault(name, []).append((offset, within, length, changed))
        names = [section.title for section in page.sections[2:]]
        self.assertEqual(names, list(PARTITIONS) + [OUTSIDE] * (OUTSIDE in model))
        for section in page.sections[2:]:
            rows = model.get(section.title, [])
            if not rows:
                self.assertEqual(section.tables, [])
                continue
            [table] = section.tables
            counts = [int(number) for number in re.findall(r"\d+", table.caption)]
            self.assertEqual(counts, [len(rows), sum(row[2] for row in rows), sum(row[3] for row in rows)])
            shown = []
            for row in table.rows:
                self.assertEqual(len(row), len(table.head))
                places = [cell.split("\nsector ") for cell in row[:len(row) - 5]]
                for place, sector in places:
                    self.assertEqual(int(place) // SECTOR, int(sector))
                within = int(places[1][0]) if len(places) == 2 else None
                shown.append((int(places[0][0]), within, int(row[-5]), int(row[-4])))
            self.assertEqual(shown, rows, section.title)

    def test_ranges_stand_with_their_partitions(self):
        need(self, "sfdisk")
        disk = partitioned_disk()
        listed = json.loads(subprocess.run(["sfdisk", "-J", self.file("listed", disk)], check=True, capture_output=True).stdout)
        places = [(one["start"], one["size"]) for one in listed["partitiontable"]["partitions"]]
        self.assertEqual(places, [PARTITIONS["#p1"], PARTITIONS["#p2"], EXTENDED, PARTITIONS["#p5"]])
        borders = sorted({edge for start, size in PARTITIONS.values() for edge in (start, start + size)})
        for n in range(scaled(8)):
            changed = bytearray(disk)
            for _ in range(self.rng.randrange(1, 12)):
                start = self.rng.choice([self.rng.randrange(1, DISK_SECTORS), *(edge + self.rng.choice([-1, 0]) for edge in borders)])
                for sector in range(start, min(DISK_SECTORS, start + self.rng.choice([1, 2, 40]))):
                    changed[sector * SECTOR + self.rng.randrange(400)] ^= 1
            changed[SECTOR] ^= 1
            with self.subTest(n):
                self.assert_ranges(self.page(disk, changed), naive_ranges(disk, changed))

    def test_what_an_image_shows_has_the_partitions(self):
        """In a format, or through a store."""
        need(self, "qemu-img")
        disk = partitioned_disk()
        changed = bytearray(disk)
        for sector in (1, 70, 500, 1100):
            changed[sector * SECTOR] ^= 1
        plain, after, qcow2, cow, path = self.file("plain", disk), self.file("after", changed), *(self.scratch / name for name in ("a.qcow2", "a.cow", "r.html"))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", plain, qcow2], check=True)
        bare = self.file("bare", bytes(len(disk)))
        self.assertEqual(run("create", bare, cow).returncode, 0)
        self.assertEqual(run("write", "--input", plain, bare, cow).returncode, 0)
        for before in (plain, qcow2, f"{bare}@{cow}"):
            self.assertEqual(run("diff", "-q", before, after, "--force", "--report", path).returncode, 1)
            self.assert_ranges(Page(path.read_text()), naive_ranges(disk, changed))

    def test_a_section_tells_what_it_is_of(self):
        need(self, "mkfs.ext4", "blkid")
        disk = partitioned_disk()
        start, size = PARTITIONS["#p2"]
        volume = self.file("volume", bytes(size * SECTOR))
        subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-L", "<root>", volume], check=True, capture_output=True)
        uuid = subprocess.run(["blkid", "-p", "-s", "UUID", "-o", "value", volume], check=True, capture_output=True, text=True).stdout.strip()
        disk[start * SECTOR:(start + size) * SECTOR] = volume.read_bytes()
        changed = bytearray(disk)
        changed[-1] ^= 1
        for options in ([], ["--files"]):
            text = self.page(disk, changed, *options).section("#p2").text
            for part in (f"byte {start * SECTOR} (sector {start})", f"{size * SECTOR} bytes, {size} sectors", "'<root>'", uuid):
                self.assertIn(part, text)
        # What lies in a volume group has its own sections (tests/data/lvm.txt).
        need(self, "zstd")
        group = subprocess.run(["zstd", "-dc", DATA / "lvm" / "pv.img.zst"], check=True, capture_output=True).stdout
        disk = bytes(446) + partition_entry(0x8e, 2048, len(group) // SECTOR) + bytes(48) + b"\x55\xaa" + bytes((1 << 20) - SECTOR) + group
        page = self.page(disk, disk[:-1] + b"!")
        volumes = [f"#p1#vg0/{name}" for name in ("data", "s1-cow", "s2-cow", "s3-cow")]
        self.assertEqual([section.title for section in page.sections[2:]], ["#p1", *volumes])
        self.assertEqual(["Ranges in its volumes are listed with them." in section.text for section in page.sections[2:]], [True] + [False] * 4)
        self.assertEqual([len(section.tables) for section in page.sections[2:]], [1] + [0] * 4)
        # Without partitions there is one section.
        page = self.page(volume.read_bytes(), volume.read_bytes()[:-1] + b"!")
        [section] = page.sections[2:]
        self.assertEqual((section.title, uuid in section.text, len(section.tables[0].rows)), ("The whole image", True, 1))

    def test_files_stand_with_their_partition(self):
        need(self, "mkfs.ext4", "debugfs")
        start, size = PARTITIONS["#p1"]
        volume = self.file("volume", bytes(size * SECTOR))
        subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", volume], check=True, capture_output=True)
        disks = []
        for content in (None, b"more"):
            if content:
                subprocess.run(["debugfs", "-w", "-R", f"write {self.file('content', content)} added", volume], check=True, capture_output=True)
            disk = partitioned_disk()
            disk[start * SECTOR:(start + size) * SECTOR] = volume.read_bytes()
            disks.append(disk)
        page = self.page(*disks, "--files")
        self.assertEqual([len(section.tables) for section in page.sections[2:]], [3, 0, 0])
        ranges, changes, uses = page.section("#p1").tables
        [[change, sums]] = changes.rows
        self.assertRegex(change, r"\Acreated +added ")
        self.assertEqual(sums.strip(), hashlib.sha256(b"more").hexdigest())
        covered = set()
        for row in uses.rows:
            offset, within, length = (int(cell.split("\n")[0]) for cell in row[:3])
            self.assertEqual(offset - within, start * SECTOR)
            self.assertTrue(covered.isdisjoint(range(offset, offset + length)))
            covered.update(range(offset, offset + length))
        self.assertEqual(covered, {byte for offset, length, _ in naive_ranges(*disks) for byte in range(offset, offset + length)})
        self.assertEqual(len(ranges.rows), len(naive_ranges(*disks)))
        self.assertIn("content of added", [row[-1] for row in uses.rows])

    def test_what_is_cut_is_counted(self):
        size = 10_010
        before, after = bytes(2 * size * SECTOR), (b"x" + bytes(2 * SECTOR - 1)) * size
        page = self.page(before, after)
        [section] = page.sections[2:]
        [table] = section.tables
        self.assertEqual((len(table.rows), table.caption), (10_000, f"{size} ranges: {size * SECTOR} bytes, {size} bytes changed"))
        self.assertIn(f"The first 10000 of {size} ranges.", section.text)

    def test_one_is_not_many(self):
        page = self.page(bytes(SECTOR), b"x" + bytes(SECTOR - 1))
        self.assertIn("1 byte differs, in 1 range (512 bytes).", page.sections[0].text)
        self.assertEqual(page.sections[2].tables[0].caption, "1 range: 512 bytes, 1 byte changed")
        texts = [section.text + table.caption + str(table.rows) for section in page.sections for table in section.tables]
        self.assertNotRegex(" ".join(texts), r"\b1 (bytes|sectors|ranges|holes)\b")

    def test_everyone_can_read_it(self):
        disk = partitioned_disk()
        page = self.page(disk, bytes([*disk[:600], 1, *disk[601:70_000], 1, *disk[70_001:]]), "--files", "--hex=8")
        self.assertEqual((page.language, page.headings[0][0]), ("en", 1))
        levels = [level for level, _ in page.headings]
        self.assertEqual(levels.count(1), 1)
        self.assertTrue(all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False)), levels)
        self.assertEqual(len(set(page.ids)), len(page.ids))
        self.assertLessEqual({link[1:] for link in page.links}, set(page.ids))
        for section in page.sections:
            for table in section.tables:
                self.assertTrue(table.caption)
                self.assertLessEqual(set(table.scopes), {"row", "col"})

    def test_colours_stand_out(self):
        """At 4.5 to 1, as WCAG 2 (AA) wants it of text."""
        disk = bytes(SECTOR)
        style = self.page(disk, b"x" * SECTOR).style
        themes = [dict(re.findall(r"--(\w+): (#\w{6})", root)) for root in re.findall(r":root \{(.*?)\}", style, re.S)]
        self.assertEqual(len(themes), 2)
        for theme in themes:
            for name in ("ink", "faint", "hot", "zeroed", "only", "mark"):
                for ground in ("paper", "soft"):
                    lights = sorted((luminance(theme[name]), luminance(theme[ground])))
                    self.assertGreaterEqual((lights[1] + 0.05) / (lights[0] + 0.05), 4.5, (name, ground))
        self.assertIn("@media screen and (prefers-color-scheme: dark)", style)  # paper is light
        self.assertIn("@media print", style)


class Hashes(DiffTest):
    def test_what_the_tools_check(self):
        need(self, "openssl")
        for size in (0, 1, (8 << 20) + 5, 17 << 20):
            path = self.file("odd \\ name", self.rng.randbytes(size))
            for algorithm in ("sha256", "sha512", "sha1", "md5"):
                manifest = self.file("m", run("hash", "--algorithm", algorithm, path, binary=True).stdout)
                subprocess.run([f"{algorithm}sum", "-c", "--strict", manifest], check=True, capture_output=True)
            manifest = self.file("m", run("hash", "--algorithm", "sha256,sha1,md5", path, binary=True).stdout)
            for algorithm in ("sha256", "sha1", "md5"):
                done = subprocess.run([f"{algorithm}sum", "-c", manifest], capture_output=True, text=True, check=True)
                self.assertIn("OK", done.stdout)
                openssl = subprocess.run(["openssl", "dgst", "-r", f"-{algorithm}", path], capture_output=True, text=True,
                                         check=True).stdout.split()[0]
                self.assertIn(openssl, manifest.read_text())
            self.assertEqual(run("verify", "--against", manifest, path).returncode, 0)

    def test_blocks(self):
        content = self.rng.randbytes(1_000_000)
        path = self.sparse("image", 40 << 20, [(123, content), (30 << 20, content)])
        whole = path.read_bytes()
        for size in (512, 4096, 65536, 1 << 20, 3_000_000, 1 << 30):
            for jobs in (1, 3):
                lines = run("hash", "--block-size", size, "-j", jobs, path).stdout.splitlines()
                rows = [line.split() for line in lines if line[0] != "#"]
                self.assertEqual(len(rows), -(-len(whole) // size))
                for n in {0, len(rows) // 2, len(rows) - 1, self.rng.randrange(len(rows))}:
                    at = n * size
                    self.assertEqual(rows[n], [str(at), hashlib.sha256(whole[at:at + size]).hexdigest()])
        rows = json.loads(run("hash", "--output=json", "--block-size", "16M", "--algorithm", "md5", path).stdout)
        self.assertEqual([r["md5"] for r in rows["blocks"]],
                         [hashlib.md5(whole[at:at + (16 << 20)]).hexdigest() for at in (0, 16 << 20, 32 << 20)])

    def test_against_blocks(self):
        path = self.file("image", self.rng.randbytes(300_000))
        manifest = self.scratch / "m"
        self.assertEqual(run("hash", "--block-size", "4k", "--algorithm", "sha256,md5", path, "-o", manifest).returncode, 0)
        self.assertEqual(run("verify", "--against", manifest, path).returncode, 0)
        content = bytearray(path.read_bytes())
        for at in (5000, 9000, 200_000):
            content[at] ^= 1
        changed = self.file("changed", content)
        done = run("verify", "--output=json", "--against", manifest, changed)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(json.loads(done.stdout)["damaged"], [{"offset": 4096, "length": 8192},
                                                             {"offset": 48 * 4096, "length": 4096}])
        last = self.file("last", bytes(4096) + b"a")
        self.assertEqual(run("hash", "--block-size", "4k", last, "-o", self.scratch / "one").returncode, 0)
        last.write_bytes(bytes(4096) + b"b")
        self.assertIn("differs from the manifest: 1 byte at byte 4096\n", run("verify", "--against", self.scratch / "one", last).stdout)
        for size in (299_999, 300_001, 4096, 310_000):
            other = self.file("other", path.read_bytes().ljust(size, b"\0")[:size])
            done = run("verify", "--against", manifest, other)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"has {size} bytes", done.stdout)

    def test_manifests_that_are_none(self):
        path = self.file("image", bytes(10_000))
        good = run("hash", "--block-size", "4k", path).stdout
        for bad in ("", "hello\n", good.replace("# size 10000\n", ""), good.replace("sha256", "crc7"),
                    good.replace("4096 ad", "4096 xx"), good.replace("\n4096 ", "\n4097 "), good[:-60],
                    good + "12288 " + "0" * 64 + "\n", good.replace("block-size 4096", "block-size 0"),
                    "0" * 63 + "  a\n", "x" * 10_000):
            manifest = self.file("m", bad.encode())
            done = run("verify", "--against", manifest, path)
            self.assertIn(done.returncode, (2, 65), (bad[:80], done.stderr))
            self.assertTrue(done.returncode == 65 or "4096 xx" in bad, (bad[:80], done.stdout))

    def test_options(self):
        path = self.file("image", bytes(10_000))
        for options in (["--algorithm", "crc32"], ["--algorithm", "md5,md5"], ["--algorithm="], ["--block-size", "100"]):
            self.assertEqual(run("hash", *options, path).returncode, 64)

    def test_interrupted(self):
        path = self.sparse("big", 1 << 40, [(0, b"x")])
        out = self.scratch / "m"
        process = subprocess.Popen([SNAPTOOL, "hash", path, "-o", out], stderr=subprocess.PIPE)
        with self.assertRaises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(2)
        self.assertEqual(process.wait(timeout=10), 130)
        process.stderr.close()
        self.assertFalse(out.exists())


if __name__ == "__main__":
    main("diff and hash")
