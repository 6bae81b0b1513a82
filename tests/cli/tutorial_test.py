# SPDX-License-Identifier: Apache-2.0
"""snaptool-tutorial(7) is right: its commands are run in their order, and print what the page shows."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
from crafted import ENTRY, Layout, write_store  # noqa: E402
from harness import SNAPTOOL, ScratchTest, main, need  # noqa: E402

SOURCE = Path(os.environ.get("SNAPTOOL_SOURCE", Path(__file__).resolve().parent.parent.parent))
PAGE = SOURCE / "cli/doc/snaptool-tutorial.man"
MIB = 1 << 20
CHUNK = 4096

LETTER = "Dear Ann,\nthe keys are under the third stone.\n"

# rbd needs a cluster. This one knows a pool: `export-diff` gives what a cluster would, and `import-diff` has the real
# program read the diff as far as it does without a cluster.
RBD = r"""#!/bin/bash
case $* in
  "export-diff --from-snap sun pool/disk@mon mon.rbd") cp "$POOL/mon.rbd" mon.rbd ;;
  "import-diff tue.rbd pool/disk") exec "$REAL_RBD" merge-diff --no-progress "$POOL/mon.rbd" tue.rbd "$POOL/merged.rbd" 2>"$POOL/rbd.log" ;;
  *) echo "rbd: $*: the cluster of this test knows nothing of it" >&2; exit 1 ;;
