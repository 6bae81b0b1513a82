# SPDX-License-Identifier: Apache-2.0
"""Volume groups that the real LVM made under a real kernel: every volume is what the kernel read.

One guest makes the groups and sums their devices; then snaptool reads (and merges); a second guest goes on.
"""

import hashlib
import json
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SEED, main, need, run, sha256_of_file  # noqa: E402
from uml import run_in_guest  # noqa: E402

MIB = 1 << 20
RING_END = 48 << 10
RING = RING_END - 4096 - 512
CHANGES = 15
AREA_MAGIC = b" LVM2 x[5A%r0N*>"


def node(group, volume, appended=("-real", "-cow")):
    """The device-mapper node of a volume: '-' in a name is doubled, but for what LVM appends."""
    name, suffix = volume, ""
    for own in appended:
        if volume.endswith(own):
            name, suffix = volume[:-len(own)], own
    return f"/dev/mapper/{group.replace('-', '--')}-{name.replace('-', '--')}{suffix}"


class Script:
    """The operations of one step of a guest, and which of their results are wanted under which name."""

    def __init__(self, *disks):
        self.rng = random.Random(SEED)
        self.disks = disks
        self.ops = []
        self.wanted = {}

    def lvm(self, line):
        self.ops.append(["lvm", *line.split()])

    def fill(self, group, volume, sectors, count):
        """Random ranges of a volume; a result that is not None is where the kernel refused."""
        for _ in range(count):
            length = self.rng.choice([1, 8, 40, 128])
            self.ops.append(["fill", node(group, volume), self.rng.randrange(sectors - length), length,
                             self.rng.getrandbits(32)])

    def fill_all(self, group, volume, sectors, **names):
        self.ops.append(["fill", node(group, volume, **names), 0, sectors, self.rng.getrandbits(32)])

    def want(self, key, *op):
        self.wanted[key] = len(self.ops)
        self.ops.append(list(op))

    def sums(self, group, *volumes, **names):
        for volume in volumes:
            self.want((group, volume), "sum", node(group, volume, **names))

    def put_merge_off(self, group, origin, snapshot):
        """What LVM does while the origin is in use: only its metadata say that it is to be merged."""
        self.ops.append(["hold", node(group, origin)])
        self.lvm(f"lvconvert --merge {group}/{snapshot}")
        self.ops.append(["release"])


def run_scripts(folder, *scripts):
    """One guest does them all, one after the other; the results that each of them wants."""
    steps = [{"do": "lvm", "disks": script.disks, "ops": script.ops} for script in scripts]
    return [{key: done["results"][number] for key, number in script.wanted.items()}
            for script, done in zip(scripts, run_in_guest(folder, steps, timeout=240), strict=True)]


def snapshots(script):
    """vg0, extents of 4 MiB: two snapshots of one origin, and one that is written full."""
    script.lvm("pvcreate {0}")
    script.lvm("vgcreate -s 4m vg0 {0}")
    script.lvm("lvcreate -Zn -Wn -L 8m -n data vg0")
    script.fill_all("vg0", "data", 16384)
    script.lvm("lvcreate -s -c 4k -L 4m -n s1 vg0/data")
    script.lvm("lvcreate -s -c 64k -L 4m -n s2 vg0/data")
    script.lvm("lvcreate -s -c 8k -L 4m -n full vg0/data")
    script.fill("vg0", "data", 16384, 25)
    script.fill("vg0", "s1", 16384, 25)
    script.fill("vg0", "s2", 16384, 10)
    script.fill_all("vg0", "full", 16384)
    script.sums("vg0", "data", "data-real", "s1", "s1-cow", "s2", "s2-cow", "full-cow")
    for name in ("s1", "s2", "full"):
        script.want(("status", name), "dmsetup", "status", f"vg0-{name}")
    script.lvm("vgchange -an vg0")


