# SPDX-License-Identifier: Apache-2.0
"""Reading qcow2: what qemu-img made, what it says, what a hostile guest may have written, and what is not opened."""

import hashlib
import itertools
import json
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import json_keys  # noqa: E402
from harness import SEED, ScratchTest, main, need, run, run_under_strace, scaled, sha256_of_file  # noqa: E402
from qcow2_maker import (COMPRESSED, COPIED, DATA_FILE, Qcow2, deflate, feature_names, put, put_field,  # noqa: E402
                         random_image, zstd_frame_of_one_byte)

KIB, MIB, SECTOR = 1 << 10, 1 << 20, 512
# One allocation of more than 64 MiB ends the program, where it is built with AddressSanitizer.
SMALL = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:max_allocation_size_mb=64:allocator_may_return_null=0")
SECRET = "/etc/passwd"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Qcow2Test(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")

    # QEMU, which says what is expected.

    def qemu(self, *arguments):
        done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False, timeout=60,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, (arguments, done.stdout, done.stderr))
        self.assertNotIn("failed", done.stdout, arguments)
        return done.stdout

    def create(self, name, size, backing=None, backing_format=None, **options):
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        words = ["-o", ",".join(f"{key}={value}" for key, value in options.items())] if options else []
        words += ["-b", backing] if backing else []
        words += ["-F", backing_format] if backing_format else []
        self.qemu("qemu-img", "create", "-q", "-f", "qcow2", *words, path, size)
        return path

    def io(self, path, *commands):
        self.qemu("qemu-io", "-d", "unmap", "-f", "qcow2", *(w for c in commands for w in ("-c", c)), path)

    def qemu_content(self, path, *options):
        out = self.scratch / "qemu.raw"
        out.unlink(missing_ok=True)
        self.qemu("qemu-img", "convert", *options, "-f", "qcow2", "-O", "raw", path, out)
        return out.read_bytes()

    def qemu_info(self, path):
        return json.loads(self.qemu("qemu-img", "info", "--output=json", "-f", "qcow2", path))

    # snaptool.

    def sound(self, done, statuses, what=None):
        """It ended as it should, not by a crash."""
        error = done.stderr if isinstance(done.stderr, str) else done.stderr.decode(errors="replace")
        self.assertNotRegex(error, "Sanitizer|runtime error|terminate called", what)
        self.assertIn(done.returncode, statuses, (what, error[:2000]))
        return error

    def refused(self, status, *arguments, **options):
        done = run(*arguments, **options)
        self.sound(done, (status,), arguments)
        self.assertRegex(done.stderr, r"\Asnaptool [a-z-]+: [^\n]+\n\Z", arguments)
        self.assertTrue(done.stdout == "" or json_keys.is_error(done.stdout), (arguments, done.stdout))
        return done.stderr

    def read(self, *arguments):
        done = run("read", *arguments, binary=True)
        self.sound(done, (0,), arguments)
        return done.stdout

    def sum_of(self, *arguments):
        done = run("hash", *arguments)
        self.sound(done, (0,), arguments)
        return done.stdout.split()[0]

    def info(self, *arguments):
        done = run("info", "--output=json", *arguments)
        self.sound(done, (0,), arguments)
        return json.loads(done.stdout)

    def map(self, *arguments):
        done = run("map", "--output=json", *arguments)
        self.sound(done, (0,), arguments)
        return json.loads(done.stdout)

    def same(self, content, expected, what=None):
        """As assertEqual, but without megabytes of message."""
        if content == expected:
            return
        at = next((n for n in range(0, len(expected), SECTOR)
                   if content[n:n + SECTOR] != expected[n:n + SECTOR]), len(expected))
        self.fail(f"{what}: {len(content)} bytes, expected {len(expected)}; the first difference is in sector {at:#x}")

    def whole(self, rows, size):
        at = 0
        for row in rows:
            self.assertEqual(row["start"], at)
            self.assertGreater(row["length"], 0)
            at += row["length"]
        self.assertEqual(at, size)

    def check_rows(self, rows, content):
        """Zeros are zeros, and the data are where the map says they are."""
        self.whole(rows, len(content))
        files = {}
        for row in rows:
            piece = content[row["start"]:row["start"] + row["length"]]
            if row["zero"]:
                self.assertEqual(piece.count(0), len(piece), row)
            if row.get("compressed"):
                self.assertTrue(row["data"], row)
                self.assertNotIn("offset", row)
            if row["data"] and not row["zero"] and "offset" in row:
                name = row["filename"]
                if name not in files:
                    files[name] = Path(name).read_bytes()
                # A file may end before the last cluster does; what is not there is zeros.
                there = files[name][row["offset"]:row["offset"] + row["length"]].ljust(row["length"], b"\0")
                self.same(there, piece, row)

    def check_map(self, ours, theirs, size, what=None):
        """The same kind and, of data, the same depth everywhere.

        What qemu-img calls both data and zeros (preallocated, and a hole of the file) may be either.
        """
        self.whole(ours, size)
        self.whole(theirs, size)
        edges = sorted({row["start"] for row in ours + theirs})
        mine, other = iter(ours), iter(theirs)
        one = two = {"start": 0, "length": 0}
        for at in edges:
            while at >= one["start"] + one["length"]:
                one = next(mine)
            while at >= two["start"] + two["length"]:
                two = next(other)
            if two["data"] and two["zero"]:
                continue
            self.assertEqual((one["data"], one["zero"], one["depth"] if one["data"] else None),
                             (two["data"], two["zero"], two["depth"] if two["data"] else None), (what, at, one, two))

    def check_all(self, path, *options, what=None):
        """Content, sum, map and diff against what QEMU makes of the same image; returns the content."""
        expected = self.qemu_content(path)
        raw = self.scratch / "qemu.raw"
        out = self.scratch / "ours.raw"
        out.unlink(missing_ok=True)
        self.sound(run("read", *options, path, "-o", out), (0,), what)
        self.same(out.read_bytes(), expected, what)
        self.assertEqual(self.sum_of(*options, path), sha256(expected), what)
        self.check_rows(self.map(*options, path), expected)
        self.sound(run("diff", *options, path, raw), (0,), what)
        self.sound(run("diff", *options, raw, path), (0,), what)
        # Whether qemu-img calls a hole of the file zeros depends on how much of it is on the disk by now.
        path.write_bytes(path.read_bytes())
        rows = self.map(*options, path)
        theirs = json.loads(self.qemu("qemu-img", "map", "--output=json", "-f", "qcow2", path))
        self.check_map(rows, theirs, len(expected), what)
        return expected

    def script(self, size, cluster, *, compressed=True, rounds=5):
        """Writes of all kinds, for qemu-io: whole clusters, parts of them, and the last odd sectors."""
        def piece(unit, most):
            start = self.rng.randrange(size // unit)
            return start * unit, min(size - start * unit, self.rng.randrange(1, most + 1) * unit)

        commands = []
        big = max(cluster, 16 * KIB)
        most = max(1, min(300 * KIB, size // 4) // big)
        taken = set()
        for n in range(rounds if compressed else 0):
            # First, and each cluster once, since qemu-io writes no compressed cluster over another one.
            start, length = piece(cluster, max(1, most * big // cluster))
            touched = set(range(start, start + length, cluster))
            if not touched & taken:
                taken |= touched
                commands.append(f"write -c -P {n + 33} {start} {length}")
        for n in range(rounds):
            commands.append("write -P {} {} {}".format(n + 1, *piece(SECTOR, 100)))
            commands.append("write -P {} {} {}".format(n + 17, *piece(big, most)))
            commands.append("write -z {} {} {}".format("-u" if n % 2 else "", *piece(SECTOR, 300)))
            commands.append("discard {} {}".format(*piece(big, most)))
        commands += [f"write -P 77 {size - 3 * SECTOR} {3 * SECTOR}", f"write -P 78 {SECTOR} {SECTOR}"]
        return commands

    def raw(self, name, size):
        """Data with holes."""
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(size)
            for _ in range(4):
                file.seek(self.rng.randrange(max(1, size // (64 * KIB))) * 64 * KIB)
                content = self.rng.randbytes(10 * KIB) + bytes([self.rng.randrange(1, 256)]) * (10 * KIB)
                file.write(content[:size - file.tell()])
        return path


class Made(Qcow2Test):
    """By qemu-img and qemu-io."""

    def setUp(self):
        super().setUp()
        need(self, "qemu-img", "qemu-io")

    def cases(self):
        yield from ({"compat": "0.10", "cluster_size": cs, "preallocation": p}
                    for cs in (512, 4096, 65536, 2 * MIB) for p in ("off", "metadata", "falloc", "full"))
        bits, lazy = itertools.cycle((1, 2, 4, 8, 16, 32, 64)), itertools.cycle(("on", "off", "off"))
        for cs, kind, extended, p in itertools.product((512, 4096, 16384, 65536, 2 * MIB), ("zlib", "zstd"),
                                                       ("off", "on"), ("off", "metadata", "falloc", "full")):
            if extended == "off" or cs >= 16384:
                yield {"compat": "1.1", "cluster_size": cs, "compression_type": kind, "extended_l2": extended,
                       "preallocation": p, "refcount_bits": next(bits), "lazy_refcounts": next(lazy)}

    def test_matrix(self):
        cases = list(self.cases())
        self.rng.shuffle(cases)
        # Most of what there is to get wrong is in images that are not preallocated.
        cases.sort(key=lambda case: case["preallocation"] != "off")
        step = max(1, len(cases) // scaled(200))
        for options in cases[::step]:
            cluster = options["cluster_size"]
            size = (9 * MIB if cluster == 2 * MIB else 1536 * KIB) + 5 * SECTOR
            with self.subTest(**options):
                path = self.create("made.qcow2", size, **options)
                self.io(path, *self.script(size, cluster, compressed=options["preallocation"] == "off"))
                self.check_all(path, what=options)
                path.unlink()

    def test_converted_and_compressed(self):
        size = 1 * MIB + 7 * SECTOR
        raw = self.raw("disk.raw", size)
        cases = [(cs, kind) for cs in (512, 4096, 65536, 2 * MIB) for kind in ("zlib", "zstd")]
        self.rng.shuffle(cases)
        for cs, kind in cases[:scaled(60)]:
            with self.subTest(cluster_size=cs, compression_type=kind):
                path = self.scratch / "packed.qcow2"
                self.qemu("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
                          f"cluster_size={cs},compression_type={kind}", raw, path)
                self.same(self.check_all(path), raw.read_bytes(), (cs, kind))
                if kind == "zlib" and cs > 512:
                    self.assertTrue(any(row.get("compressed") for row in self.map(path)))

    def test_what_differs(self):
        size = 1 * MIB + 512
        before = self.create("before.qcow2", size)
        self.io(before, "write -P 1 0 200k", "write -c -P 2 256k 64k", f"write -P 3 {MIB} 512")
        after = self.scratch / "after.qcow2"
        after.write_bytes(before.read_bytes())
        self.io(after, "write -P 9 4k 4k", "write -z 256k 64k", "write -P 4 500k 12k", f"write -P 5 {MIB} 512")
        first, second = self.qemu_content(before), self.qemu_content(after)
        for one, two in ((before, after), (after, before)):
            done = run("diff", "--output=json", one, two)
            self.sound(done, (1,))
        old, new, diff = self.scratch / "old.raw", self.scratch / "new.raw", self.scratch / "the.snpd"
        old.write_bytes(first)
        new.write_bytes(second)
        for one, two in ((before, new), (old, after)):
            self.assertEqual(run("diff", one, two).stdout, run("diff", old, new).stdout)
        self.sound(run("diff", "-F", "raw", old, after), (1,))
        self.sound(run("export", after, "--base", before, "-o", diff), (0,))
        self.sound(run("apply", diff, old), (0,))
        self.same(old.read_bytes(), second, "applied")

    def test_by_the_name_of_the_format(self):
        path = self.create("disk.qcow2", 100 * KIB)
        self.io(path, "write -P 1 8k 8k")
        content = self.qemu_content(path)
        self.assertEqual(self.sum_of("-f", "qcow2", path), sha256(content))
        self.assertEqual(self.sum_of("-f", "raw", path), sha256_of_file(path))
        self.assertEqual(self.info(path)["format"], "qcow2")
        self.assertEqual(self.info("-f", "raw", path)["format"], "raw")
        raw = self.scratch / "disk.raw"
        raw.write_bytes(content)
        self.refused(65, "read", "-f", "qcow2", raw)
        self.sound(run("diff", "-f", "raw", "-F", "qcow2", raw, path), (0,))
        self.sound(run("diff", "-f", "qcow2", "-F", "raw", path, path), (1,))

    def test_parts_of_it(self):
        raw = self.scratch / "disk.raw"
        content = bytearray(self.rng.randbytes(512 * KIB))
        content[:SECTOR] = bytes(SECTOR)
        struct.pack_into("<B3sB3sII", content, 446, 0, b"\0\2\0", 0x83, b"\0\3\0", 128, 300)
        content[510:512] = b"\x55\xaa"
        raw.write_bytes(content)
        path = self.scratch / "disk.qcow2"
        self.qemu("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path)
        self.same(self.read(f"{path}#p1"), bytes(content[128 * SECTOR:428 * SECTOR]), "p1")
        self.same(self.read(f"{path}#+4k,512"), bytes(content[4096:4608]), "slice")
        self.same(self.read(f"{path}#p1#+1k,3"), bytes(content[128 * SECTOR + 1024:128 * SECTOR + 1027]), "both")
        self.assertIn("#p1", run("info", path).stdout)
        self.check_rows(self.map(f"{path}#p1"), bytes(content[128 * SECTOR:428 * SECTOR]))

    def test_info_says_what_qemu_says(self):
        self.raw("base.raw", 64 * KIB)
        cases = ({"compat": "0.10"}, {"compat": "1.1", "cluster_size": 4096, "refcount_bits": 1},
                 {"compat": "1.1", "compression_type": "zstd", "extended_l2": "on", "refcount_bits": 64})
        for n, options in enumerate(cases):
            path = self.create(f"{n}.qcow2", MIB, "base.raw" if n else None, "raw" if n else None, **options)
            if n:
                self.qemu("qemu-img", "bitmap", "--add", "-g", "64k", path, "first")
                self.qemu("qemu-img", "bitmap", "--add", "--disable", "-g", "4k", path, "second")
            ours, theirs = self.info(path), self.qemu_info(path)
            more = theirs["format-specific"]["data"]
            self.assertEqual(ours["format"], "qcow2")
            self.assertEqual(ours["virtual_size"], theirs["virtual-size"])
            self.assertEqual(ours["cluster_size"], theirs["cluster-size"])
            for name in ("compat", "refcount-bits", "compression-type"):
                self.assertEqual(ours[name.replace("-", "_")], more[name], name)
            self.assertEqual(ours.get("extended_l2", False), more.get("extended-l2", False))
            self.assertEqual(ours.get("backing_filename"), theirs.get("backing-filename"))
            self.assertEqual(ours.get("backing_format"), theirs.get("backing-filename-format"))
            self.assertEqual([(b["name"], b["granularity"], b["in_use"], b["auto"]) for b in ours.get("bitmaps", [])],
                             [(b["name"], b["granularity"], "in-use" in b["flags"], "auto" in b["flags"])
                              for b in more.get("bitmaps", [])])
            self.assertEqual(len(ours.get("bitmaps", [])), 2 if n else 0)
        image = Qcow2(MIB)
        image.bitmap("left open", 16, in_use=True)
        bitmaps = self.info(image.write(self.scratch / "in-use.qcow2"))["bitmaps"]
        self.assertEqual([(b["name"], b["granularity"], b["in_use"], b["auto"]) for b in bitmaps],
                         [("left open", 65536, True, False)])


class Chains(Qcow2Test):
    def setUp(self):
        super().setUp()
        need(self, "qemu-img", "qemu-io")

    def test_three_of_them(self):
        """The overlay is larger than its parent, or smaller; the names are relative to the folder of each."""
        cases = [(top, middle, extended) for extended in ("off", "on")
                 for top, middle in ((1536, 700), (500, 900), (1000, 1000), (700, 1536))]
        self.rng.shuffle(cases)
        for top_size, middle_size, extended in cases[:scaled(80)]:
            with self.subTest(top=top_size, middle=middle_size, extended=extended):
                self.raw("base/disk.raw", 800 * KIB)
                middle = self.create("middle/m.qcow2", middle_size * KIB + SECTOR, "../base/disk.raw", "raw",
                                     cluster_size=65536, extended_l2=extended)
                self.io(middle, *self.script(middle_size * KIB + SECTOR, 65536, rounds=2))
                top = self.create("top/sub/t.qcow2", top_size * KIB + SECTOR, "../../middle/m.qcow2", "qcow2",
                                  cluster_size=16384, extended_l2=extended)
                self.io(top, *self.script(top_size * KIB + SECTOR, 16384, rounds=2), "write -z 16k 32k")
                for path in (top, middle):
                    self.assertIn("--follow-parents", self.refused(63, "read", path))
                    self.assertIn("=anywhere", self.refused(63, "read", "--follow-parents", path))
                    self.check_all(path, "--follow-parents=anywhere")
                    path.unlink()

    def test_a_parent_that_is_named(self):
        base = self.raw("base.raw", 300 * KIB)
        path = self.create("top.qcow2", 400 * KIB, "base.raw", "raw")
        self.io(path, "write -P 1 64k 64k", "write -z 128k 4k")
        content = self.qemu_content(path)
        moved = self.scratch / "elsewhere.raw"
        base.rename(moved)
        self.refused(66, "read", "--follow-parents", path)
        self.same(self.read("--parent", moved, path), content, "read")
        self.assertEqual(self.sum_of("--parent", moved, path), sha256(content))
        self.check_rows(self.map("--parent", moved, path), content)
        self.assertEqual(self.info("--parent", moved, path)["virtual_size"], 400 * KIB)
        self.sound(run("read", "--parent", base, path), (1, 66))  # as any operand that is not there
        below = self.scratch / "below.qcow2"
        self.qemu("qemu-img", "convert", "-f", "raw", "-O", "qcow2", moved, below)
        unformatted = Qcow2(400 * KIB, backing="gone")
        unformatted.data(2, b"x" * 65536)
        plain = unformatted.write(self.scratch / "plain.qcow2")
        self.same(self.read("--parent", below, plain), unformatted.content(moved.read_bytes()), "a qcow2 as parent")

    def test_without_the_options(self):
        self.raw("the-base.raw", 100 * KIB)
        path = self.create("top.qcow2", 100 * KIB, "the-base.raw", "raw")
        for command in (["read", path], ["map", path], ["map", "--output=json", path], ["hash", path],
                        ["diff", path, path], ["diff", self.scratch / "the-base.raw", path]):
            self.assertIn("--follow-parents", self.refused(63, *command))
        info = self.info(path)
        self.assertEqual((info["backing_filename"], info["backing_format"]), ("the-base.raw", "raw"))
        need(self, "strace")
        for command in ("info", "read"):
            trace = self.scratch / "trace"
            done = run_under_strace(["-o", str(trace), "-e", "trace=open,openat,openat2,stat,lstat,newfstatat,statx"],
                                    command, path)
            self.sound(done, (0,) if command == "info" else (63,))
            self.assertIn("top.qcow2", trace.read_text())
            opened = [line for line in trace.read_text().splitlines() if "open" in line]
            self.assertNotIn("the-base", "\n".join(opened))

    def test_a_format_that_is_missing(self):
        """A raw parent without a format is a guest's to write: its content must not choose what is opened."""
        image = Qcow2(256 * KIB, backing="parent")
        image.data(1, b"\1" * 65536)
        image.zero(2)
        path, parent = image.write(self.scratch / "top.qcow2"), self.scratch / "parent"
        parent.write_bytes(self.rng.randbytes(250 * KIB))
        self.same(self.read("--follow-parents", path), image.content(parent.read_bytes()), "raw")
        inner = Qcow2(256 * KIB, backing=SECRET, backing_format="raw")
        inner.write(parent)
        self.refused(63, "read", "--follow-parents", path)
        Qcow2(256 * KIB).write(parent)
        self.refused(63, "read", "--follow-parents", path)
        # With a format it is what the format says, whatever it begins with.
        image = Qcow2(256 * KIB, backing="parent", backing_format="raw")
        self.same(self.read("--follow-parents", image.write(path)), image.content(parent.read_bytes()), "as raw")

    def test_names_that_are_not_followed(self):
        secret = f'json:{{"driver":"file","filename":"{SECRET}"}}'
        for name in (secret, "json:{}", "nbd://localhost/x", "http://localhost/x", "https:x", "ssh://x/y"):
            path = Qcow2(64 * KIB, backing=name, backing_format="raw").write(self.scratch / "top.qcow2")
            self.refused(63, "read", "--follow-parents", path)
            self.refused(63, "read", path)
            self.assertEqual(self.info(path)["backing_filename"], name)
        self.raw("base", 64 * KIB)
        for form in ("qed", "qcow", "x" * 100):
            path = Qcow2(64 * KIB, backing="base", backing_format=form).write(self.scratch / "top.qcow2")
            self.refused(63, "read", "--follow-parents", path)
            self.refused(63, "read", path)

    def test_loops(self):
        for names in (("a",), ("a", "b"), ("a", "b", "c")):
            for name, following in zip(names, names[1:] + names[:1], strict=True):
                Qcow2(64 * KIB, backing=f"./{following}", backing_format="qcow2").write(self.scratch / name)
            self.refused(65, "read", "--follow-parents", self.scratch / "a")
            self.refused(65, "map", "--follow-parents", self.scratch / "a")
            self.assertEqual(self.info(self.scratch / "a")["backing_filename"], f"./{(names * 2)[1]}")
        # By another name, too.
        (self.scratch / "link").symlink_to("a")
        Qcow2(64 * KIB, backing="link", backing_format="qcow2").write(self.scratch / "a")
        self.refused(65, "read", "--follow-parents", self.scratch / "a")


class Snapshots(Qcow2Test):
    def test_of_qemu_img(self):
        need(self, "qemu-img", "qemu-io")
        for options in ({"compat": "0.10"}, {"cluster_size": 4096, "extended_l2": "off"}, {"extended_l2": "on"}):
            path = self.create("disk.qcow2", 700 * KIB + SECTOR, **options)
            self.io(path, "write -P 1 0 300k", "write -c -P 2 384k 64k")
            self.qemu("qemu-img", "snapshot", "-c", "first", path)
            self.io(path, "write -P 3 60k 10k", "write -z 128k 64k", "discard 192k 64k")
            self.qemu("qemu-img", "snapshot", "-c", "the second", path)
            self.io(path, "write -P 4 0 500k")
            theirs = self.qemu_info(path)["snapshots"]
            ours = self.info(path)["snapshots"]
            self.assertEqual([(s["id"], s["name"]) for s in ours], [(s["id"], s["name"]) for s in theirs])
            self.assertEqual([s["virtual_size"] for s in ours], [700 * KIB + SECTOR] * 2)
            self.check_all(path)
            for row in theirs:
                expected = self.qemu_content(path, "-l", f"snapshot.id={row['id']},snapshot.name={row['name']}")
                self.same(self.read("--internal-snapshot", row["name"], path), expected, row["name"])
                self.assertEqual(self.sum_of("--internal-snapshot", row["id"], path), sha256(expected))
                self.check_rows(self.map("--internal-snapshot", row["name"], path), expected)
                info = self.info("--internal-snapshot", row["name"], path)
                self.assertEqual(info["virtual_size"], 700 * KIB + SECTOR)
            for command in ("read", "map", "hash"):
                words = self.refused(1, command, "--internal-snapshot", "none", path)
                self.assertIn("first", words)
                self.assertIn("the second", words)
            path.unlink()

    def test_of_the_maker(self):
        for n in range(scaled(60)):
            image = random_image(self.rng, most=256 * KIB)
            if image.refcount_order < 2:
                image.refcount_order = 4
            image.snapshot("1", "one")
            image.discard(0)
            image.data(1, self.rng.randbytes(100))
            image.snapshot("22", "two \u00e4")
            image.compressed(0, b"later")
            path = image.write(self.scratch / "disk.qcow2")
            self.same(self.read(path), image.content(), n)
            self.same(self.read("--internal-snapshot", "one", path), image.content(snapshot=0), n)
            self.same(self.read("--internal-snapshot", "22", path), image.content(snapshot=1), n)

    def test_one_that_was_smaller(self):
        image = Qcow2(256 * KIB, cluster_bits=12)
        image.data(0, b"\1" * 4096)
        image.data(63, b"\2" * 4096)
        image.snapshot("1", "small")
        image.size = MIB
        image.data(200, b"\3" * 4096)
        path = image.write(self.scratch / "disk.qcow2")
        self.assertEqual([s["virtual_size"] for s in self.info(path)["snapshots"]], [256 * KIB])
        self.same(self.read("--internal-snapshot", "small", path), image.content(snapshot=0), "small")
        self.same(self.read(path), image.content(), "now")


class Crafted(Qcow2Test):
    def test_the_maker_makes_what_qemu_reads(self):
        need(self, "qemu-img")
        base = self.raw("base.raw", 300 * KIB)
        for n in range(scaled(100)):
            image = random_image(self.rng, backing="base.raw" if n % 2 else None,
                                 backing_format="raw" if n % 2 else None)
            path = image.write(self.scratch / "disk.qcow2")
            self.qemu("qemu-img", "check", "-q", "-f", "qcow2", path)
            self.same(self.qemu_content(path), image.content(base.read_bytes() if n % 2 else b""), n)

    def test_random_images(self):
        base = self.raw("base.raw", 300 * KIB)
        for n in range(scaled(200)):
            overlay = n % 2 == 1
            image = random_image(self.rng, backing="base.raw" if overlay else None,
                                 backing_format="raw" if overlay else None)
            path = image.write(self.scratch / "disk.qcow2")
            options = ["--follow-parents"] if overlay else []
            content = image.content(base.read_bytes() if overlay else b"")
            what = (n, image.version, image.cluster_bits, image.extended, image.compression, overlay)
            self.same(self.read(*options, path), content, what)
            self.assertEqual(self.sum_of(*options, path), sha256(content), what)
            self.check_rows(self.map(*options, path), content)
            for _ in range(4):
                start = self.rng.randrange(len(content))
                length = min(len(content) - start, self.rng.choice((1, 511, 4096, 70_000, 1 << 20)))
                self.same(self.read(*options, "--offset", start, "--length", length, path),
                          content[start:start + length], (what, start, length))
            info = self.info(path)
            self.assertEqual((info["virtual_size"], info["cluster_size"], info["refcount_bits"]),
                             (len(content), image.cluster_size, 1 << image.refcount_order))
            self.assertEqual((info["compat"], info["compression_type"], info["extended_l2"]),
                             ("1.1" if image.version == 3 else "0.10", image.compression, image.extended))

    def test_subclusters_over_a_parent(self):
        need(self, "qemu-img", "qemu-io")
        base = self.raw("base.raw", 256 * KIB)
        base.write_bytes(b"\x99" * (200 * KIB))
        image = Qcow2(256 * KIB, cluster_bits=16, extended=True, backing="base.raw", backing_format="raw")
        image.subclusters(0, [None, 0, b"\1" * 2048, None] * 8)
        image.subclusters(1, [None] * 31 + [b"\2" * 2048])
        image.subclusters(2, [0] * 5 + [None] * 27)
        path = image.write(self.scratch / "top.qcow2")
        self.same(self.check_all(path, "--follow-parents"), image.content(base.read_bytes()), "subclusters")

    def test_the_dirty_and_the_corrupt_bit(self):
        image = Qcow2(128 * KIB, incompatible=1)
        image.data(1, b"\1" * 65536)
        path = image.write(self.scratch / "disk.qcow2")
        done = run("read", path, binary=True)
        self.sound(done, (0,))
        self.assertRegex(done.stderr, rb"(?i)dirty|not closed")
        self.same(done.stdout, image.content(), "dirty")
        image.incompatible = 2
        image.write(path)
        self.refused(65, "read", path)
        self.refused(65, "hash", path)
        self.same(self.read("--ignore-invalid", path), image.content(), "corrupt")

    def test_what_is_not_supported(self):
        def image(**options):
            made = Qcow2(128 * KIB, **options)
            made.data(0, b"\1" * 65536)
            return made

        names = [feature_names((1, 17, "walking clusters"), (0, 17, "flying clusters"))]
        cases = {"unknown bit": (image(incompatible=1 << 17), "17"), "named bit": (image(incompatible=1 << 17,
                 extensions=names), "flying clusters"), "last bit": (image(incompatible=1 << 63), ""),
                 "external data": (image(incompatible=4, extensions=[(DATA_FILE, SECRET.encode())]), "")}
        for version in (1, 4):
            cases[f"version {version}"] = (image(), str(version))
            cases[f"version {version}"][0].header["version"] = version
        for method in (1, 2):
            cases[f"encryption {method}"] = (image(), "crypt")
            cases[f"encryption {method}"][0].header["encryption"] = method
        for name, (made, words) in cases.items():
            with self.subTest(name):
                path = made.write(self.scratch / "disk.qcow2")
                error = self.refused(63, "read", path)
                self.assertIn(words, error)
                self.assertNotIn("walking", error)


class Damaged(Qcow2Test):
    """What is damaged is told when it is needed; what is sound can be read."""

    def setUp(self):
        super().setUp()
        self.image = Qcow2(8 * 4096, cluster_bits=12, extensions=[feature_names((0, 0, "dirty bit"))])
        for number in range(6):
            self.image.data(number, bytes([number + 1]) * 4096)
        self.image.compressed(6, b"\7" * 4096)
        self.path = self.scratch / "disk.qcow2"

    def check(self, raw, bad, image=None):
        """Cluster `bad` cannot be read, all others can."""
        image = image or self.image
        self.path.write_bytes(raw)
        content, size = image.content(), image.cluster_size
        self.refused(65, "read", "--offset", bad * size, "--length", size, self.path)
        out = self.scratch / "out"
        self.refused(65, "read", self.path, "-o", out)
        self.assertFalse(out.exists())
        if bad > 0:
            self.same(self.read("--length", bad * size, self.path), content[:bad * size], "before")
        behind = (bad + 1) * size
        if behind < len(content):
            self.same(self.read("--offset", behind, self.path), content[behind:], "behind")

    def test_entries(self):
        raw = self.image.build()
        entries = {number: self.image.places["entry", number] for number in range(7)}
        end = -(-len(raw) // 4096) * 4096
        bits = 62 - (self.image.cluster_bits - 8)
        for value in (end | COPIED, 1 << 40 | COPIED, (1 << 56) - 4096 | COPIED):
            raw = self.image.build()
            put(raw, entries[3], value)
            self.check(raw, 3)
        raw = self.image.build()
        put(raw, entries[3], self.image.places["cluster", 3] | 512 | COPIED)
        self.check(raw, 3)
        for value in (COMPRESSED | end + 4096, COMPRESSED | (1 << bits) - 1, COMPRESSED | 3 << bits | end + 4096):
            raw = self.image.build()
            put(raw, entries[6], value)
            self.check(raw, 6)

    def test_tables(self):
        image = Qcow2(3 * 64 * 512, cluster_bits=9)  # an L2 table has 64 entries
        for number in (0, 1, 64, 65, 128):
            image.data(number, bytes([number]) * 512)
        raw = image.build()
        end = -(-len(raw) // 512) * 512
        for value in (end | COPIED, 1 << 50 | COPIED, image.places["l2", 1] + 8 | COPIED | 256):
            raw = image.build()
            put(raw, image.places["l1"] + 8, value)
            self.path.write_bytes(raw)
            if value & 511 == 0:
                self.refused(65, "read", "--offset", 64 * 512, "--length", 512, self.path)
                self.refused(65, "map", self.path)
            else:  # bits 0 to 8 are reserved: refused, or not looked at
                self.sound(run("read", "--offset", 64 * 512, "--length", 512, self.path, binary=True), (0, 65))
            self.same(self.read("--length", 64 * 512, self.path), image.content()[:64 * 512], "before")
            self.same(self.read("--offset", 128 * 512, self.path), image.content()[128 * 512:], "behind")

    def test_compressed(self):
        size = 4096
        zstd_rle = zstd_frame_of_one_byte(size, 7, 17)
        blobs = {"zlib": (b"\xff" * 100, b"\0" * 100, deflate(b"\7" * 4095), deflate(b"\7" * size)[:-4] + b"\xff" * 4,
                          b"\x78\x9c" + deflate(b"\7" * size)),
                 "zstd": (b"\xff" * 100, b"\0" * 100, zstd_frame_of_one_byte(4095, 7, 17), b"x" + zstd_rle)}
        for kind, each in blobs.items():
            for blob in each:
                image = Qcow2(3 * size, cluster_bits=12, compression=kind)
                image.data(0, b"\1" * size)
                image.compressed(1, b"\7" * size, blob=blob)
                image.data(2, b"\2" * size)
                raw = image.build()
                if blob.endswith(b"\xff" * 4) and len(blob) < 100:  # a good start: the cluster may be whole before it
                    self.path.write_bytes(raw)
                    done = run("read", self.path, binary=True)
                    self.sound(done, (0, 65))
                    self.assertTrue(image.content().startswith(done.stdout))
                    continue
                self.check(raw, 1, image=image)
        image = Qcow2(size, cluster_bits=12, compression="zstd")
        image.compressed(0, b"\7" * size, blob=zstd_rle)
        self.same(self.read(image.write(self.path)), image.content(), "the frame itself is sound")

    def test_subclusters(self):
        image = Qcow2(3 * 16384, cluster_bits=14, extended=True)
        for number in range(3):
            image.data(number, bytes([number + 1]) * 16384)
        raw = image.build()
        put(raw, image.places["entry", 1] + 8, 0xffffffff | 1 << 35)
        self.check(raw, 1, image=image)

    def test_cut_files(self):
        images = []
        for bits, extended, kind in ((9, False, "zlib"), (12, False, "zstd"), (14, True, "zlib")):
            image = Qcow2(11 << bits, cluster_bits=bits, extended=extended, compression=kind)
            for number in range(0, 8, 2):
                image.data(number, self.rng.randbytes(1 << bits))
            image.compressed(1, b"abcd" * (1 << bits - 2))
            image.compressed(3, self.rng.randbytes(1 << bits - 2))
            image.zero(5)
            if extended:
                image.subclusters(9, [None, 0, self.rng.randbytes(512), None] * 8)
            images.append((image, image.build()))
        for image, raw in images:
            content, bits = image.content(), image.cluster_bits
            cuts = {0, 3, 4, 71, 72, 103, 104, 111, 112, (1 << bits) - 1, 1 << bits, len(raw) - 1}
            cuts |= {self.rng.randrange(len(raw)) for _ in range(scaled(60))}
            cuts |= {self.rng.randrange(len(raw) >> bits) << bits for _ in range(scaled(40))}
            for cut in sorted(cuts):
                self.path.write_bytes(raw[:cut])
                done = run("read", "-f", "qcow2", self.path, binary=True, timeout=10)
                self.sound(done, (0, 1, 63, 65), cut)
                if done.returncode == 0:
                    self.same(done.stdout, content, cut)
                self.assertTrue(content.startswith(done.stdout), cut)


class Hostile(Qcow2Test):
    """In a moment, without much memory, and without opening what was not named."""

    LIMIT = 3  # seconds; a second would do but for sanitizers and busy machines

    def setUp(self):
        super().setUp()
        self.path = self.scratch / "hostile.qcow2"

    def try_it(self, raw, statuses, *command, what=None, words=""):
        if raw is not None:
            self.path.write_bytes(raw)
        start = time.monotonic()
        done = run(*command, env=SMALL, timeout=10, binary=True)
        taken = time.monotonic() - start
        error = self.sound(done, statuses, (what, command))
        self.assertLess(taken, self.LIMIT, (what, command))
        if done.returncode != 0:
            self.assertRegex(error, r"\A(snaptool [a-z-]+: warning: [^\n]+\n)*snaptool [a-z-]+: [^\n]+\n\Z",
                             (what, command))
            self.assertTrue(done.stdout == b"" or json_keys.is_error(done.stdout), (what, command, done.stdout))
        self.assertIn(words, error, what)
        return done

    @staticmethod
    def tiny(bits=16, size=None, **options):
        image = Qcow2(size or 4 << bits, cluster_bits=bits, **options)
        image.data(0, b"\1" * (1 << bits))
        image.data(3, b"\2" * (1 << bits))
        return image

    def with_header(self, bits=16, **fields):
        image = self.tiny(bits)
        image.header.update(fields)
        return image.build()

    def headers(self):
        """(what, file, the statuses that are right)"""
        for size in (1 << 63, (1 << 64) - 1, (1 << 64) - 512, 1 << 62, 1 << 56, 513 << 20):
            yield f"size {size:#x}", self.with_header(size=size), (65,)
        for bits in (0, 8, 22, 31, 32, 63, 64, (1 << 32) - 1):
            yield f"cluster_bits {bits}", self.with_header(cluster_bits=bits), (65,)
        yield "backing name of 2000", self.with_header(backing_offset=512, backing_length=2000), (65,)
        yield "backing name of 2^32-1", self.with_header(backing_offset=512, backing_length=(1 << 32) - 1), (65,)
        yield "backing name behind the cluster", self.with_header(backing_offset=65530, backing_length=10), (65,)
        yield "backing name behind the file", self.with_header(backing_offset=1 << 40, backing_length=10), (65,)
        yield "backing name at 2^64-1", self.with_header(backing_offset=(1 << 64) - 1, backing_length=10), (65,)
        for length in (0, 8, 72, 103, 65536 + 8, 1 << 31, (1 << 32) - 8):
            yield f"header_length {length}", self.with_header(header_length=length), (65,)
        for order in (7, 63, (1 << 32) - 1):  # nobody who reads needs it
            yield f"refcount_order {order}", self.with_header(refcount_order=order), (0, 63, 65)
        yield "L1 of 32 Mi entries", self.with_header(l1_size=32 << 20), (65,)
        yield "L1 of 32 Mi entries that the size needs", self.with_header(l1_size=32 << 20, size=1 << 54), (65,)
        yield "L1 of 2^32-1 entries", self.with_header(l1_size=(1 << 32) - 1), (65,)
        yield "no L1", self.with_header(l1_size=0), (65,)
        for offset in (1 << 40, (1 << 64) - 65536, (1 << 63) + 65536):
            yield f"L1 at {offset:#x}", self.with_header(l1_offset=offset), (65,)
        yield "L1 that is not aligned", self.with_header(l1_offset=65536 + 8), (65,)
        yield "L1 in the header", self.with_header(l1_offset=0), (0, 65)
        yield "compression type 2", self.with_header(compression=2, incompatible=8), (63, 65)
        yield "compression type 1 without its bit", self.with_header(compression=1), (63, 65)
        yield "extended L2 of small clusters", self.with_header(bits=12, incompatible=16), (63, 65)
        for claimed in ((1 << 32) - 1, (1 << 32) - 8, 65536, 1 << 31):
            for version in (2, 3):
                made = self.tiny(version=version, extensions=[(0x12345678, b"x", claimed)])
                yield f"extension of {claimed} in version {version}", made.build(), (65,)
        yield "only the magic", bytearray(b"QFI\xfb"), (63, 65)
        yield "only the header", self.tiny().build()[:112], (65,)

    def tables(self):
        image = self.tiny(12)
        l1, entry = (image.build(), image.places["l1"])[1], image.places["entry", 0]
        end = -(-len(image.image) // 4096) * 4096
        for value in (end, 1 << 55, (1 << 56) - 4096):
            raw = image.build()
            put(raw, l1, value | COPIED)
            yield f"L2 at {value:#x}", raw, (65,)
            raw = image.build()
            put(raw, entry, value | COPIED)
            yield f"data at {value:#x}", raw, (65,)
        raw = image.build()
        put(raw, l1, l1 | COPIED)
        yield "the L1 as L2", raw, (0, 65)
        raw = image.build()
        put(raw, entry, COPIED)
        yield "data at the header", raw, (0, 65)
        raw = image.build()
        put(raw, l1, COPIED)
        yield "L2 at the header", raw, (0, 65)
        raw = image.build()
        put(raw, l1, (1 << 64) - 1)
        yield "L1 of ones", raw, (65,)
        raw = image.build()
        put(raw, entry, (1 << 64) - 1)
        yield "L2 of ones", raw, (65,)

    def bombs(self):
        gib = zeros_of_a_gib()
        image = Qcow2(2 * MIB, cluster_bits=21)
        image.compressed(0, bytes(2 * MIB), blob=gib)
        yield "1 GiB of zeros in a deflate stream", image.build(), (0, 65)
        for length in (65536, 1 << 20):
            image = Qcow2(65536, compression="zstd")
            image.compressed(0, b"\7" * 65536, blob=zstd_frame_of_one_byte(length, 7, 31))
            yield f"{length} bytes behind a window of 2 GiB", image.build(), (0, 65)
        image = Qcow2(65536, compression="zstd")
        image.compressed(0, b"\7" * 65536, blob=zstd_frame_of_one_byte(1 << 30, 7, 20))
        yield "1 GiB in a zstd frame", image.build(), (0, 65)

    def test_headers(self):
        for n, (what, raw, statuses) in enumerate(self.headers()):
            with self.subTest(what):
                self.try_it(raw, statuses, "read", "--length", 512, self.path, what=what)
                if n % 3 == SEED % 3 or scaled(100) == 100:
                    self.try_it(None, (0, 63, 65), "info", "--output=json", self.path, what=what)

    def test_tables(self):
        for what, raw, statuses in self.tables():
            with self.subTest(what):
                self.try_it(raw, statuses, "read", "--length", 512, self.path, what=what)
                self.try_it(None, (0, 65), "map", self.path, what=what)

    def test_bombs(self):
        for what, raw, statuses in self.bombs():
            with self.subTest(what):
                done = self.try_it(raw, statuses, "read", "--length", 1024, self.path, what=what)
                if done.returncode == 0:
                    self.assertEqual(done.stdout, (b"\0" if "deflate" in what else b"\7") * 1024)
                self.try_it(None, statuses, "hash", self.path, what=what)

    def test_much_that_is_not_there(self):
        """Sizes that are sound, in files that have next to nothing."""
        self.path.write_bytes(Qcow2(1 << 50, cluster_bits=21).build())
        done = self.try_it(None, (0,), "map", "--output=json", self.path)
        rows = json.loads(done.stdout)
        self.assertEqual(sum(row["length"] for row in rows), 1 << 50)
        self.assertFalse(any(row["data"] for row in rows))
        self.assertEqual(self.try_it(None, (0,), "read", "--offset", (1 << 50) - 512, self.path).stdout, bytes(512))
        # An L1 of 256 MiB that is there, as a hole.
        raw = self.with_header(l1_size=32 << 20, size=1 << 54, l1_offset=1 << 20)
        self.path.write_bytes(raw)
        os.truncate(self.path, 1 << 29)
        self.try_it(None, (0, 63, 65), "read", "--length", 512, self.path)
        self.try_it(None, (0, 63, 65), "info", self.path)

    def test_snapshot_tables(self):
        image = self.tiny(12)
        image.snapshot("1", "one")
        good = image.build()
        content, table = image.content(), image.places["snapshots"]

        def cases():
            for value in ((1 << 32) - 1, 65537, 100):
                raw = bytearray(good)
                put_field(raw, "nb_snapshots", value)
                yield f"{value} snapshots", raw
            for value in (1 << 40, (1 << 64) - 8, table + 1):
                raw = bytearray(good)
                put_field(raw, "snapshots_offset", value)
                yield f"table at {value:#x}", raw
            for at, form, value in ((36, ">I", (1 << 32) - 1), (12, ">H", 65535), (14, ">H", 65535),
                                    (8, ">I", (1 << 32) - 1), (8, ">I", 32 << 20), (0, ">Q", 1 << 40),
                                    (0, ">Q", 513), (48, ">Q", 1 << 63)):
                raw = bytearray(good)
                put(raw, table + at, value, form)
                yield f"{value:#x} at byte {at} of the table", raw

        for what, raw in cases():
            with self.subTest(what):
                done = self.try_it(raw, (0, 65), "read", self.path, what=what)
                if done.returncode == 0:
                    self.same(done.stdout, content, what)
                done = self.try_it(None, (0, 1, 65), "read", "--internal-snapshot", "one", self.path, what=what)
                if done.returncode == 0:
                    self.same(done.stdout, image.content(snapshot=0), what)
                self.try_it(None, (0, 65), "info", "--output=json", self.path, what=what)

    def test_secrets_are_not_opened(self):
        need(self, "strace")
        loop = self.scratch / "loop"
        images = [Qcow2(65536, backing=SECRET), Qcow2(65536, backing=SECRET, backing_format="raw"),
                  Qcow2(65536, backing="../" * 20 + SECRET[1:], backing_format="raw"),
                  Qcow2(65536, backing=f'json:{{"file.filename":"{SECRET}"}}', backing_format="raw"),
                  Qcow2(65536, backing=f"file:{SECRET}", backing_format="raw"),
                  Qcow2(65536, incompatible=4, extensions=[(DATA_FILE, SECRET.encode())])]
        for image in images:
            image.write(loop)
            for command in (["read", loop], ["info", loop], ["map", loop])[:scaled(60)]:
                trace = self.scratch / "trace"
                done = run_under_strace(["-o", str(trace), "-e", "trace=open,openat,openat2,connect,execve"], *command)
                self.sound(done, (0, 63) if command[0] == "info" else (63,), (image.backing, command))
                lines = [line for line in trace.read_text().splitlines() if "execve(" not in line]
                self.assertTrue(any(str(loop) in line for line in lines))
                self.assertNotIn("etc/passwd", "\n".join(lines), (image.backing, command))
                self.assertNotIn("connect(", "\n".join(lines))

    def test_a_raw_disk_with_a_header(self):
        """A guest writes what it likes to the first sectors of its disk."""
        need(self, "strace")
        disk, cow = self.scratch / "disk.raw", self.scratch / "cow"
        disk.write_bytes(self.rng.randbytes(MIB))
        self.sound(run("create", disk, cow), (0,))
        header = Qcow2(MIB, backing=SECRET, backing_format="raw").build()
        with open(disk, "r+b") as file:
            file.write(header[:4096])
        cases = ([disk], 63), ([f"{disk}#+0,512"], 63), ([f"{disk}@{cow}"], 0), (["-f", "raw", disk], 0)
        for arguments, status in cases:
            trace, out = self.scratch / "trace", self.scratch / "out"
            out.unlink(missing_ok=True)
            done = run_under_strace(["-o", str(trace), "-e", "trace=open,openat,openat2"], "read", *arguments, "-o",
                                    out)
            self.sound(done, (status,), arguments)
            self.assertNotIn("etc/passwd", trace.read_text(), arguments)
            if status == 0:
                self.same(out.read_bytes(), disk.read_bytes(), arguments)
            if "@" in str(arguments[0]):
                self.assertRegex(done.stderr, r"(?i)qcow2")

    def test_bytes_at_random(self):
        """Any bytes of the metadata changed: no crash, and no endless loop."""
        for n in range(scaled(200)):
            image = random_image(self.rng, cluster_bits=self.rng.choice((9, 12, 14)), most=128 * KIB)
            image.bitmap("bitmap")
            image.snapshot("1", "one")
            image.refcount_order = max(2, image.refcount_order)
            if image.version == 2:
                image.bitmaps = []
            raw = image.build()
            l2s = [place for key, place in image.places.items() if isinstance(key, tuple) and key[0] == "l2"]
            for _ in range(self.rng.randrange(1, 6)):
                at = self.rng.choice([self.rng.randrange(4, 112), self.rng.randrange(112, 256),
                                      image.places["l1"] + self.rng.randrange(8),
                                      image.places["snapshots"] + self.rng.randrange(64)] +
                                     [self.rng.choice(l2s) + self.rng.randrange(64)] * bool(l2s))
                value = self.rng.choice((self.rng.randbytes(1), b"\xff", b"\0", self.rng.randbytes(8), b"\xff" * 4))
                raw[at:at + len(value)] = value
            self.path.write_bytes(raw)
            for command in (["read", "--length", "512"], ["info", "--output=json"],
                            ["read", "--length", "512", "--internal-snapshot", "one"])[:2 + n % 2]:
                done = run(*command, "-f", "qcow2", self.path, env=SMALL, timeout=10, binary=True)
                self.sound(done, (0, 1, 63, 64, 65, 66), (n, command))


def zeros_of_a_gib():
    """A deflate stream of 1 GiB of zeros, in about 1 MiB, without inflating a GiB to make it.

    The middle is flushed to a byte, so that it can be repeated; a block refers only to zeros before it.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(bytes(8 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    middle = packer.compress(bytes(8 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return first + middle * 127 + b"\x03\x00"


class Evidence(Qcow2Test):
    def test_no_reader_writes(self):
        need(self, "strace")
        base = self.raw("chain-base.raw", 200 * KIB)
        middle = Qcow2(256 * KIB, cluster_bits=12, backing="chain-base.raw", backing_format="raw", incompatible=1)
        middle.compressed(1, b"middle")
        middle.write(self.scratch / "chain-middle.qcow2")
        top = Qcow2(256 * KIB, cluster_bits=12, backing="chain-middle.qcow2", backing_format="qcow2")
        top.data(2, b"top")
        top.bitmap("bitmap", in_use=True)
        top.snapshot("1", "one")
        path = top.write(self.scratch / "chain-top.qcow2")
        files = sorted(self.scratch.glob("chain-*"))
        for file in files:
            os.utime(file, (1_000_000_000, 1_000_000_000))
        before = [(sha256_of_file(file), file.stat().st_mtime_ns, file.stat().st_ctime_ns) for file in files]
        parent = ["--parent", base]
        follow = ["--follow-parents"]
        commands = [["read", *follow, path, "-o", self.scratch / "out"], ["map", *follow, path], ["info", path],
                    ["hash", *follow, path], ["diff", *follow, path, self.scratch / "out"],
                    ["hash", *follow, "--internal-snapshot", "one", path],
                    ["read", *parent, files[1], "-o", self.scratch / "other"]]
        self.assertEqual(files[1].name, "chain-middle.qcow2")
        for command in commands:
            trace = self.scratch / "trace"
            done = run_under_strace(["-o", str(trace), "-e",
                                     "trace=open,openat,openat2,creat,truncate,ftruncate,unlink,rename"], *command)
            self.sound(done, (0,), command)
            opened = [line for line in trace.read_text().splitlines() if "chain-" in line]
            self.assertTrue(opened, command)
            for line in opened:
                self.assertIn("O_RDONLY", line, command)
                self.assertNotRegex(line, "O_RDWR|O_WRONLY|O_TRUNC|O_CREAT|unlink|rename|truncate", command)
        content = middle.content(base.read_bytes())
        self.same((self.scratch / "out").read_bytes(), top.content(content), "the chain")
        self.same((self.scratch / "other").read_bytes(), content, "the middle")
        self.assertEqual([(sha256_of_file(f), f.stat().st_mtime_ns, f.stat().st_ctime_ns) for f in files], before)


if __name__ == "__main__":
    main("qcow2")
