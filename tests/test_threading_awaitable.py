"""The awaitable methods of the primitives between threads: a coroutine here, a thread there."""

from __future__ import annotations

import asyncio
import threading as standard

import pytest

import kettle.threading as threading
from crowds import thread

LIMIT = 30


def runs(test):
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), LIMIT))

    run.__name__ = test.__name__
    run.pytestmark = getattr(test, "pytestmark", [])
    return run


async def until(holds):
    while not holds():
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("make", [threading.Lock, threading.Semaphore, threading.Condition])
def test_async_with_waits_for_a_thread(make):
    lock, held, over = make(), standard.Event(), standard.Event()

    def hold():
        with lock:
            held.set()
            over.wait(LIMIT)

    async def main():
        with thread(hold):
            await asyncio.to_thread(held.wait)
            assert await lock.aacquire(0.01) is False
            waiter = asyncio.ensure_future(take())
            for _ in range(10):
                await asyncio.sleep(0.001)  # the loop goes on in the meantime
            assert not waiter.done()
            over.set()
            assert await waiter is True

    async def take():
        async with lock as got:
            return got

    asyncio.run(asyncio.wait_for(main(), LIMIT))


@runs
async def test_tasks_of_one_loop_take_turns():
    lock = threading.Lock()
    inside = []

    async def work():
        for _ in range(20):
            async with lock:
                inside.append(1)
                assert len(inside) == 1
                await asyncio.sleep(0)
                inside.pop()

    await asyncio.gather(*(work() for _ in range(10)))
    assert not lock.locked()


@runs
async def test_a_cancelled_waiter_takes_nothing():
    lock = threading.Lock()
    lock.acquire()
    waiter = asyncio.ensure_future(lock.aacquire())
    await until(lambda: lock.statistics().locked and not waiter.done())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    lock.release()
    assert lock.acquire(False)


@runs
async def test_event():
    event = threading.Event()
    assert await event.await_set(0.01) is False
    waiters = [asyncio.ensure_future(event.await_set()) for _ in range(5)]
    await asyncio.sleep(0)
    with thread(event.set):
        assert await asyncio.gather(*waiters) == [True] * 5


@pytest.mark.parametrize("lock", [threading.Lock, threading.RLock])
def test_condition(lock):
    condition = threading.Condition(lock())
    state = []

    def produce():
        for n in range(5):
            with condition:
                state.append(n)
                condition.notify()

    async def main():
        async with condition:
            assert await condition.await_notify(0.01) is False
            with thread(produce):
                while len(state) < 5:
                    assert await condition.await_notify(LIMIT)
        assert condition.acquire(False)
        condition.release()
        with pytest.raises(RuntimeError):
            await condition.await_notify()

    asyncio.run(asyncio.wait_for(main(), LIMIT))


@runs
async def test_a_condition_held_twice_is_held_twice_again():
    condition = threading.Condition()
    with condition, condition:
        assert await condition.await_notify(0.01) is False
        assert condition._lock._recursion_count() == 2


@runs
async def test_a_cancelled_waiter_passes_its_notification_on():
    condition = threading.Condition(threading.Lock())

    async def wait():
        async with condition:
            return await condition.await_notify()

    first, second = asyncio.ensure_future(wait()), None
    await until(lambda: condition._kettle_waiting() == 1)
    second = asyncio.ensure_future(wait())
    await until(lambda: condition._kettle_waiting() == 2)
    with condition:
        condition.notify()
    first.cancel()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError) and results[1] is True
    assert condition.acquire(False)


@runs
async def test_a_condition_over_a_strangers_lock_says_that_it_cannot_be_awaited():
    condition = threading.Condition(standard.Lock())
    with condition:
        with pytest.raises(TypeError, match=r"kettle\.threading"):
            await condition.await_notify()
        assert condition._kettle_waiting() == 0


@runs
async def test_barrier():
    calls = []
    barrier = threading.Barrier(3, action=lambda: calls.append(1))
    numbers = []
    with thread(lambda: numbers.append(barrier.wait(LIMIT))):
        numbers.extend(await asyncio.gather(barrier.await_all(), barrier.await_all()))
    assert sorted(numbers) == [0, 1, 2] and calls == [1]
    with pytest.raises(threading.BrokenBarrierError):
        await barrier.await_all(0.01)
    assert barrier.broken


@runs
async def test_mixed_waiting():
    """`kettle.multiprocessing.wait` accepts primitives between threads as well."""
    import kettle.multiprocessing as mp

    event, lock, semaphore = threading.Event(), threading.Lock(), threading.Semaphore(0)
    lock.acquire()
    assert mp.wait([event, lock, semaphore], 0.01) == []
    with thread(event.set):
        assert await asyncio.to_thread(mp.wait, [event, lock, semaphore], LIMIT) == [event]
    lock.release()
    semaphore.release()
    assert mp.wait([lock, semaphore], 0) == [lock, semaphore]
