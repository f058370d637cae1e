"""Functions that pickle cannot name, and programs that have no module to import: with every start method."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from .support import LIMIT, running

METHODS = ["fork", "spawn", "forkserver"]


def test_functions_without_a_name(ctx):
    factor = 3

    def multiply(n):
        return factor * n

    def factorial(n):
        return n * factorial(n - 1) if n else 1

    class Local:
        def __init__(self, n):
            self.n = n

        def plus(self, m):
            return self.n + m

    with running(ctx, 2) as pool:
        assert pool.map(lambda n: n + factor, range(5)) == [3, 4, 5, 6, 7]
        assert pool.map(multiply, range(5), 1) == [0, 3, 6, 9, 12]
        assert pool.apply(factorial, (5,)) == 120
        assert list(pool.imap(Local(5).plus, range(3))) == [5, 6, 7]
        assert pool.apply_async(lambda f, *, n: f(n), (lambda n: -n,), {"n": 4}).get(LIMIT) == -4
        assert pool.starmap(lambda a, b: a * b, [(2, 3), (4, 5)]) == [6, 20]


BODY = """
    import sys
    import kettle.multiprocessing as mp

    FACTOR = 2

    def double(n):
        return FACTOR * n

    class Pair:
        def __init__(self, a, b):
            self.a, self.b = a, b
        def __eq__(self, other):
            return (self.a, self.b) == (other.a, other.b)

    def swap(pair):
        return Pair(pair.b, pair.a)

    def use(pool):
        assert pool.map(double, range(5)) == [0, 2, 4, 6, 8]
        assert list(pool.imap(lambda n: n + FACTOR, range(3))) == [2, 3, 4]
        assert pool.apply(swap, (Pair(1, 2),)) == Pair(2, 1)
        print("done")
"""


def say(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=LIMIT, **options)


@pytest.mark.parametrize("method", METHODS)
def test_of_a_program(run, method):
    done = run(
        textwrap.dedent(BODY)
        + textwrap.dedent(f"""
        if __name__ == "__main__":
            with mp.get_context({method!r}).Pool(2) as pool:
                use(pool)
            pool.join()
    """)
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.parametrize("method", METHODS)
def test_of_a_command_line(method):
    program = textwrap.dedent(BODY) + f"with mp.get_context({method!r}).Pool(2) as pool: use(pool)\npool.join()\n"
    done = say("-c", program)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.parametrize("method", METHODS)
def test_of_standard_input(method):
    program = textwrap.dedent(BODY) + f"with mp.get_context({method!r}).Pool(2) as pool: use(pool)\npool.join()\n"
    done = say("-", input=program)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.parametrize("method", METHODS)
def test_of_an_interactive_session(method):
    lines = f"""
import kettle.multiprocessing as mp
factor = 2
def double(n):
    return factor * n

pool = mp.get_context({method!r}).Pool(2)
pool.map(double, range(5))
pool.map(lambda n: n + factor, range(3))
def triple(n):
    return 3 * n

list(pool.imap(triple, range(4)))
pool.close()
pool.join()
"""
    done = say("-i", "-q", input=lines, env={**os.environ, "PYTHON_BASIC_REPL": "1"})
    assert done.stdout.split("\n") == ["[0, 2, 4, 6, 8]", "[2, 3, 4]", "[0, 3, 6, 9]", ""], done.stderr
    assert "Traceback" not in done.stderr and done.returncode == 0


@pytest.mark.parametrize("method", METHODS)
def test_of_a_module_that_is_run(tmp_path, method):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        textwrap.dedent(BODY)
        + f"if __name__ == '__main__':\n    with mp.get_context({method!r}).Pool(2) as pool: use(pool)\n"
    )
    done = say("-m", "package", cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_program_without_a_guard_is_told_so(run, method):
    """A child that imports it would start its own pool, and so on. The program ends with an explanation."""
    done = run(f"""
        import kettle.multiprocessing as mp
        pool = mp.get_context({method!r}).Pool(2)
        print(pool.map(abs, [-1]))
        pool.close()
        pool.join()
    """)
    assert (done.stdout, done.returncode) in {("[1]\n", 0), ("", 1)}, done.stderr
    assert ("WorkerDied" in done.stderr) == bool(done.returncode)
