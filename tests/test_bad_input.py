"""Bad input causes a clear exception at the call that received it, and loses nothing."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time

import pytest

import kettle
import kettle.futures
import kettle.multiprocessing as mp
import kettle.multiprocessing.pool
import kettle.queue
import kettle.threading
from kettle.multiprocessing.reduction import ForkingPickler
from programs import run

LIMIT = 30

# ------------------------------------------------------------------------------------------------------- wrong types


@pytest.mark.parametrize("timeout", ["soon", [], object()])
@pytest.mark.parametrize(
    "call",
    [
        lambda t: mp.Lock().acquire(True, t),
        lambda t: mp.RLock().acquire(timeout=t),
        lambda t: mp.Semaphore().acquire(timeout=t),
        lambda t: mp.Event().wait(t),
        lambda t: mp.Barrier(2).wait(t),
        lambda t: mp.Queue().get(timeout=t),
        lambda t: mp.Queue(1).put(1, timeout=t),
        lambda t: mp.Pipe()[0].poll(t),
    ],
)
def test_a_timeout_that_is_no_number(call, timeout):
    with pytest.raises(TypeError):
        call(timeout)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mp.Queue("large"),
        lambda: mp.JoinableQueue(1.5),
        lambda: mp.Semaphore("many"),
        lambda: mp.BoundedSemaphore(None),
        lambda: mp.Barrier("two"),
        lambda: mp.Value(3, 4),
        lambda: mp.Value("no such code", 4),
        lambda: mp.Array("i", "text"),
    ],
)
def test_a_constructor_given_the_wrong_type(make):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        make()


@pytest.mark.parametrize("parties", [0, -1])
def test_a_barrier_without_parties(parties):
    with pytest.raises(ValueError, match="parties"):
        mp.Barrier(parties)


def test_owner_death_is_one_of_two_words():
    with pytest.raises(ValueError, match='"raise" or "recover"'):
        mp.Lock(on_owner_death="ignore")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mp.Queue().put_many(5), "objs must be an iterable .* 5 is not iterable"),
        (lambda: mp.SimpleQueue().put_many(None), "objs must be an iterable .* None is not iterable"),
        (lambda: mp.Value("zz"), "typecode_or_type must be .* type codes 'c', .*, not 'zz'"),
        (lambda: mp.RawValue(int, 5), "typecode_or_type must be .*, not <class 'int'>"),
        (lambda: mp.Array([], 3), r"typecode_or_type must be .*, not \[\]"),
        (lambda: mp.Value("i", "x"), "args must be right for c_int: 'str' object"),
        (lambda: mp.Array("i", ["x"]), "items of size_or_initializer must be right for c_int: 'str' object"),
        (lambda: mp.Array("d", 2.5), "size_or_initializer must be a whole number or a sequence, not 2.5"),
        (lambda: mp.RawArray("d", None), "size_or_initializer must be a whole number or a sequence, not None"),
    ],
)
def test_an_error_names_the_parameter_and_what_it_was(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_an_open_file_is_not_copied(tmp_path):
    path = tmp_path / "notes"
    path.write_text("a line")
    queue, (a, _b) = mp.Queue(), mp.Pipe()
    with path.open() as file, mp.get_context("fork").Pool(1) as pool:
        for send in (queue.put, a.send, lambda obj: pool.apply(str, (obj,)), lambda obj: pool.map(str, [obj])):
            for obj in file, [1, {"file": file}]:
                with pytest.raises(TypeError, match=r"cannot pickle '(_io\.)?TextIOWrapper' ") as caught:
                    send(obj)
                assert "Send the path, and open the file there." in "".join(caught.value.__notes__)
        assert queue.empty()


def test_a_view_of_memory_is_not_copied():
    """The receiver would get bytes, and what it writes there would be lost."""
    queue, view = mp.Queue(), memoryview(bytearray(8))
    for obj in view, [1, {"view": view}], lambda: view:
        with pytest.raises(TypeError, match="cannot pickle memoryview objects") as caught:
            queue.put(obj)
        assert "Send a copy, bytes(view)" in "".join(caught.value.__notes__)
    assert queue.empty()


def test_views_of_a_dict_are_copied():
    queue = mp.Queue()
    views = {1: "a"}.keys(), {1: "a"}.values(), {1: "a"}.items()
    for view in views:
        queue.put(view)
    assert [list(queue.get()) for _ in views] == [[1], ["a"], [(1, "a")]]


@pytest.mark.parametrize("module", [mp, kettle.threading])
@pytest.mark.parametrize("timeout, error", [("soon", TypeError), (math.nan, ValueError)])
def test_a_condition_after_a_bad_timeout(module, timeout, error):
    """It is still held, and no waiter remains to which a notification could go."""
    condition, notified = module.Condition(), []

    def wait():
        with condition:
            ready.set()
            notified.append(condition.wait(LIMIT))

    with condition:
        with pytest.raises(error, match="timeout must be a number"):
            condition.wait(timeout)
        with pytest.raises(error):
            condition.wait_for(lambda: False, timeout)
    ready = threading.Event()
    waiter = threading.Thread(target=wait)
    waiter.start()
    ready.wait()
    with condition:
        condition.notify()
    waiter.join()
    assert notified == [True]


def test_a_timeout_in_the_past():
    lock = mp.Lock()
    lock.acquire()
    assert lock.acquire(timeout=-5) is False


def test_endless_timeouts_are_waits_without_end():
    q = mp.Queue()
    timer = threading.Timer(0.05, q.put, args=("came",))
    timer.start()
    assert q.get(timeout=float("inf")) == "came"
    timer.join()
    event = mp.Event()
    event.set()
    assert event.wait(1e30)


# ------------------------------------------------------------------------------------------- what cannot be pickled


class Unpicklable:
    def __reduce__(self):
        raise ArithmeticError("refuses to be sent")


def test_what_cannot_be_pickled_raises_in_put_and_is_not_there():
    for q in (mp.Queue(), mp.Queue(2), mp.JoinableQueue(), mp.SimpleQueue()):
        q.put("before")
        with pytest.raises(ArithmeticError, match="refuses to be sent"):
            q.put(Unpicklable())
        with pytest.raises(TypeError, match="cannot pickle"):
            q.put(threading.Lock())
        assert q.get() == "before" and q.empty()


def test_of_many_only_the_good_ones_before_the_bad_are_put():
    q = mp.Queue()
    with pytest.raises(ArithmeticError):
        q.put_many([1, 2, Unpicklable(), 4])
    got = []
    while not q.empty():
        got.append(q.get())
    assert got in ([], [1, 2])


def test_put_many_stops_where_its_iterable_fails():
    def numbers():
        yield 1
        raise LookupError("from the iterable")

    q = mp.Queue()
    with pytest.raises(LookupError, match="from the iterable"):
        q.put_many(numbers())
    with pytest.raises(TypeError):
        q.put_many(7)
    assert q.qsize() <= 1


Q = mp.Queue()


class PutsWhilePickled:
    """Pickling runs any code, which may use the queue into which the object is being put."""

    def __reduce__(self):
        Q.put("from within")
        return str, ("outer",)


def test_pickling_may_use_the_same_queue():
    Q.put(PutsWhilePickled())
    assert [Q.get(timeout=LIMIT), Q.get(timeout=LIMIT)] == ["from within", "outer"]


def test_rebuilding_may_use_the_same_queue():
    Q.put(Rebuild())
    Q.put("second")
    assert Q.get(timeout=LIMIT) == ["second"]
    assert Q.empty()


def rebuild():
    return [Q.get(timeout=LIMIT)]


class Rebuild:
    def __reduce__(self):
        return rebuild, ()


# ------------------------------------------------------------------------------------------------------ closed, shut


def test_a_closed_queue():
    q = mp.Queue()
    q.put("left")
    other = ForkingPickler.loads(ForkingPickler.dumps(q))
    q.close()
    for use in (lambda: q.put(1), q.get, q.get_nowait, lambda: q.put_many([1]), lambda: q.get_many(1)):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert other.get(timeout=LIMIT) == "left"  # another handle is not affected


def test_shutdown_lets_what_is_there_be_taken():
    q = mp.Queue()
    q.put("left")
    q.shutdown()
    for put in (lambda: q.put(1), lambda: q.put_nowait(1), lambda: q.put_many([1])):
        with pytest.raises(kettle.ShutDown):
            put()
    assert q.get() == "left"
    for get in (q.get, q.get_nowait, lambda: q.get_many(3), lambda: q.get(timeout=LIMIT)):
        with pytest.raises(kettle.ShutDown):
            get()


def test_immediate_shutdown_drops_what_is_there():
    q = mp.JoinableQueue()
    q.put("dropped")
    q.put("dropped too")
    q.shutdown(immediate=True)
    with pytest.raises(kettle.ShutDown):
        q.get()
    q.join()  # dropped items count as done


def get_and_tell(q, results, calling):
    calling.set()
    try:
        results.put(q.get())
    except kettle.ShutDown:
        results.put("shut down")


def put_and_tell(q, results, calling):
    calling.set()
    try:
        results.put(q.put("more"))
    except kettle.ShutDown:
        results.put("shut down")


@pytest.mark.parametrize("target, stock", [(get_and_tell, 0), (put_and_tell, 1)])
def test_shutdown_wakes_those_who_wait(target, stock):
    q, results = mp.Queue(1), mp.Queue()
    for _ in range(stock):
        q.put("full")
    workers = []
    for _ in range(2):
        calling = mp.Event()
        workers.append(mp.Process(target=target, args=(q, results, calling)))
        workers[-1].start()
        assert calling.wait(LIMIT)
    q.shutdown()
    assert [results.get(timeout=LIMIT) for _ in workers] == ["shut down"] * 2
    for worker in workers:
        worker.join(LIMIT)
        worker.close()


def test_shutdown_twice_and_its_class():
    q = mp.Queue()
    q.shutdown()
    q.shutdown(immediate=True)
    if hasattr(queue, "ShutDown"):
        assert kettle.ShutDown is queue.ShutDown


# -------------------------------------------------------------------------------------------------- foreign handles


MAKE_AND_PICKLE = """
import kettle.multiprocessing as mp
from kettle.multiprocessing.reduction import ForkingPickler
print(bytes(ForkingPickler.dumps(mp.{kind}({arguments}))).hex())
"""


@pytest.mark.parametrize(
    "kind, arguments",
    [
        ("Lock", ""),
        ("RLock", ""),
        ("Semaphore", "2"),
        ("Event", ""),
        ("Condition", ""),
        ("Barrier", "2"),
        ("Queue", ""),
    ],
)
def test_a_handle_of_another_session(kind, arguments):
    foreign = bytes.fromhex(run(MAKE_AND_PICKLE.format(kind=kind, arguments=arguments)))
    with pytest.raises(ValueError, match="session"):
        ForkingPickler.loads(foreign)


class RebuiltFrom:
    def __init__(self, pickled):
        self.pickled = pickled

    def __reduce__(self):
        return ForkingPickler.loads, (self.pickled,)


def test_a_handle_of_another_session_in_a_message():
    foreign = bytes.fromhex(run(MAKE_AND_PICKLE.format(kind="Lock", arguments="")))
    q = mp.Queue()
    q.put(RebuiltFrom(foreign))
    q.put("next")
    with pytest.raises(ValueError, match="session"):
        q.get()
    assert q.get() == "next"


@pytest.mark.parametrize("kind", [mp.Lock, mp.Semaphore, mp.Event, mp.Queue])
def test_a_token_of_nonsense(kind):
    primitive = kind()
    native = getattr(primitive, "_items", primitive)
    own = bytes(native._kettle_token())
    for token in (b"", b"nonsense", own[:-1], own + b"\0"):
        with pytest.raises(ValueError):
            type(native)._kettle_from_token(token)
    other = mp.Lock() if kind is not mp.Lock else mp.Event()
    with pytest.raises(ValueError):
        type(native)._kettle_from_token(other._kettle_token())


# ------------------------------------------------------------------------------------------- release, done, get_many


def test_release_of_what_is_not_held():
    with pytest.raises(ValueError, match="released too many times"):
        mp.Lock().release()
    with pytest.raises(AssertionError, match="not owned"):
        mp.RLock().release()
    with pytest.raises(ValueError, match="released too many times"):
        mp.BoundedSemaphore(3).release()
    semaphore = mp.BoundedSemaphore(3)
    semaphore.acquire()
    with pytest.raises(ValueError):
        semaphore.release(2)
    assert semaphore.get_value() == 2  # all or nothing
    with pytest.raises(ValueError):
        mp.Semaphore().release(0)


@pytest.mark.parametrize("maximum", [0, -1])
def test_get_many_of_none(maximum):
    q = mp.Queue()
    q.put(1)
    with pytest.raises(ValueError):
        q.get_many(maximum)
    assert q.get() == 1


def test_put_many_that_does_not_fit_says_how_many_did():
    q = mp.Queue(3)
    with pytest.raises(queue.Full) as caught:
        q.put_many(range(5), timeout=0.05)
    assert caught.value.done == q.qsize()
    assert [q.get() for _ in range(caught.value.done)] == list(range(caught.value.done))


def test_waiting_for_what_cannot_be_waited_for():
    with pytest.raises(TypeError, match="cannot wait for"):
        mp.wait([object()])


# ---------------------------------------------------------------------------------------- parameters, by their names


def square(n):
    return n * n


def pools(call, *kinds):
    """Runs `call` with a pool of each kind."""

    def with_pool(kind):
        with kind(1) as pool:
            return call(pool)

    return [lambda kind=kind: with_pool(kind) for kind in kinds]


def of_pools(call):
    return pools(call, mp.Pool, mp.pool.ThreadPool)


def of_executors(call):
    return pools(call, kettle.futures.ProcessPoolExecutor, kettle.futures.ThreadPoolExecutor)


SPAWN = mp.get_context("spawn")
NAMED = {
    "task_timeout": [
        *of_pools(lambda pool: pool.map(square, [1], task_timeout=-1)),
        *of_pools(lambda pool: pool.map(square, [1], task_timeout="5")),
        *of_pools(lambda pool: pool.apply(square, (1,), task_timeout=math.nan)),
        *of_pools(lambda pool: pool.imap(square, [1], task_timeout=[])),
        lambda: kettle.futures.ProcessPoolExecutor(1).options(task_timeout="5").submit(square, 1),
    ],
    "timeout": [
        *of_pools(lambda pool: pool.apply_async(square, (1,)).get("5")),
        *of_pools(lambda pool: pool.apply_async(square, (1,)).wait(math.nan)),
        *of_pools(lambda pool: pool.imap(time.sleep, [0.1]).next("5")),
        *of_executors(lambda executor: executor.submit(square, 1).result("5")),
        *of_executors(lambda executor: executor.map(square, [1], timeout="5")),
        *(
            lambda call=call, bad=bad: call(bad)
            for bad in ("5", [], math.nan)
            for call in (
                lambda t: mp.Lock().acquire(True, t),
                lambda t: mp.RLock().acquire(timeout=t),
                lambda t: mp.Semaphore().acquire(timeout=t),
                lambda t: mp.Event().wait(t),
                lambda t: mp.Barrier(1).wait(t),
                lambda t: mp.Queue().get(timeout=t),
                lambda t: mp.Queue(1).put(1, timeout=t),
                lambda t: mp.Queue().get_many(1, t),
                lambda t: mp.Pipe()[0].poll(t),
                lambda t: mp.wait([mp.Event()], t),
                lambda t: kettle.threading.Semaphore().acquire(timeout=t),
                lambda t: kettle.threading.Event().wait(t),
                lambda t: kettle.threading.Barrier(1).wait(t),
                lambda t: kettle.queue.Queue().get(timeout=t),
                lambda t: kettle.queue.Queue().put_many([1], timeout=t),
                lambda t: kettle.queue.SimpleQueue().get(timeout=t),
            )
        ),
        lambda: kettle.threading.Lock().acquire(timeout="5"),
        lambda: kettle.threading.Lock().acquire(timeout=-5),
        lambda: kettle.threading.RLock().acquire(timeout=1e30),
    ],
    "retries": [
        *of_pools(lambda pool: pool.map(square, [1], retries=1.5)),
        *of_pools(lambda pool: pool.map(square, [1], retries=-1)),
        lambda: kettle.futures.ProcessPoolExecutor(1).options(retries="5"),
    ],
    "[cC]hunksize": [
        *of_pools(lambda pool: pool.map(square, [1], chunksize="5")),
        *of_pools(lambda pool: pool.imap(square, [1], chunksize=0)),
        *of_executors(lambda executor: executor.map(square, [1], chunksize=1.5)),
    ],
    "buffersize": [
        *of_pools(lambda pool: pool.imap(square, [1], buffersize="5")),
        *of_pools(lambda pool: pool.imap(square, [1], buffersize=0)),
        *of_executors(lambda executor: executor.map(square, [1], buffersize="5")),
    ],
    "args must be a tuple": [
        *of_pools(lambda pool: pool.apply_async(square, (5))),
        *of_pools(lambda pool: pool.apply(square, None)),
    ],
    "kwds": of_pools(lambda pool: pool.apply(square, (), 5)),
    "func": [*of_pools(lambda pool: pool.apply(square(5))), *of_pools(lambda pool: pool.map([1], square))],
    "iterable": [*of_pools(lambda pool: pool.map(square, 5)), *of_pools(lambda pool: pool.imap(square, 5))],
    "callback": of_pools(lambda pool: pool.apply_async(square, (1,), callback=5)),
    "error_callback": of_pools(lambda pool: pool.map_async(square, [1], error_callback=5)),
    "processes": [lambda: mp.Pool("4"), lambda: mp.Pool(0), lambda: mp.pool.ThreadPool(1.5)],
    "initializer": [lambda: mp.Pool(1, 5), lambda: kettle.futures.ThreadPoolExecutor(1, initializer=5)],
    "initargs": [
        lambda: mp.Pool(1, square, 5),
        lambda: mp.pool.ThreadPool(1, square, 5),
        lambda: kettle.futures.ProcessPoolExecutor(1, initargs=5),
    ],
    "maxtasksperchild": [lambda: mp.Pool(1, maxtasksperchild="5"), lambda: mp.Pool(1, maxtasksperchild=0)],
    "max_memory_per_worker": [lambda m=m: mp.Pool(1, max_memory_per_worker=m) for m in ("x", 0, 1.5)],
    "max_workers": [
        lambda: kettle.futures.ProcessPoolExecutor("4"),
        lambda: kettle.futures.ThreadPoolExecutor("4"),
        lambda: kettle.futures.ThreadPoolExecutor(0),
        lambda: kettle.futures.ProcessPoolExecutor(math.inf),
        lambda: kettle.futures.ProcessPoolExecutor(math.nan),
    ],
    "max_tasks_per_child": [lambda: kettle.futures.ProcessPoolExecutor(1, SPAWN, max_tasks_per_child="5")],
    r"context must be .*get_context\('spawn'\)": [
        lambda: kettle.futures.ProcessPoolExecutor(1, "spawn"),
        lambda: mp.pool.Pool(1, context="spawn"),
    ],
    "value": [lambda: mp.Semaphore("5"), lambda: kettle.threading.Semaphore("5")],
    "parties": [lambda: mp.Barrier("5"), lambda: kettle.threading.Barrier(0)],
    "maxsize": [lambda: mp.Queue("5"), lambda: mp.JoinableQueue(1.5), lambda: kettle.queue.Queue("5")],
    "max": [lambda: mp.Queue().get_many("5"), lambda: kettle.queue.Queue().get_many(0)],
    r"^Lock\(\)": [lambda: kettle.threading.Lock("name")],
    r"^Event\(\)": [lambda: kettle.threading.Event("name")],
}


@pytest.mark.parametrize("name", NAMED)
def test_the_parameter_is_named(name):
    for call in NAMED[name]:
        with pytest.raises((TypeError, ValueError, OverflowError), match=name):
            call()


def test_a_task_timeout_too_long_to_be_counted_is_none():
    with mp.Pool(1) as pool:
        assert pool.map(square, [1, 2], task_timeout=math.inf) == [1, 4]
        assert pool.apply(square, (3,), task_timeout=1e300) == 9


class Once:
    """Can be iterated over only once."""

    begun = 0

    def __iter__(self):
        self.begun += 1
        return iter([4, 9])


def test_an_iterable_is_begun_once():
    with mp.Pool(1) as pool:
        for call in (pool.map, pool.imap, pool.imap_unordered):
            items = Once()
            assert list(call(square, items)) == [16, 81]
            assert items.begun == 1


class Refusing:
    def __init__(self, error):
        self.error = error

    def __float__(self):
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("of the program"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        lambda t: kettle.threading.Lock().acquire(timeout=t),
        lambda t: kettle.queue.Queue().get(timeout=t),
        lambda t: mp.Queue().get(timeout=t),
        lambda t: mp.Event().wait(t),
        lambda t: mp.Condition().wait_for(lambda: False, t),
    ],
)
def test_what_a_time_limit_raises_itself_is_not_replaced(call, error):
    with pytest.raises(type(error)) as raised:
        call(Refusing(error))
    assert raised.value is error


@pytest.mark.parametrize("timeout, error", [(math.nan, ValueError), ("5", TypeError)])
@pytest.mark.parametrize(
    "call",
    [
        lambda t: kettle.queue.Queue().aget(t),
        lambda t: mp.Queue().aget(t),
        lambda t: mp.Lock().aacquire(t),
        lambda t: mp.Event().await_set(t),
    ],
)
def test_a_time_limit_of_a_coroutine_that_is_no_number(call, timeout, error):
    with pytest.raises(error, match="timeout must be a number"):
        asyncio.run(call(timeout))


@pytest.mark.parametrize("block", [1, "yes", [0]])
def test_blocking_is_whatever_is_true(block):
    with pytest.raises(queue.Empty):
        mp.Queue().get(block, 0.01)
    assert mp.Lock().acquire(block)
