# SPDX-License-Identifier: Apache-2.0
"""'diff --files': which files differ, against what the tools of each file system say of both states."""

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import tree_model  # noqa: E402
from dfxml import assert_dfxml  # noqa: E402
from exfat_maker import ExFat  # noqa: E402
from fs_maker import MIB, TIME, TOOLS, Dir, Ext, Fat, File, Iso, Link, Symlink, Unsupported, sha256, tool  # noqa: E402
from harness import SEED, SNAPTOOL, ScratchTest, main, need, run, scaled  # noqa: E402
from ntfs_maker import Ntfs  # noqa: E402

KNOWN = {"name", "inode", "content", "target", "size", "mode", "modified", "links"}  # to tree_model


class Changer:
    """Changes a file system at random."""

    def __init__(self, volume, rng, moves_folders=True):
        self.volume, self.rng, self.count, self.moves_folders = volume, rng, 0, moves_folders

    def name(self, tree):
        self.count += 1
        folders = [""] + [path + "/" for path, seen in tree.items() if seen.kind == "dir"]
        return self.rng.choice(folders) + self.rng.choice(["n{}", "näme {}", "long" * 30 + "{}", ".{}"]).format(self.count)

    def some(self, tree, *kinds):
        return self.rng.choice([path for path, seen in tree.items() if seen.kind in kinds])

    def step(self):
        rng, volume, tree = self.rng, self.volume, self.volume.tree()
        what = rng.randrange(13)
        data = rng.randbytes(rng.choice([1, 100, 5000, 20000]))
        if what < 3:
            volume.create(self.name(tree), File(data, mtime=TIME + rng.randrange(9)))
        elif what == 3:
            volume.create(self.name(tree), rng.choice([Dir(), Symlink("a" * rng.choice([5, 100]))]))
        elif what == 4:
            volume.delete(self.some(tree, "file", "symlink"))
        elif what == 5:
            volume.rename(self.some(tree, "file"), self.name(tree))
        elif what == 6 and self.moves_folders:
            folder = self.some(tree, "dir")
            volume.rename(folder, str(Path(folder).parent / f"moved{self.count}"))
            self.count += 1
        elif what == 7:
            volume.rewrite(rng.choice([path for path, seen in tree.items() if seen.kind == "file" and seen.size]), 0, rng.randbytes(1))
        elif what == 8:
            volume.append(self.some(tree, "file"), data)
        elif what == 9:
            path = self.some(tree, "file")
            volume.truncate(path, tree[path].size // 2)
        elif what == 10:
            volume.touch(self.some(tree, "file", "dir"), TIME + rng.randrange(100))
        elif what == 11:
            volume.replace(self.some(tree, "file"), data)
        elif what == 12:
            path = self.some(tree, "file")
            rng.choice([lambda: volume.chmod(path, rng.choice([0o600, 0o4711])), lambda: volume.link(path, self.name(tree))])()

    def run(self, steps):
        for _ in range(steps):
            try:
                self.step()
            except (Unsupported, IndexError, AssertionError):
                pass  # none of the kind is left, or the tools cannot


def told(result):
    """The changes of one file system, as tree_model has them."""
    changes = []
    for change in result["changes"]:
        fields = set(change["fields"]) & KNOWN
        is_folder = change["type"] == "folder"
        if is_folder:
            fields -= {"size"}
        if not fields and change["kind"] == "changed":
            continue
        paths = [change[side]["path"] if side in change else None for side in ("before", "after")]
        if paths == ["", ""]:
            continue
        changes.append((change["kind"], *paths, frozenset(fields)))
    return sorted(changes, key=str)


def without_folder_size(changes, before):
    """What the tools say of the size of a folder is not held to anything."""
    kept = []
    for kind, old, new, fields in changes:
        if old in before and before[old].kind == "dir" and kind in ("changed", "renamed"):
            fields = fields - {"size"}
            if not fields:
                continue
        kept.append((kind, old, new, fields))
    return sorted(kept, key=str)


class DiffFiles(ScratchTest):
    maxDiff = None

    def setUp(self):
        super().setUp()
        need(self, *TOOLS["Ext"])
        self.before, self.after = self.scratch / "before.img", self.scratch / "after.img"
        self.rng = random.Random(f"{SEED}{self.id()}")

    def diff(self, *arguments, status=1):
        done = run("diff", "--output=json", *arguments)
        self.assertEqual((done.returncode, done.stderr), (status, ""), (arguments, done.stdout, done.stderr))
        return json.loads(done.stdout)

    def start(self, **options):
        tree = {"d": Dir(), "d/sub": Dir(), "d/sub/leaf": File(b"leaf"), "e": Dir(), "empty": File(), "big": File(self.rng.randbytes(60_000)),
                "ln": Symlink("d/sub/leaf"), "sparse": File(b"end", at=30_000, size=50_000), "hard": Link("big"), "e/odd\x1b\xff": File(b"1")}
        tree.update({f"e/{i}": File(self.rng.randbytes(i * 50)) for i in range(20)})
        volume = Ext(self.before, tree, size=4 << 20, **options)
        shutil.copy(self.before, self.after)
        volume.path = self.after
        return volume, volume_tree(volume, self.before)

    def check(self, volume, before, after):
        """What is told is what the model says, and the same whether all is read or only what differs."""
        expected = without_folder_size(tree_model.by_inode(before, after, in_use=volume.in_use), before)
        status = None
        for options in (["--files"], ["--files=full"]):
            done = run("diff", "--output=json", *options, self.before, self.after)
            self.assertEqual(done.stderr, "")
            result = json.loads(done.stdout)
            [system] = result["file_systems"]
            self.assertEqual((result["outside"], system["problems"]), ([], []))
            self.assertEqual(told(system), expected, options)
            self.assertEqual(done.returncode, 1 if system["changes"] else 0)
            self.sums(system, before, after)
            self.pieces(result, system)
            status = status or system["changes"]
            self.assertEqual(sorted(map(str, status)), sorted(map(str, system["changes"])), options)
        return system

    def sums(self, system, before, after):
        for change in system["changes"]:
            for side, tree in (("before", before), ("after", after)):
                version = change.get(side, {})
                if "sha256" in version:
                    self.assertEqual(version["sha256"], tree[version["path"]].sha256)
            if change["type"] == "file" and change["kind"] in ("created", "deleted", "modified"):
                self.assertTrue(any("sha256" in change.get(side, {}) for side in ("before", "after")), change)

    def pieces(self, result, system):
        """The parts cover the ranges, without a gap."""
        def joined(ranges):
            spans = []
            for one in ranges:
                if spans and spans[-1][1] == one["offset"]:
                    spans[-1][1] += one["length"]
                else:
                    spans.append([one["offset"], one["offset"] + one["length"]])
            return spans
        self.assertEqual(joined(system["ranges"]), joined(result["ranges"]))

    def test_random_scripts(self):
        for number in range(scaled(200)):
            self.rng = random.Random(f"{SEED}{self.id()}{number}")
            options = self.rng.choice([{"kind": "ext4"}, {"kind": "ext4", "options": ["-O", "^has_journal,^metadata_csum", "-I", "128"]},
                                       {"kind": "ext2"}, {"kind": "ext4", "options": ["-O", "inline_data,^has_journal"]}])
            with self.subTest(seed=SEED, number=number, options=options):
                volume, before = self.start(**options)
                Changer(volume, self.rng).run(9)
                self.check(volume, before, volume.tree())

    def test_each_kind_of_change(self):
        volume, before = self.start()
        volume.delete("e/3")
        volume.create("d/new", File(b"new"))
        volume.rename("e/4", "d/moved")
        volume.rename("d", "dd")
        volume.rewrite("sparse", 30_001, b"N")
        volume.touch("e/5", TIME + 5)
        volume.replace("e/6", b"another one")
        volume.link("e/7", "link7")
        after = volume.tree()
        system = self.check(volume, before, after)
        kinds = {change.get("after", change.get("before"))["path"]: change["kind"] for change in system["changes"]}
        # debugfs gives the new file the inode that is free, with the generation that it had.
        self.assertEqual(kinds["dd/new"], "renamed")
        self.assertEqual([kinds[path] for path in ("dd/moved", "dd", "sparse", "e/5", "link7")],
                         ["renamed", "renamed", "modified", "changed", "linked"])
        uses = {piece["after"]["use"] for piece in system["ranges"]}
        self.assertLessEqual({"content", "inodes"}, uses)
        text = run("diff", "--files", self.before, self.after)
        self.assertIn("  renamed   d -> dd", text.stdout)
        self.assertIn("  modified  sparse (content)", text.stdout)
        self.assertEqual(text.stdout.splitlines()[-1], f"{len(system['changes'])} files differ")

    def test_an_inode_that_another_file_took(self):
        """Without a name in common, it is another file if it was made at another time, or where that is not kept, has other content and size."""
        new, same = b"new", self.rng.randbytes(150)
        for inode_size, created, data, kinds in ((256, TIME + 9, new, {"deleted", "created"}), (256, TIME + 9, same, {"deleted", "created"}),
                                                 (256, TIME, new, {"renamed"}), (256, TIME + 9, None, {"deleted", "created"}),
                                                 (128, None, new, {"deleted", "created"}), (128, None, same, {"renamed"})):
            with self.subTest(inode_size=inode_size, created=created, data=data):
                volume, before = self.start(options=["-I", str(inode_size)])
                content = volume.content("e/3")
                volume.delete("e/3")
                volume.create("d/new", File(content if data is None else data))
                if created is not None:
                    volume.debugfs(f'set_inode_field "/d/new" crtime @{created}')
                after = volume.tree()
                self.assertEqual(after["d/new"].inode, before["e/3"].inode)
                changes = self.check(volume, before, after)["changes"]
                names = {"e/3", "d/new"}
                self.assertEqual({c["kind"] for c in changes if names & {c.get(s, {}).get("path") for s in ("before", "after")}}, kinds)

    def test_an_inode_of_two_names_that_another_file_took(self):
        volume, _ = self.start(options=["-I", "128"])
        volume.link("e/4", "d/second")
        shutil.copy(self.after, self.before)
        before = volume.tree()
        volume.delete("e/4")
        volume.delete("d/second")
        volume.create("d/new", File(b"new"))
        after = volume.tree()
        self.assertEqual(after["d/new"].inode, before["e/4"].inode)
        kinds = {c.get("after", c.get("before"))["path"]: c["kind"] for c in self.check(volume, before, after)["changes"]}
        self.assertEqual([kinds[path] for path in ("e/4", "d/second", "d/new")], ["deleted", "deleted", "created"])

    def test_nothing_differs(self):
        self.start()
        result = self.diff("--files", self.before, self.after, status=0)
        self.assertEqual((result["summary"]["changed_files"], result["file_systems"][0]["changes"]), (0, []))
        # What only the free space has is no file.
        with open(self.after, "r+b") as image:
            image.seek(-1024, 2)
            image.write(b"stale")
        result = self.diff("--files", self.before, self.after, status=0)
        self.assertEqual([piece["after"]["use"] for piece in result["file_systems"][0]["ranges"]], ["free"])
        self.assertEqual(run("diff", self.before, self.after).returncode, 1)

    def test_slack_is_told_of(self):
        volume, before = self.start()
        [place] = [int(line.split()[0]) for line in volume.debugfs('bmap "/d/sub/leaf" 0')]
        with open(self.after, "r+b") as image:
            image.seek(place * 1024 + 512)
            image.write(b"hidden in the slack")
        result = self.diff("--files", self.before, self.after, status=0)
        [piece] = result["file_systems"][0]["ranges"]
        self.assertEqual((piece["after"]["use"], piece["after"]["path"], piece["volume_sector"]), ("slack", "d/sub/leaf", place * 2 + 1))
        self.assertEqual(volume.tree(), before)

    def test_a_disk_with_partitions(self):
        volume, before = self.start()
        volume.rewrite("big", 5, b"!")
        files = {"a.dd": self.before, "b.dd": self.after}
        for name, content in files.items():
            disk = bytearray(16 << 20)
            disk[446:510] = b"".join(partition(*one) for one in ((2048, 8192), (10240, 8192), (18432, 8192))) + bytes(16)
            disk[510:512] = b"\x55\xaa"
            disk[1 << 20:(1 << 20) + (4 << 20)] = content.read_bytes()
            disk[5 << 20:(5 << 20) + 6] = b"XFSB\0\0"
            (self.scratch / name).write_bytes(disk)
        a, b = (self.scratch / name for name in files)
        result = self.diff("--files", a, b)
        self.assertEqual([system["name"] for system in result["file_systems"]], ["#p1", "#p2", "#p3"])
        first, second, _ = result["file_systems"]
        self.assertEqual([change["after"]["path"] for change in first["changes"]], ["big", "hard"])
        piece = first["ranges"][0]
        self.assertEqual(piece["offset"], piece["volume_offset"] + (1 << 20))
        self.assertIn("XFS", second["before"]["problem"])
        # What is not known to be no file's is a difference.
        shutil.copy(a, b)
        with open(b, "r+b") as disk:
            disk.seek((5 << 20) + 5000)
            disk.write(b"x")
        self.assertEqual(self.diff("--files", a, b)["file_systems"][1]["changed_bytes"], 512)
        shutil.copy(a, b)
        with open(b, "r+b") as disk:
            disk.seek(5000)
            disk.write(b"x")
        self.assertEqual(self.diff("--files", a, b)["outside"], [{"offset": 4608, "length": 512}])

    def test_damage_is_no_equality(self):
        volume, _ = self.start(options=["-O", "^has_journal,metadata_csum"])
        inode = volume.status("e/5").inode
        [where] = volume.debugfs(f"imap <{inode}>")
        block, offset = (int(part, 0) for part in (where.split(b"located at block ")[1].split(b",")[0], where.split(b"offset ")[1]))
        with open(self.after, "r+b") as image:
            image.seek(block * 1024 + offset + 4)
            image.write(b"\xff")
        done = run("diff", "--files", self.before, self.after)
        self.assertEqual(done.returncode, 65, (done.stdout, done.stderr))
        self.assertIn("e/5", done.stdout)
        self.assertIn("no file that was compared differs", done.stdout)
        self.assertIn("could not be read", done.stderr)

    def test_two_file_systems_that_were_made_apart(self):
        """Inodes that mke2fs gave in the order of the names say nothing."""
        folder = self.scratch / "tree"
        for name in ("b", "c", "sub/d", "sub/e"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(name.encode() * 500)
            os.utime(folder / name, (TIME, TIME))
        trees = []
        for number, image in enumerate((self.before, self.after)):
            if number:
                (folder / "a").write_bytes(b"new")
                (folder / "sub" / "e").rename(folder / "moved")
            os.utime(folder, (TIME, TIME))
            os.utime(folder / "sub", (TIME, TIME))
            tool("mkfs.ext4", "-q", "-F", "-d", folder, "-U", f"11111111-2222-3333-4444-55555555555{number}", "-E", "root_owner=0:0", image, "4M")
            volume = Ext.__new__(Ext)
            volume.path = image
            trees.append(volume.tree())
        expected = without_folder_size(tree_model.by_path(*trees), trees[0])
        for options in (["--files"], ["--files=full"]):
            [system] = self.diff(*options, self.before, self.after)["file_systems"]
            self.assertEqual((told(system), system["problems"]), (expected, []))
        self.assertIn(("created", None, "a", frozenset()), expected)
        self.assertEqual(len(expected), 2)

    def test_a_file_system_that_grew(self):
        self.start()
        with open(self.after, "r+b") as image:
            image.truncate(8 << 20)
        tool("resize2fs", "-f", self.after)
        result = self.diff("--files", self.before, self.after, status=0)
        self.assertEqual((result["outside"], result["file_systems"][0]["changes"]), ([], []))
        # Where only one of them has something, past its end, that is no file's.
        self.start()
        with open(self.after, "r+b") as image:
            image.seek(6 << 20)
            image.write(b"hidden")
            image.truncate(7 << 20)
        result = self.diff("--files", self.before, self.after)
        self.assertEqual(result["outside"], [{"offset": 6 << 20, "length": 512}])

    def test_partitions_that_moved(self):
        self.start()
        content = self.before.read_bytes()
        a, b, table = self.scratch / "a.dd", self.scratch / "b.dd", {}
        for path, first in ((a, 2048), (b, 4096)):
            disk = bytearray(8 << 20)
            disk[446:462], disk[510:512] = partition(first, len(content) // 512), b"\x55\xaa"
            disk[first * 512:first * 512 + len(content)] = content
            path.write_bytes(disk)
            table[path] = first * 512
        result = self.diff("--files", a, b)
        self.assertEqual(result["file_systems"][0]["changes"], [])
        # Only where one of the two has no partition: the table, before the second and after the first.
        spots = [(one["offset"], one["offset"] + one["length"]) for one in result["outside"]]
        self.assertEqual(spots[0], (0, 512))
        self.assertTrue(all(end <= table[b] or start >= table[a] + len(content) for start, end in spots), spots)

    def test_what_one_image_lacks_is_no_equality(self):
        """Zeros of a file, past the end of one of the images."""
        volume, _ = self.start()
        volume.create("last", File(b"x" * 5000))
        places = [int(line.split()[0]) for line in volume.debugfs(*[f'bmap "/last" {n}' for n in range(5)])]
        content = bytearray(self.after.read_bytes())
        for place in places:
            content[place * 1024:(place + 1) * 1024] = bytes(1024)
        disk = bytearray(1 << 20) + content
        disk[446:462], disk[510:512] = partition(2048, len(content) // 512), b"\x55\xaa"
        a, b = self.scratch / "a.dd", self.scratch / "b.dd"
        a.write_bytes(disk)
        b.write_bytes(disk[:(1 << 20) + places[-1] * 1024])
        for option in ("--files", "--files=full"):
            done = run("diff", option, a, b)
            self.assertEqual((done.returncode, "not read: last" in done.stdout), (65, True), (option, done.stdout, done.stderr))

    def test_reports(self):
        volume, before = self.start()
        volume.rewrite("big", 5, b"!")
        volume.create("<new>", File(b"& <"))
        for ending in ("json", "xml", "html"):
            report = self.scratch / f"report.{ending}"
            self.assertEqual(run("diff", "-q", "--files", "--report", report, self.before, self.after).returncode, 1)
            text = report.read_text()
            self.assertIn(sha256(b"& <"), text)
            if ending == "xml":
                import xml.etree.ElementTree as ET
                root = ET.fromstring(text)
                assert_dfxml(self, root)
                space = "{http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML}"
                [system] = root.iter(space + "volume")
                names = [one.find(space + "filename").text for one in system.findall(space + "fileobject")]
                self.assertEqual(sorted(names), ["<new>", "big", "hard"])
                [run_of] = next(one for one in system.findall(space + "fileobject") if one.find(space + "filename").text == "<new>").iter(space + "byte_run")
                with open(self.after, "rb") as image:
                    image.seek(int(run_of.get("img_offset")))
                    self.assertEqual(image.read(3), b"& <")

    def test_no_two_names_look_alike(self):
        volume, _ = self.start()
        names = [b"n\xff", b"n\xfe", "n\ufffd".encode(), b"n\\xff", b"n\\xfe"]
        for name in names:
            volume.create(os.fsdecode(name), File(b"new"))
        changes = self.diff("--files", self.before, self.after)["file_systems"][0]["changes"]
        for told_of in ([change for change in changes], [change["after"] for change in changes]):
            told_of = [bytes.fromhex(one["path_hex"]) if "path_hex" in one else one["path"].encode() for one in told_of]
            self.assertEqual(sorted(told_of), sorted(names))
        self.assertEqual(sum("path_hex" in change for change in changes), 2)
        shown = [r"n\xff", r"n\xfe", "n\ufffd", r"n\x5cxff", r"n\x5cxfe"]
        text = run("diff", "--files", self.before, self.after).stdout
        self.assertEqual(sorted(line.split()[1] for line in text.splitlines() if "created" in line), sorted(shown))
        for ending in ("json", "xml", "html"):
            report = self.scratch / f"report.{ending}"
            self.assertEqual(run("diff", "-q", "--files", "--report", report, self.before, self.after).returncode, 1)
            text = report.read_text()
            hexed = {"json": '"path_hex":"{}"', "xml": "<snaptool:filename_hex>{}<", "html": ""}[ending]
            for name, line in zip(names, shown):
                if ending != "json":
                    self.assertEqual(text.count(f">created   {line} (" if ending == "html" else f"<filename>{line}</filename>"), 1)
                if ending != "html":
                    self.assertEqual(hexed.format(name.hex()) in text, name in names[:2] or (ending == "xml" and line != os.fsdecode(name)))

    def test_what_a_journal_has_is_not_known(self):
        volume, _ = self.start(kind="ext3")
        volume.debugfs("feature needs_recovery")
        done = run("diff", "--files", self.before, self.after)
        self.assertEqual(done.returncode, 65, (done.stdout, done.stderr))
        self.assertIn("no file that was compared differs", done.stdout)
        self.assertIn("journal", done.stderr)
        # Nor where the ranges say nothing.
        with open(self.after, "r+b") as image:
            image.truncate(5 << 20)
        self.assertEqual(run("diff", "--files", self.before, self.after).returncode, 65)

    def test_a_file_of_holes_is_soon_compared(self):
        """As lastlog is, where users have high numbers."""
        volume, _ = self.start()
        huge = 292_000_000_000
        volume.debugfs(f'set_inode_field "/sparse" size {huge}')
        shutil.copy(self.after, self.before)
        place = int(volume.debugfs('bmap "/sparse" 29')[0].split()[0])
        with open(self.after, "r+b") as image:
            image.seek(place * 1024 + 400)
            image.write(b"!")
        for option in ("--files", "--files=full"):
            done = run("diff", option, self.before, self.after, timeout=20)
            self.assertEqual((done.returncode, "modified  sparse (content)" in done.stdout), (1, True), (option, done.stdout, done.stderr))

    def test_stopped_in_the_middle(self):
        volume, _ = self.start()
        volume.debugfs(f'set_inode_field "/sparse" size {60 << 30}')  # of holes, which are hashed
        for number, option, ending in ((signal.SIGINT, "--files", "xml"), (signal.SIGTERM, "--files=full", "json"), (signal.SIGINT, "--files=full", "html")):
            report = self.scratch / f"report.{ending}"
            seen = sorted(self.scratch.iterdir())
            reader, writer = os.pipe()
            with subprocess.Popen([SNAPTOOL, "diff", option, f"--progress=jsonl:{writer}", "--report", report, self.before, self.after],
                                  pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
                os.close(writer)
                try:
                    with open(reader, encoding="ascii") as progress:
                        in_files = map(json.loads, progress)
                        next(one for one in in_files if one["description"] == "comparing files")
                        process.send_signal(number)
                        error = process.communicate(timeout=30)[1]
                finally:
                    process.kill()
            self.assertEqual(process.returncode, 128 + number, error)
            self.assertRegex(error, r"\Asnaptool diff: [^\n]*interrupted[^\n]*\n\Z")
            self.assertEqual(sorted(self.scratch.iterdir()), seen)

    def test_usage(self):
        self.start()
        done = run("diff", "--files=some", self.before, self.after)
        self.assertEqual(done.returncode, 64)
        self.assertIn("--files takes no value, or =full, not 'some'", done.stderr)


class OnNtfs(ScratchTest):
    def test_each_kind_of_change(self):
        need(self, *TOOLS["Ntfs"])
        before, after = self.scratch / "before.img", self.scratch / "after.img"
        volume = Ntfs(before, {"d": Dir(), "d/a": File(b"a" * 3000), "d/b": File(b"b" * 30_000), "gone": File(b"g" * 100), "ren": File(b"r" * 800),
                               "hard": Link("d/a"), "e": Dir(), "e/x": File(b"x" * 50), "rep": File(b"1" * 2000)})
        shutil.copy(before, after)
        volume.path = after
        self.assertEqual(run("diff", "--files", before, after).stdout, "ntfs\nno file differs\n")
        volume.delete("gone")
        volume.create("new", File(b"n" * 700))
        volume.rename("ren", "d/moved")
        volume.append("d/b", b"more")
        volume.replace("rep", b"2" * 2100)
        volume.create("d/a:stream", File(b"secret" * 10))
        volume.rename("e", "ee")
        told_of = []
        for option in ("--files", "--files=full"):
            result = json.loads(run("diff", option, "--output=json", before, after).stdout)
            [system] = result["file_systems"]
            self.assertEqual(system["problems"], [])
            told_of.append(sorted(map(str, system["changes"])))
        self.assertEqual(*told_of)
        changes = {change.get("after", change.get("before"))["path"]: change for change in system["changes"]}
        kinds = {path: change["kind"] for path, change in changes.items() if change["kind"] != "changed"}
        self.assertEqual(kinds, {"gone": "deleted", "new": "created", "d/moved": "renamed", "d/b": "modified", "rep": "modified",
                                 "d/a:stream": "created", "hard:stream": "created", "ee": "renamed"})
        self.assertIn("inode", changes["rep"]["fields"])
        self.assertEqual((changes["d/b"]["before"]["sha256"], changes["d/b"]["after"]["sha256"]), (sha256(b"b" * 30_000), sha256(b"b" * 30_000 + b"more")))
        self.assertEqual(changes["d/a:stream"]["after"]["sha256"], sha256(b"secret" * 10))

    def test_what_has_no_runs_of_its_own(self):
        """A stream of a file in a folder that did not change; bytes of a packed file."""
        need(self, *TOOLS["Ntfs"])
        before, after = self.scratch / "before.img", self.scratch / "after.img"
        volume = Ntfs(before, {"d": Dir(), "d/g": File(b"g" * 10), "p": Dir(), "p/packed": File(b"text that is packed " * 4000)}, cluster=4096, compressed=("p",))
        shutil.copy(before, after)
        (self.scratch / "new").write_bytes(b"stream")
        tool("ntfscp", "-f", "-q", "-N", "new", after, self.scratch / "new", "d/g")
        for one, other, kind in ((before, after, "created"), (after, before, "deleted")):
            for option in ("--files", "--files=full"):
                done = run("diff", option, one, other)
                self.assertIn(f"  {kind:9} d/g:new", done.stdout, (option, done.stderr))
        shutil.copy(before, after)
        place = after.read_bytes().find(b"\0text tha")  # eight bytes as they are
        with open(after, "r+b") as image:
            image.seek(place + 1)
            image.write(b"T")
        for option in ("--files", "--files=full"):
            done = run("diff", option, before, after)
            self.assertEqual((done.returncode, "modified  p/packed (content)" in done.stdout), (1, True), (option, done.stdout, done.stderr))


    def test_what_lies_outside_of_the_mft(self):
        """Attributes, and a list of them, that are changed where they lie, while no record is."""
        need(self, *TOOLS["Ntfs"])
        before, after = self.scratch / "before.img", self.scratch / "after.img"
        volume = Ntfs(before, {"d": Dir(), "d/ea": File(b"e"), "d/link": File(), "d/listed": File(b"l" * 10), "same": File(b"s")})
        value = struct.pack("<IBBH", 2016, 0, 4, 2000) + b"NAME\0" + b"value" * 400 + bytes(3)
        volume.with_inode("d/ea", lambda inode: volume.worked(volume.library.ntfs_set_ntfs_ea(inode, value, 2016, 0) == 0))
        target = ("to/" + "t" * 500).encode("utf-16-le")
        volume.reparse("d/link", 0xA000000C, struct.pack("<4HI", 0, len(target), len(target), len(target), 1) + target * 2)
        for i in range(30):
            volume.write(f"d/listed:stream {i:02} {'n' * 60}", 0, b"%d" % i)
        entry = struct.pack("<IHBBQ", 0x80, 168, 70, 26, 0)  # of the list
        for find, at, expected in ((b"value" * 400, 1500, (1, "  changed   d/ea (attributes)")),
                                   (target * 2, len(target) + 700, (1, "  modified  d/link (target")),
                                   (entry, 16, (65, "  not read: d/listed: record"))):
            disk = bytearray(before.read_bytes())
            place = disk.find(find)
            self.assertGreaterEqual(place, 0, find)
            disk[place + at] ^= 2
            after.write_bytes(disk)
            for option in ("--files", "--files=full"):
                done = run("diff", option, before, after)
                self.assertEqual((done.returncode, expected[1] in done.stdout), (expected[0], True), (option, done.stdout, done.stderr))


class WithoutInodes(ScratchTest):
    """Where a file is known by its path, and one that moved by its content."""
    maxDiff = None
    KNOWN = {"name", "content", "size", "target", "modified"}

    def setUp(self):
        super().setUp()
        self.before, self.after = self.scratch / "before.img", self.scratch / "after.img"

    def check(self, before, after):
        done = run("diff", "--files", "--output=json", self.before, self.after)
        self.assertEqual((done.stderr, done.returncode in (0, 1)), ("", True))
        [system] = json.loads(done.stdout)["file_systems"]
        found = []
        for change in system["changes"]:
            fields = frozenset(set(change["fields"]) & self.KNOWN)
            if change["type"] == "folder" and change["kind"] == "changed" or change["kind"] == "changed" and not fields:
                continue
            found.append((change["kind"], *(change[side]["path"] if side in change else None for side in ("before", "after")), fields))
        expected = []
        for kind, old, new, fields in tree_model.by_path(before, after):
            fields &= self.KNOWN
            if old in before and new in after and before[old].kind == "dir" or kind == "changed" and not fields:
                continue
            expected.append((kind, old, new, fields))
        self.assertEqual(sorted(found, key=str), sorted(expected, key=str))

    def run_scripts(self, make, count, steps=8):
        for number in range(count):
            rng = random.Random(f"{SEED}{self.id()}{number}")
            with self.subTest(seed=SEED, number=number):
                tree = {"d": Dir(), "d/sub": Dir(), "d/sub/leaf": File(b"leaf"), "e": Dir(), "empty": File(), "big": File(rng.randbytes(60_000))}
                tree.update({f"e/{i}": File(rng.randbytes(1 + i * 50)) for i in range(8)})
                volume = make(self.before, tree)
                before = volume.tree()
                shutil.copy(self.before, self.after)
                volume.path = self.after
                Changer(volume, rng, moves_folders=False).run(steps)
                self.check(before, volume.tree())

    def test_fat(self):
        need(self, *TOOLS["Fat"])
        for bits in (12, 16):
            self.run_scripts(lambda path, tree, bits=bits: Fat(path, tree, bits=bits), scaled(40))

    def test_exfat(self):
        need(self, *TOOLS["ExFat"])
        self.run_scripts(ExFat, scaled(60))

    def test_iso(self):
        need(self, *TOOLS["Iso"])
        self.run_scripts(Iso, scaled(40))

    def test_a_folder_that_is_moved(self):
        need(self, *TOOLS["Fat"])
        tree = {"d": Dir(), "d/in": File(b"in"), "d/empty": File(), "other": Dir()}
        volume = Fat(self.before, tree)
        shutil.copy(self.before, self.after)
        volume.path = self.after
        volume.mtool("mmove", "::d", "::other/moved")
        done = run("diff", "--files", self.before, self.after)
        self.assertIn("renamed   d -> other/moved", done.stdout)
        self.assertNotIn("in", "".join(line for line in done.stdout.splitlines() if "bytes that" not in line and "d/in" in line))


def partition(first, count):
    return bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + first.to_bytes(4, "little") + count.to_bytes(4, "little")


def volume_tree(volume, path):
    """The tree of another file of the same make."""
    volume.path, keep = path, volume.path
    try:
        return volume.tree()
    finally:
        volume.path = keep


if __name__ == "__main__":
    main("diff_files")
