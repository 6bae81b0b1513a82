# SPDX-License-Identifier: Apache-2.0
"""The library's interface for tests: `snaptool`, its Python module, of this build.

A library with sanitizers needs them in the process from its start, so the test starts itself once more with them. What it
then runs does not get them: some programs hang with sanitizers that they were not built with.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from harness import SNAPTOOL

SOURCE = Path(os.environ.get("SNAPTOOL_SOURCE", Path(__file__).resolve().parent.parent.parent)) / "cli" / "library"
BUILD = Path(SNAPTOOL).parent / "library"
TABLE = tomllib.loads((SOURCE / "interface.toml").read_text())


def sanitizers():
    needed = subprocess.run(["ldd", SNAPTOOL], capture_output=True, text=True, check=True).stdout
    return " ".join(line.split(" => ")[1].split(" ")[0] for line in needed.splitlines() if "libasan" in line or "libubsan" in line)


def load():
    """The module `snaptool`; nothing where the tests are only listed."""
    if not SNAPTOOL:
        return None
    if "SNAPTOOL_WITH_LIBRARY" not in os.environ:
        environment = dict(os.environ, SNAPTOOL_WITH_LIBRARY="1", ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "detect_leaks=0"), LD_LIBRARY_PATH=str(BUILD), LD_PRELOAD=sanitizers())
        os.execve(sys.executable, [sys.executable, "-B", *sys.argv], environment)
    for name in ("SNAPTOOL_WITH_LIBRARY", "LD_PRELOAD", "LD_LIBRARY_PATH"):
        os.environ.pop(name, None)
    sys.path.insert(0, str(BUILD / "python"))
    import snaptool
    return snaptool
