# SPDX-License-Identifier: Apache-2.0
"""ISO 9660 as Linux shows it, mounted, and as the library reads it: one guest, many images."""

import os
import random
import stat
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from file_listing import Listed  # noqa: E402
from harness import ScratchTest, main, need, scaled  # noqa: E402
from iso_maker import FOLDER, GOES_ON, Disc, both32, ce, entry, er, nm, px, record, sl, sp, tf  # noqa: E402
from iso_test import make_source  # noqa: E402
from uml import run_in_guest  # noqa: E402

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
         stat.S_IFCHR: "char", stat.S_IFBLK: "block"}
ROOT_SU = sp() + px(0o40755, 2) + er()
MODULES = ("drivers/cdrom/cdrom", "fs/isofs/isofs")


def crafted(path, number):
    """Records with what Rock Ridge has, in other orders and pieces for each number."""
    rng = random.Random(number)
    disc = Disc(rng.choice([2048, 2048, 1024, 512]))

    def spread(entries):
        """In the record, or in a chain of areas elsewhere."""
        if rng.random() < 0.5 and sum(map(len, entries)) < 180:
            return b"".join(entries)
        areas, chain = [entries[i::3] for i in range(3)], b""
        for area in reversed(areas):
            data = b"".join(area) + chain
            # Linux takes no area that passes the end of a block.
            pad = rng.choice([n for n in (0, 4, 100) if n + len(data) <= disc.block])
            chain = ce(disc.put(bytes(pad) + data, 1), pad, len(data))
        return chain

    def name_entries(text):
        step = rng.choice([7, 60, 250])
        pieces = [text[i:i + step] for i in range(0, len(text), step)]
        return b"".join(nm(p, 1 if i + 1 < len(pieces) else 0) for i, p in enumerate(pieces))

    def some_time():
        return bytes([rng.randrange(70, 138), rng.randrange(1, 13), rng.randrange(1, 29), rng.randrange(24), rng.randrange(60), rng.randrange(60),
                      rng.randrange(-48, 53) & 255])

    def some_su(mode, i, *more, named=True):
        entries = [name_entries(f"name {i} " + "x" * rng.choice([0, 10, 90, 200])) if named else nm("", 2),
                   px(mode, rng.randrange(1, 5), rng.randrange(1 << 31), rng.randrange(1 << 31), *([i] if i % 2 else [])), *more,
                   tf(0x0E, some_time(), some_time(), some_time()), entry("XX", b"what nobody knows")]
        rng.shuffle(entries)
        return spread(entries)

    def some_link(i):
        parts = [rng.choice([(0, b"part"), (0, b"x" * 40), (2, b""), (4, b""), (0, b"")]) for _ in range(rng.randrange(1, 5))]
        parts = ([(8, b"")] if rng.random() < 0.3 else []) + parts + [(0, b"end")]
        return record(f"L{i}", su=some_su(0o120777, i, sl(*parts)))

    def some_file(i):
        pieces = [rng.randbytes(disc.block * rng.randrange(3)) for _ in range(rng.choice([1, 1, 3]))]
        pieces[-1] += rng.randbytes(rng.randrange(1, 3000))
        su = some_su(0o100000 | rng.randrange(0o10000), i)
        return [record(f"F{i}.;1", disc.put(p), len(p), GOES_ON if n + 1 < len(pieces) else 0, su) for n, p in enumerate(pieces)]

    def some_folder(depth):
        records = []
        for i in range(rng.randrange(1, 12)):
            kind = rng.random()
            if kind < 0.5:
                records += some_file(i)
            elif kind < 0.7:
                records.append(some_link(i))
            elif kind < 0.8:
                records.append(record(f"P{i}", su=some_su(rng.choice([0o010600, 0o140700]), i)))
            elif depth < 3:
                mode = 0o40000 | rng.randrange(0o10000)
                # Linux takes what the folder says of itself.
                own = some_su(mode, i, named=False)
                place = disc.folder(some_folder(depth + 1), own)
                if rng.random() < 0.3 and disc.block == 2048:
                    records.append(record(f"C{i}", su=nm(f"moved {i}") + entry("CL", both32(place[0]))))
                else:
                    records.append(record(f"D{i}", *place, FOLDER, nm(f"name {i}") + own if len(own) < 180 else b""))
        return records

    disc.save(path, disc.folder(some_folder(0), su=ROOT_SU))
    return disc.block


