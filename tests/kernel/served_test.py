# SPDX-License-Identifier: Apache-2.0
"""Random writes, discards and reads, done by the real kernel and over NBD by `snaptool serve --write`: the same bytes on disk."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import hashlib  # noqa: E402
import random  # noqa: E402

import nbd  # noqa: E402
from differential_test import Script  # noqa: E402
from harness import SEED, ScratchTest, main, need, scaled  # noqa: E402
from uml import run_in_guest  # noqa: E402

SCRIPTS = scaled(200)


class ServedScript(Script):
    """One with a single snapshot, of which only the snapshot is written to."""

    def snapshot(self, n):
        made = super().snapshot(n)
        while made["kind"] == "N":
            made = super().snapshot(n)
        return made

    def operations(self):
        self.features = ["discard_zeroes_cow"]
        self.snapshots = self.snapshots[:1]
        target = self.snapshots[0]
        ops = []
        for _ in range(self.rng.randrange(5, 40)):
            verb = self.rng.choices(["write", "discard", "read"], [30, 8, 5])[0]
            op = {"do": verb, "name": target["name"]} | self.range(target["chunk"])
            if verb == "write":
                op["seed"] = self.rng.getrandbits(32)
            ops.append(op)
        return [*ops, {"do": "read", "name": target["name"], "sector": 0, "length": self.sectors}]

    def run_served(self, rng):
        """Has it done over NBD; returns the results in the guest's form."""
        snapshot = self.snapshots[0]
        results = []
        view = f"{self.path(f'origin-{self.number}')}@{self.path(snapshot['cow'])}"
        with nbd.Server("--write", "--store", snapshot["kind"], view) as server, server.connect() as client:
            for op in self.ops:
                try:
                    results.append(self.do(client, op))
                except nbd.NbdError as error:
                    results.append({"refused": error.errno})
                if rng.random() < 0.2:
                    self.flush(client)
        return results

    @staticmethod
    def flush(client):
        try:
            client.flush()
        except nbd.NbdError as error:
            assert error.errno == 5, error  # an invalid snapshot takes none

    @staticmethod
    def do(client, op):
        at, length = op["sector"] * 512, op["length"] * 512
        if op["do"] == "read":
            return {"gave": hashlib.sha256(client.read(at, length)).hexdigest()}
        if op["do"] == "write":
            client.write(at, random.Random(op["seed"]).randbytes(length))
        else:
            client.trim(at, length)
        return {"gave": None}


class Served(ScratchTest):
    def test_scripts(self):
        need(self, "linux.uml")
        nbd.need_server(self)
        scripts = [ServedScript(n, self.scratch) for n in range(SCRIPTS)]
        for script in scripts:
            script.prepare()
        refused = 0
        answers = run_in_guest(self.scratch, [script.step() for script in scripts], timeout=600)
        for script, kernel in zip(scripts, answers, strict=True):
            with self.subTest(script=script.number):
                ours = script.run_served(random.Random(SEED))
                for op, mine, theirs in zip(script.ops, ours, kernel["results"], strict=True):
                    self.assertEqual("refused" in mine, "refused" in theirs, (op, mine, theirs))
                    refused += "refused" in mine
                    if op["do"] == "read" and "gave" in mine:
                        self.assertEqual(mine["gave"], theirs["gave"], op)
                for name in script.files():
                    self.assertEqual(script.path(name).read_bytes(), script.path(name, "k-").read_bytes(), name)
        print(f"seed {SEED}; {SCRIPTS} scripts, {refused} requests refused by both")


if __name__ == "__main__":
    main("kernel served")
