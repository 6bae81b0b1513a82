# SPDX-License-Identifier: Apache-2.0
"""New files on a file system that has none without a name: they appear whole, or not at all."""

import os
import random
import resource
import stat
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import SNAPTOOL, ScratchTest, main  # noqa: E402


class NoTmpfile(ScratchTest):
    def setUp(self):
        super().setUp()
        self.seen = self.scratch / "seen"
        (self.scratch / "a").write_bytes(random.Random(3).randbytes(1 << 20))
        os.chmod(self.scratch / "a", 0o640)

    def run_there(self, *arguments, status=0, **options):
        environment = dict(os.environ, LD_PRELOAD=os.environ["SNAPTOOL_NO_TMPFILE"], NO_TMPFILE_SEEN=str(self.seen),
                           ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0")
        done = subprocess.run([SNAPTOOL, *arguments], cwd=self.scratch, env=environment, capture_output=True, text=True,
                              timeout=60, check=False, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(self.seen.exists(), status != 64)  # one was asked for
        self.seen.unlink(missing_ok=True)
        return done

    def assert_names(self, *names):
        self.assertEqual(sorted(path.name for path in self.scratch.iterdir()), sorted(names))

    def test_a_file_appears_whole(self):
        self.run_there("read", "a", "-o", "b")
        self.assert_names("a", "b")
        self.assertEqual((self.scratch / "b").read_bytes(), (self.scratch / "a").read_bytes())
        self.assertEqual(stat.S_IMODE(os.stat(self.scratch / "b").st_mode) & 0o137, 0)

    def test_one_that_is_there_stays(self):
        (self.scratch / "b").write_bytes(b"old")
        self.run_there("read", "a", "-o", "b", status=64)
        self.assertEqual((self.scratch / "b").read_bytes(), b"old")
        self.run_there("read", "a", "-o", "b", "--force")
        self.assertEqual((self.scratch / "b").read_bytes(), (self.scratch / "a").read_bytes())
        self.assert_names("a", "b")

    def test_one_that_fails_leaves_nothing(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
        self.run_there("read", "a", "-o", "b", status=1, preexec_fn=limit)
        self.assert_names("a")


if __name__ == "__main__":
    main("no files without a name")
