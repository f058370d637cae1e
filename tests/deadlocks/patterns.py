"""Correct programs in which threads wait long for each other's locks and then go on: because a thread other than the
one that took a lock releases it, or a signal handler does, or because they only look like a deadlock. No thread may get
an error, and no report may claim certainty. Each pattern is run once by its test, and repeatedly by `python -m stress
deadlocks`.

A pattern gets a scene, in which its threads run, and calls `scene.linger()` while others have to wait long.
"""

from __future__ import annotations

import contextlib
import os
import queue as standard_queue
import random
import subprocess
import sys
import textwrap
import threading as standard
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.death.support import LIMIT, until

from kettle import threading

from .holds import HOLDS, Leave
from .programs import PROGRAMS, plays_a_program
from .scene import Scene, Worker, play

# ---------------------------------------------------------------- locks that another thread releases


def crossed(scene: Scene, holds: list[Callable[[Any], Leave]], make: Callable[[], Any] = threading.Lock) -> None:
    """Each of some threads holds what it took in one of these ways, and wants what the next one holds; then another
    thread releases all of them."""
    locks = [make() for _ in holds]
    leaves: list[Leave | None] = [None] * len(holds)
    all_hold = standard.Barrier(len(holds))
    last = scene.chance.randrange(len(holds))

    def sit(i: int) -> None:
        leaves[i] = holds[i](locks[i])
        all_hold.wait()
        other = locks[(i + 1) % len(locks)]
        if i == last:
            with other:
                pass
        else:
            holds[i](other)()

    for i in range(len(holds)):
        scene.play(sit, i)
    until(lambda: all(lock.statistics().waiting for lock in locks))
    scene.linger()
    for leave in leaves:
        assert leave is not None
        scene.play(leave)
    scene.join()


def left_by_another_thread(scene: Scene) -> None:
    crossed(scene, scene.chance.choices(HOLDS, k=scene.chance.randint(2, 4)))


def one_of_the_blocks_is_left_by_its_own_thread(scene: Scene) -> None:
    """For one lock it is known which thread will release it, for the other it is not."""
    held, wanted, both = threading.Lock(), threading.Lock(), standard.Barrier(2)
    leaves = []

    def in_the_middle() -> None:
        with held:
            both.wait()
            with wanted:
                pass

    def has_it_left() -> None:
        leaves.append(scene.chance.choice(HOLDS)(wanted))
        both.wait()
        with held:
            pass

    scene.play(in_the_middle)
    scene.play(has_it_left)
    until(lambda: held.statistics().waiting and wanted.statistics().waiting)
    scene.linger()
    leaves[0]()
    scene.join()


def requests_of_a_pool(scene: Scene) -> None:
    """Dependencies that hold a device during their requests; any thread of the pool begins and ends them."""
    locks = {"a": threading.Lock(), "b": threading.Lock()}

    @contextlib.contextmanager
    def device(name: str) -> Iterator[str]:
        with locks[name]:
            yield name

    one, two = Worker(scene), Worker(scene)
    first, second, third, fourth = device("a"), device("b"), device("a"), device("b")
    one.does(first.__enter__)
    two.does(second.__enter__)
    waiting = [two.starts(third.__enter__), one.starts(fourth.__enter__)]
    scene.linger()
    for done in (first, second):
        done.__exit__(None, None, None)
    assert [each() for each in waiting] == ["a", "b"]
    for done in (third, fourth):
        done.__exit__(None, None, None)
    one.stop()
    two.stop()


def streams_of_a_pool(scene: Scene) -> None:
    """Each item of a stream is produced by a free thread of the pool."""
    locks = [threading.Lock(), threading.Lock()]

    def frames(lock: Any) -> Iterator[int]:
        with lock:
            yield from range(3)

    workers = [Worker(scene) for _ in range(4)]
    running = [frames(lock) for lock in locks]
    for i, stream in enumerate(running):
        assert workers[i].does(stream.__next__) == 0
    queued = [frames(lock) for lock in reversed(locks)]
    waiting = [workers[i].starts(stream.__next__) for i, stream in enumerate(queued)]
    scene.linger()
    for n in (1, 2):
        for i, stream in enumerate(running):
            assert workers[2 + (i + n) % 2].does(stream.__next__) == n
    for stream in running:
        stream.close()
    assert [first() for first in waiting] == [0, 0]
    for stream in queued:
        stream.close()
    for worker in workers:
        worker.stop()


