# SPDX-License-Identifier: Apache-2.0
"""Images that are made in several files, which appear together: split raw ones, and E01 in segments."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from ewf_images import EwfTest  # noqa: E402
from harness import SNAPTOOL, main, need, run, run_under_strace  # noqa: E402
from vm_images import KIB, MIB, SECTOR  # noqa: E402


class PartsTest(EwfTest):
    def setUp(self):
        super().setUp()
        self.raw = self.scratch / "raw"
        self.folder = self.scratch / "made"
        self.folder.mkdir()
        self.out = self.folder / "x.001"

    def source(self, content):
        self.raw.write_bytes(content)
        return content

    def made(self):
        return sorted(path.name for path in self.folder.iterdir())

    def split(self, size, *options, out=None, status=0):
        done = run("convert", "--option", f"part_size={size}", *options, self.raw, out or self.out)
        self.assertEqual(done.returncode, status, done.stderr)
        return done


class Raw(PartsTest):
    def test_parts(self):
        for size, count in ((100_000, 4), (MIB, 1), (64 * KIB, 5), (7000, 45), (310_001, 1), (310_000, 2)):
            content = self.source(self.rng.randbytes(200_000) + bytes(110_000) + b"x")
            for path in self.folder.iterdir():
                path.unlink()
            self.split(size, "--verify")
            self.assertEqual(self.made(), [f"x.{number:03}" for number in range(1, count + 1)])
            self.assertEqual([(self.folder / name).read_bytes() for name in self.made()],
                             [content[at:at + size] for at in range(0, len(content), size)])
            if count > 1:
                self.assert_reads(content, "-f", "split", path=self.out)

    def test_names(self):
        content = self.source(self.rng.randbytes(3000))
        for first, names in (("x.000", ["x.000", "x.001", "x.002"]), ("x.aa", ["x.aa", "x.ab", "x.ac"]),
                             ("xaa", ["xaa", "xab", "xac"]), ("x.0001", ["x.0001", "x.0002", "x.0003"])):
            self.split(1000, out=self.folder / first)
            self.assertEqual(self.made(), names)
            self.assertEqual(b"".join((self.folder / name).read_bytes() for name in names), content)
            for name in names:
                (self.folder / name).unlink()
        for first in ("x", "x.002", "x.01", "x.img"):
            self.split(1000, out=self.folder / first, status=64)
        self.split(2, status=63)  # there is no x.1000
        self.assertEqual(self.made(), [])

    def test_holes(self):
        with open(self.raw, "wb") as file:
            file.truncate(64 * MIB)
            file.seek(40 * MIB)
            file.write(b"y" * 5000)
        self.split("15M")
        self.assertEqual(len(self.made()), 5)
        self.assertLess(sum(path.stat().st_blocks for path in self.folder.iterdir()) * 512, MIB)
        joined = b"".join((self.folder / name).read_bytes() for name in self.made())
        self.assertEqual(joined, self.raw.read_bytes())
        for path in self.folder.iterdir():
            path.unlink()
        self.split("15M", "-S", "0")
        self.assertGreaterEqual(sum(path.stat().st_blocks for path in self.folder.iterdir()) * 512, 64 * MIB)

    def test_nothing(self):
        self.source(b"")
        self.split(1000)
        self.assertEqual([(name, (self.folder / name).stat().st_size) for name in self.made()], [("x.001", 0)])

    def test_what_is_there_stays(self):
        """Also what would be taken for a part that comes after the last."""
        content = self.source(self.rng.randbytes(3000))
        for name in ("x.001", "x.002", "x.003", "x.004"):
            other = self.folder / name
            for make in (lambda path: path.write_bytes(b"old"), lambda path: path.symlink_to("nowhere")):
                make(other)
                for options in ([], ["--force"]):
                    done = self.split(1000, *options, status=64)
                    self.assertIn(name, done.stderr)
                    self.assertEqual(self.made(), [name])
                other.unlink()
        (self.folder / "x.005").write_bytes(b"far")
        self.split(1000)
        self.assertEqual(b"".join((self.folder / f"x.00{n}").read_bytes() for n in (1, 2, 3)), content)

    def test_settings(self):
        self.source(bytes(5000))
        for value in ("0", "x", ""):
            self.split(value, status=64)
        self.split(1000, out="-", status=64)
        self.split(1000, "-n", status=64)
        self.assertEqual(self.made(), [])


class Failing(PartsTest):
    """Wherever it fails or dies: no first part, or all of them."""

    def strace(self, inject):
        return run_under_strace(["-o", os.devnull, "-e", f"inject={inject}"], "convert", "-j", "1", "--option", "part_size=1000",
                                self.raw, self.out)

    def test_failures(self):
        content = self.source(self.rng.randbytes(5000))
        for call, error, status in (("pwrite64", "ENOSPC", 73), ("fsync", "ENOSPC", 73), ("linkat", "EIO", 1),
                                    ("ftruncate", "ENOSPC", 73)):
            failed = 0
            for when in range(1, 8):
                done = self.strace(f"{call}:error={error}:when={when}")
                if done.returncode != 0:
                    failed += 1
                    self.assertEqual(self.made(), [], (call, when, done.stderr))
                    self.assertEqual(done.returncode, status, (call, when, done.stderr))
                    continue
                self.assertEqual(b"".join((self.folder / name).read_bytes() for name in self.made()), content)
                for path in self.folder.iterdir():
                    path.unlink()
            self.assertGreaterEqual(failed, 5, call)

    def test_deaths(self):
        """The first part is named last, so what is left is no image."""
        content = self.source(self.rng.randbytes(5000))
        left = []
        for when in range(1, 7):
            self.strace(f"linkat:signal=KILL:when={when}")
            left.append(len(self.made()))
            if "x.001" in self.made():
                self.assertEqual(b"".join((self.folder / name).read_bytes() for name in self.made()), content)
            self.assertEqual(run("hash", "-f", "split", self.out).returncode, 0 if "x.001" in self.made() else 1)
            for path in self.folder.iterdir():
                path.unlink()
        self.assertEqual(left, [0, 1, 2, 3, 4, 5])


class Segments(PartsTest):
    def test_segments(self):
        need(self, "ewfverify", "ewfexport", "img_cat")
        self.out = self.folder / "x.E01"
        for options, least in (([], 2), (["compression=none"], 3), (["chunk=128k"], 2)):
            content = self.source(self.content(150))
            words = [word for option in [*options, "segment_size=1M"] for word in ("--option", option)]
            self.good("convert", "-O", "ewf", "--verify", *words, self.raw, self.out)
            self.assertGreaterEqual(len(self.made()), least)
            for path in self.folder.iterdir():
                self.assertLessEqual(path.stat().st_size, MIB)
            self.assert_reads(content, path=self.out)
            self.verified(0, self.out)
            self.assertIn("SUCCESS", self.peer("ewfverify", "-q", self.out))
            self.peer("ewfexport", "-u", "-q", "-t", "export", "-f", "raw", self.out)
            self.assertEqual((self.scratch / "export.raw").read_bytes(), content)
            for path in self.folder.iterdir():
                path.unlink()

    def test_many(self):
        """Past .E99 comes .EAA."""
        content = self.source(self.rng.randbytes(105 * MIB))
        self.out = self.folder / "x.e01"
        self.good("convert", "-O", "ewf", "--option", "segment_size=1M", "--option", "compression=none", self.raw, self.out)
        self.assertIn("x.eaa", self.made())
        done = run("read", self.out, binary=True)
        self.assertTrue(done.stdout == content)

    def test_names_and_settings(self):
        self.source(bytes(MIB))
        for first, options in (("x", []), ("x.E02", []), ("x.001", []), ("x.E01", ["segment_size=1000"]),
                               ("x.E01", ["chunk=1M", "segment_size=4M"]), ("x.E01", ["segment_size=x"])):
            words = [word for option in options or ["segment_size=1M"] for word in ("--option", option)]
            done = run("convert", "-O", "ewf", *words, self.raw, self.folder / first)
            self.assertEqual(done.returncode, 64, (first, options, done.stderr))
        self.assertEqual(self.made(), [])

    def limited(self, size, *arguments):
        """With files that may have so many bytes."""
        program = f"import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); os.execv(sys.argv[1], sys.argv[1:])"
        done = subprocess.run([sys.executable, "-c", program, SNAPTOOL, *map(str, arguments)], capture_output=True, check=False,
                              timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_no_file_is_larger_for_a_while(self):
        content = self.source(self.rng.randbytes(3 * MIB + 5 * SECTOR))
        self.out = self.folder / "x.E01"
        self.limited(MIB, "convert", "-O", "ewf", "--option", "segment_size=1M", self.raw, self.out)
        self.assert_reads(content, path=self.out)
        self.out = self.folder / "y.001"
        self.limited(MIB, "convert", "--option", "part_size=1M", self.raw, self.out)
        self.assert_reads(content, "-f", "split", path=self.out)

    def test_one_file_beside_an_old_part(self):
        self.source(self.rng.randbytes(MIB))
        for name in ("x.E02", "x.e02"):
            old = self.folder / name
            old.write_bytes(b"old")
            out = self.folder / (name[:3] + "01")
            for options in ([], ["--force"]):
                done = run("convert", "-O", "ewf", *options, self.raw, out)
                self.assertEqual(done.returncode, 64, done.stderr)
                self.assertIn(name, done.stderr)
                self.assertEqual(self.made(), [name])
            self.good("convert", "-O", "ewf", self.raw, self.folder / "y.E01")
            (self.folder / "y.E01").unlink()
            old.unlink()

    def test_one_file_by_default(self):
        self.source(self.rng.randbytes(3 * MIB))
        self.good("convert", "-O", "ewf", self.raw, self.folder / "x.E01")
        self.assertEqual(self.made(), ["x.E01"])


if __name__ == "__main__":
    main("output_parts")
