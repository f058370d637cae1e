"""A handle in a message lives as long as the message and its receivers, and no longer."""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterator
from multiprocessing import reduction
from typing import Any

import pytest

import kettle.multiprocessing as mp
from kettle import _native
from kettle.multiprocessing.connection import Client, Connection, Listener

fork = mp.get_context("fork")

KINDS: dict[str, Callable[[], Any]] = {
    "Queue": fork.Queue,
    "JoinableQueue": fork.JoinableQueue,
    "SimpleQueue": fork.SimpleQueue,
    "Lock": fork.Lock,
    "RLock": fork.RLock,
    "Semaphore": lambda: fork.Semaphore(2),
    "Event": fork.Event,
    "Condition": fork.Condition,
    "Barrier": lambda: fork.Barrier(2),
    "Value": lambda: fork.Value("i", 3),
    "Array": lambda: fork.Array("d", 300),
    "RawArray": lambda: fork.RawArray("d", 300),
    "Pipe": fork.Pipe,
}


def arena() -> dict[str, int]:
    gc.collect()
    _native.reclaim()
    return dict(_native.arena_statistics())


@contextlib.contextmanager
def leaves_nothing(pinned: int = 0, spare: int = 4) -> Iterator[None]:
    """The arena has no more objects afterwards than before, except for the given number of pinned ones, and a few that
    a queue or a similar object creates once."""
    before = arena()
    yield
    after = arena()
    assert after["pinned"] - before["pinned"] == pinned
    assert after["objects"] - before["objects"] - pinned <= spare


def echo(x: Any) -> Any:
    return x


def refuse(x: Any) -> None:
    raise ValueError("not with", x)


def take(queue: Any, results: Any) -> None:
    n, answers = queue.get()
    answers.put(n + 1)
    results.put("answered")


class Kills:
    """Kills the process in which it is unpickled."""

    def __reduce__(self) -> Any:
        return os.kill, (_Myself(), signal.SIGKILL)


class _Myself:
    def __reduce__(self) -> Any:
        return os.getpid, ()


class Refuses:
    def __reduce__(self) -> Any:
        raise ValueError("not this one")


# -------------------------------------------------------------------------------------------------------- each way


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_what_went_through(kind: str) -> None:
    make = KINDS[kind]
    queue, (left, right) = fork.Queue(), fork.Pipe()

    def through_queue() -> None:
        queue.put((1, make()))
        queue.get()

    def through_pipe() -> None:
        left.send([make()])
        right.recv()

    with fork.Pool(1) as pool:

        def as_argument() -> None:
            pool.apply(repr, (make(),))

        def as_result() -> None:
            pool.apply(echo, (make(),))

        def in_chunks() -> None:
            pool.map(echo, [make() for _ in range(3)], chunksize=2)

        def in_an_exception() -> None:
            with pytest.raises(ValueError, match="not with") as raised:
                pool.apply(refuse, (make(),))
            assert type(raised.value.args[1]) is type(make())

        for way in (through_queue, through_pipe, as_argument, as_result, in_chunks, in_an_exception):
            way()
            with leaves_nothing():
                for _ in range(25):
                    way()


@pytest.mark.parametrize("kind", KINDS)
def test_managers(kind: str) -> None:
    make = KINDS[kind]
    with fork.Manager() as manager:
        kept = manager.dict()

        def keep_and_fetch() -> None:
            kept["it"] = make()
            kept["it"]
            del kept["it"]

        keep_and_fetch()
        with leaves_nothing():
            for _ in range(15):
                keep_and_fetch()


def test_a_queue_for_each_answer() -> None:
    requests = mp.Queue()
    with leaves_nothing(spare=20):
        for i in range(3000):
            answers = mp.Queue()
            requests.put((i, answers))
            n, where = requests.get()
            where.put(n)
            assert answers.get() == i
            del answers, where


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_receiver_is_another_process(method: str) -> None:
    ctx = mp.get_context(method)
    queue, results = ctx.Queue(), ctx.Queue()
    with leaves_nothing():
        process = ctx.Process(target=take, args=(queue, results))
        process.start()
        answers = ctx.Queue()
        queue.put((41, answers))
        assert answers.get() == 42
        assert results.get() == "answered"
        process.join()
        del answers, process


def test_the_message_alone_has_it() -> None:
    queue = fork.Queue()
    inner = fork.Queue()
    inner.put("here")
    queue.put(inner)
    del inner
    arena()
    assert queue.get().get() == "here"


def test_awaitable_calls() -> None:
    import asyncio

    async def main() -> None:
        queue = mp.Queue()
        for n in range(20):
            answers = mp.Queue()
            await queue.aput((n, answers))
            n, where = await queue.aget()
            await where.aput(n)
            assert await answers.aget() == n

    asyncio.run(main())
    with leaves_nothing():
        asyncio.run(main())


def test_many_in_one_message() -> None:
    queue = fork.Queue()
    with leaves_nothing():
        queue.put([fork.Lock() for _ in range(500)])
        locks = queue.get()
        for lock in locks:
            with lock:
                pass
        del locks, lock


