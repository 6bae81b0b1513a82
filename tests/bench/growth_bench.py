#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows how the cost of verify and merge grows: with the number of exceptions, and with the bytes."""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from merge_bench import MIB, parse_size, run_timed  # noqa: E402


def generate(args, size, chunk, exceptions, *options):
    origin, cow = args.work / "origin", args.work / "cow"
    subprocess.run([args.programs / "bench_generate_store", "--origin", origin, "--cow", cow, "--size", size,
                    "--chunk-size", chunk, "--exceptions", exceptions, *options], check=True)
    os.sync()
    return origin, cow


def median_of(args, command, prepare):
    """Of several runs: seconds, and the most memory."""
    runs = []
    for _ in range(args.runs):
        files = prepare()
        runs.append(run_timed([args.snaptool, command, "-q", *files], args.work))
    return statistics.median(run["seconds"] for run in runs), max(run["peak_rss_bytes"] for run in runs)


def by_exceptions(args):
    """Chunks of 4k whose data are holes: what the metadata cost."""
    print("exceptions | verify | each | merge | each | peak memory")
    for count in args.exceptions:
        def store(count=count):
            return generate(args, str(count * 8 * 4096), "4k", str(count), "--sparse-data", "--sparse-origin")
        files = store()
        verify, memory = median_of(args, "verify", lambda files=files: files)
        merge, more = median_of(args, "merge", store)
        print(f"{count} | {verify:.3f} s | {verify / count * 1e9:.0f} ns | {merge:.2f} s | {merge / count * 1e9:.0f} ns | "
              f"{max(memory, more) / MIB:.0f} MiB", flush=True)


def by_bytes(args):
    """A quarter of the image changes, in random chunks."""
    print("image | chunks | merge | a GiB of data | peak memory")
    for size in args.sizes:
        for chunk in ("4k", "64k"):
            count = parse_size(size) // 4 // parse_size(chunk)
            merge, memory = median_of(args, "merge", lambda s=size, k=chunk, n=count: generate(args, s, k, str(n)))
            print(f"{size} | {chunk} | {merge:.2f} s | {merge / (parse_size(size) / 4 / 1024 / MIB):.2f} s | "
                  f"{memory / MIB:.0f} MiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snaptool", type=Path, required=True)
    parser.add_argument("--programs", type=Path, required=True, help="the folder of bench_generate_store")
    parser.add_argument("--work", type=Path, required=True, help="a folder for the files: it must not exist")
    parser.add_argument("--exceptions", type=int, action="append", help="so many (repeatable)")
    parser.add_argument("--sizes", action="append", help="images so large, of which a quarter changes (repeatable)")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    args.exceptions = args.exceptions or [10**4, 10**5, 10**6, 10**7]
    args.sizes = args.sizes or ["1G", "4G", "16G"]
    args.snaptool, args.programs, args.work = (path.resolve() for path in (args.snaptool, args.programs, args.work))
    args.work.mkdir(parents=True)
    try:
        by_exceptions(args)
        by_bytes(args)
    finally:
        shutil.rmtree(args.work)


if __name__ == "__main__":
    main()
