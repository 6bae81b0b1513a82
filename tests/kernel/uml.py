# SPDX-License-Identifier: Apache-2.0
"""Boots user-mode-linux, a real kernel as a process, to run a job of guest.py on image files."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

GUEST = Path(__file__).resolve().with_name("guest.py")
MEMORY = "128M"


class GuestError(Exception):
    """The guest did not do its job: it did not boot, hung, or a step failed."""


def console_tail(console):
    return "".join(console.read_text(errors="replace").splitlines(keepends=True)[-40:])


def run_in_guest(folder, steps, timeout=180):
    """Boots a guest that does `steps` (see guest.py) on images in `folder`; returns their results in order.

    The guest sees the host's files read-only, and `folder` writable. Raises GuestError when a step fails.
    """
    folder = Path(folder).resolve()
    # The kernel's command line knows no quoting for what it hands to init.
    if " " in str(folder):
        raise GuestError(f"no guest can be started in a folder with a space in its name: {folder}")
    result_file, console = folder / "result.json", folder / "console.log"
    result_file.unlink(missing_ok=True)
    (folder / "job.json").write_text(json.dumps(steps))
    script = folder / "guest.py"
    shutil.copyfile(GUEST, script)
    command = ["linux.uml", f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
               f"uml_dir={folder}/uml", "con=null", "con0=fd:0,fd:1", "quiet",
               f"init={os.path.realpath(sys.executable)}", "--", "-IS", str(script), str(folder)]
    # See xstate_preload.cc; the build says where it is.
    environment = dict(os.environ, HOME=str(folder), LD_PRELOAD=os.environ.get("SNAPTOOL_UML_PRELOAD", ""))
    # A session of its own, so that after a timeout all of the guest's processes can be ended.
    with open(console, "wb") as log:
        guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=subprocess.STDOUT, start_new_session=True, env=environment)
        try:
            guest.wait(timeout)
        except subprocess.TimeoutExpired:
            raise GuestError(f"the guest hung for {timeout} s:\n{console_tail(console)}") from None
        finally:
            if guest.poll() is None:
                os.killpg(guest.pid, signal.SIGKILL)
                guest.wait()
    if not result_file.exists():
        raise GuestError(f"the guest left no result:\n{console_tail(console)}")
    results = json.loads(result_file.read_text())
    for step, result in zip(steps, results, strict=True):
        if "error" in result:
            raise GuestError(f"{str(step)[:500]}\n{result['error']}{console_tail(console)}")
    return results
