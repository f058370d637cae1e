"""What a program says that has one of the mistakes of every beginner: what is wrong, where, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LIMIT = 120


def run(program, tmp_path, *arguments, flags=(), **environment):
    """What a program ends with, and what it writes to standard output and error."""
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, *flags, str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


# ---------------------------------------------------------------- no main guard

HEAD = """
import sys
from kettle.multiprocessing import get_context
context = get_context(sys.argv[1])
def square(x):
    return x * x
"""
WITHOUT_GUARD = {
    "Process": """
children = [context.Process(target=square, args=(n,)) for n in range(3)]
for child in children: child.start()
for child in children: child.join()
print([child.exitcode for child in children])
""",
    "Pool": """
pool = context.Pool(2)
print(pool.map(square, range(4)))
""",
    "pool in a block": """
with context.Pool(2) as pool:
    print(pool.apply(square, (4,)))
""",
    "executor": """
from kettle.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2, mp_context=context) as executor:
    print(list(executor.map(square, range(4))))
""",
    "Manager": """
manager = context.Manager()
print(manager.list())
""",
    "with an error of its own": """
try:
    pool = context.Pool(2)
except RuntimeError as error:
    raise ValueError("no pool") from error
print(pool.map(square, range(4)))
""",
}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("kind", WITHOUT_GUARD)
def test_a_program_without_a_main_guard_is_shown_one(kind, method, tmp_path):
    code, out, err = run(HEAD + WITHOUT_GUARD[kind], tmp_path, method)
    lines = err.rstrip().splitlines()
    assert len(lines) < 40, err
    assert err.count("kettle: a child process imports the main module") == 1
    assert f"at {tmp_path}/program.py:" in err
    assert "another exception" not in err
    assert "direct cause" not in err
    assert any('if __name__ == "__main__":' in line for line in lines[-3:]), err
    if kind == "Process":
        assert (code, out.strip()) == (0, "[1, 1, 1]")
        assert "Traceback" not in err
    else:
        assert code == 1
        assert err.count("Traceback") == 1


def test_another_error_of_the_main_module_is_shown_as_it_is(tmp_path):
    program = HEAD + "if __name__ != '__main__':\n    1 / 0\n" + WITHOUT_GUARD["Process"]
    _, out, err = run(program, tmp_path, "spawn")
    assert out.strip() == "[1, 1, 1]"
    assert err.count("ZeroDivisionError") == 3
    assert "__main__" not in err
