#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times export against `qemu-img convert -c` of an equal overlay, its CPU against zstd and OpenSSL on the same bytes, and
apply against zstd -d with the same sums. All ends are durable. README.md says more.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20
CHUNK = 65536


def run(command, folder):
    """[seconds, CPU seconds, peak in MiB] of a shell line or an argument list."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    with subprocess.Popen(command, cwd=folder, shell=isinstance(command, str), stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    if process.returncode != 0:
        sys.exit(f"{command} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, usage.ru_maxrss / 1024


def half_compressible(size):
    """Of each 4 KiB, half is random and half is one byte."""
    return b"".join(os.urandom(2048) + os.urandom(1) * 2048 for _ in range(size // 4096))


def make_files(args, folder, data):
    """base, child (a quarter changed, in chunks), an overlay of each kind, and the changed bytes as files."""
    size, changed = args.mib * MIB, args.mib * MIB // 4
    chunks = random.Random(1).sample(range(size // CHUNK), changed // CHUNK)
    with open(folder / "base", "wb") as file:
        for _ in range(args.mib // 16):
            file.write(os.urandom(16 * MIB))
    subprocess.run(["cp", "--reflink=auto", "base", "child"], cwd=folder, check=True)
    with open(folder / "child", "r+b") as child, open(folder / "base", "rb") as base, \
            open(folder / "new", "wb") as new, open(folder / "old", "wb") as old:
        for chunk in sorted(chunks):
            content = data(CHUNK)
            child.seek(chunk * CHUNK)
            child.write(content)
            new.write(content)
            base.seek(chunk * CHUNK)
            old.write(base.read(CHUNK))
    snaptool = args.snaptool
    for command in ([snaptool, "create", "--chunk-size", "64k", "base", "cow"],
                    [snaptool, "write", "-q", "--skip-equal", "-i", "child", "base", "cow"],
                    # Over the child, then moved to the base: that leaves the clusters that differ.
                    ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "child", "-F", "raw", "overlay"],
                    ["qemu-img", "rebase", "-f", "qcow2", "-b", "base", "-F", "raw", "overlay"],
                    ["zstd", "-q", "-T2", "-f", "new", "-o", "new.zst"], ["sync"]):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def bench(args, folder, name, data, results):
    make_files(args, folder, data)
    export = {
        "snaptool": [args.snaptool, "export", "-q", "base@cow", "-o", "diff", "--force"],
        "qemu-img": "qemu-img convert -c -t writeback -O qcow2 -o compression_type=zstd -B base -F raw overlay out.qcow2",
        "parts": "zstd -q -T2 -f new -o again.zst && openssl dgst -sha256 old new && sync again.zst"}
    # In turn there and back, so that there is always something to do.
    subprocess.run([args.snaptool, "export", "-q", "--reverse", "base@cow", "-o", "reverse"], cwd=folder, check=True)
    subprocess.run([args.snaptool, "export", "-q", "base@cow", "-o", "diff"], cwd=folder, check=True)
    apply = {
        "snaptool": [args.snaptool, "apply", "-q", "diff", "target"],
        "parts": "zstd -q -d -f new.zst -o new.out && openssl dgst -sha256 old new.out && sync new.out"}
    subprocess.run(["cp", "--reflink=auto", "base", "target"], cwd=folder, check=True)
    for what, contestants in (("export", export), ("apply", apply)):
        runs = {who: [] for who in contestants}
        for number in range(args.runs):
            order = list(contestants.items())
            for who, command in order[number % len(order):] + order[:number % len(order)]:
                os.sync()
                runs[who].append(run(command, folder))
            if what == "apply":
                subprocess.run(["cmp", "target", "child"], cwd=folder, check=True)
                subprocess.run([args.snaptool, "apply", "-q", "reverse", "target"], cwd=folder, check=True)
        seconds = {who: statistics.median(r[0] for r in of) for who, of in runs.items()}
        cpu = {who: statistics.median(r[1] for r in of) for who, of in runs.items()}
        peak = max(r[2] for r in runs["snaptool"])
        results[f"{what} {name}"] = {who: {"median_seconds": seconds[who], "median_cpu": cpu[who], "runs": of}
                                     for who, of in runs.items()}
        text = ", ".join(f"{who} {seconds[who]:.2f} s ({cpu[who]:.2f} s CPU)" for who in runs)
        ratios = ", ".join(f"{seconds['snaptool'] / seconds[who]:.2f} of {who} (CPU {cpu['snaptool'] / cpu[who]:.2f})"
                           for who in runs if who != "snaptool")
        print(f"{what} {name}: {text}; {ratios}; peak {peak:.0f} MiB", flush=True)
    sizes = {file: (folder / file).stat().st_size for file in ("diff", "out.qcow2", "new.zst")}
    results[f"size {name}"] = sizes
    print(f"size {name}: {sizes['diff'] / sizes['out.qcow2']:.4f} of qemu-img's, {sizes['diff'] / sizes['new.zst']:.4f} "
          "of zstd's", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snaptool", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder with room for six times --mib")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mib", type=int, default=4096, help="size of the image; a quarter of it changes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.snaptool = args.snaptool.resolve()
    results = {}
    for name, data in (("half-compressible", half_compressible), ("incompressible", os.urandom)):
        folder = args.work / "snapdiff-bench"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            bench(args, folder, name, data, results)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
