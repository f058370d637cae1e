"""A function that travels by value and its arguments refer to the same classes, enums and variables of the program's
main module: those of the worker. Changes that the program makes after its workers started are seen."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap

import pytest

from kettle._core import native

from .support import LIMIT

METHODS = ["fork", "spawn", "forkserver"]
HAS_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")

MODULE = """
    import dataclasses
    import enum
    import functools
    import sys
    import threading
    import kettle.multiprocessing as mp
    from kettle.futures import ProcessPoolExecutor

    class Shape:
        sides = 0
        class Corner:
            pass

    class Colour(enum.Enum):
        RED = 1

    @dataclasses.dataclass
    class Point:
        x: int

    class Caller:
        def __init__(self, function):
            self.function = function
        def call(self, argument):
            return self.function(argument)

    RESOURCE = None
    CACHE = {}
    LOCK = threading.Lock()

    def initialize():
        global RESOURCE
        RESOURCE = {"a": 1}
        CACHE["a"] = 1

    def resource():
        return RESOURCE
"""


def program(body, method):
    text = textwrap.dedent(MODULE) + f"\nMETHOD = {method!r}\nctx = mp.get_context(METHOD)\n"
    return text + "\nif __name__ == '__main__':\n" + textwrap.indent(textwrap.dedent(body), "    ")


@pytest.fixture
def right(run):
    """Runs a program whose assertions hold."""

    def run_it(body, method):
        done = run(program(body, method) + "\n    print('done')\n")
        assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)

    return run_it


def test_a_glance_finds_what_changed():
    """A fork looks only at the names of the main module that changed since the last."""
    names = {"text": "a", "numbers": [1, 2], "table": {"a": 1}, "pair": (1, [2]), "long": list(range(200)), "last": 1}
    changes = [
        (lambda: names.update(text="b"), ["text"]),
        (lambda: names["numbers"].append(3), ["numbers"]),
        (lambda: names["numbers"].__setitem__(0, "another"), ["numbers"]),
        (lambda: names["table"].update(a="another"), ["table"]),
        (lambda: names["table"].update(b=2), ["table"]),
        (lambda: names.update(new=None, text="c"), ["text", "new"]),
        (lambda: names.pop("new"), []),
        (lambda: names.update(last=names.pop("last")), []),
        (lambda: names["long"].append(1), []),  # it is too long
        (lambda: names["long"].clear(), ["long"]),
        (lambda: names.pop("pair"), ["long", "last"]),
    ]
    glance = native.Glance(100)
    assert glance.changed(names) == list(names)
    for change, found in changes:
        change()
        assert glance.changed(names) == (found if HAS_GIL else list(names))
        assert glance.changed(names) == ([] if HAS_GIL else list(names))


@pytest.mark.parametrize("method", METHODS)
def test_a_function_that_cannot_be_sent_is_used_where_it_was_imported(run, method):
    done = run(
        f"""
        import functools
        import kettle.multiprocessing as mp

        @functools.singledispatch
        def kind(value):
            return "object"

        @kind.register
        def _(value: int):
            return "int"

        if __name__ == "__main__":
            with mp.get_context({method!r}).Pool(1) as pool:
                print(pool.map(lambda value: kind(value), [1, "a"]))
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("['int', 'object']\n", "", 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_global_variable_may_refuse_to_tell_its_attributes(right, method):
    right(
        """
        class Unbound:
            @property
            def __dict__(self):
                raise RuntimeError("outside of a request")

        variable = Unbound()
        with ctx.Pool(1) as pool:
            assert pool.apply(lambda: 5) == 5
        """,
        method,
    )


@pytest.mark.parametrize("method", METHODS)
def test_functions_and_arguments_mean_the_same_classes(right, method):
    right(
        """
        def local(x):
            return isinstance(x, Shape)

        is_shape = lambda x: type(x) is Shape
        point = Point(1)
        with ctx.Pool(2) as pool, ProcessPoolExecutor(2, ctx) as executor:
            for function, argument in [
                (local, Shape()),
                (is_shape, Shape()),
                (functools.partial(lambda kind, x: isinstance(x, kind), Shape), Shape()),
                (Caller(is_shape).call, Shape()),
                (lambda x: isinstance(x, Shape.Corner), Shape.Corner()),
                (lambda x: x is Colour.RED, Colour.RED),
                (lambda x: x == Colour.RED, Colour.RED),
                (lambda x: {Colour.RED: True}[x], Colour.RED),
                (lambda x: x == Point(1), point),
                (lambda x: isinstance(x[0], Shape) and x[1] is Colour.RED, (Shape(), Colour.RED)),
            ]:
                several = [argument] * 3
                assert pool.map(function, several) == [True] * 3
                assert pool.map(function, several, 2) == [True] * 3
                assert pool.starmap(function, [(argument,)] * 3) == [True] * 3
                assert list(pool.imap(function, several)) == [True] * 3
                assert list(pool.imap_unordered(function, several, 2)) == [True] * 3
                assert pool.apply(function, (argument,)) is True
                assert pool.apply_async(function, (argument,)).get() is True
                assert list(executor.map(function, several)) == [True] * 3
                assert executor.submit(function, argument).result() is True
        """,
        method,
    )


@pytest.mark.parametrize("method", METHODS)
def test_results_are_of_the_program_s_own_classes(right, method):
    right(
        """
        with ctx.Pool(1) as pool:
            assert pool.map(lambda n: Point(n), [1, 2]) == [Point(1), Point(2)]
            [colour, shape] = pool.apply(lambda: [Colour.RED, Shape()])
            assert colour is Colour.RED and type(shape) is Shape
            # A function that comes back is the program's too, and changes nothing in it.
            made = pool.apply(lambda: lambda x: (isinstance(x, Shape), RESOURCE))
            assert made(Shape()) == (True, None)

            def change():
                global RESOURCE
                RESOURCE = "the worker's"
                return lambda: RESOURCE

            assert pool.apply(change)() == "the worker's"
            assert RESOURCE is None
        """,
        method,
    )


@pytest.mark.parametrize("method", METHODS)
def test_what_an_initializer_set_is_seen(right, method):
    right(
        """
        def local(key):
            return RESOURCE[key], CACHE[key]

        with ctx.Pool(1, initialize) as pool:
            assert pool.map(lambda key: RESOURCE[key], ["a"]) == [1]
            assert pool.map(lambda key: CACHE[key], ["a"]) == [1]
            assert pool.apply(local, ("a",)) == (1, 1)
            assert pool.map(functools.partial(local), ["a"]) == [(1, 1)]
            assert pool.apply(resource) == {"a": 1}
            assert pool.apply(lambda: resource() is RESOURCE)
        with ProcessPoolExecutor(1, ctx, initialize) as executor:
            assert executor.submit(local, "a").result() == (1, 1)
        """,
        method,
    )


@pytest.mark.parametrize("method", METHODS)
def test_what_a_task_changes_stays_in_its_worker(right, method):
    right(
        """
        def count():
            global RESOURCE
            RESOURCE = (RESOURCE or 0) + 1
            return RESOURCE

        with ctx.Pool(1) as pool:
            pool.apply(lambda: setattr(Shape, "sides", 5))
            assert pool.apply(lambda: Shape.sides) == 5
            assert pool.map(lambda shape: shape.sides, [Shape()]) == [5]
            assert [pool.apply(count) for _ in range(3)] == [1, 2, 3]
            assert pool.apply(resource) == 3
            pool.map(lambda n: CACHE.setdefault(n, n), range(3), 1)
            assert pool.apply(lambda: sorted(CACHE)) == [0, 1, 2]
        assert (Shape.sides, RESOURCE, CACHE) == (0, None, {})
        """,
        method,
    )


@pytest.mark.parametrize("method", METHODS)
def test_what_the_program_changes_is_seen(right, method):
    right(
        """
        RESOURCE, CACHE["x"] = "set under the guard", 5
        with ctx.Pool(1) as pool:
            assert pool.apply(lambda: (RESOURCE, CACHE)) == ("set under the guard", {"x": 5})
            for RESOURCE in range(3):
                CACHE["x"] = RESOURCE
                assert pool.apply(lambda: (RESOURCE, CACHE["x"])) == (RESOURCE, RESOURCE)

            def helper(n):
                return n + 1

            assert pool.map(lambda n: helper(n), [1]) == [2]

            def helper(n):
                return n + 2

            assert pool.map(lambda n: helper(n), [1]) == [3]

            class Later:
                pass

            assert pool.map(lambda x: isinstance(x, Later), [Later()]) == [True]
            assert pool.map(lambda x: type(x) is Later, [Later()] * 3, 2) == [True] * 3
        """,
        method,
    )


def test_what_cannot_be_sent_is_used_where_it_is(right):
    """For example, a lock between threads that existed when the worker was forked."""
    right(
        """
        with ctx.Pool(1) as pool:
            assert pool.map(lambda n: LOCK.locked() or n, [3]) == [3]
        """,
        "fork",
    )


@pytest.mark.parametrize("method", METHODS)
def test_targets_and_items(right, method):
    right(
        """
        def answer(queue, shape, colour):
            queue.put((isinstance(shape, Shape), colour is Colour.RED, lambda x: isinstance(x, Shape)))

        queue = ctx.Queue()
        process = ctx.Process(target=lambda *arguments: answer(*arguments), args=(queue, Shape(), Colour.RED))
        process.start()
        is_shape, is_red, test = queue.get()
        process.join()
        assert is_shape and is_red and test(Shape())
        """,
        method,
    )


CELLS = """
import enum
import kettle.multiprocessing as mp
pool = mp.get_context({method!r}).Pool(1)
class Shape:
    sides = 1

class Colour(enum.Enum):
    RED = 1

factor = 2
def scaled(n):
    return factor * n

pool.map(lambda x: isinstance(x, Shape), [Shape()])
pool.map(lambda x: x is Colour.RED, [Colour.RED])
pool.map(lambda n: scaled(n), [1, 2])
factor = 3
pool.map(lambda n: scaled(n), [1, 2])
def scaled(n):
    return -factor * n

pool.map(lambda n: scaled(n), [1, 2])
second = mp.get_context({method!r}).Pool(1)
second.map(lambda x: isinstance(x, Shape) and x.sides, [Shape()])
class Shape:
    sides = 2

[p.map(lambda x: isinstance(x, Shape) and Shape.sides, [Shape()]) for p in (pool, second)]
[p.apply(lambda shape: (isinstance(shape, Shape), Shape.sides), (Shape(),)) for p in (pool, second)]
values = [1]
second.apply(lambda: values)
values.append(2)
second.apply(lambda: values)
for p in pool, second: p.close(); p.join()

"""

ANSWERS = """[True]
[True]
[2, 4]
[3, 6]
[-3, -6]
[1]
[[2], [2]]
[(True, 2), (True, 2)]
[1]
[1, 2]
"""


@pytest.mark.parametrize("method", METHODS)
def test_cells(method):
    """Cells of a notebook, or lines at the prompt, define and redefine names while workers are alive."""
    environment = {**os.environ, "PYTHON_BASIC_REPL": "1"}
    done = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=CELLS.format(method=method),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=environment,
    )
    assert (done.stdout, done.returncode) == (ANSWERS, 0), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_a_program_run_by_runpy(tmp_path, method):
    path = tmp_path / "inner.py"
    path.write_text(
        program(
            """
            with ctx.Pool(1, initialize) as pool:
                assert pool.map(lambda x: isinstance(x, Shape), [Shape()]) == [True]
                assert pool.map(lambda key: RESOURCE[key], ["a"]) == [1]
            print("done")
            """,
            method,
        )
    )
    outer = f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, timeout=LIMIT)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
