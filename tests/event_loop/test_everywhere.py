"""Which loop a program gets under `kettle run` and after `kettle.install()`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KETTLE = Path(sys.executable).with_name("kettle")
WHICH = """
import asyncio

async def which():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
"""


def kettle_run(program, **variables):
    environment = {**os.environ, **variables}
    command = [KETTLE, "run", "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split(), result.stderr


def test_every_way_to_get_the_standard_loop_gives_ours():
    program = """
print(asyncio.run(which()))
with asyncio.Runner() as runner:
    print(runner.run(which()))
loop = asyncio.new_event_loop()
print(loop.run_until_complete(which()))
loop.close()
loop = asyncio.get_event_loop()  # as older programs do
print(loop.run_until_complete(which()))
loop.close()
"""
    assert kettle_run(WHICH + program)[0] == ["kettle"] * 4


@pytest.mark.skipif(sys.version_info < (3, 13), reason="since 3.13")
def test_asyncios_name_for_the_platforms_loop_is_ours():
    program = """
import sys
assert "kettle.asyncio" not in sys.modules
print(asyncio.run(which(), loop_factory=asyncio.EventLoop))
from asyncio import *
import kettle.asyncio
assert EventLoop is asyncio.EventLoop is kettle.asyncio.EventLoop
class Loop(asyncio.EventLoop):
    pass
with asyncio.Runner(loop_factory=Loop) as runner:
    assert type(runner.get_loop()) is Loop
try:
    asyncio.no_such_name
except AttributeError as error:
    assert str(error) == "module 'asyncio' has no attribute 'no_such_name'", error
import kettle
kettle.uninstall()
print(asyncio.run(which(), loop_factory=asyncio.EventLoop), "__getattr__" in vars(asyncio))
"""
    assert kettle_run(WHICH + program)[0] == ["kettle", "asyncio", str(sys.version_info >= (3, 14))]


def test_what_the_program_chooses_is_left_alone():
    pytest.importorskip("uvloop")
    program = """
print(asyncio.run(which(), debug=False))
with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
    print(runner.run(which()))
import uvloop
print(uvloop.run(which()))
import warnings
warnings.simplefilter("ignore")
uvloop.install()
print(asyncio.run(which()))
"""
    assert kettle_run(WHICH + program)[0] == ["kettle", "asyncio", "uvloop", "uvloop"]


def test_a_variable_leaves_asyncios_loop_in_place():
    assert kettle_run(WHICH + "print(asyncio.run(which()))", KETTLE_LOOP="asyncio")[0] == ["asyncio"]


def test_that_it_runs_can_be_seen():
    program = WHICH + "for _ in range(2): asyncio.run(which())"
    _, shown = kettle_run(program, KETTLE_SHOW_LOOP="1")
    assert shown.count("kettle.asyncio") == 1


def test_children_have_it_too(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        WHICH
        + """
import multiprocessing, subprocess, sys

def child(q):
    q.put(asyncio.run(which()))

if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(asyncio.run(which()))
    else:
        for method in ("fork", "spawn", "forkserver"):
            ctx = multiprocessing.get_context(method)
            q = ctx.Queue()
            process = ctx.Process(target=child, args=(q,))
            process.start()
            print(q.get(), flush=True)
            process.join()
        subprocess.run([sys.executable, __file__, "child"], check=True)
"""
    )
    result = subprocess.run([KETTLE, "run", path], capture_output=True, text=True)
    assert result.stdout.split() == ["kettle"] * 4, result.stderr


def test_install_and_uninstall():
    program = (
        WHICH
        + """
import kettle
print(asyncio.run(which()))
kettle.install()
print(asyncio.run(which()))
kettle.uninstall()
print(asyncio.run(which()))
"""
    )
    environment = {key: value for key, value in os.environ.items() if key != "KETTLE_INSTALL"}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.stdout.split() == ["asyncio", "kettle", "asyncio"], result.stderr


def test_a_program_that_never_makes_a_loop_does_not_import_it():
    program = "import asyncio, sys; print('kettle.asyncio' in sys.modules)"
    assert kettle_run(program)[0] == ["False"]
