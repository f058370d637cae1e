"""A pickler that the program put in the place of the standard library's `ForkingPickler`: dill's, cloudpickle's, JSON.

It is what the standard library would use: a class or an object with `dumps` and `loads`, or the class of a pickler.
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
    """What it makes of an object: bytes, or something that has them."""
    pickler = context.reduction.ForkingPickler  # type: ignore[attr-defined]
    own = getattr(pickler, "dumps", None)
    if own is not None:
        return own(obj)
    out = io.BytesIO()
    pickler(out, pickle.HIGHEST_PROTOCOL).dump(obj)
    return out.getvalue()


def loads(data: Any) -> Any:
    """The object of which it made these bytes."""
    pickler = context.reduction.ForkingPickler  # type: ignore[attr-defined]
    return getattr(pickler, "loads", pickle.loads)(data)
