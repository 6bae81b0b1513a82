# SPDX-License-Identifier: Apache-2.0
"""The report of diff as a page, looked at by a browser: `tests/run --deep browser`.

SNAPTOOL_KEEP_PICTURE=FILE keeps what the browser showed, as a PNG.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import ScratchTest, main, need, run  # noqa: E402


class Browser(ScratchTest):
    def test_html_in_a_browser(self):
        need(self, "chromium", "sfdisk")
        disks = []
        for name, edit in (("one.dd", b"1"), ("two.dd", b"2")):
            disk = self.scratch / name
            disk.touch()
            os.truncate(disk, 16 << 20)
            subprocess.run(["sfdisk", "-q", str(disk)], input="label: dos\nsize=4M, type=83\nsize=8M, type=8e\n",
                           text=True, check=True, capture_output=True)
            with open(disk, "r+b") as file:
                for offset in (440, 2 << 20, 7 << 20):
                    file.seek(offset)
                    file.write(edit * 4)
            disks.append(disk)
        page = self.scratch / "r.html"
        self.assertEqual(run("diff", *disks, "--report", page).returncode, 1)
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={self.scratch}/browser"]
        picture = self.scratch / "r.png"
        dom = subprocess.run(["chromium", *options, "--dump-dom", f"file://{page}"], capture_output=True, text=True,
                             check=True, timeout=60).stdout
        subprocess.run(["chromium", *options, "--window-size=1000,900", f"--screenshot={picture}", f"file://{page}"],
                       capture_output=True, check=True, timeout=60)
        overview = dom[dom.index("<svg"):dom.index("</svg>")]
        self.assertEqual(overview.count('class="c '), 3)
        # Bars stand where the disks differ: a thousand units for 16 MiB.
        places = [float(x) for x in re.findall(r'class="c changed" x="([\d.]+)"', overview)]
        for x, offset in zip(places, (440, 2 << 20, 7 << 20), strict=True):
            self.assertLess(abs(x - offset / (16 << 20) * 1000), 1.5)
        for name in ("#p1", "#p2"):
            self.assertIn(f">{name[1:]}<", overview)
        self.assertEqual(dom.count('id="zoom-'), 16)
        self.assertGreater(picture.stat().st_size, 10_000)
        if os.environ.get("SNAPTOOL_KEEP_PICTURE"):
            picture.rename(os.environ["SNAPTOOL_KEEP_PICTURE"])


if __name__ == "__main__":
    main("browser")
