# SPDX-License-Identifier: Apache-2.0
"""Slips of a new user at the command line: each either does what was meant, or is answered with what to type.

The sums of views are those that the kernel read (snapshot.sha256 of the stores in tests/data/kernel).
"""

import collections
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from fs_maker import TOOLS, Ext, File  # noqa: E402
from harness import KERNEL_STORES, SNAPTOOL, ScratchTest, main, need, run, sha256_of_file  # noqa: E402

STORE = "p-mix-c8"

# In the arguments: {o} and {c} are an origin and its COW, {d} their folder. The words stand in the one line on standard
# error. A word of another tool is answered with ours.
Slip = collections.namedtuple("Slip", "arguments status words")
SLIPS = [
    # Commands.
    Slip("verif {o} {c}", 64, ["no command 'verif'; did you mean 'snaptool verify'?"]),
    Slip("veryfy {o} {c}", 64, ["did you mean 'snaptool verify'?"]),
    Slip("inf {o}", 64, ["did you mean 'snaptool info'?"]),
    Slip("INFO {o}", 64, ["did you mean 'snaptool info'?"]),
    Slip("mrege {o} {c}", 64, ["did you mean 'snaptool merge'?"]),
    Slip("write_origin {o}", 64, ["did you mean 'snaptool write-origin'?"]),
    Slip("help mrege", 64, ["did you mean 'snaptool merge'?"]),
    Slip("check {c}", 64, ["'snaptool verify'"]),
    Slip("fsck {c}", 64, ["'snaptool verify'"]),
    Slip("thin_check {c}", 64, ["'snaptool verify'"]),
    Slip("commit {o} {c}", 64, ["'snaptool merge'"]),
    Slip("rollback {o} {c}", 64, ["'snaptool merge'"]),
    Slip("revert {o} {c}", 64, ["'snaptool merge'", "'snaptool undo'"]),
    Slip("compare {o} {c}", 64, ["'snaptool diff'"]),
    Slip("export-diff {o}", 64, ["'snaptool export'"]),
    Slip("import-diff {o}", 64, ["'snaptool apply'"]),
    Slip("merge-diff {o}", 64, ["'snaptool compose'"]),
    Slip("rebase {o}", 64, ["'snaptool convert --base'"]),
    Slip("measure {o}", 64, ["'snaptool create --measure'"]),
    Slip("mount {o}", 64, ["'snaptool ls'", "'snaptool cat'", "without mounting"]),
    Slip("nonsense", 64, ["no command 'nonsense' (see 'snaptool --help')"]),

    # Options.
    Slip("merge --dryrun {o} {c}", 64, ["unrecognised option '--dryrun': did you mean --dry-run?"]),
    Slip("merge --dry_run {o} {c}", 64, ["did you mean --dry-run?"]),
    Slip("merge --dry {o} {c}", 64, ["did you mean --dry-run?"]),
    Slip("merge -dry-run {o} {c}", 64, ["did you mean --dry-run?"]),
    Slip("merge -n {o} {c}", 64, ["did you mean --dry-run?"]),
    Slip("merge --verfiy {o} {c}", 64, ["did you mean --verify?"]),
    Slip("info --json {o}", 64, ["did you mean --output=json?"]),
    Slip("info --human-readable {o}", 64, ["--output=human"]),
    Slip("convert -B {o} {o} {d}/new", 64, ["did you mean --base?"]),
    Slip("export -b {o} {o}", 64, ["did you mean --base?"]),
    Slip("hash --blocksize 4k {o}", 64, ["did you mean --block-size?"]),
    Slip("hash -b 4k {o}", 64, ["did you mean --block-size?"]),
    Slip("hash --md5 {o}", 64, ["did you mean --algorithm md5?"]),
    Slip("convert -o cluster_size=4k {o} {d}/new", 64, ["did you mean --option"]),
    Slip("ls -r {o}", 64, ["did you mean -R?"]),
    Slip("create -c 8s {o} {d}/new", 64, ["did you mean --chunk-size?"]),
    Slip("read --skip 1M {o}", 64, ["did you mean --offset?"]),
    Slip("info --nonsense {o}", 64, ["unrecognised option '--nonsense' (see"]),
    Slip("merge --progress jsonl {o} {c}", 64, ["--progress=jsonl"]),
    Slip("merge -p jsonl:2 {o} {c}", 64, ["--progress=jsonl:2"]),
    Slip("diff --hex 64 {o} {o}", 64, ["--hex=64"]),
    Slip("diff --files full {o} {o}", 64, ["--files=full"]),
    Slip("info --follow-parents anywhere {o}", 64, ["--follow-parents=anywhere"]),
    Slip("info -dash.img", 64, ["a file of that name is ./-dash.img"]),
    Slip("--dry-run merge {o} {c}", 64, ["'--dry-run' comes after the command"]),
    Slip("-x info {o}", 64, ["'-x' comes after the command"]),
    Slip("-q", 64, ["a command is missing"]),

    # Sizes.
    Slip("read --offset 1Z {o}", 64, ["unknown unit", "k, M, G, T, P, E", "kB, MB, GB", "powers of 1000", "sectors"]),
    Slip("read --offset x {o}", 64, ["not a number", "k, M, G, T, P, E", "kB, MB, GB", "powers of 1000", "sectors"]),
    Slip("read --offset 1.3k {o}", 64, ["no whole number of bytes"]),
    Slip("resize {c} 1Z", 64, ["unknown unit", "k, M, G, T, P, E"]),

    # Pairs.
    Slip("read {c} {o}", 64, ["too many operands", "origin first, {o}@{c}"]),
    Slip("map {o} {d}/other.img", 64, ["too many operands: map takes IMAGE", "ORIGIN@COW"]),
    Slip("read {c} {c}", 64, ["too many operands"]),
    Slip("ls {o} / {c}", 64, ["too many operands: ls takes IMAGE [PATH]"]),
    Slip("convert {o} {c}", 64, ["missing operands: it takes ORIGIN COW OUT", "'{c}' is a COW"]),
    Slip("convert --force {o} {c}", 64, ["missing operands: it takes ORIGIN COW OUT", "'{c}' is a COW, which is not replaced"]),
    Slip("undo {o} {c} {d}/merge.undo", 64, ["the undo file comes first: undo FILE ORIGIN COW"]),
    Slip("status {o}", 64, ["the COW is missing"]),
    Slip("write {o} {c} {d}/other.img", 64, ["write takes ORIGIN COW", "did you mean -i {d}/other.img?"]),
    Slip("repair {o} {c} {d}/new", 64, ["did you mean -o {d}/new?"]),
    Slip("merge {o} {c} {d}/new", 64, ["did you mean -o {d}/new?"]),
    Slip("create {o} {d}/new 10M", 64, ["did you mean --size 10M?"]),
    Slip("create --size 10% {o} {d}/new", 64, ["did you mean 10%ORIGIN?"]),
    Slip("write-origin {o} {c}", 64, ["did you mean --snapshot {c}?"]),
    Slip("export --full {o} {d}/new", 64, ["did you mean -o {d}/new?"]),
    Slip("apply {d}/text {d}/new", 1, ["there is no image '{d}/new': -o {d}/new makes it"]),
    Slip("merge --undo {o} {c}", 64, ["the origin is missing", "is '{o}' an operand, and not the value of --undo?"]),
    Slip("verify {d}/blocks", 64, ["is a manifest: --against {d}/blocks"]),
    Slip("apply {o} {d}/a.diff", 64, ["'{d}/a.diff' is a diff: the image comes last"]),
    Slip("status {c}", 64, ["the origin is missing: '{c}' is a COW", "snaptool info"]),
    Slip("verify --against {d}/sums", 1, ["'{d}/sums'"]),
    Slip("verify", 64, ["missing operand", "it takes [ORIGIN] COW"]),
    Slip("cat {o} {c}", 64, ["name the file: its PATH"]),
    Slip("diff {o} {c} {d}/c2", 64, ["Name the views: {o}@{c} {o}@{d}/c2"]),
    Slip("diff {o} {o} {o}", 64, ["too many operands", "ORIGIN@COW"]),
    Slip("read {d}/a@b {d}/x", 64, ["too many operands"]),
    Slip("undo {o} {c}", 64, ["the origin is missing", "the undo file comes first: undo FILE ORIGIN COW"]),
    Slip("export {o} {d}/other.img", 64, ["export takes IMAGE", "export {d}/other.img --base {o}"]),
    Slip("repair {c} {d}/new", 64, ["did you mean -o {d}/new?"]),
    Slip("repair {o} {c}", 64, ["-o NEW must say", "(or --dry-run, to look) (see"]),
    Slip("create --size 1M {d}/new", 64, ["the origin is missing, or the COW"]),
    Slip("diff --report {o} {d}/other.img", 64, ["missing operands", "is '{o}' an operand, and not the value of --report?"]),
    Slip("diff --report {d}/new {o}", 64, ["it takes IMAGE1 IMAGE2 (see"]),
    Slip("apply {o}", 65, ["'{o}' is not a diff"]),
    Slip("info {d}/OTHER.img", 1, ["No such file", "(there is '{d}/other.img')"]),
    Slip("info {d}/other.IMG", 1, ["No such file", "(there is '{d}/other.img')"]),
    Slip("info {d}/none.img", 1, ["No such file", "(is the name right?)"]),

    # Formats.
    Slip("convert {o} {d}/vm.vmdk", 64, ["'{d}/vm.vmdk' would be raw: -O vmdk makes a VMDK, -O raw makes it raw all the same"]),
    Slip("convert {o} {d}/vm.QCOW2", 64, ["-O qcow2 makes a qcow2 image"]),
    Slip("convert {o} {d}/vm.vdi", 64, ["-O vdi makes a VDI"]),
    Slip("convert {o} {d}/vm.vhd", 64, ["-O vhd makes a VHD,"]),
    Slip("convert {o} {d}/vm.vhdx", 64, ["-O vhdx makes a VHDX"]),
    Slip("convert {o} {d}/vm.E01", 64, ["-O e01 makes an E01"]),
    Slip("convert {o} {d}/vm.simg", 64, ["-O simg makes an Android sparse image"]),
    Slip("convert --force -n {o} {d}/vm.vmdk", 64, ["would be raw"]),
    Slip("convert -O flat {o} {d}/new", 64, ["--output-format takes raw, qcow2, ewf, e01, rbd, ", "vhd or dm-snapshot, not 'flat'"]),
    Slip("info --follow-parents=x {o}", 64, ["takes no value, or =anywhere, not 'x'"]),
    Slip("diff -o {d}/new {o} {o}", 64, ["--report FILE", "'snaptool export'"]),
]

