"""The modules that are loaded before a program does anything: each of them delays every start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kettle

PROGRAM = """
import gc
import sys

import kettle.multiprocessing as multiprocessing

NEED_NOT = {"kettle.multiprocessing.popen_spawn_posix", "multiprocessing.resource_tracker", "queue"}
loaded_before = set(sys.modules)


class Mine:
    pass


mine = Mine()


def child():
    print(sorted(NEED_NOT & loaded_before))
    # What the library loaded is frozen; what the program makes is the collector's, as ever.
    print(gc.isenabled(), gc.get_freeze_count() > 0, any(o is Mine for o in gc.get_objects()))


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


def test_a_spawned_child_begins_with_little(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("[]\nTrue True True\n", "")


def test_the_default_start_method_is_chosen_when_it_is_needed():
    """Newer Pythons write a temporary file to choose it."""
    program = """
import kettle.multiprocessing
from multiprocessing import context
context._default_context._default_context = context._concrete_contexts["spawn"]
print(kettle.multiprocessing.get_start_method(allow_none=True), kettle.multiprocessing.get_all_start_methods()[0])
print(kettle.multiprocessing.get_start_method(), kettle.multiprocessing.context.DefaultContext().get_start_method())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    first = "spawn" if sys.version_info >= (3, 14) else "fork"  # the first one is the default only there
    assert (done.stdout, done.stderr) == (f"None {first}\nspawn spawn\n", "")


def test_a_context_that_another_package_registered():
    """loky registers one with the standard library, and programs ask for it by name."""
    program = """
import kettle.multiprocessing as mp
from multiprocessing import context

class Context(context.ForkContext):
    _name = "another"

context._concrete_contexts["another"] = registered = Context()
print(mp.get_context("another") is registered)
mp.set_start_method("another")
print(mp.get_start_method(), mp.get_context() is registered)

try:
    mp.get_context("a third")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    unknown = "cannot find context for 'a third': method must be 'fork', 'spawn' or 'forkserver'"
    assert (done.stdout, done.stderr) == (f"True\nanother True\n{unknown}\n", "")


HEAVY = {"ast", "asyncio", "dataclasses", "dis", "inspect", "joblib", "kettle._unasked", "numpy", "tqdm", "typing"}


def test_a_pool_brings_no_module_that_is_as_heavy_as_itself():
    """Except for modules that the standard library's pool imports: `traceback` alone imports some in Python 3.14."""
    brought = _modules_after("from multiprocessing import pool")
    assert sorted(HEAVY & (_modules_after("from kettle.multiprocessing import pool") - brought)) == []


def test_the_package_itself_brings_little():
    heavy = {
        *HEAVY,
        "collections.abc",
        "contextlib",
        "functools",
        "importlib.machinery",
        "queue",
        "socket",
        "threading",
    }
    brought = _modules_after("import multiprocessing, importlib")
    assert sorted(heavy & (_modules_after("import kettle.multiprocessing") - brought)) == []


def _modules_after(line: str) -> set[str]:
    place = str(Path(kettle.__file__).parent.parent)
    program = f"import sys; sys.path.insert(0, {place!r}); {line}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
