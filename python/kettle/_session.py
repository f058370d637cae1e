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

from kettle._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["fallback_dumps", "native"]

_extra: dict[type, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]


def fallback_dumps(obj: object) -> bytes:
    """Pickles by value what the standard pickler cannot find by name (a lambda, a function made in a notebook)."""
    import io

    import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc, name-defined, unused-ignore]
        def reducer_override(self, obj: object) -> Any:
            if type(obj) is native.Token:
                return native.name_in_message(obj)
            reduce = _extra.get(type(obj))
            return super().reducer_override(obj) if reduce is None else reduce(obj)

    out = io.BytesIO()
    Pickler(out).dump(obj)
    return out.getvalue()


# What `ForkingPickler` would consult: registering a reducer there counts here.
native.set_pickler(_extra, copyreg.dispatch_table, fallback_dumps)
# As if `util` had been imported just now; `atexit` runs backwards.
atexit.unregister(util._exit_function)  # type: ignore[attr-defined]
atexit.register(util._exit_function)  # type: ignore[attr-defined]
