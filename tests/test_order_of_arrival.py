"""Waiters are served in the order of arrival: threads, the main thread, and coroutines of any loop."""

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest

import kettle.multiprocessing
import kettle.queue
import kettle.threading
from kettle import _aio

#: More than the millisecond after which the first in line gets its turn.
DUE = 0.003
#: A turn that is not taken within 50 ms is lost; a measurement that took longer proves nothing.
IN_TIME = 0.04


class Taken:
    """A lock or a semaphore, and how a turn with it begins and ends."""

    def __init__(self, lock):
        self.lock = lock
        self.take = lock.acquire
        self.atake = lock.aacquire
        self.give = lock.release

    def waiting(self):
        return self.lock.statistics().waiting


class Got(Taken):
    """A queue from which the only item is taken, and put back."""

    def __init__(self, queue):
        queue.put("item")
        self.queue = queue
        self.take = queue.get
        self.atake = queue.aget

    def give(self):
        self.queue.put("item")

    def waiting(self):
        return self.queue.statistics().getters_waiting


class Put(Taken):
    """A queue with room for one item."""

    def __init__(self, queue):
        self.queue = queue

    def take(self):
        self.queue.put("item")

    async def atake(self):
        await self.queue.aput("item")

    def give(self):
        self.queue.get()

    def waiting(self):
        return self.queue.statistics().putters_waiting


PLACES = {
    "Lock": lambda: Taken(kettle.threading.Lock()),
    "Semaphore": lambda: Taken(kettle.threading.Semaphore(1)),
    "BoundedSemaphore": lambda: Taken(kettle.threading.BoundedSemaphore(1)),
    "Queue, get": lambda: Got(kettle.queue.Queue()),
    "LifoQueue, get": lambda: Got(kettle.queue.LifoQueue()),
    "PriorityQueue, get": lambda: Got(kettle.queue.PriorityQueue()),
    "Queue, put": lambda: Put(kettle.queue.Queue(1)),
    "multiprocessing.Lock": lambda: Taken(kettle.multiprocessing.Lock()),
    "multiprocessing.Semaphore": lambda: Taken(kettle.multiprocessing.Semaphore(1)),
    "multiprocessing.Queue, get": lambda: Got(kettle.multiprocessing.Queue()),
    "multiprocessing.Queue, put": lambda: Put(kettle.multiprocessing.Queue(1)),
}


class Turns:
    """Records the order of turns, and whether each waiter came in time for its turn."""

    def __init__(self, place):
        self.place = place
        self.order = []
        self.gave = 0.0
        self.in_time = True

    def took(self, who):
        self.order.append(who)
        self.in_time &= time.monotonic() - self.gave < IN_TIME

    def give(self):
        self.gave = time.monotonic()
        self.place.give()

    def thread(self, who):
        def turn():
            self.place.take()
            self.took(who)
            time.sleep(DUE)
            self.give()

        before = self.place.waiting()
        thread = threading.Thread(target=turn)
        thread.start()
        while self.place.waiting() == before:
            time.sleep(0.001)
        return thread

    async def coroutine(self, who):
        await self.place.atake()
        self.took(who)
        await asyncio.sleep(DUE)
        self.give()


async def _join_the_line(coroutine):
    """Returns a task that is already waiting."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def judged(attempt):
    """Calls `attempt`, again if the machine was too busy for its turns, and returns the order."""
    while True:
        turns = attempt()
        if turns.in_time:
            return turns.order


@pytest.mark.parametrize("name", PLACES)
def test_threads_and_coroutines_take_turns(name):
    async def run():
        turns = Turns(PLACES[name]())
        turns.place.take()
        tasks, threads = [], []
        for i in range(3):
            tasks.append(await _join_the_line(turns.coroutine(f"coroutine {i}")))
            threads.append(turns.thread(f"thread {i}"))
        await asyncio.sleep(DUE)
        turns.give()
        await asyncio.gather(*tasks)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        return turns

    expected = [f"{kind} {i}" for i in range(3) for kind in ("coroutine", "thread")]
    assert judged(lambda: asyncio.run(run())) == expected


class Loop:
    """An event loop in a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.mark.parametrize("name", PLACES)
def test_more_loops_than_have_a_place_of_their_own(name):
    def attempt():
        turns = Turns(PLACES[name]())
        turns.place.take()
        loops = [Loop() for _ in range(8)]

        async def finish(task):
            await task

        tasks = [loop.call(_join_the_line(turns.coroutine(i))) for i, loop in enumerate(loops)]
        time.sleep(DUE)
        turns.give()
        for loop, task in zip(loops, tasks, strict=True):
            loop.call(finish(task))
            loop.close()
        return turns

    assert judged(attempt) == list(range(8))


