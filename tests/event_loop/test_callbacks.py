"""call_soon and its kin; handles; contexts; what callbacks raise; debug mode."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import threading
import weakref
from unittest import mock

import pytest

import kettle.asyncio
from kettle.asyncio import EventLoop

from .conftest import turn

VARIABLE = contextvars.ContextVar("VARIABLE", default=0)


def test_order_and_arguments(loop):
    ran = []
    for n in range(12):
        loop.call_soon(lambda *args: ran.append(args), *range(n))
    loop.call_soon_threadsafe(ran.append, "safe")
    loop.call_soon(ran.append, "after")
    turn(loop)
    assert ran == [*(tuple(range(n)) for n in range(12)), "safe", "after"]


def test_a_handle_is_asyncios(loop):
    handle, timer = loop.call_soon(print, 1), loop.call_later(10, print, 2)
    assert type(handle) is kettle.asyncio.Handle and isinstance(handle, asyncio.Handle)
    assert type(timer) is kettle.asyncio.TimerHandle and isinstance(timer, asyncio.TimerHandle)
    assert not isinstance(handle, asyncio.TimerHandle)
    assert weakref.ref(handle)() is handle
    assert repr(handle) == repr(asyncio.Handle(print, (1,), loop))
    assert repr(timer) == repr(asyncio.TimerHandle(timer.when(), print, (2,), loop))
    assert not handle.cancelled()
    for each in (handle, timer):
        assert each.cancel() is None
        each.cancel()
        assert each.cancelled()
    assert repr(handle) == "<Handle cancelled>"
    assert hash(timer) == hash(timer.when())
    assert timer < loop.call_later(20, print)
    assert isinstance(asyncio.Handle(print, (), loop), asyncio.Handle)


def test_a_handle_that_is_cancelled_lets_go_at_once(loop):
    class Thing:
        def method(self):
            raise AssertionError("called")

    for schedule in (loop.call_soon, lambda f: loop.call_later(100, f), loop.call_soon_threadsafe):
        thing = Thing()
        dead = weakref.ref(thing)
        handle = schedule(thing.method)
        handle.cancel()
        del thing
        assert dead() is None
    turn(loop)


def test_a_callback_may_cancel_its_own_handle_and_others(loop):
    ran = []

    def first():
        own.cancel()
        gc.collect()
        other.cancel()
        ran.append("first")

    own = loop.call_soon(first)
    other = loop.call_soon(ran.append, "other")
    turn(loop)
    assert ran == ["first"]


def test_contexts(loop):
    seen = []

    def look():
        seen.append(VARIABLE.get())

    VARIABLE.set(1)
    loop.call_soon(look)
    given = contextvars.copy_context()
    given.run(VARIABLE.set, 2)
    loop.call_soon(look, context=given)
    loop.call_soon(VARIABLE.set, 3)
    loop.call_soon(look)
    loop.call_later(0, look, context=given)
    loop.call_soon_threadsafe(look, context=given)
    handle = loop.call_soon(look, context=None)
    VARIABLE.set(0)
    turn(loop)
    turn(loop)
    assert sorted(seen) == [1, 1, 1, 2, 2, 2]
    if hasattr(handle, "get_context"):
        assert isinstance(handle.get_context(), contextvars.Context)


def test_a_context_that_is_entered_already_is_told(loop, caplog):
    context = contextvars.copy_context()
    context.run(lambda: (loop.call_soon(pytest.fail, context=context), turn(loop)))
    assert "already entered" in caplog.text


def test_a_context_of_another_kind_is_run_by_its_own_method(loop):
    class Context:
        def run(self, callback, *args):
            ran.append(callback(*args))

    ran = []
    loop.call_soon(lambda x: x + 1, 1, context=Context())
    turn(loop)
    assert ran == [2]


def test_what_a_callback_raises_is_told(loop, told):
    def fail(x):
        raise ValueError("mine")

    handle = loop.call_soon(fail, 5)
    ran = []
    loop.call_soon(ran.append, 1)
    turn(loop)
    (what,) = told
    assert set(what) == {"message", "exception", "handle"}
    assert what["message"].startswith("Exception in callback test_what_a_callback_raises_is_told.<locals>.fail(")
    assert str(what["exception"]) == "mine" and what["handle"] is handle
    assert ran == [1]


def test_what_is_no_callable_is_told(loop, told):
    loop.call_soon(5)
    turn(loop)
    assert isinstance(told[0]["exception"], TypeError)


def test_an_exception_handler_that_fails(loop, caplog):
    def handler(loop, context):
        raise RuntimeError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    assert "Unhandled error in exception handler" in caplog.text


def test_wrong_calls(loop):
    for call in (loop.call_soon, loop.call_soon_threadsafe, loop.call_later, loop.call_at):
        with pytest.raises(TypeError):
            call()
    for call in (loop.call_later, loop.call_at):
        with pytest.raises(TypeError):
            call(1)
        with pytest.raises(TypeError):
            call("soon", print)
        with pytest.raises(TypeError, match=r"must not be None|cannot be None"):
            call(None, print)
    with pytest.raises(TypeError):
        loop.call_soon(print, unknown=1)


def test_from_other_threads(loop):
    n, threads = 2000, 4
    came = []
    done = loop.create_future()

    def arrive(who, i):
        came.append((who, i))
        if len(came) == n * threads:
            done.set_result(None)

    def work(who):
        for i in range(n):
            loop.call_soon_threadsafe(arrive, who, i)

    workers = [threading.Thread(target=work, args=(who,)) for who in range(threads)]
    for worker in workers:
        worker.start()
    loop.run_until_complete(done)
    for worker in workers:
        worker.join()
    for who in range(threads):
        assert [i for w, i in came if w == who] == list(range(n))


def test_each_call_from_another_thread_wakes_a_loop_that_sleeps(loop):
    """A wake-up that was lost would show itself as a hang."""
    turns = 2000
    there, here = threading.Semaphore(0), []

    async def main():
        for i in range(turns):
            future = loop.create_future()
            here.append(future)
            there.release()
            assert await future == i

    def work():
        for i in range(turns):
            there.acquire()
            loop.call_soon_threadsafe(here[i].set_result, i)

    worker = threading.Thread(target=work)
    worker.start()
    loop.run_until_complete(main())
    worker.join()


def test_callbacks_do_not_keep_descriptors_waiting(loop):
    """A chain of callbacks that never ends, beside which a descriptor and another thread are heard."""
    import socket

    a, b = socket.socketpair()
    came, called = loop.create_future(), loop.create_future()

    def chain():
        if not (came.done() and called.done()):
            loop.call_soon(chain)

    loop.call_soon(chain)
    loop.add_reader(a, lambda: (a.recv(1), came.set_result(None)))
    loop.call_later(0.01, b.send, b"x")
    thread = threading.Timer(0.01, loop.call_soon_threadsafe, (called.set_result, None))
    thread.start()
    loop.run_until_complete(asyncio.wait_for(asyncio.gather(came, called), 30))
    thread.join()
    loop.remove_reader(a)
    a.close()
    b.close()


# ------------------------------------------------------------ debug mode, and what programs put in place


def test_debug_mode_tells_where_a_handle_was_made(loop, told):
    loop.set_debug(True)
    handle = loop.call_soon(lambda: 1 / 0)
    assert "created at" in repr(handle) and __file__ in repr(handle)
    turn(loop)
    assert told[0]["source_traceback"][-1].filename == __file__
    timer = loop.call_later(10, print, "x")
    timer.cancel()
    assert "print('x')" in repr(timer) and "cancelled" in repr(timer)


def test_debug_mode_checks_threads_and_callbacks(loop):
    loop.set_debug(True)

    async def coroutine():
        pass

    for call in (loop.call_soon, lambda f: loop.call_later(1, f)):
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            call(coroutine)
        with pytest.raises(TypeError, match="a callable object was expected"):
            call(5)

    caught = []

    def elsewhere():
        try:
            loop.call_soon(print)
        except RuntimeError as e:
            caught.append(str(e))
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(lambda: threading.Thread(target=elsewhere).start())
    loop.run_forever()
    assert caught and "Non-thread-safe operation" in caught[0]


def test_debug_mode_tells_of_slow_callbacks(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.call_soon(sorted, ())
        turn(loop)
    assert "Executing <Handle" in caplog.text and "seconds" in caplog.text


def test_a_replaced_way_to_run_handles_is_used(loop, monkeypatch):
    """As monitors do it."""
    ran, run = [], asyncio.Handle._run
    monkeypatch.setattr(asyncio.events.Handle, "_run", lambda self: (ran.append(self), run(self))[1])
    handle = loop.call_soon(int)
    turn(loop)
    assert handle in ran


def test_methods_of_a_subclass_are_called():
    calls = []

    class Mine(kettle.asyncio.EventLoop):
        def call_soon(self, *args, **kwargs):
            calls.append("call_soon")
            return super().call_soon(*args, **kwargs)

        def call_at(self, *args, **kwargs):
            calls.append("call_at")
            return super().call_at(*args, **kwargs)

        def create_task(self, *args, **kwargs):
            calls.append("create_task")
            return super().create_task(*args, **kwargs)

    with asyncio.Runner(loop_factory=Mine) as runner:
        runner.run(asyncio.sleep(0.001))
    assert {"call_soon", "call_at", "create_task"} <= set(calls)


def test_a_clock_of_the_programs_own_is_used(loop):
    now = 1000.0
    ran = []
    loop.time = lambda: now
    loop.call_later(50, ran.append, 1)
    turn(loop)
    loop.call_at(1050, ran.append, 2)
    assert not ran
    now = 1050.0
    turn(loop)
    turn(loop)
    assert ran == [1, 2]


def test_a_clock_replaced_during_a_run_is_used_at_once(loop):
    """As tests do it that do not want to wait."""
    calls = []

    async def main():
        timer = loop.call_later(1000, calls.append, "due")
        with mock.patch.object(loop, "time", timer.when):
            assert loop.call_later(1, calls.append, "later").when() == timer.when() + 1
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert calls == ["due"]
        assert loop.time() < timer.when()
        assert loop.call_later(0, calls.append, "now").when() < timer.when()

    loop.run_until_complete(main())


def test_a_class_with_a_clock_of_its_own_can_be_set_during_a_run():
    """As tests do it that make time pass at once."""

    class Timeless(EventLoop):
        offset = 0.0

        def time(self):
            return super().time() + self.offset

    async def main(loop):
        loop.__class__ = Timeless
        sleeping = asyncio.ensure_future(asyncio.sleep(1000))
        await asyncio.sleep(0)
        loop.offset = 1000.0
        await sleeping

    with contextlib.closing(EventLoop()) as loop:
        loop.run_until_complete(main(loop))


def test_a_task_gets_its_name_and_context(loop):
    context = contextvars.copy_context()
    context.run(VARIABLE.set, 5)

    async def seen():
        return asyncio.current_task().get_name(), VARIABLE.get()

    def result(*args, **kwargs):
        return loop.run_until_complete(loop.create_task(*args, **kwargs))

    assert result(seen(), name="n") == ("n", 0)
    assert result(seen(), name="n", context=context) == ("n", 5)
    assert result(seen(), context=context, name="n") == ("n", 5)
    assert result(coro=seen(), name="n", context=None) == ("n", 0)
    name, value = result(seen(), context=context)
    assert name.startswith("Task-") and value == 5
    name, value = result(seen(), name=None)
    assert name.startswith("Task-") and value == 0
    # Strings that are not interned name the same keywords.
    assert result(seen(), **{"".join(("na", "me")): "n", "".join(("con", "text")): context}) == ("n", 5)
    with contextlib.closing(seen()) as unused, pytest.raises(TypeError):
        loop.create_task(unused, nome="n")


def test_a_task_factory_is_used(loop):
    made = []

    def factory(loop, coroutine, **kwargs):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **kwargs)

    loop.set_task_factory(factory)
    loop.run_until_complete(asyncio.sleep(0))
    assert len(made) == 1
