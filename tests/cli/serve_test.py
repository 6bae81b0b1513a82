# SPDX-License-Identifier: Apache-2.0
"""snaptool serve: what clients read, what they write, and how it ends."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import nbd  # noqa: E402
from harness import DATA, SEED, SNAPTOOL, ScratchTest, main, need, run, scaled, sha256_of_file, unpack  # noqa: E402

MIB = 1 << 20


class ServeTest(ScratchTest):
    def setUp(self):
        super().setUp()
        nbd.need_server(self)

    def serve(self, *words, timeout=60, **options):
        """`snaptool serve`, to its end."""
        return subprocess.run([SNAPTOOL, "serve", *map(str, words)], env=nbd.environment(self.scratch), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, check=False, **options)

    def pair(self, size=8 * MIB, store=4 * MIB, chunk="4k"):
        """An origin and a new COW of it."""
        origin, cow = self.scratch / "o.img", self.scratch / "c.cow"
        origin.write_bytes(random.Random(SEED).randbytes(size))
        self.assertEqual(run("create", "-q", "--chunk-size", chunk, "--size", str(store), origin, cow).returncode, 0)
        return origin, cow

    def view_of(self, origin, cow):
        return run("read", f"{origin}@{cow}", binary=True).stdout


class Reading(ServeTest):
    def images(self):
        """Arguments of many images, by what they are."""
        origin, cow = self.unpack_store("p-mix-c8")
        view = f"{origin}@{cow}"
        upper = self.scratch / "upper.cow"
        self.assertEqual(run("create", "-q", "--size", "2M", view, upper).returncode, 0)
        self.assertEqual(run("write", "-q", "-P", "7", "--length", "128k", "--offset", "256k", view, upper).returncode, 0)
        pv = self.scratch / "pv.img"
        unpack(DATA / "lvm" / "pv.img.zst", pv)
        base, overlay, rbd, ewf = (self.scratch / name for name in ("base.qcow2", "over.qcow2", "x.rbd", "x.E01"))
        for words in (["-O", "qcow2", origin, base], ["-O", "qcow2", "--base", base, view, overlay], ["-O", "rbd", view, rbd],
                      ["-O", "ewf", view, ewf]):
            done = run("convert", "-q", *words)
            self.assertEqual(done.returncode, 0, done.stderr)
        disk = self.scratch / "disk.img"
        disk.write_bytes(bytes(MIB) + origin.read_bytes())
        with open(disk, "r+b") as file:  # an MBR with one partition
            file.seek(446)
            file.write(bytes([0, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little")
                       + (origin.stat().st_size // 512).to_bytes(4, "little") + bytes(48) + b"\x55\xaa")
        odd = self.scratch / "odd.img"
        odd.write_bytes(origin.read_bytes()[:100000])
        return {"raw": [origin], "odd size": [odd], "store": [view], "stack": [f"{view}@{upper}"], "partition": [f"{disk}#p1@{cow}"],
                "LVM snapshot": [f"{pv}#vg0/s1"],
                "chain": ["--follow-parents", overlay], "named parent": ["--parent", base, overlay], "rbd": [rbd], "E01": [ewf],
                "format": ["-f", "raw", base]}

    def test_what_clients_read_is_what_read_prints(self):
        for name, words in self.images().items():
            with self.subTest(name):
                expected = run("read", *words, binary=True)
                self.assertEqual(expected.returncode, 0, expected.stderr)
                with nbd.Server(*words) as server, server.connect() as client, server.connect() as other:
                    self.assertEqual(client.size, len(expected.stdout))
                    client.cache(0, client.size)
                    self.assertEqual(client.read_all(), expected.stdout)
                    rng = random.Random(SEED)
                    for _ in range(20):
                        at = rng.randrange(client.size)
                        length = rng.randrange(min(200000, client.size - at)) + 1
                        self.assertEqual(other.read(at, length), expected.stdout[at:at + length])
                    with self.assertRaises(nbd.NbdError):
                        client.write(0, bytes(512))

    def test_peers_read_it(self):
        need(self, "nbdcopy", "nbdinfo", "qemu-img")
        origin, cow = self.unpack_store("p-mix-c8")
        view = f"{origin}@{cow}"
        copy, written = self.scratch / "copy", self.scratch / "written"
        self.assertEqual(run("read", "-q", view, "-o", written).returncode, 0)
        done = self.serve(view, "--", "nbdcopy", "{}", copy)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(sha256_of_file(copy), sha256_of_file(written))
        done = self.serve(view, "--", "qemu-img", "compare", "-s", "-f", "raw", "-F", "raw", "{}", written)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(written, "r+b") as file:
            file.write(b"other")
        self.assertEqual(self.serve(view, "--", "qemu-img", "compare", "-f", "raw", "-F", "raw", "{}", written).returncode, 1)
        told = json.loads(self.serve(view, "--", "nbdinfo", "--json", "{}").stdout)["exports"][0]
        self.assertEqual((told["is_read_only"], told["can_multi_conn"], told["can_cache"]), (True, True, True))

    def test_extents_are_those_of_map(self):
        need(self, "nbdinfo")
        origin, cow = self.pair()
        with open(origin, "r+b") as file:
            file.truncate(0)
            file.truncate(8 * MIB)
            file.seek(3 * MIB)
            file.write(b"x" * MIB)
        run("write", "-q", "-P", "1", "--length", "8k", "--offset", "1M", origin, cow)
        run("write", "-q", "-P", "1", "--length", "64k", "--offset", "3500k", origin, cow)
        view = f"{origin}@{cow}"
        zeros = []
        for row in json.loads(run("map", "--output=json", view).stdout):
            if zeros and zeros[-1][1] == row["zero"]:
                zeros[-1][0] += row["length"]
            else:
                zeros.append([row["length"], row["zero"]])
        told = json.loads(self.serve(view, "--", "nbdinfo", "--map", "--json", "{}").stdout)
        self.assertEqual([[row["length"], row["type"] == 3] for row in told], zeros)
        self.assertGreater(len(zeros), 4)

    def test_a_damaged_image_is_refused_as_by_read(self):
        origin, cow = self.unpack_store("crafted-new-past-cow")
        for words in ([f"{origin}@{cow}"], [self.scratch / "missing"], [cow], ["-f", "nonsense", origin]):
            expected = run("read", "-o", self.scratch / "never", *words)
            done = self.serve(*words)
            self.assertEqual((done.returncode, done.stdout), (expected.returncode, ""), done.stderr)
            told = done.stderr.split(": ", 1)[1].replace("'snaptool serve", "'snaptool read")
            self.assertEqual(told, expected.stderr.split(": ", 1)[1])

    def test_what_cannot_be_read_is_an_error_to_the_client(self):
        """A chunk of an E01 that fails its checksum."""
        origin, _ = self.unpack_store("p-mix-c8")
        image = self.scratch / "x.E01"
        self.assertEqual(run("convert", "-q", "-O", "ewf", origin, image).returncode, 0)
        content = bytearray(image.read_bytes())
        middle = len(content) // 2
        content[middle:middle + 8] = bytes(byte ^ 0xff for byte in content[middle:middle + 8])
        image.write_bytes(content)
        with nbd.Server(image) as server, server.connect() as client:
            wrong = 0
            whole = origin.read_bytes()
            for at in range(0, client.size, 32768):
                length = min(32768, client.size - at)
                try:
                    self.assertEqual(client.read(at, length), whole[at:at + length])
                except nbd.NbdError as error:
                    wrong += 1
                    self.assertEqual(error.errno, 5)
            self.assertGreater(wrong, 0)
            self.assertLess(wrong, 3)


class Ending(ServeTest):
    def test_the_command_and_its_status(self):
        origin, _ = self.pair()
        for words, status in ((["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137),
                              (["sh", "-c", "test -S {}".replace("{}", "$(echo $uri | sed s/.*=//)")], 0)):
            self.assertEqual(self.serve(origin, "--", *words).returncode, status)
        done = self.serve(origin, "--", "echo", "a{}b{}", "--help", "-x")
        self.assertRegex(done.stdout, r"\Aa(nbd\+unix:\S+)b\1 --help -x\n\Z")
        self.assertFalse(Path(done.stdout.split("socket=")[1].split("bnbd")[0]).exists())
        done = self.serve(origin, "--", "nonesuch-program")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("nonesuch-program", done.stderr)

    def test_signals_end_it_and_leave_nothing(self):
        origin, _ = self.pair()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            server = nbd.Server(origin)
            self.assertTrue(server.path.is_socket())
            path = server.path
            self.assertEqual(server.stop(number), (0, ""))
            self.assertFalse(path.exists())

    def test_the_terminals_interrupt(self):
        """It reaches all that the terminal started; the server is there until the command has ended."""
        origin, cow = self.pair()
        server = nbd.Server(origin)
        os.killpg(server.process.pid, signal.SIGINT)
        _, error = server.process.communicate(timeout=60)
        self.assertEqual((server.process.returncode, error), (0, ""))
        need(self, "nbdinfo")
        script = "trap 'sleep 0.5; nbdinfo --size \"$uri\"; exit 3' INT; echo ready; while :; do sleep 0.1; done"
        process = subprocess.Popen([SNAPTOOL, "serve", "--write", origin, cow, "--", "sh", "-c", script], text=True,
                                   env=nbd.environment(self.scratch), stdout=subprocess.PIPE, start_new_session=True)
        self.assertEqual(process.stdout.readline(), "ready\n")
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out), (3, f"{origin.stat().st_size}\n"))

    def test_the_server_ends_with_it(self):
        """However it ends: nothing holds a lock on the COW then."""
        origin, cow = self.pair()
        server = nbd.Server("--write", f"{origin}@{cow}")
        self.assertEqual(run("verify", cow).returncode, 75)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.communicate(timeout=60)
        end = time.monotonic() + 30
        while run("verify", cow).returncode == 75 and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(run("verify", cow).returncode, 0)

    def test_a_server_that_dies_is_told(self):
        origin, _ = self.pair()
        done = self.serve(origin, "--", "sh", "-c", "pkill -9 -P $PPID nbdkit; sleep 30")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nbdkit ended", done.stderr)

    def test_places(self):
        origin, _ = self.pair()
        done = self.serve("--port=0", origin, "--", "echo", "{}")
        self.assertRegex(done.stdout, r"\Anbd://127\.0\.0\.1:\d+\n\Z")
        there = self.scratch / "there"
        there.write_text("mine")
        for words, status, told in ((["--socket", there], 64, "exists already"), (["--socket", "x" * 200], 64, "at most 107 bytes"),
                                    (["--socket", self.scratch / "no" / "s"], 1, "No such file"),
                                    (["--port=70000"], 64, "0 to 65535"), (["--port=1", "--socket=s"], 64, "choose one"),
                                    (["--store=P"], 64, "--write")):
            done = self.serve(*words, origin)
            self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
            self.assertIn(told, done.stderr)
        self.assertEqual(there.read_text(), "mine")
        with nbd.Server(origin) as server:
            self.assertEqual(os.stat(server.path).st_mode & 0o777, 0o600)

    def test_the_server_is_confined(self):
        origin, _ = self.pair()
        for words, seccomp in (([], "2"), (["--no-sandbox"], "0")):
            with nbd.Server(*words, origin) as server, server.connect() as client:
                pid = server.process.pid
                child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
                # Each thread has its own: those that serve came after the filter.
                found = {re.search(r"^Seccomp:\s(\d)", (task / "status").read_text(), re.M)[1]
                         for task in Path(f"/proc/{child}/task").iterdir()}
                self.assertEqual(found, {seccomp})
                self.assertEqual(client.read(0, 512), origin.read_bytes()[:512])

    def test_without_nbdkit(self):
        origin, _ = self.pair()
        done = subprocess.run([SNAPTOOL, "serve", origin], env=dict(os.environ, PATH="/nowhere"), capture_output=True, text=True,
                              check=False, timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assertIn("nbdkit is not installed", done.stderr)

    def test_json(self):
        origin, _ = self.pair()
        process = subprocess.Popen([SNAPTOOL, "serve", "--output=json", origin], env=nbd.environment(self.scratch), text=True,
                                   stdout=subprocess.PIPE)
        text = "".join(iter(process.stdout.readline, "}\n")) + "}"
        process.terminate()
        process.communicate(timeout=30)
        self.assertEqual(json.loads(text).keys(), {"format_version", "uri"})


class Writing(ServeTest):
    def test_what_is_written_is_in_the_view_and_not_in_the_origin(self):
        origin, cow = self.pair()
        before = sha256_of_file(origin)
        model = bytearray(origin.read_bytes())
        rng = random.Random(SEED)
        with nbd.Server("--write", origin, cow) as server, server.connect() as client, server.connect() as other:
            for _ in range(200):
                at, length = rng.randrange(len(model) // 512) * 512, rng.choice([512, 4096, 8192, 100 * 512])
                length = min(length, len(model) - at)
                data = rng.choice([rng.randbytes(length), bytes(length)])
                client.write(at, data, fua=rng.random() < 0.1)
                model[at:at + length] = data
                at = rng.randrange(len(model) - 5000)
                self.assertEqual(other.read(at, 5000), model[at:at + 5000])
            client.zero(MIB, 64 << 10)
            model[MIB:MIB + (64 << 10)] = bytes(64 << 10)
            other.flush()
            self.assertEqual(client.read_all(), model)
        self.assertEqual(sha256_of_file(origin), before)
        self.assertEqual(self.view_of(origin, cow), model)
        self.assertEqual(run("verify", origin, cow).returncode, 0)

    def test_trim_is_a_discard(self):
        origin, cow = self.pair()
        with nbd.Server("--write", origin, cow) as server, server.connect() as client:
            client.write(MIB, b"\1" * MIB)
            client.flush()
            client.trim(MIB + 100 * 4096, 50 * 4096)
            client.flush()
            self.assertEqual(client.read(MIB + 100 * 4096, 50 * 4096), bytes(50 * 4096))
            client.trim(100, 300)  # no whole sector: nothing
            self.assertEqual(client.read(MIB, 4096), b"\1" * 4096)
            # What the snapshot does not have stays the origin's, as in the kernel.
            client.trim(4 * MIB, 4096)
            self.assertEqual(client.read(4 * MIB, 4096), origin.read_bytes()[4 * MIB:4 * MIB + 4096])

    def test_a_full_store(self):
        for kind, view_left in ((None, True), ("PO", True), ("P", False)):
            with self.subTest(kind):
                origin, cow = self.pair(store=256 << 10)
                words = ["--store", kind] if kind else []
                with nbd.Server("--write", *words, origin, cow) as server, server.connect() as client:
                    client.write(0, b"\2" * 65536)
                    client.flush()
                    with self.assertRaises(nbd.NbdError) as caught:
                        client.write(MIB, b"\3" * MIB)
                    self.assertEqual(caught.exception.errno, 28)
                    if view_left:
                        self.assertEqual(client.read(0, 65536), b"\2" * 65536)
                        client.flush()
                done = run("read", f"{origin}@{cow}", "--length=64k", binary=True)
                self.assertEqual(done.returncode == 0, view_left)
                if view_left:
                    self.assertEqual(done.stdout, b"\2" * 65536)
                    self.assertEqual(run("verify", origin, cow).returncode, 0)
                for path in (origin, cow):
                    path.unlink()

    def test_a_part_of_a_disk_and_a_stack(self):
        origin, cow = self.pair()
        upper = self.scratch / "upper.cow"
        run("write", "-q", "-P", "5", "--length", "64k", origin, cow)
        run("create", "-q", "--size", "1M", f"{origin}@{cow}", upper)
        lower = sha256_of_file(cow)
        with nbd.Server("--write", f"{origin}@{cow}@{upper}") as server, server.connect() as client:
            self.assertEqual(client.read(0, 4096), b"\5" * 4096)
            client.write(0, b"\6" * 512)
            client.flush()
            self.assertEqual(client.read(0, 4096), b"\6" * 512 + b"\5" * 3584)
        self.assertEqual(sha256_of_file(cow), lower)
        self.assertEqual(run("read", f"{origin}@{cow}@{upper}", "--length=4k", binary=True).stdout, b"\6" * 512 + b"\5" * 3584)

    def test_refusals(self):
        origin, cow = self.pair()
        for words, status in (([origin], 64), (["--force-share", origin, cow], 64), (["--ignore-invalid", origin, cow], 64),
                              ([cow, origin], 64)):
            done = self.serve("--write", *words)
            self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        with nbd.Server("--write", origin, cow):
            for words in (["serve", "--write", origin, cow], ["write", "-P1", "--length=4k", origin, cow], ["merge", origin, cow]):
                self.assertEqual(run(*words).returncode, 75)


class Killed(ServeTest):
    """What was flushed is in the view, whenever the server is killed."""

    def script(self, rng, client, model, flushed):
        """One step; `flushed`: of each sector, what it may show after a crash."""
        sector = rng.randrange(len(model) // 512)
        length = min(rng.choice([1, 1, 8, 8, 16, 100]), len(model) // 512 - sector)
        data = rng.randbytes(length * 512)
        client.write(sector * 512, data)
        for n in range(length):
            piece = data[n * 512:n * 512 + 512]
            model[(sector + n) * 512:(sector + n) * 512 + 512] = piece
            flushed[sector + n].append(piece)
        if rng.random() < 0.3:
            client.flush()
            for n in range(len(flushed)):
                del flushed[n][:-1]

    def test_killed_at_any_step(self):
        rng = random.Random(SEED)
        for number in range(scaled(40)):
            origin, cow = self.pair(size=MIB, store=2 * MIB, chunk=rng.choice(["512", "4k", "16k"]))
            model = bytearray(origin.read_bytes())
            flushed = [[bytes(model[at:at + 512])] for at in range(0, len(model), 512)]
            for _ in range(3):
                server = nbd.Server("--write", origin, cow)
                with server.connect() as client:
                    self.assertEqual(client.read_all(), model)
                    for _ in range(rng.randrange(1, 30)):
                        self.script(rng, client, model, flushed)
                    server.kill()
                self.assertIn(run("verify", origin, cow).returncode, (0, 3))
                view = self.view_of(origin, cow)
                for n, may_be in enumerate(flushed):
                    self.assertIn(view[n * 512:n * 512 + 512], may_be, f"script {number}, sector {n}")
                model = bytearray(view)
                flushed = [[view[at:at + 512]] for at in range(0, len(view), 512)]
            origin.unlink()
            cow.unlink()


if __name__ == "__main__":
    main("serve")
