"""Futures and tasks."""

import asyncio
import contextvars

import pytest

from .conftest import since


def test_futures_and_tasks(loop):
    variable = contextvars.ContextVar("variable")
    context = contextvars.copy_context()
    context.run(variable.set, "from the context")

    async def named():
        return asyncio.current_task().get_name(), variable.get(None)

    future = loop.create_future()
    assert isinstance(future, asyncio.Future) and future.get_loop() is loop
    loop.call_soon(future.set_result, 3)
    assert loop.run_until_complete(future) == 3
    assert loop.run_until_complete(loop.create_task(named(), name="boils")) == ("boils", None)
    assert loop.run_until_complete(loop.create_task(named(), name="a", context=context)) == ("a", "from the context")


@since(3, 12)
def test_eager_tasks(loop):
    loop.set_task_factory(asyncio.eager_task_factory)
    assert loop.get_task_factory() is asyncio.eager_task_factory
    calls = []

    async def step(n):
        calls.append(n)
        return n

    async def main():
        task = asyncio.create_task(step(1))
        calls.append("created")
        assert task.done()
        return await task

    assert loop.run_until_complete(main()) == 1
    assert calls == [1, "created"]


def test_eager_start_does_what_this_python_does(loop):
    calls = []

    async def step():
        calls.append("step")

    async def main():
        coroutine = step()
        try:
            task = loop.create_task(coroutine, eager_start=True)
        except TypeError:
            coroutine.close()
            return "refused"
        calls.append("created")
        await task
        return calls

    async def standard():
        """Creates the task by asyncio's class alone."""
        coroutine = step()
        try:
            task = asyncio.BaseEventLoop.create_task(loop, coroutine, eager_start=True)
        except TypeError:
            coroutine.close()
            return "refused"
        calls.append("created")
        await task
        return calls

    ours = loop.run_until_complete(main())
    calls = []
    assert ours == loop.run_until_complete(standard())


def test_a_task_factory(loop):
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine.__name__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def work():
        return 5

    loop.set_task_factory(factory)
    assert loop.run_until_complete(work()) == 5
    assert made == ["work"]
    loop.set_task_factory(None)
    with pytest.raises(TypeError, match="callable"):
        loop.set_task_factory(3)


def test_time_limits_groups_and_cancellation(run):
    async def forever():
        await asyncio.Event().wait()

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await forever()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(forever(), 0.001)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001 * i, i)) for i in range(5)]
        assert [task.result() for task in tasks] == list(range(5))

        async def fails():
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                cancelled = group.create_task(forever())
                group.create_task(fails())
        assert [type(e) for e in caught.value.exceptions] == [ZeroDivisionError]
        assert cancelled.cancelled()
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        assert task.cancel("cold") is True
        with pytest.raises(asyncio.CancelledError, match="cold"):
            await task

    run(main())


def test_work_in_threads(loop):
    from concurrent.futures import ThreadPoolExecutor
    from threading import current_thread

    def which():
        return current_thread().name

    with ThreadPoolExecutor(1, "given") as given, ThreadPoolExecutor(1, "default") as default:
        assert loop.run_until_complete(loop.run_in_executor(given, which)).startswith("given")
        assert loop.run_until_complete(loop.run_in_executor(None, which)).startswith("asyncio")
        loop.set_default_executor(default)
        assert loop.run_until_complete(loop.run_in_executor(None, which)).startswith("default")
        with pytest.raises(ZeroDivisionError):
            loop.run_until_complete(loop.run_in_executor(None, divmod, 1, 0))
    with pytest.raises(TypeError):
        loop.set_default_executor(which)
