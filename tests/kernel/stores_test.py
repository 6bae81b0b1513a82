# SPDX-License-Identifier: Apache-2.0
"""Every store that the kernel wrote: view, status and merged origin are what the kernel said."""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import (KERNEL_STORES, ScratchTest, main, run, sha256_of_file, unpack)  # noqa: E402

# What the kernel refuses: our code for it, and a word of the reason.
REFUSED = {
    "crafted-area-full-no-next": ("missing-area", "past the end of the file"),
    "crafted-bad-magic": ("bad-magic", "0x12345678"),
    "crafted-chunk-hdr-0": ("bad-chunk-size", "0 sectors"),
    "crafted-chunk-hdr-12": ("bad-chunk-size", "12 sectors"),
    "crafted-chunk-hdr-2147483648": ("bad-chunk-size", "2147483648 sectors"),
    "crafted-chunk-hdr-4194304": ("bad-chunk-size", "4194304 sectors"),
    "crafted-cow-one-chunk": ("missing-area", "before its first area"),
    "crafted-cow-shorter-than-chunk": ("short-file", "less than one chunk"),
    "crafted-valid-0-bad-version": ("bad-version", "version is 7"),
    "crafted-version-0": ("bad-version", "version is 0"),
    "crafted-version-2": ("bad-version", "version is 2"),
}
# What the kernel accepts although it is unsound, and whether the kernel's view can be had all the same.
UNSOUND = {
    "crafted-dup-old": ("duplicate-old", True),
    "crafted-dup-old-merge": ("duplicate-old", True),
    "crafted-new-high-byte": ("new-high-byte", False),
    "crafted-new-past-cow": ("new-beyond-cow", False),
    "crafted-old-past-origin": ("old-beyond-origin", True),
    "crafted-old-past-origin-merge": ("old-beyond-origin", True),
}
INVALID = {"crafted-valid-0", "full-P-origin", "full-P-snap", "p-edge-cow258-256"}
# A magic of 0: to the kernel a store to be made, where it can.
EMPTY = {"crafted-magic-zero", "crafted-new-cow-one-chunk", "crafted-new-cow-two-chunks"}
NOT_ORDINARY = {"p-big-c1", "n-transient"} | set(REFUSED) | set(UNSOUND) | INVALID | EMPTY


def text(folder, name):
    path = KERNEL_STORES / folder / name
    return path.read_text().strip() if path.exists() else ""


def kernel_status(name):
    """The status after a fresh attach where there is one, as the snapshot target says it."""
    status = text(name, "status.reload.txt") or text(name, "status.txt")
    return status.replace("snapshot-merge", "snapshot")


