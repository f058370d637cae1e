"""Imported first by the fork server: makes it resemble the program that its children belong to.

The children then find the program's main module already imported, which is most of their work before the target runs.
CPython's own server is intended to do this too, but some versions do not pass on where that module is.
"""

from __future__ import annotations

import json
import os
import sys
from multiprocessing import forkserver, process, spawn, util
from typing import Any

from kettle._frozen import IS_FROZEN
from kettle.multiprocessing import _unnamed
from kettle.multiprocessing import spawn as our_spawn


def _import_main(name: str | None, path: str | None) -> None:
    """Imports the main module as a child would. If that fails, it is left to the children to report why."""
    library: Any = spawn
    current: Any = process.current_process()
    before = sys.modules["__main__"]
    current._inheriting = True  # makes starting a process an error meanwhile
    try:
        if name is not None:
            if IS_FROZEN:
                our_spawn.set_unfinished_main_aside()
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
    library._close_stdin()  # standard input belongs to the program
    _import_main(init_main_from_name, init_main_from_path)


if IS_FROZEN:
    our_spawn.become_server()
_unnamed.put_into(forkserver)
# The parts of a child's preparation data that the server can use as well.
_told = os.environ.pop("KETTLE_FORKSERVER", None)
if _told is not None:
    _prepare(**json.loads(_told))