# ---------------------------------------------------------------- group locks


class Room:
    """A lock for readers, or one writer: the first reader takes it, the last one releases it. With `fair`, all pass a
    turnstile that a writer closes. With `writers_first`, no reader enters while a writer waits."""

    def __init__(self, *, fair: bool, writers_first: bool) -> None:
        self._room, self._counted, self._turnstile = threading.Lock(), threading.Lock(), threading.Lock()
        self._fair, self._writers_first = fair, writers_first
        self._readers = self._writers = 0
        self._writers_counted = threading.Lock()

    def start_to_read(self) -> None:
        if self._fair or self._writers_first:
            self._turnstile.acquire()
        with self._counted:
            self._readers += 1
            if self._readers == 1:
                self._room.acquire()
        if self._fair or self._writers_first:
            self._turnstile.release()

    def stop_to_read(self) -> None:
        with self._counted:
            self._readers -= 1
            if self._readers == 0:
                self._room.release()

    def start_to_write(self) -> None:
        if self._writers_first:
            with self._writers_counted:
                self._writers += 1
                if self._writers == 1:
                    self._turnstile.acquire()
        elif self._fair:
            self._turnstile.acquire()
        self._room.acquire()

    def stop_to_write(self) -> None:
        self._room.release()
        if self._writers_first:
            with self._writers_counted:
                self._writers -= 1
                if self._writers == 0:
                    self._turnstile.release()
        elif self._fair:
            self._turnstile.release()


def rooms_of_readers(scene: Scene) -> None:
    """Two rooms, occupied for long by other readers than the first one; the first of each wants to write in the
    other."""
    kind = scene.chance.choice([(False, False), (True, False), (False, True)])
    rooms = [Room(fair=kind[0], writers_first=kind[1]) for _ in range(2)]
    first, others, done = standard.Barrier(2), standard.Barrier(3), standard.Event()
    written = []

    def begins(mine: Room, other: Room) -> None:
        mine.start_to_read()
        first.wait()
        others.wait()
        mine.stop_to_read()
        other.start_to_write()
        written.append(other)
        other.stop_to_write()

    def reads_on() -> None:
        for room in rooms:
            room.start_to_read()
        others.wait()
        done.wait()
        for room in rooms:
            room.stop_to_read()

    scene.play(begins, rooms[0], rooms[1])
    scene.play(begins, rooms[1], rooms[0])
    scene.play(reads_on)
    scene.linger()
    done.set()
    scene.join()
    assert len(written) == 2


# ---------------------------------------------------------------- batons, gates, drivers


def freed_by_its_driver(scene: Scene) -> None:
    """An operation takes a device; the driver's thread gives it back when the operation is over."""
    devices, both = [threading.Lock(), threading.Lock()], standard.Barrier(2)

    def start(device: Any, seconds: float) -> None:
        device.acquire()
        timer = standard.Timer(seconds, device.release)
        scene.threads.append(timer)
        timer.start()

    def job(first: Any, second: Any) -> None:
        start(first, scene.seconds)
        both.wait()
        start(second, 0.0)

    jobs = [scene.play(job, devices[i], devices[1 - i]) for i in range(2)]
    for one in jobs:
        one.join()


def ring_of_batons(scene: Scene) -> None:
    """Each waits until the previous one passes the baton on; a starter begins."""
    batons = [threading.Lock() for _ in range(scene.chance.randint(3, 5))]
    all_wait = standard.Barrier(len(batons) + 1)
    for baton in batons:
        baton.acquire()

    def runs(i: int) -> None:
        all_wait.wait()
        batons[i].acquire()
        batons[(i + 1) % len(batons)].release()

    for i in range(len(batons)):
        scene.play(runs, i)
    all_wait.wait()
    scene.linger()
    batons[0].release()
    scene.join()


