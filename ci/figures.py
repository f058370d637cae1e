"""Prints the shape of the code in figures: how long files and functions are, how much of it is explained, which files
use each other in a circle.

    python ci/figures.py            the tables
    python ci/figures.py --lists    the circles, and what is longer or has more parts than is usual here

Unit tests within the sources are left out. tests/test_shape.py sets the limits.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rust_sources import Crate

ROOT = Path(__file__).parent.parent
CRATES = ("kettle-core", "kettle", "kettle-cli", "kettle-python")

# What is more than usual, and appears in the lists.
FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 5
FIELDS = 10
WIDTH = 120


def crates() -> list[Crate]:
    return [Crate(ROOT / "crates" / name / "src") for name in CRATES]


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"


def _spread(values: Sequence[int]) -> str:
    """Median / 90th percentile / maximum."""
    ordered = sorted(values)
    return f"{round(statistics.median(ordered))} / {ordered[len(ordered) * 9 // 10]} / {ordered[-1]}"


def rust_figures(crate: Crate) -> dict[str, object]:
    sources = crate.sources
    functions = [function for source in sources for function in source.functions]
    macros = [lines for source in sources for _, lines in source.macros]
    code = sum(source.code_lines for source in sources)
    pool = [
        source.code_lines
        for source in sources
        if {"pool", "thread_pool"} & set(source.path.relative_to(crate.top).parts)
    ]
    largest = len(crate.circles[0]) if crate.circles else 0
    return {
        "files": len(sources),
        "lines": sum(source.lines for source in sources),
        "lines of code": code,
        "of these in pools": sum(pool),
        "doc lines per line of code": _ratio(sum(source.doc_lines for source in sources), code),
        "comment lines per line of code": _ratio(sum(source.comment_lines for source in sources), code),
        "lines per file, median / p90 / max": _spread([source.lines for source in sources]),
        f"files over {FILE_LINES} lines": sum(source.lines > FILE_LINES for source in sources),
        "lines per function, median / p90 / max": _spread([function.lines for function in functions]),
        f"functions over {FUNCTION_LINES} lines": sum(function.lines > FUNCTION_LINES for function in functions),
        "parameters, max": max(function.parameters for function in functions),
        f"functions with over {PARAMETERS} parameters": sum(f.parameters > PARAMETERS for f in functions),
        f"structs with over {FIELDS} fields": sum(s.fields > FIELDS for source in sources for s in source.structs),
        "types with methods in several files": len(crate.scattered),
        "macros by example": len(macros),
        "lines in these": sum(macros),
        "circles of files": len(crate.circles),
        "largest circle": largest,
        f"lines over {WIDTH} characters": len(list(wide_lines(source.path for source in sources))),
    }


def wide_lines(paths: Iterable[Path]) -> Iterable[tuple[Path, int]]:
    """(file, line number) of lines that are wider than the width of the code. A URL cannot be wrapped."""
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > WIDTH and "://" not in line:
                yield path, number


def python_figures(top: Path) -> dict[str, object]:
    files, lengths, parameters, documented = [], [], [], 0
    for path in sorted(top.rglob("*.py")):
        text = path.read_text()
        files.append(len(text.splitlines()))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lengths.append(node.end_lineno - node.lineno + 1)
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                parameters.append(len([name for name in names if name not in ("self", "cls")]))
                documented += ast.get_docstring(node) is not None
    return {
        "files": len(files),
        "lines": sum(files),
        "lines per file, median / p90 / max": _spread(files),
        f"files over {FILE_LINES} lines": sum(lines > FILE_LINES for lines in files),
        "lines per function, median / p90 / max": _spread(lengths),
        f"functions over {FUNCTION_LINES} lines": sum(lines > FUNCTION_LINES for lines in lengths),
        "parameters, max": max(parameters),
        "functions with a docstring": _ratio(documented, len(lengths)),
        f"lines over {WIDTH} characters": len(list(wide_lines(top.rglob("*.py")))),
    }


def subjects(since: str) -> list[str] | None:
    """The subjects of the commits after `since`; None if the history is not there."""
    command = ["git", "-C", str(ROOT), "log", "--no-merges", "--format=%s", f"{since}..HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None


def _table(columns: dict[str, dict[str, object]]) -> None:
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    first = max(map(len, rows))
    widths = [max(len(name), *(len(str(column.get(row, ""))) for row in rows)) for name, column in columns.items()]
    print(" " * first, *(f"{name:>{width}}" for name, width in zip(columns, widths, strict=True)), sep="  ")
    for row in rows:
        cells = (f"{column.get(row, '')!s:>{width}}" for column, width in zip(columns.values(), widths, strict=True))
        print(f"{row:{first}}", *cells, sep="  ")


def _lists(crate: Crate) -> None:
    def name(path: Path) -> str:
        return str(path.relative_to(crate.top))

    def show(title: str, lines: Iterable[str]) -> None:
        for number, line in enumerate(lines):
            if number == 0:
                print(f"\n{crate.name}: {title}")
            print(f"  {line}")

    functions = [function for source in crate.sources for function in source.functions]
    show(
        f"files over {FILE_LINES} lines",
        (f"{name(s.path)}: {s.lines}, {s.code_lines} of code" for s in crate.sources if s.lines > FILE_LINES),
    )
    show(
        f"functions over {FUNCTION_LINES} lines",
        (f"{name(f.path)} {f.name}: {f.lines}" for f in functions if f.lines > FUNCTION_LINES),
    )
    show(
        f"functions with over {PARAMETERS} parameters",
        (f"{name(f.path)} {f.name}: {f.parameters}" for f in functions if f.parameters > PARAMETERS),
    )
    show(
        f"structs with over {FIELDS} fields",
        (f"{name(s.path)} {s.name}: {s.fields}" for o in crate.sources for s in o.structs if s.fields > FIELDS),
    )
    show(
        "types with methods in several files",
        (f"{kind}: {', '.join(map(name, paths))}" for kind, paths in sorted(crate.scattered.items())),
    )
    for circle in crate.circles:
        inside = set(circle)
        arrows = (f"{name(a)} -> {', '.join(map(name, sorted(crate.arrows[a] & inside)))}" for a in circle)
        show(f"a circle of {len(circle)} files", arrows)


def main() -> int:
    if sys.argv[1:] not in ([], ["--lists"]):
        print(__doc__, file=sys.stderr)
        return 2
    measured = crates()
    _table({crate.name: rust_figures(crate) for crate in measured})
    print()
    _table({"python/kettle": python_figures(ROOT / "python/kettle"), "tests": python_figures(ROOT / "tests")})
    if sys.argv[1:]:
        for crate in measured:
            _lists(crate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
