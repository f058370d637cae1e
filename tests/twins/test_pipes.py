"""Pipe, Connection, wait, Listener and Client."""

from __future__ import annotations

import importlib
import os
import select
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

from .support import LIMIT, answer_of, started


@pytest.fixture
def connection(mp):
    return importlib.import_module(mp.__name__ + ".connection")


@pytest.fixture
def pipe(fork):
    ours, theirs = fork.Pipe()
    with ours, theirs:
        yield ours, theirs


def echo(end):
    while (value := end.recv()) != "stop":
        end.send(value)


def test_there_and_back(ctx):
    ours, theirs = ctx.Pipe()
    with started(ctx, echo, theirs):
        theirs.close()
        for value in (None, 1, "two", [3.0], {"four": b"4"}, "5" * 200_000, b"6" * 5_000_000):
            ours.send(value)
            assert ours.poll(LIMIT) and ours.recv() == value
        ours.send("stop")
    ours.close()


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 65535, 65536, 65537, 1 << 20, (1 << 24) + 3])
def test_bytes_of_every_size(fork, size):
    reader, writer = fork.Pipe(duplex=False)
    data = os.urandom(min(size, 1000)) * (size // 1000 + 1)
    data = data[:size]
    sender = threading.Thread(target=writer.send_bytes, args=(data,))
    sender.start()
    assert reader.poll(LIMIT) and reader.recv_bytes() == data
    sender.join()
    reader.close()
    writer.close()


def test_a_pipe_of_one_direction(fork):
    reader, writer = fork.Pipe(duplex=False)
    assert (reader.readable, reader.writable) == (True, False)
    assert (writer.readable, writer.writable) == (False, True)
    with pytest.raises(OSError, match="connection is read-only"):
        reader.send(1)
    with pytest.raises(OSError, match="connection is write-only"):
        writer.recv()
    with pytest.raises(OSError, match="connection is write-only"):
        writer.poll()
    reader.close()
    writer.close()


def test_end_of_file(pipe):
    ours, theirs = pipe
    theirs.send("last")
    theirs.close()
    assert ours.recv() == "last"
    assert ours.poll(0) is True  # at its end, where a recv would not block
    with pytest.raises(EOFError):
        ours.recv()
    with pytest.raises(OSError):
        ours.send(1)


def test_writing_without_a_reader(fork):
    reader, writer = fork.Pipe(duplex=False)
    reader.close()
    with pytest.raises(BrokenPipeError):
        writer.send(1)
    writer.close()


def test_end_of_file_when_the_other_process_ends(ctx):
    ours, theirs = ctx.Pipe()
    with started(ctx, send_one, theirs):
        theirs.close()
        assert ours.recv() == "one"
        with pytest.raises(EOFError):
            ours.recv()
    ours.close()


def send_one(end):
    end.send("one")


def test_poll(pipe):
    ours, theirs = pipe
    assert ours.poll() is False and ours.poll(0) is False and ours.poll(-1) is False
    begun = time.monotonic()
    assert ours.poll(0.05) is False
    assert time.monotonic() - begun >= 0.045  # the standard library's select has a resolution of milliseconds
    theirs.send(1)
    assert ours.poll() is True and ours.poll(None) is True
    ours.recv()
    assert ours.poll() is False


def test_a_closed_end(fork):
    ours, theirs = fork.Pipe()
    assert not ours.closed
    ours.close()
    ours.close()
    assert ours.closed
    for use in (lambda: ours.send(1), ours.recv, ours.poll, ours.fileno, lambda: ours.send_bytes(b""), ours.recv_bytes):
        with pytest.raises(OSError, match="handle is closed"):
            use()
    theirs.close()


def test_as_context_manager(fork):
    ours, theirs = fork.Pipe()
    with ours as same:
        assert same is ours
    assert ours.closed
    theirs.close()


def test_send_bytes_of_a_part(pipe):
    ours, theirs = pipe
    data = b"0123456789"
    for arguments, part in (((3,), b"3456789"), ((3, 4), b"3456"), ((0, 0), b""), ((10,), b"")):
        ours.send_bytes(data, *arguments)
        assert theirs.recv_bytes() == part
    for wrong, message in (
        ((-1,), "offset is negative"),
        ((11,), "buffer length < offset"),
        ((0, -1), "size is negative"),
        ((4, 7), "buffer length < offset \\+ size"),
    ):
        with pytest.raises(ValueError, match=message):
            ours.send_bytes(data, *wrong)
    ours.send_bytes(memoryview(data)[::1])
    assert theirs.recv_bytes() == data
    with pytest.raises(TypeError):
        ours.send_bytes("text")


def test_recv_bytes_with_a_limit(fork):
    ours, theirs = fork.Pipe()
    ours.send_bytes(b"12345")
    assert theirs.recv_bytes(5) == b"12345"
    with pytest.raises(ValueError, match="negative maxlength"):
        theirs.recv_bytes(-1)
    ours.send_bytes(b"123456")
    with pytest.raises(OSError):
        theirs.recv_bytes(5)
    for end in (ours, theirs):
        end.close()


def test_recv_bytes_into(mp, pipe):
    ours, theirs = pipe
    buffer = bytearray(10)
    ours.send_bytes(b"abc")
    assert theirs.recv_bytes_into(buffer) == 3 and buffer == b"abc" + bytes(7)
    ours.send_bytes(b"de")
    assert theirs.recv_bytes_into(buffer, 8) == 2 and buffer == b"abc" + bytes(5) + b"de"
    ours.send_bytes(b"too long for it")
    with pytest.raises(mp.BufferTooShort) as caught:
        theirs.recv_bytes_into(buffer)
    assert caught.value.args == (b"too long for it",)
    with pytest.raises(ValueError, match="negative offset"):
        theirs.recv_bytes_into(buffer, -1)
    with pytest.raises(ValueError, match="offset too large"):
        theirs.recv_bytes_into(buffer, 11)


def test_what_cannot_be_pickled_fails_in_send_and_sends_nothing(pipe):
    ours, theirs = pipe
    with pytest.raises(TypeError, match="cannot pickle"):
        ours.send(threading.Lock())
    assert not theirs.poll(0)
    ours.send("fine")
    assert theirs.recv() == "fine"


def test_a_connection_travels_through_a_connection(ctx):
    ours, theirs = ctx.Pipe()
    inner, outer = ctx.Pipe()
    with started(ctx, answer_on_what_arrives, theirs):
        ours.send(outer)
        assert inner.poll(LIMIT) and inner.recv() == "through the one that travelled"
    for end in (ours, theirs, inner, outer):
        end.close()


def answer_on_what_arrives(end):
    with end.recv() as arrived:
        arrived.send("through the one that travelled")


def test_stream_framing_on_foreign_descriptors(connection):
    # What a program sees that implements the documented framing (length, then bytes) on a pipe or socket.
    ours, theirs = socket.socketpair()
    end = connection.Connection(ours.detach())
    theirs.sendall(struct.pack("!i", 5) + b"hello")
    assert end.recv_bytes() == b"hello"
    end.send_bytes(b"back")
    assert theirs.recv(100) == struct.pack("!i", 4) + b"back"
    end.close()
    theirs.close()


def test_constructor_refuses_nonsense(connection):
    with pytest.raises(ValueError, match="invalid handle"):
        connection.Connection(-1)
    with pytest.raises(ValueError, match="at least one of `readable` and `writable` must be True"):
        connection.Connection(0, readable=False, writable=False)


# ----------------------------------------------------------------------------------------------------------- wait


def test_wait_tells_which_are_ready(fork, connection):
    pipes = [fork.Pipe() for _ in range(3)]
    readers = [r for r, _ in pipes]
    assert connection.wait(readers, 0) == []
    pipes[1][1].send("x")
    assert connection.wait(readers, LIMIT) == [readers[1]]
    pipes[2][1].close()
    assert set(connection.wait(readers, LIMIT)) == {readers[1], readers[2]}
    for ours, theirs in pipes:
        ours.close()
        theirs.close()


def test_wait_on_a_mix(fork, connection):
    ours, theirs = fork.Pipe()
    a, b = socket.socketpair()
    child = fork.Process(target=send_one, args=(theirs,))
    child.start()
    child.join(LIMIT)
    a.send(b"x")
    ready = connection.wait([ours, b, child.sentinel], LIMIT)
    assert set(ready) == {ours, b, child.sentinel}
    for thing in (ours, theirs, a, b, child):
        thing.close()


def test_wait_takes_its_time(fork, connection):
    ours, theirs = fork.Pipe()
    begun = time.monotonic()
    assert connection.wait([ours], 0.1) == []
    assert time.monotonic() - begun >= 0.095
    ours.close()
    theirs.close()


# ----------------------------------------------------------------------------------------------- Listener, Client


def dial(package, address, family):
    connection = importlib.import_module(package + ".connection")
    with connection.Client(address, family, authkey=b"secret") as end:
        end.send("hello")
        return end.recv()


@pytest.mark.parametrize("family, address", [("AF_UNIX", None), ("AF_INET", ("127.0.0.1", 0))])
def test_listener_and_client(fork, mp, connection, family, address):
    answers = []
    with connection.Listener(address, family, authkey=b"secret") as listener:
        dialler = threading.Thread(
            target=lambda: answers.append(answer_of(fork, dial, mp.__name__, listener.address, family))
        )
        dialler.start()
        with listener.accept() as end:
            assert end.recv() == "hello"
            end.send("welcome")
            dialler.join(LIMIT)
    assert answers == ["welcome"]


def test_the_wrong_key_is_refused(mp, connection):
    refusals = []

    def dial_with_the_wrong_key():
        try:
            connection.Client(listener.address, authkey=b"wrong")
        except mp.AuthenticationError as error:
            refusals.append(error)

    with connection.Listener(authkey=b"right") as listener:
        dialler = threading.Thread(target=dial_with_the_wrong_key)
        dialler.start()
        with pytest.raises(mp.AuthenticationError):
            listener.accept()
        dialler.join(LIMIT)
    assert len(refusals) == 1


# ------------------------------------------------------------------------- more than the system has room for

SMALL = 6_000  # fit into a pipe of the standard library's, if it is one way


def result(number, size):
    return (number, "x" * size) if size else number % 251


def send_results(end, size):
    for number in range(SMALL):
        end.send(result(number, size))
    end.close()


def test_small_results_that_are_read_when_all_were_sent(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    child = ctx.Process(target=send_results, args=(writer, 0))
    child.start()
    writer.close()
    child.join(LIMIT)  # it hung here, if there was less room
    assert child.exitcode == 0
    assert [reader.recv() for _ in range(SMALL)] == [result(number, 0) for number in range(SMALL)]
    with pytest.raises(EOFError):
        reader.recv()
    reader.close()


@pytest.mark.parametrize("size", [0, 1000, 3000])
def test_one_that_sends_much_and_one_that_waits_for_the_descriptor(ctx, connection, size):
    reader, writer = ctx.Pipe(duplex=False)
    with started(ctx, send_results, writer, size):
        writer.close()
        for number in range(SMALL):
            assert connection.wait([reader], LIMIT) == [reader] and select.select([reader], [], [], 0)[0] == [reader]
            assert reader.recv() == result(number, size)
        assert reader.poll(LIMIT)
        with pytest.raises(EOFError):
            reader.recv()
    reader.close()


# --------------------------------------------------------------- the ends as descriptors, which carry bytes


SIZE = 100_000


def print_lines(end):
    os.dup2(end.fileno(), 1)
    os.write(1, b"".join(b"%099d\n" % n for n in range(SIZE // 100)))  # at once, like a compiler


@pytest.fixture(params=[False, True], ids=["one way", "duplex"])
def ends(fork, request):
    """One end to read from and one to write to."""
    reader, writer = fork.Pipe(request.param)
    with reader, writer:
        yield reader, writer


@pytest.mark.parametrize("buffering", [0, 1, -1])
def test_lines_of_a_child_whose_output_goes_into_an_end(fork, ends, buffering):
    reader, writer = ends
    with started(fork, print_lines, writer):
        writer.close()
        with os.fdopen(os.dup(reader.fileno()), "r" if buffering == 1 else "rb", buffering) as lines:
            assert [int(line) for line in lines] == list(range(SIZE // 100))


def test_a_program_reads_from_an_end_and_writes_to_one(fork, ends):
    reader, writer = ends
    back, out = fork.Pipe(duplex=False)
    with back, out:
        program = subprocess.Popen(["cat"], stdin=reader, stdout=out)
        reader.close()
        out.close()
        text = bytes(range(256)) * 40
        for _ in range(10):
            os.write(writer.fileno(), text)
        writer.close()
        with os.fdopen(os.dup(back.fileno()), "rb") as came:
            assert came.read() == text * 10
        assert program.wait(LIMIT) == 0


def test_reads_in_parts(ends):
    reader, writer = (end.fileno() for end in ends)
    os.write(writer, bytes(range(200)) * 5)
    assert b"".join(os.read(reader, 7) for _ in range(142)) + os.read(reader, 100) == bytes(range(200)) * 5
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    assert select.select([reader], [], [], 0)[0] == []
    os.write(writer, b"x")
    assert select.select([reader], [], [], LIMIT)[0] == [reader]
    assert os.read(reader, 100) == b"x"
    ends[1].close()
    assert select.select([reader], [], [], LIMIT)[0] == [reader]
    assert os.read(reader, 1) == b""


def test_sendfile_into_an_end(ends):
    reader, writer = ends
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789" * 500)
        file.flush()
        assert os.sendfile(writer.fileno(), file.fileno(), 10, 4000) == 4000
    writer.close()
    with os.fdopen(os.dup(reader.fileno()), "rb") as came:
        assert came.read() == b"0123456789" * 400


def test_bytes_and_then_messages(ends):
    reader, writer = ends
    os.write(writer.fileno(), b"READY\n")
    writer.send(["a message", "x" * 5000, "x" * 30_000])
    assert os.read(reader.fileno(), 6) == b"READY\n"
    assert reader.recv() == ["a message", "x" * 5000, "x" * 30_000]
