#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times snaptool verify of a store of many exceptions against a plain read of its areas, cold."""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from merge_bench import MIB, parse_size, run_timed  # noqa: E402


def drop(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def read_areas(path, chunk, exceptions):
    """Seconds that it takes to read the store's areas, one after the other."""
    per_area = chunk // 16
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # only what is asked for
    start = time.perf_counter()
    for area in range(exceptions // per_area + 1):
        os.pread(fd, chunk, (1 + area * (per_area + 1)) * chunk)
    seconds = time.perf_counter() - start
    os.close(fd)
    return seconds


def measure(args, pattern):
    origin, cow = args.work / "origin", args.work / "cow"
    subprocess.run([args.programs / "bench_generate_store", "--origin", origin, "--cow", cow, "--size", args.size,
                    "--chunk-size", args.chunk_size, "--exceptions", args.exceptions, "--pattern", pattern,
                    "--sparse-data", "--sparse-origin"], check=True)
    chunk, exceptions = parse_size(args.chunk_size), int(args.exceptions)
    ours, floor = [], []
    for _ in range(args.runs):
        drop(cow)
        floor.append(read_areas(cow, chunk, exceptions))
        drop(cow)
        ours.append(run_timed([args.snaptool, "verify", "-q", origin, cow], args.work))
    seconds = statistics.median(run["seconds"] for run in ours)
    cpu = statistics.median(run["user_seconds"] + run["system_seconds"] for run in ours)
    print(f"{pattern}: verify {seconds:.2f} s ({cpu:.2f} s of processor time, "
          f"{max(run['peak_rss_bytes'] for run in ours) / MIB:.0f} MiB), read of the areas "
          f"{statistics.median(floor):.2f} s, ratio {seconds / statistics.median(floor):.2f}", flush=True)
    if args.merge:
        merged = run_timed([args.snaptool, "merge", "-q", origin, cow], args.work)
        print(f"{pattern}: merge {merged['seconds']:.1f} s, {merged['peak_rss_bytes'] / MIB:.0f} MiB", flush=True)
    origin.unlink()
    cow.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--snaptool", default="snaptool", help="the program to measure")
    parser.add_argument("--programs", type=Path, default=Path("."), help="the folder of bench_generate_store")
    parser.add_argument("--work", type=Path, default=Path("bench-work"),
                        help="a folder for the files: it must not exist (default: %(default)s)")
    parser.add_argument("--exceptions", default="16000000", help="how many (default: %(default)s)")
    parser.add_argument("--chunk-size", default="4k", help="of the store (default: %(default)s)")
    parser.add_argument("--size", default="256G", help="of the origin, a hole (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="measurements each (default: %(default)s)")
    parser.add_argument("--merge", action="store_true",
                        help="merge it, too: writes all its chunks, of zeros, to the origin")
    args = parser.parse_args()
    args.snaptool = str(Path(shutil.which(args.snaptool) or parser.error(f"{args.snaptool}: not found")).resolve())
    args.programs, args.work = args.programs.resolve(), args.work.resolve()
    args.work.mkdir(parents=True)
    try:
        for pattern in ("random", "clustered"):
            measure(args, pattern)
    finally:
        shutil.rmtree(args.work)


if __name__ == "__main__":
    main()
