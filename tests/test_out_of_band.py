"""NumPy arrays and other buffers: one copy in, none out, writable, and the memory is returned with the last view."""

from __future__ import annotations

import gc
import os
import pickle
import signal

import pytest

import kettle.multiprocessing as mp
from kettle import _native

np = pytest.importorskip("numpy")

LIMIT = 30
MEGABYTE = 1 << 20


def used() -> int:
    gc.collect()
    _native.reclaim()
    return _native.arena_statistics()["allocated_bytes"]


def comes_back_to(level: int) -> None:
    """The arena's use returns to about `level`: bookkeeping may stay, a large block may not."""
    import time

    deadline = time.monotonic() + LIMIT
    while used() > level + 60_000:
        assert time.monotonic() < deadline, f"{used() - level} bytes more than before"
        time.sleep(0.01)


def array(n=MEGABYTE // 8):
    return np.arange(n, dtype=np.int64)


def through_queue(obj):
    q = mp.Queue()
    q.put(obj)
    return q.get(timeout=LIMIT)


def through_simple_queue(obj):
    q = mp.SimpleQueue()
    q.put(obj)
    return q.get()


def through_pipe(obj):
    ours, theirs = mp.Pipe()
    with ours, theirs:
        ours.send(obj)
        return theirs.recv()


@pytest.fixture(params=[through_queue, through_simple_queue, through_pipe])
def through(request):
    return request.param


@pytest.mark.parametrize("nbytes", [0, 8, 4096, 65528, 65536, 65544, MEGABYTE, 8 * MEGABYTE + 8])
def test_content_and_kind(through, nbytes):
    sent = array(nbytes // 8)
    got = through(sent)
    assert got.dtype == sent.dtype and got.shape == sent.shape and np.array_equal(got, sent)
    assert got.flags.writeable and got.flags.aligned
    got += 1
    assert np.array_equal(got, sent + 1) and np.array_equal(sent, array(nbytes // 8))


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.asfortranarray(array().reshape(256, -1)),
        lambda: array().reshape(64, 32, -1)[:, ::2, ::-1],
        lambda: np.zeros(100_000, dtype=[("a", "i4"), ("b", "f8")]),
        lambda: np.array(["text"] * 50_000),
        lambda: np.array([{"an": "object"}] * 1000, dtype=object),
        lambda: np.ma.masked_array(array(), mask=array() % 2 == 0),
        lambda: np.float64(1.5),
    ],
)
def test_arrays_of_every_kind(through, make):
    sent = make()
    got = through(sent)
    assert type(got) is type(sent) and got.dtype == sent.dtype
    assert np.array_equal(got, sent)


def test_several_in_one_message(through):
    got = through(
        {"large": array(), "small": array(10), "again": [array(20_000), array(30_000)], "text": "x" * 100_000}
    )
    assert np.array_equal(got["large"], array()) and np.array_equal(got["small"], array(10))
    assert [len(a) for a in got["again"]] == [20_000, 30_000] and got["text"] == "x" * 100_000


def test_one_array_twice_in_a_message_stays_one(through):
    sent = array()
    first, second = through([sent, sent])
    first[0] = -1
    assert second[0] == -1


def test_a_read_only_array_stays_what_numpy_makes_of_it(through):
    sent = array()
    sent.flags.writeable = False
    got = through(sent)
    assert np.array_equal(got, sent)
    assert got.flags.writeable == pickle.loads(pickle.dumps(sent, 5)).flags.writeable


def test_other_buffers(through):
    got = through(pickle.PickleBuffer(bytearray(b"x" * 200_000)))
    assert bytes(memoryview(got)) == b"x" * 200_000


def test_large_arrays_are_not_copied_out():
    got = through_queue(array())
    assert not got.flags.owndata
    assert through_queue(array(100)).nbytes == 800


def test_memory_returns_with_the_last_view(through):
    through(array())
    level = used()
    got = through(array())
    assert used() >= level + MEGABYTE
    part = got[1000:2000]
    del got
    assert used() >= level + MEGABYTE
    assert part[0] == 1000
    del part
    comes_back_to(level)


def test_views_of_different_messages_do_not_overlap():
    arrays = [through_queue(np.full(20_000, n)) for n in range(20)]
    for n, got in enumerate(arrays):
        assert (got == n).all()
    del arrays[::2]
    gc.collect()
    more = [through_queue(np.full(20_000, 100 + n)) for n in range(20)]
    assert all((got == 1 + 2 * n).all() for n, got in enumerate(arrays))
    assert all((got == 100 + n).all() for n, got in enumerate(more))


def test_messages_never_taken_are_given_back():
    through_queue(array())
    level = used()
    q = mp.Queue()
    for _ in range(5):
        q.put(array())
    assert used() >= level + 5 * MEGABYTE
    del q
    comes_back_to(level)


def take_and_wait(q, connection):
    got = q.get()
    connection.send(int(got[-1]))
    connection.poll(None)
    del got


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("end", ["in good order", "killed"])
def test_memory_returns_when_its_holder_ends(method, end):
    ctx = mp.get_context(method)
    q = ctx.Queue()
    q.put(array())
    q.get()
    level = used()
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=take_and_wait, args=(q, theirs))
    child.start()
    q.put(array())
    assert ours.poll(LIMIT) and ours.recv() == MEGABYTE // 8 - 1
    assert used() >= level + MEGABYTE
    if end == "killed":
        os.kill(child.pid, signal.SIGKILL)
    else:
        ours.send("go")
    child.join(LIMIT)
    child.close()
    ours.close()
    theirs.close()
    comes_back_to(level)


def keep_and_check(view, connection):
    connection.recv()  # the parent's view is gone now, so its memory could have been reused
    connection.send(bool((view == array()).all()) and view.flags.writeable)
    connection.poll(None)


@pytest.mark.parametrize("end", ["in good order", "killed"])
def test_a_view_kept_across_fork(end):
    ctx = mp.get_context("fork")
    got = through_queue(array())
    level = used() - MEGABYTE
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=keep_and_check, args=(got, theirs))
    child.start()
    child._args = ()  # the Process object would keep this process's view
    del got
    noise = [through_queue(np.full(MEGABYTE // 8, -7)) for _ in range(8)]
    ours.send("look")
    assert ours.poll(LIMIT) and ours.recv() is True
    del noise
    if end == "killed":
        os.kill(child.pid, signal.SIGKILL)
    else:
        ours.send("go")
    child.join(LIMIT)
    child.close()
    ours.close()
    theirs.close()
    comes_back_to(level)


def fork_bare(view):
    """A process that no library started: any fork counts its views."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0 if (view == array()).all() else 1)
    os.close(read)
    return pid, write


def test_a_view_kept_across_a_bare_fork():
    got = through_queue(array())
    pid, gate = fork_bare(got)
    del got
    gc.collect()
    noise = [through_queue(np.full(MEGABYTE // 8, -7)) for _ in range(8)]
    os.write(gate, b"x")
    os.close(gate)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    del noise


def send_back(inbox, outbox):
    outbox.put(inbox.get())


def test_a_received_array_can_be_sent_on():
    ctx = mp.get_context("fork")
    to, back = ctx.Queue(), ctx.Queue()
    child = ctx.Process(target=send_back, args=(to, back))
    child.start()
    to.put(array())
    assert np.array_equal(back.get(timeout=LIMIT), array())
    child.join(LIMIT)
    child.close()


def test_the_array_outlives_its_queue_and_connection(through):
    got = through(array())
    gc.collect()
    assert np.array_equal(got, array())
