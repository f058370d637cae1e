"""Summarises the reports of the thread sanitizer in a directory. Exits with 1 if the extension module takes part in any
of them, that is, if one of its frames is in the stack of an access."""

from __future__ import annotations

import collections
import re
import sys
from pathlib import Path

HEADING = re.compile(r"^WARNING: ThreadSanitizer: (?P<kind>.*) \(pid=\d+\)$", re.MULTILINE)
FRAME = re.compile(r"^ +#\d+ (?P<text>.*)$", re.MULTILINE)
OURS = re.compile(r"\(_native\.[^)]*\.so\+")


def reports(directory: Path) -> list[tuple[str, list[list[str]]]]:
    """Yields the kind of each report, and the frames of its accesses."""
    found = []
    for file in sorted(directory.iterdir()):
        for text in file.read_text(errors="replace").split("=" * 18 + "\n"):
            heading = HEADING.search(text)
            if heading is not None:
                # Paragraphs: the two accesses, and then the origins of memory, locks and threads.
                accesses = text[heading.end() :].split("\n\n")[:2]
                found.append((heading["kind"], [FRAME.findall(access) for access in accesses]))
    return found


def main(directory: Path) -> int:
    counts: collections.Counter[tuple[bool, str]] = collections.Counter()
    for kind, stacks in reports(directory):
        ours = any(OURS.search(frame) for stack in stacks for frame in stack)
        where = " / ".join(stack[0].split(" (")[0] if stack else "?" for stack in stacks)
        counts[ours, f"{kind}: {where}"] += 1
    for (ours, text), count in sorted(counts.items()):
        print(f"{count:4} {'with' if ours else 'without'} the extension: {text}")
    taking_part = sum(count for (ours, _), count in counts.items() if ours)
    alone = counts.total() - taking_part
    print(f"thread sanitizer: {taking_part} reports with the extension, {alone} of CPython alone, in {directory}")
    return int(taking_part > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
