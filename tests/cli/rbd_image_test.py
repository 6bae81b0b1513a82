# SPDX-License-Identifier: Apache-2.0
"""Ceph's whole images: what convert writes, by a strict reader; what is read, by a naive disk; and damage."""

import itertools
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from convert_test import ConvertTest, damaged_image  # noqa: E402
from harness import main, run, scaled, sha256_of_file  # noqa: E402
from qcow2_test import KIB, MIB, SMALL, sha256  # noqa: E402
from rbd_maker import (IMAGE, Disk, RbdMaker, contents, meta, number, random_image, read_image, record,  # noqa: E402
                       text, write, zeros)

BLOCK = 4096
# What may not reach a terminal; an end of line is the program's own.
CONTROL = "[\x00-\x09\x0b-\x1f\x7f-\x9f]"
RBD = ["-O", "rbd"]


class RbdTest(ConvertTest):
    def image_of(self, maker, name="disk.rbd"):
        return self.file_of(name, maker.build())

    def check_written(self, stream, content, order=22, what=None):
        properties, diffs = read_image(stream)
        self.assertEqual(properties, [(b"O", order), (b"T", 61), (b"U", 1 << order), (b"C", 1)], what)
        self.assertEqual(len(diffs), 1, what)
        start, end, size, ranges = diffs[0]
        self.assertEqual((start, end, size), (None, None, len(content)), what)
        for offset, length, data in ranges:
            self.assertIsNotNone(data, what)
            self.assertTrue(0 < length <= MIB, (what, offset, length))
            self.assertEqual(offset % BLOCK, 0, what)
            self.assertTrue((offset + length) % BLOCK == 0 or offset + length == size, (what, offset, length))
            for at in range(0, length, BLOCK):
                self.assertTrue(data[at:at + BLOCK].strip(b"\0"), f"{what}: zeros at {offset + at}")
        self.same(next(contents(diffs)), content, what)

    def fails_soon(self, statuses, *arguments, what=None):
        """Without much of work or memory, and not by a crash."""
        def used():
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            return usage.ru_utime + usage.ru_stime

        before = used()
        done = run(*arguments, env=SMALL, timeout=20, binary=True)
        error = self.sound(done, statuses, what)
        self.assertLess(used() - before, 1, what)
        if done.returncode != 0:
            self.assertRegex(error, r"\Asnaptool [a-z]+: [^\n]+\n\Z", what)
        self.assertNotRegex(error, CONTROL, what)
        return done


