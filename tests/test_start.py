"""What is loaded before a program does anything: each module costs every start."""

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


HEAVY = {"ast", "asyncio", "dataclasses", "dis", "inspect", "joblib", "kettle._unasked", "numpy", "tqdm", "typing"}


def test_a_pool_brings_no_module_that_is_as_heavy_as_itself():
    place = str(Path(kettle.__file__).parent.parent)
    program = f"import sys; sys.path.insert(0, {place!r}); from kettle.multiprocessing import pool; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(HEAVY & set(done.stdout.split())) == []
