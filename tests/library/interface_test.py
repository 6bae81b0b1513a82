# SPDX-License-Identifier: Apache-2.0
"""The interface of libsnaptool against its table: header, symbols, man page, and each function called the wrong way."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kernel"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import naive_view, write_store  # noqa: E402
from harness import ScratchTest, main, need, run  # noqa: E402
from interface import BUILD, SOURCE, TABLE, load, sanitizers  # noqa: E402

snaptool = load()
FUNCTIONS = TABLE["function"]
FAULTY = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]


def compiled(*words):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=120)


class Interface(ScratchTest):
    def compiles(self, compiler, standard, text, suffix, *options):
        source = self.scratch / f"source{suffix}"
        source.write_text(text)
        done = compiled(compiler, f"-std={standard}", *FAULTY, f"-I{BUILD}/include", source, *options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_the_headers_stand_alone(self):
        for compiler, standard in (("gcc", "c99"), ("gcc", "c17")):
            self.compiles(compiler, standard, "#include <snaptool/snaptool.h>\nint main(void) { return SNAP_DONE; }\n", ".c", "-fsyntax-only")
        self.compiles("g++", "c++11", "#include <snaptool/snaptool.h>\n", ".cc", "-fsyntax-only")
        for standard in ("c++17", "c++20"):
            self.compiles("g++", standard, "#include <snaptool/snaptool.hpp>\n", ".cc", "-fsyntax-only", "-Wold-style-cast")

    def test_a_result_that_is_dropped_is_a_warning(self):
        source = self.scratch / "source.c"
        source.write_text("#include <snaptool/snaptool.h>\nvoid f(snap_image *image);\nvoid f(snap_image *image) { snap_image_flush(image); }\n")
        done = compiled("gcc", *FAULTY, f"-I{BUILD}/include", "-c", "-o", self.scratch / "source.o", source)
        self.assertIn("unused-result", done.stderr)

    def test_symbols_are_the_table(self):
        listed = compiled("nm", "-D", "--defined-only", BUILD / "libsnaptool.so").stdout
        found = {line.split()[-1] for line in listed.splitlines()}
        versioned = {f"{row['name']}@@SNAPTOOL_{row['since']}" for row in FUNCTIONS}
        self.assertEqual(found - {name for name in found if name.startswith("SNAPTOOL_")}, versioned)
        header = compiled("readelf", "-d", BUILD / "libsnaptool.so").stdout
        self.assertIn("soname: [libsnaptool.so.0]", header)

    def test_each_function_is_told_to_be_there(self):
        header = (BUILD / "include" / "snaptool" / "snaptool.h").read_text()
        for row in FUNCTIONS:
            self.assertIn(f"#define SNAP_HAVE_{row['name'].removeprefix('snap_').upper()} 1\n", header)

    def test_null_is_an_error_of_the_function(self):
        tried = 0
        for row in FUNCTIONS:
            function = getattr(snaptool.library, row["name"])
            for wrong, (kind, name, *null) in enumerate(row["args"]):
                if not kind.endswith("*"):
                    continue
                values = [self.null(other) if number == wrong else self.some(other) for number, (other, *_) in enumerate(row["args"])]
                if null:
                    continue
                result = function(*values)
                self.assertIn(result, (None, -1), row["name"])
                self.assertEqual(snaptool.library.snap_get_code(), 64)
                self.assertEqual(snaptool.library.snap_get_errno(), 0)
                self.assertEqual(snaptool.library.snap_get_error().decode(), f"{row['name']}: {name} is NULL")
                tried += 1
        self.assertGreater(tried, 15)

    @staticmethod
    def null(kind):
        callback = next((row["name"] for row in TABLE["callback"] if f"{row['name']} *" == kind), None)
        return getattr(snaptool._interface, callback)() if callback else None

    def some(self, kind):
        """An argument that is as good as any."""
        origin = self.scratch / "some.img"
        if kind == "snap_options *":
            return snaptool.library.snap_options_create()
        if kind == "snap_image *":
            origin.write_bytes(bytes(512))
            return snaptool.library.snap_image_open(str(origin).encode(), None)
        if kind == "const char *":
            return b"nothing"
        if kind in ("void *", "const void *"):
            return ctypes.addressof(ctypes.create_string_buffer(16))
        callback = next((row["name"] for row in TABLE["callback"] if f"{row['name']} *" == kind), None)
        if callback:
            return getattr(snaptool._interface, callback)()
        return None if kind.endswith("*") else 0

    def test_free_and_close_take_null(self):
        snaptool.library.snap_options_free(None)
        self.assertEqual(snaptool.library.snap_image_close(None), 0)

    def test_each_option_is_taken_by_its_calls_alone(self):
        calls = {"open": snaptool.open, "verify": snaptool.verify, "merge": snaptool.merge,
                 "create": lambda name, **options: snaptool.create(name, str(self.scratch / "new.cow"), **options)}
        good = {"chunk-size": "8k", "expect": "0" * 64, "follow-parents": "folder", "jobs": "2", "rate-limit": "30%", "format": "raw", "size": "1M", "store": "P"}
        missing = str(self.scratch / "missing")
        self.assertEqual(sorted(row["name"] for row in TABLE["option"]), [row["name"] for row in TABLE["option"]])
        self.assertEqual([tuple(option) for option in snaptool.options()],
                         [(row["name"], row["calls"].split(), row["doc"]) for row in TABLE["option"]])
        for row in TABLE["option"]:
            flag = row["doc"].startswith("true:")
            for call, function in calls.items():
                with self.subTest(option=row["name"], call=call), self.assertRaises(snaptool.Error) as raised:
                    writes = {"write": True} if call == "open" and row["name"] in ("store", "force") else {}
                    function(missing, **{row["name"]: "true" if flag else good.get(row["name"], missing)}, **writes)
                refused = "is not for this call" in str(raised.exception)
                self.assertEqual(refused, call not in row["calls"].split(), str(raised.exception))
            if flag or (row["name"] in good and row["name"] != "format"):  # whose file is opened first
                call = row["calls"].split()[0]
                with self.subTest(option=row["name"]), self.assertRaises(snaptool.Error) as raised:
                    calls[call](missing, **{row["name"]: "neither", **({"write": True} if row["name"] in ("store", "force") else {})})
                self.assertEqual(raised.exception.code, 1 if call in ("merge", "verify", "create") and raised.exception.errno == 2 else 64,
                                 str(raised.exception))
        with self.assertRaises(snaptool.Error) as raised:
            snaptool.open(missing, no_such=1)
        self.assertEqual((raised.exception.code, str(raised.exception)), (64, "snap_options_set: there is no option 'no-such'"))

    def test_man_page(self):
        need(self, "man")
        page = BUILD / "man" / "snaptool.3"
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", str(page)], capture_output=True, text=True, check=False,
                              env=dict(os.environ, MANWIDTH="100"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        text = re.sub(r".\x08", "", done.stdout)
        for row in [*FUNCTIONS, *TABLE["option"]]:
            self.assertIn(row["name"], text)
        for row in FUNCTIONS:
            self.assertEqual((BUILD / "man" / f"{row['name']}.3").read_text(), ".so man3/snaptool.3\n")

    def test_the_example_of_the_man_page(self):
        text = (SOURCE / "snaptool.man").read_text()
        example = text[text.index("#include"):].split(".fi")[0].replace("\\-", "-").replace("\\e", "\\")
        self.compiles("gcc", "c99", example, ".c", f"-L{BUILD}", "-Wno-sign-conversion", "-Wno-conversion", "-lsnaptool", "-o", self.scratch / "example",
                      "-Wl,--allow-shlib-undefined")
        (self.scratch / "origin.img").write_bytes(bytes(range(256)) * 1000)
        write_store(self.scratch / "snap.cow", 8, [1, 5], lambda index: bytes([index + 1]) * 4096)
        environment = dict(os.environ, LD_LIBRARY_PATH=str(BUILD), LD_PRELOAD=sanitizers())
        done = subprocess.run([self.scratch / "example"], cwd=self.scratch, capture_output=True, check=False, env=environment)
        view, _ = naive_view((self.scratch / "origin.img").read_bytes(), (self.scratch / "snap.cow").read_bytes())
        self.assertEqual((done.returncode, done.stderr, done.stdout), (0, b"", bytes(view)))
        (self.scratch / "snap.cow").unlink()
        done = subprocess.run([self.scratch / "example"], cwd=self.scratch, capture_output=True, check=False, env=environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"snap_image_open: ", done.stderr)


class Installed(ScratchTest):
    """What a program sees that has only what is installed."""

    def setUp(self):
        super().setUp()
        need(self, "pkg-config", "cmake")
        self.prefix = self.scratch / "usr"
        for component in ("library", "dev", "python"):
            done = compiled("cmake", "--install", BUILD.parent.parent, "--prefix", self.prefix, "--component", component)
            self.assertEqual(done.returncode, 0, done.stderr)
        write_store(self.scratch / "snap.cow", 8, [1], lambda _: b"\x07" * 4096)
        (self.scratch / "origin.img").write_bytes(bytes(8192))
        self.environment = dict(os.environ, LD_PRELOAD=sanitizers(), LD_LIBRARY_PATH=str(next(self.prefix.rglob("libsnaptool.so.0")).parent))
        self.consumers = Path(__file__).resolve().parent / "consumer"

    def check(self, program):
        done = subprocess.run([program, "origin.img@snap.cow"], cwd=self.scratch, capture_output=True, text=True, check=False, env=self.environment)
        self.assertEqual((done.returncode, done.stderr, done.stdout), (0, "", "8192 bytes, 4096 of them changed\n"))

    def test_by_pkg_config(self):
        environment = dict(os.environ, PKG_CONFIG_PATH=str(next(self.prefix.rglob("snaptool.pc")).parent))
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "snaptool"], capture_output=True, text=True, check=True, env=environment).stdout
        program = self.scratch / "consumer"
        done = compiled("gcc", "-std=c99", *FAULTY, self.consumers / "consumer.c", *flags.split(), "-Wl,--allow-shlib-undefined", "-o", program)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.check(program)

    def test_by_cmake(self):
        build = self.scratch / "build"
        done = compiled("cmake", "-S", self.consumers, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}",
                        "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = compiled("cmake", "--build", build)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.check(build / "consumer")

    def test_python(self):
        folder = next(self.prefix.rglob("_interface.py")).parent
        self.assertTrue((folder / "py.typed").exists())
        done = subprocess.run([sys.executable, "-B", "-c", "import snaptool; print(snaptool.open('origin.img@snap.cow').read(4096, 2))"],
                              cwd=self.scratch, capture_output=True, text=True, check=False, env=dict(self.environment, PYTHONPATH=folder.parent))
        self.assertEqual((done.returncode, done.stdout), (0, "b'\\x07\\x07'\n"), done.stderr)


class Leaks(ScratchTest):
    def test_every_call_frees_what_it_took(self):
        program = Path(os.environ.get("SNAPTOOL_CALLS", ""))
        (self.scratch / "origin.img").write_bytes(os.urandom(1 << 20))
        write_store(self.scratch / "a.cow", 8, list(range(0, 200, 3)), lambda index: bytes([index]) * 4096)
        shutil.copy(self.scratch / "a.cow", self.scratch / "b.cow")
        shutil.copy(self.scratch / "origin.img", self.scratch / "b.img")
        (self.scratch / "zeros.cow").write_bytes(bytes(1 << 20))
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1")
        done = subprocess.run([program], cwd=self.scratch, capture_output=True, text=True, check=False, env=environment, timeout=100)
        self.assertEqual((done.returncode, done.stderr, done.stdout), (0, "", "all calls\n"))
        view, _ = naive_view((self.scratch / "origin.img").read_bytes(), (self.scratch / "a.cow").read_bytes())
        del view
        self.assertEqual(json.loads(run("verify", "--output=json", self.scratch / "b.cow").stdout)["exceptions"], 0)


if __name__ == "__main__":
    main("the library's interface")
