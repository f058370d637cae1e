"""Lock, RLock, Semaphore, BoundedSemaphore, Condition, Event and Barrier."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from .support import LIMIT, answer_of, started


def in_thread(function, *args):
    """Returns the result of `function` in another thread of this process."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join(LIMIT)
    return results[0]


def try_acquire(lock, *args):
    return lock.acquire(*args)


# ---------------------------------------------------------------------------------------------------------- Lock


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_a_held_lock_is_held_for_other_processes(ctx, kind):
    lock = getattr(ctx, kind)()
    with lock:
        assert answer_of(ctx, try_acquire, lock, False) is False
        assert answer_of(ctx, try_acquire, lock, True, 0.01) is False
    assert lock.acquire(False) is True
    lock.release()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_held_lock_is_held_for_other_threads(fork, kind):
    lock = getattr(fork, kind)()
    with lock:
        assert in_thread(try_acquire, lock, False) is False
    assert in_thread(try_acquire, lock, False) is True


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_context_manager_gives_true(fork, kind):
    with getattr(fork, kind)() as got:
        assert got is True


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_context_manager_releases_after_an_exception(fork, kind):
    lock = getattr(fork, kind)()
    with pytest.raises(KeyError), lock:
        raise KeyError
    assert lock.acquire(False)
    lock.release()


def test_acquire_with_a_timeout(fork):
    lock = fork.Lock()
    assert lock.acquire(timeout=0)
    begun = time.monotonic()
    assert lock.acquire(timeout=0.05) is False
    assert time.monotonic() - begun >= 0.05
    assert lock.acquire(True, -1) is False  # the time is already over
    assert lock.acquire(block=False) is False
    lock.release()


def test_a_lock_is_not_reentrant_and_an_rlock_is(fork):
    lock, rlock = fork.Lock(), fork.RLock()
    assert lock.acquire() and not lock.acquire(False)
    lock.release()
    assert rlock.acquire() and rlock.acquire() and rlock.acquire(False)
    for _ in range(3):
        assert in_thread(try_acquire, rlock, False) is False
        rlock.release()
    assert in_thread(try_acquire, rlock, False) is True


def release(lock):
    lock.release()


def test_a_lock_may_be_released_by_another_process(ctx):
    lock = ctx.Lock()
    lock.acquire()
    with started(ctx, release, lock):
        pass
    assert lock.acquire(False)
    lock.release()


def release_error(lock):
    try:
        lock.release()
    except Exception as error:
        return type(error), str(error)
    return None


def test_an_rlock_may_not(fork):
    lock = fork.RLock()
    expected = (AssertionError, "attempt to release recursive lock not owned by thread")
    assert release_error(lock) == expected
    with lock:
        assert answer_of(fork, release_error, lock) == expected
        assert in_thread(release_error, lock) == expected


def test_release_of_what_is_not_held(fork):
    assert release_error(fork.Lock()) == (ValueError, "semaphore or lock released too many times")
    assert release_error(fork.BoundedSemaphore(2)) == (ValueError, "semaphore or lock released too many times")
    assert release_error(fork.Semaphore(0)) is None


def increase(lock, value, n):
    for _ in range(n):
        with lock:
            value.value = value.value + 1


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore"])
def test_mutual_exclusion(ctx, kind):
    lock, value, n = getattr(ctx, kind)(), ctx.Value("q", 0, lock=False), 2000
    with started(ctx, increase, lock, value, n), started(ctx, increase, lock, value, n):
        increase(lock, value, n)
    assert value.value == 3 * n


# ----------------------------------------------------------------------------------------------------- Semaphores


@pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
def test_permits_are_counted(fork, kind):
    semaphore = getattr(fork, kind)(3)
    for left in (2, 1, 0):
        assert semaphore.acquire()
        assert semaphore.get_value() == left
    assert not semaphore.acquire(False)
    assert answer_of(fork, try_acquire, semaphore, False) is False
    for _ in range(3):
        semaphore.release()
    assert semaphore.get_value() == 3


def test_a_plain_semaphore_may_grow(fork):
    semaphore = fork.Semaphore(0)
    semaphore.release()
    semaphore.release()
    assert semaphore.get_value() == 2


def test_a_negative_value_is_refused(fork):
    for kind in (fork.Semaphore, fork.BoundedSemaphore):
        with pytest.raises((ValueError, OSError)):
            kind(-1)


