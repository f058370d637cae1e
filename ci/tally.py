"""Runs test runners and adds up their counts.

    tally.py run DIR NAME command...     runs the command, shows its output, and stores its counts as DIR/NAME
    tally.py step DIR NAME command...    the same for a command that counts nothing: success is one pass
    tally.py sum DIR                     prints `N passed, N failed` over everything in DIR and its folders

A runner that fails without a failed test, or that ran no test at all, counts as one failure.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

# cargo     test result: ok. 12 passed; 0 failed; 0 ignored; ...
# pytest    == 1 failed, 12 passed, 2 errors in 3.21s ==       (with -q without the double lines)
# others    12 passed, 0 failed
CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed;")
PYTEST = re.compile(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+) in [\d.]+s\b")
PLAIN = re.compile(r"^(\d+) passed, (\d+) failed$")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def count(line: str) -> tuple[int, int]:
    """Returns (passed, failed) from one line of output."""
    line = COLOUR.sub("", line).strip()
    if found := CARGO.match(line) or PLAIN.match(line):
        return int(found[1]), int(found[2])
    if found := PYTEST.match(line):
        outcomes = {word.rstrip("s"): int(n) for n, word in re.findall(r"(\d+) (\w+)", found[1])}
        return outcomes.get("passed", 0), outcomes.get("failed", 0) + outcomes.get("error", 0)
    return 0, 0


def run(directory: pathlib.Path, name: str, command: list[str], *, counts: bool) -> int:
    print(f"\n--- {name}: {' '.join(command)}", flush=True)
    passed = failed = 0
    text = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
        assert p.stdout is not None
        # Piece by piece, so that the dots of a slow runner are shown as they come.
        while piece := os.read(p.stdout.fileno(), 65536):
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
            *lines, text = (text + piece.decode(errors="replace")).split("\n")
            for good, bad in map(count, lines):
                passed, failed = passed + good, failed + bad
    if not counts:
        passed, failed = int(p.returncode == 0), 0
    if failed == 0 and (p.returncode != 0 or passed == 0):
        print(f"--- {name}: " + (f"exit status {p.returncode}" if p.returncode else "ran no test"), flush=True)
        failed = 1
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps({"passed": passed, "failed": failed}))
    return int(failed > 0)


def total(directory: pathlib.Path) -> int:
    results = {
        str(path.relative_to(directory).with_suffix("")): json.loads(path.read_text())
        for path in sorted(directory.rglob("*.json"))
    }
    print()
    for name, result in results.items():
        print(f"{name:32} {result['passed']:6} passed  {result['failed']:4} failed")
    if not results:
        print("no test runner left a count")
    passed = sum(result["passed"] for result in results.values())
    failed = sum(result["failed"] for result in results.values())
    print(f"\n{passed} passed, {failed} failed")
    return int(failed > 0 or passed == 0)


def main() -> int:
    match sys.argv[1:]:
        case ["run" | "step" as verb, directory, name, *command] if command:
            return run(pathlib.Path(directory), name, command, counts=verb == "run")
        case ["sum", directory]:
            return total(pathlib.Path(directory))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
