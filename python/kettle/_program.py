"""Runs a program inside this interpreter, for `kettle run` where no start-up hook could install Kettle's modules first:
under `-S`, and where Kettle is on the path but not installed.

The program runs as in the interpreter itself: as `__main__`, with its own arguments, path and exit status, and without
frames of Kettle's in its tracebacks. Kettle's frames are below its own on the stack.
"""

import importlib.util
import io
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import BuiltinImporter, ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any

__all__ = ["main"]

# Kept alive when the program replaces it: its code is still running.
_command = sys.modules.get("__main__")


class CannotRun(Exception):
    """There is no such program; the message says why."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def main() -> None:
    """Runs the program given by the arguments of this interpreter: how the program is given (as an option, or "--" for
    a path, or "" for not at all), the program, and its arguments. Raises what the program raises."""
    from kettle import _install

    how, program, *arguments = sys.argv[1:]
    given = {"--": [program], "-": ["-"], "": []}.get(how, [how, program])
    sys.orig_argv[-len(sys.argv) - 1 :] = [*given, *arguments]  # as if it had been started so
    _install.apply({"older": True})
    try:
        _WAYS[how](program, arguments)
    except CannotRun as error:
        print(f"{sys.executable}: {error}", file=sys.stderr)
        sys.exit(error.status)


def _run_path(path: str, arguments: Sequence[str]) -> None:
    """Runs a file, or a directory or archive with a `__main__`: `python PATH ARGUMENTS...`."""
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
        raise CannotRun(f"can't open file {location!r}: [Errno {error.errno}] {error.strerror}", 2) from None
    _first_on_path(os.path.dirname(os.path.realpath(path)))
    main = _new_main(file=location, loader=loader, spec=None, package=None)
    with _AsInterpreter() as shown:
        if code is None:
            code = compile(source, location, "exec", dont_inherit=True)
        shown.program = code
        exec(code, vars(main))


def _run_code(text: str, arguments: Sequence[str]) -> None:
    """Runs `python -c TEXT ARGUMENTS...`."""
    sys.argv[:] = ["-c", *arguments]
    _run_text(text, "<string>")


def _run_stdin(name: str, arguments: Sequence[str]) -> None:
    """Runs `python - ARGUMENTS...`, or `python`."""
    sys.argv[:] = [name, *arguments]
    _run_text("" if sys.stdin.isatty() else sys.stdin.buffer.read(), "<stdin>")


def _run_text(text: str | bytes, file: str) -> None:
    _first_on_path("")
    main = _new_main(file=file if file == "<stdin>" else None, loader=BuiltinImporter, spec=None, package=None)
    with _AsInterpreter() as shown:
        shown.program = compile(text, file, "exec", dont_inherit=True)
        exec(shown.program, vars(main))


def _run_module(name: str, arguments: Sequence[str]) -> None:
    """Runs a module on the path, or the `__main__` of a package: `python -m NAME ARGUMENTS...`."""
    sys.argv[:] = ["-m", *arguments]
    try:
        _first_on_path(os.getcwd())
    except FileNotFoundError:
        pass  # the current directory was deleted
    spec = _find(name)
    if spec.submodule_search_locations is not None:
        spec = _find(f"{name}.__main__", f"{name!r} is a package and cannot be directly executed: ")
    code, file = _loaded(spec)
    sys.argv[0] = file
    _run(code, file, spec=spec, package=spec.parent)


def _first_on_path(directory: str) -> None:
    """Puts the program's directory on the path, where the interpreter would."""
    if not sys.flags.safe_path:
        sys.path.insert(0, directory)


_WAYS: dict[str, Callable[[str, Sequence[str]], None]] = {
    "--": _run_path,
    "-m": _run_module,
    "-c": _run_code,
    "-": lambda _, arguments: _run_stdin("-", arguments),
    "": lambda _, arguments: _run_stdin("", arguments),
}


def _find(name: str, prefix: str = "") -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
            spec = None
        else:
            raise CannotRun(f"{prefix}error while finding {name!r} ({type(error).__name__}: {error})") from error
    if spec is None or spec.loader is None:
        raise CannotRun(f"{prefix}No module named {name}")
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


def _new_main(*, file: str | None, loader: Any, spec: ModuleSpec | None, package: str | None) -> ModuleType:
    """Returns a fresh `__main__`, initialized like the interpreter's."""
    main = ModuleType("__main__")
    vars(main).update(
        __builtins__=sys.modules["builtins"],
        __loader__=loader,
        __package__=package,
        __spec__=spec,
    )
    if file is not None:
        vars(main).update(__file__=file, __cached__=spec.cached if spec else None)
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    sys.modules["__main__"] = main
    return main


class _AsInterpreter:
    """Passes an exception of the program to the interpreter, which shows it and chooses the exit status (including that
    of Ctrl-C), but without the frames that precede the program's own."""

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
