# SPDX-License-Identifier: Apache-2.0
"""Man pages and completions say what the program says of itself."""

import functools
import os
import pty
import re
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from harness import DATA, SNAPTOOL, ScratchTest, main, need, need_terminals, run, unpack  # noqa: E402

MAN = Path(os.environ.get("SNAPTOOL_MAN", ""))
COMPLETIONS = Path(os.environ.get("SNAPTOOL_COMPLETIONS", ""))
# The volumes of tests/data/lvm whose names begin with "s" (lvm.txt).
VOLUMES_WITH_S = {f"disk.dd#p2#vg0/s{n}" for n in (1, 2, 3)}


@functools.cache
def commands():
    block = run("--help").stdout.split("Commands:\n", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^  (\S+)", block, re.M)


def long_options(text):
    """The long options that a listing of options has at the start of its lines."""
    return set(re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)", text, re.M))


@functools.cache
def help_of(command):
    return run(command, "--help").stdout


def help_options(command):
    return help_of(command).split("Options:\n", 1)[1]


def options_of(command):
    return long_options(help_options(command))


def short_options_of(command):
    return set(re.findall(r"^\s+(-\w),", help_options(command), re.M))


@functools.cache
def rendered(page):
    environment = dict(os.environ, MANWIDTH="200", LC_ALL="C.UTF-8", MAN_KEEP_FORMATTING="")
    process = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", str(page)], capture_output=True,
                             text=True, check=False, env=environment, stdin=subprocess.DEVNULL)
    return process.stdout, process.stderr


class ManPages(ScratchTest):
    def setUp(self):
        super().setUp()
        need(self, "man")

    def test_a_page_for_each_command_and_no_other(self):
        pages = {path.name for path in MAN.iterdir()}
        self.assertEqual(pages, {"snaptool.1", "snaptool-image.7", "snaptool-json.7", "snaptool-tutorial.7"} | {f"snaptool-{c}.1" for c in commands()})

    def test_each_page_is_installed(self):
        cmake = (Path(os.environ["SNAPTOOL_SOURCE"]) / "cli" / "CMakeLists.txt").read_text(encoding="utf-8")
        listed = re.search(r"set\(man_commands ([^)]*)\)", cmake).group(1).split()
        self.assertEqual(set(listed), set(commands()))

    def test_no_warnings(self):
        for page in MAN.iterdir():
            self.assertEqual(rendered(page)[1], "", page)

    def test_options_are_those_of_the_help(self):
        for command in commands():
            text, _ = rendered(MAN / f"snaptool-{command}.1")
            section = re.search(r"^OPTIONS\n(.*?)^\S", text, re.M | re.S).group(1)
            self.assertEqual(long_options(section), options_of(command), command)
            self.assertEqual(set(re.findall(r"^\s+(-\w),", section, re.M)), short_options_of(command), command)
            self.assertRegex(text, r"(?m)^EXIT STATUS$")
            self.assertRegex(text, r"(?m)^EXAMPLES$")
            # What stands elsewhere in the page exists, too.
            for line in text.splitlines():
                line = re.sub(r"\brbd import .*", "", line)  # another program's
                named = set(re.findall(r"snaptool (\w+)", line)) & set(commands())
                known = options_of(command).union(*map(options_of, named))
                # Those of a script's commands are in the description.
                known |= set(re.findall(r"--[a-z0-9-]+", help_of(command).split("\nOptions:")[0]))
                for option in re.findall(r"(?<![\w-])--[a-z0-9-]+", line):
                    self.assertIn(option, known, f"snaptool-{command}.1")

    def test_only_commands_that_exist(self):
        for page in MAN.iterdir():
            text, _ = rendered(page)
            named = set(re.findall(r"(?m)(?:^ +(?:\$ )?|^SYNOPSIS\n +|\$\()snaptool ([a-z][a-z-]*)", text))
            named |= set(re.findall(r"snaptool-([a-z-]+)\(1\)", text))
            # "snaptool reads ..." begins the overview's description.
            self.assertLessEqual(named - {"reads"}, set(commands()), page)

    def test_the_overview_names_every_command(self):
        text, _ = rendered(MAN / "snaptool.1")
        section = re.search(r"^COMMANDS\n(.*?)^\S", text, re.M | re.S).group(1)
        self.assertEqual(re.findall(r"^\s+snaptool-([\w-]+)\s?\(1\)", section, re.M), commands())


