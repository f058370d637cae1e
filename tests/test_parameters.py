"""The error for a wrong argument names its parameter: each parameter of each public callable is given a wrong value."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import kettle
import kettle.futures
import kettle.multiprocessing as mp
import kettle.multiprocessing.connection
import kettle.multiprocessing.dummy
import kettle.multiprocessing.managers
import kettle.multiprocessing.pool
import kettle.multiprocessing.shared_memory
import kettle.multiprocessing.sharedctypes
import kettle.queue
import kettle.threading

ANY = object()  # the parameter accepts every object

#: A wrong value for each parameter, by name, or ANY; "callable:parameter" for a single callable.
WRONG: dict[str, Any] = {
    # Objects that are sent or returned as they are, and truth values.
    **dict.fromkeys(["obj", "item", "block", "blocking", "duplex", "force", "immediate", "bounded"], ANY),
    **dict.fromkeys(["outlive_parent", "daemon", "wait", "cancel_futures", "robust", "create", "track"], ANY),
    "fn": ANY,  # as in the standard library, the future gets the error
    "multiprocessing.Process:name": ANY,  # as in the standard library
    "futures.ThreadPoolExecutor:thread_name_prefix": ANY,  # as in the standard library
    "multiprocessing.set_start_method:method": ANY,  # it can be set once
    "multiprocessing.sharedctypes.synchronized:lock": ANY,  # as in the standard library
    "queue.Queue.task_done:n": 1.5,
    # As in the standard library.
    **dict.fromkeys(["address", "family", "backlog", "authkey", "ctx", "multiprocessing.sharedctypes.copy:obj"], ANY),
    "action": 5,
    "args": 5,
    "buf": 5,
    "buffersize": "x",
    "callback": 5,
    "chunksize": "x",
    "context": "spawn",
    "error_callback": 5,
    "exception": ANY,
    "expected": "x",
    "func": 5,
    "group": 5,
    "initargs": 5,
    "initializer": 5,
    "iterable": 5,
    "kwargs": 5,
    "kwds": 5,
    "level": [],
    "lock": 5,
    "max": "x",
    "max_memory_per_worker": [],
    "max_tasks_per_child": "x",
    "max_workers": "x",
    "maxlength": "x",
    "maxsize": "x",
    "maxtasksperchild": "x",
    "method": 5,
    "module_names": 5,
    "mp_context": "spawn",
    "n": "x",
    "name": 5,
    "new": "x",
    "object_list": 5,
    "objs": 5,
    "offset": "x",
    "older": ANY,
    "on_owner_death": 5,
    "parties": "x",
    "policy": 5,
    "predicate": 5,
    "processes": "x",
    "progress": 5,
    "result": ANY,
    "retries": "x",
    "sequence": 5,
    "size": "x",
    "size_or_initializer": 2.5,
    "subprocesses": ANY,
    "target": 5,
    "task_timeout": "x",
    "timeout": "soon",
    "typecode_or_type": [],
    "value": "x",
}

#: Right values for parameters without a default.
RIGHT: dict[str, Any] = {
    "address": None,
    "buf": bytearray(8),
    "expected": 0,
    "fn": int,
    "func": int,
    "iterable": [],
    "max": 1,
    "maxsize": 0,
    "new": 0,
    "object_list": [],
    "objs": [],
    "parties": 1,
    "predicate": bool,
    "size_or_initializer": 1,
    "typecode_or_type": "i",
    "obj": None,
    "item": None,
}


def _process() -> Iterator[Any]:
    process = mp.get_context("fork").Process(target=int)
    process.start()
    yield process
    process.join()


def _pool() -> Iterator[Any]:
    with mp.get_context("fork").Pool(1) as pool:
        yield pool
    pool.join()


def _result(method: str) -> Callable[[], Iterator[Any]]:
    def make() -> Iterator[Any]:
        with mp.pool.ThreadPool(1) as pool:
            yield getattr(pool, method)(*((int,) if method == "apply_async" else (int, [1])))
        pool.join()

    return make


def _executor(kind: str) -> Callable[[], Iterator[Any]]:
    def make() -> Iterator[Any]:
        with getattr(kettle.futures, kind)(1) as executor:
            yield executor

    return make


def _options() -> Iterator[Any]:
    with kettle.futures.ProcessPoolExecutor(1) as executor:
        yield executor.options()


def _future() -> Iterator[Any]:
    with kettle.futures.ThreadPoolExecutor(1) as executor:
        yield executor.submit(int)


def _held(make: Callable[[], Any]) -> Callable[[], Iterator[Any]]:
    def held() -> Iterator[Any]:
        lock = make()
        with lock:
            yield lock

    return held


def _one(make: Callable[[], Any]) -> Callable[[], Iterator[Any]]:
    def one() -> Iterator[Any]:
        yield make()

    return one


#: Objects whose public methods are called, by the names in the keys of `WRONG`.
OBJECTS: dict[str, Callable[[], Iterator[Any]]] = {
    "multiprocessing": _one(lambda: mp),
    "multiprocessing.Process": _process,
    "multiprocessing.Lock": _one(mp.Lock),
    "multiprocessing.RLock": _one(mp.RLock),
    "multiprocessing.Semaphore": _one(mp.Semaphore),
    "multiprocessing.BoundedSemaphore": _one(mp.BoundedSemaphore),
    "multiprocessing.Condition": _held(mp.Condition),
    "multiprocessing.Event": _one(mp.Event),
    "multiprocessing.Barrier": _one(lambda: mp.Barrier(1)),
    "multiprocessing.Queue": _one(mp.Queue),
    "multiprocessing.JoinableQueue": _one(mp.JoinableQueue),
    "multiprocessing.SimpleQueue": _one(mp.SimpleQueue),
    "multiprocessing.Connection": _one(lambda: mp.Pipe()[0]),
    "multiprocessing.Value": _one(lambda: mp.Value("i")),
    "multiprocessing.Pool": _pool,
    "multiprocessing.ThreadPool": _one(lambda: mp.pool),
    "multiprocessing.AsyncResult": _result("apply_async"),
    "multiprocessing.MapResult": _result("map_async"),
    "multiprocessing.IMapIterator": _result("imap"),
    "multiprocessing.dummy": _one(lambda: mp.dummy),
    "multiprocessing.connection": _one(lambda: mp.connection),
    "multiprocessing.sharedctypes": _one(lambda: mp.sharedctypes),
    "multiprocessing.shared_memory": _one(lambda: mp.shared_memory),
    "threading": _one(lambda: kettle.threading),
    "threading.Lock": _one(kettle.threading.Lock),
    "threading.RLock": _one(kettle.threading.RLock),
    "threading.Semaphore": _one(kettle.threading.Semaphore),
    "threading.BoundedSemaphore": _one(kettle.threading.BoundedSemaphore),
    "threading.Condition": _held(kettle.threading.Condition),
    "threading.Event": _one(kettle.threading.Event),
    "threading.Barrier": _one(lambda: kettle.threading.Barrier(1)),
    "queue": _one(lambda: kettle.queue),
    "queue.Queue": _one(kettle.queue.Queue),
    "queue.LifoQueue": _one(kettle.queue.LifoQueue),
    "queue.PriorityQueue": _one(kettle.queue.PriorityQueue),
    "queue.SimpleQueue": _one(kettle.queue.SimpleQueue),
    "futures": _one(lambda: kettle.futures),
    "futures.ProcessPoolExecutor": _executor("ProcessPoolExecutor"),
    "futures.ThreadPoolExecutor": _executor("ThreadPoolExecutor"),
    "futures.options": _options,
    "futures.PoolFuture": _future,
    "kettle": _one(lambda: kettle),
}


NAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def _callables(owner: object) -> Iterator[tuple[str, inspect.Signature]]:
    """Yields the names of the public callables that Kettle defines, with their signatures."""
    for name in getattr(owner, "__all__", None) or dir(owner):
        if name.startswith("_"):
            continue
        if isinstance(getattr(type(owner), name, None), (property, types.GetSetDescriptorType)):
            continue
        function = getattr(owner, name)
        if not callable(function) or (isinstance(function, type) and issubclass(function, BaseException)):
            continue
        if isinstance(function, type):
            home = function.__module__
        else:
            home = getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__
        if not home.startswith("kettle"):
            continue
        with contextlib.suppress(ValueError):
            yield name, inspect.signature(function)


def _wrong(label: str, function: str, parameter: str) -> Any:
    for key in (f"{label}.{function}:{parameter}", f"{function}:{parameter}", parameter):
        if key in WRONG:
            return WRONG[key]
    raise AssertionError(f"say in `WRONG` what is wrong for {label}.{function}({parameter})")


def _run(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
    result = function(*args, **kwargs)
    if inspect.iscoroutine(result):

        async def wait() -> None:
            await result

        asyncio.run(wait())


def _told(owner: object, function: str, signature: inspect.Signature, parameter: str, wrong: object) -> str:
    """Returns what a call with a wrong value says."""
    args, kwargs = [], {}
    for each in signature.parameters.values():
        if each.name == parameter:
            value = wrong
        elif each.default is each.empty and each.kind in NAMED:
            value = RIGHT[each.name]
        else:
            continue
        if each.kind is each.POSITIONAL_ONLY:
            args.append(value)
        else:
            kwargs[each.name] = value
    try:
        _run(getattr(owner, function), args, kwargs)
    except (TypeError, ValueError, AttributeError, AssertionError) as error:
        return str(error)
    return "(no error)"


@pytest.mark.parametrize("label", OBJECTS)
def test_the_error_names_the_parameter(label):
    silent = []
    make = contextlib.contextmanager(OBJECTS[label])
    with make() as owner:
        all_callables = list(_callables(owner))
    for function, signature in all_callables:
        for parameter in signature.parameters.values():
            if parameter.kind not in NAMED:
                continue
            wrong = _wrong(label, function, parameter.name)
            if wrong is ANY:
                continue
            with make() as owner:
                told = _told(owner, function, signature, parameter.name, wrong)
            if not re.search(rf"\b{parameter.name}\b", told, re.IGNORECASE):
                silent.append(f"{function}({parameter.name}={wrong!r}): {told}")
    assert not silent, "\n".join(silent)
