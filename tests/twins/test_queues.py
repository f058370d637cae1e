"""Queue, JoinableQueue and SimpleQueue."""

from __future__ import annotations

import collections
import decimal
import importlib
import itertools
import queue
import threading
import time

import pytest

from .support import LIMIT, answer_of, started

Point = collections.namedtuple("Point", "x y")


class IntLike(int):
    pass


VALUES = [
    *(None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, 2**200, 0.0, -0.0, 1.5, float("inf")),
    *("", "text", "\0", "ü水\U0001f600", "\ud800", b"", b"\0\xff", bytearray(b"ba"), "x" * 100_000, b"y" * 3_000_000),
    *((), (1, 2), [1, [2]], {"a": {"b": None}}, {1, 2}, frozenset("ab"), 1 + 2j, range(3), Ellipsis, int, len),
    *(Point(1, 2), IntLike(7), decimal.Decimal("1.10"), ValueError("no"), slice(1, None)),
]


def echo(source, sink):
    while True:
        item = source.get(timeout=LIMIT)
        sink.put(item)
        if item == "stop":
            return


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_every_kind_of_value_arrives_equal_and_of_its_own_type(fork, kind):
    q = getattr(fork, kind)()
    for value in VALUES:
        if kind == "SimpleQueue" and len(repr(value)) > 60_000:
            continue  # the standard library's blocks forever: its pipe is full
        q.put(value)
        got = q.get()
        assert type(got) is type(value)
        assert got == value or repr(got) == repr(value)
    q.close()


def test_there_and_back(ctx):
    to, back = ctx.Queue(), ctx.Queue()
    with started(ctx, echo, to, back):
        for value in VALUES[:-2]:
            to.put(value)
            got = back.get(timeout=LIMIT)
            assert type(got) is type(value) and got == value
        to.put("stop")
        assert back.get(timeout=LIMIT) == "stop"
    for q in (to, back):
        q.close()
        q.join_thread()


def test_nan_is_nan(fork):
    q = fork.Queue()
    q.put(float("nan"))
    got = q.get()
    assert got != got


def test_identity_of_shared_references_within_one_item(fork):
    q = fork.Queue()
    inner = []
    q.put([inner, inner])
    got = q.get()
    assert got[0] is got[1]


def test_the_item_is_a_copy(fork):
    q = fork.Queue()
    sent = ["as it was"]
    q.put(sent)
    assert q.get(timeout=LIMIT) == sent
    assert q.empty()


def produce(q, name, n):
    for i in range(n):
        q.put((name, i))


def test_each_producers_order_is_kept(ctx):
    q = ctx.Queue()
    n = 300
    with started(ctx, produce, q, "a", n), started(ctx, produce, q, "b", n), started(ctx, produce, q, "c", n):
        got = [q.get(timeout=LIMIT) for _ in range(3 * n)]
    for name in "abc":
        assert [i for who, i in got if who == name] == list(range(n))
    assert q.empty() and q.qsize() == 0
    q.close()


def consume(q, results):
    taken = []
    while (item := q.get(timeout=LIMIT)) is not None:
        taken.append(item)
    results.put(taken)


def test_each_item_is_taken_once(ctx):
    q, results = ctx.Queue(), ctx.Queue()
    with started(ctx, consume, q, results), started(ctx, consume, q, results), started(ctx, consume, q, results):
        for i in range(900):
            q.put(i)
        for _ in range(3):
            q.put(None)
        taken = [results.get(timeout=LIMIT) for _ in range(3)]
    assert sorted(itertools.chain(*taken)) == list(range(900))
    for part in taken:
        assert part == sorted(part)


def test_sizes(fork):
    q = fork.Queue(3)
    assert q.empty() and not q.full() and q.qsize() == 0
    for i in range(3):
        q.put(i)
    assert q.qsize() == 3 and q.full()
    while q.empty():  # the standard library's feeder thread needs a moment
        time.sleep(0.001)
    with pytest.raises(queue.Full):
        q.put("no", False)
    with pytest.raises(queue.Full):
        q.put_nowait("no")
    begun = time.monotonic()
    with pytest.raises(queue.Full):
        q.put("no", True, 0.05)
    assert time.monotonic() - begun >= 0.05
    assert [q.get(timeout=LIMIT) for _ in range(3)] == [0, 1, 2]
    assert q.qsize() == 0 and not q.full()