# Words of other tools, each of which gets an answer.
FOREIGN_COMMANDS = """
    check fsck thin_check scrub commit rollback revert lvconvert resume compare cmp import-diff patch export-diff
    merge-diff rebase copy cp measure snapshot snap lvcreate mount list dir show identify stat dd sum checksum sha256sum
    grow extend lvextend shrink truncate trim fstrim unmap thin_dump thin_restore thin_repair fix
""".split()
FOREIGN_OPTIONS = {
    "info": ["--json", "--human", "--human-readable", "--backing-chain", "--silent", "--debug"],
    "merge": ["-n", "--noop", "--simulate", "--just-print", "-m", "-T", "--threads", "--overwrite", "--clobber"],
    "convert": ["-b", "-B", "--backing", "--backing-file", "-o", "--out", "-l", "--of"],
    "hash": ["-b", "--bs", "-a", "--md5", "--sha1", "--sha256", "--sha512"],
    "verify": ["-c", "--check", "-r", "--repair"],
    "ls": ["-r", "-d"],
    "create": ["-c", "--chunksize", "-s", "-L"],
    "read": ["--skip", "--seek", "--count"],
}

# Diffs that are none: 65 whatever reads them, never 64.
Broken = collections.namedtuple("Broken", "name words")
BROKEN = [
    Broken("empty", ["'{d}/empty' is empty"]),
    Broken("truncated", []),
    Broken("three-bytes", ["copied whole?"]),
    Broken("gzipped", ["is a gzip archive", "gunzip -c {d}/gzipped"]),
    Broken("text", ["is not a diff"]),
]


class TypedTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.origin, self.cow = self.unpack_store(STORE)
        self.names = {"o": self.origin, "c": self.cow, "d": self.scratch}
        self.view = (KERNEL_STORES / STORE / "snapshot.sha256").read_text().split()[0]

    def snaptool(self, line, **options):
        return run(*(word.format(**self.names) for word in line.split()), cwd=self.scratch, **options)

    def good(self, line, **options):
        done = self.snaptool(line, **options)
        self.assertEqual((done.returncode, done.stderr), (0, "" if not options.get("binary") else b""), line)
        return done.stdout


class Slips(TypedTest):
    def test_each_is_answered(self):
        shutil.copy(self.cow, self.scratch / "c2")
        for name in ("other.img", "-dash.img"):
            shutil.copy(self.origin, self.scratch / name)
        (self.scratch / "merge.undo").write_bytes(b"SNAPUNDO")
        run("hash", "--block-size=1M", self.origin, "-o", self.scratch / "blocks")
        run("export", self.origin, "--base", self.origin, "-o", self.scratch / "a.diff")
        before = {path: sha256_of_file(path) for path in self.scratch.iterdir()}
        for slip in SLIPS:
            with self.subTest(slip.arguments):
                done = self.snaptool(slip.arguments, timeout=20)
                self.assertEqual((done.returncode, done.stdout), (slip.status, ""), done.stderr)
                self.assertRegex(done.stderr, r"\Asnaptool( [a-z-]+)?: [^\n]+\n\Z")
                for word in slip.words:
                    self.assertIn(word.format(**self.names), done.stderr)
        self.assertEqual({path: sha256_of_file(path) for path in self.scratch.iterdir()}, before)

    def test_what_is_named_exists(self):
        """An answer that names a command or an option that is not there would be the next slip."""
        commands = re.findall(r"^  (\S+)", run("--help").stdout, re.M)
        for word in FOREIGN_COMMANDS:
            answer = run(word).stderr
            named = re.findall(r"'snaptool ([a-z-]+)", answer.split(" (see ")[0])
            self.assertTrue(named and set(named) <= set(commands), (word, answer))
        for command, options in FOREIGN_OPTIONS.items():
            known = run(command, "--help").stdout
            for option in options:
                answer = run(command, option, "x").stderr
                named = re.search(r"did you mean (--?[A-Za-z-]+|'snaptool repair'|OUT)", answer)
                self.assertTrue(named, (command, option, answer))
                if named[1].startswith("-"):
                    self.assertRegex(known, rf"(?m)^ +(-\w, )?{named[1]}\b", (command, option))


