#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times snaptool merge against qemu-img commit and against a plain copy of the same chunks.

Every measurement gets fresh copies of an origin and of a store (or of the qcow2 overlay that holds
the same chunks), made durable before the clock starts. Each contestant has to leave the origin
durable; that its bytes are right is checked in the first round. README.md says more.
"""

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
from pathlib import Path

UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
PATTERNS = ("random", "sequential", "clustered", "reverse")
DEFAULT_CASES = ("4k-random", "64k-random", "4k-sequential", "64k-random-holes")
MIB = 1 << 20


def parse_size(text):
    unit = UNITS.get(text[-1:].lower())
    try:
        size = int(text[:-1]) * unit if unit else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a size: {text}") from None
    if size <= 0:
        raise argparse.ArgumentTypeError(f"not a size: {text}")
    return size


class Case:
    """A store to merge: CHUNK-PATTERN, as in 4k-random; with -holes, its data are holes, and the origin is one."""

    def __init__(self, name):
        chunk, _, pattern = name.removesuffix("-holes").partition("-")
        if pattern not in PATTERNS:
            raise argparse.ArgumentTypeError(
                f"{name}: is not CHUNK-PATTERN or CHUNK-PATTERN-holes, the pattern one of {', '.join(PATTERNS)}")
        self.name = name
        self.holes = name.endswith("-holes")
        self.chunk = parse_size(chunk)
        self.pattern = pattern


class Contestant:
    """A way to get the chunks of `source` into the origin; `command` is run in their folder."""

    def __init__(self, name, command, source, empties):
        self.name = name
        self.command = command
        self.source = source  # "cow" or "overlay"
        self.empties = empties  # it leaves an empty store behind
        self.runs = []  # of this case: dicts of what was measured


def contestants(args):
    def snaptool(name, program, *options):
        return Contestant(name, [program, "merge", "--quiet", *options, "origin", "cow"],
                          "cow", True)

    found = [snaptool("snaptool", args.snaptool)]
    for jobs in args.jobs:
        found.append(snaptool(f"snaptool -j{jobs}", args.snaptool, f"-j{jobs}"))
    if args.safety:
        found += [snaptool("--verify", args.snaptool, "--verify"),
                  snaptool("--undo", args.snaptool, "--undo", "undo"),
                  snaptool("--verify --undo", args.snaptool, "--verify", "--undo", "undo")]
    for text in args.also:
        name, _, program = text.partition("=")
        found.append(snaptool(name, shutil.which(program) or sys.exit(f"{program}: not found")))
    if args.qemu_img:
        found.append(Contestant("qemu-img", [args.qemu_img, "commit", "-q", "-f", "qcow2", "overlay"],
                                "overlay", False))
    floor = str((args.programs / "bench_floor_copy").resolve())
    found.append(Contestant("floor", [floor, "origin", "cow"], "cow", False))
    return found


def generate(args, case, folder):
    """Makes origin, cow and overlay; returns how many exceptions they hold."""
    exceptions = max(1, args.size // 4 // case.chunk)
    origin_size = 3 * exceptions * case.chunk
    subprocess.run([args.programs / "bench_generate_store", "--origin", folder / "origin",
                    "--cow", folder / "cow", "--qcow2", folder / "overlay",
                    "--size", str(origin_size), "--chunk-size", str(case.chunk),
                    "--exceptions", str(exceptions), "--pattern", case.pattern,
                    "--seed", str(args.seed), *(["--sparse-data", "--sparse-origin"] if case.holes else [])], check=True)
    if args.qemu_img:
        subprocess.run([args.qemu_img, "check", "-q", folder / "overlay"], check=True)
    return exceptions


def is_empty_store(path):
    """True if the first exception of the store's first area ends the list."""
    with open(path, "rb") as file:
        chunk = struct.unpack("<12xI", file.read(16))[0] * 512
        file.seek(chunk)
        return struct.unpack("<8xQ", file.read(16))[0] == 0


