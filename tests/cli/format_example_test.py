# SPDX-License-Identifier: Apache-2.0
"""The hex example of FORMAT.md is a store, and it is what the text says."""

import os
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import ScratchTest, main, run  # noqa: E402

SOURCE = Path(os.environ.get("SNAPTOOL_SOURCE", Path(__file__).resolve().parent.parent.parent))
FORMAT = (SOURCE / "libsnap/snap/store/FORMAT.md").read_text()


def hex_dump(data):
    """As hexdump -C prints it."""
    lines, last, starred = [], None, False
    for at in range(0, len(data), 16):
        row = data[at:at + 16]
        if row == last:
            if not starred:
                lines.append("*")
            starred = True
            continue
        starred, last = False, row
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{at:08x}  {row[:8].hex(' ')}  {row[8:].hex(' ')}  |{text}|")
    return "\n".join(lines + [f"{len(data):08x}"])


def indented(text):
    return "\n".join("    " + line for line in text.rstrip("\n").split("\n"))


class FormatExample(ScratchTest):
    def test_the_example(self):
        header = struct.pack("<4I", 0x70416e53, 1, 1, 1).ljust(512, b"\0")
        area = struct.pack("<4Q", 2, 2, 0, 3).ljust(512, b"\0")
        store = header + area + b"C" * 512 + b"A" * 512
        self.assertIn(indented(hex_dump(store)), FORMAT)

        origin, cow = self.scratch / "origin", self.scratch / "cow"
        origin.write_bytes(b"".join(bytes([b]) * 512 for b in b"abcd"))
        cow.write_bytes(store)
        self.assertEqual(run("verify", origin, cow).returncode, 0)
        status = run("status", origin, cow).stdout.strip()
        self.assertIn(f"`{status}`", FORMAT)
        self.assertIn(indented(run("dump", cow).stdout), FORMAT)
        self.assertEqual(run("read", f"{origin}@{cow}").stdout, "A" * 512 + "b" * 512 + "C" * 512 + "d" * 512)


if __name__ == "__main__":
    main("format example")
