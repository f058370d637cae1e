"""Programs that end in the middle of everything: nothing is printed, nothing hangs, and the exit status is the
program's."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

LIMIT = 50
LOUD = ("-X", "dev", "-X", "tracemalloc=3", "-W", "error")

# What is running when the program ends. Each has printed "ready" by then.
SCENES = {
    "daemons that wait": """
        import asyncio, threading, queue
        from concurrent.futures import ThreadPoolExecutor
        held, reentrant, condition, full = threading.Lock(), threading.RLock(), threading.Condition(), queue.Queue(1)
        held.acquire(), reentrant.acquire(), full.put(1)

        def notified():
            with condition:
                told.release()
                condition.wait()

        async def awaited():
            asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not to be told of
            import kettle.queue
            told.release()
            await kettle.queue.Queue().aget()

        waits = [
            held.acquire, reentrant.acquire, threading.Semaphore(0).acquire, threading.Event().wait,
            threading.Barrier(2).wait, queue.Queue().get, queue.SimpleQueue().get, queue.PriorityQueue().get,
            queue.LifoQueue().get, full.join, lambda: full.put(2), lambda: queue.Queue().get(timeout=1000),
            lambda: held.acquire(timeout=1000), lambda: threading.Event().wait(1000),
        ]
        told = threading.Semaphore(0)
        for wait in waits:
            threading.Thread(target=lambda wait=wait: (told.release(), wait()), daemon=True).start()
        threading.Thread(target=notified, daemon=True).start()
        threading.Thread(target=lambda: asyncio.run(awaited()), daemon=True).start()
        for _ in range(len(waits) + 2):
            told.acquire()
        """,
    "daemons at work": """
        import threading, queue
        there, back, lock = queue.Queue(3), queue.SimpleQueue(), threading.RLock()
        told = threading.Semaphore(0)

        def give():
            n = 0
            while True:
                with lock:
                    n += 1
                there.put(n)
                told.release()

        def take():
            while True:
                back.put(there.get())
                back.get()
                there.task_done()

        for work in (give, take) * 3:
            threading.Thread(target=work, daemon=True).start()
        for _ in range(100):
            told.acquire()
        """,
    "daemons in the middle of an import": """
        import sys, threading
        told = threading.Semaphore(0)

        def load(name):
            while True:
                sys.modules.pop(name, None)
                __import__(name)
                told.release()

        for name in ("colorsys", "quopri", "stringprep", "sched"):
            threading.Thread(target=load, args=(name,), daemon=True).start()
        for _ in range(20):
            told.acquire()
        """,
    "threads that end after the main one": """
        import threading, queue
        items, told = queue.Queue(), threading.Event()

        def work():
            told.set()
            threading.main_thread().join()
            items.put(1)
            assert items.get() == 1

        for _ in range(4):
            threading.Thread(target=work).start()
        threading.Timer(0.01, int).start()
        told.wait()
        """,
    "executors with tasks": """
        import atexit, time
        from concurrent.futures import ThreadPoolExecutor
        executors = [ThreadPoolExecutor(2), ThreadPoolExecutor(2)]
        futures = [executor.submit(time.sleep, 0.001) for executor in executors for _ in range(20)]
        results = executors[0].map(time.sleep, [0.001] * 5)
        executors[1].shutdown(wait=False)
        dropped = ThreadPoolExecutor(1).submit(abs, -1)
        futures[0].add_done_callback(lambda future: executors.append(future))
        atexit.register(lambda: [future.result(0) for future in futures])
        """,
    "pools that were not closed": """
        import time, threading, warnings
        warnings.simplefilter("ignore", ResourceWarning)  # which the standard library's emit as well
        from multiprocessing.pool import ThreadPool
        from multiprocessing import get_context
        processes = get_context("fork").Pool(2)
        assert processes.map(abs, [-1, -2]) == [1, 2]
        late = processes.apply_async(time.sleep, (1000,))
        threads = ThreadPool(2)
        assert threads.map(abs, [-1, -2]) == [1, 2]
        never = threads.apply_async(threading.Event().wait)
        more = threads.imap(abs, range(1000))
        next(more)
        """,
    "processes and what they share": """
        import multiprocessing
        ctx = multiprocessing.get_context("fork")
        queue, lock, event, value = ctx.Queue(), ctx.Lock(), ctx.Event(), ctx.Value("i")

        def work():
            with lock:
                value.value += 1
            queue.put("here")
            event.wait()

        children = [ctx.Process(target=work, daemon=True) for _ in range(2)]
        for child in children:
            child.start()
        assert [queue.get(), queue.get()] == ["here"] * 2
        queue.put(bytes(100_000))
        lock.acquire()
        """,
    "hooks and finalizers": """
        import atexit, gc, queue, sys, threading, weakref
        from concurrent.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(1)
        executor.submit(abs, -1).result()

        class Uses:
            def __init__(self):
                self.items, self.lock, self.event = queue.Queue(), threading.RLock(), threading.Event()
                self.condition, self.me = threading.Condition(), self

            def use(self):
                with self.lock, self.condition:
                    self.items.put(1)
                    self.event.set()
                    self.condition.notify_all()
                    assert self.items.get(timeout=1) == 1 and self.event.wait(1)

            __del__ = use

        cycle, plain = Uses(), Uses()
        del plain.me
        sys.kept = plain
        atexit.register(Uses().use)
        weakref.finalize(Uses, lambda items=queue.Queue(): (items.put(1), items.get()))
        threading._register_atexit(Uses().use)
        local = threading.local()
        local.uses = Uses()
        """,
    "threads that wait for each other": """
        import kettle, threading
        kettle.deadlock("off")
        locks, barrier, told = [threading.Lock(), threading.Lock()], threading.Barrier(2), threading.Semaphore(0)

        def work(mine, other):
            with mine:
                barrier.wait()
                told.release()
                other.acquire()

        for mine, other in (locks, locks[::-1]):
            threading.Thread(target=work, args=(mine, other), daemon=True).start()
        told.acquire(), told.acquire()
        """,
    "an exit in a thread": """
        import sys, threading
        threads = [threading.Thread(target=sys.exit, args=(n,)) for n in range(3)]
        [t.start() for t in threads], [t.join() for t in threads]
        """,
}

# How it ends, with which status and which last line on stderr.
ENDS = {
    "falls off": ("", 0, ""),
    "exits": ("import sys; sys.exit(3)", 3, ""),
    "raises": ("raise LookupError('the end')", 1, "LookupError: the end"),
    "leaves at once": ("import os; os._exit(4)", 4, ""),
    "is left by a thread": (
        "import os, threading; threading.Thread(target=os._exit, args=(5,)).start(); threading.Event().wait()",
        5,
        "",
    ),
    "is told to": ("import os, signal; os.kill(os.getpid(), signal.SIGTERM); signal.pause()", -15, ""),
}


def end_of(tmp_path, scene, end, *command):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(SCENES[scene]) + f"print('ready', flush=True)\n{end}\n")
    # `kettle run` would make it raise in a thread that must hang.
    environment = {**os.environ, "PYTHONMALLOC": "debug", "KETTLE_DEADLOCK": "off"}
    return subprocess.run(
        [sys.executable, *LOUD, *command, path], capture_output=True, text=True, timeout=LIMIT, env=environment
    )


# Waiting threads are tested in every way; the other scenes in the two most different ones.
THOROUGHLY = ("daemons that wait", "processes and what they share")
ROUNDS = [(scene, end) for scene in SCENES for end in ENDS if scene in THOROUGHLY or end in ("falls off", "raises")]


# The message for a program that leaves work behind, and does not end by an exception of its own.
LEFT_UNDONE = {
    "pools that were not closed": [
        "kettle: 2 tasks of pools were not done when the program ended; close() and join() of a pool wait for its tasks"
    ]
}


@pytest.mark.parametrize(("scene", "end"), ROUNDS)
def test_the_end(tmp_path, scene, end):
    text, status, last = ENDS[end]
    done = end_of(tmp_path, scene, text, "-m", "kettle", "run")
    said = done.stderr.splitlines()
    assert (done.stdout, done.returncode) == ("ready\n", status), done.stderr
    if last:
        assert said[0] == "Traceback (most recent call last):" and said[-1] == last and len(said) <= 5
    else:
        assert said == LEFT_UNDONE.get(scene, [])