@pytest.mark.parametrize("maxsize", [0, -1, -100])
def test_unbounded(fork, maxsize):
    q = fork.Queue(maxsize)
    for i in range(5000):
        q.put(i, block=False)
    assert not q.full()
    assert [q.get(timeout=LIMIT) for _ in range(5000)] == list(range(5000))


def test_empty(fork):
    q = fork.Queue()
    for get in (lambda: q.get(False), q.get_nowait, lambda: q.get(True, 0), lambda: q.get(timeout=-1)):
        with pytest.raises(queue.Empty):
            get()
    begun = time.monotonic()
    with pytest.raises(queue.Empty):
        q.get(timeout=0.05)
    assert time.monotonic() - begun >= 0.05


def test_a_full_queue_lets_the_waiting_putter_in(ctx):
    q = ctx.Queue(1)
    q.put("first")
    with started(ctx, produce, q, "late", 1):
        assert q.get(timeout=LIMIT) == "first"
        assert q.get(timeout=LIMIT) == ("late", 0)


def put_and_leave(q, size):
    q.put(b"x" * size)
    q.close()
    q.join_thread()


def test_what_was_put_outlives_its_producer(ctx):
    q = ctx.Queue()
    with started(ctx, put_and_leave, q, 1000):
        pass
    assert q.get(timeout=LIMIT) == b"x" * 1000


def test_a_closed_queue(fork):
    q = fork.Queue()
    q.put(1)
    assert q.get(timeout=LIMIT) == 1
    q.close()
    q.close()
    for use in (lambda: q.put(1), q.get, lambda: q.get(False)):
        with pytest.raises(ValueError, match=r"Queue .* is closed"):
            use()
    q.join_thread()


def test_join_thread_wants_close_first(fork):
    q = fork.Queue()
    q.put(1)
    with pytest.raises(AssertionError):
        q.join_thread()
    q.get(timeout=LIMIT)


def test_cancel_join_thread_exists(fork):
    q = fork.Queue()
    q.cancel_join_thread()
    q.close()


def test_a_queue_is_handed_over_by_inheritance_only_unless_it_is_ours(fork, mp):
    q = fork.Queue()
    reduction = importlib.import_module(mp.__name__ + ".reduction")
    if mp.__name__ == "multiprocessing":
        with pytest.raises(RuntimeError, match="only be shared between processes through inheritance"):
            reduction.ForkingPickler.dumps(q)
    else:
        again = reduction.ForkingPickler.loads(reduction.ForkingPickler.dumps(q))
        again.put("through the copy")
        assert q.get(timeout=LIMIT) == "through the copy"


class Unrebuildable:
    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ArithmeticError("cannot be rebuilt")


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue"])
def test_an_item_that_cannot_be_rebuilt_raises_in_its_get_and_the_next_get_works(fork, kind):
    q = getattr(fork, kind)()
    q.put(Unrebuildable())
    q.put("next")
    with pytest.raises(ArithmeticError, match="cannot be rebuilt"):
        q.get()
    assert q.get() == "next"


def test_threads_of_one_process_share_a_queue(fork):
    q, done = fork.Queue(10), []
    putters = [threading.Thread(target=produce, args=(q, name, 200)) for name in "ab"]
    getter = threading.Thread(target=lambda: done.extend(q.get(timeout=LIMIT) for _ in range(400)))
    for thread in (*putters, getter):
        thread.start()
    for thread in (*putters, getter):
        thread.join(LIMIT)
    for name in "ab":
        assert [i for who, i in done if who == name] == list(range(200))


# -------------------------------------------------------------------------------------------------- JoinableQueue


def work(q, n):
    for _ in range(n):
        q.get(timeout=LIMIT)
        q.task_done()


def test_join_waits_for_every_task(ctx):
    q = ctx.JoinableQueue()
    q.join()  # nothing is unfinished
    with started(ctx, work, q, 20), started(ctx, work, q, 20):
        for i in range(40):
            q.put(i)
        q.join()
        assert q.empty()


def _take_and_stay(q, taken):
    q.get()
    taken.set()
    time.sleep(1000)