def barrier_of_batons(scene: Scene) -> None:
    """A hand-written barrier: each thread closes a gate of its own and waits at it; the last to arrive opens all."""
    gates = [threading.Lock() for _ in range(3)]
    shut = standard.Barrier(len(gates) + 1)

    def comes(i: int) -> None:
        gates[i].acquire()
        shut.wait()
        gates[(i + 1) % len(gates)].acquire()

    for i in range(len(gates)):
        scene.play(comes, i)
    shut.wait()
    scene.linger()
    for gate in gates:
        gate.release()
    scene.join()


def gate_whose_taker_ended(scene: Scene) -> None:
    """Nothing is wrong, so nothing is reported."""
    gate = threading.Lock()
    scene.play(gate.acquire).join()
    for _ in range(2):
        scene.play(lambda: (gate.acquire(), gate.release()))
    until(lambda: gate.statistics().waiting == 2)
    scene.linger()
    gate.release()
    scene.join()
    scene.wrong += scene.reports


def parked(scene: Scene) -> None:
    """A thread waits for a lock that it took itself, until another one continues it."""
    park = threading.Lock()

    def parks() -> None:
        park.acquire()
        park.acquire()

    scene.play(parks)
    until(lambda: park.statistics().waiting)
    scene.linger()
    park.release()
    scene.join()
    scene.wrong += scene.reports


def gate_in_a_block(scene: Scene) -> None:
    """A thread closes a gate by `with`, lets another one open it, and waits for that: the end of the block releases
    what it then holds. This may be reported, since it looks like a lock that is taken twice."""
    gate = threading.Lock()

    def opens_later() -> None:
        with gate:
            scene.play(opens)
            gate.acquire()

    def opens() -> None:
        until(lambda: gate.statistics().waiting)
        scene.linger()
        gate.release()

    scene.play(opens_later).join()
    assert not gate.locked()


# ---------------------------------------------------------------- signal handlers


def helped_by_a_signal_handler(scene: Scene) -> None:
    plays_a_program(scene, scene.chance.choice([*PROGRAMS]))


# ---------------------------------------------------------------- programs that only look like a deadlock


