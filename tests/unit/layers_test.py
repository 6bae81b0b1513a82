# SPDX-License-Identifier: Apache-2.0
"""The house rules that a compiler does not check."""

import os
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import main  # noqa: E402

SOURCE = Path(os.environ.get("SNAPTOOL_SOURCE", Path(__file__).resolve().parent.parent.parent))
LAYERS = ["libsnap/base", "libsnap/io", "libsnap/copy", "libsnap/snap", "libsnap/diff", "libsnap/access", "libsnap/ops", "formats",
          "cli"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def sources(*suffixes):
    for top in ("libsnap", "formats", "cli", "completions", "tests"):
        for path in sorted((SOURCE / top).rglob("*")):
            if path.suffix in suffixes:
                yield path.relative_to(SOURCE)


def layer_of(path):
    for number, layer in enumerate(LAYERS):
        if str(path).startswith(layer + "/"):
            return number
    return None


class HouseRules(unittest.TestCase):
    def test_nobody_includes_upward(self):
        checked = 0
        for path in sources(".h", ".cc"):
            own = layer_of(path)
            if own is None:
                continue
            for bracket, name in INCLUDE.findall((SOURCE / path).read_text()):
                if bracket == "<":
                    continue
                self.assertTrue((SOURCE / name).exists(), f"{path}: {name} is not from the root")
                other = layer_of(name)
                self.assertIsNotNone(other, f"{path} includes {name}, which is in no layer")
                self.assertLessEqual(other, own, f"{path} includes {name} from a layer above")
                checked += 1
        self.assertGreater(checked, 50)

    def test_folders_have_no_circle(self):
        arrows = {}
        for path in sources(".h", ".cc"):
            if layer_of(path) is None:
                continue
            for bracket, name in INCLUDE.findall((SOURCE / path).read_text()):
                folder = str(Path(name).parent)
                if bracket == '"' and folder != str(path.parent):
                    arrows.setdefault(str(path.parent), {}).setdefault(folder, path)
        self.assertGreater(len(arrows), 10)

        def walk(folder, way):
            self.assertNotIn(folder, way, f"{' -> '.join([*way, folder])} ({arrows.get(way[-1], {}).get(folder) if way else ''})")
            for below in arrows.get(folder, ()):
                if below not in sound:
                    walk(below, [*way, folder])
            sound.add(folder)

        sound = set()
        for folder in arrows:
            walk(folder, [])

    def test_the_command_line_writes_through_jobs_alone(self):
        # A Door and its Targets are what ops has; what writes without them is out of reach of a command.
        writers = {"libsnap/io/posix_file.h", "libsnap/io/output_file.h", "libsnap/copy/copier.h",
                   "libsnap/snap/store/create.h", "libsnap/snap/store/restore.h", "libsnap/snap/store/list_writer.h",
                   "libsnap/snap/view/snapshot.h", "libsnap/snap/view/origin.h", "libsnap/snap/merge/merge.h",
                   "libsnap/snap/merge/undo.h", "libsnap/snap/merge/undo_journal.h", "libsnap/snap/repair/repair.h",
                   "libsnap/diff/apply.h", "libsnap/diff/apply_journal.h"}
        for name in writers:
            self.assertTrue((SOURCE / name).exists(), name)
        for path in sources(".h", ".cc"):
            if str(path).startswith("cli/"):
                for _, name in INCLUDE.findall((SOURCE / path).read_text()):
                    self.assertNotIn(name, writers, path)

    def test_a_command_is_short(self):
        commands = sorted((SOURCE / "cli").glob("cmd_*.cc"))
        self.assertGreater(len(commands), 20)
        for path in commands:
            self.assertLessEqual(len(path.read_text().splitlines()), 150, path)

    def test_libraries_stay_behind_their_file(self):
        allowed = {"boost/": ["cli/"], "openssl/": ["libsnap/base/hash.cc"],
                   "nlohmann/": ["cli/support/json.cc", "libsnap/snap/store/dump_reader.cc"], "expat": ["libsnap/snap/store/dump_reader.cc", "formats/bmap/bmap.cc"], "zstd": ["libsnap/base/zstd.cc"], "xxhash": ["libsnap/base/content_id.cc"], "zlib": ["libsnap/base/crc32.cc", "libsnap/base/deflate.cc"]}
        for path in sources(".h", ".cc"):
            if str(path).startswith("tests/"):
                continue
            for _, name in INCLUDE.findall((SOURCE / path).read_text()):
                for library, places in allowed.items():
                    if name.startswith(library):
                        self.assertTrue(any(str(path).startswith(place) for place in places),
                                        f"{path} includes {name}")

    def test_the_library_never_prints_logs_or_exits(self):
        forbidden = re.compile(r"\bstd::(cout|cerr|printf|puts|exit|abort|fprintf)\b|\bgetenv\b")
        for path in sources(".h", ".cc"):
            if str(path).startswith("libsnap/") and path.name != "check.h":
                self.assertIsNone(forbidden.search((SOURCE / path).read_text()), path)

    def test_every_test_file_is_built(self):
        lists = "\n".join(p.read_text() for p in (SOURCE / "tests").rglob("CMakeLists.txt"))
        for path in sources(".cc", ".py"):
            if path.name.endswith(("_test.cc", "_test.py")):
                name = str(path.relative_to("tests"))
                self.assertIn(name, lists, f"{path} is built by no CMakeLists.txt")

    def test_every_source_says_its_licence(self):
        for path in sources(".h", ".cc", ".py"):
            first = (SOURCE / path).read_text().split("\n", 2)[:2]  # a script's first line may be #!
            self.assertIn("SPDX-License-Identifier: Apache-2.0", "".join(first), path)

    def test_only_what_is_agreed_is_at_the_top(self):
        agreed = {"CMakeLists.txt", "cli", "libsnap", "formats", "tests", "completions", "README.md", "LICENSE"}
        for path in SOURCE.iterdir():
            if not path.name.startswith((".", "build")):
                self.assertIn(path.name, agreed)


if __name__ == "__main__":
    os.environ.setdefault("SNAPTOOL", "unused")
    main("house rules")