def many_pvs(script):
    """vg-1, extents of 64 KiB on three PVs: one without metadata, one with two copies."""
    group = "vg-1"
    script.lvm("pvcreate {1}")
    script.lvm("pvcreate --metadatacopies 0 {2}")
    script.lvm("pvcreate --metadatacopies 2 {3}")
    script.lvm("vgcreate -s 64k vg-1 {1} {2} {3}")
    script.lvm("lvcreate -Zn -Wn -l 40 -n my-lv-1 vg-1 {1}")
    script.lvm("lvcreate -Zn -Wn -l 3 -n gap vg-1 {1}")
    script.lvm("lvextend -l +30 vg-1/my-lv-1 {1}")
    script.lvm("lvextend -l +20 vg-1/my-lv-1 {2}")
    script.lvm("lvreduce -f -l -5 vg-1/my-lv-1")
    script.lvm("lvextend -l +10 vg-1/my-lv-1 {3}")
    script.lvm("lvremove -f vg-1/gap")
    script.lvm("lvcreate -Zn -Wn -l 5 -n on-two vg-1 {2}")
    script.lvm("lvcreate -Zn -Wn -i 2 -I 64k -l 24 -n striped vg-1 {2} {3}")
    script.lvm("lvcreate -Zn -Wn -i 3 -I 4k -l 30 -n three vg-1")
    script.lvm("lvextend -i 2 -I 16k -l +12 vg-1/striped {1} {2}")
    for volume, extents in (("my-lv-1", 95), ("on-two", 5), ("striped", 36), ("three", 30)):
        script.fill_all(group, volume, extents * 128)
    script.lvm("lvcreate -s -c 16k -l 8 -n snap-of-it vg-1/striped {1}")
    script.fill(group, "striped", 36 * 128, 4)
    script.lvm("lvextend -l +14 vg-1/snap-of-it {3}")
    script.fill(group, "snap-of-it", 36 * 128, 8)
    script.sums(group, "my-lv-1", "on-two", "striped", "striped-real", "three", "snap-of-it", "snap-of-it-cow")
    script.lvm("vgcfgbackup -f {shared}/vg-1.conf vg-1")
    script.lvm("vgchange -an vg-1")


def small_ring(script):
    """ring: so many changes that the texts go round the metadata area of 44 KiB several times."""
    script.lvm("pvcreate --dataalignment 48k --metadatasize 44k {4}")
    script.lvm("vgcreate -s 64k ring {4}")
    script.lvm("lvcreate -Zn -Wn -l 20 -n first ring")
    script.fill_all("ring", "first", 20 * 128)
    for number in range(CHANGES):
        script.lvm(f"lvchange --addtag a{number}#=b!:&/c+.-_{'x' * 900} ring/first")
        script.ops.append(["keep", "pv4.img", RING_END, f"ring-{number}.head"])
        if number % 3 == 2:
            script.lvm(f"lvchange --deltag a{number - 1}#=b!:&/c+.-_{'x' * 900} ring/first")
    script.lvm("lvcreate -s -c 4k -l 8 -n s ring/first")
    script.lvm("lvrename ring/first ring/renamed")
    script.lvm("vgrename ring a+b.c_d-e")
    script.fill("a+b.c_d-e", "renamed", 20 * 128, 8)
    # LVM notes the command in its text: quotes, and what would begin a section or a comment.
    script.ops.append(["lvm", "lvchange", "--addtag", "last", "--config", r'log/prefix=" {{\" # }}"',
                       "a+b.c_d-e/renamed"])
    script.sums("a+b.c_d-e", "renamed", "renamed-real", "s", "s-cow")
    script.want("ring pvs", "lvm", "pvs", "--noheadings", "--nosuffix", "-o", "pv_mda_size,vg_seqno", "--units", "b",
                "{4}")
    script.lvm("vgchange -an a+b.c_d-e")


def merge_to_come(script):
    """later, with its label in another sector: a merge that LVM puts off; and a snapshot of nothing."""
    script.lvm("pvcreate --labelsector 3 {5}")
    script.lvm("vgcreate -s 64k later {5}")
    script.lvm("lvcreate -Zn -Wn -l 32 -n data later")
    script.fill_all("later", "data", 32 * 128)
    script.lvm("lvcreate -s -c 4k -l 24 -n s later/data")
    script.fill("later", "data", 32 * 128, 10)
    script.fill("later", "s", 32 * 128, 20)
    script.sums("later", "data", "s", "s-cow")
    script.lvm("lvcreate --type snapshot -V 8m -l 24 -n nothing later")
    script.fill("later", "nothing", 16384, 6)
    script.sums("later", "nothing", "nothing-cow", "nothing_vorigin", "nothing_vorigin-real")
    script.put_merge_off("later", "data", "s")
    script.want("lvs", "lvm", "lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr", "later")
    script.lvm("vgchange -an later")


def misleading_names(script):
    """names: volumes that are called as device-mapper calls what is below others, here data's s and late's t."""
    script.lvm("pvcreate {6}")
    script.lvm("vgcreate -s 64k names {6}")
    for origin, snapshot in (("data", "s"), ("late", "t")):
        script.lvm(f"lvcreate -Zn -Wn -l 10 -n {origin} names")
        script.fill_all("names", origin, 10 * 128)
        script.lvm(f"lvcreate -s -c 4k -l 8 -n {snapshot} names/{origin}")
        script.fill("names", snapshot, 10 * 128, 4)
    script.sums("names", "data", "s", "late", "t")
    for odd in ("late-real", "s-cow"):
        script.lvm(f"lvcreate -Zn -Wn -l 10 -n {odd} names")
        script.fill_all("names", odd, 10 * 128, appended=())
        script.sums("names", odd, appended=())
    script.put_merge_off("names", "late", "t")
    script.lvm("vgchange -an names")


