"""The command `kettle`, also available as `python -m kettle`."""

from __future__ import annotations

import sys

from kettle import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]

_RUN_USAGE = """kettle run [OPTION...] PROGRAM [ARGUMENT...]
       kettle run -m MODULE [ARGUMENT...]
       kettle run -c CODE [ARGUMENT...]
       kettle run - [ARGUMENT...]"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (by default this process's). Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:
        # Not argparse: everything after the program belongs to the program, whatever it looks like.
        return _run(arguments[1:])
    if arguments[:1] in (["ps"], ["stacks"], ["doctor"]):
        return _look(arguments)
    import argparse

    parser = argparse.ArgumentParser(
        prog="kettle",
        description="Python's concurrency toolbox on a Rust core.",
        epilog="`kettle COMMAND --help` says more.",
    )
    parser.add_argument("--version", action="version", version=f"kettle {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("run", help="run a Python program with kettle in place of the standard library's modules")
    commands.add_parser("ps", help="list running programs that use kettle, or the processes and objects of one")
    commands.add_parser("stacks", help="list the threads of a running program, and what each waits for")
    commands.add_parser("doctor", help="say why a running program does not go on")
    parser.parse_args(arguments)
    parser.print_help()
    return 2


def _look(arguments: list[str]) -> int:
    import signal

    from kettle._core import native

    # The command sleeps between its looks, outside the interpreter: Ctrl-C ends it at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return native.command_line(arguments)


def _run(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        _run_parser().print_help()
        return 0
    from kettle import _run as running

    try:
        return running.run(arguments)
    except running.Mistake as mistake:
        _run_parser().error(str(mistake))


def _run_parser() -> argparse.ArgumentParser:
    import argparse

    return argparse.ArgumentParser(
        prog="kettle run",
        usage=_RUN_USAGE,
        description="Runs a Python program as `python` would, with kettle's `multiprocessing`, `threading` and "
        "`queue` in the program and in all its children. Programs written for older Pythons keep running. PROGRAM "
        "is a file, a folder or archive with a __main__.py in it, or the name of a command installed beside this "
        "interpreter (kettle run pytest); - is standard input, which is also read if no program is "
        "named and it is a pipe or a file. OPTIONs are the interpreter's and come first: -O, -u, -W ignore, -X dev ...",
    )


if __name__ == "__main__":
    sys.exit(main())