def stay_inside(semaphore, inside, highest, rounds):
    for _ in range(rounds):
        with semaphore:
            with inside.get_lock():
                inside.value += 1
                highest.value = max(highest.value, inside.value)
            with inside.get_lock():
                inside.value -= 1


def test_never_more_inside_than_permits(ctx):
    semaphore, inside, highest = ctx.Semaphore(2), ctx.Value("i", 0), ctx.Value("i", 0)
    args = (semaphore, inside, highest, 200)
    with started(ctx, stay_inside, *args), started(ctx, stay_inside, *args), started(ctx, stay_inside, *args):
        pass
    assert inside.value == 0 and 1 <= highest.value <= 2


# ---------------------------------------------------------------------------------------------------------- Event


def wait_for(event, timeout=None):
    return event.wait(timeout)


def test_event(ctx):
    event = ctx.Event()
    assert event.is_set() is False
    assert event.wait(0) is False and event.wait(0.01) is False and event.wait(-1) is False
    reader, writer = ctx.Pipe(duplex=False)
    with started(ctx, say_when_set, event, writer):
        assert reader.recv() == "waiting"
        event.set()
        assert reader.poll(LIMIT) and reader.recv() is True
    assert event.is_set() and event.wait() is True
    assert answer_of(ctx, wait_for, event) is True
    event.clear()
    assert not event.is_set()
    reader.close()
    writer.close()


def say_when_set(event, writer):
    writer.send("waiting")
    writer.send(event.wait(LIMIT))


def test_event_wakes_all_waiters(fork):
    event, results = fork.Event(), []
    threads = [threading.Thread(target=lambda: results.append(event.wait(LIMIT))) for _ in range(5)]
    for thread in threads:
        thread.start()
    event.set()
    for thread in threads:
        thread.join(LIMIT)
    assert results == [True] * 5


# ------------------------------------------------------------------------------------------------------ Condition


def wait_turn(condition, turn, me, order):
    with condition:
        while turn.value != me:
            assert condition.wait(LIMIT)
        order.put(me)
        turn.value += 1
        condition.notify_all()


def test_condition_passes_a_turn_round(ctx):
    # A SimpleQueue: the standard library's Queue does not keep the order of items from several processes.
    condition, turn, order = ctx.Condition(), ctx.Value("i", 0, lock=False), ctx.SimpleQueue()
    with started(ctx, wait_turn, condition, turn, 2, order), started(ctx, wait_turn, condition, turn, 1, order):
        wait_turn(condition, turn, 0, order)
        assert [order.get() for _ in range(3)] == [0, 1, 2]


def enter_and_wait(condition, entered, timeout):
    with condition:
        entered.release()
        return condition.wait(timeout)