def second(x: Any) -> Any:
    return x[1]


def test_with_buffers_beside_them() -> None:
    """As many buffers as can travel with a pickle, and handles in it."""
    queue = fork.Queue()
    with leaves_nothing(spare=6), fork.Pool(1) as pool:
        message = [[pickle.PickleBuffer(bytearray(70_000)) for _ in range(80)], fork.Event()]
        queue.put(message)
        buffers, event = queue.get()
        event.set()
        assert [len(buffer) for buffer in buffers] == [70_000] * 80
        back = pool.apply(second, (message,))
        assert back.is_set()
        del buffers, event, back, message
        pool.terminate()
        pool.join()


def test_a_function_that_travels_by_value() -> None:
    queue = fork.Queue()

    def send() -> None:
        inner = fork.Queue()
        queue.put(lambda: inner.put(1))
        queue.get()()
        assert inner.get() == 1

    send()
    with leaves_nothing():
        for _ in range(10):
            send()


# ---------------------------------------------------------------------------------------------- other ways


def test_messages_that_are_never_received() -> None:
    with leaves_nothing():
        queue = fork.Queue()
        for _ in range(10):
            queue.put(fork.Event())
        del queue
        left, right = fork.Pipe()
        left.send(fork.Event())
        right.close()
        with pytest.raises(OSError):
            left.send(fork.Event())
        left.close()
        del left, right


def test_what_cannot_be_sent() -> None:
    queue, (left, _right) = fork.Queue(), fork.Pipe()
    full = fork.Queue(1)
    full.put(None)
    with leaves_nothing():
        for _ in range(10):
            for send in (queue.put, left.send):
                with pytest.raises(ValueError, match="not this one"):
                    send([fork.Lock(), Refuses()])
            with pytest.raises(mp.queues.Full):
                full.put(fork.Lock(), timeout=0)


def test_nested_queues_and_rings() -> None:
    with leaves_nothing():
        outer = fork.Queue()
        for _ in range(2000):
            queue = fork.Queue()
            queue.put(outer)
            outer = queue
        del outer, queue
        ring = [fork.Queue() for _ in range(3)]
        for i, queue in enumerate(ring):
            queue.put([ring[i - 1], queue])
        del ring, queue


def test_put_back_and_passed_on() -> None:
    queue, other = fork.Queue(), fork.Queue()
    with leaves_nothing():
        queue.put(fork.Event())
        for _ in range(10):
            other.put(queue.get())
            queue.put(other.get())
        queue.get().set()


def test_a_receiver_dies_while_it_rebuilds() -> None:
    queue = fork.Queue()

    def receive() -> None:
        queue.get()

    with leaves_nothing():
        for _ in range(5):
            inner = fork.Queue()
            inner.put(fork.Event())
            queue.put([Kills(), inner, fork.Lock()])
            del inner
            process = fork.Process(target=receive)
            process.start()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            del process


def test_a_sender_dies() -> None:
    queue = fork.Queue()

    def send() -> None:
        inner = fork.Queue()
        inner.put("left behind")
        queue.put(inner)
        os.kill(os.getpid(), signal.SIGKILL)

    with leaves_nothing():
        for _ in range(5):
            process = fork.Process(target=send)
            process.start()
            process.join()
            del process
            arena()
            assert queue.get().get() == "left behind"


def put_and_refuse(queue: Any) -> None:
    inner = fork.Queue()
    inner.put("here")
    raise ValueError(inner, queue)


def test_an_exception_alone_has_it() -> None:
    with leaves_nothing(), fork.Pool(1) as pool:
        queue = fork.Queue()
        with pytest.raises(ValueError) as raised:
            pool.apply(put_and_refuse, (queue,))
        arena()
        inner, same = raised.value.args
        assert inner.get() == "here"
        same.put(1)
        assert queue.get() == 1
        del inner, same, raised, queue
        pool.terminate()
        pool.join()


def test_exceptions_of_an_executor() -> None:
    from kettle.futures import ProcessPoolExecutor

    with leaves_nothing(spare=6), ProcessPoolExecutor(1, mp_context=fork) as executor:
        for _ in range(10):
            with pytest.raises(ValueError, match="not with"):
                executor.submit(refuse, fork.Queue()).result()


def test_an_initializer_that_refuses() -> None:
    """All waiters get the error that it raises."""
    with leaves_nothing(spare=8):
        for _ in range(3):
            with fork.Pool(1, refuse, (fork.Event(),)) as pool:
                with pytest.raises(ValueError, match="not with") as raised:
                    pool.apply(echo, (1,))
                raised.value.args[1].set()
                del raised
                pool.terminate()
                pool.join()
            del pool


_forked: list[tuple[Any, Any]] = []


