# SPDX-License-Identifier: Apache-2.0
"""Writes, flushes and renames reach the kernel in the order that MERGE.md and WRITE.md promise."""

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import write_store  # noqa: E402
from harness import SNAPTOOL, ScratchTest, main, need  # noqa: E402

CALL = re.compile(r"(pwrite64|fdatasync|fsync|fallocate|copy_file_range)\((\d+)<([^>]*)>.*\) = (-?\d+)")


class SyscallOrder(ScratchTest):
    OPENED = "what an earlier run may have left is on the medium, in whatever this one opens"

    def trace(self, chunk, old_chunks, origin_chunks, *options):
        """Merges such a store; returns [(call, "origin" or "cow")] as they ended."""
        origin, cow, log = self.scratch / "origin", self.scratch / "cow", self.scratch / "log"
        with open(origin, "wb") as file:
            file.truncate(origin_chunks * chunk * 512)
        data = b"\x5a" * (chunk * 512)
        write_store(cow, chunk, old_chunks, lambda index: data)
        subprocess.run(["strace", "-f", "-qq", "-y", "-o", str(log), "-e",
                        "trace=pwrite64,fdatasync,fsync,fallocate,copy_file_range", SNAPTOOL, "merge", "-q", "-j",
                        "1", *options, str(origin), str(cow)], check=True)
        calls = []
        for call, _, path, result in CALL.findall(log.read_text()):
            self.assertGreaterEqual(int(result), 0)
            calls.append((call, Path(path).name))
        return calls

    def check(self, calls):
        """Returns how many batches there were."""
        self.assertEqual(calls[:2], [("fdatasync", "origin"), ("fdatasync", "cow")], self.OPENED)
        calls = calls[2:]
        self.assertEqual(calls[:2], [("fdatasync", "cow"), ("fdatasync", "origin")], "settled first")
        dirty = {"origin": False, "cow": False}
        batches = 0
        for call, name in calls[2:]:
            if call == "fdatasync":
                batches += name == "cow" and dirty["cow"]
                dirty[name] = False
                continue
            if name == "cow":
                self.assertFalse(dirty["origin"], "an entry was cleared before its data were flushed")
            else:
                self.assertFalse(dirty["cow"], "the next batch was begun before the clears were flushed")
            dirty[name] = True
        self.assertEqual(dirty, {"origin": False, "cow": False}, "all is flushed at the end")
        return batches

    def test_one_batch_over_many_areas(self):
        need(self, "strace")
        self.assertEqual(self.check(self.trace(8, list(range(0, 1400, 2)), 1400)), 1)

    def test_the_undo_file_is_durable_first(self):
        need(self, "strace")
        calls = self.trace(1, list(range(140000)), 140000, "--undo", str(self.scratch / "undo"))
        self.assertEqual(calls[:2], [("fdatasync", "origin"), ("fdatasync", "cow")], self.OPENED)
        self.assertEqual(calls[2], ("fsync", self.scratch.name), "its name")
        del calls[2]
        dirty, records = False, 0
        for call, name in calls:
            if name == "undo":
                records += dirty and call == "fdatasync"
                dirty = call != "fdatasync"
            elif name == "origin":
                self.assertFalse(dirty, "the origin was overwritten before the undo file was flushed")
        self.assertFalse(dirty)
        batches = self.check([(call, name) for call, name in calls if name != "undo"])
        self.assertEqual(records, 1 + batches + 1, "header, a record a batch, the end")

    def test_several_batches(self):
        need(self, "strace")
        self.assertGreater(self.check(self.trace(1, list(range(140000)), 140000)), 1)


class WritingOrder(ScratchTest):
    CALLS = "pwrite64,fdatasync,fsync,fallocate,ftruncate,rename,renameat2,linkat"

    def trace(self, *arguments):
        """[(call, file's name)] of what changes or flushes something; a rename has the new name."""
        need(self, "strace")
        log = self.scratch / "log"
        subprocess.run(["strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={self.CALLS}", SNAPTOOL,
                        *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
        calls = []
        for line in log.read_text().splitlines():
            if match := re.match(r"\d+ +(?:rename|link)\w*\(.*\"([^\"]*)\".*\) = 0$", line):
                calls.append(("rename", Path(match[1]).name))
            elif match := re.match(r"\d+ +(\w+)\(\d+<([^>]*)>.*\) = (?!-)\d+$", line):
                calls.append((match[1], Path(match[2]).name))
        return calls

    def setUp(self):
        super().setUp()
        self.origin, self.cow = self.scratch / "origin", self.scratch / "cow"
        self.origin.write_bytes(bytes(range(256)) * 4096)

    def assert_appears_whole(self, calls, name):
        """Written without that name and flushed, then named, then the folder is flushed, then nothing."""
        at = calls.index(("rename", name))
        temporary = calls[at - 1][1]
        self.assertNotEqual(temporary, name)
        self.assertEqual(calls[at - 1][0], "fdatasync")
        self.assertTrue(any(call == ("pwrite64", temporary) for call in calls[:at]))
        self.assertEqual({file for _, file in calls[:at]}, {temporary})
        self.assertEqual(calls[at + 1:], [("fsync", self.scratch.name)])

    def test_new_files_appear_whole(self):
        self.assert_appears_whole(self.trace("create", self.origin, self.cow), "cow")
        self.assert_appears_whole(self.trace("read", self.origin, "-o", self.scratch / "copy"), "copy")
        self.assert_appears_whole(self.trace("merge", self.origin, self.cow, "-o", self.scratch / "new"), "new")

    def test_a_store_made_in_place(self):
        self.cow.write_bytes(b"junk" * (1 << 18))
        calls = [call for call, _ in self.trace("create", "--force", self.origin, self.cow)]
        kinds = "".join({"fdatasync": "F", "fsync": "D"}.get(call, "w") for call in calls)
        self.assertRegex(kinds, r"^FwFw+FwFD$", "as it was found, old magic, areas, header, folder")

    def test_a_snapshot_keeps_before_the_origin_changes(self):
        other = self.scratch / "other"
        self.trace("create", self.origin, self.cow)
        self.trace("create", "--chunk-size", "64k", self.origin, other)
        calls = self.trace("write-origin", "-P", "1", "--length", "1M", "--snapshot", self.cow, "--snapshot", other,
                           self.origin)
        first = calls.index(("pwrite64", "origin"))
        for name in ("cow", "other"):
            mine = [call for call, file in calls[:first] if file == name]
            self.assertRegex("".join("F" if call == "fdatasync" else "w" for call in mine), r"^Fw+Fw+F$")
            self.assertEqual([file for _, file in calls[first:] if file == name], [])
        self.assertEqual(calls[-1], ("fdatasync", "origin"))

    def test_data_before_the_entries_that_show_them(self):
        self.trace("create", self.origin, self.cow)
        calls = self.trace("write", "-P", "1", "--length", "1M", self.origin, self.cow)
        self.assertEqual({name for _, name in calls}, {"cow"})
        self.assertRegex("".join("F" if call == "fdatasync" else "w" for call, _ in calls), r"^Fw+Fw+F$")


if __name__ == "__main__":
    main("order of system calls")
