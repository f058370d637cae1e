"""`cancel` ends a running task, and prevents a waiting one from beginning."""

from __future__ import annotations

import concurrent.futures
import functools
import threading

import pytest

import kettle

from .support import ENDLESS, LIMIT, note, note_and_never_end, note_and_pass_gate, running, runs, square, until


def test_one_in_the_queue(ctx, diary, gate):
    with running(ctx, 1) as pool:
        first = pool.apply_async(note_and_pass_gate, (diary, 0, gate))
        until(diary.words)
        second, third = (pool.apply_async(note, (diary, n)) for n in (1, 2))
        assert not second.running() and not second.cancelled()
        assert second.cancel() is True
        assert second.cancelled() and second.ready() and not second.running() and not second.successful()
        with pytest.raises(kettle.TaskCancelled) as caught:
            second.get(LIMIT)
        assert isinstance(caught.value, concurrent.futures.CancelledError)
        assert "note" in caught.value.task
        gate.touch()
        assert (first.get(LIMIT), third.get(LIMIT)) == (0, 2)
    assert diary.numbers() == [0, 2]


@pytest.mark.parametrize("activity", ENDLESS)
def test_one_that_runs(fork, diary, activity):
    with running(fork, 2) as pool:
        result = pool.apply_async(note_and_never_end, (diary, activity))
        until(diary.words)
        until(result.running)
        assert result.cancel() is True
        with pytest.raises(kettle.TaskCancelled, match="note_and_never_end"):
            result.get(LIMIT)
        assert result.cancelled() and not result.running()
        (worker,) = diary.numbers()
        until(lambda: not runs(worker))
        until(lambda: pool.statistics().workers == 2)
        assert pool.map(square, range(20), 1) == [n * n for n in range(20)]


def test_with_every_start_method(ctx, diary):
    with running(ctx, 1) as pool:
        result = pool.apply_async(note_and_never_end, (diary, "spin_in_c"))
        until(diary.words)
        assert result.cancel() is True
        assert pool.apply(square, (3,)) == 9


def test_one_that_is_done(fork):
    with running(fork, 1) as pool:
        result = pool.apply_async(square, (3,))
        assert result.get(LIMIT) == 9
        assert result.cancel() is False and not result.cancelled() and not result.running()
        assert result.get(0) == 9 and result.successful()


def test_twice(fork, diary):
    with running(fork, 1) as pool:
        result = pool.apply_async(note_and_never_end, (diary,))
        until(diary.words)
        result.cancel()
        result.cancel()
        assert result.cancelled()
        assert pool.apply(square, (2,)) == 4
        assert pool.statistics().cancelled == 1


def test_a_map(fork, diary, gate):
    with running(fork, 2) as pool:
        result = pool.map_async(functools.partial(note_and_pass_gate, diary, gate=gate), range(100), 1)
        until(lambda: len(diary.words()) == 2)
        assert result.running()
        assert result.cancel() is True and result.cancelled()
        with pytest.raises(kettle.TaskCancelled):
            result.get(LIMIT)
        assert pool.map(square, range(10), 1) == [n * n for n in range(10)]
    assert len(diary.words()) == 2  # none of it has begun since


def test_other_calls_are_left_alone(fork, diary, gate):
    with running(fork, 2) as pool:
        other = pool.map_async(functools.partial(note_and_pass_gate, diary, gate=gate), range(20), 5)
        until(diary.words)
        doomed = [pool.apply_async(note_and_never_end, (diary,)) for _ in range(3)]
        for result in doomed:
            assert result.cancel() is True
        gate.touch()
        assert other.get(LIMIT) == list(range(20))


def test_from_another_thread_while_one_waits(fork, diary):
    with running(fork, 1) as pool:
        result = pool.apply_async(note_and_never_end, (diary,))
        thread = threading.Thread(target=lambda: (until(diary.words), result.cancel()))
        thread.start()
        with pytest.raises(kettle.TaskCancelled):
            result.get(LIMIT)
        thread.join(LIMIT)


def test_callbacks_hear_of_it_once(fork, diary):
    results, errors, heard = [], [], threading.Event()
    with running(fork, 1) as pool:
        result = pool.apply_async(
            note_and_never_end, (diary,), callback=results.append,
            error_callback=lambda error: (errors.append(type(error)), heard.set()),
        )  # fmt: skip
        until(diary.words)
        result.cancel()
        assert heard.wait(LIMIT)
        pool.apply(square, (1,))
    assert (results, errors) == ([], [kettle.TaskCancelled])


def test_a_worker_is_not_taken_from_the_next_task(fork, diary):
    """Cancelling ends the task of this result, not the task that happens to run by then."""
    with running(fork, 1) as pool:
        for n in range(200):
            result = pool.apply_async(square, (n,))
            following = pool.apply_async(square, (n,))
            if result.cancel():
                with pytest.raises(kettle.TaskCancelled):
                    result.get(LIMIT)
            else:
                assert result.get(0) == n * n
            assert following.get(LIMIT) == n * n
        assert pool.statistics().died == 0


def test_an_iterator_that_is_closed(fork, diary):
    with running(fork, 2) as pool:
        it = pool.imap(functools.partial(note, diary), range(5))
        assert next(it) == 0
        it.close()
        with pytest.raises(StopIteration):
            next(it)
        it.close()
        forever = pool.imap(functools.partial(note_and_never_end, diary), ["sleep"] * 10)
        until(lambda: len(set(diary.numbers()) - set(range(5))) >= 2)
        forever.close()
        assert pool.map(square, range(10), 1) == [n * n for n in range(10)]
