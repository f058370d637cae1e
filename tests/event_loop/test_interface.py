"""Which methods of the loop are whose, what it relies on in asyncio, and how programs get such a loop."""

import asyncio
import asyncio.selector_events
import asyncio.unix_events
import inspect
import subprocess
import sys

import pytest

import kettle.asyncio
from kettle import _native
from kettle.asyncio._connections import Connections
from kettle.asyncio._transports import _SelectorSocketTransport

NATIVE = {
    *("time", "get_debug", "is_running", "is_closed", "stop", "fileno"),
    *("call_soon", "call_soon_threadsafe", "call_later", "call_at"),
    *("_closed", "_stopping", "_debug", "_thread_id", "_scheduled"),
    *("_check_closed", "_add_callback", "_add_callback_signalsafe", "_timer_handle_cancelled", "_write_to_self"),
    *("add_reader", "add_writer", "remove_reader", "remove_writer"),
    *("_add_reader", "_add_writer", "_remove_reader", "_remove_writer", "_run_once"),
}
# In Python, over asyncio's.
OURS = {
    *("run_forever", "close", "remove_signal_handler"),
    *("_make_self_pipe", "_close_self_pipe", "_csock", "_read_from_self", "_ready"),
    *("_run_forever_setup", "_run_forever_cleanup"),
}
# The same for connections: of the loop, and of a transport.
CONNECTIONS = {"_make_socket_transport", "_make_ssl_transport", "_accept_connection", "start_tls"}
NATIVE_OF_TRANSPORT = {"write", "is_closing", "get_write_buffer_size", "_read_ready", "_write_ready"}
# What a transport uses of asyncio's.
RELIED_ON_BY_TRANSPORT = {
    *("_read_ready__on_eof", "_fatal_error", "_force_close", "_call_connection_lost", "_add_reader"),
    *("_maybe_pause_protocol", "_maybe_resume_protocol", "_make_empty_waiter", "_reset_empty_waiter", "__del__"),
}
# What both halves of the loop use of asyncio's, which are not public.
RELIED_ON = {
    *("_process_self_data", "_check_running", "_check_thread", "_check_callback", "_set_coroutine_origin_tracking"),
    *(
        "_asyncgen_firstiter_hook",
        "_asyncgen_finalizer_hook",
        "_ensure_fd_no_transport",
        "_start_serving",
        "_stop_serving",
        "_accept_connection2",
    ),
}


def home(name):
    for cls in kettle.asyncio.EventLoop.__mro__:
        if name in vars(cls):
            return cls
    return None


def names(cls):
    return {name for name in vars(cls) if not name.startswith(("__", "_kettle_"))}


def test_whose_methods_are_whose():
    assert names(_native.EventLoop) == NATIVE
    # The hottest are put into the class itself.
    quick = {"call_soon", "call_soon_threadsafe", "call_later", "call_at", "get_debug"}
    creating = {"create_task", "create_future"}
    private = {"_signal_wake_up", "_look_at_overrides", "_listen_to_signals", "_stop_listening_to_signals"}
    assert names(kettle.asyncio.EventLoop) == OURS | quick | creating | private
    for name in NATIVE - quick:
        assert home(name) is _native.EventLoop, name
    assert {name for name in names(Connections) if name[:5] != "_abc_"} == CONNECTIONS


def test_the_methods_of_transports_are_there():
    theirs = asyncio.selector_events._SelectorSocketTransport
    for name in RELIED_ON_BY_TRANSPORT:
        assert getattr(theirs, name), name
    for name in NATIVE_OF_TRANSPORT:
        assert not inspect.isfunction(vars(_SelectorSocketTransport)[name]), name
    assert issubclass(_SelectorSocketTransport, theirs)


def test_all_else_is_asyncios_and_there():
    for name in names(asyncio.AbstractEventLoop):
        cls = home(name)
        assert cls is not asyncio.AbstractEventLoop or name == "shutdown_default_executor", name
    for name in RELIED_ON:
        assert home(name) is not None, name


def test_signatures_are_asyncios():
    for name in sorted((NATIVE | OURS | {"create_task", "create_future"}) - {"_make_socket_transport"}):
        theirs = getattr(asyncio.SelectorEventLoop, name, None)
        if not inspect.isfunction(theirs):
            continue
        ours = inspect.signature(getattr(kettle.asyncio.EventLoop, name))
        expected = [(p.name, p.default) for p in inspect.signature(theirs).parameters.values()]
        assert [(p.name, p.default) for p in ours.parameters.values()] == expected, name


def test_all_names_of_asyncio_are_there():
    for name in asyncio.__all__:
        if name not in ("run", "Runner", "EventLoop", "Handle", "TimerHandle", "new_event_loop"):
            assert getattr(kettle.asyncio, name) is getattr(asyncio, name), name
    with pytest.raises(AttributeError):
        kettle.asyncio.no_such_name  # noqa: B018
    assert kettle.asyncio.tasks is asyncio.tasks


def test_the_ways_to_get_one(run):
    async def which():
        return type(asyncio.get_running_loop())

    assert run(which()) is kettle.asyncio.EventLoop
    assert kettle.asyncio.run(which()) is kettle.asyncio.EventLoop
    assert kettle.asyncio.run(which(), loop_factory=asyncio.SelectorEventLoop) is asyncio.SelectorEventLoop
    with asyncio.Runner(loop_factory=kettle.asyncio.EventLoop) as runner:
        assert runner.run(which()) is kettle.asyncio.EventLoop
    kettle.asyncio.install()
    kettle.asyncio.install()
    try:
        assert asyncio.run(which()) is kettle.asyncio.EventLoop
        loop = asyncio.new_event_loop()
        assert type(loop) is kettle.asyncio.EventLoop
        loop.close()
    finally:
        kettle.asyncio.uninstall()
    assert asyncio.run(which()) is asyncio.SelectorEventLoop
    assert run(which()) is kettle.asyncio.EventLoop


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="Python has no policies any more")
@pytest.mark.filterwarnings("ignore:.*policy.*:DeprecationWarning")
def test_by_a_policy():
    async def which():
        return type(asyncio.get_running_loop())

    asyncio.set_event_loop_policy(kettle.asyncio.EventLoopPolicy())
    try:
        assert asyncio.run(which()) is kettle.asyncio.EventLoop
    finally:
        asyncio.set_event_loop_policy(None)


def test_that_it_runs_can_be_seen():
    program = "import kettle.asyncio as a; a.run(a.sleep(0)); a.run(a.sleep(0))"
    result = subprocess.run(
        [sys.executable, "-c", program], env={"KETTLE_SHOW_LOOP": "1"}, capture_output=True, text=True, check=True
    )
    assert result.stderr.startswith("kettle: kettle.asyncio._loop.EventLoop runs in process ")
    assert result.stderr.count("\n") == 1


def test_what_is_waited_for_can_be_asked(loop):
    import socket

    a, b = socket.socketpair()
    with pytest.raises(KeyError):
        loop._selector.get_key(a)
    handle = loop._add_reader(a, print)
    key = loop._selector.get_key(a)
    assert (key.fd, key.events, key.data) == (a.fileno(), 1, (handle, None))
    loop.remove_reader(a)
    a.close()
    b.close()
