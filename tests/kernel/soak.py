# SPDX-License-Identifier: Apache-2.0
"""Kills merges again and again, and looks after every kill whether the view is still what it was.

A story is one random store: snaptool merges it, and is killed (kill -9) at a random write, flush or moment; it
merges on, and is killed again, until a merge comes to its end. Some stories keep an undo file and are then undone,
killed as often. After every kill a naive reader (crafted.py) must find the view that it found at the beginning; at
the end the origin must be that view, or after an undoing both files what they were. Of the killed stories, one in
--every goes to the real kernel: it finishes a copy, or begins to and leaves the rest to snaptool.

    SNAPTOOL=build/cli/snaptool python3 tests/kernel/soak.py --kills 1000 --log soak.log

`--seed S --story N` replays one story. Cuts at writes and flushes come again exactly, cuts at moments only about.
"""

import argparse
import collections
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from crafted import naive_view, random_pair  # noqa: E402
from harness import SNAPTOOL, run, run_under_strace  # noqa: E402
from uml import GuestError, run_in_guest  # noqa: E402

POOL = 12  # stories told at a time
GUEST = 8  # of them, how many wait for one boot of the kernel
KILLED = -9
HOW = ["write", "write", "write", "clear", "flush", "moment", "moment"]
FLUSHES = 4  # of a merge in one batch, at least