class Terminal:
    """An interactive shell in a terminal, whose line can be read back after keys were typed."""

    LINE_KEY = b"\x14"  # Ctrl-T, bound to printing LINE<the line> and emptying it

    def __init__(self, argv, setup, folder, path):
        environment = {"PATH": path, "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8",
                       "INPUTRC": "/dev/null", "HISTFILE": "/dev/null"}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, environment)
        os.write(self.fd, setup.encode() + b"\n")
        self.wait_for(r"READY!")

    def wait_for(self, pattern):
        got = b""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.5)[0]:
                got += os.read(self.fd, 65536)
                found = re.search(pattern, got.decode(errors="replace"))
                if found:
                    return found
        raise AssertionError(f"no {pattern} in {got!r}")

    def completed(self, line):
        """The line, as it is after one tab."""
        os.write(self.fd, line.encode() + b"\t")
        os.write(self.fd, self.LINE_KEY)
        return self.wait_for(r"LINE<([^>]*)>").group(1)

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


class Completions(ScratchTest):
    def setUp(self):
        super().setUp()
        for name in ("origin.img", "a file.img", "store.cow", "sx1", "sx*"):
            (self.scratch / name).touch()
        (self.scratch / "sub dir").mkdir()
        (self.scratch / "sub dir" / "inner.img").touch()

        self.disk()
        # What the shells ask about parts.
        (self.scratch / "sub dir" / "bin").mkdir()
        (self.scratch / "sub dir" / "bin" / "snaptool").symlink_to(SNAPTOOL)
        self.path = f"{self.scratch}/sub dir/bin:{os.environ['PATH']}"

    def disk(self):
        """A disk with a partition table: an empty partition, and one that is a PV of a volume group."""
        pv = self.scratch / "disk.dd"
        unpack(DATA / "lvm" / "pv.img.zst", pv)
        content = pv.read_bytes()
        table = bytes(446) + b"".join(struct.pack("<B3xB3xII", 0, kind, start, length) for kind, start, length in (
            (0x83, 64, 64), (0x8e, 128, len(content) // 512), (0, 0, 0), (0, 0, 0))) + b"\x55\xaa"
        pv.write_bytes(table + bytes(128 * 512 - 512) + content)

    def terminal(self, argv, setup):
        terminal = Terminal(argv, setup, self.scratch, self.path)
        self.addCleanup(terminal.close)
        return terminal

    def check_lines(self, terminal, lines):
        for typed, expected in lines.items():
            self.assertEqual(terminal.completed(typed), expected, typed)

    def bash(self, *words, target=None, before=":"):
        """What the function offers for the last of the words, where readline would replace `target`."""
        script = (f'{before}; source "{COMPLETIONS}/snaptool.bash"; target=$1; shift; COMP_WORDS=("$@"); '
                  'COMP_CWORD=$(($# - 1)); _snaptool snaptool "$target" "${COMP_WORDS[COMP_CWORD-1]}"; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        process = subprocess.run(["bash", "-c", script, "bash", words[-1] if target is None else target,
                                  "snaptool", *words], capture_output=True, text=True, check=True, cwd=self.scratch,
                                 env=dict(os.environ, PATH=self.path))
        self.assertEqual(process.stderr, "")
        return set(process.stdout.split("\n")) - {""}

    def test_bash(self):
        need(self, "bash")
        self.assertEqual(self.bash("me"), {"merge"})
        self.assertEqual(self.bash(""), set(commands()) | {"help", "--help", "--version"})
        self.assertEqual(self.bash("help", "me"), {"merge"})
        for command in commands():
            self.assertEqual(self.bash(command, "--"), options_of(command), command)
            self.assertEqual(self.bash(command, "-"), options_of(command) | short_options_of(command), command)
        self.assertEqual(self.bash("status", "--output", ""), {"human", "json"})
        self.assertEqual(self.bash("status", "--output", "=", target=""), {"human", "json"})
        self.assertEqual(self.bash("status", "--output", "=", "j"), {"json"})
        self.assertEqual(self.bash("merge", "--progress", "=", target=""), {"jsonl"})
        self.assertEqual(self.bash("merge", "--expect", ""), set())
        self.assertEqual(self.bash("merge", "a"), {"a file.img"})
        self.assertEqual(self.bash("merge", "-o", "a"), {"a file.img"})
        self.assertEqual(self.bash("merge", "sx"), {"sx1", "sx*"})
        self.assertEqual(self.bash("merge", "--", "--"), set())
        # As bash splits ORIGIN@COW, and as it does with '@', '=' and ':' taken out of COMP_WORDBREAKS.
        self.assertEqual(self.bash("merge", "origin.img", "@", "st", target="@st"), {"@store.cow"})
        self.assertEqual(self.bash("merge", "origin.img@st"), {"origin.img@store.cow"})
        self.assertEqual(self.bash("merge", "--output=j"), {"--output=json"})
        self.assertEqual(self.bash("read", "file:or"), {"file:origin.img"})
        self.assertEqual(self.bash("hash", "--algorithm", ""), {"sha256", "sha512", "sha1", "md5"})
        self.assertEqual(self.bash("hash", "--algorithm", "md5,sha2"), {"md5,sha256"})
        self.assertEqual(self.bash("hash", "--algorithm=md5,sha2"), {"--algorithm=md5,sha256"})
        self.assertEqual(self.bash("convert", "--option", "cluster"), {"cluster_size="})
        self.assertEqual(self.bash("convert", "--option", "he"), {"help"})
        self.assertEqual(self.bash("info", "disk.dd#"), {"disk.dd#p1", "disk.dd#p2"})
        self.assertEqual(self.bash("ls", "disk.dd#p2#vg0/s"), VOLUMES_WITH_S)
        self.assertEqual(self.bash("info", "a file.img#"), set())
        self.assertEqual(self.bash("info", "none.img#"), set())
        self.assertEqual(self.bash("me", before="IFS=e; shopt -s nullglob failglob"), {"merge"})

    def test_bash_in_a_terminal(self):
        need_terminals(self)
        need(self, "bash")
        terminal = self.terminal(
            ["bash", "--norc", "--noprofile", "-i"],
            "bind 'set enable-bracketed-paste off' 'set bell-style none'; "
            "show() { printf 'LI''NE<%s>\\n' \"$READLINE_LINE\"; READLINE_LINE=; READLINE_POINT=0; }; "
            f"bind -x '\"\\C-t\": show'; source '{COMPLETIONS}/snaptool.bash'; printf 'READY%s\\n' '!'")
        self.check_lines(terminal, {
            "snaptool ver": "snaptool verify ",
            "snaptool merge --acc": "snaptool merge --accept-duplicates ",
            "snaptool merge --progress=": "snaptool merge --progress=jsonl ",
            "snaptool map --output=h": "snaptool map --output=human ",
            "snaptool merge a": "snaptool merge a\\ file.img ",
            "snaptool merge \"a f": "snaptool merge \"a file.img\" ",
            "snaptool merge origin.img@st": "snaptool merge origin.img@store.cow ",
            "snaptool merge origin.img@sx": "snaptool merge origin.img@sx",
            "snaptool merge origin.img@a": "snaptool merge origin.img@a\\ file.img ",
            "snaptool merge a\\ file.img@st": "snaptool merge a\\ file.img@store.cow ",
            "snaptool read origin.img@store.cow@sub": "snaptool read origin.img@store.cow@sub\\ dir/",
            "snaptool read file:or": "snaptool read file:origin.img ",
            "snaptool merge --out=or": "snaptool merge --out=origin.img ",
            "snaptool hash --algorithm md5,sha2": "snaptool hash --algorithm md5,sha256 ",
            "snaptool convert --option cluster": "snaptool convert --option cluster_size=",
            "snaptool info disk.dd#": "snaptool info disk.dd#p",
            "snaptool info disk.dd#p2#vg0/d": "snaptool info disk.dd#p2#vg0/data",
        })

    def test_fish(self):
        need(self, "fish")

        def fish(line):
            script = f'source {COMPLETIONS}/snaptool.fish; complete -C "$argv[1]"'
            process = subprocess.run(["fish", "--no-config", "-c", script, line], capture_output=True, text=True,
                                     check=True, cwd=self.scratch, env=dict(os.environ, HOME=str(self.scratch), PATH=self.path))
            self.assertEqual(process.stderr, "")
            return {row.split("\t")[0] for row in process.stdout.splitlines()}

        subprocess.run(["fish", "--no-config", "-n", str(COMPLETIONS / "snaptool.fish")], check=True)
        self.assertEqual(fish("snaptool mer"), {"merge"})
        self.assertEqual(fish("snaptool "), set(commands()) | {"help"})
        self.assertEqual(fish("snaptool help "), set(commands()))
        for command in commands():
            # An option with an optional value is there with '=' as well.
            self.assertEqual({option.rstrip("=") for option in fish(f"snaptool {command} --")},
                             options_of(command), command)
            self.assertLessEqual(short_options_of(command), fish(f"snaptool {command} -"), command)
        self.assertEqual(fish("snaptool status --output "), {"human", "json"})
        self.assertEqual(fish("snaptool merge --progress="), {"--progress=jsonl"})
        self.assertEqual(fish("snaptool merge --expect "), set())
        self.assertEqual(fish("snaptool merge a"), {"a file.img"})
        self.assertEqual(fish("snaptool merge origin.img@st"), {"origin.img@store.cow"})
        self.assertEqual(fish("snaptool hash --algorithm "), {"sha256", "sha512", "sha1", "md5"})
        self.assertIn("md5,sha256", fish("snaptool hash --algorithm md5,sha2"))
        self.assertEqual(fish("snaptool convert --option cluster"), {"cluster_size="})
        self.assertEqual(fish("snaptool info disk.dd#"), {"disk.dd#p1", "disk.dd#p2"})
        self.assertEqual(fish("snaptool ls disk.dd#p2#vg0/s"), VOLUMES_WITH_S)

    def test_zsh(self):
        need(self, "zsh")
        subprocess.run(["zsh", "-n", str(COMPLETIONS / "_snaptool")], check=True)
        text = (COMPLETIONS / "_snaptool").read_text()
        for command in commands():
            block = re.search(rf"^    {command}\)\n(.*?);;", text, re.M | re.S).group(1)
            lines = re.findall(r"^\s+'(?:\([^)]*\)|\*)?(--?[A-Za-z-]+)", block, re.M)
            self.assertEqual(set(lines), options_of(command) | short_options_of(command), command)

    def test_zsh_in_a_terminal(self):
        need_terminals(self)
        need(self, "zsh")
        terminal = self.terminal(
            ["zsh", "-f", "-i"],
            f"PROMPT=; unsetopt beep; fpath=('{COMPLETIONS}' $fpath); autoload -Uz compinit; compinit -u -D; "
            "show() { print -r -- 'LI''NE<'$BUFFER'>'; BUFFER= }; zle -N show; bindkey '^T' show; "
            "bindkey '^I' complete-word; print 'READY''!'")
        self.check_lines(terminal, {
            "snaptool ver": "snaptool verify ",
            "snaptool help mer": "snaptool help merge ",
            "snaptool merge --acc": "snaptool merge --accept-duplicates ",
            "snaptool merge --progress=": "snaptool merge --progress=jsonl ",
            "snaptool map --output=h": "snaptool map --output=human ",
            "snaptool merge a": "snaptool merge a\\ file.img ",
            "snaptool merge origin.img@st": "snaptool merge origin.img@store.cow ",
            "snaptool read file:or": "snaptool read file:origin.img ",
            "snaptool hash --algorithm md5,sha2": "snaptool hash --algorithm md5,sha256,",  # a space replaces the comma
            "snaptool convert --option cluster": "snaptool convert --option cluster_size=",
            "snaptool info disk.dd#": "snaptool info disk.dd#p",
            "snaptool info disk.dd#p2#vg0/d": "snaptool info disk.dd#p2#vg0/data",
        })


if __name__ == "__main__":
    main("man pages and completions")
