"""Many threads at once: mutual exclusion holds, and nothing is lost."""

from __future__ import annotations

import random
import threading as standard

import pytest

import kettle.threading as threading
from crowds import LIMIT, all_at_once

THREADS = 8

pytestmark = pytest.mark.usefixtures("threads_change_often")


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.Condition, lambda: threading.Semaphore(1)])
def test_one_at_a_time(make, seed):
    lock = make()
    inside, done = [], []

    def work(number):
        rng = random.Random(seed + number)
        for _ in range(300):
            match rng.randrange(3):
                case 0:
                    lock.acquire()
                case 1:
                    while not lock.acquire(False):
                        pass
                case 2:
                    while not lock.acquire(timeout=rng.random() / 1000):
                        pass
            inside.append(number)
            assert inside == [number]
            inside.pop()
            done.append(number)
            lock.release()

    all_at_once(work, THREADS)
    assert len(done) == 300 * THREADS


def test_permits_are_neither_lost_nor_made(seed):
    semaphore = threading.BoundedSemaphore(3)
    inside = []

    def work(number):
        rng = random.Random(seed + number)
        for _ in range(300):
            if semaphore.acquire(timeout=rng.choice([None, rng.random() / 1000])):
                inside.append(1)
                assert len(inside) <= 3
                inside.pop()
                semaphore.release()

    all_at_once(work, THREADS)
    assert semaphore._value == 3


def test_each_notification_is_for_one_waiter(seed):
    """Tokens under a condition: takers that sometimes give up, and givers that notify once per token."""
    condition = threading.Condition(threading.Lock())
    tokens, taken, late, each = [0], [], [], 200

    def give(number):
        for _ in range(each):
            with condition:
                tokens[0] += 1
                condition.notify()

    def take(number):
        rng = random.Random(seed + number)
        count = 0
        while count < each:
            with condition:
                if not condition.wait_for(lambda: tokens[0], rng.choice([None, rng.random() / 1000])):
                    late.append(1)
                    continue
                tokens[0] -= 1
            count += 1
        taken.append(count)

    all_at_once(lambda n: give(n) if n % 2 else take(n), THREADS)
    assert tokens == [0] and sum(taken) == each * THREADS // 2
    assert condition.statistics().waiting == 0


def test_a_standard_condition_over_our_locks_and_ours_over_theirs():
    for condition in (standard.Condition(threading.Lock()), threading.Condition(standard.RLock())):
        turn = [0]

        def work(number, condition=condition, turn=turn):
            for _ in range(50):
                with condition:
                    condition.wait_for(lambda: turn[0] % THREADS == number)
                    turn[0] += 1
                    condition.notify_all()

        all_at_once(work, THREADS)
        assert turn == [50 * THREADS]


def test_an_event_is_seen_by_all_each_time():
    event, gate = threading.Event(), threading.Barrier(THREADS)

    def work(number):
        for _ in range(50):
            gate.wait(LIMIT)
            if number == 0:
                event.set()
            assert event.wait(LIMIT)
            if gate.wait(LIMIT) == 0:
                event.clear()

    all_at_once(work, THREADS)


def test_locks_come_and_go():
    """A lock that is dropped the moment it is free: no thread accesses it any more."""

    def work(number):
        for _ in range(200):
            lock = threading.Lock()
            lock.acquire()
            other = standard.Thread(target=lock.release)
            other.start()
            lock.acquire()
            del lock
            other.join()

    all_at_once(work, 3)
