"""The check for leftovers counts everything that the tests leave behind, and nothing that other programs do
meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# Another program, which creates and removes files in the shared directories, with the standard library's names.
OTHER = """
    import select, sys, tempfile
    from multiprocessing.shared_memory import SharedMemory

    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        block = SharedMemory(create=True, size=1)
        with tempfile.NamedTemporaryFile(dir="/tmp"), tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="sem.mp-"):
            block.close()
        block.unlink()
"""

TESTS = """
    import multiprocessing, os, socket, tempfile, time
    from multiprocessing import shared_memory

    import conftest
    import pytest

    conftest.SETTLE = 0.1  # seconds; nothing of this goes away by itself

    def named():
        from multiprocessing import resource_tracker

        block = shared_memory.SharedMemory(create=True, size=1)
        resource_tracker.unregister(block._name, "shared_memory")
        block.close()
        return block

    def in_a_fork():
        process = multiprocessing.get_context("fork").Process(target=named)
        process.start()
        process.join()

    def semaphore():
        return multiprocessing.get_context("spawn").Semaphore()  # it keeps its name as long as it lives

    def directory():
        return tempfile.mkdtemp()

    def memory():
        return os.memfd_create("left")

    def bell():
        return socket.socket(socket.AF_UNIX)

    LEAKS = [named, in_a_fork, semaphore, directory, memory, bell]
    kept = []

    @pytest.fixture(scope="module", autouse=True)
    def standing():
        multiprocessing.resource_tracker.ensure_running()

    @pytest.mark.parametrize("leak", LEAKS)
    def test_leaks(leak, census):
        kept.append(leak())

    def test_leaves_nothing(census):
        for _ in range(50):
            named().unlink()
            os.rmdir(directory())
            os.close(memory())
            time.sleep(0.001)
"""

HOW = """
    import death.leftovers

    set_apart = death.leftovers.set_apart
    death.leftovers.set_apart = lambda: set_apart(namespace={namespace})
"""


@pytest.fixture
def another_program():
    command = [sys.executable, "-c", textwrap.dedent(OTHER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        yield
        assert process.poll() is None
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize("namespace", [True, False], ids=["namespace", "marks"])
def test_what_is_left_is_found_and_what_others_do_is_not(tmp_path, another_program, namespace):
    (tmp_path / "how.py").write_text(textwrap.dedent(HOW).format(namespace=namespace))
    (tmp_path / "test_these.py").write_text(textwrap.dedent(TESTS))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "how",
            "-p",
            "conftest",
            "-p",
            "no:warnings",
            "-q",
            "-rN",
            "--tb=line",
            "test_these.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parent), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert "7 passed, 6 errors in" in done.stdout, done.stdout
    assert done.stdout.count("left files behind") == 4
    assert done.stdout.count("left descriptors open") == 2
