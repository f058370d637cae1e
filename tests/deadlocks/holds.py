"""Ways to take a lock such that another thread may release it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from kettle import threading

# Each returns what releases the lock.
Leave = Callable[[], object]


def by_generator(lock: Any) -> Leave:
    """A stream that holds its device."""

    def stream() -> Iterator[int]:
        with lock:
            yield 1
            yield 2

    generator = stream()
    next(generator)
    return generator.close


def by_generator_to_its_end(lock: Any) -> Leave:
    def stream() -> Iterator[int]:
        with lock:
            yield 1

    generator = stream()
    next(generator)
    return lambda: list(generator)


def by_context_manager(lock: Any) -> Leave:
    """A dependency of a web framework: begun in one thread of a pool, and finished in another."""

    @contextlib.contextmanager
    def device() -> Iterator[None]:
        with lock:
            yield

    manager = device()
    manager.__enter__()
    return lambda: manager.__exit__(None, None, None)


def step(awaitable: Any) -> Any:
    """Runs a coroutine that never waits to its end."""
    try:
        awaitable.__await__().send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def by_async_generator(lock: Any) -> Leave:
    async def stream() -> Any:
        with lock:
            yield 1

    generator = stream()
    step(generator.__anext__())
    return lambda: step(generator.aclose())


class Pause:
    def __await__(self) -> Iterator[None]:
        yield


def by_coroutine(lock: Any) -> Leave:
    async def work() -> None:
        with lock:
            await Pause()

    coroutine = work()
    coroutine.send(None)
    return lambda: list(coroutine.__await__())


def by_exit_stack(lock: Any) -> Leave:
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock)
        return stack.pop_all().close


def by_async_exit_stack(lock: Any) -> Leave:
    async def enter() -> contextlib.AsyncExitStack:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(lock)
            return stack.pop_all()

    stack = step(enter())
    return lambda: step(stack.aclose())


def by_acquire(lock: Any) -> Leave:
    """A baton."""
    lock.acquire()
    return lock.release


def by_enter(lock: Any) -> Leave:
    lock.__enter__()
    return lambda: lock.__exit__(None, None, None)


class Kept:
    """A context manager whose lock stays taken after its block."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        pass


def by_class(lock: Any) -> Leave:
    with Kept(lock):
        pass
    return lock.release


def by_condition(lock: Any) -> Leave:
    condition = threading.Condition(lock)
    condition.__enter__()
    return lambda: condition.__exit__(None, None, None)


def decorated(lock: Any) -> Callable[[Callable[[], Leave]], Callable[[], Leave]]:
    def decorate(function: Callable[[], Leave]) -> Callable[[], Leave]:
        def wrapper() -> Leave:
            lock.acquire()
            return function()

        return wrapper

    return decorate


def by_decorator(lock: Any) -> Leave:
    return decorated(lock)(lambda: lock.release)()


def passes_back_and_forth(lock: Any) -> Leave:
    """It holds another lock by a block that it is inside, but not this one."""
    with threading.Lock(), threading.Lock():
        return by_generator(lock)


HOLDS: list[Callable[[Any], Leave]] = [
    by_generator,
    by_generator_to_its_end,
    by_context_manager,
    by_async_generator,
    by_coroutine,
    by_exit_stack,
    by_async_exit_stack,
    by_acquire,
    by_enter,
    by_class,
    by_condition,
    by_decorator,
    passes_back_and_forth,
]
