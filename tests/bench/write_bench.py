#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times writes to a snapshot against QEMU on an equal qcow2 overlay and against a plain copy.

Every run gets a fresh, empty store (or overlay) over the same origin, and has to end durable. What the snapshot then
shows is checked. README.md says more.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20
KIB = 1 << 10


def make_random_file(path, size):
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


def sha256_of(command):
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        return hashlib.file_digest(process.stdout, "sha256").hexdigest()


class Case:
    """Writes: in order from a file, or single chunks all over the image."""

    def __init__(self, name, args, folder):
        self.name, self.folder = name, folder
        self.chunk = 64 * KIB if name.startswith("64k") else 4 * KIB
        self.sequential = name.endswith("sequential")
        self.size = args.size if self.sequential else args.random_size
        if not self.sequential:
            rng = random.Random(args.seed)
            places = rng.sample(range(args.size // self.chunk), self.size // self.chunk)
            writes = [(place * self.chunk, rng.randrange(1, 255)) for place in places]
            (folder / f"{name}.batch").write_text(
                "".join(f"write s {at} {self.chunk} -P {byte}\n" for at, byte in writes))
            (folder / f"{name}.qemu").write_text(
                "".join(f"write -q -P {byte} {at} {self.chunk}\n" for at, byte in writes))

    def contestants(self, args):
        snaptool = [args.snaptool, "write", "-q", "origin", "cow", "-i", "source"]
        qemu = ["qemu-img", "convert", "-n", "-t", "writeback", "-f", "raw", "-O", "qcow2", "source", "overlay"]
        if not self.sequential:
            snaptool = [args.snaptool, "batch", "-q", "origin", f"{self.name}.batch", "--snapshot", "s=cow"]
            qemu = ["sh", "-c", f"qemu-io -f qcow2 -t writeback overlay < {self.name}.qemu >out"]
        floor = ["dd", "if=source", "of=copy", "bs=1M", f"count={self.size // MIB}", "conv=fdatasync", "status=none"]
        return {"snaptool": snaptool, "qemu": qemu, "copy": floor}

    def prepare(self, args):
        for name in ("cow", "overlay", "copy", "out"):
            (self.folder / name).unlink(missing_ok=True)
        subprocess.run([args.snaptool, "create", "-q", "--chunk-size", str(self.chunk), "origin", "cow"],
                       cwd=self.folder, check=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"cluster_size={self.chunk}", "-b", "origin",
                        "-F", "raw", "overlay"], cwd=self.folder, check=True)
        os.sync()

    def sum_after(self, args, contestant):
        if contestant == "snaptool":
            return sha256_of([args.snaptool, "read", f"{self.folder}/origin@{self.folder}/cow"])
        subprocess.run(["qemu-img", "convert", "-O", "raw", "overlay", "raw"], cwd=self.folder, check=True)
        return sha256_of(["cat", self.folder / "raw"])


def timed(command, folder):
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} failed")
    return {"seconds": time.monotonic() - start, "cpu": usage.ru_utime + usage.ru_stime, "peak_kib": usage.ru_maxrss}


def bench_writes(args, folder, results):
    for name in args.only:
        case = Case(name, args, folder)
        runs = {contestant: [] for contestant in case.contestants(args)}
        for run in range(args.runs):
            sums = set()
            order = list(case.contestants(args).items())
            for contestant, command in order[run % len(order):] + order[:run % len(order)]:
                case.prepare(args)
                runs[contestant].append(timed(command, folder))
                if run == 0 and contestant != "copy":
                    sums.add(case.sum_after(args, contestant))
            if len(sums) > 1:
                sys.exit(f"{name}: the images differ")
        report(name, runs, results)


def bench_write_origin(args, folder, results):
    """Three snapshots keep what 256 MiB of new data overwrite; the floor copies these bytes four times."""
    size = args.random_size
    runs = {"snaptool": [], "copies": []}
    command = [args.snaptool, "write-origin", "-q", "target", "-i", "source", "--length", str(size)]
    for chunk in ("4k", "64k", "512k"):
        command += ["--snapshot", f"cow-{chunk}"]
    copies = " && ".join(f"dd if=source of=copy-{n} bs=1M count={size // MIB} conv=fdatasync status=none"
                         for n in range(4))
    for _ in range(args.runs):
        shutil.copyfile(folder / "origin", folder / "target")
        for chunk in ("4k", "64k", "512k"):
            (folder / f"cow-{chunk}").unlink(missing_ok=True)
            subprocess.run([args.snaptool, "create", "-q", "--chunk-size", chunk, "target", f"cow-{chunk}"],
                           cwd=folder, check=True)
        before = sha256_of([args.snaptool, "read", f"{folder}/target@{folder}/cow-64k"])
        os.sync()
        runs["snaptool"].append(timed(command, folder))
        for chunk in ("4k", "64k", "512k"):
            if sha256_of([args.snaptool, "read", f"{folder}/target@{folder}/cow-{chunk}"]) != before:
                sys.exit(f"write-origin: the view of cow-{chunk} changed")
        for n in range(4):
            (folder / f"copy-{n}").unlink(missing_ok=True)
        os.sync()
        runs["copies"].append(timed(["sh", "-c", copies], folder))
    report("write-origin", runs, results)
    # Once more, counted.
    for chunk in ("4k", "64k", "512k"):
        subprocess.run([args.snaptool, "create", "-q", "--force", "--chunk-size", chunk, "target", f"cow-{chunk}"],
                       cwd=folder, check=True)
    subprocess.run(["strace", "-f", "-y", "-qq", "-e", "trace=pread64", "-o", "trace", *command], cwd=folder, check=True)
    read = sum(int(got) for got in re.findall(r'pread64\(\d+<[^>]*/target>.* = (\d+)$', (folder / "trace").read_text(),
                                              re.M))
    print(f"write-origin read {read} bytes of the origin to change {size} ({read / size:.3f} times)")
    results["write-origin"]["origin_bytes_read"] = read


def report(name, runs, results):
    medians = {who: statistics.median(run["seconds"] for run in of) for who, of in runs.items()}
    results[name] = {who: {"median_seconds": medians[who], "runs": of} for who, of in runs.items()}
    ratios = ", ".join(f"{medians['snaptool'] / seconds:.2f} of {who}"
                       for who, seconds in medians.items() if who != "snaptool")
    peak = max(run["peak_kib"] for run in runs["snaptool"]) / KIB
    print(f"{name}: " + ", ".join(f"{who} {seconds:.2f} s" for who, seconds in medians.items()) +
          f"; {ratios}; peak {peak:.0f} MiB", flush=True)


def main():
    cases = ("4k-sequential", "64k-sequential", "4k-random", "64k-random")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--snaptool", required=True, type=os.path.abspath)
    parser.add_argument("--work", required=True, type=Path, help="a folder for several GiB, emptied afterwards")
    parser.add_argument("--size", type=int, default=256, help="MiB of the origin, and of sequential writes (default: %(default)s)")
    parser.add_argument("--random-size", type=int, default=64, help="MiB of random writes, and of write-origin (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=cases)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.size *= MIB
    args.random_size *= MIB
    args.only = args.only or list(cases)
    folder = args.work / "write-bench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        make_random_file(folder / "origin", args.size)
        make_random_file(folder / "source", args.size)
        results = {}
        bench_writes(args, folder, results)
        bench_write_origin(args, folder, results)
        if args.json:
            args.json.write_text(json.dumps(results, indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
