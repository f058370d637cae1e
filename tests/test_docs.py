"""Every program in README.md and in pages of docs/ runs and prints the text below it. Files that pages name exist."""

import doctest
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [ROOT / "docs" / name for name in ("pool.md", "threads.md")]
SHORT_PAGES = [README, ROOT / "docs" / "asyncio.md"]
LIMIT = 40  # seconds for one program, even on a slow machine
SETTLE = 5  # seconds until all processes of the program must be gone

# A heading, or a program with its output right below it.
PIECE = re.compile(
    r"^## (?P<heading>[^\n]+)$|^```python\n(?P<program>.*?)^```$(?:\n+^```text\n(?P<prints>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


def programs(page):
    """Yields (name, program, output)."""
    heading, number = "", 0
    for piece in PIECE.finditer(page.read_text()):
        if piece["heading"]:
            heading, number = re.sub(r"\W+", "-", piece["heading"]).strip("-"), 0
        else:
            number += 1
            yield f"{page.stem}-{heading}-{number}", piece["program"], piece["prints"]


def links(page):
    return re.findall(r"\]\(#([^)]+)\)", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_program_of_the_page_is_found_and_says_what_it_prints(page):
    text = page.read_text()
    found = list(programs(page))
    assert len(found) == text.count("```python") == text.count("```text") > 10
    assert all(prints for _, _, prints in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_within_the_page_lead_somewhere(page):
    headings = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(links(page)) <= anchors
    assert len(links(page)) > 10


def test_the_walks_pass_files_that_exist_in_short_steps():
    _, *walks = re.split(r"^## ", (ROOT / "docs/design/walks.md").read_text(), flags=re.MULTILINE)
    assert len(walks) == 6
    for walk in walks:
        steps = re.findall(r"^\d+\. `([^`]+)`: .*$", walk, re.MULTILINE)
        assert 2 < len(steps) <= 10
        assert [step for step in steps if not (ROOT / step).is_file()] == []


def test_the_glossary_names_types_where_they_are_defined():
    terms = re.findall(
        r"^\| [^|`]+ \| `(\w+)` \| `([^`]+)` \|", (ROOT / "docs/design/glossary.md").read_text(), re.MULTILINE
    )
    assert len(terms) > 20
    definition = r"\b(?:struct|enum|trait|type) {}\b"
    missing = [term for term in terms if not re.search(definition.format(term[0]), (ROOT / term[1]).read_text())]
    assert missing == []


def test_the_index_lists_all_pages_and_only_those():
    index = ROOT / "docs/README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index.read_text())}
    assert [path for path in linked if not path.is_file()] == []
    assert set((ROOT / "docs").rglob("*.md")) - linked == {index}


@pytest.mark.parametrize(
    ("program", "prints"),
    [pytest.param(*rest, id=name) for page in [*SHORT_PAGES, *PAGES] for name, *rest in programs(page)],
)
def test_program(program, prints, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(program)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # keeps stdout and stderr in order
    process = subprocess.Popen(
        [sys.executable, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        pytest.fail(f"hangs; it printed {text!r}")
    assert process.returncode == 0, text
    prints = re.sub(r"\bworker \d+", "worker ...", prints)
    alike = doctest.OutputChecker().check_output(prints, text, doctest.ELLIPSIS)
    assert alike, f"the page says\n{prints}\nand it printed\n{text}"
    deadline = time.monotonic() + SETTLE
    while left := living(process.pid):
        assert time.monotonic() < deadline, f"left processes behind: {left}"
        time.sleep(0.01)


def living(group):
    """Returns the living processes of a group; a dead process remains as a zombie until it is reaped."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # the process is gone
        if int(its_group) == group and state not in "ZX":
            found.append(stat.parent.name)
    return found