class MountedIso(ScratchTest):
    def assert_same(self, name, kernel, rock):
        listed = Listed(self.scratch / name)
        listed.root = listed.listed[0]["node"]
        self.assertEqual(listed.errors, [], name)

        def shown(path):
            """Linux's way to plain names, and to those of Joliet."""
            if rock:
                return path
            path = "/".join(part.rstrip(".") for part in path.split("/")) if rock is None else path.lower()
            return path.replace(";", ".") if rock is not None else path

        names = {shown(n): listed.nodes[number] for n, number in listed.names().items()}
        theirs = {os.fsdecode(bytes.fromhex(n)): x for n, x in kernel.items()}
        self.assertEqual(set(names), set(theirs), name)
        for path, seen in theirs.items():
            node = names[path]
            if "errno" in seen and node["type"] == "symlink" and name.startswith("crafted"):
                continue  # Linux reads no link whose record passes the end of a block of less than 2 KiB
            self.assertNotIn("errno", seen, (name, path))
            kind = KINDS[stat.S_IFMT(seen["mode"])]
            self.assertEqual(node["type"], kind, (name, path))
            if kind in ("file", "dir", "symlink"):
                self.assertEqual(node["size"], seen["size"], (name, path))
            if kind == "file":
                self.assertEqual(node["sha256"], seen["sha256"], (name, path))
            if kind == "symlink":
                self.assertEqual(node["target"], seen["target"], (name, path))
            if rock:
                self.assertEqual((node["mode"], node["links"], node["owner"], node["group"]),
                                 (stat.S_IMODE(seen["mode"]), seen["links"], seen["owner"], seen["group"]), (name, path))
            # genisoimage gives a folder that it moved other times there.
            for ours, time in zip(node["times"], seen["times"]):
                if ours and (rock or kind == "file"):
                    self.assertEqual(ours[0] * 10**9 + ours[1], time, (name, path))

    def test_images(self):
        need(self, "linux.uml", "xorriso", "genisoimage")
        source = self.scratch / "source"
        source.mkdir()
        make_source(source)
        (source / "link10").unlink()  # genisoimage writes such ones wrongly
        images, blocks = {}, {}
        for maker in (("xorriso", "-as", "mkisofs"), ("genisoimage",)):
            for options, rock in ((("-R",), True), (("-R", "-J"), True), (("-R", "-D"), True), (("-J", "-joliet-long"), None), ((), False), (("-iso-level", "3"), False)):
                plain = ["--norock"] if maker[0] == "xorriso" and not rock else []
                name = f"{maker[0]}{len(images)}.iso"
                done = subprocess.run([*maker, "-quiet", *plain, *options, "-o", self.scratch / name, source], capture_output=True, check=False,
                                      env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"})
                self.assertEqual(done.returncode, 0, done.stderr)
                images[name] = rock
        for number in range(scaled(300)):
            blocks[f"crafted{number}.iso"] = crafted(self.scratch / f"crafted{number}.iso", number)
            images[f"crafted{number}.iso"] = True
        results = run_in_guest(self.scratch, [{"do": "mounted", "image": name, "kind": "iso9660", "modules": MODULES,
                                               "options": f"utf8,block={blocks.get(name, 2048)}"} for name in images])
        for (name, rock), result in zip(images.items(), results):
            with self.subTest(name):
                self.assert_same(name, result["files"], rock)


if __name__ == "__main__":
    main("kernel mounted")