class Written(RbdTest):
    def test_sizes(self):
        for size in (0, 1, 511, 513, BLOCK - 1, BLOCK, BLOCK + 1, MIB, MIB + 1, 3 * MIB + 777):
            content = bytearray(self.rng.randbytes(size))
            for _ in range(size // 100_000):
                at = self.rng.randrange(size)
                content[at:at + 50_000] = bytes(len(content[at:at + 50_000]))
            raw, out = self.file_of("disk.raw", content), self.scratch / "out"
            self.assertEqual(self.convert(*RBD, "-j", "1", "--force", raw, out), "")
            stream = out.read_bytes()
            self.check_written(stream, bytes(content), what=size)
            for jobs, target in ((4, "-"), *[(4, out), (1, "-")] * (size > MIB)):
                done = run("convert", *RBD, "-j", jobs, "--force", raw, target, binary=True)
                self.sound(done, (0,))
                self.same(done.stdout if target == "-" else out.read_bytes(), stream, (size, jobs, target))
        self.assertEqual(self.left("out"), ["out"])

    def test_blocks_of_zeros(self):
        """One byte is enough for a block, wherever it is in it; whether zeros are holes does not matter."""
        content = bytearray(5 * MIB + 100)
        blocks = self.rng.sample(range(len(content) // BLOCK), 300)
        for block in blocks:
            content[block * BLOCK + self.rng.choice((0, 1, BLOCK // 2, BLOCK - 1))] = 1
        content[MIB - 2 * BLOCK:2 * MIB + 2 * BLOCK] = self.rng.randbytes(MIB + 4 * BLOCK)
        content = bytes(content)
        streams = []
        for name, more, holes in (("full", b"", False), ("sparse", b"", True), ("all", b"\1", False)):
            source, out = self.file_of(name, content + more, holes=holes), self.scratch / "out"
            self.convert(*RBD, "--force", source, out)
            streams.append(out.read_bytes())
            self.check_written(streams[-1], content + more, what=name)
        self.assertEqual(streams[0], streams[1])
        for nothing in (bytes(3 * MIB + 5), bytes(BLOCK)):
            self.convert(*RBD, "--force", self.file_of("nothing", nothing), out)
            self.assertEqual(read_image(out.read_bytes())[1], [(None, None, len(nothing), [])])

    def test_of_other_formats(self):
        content = self.content_of("odd")
        content = content[:len(content) // 512 * 512]
        raw, out = self.file_of("disk.raw", content), self.scratch / "out"
        qcow2, cow = self.scratch / "disk.qcow2", self.scratch / "cow"
        self.convert("-O", "qcow2", "-c", raw, qcow2)
        self.sound(run("create", raw, cow), (0,))
        view = bytearray(content)
        for at, length, byte in ((8192, 5120, 5), (0, 512, 0), (len(content) - 512, 512, 7)):
            self.sound(run("write", "-P", byte, "--offset", at, "--length", length, raw, cow), (0,))
            view[at:at + length] = bytes([byte]) * length
        for source, expected in ((qcow2, content), (f"{raw}@{cow}", bytes(view)), (f"{raw}#+1000,70001",
                                                                                   content[1000:71_001])):
            for target in (out, "-"):
                done = run("convert", *RBD, "--force", source, target, binary=True)
                self.sound(done, (0,), source)
                stream = out.read_bytes() if target == out else done.stdout
                self.check_written(stream, expected, what=source)

    def test_of_its_own(self):
        image, states = random_image(self.rng, 3, 400 * KIB)
        path, out = self.image_of(image), self.scratch / "out"
        for name, content in states:
            options = ["--internal-snapshot", name] if name else []
            self.convert(*RBD, "--force", *options, path, out)
            self.check_written(out.read_bytes(), content, what=name)

    def test_to_a_fifo(self):
        content = self.content_of("odd")
        raw, fifo, out = self.file_of("disk.raw", content), self.scratch / "fifo", self.scratch / "out"
        os.mkfifo(fifo)
        with open(out, "wb") as file, subprocess.Popen(["timeout", "20", "cat", fifo], stdout=file) as reader:
            self.convert(*RBD, raw, fifo, timeout=20)
            self.assertEqual(reader.wait(timeout=20), 0)
        self.check_written(out.read_bytes(), content)
        self.assertTrue(fifo.is_fifo())

    def test_the_order(self):
        raw, out = self.file_of("disk.raw", self.rng.randbytes(100_000)), self.scratch / "out"
        for order in (12, 20, 25):
            self.convert(*RBD, "--force", "--option", f"order={order}", raw, out)
            self.check_written(out.read_bytes(), raw.read_bytes(), order)
        out.write_bytes(b"old")
        for order in ("11", "26", "0", "-1", "", "x", "22x", "0x16", " 22", "4M", "1" * 30, "278"):
            self.assertIn("order", self.refused(64, "convert", *RBD, "--option", f"order={order}", "--force", raw, out))
        self.refused(64, "convert", *RBD, "--option", "order=26", raw, "-")
        for setting in ("order", "cluster_size=64k", "colour=red", ""):
            self.assertIn("order", self.refused(64, "convert", *RBD, "--option", setting, "--force", raw, out))
        self.assertEqual((self.left("out"), out.read_bytes()), (["out"], b"old"))

    def test_verify(self):
        raw, out = self.file_of("disk.raw", self.content_of("odd")), self.scratch / "out"
        self.assertEqual(self.convert(*RBD, "--verify", raw, out), "")
        self.check_written(out.read_bytes(), raw.read_bytes())
        self.refused(64, "convert", *RBD, "--verify", raw, "-")

    def test_json(self):
        content = self.content_of("odd")
        raw, out = self.file_of("disk.raw", content), self.scratch / "out"
        done = run("convert", "--output=json", *RBD, raw, out)
        self.sound(done, (0,))
        result = json.loads(done.stdout)
        data = sum(len(content[at:at + BLOCK]) for at in range(0, len(content), BLOCK)
                   if content[at:at + BLOCK].strip(b"\0"))
        self.assertEqual((result["format_version"], result["format"], result["filename"]), (1, "rbd", str(out)))
        self.assertEqual((result["virtual_size"], result["data_bytes"], result["zero_bytes"]),
                         (len(content), data, len(content) - data))

    def test_refused(self):
        raw, base = self.file_of("disk.raw", self.rng.randbytes(10_000)), self.file_of("base.raw", bytes(10_000))
        out = self.scratch / "out"
        for target, (status, *options) in itertools.product((out, "-"), ((63, "--base", base), (64, "-c"), (64, "-n"),
                                                                         (64, "-S", "4k"))):
            self.refused(status, "convert", *RBD, *options, raw, target)
        self.assertEqual(self.left("out"), [])
        self.refused(1, "convert", *RBD, self.scratch / "none", out)
        self.refused(1, "convert", *RBD, raw, self.scratch / "none" / "out")
        out.write_bytes(b"old")
        self.assertIn("--force", self.refused(64, "convert", *RBD, raw, out))
        self.refused(63, "convert", *RBD, "--force", "--base", base, raw, out)
        self.assertEqual((self.left("out"), out.read_bytes()), (["out"], b"old"))
        self.convert(*RBD, "--force", raw, out)
        self.check_written(out.read_bytes(), raw.read_bytes())
        for options in ([], ["--force"]):
            self.refused(64, "convert", *RBD, *options, raw, raw)
            self.refused(64, "convert", *RBD, *options, out, out)
            self.refused(64, "convert", *RBD, *options, raw, self.scratch)
        self.check_written(out.read_bytes(), raw.read_bytes())

    def test_no_base_of_others(self):
        """QEMU, the kernel and we would take it for something else."""
        raw, out = self.file_of("disk.raw", self.rng.randbytes(10_240)), self.scratch / "out"
        base = self.scratch / "base"
        for form, target in (("rbd", "qcow2"), ("rbd", "dm-snapshot"), ("qcow2", "dm-snapshot")):
            self.convert("-O", form, "--force", raw, base)
            self.refused(63, "convert", "-O", target, "--base", base, raw, out)
            self.assertEqual(self.left("out"), [])
        os.truncate(base, 10_240)
        self.convert("-O", "dm-snapshot", "-F", "raw", "--base", base, raw, out)
        self.same(self.read(f"{base}@{out}"), raw.read_bytes(), "its bytes")

    def test_nothing_but_the_image(self):
        """On standard output, whatever it is called."""
        raw, json_too = self.file_of("disk.raw", self.rng.randbytes(10_000)), ["--output=json"]
        for options, check in (([], lambda out: self.same(out, raw.read_bytes(), "raw")),
                               (RBD, lambda out: self.check_written(out, raw.read_bytes()))):
            for name, more in itertools.product(("-", "/dev/stdout", "/proc/self/fd/1"), ([], json_too)):
                done = run("convert", *options, *more, raw, name, binary=True)
                self.sound(done, (0,))
                check(done.stdout)

    def test_of_what_is_damaged(self):
        """What went to a pipe has no end, and is known by that."""
        damaged, content = damaged_image(self.scratch / "damaged")
        out = self.scratch / "out"
        self.refused(65, "convert", *RBD, damaged, out)
        self.assertEqual(self.left("out"), [])
        done = run("convert", *RBD, damaged, "-", binary=True)
        self.sound(done, (65,))
        self.refused(65, "read", "-f", "rbd", self.file_of("piped", done.stdout))
        self.convert(*RBD, "--salvage", damaged, out, status=65)
        self.check_written(out.read_bytes(), content)


class OfCeph(RbdTest):
    """What Ceph wrote itself; tests/data/rbd/image.txt has what it says of it."""

    def setUp(self):
        super().setUp()
        self.folder = Path(__file__).resolve().parent.parent / "data" / "rbd"
        self.sums = dict(line.split() for line in (self.folder / "image.txt").read_text().splitlines()[-3:])

    def test_its_image(self):
        image = self.folder / "image.rbd"
        for name, options in (("one", ["--internal-snapshot", "one"]), ("two", ["--internal-snapshot", "2"]), ("now", [])):
            done = run("read", *options, image, binary=True)
            self.sound(done, (0,))
            self.assertEqual(sha256(done.stdout), self.sums[name], name)
        info = self.info(image)
        self.assertEqual((info["order"], info["metadata"]), (12, {"owner": "the lab"}))
        self.assertEqual([(one["name"], one["virtual_size"]) for one in info["snapshots"]], [("one", 70000), ("two", 40000)])

    def test_its_diffs(self):
        """Of version 2, cut out of the image: as many as there are of them make a state."""
        start, *rest = (self.folder / "image.rbd").read_bytes().split(b"rbd diff v2\n")
        self.assertTrue(start)
        chain = []
        for name, diff in zip(("one", "two", "now"), rest, strict=True):
            chain.append(self.file_of(f"diff-{name}", b"rbd diff v2\n" + diff))
            self.sound(run("apply", "-q", *chain, "-o", self.scratch / name), (0,))
            self.assertEqual(sha256_of_file(self.scratch / name), self.sums[name], name)


class Read(RbdTest):
    def check_states(self, path, states):
        """Each whole, by its name or id; where the data are, of one."""
        mapped = self.rng.randrange(len(states))
        for n, (name, content) in enumerate(states):
            options = ["--internal-snapshot", self.rng.choice((name, str(n + 1)))] if name else []
            if self.rng.random() < 0.7:
                self.same(self.read("-j", "4", *options, path), content, (options, len(content)))
            else:
                self.assertEqual(self.sum_of(*options, path), sha256(content), options)
            if n == mapped:
                self.check_rows(self.map(*options, path), content)

    def test_random_images(self):
        for n in range(scaled(160)):
            image, states = random_image(self.rng, n % 4 + 2, 400 * KIB)
            stream = image.build()
            with self.subTest(n=n, sizes=[len(content) for _, content in states]):
                path = self.file_of("disk.rbd", stream)
                self.check_states(path, states)
                info = self.info(path)
                self.assertEqual([(s["id"], s["name"], s["virtual_size"]) for s in info["snapshots"]],
                                 [(str(at), name, len(content)) for at, (name, content) in enumerate(states[:-1], 1)])
                self.assertEqual(info["virtual_size"], len(states[-1][1]))
                self.assertEqual(path.read_bytes(), stream)

    def test_one_that_was_smaller(self):
        """What was behind the end of a snapshot is gone, whether the diff that grows it says so or not."""
        content = self.rng.randbytes(200 * KIB)
        for small in (0, 1, 50_001, 64 * KIB):
            image = RbdMaker().diff(len(content), [write(0, content)], to=b"large")
            image.diff(small, to=b"small").diff(len(content), to=b"again")
            image.diff(len(content) + 5, [write(100 * KIB, b"new")])
            grown = content[:small].ljust(len(content), b"\0")
            now = grown[:100 * KIB] + b"new" + grown[100 * KIB + 3:] + bytes(5)
            self.check_states(self.image_of(image), [("large", content), ("small", content[:small]), ("again", grown),
                                                     ("", now)])

    def test_many_small_ranges(self):
        """More than there are places for in the index."""
        pieces = [(n * BLOCK + self.rng.randrange(BLOCK - 512), self.rng.randbytes(self.rng.randrange(16, 513)))
                  for n in range(20_000)]
        content = bytearray(20_000 * BLOCK + 1)
        for at, piece in pieces:
            content[at:at + len(piece)] = piece
        path = self.image_of(RbdMaker().diff(len(content), [write(*piece) for piece in pieces]))
        out = self.scratch / "out"
        self.sound(run("read", "-j", "4", path, "-o", out), (0,))
        self.same(out.read_bytes(), content, "all")
        for _ in range(5):
            at = self.rng.randrange(len(content) - 100_000)
            self.same(self.read("--offset", at, "--length", 100_000, path), content[at:at + 100_000], at)
        stream, rows = path.read_bytes(), run("map", path).stdout.splitlines()[1:]
        self.assertEqual(len(rows), len(pieces))
        for row, (at, piece) in zip(rows, pieces, strict=True):
            start, length, offset = (int(field, 16) for field in row.split()[:3])
            self.assertEqual((start, length), (at, len(piece)))
            self.assertEqual(stream[offset:offset + length], piece, row)

    def test_info(self):
        image = RbdMaker(meta(b"colour", "gr\u00fcn".encode()), record(b"?", b"x"), meta(b"conf_rbd_cache", b"false"),
                         meta(b"empty", b""), order=21)
        image.diff(5000, [write(0, b"x")], to=b"one").diff(0, to="zw\u00f6lf".encode()).diff(70_001)
        path = self.image_of(image)
        info = self.info(path)
        expected = {"format": "rbd", "virtual_size": 70_001, "order": 21, "features": 61, "stripe_unit": 1 << 21,
                    "stripe_count": 1, "metadata": {"colour": "gr\u00fcn", "conf_rbd_cache": "false", "empty": ""}}
        self.assertEqual({name: info.get(name) for name in expected}, expected)
        self.assertEqual(info["snapshots"], [{"id": "1", "name": "one", "virtual_size": 5000},
                                             {"id": "2", "name": "zw\u00f6lf", "virtual_size": 0}])
        words = run("info", path).stdout
        for line in ("format: +rbd", "virtual size: .*70001 bytes.*", "order: +21", "features: +61",
                     "stripe unit: +2097152", "stripe count: +1", "metadata: +'colour': gr\u00fcn", "snapshot: +1 'one', .*",
                     "snapshot: +2 'zw\u00f6lf', .*"):
            self.assertRegex(words, f"(?m)^{line}$")

    def test_control_characters(self):
        bad = b"a\x1b[31m\n\r\x07\x00\x7f\xc2\x9b5m"
        image = RbdMaker(meta(b"key" + bad, b"value" + bad)).diff(5, to=b"name" + bad).diff(5, to=b"last").diff(7)
        path = self.image_of(image)
        done = run("info", path)
        self.sound(done, (0,))
        self.assertNotRegex(done.stdout, CONTROL)
        self.assertNotRegex(done.stdout, r"\n(\n|\[31m|5m)")
        self.assertRegex(done.stdout, r"snapshot: +1 'namea\\x1b\[31m")
        self.fails_soon((1,), "read", "--internal-snapshot", "none", path)
        done = run("info", "--output=json", path)
        self.sound(done, (0,))
        self.assertNotRegex(done.stdout, "[\x00-\x09\x0b-\x1f]")
        info = json.loads(done.stdout)
        self.assertEqual(info["snapshots"][0]["name"], "name" + bad.decode())
        self.assertEqual(info["metadata"]["key" + bad.decode()], "value" + bad.decode())
        image.diffs[1][0] = record(b"f", text(b"other" + bad))
        self.fails_soon((65,), "read", self.image_of(image))

    def test_names_that_are_no_text(self):
        bad = b"\xff\xfe\xc3"
        path = self.image_of(RbdMaker(meta(b"key" + bad, b"value" + bad)).diff(5, to=b"name" + bad).diff(7))
        for options in ([], ["--output=json"]):
            done = run("info", *options, path)  # its output is decoded strictly
            self.sound(done, (0,), options)
        self.assertEqual(json.loads(done.stdout)["snapshots"][0]["virtual_size"], 5)
        self.same(self.read("--internal-snapshot", "1", path), bytes(5), "by its id")

    def test_a_snapshot_that_is_not_there(self):
        path = self.image_of(RbdMaker().diff(10, to=b"one").diff(10))
        for command, name in itertools.product(("read", "hash", "map"), ("none", "0", "2", "", "one ")):
            self.refused(1, command, "--internal-snapshot", name, path)
        self.refused(1, "convert", "--internal-snapshot", "none", path, self.scratch / "out")
        self.assertEqual(self.left("out"), [])
        # A name that is another one's id is taken for the name.
        image = RbdMaker().diff(1, [write(0, b"1")], to=b"2").diff(1, [write(0, b"2")], to=b"x").diff(0)
        path = self.image_of(image)
        for name, content in (("2", b"1"), ("1", b"1"), ("x", b"2")):
            self.same(self.read("--internal-snapshot", name, path), content, name)

    def test_map(self):
        disk = Disk(300 * KIB)
        image = RbdMaker()
        for name in (b"one", b""):
            disk.write(self.rng.randrange(100_000), self.rng.randbytes(50_000))
            disk.discard(self.rng.randrange(100_000), 10_000)
            image.diff(300 * KIB, disk.ranges(self.rng), to=name)
        path = self.image_of(image)
        rows = self.map(path)
        self.check_rows(rows, bytes(disk.content))
        data = [row for row in rows if row["data"]]
        self.assertTrue(data)
        stream = path.read_bytes()
        for row in data:
            self.assertEqual(Path(row["filename"]), path)
            self.same(stream[row["offset"]:row["offset"] + row["length"]],
                      bytes(disk.content[row["start"]:row["start"] + row["length"]]), row)
        self.sound(run("map", path), (0,))

    def test_diff_and_convert(self):
        image, states = random_image(self.rng, 3, 400 * KIB)
        path = self.image_of(image)
        for name, content in states:
            options = ["--internal-snapshot", name] if name else []
            raw = self.file_of("disk.raw", content)
            made, back = self.scratch / "made.qcow2", self.scratch / "out.img"
            self.convert("-O", "qcow2", "--force", *options, path, made)
            self.compare(raw, made)
            self.convert("--force", *options, path, back)
            self.same(back.read_bytes(), content, name)
        changed = self.file_of("changed.raw", bytes(byte ^ 1 for byte in content[:1]) + content[1:] or b"x")
        for status, *operands in ((0, path, raw), (0, raw, path), (0, path, path), (1, path, changed),
                                  (1, changed, path), (1, "-F", "raw", raw, path), (0, "-f", "rbd", path, raw)):
            self.sound(run("diff", *operands), (status,), operands)

    def test_by_the_name_of_the_format(self):
        path = self.image_of(RbdMaker().diff(20_000, [write(5000, b"x" * 5000)]))
        content = bytes(5000) + b"x" * 5000 + bytes(10_000)
        self.assertEqual(self.sum_of(path), sha256(content))
        self.assertEqual(self.sum_of("-f", "rbd", path), sha256(content))
        self.assertEqual(self.sum_of("-f", "raw", path), sha256_of_file(path))
        self.same(self.read("-f", "raw", path), path.read_bytes(), "-f raw")
        self.assertEqual((self.info("-f", "raw", path)["format"], self.info(path)["format"]), ("raw", "rbd"))
        self.refused(65, "read", "-f", "rbd", self.file_of("disk.raw", content))
        self.same(self.read(f"{path}#+4k,5000"), content[4096:9096], "a slice")

    def test_larger_than_any_disk(self):
        size = (1 << 62) + 99
        image = RbdMaker().diff(size, [write(5, b"first"), zeros(BLOCK, 1 << 61), write(size - 4, b"last")], to=b"one")
        path = self.image_of(image.diff(size, [zeros(3 << 60, 1 << 59)]))
        for at, piece in ((0, bytes(5) + b"first" + bytes(2)), (size - 8, bytes(4) + b"last"), (3 << 60, bytes(9))):
            done = self.fails_soon((0,), "read", "--offset", at, "--length", len(piece), path)
            self.assertEqual(done.stdout, piece)
        rows = json.loads(self.fails_soon((0,), "map", "--output=json", path).stdout)
        self.whole(rows, size)
        self.assertEqual([(row["start"], row["length"]) for row in rows if row["data"]], [(5, 5), (size - 4, 4)])
        stream = self.fails_soon((0,), "convert", *RBD, path, "-").stdout
        ranges = read_image(stream)[1][0][3]
        self.assertEqual((ranges[0][0], ranges[0][2][:12]), (0, bytes(5) + b"first" + bytes(2)))
        self.assertEqual((len(ranges), ranges[1][2][-5:]), (2, b"\0last"))


class Damage(RbdTest):
    def small(self):
        image = RbdMaker(meta(b"key", b"value"), record(b"?", b"unknown"))
        image.diff(30_000, [write(10, b"first"), zeros(BLOCK, 100), write(2 * BLOCK, b"x" * 600)], to=b"one")
        image.diff(40_001, [record(b"?", b"unknown"), write(BLOCK, b"second"), zeros(2 * BLOCK, 0)], to=b"two")
        return image.diff(20_000, [zeros(0, 5), write(19_990, b"third")])

    def test_cut(self):
        stream, at, cuts = self.small().build(), 0, set()
        for chunk in self.small().chunks():
            cuts |= {at, at + self.rng.randrange(len(chunk))}
            at += len(chunk)
        self.assertEqual(at, len(stream))
        for cut in sorted(cuts - {len(stream)}):
            path = self.file_of("cut", stream[:cut])
            # Before the magic ends, it is not known by it.
            form = ["-f", "rbd"] if cut < len(IMAGE) else []
            error = self.fails_soon((65,), "read", *form, path, what=cut).stderr
            if cut >= len(IMAGE):
                self.assertIn(b"cut", error, cut)
        for command in ("info", "map", "hash"):
            self.refused(65, command, path)
        self.refused(65, "convert", path, self.scratch / "out")

    def test_more_behind_the_end(self):
        stream = self.small().build()
        content = self.read(self.file_of("disk.rbd", stream))
        self.assertEqual(len(content), 20_000)
        for more in (b"\0", b"e", bytes(BLOCK), stream, self.rng.randbytes(100)):
            done = run("read", self.file_of("disk.rbd", stream + more), binary=True)
            self.assertIn("bytes past its end", self.sound(done, (0,)))
            self.same(done.stdout, content, more[:5])

    def hostile(self):
        """(what, status, stream); 0 is for what is just right."""
        def image(*records, properties=(), count=None):
            maker = RbdMaker(*properties)
            maker.diffs, maker.count = [list(records)], count
            return maker.build()

        def chain(*diffs):
            maker = RbdMaker()
            maker.diffs = [[record(tag, text(name)) for tag, name in zip((b"f", b"t"), names, strict=True)
                            if name is not None] + [size] for names in diffs]
            return maker.build()

        size, most = record(b"s", number(10_000)), (1 << 64) - 1
        yield "a size of 2^63", 65, image(record(b"s", number(1 << 63)))
        yield "a size of 2^64-1", 65, image(record(b"s", number(most)))
        yield "a size of 7 bytes", 65, image(record(b"s", bytes(7)))
        yield "a size of 9 bytes", 65, image(record(b"s", bytes(9)))
        yield "two sizes", 65, image(size, size)
        yield "two sizes, and a range", 65, image(size, write(0, b"x"), size)
        yield "no size", 65, image()
        yield "a range before the size", 65, image(write(0, b"x"), size)
        yield "zeros before the size", 65, image(zeros(0, 1), size)
        yield "up to the end", 0, image(size, write(9999, b"x"))
        for at, length in ((10_000, 1), (9999, 2), (most, 1)):
            yield f"{length} zeros at {at}", 65, image(size, zeros(at, length))
            yield f"{length} bytes at {at}", 65, image(size, write(at, b"x" * length))
        for at, length in ((0, most), (1, most), (5000, 1 << 63)):
            yield f"{length} zeros at {at}", 65, image(size, zeros(at, length))
        yield "2^64-1 bytes that are not there", 65, image(size, record(b"w", number(1) + number(most)))
        yield "less data", 65, image(size, record(b"w", number(0) + number(5) + b"four"))
        yield "more data", 65, image(size, record(b"w", number(0) + number(3) + b"four"))
        yield "zeros with data", 65, image(size, record(b"z", number(0) + number(4) + b"four"))
        yield "half a range", 65, image(size, record(b"w", number(0)))
        yield "an empty range record", 65, image(size, record(b"z", b""))
        for tag in (b"w", b"z", b"f", b"t", b"s", b"p", b"?"):
            yield f"{tag} of 2^64-1 bytes", 65, image(size, record(tag, bytes(16), most))
        for tag in (b"O", b"M", b"?"):
            yield f"property {tag} of 2^64-1 bytes", 65, image(size, properties=[record(tag, bytes(8), most)])
        # What these add is the record's begin: without care it would be read again and again.
        for length in (most - 8, most - 7, 1 << 63):
            yield f"a record of {length} bytes", 65, image(size, record(b"?", bytes(16), length))
        yield "an order of 4 bytes", 65, image(size, properties=[record(b"O", bytes(4))])
        yield "ranges that do not ascend", 63, image(size, zeros(100, 10), write(50, b"x"))
        yield "ranges that overlap", 63, image(size, write(100, b"x" * 10), write(109, b"x"))
        yield "ranges over each other", 63, image(size, write(100, b"x"), zeros(0, 200))
        yield "a range twice", 63, image(size, zeros(0, 1), zeros(0, 1))
        yield "side by side", 0, image(size, write(0, b"x"), zeros(1, 5), write(6, b"x"))
        yield "no diffs", 65, image(size, count=0)
        yield "a diff too many", 65, image(size, count=2)
        yield "2^64-1 diffs", 63, image(size, count=most)
        yield "257 diffs", 63, image(size, count=257)
        yield "a diff too few", 65, chain((None, b"one"), (b"one", None)).replace(number(2) + b"rbd diff", number(1) + b"rbd diff")
        yield "a tag of 0", 65, image(size, record(b"\0", b""))
        yield "a property of tag 0", 65, image(size, properties=[record(b"\0", b"")])
        yield "a second order", 65, image(size, properties=[record(b"O", number(22))])
        yield "from a snapshot", 65, chain((b"one", None))
        yield "from another one", 65, chain((None, b"one"), (b"two", None))
        yield "from a longer name", 65, chain((None, b"one"), (b"one ", None))
        yield "from none", 65, chain((None, b"one"), (None, None))
        yield "from nothing to nothing", 65, chain((None, None), (None, None))
        yield "from itself", 65, chain((b"one", b"one"), (b"one", None))
        yield "as it should be", 0, chain((None, b"one"), (b"one", b"two"), (b"two", None))
        yield "a name of 4096 bytes", 0, chain((None, b"x" * 4096), (b"x" * 4096, None))
        yield "a name of 4097 bytes", 65, chain((None, b"x" * 4097), (b"x" * 4097, None))
        for length in (5, (1 << 32) - 1, 1 << 31):
            yield f"a name of {length} bytes in 4", 65, image(record(b"t", number(length)[:4] + b"name"), size)
        yield "a name and more", 65, image(record(b"t", text(b"name") + b"more"), size)
        yield "a name in 3 bytes", 65, image(record(b"t", b"\0\0\0"), size)
        for content in (b"", b"\1\0\0", text(b"key"), text(b"key") + b"\0\0", text(b"key") + number(6)[:4] + b"value",
                        number((1 << 32) - 1)[:4] + text(b"x"), text(b"key") + number((1 << 32) - 1)[:4] + b"x",
                        number(4)[:4] + b"key"):
            yield f"metadata {content}", 65, image(size, properties=[record(b"M", content)])
        many = [meta(b"key %d" % n, b"value") for n in range(1001)]
        yield "1000 metadata", 0, image(size, properties=many[1:])
        yield "1001 metadata", 65, image(size, properties=many)
        yield "another banner", 65, image(size).replace(b"rbd image diffs v2\n", b"rbd image diffs v3\n")
        yield "a diff of version 1", 65, image(size).replace(b"rbd diff v2\n", b"rbd diff v1\n")

    def test_hostile(self):
        for what, status, stream in self.hostile():
            with self.subTest(what):
                path = self.file_of("hostile", stream)
                self.fails_soon((status,), "read", path, what=what)

    def test_a_disk_that_begins_so(self):
        """Its guest can write the magic; the hole behind it is no terabyte of records."""
        path = self.file_of("disk.raw", IMAGE)
        os.truncate(path, 1 << 40)
        for command in ("info", "read"):
            self.fails_soon((65,), command, path)

    def test_records_that_say_nothing(self):
        """They are walked once, not for each byte that lies below."""
        for empty in (record(b"?", b""), zeros(5, 0)):
            image = RbdMaker().diff(40_000, [write(n * 30, b"x") for n in range(1000)], to=b"one")
            image.diff(40_000, [write(0, b"y"), *[empty] * 20_000, write(39_000, b"y")])
            content = bytearray(40_000)
            content[0:30_000:30] = b"x" * 1000
            content[0] = content[39_000] = ord("y")
            self.same(self.fails_soon((0,), "read", self.image_of(image)).stdout, bytes(content))

    def test_as_many_as_are_read(self):
        image = RbdMaker()
        for n in range(255):
            image.diff(300, [write(n, b"x")], to=b"s%d" % n)
        path = self.image_of(image.diff(300))
        self.same(self.read(path), b"x" * 255 + bytes(45), "now")
        self.same(self.read("--internal-snapshot", "s99", path), b"x" * 100 + bytes(200), "s99")
        self.assertEqual(len(self.info(path)["snapshots"]), 255)

    def test_bytes_at_random(self):
        """One byte of it is another one: it is read as something, or refused."""
        image = self.small()
        stream = image.build()
        sizes, at = set(), 0
        for chunk in image.chunks():
            if chunk[:1] == b"s":
                sizes |= set(range(at + 9, at + len(chunk)))
            at += len(chunk)
        places = [place for place in range(len(stream)) if stream[place:place + 1] != b"x"]
        for n in range(scaled(4000)):
            place = self.rng.choice(places)
            flipped = bytearray(stream)
            flipped[place] ^= self.rng.choice((1 << self.rng.randrange(8), self.rng.randrange(1, 256)))
            # An image may be as large as it says: what is not there is not read.
            command = ["map", "--output=json"] if place in sizes or n % 3 == 0 else ["read"]
            self.fails_soon((0, 63, 65), *command, self.file_of("flipped", flipped), what=(n, place, flipped[place]))


if __name__ == "__main__":
    main("rbd image")
