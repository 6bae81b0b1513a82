# SPDX-License-Identifier: Apache-2.0
"""The Python module: what it reads, writes and merges against models and the program, and each of its errors."""

import fcntl
import gc
import hashlib
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import SECTOR, naive_view, random_pair, write_store  # noqa: E402
from harness import SEED, ScratchTest, main, need, run  # noqa: E402
from interface import TABLE, load  # noqa: E402

snaptool = load()
CHUNK = 8
CHUNK_BYTES = CHUNK * SECTOR


class ModuleTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(SEED)
        self.origin, self.cow = self.scratch / "origin.img", self.scratch / "snap.cow"
        self.name = f"{self.origin}@{self.cow}"
        self.view = bytes(random_pair(self.rng, self.origin, self.cow, CHUNK, 2003, 60))

    def fails(self, code, call, *arguments, **options):
        with self.assertRaises(snaptool.Error) as raised:
            call(*arguments, **options)
        self.assertEqual(raised.exception.code, code, str(raised.exception))
        return raised.exception


class Reading(ModuleTest):
    def test_a_view(self):
        with snaptool.open(self.name) as image:
            self.assertEqual((image.size, image.writable, image.closed), (len(self.view), False, False))
            self.assertEqual(image.read(0, image.size), self.view)
            for _ in range(200):
                offset = self.rng.randrange(len(self.view))
                length = self.rng.randrange(min(20000, len(self.view) - offset) + 1)
                self.assertEqual(image.read(offset, length), self.view[offset:offset + length])
            buffer = bytearray(b"?" * 100)
            image.readinto(700, memoryview(buffer)[10:90])
            self.assertEqual(bytes(buffer), b"?" * 10 + self.view[700:780] + b"?" * 10)
            self.assertEqual(image.read(len(self.view), 0), b"")
        self.assertTrue(image.closed)

    def test_extents_are_those_of_map(self):
        for name, options in ((self.name, {}), (str(self.origin), {}), (str(self.cow), {"format": "raw"})):
            words = ["-f", "raw"] if options else []
            listed = json.loads(run("map", "--output=json", *words, name).stdout)
            with snaptool.open(name, **options) as image:
                found = list(image.extents())
                self.assertEqual(sum(one.length for one in found), image.size)
                self.assertEqual([one.offset for one in found], [0, *(one.offset + one.length for one in found)][:-1])
                joined = []
                for one in found:
                    if joined and joined[-1][1:] == [one.depth, one.zero]:
                        joined[-1][0] += one.length
                    else:
                        joined.append([one.length, one.depth, one.zero])
            expected = []
            for row in listed:
                if expected and expected[-1][1:] == [row["depth"], row["zero"]]:
                    expected[-1][0] += row["length"]
                else:
                    expected.append([row["length"], row["depth"], row["zero"]])
            self.assertEqual(joined, expected)

    def test_more_extents_than_are_asked_for_at_once(self):
        write_store(self.cow, 1, list(range(0, 5000, 2)), lambda _: b"\1" * SECTOR)
        self.origin.write_bytes(b"\2" * SECTOR * 5000)
        with snaptool.open(self.name) as image:
            found = list(image.extents(offset=SECTOR // 2))
            self.assertEqual(len(found), 5000)
            self.assertEqual(found[0], snaptool.Extent(SECTOR // 2, SECTOR // 2, False, 0))
            self.assertEqual(len(list(image.extents(0, 3 * SECTOR))), 3)
            self.assertEqual(list(image.extents(7, 0)), [])

    def test_other_formats_and_parts(self):
        need(self, "qemu-img")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.origin, self.scratch / "a.qcow2"], check=True)
        with snaptool.open(str(self.scratch / "a.qcow2")) as image:
            self.assertEqual(image.read(0, self.origin.stat().st_size), self.origin.read_bytes())
        disk = bytearray(2048 * SECTOR) + self.view
        struct.pack_into("<B3xB3xII", disk, 446, 0, 0x83, 2048, len(self.view) // SECTOR)
        disk[510:512] = b"\x55\xaa"
        (self.scratch / "disk.dd").write_bytes(disk)
        with snaptool.open(f"{self.scratch}/disk.dd#p1") as image:
            self.assertEqual(image.read(0, image.size), self.view)

    def test_several_threads(self):
        with snaptool.open(self.name) as image:
            wrong = []

            def work(seed):
                rng = random.Random(seed)
                for _ in range(100):
                    offset = rng.randrange(len(self.view) - 5000)
                    if image.read(offset, 5000) != self.view[offset:offset + 5000]:
                        wrong.append(offset)

            threads = [threading.Thread(target=work, args=[seed]) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])

    def test_what_is_closed_or_out_of_range(self):
        image = snaptool.open(self.name)
        for offset, length in ((-1, 1), (0, -1), (1 << 63, 1), (len(self.view), 1), (0, 1 << 62)):
            self.assertRaises(ValueError, image.read, offset, length)
        self.fails(64, image.readinto, len(self.view) - 1, bytearray(2))
        self.assertRaises(TypeError, image.readinto, 0, b"read only")
        self.fails(64, list, image.extents(0, len(self.view) + 1))
        image.close()
        image.close()
        self.assertRaises(ValueError, image.read, 0, 1)
        self.assertRaises(ValueError, lambda: image.size)
        self.assertRaises(ValueError, snaptool.open, "a\0b")

    def test_nothing_is_left_open(self):
        before = os.listdir("/proc/self/fd")
        with snaptool.open(self.name):
            for descriptor in set(os.listdir("/proc/self/fd")) - set(before):
                self.assertTrue(fcntl.fcntl(int(descriptor), fcntl.F_GETFD) & fcntl.FD_CLOEXEC) if Path(f"/proc/self/fd/{descriptor}").exists() else None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            snaptool.open(self.name)
            gc.collect()
        self.assertIn(ResourceWarning, [one.category for one in caught])
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_warnings_are_python_s(self):
        (self.scratch / "odd.img").write_bytes(b"QFI\xfb" + self.origin.read_bytes()[4:])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            snaptool.open(f"{self.scratch}/odd.img@{self.cow}").close()
        self.assertEqual([one.category for one in caught if "qcow2" in str(one.message)], [snaptool.Warning], [str(one.message) for one in caught])
        self.assertEqual(caught[0].filename, __file__)


    def test_names_and_values_of_other_types(self):
        with snaptool.open(self.origin, format=None, parent=()) as image, snaptool.open(os.fsencode(self.name)) as view:
            self.assertEqual(image.read(0, 100), self.origin.read_bytes()[:100])
            self.assertEqual(view.read(0, view.size), self.view)
        self.assertRaises(TypeError, snaptool.open, self.name, parent=1.5)

    def test_a_format_that_there_is_not(self):
        for name in ("QCOW2", "", "raw2"):
            for words in ({}, {"write": True}):
                self.assertIn("there is no format", str(self.fails(64, snaptool.open, self.name, format=name, **words)))
        self.assertIn("there is no format", str(self.fails(64, snaptool.merge, self.name, format="qcow")))

    def test_what_lies_after_the_last_sector_is_the_origin_s(self):
        with open(self.origin, "ab") as file:
            file.write(b"t" * 100)
        with snaptool.open(self.name) as image:
            self.assertEqual(image.size, len(self.view) + 100)
            self.assertEqual(list(image.extents(len(self.view))), [snaptool.Extent(len(self.view), 100, False, 1)])
            self.assertEqual(image.read(len(self.view), 100), b"t" * 100)
        self.assertEqual(json.loads(run("map", "--output=json", self.name).stdout)[-1]["depth"], 1)

    def test_ctrl_c_among_extents(self):
        write_store(self.cow, 1, list(range(0, 60000, 2)), lambda _: None)
        self.origin.write_bytes(b"\2" * SECTOR * 60000)
        with snaptool.open(self.name) as image:
            whole = list(image.extents())
            for wait in (0.01, 0.03, 0.05, 0.07):
                timer = threading.Timer(wait, lambda: os.kill(os.getpid(), signal.SIGINT))
                found = []
                timer.start()
                with self.assertRaises(KeyboardInterrupt):
                    while True:
                        found = list(image.extents())
                        self.assertEqual(found, whole)
                timer.join()
            self.assertEqual(list(image.extents()), whole)


class Writing(ModuleTest):
    def test_a_snapshot_against_a_model(self):
        model = bytearray(self.view)
        before = self.origin.read_bytes()
        with snaptool.open(self.name, write=True) as image:
            self.assertTrue(image.writable)
            for _ in range(60):
                offset = self.rng.randrange(len(model) - 9000)
                data = self.rng.randbytes(self.rng.randrange(9000))
                image.write(offset, self.rng.choice([bytes, bytearray, memoryview])(data))
                model[offset:offset + len(data)] = data
            image.flush()
            self.assertEqual(image.read(0, len(model)), bytes(model))
            image.write(0, b"last")
            model[:4] = b"last"
        self.assertEqual(self.origin.read_bytes(), before)
        view, _ = naive_view(before, self.cow.read_bytes())
        self.assertEqual(view, model)

    def test_a_number_is_no_data(self):
        with snaptool.open(self.name, write=True) as image:
            self.assertRaises(TypeError, image.write, 0, 4096)
            image.write(0, b"")
            self.assertEqual(image.read(0, len(self.view)), self.view)

    def test_after_a_fork_it_is_the_parent_s(self):
        with snaptool.open(self.name, write=True) as image:
            image.write(0, b"parent")
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    image.write(0, b"child!")
                except snaptool.Error as error:
                    status = 0 if "before a fork" in str(error) else 2
                image.close()
                os._exit(status)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
            image.write(8192, b"more")
        view, _ = naive_view(self.origin.read_bytes(), self.cow.read_bytes())
        self.assertEqual((bytes(view[:6]), bytes(view[8192:8196])), (b"parent", b"more"))

    def test_close_waits_and_can_be_interrupted(self):
        image = snaptool.open(self.name, write=True)
        image.write(0, b"kept")
        image._users += 1  # somebody is at it
        timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        self.assertRaises(KeyboardInterrupt, image.close)
        timer.join()
        image._users -= 1
        self.assertEqual(image.read(0, 4), b"kept")
        image.close()
        view, _ = naive_view(self.origin.read_bytes(), self.cow.read_bytes())
        self.assertEqual(bytes(view[:4]), b"kept")

    def test_trim(self):
        with snaptool.open(self.name, write=True) as image:
            held = next(one for one in image.extents() if one.depth == 0)
            image.trim(held.offset, held.length)
            self.assertEqual(image.read(held.offset, held.length), bytes(held.length))
            for call, arguments in ((image.write, (len(self.view), b"x")), (image.trim, (len(self.view), 1))):
                self.fails(64, call, *arguments)

    def test_one_that_is_only_read(self):
        with snaptool.open(self.name) as image:
            for call, arguments in ((image.write, (0, b"x")), (image.trim, (0, 512)), (image.flush, ())):
                self.assertIn("without the option write", str(self.fails(64, call, *arguments)))

    def test_create(self):
        new = self.scratch / "new.cow"
        snaptool.create(str(self.origin), str(new), chunk_size="16k", size=1 << 20)
        self.assertEqual(new.stat().st_size, 1 << 20)
        self.assertEqual(snaptool.verify(str(new)), ("note", []))
        with snaptool.open(f"{self.origin}@{new}") as image:
            self.assertEqual(image.read(0, image.size), self.origin.read_bytes()[:image.size])
        self.fails(64, snaptool.create, str(self.origin), str(new))


class Errors(ModuleTest):
    def test_there_is_a_test_for_each_code(self):
        self.assertEqual({row["value"] for row in TABLE["code"]}, {0, 1, 63, 64, 65, 66, 73, 75, 130})
        self.assertEqual(snaptool.CODES[75], "busy")

    def test_1(self):
        error = self.fails(1, snaptool.open, str(self.scratch / "missing"))
        self.assertEqual((error.errno, error.name), (2, "failed"))
        self.assertIsInstance(error, OSError)
        self.assertTrue(str(error).startswith("snap_image_open: "), str(error))

    def test_an_error_can_be_sent_to_another_process(self):
        error = self.fails(1, snaptool.open, str(self.scratch / "missing"))
        same = pickle.loads(pickle.dumps(error))
        self.assertEqual((str(same), same.code, same.errno), (str(error), 1, 2))

    def test_a_warning_does_not_hide_an_error(self):
        (self.scratch / "zeros.cow").write_bytes(bytes(1 << 20))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.fails(66, snaptool.merge, f"{self.origin}@{self.scratch}/zeros.cow", expect="0" * 64)
            self.assertRaises(snaptool.Warning, snaptool.merge, f"{self.origin}@{self.scratch}/zeros.cow")

    def test_options_that_do_not_go_together(self):
        for words in ({"store": "P"}, {"force": True}, {"write": True, "parent": "x"}, {"write": True, "force_share": True},
                      {"write": True, "internal_snapshot": "x"}, {"write": True, "ignore_invalid": True}):
            self.fails(64, snaptool.open, self.name, **words)

    def test_63(self):
        error = self.fails(63, snaptool.merge, f"{self.origin}@{self.cow}@{self.cow}", undo="u", sibling=[str(self.cow)])
        self.assertEqual(error.name, "unsupported")

    def test_64(self):
        self.assertIn("format=raw", str(self.fails(64, snaptool.open, str(self.cow))))
        self.fails(64, snaptool.merge, str(self.origin))

    def test_65(self):
        with open(self.cow, "r+b") as file:
            file.seek(CHUNK_BYTES + 16)
            file.write(struct.pack("<QQ", 5, 1))  # data in the area
        before = self.origin.read_bytes(), self.cow.read_bytes()
        self.fails(65, snaptool.merge, self.name)
        self.assertEqual((self.origin.read_bytes(), self.cow.read_bytes()), before)
        worst, findings = snaptool.verify(self.name)
        self.assertEqual((worst, findings[0].severity, findings[0].code), ("corrupt", "corrupt", "new-is-metadata"))

    def test_66(self):
        before = self.origin.read_bytes()
        self.fails(66, snaptool.merge, self.name, expect="0" * 64)
        self.assertEqual(self.origin.read_bytes(), before)

    def test_73(self):
        new = self.scratch / "small.cow"
        snaptool.create(str(self.origin), str(new), size="32k")
        with snaptool.open(f"{self.origin}@{new}", write=True) as image:
            error = self.fails(73, image.write, 0, bytes(100000))
        self.assertTrue(str(error).startswith("snap_image_write: "), str(error))

    def test_75(self):
        with snaptool.open(self.name, write=True):
            self.fails(75, snaptool.open, self.name, write=True)
            self.fails(75, snaptool.open, self.name)
            self.fails(75, snaptool.merge, self.name)

    def test_threads_have_errors_of_their_own(self):
        self.fails(1, snaptool.open, str(self.scratch / "missing"))
        seen = []
        thread = threading.Thread(target=lambda: seen.append(snaptool.library.snap_get_error()))
        thread.start()
        thread.join()
        self.assertEqual(seen, [b""])
        self.assertIn(b"missing", snaptool.library.snap_get_error())


class Merging(ModuleTest):
    def large(self):
        """A pair of which a merge takes a while; the sum of the view."""
        chunks = 4096
        self.origin.write_bytes(self.rng.randbytes(1 << 20) * 16)
        data = self.rng.randbytes(CHUNK_BYTES * 64)
        write_store(self.cow, CHUNK, list(range(chunks)), lambda index: data[index % 64 * CHUNK_BYTES:][:CHUNK_BYTES])
        return self.sum_of_view()

    def sum_of_view(self):
        with snaptool.open(self.name) as image:
            return hashlib.sha256(image.read(0, image.size)).hexdigest()

    def test_to_the_end(self):
        told = []
        snaptool.merge(self.name, progress=lambda *state: told.append(state), jobs=2, verify=True)
        self.assertEqual(self.origin.read_bytes()[:len(self.view)], self.view)
        self.assertEqual(json.loads(run("verify", "--output=json", self.cow).stdout)["exceptions"], 0)
        self.assertGreaterEqual(len(told), 2)
        self.assertEqual((told[-1][0], told[-1][1]), ("merging", told[-1][2]))

    def test_stopped_in_the_middle(self):
        expected = self.large()
        before = self.origin.read_bytes()
        told = []

        def progress(what, done, total):
            told.append((what, done, total))
            return not (what == "merging" and done > 0)

        error = self.fails(130, snaptool.merge, self.name, progress, rate_limit="8M")
        self.assertEqual(error.name, "interrupted")
        self.assertTrue(0 < told[-1][1] < told[-1][2], told)
        self.assertNotEqual(self.origin.read_bytes(), before)
        self.assertEqual(self.sum_of_view(), expected)
        self.assertEqual(snaptool.verify(self.name)[0], "note")
        snaptool.merge(self.name)
        self.assertEqual(hashlib.sha256(self.origin.read_bytes()).hexdigest(), expected)

    def test_stopped_before_the_start(self):
        before = self.origin.read_bytes(), self.cow.read_bytes()
        self.fails(130, snaptool.merge, self.name, lambda *_: False)
        self.assertEqual((self.origin.read_bytes(), self.cow.read_bytes()), before)

    def test_what_the_callback_raises_comes_out(self):
        expected = self.large()

        def interrupt(what, done, _total):
            if what == "merging" and done > 0:
                os.kill(os.getpid(), signal.SIGINT)

        with self.assertRaises(KeyboardInterrupt):
            snaptool.merge(self.name, interrupt, rate_limit="8M")
        self.assertEqual(self.sum_of_view(), expected)

    def test_ctrl_c_from_outside(self):
        expected = self.large()
        for progress in (None, lambda *_: None):
            timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
            timer.start()
            with self.assertRaises(KeyboardInterrupt):
                snaptool.merge(self.name, progress, rate_limit="4M")
            timer.join()
            self.assertEqual(self.sum_of_view(), expected)

    def test_threads_of_the_library_take_no_signals(self):
        self.large()
        masks = {}

        def progress(*_):
            for task in Path("/proc/self/task").iterdir():
                try:
                    status = (task / "status").read_text()
                except OSError:  # it has ended
                    continue
                masks[task.name] = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk"))

        own = str(threading.get_native_id())
        snaptool.merge(self.name, progress, rate_limit="64M", jobs=4)
        self.assertEqual(masks.pop(own), 0)
        self.assertGreater(len(masks), 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1):
            self.assertTrue(all(mask >> (number - 1) & 1 for mask in masks.values()), masks)

    def test_undo_and_siblings_as_the_program_has_them(self):
        before = self.origin.read_bytes()
        other = self.scratch / "other.cow"
        snaptool.create(str(self.origin), str(other))
        snaptool.merge(self.name, undo=str(self.scratch / "u"), sibling=[str(other)])
        with snaptool.open(f"{self.origin}@{other}") as image:
            self.assertEqual(image.read(0, image.size), before[:image.size])
        self.assertEqual(run("undo", self.scratch / "u", self.origin, self.cow).returncode, 0)
        self.assertEqual(self.origin.read_bytes(), before)

    def test_dry_run(self):
        before = self.origin.read_bytes(), self.cow.read_bytes()
        snaptool.merge(self.name, dry_run=True)
        self.assertEqual((self.origin.read_bytes(), self.cow.read_bytes()), before)


if __name__ == "__main__":
    main("the Python module")
