"""No matter how many consumers a JoinableQueue has, `join` never waits for one that died."""

from __future__ import annotations

import os
import signal
import threading

import pytest

import kettle
import kettle.multiprocessing as mp


def take(queue, each: int, threads: int, taken) -> None:
    def several() -> None:
        for _ in range(each):
            queue.get()
            taken.release()

    others = [threading.Thread(target=several) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    several()
    for thread in others:
        thread.join()
    signal.pause()


def losses(queue) -> list[int]:
    """Returns how many items were lost with each consumer that `join` reported."""
    told = []
    while True:
        try:
            queue.join()
        except kettle.ConsumerDied as e:
            told.append(e.unfinished)
        else:
            return told


@pytest.mark.parametrize(
    ("method", "consumers", "each", "threads"),
    [("fork", 40, 1, 1), ("fork", 150, 2, 1), ("fork", 40, 1, 3), ("spawn", 34, 1, 1)],
)
def test_the_death_of_each_consumer_is_told(method: str, consumers: int, each: int, threads: int) -> None:
    ctx = mp.get_context(method)
    queue, taken = ctx.JoinableQueue(), ctx.Semaphore(0)
    items = consumers * each * threads
    for i in range(items):
        queue.put(i)
    processes = [ctx.Process(target=take, args=(queue, each, threads, taken)) for _ in range(consumers)]
    for process in processes:
        process.start()
    for _ in range(items):
        taken.acquire()
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    told = losses(queue)
    assert len(told) == consumers
    assert sum(told) == items
    assert queue.statistics().unfinished == 0


def test_some_finish_and_some_die() -> None:
    """Those that finish their items are not reported, wherever they are among the many."""
    queue, taken, go = mp.JoinableQueue(), mp.Semaphore(0), mp.Event()
    consumers = 60
    for i in range(consumers):
        queue.put(i)

    def consume() -> None:
        item = queue.get()
        taken.release()
        go.wait()
        if item % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        queue.task_done()

    processes = [mp.get_context("fork").Process(target=consume) for _ in range(consumers)]
    for process in processes:
        process.start()
    for _ in range(consumers):
        taken.acquire()
    assert queue.statistics().unfinished == consumers
    go.set()
    for process in processes:
        process.join()
    assert losses(queue) == [1] * (consumers // 2)
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


def test_consumers_that_come_and_go() -> None:
    """Entries of finished consumers are reused; a thousand such consumers need no more than one entry."""
    ctx = mp.get_context("fork")
    queue = ctx.JoinableQueue()

    def consume(finishes: bool) -> None:
        queue.get()
        if finishes:
            queue.task_done()
        os.kill(os.getpid(), signal.SIGKILL)

    for n in range(300):
        queue.put(n)
        process = ctx.Process(target=consume, args=(n % 3 != 0,))
        process.start()
        process.join()
    assert queue.statistics().unfinished == 100
    assert losses(queue) == [1] * 100
