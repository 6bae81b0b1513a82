# SPDX-License-Identifier: Apache-2.0
"""What the library reads of a file system (file_lister.cc), for the tests of its formats."""

import json
import os
import resource
import subprocess
import tempfile

LISTER = os.environ.get("SNAPTOOL_FILE_LISTER", "")
FREE, JOURNAL, METADATA, NODES, FILE = range(5)
MIB = 1 << 20


def lister(image, *ids, timeout=20, memory=None):
    """The lines that it prints; `memory`: MiB that it may use, besides what it needs for nothing."""
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:quarantine_size_mb=1:allocator_may_return_null=0" +
               (f":hard_rss_limit_mb={memory}" if memory else ""))
    with tempfile.TemporaryFile() as out:
        done = subprocess.run([LISTER, str(image), *map(str, ids)], stdout=out, stderr=subprocess.PIPE, timeout=timeout,
                              check=False, env=env,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64 * MIB, 64 * MIB)))
        assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
        out.seek(0)
        return [json.loads(line) for line in out.read().decode().splitlines()]


class Listed:
    def __init__(self, image, *ids, root=1, **limits):
        lines = lister(image, *ids, **limits)
        self.root = root
        self.magic = lines[0]["magic"]
        self.errors = [(x["error"], x["code"], bytes.fromhex(x["text"]).decode(errors="surrogateescape"))
                       for x in lines if "error" in x]
        self.listed = [x for x in lines if "node" in x]
        self.nodes = {x["node"]: x for x in self.listed}
        self.entries = [x for x in lines if "entry" in x]
        self.space = [x for x in lines if "space" in x]
        self.itself = lines[-1]
        self.label = bytes.fromhex(self.itself.get("label", "")).decode(errors="surrogateescape")
        self.warnings = [bytes.fromhex(w).decode() for w in self.itself.get("warnings", ())]

    def names(self):
        """{path: id} of what is in use."""
        below = {}
        for x in self.entries:
            if not x["deleted"]:
                below.setdefault(x["folder"], []).append((os.fsdecode(bytes.fromhex(x["entry"])), x["id"], x["type"]))
        names, ahead, seen = {}, [("", self.root)], {self.root}
        while ahead:
            path, folder = ahead.pop()
            for name, number, kind in below.get(folder, ()):
                whole = os.path.join(path, name)
                assert whole not in names, whole
                names[whole] = number
                if kind == "dir" and number not in seen:
                    seen.add(number)
                    ahead.append((whole, number))
        return names

    def free_names(self):
        """[(name, folder, id, type)] of those that are no more."""
        return [(os.fsdecode(bytes.fromhex(x["entry"])), x["folder"], x["id"], x["type"]) for x in self.entries if x["deleted"]]

    def used(self, kind=FILE):
        return sum(x["to"] - x["from"] for x in self.space if x["space"] == kind)


def content_by_runs(image, node):
    """A file's content, of what its runs say."""
    data, end = b"", 0
    with open(image, "rb") as file:
        for offset, length, place in node["runs"]:
            assert offset == end, node["runs"]
            end += length
            if place is None:
                data += bytes(length)
            else:
                file.seek(place)
                data += file.read(length)
    assert len(data) >= node["size"], (len(data), node["size"])
    return data[:node["size"]]