@pytest.mark.parametrize("woken", [1, 2, 4])
def test_notify_wakes_that_many(fork, woken):
    condition, entered, results = fork.Condition(), fork.Semaphore(0), fork.Queue()

    def waiter():
        results.put(enter_and_wait(condition, entered, LIMIT))

    threads = [threading.Thread(target=waiter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert entered.acquire(timeout=LIMIT)
    with condition:
        condition.notify(woken)
    assert [results.get(timeout=LIMIT) for _ in range(woken)] == [True] * woken
    with condition:
        condition.notify_all()
    assert [results.get(timeout=LIMIT) for _ in range(4 - woken)] == [True] * (4 - woken)
    for thread in threads:
        thread.join(LIMIT)


def test_condition_wait_runs_out_and_holds_the_lock_again(fork):
    condition = fork.Condition()
    with condition:
        begun = time.monotonic()
        assert condition.wait(0.05) is False
        assert time.monotonic() - begun >= 0.05
        assert in_thread(try_acquire, condition, False) is False
    assert in_thread(try_acquire, condition, False) is True


def test_condition_releases_a_lock_held_several_times(fork):
    condition, entered = fork.Condition(fork.RLock()), fork.Semaphore(0)

    def notify():
        entered.acquire()
        with condition:
            condition.notify()

    thread = threading.Thread(target=notify)
    thread.start()
    with condition, condition, condition:
        entered.release()
        assert condition.wait(LIMIT)
    thread.join(LIMIT)


def test_wait_for(fork):
    condition, state = fork.Condition(), fork.Value("i", 0)

    def count():
        while state.value < 5:
            with condition:
                state.value += 1
                condition.notify()

    with condition:
        assert condition.wait_for(lambda: 7) == 7
        assert condition.wait_for(lambda: 0, 0.01) == 0
        thread = threading.Thread(target=count)
        thread.start()
        assert condition.wait_for(lambda: state.value == 5, LIMIT) is True
    thread.join(LIMIT)


def test_condition_wants_its_lock_held(fork):
    condition = fork.Condition()
    with pytest.raises(AssertionError, match="must acquire\\(\\) condition before using wait\\(\\)"):
        condition.wait()
    with pytest.raises(AssertionError, match="lock is not owned"):
        condition.notify()
    with pytest.raises(AssertionError, match="lock is not owned"):
        condition.notify_all()


def test_condition_on_a_given_lock(fork):
    lock = fork.Lock()
    condition = fork.Condition(lock)
    with condition:
        assert in_thread(try_acquire, lock, False) is False
        assert condition.wait(0.01) is False
    with lock:
        condition.notify()


# -------------------------------------------------------------------------------------------------------- Barrier


def pass_barrier(barrier, results, rounds):
    for _ in range(rounds):
        results.put(barrier.wait(LIMIT))


def test_barrier_lets_all_through_together(ctx):
    barrier, results = ctx.Barrier(3), ctx.Queue()
    with started(ctx, pass_barrier, barrier, results, 4), started(ctx, pass_barrier, barrier, results, 4):
        pass_barrier(barrier, results, 4)
        got = [results.get(timeout=LIMIT) for _ in range(12)]
    assert sorted(got) == sorted([0, 1, 2] * 4)
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)


def test_barrier_action_runs_once_a_round(fork):
    ran = fork.Value("i", 0)

    def action():
        ran.value += 1

    barrier = fork.Barrier(2, action)
    thread = threading.Thread(target=lambda: [barrier.wait(LIMIT) for _ in range(3)])
    thread.start()
    for _ in range(3):
        barrier.wait(LIMIT)
    thread.join(LIMIT)
    assert ran.value == 3


def broken_in(barrier):
    try:
        barrier.wait(LIMIT)
    except threading.BrokenBarrierError:
        return "broken"
    return "passed"


def test_a_timeout_breaks_the_barrier_for_all(fork):
    barrier = fork.Barrier(3)
    results = []
    thread = threading.Thread(target=lambda: results.append(broken_in(barrier)))
    thread.start()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.1)
    thread.join(LIMIT)
    assert results == ["broken"] and barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken and barrier.n_waiting == 0


def arrive(barrier):
    barrier.wait(LIMIT)


def test_an_interrupted_party_may_come_again(fork):
    barrier = fork.Barrier(3)

    def interrupt():
        while barrier.n_waiting < 2:
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with started(fork, arrive, barrier):
        while barrier.n_waiting < 1:
            time.sleep(0.001)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            barrier.wait(LIMIT)
        thread.join()
        assert (barrier.n_waiting, barrier.broken) == (1, False)
        with started(fork, arrive, barrier):
            barrier.wait(LIMIT)
    assert not barrier.broken


def test_default_timeout_of_a_barrier(fork):
    barrier = fork.Barrier(2, timeout=0.05)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


def abort(barrier):
    barrier.abort()


def test_abort(ctx):
    barrier = ctx.Barrier(2)
    with started(ctx, abort, barrier), pytest.raises(threading.BrokenBarrierError):
        barrier.wait(LIMIT)
    assert barrier.broken


def test_an_action_that_fails_breaks_the_barrier(fork):
    def action():
        raise LookupError("in the action")

    barrier = fork.Barrier(1, action)
    with pytest.raises(LookupError, match="in the action"):
        barrier.wait()
    assert barrier.broken


def test_a_barrier_of_one(fork):
    barrier = fork.Barrier(1)
    assert barrier.wait() == 0 and barrier.wait(0) == 0


# ----------------------------------------------------------------------------------------------------- travelling


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event"])
def test_what_it_shows(fork, kind):
    assert kind.lower() in repr(getattr(fork, kind)()).lower()


# ------------------------------------------------------------------------------ private parts that programs look at


def test_the_parts_of_an_event_and_a_barrier(fork):
    event = fork.Event()
    assert event._flag._semlock._is_zero() and event._flag.get_value() == 0
    event.set()
    assert event._flag.get_value() == 1
    barrier = fork.Barrier(2, sorted, 0.01)
    assert (barrier._parties, barrier._action, barrier._timeout, barrier._count, barrier._state) == (
        2,
        sorted,
        0.01,
        0,
        0,
    )
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier._state == -2
