# SPDX-License-Identifier: Apache-2.0
"""Which files differ between two trees, by what the makers' tools say of them (fs_maker: Volume.tree()): what
'diff --files' is held to. As simple as it can be, and slow.

A change is (kind, path before or None, path after or None, fields). Of the fields, those that the tools know.
"""

import os
from collections import defaultdict

FIELDS = {"size": "size", "mode": "mode", "mtime": "modified", "links": "links"}


def fields_of(before, after):
    fields = {name for key, name in FIELDS.items() if getattr(before, key) != getattr(after, key)}
    if before.sha256 != after.sha256:
        fields.add("content")
    if before.target != after.target:
        fields.add("target")
    return fields


def changed(before, after, path_before, path_after, more=()):
    fields = fields_of(before, after) | set(more)
    if not fields:
        return None
    kind = "renamed" if "name" in fields else "modified" if fields & {"content", "target"} else "changed"
    return kind, path_before, path_after, frozenset(fields)


def is_another(before, after):
    """Whether the inode of a file that has none of its names any more is another file's."""
    if before.kind == "dir":
        return False
    if None not in (before.created, after.created):
        return before.created != after.created
    return before.size != after.size and (before.sha256, before.target) != (after.sha256, after.target)


class Names:
    """The names of each file: (inode of the folder, last part of the path) -> path."""

    def __init__(self, tree, root):
        self.tree, self.of, self.at = tree, defaultdict(dict), {}
        for path, seen in tree.items():
            folder, last = os.path.split(path)
            key = (tree[folder].inode if folder else root, last)
            self.of[seen.inode, seen.kind][key] = path
            self.at[key] = path


def by_inode(before, after, root=2, in_use=lambda inode: False):
    """Where inodes say which file is which. `in_use`: whether one that has no name any more is not free all the same."""
    was, now, changes = Names(before, root), Names(after, root), []
    named = {seen.inode for seen in after.values()}
    for file in was.of.keys() | now.of.keys():
        old, new = was.of.get(file, {}), now.of.get(file, {})
        for key in old.keys() & new.keys():
            changes.append(changed(before[old[key]], after[new[key]], old[key], new[key]))
        gone = sorted(old[key] for key in old.keys() - new.keys())
        come = sorted(new[key] for key in new.keys() - old.keys())
        if old and new and not old.keys() & new.keys() and is_another(before[gone[0]], after[come[0]]):
            changes += [("deleted", path, None, frozenset()) for path in gone]
            changes += [("created", None, path, frozenset()) for path in come]
            continue
        if old and new:
            for one, other in zip(gone, come):
                changes.append(changed(before[one], after[other], one, other, ["name"]))
            matched = min(len(gone), len(come))
            changes += [("unlinked", path, None, frozenset()) for path in gone[matched:]]
            changes += [("linked", None, path, frozenset()) for path in come[matched:]]
            continue
        for path in gone:
            folder, last = os.path.split(path)
            heir = now.at.get((before[folder].inode if folder else root, last))
            if heir is not None and after[heir].kind == before[path].kind != "dir" and not was.of.get((after[heir].inode, after[heir].kind)):
                changes.append(changed(before[path], after[heir], path, heir, ["inode"]))
            else:
                changes.append(("unlinked" if file[0] not in named and in_use(file[0]) else "deleted", path, None, frozenset()))
        for path in come:
            folder, last = os.path.split(path)
            parent = after[folder].inode if folder else root
            heir = was.at.get((parent, last))
            if not (heir is not None and before[heir].kind == after[path].kind != "dir" and
                    not now.of.get((before[heir].inode, before[heir].kind))):
                changes.append(("created", None, path, frozenset()))
    return sorted((change for change in changes if change), key=str)


def by_path(before, after):
    """Where there are no inodes: a file that is gone and one that is new are one if they have the same content."""
    changes = [changed(before[path], after[path], path, path) for path in before.keys() & after.keys()
               if before[path].kind == after[path].kind]
    apart = {path for path in before.keys() & after.keys() if before[path].kind != after[path].kind}
    gone, come = sorted(before.keys() - after.keys() | apart), sorted(after.keys() - before.keys() | apart)

    def content(seen):
        return (seen.kind, seen.size, seen.sha256, seen.target) if seen.size or seen.target else None

    for path in come:
        same = next((old for old in gone if content(after[path]) and content(before[old]) == content(after[path])), None)
        if same is None:
            changes.append(("created", None, path, frozenset()))
            continue
        gone.remove(same)
        changes.append(changed(before[same], after[path], same, path, ["name"]))
    changes += [("deleted", path, None, frozenset()) for path in gone]
    return sorted((change for change in changes if change), key=str)
