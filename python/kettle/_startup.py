"""Run by `kettle_run.pth` in each new interpreter of the environment in which KETTLE_INSTALL is set: the one that
`kettle run` becomes, and its descendants. It prints nothing, and costs nothing until the program imports a module that
Kettle replaces."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys


def _main() -> None:
    wanted = _wanted()
    if not wanted or sys.platform != "linux":
        return
    # Ctrl-C silently ends a program that has not begun. If it is ignored, it stays ignored.
    handler = _signal.getsignal(_signal.SIGINT)
    hears = handler is _signal.default_int_handler and _set_interrupts(_signal.SIG_DFL)
    try:
        _install(wanted)
    finally:
        if hears:
            _set_interrupts(handler)


def _wanted() -> str | None:
    """Returns the setting of this interpreter, given by an option if `kettle run` started one that ignores its
    environment."""
    by_option = sys._xoptions.pop("kettle", None)
    if isinstance(by_option, str):
        if (word := f"kettle={by_option}") in sys.orig_argv:
            place = sys.orig_argv.index(word)
            del sys.orig_argv[place - 1 : place + 1]
        return by_option
    return None if sys.flags.ignore_environment else os.environ.get("KETTLE_INSTALL")


def _set_interrupts(handler: object) -> bool:
    try:
        _signal.signal(_signal.SIGINT, handler)
    except ValueError:
        return False  # a subinterpreter, in which nothing is installed
    return True


def _install(wanted: str) -> None:
    from kettle import _install

    bootstrap = _standard_bootstrap(_install.WITHOUT_CURRENT_DIRECTORY)
    if bootstrap == "resource_tracker":
        return  # runs nothing of the program's
    try:
        _install.apply({"older": wanted == "older"})
    except ImportError as error:
        if "subinterpreters" in str(error):
            return  # a compiled module may require the main interpreter, as Kettle's does: this one has the originals
        raise
    if bootstrap:
        _install.keep_standard_for_main()


#: The lines by which the standard library's `multiprocessing` starts an interpreter, up to their variable part, and
#: their purpose.
_BOOTSTRAPS = {
    "from multiprocessing.spawn import spawn_main;": "spawn",
    "from multiprocessing.forkserver import main;": "forkserver",
    "from multiprocessing.resource_tracker import main;": "resource_tracker",
}


def _standard_bootstrap(beginning: str) -> str | None:
    """Returns the purpose of this interpreter, if it was started by one of these lines. The line may follow Kettle's
    own, which begins like this."""
    line = sys.orig_argv[-1 if "--multiprocessing-fork" not in sys.orig_argv else -2] if "-c" in sys.orig_argv else ""
    if line.startswith(beginning):
        line = line[line.find("from multiprocessing.") :]
    return next((part for start, part in _BOOTSTRAPS.items() if line.startswith(start)), None)


_main()
