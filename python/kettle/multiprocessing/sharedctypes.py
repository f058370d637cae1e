"""ctypes objects in shared memory, with or without a lock.

The core reads and writes a number's `.value` under the lock; `v += n` and `fetch_add` are one atomic step. The bare
objects are those of ctypes, in memory of the session, and can be sent through any channel.
"""

import ctypes
from collections.abc import Sequence
from multiprocessing import heap as _standard_heap
from multiprocessing import sharedctypes as _standard
from typing import Any, Self

from kettle import _parameters
from kettle._session import ForkingPickler, native
from kettle.multiprocessing import heap

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]

typecode_to_type: dict[str, type] = _standard.typecode_to_type  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


# Only exactly these types are numbers for the core; a subclass may have its own `value`.
_NUMBERS: dict[type, str] = {
    type_: type_._type_
    for type_ in (
        ctypes.c_bool,
        ctypes.c_byte,
        ctypes.c_ubyte,
        ctypes.c_short,
        ctypes.c_ushort,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_long,
        ctypes.c_ulong,
        ctypes.c_longlong,
        ctypes.c_ulonglong,
        ctypes.c_float,
        ctypes.c_double,
        ctypes.c_char,
    )
}


def _new_value(type_: Any) -> Any:
    return _view(type_, heap.BufferWrapper(ctypes.sizeof(type_)))


def _view(type_: Any, wrapper: heap.BufferWrapper) -> Any:
    ForkingPickler.register(type_, _reduce)
    obj = type_.from_buffer(wrapper.create_memoryview())
    obj._wrapper = wrapper
    return obj


def _type_of(typecode_or_type: Any) -> Any:
    """Returns the ctypes type. Raises TypeError if there is none."""
    try:
        type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)
        ctypes.sizeof(type_)
    except TypeError:
        codes = ", ".join(map(repr, typecode_to_type))
        raise TypeError(
            f"typecode_or_type must be a type of ctypes or one of the type codes {codes}, "
            f"not {_parameters.shown(typecode_or_type)}"
        ) from None
    return type_


def _set(parameter: str, obj: Any, type_: Any, values: Any) -> Any:
    """Gives a new object its values."""
    try:
        obj.__init__(*values)
    except TypeError as error:
        if type_ not in _NUMBERS:  # a structure may have an `__init__` of its own
            raise
        raise TypeError(f"{parameter} must be right for {type_.__name__}: {error}") from None
    return obj


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """Returns a ctypes object in shared memory, for a type or a type code of `array`, created with `args`."""
    type_ = _type_of(typecode_or_type)
    return _set("args", _new_value(type_), type_, args)


def RawArray(typecode_or_type: Any, size_or_initializer: int | Sequence[Any]) -> Any:
    """Returns a ctypes array in shared memory: a number of zeros, or the values of a sequence."""
    type_ = _type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _new_value(type_ * size_or_initializer)
    if not hasattr(type(size_or_initializer), "__len__"):
        raise TypeError(
            f"size_or_initializer must be a whole number or a sequence, not {_parameters.shown(size_or_initializer)}"
        )
    array = _new_value(type_ * len(size_or_initializer))
    return _set("the items of size_or_initializer", array, type_, size_or_initializer)


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """Returns a ctypes object in shared memory with a lock: a new RLock, or `lock`. Returns the bare object if `lock`
    is False.

    Raises AttributeError if `lock` is not a lock.
    """
    return _locked(RawValue(typecode_or_type, *args), lock, ctx)


def Array(typecode_or_type: Any, size_or_initializer: int | Sequence[Any], *, lock: Any = True, ctx: Any = None) -> Any:
    """Returns a ctypes array in shared memory with a lock: a new RLock, or `lock`. Returns the bare array if `lock` is
    False.

    Raises AttributeError if `lock` is not a lock.
    """
    return _locked(RawArray(typecode_or_type, size_or_initializer), lock, ctx)


def _locked(obj: Any, lock: Any, ctx: Any) -> Any:
    if lock is False:
        return obj
    if lock in (True, None):
        lock = _new_lock(ctx)
    elif not hasattr(lock, "acquire"):
        raise _parameters.no_lock("lock", lock, "acquire")
    return synchronized(obj, lock, ctx)


