#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what states the interface of libsnaptool from interface.toml: generate.py VERSION FOLDER.

FOLDER gets include/snaptool/snaptool.h, snaptool.map, symbols, option_rows.inc, man/*.3 and python/snaptool/_interface.py.
"""

import json
import sys
import textwrap
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
LICENCE = "SPDX-License-Identifier: Apache-2.0"
CTYPES = {"void": "None", "int": "c_int", "int64_t": "c_int64", "uint64_t": "c_uint64", "size_t": "c_size_t", "const char *": "c_char_p",
          "void *": "c_void_p", "const void *": "c_void_p", "snap_options *": "c_void_p", "const snap_options *": "c_void_p",
          "snap_image *": "c_void_p"}


def glued(kind, name):
    """A declaration: the star stands with the name."""
    return kind + name if kind.endswith("*") else f"{kind} {name}"


def arguments(row):
    return ", ".join(glued(kind, name) for kind, name, *_ in row["args"]) or "void"


def is_pointer(kind):
    return kind.endswith("*")


def needed(row):
    """The numbers of the arguments that must not be NULL, from 1."""
    return [number for number, (kind, _, *null) in enumerate(row["args"], 1) if is_pointer(kind) and not null]


def failure(row):
    return "NULL" if is_pointer(row["returns"]) else "-1"


def plain(text):
    return text.replace("`", "")


def comment(text, extra=()):
    lines = []
    for paragraph in [*plain(text).split("\n\n"), *extra]:
        lines += ["", *textwrap.wrap(paragraph, 96)]
    return "/*" + "\n".join(" " + line if number == 0 else f" * {line}".rstrip() for number, line in enumerate(lines[1:])) + " */\n"


def enum(name, rows):
    out = f"enum {name} {{\n"
    for row in rows:
        out += f"  SNAP_{row['name']} = {row['value']}, /* {row['doc']} */\n"
    return out + "};\n\n"


def header(table, version):
    major, minor, patch = version.split(".")
    out = f"/* {LICENCE} */\n" + comment(
        "libsnaptool: the stores of the Linux kernel's dm-snapshot, and the disk images that snaptool knows, from other programs. See snaptool(3).", [
            "Functions return -1 or NULL when they fail; snap_get_error, snap_get_code and snap_get_errno then say more, for each thread. "
            "Texts are UTF-8 as far as names of files are.",
            "Threads: any number may use one image at once, except that nobody may use it any more when it is closed. Options belong to one thread at a time. "
            "Callbacks are called in the thread that made the call, return 0 to go on and -1 to stop (the call then fails with SNAP_INTERRUPTED), and must not throw. "
            "Threads that the library starts block all signals and end with the call. A thread must not be cancelled (pthread_cancel) in a call. "
            "After a fork, an image belongs to the process that opened it: in the other, it can only be closed.",
            "The library prints nothing, ends nothing, handles no signal and changes neither the umask nor the working directory."])
    out += ("#ifndef SNAPTOOL_SNAPTOOL_H\n#define SNAPTOOL_SNAPTOOL_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n"
            "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n"
            f"#define SNAP_VERSION \"{version}\"\n#define SNAP_VERSION_MAJOR {major}\n#define SNAP_VERSION_MINOR {minor}\n#define SNAP_VERSION_PATCH {patch}\n\n"
            "#if defined(__GNUC__) && !defined(SNAP_NO_ATTRIBUTES)\n#define SNAP_NONNULL(...) __attribute__((__nonnull__(__VA_ARGS__)))\n"
            "#define SNAP_CHECK_RESULT __attribute__((__warn_unused_result__))\n#else\n#define SNAP_NONNULL(...)\n#define SNAP_CHECK_RESULT\n#endif\n\n")
    out += "/* Codes of errors. They are the exit statuses of snaptool, and never change. */\n" + enum("snap_code", table["code"])
    out += "/* How bad a finding of snap_verify is. */\n" + enum("snap_severity", table["severity"])
    out += "typedef struct snap_options snap_options;\ntypedef struct snap_image snap_image;\n\n"
    for row in table["callback"]:
        out += comment(row["doc"]) + f"typedef {glued(row['returns'], row['name'])}({arguments(row)});\n\n"
    for row in table["function"]:
        extra = [] if row.get("never_fails") else [f"Returns {failure(row)} on error. Since {row['since']}."]
        out += comment(row["doc"], extra or [f"Since {row['since']}."])
        marks = f"\n    SNAP_NONNULL({', '.join(map(str, needed(row)))})" if needed(row) else ""
        if not row.get("never_fails"):
            marks += "\n    SNAP_CHECK_RESULT" if not marks else " SNAP_CHECK_RESULT"
        out += f"{glued(row['returns'], row['name'])}({arguments(row)}){marks};\n#define SNAP_HAVE_{row['name'].removeprefix('snap_').upper()} 1\n\n"
    return out + "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"


