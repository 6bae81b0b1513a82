#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times diff and hash against QEMU, cmp, OpenSSL and a bare two-thread comparison.

What each contestant says is checked: equal or not, and the sums. README.md says more.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20
KIB = 1 << 10


def make_random_file(path, size, seed):
    """Random bytes from a pool: nothing here looks whether they come again."""
    pool = random.Random(seed).randbytes(64 * MIB)
    with open(path, "wb") as file:
        for _ in range(size // len(pool)):
            file.write(pool)
        file.write(pool[:size % len(pool)])


def timed(command, folder, expected):
    """Runs it; its exit status has to be the expected one."""
    start = time.monotonic()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        output = process.stdout.read()
        error = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        sys.exit(f"{command} ended with {process.returncode}: {output[:500]}{error[:500]}")
    return {"seconds": time.monotonic() - start, "cpu": usage.ru_utime + usage.ru_stime,
            "peak_kib": usage.ru_maxrss}, output


def contest(name, contestants, args, folder, results, same=None):
    """contestants: {who: (command, exit status)}; `same` takes of an output what has to be the same for all."""
    runs = {who: [] for who in contestants}
    for run in range(args.runs):
        order = list(contestants.items())
        outputs = set()
        for who, (command, status) in order[run % len(order):] + order[:run % len(order)]:
            figures, output = timed(command, folder, status)
            runs[who].append(figures)
            if same:
                outputs.add(same(output))
        if len(outputs) > 1:
            sys.exit(f"{name}: the outputs differ: {outputs}")
    medians = {who: statistics.median(run["seconds"] for run in of) for who, of in runs.items()}
    results[name] = {who: {"median_seconds": medians[who], "runs": of} for who, of in runs.items()}
    ratios = ", ".join(f"{medians['snaptool'] / seconds:.3f} of {who}"
                       for who, seconds in medians.items() if who != "snaptool")
    peak = max(run["peak_kib"] for run in runs["snaptool"]) / KIB
    print(f"{name}: " + ", ".join(f"{who} {seconds:.3f} s" for who, seconds in medians.items()) +
          f"; {ratios}; peak {peak:.0f} MiB", flush=True)


def bench_equal(args, folder, results):
    shutil.copyfile(folder / "a", folder / "b")
    subprocess.run(["cmp", "a", "b"], cwd=folder, check=True)  # and both are in the page cache
    contest("equal files", {
        "snaptool": ([args.snaptool, "diff", "-q", "a", "b"], 0),
        "qemu-img": (["qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", "a", "b"], 0),
        "cmp": (["cmp", "a", "b"], 0),
        "floor": ([args.programs / "bench_floor_compare", "a", "b"], 0)}, args, folder, results)
    (folder / "b").rename(folder / "copy")


def bench_sparse(args, folder, results):
    """One MiB of data in 32, the rest holes."""
    for name in ("sparse", "sparse-copy"):
        with open(folder / name, "wb") as file, open(folder / "a", "rb") as data:
            file.truncate(args.size)
            for at in range(0, args.size, 32 * MIB):
                file.seek(at)
                file.write(data.read(MIB))
    contest("equal sparse files", {
        "snaptool": ([args.snaptool, "diff", "-q", "sparse", "sparse-copy"], 0),
        "qemu-img": (["qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", "sparse", "sparse-copy"], 0),
        "cmp": (["cmp", "sparse", "sparse-copy"], 0)}, args, folder, results)
    contest("SHA-256 of a sparse file's blocks", {
        "snaptool": ([args.snaptool, "hash", "-q", "--block-size", "1M", "sparse"], 0),
        "openssl": (["openssl", "dgst", "-sha256", "sparse"], 0)}, args, folder, results)


def bench_snapshot(args, folder, results):
    """One chunk of 4 KiB in a hundred is changed in a snapshot; cmp has it as a file of its own.

    Plain cmp ends at the first difference: what it takes to read everything is shown by two equal files.
    """
    chunks = args.size // (4 * KIB)
    rng = random.Random(args.seed)
    script = "".join(f"write s {chunk * 4 * KIB} 4096 -P {rng.randrange(1, 255)}\n"
                     for chunk in sorted(rng.sample(range(chunks), chunks // 100)))
    (folder / "script").write_text(script)
    subprocess.run([args.snaptool, "create", "-q", "--chunk-size", "4k", "a", "cow"], cwd=folder, check=True)
    subprocess.run([args.snaptool, "batch", "-q", "a", "script", "--snapshot", "s=cow"], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run([args.snaptool, "read", "-q", "a@cow", "-o", "view"], cwd=folder, check=True)
    contest("origin and snapshot", {
        "snaptool": ([args.snaptool, "diff", "-q", "a", "a@cow"], 1),
        "cmp of equal files": (["cmp", "a", "copy"], 0),
        "floor": ([args.programs / "bench_floor_compare", "a", "view"], 1)}, args, folder, results)
    for name in ("cow", "view", "script", "copy"):
        (folder / name).unlink()


def bench_hash(args, folder, results):
    os.truncate(folder / "a", args.size // 4)  # the ratios are the same, and openssl is slow

    def sums(output):
        """The sums in what `hash`, `dgst` or `md5sum` prints, in order."""
        return tuple(sorted(word for word in output.split() if len(word) >= 32 and set(word) <= set("0123456789abcdef")))

    for algorithm in ("sha256", "sha1", "md5"):
        openssl = (["openssl", "dgst", f"-{algorithm}", "a"], 0)
        contest(f"{algorithm} of the whole", {
            "snaptool": ([args.snaptool, "hash", "-q", "--algorithm", algorithm, "a"], 0), "openssl": openssl},
            args, folder, results, sums)
        contest(f"{algorithm} of blocks", {
            "snaptool": ([args.snaptool, "hash", "-q", "--algorithm", algorithm, "--block-size", "1M", "a"], 0),
            "openssl": openssl}, args, folder, results)
    contest("sha256, sha1 and md5 in one pass", {
        "snaptool": ([args.snaptool, "hash", "-q", "--algorithm", "sha256,sha1,md5", "a"], 0),
        "openssl, three times": (["sh", "-c", "for a in sha256 sha1 md5; do openssl dgst -$a a; done"], 0)},
        args, folder, results, sums)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--snaptool", required=True, type=os.path.abspath)
    parser.add_argument("--programs", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--work", required=True, type=Path, help="a folder for thrice the size, emptied afterwards")
    parser.add_argument("--size", type=int, default=2048, help="MiB of an image")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.size *= MIB
    folder = args.work / "diff-bench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        results = {}
        # In a process of its own: a child's peak begins with what its parent had.
        maker = multiprocessing.Process(target=make_random_file, args=(folder / "a", args.size, args.seed))
        maker.start()
        maker.join()
        bench_equal(args, folder, results)
        bench_snapshot(args, folder, results)
        bench_sparse(args, folder, results)
        bench_hash(args, folder, results)
        if args.json:
            args.json.write_text(json.dumps(results, indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
