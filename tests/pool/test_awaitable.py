"""`await pool.apply_async(...)` and `async for`, on any asyncio loop."""

from __future__ import annotations

import asyncio
import functools
import os

import pytest

import kettle
import kettle.multiprocessing as mp

from .support import LIMIT, die, fail, note_and_never_end, note_and_pass_gate, pass_gate, running, runs, sleep, square


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine function on a new loop, within the time limit."""
    runner = pytest.importorskip("uvloop").run if request.param == "uvloop" else asyncio.run

    async def limited(main):
        async with asyncio.timeout(LIMIT):
            return await main()

    return lambda main: runner(limited(main))


async def until(fact):
    await asyncio.sleep(0)  # tasks that were created before have begun
    while not fact():
        await asyncio.sleep(0.002)


def test_results(run, ctx):
    with running(ctx, 2) as pool:

        async def main():
            assert await pool.apply_async(square, (3,)) == 9
            assert await pool.map_async(square, range(100)) == [n * n for n in range(100)]
            assert await pool.starmap_async(pow, [(2, 3)]) == [8]
            many = [pool.apply_async(square, (n,)) for n in range(50)]
            assert await asyncio.gather(*many) == [n * n for n in range(50)]
            done = pool.apply_async(square, (4,))
            await until(done.ready)
            assert [await done, await done] == [16, 16]

        run(main)


def test_errors(run, pool):
    async def main():
        with pytest.raises(LookupError) as caught:
            await pool.apply_async(fail, (1,))
        assert isinstance(caught.value.__cause__, mp.pool.RemoteTraceback)
        with pytest.raises(kettle.WorkerDied):
            await pool.apply_async(die)
        with pytest.raises(kettle.TaskTimeout):
            await pool.apply_async(sleep, task_timeout=0.1)
        assert await pool.apply_async(square, (3,)) == 9

    run(main)


def test_iterators(run, pool):
    async def main():
        found = []
        async for result in pool.imap(square, range(300), 7):
            found.append(result)
        assert found == [n * n for n in range(300)]
        assert sorted([n async for n in pool.imap_unordered(square, range(100))]) == [n * n for n in range(100)]
        with pytest.raises(ZeroDivisionError):
            async for _ in pool.imap((1).__truediv__, [1, 0, 1]):
                pass
        assert [n async for n in pool.imap(square, [])] == []

    run(main)


def test_the_loop_is_never_held_up(run, pool, gate):
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.ensure_future(tick())
        waiting = asyncio.ensure_future(wait_for(pool.map_async(functools.partial(open_late, gate), range(4), 1)))
        iterating = asyncio.ensure_future(collect(pool.imap(functools.partial(open_late, gate), range(4))))
        await until(lambda: ticks >= 50)
        assert not waiting.done() and not iterating.done()
        gate.touch()
        assert await waiting == await iterating == list(range(4))
        ticking.cancel()

    run(main)


def open_late(gate, n):
    return pass_gate(gate, n)


async def wait_for(result):
    return await result


async def collect(iterator):
    return [item async for item in iterator]


@pytest.mark.parametrize("activity", ["sleep", "spin_in_c"])
def test_cancelling_the_task_that_awaits_cancels_the_work(run, pool, diary, activity):
    async def main():
        result = pool.apply_async(note_and_never_end, (diary, activity))
        task = asyncio.ensure_future(wait_for(result))
        await until(diary.words)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not runs(diary.numbers()[0]))
        assert result.cancelled()
        assert await pool.apply_async(square, (3,)) == 9

    run(main)


def test_a_time_out_of_asyncio_cancels_the_work(run, pool, diary):
    async def main():
        async def run_out_when_it_runs(limit):
            await until(diary.words)
            limit.reschedule(asyncio.get_running_loop().time())

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                running_out = asyncio.ensure_future(run_out_when_it_runs(limit))
                await pool.apply_async(note_and_never_end, (diary,))
        await running_out
        await until(lambda: not runs(diary.numbers()[0]))

    run(main)


def test_cancelling_one_that_is_queued(run, fork, diary, gate):
    with running(fork, 1) as pool:

        async def main():
            first = asyncio.ensure_future(wait_for(pool.apply_async(note_and_pass_gate, (diary, "first", gate))))
            await until(diary.words)
            second = asyncio.ensure_future(wait_for(pool.apply_async(note_and_pass_gate, (diary, "second", gate))))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            gate.touch()
            assert await first == "first"
            assert await pool.apply_async(square, (3,)) == 9

        run(main)
    assert diary.words() == ["first"]


def test_cancelling_who_iterates(run, pool, diary):
    async def main():
        task = asyncio.ensure_future(collect(pool.imap(functools.partial(note_and_never_end, diary), ["sleep"] * 4)))
        await until(lambda: len(diary.words()) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await pool.apply_async(square, (3,)) == 9

    run(main)


def test_a_result_that_is_cancelled_while_awaited(run, pool, diary):
    async def main():
        result = pool.apply_async(note_and_never_end, (diary,))
        task = asyncio.ensure_future(wait_for(result))
        await until(diary.words)
        result.cancel()
        with pytest.raises((kettle.TaskCancelled, asyncio.CancelledError)):
            await task

    run(main)


def test_with_a_thread_in_get_at_the_same_time(run, pool, gate):
    async def main():
        result = pool.apply_async(open_late, (gate, 5))
        in_thread = asyncio.ensure_future(asyncio.to_thread(result.get, LIMIT))
        awaited = asyncio.ensure_future(wait_for(result))
        await asyncio.sleep(0.05)
        gate.touch()
        assert await in_thread == await awaited == 5

    run(main)


def test_waiting_needs_no_thread_each(run, fork, gate):
    with running(fork, 2) as pool:

        async def main():
            results = [pool.apply_async(open_late, (gate, n)) for n in range(100)]
            tasks = [asyncio.ensure_future(wait_for(result)) for result in results]
            await asyncio.sleep(0.1)
            assert len(os.listdir("/proc/self/task")) < 20
            gate.touch()
            assert await asyncio.gather(*tasks) == list(range(100))

        run(main)