def copy_fresh(sources, folder, names, args, case):
    """Copies that are durable; in the page cache (they were just written), or not with --cold.
    An older copy is written over, unless it has to have holes."""
    folder.mkdir(exist_ok=True)
    (folder / "undo").unlink(missing_ok=True)
    def command(name):
        if case.holes:
            return ["cp", "--sparse=always", "--remove-destination", sources / name, folder / name]
        return ["dd", f"if={sources / name}", f"of={folder / name}", "bs=256k", "conv=notrunc,fsync", "status=none"]

    copies = [subprocess.Popen(command(name)) for name in names]
    for name, copy in zip(names, copies):
        if copy.wait() != 0:
            sys.exit(f"copying {name} failed")
        os.truncate(folder / name, (sources / name).stat().st_size)
        with open(folder / name, "rb") as file:
            os.fsync(file.fileno())
            if args.cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


# Runs a command for run_timed. A child begins with what its parent had resident, as the kernel
# counts it, so the parent is an interpreter that has next to nothing loaded.
LAUNCHER = """
import posix, sys, time
start = time.perf_counter()
child = posix.posix_spawn(sys.argv[1], sys.argv[1:], posix.environ,
                          file_actions=[(posix.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = posix.wait4(child, 0)
seconds = time.perf_counter() - start
print(status, seconds, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024)
"""