def symbol_map(table):
    """A node for each release, chained to the one before."""
    nodes, before = "", ""
    for since in sorted({row["since"] for row in table["function"]}, key=lambda text: [int(part) for part in text.split(".")]):
        names = "".join(f"    {row['name']};\n" for row in table["function"] if row["since"] == since)
        hidden = "" if before else "  local:\n    *;\n"
        nodes += f"SNAPTOOL_{since} {{\n  global:\n{names}{hidden}}}{before};\n"
        before = f" SNAPTOOL_{since}"
    return f"# {LICENCE}\n{nodes}"


def option_rows(table):
    return "".join(f"{{{json.dumps(row['name'])}, {json.dumps(row['calls'])}, {json.dumps(row['doc'])}}},\n" for row in table["option"])


def roff(text):
    return plain(text).replace("\\", "\\e").replace("-", "\\-").replace("\n\n", "\n.PP\n").replace("\n'", "\n\\&'")


def man(table, version):
    out = (f".\\\" {LICENCE}\n.TH SNAPTOOL 3 \"\" \"snaptool {version}\" \"Library calls\"\n.SH NAME\n"
           + ", ".join(["snaptool", *(row["name"] for row in table["function"])]) + " \\- dm\\-snapshot stores and disk images from other programs\n.SH SYNOPSIS\n"
           ".nf\n.B #include <snaptool/snaptool.h>\n.fi\n.PP\nCompile and link with \\fBpkg\\-config \\-\\-cflags \\-\\-libs snaptool\\fR, or with "
           "\\fBfind_package(snaptool)\\fR and \\fBsnaptool::snaptool\\fR in CMake. C++ has \\fB<snaptool/snaptool.hpp>\\fR, Python \\fBimport snaptool\\fR.\n")
    prose = (HERE / "snaptool.man").read_text()
    out += prose[prose.index(".SH"):]
    out += ".SH FUNCTIONS\n"
    for row in table["function"]:
        out += f".SS {row['name']}\n.nf\n.B {glued(row['returns'], row['name'])}({arguments(row)});\n.fi\n.PP\n{roff(row['doc'])}\n"
        if not row.get("never_fails"):
            out += f"Returns {roff(failure(row))} on error.\n"
    out += ".SH CALLBACKS\n"
    for row in table["callback"]:
        out += f".SS {row['name']}\n.nf\n.B {glued(row['returns'], row['name'])}({arguments(row)});\n.fi\n.PP\n{roff(row['doc'])}\n"
    out += ".SH OPTIONS\nThe names of \\fBsnap_options_set\\fR, and the calls that take them.\n"
    for row in table["option"]:
        out += f".TP\n\\fB{roff(row['name'])}\\fR ({row['calls'].replace(' ', ', ')})\n{roff(row['doc'])}\n"
    out += ".SH ERRORS\n"
    for row in table["code"]:
        out += f".TP\n\\fBSNAP_{row['name']}\\fR ({row['value']})\n{roff(row['doc'])}\n"
    return out + ".SH SEE ALSO\n\\fBsnaptool\\fR(1), \\fBsnaptool\\-image\\fR(7)\n"


def ctype(kind):
    return kind.removesuffix(" *") if kind.removesuffix(" *") in CALLBACKS else CTYPES[kind]


CALLBACKS = set()


def python_table(table):
    CALLBACKS.update(row["name"] for row in table["callback"])
    out = (f"# {LICENCE}\n\"\"\"The functions of libsnaptool. Made by generate.py.\"\"\"\n\n"
           "from ctypes import CDLL, CFUNCTYPE, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p\n\n")
    for row in table["callback"]:
        kinds = ", ".join([ctype(row["returns"]), *(ctype(kind) for kind, *_ in row["args"])])
        out += f"{row['name']} = CFUNCTYPE({kinds})\n"
    out += "\nlibrary = CDLL(\"libsnaptool.so.0\")\n"
    for row in table["function"]:
        kinds = ", ".join(ctype(kind) for kind, *_ in row["args"])
        out += f"library.{row['name']}.restype = {ctype(row['returns'])}\nlibrary.{row['name']}.argtypes = [{kinds}]\n"
    for group, name in (("code", "CODES"), ("severity", "SEVERITIES")):
        out += f"\n{name} = {{" + ", ".join(f"{row['value']}: \"{row['name'].lower()}\"" for row in table[group]) + "}"
    return out + "\n"


def main():
    version, folder = sys.argv[1], Path(sys.argv[2])
    table = tomllib.loads((HERE / "interface.toml").read_text())
    files = {"include/snaptool/snaptool.h": header(table, version), "snaptool.map": symbol_map(table), "option_rows.inc": option_rows(table),
             "symbols": "".join(f"{row['name']}\n" for row in table["function"]), "man/snaptool.3": man(table, version), "python/snaptool/_interface.py": python_table(table)}
    for row in table["function"]:
        files[f"man/{row['name']}.3"] = ".so man3/snaptool.3\n"
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
