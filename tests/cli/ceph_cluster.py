# SPDX-License-Identifier: Apache-2.0
"""Moves images to a Ceph cluster by our rbd streams, and back by Ceph's: run on its own, with ceph-mon and ceph-osd.

The cluster is of one monitor and one OSD in memory, in a folder that goes away with it. Run it as
    SNAPTOOL=build/cli/snaptool python3 tests/cli/ceph_cluster.py
"""

import json
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SNAPTOOL, ScratchTest, main, need, run, sha256_of_file  # noqa: E402

MIB = 1 << 20


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """One monitor, one OSD that keeps its objects in memory."""

    def __init__(self, folder):
        self.folder = folder
        self.conf = folder / "ceph.conf"
        self.processes = []
        fsid = uuid.uuid4()
        one, two = free_ports(2)
        address = f"[v2:127.0.0.1:{one},v1:127.0.0.1:{two}]"
        self.conf.write_text(f"""[global]
fsid = {fsid}
mon host = {address}
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
keyring = {folder}/keyring
crash dir = {folder}
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {1 << 30}
osd class load list = *
enable experimental unrecoverable data corrupting features = memstore
""")
        (folder / "osd").mkdir()
        self.tool("ceph-authtool", "--create-keyring", folder / "keyring", "--gen-key", "-n", "mon.", "--cap", "mon",
                  "allow *")
        self.tool("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, folder / "monmap")
        self.tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", folder / "monmap", "-c", self.conf)
        self.start("ceph-mon", "-i", "a")
        osd = uuid.uuid4()
        self.ceph("osd", "new", osd)
        self.tool("ceph-osd", "-i", "0", "--mkfs", "-c", self.conf, "--osd-uuid", osd)
        self.ceph("osd", "crush", "add", "osd.0", "1.0", "root=default", "host=here")
        self.start("ceph-osd", "-i", "0")
        for _ in range(100):
            if "1 up" in self.ceph("osd", "stat"):
                break
            time.sleep(0.2)
        self.ceph("osd", "pool", "create", "rbd", "4")
        self.ceph("osd", "pool", "application", "enable", "rbd", "rbd")

    def tool(self, *command):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def ceph(self, *command):
        return self.tool("ceph", "-c", self.conf, "--connect-timeout", "60", *command)

    def rbd(self, *command):
        return self.tool("rbd", "-c", self.conf, *command)

    def rbd_from(self, arguments, *command):
        """Has rbd read what snaptool, with these arguments, writes to standard output."""
        with subprocess.Popen([SNAPTOOL, *map(str, arguments)], stdout=subprocess.PIPE) as writer:
            done = subprocess.run(["rbd", "-c", str(self.conf), *command], stdin=writer.stdout, capture_output=True,
                                  text=True, check=False, timeout=120)
            writer.stdout.close()
        if writer.returncode != 0 or done.returncode != 0:
            raise RuntimeError(f"{arguments}: {writer.returncode}; {command}: {done.stdout}{done.stderr}")

    def start(self, *command):
        self.processes.append(subprocess.Popen([*command, "-c", str(self.conf), "-f"], stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL))

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=60)


