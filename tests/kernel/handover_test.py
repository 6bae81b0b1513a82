# SPDX-License-Identifier: Apache-2.0
"""The real kernel and snaptool hand a store to each other: whole, half-merged, killed in the middle."""

import hashlib
import random
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import random_pair  # noqa: E402
from harness import SEED, ScratchTest, main, need, run, run_under_strace, scaled, sha256_of_file  # noqa: E402
from uml import run_in_guest  # noqa: E402

KILLS = scaled(200)
hand_overs = 0


def count_hand_over():
    global hand_overs
    hand_overs += 1


class HandOver(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, "linux.uml", "strace")
        self.rng = random.Random(SEED)

    def path(self, name):
        return self.scratch / name

    def assert_empty(self, status):
        fields = status.split()
        self.assertEqual(fields[3].split("/")[0], fields[4], f"allocated == metadata: {status}")

    def make_file(self, name, size, content=None):
        with open(self.path(name), "wb") as file:
            if content is not None:
                file.write(content)
            file.truncate(size)

    def random_writes(self, chunk, sectors, count):
        """Whole chunks, parts of chunks and runs, through the snapshot and through the origin."""
        writes = []
        for _ in range(count):
            length = self.rng.choice([1, chunk, 3 * chunk, 8, 40])
            sector = self.rng.randrange(sectors - length)
            if self.rng.random() < 0.5:
                sector -= sector % chunk
            writes.append([self.rng.choice(["snapshot", "origin"]), sector, min(length, 512),
                           self.rng.getrandbits(32)])
        return writes

    def test_the_kernels_store_is_merged_and_used_again(self):
        steps, names = [], []
        for chunk in (1, 8, 32, 2048):
            sectors = max(1024, 3 * chunk) + 3  # an odd tail for every chunk size but the smallest
            origin, cow = f"origin-{chunk}", f"cow-{chunk}"
            self.make_file(origin, sectors * 512, self.rng.randbytes(sectors * 512))
            # Junk behind a zeroed first page, as on a used device.
            self.make_file(cow, 32 << 20, bytes(4096) + self.rng.randbytes(6 << 20))
            names.append((chunk, origin, cow))
            steps.append({"do": "write", "origin": origin, "cow": cow, "chunk": chunk,
                          "writes": self.random_writes(chunk, sectors, 60)})
        merged_views = {}
        for (chunk, origin, cow), kernel in zip(names, run_in_guest(self.scratch, steps), strict=True):
            with self.subTest(chunk=chunk):
                self.assertEqual(kernel["view"], kernel["expected"])
                origin_path, cow_path = self.path(origin), self.path(cow)
                self.assertEqual(run("verify", origin_path, cow_path).returncode, 0)
                self.assertEqual(run("status", origin_path, cow_path).stdout.strip(), kernel["status_again"])
                done = run("merge", "--expect", kernel["view"], origin_path, cow_path)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(sha256_of_file(origin_path), kernel["view"])
                merged_views[chunk] = kernel["view"]
                count_hand_over()

        # The kernel goes on with what snaptool left: an empty store, into which it writes more than an area.
        steps = []
        for chunk, origin, cow in names:
            steps.append({"do": "view", "origin": origin, "cow": cow, "chunk": chunk})
            sectors = self.path(origin).stat().st_size // 512
            writes = [["snapshot", n * chunk, 1, n] for n in range(min(300, sectors // chunk))]
            steps.append({"do": "write", "origin": origin, "cow": cow, "chunk": chunk, "writes": writes})
        results = run_in_guest(self.scratch, steps)
        for i, (chunk, _, _) in enumerate(names):
            with self.subTest(chunk=chunk):
                view, written = results[2 * i:2 * i + 2]
                self.assert_empty(view["status"])
                self.assertEqual(view["view"], merged_views[chunk])
                self.assertEqual(view["origin"], merged_views[chunk])
                self.assertEqual(written["view_again"], written["expected"], "nothing was revived")
                count_hand_over()

    def test_snaptools_store_is_extended_and_merged_by_the_kernel(self):
        sectors = 1024 + 3
        steps, cases = [], []
        for chunk in (1, 8, 32, 128):
            origin, cow = f"origin-w{chunk}", f"cow-w{chunk}"
            content = self.rng.randbytes(sectors * 512)
            self.make_file(origin, sectors * 512, content)
            # Junk, as on a used device.
            self.make_file(cow, 4 << 20, self.rng.randbytes(4 << 20))
            done = run("create", "-q", "--force", "--chunk-size", f"{chunk}s", self.path(origin), self.path(cow))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            view = bytearray(content)
            for _ in range(12):
                length = self.rng.choice([1, chunk, 300, 5 * chunk]) * 512
                at = self.rng.randrange(sectors - length // 512) * 512
                data = self.rng.randbytes(length)
                if self.rng.random() < 0.5:
                    command = ["write", "-q", "--offset", at, self.path(origin), self.path(cow)]
                    view[at:at + length] = data
                else:
                    command = ["write-origin", "-q", "--offset", at, "--snapshot", self.path(cow), self.path(origin)]
                done = run(*command, stdin=None, input=data, binary=True)
                self.assertEqual(done.returncode, 0, done.stderr)
            cases.append((chunk, origin, cow, hashlib.sha256(view).hexdigest()))
            steps.append({"do": "view", "origin": origin, "cow": cow, "chunk": chunk})
            steps.append({"do": "write", "origin": origin, "cow": cow, "chunk": chunk,
                          "writes": self.random_writes(chunk, sectors, 40)})
            steps.append({"do": "merge", "origin": origin, "cow": cow, "chunk": chunk})
        converted = []
        for chunk in (1, 128):
            origin, cow = f"origin-c{chunk}", f"cow-c{chunk}"
            view = self.convert_to_store(chunk, sectors, origin, cow)
            converted.append(view)
            steps += [{"do": what, "origin": origin, "cow": cow, "chunk": chunk} for what in ("view", "merge")]
        results = run_in_guest(self.scratch, steps)
        for n, view in enumerate(converted):
            seen, merged = results[3 * len(cases) + 2 * n:][:2]
            self.assertEqual((seen["view"], merged["view_after"], merged["origin"]), (view, view, view))
            self.assert_empty(merged["status"])
            count_hand_over()
        for n, (chunk, origin, cow, view) in enumerate(cases):
            with self.subTest(chunk=chunk):
                seen, written, merged = results[3 * n:3 * n + 3]
                self.assertEqual(seen["view"], view)
                self.assertEqual(written["before"], view)
                self.assertEqual(written["view_again"], written["expected"])
                self.assertEqual(merged["view_after"], written["expected"])
                self.assertEqual(merged["origin"], written["expected"])
                self.assert_empty(merged["status"])
                # And back: what the kernel emptied is written to again.
                data = self.rng.randbytes(300 * 512)
                done = run("write", "-q", self.path(origin), self.path(cow), stdin=None, input=data, binary=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(run("verify", self.path(origin), self.path(cow)).returncode, 0)
                count_hand_over()

    def convert_to_store(self, chunk, sectors, origin, cow):
        """A store that convert makes; returns the SHA-256 of its view."""
        content = self.rng.randbytes(sectors * 512)
        view = bytearray(content)
        for _ in range(300):  # with chunks of 512 bytes, more than an area
            at = self.rng.randrange(sectors) * 512
            view[at:at + 700] = self.rng.randbytes(len(view[at:at + 700]))
        self.make_file(origin, sectors * 512, content)
        self.make_file("view", sectors * 512, view)
        done = run("convert", "-q", "-O", "dm-snapshot", "--option", f"chunk_size={chunk}s", "--base", self.path(origin),
                   self.path("view"), self.path(cow))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return hashlib.sha256(view).hexdigest()

    def make_pair(self, name, chunk, chunks, exceptions):
        """An origin and a hand-made store over it; returns the SHA-256 of the view by the plain rule."""
        view = random_pair(self.rng, self.path(f"origin-{name}"), self.path(f"cow-{name}"), chunk, chunks * chunk,
                           exceptions)
        return hashlib.sha256(view).hexdigest()

    def merge_under_strace(self, origin, cow, *arguments, options=()):
        return run_under_strace(arguments, "merge", "-q", "-j", "1", *options, origin, cow)

    def test_killed_anywhere_the_kernel_finishes(self):
        pairs = {1: ("small", self.make_pair("small", 1, 600, 200)),  # seven areas
                 8: ("large", self.make_pair("large", 8, 500, 300))}  # two areas
        steps, cases = [], []
        for chunk, (name, view) in pairs.items():
            originals = self.path(f"origin-{name}"), self.path(f"cow-{name}")
            files = self.path("o"), self.path("c")
            for source, target in zip(originals, files, strict=True):
                shutil.copy(source, target)
            log = self.path("strace.log")
            self.merge_under_strace(*files, "-o", str(log), "-y", "-e", "trace=pwrite64")
            writes = re.findall(r"pwrite64\(\d+<([^>]*)>", log.read_text())
            clears = [n for n, path in enumerate(writes, 1) if path == str(files[1])]
            self.assertGreater(len(clears), 1)
            # The first and last writes, all around the clears, and anywhere.
            cuts = {1, 2, len(writes), clears[0], clears[0] - 1, clears[-1], clears[len(clears) // 2]}
            while len(cuts) < KILLS // 2:
                cuts.add(self.rng.randrange(1, len(writes) + 1))
            for cut in sorted(cuts):
                origin, cow = f"o-{name}-{cut}", f"c-{name}-{cut}"
                shutil.copy(originals[0], self.path(origin))
                shutil.copy(originals[1], self.path(cow))
                killed = self.merge_under_strace(self.path(origin), self.path(cow), "-o", "/dev/null", "-e",
                                                 f"inject=pwrite64:signal=KILL:when={cut}")
                self.assertNotEqual(killed.returncode, 0, f"{name}: cut {cut} did not kill it")
                cases.append((name, cut, view))
                steps.append({"do": "merge", "origin": origin, "cow": cow, "chunk": chunk})
        for (name, cut, view), kernel in zip(cases, run_in_guest(self.scratch, steps), strict=True):
            with self.subTest(store=name, cut=cut):
                self.assertEqual(kernel["view"], view, "the view that the kernel found")
                self.assertEqual(kernel["view_after"], view)
                self.assertEqual(kernel["origin"], view)
                self.assert_empty(kernel["status"])
                count_hand_over()

    def test_undone_or_half_undone_the_kernel_merges_again(self):
        chunk, view = 8, self.make_pair("kept", 8, 500, 300)
        before = [sha256_of_file(self.path(f"{what}-kept")) for what in ("origin", "cow")]
        steps, cases = [], []
        for n in range(max(4, scaled(40))):
            files = self.path(f"o-undo-{n}"), self.path(f"c-undo-{n}")
            for what, target in zip(("origin", "cow"), files, strict=True):
                shutil.copy(self.path(f"{what}-kept"), target)
            undo = self.path(f"undo-{n}")
            # Merges that were killed, or (0, 1) were not.
            kill = ["-e", f"inject=pwrite64:signal=KILL:when={self.rng.randrange(1, 60)}"] if n > 1 else []
            self.merge_under_strace(*files, "-o", "/dev/null", *kill, options=("--undo", str(undo)))
            if n % 2 == 1 and undo.exists() and undo.stat().st_size > 4096:
                # Undoing that was killed.
                run_under_strace(["-o", "/dev/null", "-e",
                                  f"inject=pwrite64:signal=KILL:when={self.rng.randrange(1, 40)}"],
                                 "undo", "-q", "-j", "1", undo, *files)
            elif undo.exists() and undo.stat().st_size > 4096:
                done = run("undo", undo, *files)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual([sha256_of_file(path) for path in files], before)
            cases.append(n)
            steps.append({"do": "merge", "origin": f"o-undo-{n}", "cow": f"c-undo-{n}", "chunk": chunk})
        for n, kernel in zip(cases, run_in_guest(self.scratch, steps), strict=True):
            with self.subTest(case=n):
                self.assertEqual(kernel["view"], view)
                self.assertEqual(kernel["view_after"], view)
                self.assertEqual(kernel["origin"], view)
                self.assert_empty(kernel["status"])
                count_hand_over()

    def test_stopped_by_the_kernel_snaptool_finishes(self):
        steps, cases = [], []
        for n, (chunk, stop) in enumerate([(8, 0.0), (8, 0.2), (1, 0.1), (32, 0.1)]):
            view = self.make_pair(str(n), chunk, 400, 180)
            cases.append((f"origin-{n}", f"cow-{n}", view))
            steps.append({"do": "merge", "origin": f"origin-{n}", "cow": f"cow-{n}", "chunk": chunk,
                          "stop": stop})
        partial = 0
        for (origin, cow, view), kernel in zip(cases, run_in_guest(self.scratch, steps), strict=True):
            origin, cow = self.path(origin), self.path(cow)
            with self.subTest(cow.name):
                self.assertEqual(kernel["view_after"], view)
                status = run("status", origin, cow).stdout.strip()
                self.assertEqual(status, kernel["status"])
                fields = status.split()
                partial += fields[3].split("/")[0] != fields[4]
                self.assertEqual(run("verify", origin, cow).returncode, 0)
                self.assertEqual(run("merge", origin, cow).returncode, 0)
                self.assertEqual(sha256_of_file(origin), view)
                count_hand_over()
        self.assertGreater(partial, 1, "the kernel's merges were to be stopped in the middle")

    @classmethod
    def tearDownClass(cls):
        print(f"seed {SEED} (SNAPTOOL_SEED replays it); {hand_overs} hand-overs")


if __name__ == "__main__":
    main("kernel hand-over")
