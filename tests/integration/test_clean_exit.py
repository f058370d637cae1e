"""A program that uses everything, in development mode with warnings as errors: it prints nothing to stderr, and leaves
nothing behind."""

from __future__ import annotations

import pytest

from death import leftovers

PROGRAM = """
    import asyncio, sys
    import kettle.multiprocessing as mp

    def child(queue, tasks, simple, number, array, lock, rlock, semaphore, event, condition, barrier, connection):
        with lock, rlock, semaphore:
            number.value += 1
            array[0] += 1.5
        event.wait()
        barrier.wait()
        with condition:
            condition.notify_all()
        queue.put({"a": 1})
        simple.put(bytes(100_000))
        tasks.get()
        tasks.task_done()
        connection.send([1, 2])

    async def awaited(ctx, queue, simple, lock, event):
        asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not to be told of
        await queue.aput(3)
        assert await queue.aget() == 3
        async with lock:
            await event.await_set()
        late = asyncio.create_task(simple.aget())
        await asyncio.sleep(0)
        await simple.aput(1)
        assert await late == 1
        process = ctx.Process(target=int)
        process.start()
        await process

    def main(method):
        ctx = mp.get_context(method)
        queue, tasks, simple = ctx.Queue(3), ctx.JoinableQueue(), ctx.SimpleQueue()
        number, array = ctx.Value("i", 0), ctx.Array("d", [0.0, 1.0])
        lock, rlock, semaphore, event = ctx.Lock(), ctx.RLock(), ctx.BoundedSemaphore(2), ctx.Event()
        condition, barrier = ctx.Condition(), ctx.Barrier(2)
        reader, writer = ctx.Pipe(duplex=False)
        tasks.put(1)
        process = ctx.Process(target=child, args=(
            queue, tasks, simple, number, array, lock, rlock, semaphore, event, condition, barrier, writer))
        process.start()
        event.set()
        with condition:
            barrier.wait()
            assert condition.wait()
        assert queue.get() == {"a": 1} and len(simple.get()) == 100_000 and reader.recv() == [1, 2]
        tasks.join()
        asyncio.run(awaited(ctx, queue, simple, lock, event))
        process.join()
        assert (process.exitcode, number.value, array[:]) == (0, 1, [1.5, 1.0])
        with ctx.Manager() as manager:
            assert list(manager.list([1])) == [1]
        with ctx.Pool(2) as pool:
            assert pool.map(abs, [-1]) == [1]

    if __name__ == "__main__":
        main(sys.argv[1])
        print("done")
    """


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_nothing_is_said_and_nothing_left(run, method):
    before = leftovers.files()
    assert run(PROGRAM, "-X", "dev", "-W", "error", after=[method]) == ["done"]
    assert leftovers.files() <= before