esac
"""


def plain(roff):
    """The line as a reader sees it. What would be printed as another character must be escaped."""
    text = roff.removeprefix("\\&")
    bare = text.replace("\\-", "").replace("\\(aq", "").replace("\\(ha", "").replace("\\(ti", "").replace("\\e", "")
    assert not re.search(r"[-'^~`\\]", bare), f"not escaped for roff: {roff}"
    for escape, character in (("\\-", "-"), ("\\(aq", "'"), ("\\(ha", "^"), ("\\(ti", "~"), ("\\e", "\\")):
        text = text.replace(escape, character)
    return text


def examples(page):
    """(section, command, lines of its output) of each command, in order."""
    section, shown, found = None, False, []
    for line in page.splitlines():
        if line.startswith((".SH ", ".SS ")):
            section = line[4:]
        elif line in (".EX", ".EE"):
            shown = line == ".EX"
        elif shown and line.startswith("$ "):
            found.append((section, plain(line[2:]), []))
        elif shown:
            found[-1][2].append(plain(line))
    return found


def pattern(lines):
    """A regular expression for output. "..." is anything within a line; alone on a line, any lines."""
    parts = []
    for line in lines:
        if line == "...":
            parts.append(r"(?:.*\n)*")
        else:
            parts.append(".*".join(map(re.escape, line.split("..."))) + r"\n")
    return "".join(parts)


class Tutorial(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, "mkfs.ext4", "debugfs", "qemu-img", "ewfacquirestream", "ewfverify", "rbd", "sha256sum")
        self.rng = random.Random(1)
        self.environment = dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC", E2FSPROGS_FAKE_TIME="1790000000")
        self.aside = self.scratch / "aside"
        self.folder = self.scratch / "tutorial"
        for folder in (self.aside, self.folder):
            folder.mkdir()

    def peer(self, *command, **options):
        done = subprocess.run(list(map(str, command)), capture_output=True, check=False, timeout=60, cwd=self.aside,
                              env=self.environment, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def file_systems(self):
        """A disk on Sunday, and on Monday: a letter was deleted, a list changed, an invoice is new."""
        tree = self.aside / "tree"
        (tree / "home").mkdir(parents=True)
        (tree / "home/letter.txt").write_text(LETTER)
        (tree / "home/list.txt").write_text("milk\n")
        (tree / "home/photo.jpg").write_bytes(self.rng.randbytes(300000))
        for path in (*tree.rglob("*"), tree):
            os.utime(path, (1789900000, 1789900000))
        disk = self.aside / "disk"
        self.peer("mkfs.ext4", "-q", "-F", "-b", CHUNK, "-O", "^has_journal", "-U", "6ad1be0a-5d8e-4a4c-8f4e-7d0c3bd4c1a2", "-E",
                  "hash_seed=6ad1be0a-5d8e-4a4c-8f4e-7d0c3bd4c1a3,root_owner=0:0", "-d", tree, disk, "8M")
        before = disk.read_bytes()
        (self.aside / "list.txt").write_text("milk, bread\n")
        (self.aside / "invoice.pdf").write_bytes(self.rng.randbytes(9000))
        # In this order, so that no new file gets the inode of another one.
        script = "cd home\nwrite invoice.pdf invoice.pdf\nrm list.txt\nwrite list.txt list.txt\nrm letter.txt\n"
        self.peer("debugfs", "-w", "-f", "/dev/stdin", disk, input=script.encode())
        return before, disk.read_bytes()

    def write(self, name, content):
        (self.folder / name).write_bytes(content)

    def prepare(self):
        before, after = self.file_systems()
        chunks = [i for i in range(len(before) // CHUNK) if before[i * CHUNK:][:CHUNK] != after[i * CHUNK:][:CHUNK]]
        self.assertGreater(len(chunks), 3)

        def store(name):
            write_store(self.folder / name, CHUNK // 512, chunks, lambda i: before[chunks[i] * CHUNK:][:CHUNK])

        # The snapshot was taken on Sunday: its store keeps what Monday overwrote.
        self.write("origin.img", after)
        store("snapshot.cow")
        self.write("disk.img", after)
        store("damaged.cow")
        with open(self.folder / "damaged.cow", "r+b") as file:
            file.seek(Layout(CHUNK // 512).area_chunk(0) * CHUNK + 2 * ENTRY.size)
            file.write(ENTRY.pack(chunks[2], 1000000))
        tuesday = bytearray(after)
        tuesday[5 * MIB:5 * MIB + 10000] = self.rng.randbytes(10000)
        for name, content in (("sun", before), ("mon", after), ("tue", tuesday)):
            self.write(f"{name}.img", content)
        self.peer("qemu-img", "convert", "-O", "qcow2", self.folder / "sun.img", self.folder / "vm.qcow2")
        with open(self.folder / "mon.img", "rb") as file:
            self.peer("ewfacquirestream", "-q", "-t", self.folder / "card", stdin=file)
        self.make_pool(before, after, chunks)

    def make_pool(self, before, after, chunks):
        """What `rbd export-diff` would write (Ceph's doc/dev/rbd-diff), and programs of the names that the page uses."""
        def text(tag, name):
            return tag + len(name).to_bytes(4, "little") + name

        diff = b"rbd diff v1\n" + text(b"f", b"sun") + text(b"t", b"mon") + b"s" + len(before).to_bytes(8, "little")
        for chunk in chunks:
            diff += b"w" + (chunk * CHUNK).to_bytes(8, "little") + CHUNK.to_bytes(8, "little") + after[chunk * CHUNK:][:CHUNK]
        (self.aside / "mon.rbd").write_bytes(diff + b"e")
        programs = self.aside / "bin"
        programs.mkdir()
        (programs / "snaptool").symlink_to(SNAPTOOL)
        (programs / "rbd").write_text(RBD)
        (programs / "rbd").chmod(0o755)
        real = subprocess.run(["which", "rbd"], capture_output=True, text=True, check=True).stdout.strip()
        self.environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "POOL": str(self.aside), "REAL_RBD": real}

    def shell(self, command, last_status):
        """As typed at a prompt after a command that ended with this status."""
        return subprocess.run(["bash", "-c", f"(exit {last_status})\n{command}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, text=True, check=False, timeout=60, cwd=self.folder, env=self.environment)

    def test_the_page(self):
        self.prepare()
        shown = examples(PAGE.read_text(encoding="utf-8"))
        self.assertGreater(len(shown), 30)
        status, answered = 0, True
        for section, command, lines in shown:
            where = f"{section}: $ {command}"
            asks = command == "echo $?"
            self.assertTrue(answered or asks, f"before {where}: status {status}, which the page does not show")
            done = self.shell(command, status)
            self.assertTrue(re.fullmatch(pattern(lines), done.stdout), f"{where}\nprints\n{done.stdout}\nnot\n" + "\n".join(lines))
            status, answered = done.returncode, done.returncode == 0
        self.assertTrue(answered)


if __name__ == "__main__":
    main("the tutorial")
