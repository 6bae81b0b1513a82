# SPDX-License-Identifier: Apache-2.0
"""Writes, flushes and renames reach the kernel in the order that MERGE.md and WRITE.md promise."""

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import write_store  # noqa: E402
from harness import SNAPTOOL, ScratchTest, main, need  # noqa: E402

BEGIN = re.compile(r"(\d+) +(\w+)\(\d+<([^>]*)>(?:.*?(\d+), (\d+))?(?:\)\s+= (-?\d+)| <unfinished \.\.\.>)")
END = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>.*\)\s+= (-?\d+)")


class Event:
    """A call that began or ended: a flush, or a write, with its range."""

    def __init__(self, ends, call, path, length, offset):
        self.ends, self.name = ends, Path(path).name
        self.is_flush = call in ("fdatasync", "fsync")
        self.offset, self.length = int(offset or 0), int(length or 0)


def events_of(text):
    """What strace -f -y says, in order; several threads' calls may be under way at once."""
    open_calls, events = {}, []
    for line in text.splitlines():
        if match := BEGIN.match(line):
            thread, call, path, length, offset, result = match.groups()
            events.append(Event(False, call, path, length, offset))
            open_calls[thread] = (call, path, length, offset)
        elif match := END.match(line):
            thread, _, result = match.groups()
        else:
            assert " syscall_0x" in line, line  # strace shows what it has no name for
            continue
        if result is not None:
            assert int(result) >= 0, line
            events.append(Event(True, *open_calls.pop(thread)))
    return events


class SyscallOrder(ScratchTest):
    OPENED = "what an earlier run may have left is on the medium, in whatever this one opens"

    def trace(self, chunk, old_chunks, origin_chunks, *options):
        """Merges such a store; returns the events."""
        origin, cow, log = self.scratch / "origin", self.scratch / "cow", self.scratch / "log"
        with open(origin, "wb") as file:
            file.truncate(origin_chunks * chunk * 512)
        data = b"\x5a" * (chunk * 512)
        self.layout = write_store(cow, chunk, old_chunks, lambda index: data)
        self.old_chunks = old_chunks
        subprocess.run(["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(log), "-e",
                        "trace=pwrite64,fdatasync,fsync,fallocate,copy_file_range", SNAPTOOL, "merge", "-q", "-j",
                        "1", *options, str(origin), str(cow)], check=True)
        return events_of(log.read_text())

    def entries_in(self, event):
        """The origin chunks of the entries that a write to the COW clears."""
        area = (event.offset // self.layout.chunk_bytes - 1) // (self.layout.per_area + 1)
        start = self.layout.area_chunk(area) * self.layout.chunk_bytes
        assert start <= event.offset and event.offset + event.length <= start + self.layout.chunk_bytes
        first = area * self.layout.per_area + (event.offset - start) // 16
        return self.old_chunks[first:first + event.length // 16]

    def check(self, events):
        """Returns how many batches there were."""
        ended = [event for event in events if event.ends]
        self.assertTrue(all(event.is_flush for event in ended[:4]))
        names = [event.name for event in ended[:4]]
        self.assertEqual(names[:2], ["origin", "cow"], self.OPENED)
        self.assertEqual(names[2:], ["cow", "origin"], "settled first")
        size = self.layout.chunk_bytes
        written = {}  # origin chunk: when
        began = {"origin": None, "cow": None}  # when the flush under way did
        flushed = {"origin": 0, "cow": 0}  # what was written before is durable
        cleared, last_flush, batches = 0, 0, 0  # when last; when the origin's last flush ended
        for now, event in enumerate(events):
            if event.is_flush and not event.ends:
                self.assertIsNone(began[event.name])
                began[event.name] = now
            elif event.is_flush:
                batches += event.name == "cow" and flushed["cow"] <= cleared < began["cow"] and cleared > 0
                flushed[event.name], began[event.name] = began[event.name], None
                last_flush = now if event.name == "origin" else last_flush
            elif event.name == "origin" and event.ends:
                for chunk in range(event.offset // size, (event.offset + event.length) // size):
                    written[chunk] = now
            elif event.name == "cow" and not event.ends:
                for chunk in self.entries_in(event):
                    self.assertLess(written[chunk], flushed["origin"], "an entry was cleared before its data were flushed")
                self.assertIsNone(began["cow"], "an entry was cleared while those above were flushed")
                if cleared >= flushed["cow"]:
                    self.assertGreaterEqual(cleared, last_flush, "two batches were cleared without a flush in between")
                cleared = now
        self.assertEqual(began, {"origin": None, "cow": None})
        self.assertEqual(len(written), len(self.old_chunks))
        self.assertTrue(max(written.values()) < flushed["origin"] and cleared < flushed["cow"], "all is flushed at the end")
        return batches

    def test_one_batch_over_many_areas(self):
        need(self, "strace")
        self.assertEqual(self.check(self.trace(8, list(range(0, 1400, 2)), 1400)), 1)

    def test_the_undo_file_is_durable_first(self):
        need(self, "strace")
        events = self.trace(1, list(range(140000)), 140000, "--undo", str(self.scratch / "undo"))
        ended = [event for event in events if event.ends]
        self.assertEqual([event.name for event in ended[:3]], ["origin", "cow", self.scratch.name], "its name")
        dirty, records = False, 0
        for event in events:
            if event.name == "undo" and event.ends:
                records += dirty and event.is_flush
                dirty = not event.is_flush
            elif event.name == "origin" and not event.is_flush:
                self.assertFalse(dirty, "the origin was overwritten before the undo file was flushed")
        self.assertFalse(dirty)
        batches = self.check([event for event in events if event.name in ("origin", "cow")])
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
