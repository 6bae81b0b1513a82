#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times export against `qemu-img convert -c` of an equal overlay, its CPU against zstd and OpenSSL on the same bytes, and
apply against zstd -d with the same sums. All ends are durable. README.md says more.
"""

import argparse
import json
import multiprocessing
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


class Data:
    """Seeded random bytes, from a pool that no compressor looks back far enough to see repeat."""

    POOL = 64 * MIB

    def __init__(self, seed, half_compressible):
        rng = random.Random(seed)
        if half_compressible:  # of each 4 KiB, half is random and half is one byte
            self.pool = b"".join(rng.randbytes(2048) + rng.randbytes(1) * 2048 for _ in range(self.POOL // 4096))
        else:
            self.pool = rng.randbytes(self.POOL)
        self.at = 0

    def take(self, size):
        self.at = (self.at + size) % (self.POOL - size)
        return memoryview(self.pool)[self.at:self.at + size]


def make_files(args, folder, half_compressible):
    """base, child (a quarter changed, in chunks), an overlay of each kind, and the changed bytes as files."""
    size, changed = args.size * MIB, args.size * MIB // 4
    chunks = random.Random(args.seed).sample(range(size // CHUNK), changed // CHUNK)
    before, data = Data(args.seed + 1, False), Data(args.seed, half_compressible)
    with open(folder / "base", "wb") as file:
        for _ in range(args.size):
            file.write(before.take(MIB))
    subprocess.run(["cp", "--reflink=auto", "base", "child"], cwd=folder, check=True)
    with open(folder / "child", "r+b") as child, open(folder / "base", "rb") as base, \
            open(folder / "new", "wb") as new, open(folder / "old", "wb") as old:
        for chunk in sorted(chunks):
            content = data.take(CHUNK)
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


def contest(contestants, args, folder, after=lambda: None):
    """({who: runs}, {who: bytes written}): contestants are {who: (command, the file that it makes or None)}."""
    runs = {who: [] for who in contestants}
    sizes = {}
    for number in range(args.runs):
        order = list(contestants.items())
        for who, (command, made) in order[number % len(order):] + order[:number % len(order)]:
            os.sync()
            runs[who].append(run(command, folder))
            if made:  # removed, so that nobody pays for what the run before left
                sizes[who] = (folder / made).stat().st_size
                (folder / made).unlink()
        after()
    return runs, sizes


def report(name, runs, results):
    seconds = {who: statistics.median(r[0] for r in of) for who, of in runs.items()}
    cpu = {who: statistics.median(r[1] for r in of) for who, of in runs.items()}
    peak = max(r[2] for r in runs["snaptool"])
    results[name] = {who: {"median_seconds": seconds[who], "median_cpu": cpu[who], "runs": of}
                     for who, of in runs.items()}
    text = ", ".join(f"{who} {seconds[who]:.2f} s ({cpu[who]:.2f} s CPU)" for who in runs)
    ratios = ", ".join(f"{seconds['snaptool'] / seconds[who]:.2f} of {who} (CPU {cpu['snaptool'] / cpu[who]:.2f})"
                       for who in runs if who != "snaptool")
    print(f"{name}: {text}; {ratios}; peak {peak:.0f} MiB", flush=True)


def bench(args, folder, name, results):
    # In a process of its own: a child's peak begins with what its parent had.
    maker = multiprocessing.Process(target=make_files, args=(args, folder, name == "half-compressible"))
    maker.start()
    maker.join()
    if maker.exitcode != 0:
        sys.exit("the files could not be made")
    snaptool = args.snaptool
    runs, sizes = contest({
        "snaptool": ([snaptool, "export", "-q", "base@cow", "-o", "made"], "made"),
        "qemu-img": ("qemu-img convert -c -t writeback -O qcow2 -o compression_type=zstd -B base -F raw overlay "
                     "out.qcow2", "out.qcow2"),
        "parts": ("zstd -q -T2 new -o again.zst && openssl dgst -sha256 old new && sync again.zst", "again.zst"),
    }, args, folder)
    report(f"export {name}", runs, results)
    results[f"size {name}"] = sizes
    print(f"size {name}: {sizes['snaptool'] / sizes['qemu-img']:.4f} of qemu-img's, "
          f"{sizes['snaptool'] / sizes['parts']:.4f} of zstd's", flush=True)
    # In turn there and back, so that there is always something to do.
    subprocess.run([snaptool, "export", "-q", "--reverse", "base@cow", "-o", "reverse"], cwd=folder, check=True)
    subprocess.run([snaptool, "export", "-q", "base@cow", "-o", "diff"], cwd=folder, check=True)
    subprocess.run(["cp", "--reflink=auto", "base", "target"], cwd=folder, check=True)

    def turn_back():
        subprocess.run(["cmp", "target", "child"], cwd=folder, check=True)
        subprocess.run([snaptool, "apply", "-q", "reverse", "target"], cwd=folder, check=True)

    runs, _ = contest({
        "snaptool": ([snaptool, "apply", "-q", "diff", "target"], None),
        "parts": ("zstd -q -d new.zst -o new.out && openssl dgst -sha256 old new.out && sync new.out", "new.out"),
    }, args, folder, turn_back)
    report(f"apply {name}", runs, results)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snaptool", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder with room for six times --size")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=768, help="MiB of the image; a quarter of it changes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.snaptool = args.snaptool.resolve()
    results = {}
    for name in ("half-compressible", "incompressible"):
        folder = args.work / "export-bench"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            bench(args, folder, name, results)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