class Pairs(TypedTest):
    """ORIGIN COW, where a reader takes one IMAGE."""

    def same(self, line):
        """What ORIGIN COW gives is what ORIGIN@COW does."""
        self.assertEqual(self.good(line, binary=True), self.good(line.replace("{o} {c}", "{o}@{c}"), binary=True), line)

    def test_one_image(self):
        self.assertEqual(self.good("hash {o} {c}").split()[0], self.view)
        self.good("read {o} {c} -o {d}/view")
        self.assertEqual(sha256_of_file(self.scratch / "view"), self.view)
        for line in ("map --output=json {o} {c}", "info {o} {c}", "info --output=json {o} {c}", "export {o} {c}",
                     "hash --output=json {o} {c}", "map --as bmap {o} {c}"):
            self.same(line)
        self.assertEqual(self.good("info {o} {c}").splitlines()[0].split(maxsplit=1)[1], f"{self.origin}@{self.cow}")

    def test_convert(self):
        self.good("convert {o} {c} {d}/out")
        self.assertEqual(sha256_of_file(self.scratch / "out"), self.view)

    def test_no_store_is_filled(self):
        """convert -n ORIGIN COW: OUT is the COW."""
        before = sha256_of_file(self.cow)
        for line in ("convert -n {o} {c}", "convert -n {o} {c} -f raw"):
            done = self.snaptool(line)
            self.assertEqual((done.returncode, sha256_of_file(self.cow)), (63, before), done.stderr)
            self.assertIn("dm-snapshot store", done.stderr)
            self.assertIn("--force", done.stderr)

    def test_a_snapshot_of_a_snapshot(self):
        self.good("create {o}@{c} {d}/upper")
        self.assertEqual(self.good("hash {o}@{c} {d}/upper").split()[0], self.view)

    def test_diff_of_two_images_one_of_which_is_a_pair(self):
        shutil.copy(self.scratch / "origin.img", self.scratch / "copy.img")
        for line in ("diff --output=json {o} {c} {d}/copy.img", "diff --output=json {d}/copy.img {o} {c}",
                     "diff --output=json {o} {c} {o} {c}"):
            done = self.snaptool(line)
            exact = self.snaptool(line.replace("{o} {c}", "{o}@{c}"))
            one, other = ({key: value for key, value in json.loads(d.stdout).items() if key not in ("command_line", "created")}
                          for d in (done, exact))
            self.assertEqual((done.returncode, one, done.stderr), (exact.returncode, other, exact.stderr), line)
        self.assertEqual(self.snaptool("diff {o} {c} {o} {c}").returncode, 0)

    def test_files(self):
        need(self, *TOOLS["Ext"])
        self.names["o"], self.names["c"] = self.scratch / "fs.img", self.scratch / "fs.cow"
        Ext(self.names["o"], {"file": File(b"content")})
        self.good("create {o} {c}")
        self.assertEqual(self.good("ls {o} {c}"), self.good("ls {o}"))
        self.assertEqual(self.good("ls {o} {c} file"), "file\n")
        self.assertEqual(self.good("cat {o} {c} file"), "content")
        self.assertEqual(self.good("cat {o} file"), "content")

    def test_a_file_that_has_the_name_of_the_view(self):
        shutil.copy(self.origin, f"{self.origin}@cow.img")
        done = self.snaptool("read {o} cow.img")
        self.assertEqual(done.returncode, 64)
        self.assertIn("names something else", done.stderr)

    def test_it_is_in_the_help(self):
        for command in ("read", "hash", "map", "info", "export", "ls", "cat", "convert"):
            usage = run(command, "--help").stdout.splitlines()
            self.assertIn(f"snaptool {command} [OPTION...] ORIGIN COW", usage[1])


