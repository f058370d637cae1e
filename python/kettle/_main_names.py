"""What the names of the program's main module mean, here and in other processes of the session.

A lambda travels by value, and refers to functions, classes and variables of the main module. The process that receives
it has a main module too: in a forked child it is the parent's as it was at the fork, in a spawned child it was
imported. From then on both modules change independently: an initializer sets a variable in a worker, a later cell of a
notebook redefines a function in the parent. This module tracks the changes of each name, so that `kettle._by_value`
sends what the receiver lacks, and leaves alone what it has.

Before each fork the parent notes what each name refers to, as a *mark* for each name that changed since the last fork.
A child inherits the notes. So a name with a mark that is not younger than the child refers to the same object in the
child as in any process with the same notes.

A worker, and a child that is not forked, also knows the state of its main module when it started.
"""

from __future__ import annotations

import os
import sys
import threading
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType
from weakref import ref

from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Mark = tuple[int, int]

__all__ = ["begin", "find", "home", "is_ancestor", "is_known", "mark", "note", "settle"]

#: References to these are kept, which takes hardly any memory.
_KEPT = frozenset({NoneType, bool, int, float, complex, FunctionType, BuiltinFunctionType, ModuleType})
#: Longer ones are not compared, since that happens before each fork, and are sent along.
_MOST_PARTS = 100
_ABSENT = object()


class _Trace:
    """What is remembered of an object in order to recognise it, without keeping it alive."""

    __slots__ = ("of", "parts")

    def __init__(self, of: ref[Any] | int, parts: object) -> None:
        self.of = of
        self.parts = parts

    def fits(self, value: object) -> bool:
        of = self.of
        is_it = of == id(value) if type(of) is int else of() is value  # type: ignore[operator]
        return is_it and self.parts == _parts(value)


def _parts(value: object) -> object:
    """Returns the parts that change when a list, a dict, a set or an instance is modified in place."""
    kind = type(value)
    if kind is dict:
        return [*map(id, value), *map(id, value.values())] if len(value) <= _MOST_PARTS else None  # type: ignore
    if kind in (list, tuple, set, frozenset):
        return [*map(id, value)] if len(value) <= _MOST_PARTS else None  # type: ignore
    if kind in _KEPT or issubclass(kind, type):
        return None
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except Exception:  # it has none, or its class defines its own
        return None
    return _parts(attributes) if type(attributes) is dict else None


def _trace(value: object) -> object:
    """Returns the object itself or a `_Trace`; None if it could later be confused with another object."""
    kind = type(value)
    if kind in _KEPT or issubclass(kind, type) or (kind in (str, bytes) and len(value) < 4096):  # type: ignore
        return value
    if kind in (list, tuple, set, frozenset, dict):
        # The id may later be that of another object, but not with the same parts.
        parts = _parts(value)
        return None if parts is None else _Trace(id(value), parts)
    try:
        return _Trace(ref(value), _parts(value))
    except TypeError:
        return None


def _fits(trace: object, value: object) -> bool:
    return trace.fits(value) if type(trace) is _Trace else trace is value


_pid = os.getpid()
_epoch = 0
#: For each ancestor of this process: how often it had noted its names when the fork was made.
_lineage: dict[int, int] = {}
_noted: dict[str, tuple[object, Mark]] = {}
#: Finds the names that changed since the last `note`. Reading an object from Python writes its reference count, and a
#: page that is written to after a fork is copied. So this compares addresses.
_glance = native.Glance(_MOST_PARTS)
#: The names whose values it does not look into: instances and sets.
_own_parts: dict[str, None] = {}
#: In a worker, and in a child that is not forked: what each name referred to at its start.
_first: dict[str, tuple[object, object]] | None = None
#: In a child that imported its main module: the names defined by that.
_imported: frozenset[str] | None = None
_homes: list[tuple[ModuleType, dict[str, Any]]] = []
_noting = threading.RLock()  # reentrant: a signal handler may start a process
os.register_at_fork(after_in_child=_noting._at_fork_reinit)  # type: ignore[attr-defined]


def _main() -> ModuleType:
    return sys.modules["__main__"]


