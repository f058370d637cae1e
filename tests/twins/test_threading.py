"""`threading`: locks, semaphores, conditions, events and barriers, and the names that are the interpreter's."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import threading as standard
import time
import warnings
import weakref

import pytest

from .support import LIMIT, running

EXCLUSIVE = ("Lock", "RLock", "Condition")
TAKEN_AND_GIVEN = (*EXCLUSIVE, "Semaphore", "BoundedSemaphore")


@pytest.fixture(params=["threading", "kettle.threading"])
def th(request):
    """The module: the standard library's, then Kettle's."""
    return importlib.import_module(request.param)


def in_thread(target, *args):
    """Returns the result of `target(*args)` in another thread."""
    with running(target, *args) as results:
        pass
    return results[0]


def until(holds):
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.001)


def until_waiting(condition, count):
    until(lambda: len(condition._waiters) == count)


# ---------------------------------------------------------------------------------------------- taking and giving


@pytest.mark.parametrize("kind", TAKEN_AND_GIVEN)
def test_acquire_gives_true_and_release_none(th, kind):
    lock = getattr(th, kind)()
    assert lock.acquire() is True
    assert lock.release() is None
    with lock as entered:
        assert entered is True


@pytest.mark.parametrize("kind", TAKEN_AND_GIVEN)
def test_what_is_taken_is_taken_for_other_threads(th, kind):
    lock = getattr(th, kind)()
    with lock:
        assert in_thread(lock.acquire, False) is False
        assert in_thread(lock.acquire, True, 0.01) is False
    assert in_thread(lock.acquire, False) is True


@pytest.mark.parametrize("kind", TAKEN_AND_GIVEN)
def test_a_block_that_raises_gives_it_back(th, kind):
    lock = getattr(th, kind)()
    with pytest.raises(KeyError), lock:
        raise KeyError
    assert in_thread(lock.acquire, False)


@pytest.mark.parametrize("kind", TAKEN_AND_GIVEN)
def test_a_waiter_gets_it_when_it_is_given_back(th, kind):
    lock = getattr(th, kind)()

    def take_and_give():
        with lock:
            return True

    lock.acquire()
    with running(take_and_give, count=5) as results:
        lock.release()
    assert results == [True] * 5


@pytest.mark.parametrize("kind", TAKEN_AND_GIVEN)
def test_a_time_out_lasts_at_least_that_long(th, kind):
    lock = getattr(th, kind)()
    begun = time.monotonic()
    with lock:
        assert in_thread(lambda: lock.acquire(timeout=0.05)) is False
    assert time.monotonic() - begun >= 0.05


@pytest.mark.parametrize("kind", EXCLUSIVE)
def test_arguments_of_acquire(th, kind):
    lock = getattr(th, kind)()
    for wrong in [(False, 1), (True, -2), (True, float("nan"))]:
        with pytest.raises(ValueError):
            lock.acquire(*wrong)
    for wrong in [th.TIMEOUT_MAX + 1, 1e100]:
        with pytest.raises(OverflowError):
            lock.acquire(timeout=wrong)
    for wrong in ["1", None, object()]:
        with pytest.raises(TypeError):
            lock.acquire(True, wrong)
    with pytest.raises(TypeError):
        lock.acquire(False, -1, 1)
    with pytest.raises(TypeError):
        lock.acquire(nonsense=1)
    assert lock.acquire(timeout=th.TIMEOUT_MAX)  # none of those acquired it
    lock.release()
    for fine in [(1,), (False,), (0,), (False, -1), (True, 0), (True, 5)]:
        assert lock.acquire(*fine)
        lock.release()


@pytest.mark.parametrize("kind", EXCLUSIVE)
def test_releasing_what_is_free(th, kind):
    lock = getattr(th, kind)()
    with pytest.raises(RuntimeError):
        lock.release()
    with lock:
        pass
    with pytest.raises(RuntimeError):
        lock.release()


@pytest.mark.parametrize("kind", [*TAKEN_AND_GIVEN, "Event", "Barrier"])
def test_weak_references(th, kind):
    thing = getattr(th, kind)(*[1] * (kind == "Barrier"))
    reference = weakref.ref(thing)
    assert reference() is thing
    del thing
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("kind", [*TAKEN_AND_GIVEN, "Event", "Barrier"])
def test_cannot_be_pickled(th, kind):
    import pickle

    thing = getattr(th, kind)(*[1] * (kind == "Barrier"))
    with pytest.raises(TypeError):
        pickle.dumps(thing)


@pytest.mark.parametrize("kind", ["RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier"])
def test_subclasses_may_have_an_init_of_their_own(th, kind):
    base = type(getattr(th, kind)(*[1] * (kind == "Barrier")))

    class Mine(base):
        def __init__(self, first, *, second):
            super().__init__(*[1] * (kind == "Barrier"))
            self.name = first
            self.second = second

    mine = Mine("first", second=2)
    assert (mine.name, mine.second) == ("first", 2)
    assert isinstance(mine, base)
    if kind == "Event":
        mine.set()
        assert mine.wait()
    elif kind == "Barrier":
        assert mine.wait() == 0
    else:
        with mine:
            assert in_thread(mine.acquire, False) is False


# ---------------------------------------------------------------------------------------------------- Lock, RLock


def test_a_lock_may_be_released_by_another_thread(th):
    lock = th.Lock()
    lock.acquire()
    in_thread(lock.release)
    assert not lock.locked()


def test_a_lock_has_no_subclasses_and_no_arguments(th):
    with pytest.raises(TypeError):
        type("Mine", (type(th.Lock()),), {})
    with pytest.raises(TypeError):
        th.Lock(1)


def test_older_names_of_a_lock(th):
    lock = th.Lock()
    assert lock.acquire_lock() and lock.locked_lock()
    lock.release_lock()
    assert not lock.locked()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_repr_tells_whether_it_is_locked(th, kind):
    lock = getattr(th, kind)()
    assert "<unlocked" in repr(lock) and " object " in repr(lock)
    with lock:
        assert "<locked" in repr(lock)


def test_repr_of_an_rlock_tells_owner_and_count(th):
    lock = th.RLock()
    lock.acquire(), lock.acquire()
    assert f"owner={th.get_ident()} count=2" in repr(lock)
    assert "count=2" in in_thread(repr, lock)


def test_an_rlock_may_be_taken_again_by_its_holder(th):
    lock = th.RLock()
    for _ in range(3):
        assert lock.acquire()
    assert lock._recursion_count() == 3
    for _ in range(3):
        assert in_thread(lock.acquire, False) is False
        lock.release()
    assert lock._recursion_count() == 0
    assert in_thread(lambda: lock.acquire(False) and lock.release() is None) is True


def test_only_the_holder_may_release_an_rlock(th):
    lock = th.RLock()
    with lock:
        with pytest.raises(RuntimeError):
            in_thread(lock.release)
        assert lock._is_owned() and not in_thread(lock._is_owned)
    assert not lock._is_owned()


def test_saving_and_restoring_an_rlock(th):
    lock = th.RLock()
    with pytest.raises(RuntimeError):
        lock._release_save()
    lock.acquire(), lock.acquire()
    state = lock._release_save()
    assert in_thread(lambda: lock.acquire(False) and lock.release() is None) is True
    lock._acquire_restore(state)
    assert lock._recursion_count() == 2


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Condition"])
def test_reinit_frees_what_is_held(th, kind):
    lock = getattr(th, kind)()
    in_thread(lock.acquire)
    assert not lock.acquire(False)
    lock._at_fork_reinit()
    assert lock.acquire(False)
    lock.release()


# -------------------------------------------------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize("what", ["Lock", "RLock", "Semaphore", "Condition", "Event", "Barrier"])
def test_a_signal_handler_that_raises_ends_a_wait_of_the_main_thread(th, what):
    class Stop(Exception):
        pass

    armed = False

    def handler(signum, frame):
        nonlocal armed
        if armed:
            armed = False  # a second one would interrupt the clean-up
            raise Stop

    blocked = {
        "Lock": lambda: lock.acquire(),
        "RLock": lambda: lock.acquire(timeout=LIMIT),
        "Semaphore": lambda: th.Semaphore(0).acquire(),
        "Condition": lambda: lock.wait(),
        "Event": lambda: th.Event().wait(),
        "Barrier": lambda: th.Barrier(2).wait(),
    }
    lock = getattr(th, what if what in EXCLUSIVE else "Lock")()
    if what == "Condition":
        lock.acquire()
    else:
        in_thread(lock.acquire)
    over = standard.Event()
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        # Repeatedly, because the first one may come before the wait.
        def nag():
            if what == "Condition":
                with lock:  # the standard library's lock is lost if the signal comes just after it has been released
                    pass
            while not over.wait(0.02):
                os.kill(os.getpid(), signal.SIGUSR1)

        with running(nag):
            try:
                with pytest.raises(Stop):
                    armed = True
                    blocked[what]()
            finally:
                over.set()
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # drops a signal that is still pending
        signal.signal(signal.SIGUSR1, before)
    if what == "Condition":
        lock.release()  # the thread has its lock again


def test_a_signal_handler_that_returns_does_not_end_a_wait(th):
    lock = th.Lock()
    lock.acquire()
    calls = []

    def handler(signum, frame):
        calls.append(signum)
        if len(calls) == 3:
            lock.release()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        over = standard.Event()

        def nag():
            while not over.wait(0.02):
                os.kill(os.getpid(), signal.SIGUSR1)

        with running(nag):
            assert lock.acquire() is True
            over.set()
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # drops a signal that is still pending
        signal.signal(signal.SIGUSR1, before)
    assert len(calls) >= 3


# ----------------------------------------------------------------------------------------------------- Condition


class Foreign:
    """A foreign lock, with only the methods that a condition needs."""

    def __init__(self):
        self._lock = standard.Lock()
        self.acquire = self._lock.acquire
        self.release = self._lock.release
        self.locked = self._lock.locked  # Python 3.14's condition needs this too

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc):
        self.release()


def locks_for(th):
    import kettle.threading as ours

    class Subclass(type(ours.RLock())):
        pass

    return [th.Lock, th.RLock, Foreign, standard.Lock, standard.RLock, ours.Lock, ours.RLock, Subclass, th.Condition]


@pytest.mark.parametrize("which", range(9))
def test_a_condition_over_any_lock(th, which):
    condition = th.Condition(locks_for(th)[which]())
    ready = []

    def wait():
        with condition:
            notified = condition.wait(LIMIT)
            return notified, len(ready)

    with running(wait, count=2) as results:
        until_waiting(condition, 2)
        with condition:
            ready.append(1)
            condition.notify_all()
    assert results == [(True, 1)] * 2
    with condition:
        assert condition.wait(0.01) is False
    assert condition.acquire(False)
    condition.release()
    with pytest.raises(RuntimeError):
        condition.notify()
    with pytest.raises(RuntimeError):
        condition.wait()
    with pytest.raises(RuntimeError):
        condition.notify_all()


def test_notify_wakes_the_oldest_first_and_no_more_than_asked(th):
    condition = th.Condition()
    order = []

    def wait(number):
        with condition:
            assert condition.wait(LIMIT)
            order.append(number)

    threads = []
    for number in range(5):
        threads.append(standard.Thread(target=wait, args=(number,), daemon=True))
        threads[-1].start()
        until_waiting(condition, number + 1)
    for notified, expected in [(0, []), (1, [0]), (2, [0, 1, 2]), (-1, [0, 1, 2]), (99, [0, 1, 2, 3, 4])]:
        with condition:
            condition.notify(notified)
        until(lambda expected=expected: len(order) == len(expected))
        with condition:
            assert sorted(order) == expected
            assert len(condition._waiters) == 5 - len(expected)
    for thread in threads:
        thread.join(LIMIT)


def test_a_notification_without_waiters_is_not_kept(th):
    condition = th.Condition()
    with condition:
        condition.notify()
        assert condition.wait(0) is False


def test_waiting_leaves_an_rlock_altogether(th):
    condition = th.Condition()

    def wait():
        with condition, condition:
            assert condition.wait(LIMIT)
            return condition._lock._recursion_count()

    with running(wait) as results:
        until_waiting(condition, 1)
        with condition:
            condition.notify()
    assert results == [2]


def test_an_rlock_of_another_thread_is_not_ours_to_wait_with(th):
    condition = th.Condition()
    with condition, pytest.raises(RuntimeError):
        in_thread(condition.notify)


def test_wait_for(th):
    condition = th.Condition()
    state = []

    def wait():
        with condition:
            return condition.wait_for(lambda: len(state) > 2 and "done", LIMIT)

    with running(wait) as results:
        for _ in range(3):
            with condition:
                state.append(1)
                condition.notify()
    assert results == ["done"]
    with condition:
        assert condition.wait_for(lambda: 0, 0.01) == 0


def test_hundreds_may_wait_for_one_condition(th):
    condition = th.Condition(th.Lock())
    woken = []

    def wait():
        with condition:
            assert condition.wait(LIMIT)
            woken.append(1)

    with running(wait, count=300):
        until_waiting(condition, 300)
        with condition:
            condition.notify(100)
        until(lambda: len(woken) == 100)
        with condition:
            condition.notify_all()
    assert len(woken) == 300


def test_deprecated_names(th):
    condition, event = th.Condition(), th.Event()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with condition:
            condition.notifyAll()
        assert event.isSet() is False
    # Other warnings in the meantime are caused by other tests.
    assert [w.category for w in caught if w.filename == __file__] == [DeprecationWarning] * 2


# ----------------------------------------------------------------------------------------------------- Semaphore


@pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
def test_permits(th, kind):
    semaphore = getattr(th, kind)(3)
    assert [semaphore.acquire(False) for _ in range(4)] == [True, True, True, False]
    semaphore.release(2)
    assert [semaphore.acquire(timeout=0.01) for _ in range(3)] == [True, True, False]
    with pytest.raises(ValueError):
        semaphore.release(0)
    with pytest.raises(ValueError):
        semaphore.acquire(False, timeout=1)
    assert semaphore.acquire(True, -1) is False
    assert semaphore._value == 0
    with pytest.raises(ValueError):
        getattr(th, kind)(-1)


def test_a_bounded_semaphore_has_a_bound(th):
    bounded, free = th.BoundedSemaphore(2), th.Semaphore(2)
    free.release(5)
    assert free._value == 7
    with pytest.raises(ValueError):
        bounded.release()
    bounded.acquire()
    with pytest.raises(ValueError):
        bounded.release(2)
    bounded.release()
    assert bounded._value == bounded._initial_value == 2


def test_release_of_several_wakes_several(th):
    semaphore = th.Semaphore(0)
    with running(semaphore.acquire, count=7) as results:
        semaphore.release(3)
        until(lambda: len(results) == 3)
        semaphore.release(4)
    assert results == [True] * 7
    assert semaphore._value == 0


def test_more_permits_than_fit_a_counter(th):
    import sys

    semaphore = th.Semaphore(sys.maxsize)
    with semaphore, semaphore:
        pass


def test_repr_of_the_others(th):
    assert "value=2" in repr(th.Semaphore(2)) and "value=2/2" in repr(th.BoundedSemaphore(2))
    event, barrier = th.Event(), th.Barrier(2)
    assert "unset" in repr(event)
    event.set()
    assert ": set>" in repr(event)
    assert "waiters=0/2" in repr(barrier)
    barrier.abort()
    assert "broken" in repr(barrier)
    assert repr(th.Condition(th.Lock())).startswith("<Condition(<unlocked")


# --------------------------------------------------------------------------------------------------------- Event


def test_event(th):
    event = th.Event()
    assert event.is_set() is False and event.wait(0) is False and event.wait(-1) is False
    with running(event.wait, LIMIT, count=4) as results:
        event.set()
    assert results == [True] * 4
    assert event.is_set() is True and event.wait() is True
    event.clear()
    assert event.wait(0.01) is False


# ------------------------------------------------------------------------------------------------------- Barrier


def test_barrier_rounds(th):
    calls = []
    barrier = th.Barrier(3, action=lambda: calls.append(1))

    def go():
        return [barrier.wait() for _ in range(10)]

    with running(go, count=3) as results:
        pass
    assert len(calls) == 10
    assert all(sorted(turn) == [0, 1, 2] for turn in zip(*results, strict=True))
    assert barrier.parties == 3 and barrier.n_waiting == 0 and not barrier.broken


@pytest.mark.parametrize("how", ["abort", "reset", "late"])
def test_a_broken_barrier(th, how):
    barrier = th.Barrier(2, timeout=0.05 if how == "late" else LIMIT)

    def wait():
        with pytest.raises(th.BrokenBarrierError):
            barrier.wait()
        return True

    with running(wait) as results:
        if how != "late":
            until(lambda: barrier.n_waiting == 1)
            getattr(barrier, how)()
    assert results == [True]
    assert barrier.broken is (how != "reset")
    barrier.reset()
    with running(barrier.wait, LIMIT):
        barrier.wait(LIMIT)
    assert not barrier.broken


def test_an_interrupted_party_may_come_again(th):
    """As in a program that is interrupted by an alarm, or by Ctrl-C."""
    barrier = th.Barrier(3)
    with running(barrier.wait, LIMIT) as results:
        until(lambda: barrier.n_waiting == 1)

        def interrupt():
            until(lambda: barrier.n_waiting == 2)
            signal.pthread_kill(standard.main_thread().ident, signal.SIGINT)

        with running(interrupt), pytest.raises(KeyboardInterrupt):
            barrier.wait(LIMIT)
        assert (barrier.n_waiting, barrier.broken) == (1, False)
        with running(barrier.wait, LIMIT) as others:
            barrier.wait(LIMIT)
    assert len(results) == len(others) == 1 and not barrier.broken


def test_an_action_that_raises_breaks_the_barrier(th):
    def action():
        raise KeyError

    barrier = th.Barrier(2, action)

    def wait():
        try:
            barrier.wait(LIMIT)
        except (KeyError, th.BrokenBarrierError) as error:
            return type(error).__name__

    with running(wait, count=2) as results:
        pass
    assert sorted(results) == ["BrokenBarrierError", "KeyError"]
    assert barrier.broken


# ---------------------------------------------------------------------------------------------------------- fork


def forked(child):
    """Returns the exit code of a forked child that runs `child()`: 0 if the result is true."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads are running
        pid = os.fork()
    if pid == 0:
        code = 99
        try:
            signal.alarm(LIMIT)
            code = 0 if child() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("in_main", [True, False])