class Wrong(Exception):
    """A kill changed the view, or snaptool or the kernel refused to go on."""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Story:
    """One store, from its making to the end of its merge or undoing."""

    patience = 0.01  # seconds in which a merge may be killed at a moment: learnt, by all stories

    def __init__(self, seed, number, folder, every):
        self.rng = rng = random.Random(f"{seed}/{number}")
        self.number, self.every = number, every
        self.folder = folder / f"story-{number}"
        self.folder.mkdir()
        self.origin, self.cow, self.undo = (self.folder / name for name in ("origin", "cow", "undo"))
        self.chunk = rng.choice([1, 1, 8, 8, 16, 64])
        chunks = rng.randrange(2, {1: 600, 8: 400, 16: 200, 64: 60}[self.chunk])
        tail = rng.randrange(self.chunk) if rng.random() < 0.3 else 0  # the last chunk is cut by the origin's end
        exceptions = rng.randrange(1, chunks + 1)
        random_pair(rng, self.origin, self.cow, self.chunk, chunks * self.chunk - tail, exceptions)
        self.with_undo = rng.random() < 0.25
        self.undoing = False
        self.label = (f"seed={seed} story={number} chunk={self.chunk} chunks={chunks} tail={tail} "
                      f"exceptions={exceptions} undo={'yes' if self.with_undo else 'no'}")
        self.before = [sha256(path.read_bytes()) for path in (self.origin, self.cow)]
        self.sum = self.look()
        self.entries = exceptions
        self.ended = False
        self.kills = 0
        self.kernel = None  # what it waits for the kernel to do

    def look(self):
        """The SHA-256 of the view; learns what is left to be merged."""
        view, entries = naive_view(self.origin.read_bytes(), self.cow.read_bytes())
        self.left = len(entries)
        there = set(entries)
        self.runs = sum((old - 1, new - 1) not in there for old, new in entries)
        return sha256(view)

    def command(self):
        if self.undoing:
            return ["undo", "-q", self.undo, self.origin, self.cow]
        return ["merge", "-q", *(["--undo", self.undo] if self.with_undo else []), self.origin, self.cow]

    def kill_at_a_moment(self):
        jobs = self.rng.choice([1, 2, 4])
        delay = self.rng.random()
        command = [SNAPTOOL, *map(str, self.command()), "-j", str(jobs)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        try:
            process.wait(delay * self.patience)
        except subprocess.TimeoutExpired:
            process.kill()
        _, error = process.communicate()
        # Four of five in its life, roughly.
        Story.patience *= 1.05 if process.returncode == KILLED else 0.8
        return f"moment:{delay:.3f}:j{jobs}", process.returncode, error

    def kill_at_a_call(self, kind):
        """At a write, a flush, or with "clear" at a write to the COW: the n-th, if there are so many."""
        clears = (self.entries if self.undoing else self.left) * 16 // min(4096, self.chunk * 512) + 1
        most = {"write": self.runs + clears, "clear": clears, "flush": FLUSHES}[kind]
        cut = self.rng.randrange(1, most + 1)
        options = ["-o", "/dev/null", *(["-P", str(self.cow)] if kind == "clear" else []), "-e",
                   f"inject={'fdatasync' if kind == 'flush' else 'pwrite64'}:signal=KILL:when={cut}"]
        done = run_under_strace(options, *self.command(), "-j", "1")
        return f"{kind}:{cut}", done.returncode, done.stderr

    def step(self):
        """Runs the command, to be killed. Returns (how, whether it was)."""
        kind = self.rng.choice(HOW)
        how, status, error = self.kill_at_a_moment() if kind == "moment" else self.kill_at_a_call(kind)
        how = self.command()[0] + ":" + how
        if status == KILLED:
            self.kills += 1
            self.check_view(how)
            if self.every and self.rng.randrange(self.every) == 0:
                stop = self.rng.choice([None, 0.0, 0.05, 0.2])
                self.kernel = {"stop": stop} if stop is not None and not self.with_undo else {}
            return how, True
        if status != 0:
            raise Wrong(f"{how}: exit status {status}: {error}")
        self.come_to_an_end(how)
        return how, False

    def come_to_an_end(self, how):
        self.check_view(how)
        now = [sha256(path.read_bytes()) for path in (self.origin, self.cow)]
        if self.undoing:
            self.ended = True
            if now != self.before:
                raise Wrong(f"{how}: undone, but the files are not what they were")
            return
        if now[0] != self.sum or self.left != 0:
            raise Wrong(f"{how}: merged, but the origin is not the view, or {self.left} exceptions are left")
        self.undoing = self.with_undo
        self.ended = not self.with_undo

    def check_view(self, how):
        found = self.look()
        if found != self.sum:
            raise Wrong(f"{how}: the view is {found}, and was {self.sum}")

    def guest_step(self):
        """What the kernel is to do: to stop on the story's own files, or to finish copies of them."""
        files = {"origin": self.origin, "cow": self.cow}
        if not self.kernel:
            for name in files:
                files[name] = self.folder / f"{name}-of-the-kernel"
                shutil.copyfile(getattr(self, name), files[name])
        names = {name: f"{self.folder.name}/{path.name}" for name, path in files.items()}
        return {"do": "merge", "chunk": self.chunk, **names, **self.kernel}

    def check_guest(self, result):
        """Returns how the kernel did."""
        how = f"kernel:stop:{self.kernel['stop']}" if self.kernel else "kernel:finish"
        sums = [result["view"], result["view_after"]] + ([] if self.kernel else [result["origin"]])
        if sums != [self.sum] * len(sums):
            raise Wrong(f"{how}: the kernel found {sums}, and the view was {self.sum}")
        _, _, _, used, metadata = result["status"].split()
        if not self.kernel and used.split("/")[0] != metadata:
            raise Wrong(f"{how}: not all was merged: {result['status']}")
        self.kernel = None
        self.check_view(how)
        return how

    def finish(self):
        """To the end, without kills."""
        while not self.ended:
            done = run(*self.command())
            if done.returncode != 0:
                raise Wrong(f"to the end: exit status {done.returncode}: {done.stderr}")
            self.come_to_an_end("to the end")


class Soak:
    def __init__(self, options, folder, log):
        self.options, self.folder, self.log = options, folder, log
        self.counts = collections.Counter()
        self.pool = []
        self.next_story = 0
        self.start = time.monotonic()

    def write(self, story, how, ok=True):
        self.log.write(f"{story.label} kill={story.kills} at={how} left={story.left} sum={story.sum[:16]} "
                       f"ok={'yes' if ok else 'NO'}\n")

    def new_story(self, number):
        self.pool.append(Story(self.options.seed, number, self.folder, self.options.every))
        self.counts["stories"] += 1

    def end(self, story):
        self.pool.remove(story)
        shutil.rmtree(story.folder)
        self.counts["undone" if story.with_undo else "merged"] += 1

    def told(self, story, what):
        """Does something for a story; when it goes wrong, the log and the message name the story."""
        try:
            return what()
        except Wrong as error:
            self.write(story, str(error).strip(), ok=False)
            raise Wrong(f"{story.label} kill={story.kills}: {error}") from None

    def step(self, story):
        how, killed = self.told(story, story.step)
        if killed:
            self.counts["kills"] += 1
            self.counts[how.split(":")[1] + " kills"] += 1
            self.write(story, how)
            if self.counts["kills"] % 500 == 0:
                print(f"{self.counts['kills']} kills, {self.seconds():.0f} s", flush=True)
        elif story.ended:
            self.write(story, how + ":end")
            self.end(story)

    def boot(self, waiting):
        self.counts["boots"] += 1
        results = run_in_guest(self.folder, [story.guest_step() for story in waiting])
        for story, result in zip(waiting, results, strict=True):
            how = self.told(story, lambda story=story, result=result: story.check_guest(result))
            self.counts["to the kernel, " + ("finished" if how == "kernel:finish" else "and back")] += 1
            self.write(story, how)

    def seconds(self):
        return time.monotonic() - self.start

    def run(self):
        turn = 0
        if self.options.story is not None:
            self.new_story(self.options.story)
        while self.counts["kills"] < self.options.kills and self.seconds() < self.options.seconds:
            while self.options.story is None and len(self.pool) < POOL:
                self.new_story(self.next_story)
                self.next_story += 1
            if not self.pool:
                break
            waiting = [story for story in self.pool if story.kernel is not None]
            if len(waiting) >= GUEST or len(waiting) == len(self.pool):
                self.boot(waiting)
                continue
            story = self.pool[turn % len(self.pool)]
            turn += 1
            if story.kernel is None:
                self.step(story)
        if waiting := [story for story in self.pool if story.kernel is not None]:
            self.boot(waiting)
        for story in list(self.pool):
            self.told(story, story.finish)
            self.write(story, "end")
            self.end(story)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=10000, help="how many kills at the most (default: 10000)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long (default: until all are done)")
    parser.add_argument("--seed", type=int, default=1, help="replays a run (default: 1)")
    parser.add_argument("--story", type=int, help="tell only this story of the run")
    parser.add_argument("--every", type=int, default=50,
                        help="one kill in this many is handed over to the kernel (default: 50; 0: none)")
    parser.add_argument("--log", default="/dev/null", metavar="FILE", help="one line a kill")
    options = parser.parse_args()
    if not SNAPTOOL:
        sys.exit("set SNAPTOOL to the program to be tested")
    programs = ["strace", *(["linux.uml"] if options.every else [])]
    if missing := [program for program in programs if shutil.which(program) is None]:
        sys.exit(f"not installed: {', '.join(missing)} (without the kernel: --every 0)")
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="snaptool-soak-"))
    with open(options.log, "w", buffering=1, encoding="utf-8") as log:
        soak = Soak(options, folder, log)
        try:
            soak.run()
        except (Wrong, GuestError) as error:
            sys.exit(f"WRONG after {soak.counts['kills']} kills: {error}\nthe files are kept in {folder}")
    shutil.rmtree(folder)
    print("; ".join(f"{count} {what}" for what, count in sorted(soak.counts.items())))
    print(f"soak: {soak.counts['kills']} kills in {soak.seconds():.0f} s, every view was kept")


if __name__ == "__main__":
    main()
