"""Runs a program as the interpreter itself would: as `__main__`, with its own arguments, path and exit status, and
with no frame of ours in its tracebacks."""

import importlib.util
import io
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any

__all__ = ["CannotRun", "run_module", "run_path"]

# Kept alive when the program takes its place: its code is still running.
_command = sys.modules.get("__main__")


class CannotRun(Exception):
    """There is no such program; the message says why."""


def run_path(path: str, arguments: Sequence[str]) -> None:
    """Runs a file, or a directory or archive with a `__main__` in it: `python PATH ARGUMENTS...`.

    Raises CannotRun if it cannot be read, and whatever the program raises.
    """
    sys.argv[:] = [path, *arguments]
    importer = pkgutil.get_importer(path)
    if importer is not None and hasattr(importer, "find_spec"):  # a directory or an archive, not a file
        _first_on_path(path)
        spec = importer.find_spec("__main__")
        if spec is None:
            raise CannotRun(f"can't find '__main__' module in {path!r}")
        _run(*_loaded(spec), spec=spec, package="")
        return
    location = os.path.abspath(path)
    loader: Any = SourceFileLoader("__main__", location)
    try:
        if path.endswith(".pyc"):
            loader = SourcelessFileLoader("__main__", location)
            code = loader.get_code("__main__")
        else:
            with io.open_code(location) as f:
                source = f.read()
            code = None
    except OSError as error:
        raise CannotRun(f"can't open file {location!r}: [Errno {error.errno}] {error.strerror}") from None
    _first_on_path(os.path.dirname(os.path.realpath(path)))
    main = _new_main(file=location, loader=loader, spec=None, package=None)
    with _AsInterpreter() as shown:
        if code is None:
            code = compile(source, location, "exec", dont_inherit=True)
        shown.program = code
        exec(code, vars(main))


def run_module(name: str, arguments: Sequence[str]) -> None:
    """Runs a module of the path, or the `__main__` of a package: `python -m NAME ARGUMENTS...`.

    Raises CannotRun if there is no such module, and whatever the program raises.
    """
    sys.argv[:] = ["-m", *arguments]
    _first_on_path(os.getcwd())
    spec = _find(name)
    if spec.submodule_search_locations is not None:
        spec = _find(f"{name}.__main__", f"{name!r} is a package and cannot be directly executed: ")
    code, file = _loaded(spec)
    sys.argv[0] = file
    _run(code, file, spec=spec, package=spec.parent)


def _first_on_path(directory: str) -> None:
    """Puts the program's place where the interpreter put this command's."""
    if not sys.flags.safe_path:
        sys.path[0] = directory


def _find(name: str, prefix: str = "") -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
            spec = None
        else:
            raise CannotRun(f"{prefix}error while finding {name!r} ({type(error).__name__}: {error})") from error
    if spec is None or spec.loader is None:
        raise CannotRun(f"{prefix}no module named {name!r}")
    return spec


def _loaded(spec: ModuleSpec) -> tuple[CodeType, str]:
    loader: Any = spec.loader
    code = loader.get_code(spec.name)
    if code is None:
        raise CannotRun(f"{spec.name!r} has no Python code to run")
    return code, str(spec.origin)


def _run(code: CodeType, file: str, *, spec: ModuleSpec, package: str | None) -> None:
    main = _new_main(file=file, loader=spec.loader, spec=spec, package=package)
    with _AsInterpreter() as shown:
        shown.program = code
        exec(code, vars(main))


def _new_main(*, file: str, loader: Any, spec: ModuleSpec | None, package: str | None) -> ModuleType:
    """A fresh `__main__`, as the interpreter fills it."""
    main = ModuleType("__main__")
    vars(main).update(
        __builtins__=sys.modules["builtins"],
        __cached__=spec.cached if spec else None,
        __file__=file,
        __loader__=loader,
        __package__=package,
        __spec__=spec,
    )
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    sys.modules["__main__"] = main
    return main


class _AsInterpreter:
    """Lets an exception of the program pass on to the interpreter, which shows it and chooses the exit status (also
    the one of Ctrl-C), but has it shown without the frames that stand before the program's own."""

    program: CodeType | None = None

    def __enter__(self) -> "_AsInterpreter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: object) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        hook = sys.excepthook

        def show(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
            sys.excepthook = hook
            own = self._own_frames(tb)
            hook(kind, error.with_traceback(own), own)

        sys.excepthook = show

    def _own_frames(self, tb: TracebackType | None) -> TracebackType | None:
        while tb is not None and tb.tb_frame.f_code is not self.program:
            tb = tb.tb_next
        return tb
