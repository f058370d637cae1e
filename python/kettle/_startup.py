"""Run by `kettle_run.pth` in each new interpreter of the environment in which KETTLE_INSTALL is set: a descendant of
`kettle run`. Says so to nobody, and costs nothing until the program imports what we replace."""

import os
import sys

from kettle import _install


def _standard_bootstrap() -> str | None:
    """The module of the standard library's `multiprocessing` whose start-up line this interpreter was given."""
    line = sys.orig_argv[-1 if "--multiprocessing-fork" not in sys.orig_argv else -2] if "-c" in sys.orig_argv else ""
    start = "from multiprocessing."
    if not line.startswith((start, _install.WITHOUT_CURRENT_DIRECTORY)):
        return None
    _, found, rest = line.partition(start)
    return rest.split(" ")[0] if found else None


def _main() -> None:
    wanted = os.environ.get(_install.ENVIRONMENT_VARIABLE)
    if not wanted or sys.flags.ignore_environment or sys.platform != "linux":
        return
    bootstrap = _standard_bootstrap()
    if bootstrap == "resource_tracker":
        return  # runs nothing of the program's
    try:
        _install.apply({"older": wanted == "older"})
    except ImportError as error:
        if "subinterpreters" in str(error):
            return  # a compiled module may be for the main interpreter alone, as ours is: this one has the originals
        raise
    if bootstrap:
        _install.keep_standard_for_main()


_main()
