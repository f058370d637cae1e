"""A program finds the package on a path that it creates itself: `sys.path.insert`, `site.addsitedir`, an archive of
shiv's or PEX's that is unpacked when it runs. Its children start without that path."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cloudpickle
import pytest

import kettle
from programs import LIMIT

METHODS = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
STARTED_ANEW = pytest.mark.parametrize("method", ["spawn", "forkserver"])


@pytest.fixture
def run(tmp_path):
    """Runs a program in an interpreter that finds no installed package. `{folder}` stands for the location of
    kettle."""

    def run(program, method, folder="site-packages", by_copy=False):
        home = tmp_path / folder
        home.mkdir(parents=True)
        put = shutil.copytree if by_copy else lambda here, there: there.symlink_to(here)
        for package in kettle, cloudpickle:
            put(Path(package.__file__).parent, home / package.__name__)
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(program).replace("{folder}", repr(str(home))))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "KETTLE"))}
        return subprocess.run(
            [sys.executable, "-S", path, method], capture_output=True, text=True, timeout=LIMIT, env=environment
        )

    return run


# Since 3.12 Python itself imports no compiled module from a folder whose name is not UTF-8.
_ACCENT = "\udce9" if sys.version_info < (3, 12) else "é"


@METHODS
@pytest.mark.parametrize("folder", ["site-packages", "dist-packages", "lib", f"a 'b' \"c\" {{d}} %s caf{_ACCENT}"])
def test_whatever_starts_children(run, method, folder):
    done = run(
        """
        import sys
        sys.path.insert(0, {folder})
        import kettle.multiprocessing as mp
        from kettle.futures import ProcessPoolExecutor
        from kettle.multiprocessing import shared_memory

        def child(queue, block):
            block.buf[0] = 1
            queue.put(lambda: "by value")

        def make():
            return lambda: "made there"

        if __name__ == "__main__":
            context = mp.get_context(sys.argv[1])
            queue = context.Queue()
            block = shared_memory.SharedMemory(create=True, size=1)
            process = context.Process(target=child, args=(queue, block))
            process.start()
            print(queue.get(timeout=50)())
            process.join()
            print(process.exitcode, block.buf[0])
            block.close()
            block.unlink()
            with context.Pool(1) as pool:
                print(pool.apply(make)())
            with ProcessPoolExecutor(1, mp_context=context) as executor:
                print(executor.submit(abs, -1).result())
            with context.Manager() as manager:
                print(manager.list([1]))
        """,
        method,
        folder,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == "by value\n0 1\nmade there\n1\n[1]\n"


@METHODS
def test_what_lies_beside_the_package_hides_nothing_of_the_librarys(run, method, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "pickle.py").write_text("raise SystemExit('not the one of the library')\n")
    done = run(
        """
        import pickle, sys
        sys.path.append({folder})
        import kettle.multiprocessing as mp

        if __name__ == "__main__":
            with mp.get_context(sys.argv[1]).Pool(1) as pool:
                print(pool.apply(abs, (-1,)))
        """,
        method,
        "lib/beside",
    )
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)


@METHODS
def test_entries_of_the_path_that_are_not_text(run, method):
    done = run(
        """
        import os, pathlib, sys
        sys.path += [{folder}, os.fsencode({folder}) + b"-bytes", pathlib.Path({folder}, "path")]
        import kettle.multiprocessing as mp

        def child(queue):
            queue.put(sys.path[-2:])

        if __name__ == "__main__":
            context = mp.get_context(sys.argv[1])
            queue = context.Queue()
            process = context.Process(target=child, args=(queue,))
            process.start()
            print(queue.get(timeout=50) == sys.path[-2:])
            process.join()
        """,
        method,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


@STARTED_ANEW
@pytest.mark.parametrize(
    "what",
    [
        "process = context.Process(target=abs, args=(1,)); process.start(); process.join(); "
        "sys.exit(process.exitcode != 0)",
        "context.Pool(1).apply(abs, (1,))",
        "ProcessPoolExecutor(1, mp_context=context).submit(abs, 1).result()",
        "context.Manager()",
    ],
    ids=["process", "pool", "executor", "manager"],
)
def test_a_package_that_is_gone_meanwhile(run, method, what):
    done = run(
        """
        import os, sys
        sys.path.insert(0, {folder})
        import kettle.multiprocessing as mp
        from kettle.futures import ProcessPoolExecutor
        from kettle.multiprocessing import managers, pool, popen_forkserver, popen_spawn_posix

        if __name__ == "__main__":
            context = mp.get_context(sys.argv[1])
            os.rename({folder}, {folder} + "-old")
            {what}
        """.replace("{what}", what),
        method,
        by_copy=True,
    )
    assert "No module named 'kettle'" in done.stderr
    assert done.returncode == 1
