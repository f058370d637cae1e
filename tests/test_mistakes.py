"""docs/beginners-mistakes.md shows the actual messages."""

import re
import sys

import pytest

from mistakes import MISTAKES, PAGE, TAIL, anchor, said

TEXT = PAGE.read_text()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the page has the texts of Python 3.11")
@pytest.mark.parametrize("kettle", [False, True], ids=["stdlib", "kettle"])
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)
def test_the_page_has_what_is_said(mistake, kettle):
    (section,) = re.findall(rf"^## {re.escape(mistake.title)}\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
    program, standard, ours = re.findall(r"^```\w+\n(.*?)\n```$", section, re.MULTILINE | re.DOTALL)
    assert program == mistake.program.format_map({"package": "", "futures": "concurrent.futures"}).strip()
    assert said(mistake, kettle) == (ours if kettle else standard)


def test_the_page_has_all_mistakes_and_no_others():
    headings = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert headings == [*(mistake.title for mistake in MISTAKES), "Threads before a fork"]
    assert re.findall(r"\]\(#(.+?)\)", TEXT) == [anchor(heading) for heading in headings]
    assert TEXT.endswith(TAIL)