def in_a_partition(script):
    """inside, with room for a boot loader; exported, which the kernel's next activation would refuse."""
    script.lvm("pvcreate --bootloaderareasize 100k {7}")
    script.lvm("vgcreate -s 128k inside {7}")
    script.lvm("lvcreate -Zn -Wn -l 10 -n lv inside")
    script.fill_all("inside", "lv", 10 * 256)
    script.sums("inside", "lv")
    script.lvm("vgchange -an inside")
    script.lvm("vgexport inside")


def committed_text(image):
    """The text that LVM committed to the area of `ring`, and whether it passes the area's end."""
    offset, length = struct.unpack_from("<QQ", image, 4096 + 40)
    text = image[4096 + offset:RING_END][:length]
    return text + image[4096 + 512:4096 + 512 + length - len(text)], len(text) < length


class Lvm(unittest.TestCase):
    tried, folder, sums, evidence = False, None, None, {}

    @classmethod
    def setUpClass(cls):
        print(f"SNAPTOOL_SEED={SEED}")

    def setUp(self):
        need(self, "linux.uml", "lvm", "sgdisk")
        if not Lvm.tried:
            Lvm.tried = True
            Lvm.make_groups()
        if Lvm.sums is None:
            self.fail("the groups could not be made: see the first test")

    @classmethod
    def make_groups(cls):
        scratch = tempfile.TemporaryDirectory(prefix="snaptool-test-")
        unittest.addModuleCleanup(scratch.cleanup)
        Lvm.folder = Path(scratch.name)
        names = [f"pv{number}.img" for number in range(7)]
        for name, size in zip(names, (28, 16, 16, 16, 8, 16, 8), strict=True):
            cls.make_disk(name, size)
        cls.make_disk("disk.img", 16)
        subprocess.run(["sgdisk", "-n", "1:2048:4095", "-n", "2:4096:+10M", "-t", "2:8e00", Lvm.folder / "disk.img"],
                       check=True, stdout=subprocess.DEVNULL)
        script = Script(*names, ["disk.img", 4096 * 512, 10 * MIB])
        for part in (snapshots, many_pvs, small_ring, merge_to_come, misleading_names, in_a_partition):
            part(script)
        Lvm.sums = run_scripts(Lvm.folder, script)[0]
        Lvm.evidence = {name: sha256_of_file(Lvm.folder / name) for name in (*names, "disk.img")}

    def tearDown(self):
        """No test but on copies: what LVM made is as it was."""
        for name, expected in self.evidence.items():
            self.assertEqual(sha256_of_file(self.folder / name), expected, f"{name} was changed")

    @classmethod
    def make_disk(cls, name, mib):
        with open(Lvm.folder / name, "wb") as file:
            file.truncate(mib * MIB)

    def copy(self, name, target):
        return Path(shutil.copyfile(self.folder / name, self.folder / target))

    def content_of(self, *arguments):
        done = run("read", *arguments, binary=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return hashlib.sha256(done.stdout).hexdigest()

    def check_volumes(self, images, volumes, *options):
        """Each of them, {"GROUP/VOLUME": sum}, is what the kernel read."""
        images = ",".join(str(self.folder / image) for image in images)
        for volume, expected in volumes.items():
            raw = ["-f", "raw"] if volume.endswith("-cow") else []
            self.assertEqual(self.content_of(*options, *raw, f"{images}#{volume}"), expected, volume)

    def check_group(self, group, images, *options):
        volumes = {f"{group}/{key[1]}": expected for key, expected in self.sums.items() if key[0] == group}
        self.assertGreater(len(volumes), 0)
        self.check_volumes(images, volumes, *options)

    def seqno(self, name):
        done = run("info", "--output=json", self.folder / name)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)["lvm2"]["seqno"]

    def merge(self, operand, *options):
        done = run("merge", *options, operand)
        self.assertEqual(done.returncode, 0, done.stderr)

    def refused(self, status, words, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(words, done.stderr)

    def test_snapshots(self):
        self.check_group("vg0", ["pv0.img"])
        self.assertIn("Invalid", self.sums["status", "full"])
        for name in ("s1", "s2", "full"):
            status = run("status", f"{self.folder}/pv0.img#vg0/{name}").stdout.strip()
            self.assertEqual(status, self.sums["status", name])
        self.refused(65, "invalid", "read", f"{self.folder}/pv0.img#vg0/full")
        self.assertIn("Invalid", run("info", f"{self.folder}/pv0.img").stdout)

    def test_several_pvs(self):
        self.check_group("vg-1", ["pv1.img", "pv2.img", "pv3.img"])
        self.check_group("vg-1", ["pv3.img", "pv1.img", "pv2.img"])
        # Only what a volume lies on is needed; one PV has no metadata to say so.
        first, second = (f"{self.folder}/pv{n}.img" for n in (1, 2))
        self.refused(1, "lies on PV", "read", f"{first}#vg-1/striped")
        self.refused(1, "--vgcfg", "read", f"{second}#vg-1/striped")

    def without_areas(self, name):
        """A copy of a PV without the headers of its metadata areas."""
        content = bytearray((self.folder / name).read_bytes())
        for sector in range(0, len(content), 512):
            if content[sector + 4:sector + 20] == AREA_MAGIC:
                content[sector:sector + 512] = bytes(512)
        (self.folder / f"bare-{name}").write_bytes(content)

    def test_the_backup_instead_of_the_metadata(self):
        backup = ("--vgcfg", self.folder / "vg-1.conf")
        two = {"vg-1/on-two": self.sums["vg-1", "on-two"]}
        self.check_volumes(["pv2.img"], two, *backup)
        self.refused(1, "--vgcfg", "read", f"{self.folder}/pv2.img#vg-1/on-two")
        for name in ("pv1.img", "pv3.img"):
            self.without_areas(name)
        # One of the PVs with metadata has them still.
        self.check_group("vg-1", ["bare-pv1.img", "pv2.img", "pv3.img"])
        # Then none has.
        bare = ["bare-pv1.img", "pv2.img", "bare-pv3.img"]
        self.check_group("vg-1", bare, *backup)
        self.refused(65, "metadata", "read", ",".join(str(self.folder / name) for name in bare) + "#vg-1/on-two")

    def test_metadata_that_went_round(self):
        size, seqno = map(int, self.sums["ring pvs"].split())
        self.assertEqual(size, RING_END - 4096)
        self.check_group("a+b.c_d-e", ["pv4.img"])
        self.refused(1, "a+b.c_d-e", "read", f"{self.folder}/pv4.img#ring/renamed")
        image = (self.folder / "pv4.img").read_bytes()
        text, _ = committed_text(image)
        self.assertTrue(rb'log/prefix=\" {\\\" # }\"' in text, "LVM was to write quotes into its text")
        self.assertEqual(self.seqno("pv4.img"), seqno)
        # And after each change, wherever the text lay then.
        total = wrapped = 0
        for number in range(CHANGES):
            text, wraps = committed_text((self.folder / f"ring-{number}.head").read_bytes())
            self.assertTrue(f'"a{number}#=b!:&/c+.-_xx'.encode() in text, f"tag {number}, which was just added")
            self.assertTrue(f"\nseqno = {self.seqno(f'ring-{number}.head')}\n".encode() in text, number)
            total += len(text)
            wrapped += wraps
        self.assertGreater(total, 2 * RING, "the ring was to be overwritten twice")
        self.assertGreater(wrapped, 1, "texts were to pass the end of the ring")

    def test_a_snapshot_of_nothing(self):
        self.check_volumes(["pv5.img"], {f"later/{name}": self.sums["later", name] for name in
                                         ("nothing", "nothing-cow", "nothing_vorigin", "nothing_vorigin-real")})

    def check_merge(self, image):
        """Whatever is left of the merge: the origin is what the snapshot was. Returns the sectors in use."""
        view = self.sums["later", "s"]
        self.check_volumes([image], {"later/data": view, "later/s": view})
        self.assertEqual(run("verify", f"{self.folder / image}#later/s").returncode, 0)
        return int(run("status", f"{self.folder / image}#later/s").stdout.split()[3].partition("/")[0])

    def test_a_merge_that_is_put_off(self):
        """LVM's metadata say so; the kernel begins with it at the next activation, is stopped, and ends it."""
        view = self.sums["later", "s"]
        self.assertRegex(self.sums["lvs"], r"data\s+O")  # LVM: origin with a merging snapshot
        self.check_volumes(["pv5.img"], {"later/data-real": self.sums["later", "data"],
                                         "later/s-cow": self.sums["later", "s-cow"]})
        before = self.check_merge("pv5.img")
        self.copy("pv5.img", "merging.img")
        self.merge(f"{self.copy('pv5.img', 'by-snaptool.img')}#later/s")
        by_kernel, by_snaptool = Script("merging.img"), Script("by-snaptool.img")
        by_kernel.ops.append(["throttle", 1])
        by_kernel.lvm("lvchange -ay --poll n later/data")
        by_kernel.want("merging", "sum", node("later", "data"))
        by_kernel.ops.append(["progress", "later-data", before])
        by_kernel.lvm("vgchange -an later")
        by_kernel.ops += [["keep", "merging.img", 16 * MIB, "half.img"], ["throttle", 100]]
        by_kernel.lvm("lvchange -ay --poll n later/data")
        by_kernel.ops.append(["merged", "later-data"])
        by_kernel.lvm("vgchange -an later")
        by_kernel.ops.append(["keep", "merging.img", 16 * MIB, "merged.img"])
        for script in (by_kernel, by_snaptool):
            script.lvm("lvchange -ay --poll n later/data")
            script.lvm("lvpoll --polloperation merge -i 1 later/data")  # LVM drops the snapshot
            script.want("lvs", "lvm", "lvs", "--noheadings", "-o", "lv_name", "later")
            script.want("data", "sum", node("later", "data"))
            script.want("check", "lvm", "vgck", "later")
            script.lvm("vgchange -an later")
        for name, done in zip(("merging.img", "by-snaptool.img"), run_scripts(self.folder, by_kernel, by_snaptool),
                              strict=True):
            self.assertEqual((done["data"], done["check"]), (view, ""), name)
            self.assertEqual(done["lvs"].split(), ["data", "nothing"], name)
            self.assertEqual(done.get("merging", view), view)
            self.check_volumes([name], {"later/data": view, "later/nothing": self.sums["later", "nothing"]})
            self.refused(1, "no volume 's'", "read", f"{self.folder / name}#later/s")
        left = self.check_merge("half.img")
        self.assertLess(left, before)
        if left == self.check_merge("merged.img"):
            print("the kernel's merge was done before it could be stopped")
        self.merge(f"{self.folder}/half.img#later/s")
        self.check_volumes(["half.img"], {"later/data-real": view})

    def check_names(self, image, **volumes):
        for name, expected in volumes.items():
            with self.subTest(image=image, volume=name):
                self.check_volumes([image], {f"names/{name.replace('_', '-')}": self.sums["names", expected]})

    def test_a_volume_called_as_a_cow(self):
        """An LV "s-cow" beside a snapshot "s": the store of s is the one that LVM's metadata name, not that LV."""
        self.check_names("pv6.img", data="data", s="s")

    def test_a_volume_called_as_the_origin_below(self):
        """An LV "late-real" beside an origin "late" that a merge waits for: the merge is not into that LV."""
        self.check_names("pv6.img", late="t", t="t", late_real="late-real")
        self.merge(f"{self.copy('pv6.img', 'names.img')}#names/t")
        self.check_names("names.img", late="t", t="t", late_real="late-real")

    def test_a_partition(self):
        self.check_group("inside", ["disk.img#p2"])
        self.assertIn("#p2", run("info", self.folder / "disk.img").stdout)

    def test_what_snaptool_merged_lvm_goes_on_with(self):
        pvs = [self.copy(f"pv{number}.img", f"m-pv{number}.img") for number in range(4)]
        self.merge(f"{pvs[0]}#vg0/s1", "--force")  # it has siblings
        self.merge(f"{pvs[1]},{pvs[2]},{pvs[3]}#vg-1/snap-of-it")
        script = Script(*(pv.name for pv in pvs))
        cases = (("vg0", "data", "s1"), ("vg-1", "striped", "snap-of-it"))
        for group, origin, snapshot in cases:
            script.lvm(f"vgchange -ay {group}")
            script.sums(group, origin, snapshot)
            script.want((group, "status"), "dmsetup", "status", Path(node(group, snapshot)).name)
            script.lvm(f"lvremove -f {group}/{snapshot}")
            script.want((group, "without"), "sum", node(group, origin))
            script.want((group, "check"), "lvm", "vgck", group)
            script.lvm(f"vgchange -an {group}")
        got = run_scripts(self.folder, script)[0]
        for group, origin, snapshot in cases:
            for name in (origin, snapshot, "without"):
                self.assertEqual(got[group, name], self.sums[group, snapshot], (group, name))
            self.assertEqual(got[group, "check"], "")
            fields = got[group, "status"].split()
            self.assertEqual(fields[3].split("/")[0], fields[4], "LVM sees an empty snapshot")


if __name__ == "__main__":
    main("LVM's volume groups")
