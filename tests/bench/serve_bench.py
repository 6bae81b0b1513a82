#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times clients of snaptool serve beside clients of nbdkit's file plugin and of qemu-nbd, over the same content.

Reads: the view of a store over an origin, and a raw file, beside nbdkit's file plugin over the raw bytes of the view.
Writes: into a snapshot, beside qemu-nbd on a new qcow2 overlay of the same origin. By fio's engine for NBD, in the page
cache; each number is the median of the runs.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path


@contextlib.contextmanager
def listening(words, path):
    """A server, once its socket is there."""
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 20
            while not path.exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"does not serve: {words}")
                time.sleep(0.02)
            yield f"nbd+unix:///?socket={path}"
        finally:
            process.terminate()
            process.wait()
            path.unlink(missing_ok=True)


def fio(args, uri, mode, block, depth):
    """MiB/s and requests/s of one job."""
    words = ["fio", "--name=job", "--ioengine=nbd", f"--uri={uri}", f"--rw={mode}", f"--bs={block}", f"--iodepth={depth}",
             f"--runtime={args.seconds}", "--time_based", "--output-format=json", "--randseed=1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=args.seconds + 60, check=True, cwd=args.work)
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["write" if "write" in mode else "read"]
    return job["bw_bytes"] / (1 << 20), job["iops"]


def compare(args, what, servers, mode, block, depth):
    """Prints each server's rate, and its ratio to the last one, the peer."""
    rates = {name: [] for name, _ in servers}
    for _ in range(args.runs):
        for name, make in servers:
            with make() as uri:
                rates[name].append(fio(args, uri, mode, block, depth))
    medians = {name: statistics.median(rate[0] for rate in rates[name]) for name in rates}
    peer = medians[servers[-1][0]]
    for name, _ in servers:
        requests = statistics.median(rate[1] for rate in rates[name])
        print(f"{what}: {name}: {medians[name]:.0f} MiB/s, {requests:.0f} requests/s, ratio {medians[name] / peer:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="the folder of bench_generate_store")
    parser.add_argument("--snaptool", type=Path, required=True)
    parser.add_argument("--size", default="512M")
    parser.add_argument("--chunk-size", default="4k")
    parser.add_argument("--exceptions", default="32768")
    parser.add_argument("--seconds", type=int, default=4, help="of each job")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serve-bench-") as folder:
        args.work = Path(folder)
        origin, cow, raw, socket = (args.work / name for name in ("origin", "cow", "raw", "socket"))
        subprocess.run([args.programs / "bench_generate_store", "--origin", origin, "--cow", cow, "--size", args.size,
                        "--chunk-size", args.chunk_size, "--exceptions", args.exceptions, "--pattern", "random"], check=True)
        view = f"{origin}@{cow}"
        subprocess.run([args.snaptool, "read", view, "-o", raw], check=True)

        def served(*words):
            return lambda: listening([args.snaptool, "serve", "--socket", socket, *words], socket)

        def of_file():
            return listening(["nbdkit", "-f", "-r", "-U", socket, "file", raw], socket)

        readers = [("the view", served(view)), ("raw", served(raw)), ("nbdkit's file plugin", of_file)]
        compare(args, "sequential reads, 1 MiB", readers, "read", "1m", 8)
        compare(args, "random reads, 4 KiB", readers, "randread", "4k", 16)

        def into_snapshot():
            store = args.work / "new.cow"
            store.unlink(missing_ok=True)
            subprocess.run([args.snaptool, "create", "-q", "--chunk-size", args.chunk_size, origin, store], check=True)
            return listening([args.snaptool, "serve", "--write", "--socket", socket, origin, store], socket)

        def into_overlay():
            overlay = args.work / "new.qcow2"
            overlay.unlink(missing_ok=True)
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", origin, "-F", "raw", overlay], check=True)
            return listening(["qemu-nbd", "-f", "qcow2", "-k", socket, "-e", "8", "-t", overlay], socket)

        writers = [("serve --write", into_snapshot), ("qemu-nbd, qcow2", into_overlay)]
        compare(args, "random writes, 4 KiB", writers, "randwrite", "4k", 16)
        compare(args, "sequential writes, 64 KiB", writers, "write", "64k", 8)


if __name__ == "__main__":
    main()