def _new_lock(ctx: Any) -> Any:
    if ctx is None:
        from kettle.multiprocessing.context import _default_context

        ctx = _default_context.get_context()
    return ctx.RLock()


def copy(obj: Any) -> Any:
    """Returns a copy of a ctypes object, in its own shared memory."""
    new = _new_value(type(obj))
    ctypes.pointer(new)[0] = obj
    return new


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """Returns a wrapper that acquires `lock` (or a new RLock) around each access to a shared ctypes object."""
    if isinstance(obj, _standard.SynchronizedBase):
        raise AssertionError("object already synchronized")
    if lock is None:
        lock = _new_lock(ctx)
    wrapper = getattr(obj, "_wrapper", None)
    if type(obj) in _NUMBERS and isinstance(wrapper, heap.BufferWrapper):
        return Synchronized(obj, lock, ctx)
    return _standard_wrapper(obj, lock, ctx)


def _standard_wrapper(obj: Any, lock: Any, ctx: Any) -> Any:
    """Returns the standard library's wrapper, as a class that travels through any channel."""
    wrapper = _standard.synchronized(obj, lock, ctx)
    cls = type(wrapper)
    travelling = _travelling.get(cls)
    if travelling is None:
        travelling = _travelling[cls] = type(cls.__name__, (SynchronizedBase, cls), {"__module__": __name__})
    wrapper.__class__ = travelling
    return wrapper


class SynchronizedBase(_standard.SynchronizedBase):  # type: ignore[type-arg]
    """A shared ctypes object with its lock: `get_obj()`, `get_lock()`, and `with`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return synchronized, (self.get_obj(), self.get_lock())


@native.quicken
class Synchronized(native.Cell, SynchronizedBase, _standard.Synchronized):  # type: ignore[misc, type-arg]
    """A number with its lock.

    `value` acquires the lock to read and to write, so `v.value += 1` acquires it twice and can lose an update of
    another process; `v += 1` cannot, and needs no lock.
    """

    _obj: Any

    def __new__(cls, obj: Any, lock: Any = None, ctx: Any = None) -> Self:
        if lock is None:
            lock = _new_lock(ctx)
        self = super().__new__(cls, _NUMBERS[type(obj)], obj._wrapper._memory, 0, lock)
        self._obj = obj
        return self

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        pass  # created by __new__

    def get_obj(self) -> Any:
        """Returns the ctypes object itself, which does not use the lock."""
        return self._obj

    @property
    def _lock(self) -> Any:
        # Programs use it instead of `get_lock()`.
        return self.get_lock()

    def __iadd__(self, n: float) -> Self:
        self.fetch_add(n)
        return self

    def __isub__(self, n: float) -> Self:
        self.fetch_add(-n)
        return self


class SynchronizedArray(SynchronizedBase, _standard.SynchronizedArray):  # type: ignore[type-arg]
    """An array with its lock."""


class SynchronizedString(SynchronizedBase, _standard.SynchronizedString):
    """An array of characters with its lock."""


_travelling: dict[type, type] = {
    _standard.SynchronizedArray: SynchronizedArray,
    _standard.SynchronizedString: SynchronizedString,
}


def _reduce(obj: Any) -> Any:
    """Pickles a ctypes object: as a handle if it is in shared memory of either package, otherwise as ctypes does."""
    wrapper = getattr(obj, "_wrapper", None)
    if isinstance(wrapper, heap.BufferWrapper):
        if isinstance(obj, ctypes.Array):
            return _rebuild, (obj._type_, wrapper, obj._length_)
        return _rebuild, (type(obj), wrapper, None)
    if isinstance(wrapper, _standard_heap.BufferWrapper):
        return _standard.reduce_ctype(obj)  # type: ignore[attr-defined]
    return obj.__reduce_ex__(2)


def _rebuild(type_: Any, wrapper: heap.BufferWrapper, length: int | None) -> Any:
    return _view(type_ if length is None else type_ * length, wrapper)
