"""A pickler that the program substituted for the standard library's `ForkingPickler`: dill's, cloudpickle's, JSON.

It may be anything that the standard library accepts: a class or an object with `dumps` and `loads`, or a pickler class.
"""

from __future__ import annotations

import io
import pickle
from multiprocessing import context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["dumps", "loads"]


def dumps(obj: object) -> Any:
    """Returns the pickle of an object: bytes, or an object with a buffer of bytes."""
    pickler = context.reduction.ForkingPickler  # type: ignore[attr-defined]
    own = getattr(pickler, "dumps", None)
    if own is not None:
        return own(obj)
    out = io.BytesIO()
    pickler(out, pickle.HIGHEST_PROTOCOL).dump(obj)
    return out.getvalue()


def loads(data: Any) -> Any:
    """Returns the object for these bytes."""
    pickler = context.reduction.ForkingPickler  # type: ignore[attr-defined]
    return getattr(pickler, "loads", pickle.loads)(data)
