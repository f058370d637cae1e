"""A program that PyInstaller or cx_Freeze made one folder of: it starts itself as child, fork server and resource
tracker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import textwrap

import pytest

LIMIT = 100
pytestmark = pytest.mark.deadline(400)  # the first test waits for the freezer
#: The environment of the tests has them, and the package would use them.
NOT_NEEDED = "numpy", "tqdm", "joblib", "uvloop"

PROGRAM = """
import os, sys
with open(os.environ["STARTS"], "a") as starts:
    starts.write(".")
if os.environ["HOW"] == "install":
    import kettle
    kettle.install()
    import multiprocessing as mp
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import dummy, shared_memory
else:
    import kettle.multiprocessing as mp
    from kettle.futures import ProcessPoolExecutor
    from kettle.multiprocessing import dummy, shared_memory
lock = mp.Lock() if os.environ["HOW"] == "lock" else None

def child(queue, name):
    block = shared_memory.SharedMemory(name)
    block.buf[0] = 7
    block.close()
    queue.put(mp.current_process().name)

def square(x):
    if lock is None:
        return x * x
    with lock:
        return x * x

def main(method):
    context = mp.get_context(method)
    queue = context.Queue()
    block = shared_memory.SharedMemory(create=True, size=1)
    process = context.Process(target=child, args=(queue, block.name), name="child")
    process.start()
    process.join()
    print(process.exitcode, queue.get(timeout=50), block.buf[0])
    block.close()
    block.unlink()
    with context.Pool(2) as pool:
        print(pool.map(square, range(3)), pool.map(lambda x: -x, range(3)))
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        print(executor.submit(square, 3).result())
    with context.Manager() as manager:
        print(manager.list([1]))
    print(dummy.__name__)

if __name__ == "__main__":
    mp.freeze_support()
    main(sys.argv[1])
"""


def by_pyinstaller(folder):
    pytest.importorskip("PyInstaller")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("PyInstaller needs a Python with a shared library")
    without = [f"--exclude-module={name}" for name in NOT_NEEDED]
    make(folder, "PyInstaller", "--onedir", "--noconfirm", "--log-level=ERROR", *without, "program.py")
    return folder / "dist/program/program"


def by_cx_freeze(folder):
    pytest.importorskip("cx_Freeze")
    without = f"--excludes={','.join(NOT_NEEDED)}"
    make(folder, "cx_Freeze", "build", "--script", "program.py", "--silent", without, "--build-exe", "dist")
    return folder / "dist/program"


def make(folder, freezer, *arguments):
    command = [sys.executable, "-m", freezer, *arguments]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stdout + made.stderr


FREEZERS = {"PyInstaller": by_pyinstaller, "cx_Freeze": by_cx_freeze}


@pytest.fixture(scope="module", params=FREEZERS)
def freezer(request):
    return request.param


@pytest.fixture(scope="module")
def frozen(freezer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "program.py").write_text(textwrap.dedent(PROGRAM))
    return FREEZERS[freezer](folder)


@pytest.mark.parametrize("how", ["import", "install", "lock"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_whatever_starts_children(freezer, frozen, method, how, tmp_path):
    if (freezer, method, how) == ("PyInstaller", "forkserver", "lock"):
        pytest.skip("refused: the server's main module begins a session")
    starts = tmp_path / "starts"
    with subprocess.Popen(
        [frozen, method],
        env={**os.environ, "HOW": how, "STARTS": str(starts)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            printed = program.communicate(timeout=LIMIT)
        finally:
            try:
                os.killpg(program.pid, signal.SIGKILL)  # a program that starts itself again and again
            except ProcessLookupError:
                pass
    assert printed == ("0 child 7\n[0, 1, 4] [0, -1, -2]\n9\n[1]\nkettle.multiprocessing.dummy\n", "")
    assert len(starts.read_text()) < 20
