"""Names the object that could not be pickled, with its place in what was to be sent and with what to do instead.

After pickling has failed, it is repeated with a pickler that records the objects it visits. The path to the object is
then followed through containers, attributes and the variables of functions.
"""

from __future__ import annotations

import functools
import io
import os
import sys
import threading
import types
from collections import deque
from pickle import PicklingError

from kettle._describe import short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, NoReturn

__all__ = ["explain", "explain_object", "is_explained", "parts_of_process", "raise_explained"]

#: A structure with more parts than this is not searched.
_MANY = 1_000_000


def explain(error: Exception, parts: Mapping[str, object], owner: str = "") -> Exception:
    """Returns the error to raise if pickling these parts of an object, by their names, raised `error`: the same error
    with a note, or a more detailed one. `owner` is the object that they are parts of."""
    if isinstance(error, (MemoryError, RecursionError)):
        return error
    try:
        for name, part in parts.items():
            found = _refused(part)
            if found is None:
                continue
            culprit, again = found
            way = _way(name, part, culprit)
            if _speaks_of_a_function(error) and not isinstance(culprit, (types.FunctionType, type)):
                error = again  # a function travels by value, but something that it needs does not
            if way:
                error.add_note(_note(way, owner, str(error)))
            break
    except Exception:  # the program's code is run again and may raise anything, and another thread may change objects
        pass
    return error


def explain_object(error: Exception, obj: object) -> Exception:
    """Does the same for an object that is sent as it is."""
    return explain(error, {"obj": obj})


def parts_of_process(process: Any) -> dict[str, object]:
    """Returns the parts of a process object that is to be started."""
    target, args, kwargs = process._target, process._args, process._kwargs
    from kettle._session import native

    if args and isinstance(args[0], native.PoolDesk):
        initializer, initargs = args[2], args[3]
        if getattr(initializer, "__module__", None) == "kettle.futures._hooks":
            initializer, initargs = initargs
        return {"initializer": initializer, "initargs": initargs}
    known = ("_target", "_args", "_kwargs", "_parent_pid", "_popen", "_config")
    others = {f"self.{name}": value for name, value in vars(process).items() if name not in known}
    return {"target": target, "args": args, "kwargs": kwargs, **others}


def raise_explained(error: Exception, process: Any) -> NoReturn:
    """Raises the error for a process object that is to be started and could not be pickled."""
    told = explain(error, parts_of_process(process))
    raise told.with_traceback(without_picklers(error.__traceback__)) from None


def is_explained(error: Exception) -> bool:
    """Returns whether `raise_explained` raised it."""
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code is raise_explained.__code__:
            return True
        at = at.tb_next
    return False