class ForksBeforeItIsThere:
    """Starts a process while being unpickled, before the handles that follow it are."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __reduce__(self) -> Any:
        return _assembled, (_Forks(), self.handle)


class _Forks:
    def __reduce__(self) -> Any:
        return _do_fork, ()


def _do_fork() -> int:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)  # until the parent has released it
    else:
        os.close(read)
        _forked.append((pid, write))
    return pid


def _assembled(pid: int, handle: Any) -> Any:
    if pid == 0:
        handle.put("from the child")
        os._exit(0)
    return handle


def test_a_fork_while_it_is_rebuilt() -> None:
    queue, inner = fork.Queue(), fork.Queue()
    with leaves_nothing():
        queue.put(ForksBeforeItIsThere(inner))
        queue.get()
        arena()
        pid, write = _forked.pop()
        os.close(write)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert inner.get() == "from the child"


def die_first(lives: Any, queue: Any) -> Any:
    lives.value -= 1
    if lives.value >= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return queue.get()


def test_a_task_is_sent_again() -> None:
    with leaves_nothing(), fork.Pool(2) as pool:
        for _ in range(3):
            queue = fork.Queue()
            queue.put("still here")
            result = pool.apply_async(die_first, (fork.Value("i", 1), queue), retries=1)
            del queue
            assert result.get() == "still here"
            del result
        pool.terminate()
        pool.join()


# ------------------------------------------------------------------------------------------- where it cannot be known


def test_pickles_of_the_programs_own_pin() -> None:
    queue = fork.Queue()
    with leaves_nothing(pinned=1):
        inner = fork.Queue()
        pickled = pickle.dumps(inner)
        pickle.dumps(inner)
        del inner
        arena()
        pickle.loads(pickled).put("first")
        queue.put(pickled)
        assert pickle.loads(queue.get()).get() == "first"
        assert queue.statistics().size == 0


class PicklesByItself:
    """Pickles a handle itself while it is being pickled for a message, and keeps that pickle."""

    kept: bytes | None = None

    def __init__(self, handle: Any, dumps: Callable[[Any], bytes], sends: bool) -> None:
        self.handle = handle
        self.dumps = dumps
        self.sends = sends

    def __reduce__(self) -> Any:
        PicklesByItself.kept = bytes(self.dumps(self.handle))
        return echo, ((self.handle if self.sends else None),)


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize("dumps", [pickle.dumps, pickle._dumps, reduction.ForkingPickler.dumps])  # type: ignore[attr-defined]
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("RawArray", "Pipe")])
def test_a_pickle_of_its_own_amid_a_message(kind: str, dumps: Any, sends: bool) -> None:
    queue, handle = fork.Queue(), KINDS[kind]()
    if kind == "Array":
        dumps = reduction.ForkingPickler.dumps  # other picklers do not support arrays of ctypes
    queue.put(PicklesByItself(handle, dumps, sends))
    del handle
    arena()
    got = queue.get()
    assert (got is not None) == sends
    del got
    arena()
    assert PicklesByItself.kept is not None
    for _ in range(2):
        rebuilt = pickle.loads(PicklesByItself.kept)
        assert type(rebuilt) is type(KINDS[kind]())
        del rebuilt
        arena()


def test_a_message_amid_a_pickle_of_its_own() -> None:
    other = fork.Queue()

    class Puts:
        def __init__(self, handle: Any) -> None:
            self.handle = handle

        def __reduce__(self) -> Any:
            other.put(self.handle)
            return echo, (1,)

    with leaves_nothing():
        pickle.dumps(Puts(fork.Event()))
        other.get().set()


def test_a_copy_pins_nothing() -> None:
    with leaves_nothing():
        event = fork.Event()
        same = copy.copy(event)
        same.set()
        assert event.is_set()
        del event, same


def test_an_object_that_is_received_as_bytes() -> None:
    left, right = fork.Pipe()
    with leaves_nothing(pinned=1):
        inner = fork.Queue()
        left.send(inner)
        del inner
        pickled = right.recv_bytes()
        arena()
        pickle.loads(pickled).put(1)
        assert pickle.loads(pickled).get() == 1


def test_listener_and_client() -> None:
    def call(address: Any) -> None:
        with Client(address, authkey=b"key") as connection:
            while (got := connection.recv()) is not None:
                n, answers = got
                answers.put(n)
                connection.send(fork.Event())

    with Listener(authkey=b"key") as listener:
        process = fork.Process(target=call, args=(listener.address,))
        process.start()
        with listener.accept() as connection:
            connection.send((0, fork.Queue()))
            connection.recv()
            with leaves_nothing():
                for n in range(20):
                    answers = fork.Queue()
                    connection.send((n, answers))
                    assert answers.get() == n
                    connection.recv().set()
                del answers
            connection.send(None)
        process.join()


def test_sockets() -> None:
    """The session does not see the contents of a socket: a handle in it lives until it is received."""
    a, b = socket.socketpair()
    left, right = Connection(a.detach()), Connection(b.detach())
    left.send(fork.Event())
    right.recv()
    with leaves_nothing():
        for _ in range(10):
            left.send([fork.Event(), fork.Lock()])
            event, lock = right.recv()
            event.set()
            with lock:
                pass
            del event, lock
    with leaves_nothing(pinned=1, spare=5):
        left.send(fork.Event())  # it is never received
    right.close()
    with leaves_nothing():
        for _ in range(3):
            with pytest.raises(OSError):
                left.send(fork.Event())
    left.close()
