"""The messages for common mistakes: what is wrong, where, and what to do."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
import traceback

import pytest

import kettle.multiprocessing as mp
from kettle import _unpicklable
from kettle.futures import ProcessPoolExecutor
from kettle.multiprocessing.pool import MaybeEncodingError

LIMIT = 120


def run(program, tmp_path, *arguments, flags=(), **environment):
    """Returns the exit status of a program, and what it writes to stdout and stderr."""
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
from kettle.multiprocessing import get_context, set_start_method
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
from kettle.multiprocessing.pool import MaybeEncodingError
with ProcessPoolExecutor(2, mp_context=context) as executor:
    print(list(executor.map(square, range(4))))
""",
    "Manager": """
manager = context.Manager()
print(manager.list())
""",
    "Pool, after the start method was set": """
set_start_method(sys.argv[1])
pool = context.Pool(2)
print(pool.map(square, range(4)))
""",
    "executor, after the start method was set": """
from kettle.futures import ProcessPoolExecutor
set_start_method(sys.argv[1])
with ProcessPoolExecutor(2) as executor:
    print(list(executor.map(square, range(4))))
""",
    "Manager, after the start method was tried": """
try:
    set_start_method(sys.argv[1])
except RuntimeError as error:
    assert "context has already been set" in str(error)
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
    assert err.count("a child process imports the main module") == 1
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


# ---------------------------------------------------------------- what cannot be pickled


class Link:
    def __init__(self):
        self.lock = threading.Lock()
        self.cache = queue.Queue()

    def use(self):
        pass


class Job:
    def __init__(self):
        self.link = Link()


class Slotted:
    __slots__ = ("empty", "jobs")

    def __init__(self):
        self.jobs = {"first": [Job()]}


class Refuses:
    def __reduce__(self):
        raise ArithmeticError("refuses to be sent")


class OfItsOwn(mp.get_context("spawn").Process):
    def __init__(self):
        super().__init__()
        self.numbers = iter(n for n in range(3))

    def run(self):
        pass


def work(*args, **kwargs):
    return args[0] if args else None


def numbers(n):
    return [n, (i for i in range(n))]


LOCK = "Between processes use kettle.multiprocessing.Lock."
LIST = "Send a list, list(...), or a function that creates the generator."


def started(**parts):
    return lambda: mp.get_context("spawn").Process(**parts).start()


def guards():
    lock = threading.Lock()
    return lambda: lock


REFUSED = {
    "an argument": (started(target=work, args=(1, (n for n in "ab"))), "args[1] is a generator object. " + LIST),
    "deep within an argument": (
        started(target=work, args=(Job(),)),
        f"args[0].link.lock is a lock object, in a {Link.__module__}.Link object. {LOCK}",
    ),
    "a keyword argument": (
        started(target=work, kwargs={"x": [threading.Lock()]}),
        f"kwargs['x'][0] is a lock object. {LOCK}",
    ),
    "a variable of the target": (started(target=guards()), f"target's variable 'lock' is a lock object. {LOCK}"),
    "the object of a method": (started(target=Link().use), "target.__self__.lock is a lock object"),
    "an attribute of a process": (lambda: OfItsOwn().start(), "self.numbers is a generator object. " + LIST),
    "what a pool begins with": (
        lambda: mp.get_context("spawn").Pool(1, work, (1, Job())),
        "initargs[1].link.lock is a lock object",
    ),
    "what an executor begins with": (
        lambda: ProcessPoolExecutor(1, mp.get_context("spawn"), work, (Job(),)).submit(work).result(),
        "initargs[0].link.lock is a lock object",
    ),
    "what is put": (lambda: mp.Queue().put(Slotted()), "obj.jobs['first'][0].link.lock is a lock object"),
    "what is put with others": (lambda: mp.Queue().put_many([1, [Link()]]), "obj[0].lock is a lock object"),
    "a queue of threads": (
        lambda: mp.SimpleQueue().put([queue.Queue()]),
        "obj[0] is a queue.Queue object. Between processes use kettle.multiprocessing.Queue.",
    ),
    "what is sent": (lambda: PIPE[0].send({threading.Lock(): 1}), "'s key <lock object> is a lock object"),
    "what is sent to any program": (lambda: SOCKET[0].send([threading.Lock()]), "obj[0] is a lock object"),
    "an error of the program's": (
        lambda: mp.Queue().put([Refuses()]),
        f"obj[0] is a {Refuses.__module__}.Refuses object",
    ),
}
PIPE, SOCKET = mp.Pipe(), mp.Pipe()


class Unbound:
    """Can be sent, but its attributes cannot be read."""

    @property
    def __dict__(self):
        raise RuntimeError("outside of a request")

    def __reduce__(self):
        return Unbound, ()


def test_what_cannot_be_looked_for_leaves_the_error_as_it_was():
    process = mp.get_context("spawn").Process(target=print, args=([Unbound(), [threading.Lock()]],))
    with pytest.raises(TypeError, match="cannot pickle"):
        process.start()


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_pickled_is_named(case):
    call, expected = REFUSED[case]
    with pytest.raises((TypeError, ArithmeticError)) as caught:
        call()
    error = caught.value
    assert any(expected in note for note in error.__notes__), error.__notes__
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    text = "".join(traceback.format_exception(error))
    assert "cloudpickle" not in text
    assert len(text.splitlines()) - len(error.__notes__) < 34  # newer Pythons add a note for each step into the object


@pytest.mark.parametrize("make", [mp.Pool, ProcessPoolExecutor])
def test_what_a_pool_cannot_send_is_named(make):
    with make(1) as pool:
        apply, submit = getattr(pool, "apply", None), getattr(pool, "submit", None)

        def call(func, *args, **kwds):
            return apply(func, args, kwds) if apply else submit(func, *args, **kwds).result()

        for refused, expected in (
            (lambda: call(work, 1, Job()), "args[1].link.lock of work() is a lock object"),
            (lambda: call(work, x=Job()), "kwds['x'].link.lock of work() is a lock object"),
            (lambda: call(guards()), "func's variable 'lock' of <lambda>() is a lock object"),
            (lambda: list(pool.map(work, [1, 2, 3, Job(), 5])), "iterable[3].link.lock is a lock object"),
            (lambda: list(pool.map(work, [1] * 50 + [Job()], chunksize=17)), "iterable[50].link.lock is a lock object"),
            (lambda: call(numbers, 2), f"result[1] is a generator object. {LIST}"),
        ):
            with pytest.raises((TypeError, MaybeEncodingError)) as caught:
                refused()
            assert any(expected in note for note in caught.value.__notes__), (expected, caught.value.__notes__)
        assert call(work, 5) == 5


def test_many_parts_are_searched_and_too_many_are_not(monkeypatch):
    monkeypatch.setattr(_unpicklable, "_MANY", 5000)
    for size, is_told in ((1000, True), (10_000, False)):
        with pytest.raises(TypeError) as caught:
            mp.Queue().put([*range(size), threading.Lock()])
        notes = getattr(caught.value, "__notes__", ())
        assert any("is a lock object" in note for note in notes) == is_told


def test_without_cloudpickle_it_is_named(tmp_path):
    program = """
