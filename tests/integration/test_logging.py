"""Logging, progress bars and the standard library's hooks for processes, on Kettle."""

from __future__ import annotations

import io
import logging
from logging.handlers import QueueHandler, QueueListener
from multiprocessing import util

import pytest

LIMIT = 30


def log(queue, n):
    logger = logging.getLogger(f"child {n}")
    logger.setLevel(logging.INFO)
    logger.addHandler(QueueHandler(queue))
    for i in range(50):
        logger.info("%d of %d", i, n)


def test_a_queue_handler_and_its_listener(ctx):
    seen = []

    class Remember(logging.Handler):
        def emit(self, record):
            seen.append((record.processName, record.getMessage()))

    queue = ctx.Queue()
    listener = QueueListener(queue, Remember())
    listener.start()
    children = [ctx.Process(target=log, args=(queue, n), name=f"logs {n}") for n in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    listener.stop()
    for n in range(2):
        assert [m for name, m in seen if name == f"logs {n}"] == [f"{i} of {n}" for i in range(50)]


def show_progress(lock):
    tqdm = pytest.importorskip("tqdm").tqdm
    tqdm.set_lock(lock)
    for _ in tqdm(range(10), file=io.StringIO()):
        pass


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_progress_bars_with_our_lock(ctx, kind):
    pytest.importorskip("tqdm")
    child = ctx.Process(target=show_progress, args=(getattr(ctx, kind)(),))
    child.start()
    child.join(LIMIT)
    assert child.exitcode == 0


def finalize(queue):
    util.Finalize(None, queue.put, args=("finalized",), exitpriority=10)
    queue.put("ran")


def test_finalizers_run_at_the_end_of_a_child(ctx):
    queue = ctx.Queue()
    child = ctx.Process(target=finalize, args=(queue,))
    child.start()
    assert [queue.get(timeout=LIMIT) for _ in range(2)] == ["ran", "finalized"]
    child.join()


class Forked:
    times = 0

    def again(self):
        self.times += 1


def count(queue, forked):
    queue.put(forked.times)


def test_register_after_fork(ctx):
    forked, queue = Forked(), ctx.Queue()
    util.register_after_fork(forked, Forked.again)
    child = ctx.Process(target=count, args=(queue, forked))
    child.start()
    assert queue.get(timeout=LIMIT) == (1 if ctx.get_start_method() == "fork" else 0)
    child.join()


def test_bound_methods_are_targets(ctx):
    for make in (ctx.Queue, ctx.JoinableQueue, ctx.SimpleQueue):
        queue = make()
        child = ctx.Process(target=queue.put, args=("sent",))
        child.start()
        assert queue.get() == "sent"
        child.join()
