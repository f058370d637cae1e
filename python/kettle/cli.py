"""The command `kettle`, also `python -m kettle`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from kettle import __version__, _program

__all__ = ["main"]

_RUN_USAGE = "kettle run PROGRAM [ARGUMENT...]\n       kettle run -m MODULE [ARGUMENT...]"


def main(argv: Sequence[str] | None = None) -> int:
    """Carries out a command line (by default this process's). Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:
        # Not argparse: what follows the program is the program's, whatever it looks like.
        return _run(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="kettle",
        description="Python's concurrency toolbox on a Rust core.",
        epilog="`kettle run --help` says more.",
    )
    parser.add_argument("--version", action="version", version=f"kettle {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("run", help="run a Python program with kettle in place of the standard library's modules")
    parser.parse_args(arguments)
    parser.print_help()
    return 2


def _run(arguments: list[str]) -> int:
    start: Callable[[str, Sequence[str]], None]
    match arguments:
        case ["-h" | "--help", *_]:
            _run_parser().print_help()
            return 0
        case ["-m", module, *rest]:
            start, program = _program.run_module, module
        case ["-m"]:
            _run_parser().error("-m needs the name of a module: kettle run -m package.module")
        case ["--", program, *rest]:
            start = _program.run_path
        case [program, *rest] if not program.startswith("-"):
            start = _program.run_path
        case [option, *_] if option != "--":
            _run_parser().error(f"unknown option {option}; what is meant for the program stands after its name")
        case _:
            _run_parser().error("which program? kettle run program.py")
    _install()
    try:
        start(program, rest)
    except _program.CannotRun as error:
        print(f"kettle: {error}", file=sys.stderr)
        return 1 if start is _program.run_module else 2
    return 0


def _run_parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="kettle run",
        usage=_RUN_USAGE,
        description="Runs a Python program as `python` would, with `multiprocessing` meaning kettle.multiprocessing "
        "there and in all its children. Programs written for older Pythons keep running.",
    )


def _install() -> None:
    """Puts our modules in place, or says why the standard library's stay."""
    if sys.platform != "linux":
        print(
            f"kettle: needs Linux, and this is {sys.platform}; running with the standard library instead",
            file=sys.stderr,
        )
        return
    try:
        from kettle import _native  # noqa: F401
    except ImportError as error:
        sys.exit(
            f"kettle: its extension module does not load in this Python ({sys.executable}): {error}\n"
            "Install kettle into this environment: pip install kettle, or `make build` in its source tree."
        )
    # Who runs a program under another name wants to see it end.
    os.environ.setdefault("KETTLE_DEADLOCK", "raise")
    from kettle._install import install

    install(older=True, subprocesses=True)


if __name__ == "__main__":
    sys.exit(main())
