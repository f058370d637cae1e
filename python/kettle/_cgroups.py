"""Where this process's control groups are: the directories whose limits and counters hold for it.

A process is in one group of each hierarchy: of the unified one (version 2), and of one for each controller that is
still kept apart (version 1). `/proc/self/cgroup` names the groups, `/proc/self/mountinfo` says where the hierarchies
are to be seen. Both are read tolerantly: what makes no sense is passed over, for a container may show anything.
"""

from __future__ import annotations

import os
import re

__all__ = ["directories", "read"]


def directories(controller: str, root: str = "/") -> list[list[str]]:
    """The directories of the groups that `controller` may act through: for each place where they are to be seen, this
    process's own group first, then the groups around it.

    Those of the unified hierarchy are among them whether or not it has the controller: look which files are there.
    `root` is where the file system begins, for tests.
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
    """What is in a small file; nothing if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _own_groups(text: str, controller: str) -> tuple[str | None, str | None]:
    """The group of the unified hierarchy, and that of the hierarchy which `controller` has for itself."""
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
    """The way from what is mounted, which is the directory `mounted` of the hierarchy, to `group`. A container may see
    its own group mounted and be told a name that leads nowhere: then the mount is as near as one gets."""
    inside = os.path.relpath(group, mounted) if group.startswith("/") and mounted.startswith("/") else "."
    parts = inside.split("/")
    return [] if parts[0] in (".", "..") else parts


def _upwards(top: str, parts: list[str]) -> list[str]:
    return [os.path.join(top, *parts[:depth]) for depth in range(len(parts), -1, -1)]


def _unescaped(field: str) -> str:
    """The kernel writes blanks and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
