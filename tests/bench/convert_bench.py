#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times convert against `qemu-img convert`, img2simg, simg2img, ewfacquirestream and ewfexport.

In turn, inputs in the page cache, with a sync; the best of some rounds. What everybody made is checked and compared in
the last round. README.md says more.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20
CHUNK = 65536
QEMU = ["qemu-img", "convert", "-m", "16", "-W", "-t", "writeback"]
# What is compressed has to be written in order.
IN_ORDER = [word for word in QEMU if word != "-W"]
# name, format, how qemu-img makes one, snaptool's options, the bars from raw and back to it
MACHINES = [
    ("streamOptimized vmdk", "vmdk", [*IN_ORDER, "-o", "subformat=streamOptimized"], ["-c"], 0.5, 0.8),
    ("vmdk", "vmdk", [*QEMU, "-o", "subformat=monolithicSparse"], [], 0.8, 0.8),
    ("vpc", "vpc", [*QEMU, "-o", "subformat=dynamic,force_size=on"], [], 0.8, 0.8),
    ("vhdx", "vhdx", [*QEMU, "-o", "subformat=dynamic"], [], 0.8, 0.8),
    ("vdi", "vdi", QEMU, [], 0.8, 0.8)]


class Data:
    """Seeded bytes, from a pool that no compressor looks back far enough to see repeat."""

    POOL = 16 * MIB

    def __init__(self, rng, text):
        if text:  # of zstd's clusters of 64 KiB, three to one
            letters = "etaoinshrdlucmfw"
            words = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(1500)]
            weights = [1 / (rank + 2) for rank in range(len(words))]
            self.pool = " ".join(rng.choices(words, weights, k=self.POOL // 2)).encode()[:self.POOL]
        else:
            self.pool = rng.randbytes(self.POOL)
        self.at = 0

    def take(self, size):
        self.at = (self.at + size) % (self.POOL - size)
        return memoryview(self.pool)[self.at:self.at + size]


def make_source(folder, size, rng, kinds):
    """src: a quarter each of holes, zeros, text and noise, in pieces of 1 to 8 MiB; data: only the latter two."""
    with open(folder / "src", "wb") as source, open(folder / "data", "wb") as data:
        left = size // 4
        while left:
            piece = min(rng.randint(1, 8) * MIB, left)
            left -= piece
            for kind in rng.sample(["hole", "zeros", "text", "noise"], 4):
                if kind == "hole":
                    source.seek(piece, os.SEEK_CUR)
                elif kind == "zeros":
                    source.write(bytes(piece))
                else:
                    content = kinds[kind].take(piece)
                    source.write(content)
                    data.write(content)
        source.truncate(size)


def make_runs(path, size, data):
    """4 KiB of data, 4 KiB of hole, and so on."""
    with open(path, "wb") as file:
        for at in range(0, size, 8192):
            file.seek(at)
            file.write(data.take(4096))
        file.truncate(size)


def make_files(args, folder):
    """The source, its qcow2 images, the view (a quarter of src changed, in chunks), its store, and an equal overlay."""
    size = args.size * MIB
    rng = random.Random(args.seed)
    kinds = {"text": Data(rng, True), "noise": Data(rng, False)}
    make_source(folder, size, rng, kinds)
    make_runs(folder / "runs", size // 3, kinds["noise"])
    subprocess.run(["cp", "--sparse=auto", "src", "view.raw"], cwd=folder, check=True)
    with open(folder / "view.raw", "r+b") as view:
        for chunk in sorted(rng.sample(range(size // CHUNK), size // CHUNK // 4)):
            view.seek(chunk * CHUNK)
            view.write(kinds[rng.choice(["text", "noise"])].take(CHUNK))
    for command in ([*QEMU, "-f", "raw", "-O", "qcow2", "src", "src.qcow2"],
                    [*QEMU, "-f", "raw", "-c", "-O", "qcow2", "-o", "compression_type=zstd", "src", "src-zstd.qcow2"],
                    [args.snaptool, "create", "-q", "--chunk-size", "64k", "src", "cow"],
                    [args.snaptool, "write", "-q", "--skip-equal", "-i", "view.raw", "src", "cow"],
                    # Over the view, then moved to the source: that leaves the clusters that differ.
                    ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "view.raw", "-F", "raw", "overlay"],
                    ["qemu-img", "rebase", "-f", "qcow2", "-b", "src", "-F", "raw", "overlay"]):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    # All in the page cache.
    subprocess.run(["cat", *sorted(path.name for path in folder.iterdir())], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)


def remove_made(folder):
    for path in folder.glob("out*"):
        path.unlink()


def timed(command, folder):
    """(seconds with a sync, peak in MiB)."""
    remove_made(folder)  # nobody pays for what the run before left
    os.sync()
    start = time.monotonic()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    os.sync()
    seconds = time.monotonic() - start
    if process.returncode != 0:
        sys.exit(f"{command} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def check(name, who, form, equal_to, folder):
    """qemu-img, simg2img or ewfexport has to find `out` sound, and equal to that raw image."""
    commands = [["qemu-img", "compare", "-f", form, "-F", "raw", "out", equal_to]]
    if form == "simg":
        commands = [["simg2img", "out", "out.raw"], ["cmp", "out.raw", equal_to]]
    elif form == "ewf":
        commands = [["bash", "-c", "ln -f out peer.E01 && ewfexport -q -u -t peer -f raw peer.E01 && cmp peer.raw \"$0\"", equal_to]]
    elif form in ("qcow2", "vmdk", "vhdx", "vdi"):
        commands.append(["qemu-img", "check", "-f", form, "out"])  # leaked clusters are an error, too
    for command in commands:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode != 0:
            sys.exit(f"{name}: WRONG OUTPUT of {who}: {' '.join(command)} ended with {done.returncode}: "
                     f"{done.stdout[:1000]}")


def contest(args, folder, name, contestants, form, equal_to, bar, results, same_size=False, rival="qemu-img"):
    """contestants: {who: command that makes `out`}; bar: what the time of snaptool may be of that of the rivals."""
    if args.only not in name:
        return
    runs = {who: [] for who in contestants}
    sizes = {}
    for number in range(args.rounds):
        order = list(contestants.items())
        for who, command in order[number % len(order):] + order[:number % len(order)]:
            runs[who].append(timed(command, folder))
            size = (folder / "out").stat().st_size
            # A rival's differ from run to run: its smallest one counts, and of snaptool the largest.
            sizes[who] = (max if who == "snaptool" else min)(size, sizes.get(who, size))
            if number == args.rounds - 1 and who != "cp":
                check(name, who, form, equal_to, folder)
            remove_made(folder)
    best = {who: min(run[0] for run in of) for who, of in runs.items()}
    peak = max(run[1] for run in runs["snaptool"])
    rivals = [who for who in contestants if who.startswith(rival)]
    verdicts = ", ".join(f"{'met' if best['snaptool'] <= bar * best[who] else 'MISSED'} for {who}" for who in rivals)
    results[name] = {who: {"best_seconds": best[who], "bytes": sizes[who], "runs": of} for who, of in runs.items()}
    text = ", ".join(f"{who} {seconds:.2f} s" for who, seconds in best.items())
    ratios = ", ".join(f"{best['snaptool'] / best[who]:.2f} of {who}" for who in best if who != "snaptool")
    print(f"{name}: {text}; {ratios}; peak {peak:.0f} MiB; bar, at most {bar}: {verdicts}", end="")
    if form != "raw":
        print("; size " + ", ".join(f"{who} {sizes[who] / MIB:.2f} MiB" for who in ("snaptool", *rivals)), end="")
    if same_size:
        print(f"; bar, equal or smaller: {'met' if sizes['snaptool'] <= sizes[rivals[0]] else 'MISSED'}", end="")
    print(flush=True)


def to_and_back(args, folder, name, form, contestants, makes_raw, bars, results, same_size=False):
    """From raw, and from what the rival made back to raw. The second of each two is the rival."""
    rival, command = list(contestants.items())[1]
    contest(args, folder, f"raw to {name}", contestants, form, "src", bars[0], results, same_size, rival)
    if args.only not in f"{name} to raw":
        return
    source = folder / "src.other"
    subprocess.run([*command[:-1], source.name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cat", source.name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    contest(args, folder, f"{name} to raw", makes_raw, "raw", "src", bars[1], results, rival=list(makes_raw)[1])
    source.unlink()


def bench(args, folder, results):
    # In a process of its own: a child's peak begins with what its parent had.
    maker = multiprocessing.Process(target=make_files, args=(args, folder))
    maker.start()
    maker.join()
    if maker.exitcode != 0:
        sys.exit("the files could not be made")
    convert = [args.snaptool, "convert", "-q"]
    contest(args, folder, "raw to qcow2", {
        "snaptool": [*convert, "-O", "qcow2", "src", "out"],
        "qemu-img": [*QEMU, "-f", "raw", "-O", "qcow2", "src", "out"],
        # The floor: what is neither hole nor zeros, copied.
        "cp": ["cp", "--reflink=never", "--sparse=never", "data", "out"]}, "qcow2", "src", 0.5, results)
    contest(args, folder, "raw to compressed qcow2", {
        "snaptool": [*convert, "-c", "-O", "qcow2", "src", "out"],
        "qemu-img": [*QEMU, "-f", "raw", "-c", "-O", "qcow2", "-o", "compression_type=zstd", "src", "out"]},
        "qcow2", "src", 0.67, results, same_size=True)
    for name, source in (("qcow2 to raw", "src.qcow2"), ("compressed qcow2 to raw", "src-zstd.qcow2")):
        contest(args, folder, name, {
            "snaptool": [*convert, "-O", "raw", source, "out"],
            "qemu-img": [*QEMU, "-f", "qcow2", "-O", "raw", source, "out"]}, "raw", "src", 0.5, results)
    contest(args, folder, "4k runs with 4k holes", {
        "snaptool": [*convert, "-O", "raw", "runs", "out"],
        "qemu-img": [*QEMU, "-f", "raw", "-O", "raw", "runs", "out"],
        "cp": ["cp", "--reflink=never", "--sparse=auto", "runs", "out"]}, "raw", "runs", 0.7, results, rival="cp")
    # qemu-img does not compare with what -B names: of a raw view it writes all. Of an overlay it writes what that has.
    contest(args, folder, "store to overlay", {
        "snaptool": [*convert, "-O", "qcow2", "--base", "src", "src@cow", "out"],
        "qemu-img": [*QEMU, "-f", "raw", "-O", "qcow2", "-B", "src", "-F", "raw", "view.raw", "out"],
        "qemu-img of an equal overlay": [*QEMU, "-f", "qcow2", "-O", "qcow2", "-B", "src", "-F", "raw", "overlay",
                                         "out"]},
        "qcow2", "view.raw", 0.5, results)
    for name, form, qemu, options, bar, bar_back in MACHINES:
        to_and_back(args, folder, name, form, {
            "snaptool": [*convert, *options, "-O", form, "src", "out"],
            "qemu-img": [*qemu, "-f", "raw", "-O", form, "src", "out"]}, {
            "snaptool": [*convert, "-O", "raw", "src.other", "out"],
            "qemu-img": [*QEMU, "-f", form, "-O", "raw", "src.other", "out"]}, (bar, bar_back), results,
            same_size="-c" in options)
    to_and_back(args, folder, "simg", "simg", {
        "snaptool": [*convert, "-O", "simg", "src", "out"],
        "img2simg": ["img2simg", "src", "out"]}, {
        "snaptool": [*convert, "-O", "raw", "src.other", "out"],
        "simg2img": ["simg2img", "src.other", "out"]}, (0.5, 0.5), results)
    # ewf-tools know an image by the end of its name.
    export = "ln -f src.other peer.E01 && ewfexport -q -u -t peer -f raw peer.E01 && mv peer.raw \"$0\""
    acquire = "ewfacquirestream -q -c fast -d sha1 -S 7000000000 -t peer <src && mv peer.E01 \"$0\""
    to_and_back(args, folder, "ewf", "ewf", {
        "snaptool": [*convert, "-O", "ewf", "src", "out"],
        "ewfacquirestream": ["bash", "-c", acquire, "out"]}, {
        "snaptool": [*convert, "-O", "raw", "src.other", "out"],
        "ewfexport": ["bash", "-c", export, "out"]},
        (0.6, 0.5), results)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--snaptool", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder with room for six times --size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=768, help="MiB of the image, a multiple of 4; half of it is data")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="the cases with this in their name, as 'vmdk'")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.size < 4 or args.size % 4 or args.rounds < 1:
        parser.error("--size has to be a multiple of 4, and --rounds at least 1")
    args.snaptool = args.snaptool.resolve()
    results = {}
    folder = args.work / "convert-bench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        bench(args, folder, results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