class KernelStores(ScratchTest):
    def assert_merged(self, name, origin, cow, arguments=()):
        """Merges, and checks that the origin is what the kernel says and the store is empty and clean."""
        expected = text(name, "merged.sha256") or text(name, "snapshot.sha256")
        done = run("merge", *arguments, origin, cow)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(sha256_of_file(origin), expected)
        status = run("status", origin, cow).stdout.split()
        self.assertEqual(status[3].split("/")[0], status[4], "allocated == metadata: nothing is left")
        self.assertEqual(run("verify", origin, cow).returncode, 0)

    def test_ordinary_stores(self):
        names = sorted(path.name for path in KERNEL_STORES.iterdir())
        ordinary = [name for name in names if name not in NOT_ORDINARY]
        self.assertGreater(len(ordinary), 25)
        for name in ordinary:
            with self.subTest(name):
                origin, cow = self.unpack_store(name)
                if kernel_status(name):
                    self.assertEqual(run("status", origin, cow).stdout.strip(), kernel_status(name))
                self.assertEqual(run("verify", origin, cow).returncode, 0)
                view = run("read", f"{origin}@{cow}", binary=True).stdout
                sum_of_view = hashlib.sha256(view).hexdigest()
                self.assertEqual(sum_of_view, text(name, "snapshot.sha256"))
                copy = self.scratch / "new.img"
                done = run("merge", origin, cow, "-o", copy, "--force")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(sha256_of_file(copy), sum_of_view)
                self.assert_merged(name, origin, cow)

    def test_merge_of_the_kernels_finished_merge_input(self):
        folder = KERNEL_STORES / "merge-done"
        origin, cow = self.scratch / "origin.img", self.scratch / "cow.img"
        unpack(folder / "origin.mid.img.zst", origin)
        unpack(folder / "cow.before.img.zst", cow)
        self.assertEqual(run("status", origin, cow).stdout.strip(), "0 8192 snapshot 1680/8192 32")
        self.assert_merged("merge-done", origin, cow)

    def test_refused_by_the_kernel(self):
        for name, (code, reason) in REFUSED.items():
            with self.subTest(name):
                self.assertTrue(text(name, "verdict.txt").startswith("accepted=0"))
                origin, cow = self.unpack_store(name)
                before = sha256_of_file(origin), sha256_of_file(cow)
                verified = run("verify", "--output=json", origin, cow)
                self.assertEqual(verified.returncode, 2)
                findings = json.loads(verified.stdout)["findings"]
                self.assertIn(code, [finding["code"] for finding in findings])
                for command in (["merge", origin, cow], ["read", f"{origin}@{cow}"],
                                ["status", origin, cow]):
                    refused = run(*command)
                    self.assertIn(refused.returncode, (2, 65), command)
                    self.assertIn(reason, refused.stderr)
                    self.assertEqual(refused.stderr.count("\n"), 1)
                self.assertEqual((sha256_of_file(origin), sha256_of_file(cow)), before)

    def test_accepted_by_the_kernel_but_unsound(self):
        for name, (code, readable) in UNSOUND.items():
            with self.subTest(name):
                self.assertTrue(text(name, "verdict.txt").startswith("accepted=1"))
                origin, cow = self.unpack_store(name)
                before = sha256_of_file(origin), sha256_of_file(cow)
                self.assertEqual(run("status", "--ignore-invalid", origin, cow).stdout.strip(), kernel_status(name))
                for command in ("status", "read", "hash", "map", "export", "diff"):
                    operands = [origin] * (command == "diff") + [f"{origin}@{cow}"]
                    refused = run(command, *operands, binary=True)
                    self.assertEqual(refused.returncode, 65, command)
                    self.assertIn(code, refused.stderr.decode())
                    self.assertEqual(refused.stdout, b"", command)
                verified = run("verify", "--output=json", origin, cow)
                self.assertEqual(verified.returncode, 2)
                report = json.loads(verified.stdout)
                self.assertEqual([finding["code"] for finding in report["findings"]], [code])
                self.assertTrue(report["findings"][0]["kernel"].startswith("loads it"))
                self.assertEqual(report["result"], "corrupt")
                refused = run("merge", origin, cow)
                self.assertEqual(refused.returncode, 65)
                self.assertIn(code, refused.stderr)
                self.assertEqual((sha256_of_file(origin), sha256_of_file(cow)), before)
                view = run("read", "--ignore-invalid", f"{origin}@{cow}", binary=True)
                if readable:
                    self.assertIn("corrupt", view.stderr.decode())
                    self.assertEqual(hashlib.sha256(view.stdout).hexdigest(),
                                     text(name, "snapshot.sha256"))
                else:
                    self.assertEqual(view.returncode, 65)

    def test_duplicates_merge_as_the_kernel_merges_them(self):
        origin, cow = self.unpack_store("crafted-dup-old-merge")
        self.assert_merged("crafted-dup-old-merge", origin, cow, ["--accept-duplicates"])

    def test_invalid(self):
        for name in sorted(INVALID):
            with self.subTest(name):
                origin, cow = self.unpack_store(name)
                before = sha256_of_file(origin), sha256_of_file(cow)
                status = run("status", origin, cow)
                self.assertEqual((status.returncode, status.stdout.strip()),
                                 (0, "0 8192 snapshot Invalid"))
                self.assertEqual(status.stdout.strip(), kernel_status(name))
                self.assertEqual(run("verify", origin, cow).returncode, 2)
                self.assertEqual(run("merge", origin, cow).returncode, 65)
                self.assertEqual(run("read", f"{origin}@{cow}").returncode, 65)
                salvaged = run("read", "--ignore-invalid", f"{origin}@{cow}", binary=True)
                self.assertEqual(salvaged.returncode, 0)
                self.assertEqual(len(salvaged.stdout), origin.stat().st_size)
                self.assertEqual((sha256_of_file(origin), sha256_of_file(cow)), before)

    def test_magic_zero_is_a_new_store_only_without_a_list(self):
        # What the kernel does of each: an empty store, though there was a list; nothing; an empty store.
        for name, code, status in (("crafted-magic-zero", "wiped-header", 65), ("crafted-new-cow-one-chunk", "too-small", 1),
                                   ("crafted-new-cow-two-chunks", "no-store", 0)):
            with self.subTest(name):
                origin, cow = self.unpack_store(name)
                before = sha256_of_file(origin), sha256_of_file(cow)
                verified = run("verify", "--output=json", origin, cow)
                report = json.loads(verified.stdout)
                self.assertEqual((verified.returncode, list(report["counts"])), (2, [code]))
                self.assertEqual(report["result"], "corrupt" if status == 65 else "unsafe")
                merged = run("merge", origin, cow)
                self.assertEqual(merged.returncode, status)
                self.assertIn("nothing to merge" if status == 0 else code, merged.stdout + merged.stderr)
                view = run("read", f"{origin}@{cow}", binary=True)
                self.assertEqual(view.returncode, status)
                if status == 0:
                    self.assertEqual(hashlib.sha256(view.stdout).hexdigest(), before[0])
                self.assertEqual((sha256_of_file(origin), sha256_of_file(cow)), before)

    def test_what_the_kernel_made_of_magic_zero(self):
        for name in ("crafted-magic-zero", "crafted-new-cow-two-chunks"):
            with self.subTest(name):
                origin, cow = self.unpack_store(name)
                unpack(KERNEL_STORES / name / "cow.after.img.zst", cow)
                self.assertEqual(run("status", origin, cow).stdout.strip(), kernel_status(name))
                self.assertEqual(run("verify", origin, cow).returncode, 0)

    def test_transient_store_holds_no_metadata(self):
        origin, cow = self.unpack_store("n-transient")
        self.assertEqual(run("verify", origin, cow).returncode, 2)
        self.assertEqual(run("merge", origin, cow).returncode, 65)

    def test_twelve_tebibytes(self):
        cow = self.scratch / "cow.img"
        unpack(KERNEL_STORES / "p-big-c1" / "cow.img.zst", cow)
        origin = self.scratch / "origin.img"
        with open(origin, "wb") as file:
            file.truncate(25769803776 * 512)
        self.assertEqual(run("status", origin, cow).stdout.strip(), kernel_status("p-big-c1"))
        self.assertEqual(run("verify", origin, cow).returncode, 0)

        def check_sectors(image):
            for line in text("p-big-c1", "sectors.txt").splitlines():
                sector, expected = line.split()
                got = run("read", image, "--offset", f"{sector}s", "--length", "1s", binary=True)
                self.assertEqual(got.returncode, 0)
                self.assertEqual(hashlib.sha256(got.stdout).hexdigest(), expected, sector)

        check_sectors(f"{origin}@{cow}")
        rows = json.loads(run("map", "--output=json", f"{origin}@{cow}").stdout)
        self.assertEqual(sum(row["length"] for row in rows), 25769803776 * 512)
        self.assertEqual(run("merge", origin, cow).returncode, 0)
        check_sectors(origin)

    def test_every_acknowledged_write_survived_the_crash(self):
        origin, cow = self.unpack_store("crash-c8")
        payload_file = self.scratch / "payload.img"
        unpack(KERNEL_STORES / "crash-c8" / "payload.img.zst", payload_file)
        payload = payload_file.read_bytes()
        view = run("read", f"{origin}@{cow}", binary=True).stdout
        last = dict(map(int, line.split()) for line in text("crash-c8", "acked.txt").splitlines())
        self.assertGreater(len(last), 50)
        for sector, payload_sector in last.items():
            self.assertEqual(view[sector * 512:sector * 512 + 512],
                             payload[payload_sector * 512:payload_sector * 512 + 512], sector)


if __name__ == "__main__":
    main("kernel stores")
