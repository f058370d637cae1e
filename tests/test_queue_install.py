"""`import queue` after `kettle.install()`, and under `kettle run`: which modules get Kettle's, and that they work with
it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(program, *how, timeout=50):
    done = subprocess.run([sys.executable, *how, "-c", program], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def installed(program):
    return run("import kettle; kettle.install()\n" + program, "-X", "dev", "-W", "error")


def test_who_imports_it():
    assert (
        installed(
            "import queue, importlib, sys\n"
            "from queue import Queue\n"
            "import kettle.queue as ours\n"
            "assert queue is ours and Queue is ours.Queue and importlib.import_module('queue') is ours\n"
            "import concurrent.futures.thread as t, logging.handlers as l, multiprocessing.managers\n"
            "assert t.queue is ours and l.queue is ours\n"
            "kettle.uninstall()\n"
            "import queue\n"
            "assert queue is sys.modules['queue'] is not ours\n"
        )
        == []
    )


def test_no_parts():
    assert installed("try: import queue.nothing\nexcept ModuleNotFoundError as e: print(e.name)\n") == ["queue.nothing"]


def test_logging_through_a_queue():
    assert installed(
        "import logging, logging.handlers, queue, sys\n"
        "q = queue.Queue()\n"
        "listener = logging.handlers.QueueListener(q, logging.StreamHandler(sys.stdout))\n"
        "listener.start()\n"
        "log = logging.getLogger('log'); log.addHandler(logging.handlers.QueueHandler(q))\n"
        "for n in range(5): log.warning('%s', n)\n"
        "listener.stop()\n"
    ) == list("01234")


def test_executors_and_asyncio():
    assert installed(
        "import asyncio, concurrent.futures as cf\n"
        "with cf.ThreadPoolExecutor(4) as pool: print(sum(pool.map(lambda n: n * n, range(1000))))\n"
        "async def main():\n"
        "    asyncio.get_running_loop().slow_callback_duration = 60\n"  # avoids warnings on a busy machine
        "    return sum(await asyncio.gather(*[asyncio.to_thread(int, n) for n in range(100)]))\n"
        "print(asyncio.run(main()))\n"
        "cf.ThreadPoolExecutor(4).submit(int).result()\n"  # not shut down, which is left to the end
    ) == ["332833500", "4950"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_managers(tmp_path, method):
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing as mp, queue\n"
        "if __name__ == '__main__':\n"
        f"    with mp.get_context('{method}').Manager() as manager:\n"
        "        q = manager.Queue(1)\n"
        "        q.put(1)\n"
        "        try: q.put(2, timeout=0.01)\n"
        "        except queue.Full: print('full')\n"
        "        print(q.get(), type(queue.Queue()).__module__)\n"
    )
    done = subprocess.run([sys.executable, "-m", "kettle", "run", program], capture_output=True, text=True, timeout=50)
    assert (done.stdout.split(), done.stderr) == (["full", "1", "kettle.queue"], "")


def test_the_clock_that_a_test_replaces():
    assert installed(
        "import queue\n"
        "from unittest import mock\n"
        "with mock.patch('queue.time', side_effect=[0, 99]):\n"
        "    try: queue.Queue().get(timeout=99)\n"
        "    except queue.Empty: print('empty')\n"
    ) == ["empty"]


def test_what_a_test_patches_into_the_classes_of_queues():
    """The patch applies to queues of a context, to subclasses, and to existing objects."""
    assert installed(
        "import multiprocessing, queue\n"
        "from unittest import mock\n"
        "kinds = [multiprocessing.Queue, multiprocessing.JoinableQueue, multiprocessing.get_context('spawn').Queue]\n"
        "before = multiprocessing.JoinableQueue()\n"
        "before.put(0), before.get()\n"
        "with mock.patch('multiprocessing.queues.Queue.get', return_value='patched'):\n"
        "    found = [q.get() + q.get(timeout=1) + q.get_nowait() for q in [before, *(kind() for kind in kinds)]]\n"
        "with mock.patch('queue.Queue.get', return_value='patched'):\n"
        "    found += [kind().get() + kind().get_nowait() for kind in (queue.LifoQueue, queue.PriorityQueue)]\n"
        "before.put('as-it-was')\n"
        "print(*(len(one) // len('patched') for one in found), sep=',')\n"
        "print(before.get())\n"
    ) == ["3,3,3,3,2,2", "as-it-was"]
