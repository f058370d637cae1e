"""Imported first by the fork server: makes it like the program that its children belong to.

The children then find the program's main module imported already, which is most of what they would do before their
target. CPython's own server is meant to do so too, but some versions do not pass on where that module is.
"""

from __future__ import annotations

import json
import os
import sys
from multiprocessing import forkserver, process, spawn, util
from typing import Any

from kettle.multiprocessing import _unnamed


def _import_main(name: str | None, path: str | None) -> None:
    """Imports the main module as a child would. One that cannot be imported is left to the children, to say why."""
    library: Any = spawn
    current: Any = process.current_process()
    before = sys.modules["__main__"]
    current._inheriting = True  # so that starting a process is an error meanwhile
    try:
        if name is not None:
            library._fixup_main_from_name(name)
        elif path is not None:
            library._fixup_main_from_path(path)
    except BaseException:
        sys.modules["__main__"] = before
        sys.modules.pop("__mp_main__", None)
    finally:
        del current._inheriting


def _prepare(
    sys_path: list[str], init_main_from_name: str | None = None, init_main_from_path: str | None = None
) -> None:
    library: Any = util
    sys.path[:] = sys_path
    library._close_stdin()  # the program reads it
    _import_main(init_main_from_name, init_main_from_path)


_unnamed.put_into(forkserver)
# Of a child's preparation data what the server can use too.
_told = os.environ.pop("KETTLE_FORKSERVER", None)
if _told is not None:
    _prepare(**json.loads(_told))
