"""`make others` reports tests that fail only under `kettle run`, and no others."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from others import __main__ as others
from others.packages import PACKAGES, Package

SUITE = """
import threading
from pathlib import Path

import pytest

with_kettle = threading.__name__ != "threading"

def test_passes():
    pass

def test_fails():
    assert False

@pytest.mark.skip
def test_is_skipped():
    pass

class TestInAClass:
    @pytest.mark.parametrize("what", ["x/y", "z"])
    def test_is_different(self, what):
        assert not with_kettle or what == "z"

def test_is_known():
    assert not with_kettle

def test_is_unsteady():
    mark = Path("was_here")
    first = not mark.exists()
    if with_kettle:
        mark.touch()
    assert not with_kettle or not first

@pytest.fixture
def falls_apart():
    yield
    assert not with_kettle

def test_leaves_badly(falls_apart):
    pass

exec("def test_is_generated(): assert not with_kettle")

exec('''
def test_is_generated_and_unsteady():
    mark = Path("was_here_too")
    first = not mark.exists()
    if with_kettle:
        mark.touch()
    assert not with_kettle or not first
''')
"""


@pytest.fixture
def environment(monkeypatch, tmp_path):
    environment = SimpleNamespace(python=sys.executable, source=tmp_path, results=tmp_path)
    monkeypatch.setattr(others, "Environment", lambda package, home: environment)
    return environment


def package(**more):
    return Package("a", "1", [], ["test_suite.py"], known={"*::test_is_known": "it looks at a name"}, **more)


def test_what_is_different_is_found(environment, tmp_path, capsys):
    (tmp_path / "test_suite.py").write_text(SUITE)
    result = others.try_out(package())
    assert result.only_with_us == [
        "test_suite.py::TestInAClass::test_is_different[x/y]",
        "test_suite.py::test_leaves_badly",
        "test_suite.py::test_is_generated",
    ]
    assert result.known == ["test_suite.py::test_is_known"]
    assert result.unsteady == ["test_suite.py::test_is_unsteady", "test_suite.py::test_is_generated_and_unsteady"]
    assert (result.tests, result.same, result.fail_anyway) == (10, 4, 1)
    told = capsys.readouterr().out
    assert "FAILS ONLY WITH KETTLE: test_suite.py::test_leaves_badly" in told
    assert "test_is_known: it looks at a name" in told


def test_a_suite_that_does_not_come_to_its_end(environment, tmp_path, capsys):
    (tmp_path / "test_suite.py").write_text(
        "import os, threading\ndef test(): threading.__name__ == 'threading' or os._exit(3)\n"
    )
    assert others.try_out(package()).only_with_us == ["the whole suite"]
    assert "did not come to its end (3)" in capsys.readouterr().out


def test_a_suite_that_cannot_be_tried(environment, tmp_path, capsys):
    (tmp_path / "test_suite.py").write_text("import nothing_like_that\n")
    assert others.try_out(package()).not_tried == ["a"]


def test_the_list():
    assert len({each.name for each in PACKAGES}) == len(PACKAGES)
    with pytest.raises(SystemExit):
        others.main(["no-such-project"])
