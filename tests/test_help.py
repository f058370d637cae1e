"""What help() and editors show."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import pytest

import kettle
import kettle.multiprocessing as mp
from kettle import _native

_spec = importlib.util.spec_from_file_location("stub_docs", Path(__file__).parent.parent / "ci" / "stub_docs.py")
stub_docs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stub_docs)


def test_the_stub_says_what_the_module_says():
    """If not, `python ci/stub_docs.py` brings it up to date."""
    source = stub_docs.STUB.read_text()
    assert stub_docs.with_docs(source, _native) == source


def test_every_public_method_has_something_to_say():
    assert stub_docs.undocumented(stub_docs.STUB.read_text()) == []


def test_a_stub_is_brought_up_to_date():
    source = """
class Lock:
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool: ...  # takes it
    def release(
        self,
    ) -> None: ...
    def locked(self) -> bool:
        \"\"\"Something else,
        in two lines.\"\"\"

    def _private(self) -> None: ...
"""
    updated = stub_docs.with_docs(source, _native)
    for name in ("acquire", "release", "locked"):
        assert " ".join(inspect.getdoc(getattr(_native.Lock, name)).split()) in " ".join(updated.split())
    assert "Something else" not in updated
    assert "-> bool:  # takes it\n" in updated and '    ) -> None:\n        """Releases the lock' in updated
    assert "_private(self) -> None: ..." in updated
    assert stub_docs.with_docs(updated, _native) == updated


@pytest.mark.parametrize("name", ["multiprocessing", "threading", "queue", "futures", "joblib"])
def test_help_of_the_package_names_its_modules(name):
    assert f"kettle.{name} " in kettle.__doc__


MADE_BY = ["Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier"]
MADE_BY += ["Queue", "JoinableQueue", "SimpleQueue", "Pool"]


@pytest.mark.parametrize("name", MADE_BY)
def test_help_of_what_makes_an_object_tells_the_parameters(name):
    call = getattr(mp, name)
    text = inspect.getdoc(call)
    assert [parameter for parameter in inspect.signature(call).parameters if parameter not in text] == []
