"""`kettle run`: this process becomes the interpreter that runs the program.

It starts anew, by `execv`, with the options and the program that it was given, and so it is what `python program.py`
is: nothing of the command is in its frames, its modules, its arguments or its path. The start-up hook of the
environment (`kettle_run.pth`) puts our modules in place before the program begins. Where there is no hook, the
interpreter is told to run `kettle._program`, which then runs the program inside itself.

Little is imported here: it is what `kettle run` costs on top of `python`.
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
    """Runs what `arguments` say, and does not return; or gives the exit status when it cannot.

    Raises Mistake for what an interpreter would not understand.
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
    """The path of a program: a name that is none may be a command that is installed beside this interpreter."""
    if os.sep in program or os.path.exists(program):
        return program
    command = os.path.join(os.path.dirname(sys.executable), program)
    try:
        with open(command, "rb") as file:
            start = file.read(200)
    except OSError:
        return program
    # What installers write begins with the interpreter, or, where its path is long, with a shell that starts it.
    if not start.startswith(b"#!") or b"python" not in start:
        raise Mistake(f"{command} is not a Python program")
    return command


def _stdin_is_a_program() -> bool:
    """Whether standard input is a pipe or a file, like a here-document; not a terminal, nor /dev/null."""
    import stat

    try:
        kind = stat.S_IFMT(os.fstat(0).st_mode)
    except OSError:
        return False
    return kind in (stat.S_IFIFO, stat.S_IFREG, stat.S_IFSOCK)


def _die_of_interrupts() -> None:
    """Ctrl-C before the program has begun ends it, and has nothing to tell. (If it is ignored, it stays so.)"""
    import _signal  # type: ignore[import-not-found]

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _own_options() -> CommandLine:
    """The options that this interpreter was given, for `python -X dev -m kettle run ...`."""
    try:
        own = CommandLine(sys.orig_argv[1:])
    except Mistake:  # a program that embeds Python has options of its own
        return CommandLine([])
    if own.kind == "":
        # The first line of an installed script may keep it apart from the user's files. That is not for the program.
        own.options = [option for option in own.options if option not in ("-E", "-I", "-P", "-s")]
        own.flags -= set("EIPs")
    return own


def _prepare() -> bool:
    """Has the interpreter that comes put our modules in place, or says why the standard library's stay."""
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
    # Who runs a program under another name wants to see it end.
    os.environ.setdefault("KETTLE_DEADLOCK", "raise")
    os.environ["KETTLE_INSTALL"] = "older"
    return True


#: For an interpreter that does not look at its environment; the hook takes it away again.
_IN_PLACE_OF_ENVIRONMENT = ["-X", "kettle=older"]


def _hook_is_seen(flags: set[str]) -> bool:
    """Whether an interpreter with these flags runs `kettle_run.pth` when it starts."""
    site = sys.modules.get("site")
    if "S" in flags or site is None:
        return False
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE and flags.isdisjoint("sI"):
        folders.append(site.getusersitepackages())
    return any(os.path.exists(os.path.join(folder, "kettle_run.pth")) for folder in folders)


def _tell_of_subprocesses(flags: set[str]) -> None:
    """Says so where only this program, and none that it starts through `subprocess`, can have our modules in place."""
    if "S" not in flags and not _hook_is_seen(set()):
        print(
            "kettle: it is on the path and not installed in this environment, so that Python programs which this one "
            "starts through subprocess run on the standard library; `pip install kettle` without --target changes that",
            file=sys.stderr,
        )


def _run_inside() -> str:
    """The code that runs a program inside the interpreter. Afterwards the path is what the interpreter's options say:
    what else of this package is imported is found in its folder."""
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
