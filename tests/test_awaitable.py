"""The awaitable twins, on the standard loop, Kettle's and uvloop: nothing lost, no thread, woken by any process."""

from __future__ import annotations

import asyncio
import os
import queue
import threading

import pytest

import kettle
import kettle.asyncio
import kettle.multiprocessing as mp
from kettle import _aio

LIMIT = 30


def _loop_runner(name):
    if name == "uvloop":
        return pytest.importorskip("uvloop").run
    if name == "kettle":
        return kettle.asyncio.run
    return asyncio.run


@pytest.fixture(params=["asyncio", "kettle", "uvloop"])
def run(request):
    """Runs a coroutine function on a new loop, within the time limit."""
    runner = _loop_runner(request.param)

    async def limited(main):
        async with asyncio.timeout(LIMIT):
            return await main()

    return lambda main: runner(limited(main))


@pytest.fixture
def ctx():
    return mp.get_context("fork")


def threads() -> int:
    """Returns the threads of this process, including those that Kettle did not start."""
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def blocked(*tasks):
    """Lets the tasks run until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)
    for task in tasks:
        assert not task.done()


# ------------------------------------------------------------------------------------------------------------ queues


def test_a_hundred_thousand_in_a_row(run):
    q, n = mp.Queue(), 100_000
    q.put_many(range(n))

    async def main():
        for i in range(n):
            assert await q.aget() == i

    run(main)
    assert q.empty()


def put_all(q, n):
    for i in range(n):
        q.put(i)


def echo(source, sink):
    while (item := source.get()) is not None:
        sink.put(item)


def test_woken_by_another_process_without_a_thread(run, ctx):
    to, back = ctx.Queue(), ctx.Queue()
    child = ctx.Process(target=echo, args=(to, back))
    child.start()
    before = threads()

    async def main():
        for i in range(500):
            await to.aput(i)
            assert await back.aget() == i
            assert threads() <= before
        await to.aput(None)
        await child.ajoin()

    run(main)
    assert child.exitcode == 0
    child.close()


def test_waiting_needs_no_descriptor_each(run):
    queues = [mp.Queue() for _ in range(50)]

    async def main():
        first = asyncio.ensure_future(queues[0].aget())
        await blocked(first)
        before, workers = descriptors(), threads()
        others = [asyncio.ensure_future(q.aget()) for q in queues[1:] for _ in range(4)]
        await blocked(*others)
        assert descriptors() <= before and threads() <= workers
        for q in queues:
            q.put_many([1, 2, 3, 4])
        await asyncio.gather(first, *others)

    run(main)


def test_several_waiters_are_served_in_the_order_of_their_coming(run, ctx):
    q, n = ctx.Queue(), 40

    async def main():
        served = []

        async def take(me):
            served.append((me, await q.aget()))

        tasks = []
        for me in range(n):
            tasks.append(asyncio.ensure_future(take(me)))
            await asyncio.sleep(0)
        # Now and then one lets the loop run before it joins the line, where it finds items put in the meantime.
        await blocked(*tasks)
        child = ctx.Process(target=put_all, args=(q, n))
        child.start()
        await asyncio.gather(*tasks)
        await child.ajoin()
        child.close()
        return served

    served = run(main)
    assert sorted(item for _, item in served) == list(range(n))
    assert [me for me, _ in served] == list(range(n))


def test_who_looks_in_vain_is_not_overtaken_by_the_next(run):
    """Even if an item arrives the moment after it looked, and several were put while it was being woken."""
    q, served, late = mp.Queue(), [], {2: "c"}

    async def take(me):
        def attempt():
            try:
                return q.get_nowait()
            except queue.Empty:
                if len(served) == 2 and me in late:
                    q.put(late.pop(me))
                return _aio.PENDING

        served.append((me, await _aio.retry(lambda: _aio.Source.of(q._items), attempt)))

    async def main():
        tasks = []
        for me in range(5):
            tasks.append(asyncio.ensure_future(take(me)))
            await blocked(*tasks)
        hub = _aio._hub()
        q.put("a")
        hub._rung()  # the first is being woken,
        await asyncio.sleep(0)  # and when it continues, the second
        q.put("b")
        hub._rung()
        while len(served) < 3:
            await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()

    run(main)
    assert served == [(0, "a"), (1, "b"), (2, "c")]


def test_cancelling_loses_no_item(run, ctx):
    q, n = ctx.Queue(), 3000
    child = ctx.Process(target=put_all, args=(q, n))
    child.start()

    async def main():
        got, cancelled, turn = [], 0, 0
        while len(got) < n:
            tasks = [asyncio.ensure_future(q.aget()) for _ in range(3)]
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            turn += 1
            tasks[turn % 3].cancel()
            # Those that are not cancelled get theirs, unless the last item is gone.
            for _, task in sorted(enumerate(tasks), key=lambda pair: pair[0] == turn % 3):
                if len(got) >= n - 1 and not task.done():
                    task.cancel()
                try:
                    got.append(await task)
                except asyncio.CancelledError:
                    cancelled += 1
            if len(got) == n - 1:
                got.append(await q.aget())
        return got, cancelled

    got, cancelled = run(main)
    child.join(LIMIT)
    child.close()
    assert sorted(got) == list(range(n)) and cancelled > 10
    assert q.empty()


def test_a_cancelled_waiter_that_was_woken_wakes_the_next(run):
    q = mp.Queue()

    async def main():
        first, second = asyncio.ensure_future(q.aget()), asyncio.ensure_future(q.aget())
        await blocked(first, second)
        q.put("one item")
        first.cancel()
        assert await second == "one item"

    run(main)


def test_timeouts(run):
    q = mp.Queue(1)

    async def main():
        with pytest.raises(queue.Empty):
            await q.aget(timeout=0.02)
        with pytest.raises(queue.Empty):
            await q.aget(timeout=0)
        await q.aput(1)
        with pytest.raises(queue.Full):
            await q.aput(2, timeout=0.02)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await q.aput(2)

    run(main)
    assert q.get() == 1 and q.empty()


def test_a_full_queue_lets_the_next_in(run, ctx):
    to, back = ctx.Queue(1), ctx.Queue()
    child = ctx.Process(target=echo, args=(to, back))
    child.start()

    async def main():
        for i in range(300):
            await to.aput(i)
        await to.aput(None)
        return [await back.aget() for _ in range(300)]

    assert run(main) == list(range(300))
    child.join(LIMIT)
    child.close()


def put_and_shut_down(q):
    put_all(q, 100)
    q.shutdown()


def test_async_for_until_shutdown(run, ctx):
    q = ctx.Queue()
    child = ctx.Process(target=put_and_shut_down, args=(q,))
    child.start()

    async def main():
        with pytest.raises(kettle.ShutDown):
            assert [item async for item in q] == list(range(100))
            await q.aget()

    run(main)
    child.join(LIMIT)
    child.close()


def test_what_cannot_be_pickled_raises_in_aput(run):
    q = mp.Queue()

    async def main():
        with pytest.raises(TypeError, match="cannot pickle"):
            await q.aput(threading.Lock())

    run(main)
    assert q.empty()


def test_simple_and_joinable_queues(run, ctx):
    simple, joinable = ctx.SimpleQueue(), ctx.JoinableQueue()
    child = ctx.Process(target=work, args=(joinable, 20))
    child.start()

    async def main():
        await simple.aput("x")
        assert await simple.aget() == "x"
        for i in range(20):
            await joinable.aput(i)
        await joinable.ajoin()
        assert joinable.empty()
        await child

    run(main)
    child.close()


def work(q, n):
    for _ in range(n):
        q.get()
        q.task_done()


# ----------------------------------------------------------------------------------------------------- synchronizing


def release_soon(lock, held):
    lock.acquire()
    held.set()
    lock.release()


@pytest.mark.parametrize("kind", ["Lock", "Semaphore", "BoundedSemaphore", "RLock"])
def test_async_with(run, ctx, kind):
    lock = getattr(ctx, kind)()

    async def main():
        async with lock as entered:
            assert entered is True
            assert not answer(lambda: lock.acquire(False))
        assert answer(lambda: lock.acquire(False))

    run(main)


def answer(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(LIMIT)
    return results[0]


def hold_until(lock, held, go):
    with lock:
        held.set()
        go.wait()


@pytest.mark.parametrize("kind", ["Lock", "Semaphore"])
def test_a_release_in_another_process_wakes(run, ctx, kind):
    lock, held, go = getattr(ctx, kind)(), ctx.Event(), ctx.Event()
    child = ctx.Process(target=hold_until, args=(lock, held, go))
    child.start()
    assert held.wait(LIMIT)

    async def main():
        assert await lock.aacquire(timeout=0.02) is False
        waiting = asyncio.ensure_future(lock.aacquire())
        await blocked(waiting)
        go.set()
        assert await waiting is True
        lock.release()
        await child.ajoin()

    run(main)
    child.close()


def hold_until_killed(lock, held):
    lock.acquire()
    held.set()
    threading.Event().wait()


def test_the_holders_death_is_told(run, ctx):
    lock, held = ctx.Lock(), ctx.Event()
    child = ctx.Process(target=hold_until_killed, args=(lock, held))
    child.start()
    assert held.wait(LIMIT)

    async def main():
        waiting = asyncio.ensure_future(lock.aacquire())
        await blocked(waiting)
        child.kill()
        with pytest.raises(kettle.OwnerDied):
            await waiting

    run(main)
    child.join()
    child.close()


def set_event(event):
    event.set()


def test_event(run, ctx):
    event = ctx.Event()

    async def main():
        assert await event.await_set(timeout=0.02) is False
        waiters = [asyncio.ensure_future(event.await_set()) for _ in range(5)]
        await blocked(*waiters)
        child = ctx.Process(target=set_event, args=(event,))
        child.start()
        assert await asyncio.gather(*waiters) == [True] * 5
        await child.ajoin()
        child.close()

    run(main)


def notify_all(condition):
    with condition:
        condition.notify_all()


def test_condition(run, ctx):
    condition = ctx.Condition(ctx.Lock())

    async def main():
        async def wait():
            async with condition:
                return await condition.await_notify()

        waiters = [asyncio.ensure_future(wait()) for _ in range(3)]
        await blocked(*waiters)
        child = ctx.Process(target=notify_all, args=(condition,))
        child.start()
        assert await asyncio.gather(*waiters) == [True] * 3
        await child.ajoin()
        child.close()
        async with condition:
            assert await condition.await_notify(timeout=0.02) is False

    run(main)


def test_a_cancelled_condition_holds_its_lock_and_passes_the_notification_on(run, ctx):
    condition = ctx.Condition(ctx.Lock())

    async def main():
        held_after_cancel = []

        async def wait():
            async with condition:
                try:
                    return await condition.await_notify()
                except asyncio.CancelledError:
                    held_after_cancel.append(not answer(lambda: condition.acquire(False)))
                    raise

        first = asyncio.ensure_future(wait())
        second = asyncio.ensure_future(wait())
        await blocked(first, second)
        async with condition:
            condition.notify()
            first.cancel()
        assert await second is True or first.done()
        assert held_after_cancel in ([True], [])

    run(main)


def pass_barrier(barrier, rounds):
    for _ in range(rounds):
        barrier.wait(LIMIT)


def test_barrier(run, ctx):
    barrier = ctx.Barrier(3)
    child = ctx.Process(target=pass_barrier, args=(barrier, 5))
    child.start()

    async def main():
        for _ in range(5):
            places = await asyncio.gather(barrier.await_all(), barrier.await_all())
            assert len(set(places)) == 2 and set(places) <= {0, 1, 2}
        await child.ajoin()
        with pytest.raises(threading.BrokenBarrierError):
            await barrier.await_all(timeout=0.02)

    run(main)
    assert barrier.broken
    child.close()


# -------------------------------------------------------------------------------------------- processes, connections


def exit_with(status):
    raise SystemExit(status)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_awaiting_a_process(run, method):
    child = mp.get_context(method).Process(target=exit_with, args=(5,))
    child.start()

    async def main():
        await child
        assert child.exitcode == 5

    run(main)
    child.close()


def echo_on(end):
    while (item := end.recv()) is not None:
        end.send(item)


def test_connection(run, ctx):
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=echo_on, args=(theirs,))
    child.start()
    before = threads()

    async def main():
        for item in (1, "two", b"3" * 1_000_000, [4]):
            await ours.asend(item)
            assert await ours.arecv() == item
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await ours.arecv()
        await ours.asend("after a cancel")
        assert await ours.arecv() == "after a cancel"
        assert threads() <= before
        await ours.asend(None)
        await child

    run(main)
    ours.close()
    theirs.close()
    child.close()


def test_results_that_are_received_when_all_were_sent(run, ctx):
    ours, theirs = ctx.Pipe()

    async def main():
        for number in range(2_000):
            await ours.asend(number)
        assert [await theirs.arecv() for _ in range(2_000)] == list(range(2_000))

    run(main)
    ours.close()
    theirs.close()


def test_end_of_file_in_arecv(run, ctx):
    ours, theirs = ctx.Pipe()

    async def main():
        waiting = asyncio.ensure_future(ours.arecv())
        await blocked(waiting)
        theirs.close()
        with pytest.raises(EOFError):
            await waiting

    run(main)
    ours.close()


# ------------------------------------------------------------------------------------------------- loops that change


def test_loops_that_come_and_go(run):
    q = mp.Queue()

    async def main():
        waiting = asyncio.ensure_future(q.aget())
        await blocked(waiting)
        q.put("x")
        assert await waiting == "x"

    run(main)
    before = descriptors()
    for _ in range(10):
        run(main)
    assert descriptors() <= before + 1


def test_a_loop_closed_during_a_wait(run):
    q, left = mp.Queue(), []

    async def leave_waiting():
        left.append(asyncio.ensure_future(q.aget()))
        await asyncio.sleep(0)

    run(leave_waiting)

    async def main():
        q.put("still there")
        assert await q.aget() == "still there"

    run(main)


def await_in_child(q, results, runner):
    async def main():
        async with asyncio.timeout(LIMIT):
            return await q.aget()

    results.put(_loop_runner(runner)(main()))


@pytest.mark.parametrize("runner", ["asyncio", "kettle", "uvloop"])
def test_after_a_fork_in_the_middle(run, runner, ctx):
    if runner == "uvloop":
        pytest.importorskip("uvloop")
    q, results = ctx.Queue(), ctx.Queue()

    async def main():
        mine = asyncio.ensure_future(q.aget())
        await blocked(mine)
        child = ctx.Process(target=run_in_new_thread, args=(await_in_child, q, results, runner))
        child.start()
        q.put("a")
        q.put("b")
        got = {await mine, await results.aget()}
        await child
        child.close()
        return got

    assert run(main) == {"a", "b"}


def run_in_new_thread(function, *args):
    """A forked child still counts as being inside its parent's loop, in the thread that forked."""
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_two_loops_in_two_threads(run):
    q, n = mp.Queue(), 500
    taken = []

    async def main():
        while (item := await q.aget()) is not None:
            taken.append(item)

    loops = [threading.Thread(target=run, args=(main,)) for _ in range(2)]
    for thread in loops:
        thread.start()
    for i in range(n):
        q.put(i)
    q.put(None)
    q.put(None)
    for thread in loops:
        thread.join(LIMIT)
    assert sorted(taken) == list(range(n))


def test_blocking_and_awaiting_side_by_side(run):
    q, n = mp.Queue(), 400
    taken = []

    def block():
        while (item := q.get()) is not None:
            taken.append(item)

    thread = threading.Thread(target=block)
    thread.start()

    async def main():
        while (item := await q.aget()) is not None:
            taken.append(item)

    async def both():
        task = asyncio.ensure_future(main())
        for i in range(n):
            q.put(i)
            if i % 50 == 0:
                await asyncio.sleep(0)
        q.put(None)
        q.put(None)
        await task

    run(both)
    thread.join(LIMIT)
    assert sorted(taken) == list(range(n))
