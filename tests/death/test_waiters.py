"""A process dies while waiting, or while others wait for it: what the others see, for each primitive."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import contextmanager

import pytest

import kettle

from .support import LIMIT, PROMPT, kill, prompt, sleeps, until


class Crew:
    """Processes that each make one call and report its result."""

    def __init__(self, ctx):
        self.ctx = ctx
        self.results = ctx.Queue()
        self.members = []

    def waiting(self, call, *args):
        """Returns a process that is blocked in `call(*args)`."""
        calling = self.ctx.Event()
        process = self.ctx.Process(target=report, args=(calling, self.results, call, args), daemon=True)
        process.start()
        self.members.append(process)
        assert calling.wait(LIMIT)
        until(lambda: sleeps(process.pid))
        return process

    def result(self):
        """Returns the result of the next call that ended."""
        return self.results.get(timeout=PROMPT)

    def nothing(self):
        """Returns whether no call has ended."""
        with pytest.raises(queue.Empty):
            self.results.get(timeout=0.3)


def report(calling, results, call, args):
    calling.set()
    try:
        results.put((os.getpid(), call(*args)))
    except Exception as error:
        results.put((os.getpid(), error))


@pytest.fixture
def crew(ctx):
    members = Crew(ctx)
    yield members
    for process in members.members:
        if process.exitcode is None:
            process.kill()
        process.join()
        process.close()


def acquire(lock):
    return lock.acquire()


def wait(thing):
    return thing.wait()


def wait_inside(condition):
    with condition:
        return condition.wait()


def get(q):
    return q.get()


def put(q, item):
    return q.put(item)


def join(q):
    return q.join()


def take_and_stay(q, connection):
    q.get()
    connection.send("taken")
    connection.poll(None)


def hold_and_stay(lock, connection):
    lock.acquire()
    connection.send("held")
    connection.poll(None)


@contextmanager
def holding(ctx, target, shared):
    """A process that has done its part with `shared` and stays; the block may kill it."""
    ours, theirs = ctx.Pipe()
    process = ctx.Process(target=target, args=(shared, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(LIMIT)
        ours.recv()
        yield process
    finally:
        if process.exitcode is None:
            process.kill()
        process.join()
        process.close()
        ours.close()
        theirs.close()


# -------------------------------------------------------------------------------------------- the waiter dies


def test_event(ctx, crew):
    event = ctx.Event()
    victim, survivor = crew.waiting(wait, event), crew.waiting(wait, event)
    kill(victim)
    prompt(event.set)
    assert crew.result() == (survivor.pid, True)


@pytest.mark.parametrize("order", ["first", "last"])
def test_condition(ctx, crew, order):
    condition = ctx.Condition()
    processes = [crew.waiting(wait_inside, condition) for _ in range(2)]
    victim, survivor = processes if order == "first" else processes[::-1]
    kill(victim)
    with condition:
        prompt(condition.notify)  # one notification, which must not go to the dead process
    assert crew.result() == (survivor.pid, True)


def test_barrier(ctx, crew):
    barrier = ctx.Barrier(3)
    victim, survivor = crew.waiting(wait, barrier), crew.waiting(wait, barrier)
    kill(victim)
    pid, error = crew.result()
    assert pid == survivor.pid and isinstance(error, threading.BrokenBarrierError)
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        prompt(barrier.wait)
    prompt(barrier.reset)
    assert not barrier.broken


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_acquire(ctx, crew, kind):
    lock = getattr(ctx, kind)()
    lock.acquire()
    victim, survivor = crew.waiting(acquire, lock), crew.waiting(acquire, lock)
    kill(victim)
    crew.nothing()
    prompt(lock.release)
    assert crew.result() == (survivor.pid, True)


def test_get(ctx, crew):
    q = ctx.Queue()
    victim, survivor = crew.waiting(get, q), crew.waiting(get, q)
    kill(victim)
    prompt(q.put, "item")
    assert crew.result() == (survivor.pid, "item")
    assert q.empty()


def test_put(ctx, crew):
    q = ctx.Queue(1)
    q.put("there")
    victim, survivor = crew.waiting(put, q, "of the dead"), crew.waiting(put, q, "of the living")
    kill(victim)
    assert prompt(q.get) == "there"
    assert crew.result() == (survivor.pid, None)
    assert prompt(q.get) == "of the living"
    assert q.empty() and q.qsize() == 0


def test_join(ctx, crew):
    q = ctx.JoinableQueue()
    q.put(1)
    victim, survivor = crew.waiting(join, q), crew.waiting(join, q)
    kill(victim)
    q.get()
    q.task_done()
    pid, result = crew.result()
    assert pid == survivor.pid and result in (None, True)


# ------------------------------------------------------------------------------- the process that others wait for dies


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_the_holder_of_a_lock(ctx, crew, kind):
    lock = getattr(ctx, kind)(name="the till")
    with holding(ctx, hold_and_stay, lock) as holder:
        waiter = crew.waiting(acquire, lock)
        kill(holder)
        pid, error = crew.result()
        assert pid == waiter.pid and isinstance(error, kettle.OwnerDied)
        for attempt in (lock.acquire, lambda: lock.acquire(timeout=LIMIT), lambda: lock.acquire(False)):
            with pytest.raises(kettle.OwnerDied) as caught:
                prompt(attempt)
            assert caught.value.pid == holder.pid
    lock.reset()
    assert prompt(lock.acquire) is True
    lock.release()


def test_a_legal_release_mends_a_broken_lock(ctx):
    lock = ctx.Lock()
    with holding(ctx, hold_and_stay, lock) as holder:
        kill(holder)
    with pytest.raises(kettle.OwnerDied):
        lock.acquire()
    lock.release()
    assert prompt(lock.acquire) is True
    lock.release()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_lock_that_is_handed_on(ctx, crew, kind):
    lock = getattr(ctx, kind)(on_owner_death="recover")
    with holding(ctx, hold_and_stay, lock) as holder:
        waiter = crew.waiting(acquire, lock)
        kill(holder)
        assert crew.result() == (waiter.pid, True)


def hold_and_exit(lock):
    lock.acquire()


def test_the_holder_ends_in_good_order(ctx):
    lock = ctx.Lock()
    child = ctx.Process(target=hold_and_exit, args=(lock,))
    child.start()
    child.join(LIMIT)
    assert child.exitcode == 0
    child.close()
    with pytest.raises(kettle.OwnerDied):
        prompt(lock.acquire)


def test_the_holder_of_a_conditions_lock(ctx, crew):
    condition = ctx.Condition()
    waiter = crew.waiting(wait_inside, condition)
    with holding(ctx, hold_and_stay, condition) as holder:
        kill(holder)
    with pytest.raises(kettle.OwnerDied):
        prompt(condition.acquire)
    condition._lock.reset()
    with condition:
        condition.notify()
    assert crew.result() == (waiter.pid, True)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_waiter_that_cannot_take_its_lock_again(ctx, crew, kind):
    condition = ctx.Condition(getattr(ctx, kind)())
    waiter = crew.waiting(wait_inside, condition)
    with holding(ctx, notify_and_stay, condition) as notifier:
        kill(notifier)
        pid, error = crew.result()
        # The end of its block neither hides the error nor releases a lock that it does not hold.
        assert pid == waiter.pid and isinstance(error, kettle.OwnerDied) and error.pid == notifier.pid
    with pytest.raises(kettle.OwnerDied):
        prompt(condition.acquire)


def notify_and_stay(condition, connection):
    condition.acquire()
    condition.notify()
    connection.send("notified")
    connection.poll(None)


def test_permits(ctx):
    plain, robust = ctx.Semaphore(1), ctx.Semaphore(1, robust=True)
    for semaphore, back in ((plain, False), (robust, True)):
        with holding(ctx, hold_and_stay, semaphore) as holder:
            assert not semaphore.acquire(False)
            kill(holder)
        assert semaphore.acquire(timeout=PROMPT if back else 0.5) is back


def test_the_consumer_that_had_an_unfinished_item(ctx, crew):
    q = ctx.JoinableQueue()
    q.put("a")
    q.put("b")
    with holding(ctx, take_and_stay, q) as consumer:
        waiter = crew.waiting(join, q)
        kill(consumer)
        q.get()
        q.task_done()
        pid, error = crew.result()
        assert pid == waiter.pid and isinstance(error, kettle.ConsumerDied)
        assert (error.pid, error.unfinished) == (consumer.pid, 1)


def put_and_stay(q, connection):
    q.put("last words")
    connection.send("put")
    connection.poll(None)


def test_all_putters_dead(ctx):
    q = ctx.Queue()
    with holding(ctx, put_and_stay, q) as putter:
        kill(putter)
    assert prompt(q.get) == "last words"
    with pytest.raises(queue.Empty):  # goes on waiting, as the standard library does
        q.get(timeout=0.3)


def send_and_stay(connection, ready):
    connection.send("last words")
    ready.send("sent")
    ready.poll(None)


def test_the_other_end_of_a_pipe(ctx, crew):
    reader, writer = ctx.Pipe(duplex=False)
    with holding(ctx, send_and_stay, writer) as sender:
        writer.close()
        kill(sender)
    assert reader.recv() == "last words"
    with pytest.raises(EOFError):
        prompt(reader.recv)
    reader.close()


def die_inside(value, connection):
    value.get_lock().acquire()
    connection.send("inside")
    connection.poll(None)


def test_the_lock_of_a_value(ctx):
    value = ctx.Value("i", 5)
    with holding(ctx, die_inside, value) as victim:
        kill(victim)
    with pytest.raises(kettle.OwnerDied):
        prompt(lambda: value.value)
    value.get_lock().reset()
    assert value.value == 5