def checked_out_and_in(scene: Scene) -> None:
    """Connections that one thread checks out, and another checks in."""
    locks = [threading.Lock() for _ in range(3)]
    work: Any = standard_queue.SimpleQueue()

    def checks_out(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(6):
            lock = chance.choice(locks)
            lock.acquire()
            work.put(lock)

    def checks_in() -> None:
        while (lock := work.get()) is not None:
            time.sleep(scene.seconds / 20)
            lock.release()

    users = [scene.play(checks_out, scene.chance.getrandbits(32)) for _ in range(4)]
    scene.play(checks_in)
    for user in users:
        user.join()
    work.put(None)


def stripes(scene: Scene) -> None:
    """A table with a lock for each part; to resize it, all of them are taken, in order."""
    locks, ends = [threading.Lock() for _ in range(6)], time.monotonic() + scene.seconds

    def changes(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < ends:
            with chance.choice(locks):
                time.sleep(0.01)

    def resizes() -> None:
        while time.monotonic() < ends:
            with contextlib.ExitStack() as stack:
                for lock in locks:
                    stack.enter_context(lock)
                time.sleep(0.05)

    for _ in range(6):
        scene.play(changes, scene.chance.getrandbits(32))
    scene.play(resizes)


def bridge_to_a_loop(scene: Scene) -> None:
    """A worker holds the model and waits until the loop has drawn; the loop's thread uses its own locks."""
    model, screen = threading.RLock(), threading.Lock()
    calls: Any = standard_queue.SimpleQueue()

    def loop() -> None:
        while (call := calls.get()) is not None:
            with screen:
                call()

    def works() -> None:
        for _ in range(2):
            drawn = threading.Event()
            with model, model:
                calls.put(lambda drawn=drawn: (time.sleep(scene.seconds / 4), drawn.set()))
                drawn.wait()

    scene.play(loop)
    workers = [scene.play(works) for _ in range(2)]
    for worker in workers:
        worker.join()
    calls.put(None)


def long_held(scene: Scene) -> None:
    """Some threads work long in a block, and many wait in line for it while holding other locks."""
    outer, inner = [threading.Lock() for _ in range(4)], threading.Lock()

    def works(i: int) -> None:
        with outer[i], inner:
            time.sleep(scene.seconds / 4)

    def waits(i: int) -> None:
        with outer[i]:
            pass

    for i in range(4):
        scene.play(works, i)
        scene.play(waits, i)


def lazy_imports(scene: Scene) -> None:
    """A module is imported under a lock of the program, and its import takes the same lock."""
    application = threading.RLock()
    modules = ["colorsys", "quopri", "stringprep", "tabnanny", "this_is_none"]

    def imports(name: str) -> None:
        with application:
            sys.modules.pop(name, None)
            time.sleep(scene.seconds / 8)
            with application, contextlib.suppress(ImportError):
                __import__(name)

    for name in modules:
        scene.play(imports, name)


def before_a_fork(scene: Scene) -> None:
    """Locks that were created before a fork, and released by another thread or not, are used on both sides."""
    program = f"""
        import os, sys, time
        from kettle import threading
        from kettle._core import native
        native.deadlock_policy("raise", {scene.threshold})
        locks = [threading.Lock(), threading.RLock(), threading.Lock()]
        def use():
            def work(n):
                for _ in range(3):
                    with locks[0], locks[1]:
                        time.sleep({scene.seconds / 8})
                        with locks[2]:
                            pass
            threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        with locks[1]:
            child = os.fork()
            if not child:
                use_of_mine = locks[1]._is_owned()
                locks[1].release()
                use()
                locks[1].acquire()
                os._exit(not use_of_mine)
        use()
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT + 4 * scene.seconds)
    if result.returncode or result.stderr:
        scene.wrong.append(f"exit status {result.returncode}: {result.stderr}")


def ordered_transfers(scene: Scene) -> None:
    accounts = [(n, threading.Lock()) for n in range(6)]
    ends = time.monotonic() + scene.seconds

    def transfers(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < ends:
            first, second = sorted(chance.sample(range(len(accounts)), 2))
            with accounts[first][1], accounts[second][1]:
                time.sleep(0.02)

    for _ in range(8):
        scene.play(transfers, scene.chance.getrandbits(32))


PATTERNS: list[Callable[[Scene], None]] = [
    left_by_another_thread,
    one_of_the_blocks_is_left_by_its_own_thread,
    requests_of_a_pool,
    streams_of_a_pool,
    rooms_of_readers,
    freed_by_its_driver,
    ring_of_batons,
    barrier_of_batons,
    gate_whose_taker_ended,
    parked,
    gate_in_a_block,
    helped_by_a_signal_handler,
    checked_out_and_in,
    stripes,
    bridge_to_a_loop,
    long_held,
    lazy_imports,
    before_a_fork,
    ordered_transfers,
]


def replay(seconds: float, chance: random.Random, threshold: float, say: Callable[[str], None]) -> dict[str, int]:
    """Runs random patterns until the time is over, and calls `say` with what was wrong. Returns how often each was
    run."""
    ends, played = time.monotonic() + seconds, dict.fromkeys((pattern.__name__ for pattern in PATTERNS), 0)
    while time.monotonic() < ends:
        for pattern in chance.sample(PATTERNS, len(PATTERNS)):
            if time.monotonic() >= ends:
                break
            seed = chance.getrandbits(32)
            for wrong in play(pattern, chance.uniform(8, 30) * threshold, random.Random(seed), threshold):
                say(f"{pattern.__name__}, seed {seed}, in process {os.getpid()}: {wrong}")
            played[pattern.__name__] += 1
    return played