def test_what_the_forking_thread_holds_it_holds_in_the_child(th, in_main):
    lock, rlock, condition = th.Lock(), th.RLock(), th.Condition()

    def child():
        assert lock.locked() and rlock._is_owned() and condition._is_owned()
        assert rlock.acquire(False)  # once more
        assert in_thread(rlock.acquire, False) is False  # a new thread is a different holder
        rlock.release(), rlock.release(), lock.release()
        condition.notify()
        condition.release()
        assert in_thread(rlock.acquire, False)
        return forked(lambda: not rlock.acquire(False) and not rlock._is_owned()) == 0

    def parent():
        with lock, rlock, condition:
            return forked(child)

    assert (parent() if in_main else in_thread(parent)) == 0


def test_a_fork_of_a_fork(th):
    lock = th.RLock()

    def deeper(levels):
        assert lock._is_owned() and lock.acquire(False)
        code = forked(lambda: deeper(levels - 1)) if levels else 0
        lock.release()
        return code == 0 and lock._is_owned()

    with lock:
        assert forked(lambda: deeper(3)) == 0


def test_what_another_thread_holds_stays_held_in_the_child(th):
    lock, rlock, over, held = th.Lock(), th.RLock(), th.Event(), th.Event()

    def hold():
        with lock, rlock:
            held.set()
            over.wait()

    def child():
        taken = [lock.acquire(False), rlock.acquire(False), rlock._is_owned()]
        lock._at_fork_reinit()
        rlock._at_fork_reinit()
        return taken == [False] * 3 and lock.acquire(False) and rlock.acquire(False)

    with running(hold):
        held.wait()
        assert forked(child) == 0
        over.set()


