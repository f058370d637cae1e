"""Long waits sleep: they are woken by what they wait for, and otherwise wake at most once a second.

Wake-ups are measured by the kernel's counter of voluntary context switches: on a busy machine there are fewer, not
more.
"""

import json

import pytest

from programs import run

#: Seconds after which waits count as long, and for which they are then watched.
SETTLING, WATCHED = 4, 4

PROGRAM = """
import asyncio, json, os, threading, time
import kettle.multiprocessing as mp
import kettle.multiprocessing.connection, kettle.queue, kettle.threading

def processes(kinds):
    mp.set_start_method("fork")
    items, joined, full = mp.Queue(), mp.JoinableQueue(), mp.Queue(1)
    joined.put(1)
    full.put(1)
    lock, rlock, semaphore, condition = mp.Lock(), mp.RLock(), mp.Semaphore(0), mp.Condition()
    lock.acquire()
    rlock.acquire()
    event, barrier = mp.Event(), mp.Barrier(100)
    ends = mp.Pipe()

    def wait_for_notice():
        with condition:
            condition.wait()

    def wait_for_worker():
        with mp.Pool(1) as pool:
            pool.apply(time.sleep, (600,))

    def wait_for_child():
        child = mp.Process(target=time.sleep, args=(600,), daemon=True)
        child.start()
        child.join()

    def have_idle_pool():
        pool = mp.Pool(2)
        pool.map(abs, range(10))
        time.sleep(600)

    async def wait_in_loop():
        await items.aget()

    waits = {
        "Queue.get": items.get,
        "JoinableQueue.join": joined.join,
        "Queue.put": lambda: full.put(2),
        "SimpleQueue.get": mp.SimpleQueue().get,
        "Lock": lock.acquire,
        "RLock": rlock.acquire,
        "Semaphore": semaphore.acquire,
        "Condition": wait_for_notice,
        "Event": event.wait,
        "Barrier": barrier.wait,
        "Connection.recv": ends[1].recv,
        "connection.wait": lambda: mp.connection.wait([ends[1]]),
        "wait": lambda: mp.wait([ends[1], mp.Queue(), mp.Event(), semaphore]),
        "Process.join": wait_for_child,
        "Pool.apply": wait_for_worker,
        "idle Pool": have_idle_pool,
        "aget": lambda: asyncio.run(wait_in_loop()),
    }
    # Several of each, so that none of them is anything special.
    return {kind: [mp.Process(target=waits[kind]) for _ in range(2)] for kind in kinds or waits}

def threads():
    queue, lock, rlock = kettle.queue.Queue(), kettle.threading.Lock(), kettle.threading.RLock()
    semaphore, event = kettle.threading.Semaphore(0), kettle.threading.Event()
    condition = kettle.threading.Condition()
    lock.acquire()
    rlock.acquire()

    def wait_for_notice():
        with condition:
            condition.wait()

    def have_idle_pool():
        pool = mp.pool.ThreadPool(2)
        pool.map(abs, range(10))
        time.sleep(600)

    waits = [queue.get, lock.acquire, rlock.acquire, semaphore.acquire, event.wait, wait_for_notice, have_idle_pool]
    for wait in 2 * waits:
        threading.Thread(target=wait, daemon=True).start()
    return {"threads": []}

def family(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    return [pid, *(one for child in children for one in family(child))]

def wake_ups(pid):
    found = {}
    for one in family(pid):
        for task in os.listdir(f"/proc/{one}/task"):
            with open(f"/proc/{one}/task/{task}/status") as file:
                line = next(line for line in file if line.startswith("voluntary_ctxt_switches"))
            if task != str(os.getpid()):
                found[task] = int(line.split()[1])
    return found

crowd = processes(None) if KIND == "processes" else threads()
everyone = [process for some in crowd.values() for process in some]
for process in everyone:
    process.start()
begun = time.monotonic()
time.sleep(SETTLING)
pids = {kind: [process.pid for process in some] or [os.getpid()] for kind, some in crowd.items()}
before = {kind: [wake_ups(pid) for pid in some] for kind, some in pids.items()}
begun = time.monotonic()
time.sleep(WATCHED)
found = {}
for kind, some in pids.items():
    rates = []
    for pid, first in zip(some, before[kind]):
        last, took = wake_ups(pid), time.monotonic() - begun
        rates += [(last[task] - first[task], took) for task in first]
    found[kind] = max(rates)
for process in everyone:
    for pid in reversed(family(process.pid)):
        os.kill(pid, 9)
print(json.dumps(found), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_what_waits_for_long_is_woken_once_a_second_at_most(kind):
    program = PROGRAM.replace("SETTLING", str(SETTLING)).replace("WATCHED", str(WATCHED)).replace("KIND", repr(kind))
    found = json.loads(run(program))
    assert len(found) == (17 if kind == "processes" else 1)
    # Two more than allowed, since the first and the last are counted and a wait may not be long yet.
    often = {kind: (count, took) for kind, (count, took) in found.items() if count > took + 2}
    assert not often, often
