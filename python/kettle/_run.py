"""`kettle run`: this process becomes the interpreter that runs the program.

It restarts itself by `execv`, with the given options and program, and is then the same as `python program.py`: nothing
of the command is in its frames, modules, arguments or path. The start-up hook of the environment (`kettle_run.pth`)
installs Kettle's modules before the program begins. Where there is no hook, the interpreter runs `kettle._program`,
which then runs the program inside itself.

This module imports little, because the difference in start-up time to `python` is spent here.
"""

from __future__ import annotations

import os
import sys

from kettle._interpreter_options import CommandLine, Mistake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Mistake", "run"]


def run(arguments: Sequence[str]) -> int:
    """Runs the program given by `arguments` and does not return; returns the exit status if that fails.

    Raises Mistake for arguments that an interpreter would not understand.
    """
    wanted = CommandLine(arguments)
    if wanted.kind is None and "i" not in wanted.flags and not _stdin_is_a_program():
        raise Mistake("which program? kettle run program.py")
    if wanted.kind == "":
        arguments = list(arguments)
        place = len(arguments) - len(wanted.arguments) - 1
        arguments[place] = wanted.program = _found(wanted.program)
    _die_of_interrupts()
    given = _own_options()
    options = [*given.options]
    if _prepare():
        if not _hook_is_seen(given.flags | wanted.flags):
            _tell_of_subprocesses(given.flags | wanted.flags)
            how = "--" if wanted.kind == "" else wanted.kind or ""
            inside = ["-c", _run_inside(), how, wanted.program, *wanted.arguments]
            return _become([*options, *wanted.options, *inside])
        if not (given.flags | wanted.flags).isdisjoint("EI"):
            options += _IN_PLACE_OF_ENVIRONMENT
    return _become([*options, *arguments])


def _found(program: str) -> str:
    """Returns the path of a program. A name that is not a path may be a command that is installed next to this
    interpreter."""
    if os.sep in program or os.path.exists(program):
        return program
    command = os.path.join(os.path.dirname(sys.executable), program)
    try:
        with open(command, "rb") as file:
            start = file.read(200)
    except OSError:
        return program
    # Scripts written by installers begin with the interpreter or, if its path is long, with a shell that starts it.
    if not start.startswith(b"#!") or b"python" not in start:
        raise Mistake(f"{command} is not a Python program")
    return command


def _stdin_is_a_program() -> bool:
    """Returns whether standard input is a pipe or a file, like a here-document; not a terminal or /dev/null."""
    import stat

    try:
        kind = stat.S_IFMT(os.fstat(0).st_mode)
    except OSError:
        return False
    return kind in (stat.S_IFIFO, stat.S_IFREG, stat.S_IFSOCK)


def _die_of_interrupts() -> None:
    """Makes Ctrl-C end the program silently before it has begun. (If it is ignored, it stays ignored.)"""
    import _signal  # type: ignore[import-not-found]

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _own_options() -> CommandLine:
    """Returns the options of this interpreter, for `python -X dev -m kettle run ...`."""
    try:
        own = CommandLine(sys.orig_argv[1:])
    except Mistake:  # a program that embeds Python has its own options
        return CommandLine([])
    if own.kind == "":
        # The first line of an installed script may isolate it from the user's files. That is not meant for the program.
        own.options = [option for option in own.options if option not in ("-E", "-I", "-P", "-s")]
        own.flags -= set("EIPs")
    return own


def _prepare() -> bool:
    """Makes the next interpreter install Kettle's modules, or reports why the standard library's are used."""
    if sys.platform != "linux":
        print(
            f"kettle: needs Linux, and this is {sys.platform}; running with the standard library instead",
            file=sys.stderr,
        )
        return False
    try:
        from kettle import _extension  # noqa: F401
    except ImportError as error:
        sys.exit(f"kettle: {error}")
    # A program that is run under another name should be seen to end.
    os.environ.setdefault("KETTLE_DEADLOCK", "raise")
    os.environ["KETTLE_INSTALL"] = "older"
    return True


#: For an interpreter that ignores its environment; the hook removes the option again.
_IN_PLACE_OF_ENVIRONMENT = ["-X", "kettle=older"]


def _hook_is_seen(flags: set[str]) -> bool:
    """Returns whether an interpreter with these flags runs `kettle_run.pth` when it starts."""
    site = sys.modules.get("site")
    if "S" in flags or site is None:
        return False
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE and flags.isdisjoint("sI"):
        folders.append(site.getusersitepackages())
    return any(os.path.exists(os.path.join(folder, "kettle_run.pth")) for folder in folders)


def _tell_of_subprocesses(flags: set[str]) -> None:
    """Reports if only this program, and no program that it starts through `subprocess`, can use Kettle's modules."""
    if "S" not in flags and not _hook_is_seen(set()):
        print(
            "kettle: it is on the path and not installed in this environment, so that Python programs which this one "
            "starts through subprocess run on the standard library; `pip install kettle` without --target changes that",
            file=sys.stderr,
        )


def _run_inside() -> str:
    """Returns the code that runs a program inside the interpreter. Afterwards the path is as set by the interpreter's
    options; further modules of this package are found in its folder."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return (
        'import sys; "" in sys.path and sys.path.remove(""); '
        f"sys.path.append({home!r}); from kettle import _program; sys.path.remove({home!r}); _program.main()"
    )


def _become(words: Sequence[str]) -> int:
    try:
        os.execv(sys.executable, [sys.executable, *words])
    except OSError as error:
        print(f"kettle: cannot start the interpreter {sys.executable!r}: {error.strerror}", file=sys.stderr)
        return 1
