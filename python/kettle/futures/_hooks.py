"""The differences between an executor and a pool: an executor raises the errors that users of `concurrent.futures`
expect.

This module is imported with the first executor. A worker imports it before all other modules of the executor, and
importing `concurrent.futures.process` installs the executor, which needs this module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from kettle import _errors
from kettle.multiprocessing import _crew, _worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kettle.multiprocessing.process import BaseProcess

__all__ = ["Hooks"]

_LOGGER = logging.getLogger("concurrent.futures")


def _pack(error: BaseException) -> bytes:
    return _worker.pack_error(error, BaseException)


def _pack_unsendable(refusal: BaseException, result: object) -> bytes:
    if isinstance(refusal, Exception):
        from kettle import _unpicklable

        refusal = _unpicklable.explain(refusal, {"result": result})
    refusal.add_note(f"This was raised when the task's result was pickled, which is of the type {type(result)!r}.")
    return _pack(refusal)


class Hooks(_crew.Hooks):
    _is_executor = True

    def __init__(
        self,
        make_process: Callable[..., BaseProcess],
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        if initializer is not None:
            initializer, initargs = _initialize, (initializer, initargs)
        super().__init__(make_process, None, initializer, initargs)

    work = staticmethod(partial(_worker.work, pack=_pack, pack_unsendable=_pack_unsendable))

    @staticmethod
    def unpack(packed: bytes) -> BaseException:  # type: ignore[override]
        from concurrent.futures.process import _RemoteTraceback

        return _worker.unpack(packed, cause=_RemoteTraceback)  # type: ignore[arg-type]

    def lost(self, *what: Any) -> Any:
        from kettle.futures._errors import WorkerDied

        error = super().lost(*what)
        return _errors.rebuild(WorkerDied, error.args, vars(error)) if isinstance(error, _errors.WorkerDied) else error

    def broken(self, error: BaseException) -> BaseException:
        from concurrent.futures.process import BrokenProcessPool

        broken = BrokenProcessPool(f"the executor's workers cannot be started: {error}")
        if not (isinstance(error, _errors.WorkerDied) and error.hint):  # otherwise the error says everything
            broken.__cause__ = error
        return broken


def _initialize(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
    try:
        initializer(*initargs)
    except BaseException:
        _LOGGER.critical("Exception in initializer:", exc_info=True)
        raise