def run_timed(command, folder):
    """Runs it to its end; returns wall clock, processor time and peak memory."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", LAUNCHER, *map(str, command)],
                          cwd=folder, capture_output=True, check=True, text=True)
    status, seconds, user, system, peak = done.stdout.split()
    if status != "0":
        sys.exit(f"{' '.join(map(str, command))}: exit status "
                 f"{os.waitstatus_to_exitcode(int(status))}\n{done.stderr}")
    return {"seconds": float(seconds), "user_seconds": float(user), "system_seconds": float(system),
            "peak_rss_bytes": int(peak)}


def measure(args, case):
    """All rounds of one case; the contestants take turns within each, another one first each time.
    """
    field = contestants(args)
    sources = args.work / "sources"
    run = args.work / "run"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir()
    exceptions = generate(args, case, sources)

    # What the floor makes is what everybody has to make.
    copy_fresh(sources, run, ("origin", "cow"), args, case)
    run_timed(field[-1].command, run)
    (run / "origin").rename(sources / "wanted")

    for number in range(args.runs):
        turn = number % len(field)
        for contestant in field[turn:] + field[:turn]:
            copy_fresh(sources, run, ("origin", contestant.source), args, case)
            contestant.runs.append(run_timed(contestant.command, run))
            if number == 0 and subprocess.run(
                    ["cmp", "-s", sources / "wanted", run / "origin"]).returncode != 0:
                sys.exit(f"{case.name}: {contestant.name} left a wrong origin")
            if contestant.empties and not is_empty_store(run / contestant.source):
                sys.exit(f"{case.name}: {contestant.name} left a store that is not empty")
        print(f"{case.name}, round {number + 1} of {args.runs}: "
              + ", ".join(f"{c.name} {c.runs[-1]['seconds']:.2f} s" for c in field),
              file=sys.stderr, flush=True)
    shutil.rmtree(sources)
    shutil.rmtree(run)
    return summary(case, exceptions, field)


def summary(case, exceptions, field):
    by_name = {}
    for contestant in field:
        seconds = [run["seconds"] for run in contestant.runs]
        by_name[contestant.name] = {
            "median_seconds": statistics.median(seconds),
            "min_seconds": min(seconds),
            "max_seconds": max(seconds),
            "median_processor_seconds": statistics.median(
                run["user_seconds"] + run["system_seconds"] for run in contestant.runs),
            "peak_rss_bytes": max(run["peak_rss_bytes"] for run in contestant.runs),
            "runs": contestant.runs,
        }
    ratios = {}
    for name, result in by_name.items():
        for other in ("qemu-img", "floor", *(["snaptool"] if name.startswith("--") else [])):
            if other in by_name and name not in ("qemu-img", "floor"):
                ratios[f"{name} / {other}"] = (result["median_seconds"]
                                               / by_name[other]["median_seconds"])
    return {"name": case.name, "chunk_size": case.chunk, "pattern": case.pattern,
            "exceptions": exceptions, "data_bytes": exceptions * case.chunk,
            "contestants": by_name, "ratios": ratios}


def table(heading, header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths))
             for row in [header, ["-" * width for width in widths], *rows]]
    return "\n".join([heading, "", *(f"| {line} |" for line in lines), ""])


def report(args, results, least_rss):
    names = list(results[0]["contestants"])
    ratios = list(results[0]["ratios"])

    def rows(cell):
        return [[case["name"], *(cell(case["contestants"][name]) for name in names)]
                for case in results]

    state = "not in the page cache" if args.cold else "in the page cache"
    print(table(f"Seconds, median of {args.runs} (min-max); files {state}", ["case", *names],
                rows(lambda c: f"{c['median_seconds']:.2f} "
                               f"({c['min_seconds']:.2f}-{c['max_seconds']:.2f})")))
    if ratios:
        print(table("Ratios of the medians", ["case", *ratios],
                    [[case["name"], *(f"{case['ratios'][ratio]:.2f}" for ratio in ratios)]
                     for case in results]))
    print(table("Processor seconds, median", ["case", *names],
                rows(lambda c: f"{c['median_processor_seconds']:.2f}")))
    print(table(f"Peak memory in MiB (what is below {least_rss / MIB:.0f} cannot be seen)",
                ["case", *names],
                rows(lambda c: f"{c['peak_rss_bytes'] / MIB:.0f}"
                     if c["peak_rss_bytes"] > 1.05 * least_rss else f"<= {least_rss / MIB:.0f}")))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--snaptool", default="snaptool", help="the program to measure")
    parser.add_argument("--programs", type=Path, default=Path("."),
                        help="the folder of bench_generate_store and bench_floor_copy")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PROGRAM",
                        help="another build of snaptool to measure beside it (repeatable)")
    parser.add_argument("--work", type=Path, default=Path("bench-work"),
                        help="a folder for the images: it must not exist, is made and removed, and "
                             "takes about four times --size (default: %(default)s)")
    parser.add_argument("--size", type=parse_size, default=2 << 30, metavar="BYTES",
                        help="of origin and store together, of which the store's chunks are a "
                             "quarter; k, M or G (default: 2G)")
    parser.add_argument("--jobs", action="append", type=int, default=[], metavar="N",
                        help="measure 'merge -jN', too (repeatable)")
    parser.add_argument("--runs", type=int, default=5, help="measurements each (default: 5)")
    parser.add_argument("--only", action="append", type=Case, default=[], metavar="CHUNK-PATTERN",
                        help=f"measure this instead of {', '.join(DEFAULT_CASES)} (repeatable)")
    parser.add_argument("--safety", action="store_true",
                        help="measure what --verify and --undo cost, too")
    parser.add_argument("--cold", action="store_true",
                        help="drop the files from the page cache before each measurement")
    parser.add_argument("--seed", type=int, default=1, help="of the generator (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements there")
    args = parser.parse_args()
    if args.runs < 1:
        parser.error("--runs must be at least 1")
    args.snaptool = shutil.which(args.snaptool) or parser.error(f"{args.snaptool}: not found")
    args.snaptool = str(Path(args.snaptool).resolve())
    args.qemu_img = shutil.which("qemu-img")
    if not args.qemu_img:
        print("qemu-img is not installed: measuring without it", file=sys.stderr)
    args.programs = args.programs.resolve()
    args.work = args.work.resolve()
    return args


def main():
    args = parse_args()
    args.work.mkdir(parents=True)
    try:
        results = [measure(args, case) for case in args.only or map(Case, DEFAULT_CASES)]
    finally:
        shutil.rmtree(args.work)
    # What the launcher's own memory makes of a program that needs next to none.
    least_rss = run_timed([shutil.which("true")], Path.cwd())["peak_rss_bytes"]
    report(args, results, least_rss)
    if args.json:
        args.json.write_text(json.dumps(
            {"format_version": 1, "cold": args.cold, "runs": args.runs,
             "smallest_peak_rss_bytes": least_rss, "cases": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