def test_a_queue_is_emptied_after_its_workers_were_stopped(fork):
    """As libraries with their own pools do: they finish everything that was put, then take what is left."""
    q, taken = fork.JoinableQueue(), fork.Event()
    for i in range(5):
        q.put(i)
    worker = fork.Process(target=_take_and_stay, args=(q, taken))
    worker.start()
    assert taken.wait(30)
    worker.terminate()
    worker.join()
    for _ in range(5):
        q.task_done()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        q.task_done()
    q.join()
    assert [q.get(timeout=30) for _ in range(4)] == [1, 2, 3, 4]
    q.join()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        q.task_done()
    q.put("again")
    assert q.get(timeout=30) == "again"
    q.task_done()
    q.join()


def test_too_many_task_done(fork):
    q = fork.JoinableQueue()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        q.task_done()
    q.put(1)
    q.get(timeout=LIMIT)
    q.task_done()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        q.task_done()


def finish_one(q):
    q.task_done()


def test_task_done_in_another_process_than_get(fork):
    q = fork.JoinableQueue()
    q.put(1)
    q.get(timeout=LIMIT)
    with started(fork, finish_one, q):
        q.join()


# ---------------------------------------------------------------------------------------------------- SimpleQueue


def test_simple_queue(ctx):
    to, back = ctx.SimpleQueue(), ctx.SimpleQueue()
    assert to.empty()
    with started(ctx, echo_simple, to, back):
        for value in (1, "two", [3], None):
            to.put(value)
            assert back.get() == value
        to.put("stop")
    to.close()
    back.close()


def echo_simple(source, sink):
    while (item := source.get()) != "stop":
        sink.put(item)


def test_simple_queue_is_empty_until_something_is_put(fork):
    q = fork.SimpleQueue()
    assert q.empty()
    q.put(1)
    assert not q.empty()
    assert q.get() == 1
    assert q.empty()
    q.close()


# --------------------------------------------------------------------------------- private names that programs use


def test_private_names_that_executors_use(fork):
    q = fork.SimpleQueue()
    assert not q._reader.poll(0)
    q.put(1)
    assert q._reader.poll(LIMIT)
    assert isinstance(q._reader.fileno(), int)
    q.get()


def test_queue_made_in_a_child_of_a_child(ctx, mp):
    got = answer_of(ctx, nested, mp.__name__, ctx.get_start_method())
    assert got == [0, 1, 2]


def nested(package, method):
    context = importlib.import_module(package).get_context(method)
    q = context.Queue()
    with started(context, produce, q, "deep", 3):
        return [q.get(timeout=LIMIT)[1] for _ in range(3)]


# ------------------------------------------------------------------------------ private parts that programs look at


def test_the_free_places_of_a_queue(fork):
    for maxsize in 3, 0:
        q = fork.Queue(maxsize)
        before = q._sem._semlock._get_value()
        assert q._maxsize - before == 0 and (maxsize == 0 or q._maxsize == maxsize)
        q.put(1)
        q.put(2)
        assert q._maxsize - q._sem.get_value() == 2
        assert (q.get(), q.get()) == (1, 2)
        assert q._maxsize - q._sem.get_value() == 0
        q.close()
        q.join_thread()


def test_the_parts_of_a_queue_that_feed_its_pipe(fork):
    q = fork.Queue()
    assert (q._thread, len(q._buffer), q._joincancelled, q._closed) == (None, 0, False, False)
    with q._notempty:
        assert not q._buffer
    q.close()
    q.join_thread()


def test_unfinished_tasks(fork):
    q = fork.JoinableQueue()
    assert q._unfinished_tasks._semlock._is_zero()
    q.put(1)
    assert q._unfinished_tasks.get_value() == 1 and not q._unfinished_tasks._semlock._is_zero()
    assert q.get() == 1
    with q._cond:  # as programs do that join with a time limit
        assert not q._cond.wait(0.01)
        assert q._unfinished_tasks.get_value() == 1
    finisher = threading.Timer(0.05, q.task_done)
    finisher.start()
    with q._cond:
        while not q._unfinished_tasks._semlock._is_zero():
            assert q._cond.wait(LIMIT)
    finisher.join()
    q.join()
    q.close()
    q.join_thread()
