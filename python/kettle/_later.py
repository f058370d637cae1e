"""`aio` has the names of `kettle._aio`, which imports asyncio only when a program waits on an event loop.

An import in each function that waits there would take longer than a wait that is over at once.
"""

from __future__ import annotations

__all__ = ["aio"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kettle import _aio as aio
else:

    class _Aio:
        def __getattr__(self, name):
            from kettle import _aio

            value = getattr(_aio, name)
            # The next access does not come here.
            setattr(self, name, value)
            return value

    aio = _Aio()
