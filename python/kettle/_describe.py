"""Short descriptions of calls, for messages.

A description is created when something has failed, from arguments of any kind and size. It therefore runs no code of
the arguments' own, such as a `__repr__` that may raise or take seconds, unless their class is known to be harmless, and
looks only at the first few items of a container.
"""

from __future__ import annotations

import enum
import functools
import itertools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["describe", "name_task", "short"]

_ITEMS = 4  # shown items of a container
_DEPTH = 3  # nested containers
_TEXT = 60  # characters or bytes of a string
_DIGITS = 200  # bits of a number
_NOTES = 8  # tasks named on one error

# Modules whose classes have a short and harmless `__repr__`.
_HARMLESS = {"datetime", "decimal", "fractions", "ipaddress", "pathlib", "pathlib._local", "uuid", "zoneinfo"}
_SIMPLE = {type(None), bool, float, complex, type(...), type(NotImplemented), range}
_EXACT = {float: float.__float__, int: int.__int__, str: str.__str__}  # the base value of an instance of a subclass
_BRACKETS: dict[type, tuple[str, str]] = {list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}")}


def describe(func: Any, args: Any = (), kwds: Any = None, limit: int = 200) -> str:
    """Returns the call `func(*args, **kwds)` as text of at most `limit` characters, such as "fetch('http://a',
    retries=3)"; "fetch(...)" if `args` is None or not a plain tuple or list."""
    try:
        text = _call(func, args, {} if kwds is None else kwds, limit)
    except Exception:  # unusual objects may raise anything, and a message must be created even so
        text = "a call"
    if len(text) > limit:
        text = text[: max(0, limit - 4)] + "...)"
    return text


def name_task(error: BaseException, task: str) -> None:
    """Adds a note to an error that names the task in which it was raised. An error that has passed through other tasks
    before names all of them, the innermost first. If many tasks raise the same object, its notes do not grow with each
    task."""
    note = f"in {task}"
    try:
        # Not by `add_note`: a class may have its own, or attributes that cannot be set.
        notes = vars(error).setdefault("__notes__", [])
        ours = [other for other in notes if type(other) is str and other.startswith("in ")]
        if type(notes) is list and note not in ours and len(ours) < _NOTES:
            notes.append(note)
    except Exception:  # the class defines its own notes
        pass


def _call(func: Any, args: Any, kwds: Any, limit: int) -> str:
    while type(func) is functools.partial:
        func, args, kwds = func.func, (*func.args, *args), {**func.keywords, **kwds}
    if type(args) not in (tuple, list) or type(kwds) is not dict:
        return f"{_name(func)}(...)"
    parts: list[str] = []
    length = 0
    values = (short(value) for value in args)
    named = (f"{name}={short(value)}" for name, value in kwds.items())
    for part in itertools.chain(values, named):
        parts.append(part)
        length += len(part) + 2
        if length > limit:
            break
    return f"{_name(func)}({', '.join(parts)})"


def _name(func: object) -> str:
    for attribute in ("__qualname__", "__name__"):
        name = getattr(func, attribute, None)
        if type(name) is str:
            return name.replace("<locals>.", "")
    return f"{type(func).__qualname__}(...)"  # a callable instance


def short(value: Any, depth: int = _DEPTH) -> str:
    """Returns any value as short text, with `depth` nested containers."""
    try:
        return _short(value, depth)
    except Exception:
        return _bare(value)


def _short(value: Any, depth: int) -> str:
    kind = type(value)
    if kind in _SIMPLE:
        return repr(value)
    if kind is int:
        return repr(value) if value.bit_length() <= _DIGITS else f"<int of {value.bit_length()} bits>"
    if kind in (str, bytes, bytearray):
        return _string(value)
    if kind in (list, tuple, set, frozenset, dict):
        return _container(value, kind, depth)
    if issubclass(kind, enum.Enum):
        return f"{kind.__qualname__}.{value.name}"
    if issubclass(kind, type) or kind.__name__ in ("function", "builtin_function_or_method", "method"):
        return _name(value)
    if kind.__module__ in _HARMLESS:
        return repr(value)
    if hasattr(kind, "shape"):  # an array or a table, of NumPy or a similar library
        return _array(value, kind)
    for base, exact in _EXACT.items():
        if issubclass(kind, base):
            return _short(exact(value), depth)
    if hasattr(kind, "__dataclass_fields__") or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return _record(value, kind, depth)
    return _bare(value)


def _string(value: str | bytes | bytearray) -> str:
    return repr(value) if len(value) <= _TEXT else f"{value[:_TEXT]!r}..."


def _container(value: Any, kind: type, depth: int) -> str:
    if depth == 0 and len(value):
        return f"<{kind.__name__} of {len(value)}>"
    first = list(itertools.islice(value.items() if kind is dict else value, _ITEMS))
    if kind is dict:
        parts = [f"{short(key, depth - 1)}: {short(item, depth - 1)}" for key, item in first]
    else:
        parts = [short(item, depth - 1) for item in first]
    if len(value) > _ITEMS:
        parts.append(f"... {len(value)} in all")
    inside = ", ".join(parts)
    if kind is dict:
        return f"{{{inside}}}"
    if kind is frozenset or (kind is set and not len(value)):
        return f"{kind.__name__}({{{inside}}})" if inside else f"{kind.__name__}()"
    if kind is tuple and len(value) == 1:
        inside += ","
    left, right = _BRACKETS[kind]
    return f"{left}{inside}{right}"


def _array(value: Any, kind: type) -> str:
    dtype = f" {value.dtype}" if hasattr(kind, "dtype") else ""
    shape = tuple(value.shape)
    if shape == () and kind.__module__ == "numpy":
        return f"{kind.__name__}({value.item()!r})"
    return f"<{kind.__name__}{dtype} of shape {shape}>"


def _record(value: Any, kind: type, depth: int) -> str:
    """Returns a named tuple, or an instance of a dataclass, as text."""
    if depth == 0:
        return _bare(value)
    if hasattr(kind, "_fields"):
        names = list(kind._fields)
    else:
        from dataclasses import fields

        names = [field.name for field in fields(kind) if field.repr]
    parts = [f"{name}={short(getattr(value, name), depth - 1)}" for name in names[:_ITEMS]]
    if len(names) > _ITEMS:
        parts.append("...")
    return f"{kind.__qualname__}({', '.join(parts)})"


def _bare(value: object) -> str:
    return f"<{type(value).__qualname__} object>"
