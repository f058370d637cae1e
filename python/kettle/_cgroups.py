"""The control groups of this process: the directories with its limits and counters.

A process is in one group of each hierarchy: of the unified one (version 2), and of one for each controller that is
still separate (version 1). `/proc/self/cgroup` names the groups, and `/proc/self/mountinfo` says where the hierarchies
are mounted. Both are parsed tolerantly: unexpected content is skipped, because a container may show anything.
"""

from __future__ import annotations

import os
import re

__all__ = ["directories", "read"]


def directories(controller: str, root: str = "/") -> list[list[str]]:
    """Returns the directories of the groups through which `controller` may act: for each mount, this process's own
    group first, then the groups that enclose it.

    Those of the unified hierarchy are included whether or not it has the controller, so check which files exist there.
    `root` is the root of the file system, for tests.
    """
    unified, apart = _own_groups(read(os.path.join(root, "proc/self/cgroup")), controller)
    chains = []
    for line in read(os.path.join(root, "proc/self/mountinfo")).splitlines():
        before, _, after = line.partition(" - ")
        place, filesystem = before.split(" "), after.split(" ")
        if len(place) < 5 or len(filesystem) < 3:
            continue
        if filesystem[0] == "cgroup2":
            group = unified
        elif filesystem[0] == "cgroup" and controller in filesystem[2].split(","):
            group = apart
        else:
            continue
        if group is not None:
            mounted, at = _unescaped(place[3]), _unescaped(place[4])
            chains.append(_upwards(os.path.join(root, at.lstrip("/")), _relative(group, mounted)))
    return chains


def read(path: str) -> str:
    """Returns the content of a small file; empty if it cannot be read.

    The kernel generates these files on reading, so this never waits. O_NONBLOCK tells this to tools that check whether
    an event loop's thread blocks: a loop creates its executor there, which determines the number of processors.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        parts = []
        while part := os.read(file, 1 << 16):
            parts.append(part)
        return b"".join(parts).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(file)


def _own_groups(text: str, controller: str) -> tuple[str | None, str | None]:
    """Returns the group of the unified hierarchy, and that of the separate hierarchy of `controller`."""
    unified = apart = None
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, separator, group = rest.partition(":")
        if not separator:
            continue
        if number == "0" and not controllers:
            unified = group
        elif controller in controllers.split(","):
            apart = group
    return unified, apart


def _relative(group: str, mounted: str) -> list[str]:
    """Returns the path from the mounted directory `mounted` of the hierarchy to `group`. A container may have its own
    group mounted and be given a name that leads nowhere: then the mount is the closest directory."""
    if not (group.startswith("/") and mounted.startswith("/")):
        return []
    own, top = ([part for part in os.path.normpath(path).split("/") if part] for path in (group, mounted))
    return own[len(top) :] if own[: len(top)] == top else []


def _upwards(top: str, parts: list[str]) -> list[str]:
    return [os.path.join(top, *parts[:depth]) for depth in range(len(parts), -1, -1)]


def _unescaped(field: str) -> str:
    """Decodes blanks and backslashes, which the kernel writes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
