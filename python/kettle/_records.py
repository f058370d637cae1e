"""Records like those of `collections.namedtuple`, which are created without compiling code.

A record may be needed for the first time while the interpreter ends, after Ctrl-C. `eval`, and therefore `namedtuple`,
would make the interpreter forget that it was interrupted, and the process would exit with status 1 instead of dying of
SIGINT.
"""

from __future__ import annotations

from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = ["record"]


class _Record(tuple):  # type: ignore[type-arg]
    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __new__(cls, *values: Any, **by_name: Any) -> _Record:
        fields = cls._fields
        for field in fields[len(values) :]:
            if field not in by_name:
                raise TypeError(f"{cls.__name__}() is missing the field {field!r}")
            values += (by_name.pop(field),)
        if by_name:
            raise TypeError(f"{cls.__name__}() has no field {next(iter(by_name))!r}, or got it twice")
        return cls._make(values)

    @classmethod
    def _make(cls, values: Iterable[Any]) -> _Record:
        made = tuple.__new__(cls, values)
        if len(made) != len(cls._fields):
            raise TypeError(f"{cls.__name__}() has {len(cls._fields)} fields, and got {len(made)}")
        return made

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **changes: Any) -> _Record:
        return type(self)(**{**self._asdict(), **changes})

    __replace__ = _replace

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({fields})"


def record(name: str, fields: Sequence[str], module: str = __name__, doc: str | None = None) -> Any:
    """Returns a class of tuples whose items have these names.

    module: the module in which it is found by `name`, so that pickle finds it.
    """
    members: dict[str, Any] = {field: property(itemgetter(i)) for i, field in enumerate(fields)}
    fixed = {"__slots__": (), "__module__": module, "__doc__": doc}
    return type(name, (_Record,), {**members, **fixed, "_fields": tuple(fields), "__match_args__": tuple(fields)})