class ToAClusterAndBack(ScratchTest):
    def test_there_and_back(self):
        need(self, "ceph-mon", "ceph-osd", "rbd")
        cluster = Cluster(self.scratch)
        self.addCleanup(cluster.stop)
        rng = random.Random(int(os.environ.get("SNAPTOOL_SEED", "1")))
        states = []
        content = bytearray(24 * MIB)
        content[:9 * MIB] = rng.randbytes(9 * MIB)
        for number in range(3):
            path = self.scratch / f"{number}.img"
            path.write_bytes(content)
            states.append(path)
            for _ in range(20):
                at = rng.randrange(len(content) - 70000)
                content[at:at + 65536] = rng.randbytes(65536) if rng.random() < 0.7 else bytes(65536)
            content += rng.randbytes(MIB)
        cluster.rbd("create", "--size", "1", "disk")
        for number, path in enumerate(states):
            diff = self.scratch / f"{number}.rbd"
            base = ["--full"] if number == 0 else ["--base", states[number - 1], "--from-snap", f"s{number - 1}"]
            done = run("export", path, *base, "-O", "rbd", "--to-snap", f"s{number}", "-o", diff)
            self.assertEqual(done.returncode, 0, done.stderr)
            cluster.rbd("import-diff", "--no-progress", diff, "disk")
            out = self.scratch / "out.img"
            cluster.rbd("export", "--no-progress", f"disk@s{number}", out)
            self.assertEqual(sha256_of_file(out), sha256_of_file(path))
            out.unlink()
        # What Ceph exports, onto our files.
        for whole, more in ((["disk@s0"], "to s0"), (["--from-snap", "s0", "disk@s1"], "to s1"),
                            (["--from-snap", "s1", "disk@s2"], "to s2")):
            cluster.rbd("export-diff", "--no-progress", *whole, self.scratch / more)
        done = run("apply", self.scratch / "to s0", "-o", self.scratch / "restored")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sha256_of_file(self.scratch / "restored"), sha256_of_file(states[0]))
        done = run("apply", self.scratch / "to s1", self.scratch / "to s2", self.scratch / "restored")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sha256_of_file(self.scratch / "restored"), sha256_of_file(states[2]))

    def test_whole_images(self):
        """Through a pipe to the cluster; and back, with a snapshot that was made there."""
        need(self, "ceph-mon", "ceph-osd", "rbd")
        cluster = Cluster(self.scratch)
        self.addCleanup(cluster.stop)
        rng = random.Random(int(os.environ.get("SNAPTOOL_SEED", "1")))
        before, after, whole, out = (self.scratch / name for name in ("before.img", "after.img", "whole", "out.img"))
        content = bytearray(20 * MIB + 1234)
        content[:5 * MIB] = rng.randbytes(5 * MIB)
        for _ in range(50):
            at = rng.randrange(len(content) - 5000)
            content[at:at + 5000] = rng.randbytes(5000)
        before.write_bytes(content)
        cluster.rbd_from(["convert", before, "-", "-O", "rbd"], "import", "--no-progress", "--export-format", "2", "-",
                         "rbd/whole")
        cluster.rbd("export", "--no-progress", "rbd/whole", out)
        self.assertEqual(sha256_of_file(out), sha256_of_file(before))
        cluster.rbd("snap", "create", "rbd/whole@one")
        for _ in range(20):
            at = rng.randrange(len(content) - 70000)
            content[at:at + 65536] = rng.randbytes(65536) if rng.random() < 0.7 else bytes(65536)
        content += rng.randbytes(MIB)
        after.write_bytes(content)
        diff = self.scratch / "diff.rbd"
        done = run("export", after, "--base", before, "-O", "rbd", "--from-snap", "one", "-o", diff)
        self.assertEqual(done.returncode, 0, done.stderr)
        cluster.rbd("import-diff", "--no-progress", diff, "rbd/whole")
        cluster.rbd("image-meta", "set", "rbd/whole", "colour", "blue")
        cluster.rbd("export", "--no-progress", "--export-format", "2", "rbd/whole", whole)
        for name, options, path in (("rbd/whole", [], after),
                                    ("rbd/whole@one", ["--internal-snapshot", "one"], before)):
            out.unlink()
            cluster.rbd("export", "--no-progress", name, out)
            self.assertEqual(sha256_of_file(out), sha256_of_file(path))
            ours = self.scratch / "ours.img"
            done = run("read", "--force", *options, whole, "-o", ours)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(sha256_of_file(ours), sha256_of_file(path))
        info = json.loads(run("info", "--output=json", whole).stdout)
        self.assertEqual((info["format"], info["virtual_size"], info["metadata"]["colour"]), ("rbd", len(content), "blue"))
        self.assertEqual([(one["name"], one["virtual_size"]) for one in info["snapshots"]],
                         [("one", before.stat().st_size)])


if __name__ == "__main__":
    main("ceph cluster")
