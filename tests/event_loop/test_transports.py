"""What a program sees of a transport, compared with asyncio's own by the same program, and the cases in which
transports are known to lose data, descriptors or the end of a connection."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import re
import socket
import sys
import warnings

import pytest

import kettle.asyncio

from .conftest import until

BOTH = {"asyncio": asyncio.SelectorEventLoop, "kettle": kettle.asyncio.EventLoop}


def compared(program):
    """What `program` returns on each of the two loops, which must be the same."""
    results = {}
    for name, factory in BOTH.items():
        with asyncio.Runner(loop_factory=factory) as runner:
            results[name] = runner.run(program())
    assert results["kettle"] == results["asyncio"]
    return results["kettle"]


class Log(asyncio.Protocol):
    """Records what the transport calls."""

    def __init__(self):
        self.calls, self.data, self.transport, self.exc = [], b"", None, None

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data

    def eof_received(self):
        self.calls.append("eof")

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append(("lost", type(exc)))
        self.exc = exc


def is_lost(protocol):
    return any(call[0] == "lost" for call in protocol.calls)


async def accepted(factory=Log):
    """A protocol with a transport, and a blocking socket at the other end."""
    ours, theirs = socket.socketpair()
    transport, protocol = await asyncio.get_running_loop().connect_accepted_socket(factory, ours)
    theirs.settimeout(30)
    return transport, protocol, theirs


async def fill(transport):
    """Writes until something waits to be sent."""
    while not transport.get_write_buffer_size():
        transport.write(b"x" * 100_000)


# ---------------------------------------------------------------- what is shown


def test_what_a_transport_tells_of_itself_is_the_same():
    async def program():
        loop = asyncio.get_running_loop()
        protocols = []

        def factory():
            protocols.append(Log())
            return protocols[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, family=socket.AF_INET)
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(Log, *address)
        await until(lambda: protocols and protocols[0].transport)
        peer = protocols[0].transport
        told = []
        for one, other in ((transport, peer), (peer, transport)):
            assert one.get_extra_info("peername") == other.get_extra_info("sockname")
            sock = one.get_extra_info("socket")
            # Whether Nagle's algorithm is off.
            told.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            told += [type(sock).__name__, sock.family, sock.type, sock.proto, sock.gettimeout()]
            told += [sorted(one._extra), one.get_extra_info("nothing", 5), one._sock_fd == sock.fileno()]
            told += [re.sub(r"fd=\d+", "fd=N", repr(one)), one.get_write_buffer_limits(), one.can_write_eof()]
            told += [one.is_closing(), one.is_reading(), one.max_size, one.get_protocol() is one._protocol]
            told += [isinstance(one, asyncio.Transport), one.get_write_buffer_size(), one._loop is loop]
            told += [one._conn_lost, one._eof, one._paused, one._closing, one._server is server, one.__class__.__name__]
        transport.pause_reading()
        told += [transport.is_reading(), re.sub(r"fd=\d+", "fd=N", repr(transport))]
        transport.resume_reading()
        transport.resume_reading()
        told.append(transport.is_reading())
        transport.close()
        told += [transport.is_reading(), transport.is_closing(), re.sub(r"fd=\d+", "fd=N", repr(transport))]
        await until(lambda: is_lost(protocol) and is_lost(protocols[0]))
        told += [re.sub(r"fd=\d+", "fd=N", repr(transport)), transport._sock, transport.get_protocol()]
        told += [transport.get_extra_info("socket").fileno(), transport.get_write_buffer_size()]
        server.close()
        return told

    compared(program)


def test_unix_sockets_have_the_same_names(tmp_path):
    async def program():
        loop = asyncio.get_running_loop()
        protocols = []
        path = str(tmp_path / type(loop).__name__)
        server = await loop.create_unix_server(lambda: protocols.append(Log()) or protocols[-1], path)
        transport, _ = await loop.create_unix_connection(Log, path)
        await until(lambda: protocols and protocols[0].transport)
        peer = protocols[0].transport
        told = [transport.get_extra_info("sockname"), peer.get_extra_info("peername")]
        assert peer.get_extra_info("sockname") == transport.get_extra_info("peername") == path
        transport.close()
        peer.close()
        server.close()
        await until(lambda: is_lost(protocols[0]))
        return told

    compared(program)


# ---------------------------------------------------------------- each call in each state


def told_by(call, *args):
    try:
        return call(*args)
    except Exception as e:
        return type(e), str(e)


@pytest.mark.parametrize("state", ["open", "full", "ended", "ended full", "closing", "closing full", "lost", "aborted"])
def test_each_call_does_the_same_in_each_state(state, caplog):
    caplog.set_level(logging.CRITICAL, "asyncio")

    async def program():
        transport, protocol, other = await accepted()
        if "full" in state:
            await fill(transport)
        if "ended" in state:
            transport.write_eof()
        if "closing" in state:
            transport.close()
        if state == "aborted":
            transport.abort()
        if state == "lost":
            transport.close()
            await until(lambda: is_lost(protocol))
        told = []
        for data in (b"", b"a", bytearray(b"b"), memoryview(b"c"), memoryview(b"d..e")[::3]):
            if not (isinstance(data, memoryview) and not data.c_contiguous):
                told.append(told_by(transport.write, data))
        for wrong in (None, 5, "text"):
            told.append(told_by(transport.write, wrong))
        told.append(told_by(transport.write_eof))
        told.append(told_by(transport.is_closing))
        told.append(told_by(transport.is_reading))
        told.append(told_by(transport.can_write_eof))
        told.append(transport.get_write_buffer_size() > 0)
        told.append(told_by(transport.set_write_buffer_limits, 100, 200))
        if state != "lost":
            told.append(told_by(transport.pause_reading))
            told.append(told_by(transport.resume_reading))
        told.append(told_by(transport.close))
        told.append(told_by(transport.close))
        other.close()
        await until(lambda: is_lost(protocol))
        told += protocol.calls
        return told

    compared(program)


def test_writes_to_a_lost_connection_are_dropped_and_logged(caplog, loop):
    async def main():
        transport, protocol, other = await accepted()
        other.close()
        await until(lambda: is_lost(protocol))
        for _ in range(10):
            transport.write(b"x")
        transport.writelines([b"x"])
        assert transport.get_write_buffer_size() == 0

    loop.run_until_complete(main())
    assert [record.getMessage() for record in caplog.records].count("socket.send() raised exception.") >= 5


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize("reset", [False, True])
def test_the_end_of_the_peer_is_told_once(loop, reset):
    async def main():
        transport, protocol, other = await accepted()
        if reset:
            await fill(transport)
        other.close()
        await until(lambda: is_lost(protocol))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len([call for call in protocol.calls if call[0] == "lost"]) == 1
        assert (protocol.exc is not None) == reset

    loop.run_until_complete(main())


def test_a_half_closed_connection_still_writes(loop):
    class HalfOpen(Log):
        def eof_received(self):
            super().eof_received()
            return True

    async def main():
        transport, protocol, other = await accepted(HalfOpen)
        other.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in protocol.calls)
        # It is not read any more, and does not keep the loop busy.
        assert loop._kettle_handles(transport._sock_fd) is None
        transport.write(b"answer")
        assert other.recv(100) == b"answer"
        transport.write(b"last")
        transport.close()
        await until(lambda: is_lost(protocol))
        assert other.recv(100) == b"last"
        assert other.recv(100) == b""
        other.close()

    loop.run_until_complete(main())


def test_an_end_after_what_waits_to_be_sent(loop):
    async def main():
        transport, protocol, other = await accepted()
        await fill(transport)
        transport.write_eof()
        transport.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            transport.write(b"x")
        with pytest.raises(RuntimeError, match="write_eof"):
            transport.writelines([b"x"])
        other.setblocking(False)
        while True:
            try:
                if not other.recv(1 << 20):
                    break
            except BlockingIOError:
                await asyncio.sleep(0.001)
        assert not is_lost(protocol)
        other.send(b"still read")
        await until(lambda: protocol.data == b"still read")
        other.close()
        await until(lambda: is_lost(protocol))

    loop.run_until_complete(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_protocol_that_ends_when_it_may_write_again_is_told_once(loop, told, end):
    class Ending(Log):
        def resume_writing(self):
            super().resume_writing()
            getattr(self.transport, end)()

    async def main():
        transport, protocol, other = await accepted(Ending)
        transport.set_write_buffer_limits(high=0)
        await fill(transport)
        size = 0
        other.setblocking(False)
        while not is_lost(protocol):
            try:
                size += len(other.recv(1 << 20))
            except BlockingIOError:
                await asyncio.sleep(0.001)
        for _ in range(5):
            await asyncio.sleep(0)
        assert [call[0] for call in protocol.calls if call[0] == "lost"] == ["lost"]
        other.close()

    loop.run_until_complete(main())
    assert told == []


def test_a_socket_that_the_program_closed_ends_the_connection(loop):
    """Nothing is written to, or read from, another file that gets its number."""

    async def main():
        transport, protocol, other = await accepted()
        transport._sock.close()
        number = transport._sock_fd
        a, b = socket.socketpair()
        if number not in (a.fileno(), b.fileno()):
            os.dup2(a.fileno(), number)
        transport.write(b"stray")
        await until(lambda: is_lost(protocol))
        assert isinstance(protocol.exc, OSError)
        for sock in (a, b):
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
        a.close()
        b.close()
        with contextlib.suppress(OSError):  # it was the number of one of the two
            os.close(number)
        other.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_connection_that_cannot_be_watched_is_lost(loop, monkeypatch, direction):
    async def main():
        transport, protocol, other = await accepted()

        def refuse(*args):
            raise OSError(9, "refused")

        if direction == "read":
            transport.pause_reading()
            monkeypatch.setattr(loop, "_add_reader", refuse)
            transport.resume_reading()
        else:
            monkeypatch.setattr(loop, "_add_writer", refuse)
            await fill_until_lost(transport)
        await until(lambda: is_lost(protocol))
        assert [call[0] for call in protocol.calls if call[0] == "lost"] == ["lost"]
        assert isinstance(protocol.exc, OSError)
        other.close()

    async def fill_until_lost(transport):
        while not transport.is_closing():
            transport.write(b"x" * 100_000)

    loop.run_until_complete(main())


@pytest.mark.parametrize("where", ["connection_made", "data_received", "eof_received", "pause_writing"])
def test_an_exception_of_a_protocol_closes_each_descriptor_once(where):
    closed = []

    class Socket(socket.socket):
        def _real_close(self, *args):
            closed.append(self.fileno())
            super()._real_close(*args)

    class Failing(Log):
        pass

    def fail(self, *args):
        getattr(Log, where)(self, *args)
        raise RuntimeError("mine")

    setattr(Failing, where, fail)

    async def program():
        del closed[:]
        loop = asyncio.get_running_loop()
        told = []
        loop.set_exception_handler(lambda _, context: told.append((context["message"][:30], context["exception"].args)))
        ours, other = socket.socketpair()
        ours = Socket(ours.family, ours.type, ours.proto, ours.detach())
        transport, protocol = await loop.connect_accepted_socket(Failing, ours)
        other.send(b"x")
        if where == "eof_received":
            other.shutdown(socket.SHUT_WR)
        if where == "pause_writing":
            transport.set_write_buffer_limits(high=0)
            await fill(transport)
        await until(lambda: told)
        other.close()
        await until(lambda: is_lost(protocol))
        await asyncio.sleep(0)
        return told, protocol.calls, len(closed)

    told, _, times = compared(program)
    assert times == 1 and told[0][1] == ("mine",)


def test_what_is_thrown_away_unclosed_is_warned_of_and_closed():
    async def program():
        transport, protocol, other = await accepted()
        transport.pause_reading()
        transport.set_protocol(asyncio.Protocol())
        protocol.transport = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of other tests
            gc.collect()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del transport
            gc.collect()
        told = [(w.category, re.sub(r"fd=\d+", "fd=N", str(w.message))) for w in caught]
        assert other.recv(1) == b""
        other.close()
        return told

    told = compared(program)
    assert len(told) == 1 and told[0][0] is ResourceWarning


def test_a_closed_transport_is_freed_without_the_garbage_collector(loop):
    import weakref

    async def main():
        transport, protocol, other = await accepted()
        other.close()
        await until(lambda: is_lost(protocol))
        protocol.transport = None
        await asyncio.sleep(0)
        gone = weakref.ref(transport)
        del transport
        assert gone() is None

    gc.disable()
    try:
        loop.run_until_complete(main())
    finally:
        gc.enable()


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("size", [1, 1000, 40_000, 300_000, 3_000_000])
def test_all_sizes_arrive_whole(loop, size):
    async def main():
        transport, protocol, other = await accepted()
        data = os.urandom(size)
        sending = loop.run_in_executor(None, other.sendall, data * 3)
        await until(lambda: len(protocol.data) == 3 * size)
        await sending
        assert protocol.data == data * 3
        transport.close()
        other.close()

    loop.run_until_complete(main())


def test_the_size_of_reads_is_limited(loop):
    class Sizes(Log):
        def data_received(self, data):
            super().data_received(data)
            self.calls.append(len(data))

    async def main():
        transport, protocol, other = await accepted(Sizes)
        transport.max_size = 10
        other.send(b"x" * 95)
        await until(lambda: len(protocol.data) == 95)
        assert protocol.calls == ["made", *[10] * 9, 5]
        transport.close()
        other.close()

    loop.run_until_complete(main())


class Filled(asyncio.BufferedProtocol):
    """Supplies the memory for what is read."""

    def __init__(self, memory=None):
        self.calls, self.data, self.exc = [], b"", None
        self.memory = bytearray(1000) if memory is None else memory

    def get_buffer(self, hint):
        assert hint == -1
        return self.memory

    def buffer_updated(self, count):
        self.data += self.memory[:count]
        if isinstance(self.memory, bytearray):
            self.memory += b"x"  # nothing holds it now

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.calls.append(("lost", type(exc)))
        self.exc = exc


def test_reads_into_memory_of_the_protocol(loop):
    async def main():
        _, protocol, other = await accepted(Filled)
        data = os.urandom(100_000)
        sending = loop.run_in_executor(None, other.sendall, data)
        await until(lambda: len(protocol.data) == len(data))
        await sending
        assert protocol.data == data
        other.close()
        await until(lambda: is_lost(protocol))
        assert protocol.calls == ["eof", ("lost", type(None))]

    loop.run_until_complete(main())


@pytest.mark.parametrize("memory", [bytearray(), b"read-only", 5, None])
def test_unusable_memory_ends_the_connection(memory):
    class Unusable(Filled):
        def get_buffer(self, hint):
            if memory is None:
                raise RuntimeError("mine")
            return memory

    async def program():
        told = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append((context["message"], type(context["exception"]))))
        _, protocol, other = await accepted(Unusable)
        other.send(b"x")
        await until(lambda: is_lost(protocol))
        other.close()
        return told, protocol.calls

    compared(program)


def test_a_protocol_can_be_replaced_by_one_of_the_other_kind(loop):
    async def main():
        transport, first, other = await accepted()
        other.send(b"one")
        await until(lambda: first.data == b"one")
        second, third = Filled(), Log()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        other.send(b"two")
        await until(lambda: second.data == b"two")
        transport.set_protocol(third)
        other.send(b"three")
        await until(lambda: third.data == b"three")
        # A method that was replaced is called too.
        came = []
        third.data_received = came.append
        other.send(b"four")
        await until(lambda: came == [b"four"])
        transport.close()
        await until(lambda: is_lost(third))
        other.close()

    loop.run_until_complete(main())


def test_nothing_is_read_while_reading_is_paused(loop):
    class Pausing(Log):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        transport, protocol, other = await accepted(Pausing)
        transport.max_size = 4
        other.send(b"abcdefgh")
        await until(lambda: protocol.data)
        for _ in range(20):
            await asyncio.sleep(0)
        assert protocol.data == b"abcd"
        transport.resume_reading()
        await until(lambda: protocol.data == b"abcdefgh")
        transport.close()
        other.close()

    loop.run_until_complete(main())


def test_a_flood_does_not_keep_others_waiting(loop):
    """Each connection is read once, and then the next."""
    order = []

    class Marked(Log):
        name = ""

        def data_received(self, data):
            order.append(self.name)

    async def main():
        pairs = [await accepted(Marked) for _ in range(4)]
        for (transport, protocol, other), name in zip(pairs, "abcd", strict=True):
            protocol.name = name
            transport.max_size = 100
            other.send(b"x" * (100_000 if name == "a" else 1000))
        await until(lambda: order.count("d") == 10)
        # In the time of ten reads of the others, there were about ten of the flood.
        last = max(i for i, name in enumerate(order) if name != "a")
        assert order[:last].count("a") <= 12
        for transport, _, other in pairs:
            transport.abort()
            other.close()

    loop.run_until_complete(main())


def test_callbacks_run_in_the_context_of_their_connection(loop):
    variable = contextvars.ContextVar("variable")
    seen = []

    class Contextual(Log):
        def __init__(self, number):
            super().__init__()
            variable.set(number)
            self.number = number

        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append((self.number, variable.get()))

        def data_received(self, data):
            seen.append((self.number, variable.get()))

    async def main():
        numbers = iter(range(3))
        variable.set("outside")
        server = await loop.create_server(lambda: Contextual(next(numbers)), "127.0.0.1", 0)
        for _ in range(3):
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x")
            writer.close()
        await until(lambda: len(seen) == 6)
        assert variable.get() == "outside"
        server.close()

    loop.run_until_complete(main())
    assert all(number == value for number, value in seen)


# ---------------------------------------------------------------- writing


def test_parts_and_views_of_all_kinds_arrive_in_order(loop):
    class Bytes(bytes):
        pass

    async def main():
        transport, protocol, other = await accepted()
        expected, came = b"", b""
        other.setblocking(False)
        for n in range(300):
            data = bytes([n % 251]) * (n * 37)
            kind = n % 6
            expected += data[::2] if kind == 4 else data
            if kind == 5:
                transport.writelines([data[:10], bytearray(data[10:20]), memoryview(data[20:])])
            else:
                made = (bytes, bytearray, memoryview, Bytes, lambda data: memoryview(data)[::2])[kind](data)
                transport.write(made)
            if kind == 1:
                made[:] = bytes(len(made))
        transport.close()
        while len(came) < len(expected):
            try:
                came += other.recv(1 << 20)
            except BlockingIOError:
                await asyncio.sleep(0)
        assert came == expected
        await until(lambda: is_lost(protocol))
        other.close()

    loop.run_until_complete(main())


def test_many_small_writes_wait_and_arrive(loop):
    async def main():
        transport, protocol, other = await accepted()
        await fill(transport)
        waiting = transport.get_write_buffer_size()
        for n in range(100_000):
            transport.write(b"%6d" % n)
        assert transport.get_write_buffer_size() == waiting + 600_000
        assert protocol.calls.count("pause") == 1
        transport.close()
        came = bytearray()
        other.setblocking(False)
        while not is_lost(protocol):
            try:
                came += other.recv(1 << 20)
            except BlockingIOError:
                await asyncio.sleep(0)
        other.setblocking(True)
        while more := other.recv(1 << 20):
            came += more
        assert came[-600_000:] == b"".join(b"%6d" % n for n in range(100_000))
        other.close()

    loop.run_until_complete(main())


def test_a_buffer_may_be_resized_when_the_protocol_is_paused(loop):
    data = bytearray(b"x" * 5_000_000)

    class Resizing(Log):
        def pause_writing(self):
            super().pause_writing()
            data.clear()

    async def main():
        transport, protocol, other = await accepted(Resizing)
        transport.write(data)
        assert protocol.calls == ["made", "pause"] and not data
        transport.abort()
        other.close()

    loop.run_until_complete(main())


def test_a_file_is_sent_between_writes(loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"f" * 500_000)

    async def main():
        transport, _, other = await accepted()
        other.setblocking(False)
        came = bytearray()

        async def receive():
            while more := await loop.sock_recv(other, 1 << 16):
                came.extend(more)

        await fill(transport)
        receiving = loop.create_task(receive())
        with path.open("rb") as file:
            sending = loop.create_task(loop.sendfile(transport, file))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="sendfile"):
                transport.write(b"x")
            assert await sending == 500_000
        transport.write(b"after")
        transport.close()
        await receiving
        assert came.endswith(b"f" * 500_000 + b"after") and came.startswith(b"x")
        other.close()

    loop.run_until_complete(main())


# ---------------------------------------------------------------- servers


def test_many_connections_at_once_are_accepted(loop):
    async def main():
        protocols = []
        server = await loop.create_server(lambda: protocols.append(Log()) or protocols[-1], "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = await asyncio.gather(*(loop.create_connection(Log, *address) for _ in range(50)))
        await until(lambda: len(protocols) == 50 and all(p.transport for p in protocols))
        names = {transport.get_extra_info("sockname") for transport, _ in clients}
        assert {p.transport.get_extra_info("peername") for p in protocols} == names
        for transport, _ in clients:
            transport.close()
        await until(lambda: all(map(is_lost, protocols)))
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_server_closed_while_it_waits_for_descriptors_stays_closed(loop, told, monkeypatch):
    import kettle.asyncio._connections as connections

    monkeypatch.setattr(connections, "_RETRY_DELAY", 0.001)
    exhausted = OSError(24, "Too many open files")

    class Native:
        @staticmethod
        def accept(number):
            raise exhausted

    monkeypatch.setattr(connections, "native", Native)

    async def main():
        server = await loop.create_server(Log, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        await until(lambda: len(told) >= 2)
        server.close()
        count = len(told)
        await asyncio.sleep(0.01)
        assert len(told) == count
        client.close()

    loop.run_until_complete(main())
    assert {context["exception"] for context in told} == {exhausted}


def test_in_debug_mode_the_failure_of_a_factory_is_told(loop, told):
    loop.set_debug(True)

    def factory():
        raise ValueError("mine")

    async def main():
        server = await loop.create_server(factory, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        server.close()

    loop.run_until_complete(main())
    assert [context["message"] for context in told] == ["Error on transport creation for incoming connection"]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="servers close their clients since 3.13")
@pytest.mark.parametrize("end", ["close_clients", "abort_clients"])
def test_a_server_ends_its_clients(loop, end):
    async def main():
        protocols = []
        server = await loop.create_server(lambda: protocols.append(Log()) or protocols[-1], "127.0.0.1", 0)
        _, client = await loop.create_connection(Log, *server.sockets[0].getsockname())
        await until(lambda: protocols and protocols[0].transport)
        server.close()
        getattr(server, end)()
        await server.wait_closed()
        await until(lambda: is_lost(client))
        assert is_lost(protocols[0])

    loop.run_until_complete(main())
