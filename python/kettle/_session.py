"""What processes need of this interpreter besides `kettle._core`: the pickler's registry, and the order of things at
exit.

Every module of what processes share imports the core from here (`from kettle._session import native`); it comes with
the first process or primitive, as the standard library's `util` does, and not with `multiprocessing` itself. So what a
program has registered with `atexit` before runs after its children were joined, as there.
"""

from __future__ import annotations

import atexit
import copyreg
from multiprocessing import util
from multiprocessing.reduction import ForkingPickler

from kettle import _frozen
from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["fallback_dumps", "native", "reducers"]

reducers: dict[type, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]


def fallback_dumps(obj: object) -> bytes:
    """Pickles by value what the standard pickler cannot find by name (a lambda, a function made in a notebook)."""
    from kettle import _by_value

    return _by_value.dumps(obj)


# What `ForkingPickler` would consult: registering a reducer there counts here.
native.set_pickler(reducers, copyreg.dispatch_table, fallback_dumps)
# As if `util` had been imported just now; `atexit` runs backwards.
atexit.unregister(util._exit_function)  # type: ignore[attr-defined]
atexit.register(util._exit_function)  # type: ignore[attr-defined]

if _frozen.IS_FROZEN:
    # It joins the parent's session there, before one of its own can begin.
    import kettle.multiprocessing.spawn  # noqa: F401