def test_waiters_of_the_parent_are_not_in_the_way_of_the_child(th):
    condition, event = th.Condition(), th.Event()

    def wait():
        with condition:
            condition.wait()
        event.wait()

    def child():
        condition._at_fork_reinit()
        event._at_fork_reinit()
        with running(wait):
            until_waiting(condition, 1)
            with condition:
                condition.notify()
            event.set()
        return True

    with running(wait):
        until_waiting(condition, 1)
        assert forked(child) == 0
        with condition:
            condition.notify()
        event.set()


# -------------------------------------------------------------------------------- the interpreter's own things


def test_threads_are_the_interpreters(th):
    seen = {}

    def body():
        seen["current"] = th.current_thread()
        seen["ident"] = th.get_ident()
        seen["native"] = th.get_native_id()
        local.value = 1

    local = th.local()
    thread = th.Thread(target=body, name="worker", daemon=False)
    thread.start()
    thread.join(LIMIT)
    assert seen == {"current": thread, "ident": thread.ident, "native": thread.native_id}
    assert not hasattr(local, "value")
    assert th.main_thread() is standard.main_thread()
    assert th.active_count() == len(th.enumerate()) >= 1


def test_excepthook_that_is_set_is_called(th):
    caught = []
    before = th.excepthook
    th.excepthook = caught.append
    try:
        thread = th.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join(LIMIT)
    finally:
        th.excepthook = before
    assert [c.exc_type for c in caught] == [ZeroDivisionError]
    assert standard.excepthook is before


def test_timer(th):
    fired = th.Event()
    timer = th.Timer(0.001, fired.set)
    timer.start()
    assert fired.wait(LIMIT)
    timer.join(LIMIT)
    never = th.Timer(1000, fired.clear)
    never.start()
    never.cancel()
    never.join(LIMIT)
    assert fired.is_set()