import sys
sys.modules["cloudpickle"] = None
from kettle.multiprocessing import Pool, Queue, get_context
def local():
    def inner(): pass
    return inner
with Pool(1) as pool:
    for call in (
        lambda: Queue().put(lambda: 1),
        lambda: pool.apply(local()),
        lambda: pool.map(lambda x: x, [1]),
        lambda: get_context("spawn").Process(target=local()).start(),
    ):
        try:
            call()
        except Exception as error:
            print(error.__notes__[-1])  # newer Pythons have notes of their own
            assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)
"""
    code, out, err = run(program, tmp_path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 4
    assert all("pip install cloudpickle" in line for line in lines)
    assert [line.split()[0] for line in lines] == ["obj", "func", "func", "target"]


# ---------------------------------------------------------------- arguments and methods of a process


def greet(name):
    print(name)


class Forgets(mp.Process):
    """It does not call super().__init__()."""

    def __init__(self, name):
        self.greeted = name

    def run(self):
        print(self.greeted)


def never_started(**options):
    return mp.Process(target=greet, args=("anne",), **options)


def over():
    process = mp.get_context("fork").Process(target=int)
    process.start()
    process.join()
    return process


def closes_early():
    process = mp.get_context("fork").Process(target=threading.Event().wait, daemon=True)
    process.start()
    try:
        process.close()
    finally:
        process.kill()
        process.join()


def late(process):
    process.daemon = True


def undone():
    queue = mp.JoinableQueue()
    queue.put(1)
    queue.get()
    queue.task_done()
    queue.task_done()


def early():
    with mp.Pool(1) as pool:
        pool.apply_async(time.sleep, (1000,)).successful()


def after_the_block():
    with mp.Pool(1) as pool:
        pass
    pool.map(greet, ["anne"])


def joins_a_running_pool():
    with mp.Pool(1) as pool:
        pool.join()


def joins_itself():
    mp.current_process().join()


ASKED = {
    "a group": (lambda: mp.Process(greet, ("anne",)), AssertionError, "Process(target=f, args=(x,))"),
    "a call for a function": (lambda: mp.Process(target=5), TypeError, "was the function called"),
    "letters for arguments": (lambda: mp.Process(target=greet, args=("anne")), TypeError, "args=('anne',)"),
    "a number for arguments": (lambda: mp.Process(target=greet, args=(5)), TypeError, "args=(5,)"),
    "a list for keywords": (lambda: mp.Process(target=greet, kwargs=[5]), TypeError, "kwargs must be a mapping"),
    "a text for keywords": (lambda: mp.Process(target=greet, kwargs="anne"), ValueError, "kwargs must be a mapping"),
    "start without __init__": (lambda: Forgets("anne").start(), AttributeError, "has not called super().__init__()"),
    "join without __init__": (lambda: Forgets("anne").join(), AttributeError, "has not called super().__init__()"),
    "join before start": (lambda: never_started().join(), AssertionError, "call start() before join()"),
    "terminate before start": (lambda: never_started().terminate(), AttributeError, "call start() first"),
    "kill before start": (lambda: never_started().kill(), AttributeError, "call start() first"),
    "start twice": (lambda: over().start(), AssertionError, "create a new Process"),
    "daemon late": (lambda: late(over()), AssertionError, "before start()"),
    "close early": (closes_early, ValueError, "call join() or terminate()"),
    "join of itself": (joins_itself, (AssertionError, AttributeError), "join"),
    "task_done too often": (undone, ValueError, "once for each item"),
    "successful too early": (early, ValueError, "wait() or get()"),
    "a pool after its block": (after_the_block, ValueError, "Pool not running: "),
    "a pool that runs": (joins_a_running_pool, ValueError, "close() or terminate()"),
    "a queue that is not closed": (lambda: mp.Queue().join_thread(), AssertionError, "call close()"),
    "a condition that is not held": (lambda: mp.Condition().notify(), AssertionError, "with condition"),
    "a method that there is not": (lambda: mp.get_context("spwan"), ValueError, "'spawn'"),
}


@pytest.mark.parametrize("case", ASKED)
def test_the_cure_is_named(case):
    call, kind, cure = ASKED[case]
    with pytest.raises(kind) as caught:
        call()
    assert cure in str(caught.value)


def test_errors_of_the_standard_librarys_type_do_not_vanish_under_O(tmp_path):
    program = """
from kettle.multiprocessing import Condition, Queue, get_context
def f(): pass
Process = get_context("fork").Process
process = Process(target=f)
def late(): process.daemon = True
for call in (
    lambda: Process(f), process.join, lambda: (process.start(), process.start()), late, Queue().join_thread,
    Condition().notify,
):
    try:
        call()
        print("nothing")
    except AssertionError as error:
        print("told")
process.join()
"""
    assert run(program, tmp_path, flags=["-O"]) == (0, "told\n" * 6, "")


def test_letters_for_as_many_arguments_are_accepted():
    assert mp.Process(target=max, args="ab")._args == ("a", "b")
    assert mp.Process(target=greet, args="a")._args == ("a",)


def test_a_process_without_a_target_is_warned_of():
    process = mp.get_context("fork").Process(target=greet("anne"))
    with pytest.warns(RuntimeWarning, match="no target"):
        process.start()
    process.join()
    assert process.exitcode == 0


def test_an_attribute_that_there_is_not_is_named_as_ever():
    with pytest.raises(AttributeError, match="'Process' object has no attribute 'jion'") as caught:
        never_started().jion()
    assert caught.value.name == "jion"
