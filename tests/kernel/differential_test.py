# SPDX-License-Identifier: Apache-2.0
"""Random scripts, done by the real kernel and by `snaptool batch`: same answers, same views, same bytes on disk.

The kernel gets each request in the pieces in which device-mapper would take it, one after the other, so that what it
allocates does not depend on timing; then the COW files are equal byte for byte.
"""

import collections
import itertools
import json
import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import Layout, naive_entries  # noqa: E402
from harness import SEED, ScratchTest, main, need, run, scaled  # noqa: E402
from uml import run_in_guest  # noqa: E402

SCRIPTS = scaled(600)
PER_BOOT = 50
CHUNKS = [1, 1, 2, 8, 8, 16, 32, 128]  # sectors
FEATURES = [[], ["discard_zeroes_cow"], ["discard_zeroes_cow", "discard_passdown_origin"]]
requests = {}


class Script:
    """One random script, in both languages."""

    def __init__(self, number, folder):
        self.rng = random.Random(SEED * 1000003 + number)
        self.number, self.folder = number, folder
        self.sectors = self.rng.randrange(64, 2200)
        self.features = self.rng.choice(FEATURES)
        self.snapshots = [self.snapshot(n) for n in range(self.rng.choice([1, 1, 2, 2, 3]))]
        if self.rng.random() < 0.2:
            source = self.rng.choice(self.snapshots)
            heir = dict(source, name="heir", kind=source["kind"] if source["kind"] == "N" else
                        self.rng.choice(["P", "PO"]), waits=True)
            self.snapshots.append(heir)
        self.ops = self.operations()

    def snapshot(self, n):
        chunk = self.rng.choice(CHUNKS)
        chunks = -(-self.sectors // chunk)
        areas = chunks // (chunk * 32) + 1
        roomy = self.rng.random() < 0.6
        room = chunks + areas + 2 if roomy else self.rng.randrange(3, max(4, chunks))
        return {"name": f"s{n}", "cow": f"cow-{self.number}-{n}", "chunk": chunk, "roomy": roomy,
                "cow_sectors": room * chunk + self.rng.choice([0, 0, chunk // 2]),
                "kind": self.rng.choice(["P", "P", "P", "PO", "PO", "N"])}

    def range(self, chunk):
        """A range of any alignment, or of whole chunks."""
        longest = min(self.sectors, max(4 * chunk, 64))
        length = self.rng.choice([1, chunk, self.rng.randrange(1, longest + 1), 3 * chunk])
        length = min(length, self.sectors)
        sector = self.rng.randrange(self.sectors - length + 1)
        if self.rng.random() < 0.5:
            sector -= sector % chunk
        if self.rng.random() < 0.1:
            sector = self.sectors - length
        return {"sector": sector, "length": length}

    def operations(self):
        ops, names = [], [s for s in self.snapshots if not s.get("waits")]
        usable, merged = list(names), False
        for _ in range(self.rng.randrange(5, 40)):
            target = self.rng.choice(usable)
            verb = self.rng.choices(["write", "write-origin", "discard", "read", "status", "handover", "merge"],
                                    [30, 25, 10 if self.features else 1, 5, 5, 4, 3])[0]
            op = {"do": verb, "name": target["name"]}
            if verb == "write-origin":
                op = {"do": verb}
            if verb in ("write", "write-origin", "discard", "read"):
                op |= self.range(target["chunk"])
            if verb in ("write", "write-origin"):
                op["seed"] = self.rng.getrandbits(32)
            if verb == "handover":
                heirs = [s for s in self.snapshots if s.get("waits") and s["cow"] == target["cow"]]
                if not heirs or heirs[0] in usable:
                    continue
                op["to"] = heirs[0]["name"]
                usable[usable.index(target)] = heirs[0]
            if verb == "merge":
                # One that may be full would not come to an end in the kernel.
                if merged or len(usable) < 2 or target["kind"] == "N" or not target["roomy"]:
                    continue
                usable.remove(target)
                merged = True
            ops.append(op)
        for snapshot in self.snapshots:
            if snapshot.get("waits") and snapshot not in usable:
                continue
            ops.append({"do": "status", "name": snapshot["name"]})
            if snapshot in usable:
                ops.append({"do": "read", "name": snapshot["name"], "sector": 0, "length": self.sectors})
        return ops

    def path(self, name, whose=""):
        return self.folder / f"{whose}{name}"

    def prepare(self):
        """Makes the files, twice."""
        origin = self.path(f"origin-{self.number}")
        origin.write_bytes(self.rng.randbytes(self.sectors * 512))
        for snapshot in self.snapshots:
            cow = self.path(snapshot["cow"])
            if cow.exists():
                continue
            # Junk, as on a used device.
            cow.write_bytes(self.rng.randbytes(snapshot["cow_sectors"] * 512))
            if snapshot["kind"] != "N":
                made = run("create", "-q", "--force", "--chunk-size", f"{snapshot['chunk']}s", origin, cow)
                assert made.returncode == 0, made.stderr
        for name in self.files():
            shutil.copy(self.path(name), self.path(name, "k-"))

    def files(self):
        return [f"origin-{self.number}", *sorted({s["cow"] for s in self.snapshots})]

    def step(self):
        return {"do": "session", "origin": f"k-origin-{self.number}", "features": self.features, "ops": self.ops,
                "snapshots": [dict(s, cow=f"k-{s['cow']}") for s in self.snapshots]}

    def run_batch(self):
        """Has snaptool do it; returns its results in the guest's form."""
        lines = []
        for n, op in enumerate(self.ops):
            words = [op["do"], *([op["name"]] if "name" in op else [])]
            if "to" in op:
                words.append(op["to"])
            if "sector" in op:
                words += [f"{op['sector']}s", f"{op['length']}s"]
            if "seed" in op:
                data = self.path(f"data-{self.number}-{n}")
                data.write_bytes(random.Random(op["seed"]).randbytes(op["length"] * 512))
                words += ["-i", str(data)]
            if op["do"] == "read":
                words.append("--sha256")
            lines.append(" ".join(words))
        arguments = ["batch", "--output=json", "--force", *(f"--{feature.replace('_', '-')}" for feature in self.features)]
        for s in self.snapshots:
            arguments += ["--snapshot", f"{s['name']}={self.path(s['cow'])},store={s['kind']},chunk-size={s['chunk']}s"]
        done = run(*arguments, self.path(f"origin-{self.number}"), "-", stdin=None, input="\n".join(lines) + "\n")
        results = [{"gave": None} for _ in self.ops]
        answer = json.loads(done.stdout or "{}")
        if "results" not in answer:
            raise AssertionError(f"script {self.number}: {done.stderr}\n" + "\n".join(lines))
        for result in answer["results"]:
            gave = {"refused": result["code"]} if "code" in result else {
                "gave": result.get("status", result.get("sha256"))}
            results[result["line"] - 1] = gave
        return results, lines


class Differential(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, "linux.uml")

    def compare(self, script, kernel):
        ours, lines = script.run_batch()
        text = "\n".join(lines)
        self.assertEqual(len(ours), len(kernel))
        for n, (mine, theirs) in enumerate(zip(ours, kernel, strict=True)):
            requests[script.ops[n]["do"]] = requests.get(script.ops[n]["do"], 0) + 1
            where = f"script {script.number}, line {n + 1} ({lines[n]}), ours {mine}, the kernel's {theirs}\n{text}"
            self.assertEqual("refused" in mine, "refused" in theirs, where)
            if "refused" not in mine:
                self.assertEqual(mine["gave"], theirs["gave"], where)
        for name in script.files():
            mine, theirs = script.path(name).read_bytes(), script.path(name, "k-").read_bytes()
            if mine != theirs and any(op["do"] == "merge" for op in script.ops):
                mine = self.without_what_the_kernel_forgot(script, name, mine, theirs)
            if mine != theirs:
                at = next(i for i in range(len(mine)) if mine[i] != theirs[i])
                self.fail(f"script {script.number}: {name} differs first at byte {at}\n{script.snapshots}\n{text}")

    def without_what_the_kernel_forgot(self, script, name, mine, theirs):
        """Where a merge made a snapshot full: our COW without the entries that we have and the kernel has not.

        A merge has a run of chunks kept at once, and each copy is committed when it is finished. If the COW turns out to
        be full before that, the kernel drops what was under way: how much depends on its timing. We commit it.
        """
        snapshot = next((s for s in script.snapshots if s["cow"] == name), None)
        if snapshot is None or snapshot["kind"] == "N" or mine[:16] != theirs[:16] or mine[4] != 0:
            return mine
        layout = Layout(snapshot["chunk"])
        ours, kernels = (list(naive_entries(cow, snapshot["chunk"])) for cow in (mine, theirs))
        self.assertEqual(ours[:len(kernels)], kernels, f"script {script.number}: {name}")
        mine = bytearray(mine)
        for index in range(len(kernels), len(ours)):
            at = ours[index][0]
            mine[at:at + 16] = bytes(16)
            if (index + 1) % layout.per_area == 0:
                # One that is full has the next area zeroed.
                at = layout.area_chunk((index + 1) // layout.per_area) * layout.chunk_bytes
                mine[at:at + layout.chunk_bytes] = theirs[at:at + layout.chunk_bytes]
        return mine

    def by_the_kernel(self, first):
        """Has a guest do some scripts, in a folder of their own; returns them with its results."""
        folder = self.scratch / f"boot-{first}"
        folder.mkdir()
        scripts = [Script(n, folder) for n in range(first, min(SCRIPTS, first + PER_BOOT))]
        for script in scripts:
            script.prepare()
        return zip(scripts, run_in_guest(folder, [script.step() for script in scripts], timeout=600), strict=True)

    def test_scripts(self):
        # Two guests at once, and never all files.
        with ThreadPoolExecutor(2) as pool:
            running = collections.deque()
            starts = iter(range(0, SCRIPTS, PER_BOOT))
            for first in itertools.islice(starts, 2):
                running.append(pool.submit(self.by_the_kernel, first))
            while running:
                results = running.popleft().result()
                for first in itertools.islice(starts, 1):
                    running.append(pool.submit(self.by_the_kernel, first))
                for script, kernel in results:
                    with self.subTest(script=script.number):
                        self.compare(script, kernel["results"])
                shutil.rmtree(script.folder)

    @classmethod
    def tearDownClass(cls):
        print(f"seed {SEED} (SNAPTOOL_SEED replays it); {SCRIPTS} scripts; requests: {requests}")


if __name__ == "__main__":
    main("kernel differential")