@pytest.mark.parametrize("name", PLACES)
def test_slices_of_sleep_cost_the_main_thread_no_place(name):
    def attempt():
        turns = Turns(PLACES[name]())
        turns.place.take()
        behind = []

        def arrange():
            # The main thread, whose sleep is divided into slices, is the first in line; the others come after some of
            # them.
            while turns.place.waiting() == 0:
                time.sleep(0.001)
            time.sleep(0.2)
            behind.extend(turns.thread(f"thread {i}") for i in range(3))
            time.sleep(0.2)
            turns.give()

        arranging = threading.Thread(target=arrange)
        arranging.start()
        turns.place.take()
        turns.took("main")
        time.sleep(DUE)
        turns.give()
        arranging.join()
        for thread in behind:
            thread.join()
        return turns

    assert judged(attempt) == ["main", "thread 0", "thread 1", "thread 2"]


@pytest.mark.parametrize("name", PLACES)
def test_a_coroutine_that_comes_back_at_once_is_the_last(name):
    """Even if what it released is still available."""

    async def run():
        place = PLACES[name]()
        place.take()
        order = []

        async def work(who):
            for _ in range(2):
                await place.atake()
                order.append(who)
                place.give()

        tasks = [await _join_the_line(work(who)) for who in "abc"]
        place.give()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == list("abcabc")


def test_a_coroutine_whose_call_lets_the_loop_run_keeps_its_place():
    """Calls that are served immediately let the loop run now and then; coroutines that start in that time are later."""
    count = 300

    async def run():
        lock, order = kettle.threading.Lock(), []

        async def work(who):
            async with lock:
                order.append(who)

        lock.acquire()
        tasks = [asyncio.ensure_future(work(who)) for who in range(count)]
        for _ in range(5):
            await asyncio.sleep(0)
        lock.release()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == list(range(count))


@contextmanager
def a_stopped_loop_in_line_for(place):
    """A coroutine waits, and its loop no longer runs."""
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(_join_the_line(place.atake()))
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


async def _be_served_behind_it(place):
    mine = await _join_the_line(place.atake())
    await asyncio.sleep(DUE)
    place.give()
    await mine


@pytest.mark.parametrize("name", PLACES)
def test_a_loop_that_is_busy_or_gone_holds_no_other_up(name):
    """Its turn goes to another waiter, even if nothing else happens."""
    place = PLACES[name]()
    place.take()
    with a_stopped_loop_in_line_for(place):
        behind = threading.Thread(target=place.take)
        behind.start()
        while place.waiting() == 0:
            time.sleep(0.001)
        time.sleep(DUE)
        place.give()
        behind.join()


@pytest.mark.parametrize("name", PLACES)
def test_a_loop_looks_after_another_that_is_gone(name):
    place = PLACES[name]()
    place.take()

    with a_stopped_loop_in_line_for(place):
        asyncio.run(_be_served_behind_it(place))


@pytest.mark.parametrize("name", PLACES)
def test_a_loop_looks_again_when_anothers_turn_is_over(name, monkeypatch):
    """It is refused while that turn lasts, 50 ms, and after that does not wait for its next round."""
    place = PLACES[name]()
    place.take()
    refused, pauses = [], []
    look_again, hurry = _aio.Line.look_again, _aio.Hub.hurry

    def refuse(line):
        refused.append(line)
        look_again(line)

    def note(hub, *within):
        hurry(hub, *within)
        if refused and hub._timer is not None:
            pauses.append(hub._timer.when() - hub.time())

    monkeypatch.setattr(_aio.Line, "look_again", refuse)
    monkeypatch.setattr(_aio.Hub, "hurry", note)

    with a_stopped_loop_in_line_for(place):
        asyncio.run(_be_served_behind_it(place))
    # On a busy machine that turn may be over before its first check.
    assert bool(pauses) == bool(refused) and all(pause < 0.1 for pause in pauses)


@pytest.mark.parametrize("made_by", [kettle.threading.Event, kettle.multiprocessing.Event])
def test_an_event_that_is_set_and_cleared_at_once_wakes_all(made_by):
    async def run():
        event = made_by()
        tasks = [await _join_the_line(event.await_set()) for _ in range(4)]
        event.set()
        event.clear()
        return await asyncio.gather(*tasks)

    assert asyncio.run(run()) == [True] * 4


def test_idle_coroutines_are_not_woken():
    """Rings of the same process are never lost, so no coroutine has to poll."""

    async def run():
        queues = [kettle.queue.Queue() for _ in range(50)]
        looks = 0

        class Counted(kettle.queue.Queue):
            def get_nowait(self):
                nonlocal looks
                looks += 1
                return super().get_nowait()

        queues = [Counted() for _ in range(50)]
        tasks = [await _join_the_line(queue.aget()) for queue in queues]
        before = looks
        await asyncio.sleep(0.5)
        assert looks == before
        for queue in queues:
            queue.put(None)
        await asyncio.gather(*tasks)

    asyncio.run(run())
