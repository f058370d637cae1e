"""Pickles by value what the standard pickler cannot find by name: lambdas, local functions, definitions of a notebook.

cloudpickle does this, and also copies the parts of the main module that these refer to. But other objects, especially
the arguments of a lambda, are sent by name where possible, and mean the receiver's own classes; and a variable that an
initializer set in a worker must be seen there. So the parts of the main module that the receiver has are used there
(see `kettle._main_names`), and its functions get the receiver's main module as their global variables.
"""

from __future__ import annotations

import io
import os
import pickle
from types import FunctionType

import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]
from cloudpickle import cloudpickle as _cloudpickle

from kettle import _main_names, _no_copies
from kettle._session import native, reducers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kettle._main_names import Mark

__all__ = ["dumps"]

_ABSENT = object()


def dumps(obj: object) -> bytes:
    """Returns the pickle of an object, including its functions."""
    try:
        return _dumps(obj)
    except Exception:
        # An object that cannot be sent, such as a lock or a file, may exist there already: a variable as it was at the
        # receiver's fork, or a function of the main module that the receiver imported.
        for ways in ({"complete": False}, {"complete": False, "by_name": True}):
            try:
                return _dumps(obj, **ways)
            except Exception:
                pass
        raise


def _dumps(obj: object, complete: bool = True, by_name: bool = False) -> bytes:
    out = io.BytesIO()
    _Pickler(out, complete, by_name).dump(obj)
    return out.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc, name-defined, unused-ignore]
    """`complete` includes what a receiver has had since its fork and does not need, since it may be another receiver.
    `by_name` omits the functions and classes of the main module, which a receiver may have imported."""

    def __init__(self, out: io.BytesIO, complete: bool, by_name: bool) -> None:
        super().__init__(out, protocol=pickle.HIGHEST_PROTOCOL)
        self._complete = complete
        self._by_name = by_name

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is native.Token:
            return native.name_in_message(obj)
        reduce = reducers.get(type(obj))
        if reduce is not None:
            return reduce(obj)
        _no_copies.refuse(obj)
        reduced = super().reducer_override(obj)
        if not isinstance(obj, (type, FunctionType)) or type(reduced) is not tuple or len(reduced) != 6:
            return reduced
        path = _path(obj)
        if path is None:
            return reduced
        mark = _main_names.mark(path[0])
        if self._by_name or (mark is not None and not self._complete):
            return _choose, (path, mark)
        make, arguments, state, _, _, set_up = reduced
        return _choose, (path, mark, make, arguments), (path, mark, set_up, state), None, None, _set_up

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        reduced = super()._dynamic_function_reduce(func)
        if func.__globals__ is not _main_names.home():
            return reduced
        _, (code, alone, *rest), (state, slots), *_ = reduced
        used: list[tuple[str, Mark | None, tuple[object, ...]]] = []
        for name, value in slots.pop("__globals__").items():
            mark = _main_names.mark(name)
            used.append((name, mark, (value,) if mark is None or self._complete else ()))
        marks = tuple(mark for _, mark, _ in used)
        arguments = (os.getpid(), marks, code, alone, *rest)
        return _function, arguments, (state, slots, used), None, None, _set_up_function


def _path(obj: Any) -> tuple[str, ...] | None:
    """Returns the names by which a function or class is found in the main module, if it is."""
    if obj.__module__ != "__main__":
        return None
    path = tuple(obj.__qualname__.split("."))
    found: Any = _main_names.home().get(path[0])
    for name in path[1:]:
        found = getattr(found, "__dict__", {}).get(name)
    return path if found is obj else None


def _choose(path: tuple[str, ...], mark: Mark | None, make: Callable[..., Any] | None = None, args: Any = ()) -> Any:
    """Returns the receiver's own function or class, or a new one."""
    found = _main_names.find(path, mark)
    if found is not None:
        return found
    if make is None:
        raise AttributeError(f"{'.'.join(path)} of the main module is not here, and it could not be sent along")
    return make(*args)


def _set_up(obj: Any, state: tuple[tuple[str, ...], Mark | None, Callable[[Any, Any], None], Any]) -> None:
    path, mark, set_up, inner = state
    if _main_names.find(path, mark) is not obj:
        set_up(obj, inner)


def _function(
    sender: int, marks: tuple[Mark | None, ...], code: Any, alone: dict[str, Any], *rest: Any
) -> FunctionType:
    """Returns a function of the main module. If changes made by its sender do not apply here, and the sender has
    changed what the function refers to, the function gets its own variables."""
    is_at_home = all(map(_main_names.is_known, marks)) or _main_names.is_ancestor(sender)
    if not is_at_home:
        alone.setdefault("__builtins__", __builtins__)
    return FunctionType(code, _main_names.home() if is_at_home else alone, *rest)


def _set_up_function(func: FunctionType, state: tuple[dict[str, Any], dict[str, Any], list[Any]]) -> None:
    attributes, slots, used = state
    names, home = func.__globals__, _main_names.home()
    builtins = names.get("__builtins__", _ABSENT)
    _cloudpickle._function_setstate(func, (attributes, {**slots, "__globals__": {}}))
    if builtins is not _ABSENT:
        names["__builtins__"] = builtins
    for name, mark, values in used:
        if names is home:
            for value in values:
                _main_names.settle(name, value, mark)
        elif _main_names.is_known(mark) and name in home:
            names[name] = home[name]
        else:
            for value in values:
                names[name] = value
