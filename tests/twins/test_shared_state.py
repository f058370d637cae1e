"""Value, Array, their raw forms, and shared_memory."""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import sys

import pytest

from .support import LIMIT, answer_of, started

NUMBERS = [
    ("c", b"x"),
    ("b", -128),
    ("B", 255),
    ("h", -(2**15)),
    ("H", 2**16 - 1),
    ("i", -(2**31)),
    ("I", 2**32 - 1),
    ("l", -(2**63)),
    ("L", 2**64 - 1),
    ("q", -(2**63)),
    ("Q", 2**64 - 1),
    ("f", 0.5),
    ("d", 3.14),
    (ctypes.c_bool, True),
    (ctypes.c_double, -2.5),
    (ctypes.c_longlong, 2**40),
]


def read(value):
    return value.value


def write(value, new):
    value.value = new


@pytest.mark.parametrize("code, number", NUMBERS)
@pytest.mark.parametrize("lock", [True, False])
def test_value_of_every_type(fork, code, number, lock):
    value = fork.Value(code, number, lock=lock)
    assert value.value == number
    assert answer_of(fork, read, value) == number


def test_value_starts_at_zero(fork):
    assert fork.Value("i").value == 0 and fork.Value("d").value == 0.0


def test_a_child_writes_what_its_parent_reads(ctx):
    for value in (ctx.Value("i", 1), ctx.Value("d", 1.0), ctx.Value("q", 1, lock=False), ctx.RawValue("i", 1)):
        with started(ctx, write, value, 42):
            pass
        assert value.value == 42


def test_overflow_and_wrong_types(fork):
    value = fork.Value("b", 0)
    value.value = 200  # as in C
    assert value.value == -56
    with pytest.raises(TypeError):
        value.value = "text"
    with pytest.raises(TypeError):
        value.value = 1.5
    assert value.value == -56


def add(value, n):
    for _ in range(n):
        with value.get_lock():
            value.value += 1


def test_adding_under_the_lock(ctx):
    value = ctx.Value("i", 0)
    with started(ctx, add, value, 2000), started(ctx, add, value, 2000):
        pass
    assert value.value == 4000


def test_the_lock_of_a_value(fork):
    given = fork.Lock()
    value = fork.Value("i", 0, lock=given)
    assert value.get_lock() is given
    assert value.acquire() is True
    value.release()
    with fork.Value("i", 3) as held:
        assert held is True or held is not None
    plain = fork.Value("i", 0, lock=False)
    assert not hasattr(plain, "get_lock")
    with pytest.raises(AttributeError):
        fork.Value("i", 0, lock=7)


def test_what_programs_reach_into(fork):
    for held in fork.Value("i", 5), fork.Array("i", [5]):
        assert held._lock is held.get_lock() and held._obj is held.get_obj()
        with held._lock:
            pass


def fill(array, numbers):
    for i, number in enumerate(numbers):
        array[i] = number


def listed(array):
    return list(array)


def test_array(ctx):
    array = ctx.Array("i", [1, 2, 3, 4])
    assert len(array) == 4 and list(array) == [1, 2, 3, 4] and array[1:3] == [2, 3] and array[-1] == 4
    assert answer_of(ctx, listed, array) == [1, 2, 3, 4]
    with started(ctx, fill, array, [10, 20, 30, 40]):
        pass
    assert array[:] == [10, 20, 30, 40]
    array[1:3] = [7, 8]
    assert array[:] == [10, 7, 8, 40]


def test_array_of_a_length_is_zeroed(fork):
    assert fork.Array("d", 5)[:] == [0.0] * 5
    assert fork.RawArray("h", 3)[:] == [0, 0, 0]
    with pytest.raises(IndexError):
        fork.Array("i", 2)[2]


def test_array_of_characters(fork):
    array = fork.Array("c", b"hello")
    assert array.value == b"hello" and array.raw == b"hello"
    array.value = b"bye"
    assert array.value == b"bye" and array.raw == b"bye\0o"


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


def move(point, points):
    with points.get_lock():
        for p in points:
            p.x += 1
    point.y = 9.5


def test_structures(ctx):
    point, points = ctx.Value(Point, 3, 4.5), ctx.Array(Point, [(1, 0.0), (2, 0.0)])
    assert (point.x, point.y) == (3, 4.5)
    with started(ctx, move, point, points):
        pass
    assert point.y == 9.5 and [p.x for p in points] == [2, 3]


def test_sharedctypes_functions(mp):
    sharedctypes = importlib.import_module(mp.__name__ + ".sharedctypes")
    original = sharedctypes.RawValue(Point, 1, 2.0)
    copied = sharedctypes.copy(original)
    original.x = 100
    assert (copied.x, copied.y) == (1, 2.0)
    guarded = sharedctypes.synchronized(copied)
    guarded.x = 5
    assert copied.x == 5 and guarded.get_obj() is copied


# -------------------------------------------------------------------------------------------------- shared_memory


def write_block(package, name):
    shared_memory = importlib.import_module(package + ".shared_memory")
    block = shared_memory.SharedMemory(name=name)
    block.buf[:5] = b"child"
    block.close()


def test_shared_memory(ctx, mp):
    shared_memory = importlib.import_module(mp.__name__ + ".shared_memory")
    block = shared_memory.SharedMemory(create=True, size=100)
    try:
        assert block.size >= 100
        with started(ctx, write_block, mp.__name__, block.name):
            pass
        assert bytes(block.buf[:5]) == b"child"
    finally:
        block.close()
        block.unlink()
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(name=block.name)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_leaves_shared_memory_to_its_parent(mp, method, tmp_path):
    """It uses its parent's resource tracker, if there is one. Its own tracker would remove the block at its end, with a
    warning."""
    program = tmp_path / "program.py"
    program.write_text(f"""if True:
        import {mp.__name__} as mp
        from {mp.__name__} import shared_memory
        def child(name):
            block = shared_memory.SharedMemory(name=name)
            block.buf[:5] = b"child"
            block.close()
        if __name__ == "__main__":
            block = shared_memory.SharedMemory(create=True, size=5)
            process = mp.get_context({method!r}).Process(target=child, args=(block.name,))
            process.start()
            process.join()
            print(bytes(block.buf[:5]))
            block.close()
            block.unlink()
    """)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=2 * LIMIT)
    assert (done.stdout, done.stderr) == ("b'child'\n", "")


def test_shared_memory_refuses_nonsense(mp):
    shared_memory = importlib.import_module(mp.__name__ + ".shared_memory")
    with pytest.raises(ValueError, match="positive"):
        shared_memory.SharedMemory(create=True, size=-1)
    with pytest.raises(ValueError, match="positive number different from zero"):
        shared_memory.SharedMemory(create=True, size=0)


def test_shareable_list(mp):
    shared_memory = importlib.import_module(mp.__name__ + ".shared_memory")
    numbers = shared_memory.ShareableList([1, 2.5, "three", b"four", None, True])
    try:
        again = shared_memory.ShareableList(name=numbers.shm.name)
        again[0] = 10
        assert list(numbers) == [10, 2.5, "three", b"four", None, True]
        again.shm.close()
    finally:
        numbers.shm.close()
        numbers.shm.unlink()
