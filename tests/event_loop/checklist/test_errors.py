"""What becomes of exceptions, and debug mode."""

import asyncio
import logging

import pytest

from ..conftest import turn, until


@pytest.fixture
def told(loop):
    contexts = []
    loop.set_exception_handler(lambda given, context: contexts.append((given, context)))
    return contexts


def fails():
    raise ZeroDivisionError("tea")


def test_the_exception_handler(loop, told):
    handle = loop.call_soon(fails)
    turn(loop)
    ((given, context),) = told
    assert given is loop
    assert (type(context["exception"]), context["handle"]) == (ZeroDivisionError, handle)
    assert "Exception in callback fails" in context["message"]
    loop.call_exception_handler({"message": "my own"})
    assert told[-1] == (loop, {"message": "my own"})
    assert loop.get_exception_handler() is not None
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    with pytest.raises(TypeError):
        loop.set_exception_handler(3)


def test_without_a_handler_exceptions_are_logged(loop, caplog):
    loop.call_soon(fails)
    turn(loop)
    loop.default_exception_handler({"message": "my own"})
    first, second = caplog.records
    assert first.levelno == logging.ERROR and first.name == "asyncio"
    assert first.getMessage().startswith("Exception in callback fails()")
    assert first.exc_info[0] is ZeroDivisionError
    assert second.getMessage() == "my own"


def test_an_exception_in_data_received_is_told_and_closes_the_connection(loop, told):
    lost = []

    class Fails(asyncio.Protocol):
        def data_received(self, data):
            raise ZeroDivisionError

        def connection_lost(self, exc):
            lost.append(exc)

    async def main():
        server = await loop.create_server(Fails, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x")
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        await until(lambda: lost)
        writer.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    assert type(lost[0]) is ZeroDivisionError
    assert [type(context["exception"]) for _, context in told] == [ZeroDivisionError]


def test_an_exception_in_a_servers_factory_costs_one_connection(loop, told):
    factories = [fails, asyncio.Protocol]

    async def main():
        server = await loop.create_server(lambda: factories.pop(0)(), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        writer.close()
        _, writer = await asyncio.open_connection(*address)
        await until(lambda: not factories)
        writer.close()
        server.close()

    loop.run_until_complete(main())


def test_debug_mode_logs_slow_callbacks(loop, caplog):
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.slow_callback_duration = 0

    def slow():
        pass

    loop.call_soon(slow)
    turn(loop)
    assert any(
        record.getMessage().startswith("Executing <Handle") and "slow" in record.getMessage()
        for record in caplog.records
    )
