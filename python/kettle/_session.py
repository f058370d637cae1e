"""Ties the Rust core to this interpreter: fork hooks, the pickler's registry, and the leave-taking at exit.

Every module that needs the core imports it from here (`from kettle._session import native`), so that it is never used
before the ties are made.
"""

from __future__ import annotations

import atexit
import os
import sys

if sys.platform != "linux":
    raise ImportError(
        f"kettle's primitives need Linux (futexes, memfd, pidfd), and this is {sys.platform!r}; "
        "`kettle run` falls back to the standard library there"
    )

import copyreg
from importlib.util import find_spec
from multiprocessing import util
from multiprocessing.reduction import ForkingPickler

from kettle import _native as native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["HAVE_CLOUDPICKLE", "fallback_dumps", "native"]

_extra: dict[type, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
HAVE_CLOUDPICKLE = find_spec("cloudpickle") is not None


def fallback_dumps(obj: object) -> bytes:
    """Pickles by value what the standard pickler cannot find by name (a lambda, a function made in a notebook)."""
    import io

    import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc, name-defined, unused-ignore]
        def reducer_override(self, obj: object) -> Any:
            reduce = _extra.get(type(obj))
            return super().reducer_override(obj) if reduce is None else reduce(obj)

    out = io.BytesIO()
    Pickler(out).dump(obj)
    return out.getvalue()


def _leave_last() -> None:
    """At exit the core is left after multiprocessing's own clean-up, which still uses it; `atexit` runs backwards."""
    atexit.register(native.leave)
    atexit.unregister(util._exit_function)  # type: ignore[attr-defined]
    atexit.register(util._exit_function)  # type: ignore[attr-defined]


os.register_at_fork(
    before=native.before_fork,
    after_in_parent=native.after_fork_in_parent,
    after_in_child=native.after_fork_in_child,
)
# What `ForkingPickler` would consult: registering a reducer there counts here.
native.set_pickler(_extra, copyreg.dispatch_table, fallback_dumps if HAVE_CLOUDPICKLE else None)
_leave_last()