class Spelling(TypedTest):
    """What says the same with other letters."""

    def test_formats_in_any_case(self):
        for name, words in (("E01", "E01"), ("e01", "ewf"), ("VMDK", "vmdk"), ("Vhd", "vpc"), ("QCOW2", "qcow2")):
            self.good("convert -O %s {o} {d}/%s.out" % (name, name))
            self.good("convert -O %s {o} {d}/%s.same" % (words.lower(), name))
            formats = {json.loads(self.good("info --output=json {d}/%s.%s" % (name, end)))["format"] for end in ("out", "same")}
            self.assertEqual(len(formats - {"raw"}), 1, name)
            self.assertEqual(self.good("hash -f %s {d}/%s.out" % (name, name)).split()[0], sha256_of_file(self.origin))
        self.assertEqual(json.loads(self.good("info --output=JSON {o}"))["format"], "raw")

    def test_a_raw_image_of_any_name(self):
        for name in ("x.vmdk", "x.E01", "vmdk", "x.vmdk.img", "qcow2"):
            self.good(("convert -O raw {o} {d}/" if "." in name and not name.endswith("img") else "convert {o} {d}/") + name)
            self.assertEqual(sha256_of_file(self.scratch / name), sha256_of_file(self.origin), name)

    def test_algorithms(self):
        for name in ("sha-256", "SHA-256", "SHA256"):
            self.assertEqual(self.good("hash --algorithm %s {o}" % name).split()[0], sha256_of_file(self.origin))

    def test_ids_only_for_those_who_ask(self):
        for line in ("export {o}@{c} -o {d}/%d.diff", "apply {d}/0.diff {o}"):
            line = line % 0 if "%" in line else line
            self.assertNotRegex(self.good(line), "[0-9a-f]{64}", line)
            said = self.snaptool(line + (" -v --force" if "export" in line else " -v")).stdout
            self.assertRegex(said, "[0-9a-f]{64}", line)

    def test_notes_only_for_those_who_ask(self):
        content = bytearray(self.cow.read_bytes())
        chunk = int.from_bytes(content[12:16], "little") * 512
        entries = content[chunk:2 * chunk]
        count = next(i for i in range(len(entries) // 16) if not any(entries[16 * i:16 * i + 16]))
        kept = entries[:32] + entries[48:16 * count] + bytes(16)
        content[chunk:chunk + len(kept)] = kept
        self.cow.write_bytes(content)
        said = self.good("verify {c}")
        self.assertIn("1 note: -v shows it\n", said)
        self.assertNotIn("leaked-chunks", said)
        self.assertIn("leaked-chunks", self.snaptool("verify -v {c}").stdout)


class DisksAsStores(TypedTest):
    """A plain disk that is named as a COW is said to be one; exit statuses and codes are those of any broken store."""

    def setUp(self):
        super().setUp()
        need(self, *TOOLS["Ext"])
        Ext(self.scratch / "ext.img", {"file": File(b"content")})
        table = bytearray(4 << 20)
        table[446:462] = bytes([0, 0, 2, 0, 0x83, 0, 3, 0]) + (2048).to_bytes(4, "little") + (4096).to_bytes(4, "little")
        table[510:512] = b"\x55\xaa"
        (self.scratch / "mbr.img").write_bytes(table)
        table[:3] = b"\xeb\x63\x90"
        (self.scratch / "boot.img").write_bytes(table)
        self.kinds = {"ext.img": "a disk with a file system (ext4)", "mbr.img": "a disk with a partition table (MBR)",
                      "boot.img": "a disk with a partition table (MBR)"}

    def test_every_command_says_so(self):
        for name, kind in self.kinds.items():
            self.names["x"] = self.scratch / name
            said = f"'{self.names['x']}' is not a COW: it is {kind}"
            before = sha256_of_file(self.names["x"])
            for line in ("dump {x}", "status {o} {x}", "merge {o} {x}", "merge {o} {x} -o {d}/new", "merge {o} {c} --sibling {x}",
                         "read {o}@{x} -o {d}/new", "info {o}@{x}", "repair {x} -o {d}/new", "repair --dry-run {o} {x}",
                         "resize {x} 100M", "resize --minimum {x}", "write {o} {x} -P 1 --length 4k",
                         "write-origin {o} --snapshot {x} -P 1 --length 4k", "export --changes {x} --base {o} {o} -o {d}/new"):
                with self.subTest(name, line=line):
                    done = self.snaptool(line)
                    self.assertEqual(done.returncode, 65, done.stderr)
                    self.assertIn(said, done.stderr)
                    self.assertNotIn("wiped", done.stderr)
            self.assertEqual(sha256_of_file(self.names["x"]), before)

    def test_verify(self):
        for name, kind in self.kinds.items():
            self.names["x"] = self.scratch / name
            for line in ("verify {x}", "verify {o} {x}"):
                done = self.snaptool(line)
                self.assertEqual((done.returncode, done.stderr), (2, ""))
                self.assertIn(f"it is not a COW: it is {kind}", done.stdout)
                self.assertIn("fixed by: naming the right file\n", done.stdout)
                self.assertTrue(done.stdout.endswith(f"{name}: no COW\n"), done.stdout)
                report = json.loads(self.snaptool(line.replace("verify", "verify --output=json")).stdout)
                code = "bad-magic" if name == "boot.img" else "wiped-header"
                self.assertEqual((report["result"], report["counts"]), ("corrupt", {code: 1}))

    def test_a_wiped_header_is_one_whatever_follows(self):
        """The list counts more than data that look like a file system."""
        content = bytearray(self.cow.read_bytes())
        self.assertEqual(int.from_bytes(content[12:16], "little") * 512, 4096)
        content[:512] = bytes(512)
        content[1024:2048] = (self.scratch / "ext.img").read_bytes()[1024:2048]
        self.cow.write_bytes(content)
        self.assertIn("ext4", self.good("info {c}"))
        done = self.snaptool("dump {c}")
        self.assertEqual(done.returncode, 65)
        self.assertIn("header was wiped", done.stderr)
        self.assertIn("its header was wiped", self.snaptool("verify {c}").stdout)
        self.snaptool("repair {c} -o {d}/new")
        self.assertEqual(self.good("hash {o} {d}/new").split()[0], self.view)

    def test_what_a_transient_snapshot_overwrites_is_anything(self):
        script = self.scratch / "script"
        script.write_text("write s 0 4k -P 1\nflush\n")
        for store, status in (("N", 0), ("P", 65)):
            done = self.snaptool(f"batch {{o}} {script} --snapshot s={{d}}/ext.img,store={store}")
            self.assertEqual(done.returncode, status, done.stderr)


class SharedOptionsFirst(TypedTest):
    """Options that all commands share may stand before the command."""

    def test_they_are_taken(self):
        self.assertEqual(self.good("-q info {o}"), "")
        self.assertEqual(json.loads(self.good("--output json info {o}"))["format_version"], 1)
        self.assertEqual(json.loads(self.good("--output=json -U info {o}"))["format_version"], 1)
        self.assertEqual(self.good("-qj2 hash {o}"), self.good("hash {o}"))
        self.assertEqual(self.good("-j 2 hash -- {o}"), self.good("hash {o}"))
        self.good("-o {d}/out read {o}")
        self.assertEqual(sha256_of_file(self.scratch / "out"), sha256_of_file(self.origin))

    def test_twice_is_twice(self):
        done = self.snaptool("-q info -q {o}")
        self.assertEqual(done.returncode, 64)
        self.assertIn("given twice", done.stderr)

    def test_others_are_refused(self):
        for word in ("-", "--", "--=x", "--no-such", "-qZ"):
            done = self.snaptool(f"{word} info {{o}}")
            self.assertEqual((done.returncode, done.stdout), (64, ""), word)
            self.assertIn(f"'{word}' comes after the command", done.stderr)

    def test_help(self):
        program, merge = self.good("--help"), self.good("merge --help")
        self.assertTrue(program.startswith("Usage: snaptool COMMAND"))
        for line in ("help", "-h", "help help", "help --help", "help -h", "-q --help"):
            self.assertEqual(self.good(line), program, line)
        for line in ("help merge", "merge -h", "--help merge", "-h merge", "-q help merge"):
            self.assertEqual(self.good(line), merge, line)
        self.assertEqual(self.good("-V merge"), self.good("--version"))


class BrokenInputs(TypedTest):
    def setUp(self):
        super().setUp()
        self.good("export {o}@{c} -o {d}/good")
        whole = (self.scratch / "good").read_bytes()
        for name, content in {"empty": b"", "truncated": whole[:len(whole) // 2], "three-bytes": whole[:3],
                              "gzipped": gzip.compress(whole), "text": b"no diff, but a text\n"}.items():
            (self.scratch / name).write_bytes(content)

    def test_a_broken_diff_is_no_mistake_of_usage(self):
        for broken in BROKEN:
            self.names["b"] = self.scratch / broken.name
            for line in ("apply {b} {o}", "apply {b} {o} -o {d}/new", "apply {d}/good {b} {o}", "diff-verify {b}",
                         "diff-verify {b} {o}", "compose {b} {d}/good -o {d}/new", "compose {d}/good {b} -o {d}/new",
                         "invert {b} --base {o} -o {d}/new"):
                with self.subTest(broken.name, line=line):
                    done = self.snaptool(line)
                    self.assertEqual((done.returncode, done.stdout), (65, ""), done.stderr)
                    self.assertNotIn("--help", done.stderr)
                    for word in broken.words:
                        self.assertIn(word.format(**self.names), done.stderr)
        self.assertFalse((self.scratch / "new").exists())

    def test_a_broken_stream_is_none_either(self):
        for broken in BROKEN:
            with open(self.scratch / broken.name, "rb") as stream:
                data = stream.read()
            for line in ("diff-verify -", "apply --spool {d}/spool - {o}",
                         "compose - {d}/good -o {d}/new"):
                with self.subTest(broken.name, line=line):
                    done = self.snaptool(line, input=data, binary=True)
                    self.assertEqual(done.returncode, 65, done.stderr)
                    if not data:
                        self.assertIn(b"standard input is empty", done.stderr)
        self.assertFalse((self.scratch / "new").exists())


class Reports(TypedTest):
    def test_done_but_not_reported(self):
        """What was done is said, though standard output takes nothing."""
        for line, word in (("merge {o} {c}", "merged"), ("create {o} {d}/new", "made"), ("resize {d}/new 2M", "resized")):
            command = [SNAPTOOL, *(part.format(**self.names) for part in line.split())]
            with open("/dev/full", "wb") as full:
                done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
            self.assertEqual(done.returncode, 73)
            self.assertIn(f"{word}, but the report could not be written: ", done.stderr)
        self.assertEqual(sha256_of_file(self.origin), self.view)
        closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", SNAPTOOL, "resize", str(self.scratch / "new"), "3M"],
                                capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(closed.returncode, 1)
        self.assertIn("resized, but the report could not be written: ", closed.stderr)

    def test_one_of_a_thing_is_one(self):
        self.names["o"], self.names["c"] = self.scratch / "one", self.scratch / "one.cow"
        self.names["o"].write_bytes(bytes(4096))
        self.assertIn("origin's 1 chunk\n", self.good("create {o} {c}"))
        self.assertIn(": 1 new exception\n", self.good("write -P 1 --length 4k {o} {c}"))
        self.assertIn("(1 exception in 1 area)", self.good("verify {o} {c}"))
        self.assertIn("in 1 range (4096 bytes)", self.snaptool("diff {o} {o}@{c}").stdout)
        self.assertRegex(self.good("merge {o} {c}"), r"merged 1 exception \([^,]*, 1 run\)")

    def test_what_only_tells_has_done_nothing(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([SNAPTOOL, "merge", "--dry-run", self.origin, self.cow], stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False, timeout=60)
        self.assertNotIn("merged, but", done.stderr)

    def test_an_output_that_force_would_not_replace(self):
        os.mkdir(self.scratch / "folder")
        for line in ("read {o} -o {d}/folder", "read {o} -o {d}/folder/", "convert {o} {d}/folder", "merge {o} {c} -o {d}/folder"):
            done = self.snaptool(line)
            self.assertEqual(done.returncode, 64, line)
            self.assertIn("is not a file or block device", done.stderr)
            self.assertNotIn("--force", done.stderr)

    def test_an_output_that_is_the_file_of_standard_output(self):
        """It is replaced with what was to be written, and not with nothing."""
        for line in ("hash {o}", "hash --block-size 64k {o}", "dump {c}", "map {o}@{c}", "map --output=json {o}@{c}"):
            words = [word.format(**self.names) for word in line.split()]
            out = self.scratch / "out"
            with open(out, "wb") as stdout:
                done = subprocess.run([SNAPTOOL, *words, "--force", "-o", out], stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, b""), line)
            self.assertEqual(out.read_text(), self.good(line), line)

    def test_an_output_behind_a_link_to_nothing(self):
        os.mkdir(self.scratch / "folder")
        for n, line in enumerate(("read {o}@{c} -o", "merge {o} {c} -o", "convert {o}@{c}", "hash {o} -o", "dump {c} -o",
                                  "export {o}@{c} -o", "create {o}", "repair {c} -o", "map --output=json {o}@{c} -o")):
            link, target = self.scratch / f"link-{n}", self.scratch / "folder" / f"target-{n}"
            os.symlink(f"folder/target-{n}", link)
            self.good(f"{line} {link}")
            self.assertTrue(link.is_symlink(), line)
            self.assertTrue(target.is_file() and not target.is_symlink(), line)
        self.assertEqual(sha256_of_file(self.scratch / "folder" / "target-0"), self.view)


if __name__ == "__main__":
    main("slips")
