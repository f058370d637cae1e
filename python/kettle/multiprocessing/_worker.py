"""The main function of a worker process, and how exceptions of its tasks reach the parent.

An exception is sent as plain fields (the name of its type, its text, its traceback), together with its pickle if that
is usable. An exception that cannot be pickled or unpickled therefore still describes what happened.
"""

from __future__ import annotations

import opcode
import pickle
from collections.abc import Callable
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback  # type: ignore[attr-defined]

from kettle import _main_names, _postmortem
from kettle._errors import RemoteError, text_of, traceback_of
from kettle._session import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RAISE = opcode.opmap["RAISE_VARARGS"]

__all__ = ["is_interrupt", "name_of", "pack_error", "text_of", "unpack", "work"]


def work(
    desk: native.PoolDesk,
    trace: tuple[int, int] | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    pack: Callable[[BaseException], bytes] | None = None,
    pack_unsendable: Callable[[BaseException, object], bytes] | None = None,
) -> None:
    """Runs a worker at `desk`. A crash writes a traceback to `trace`. `pack` packs the exceptions of tasks, and
    `pack_unsendable` the reason why a result cannot be sent."""
    # This comes first, so that an initializer that enables faulthandler itself overrides it.
    _postmortem.arm(trace)
    _main_names.begin()
    worker = native.PoolWorker(desk, pack or pack_error, pack_unsendable or _pack_unsendable)
    if initializer is not None:
        worker.prepare()
        try:
            initializer(*initargs)
        except Exception as e:
            worker.refuse(e)
            return
        _postmortem.check()
    worker.ready()
    worker.run()


def pack_error(error: BaseException, kinds: type[BaseException] = Exception) -> bytes:
    """Returns an exception as bytes. One that is not of these `kinds` would end the parent if raised there, so only its
    description is sent."""
    pickled = None
    if isinstance(error, kinds):
        try:
            pickled = native.dumps(error)
        except Exception:  # a pickler may raise anything
            pickled = None
    return pickle.dumps((name_of(error), text_of(error), traceback_of(error), pickled))


def name_of(error: BaseException) -> str:
    """Returns the name of an exception's class, with its module unless it is a builtin."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _pack_unsendable(refusal: BaseException, result: object) -> bytes:
    if not isinstance(refusal, Exception):
        return pack_error(refusal)
    from kettle import _unpicklable

    told = _unpicklable.explain(refusal, {"result": result})
    error = MaybeEncodingError(told, result)
    for note in getattr(told, "__notes__", ()):
        error.add_note(note)
    error.__traceback__ = refusal.__traceback__
    return pack_error(error)


def is_interrupt(error: BaseException) -> bool:
    """Returns whether the exception comes from Ctrl-C, and was not raised deliberately by the called code: signals are
    checked in the middle of Python code, but never at a `raise`."""
    at = error.__traceback__
    if not isinstance(error, KeyboardInterrupt) or at is None:
        return False
    while at.tb_next is not None:
        at = at.tb_next
    return at.tb_frame.f_code.co_code[at.tb_lasti] != _RAISE


def unpack(packed: bytes, cause: Callable[[str], BaseException] = RemoteTraceback) -> BaseException:
    """In the parent, returns the exception, with the worker's traceback as its cause."""
    name, text, where, pickled = pickle.loads(packed)
    if pickled is not None:
        try:
            error = pickle.loads(pickled)
        except BaseException as e:  # a constructor may raise anything
            if is_interrupt(e):
                raise
            error = None
        if isinstance(error, BaseException):
            # This also works where the class does not allow its attributes to be set.
            BaseException.__setattr__(error, "__cause__", cause(f'\n"""\n{where}"""'))
            return error
    return RemoteError(type_name=name, text=text, traceback=where)
