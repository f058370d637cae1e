"""A pickler that the program substituted for the standard library's `ForkingPickler`: dill's, cloudpickle's, JSON.

It is what the standard library would use: a class or an object with `dumps` and `loads`, or the class of a pickler. It
stands in `multiprocessing.reduction`; or as `_ForkingPickler` in the module of queues or of connections, for those
alone.
"""

from __future__ import annotations

import io
import pickle
from functools import partial
from multiprocessing import context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["dumps", "functions", "loads"]


def functions(own: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """What makes bytes of an object and an object of bytes, by this pickler; None is the one of `reduction`."""
    return (dumps, loads) if own is None else (partial(_dumps, own), partial(_loads, own))


def dumps(obj: object) -> Any:
    """What it makes of an object: bytes, or something that has them."""
    return _dumps(context.reduction.ForkingPickler, obj)  # type: ignore[attr-defined]


def loads(data: Any) -> Any:
    """The object that it turned into these bytes."""
    return _loads(context.reduction.ForkingPickler, data)  # type: ignore[attr-defined]


def _dumps(pickler: Any, obj: object) -> Any:
    own = getattr(pickler, "dumps", None)
    if own is not None:
        return own(obj)
    out = io.BytesIO()
    pickler(out, pickle.HIGHEST_PROTOCOL).dump(obj)
    return out.getvalue()


def _loads(pickler: Any, data: Any) -> Any:
    return getattr(pickler, "loads", pickle.loads)(data)