def without_picklers(traceback: types.TracebackType | None) -> types.TracebackType | None:
    """Returns the frames of a traceback that belong neither to a pickler nor to this package."""
    frames = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    cloudpickle = sys.modules.get("cloudpickle")
    hidden = [os.path.dirname(__file__), os.path.dirname(threading.__file__) + os.sep + "multiprocessing"]
    if cloudpickle is not None and cloudpickle.__file__:
        hidden.append(os.path.dirname(cloudpickle.__file__))
    prefixes = tuple(directory + os.sep for directory in hidden)
    result = None
    for each in reversed(frames):
        if not each.tb_frame.f_code.co_filename.startswith(prefixes):
            result = types.TracebackType(result, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return result


# ---------------------------------------------------------------- what it is


class _TooMuchError(Exception):
    pass


def _refused(obj: object) -> tuple[object, Exception] | None:
    """Returns the object within `obj` that cannot be pickled, and the object that reports it; None if everything
    can."""
    seen: list[object] = [obj]
    count = 0

    def note(each: object) -> None:
        nonlocal count
        seen[0] = each
        count += 1
        if count > _MANY:
            raise _TooMuchError

    pickler = _pickler(note)
    try:
        pickler.dump(obj)
    except _TooMuchError:
        raise
    except Exception as error:
        return seen[0], error
    return None


def _pickler(note: Any) -> Any:
    from kettle import _no_copies, _session
    from kettle._session import native

    try:
        from cloudpickle import Pickler as base  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        from pickle import Pickler as base

    class Pickler(base):  # type: ignore[misc, valid-type, unused-ignore]
        def persistent_id(self, obj: object) -> None:
            note(obj)

        def reducer_override(self, obj: object) -> Any:
            if type(obj) is native.Token:
                return bytes, ()  # nothing is sent
            reduce = _session.reducers.get(type(obj))
            if reduce is not None:
                return reduce(obj)
            _no_copies.refuse(obj)
            inherited = getattr(super(), "reducer_override", None)
            return NotImplemented if inherited is None else inherited(obj)

    return Pickler(_Nowhere(), 5)


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


def _speaks_of_a_function(error: Exception) -> bool:
    return isinstance(error, (AttributeError, PicklingError))


# ---------------------------------------------------------------- where it is


def _way(name: str, part: object, culprit: object) -> list[tuple[str, object]]:
    """Returns the path from a part to an object inside it: all objects on it, each with its own place. Empty if there
    is none."""
    came_from: dict[int, tuple[str, object, int | None]] = {id(part): (name, part, None)}
    waiting = deque([part])
    while waiting and id(culprit) not in came_from:
        obj = waiting.popleft()
        for step, child in _inside(obj):
            if id(child) in came_from or (child is not culprit and isinstance(child, _PLAIN)):
                continue
            came_from[id(child)] = (step, child, id(obj))
            if len(came_from) > _MANY:
                return []
            waiting.append(child)
    steps = []
    at: int | None = id(culprit)
    while at is not None and at in came_from:
        step, obj, at = came_from[at]
        steps.append((step, obj))
    path, way = "", []
    for step, obj in reversed(steps):
        path += step
        way.append((path, obj))
    return way


_PLAIN = (str, bytes, int, float, complex, type(None))


def _inside(obj: object) -> Iterator[tuple[str, object]]:
    """Yields the objects inside an object, with the text that follows the object's own name."""
    if isinstance(obj, dict):
        for key, value in obj.items():
            yield f"[{short(key)}]", value
            yield f"'s key {short(key)}", key
    elif isinstance(obj, (list, tuple, deque)):
        names = getattr(obj, "_fields", None)
        for i, value in enumerate(obj):
            yield f".{names[i]}" if isinstance(names, tuple) and i < len(names) else f"[{i}]", value
    elif isinstance(obj, (set, frozenset)):
        for value in obj:
            yield f"'s member {short(value)}", value
    elif isinstance(obj, types.FunctionType):
        yield from _used_by(obj)
    elif isinstance(obj, types.MethodType):
        yield ".__self__", obj.__self__
    elif isinstance(obj, functools.partial):
        yield ".func", obj.func
        yield ".args", obj.args
        yield ".keywords", obj.keywords
    if not isinstance(obj, (types.ModuleType, types.FunctionType)):
        yield from _attributes(obj)


def _used_by(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f"'s variable {name!r}", cell.cell_contents
        except ValueError:  # it has no value yet
            continue
    for name in code.co_names:
        if name in function.__globals__:
            yield f"'s global variable {name!r}", function.__globals__[name]
    for i, value in enumerate(function.__defaults__ or ()):
        yield f"'s default {i}", value


def _attributes(obj: object) -> Iterator[tuple[str, object]]:
    attributes = getattr(obj, "__dict__", None)
    if isinstance(attributes, (dict, types.MappingProxyType)):
        for name, value in list(attributes.items()):
            yield f".{name}", value
    for cls in type(obj).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            member = vars(cls).get(name)
            if isinstance(member, types.MemberDescriptorType):
                try:
                    yield f".{name}", member.__get__(obj)
                except AttributeError:  # it has no value yet
                    continue


# ---------------------------------------------------------------- what to do


def _note(way: list[tuple[str, object]], owner: str, text: str) -> str:
    # For example, a lock that is part of a queue is unknown to the program.
    where, culprit = next((at for at in way if _shared_twin(at[1])), way[-1])
    said = f"{where}{owner} is {_called(culprit)}"
    holders = [obj for _, obj in way[: way.index((where, culprit))] if _is_instance(obj)]
    if holders:
        said += f", in {_called(holders[-1])}"
    # Objects of this package raise their own errors.
    cure = "" if "kettle.multiprocessing" in text else _cure(culprit)
    return f"{said}. {cure}" if cure else f"{said}."


def _is_instance(obj: object) -> bool:
    """Returns whether it is an instance of a class that is worth mentioning."""
    plain = (dict, list, tuple, set, frozenset, deque, functools.partial, types.FunctionType, types.MethodType, type)
    return type(obj) not in plain and not isinstance(obj, type)


def _called(obj: object) -> str:
    if isinstance(obj, types.FunctionType):
        return f"the function {obj.__qualname__}"
    if isinstance(obj, type):
        return f"the class {obj.__qualname__}"
    if isinstance(obj, types.ModuleType):
        return f"the module {obj.__name__}"
    kind = type(obj)
    of_the_language = kind.__module__ in ("builtins", "_thread", "__main__", "__mp_main__", "_io")
    name = kind.__qualname__ if of_the_language else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name} object"


def _cure(culprit: object) -> str:
    kind = type(culprit)
    shared = _shared_twin(culprit)
    if shared is not None:
        return f"Between processes use kettle.multiprocessing.{shared}."
    if isinstance(culprit, (types.FunctionType, type)):
        return "Define it at the top level of a module; or `pip install cloudpickle`, which sends it by value."
    if isinstance(culprit, types.GeneratorType):
        return "Send a list, list(...), or a function that creates the generator."
    if isinstance(culprit, types.CoroutineType):
        return "Send the function and its arguments, and run it there: asyncio.run(function(...))."
    if isinstance(culprit, memoryview):
        return "Send a copy, bytes(view), or the object whose memory this is a view of."
    if isinstance(culprit, io.IOBase):
        return "Send the path, and open the file there."
    if isinstance(culprit, types.ModuleType):
        return "Import the module in the function that uses it."
    if isinstance(culprit, threading.Thread):
        return "Start a thread there."
    if isinstance(culprit, types.FrameType | types.TracebackType):
        return "Send it as text: traceback.format_exc()."
    if kind.__module__ == "sqlite3" or kind.__name__ == "Connection":
        return "Open it there: in the function, or once for each process in an initializer."
    return "Create it there, in the function or an initializer, or exclude it from the pickle (__getstate__)."


#: Classes of threads, and their counterparts between processes.
_TWINS = ("RLock", "Lock", "Condition", "BoundedSemaphore", "Semaphore", "Event", "Barrier")


def _shared_twin(culprit: object) -> str | None:
    module, name = type(culprit).__module__, type(culprit).__name__
    if module == "_thread":
        return {"lock": "Lock", "LockType": "Lock", "RLock": "RLock", "_local": None}.get(name)
    if module in ("threading", "kettle.threading", "kettle._native"):
        name = name.removeprefix("Heap")
        return name if name in _TWINS else None
    if module in ("queue", "_queue", "kettle.queue"):
        return "Queue"
    return None
