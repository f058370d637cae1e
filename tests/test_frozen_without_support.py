"""A frozen program that does not call `freeze_support`: its executable runs the whole program again as each child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

LIMIT = 50

#: A script takes the place of the executable that a freezer makes.
PROGRAM = """#!{python}
import sys
sys.frozen = True
sys.executable = {here!r}
import kettle.multiprocessing as mp

with open({starts!r}, "a") as starts:
    starts.write(".")
    assert starts.tell() < 10, "it starts itself over and over"

def main():
    context = mp.get_context({method!r})
    {body}

if __name__ == "__main__":
    {support}
    main()
"""

BODIES = {
    "process": "p = context.Process(target=print, args=('here',)); p.start(); p.join(); sys.exit(p.exitcode)",
    "pool": "print('here', context.Pool(2).map(abs, [-1]))",
    "manager": "print('here', context.Manager().list([1]))",
}


def run(folder, method, body, support):
    here, starts = str(folder / "program"), str(folder / "starts")
    text = PROGRAM.format(
        python=sys.executable, here=here, starts=starts, method=method, body=BODIES[body], support=support
    )
    (folder / "program").write_text(text)
    os.chmod(here, 0o755)
    with subprocess.Popen(
        [here],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            out, err = program.communicate(timeout=LIMIT)
        finally:
            try:
                os.killpg(program.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    return program.returncode, out, err


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_it_is_told(method, body, tmp_path):
    status, out, err = run(tmp_path, method, body, "pass")
    assert (status, out) == (1, ""), err
    assert "multiprocessing.freeze_support()" in err
    assert "over and over" not in err


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_with_the_call_it_works(method, body, tmp_path):
    status, out, err = run(tmp_path, method, body, "mp.freeze_support()")
    assert (status, err) == (0, "")
    assert out.startswith("here")
