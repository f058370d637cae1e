"""Traffic over a queue, a pipe, locks and a pool. Each process goes on after any error, and reports in its slot what it
does, so that a watchdog can find processes that wait in vain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import kettle.multiprocessing as mp
from kettle import _native as native

from .slots import LEAVING, ROLES, RUNNING, Board, Slot

AHEAD = 40  # how many messages a sender may be ahead of its receiver, so that it waits long only for reasons of its own
PAUSE = 0.002


def message(n: int) -> Any:
    """Returns the n-th message; together they cover all kinds of encoding. None is pickled, because a damaged pickle
    can do whatever pickles can."""
    kind = n % 8
    if n % 64 == 20:
        return n, bytes([n & 255]) * ((1 << 20) + (n % 4 << 20) + n % 100)
    if kind == 0:
        return n, "short"
    if kind == 1:
        return n, bytes([n & 255]) * (300 + n % 500)
    if kind == 2:
        return n, [n, float(n), None, True, "x" * (n % 50)]
    if kind == 3:
        return n, {"n": n, "square": n * n, "text": "t" * 40}
    if kind == 4:
        return n, bytes([n & 255]) * (5000 + n % 7000)
    if kind == 5:
        return n, "y" * 20
    if kind == 6:
        return n, bytes([n & 255]) * (60_000 + 37 * (n % 1000))
    return n, (n, n + 1, n + 2)


def square(n: int) -> int:
    return n * n


def nothing() -> None:
    pass


class Role:
    """The part of a process: calls, and their results."""

    def __init__(self, board: Board, name: str) -> None:
        self.board, self.name = board, name
        self.slot: Slot = board.slots[name]
        self._told = 0

    def enter(self) -> None:
        self.slot.pid = os.getpid()
        self.slot.stage = RUNNING

    def call(
        self, operation: str, function: Callable[..., Any], *arguments: Any, check: Any = None
    ) -> tuple[bool, Any]:
        """Returns whether `function` returned, and its result."""
        slot = self.slot
        if slot.armed:
            native.arm_crash_point(slot.take_order())
        slot.begin(operation)
        try:
            result = function(*arguments)
        except Exception as error:
            slot.end()
            self._error(operation, error)
            return False, None
        except BaseException as error:
            slot.end()
            if type(error).__name__ != "PanicException":
                raise
            slot.panics += 1
            slot.tell(f"{operation}: panic: {error}")
            time.sleep(PAUSE)
            return False, None
        slot.end()
        if check is not None and result != check:
            slot.wrong += 1
            self._say(f"{operation} gave {result!r:.100}")
        else:
            slot.successes += 1
        return True, result

    def _error(self, operation: str, error: Exception) -> None:
        slot = self.slot
        slot.errors += 1
        slot.last_error = time.monotonic_ns()
        if type(error).__name__ == "SessionDamaged":
            slot.damaged += 1
        self._say(f"{operation}: {type(error).__name__}: {error}")
        time.sleep(PAUSE)

    def _say(self, text: str) -> None:
        self.slot.tell(text)
        if self._told < 8:
            self._told += 1
            with contextlib.suppress(OSError):
                os.write(2, f"  [{self.name}] {text[:300]}\n".encode(errors="replace"))

    def is_ahead(self, other: str) -> bool:
        return self.slot.sent > self.board.slots[other].sent + AHEAD


def putter(board: Board, name: str, put: Callable, other: str) -> None:
    role = Role(board, name)
    role.enter()
    n = 0
    while not board.stop:
        # After an error the same message is tried again, which shows whether one was lost without an error.
        if role.is_ahead(other):
            time.sleep(0.0005)
            continue
        try:
            sent = message(n)
        except MemoryError:
            continue
        if role.call("put", put, sent)[0]:
            n += 1
            role.slot.sent = n
    role.slot.stage = LEAVING


def getter(board: Board, name: str, get: Callable, other: str) -> None:
    role = Role(board, name)
    role.enter()
    expected = forgiven = 0
    source = board.slots[other]
    while not board.stop:
        returned, got = role.call("get", get)
        if not returned:
            forgiven += 1
            continue
        try:
            n = got[0]
            right = got == message(n)
        except MemoryError:
            right = True  # as far as this process can tell
        except Exception:
            right = False
        if not right:
            role.slot.wrong += 1
            role._say(f"got {got!r:.80}")
            expected += 1
        elif n != expected:
            if n > expected:  # some were lost
                role.slot.lost += max(0, n - expected - forgiven)
                forgiven -= min(forgiven, n - expected)
            elif expected - n > source.errors:  # duplicated, although its sender got no error
                role.slot.lost += 1
            role._say(f"got {n} instead of {expected}")
            expected = n + 1
        else:
            expected += 1
        role.slot.sent = max(expected, 0)
    role.slot.stage = LEAVING


def locker(board: Board, name: str, locks: list) -> None:
    role = Role(board, name)
    role.enter()
    me = ROLES.index(name)
    n = 0
    while not board.stop:
        which = n % len(locks)
        lock = locks[which]
        n += 1
        if role.call("acquire", lock.acquire)[0]:
            board.enter_lock(which, me)
            for _ in range(20):
                pass
            if board.is_in_lock(which) != me:
                role.slot.wrong += 1
                role._say(f"lock {which} had two owners")
            role.call("release", lock.release)
        if n % 50 == 0:
            time.sleep(0.0005)
    role.slot.stage = LEAVING


class Others:
    """The other primitives. All waits have a limit: a permit may be overwritten and lost, which cannot be detected."""

    LIMIT = 0.05

    def __init__(self, context: Any) -> None:
        self.semaphore, self.permits = context.Semaphore(2), context.BoundedSemaphore(2)
        self.condition, self.event, self.barrier = context.Condition(), context.Event(), context.Barrier(2)
        self.queue = context.JoinableQueue()
        self.array = context.Array("i", 500)

    def use(self, role: Role, n: int) -> None:
        wait = self.LIMIT
        for permits in (self.semaphore, self.permits):
            returned, acquired = role.call("Semaphore.acquire", permits.acquire, True, wait)
            if returned and acquired:
                role.call("Semaphore.release", permits.release)
        role.call("JoinableQueue.put", self.queue.put, message(n))
        if role.call("JoinableQueue.get", self._get)[1]:
            role.call("task_done", self.queue.task_done)
        role.call("Array", self._count, n % 500)
        if n % 4 == 0:
            role.call("Condition", self._notify if n % 8 else self._wait, wait)
        if n % 4 == 1:
            role.call("Event.set", self.event.set if n % 8 == 1 else self.event.clear)
            role.call("Event.wait", self.event.wait, wait)
        if n % 4 == 2:
            role.call("Barrier", self._meet, wait)
        if n % 32 == 3:
            role.call("aget", asyncio.run, self._aget(wait))
        if n % 8 == 5:
            role.call("statistics", lambda: [p.statistics() for p in (self.semaphore, self.condition, self.queue)])

    def _get(self) -> bool:
        with contextlib.suppress(queue.Empty):
            self.queue.get(timeout=self.LIMIT)
            return True
        return False

    async def _aget(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.queue.aget(), seconds)

    def _count(self, index: int) -> None:
        if self.array.get_lock().acquire(timeout=self.LIMIT):
            try:
                self.array[index] += 1
            finally:
                self.array.get_lock().release()

    def _wait(self, seconds: float) -> None:
        if self.condition.acquire(timeout=seconds):
            try:
                self.condition.wait(seconds)
            finally:
                self.condition.release()

    def _notify(self, seconds: float) -> None:
        if self.condition.acquire(timeout=seconds):
            try:
                self.condition.notify_all()
            finally:
                self.condition.release()

    def _meet(self, seconds: float) -> None:
        try:
            self.barrier.wait(seconds)
        except threading.BrokenBarrierError:
            self.barrier.reset()


def other(board: Board, name: str, others: Others) -> None:
    role = Role(board, name)
    role.enter()
    n = 0
    while not board.stop:
        n += 1
        others.use(role, n)
        time.sleep(0.0005)
    role.slot.stage = LEAVING


def root(board: Board, rng: random.Random, disturb: Callable[..., None]) -> None:
    """Starts the others, keeps a pool busy, and starts a child now and then; at the end, shuts all of it down."""
    role = Role(board, "root")
    role.enter()
    context = mp.get_context("fork")
    messages = context.Queue(rng.choice([0, 16]))
    receives, sends = context.Pipe(duplex=False)
    locks = [context.Lock(), context.RLock()]
    shared = context.Value("i", 0)
    others = Others(context)
    parts = [
        (putter, "putter", messages.put, "getter"),
        (getter, "getter", messages.get, "putter"),
        (putter, "sender", sends.send, "receiver"),
        (getter, "receiver", receives.recv, "sender"),
        (locker, "locker-1", locks),
        (locker, "locker-2", locks),
        (other, "other-1", others),
        (other, "other-2", others),
    ]
    processes = {}
    pool = context.Pool(2)
    for part, name, *rest in parts:
        processes[name] = context.Process(target=part, args=(board, name, *rest), name=name)
    processes["scribbler"] = context.Process(target=disturb, args=(board, "scribbler"), name="scribbler")
    for process in processes.values():
        process.start()
    n = 0
    while not board.stop:
        n += 1
        numbers = range(n, n + 8)
        role.call("Pool.map", pool.map, square, numbers, check=[square(i) for i in numbers])
        role.call("Pool.apply", pool.apply, square, (n,), check=square(n))
        if n % 4 == 0:
            role.call("Pool.imap", lambda: list(pool.imap(square, range(5))), check=[0, 1, 4, 9, 16])
            role.call("Value", setattr, shared, "value", n)
        if n % 16 == 1:
            child = context.Process(target=nothing)
            if role.call("Process.start", child.start)[0]:
                role.call("Process.join", child.join)
                _, code = role.call("Process.exitcode", getattr, child, "exitcode")
                if code is not None and code < 0:
                    role.slot.ended = 1000 + code
    role.slot.stage = LEAVING
    for name in ("receiver", "getter", "locker-1", "locker-2", "other-1", "other-2", "putter", "sender", "scribbler"):
        process = processes[name]
        process.join(0.3)
        if process.exitcode is None:
            board.slots[name].ended = 1  # it waits for a process that is gone; the watchdog knows whether it may
            process.kill()
            process.join()
        else:
            board.slots[name].ended = 1000 + process.exitcode
    role.call("Pool.terminate", pool.terminate)
    role.call("Pool.join", pool.join)
    role.slot.begin("exit")
    sys.stdout.flush()