def home() -> dict[str, Any]:
    """Returns the global variables of the main module's functions."""
    main = _main()
    if main.__name__ != "__mp_main__":
        return main.__dict__
    # What a child imports as its main module is a copy of the module in which it ran: the functions have the latter.
    for module, names in _homes:
        if module is main:
            return names
    names = main.__dict__
    for value in [*names.values()]:
        if type(value) is FunctionType and value.__globals__.get("__name__") == "__mp_main__":
            names = value.__globals__
            break
    _homes[:] = [(main, names)]
    return names


def _look_who_i_am() -> None:
    """After a fork of any kind, this is another process."""
    global _pid
    me = os.getpid()
    if me != _pid:
        _lineage[_pid] = _epoch
        _pid = me


def note() -> None:
    """To be called before a fork: notes what each name refers to."""
    global _epoch
    with _noting:
        # What these two functions do in nearly all cases stands here: a call costs pages that a fork has to copy.
        if os.getpid() != _pid:
            _look_who_i_am()
        new = _pid, _epoch + 1
        main = sys.modules["__main__"]
        names = home() if main.__name__ == "__mp_main__" else main.__dict__
        for name in [*_glance.changed(names), *_own_parts]:
            value = names.get(name, _ABSENT)
            if value is _ABSENT:
                _own_parts.pop(name, None)
                continue
            noted = _noted.get(name)
            if noted is None or not _fits(noted[0], value):
                trace = _trace(value)
                if trace is not None or value is None:
                    _noted[name] = trace, new
                else:
                    _noted.pop(name, None)
                if type(value) in (set, frozenset) or (
                    type(trace) is _Trace and type(value) not in (list, tuple, dict)
                ):
                    _own_parts[name] = None
                else:
                    _own_parts.pop(name, None)
        if len(_noted) > len(names):
            for name in _noted.keys() - names.keys():
                _noted.pop(name, None)
        _epoch += 1


def begin() -> None:
    """To be called in a child before it runs code of the program: from now on it records its own changes."""
    global _first, _imported
    if _imported is None and _main().__name__ == "__mp_main__":
        _imported = frozenset(home().copy())
    _first = {name: (value, _parts(value)) for name, value in home().copy().items()}


def mark(name: str) -> Mark | None:
    """Returns since when the name has referred to its current object; None if it changed after the last fork."""
    noted = _noted.get(name)
    return noted[1] if noted is not None and _fits(noted[0], home().get(name, _ABSENT)) else None


def is_known(mark: Mark | None) -> bool:
    """Returns whether this process was created when the name with this mark already referred to its current object in
    the sender."""
    if mark is None:
        return False
    _look_who_i_am()
    pid, since = mark
    return since <= (_epoch if pid == _pid else _lineage.get(pid, 0))


def is_ancestor(pid: int) -> bool:
    """Returns whether this process is that process or descends from it."""
    from kettle.multiprocessing.process import parent_process

    _look_who_i_am()
    if pid == _pid or pid in _lineage:
        return True
    parent = parent_process()
    return parent is not None and parent.pid == pid


def find(path: tuple[str, ...], mark: Mark | None) -> Any:
    """Returns the object of this process that corresponds to a function or class with this name in the sender's main
    module; None if there is none."""
    main = _main()
    # By name, as in the standard pickler, if both imported it.
    is_imported = main.__name__ == "__mp_main__" and (_imported is None or path[0] in _imported)
    if not is_known(mark) and not is_imported:
        return None
    found: Any = main
    for name in path:
        found = getattr(found, "__dict__", {}).get(name)
    return found


def _has_changed(name: str, value: object) -> bool:
    """Returns whether this process gave the name its value, or modified that value."""
    if _first is not None:
        before = _first.get(name)
        return before is None or before[0] is not value or before[1] != _parts(value)
    noted = _noted.get(name)
    return noted is not None and not _fits(noted[0], value)


def settle(name: str, value: object, mark: Mark | None) -> None:
    """Called when a function of an ancestor's main module has arrived, in which `name` refers to `value`. Sets `name`
    to `value` here, unless it already referred to that object when this process was created, or this process has
    changed it."""
    names = home()
    mine = names.get(name, _ABSENT)
    if mine is value or (mine is not _ABSENT and (is_known(mark) or _has_changed(name, mine))):
        return
    names[name] = value
    main = _main().__dict__
    if main is not names:
        main[name] = value
    _noted.pop(name, None)
    if _first is not None:
        _first[name] = value, _parts(value)
