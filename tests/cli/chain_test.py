# SPDX-License-Identifier: Apache-2.0
"""Chains of diffs: in any order, with any left out or given twice, either refused or the right image."""

import itertools
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
from crafted import write_store  # noqa: E402
from harness import SEED, ScratchTest, main, run, scaled  # noqa: E402

MIB = 1 << 20


class ChainTest(ScratchTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(f"{SEED}{self.id()}")

    def path(self, name):
        return self.scratch / name

    def write(self, name, content):
        self.path(name).write_bytes(content)
        return self.path(name)

    def good(self, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def images(self, count, sizes=False):
        """Images that follow each other; the changes of one touch those of others rarely."""
        now = bytearray(self.rng.randbytes(self.rng.randrange(1, 4 * MIB)))
        for _ in range(count):
            yield bytes(now)
            for _ in range(self.rng.randrange(1, 4)):
                at = self.rng.randrange(len(now))
                length = min(self.rng.choice([1, 300, 5000]), len(now) - at)
                now[at:at + length] = self.rng.choice([self.rng.randbytes, bytes])(length)
            if sizes and self.rng.random() < 0.5:
                size = self.rng.randrange(1, 4 * MIB)
                now = now[:size].ljust(size, self.rng.choice([b"\0", b"x"]))

    def export_all(self, images, *options):
        """d0, a full one, d1, ...: each leads to the image with its number."""
        for i, image in enumerate(images):
            self.write(f"i{i}", image)
            base = ["--base", self.path(f"i{i - 1}")] if i else ["--full"]
            given = [str(option).replace("PARENT", str(self.path(f"d{i - 1}"))) for option in (options if i else ())]
            self.good("export", self.path(f"i{i}"), *base, *given, "-o", self.path(f"d{i}"), "--force")

    def assert_right_or_refused(self, images, chain, what):
        """As a new image, in place, and composed first."""
        out, diffs = self.path("out"), [self.path(f"d{i}") for i in chain]
        want, right = images[chain[-1]], list(chain) == list(range(chain[0], chain[0] + len(chain)))
        if chain[0] == 0:
            done = run("apply", *diffs, "-o", out, "--force")
        else:
            self.write("out", images[chain[0] - 1])
            done = run("apply", *diffs, out)
        self.assertEqual(done.returncode, 0 if right else 66, (what, chain, done.stderr))
        if right:
            self.assertEqual(out.read_bytes(), want, (what, chain))
        elif chain[0] != 0:
            self.assertEqual(out.read_bytes(), images[chain[0] - 1], (what, chain))
        verified = run("diff-verify", *diffs)
        self.assertEqual(verified.returncode, 0 if right else 66, (what, chain, verified.stderr))
        if len(chain) > 1:
            done = run("compose", *diffs, "-o", self.path("both"), "--force")
            self.assertEqual(done.returncode, 0 if right else 66, (what, chain, done.stderr))
            if right:
                base = [] if chain[0] == 0 else [self.write("base", images[chain[0] - 1])]
                self.good("apply", "--verify-base", self.path("both"), *base, "-o", out, "--force")
                self.assertEqual(out.read_bytes(), want, (what, chain))
        return right


class EveryOrder(ChainTest):
    def test_every_subset_and_order(self):
        refused = 0
        for round_ in range(max(1, scaled(20))):
            images = list(self.images(4, sizes=round_ % 2 == 1))
            for options in ([], ["--verify-base"], ["--parent", "PARENT"]):
                self.export_all(images, *options)
                chains = [chain for length in (1, 2, 3) for chain in itertools.permutations(range(4), length)]
                chains += [(0, 1, 2, 3), (0, 1, 1, 2), (1, 1), (3, 3), (0, 0)]
                for chain in self.rng.sample(chains, min(len(chains), 12)) + [(0, 1, 3), (0, 2), (1, 3), (2, 1), (0, 1, 2, 3)]:
                    refused += not self.assert_right_or_refused(images, chain, (round_, options))
        self.assertGreater(refused, 10)

    def test_images_that_change_and_come_back(self):
        """Where two states are the same image, a diff of either follows."""
        a, b = self.rng.randbytes(MIB), self.rng.randbytes(MIB)
        self.export_all([a, b, a, b])
        for chain in ((0, 1, 2, 3), (0, 3), (0, 1, 2, 1), (0, 3, 2)):
            self.good("apply", *[self.path(f"d{i}") for i in chain], "-o", self.path("out"), "--force")
            self.assertEqual(self.path("out").read_bytes(), b if chain[-1] in (1, 3) else a)


class Unlinked(ChainTest):
    def setUp(self):
        super().setUp()
        self.base = self.rng.randbytes(MIB)
        self.origin, self.cow = self.write("o", self.base), self.path("c")
        write_store(self.cow, 8, [3, 4], lambda i: bytes([i + 1]) * 4096)
        self.view = bytearray(self.base)
        self.view[3 * 4096:5 * 4096] = b"\1" * 4096 + b"\2" * 4096
        self.good("export", "--full", self.origin, "-o", self.path("full"))

    def test_of_a_view_only_the_changes_are_known(self):
        done = self.good("export", f"{self.origin}@{self.cow}", "-o", self.path("d"))
        self.assertIn("--parent or --verify-base", done.stdout)
        chain = [self.path("full"), self.path("d")]
        for command in (["apply", *chain, "-o", self.path("out")], ["compose", *chain, "-o", self.path("out")],
                        ["diff-verify", *chain]):
            refused = run(*command)
            self.assertEqual(refused.returncode, 66, refused.stderr)
            self.assertIn("--unlinked", refused.stderr)
            self.assertFalse(self.path("out").exists())
            self.good(*command, "--unlinked")
            if command[0] == "apply":
                self.assertEqual(self.path("out").read_bytes(), self.view)
            self.path("out").unlink(missing_ok=True)
        # What an increment expects is held against what is there all the same.
        other = bytearray(self.base)
        other[3 * 4096] ^= 1
        self.good("export", "--full", self.write("x", other), "-o", self.path("other"))
        refused = run("apply", "--unlinked", self.path("other"), self.path("d"), "-o", self.path("never"))
        self.assertEqual(refused.returncode, 66, refused.stderr)
        self.assertIn("different content at byte 12288", refused.stderr)

    def test_what_links_a_views_diff(self):
        for option in (["--parent", self.path("full")], ["--verify-base"]):
            done = self.good("export", f"{self.origin}@{self.cow}", *option, "-o", self.path("d"), "--force")
            self.assertNotIn("--parent or", done.stdout)
            self.good("apply", self.path("full"), self.path("d"), "-o", self.path("out"), "--force")
            self.assertEqual(self.path("out").read_bytes(), self.view)


class Claims(ChainTest):
    def test_its_state_is_claimed_only_where_all_of_it_is_known(self):
        images = list(self.images(2))
        self.export_all(images)
        touched = bytearray(images[0])
        same = [i for i in range(len(touched)) if images[0][i // 4096 * 4096:i // 4096 * 4096 + 4096] ==
                images[1][i // 4096 * 4096:i // 4096 * 4096 + 4096]]
        touched[same[0]] ^= 1
        x = self.write("x", touched)
        done = self.good("apply", "-v", self.path("d1"), x)
        self.assertNotIn("its state has the id", done.stdout)
        self.assertIn("--verify-base", done.stdout)
        for image, status in ((touched, 66), (images[0], 0)):
            self.write("x", image)
            done = run("apply", "-v", "--verify-base", self.path("d1"), x)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual(x.read_bytes(), images[1] if status == 0 else bytes(touched))
            self.assertEqual("its state has the id" in done.stdout, status == 0)
        done = json.loads(self.good("apply", "--output=json", self.path("d0"), self.path("d1"), "-o", self.path("n")).stdout)
        self.assertEqual(done["verified"], "all")
        # Applied already, and touched elsewhere since.
        touched = bytearray(images[1])
        touched[same[0]] ^= 1
        self.write("x", touched)
        self.assertEqual(run("apply", "--verify-base", self.path("d1"), x).returncode, 66)
        self.assertNotIn("its state has", self.good("apply", self.path("d1"), x).stdout)

    def test_a_store_that_does_not_say_what_changed(self):
        base = self.rng.randbytes(MIB)
        old, new = self.write("old", base), self.write("new", base)
        cow = self.path("c")
        self.good("create", new, cow)
        self.good("write-origin", "--snapshot", cow, "-P", "7", "--length", "4k", new)
        export = ["export", new, "--base", old, "--changes", cow, "--verify-base", "-o", self.path("d"), "--force"]
        self.good(*export)
        self.good("apply", "--verify-base", self.path("d"), old, "-o", self.path("out"))
        self.assertEqual(self.path("out").read_bytes(), new.read_bytes())
        # Units of what is told may be larger than the store's chunks.
        small, view = self.path("small"), self.write("view", base)
        write_store(small, 1, [9], lambda _: base[9 * 512:10 * 512])
        with open(view, "r+b") as file:
            file.seek(9 * 512)
            file.write(bytes(512))
        for option in ("--verify", "--verify-base"):
            self.good("export", view, "--base", self.write("base", base), "--changes", small, option, "-o", self.path("s"),
                      "--force")
        changed = bytearray(new.read_bytes())
        changed[self.rng.randrange(8192, MIB)] ^= 1
        new.write_bytes(changed)
        self.path("d").unlink()
        done = run(*export)
        self.assertEqual(done.returncode, 66, done.stderr)
        self.assertIn("no exception", done.stderr)
        self.assertFalse(self.path("d").exists())
        # Of a smaller origin, the store is no store of this one.
        write_store(cow, 8, [1, 300], lambda _: bytes(4096))
        self.assertEqual(run(*[option for option in export if option != "--verify-base"]).returncode, 65)


if __name__ == "__main__":
    main("chains of diffs")
