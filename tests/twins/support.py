"""What the bodies share."""

from __future__ import annotations

import threading
from contextlib import contextmanager

LIMIT = 30  # seconds that a child may take on a loaded machine; nothing waits that long unless it is broken


@contextmanager
def started(ctx, target, *args, **options):
    """A running child; it must have ended well, by itself, soon after the block."""
    child = ctx.Process(target=target, args=args, **options)
    child.start()
    try:
        yield child
        child.join(LIMIT)
        assert child.exitcode == 0, f"the child ended with {child.exitcode}"
    finally:
        if child.exitcode is None:
            child.kill()
            child.join()
        child.close()


def answer_of(ctx, target, *args):
    """What `target(reply, *args)`, in a child, gave to `reply`."""
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer, started(ctx, _reply_with, writer, target, args):
        assert reader.poll(LIMIT), "the child did not answer"
        return reader.recv()


def _reply_with(writer, target, args):
    writer.send(target(*args))
    writer.close()


@contextmanager
def running(target, *args, count=1):
    """Threads that run `target(*args)`; they must be done soon after the block. Gives the list of their results."""
    results, errors = [], []

    def run():
        try:
            results.append(target(*args))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield results
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a thread still waits"
    if errors:
        raise errors[0]
