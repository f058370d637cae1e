"""A manager's server that cannot start a thread for a client answers the next client."""

from __future__ import annotations

import threading

import pytest

import kettle.multiprocessing as mp
from kettle.multiprocessing.managers import SharedMemoryManager, SyncManager


def refuse_threads_to_two_clients() -> None:
    """In the server: the first client has started it, and was answered."""
    start, number = threading.Thread.start, 0

    def start_unless_refused(thread: threading.Thread) -> None:
        nonlocal number
        if thread._target.__name__ == "handle_request":
            number += 1
            if number in (2, 3):
                raise RuntimeError("can't start new thread")
        start(thread)

    threading.Thread.start = start_unless_refused


@pytest.mark.parametrize("cls", [SyncManager, SharedMemoryManager])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_without_a_thread_for_a_client(cls, method):
    manager = cls(ctx=mp.get_context(method))
    manager.start(refuse_threads_to_two_clients)
    try:
        assert manager._number_of_objects() == 0
        for _ in range(2):
            with pytest.raises(EOFError):
                manager._number_of_objects()
        assert manager._number_of_objects() == 0
    finally:
        manager.shutdown()
