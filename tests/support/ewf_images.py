# SPDX-License-Identifier: Apache-2.0
"""What the tests of Expert Witness images have in common."""

import json
import subprocess

from ewf_maker import make_ewf, save_ewf
from harness import run
from vm_images import KIB, SECTOR, VmImageTest

CHUNK = 32 * KIB


class EwfTest(VmImageTest):
    def setUp(self):
        super().setUp()
        self.image = self.scratch / "image.E01"

    def content(self, chunks=40, more=5 * SECTOR):
        """Chunks of zeros, of words and of noise, and an end that is no whole chunk."""
        kinds = (lambda: bytes(CHUNK), lambda: self.rng.randbytes(8) * (CHUNK // 8), lambda: self.rng.randbytes(CHUNK))
        return b"".join(self.rng.choice(kinds)() for _ in range(chunks)) + self.rng.randbytes(more)

    def save(self, content, kind="E", **options):
        for path in self.scratch.glob("image.*"):
            path.unlink()
        segments = make_ewf(content, **options)
        self.image = save_ewf(self.scratch, segments, kind=kind)
        return segments

    def put(self, segment):
        self.image.write_bytes(segment.data)

    def peer(self, *arguments, data=b""):
        done = subprocess.run(list(map(str, arguments)), capture_output=True, input=data, check=False, timeout=60,
                              cwd=self.scratch)
        self.assertEqual(done.returncode, 0, (arguments, done.stdout, done.stderr))
        return done.stdout.decode(errors="replace")

    def verified(self, status, path=None):
        done = run("verify", "--output=json", path or self.image)
        self.assertEqual(done.returncode, status, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual(result["result"], "corrupt" if status else "sound")
        self.assertEqual(bool(result["problems"]), bool(status))
        return result
