# SPDX-License-Identifier: Apache-2.0
"""The report of diff as a page, looked at by a browser: `tests/run --deep browser`.

SNAPTOOL_KEEP_PICTURE=FILE keeps what the browser showed, as a PNG.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import ScratchTest, main, need, run  # noqa: E402


# Puts a page into a frame of so many pixels, and says what is wider than its place.
FRAME = """<!DOCTYPE html><iframe id="frame" src="{page}" style="border: 0; width: {width}px; height: 3000px"></iframe><pre id="found"></pre><script>
frame.onload = () => {{
  const page = frame.contentDocument, wide = [];
  for (const one of page.querySelectorAll("*")) {{
    const rolls = one === page.documentElement || getComputedStyle(one).overflowX === "auto";
    if (rolls && one.scrollWidth > one.clientWidth) wide.push(one.localName);
  }}
  found.textContent = "wide: " + wide.join(" ");
}};
</script>"""


class Browser(ScratchTest):
    def browser(self):
        return ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={self.scratch}/browser"]

    def test_nothing_scrolls_that_fits(self):
        need(self, "chromium", "mkfs.ext4", "debugfs")
        before, after = self.scratch / "before.img", self.scratch / "after.img"
        with open(before, "wb") as image:
            image.truncate(4 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", before], check=True, capture_output=True)
        shutil.copy(before, after)
        subprocess.run(["debugfs", "-w", "-R", f"write {Path(__file__)} {'a-long-name' * 20}", after], check=True, capture_output=True)
        self.assertEqual(run("diff", "-q", "--files", "--hex=32", "--algorithm", "sha512", before, after, "--report", self.scratch / "r.html").returncode, 1)
        for width, expected in ((420, {"div", "pre"}), (700, {"pre"}), (1000, set()), (1600, set())):
            frame = self.scratch / "frame.html"
            frame.write_text(FRAME.format(page="r.html", width=width))
            dom = subprocess.run([*self.browser(), "--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom", f"file://{frame}"],
                                 capture_output=True, text=True, check=True, timeout=60).stdout
            [found] = re.findall(r'<pre id="found">wide: ([^<]*)</pre>', dom)
            self.assertLessEqual(set(found.split()), expected, width)

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
        picture = self.scratch / "r.png"
        dom = subprocess.run([*self.browser(), "--dump-dom", f"file://{page}"], capture_output=True, text=True,
                             check=True, timeout=60).stdout
        subprocess.run([*self.browser(), "--window-size=1000,900", f"--screenshot={picture}", f"file://{page}"],
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
