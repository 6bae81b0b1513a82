# SPDX-License-Identifier: Apache-2.0
"""The keys that snaptool-json(7) documents, and whether a json document has those and no others."""

import functools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).resolve().parent.parent.parent / "cli" / "doc" / "snaptool-json.keys"
# The keys that were printed, by any run of this program: (command, path).
SEEN = set()

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?|@-?\d+\.\d+")


def is_number(value):
    return type(value) is int and value >= 0


def is_hex(value):
    return isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]+", value))


TYPES = {
    "bytes": is_number,
    "sectors": is_number,
    "chunk": is_number,
    "chunks": is_number,
    "number": is_number,
    "chunk|hex": lambda value: is_number(value) or isinstance(value, str) and bool(re.fullmatch(r"0x[0-9a-f]+", value)),
    "real": lambda value: type(value) in (int, float),
    "bool": lambda value: type(value) is bool,
    "hex": is_hex,
    "time": lambda value: isinstance(value, str) and bool(TIME.fullmatch(value)),
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
}


@dataclass(frozen=True)
class Row:
    type: str
    may_miss: bool
    may_be_null: bool
    like: tuple  # of another object: (command, path); or None
    meaning: str


@functools.cache
def table():
    """What the table has: command -> path -> Row."""
    commands, names, rows = {}, [], []
    for line in TABLE.read_text(encoding="ascii").splitlines():
        if not line or line[0] == "#":
            continue
        if line[0] == "=":
            names = line[1:].split()
            rows = [commands.setdefault(command, {}) for command in names]
            continue
        path, kind, meaning = line.split(" ", 2)
        name, null, missing, like = re.fullmatch(r"([a-z|]+)(?:(\?)?(~)?)(?:=(.+))?", kind).group(1, 3, 2, 4)
        for command, of in zip(names, rows, strict=True):
            other, _, there = (like or "").rpartition(":")
            assert path not in of, (command, path)
            of[path] = Row(name, bool(missing), bool(null), (other or command, there) if like else None, meaning)
    return commands


@functools.cache
def children(command, path):
    """The keys of the object at this path: key -> (command, path of the key, its row)."""
    rows = table()[command]
    row = rows.get(path)
    found = dict(children(*row.like)) if row and row.like else {}
    start = path + "." if path else ""
    for at, one in rows.items():
        rest = at[len(start):]
        if at.startswith(start) and rest and "." not in rest and rest != "[]":
            found[rest.removesuffix("[]")] = (command, at, one)
    return found


class Checker:
    """Compares documents with the table, and keeps which keys it has seen."""

    def __init__(self):
        self.problems = []
        self.seen = set()

    def check(self, command, document):
        if isinstance(document, list):
            self.value((command, "[]", table()[command].get("[]")), document)
            return
        error = children("error", "")
        if "exit_status" in document:
            own = {key for key in document if key not in error}
            self.members("error", "", {key: value for key, value in document.items() if key in error})
            if own:  # a document that an error cut short
                document = {key: value for key, value in document.items() if key not in error or key == "format_version"}
                self.members(command, "", document, cut=True)
            return
        self.members(command, "", document)

    def members(self, command, path, members, cut=False):
        known = children(command, path)
        for key, value in members.items():
            found = known.get(key) or known.get("*")
            if found is None and key.endswith("_hex") and key.removesuffix("_hex") in members:
                # Bytes of a text that is not UTF-8.
                if not all(is_hex(one) for one in (value if isinstance(value, list) else [value])):
                    self.problems.append(f"{command}: {key} is no hex: {str(value)[:80]}")
            elif found is None:
                self.problems.append(f"{command}: no such key in {path or 'the document'}: {key} ({str(value)[:80]})")
            else:
                self.value(found, value, cut)
        for key, (_, at, row) in known.items():
            if not cut and not row.may_miss and key != "*" and key not in members:
                self.problems.append(f"{command}: {at} is missing")

    def value(self, found, value, cut=False):
        command, path, row = found
        if row is None or path.endswith("[]") != isinstance(value, list):
            self.problems.append(f"{command}: {path} is an array in one of table and output: {str(value)[:80]}")
            return
        if isinstance(value, list):
            if not value:
                self.seen.add((command, path))
            for one in value:
                self.one(found, one, cut)
        else:
            self.one(found, value, cut)

    def one(self, found, value, cut):
        command, path, row = found
        self.seen.add((command, path))
        if value is None and row.may_be_null:
            return
        if not TYPES[row.type](value):
            self.problems.append(f"{command}: {path} is no {row.type}: {str(value)[:80]}")
        elif row.type == "object":
            self.members(command, path, value, cut)


def asks_for_json(words):
    return "--output=json" in words or any(pair == ("--output", "json") for pair in zip(words, words[1:]))


def may_print_data(words):
    """Whether what it prints may be no json all the same."""
    names = {"-", "/dev/stdout", "/proc/self/fd/1", "--pack", "-h", "--help", "-V", "--version"}
    return words[0] in ("export", "compose", "invert") or not names.isdisjoint(words)


def documents_of(stdout):
    """The json documents that follow each other in a text; several operands make several."""
    text, documents, at = os.fsdecode(stdout), [], 0
    while at < len(text):
        document, at = json.JSONDecoder().raw_decode(text, at)
        documents.append(document)
        at += len(text) - at - len(text[at:].lstrip())
    return documents


def check_run(words, status, stdout):
    """Fails where a run that was to print json has printed something else, or what the table does not have."""
    words = [os.fsdecode(word) for word in words]
    if not words or not asks_for_json(words) or not stdout or status < 0:
        return
    try:
        documents = documents_of(stdout)
    except ValueError:
        if may_print_data(words):
            return
        raise AssertionError(f"no json: snaptool {' '.join(words)}: {stdout[:200]!r}") from None
    # Options may come first.
    command = next((word for word in words if word in table()), "error")
    problems = [problem for document in documents for problem in check_document(command, document)]
    if problems:
        raise AssertionError("not as in snaptool-json(7): snaptool " + " ".join(words) + "\n" + "\n".join(problems[:10]))


def is_error(stdout):
    """Whether this is what a command that failed prints with --output=json, and no more."""
    try:
        return json.loads(stdout).keys() == children("error", "").keys()
    except (ValueError, AttributeError):
        return False


def check_document(command, document):
    """What in it is not as in the table."""
    checker = Checker()
    checker.check(command, document)
    SEEN.update(checker.seen)
    return checker.problems
