# SPDX-License-Identifier: Apache-2.0
"""repair, dump and restore as a user meets them, on stores that the kernel wrote."""

import json
import random
import shutil
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
from crafted import naive_entries  # noqa: E402
from harness import KERNEL_STORES, SEED, ScratchTest, main, run, scaled, sha256_of_file  # noqa: E402


def entries_of(content):
    chunk = struct.unpack_from("<I", content, 12)[0]
    return [(old, new) for _, old, new in naive_entries(content, chunk)]


def stores():
    """The kernel's stores; in the default suite a dozen of them."""
    names = [folder.name for folder in sorted(KERNEL_STORES.iterdir()) if folder.name != "p-big-c1"]
    return random.Random(SEED).sample(names, min(len(names), 9 + scaled(len(names))))


class RepairTest(ScratchTest):
    def good(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def refused(self, status, *arguments, words=()):
        done = run(*arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def junk(self, size):
        return random.Random(f"{SEED}{self.id()}").randbytes(size)

    def view(self, origin, cow):
        return self.good("read", f"{origin}@{cow}", binary=True).stdout

    def damage(self, path, offset, data):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(data)


class Repair(RepairTest):
    def test_every_store_of_the_kernel_survives_it(self):
        tried = 0
        for name in stores():
            origin, cow = self.unpack_store(name)
            if run("verify", origin, cow).returncode != 0:
                continue
            for options in ([], ["--compact"]):
                with self.subTest(name, options=options):
                    new = self.scratch / "new.cow"
                    self.good("repair", *options, origin, cow, "-o", new, "--force")
                    self.assertEqual(self.view(origin, new), self.view(origin, cow))
                    self.assertEqual(run("verify", origin, new).returncode, 0)
                    tried += 1
        self.assertGreater(tried, 5)

    def test_what_the_kernel_invalidated_comes_out(self):
        for name in ("full-P-snap", "full-P-origin", "p-edge-cow258-256", "crafted-valid-0"):
            with self.subTest(name):
                origin, cow = self.unpack_store(name)
                self.refused(65, "repair", origin, cow, "-o", self.scratch / "new", words=["--ignore-invalid"])
                new = self.scratch / f"{name}.new"
                done = self.good("repair", "--ignore-invalid", origin, cow, "-o", new)
                self.assertIn("mixes times", done.stderr)
                before = entries_of(cow.read_bytes())
                self.assertGreater(len(before), 0)
                self.assertEqual(entries_of(new.read_bytes()), before)
                chunk = struct.unpack_from("<I", new.read_bytes(), 12)[0] * 512
                old, repaired = cow.read_bytes(), new.read_bytes()
                for _, data in before:
                    self.assertEqual(old[data * chunk:][:chunk], repaired[data * chunk:][:chunk])
                self.assertEqual(run("verify", origin, new).returncode, 0)

    def test_without_a_header(self):
        for name in ("p-mix-c1", "p-mix-c8", "p-mix-c16", "p-mix-c128", "p-areas-c8"):
            for junk in (bytes(512), self.junk(512)):
                with self.subTest(name, junk=junk[:4]):
                    origin, cow = self.unpack_store(name)
                    view = self.view(origin, cow)
                    self.damage(cow, 0, junk)
                    new = self.scratch / "new.cow"
                    done = self.good("repair", origin, cow, "-o", new, "--force")
                    self.assertIn("--chunk-size", done.stderr)
                    self.assertEqual(self.view(origin, new), view)
        junk = self.scratch / "junk"
        for magic in (b"KDMV\1\0\0\0", b"QFI\xfb\0\0\0\3"):
            junk.write_bytes(magic.ljust(300000, b"\0"))
            self.refused(63, "repair", junk, "-o", self.scratch / "none", words=["not a dm-snapshot store", "--chunk-size"])
        junk.write_bytes(self.junk(300000))
        self.refused(65, "repair", junk, "-o", self.scratch / "none", words=["--chunk-size"])

    def test_a_store_of_linux_2_4_is_named(self):
        old = self.scratch / "old.cow"
        old.write_bytes(struct.pack("<4IQI", 0x70416e53, 1, 16, 8192, 32, 0).ljust(100000, b"\1"))
        self.refused(63, "repair", old, "-o", self.scratch / "new", words=["2.4"])
        done = run("verify", old)
        self.assertEqual(done.returncode, 2)
        self.assertIn("2.4", done.stdout)

    def test_dry_run_says_what_would_be(self):
        origin, cow = self.unpack_store("p-areas-c8")
        self.damage(cow, 4096 + 16 * 5 + 8, struct.pack("<Q", 1 << 60))
        self.damage(cow, 4096 + 16 * 7 + 8, struct.pack("<Q", 258))
        before = sha256_of_file(cow)
        dry = json.loads(self.good("repair", "--dry-run", "--output=json", origin, cow).stdout)
        new = self.scratch / "new"
        done = json.loads(self.good("repair", "--output=json", origin, cow, "-o", new).stdout)
        self.assertEqual(sha256_of_file(cow), before)
        self.assertEqual(dry["counts"], {"new-high-byte": 1, "new-is-metadata": 1})
        self.assertEqual((dry["kept"], dry["counts"], dry["findings"]), (done["kept"], done["counts"], done["findings"]))
        self.assertEqual((dry["out"], done["out"]), (None, str(new)))
        for finding in done["findings"]:
            self.assertTrue(finding["meaning"] and finding["mended_by"] and finding["kernel"])
        self.refused(64, "repair", origin, cow, words=["-o NEW"])
        self.refused(64, "repair", "--dry-run", origin, cow, "-o", new, words=["--dry-run"])
        self.refused(64, "repair", origin, cow, "-o", cow, "--force", words=["input"])


class DumpAndRestore(RepairTest):
    def test_there_and_back(self):
        tried = 0
        for name in stores():
            origin, cow = self.unpack_store(name)
            if run("verify", origin, cow).returncode != 0:
                continue
            with self.subTest(name):
                content = cow.read_bytes()
                chunk = struct.unpack_from("<I", content, 12)[0] * 512
                for format_option in ("human", "json"):
                    text = self.scratch / "dump"
                    self.good("dump", f"--output={format_option}", cow, "-o", text, "--force")
                    new = self.scratch / "new.cow"
                    new.unlink(missing_ok=True)
                    self.good("restore", text, new)
                    self.assertEqual(new.stat().st_size, len(content))
                    restored = new.read_bytes()
                    per = chunk // 16
                    entries = entries_of(content)
                    self.assertEqual(restored[:512], content[:512])
                    for area in range(len(entries) // per + 1):
                        at = (1 + area * (per + 1)) * chunk
                        live = min(chunk, (len(entries) - area * per) * 16)
                        self.assertEqual(restored[at:at + live], content[at:at + live])
                    # The metadata of a COW that lost them: its data are all there still.
                    broken = self.scratch / "broken.cow"
                    shutil.copy(cow, broken)
                    self.damage(broken, 0, self.junk(2 * chunk))
                    self.refused(64, "restore", text, broken, words=["--force"])
                    self.good("restore", "--force", text, broken)
                    self.assertEqual(self.view(origin, broken), self.view(origin, cow))
                    self.assertEqual(run("verify", origin, broken).returncode, 0)
                packed, unpacked = self.scratch / "packed", self.scratch / "unpacked"
                self.good("dump", "--pack", cow, "-o", packed, "--force")
                self.good("apply", packed, "-o", unpacked, "--force")
                self.assertEqual(self.good("dump", unpacked).stdout, self.good("dump", cow).stdout)
                self.assertEqual(unpacked.stat().st_size, len(content))
                tried += 1
        self.assertGreater(tried, 3)

    def test_a_number_that_no_chunk_has(self):
        """A damaged entry is dumped and restored as it is; json has its number in hex."""
        _, cow = self.unpack_store("p-areas-c8")
        data = json.loads(self.good("dump", "--output=json", cow).stdout)
        data["runs"][0] |= {"old_chunk": "0x2800000000000000", "length_chunks": 1}
        del data["exceptions"]
        text, new = self.scratch / "dump", self.scratch / "new.cow"
        text.write_text(json.dumps(data))
        self.good("restore", text, new)
        self.assertEqual(entries_of(new.read_bytes())[0][0], 40 << 56)
        self.assertEqual(json.loads(self.good("dump", "--output=json", new).stdout)["runs"], data["runs"])
        for bad in ("0x", "40", "0x1ffffffffffffffff", "x28"):
            data["runs"][0]["old_chunk"] = bad
            text.write_text(json.dumps(data))
            self.refused(65, "restore", "--force", text, new)

    def test_bad_dumps(self):
        _, cow = self.unpack_store("p-areas-c8")
        xml = self.good("dump", cow).stdout
        data = json.loads(self.good("dump", "--output=json", cow).stdout)
        head = '<dm_snapshot format_version="1" version="1" valid="1" chunk_size_sectors="8" cow_size="1048576">'
        bad = {
            "empty": "", "words": "hello", "cut": xml[:2000], "cut json": json.dumps(data)[:2000],
            "text": head + "hello</dm_snapshot>", "twice": xml + xml,
            "doctype": '<!DOCTYPE d [<!ENTITY a "b">]>' + xml,
            "unknown": head + "<origin/></dm_snapshot>",
            "not a number": head + '<exception old_chunk="x" new_chunk="2"/></dm_snapshot>',
            "missing": head + '<exception old_chunk="1"/></dm_snapshot>',
            "twice the same": head + '<exception old_chunk="1" old_chunk="1" new_chunk="2"/></dm_snapshot>',
            "header chunk": head + '<exception old_chunk="1" new_chunk="0"/></dm_snapshot>',
            "area": head + '<exception old_chunk="1" new_chunk="1"/></dm_snapshot>',
            "over an area": head + '<run old_chunk="1" new_chunk="200" length_chunks="58"/></dm_snapshot>',
            "beyond": head + '<exception old_chunk="1" new_chunk="256"/></dm_snapshot>',
            "no length": head + '<run old_chunk="1" new_chunk="2" length_chunks="0"/></dm_snapshot>',
            "huge": head + f'<run old_chunk="1" new_chunk="2" length_chunks="{2**64 - 1}"/></dm_snapshot>',
            "too large a number": head + f'<exception old_chunk="{2**64}" new_chunk="2"/></dm_snapshot>',
            "chunk size": xml.replace('sectors="8"', 'sectors="3"'),
            "never ends": "<" + "a" * 3000000, "json never ends": '{"' + "a" * 3000000,
            "other count": json.dumps(dict(data, exceptions=3)),
            "nested": '{"format_version": [[', "no runs": '{"format_version": 1}',
            "fraction": json.dumps(dict(data, valid=1.5)),
            "hex": json.dumps(data).replace('"new_chunk": 2,', '"new_chunk": "0x2",'),
        }
        new = self.scratch / "new"
        for name, content in bad.items():
            with self.subTest(name):
                path = self.scratch / "bad"
                path.write_text(content)
                self.refused(65, "restore", path, new)
                self.assertFalse(new.exists())
                before = sha256_of_file(cow)
                self.refused(65, "restore", "--force", path, cow)
                self.assertEqual(sha256_of_file(cow), before)
        path = self.scratch / "version"
        path.write_text(xml.replace('format_version="1"', 'format_version="2"'))
        self.refused(63, "restore", path, new)
        # No room for the list: the area behind the full one.
        entries = "".join(f'<exception old_chunk="{i}" new_chunk="2"/>' for i in range(256))
        path.write_text(head + entries + "</dm_snapshot>")
        self.refused(73, "restore", path, new, words=["area 1"])

    def test_edited_by_hand(self):
        new = self.scratch / "new"
        done = self.good("restore", "-", new, input="""<?xml version="1.0"?>
            <!-- the second chunk only -->
            <dm_snapshot cow_size="65536" chunk_size_sectors="8" valid="1" version="1" format_version="1">
              <run length_chunks="2" new_chunk="5" old_chunk="1"></run>
            </dm_snapshot>
            """, stdin=None)
        self.assertIn("2 exceptions", done.stdout)
        self.assertEqual(entries_of(new.read_bytes()), [(1, 5), (2, 6)])
        self.refused(64, "restore", "-", new, words=["a file"])


if __name__ == "__main__":
    main("repair")
