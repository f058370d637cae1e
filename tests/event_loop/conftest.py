"""Loops that are closed after the test, and what tests of them share."""

import asyncio

import pytest

import kettle.asyncio


@pytest.fixture
def loop():
    loop = kettle.asyncio.new_event_loop()
    yield loop
    if not loop.is_running():
        loop.close()


@pytest.fixture
def run():
    """Runs a coroutine on a new loop."""

    def run(main, **options):
        with kettle.asyncio.Runner(**options) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def told(loop):
    """What the loop's exception handler was told."""
    contexts = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    return contexts


def turn(loop):
    """One turn."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def counted_turns(loop):
    """Returns a list that gets an entry for each turn from now on."""
    turns = []
    original = loop._run_once

    def counted():
        turns.append(None)
        original()

    loop._run_once = counted
    return turns


async def until(holds):
    """Lets the loop run until `holds()`."""
    while not holds():
        await asyncio.sleep(0.001)
