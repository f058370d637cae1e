"""Makes the standard library's names resolve to Kettle's: `kettle.install()`, which `kettle run` also uses.

All modules that import `multiprocessing` get `kettle.multiprocessing`, whether by `import`, `from ... import`,
`importlib.import_module` or through `sys.modules`, including third-party packages and the rest of the standard library
(`concurrent.futures`, `logging`). The following *insiders* keep the original: this package, which is built on it; the
standard library's `multiprocessing` itself, whose parts import each other while they run; and packages that build on
the original's private parts. Of these, loky makes its own processes and queues from them, and joblib a pool whose
messages say where large arrays are mapped, instead of containing them.

Replacing entries in `sys.modules` alone is not enough. Instead:

- `builtins.__import__` and `importlib.import_module` check which module imports.
- `sys.modules["multiprocessing"]` is Kettle's, from the first import on. The entries of its *submodules* stay the
  original ones, because pickle finds classes and functions through them: an object that was pickled as
  `multiprocessing.reduction.DupFd` must be found there as the very same object.

`threading` is a special case. Its main thread, its registry of threads and its hooks are the interpreter's, which looks
for them in `sys.modules`. So the original keeps its place there, and `kettle.threading` forwards all names that it does
not define itself. Modules that import `threading` get Kettle's, and pickle still finds instances and classes of the
original. The same is done for `queue`: for example, the standard library's managers send its classes to their server.

The entries of `sys.modules` belong to the program. If it puts a stub there, or None for a missing module, it gets that;
if it removes an entry, it gets a new copy of the original. This package, and the standard library's `multiprocessing`,
get the originals even then (`kettle._genuine`).

The executors of `concurrent.futures` are Kettle's, for all modules: `ProcessPoolExecutor` and `ThreadPoolExecutor`,
subclasses of the originals.

The same happens in children: forked ones inherit it, spawned ones `apply` the parent's `state`, and interpreters
started through `subprocess` read it from the environment (`kettle._startup`) if that was requested.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys

from kettle import _default_loop, _older
from kettle._frozen import find_spec
from kettle._genuine import MISSING, SetRight, find, forget, is_genuine, is_loading, is_of_library, known
from kettle._substitute import Substitute

# Each process of the program pays for what is imported here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    # Never imported here. A freezer reads the names that are imported from here.
    from kettle import futures, multiprocessing, threading  # noqa: F401
    from kettle import queue as _  # noqa: F401
    from kettle.multiprocessing import (  # noqa: F401
        dummy,
        reduction,
        resource_sharer,
        resource_tracker,
        util,
    )
    from kettle.multiprocessing.dummy import connection  # noqa: F401

__all__ = ["apply", "as_text", "install", "state", "uninstall"]

ENVIRONMENT_VARIABLE = "KETTLE_INSTALL"

#: The beginning of the command of an interpreter that is started as a child of this process. Python puts the current
#: directory first on the path of a program started by `-c`, and that directory may not be the program's.
WITHOUT_CURRENT_DIRECTORY = 'import sys; "" in sys.path and sys.path.remove(""); '


def install(*, older: bool = False, subprocesses: bool = False) -> None:
    """Makes `import multiprocessing` return `kettle.multiprocessing`, and likewise for `threading` and `queue`, in this
    process and in its children, and makes asyncio create the event loops of `kettle.asyncio`.

    Call it before the affected modules are imported: a name that is already bound does not change. Calling it again is
    harmless, and may add what the parameters request.

    older: whether to restore what programs written for older Pythons expect (see `kettle._older`).
    subprocesses: whether to do the same in interpreters of this environment that are started through `subprocess`; this
        sets the environment variable KETTLE_INSTALL. `kettle run` requests both.

    Raises ImportError where this package cannot work.
    """
    if sys.platform != "linux":
        raise ImportError(f"kettle needs Linux, and this is {sys.platform!r}: the standard library stays in place")
    _hooks.install()
    if older:
        _older.install()
    if subprocesses:
        os.environ[ENVIRONMENT_VARIABLE] = as_text(older=older)
    _warn_of_early_imports(sys._getframe(1).f_globals)


def uninstall() -> None:
    """Reverts `install`. Names that were imported in the meantime do not change. Harmless if nothing is installed."""
    _hooks.uninstall()
    _older.uninstall()
    os.environ.pop(ENVIRONMENT_VARIABLE, None)


def state() -> Mapping[str, Any] | None:
    """Returns the state that makes a child like this process, which can be pickled; None if nothing is installed."""
    return {"older": _older.installed()} if _hooks.installed else None


def apply(state: Mapping[str, Any] | None) -> None:
    """In a child: makes it like the process from which `state` was taken."""
    if state is not None:
        _hooks.install()
        if state["older"]:
            _older.install()


def as_text(*, older: bool) -> str:
    """Returns the value of KETTLE_INSTALL that makes an interpreter like this process."""
    return "older" if older else "1"


def keep_standard_for_main() -> None:
    """Makes `__main__` an insider: it is a start-up line of the standard library's, not a program."""
    for stand_in in _STAND_INS.values():
        stand_in.insiders.add("__main__")


class _Place:
    """One module or package of the standard library, and the module of Kettle's that programs get when they import
    it."""

    def __init__(self, name: str, ours: str, insiders: set[str]) -> None:
        self.name = name
        self.ours = ours
        #: Packages whose modules get the original when they import it.
        self.insiders = insiders
        self._our_module: ModuleType | None = None

    @property
    def original(self) -> ModuleType | None:
        """The original, once it is known."""
        return known(self.name)

    def import_for(self, importer: str, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        """Returns the result of the statement `import name`, or `from name import ...`, in the module `importer`."""
        if importer.partition(".")[0] in _FOUNDATION:
            return self.import_original(name, fromlist)
        if self._is_ours_to_give():
            if any(importer == insider or importer.startswith(f"{insider}.") for insider in self.insiders):
                return self.import_original(name, fromlist)
            return self._import_ours(name, fromlist)
        return _standard_import(name, None, None, fromlist or (), 0)

    def import_original(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        """Returns the same for modules that get the original, whatever is in its place."""
        raise NotImplementedError

    def _import_ours(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        raise NotImplementedError

    def _is_ours_to_give(self) -> bool:
        """Returns whether the program means the original by its name. This is not the case if it has put something else
        there, or has removed the entry to have the module loaded again."""
        entry = sys.modules.get(self.name, MISSING)
        if entry is MISSING:
            if self.original is not None and self.ours in sys.modules:
                return False
            # The first import; or the program has removed all that was imported after some moment.
            self._forget()
            return is_genuine(self.name, _standard_import_module(self.name))
        return self._is_known(entry) or (self.original is None and is_genuine(self.name, entry))

    def _is_known(self, entry: object) -> bool:
        return entry is not None and (entry is self.original or entry is self._our_module)

    def _import_our_module(self) -> ModuleType:
        if self._our_module is not None:
            sys.modules.setdefault(self.ours, self._our_module)
        # Not directly from `sys.modules`, because another thread may be importing it.
        self._our_module = _standard_import_module(self.ours)
        return self._our_module

    def take_place(self) -> None:
        """Puts Kettle's module in the original's place in `sys.modules`, if it should be there."""

    def give_place_back(self) -> None:
        self._forget()

    def _forget(self) -> None:
        forget(self.name)
        self._our_module = None

    def find_part(self, name: str) -> ModuleSpec | None:
        """Finds a submodule of the original, which the import system would look up in the place of its package, which
        is Kettle's."""
        return None


class _StandIn(_Place):
    """A package; Kettle's takes its place in `sys.modules`, from the first import on."""

    _is_in_place = False

    def import_original(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        find(self.name)
        wrong = [each for each in self._named(name, fromlist) if self._is_wrong(each)]
        if not wrong:
            return self._import_original(name, fromlist)
        with SetRight(wrong, self._right):
            return self._import_original(name, fromlist)

    def _import_original(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        original = self.original
        if original is None:
            _package_first(name)
            return _standard_import(name, None, None, fromlist or (), 0)
        if name != self.name:
            module = _standard_import(name, None, None, fromlist or (), 0)
            return module if fromlist else original
        for part in fromlist or ():
            if not hasattr(original, part):
                try:
                    _standard_import_module(f"{name}.{part}")
                except ModuleNotFoundError:
                    pass
        return original

    def _named(self, name: str, fromlist: Sequence[str] | None) -> list[str]:
        """Returns the package, and its possible submodules, in an import."""
        parts = name.split(".")
        return [".".join(parts[:n]) for n in range(1, len(parts) + 1)] + [f"{name}.{part}" for part in fromlist or ()]

    def _is_wrong(self, name: str) -> bool:
        """Returns whether the entry for `name` was made by the program."""
        entry = sys.modules.get(name, MISSING)
        if name != self.name:
            return entry is not MISSING and not is_genuine(name, entry)
        return not self._is_known(entry) and not is_genuine(name, entry) and self.original is not None

    def _right(self, name: str) -> Any:
        module: Any = self.original
        for part in name.split(".")[1:]:
            module = vars(module).get(part) if isinstance(module, type(sys)) else None
        return module if is_genuine(name, module) else MISSING

    def _import_ours(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        wrong = [each for each in self._named(name, fromlist)[1:] if self._is_wrong(each)]
        if wrong:
            return self._import_with(wrong, name, fromlist)
        target = self.ours + name.removeprefix(self.name)
        have = True
        self._import_our_module()
        _package_first(target)
        try:
            module = _standard_import(target, None, None, fromlist or (), 0)
        except ModuleNotFoundError as error:
            if error.name != target:
                raise
            have = False
        self.take_place()
        if not have:
            # A part that Kettle does not have: the original's, or its error.
            module = self.import_original(name, fromlist or ("__name__",))
        elif name not in sys.modules:
            # pickle imports by name and then looks here: see the module docstring.
            self.import_original(name, ("__name__",))
        return module if fromlist else self._import_our_module()

    def _import_with(self, wrong: list[str], name: str, fromlist: Sequence[str] | None) -> ModuleType:
        """Like `_import_ours`; for these parts the program has put something into `sys.modules`, or None to hide
        them."""
        if not fromlist or name in wrong or not all(each.startswith(f"{name}.") for each in wrong):
            self.take_place()
            return _standard_import(name, None, None, fromlist or (), 0)
        own = [part for part in fromlist if f"{name}.{part}" not in wrong]
        module = self._import_ours(name, own or ("__name__",))
        # As in the import system, existing attributes of the package are not looked up.
        found = {part: vars(module)[part] for part in fromlist if part in vars(module)}
        for part in fromlist:
            if part in own and hasattr(module, part):
                found[part] = getattr(module, part)
            elif part not in own and part not in found:
                found[part] = _standard_import_module(f"{name}.{part}")
        given = type(sys)(name)
        vars(given).update(found)
        return given

    def take_place(self) -> None:
        entry = sys.modules.get(self.name)
        if entry is not None and entry is self._our_module:
            return
        # Or the program restored the original, from a copy that it had made of the modules.
        if self._is_known(entry) or (self.original is None and is_genuine(self.name, entry)):
            ours = self._import_our_module()
            # The order matters: another thread that finds Kettle's module in place must also find the original.
            known(self.name)
            if not self._is_in_place:
                ours.__class__ = _package_in_place(self, type(ours))
                self._is_in_place = True
            sys.modules[self.name] = ours

    def give_place_back(self) -> None:
        if self._is_in_place and self._our_module is not None:
            if sys.modules.get(self.name) is self._our_module and self.original is not None:
                sys.modules[self.name] = self.original
            (self._our_module.__class__,) = type(self._our_module).__bases__
        self._is_in_place = False
        super().give_place_back()

    def find_part(self, name: str) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if self.original is None or parent != self.name:
            return None
        return find_spec(name, self.original.__path__)


def _package_first(name: str) -> None:
    """Imports the package of the module `name` in a separate step. The import system would lock the module before its
    package, and two threads that import the two would block each other."""
    _standard_import_module(name.rpartition(".")[0] or name)


def _package_in_place(stand_in: _StandIn, base: type[ModuleType]) -> Any:
    """The class of Kettle's package while it is in the original's place: the import system then passes it the
    original's submodules to keep as attributes."""

    class Package(base):  # type: ignore[valid-type, misc]
        def __setattr__(self, name: str, value: Any) -> None:
            part = isinstance(value, type(sys)) and value.__name__ == f"{stand_in.name}.{name}"
            if part and sys.modules.get(f"{stand_in.ours}.{name}") is not value:
                setattr(stand_in.original, name, value)
            else:
                super().__setattr__(name, value)

        def __reduce__(self) -> tuple[Any, ...]:
            # cloudpickle, which can send modules, checks for exactly that type.
            return _import_module, (self.__name__,)

    return Package


class _StandBeside(_Place):
    """A module that keeps its place; Kettle's is imported instead."""

    def import_original(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        if name == self.name:
            return find(name)
        return _standard_import(name, None, None, fromlist or (), 0)

    def _import_ours(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        if name == self.name:
            return self._import_our_module()
        return _standard_import(name, None, None, fromlist or (), 0)


class _PartFinder:
    """Asks the stand-ins before the import system searches."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in _SUBSTITUTES:
            return _SUBSTITUTES[name].find_spec(path)
        stand_in = _STAND_INS.get(name.partition(".")[0])
        return stand_in.find_part(name) if stand_in else None


#: The modules that this package is built on: it gets the originals even if the program has replaced them.
_FOUNDATION = ("kettle", "multiprocessing")

# Later chapters add their modules here.
_STAND_INS: dict[str, _Place] = {
    "multiprocessing": _StandIn(
        "multiprocessing",
        "kettle.multiprocessing",
        {"loky", "joblib.externals.loky", "joblib.pool"},
    ),
    # `multiprocessing.Barrier` extends `threading.Barrier` and uses its private parts, and so do copies of it. Trio
    # checks, by its module, that the class of its lock is the interpreter's. Gevent patches the modules that it
    # imports.
    "threading": _StandBeside("threading", "kettle.threading", {"multiprocess", "billiard", "trio", "gevent"}),
    "queue": _StandBeside("queue", "kettle.queue", {"gevent"}),
}

# The modules, and those of their classes that are replaced by one of Kettle's.
_SUBSTITUTES = {
    "concurrent.futures.process": Substitute(
        "ProcessPoolExecutor", "concurrent.futures.process", "concurrent.futures", "kettle.futures"
    ),
    "concurrent.futures.thread": Substitute(
        "ThreadPoolExecutor", "concurrent.futures.thread", "concurrent.futures", "kettle.futures"
    ),
}


def substitute(ours: str) -> None:
    """The module `ours` is loaded: its classes replace the originals if `install` was called."""
    for each in _SUBSTITUTES.values():
        if each.ours == ours:
            each.put()


class _Hooks:
    """The two functions of the interpreter that are replaced."""

    def __init__(self) -> None:
        self.installed = False
        self._import: Any = None

    def install(self) -> None:
        if self.installed:
            return
        from kettle._extension import native

        global _standard_import, _standard_import_module
        _standard_import = builtins.__import__
        _standard_import_module = _current_import_module()
        self._import = native.Importer(_standard_import, _redirected_import, set(_STAND_INS))
        builtins.__import__ = self._import
        importlib.import_module = _import_module
        sys.meta_path.insert(0, _part_finder)
        self.installed = True
        # From now on it is available, whatever the program puts in its place.
        find("threading")
        for stand_in in _STAND_INS.values():
            stand_in.take_place()
        for each in _SUBSTITUTES.values():
            each.install()
        _default_loop.install()

    def uninstall(self) -> None:
        if not self.installed:
            return
        self.installed = False
        # Code that wrapped these functions later continues to call them; from now on they only forward.
        if builtins.__import__ is self._import:
            builtins.__import__ = _standard_import
        if importlib.import_module is _import_module:
            importlib.import_module = _standard_import_module
        for stand_in in _STAND_INS.values():
            stand_in.give_place_back()
        for each in _SUBSTITUTES.values():
            each.uninstall()
        _default_loop.uninstall()
        sys.meta_path.remove(_part_finder)


def _current_import_module() -> Any:
    # Nuitka regards the attribute as constant, and compiles each use of a name assigned from it as another look-up.
    return vars(importlib)["import_module"]


_part_finder: Any = _PartFinder()
_hooks = _Hooks()
_standard_import = builtins.__import__
_standard_import_module: Callable[..., ModuleType] = _current_import_module()


def _redirected_import(
    name: str,
    globals: Mapping[str, object] | None,
    locals: Mapping[str, object] | None,
    fromlist: Sequence[str] | None,
    level: int,
) -> ModuleType:
    """Replaces `builtins.__import__`, for imports of, or from inside, the packages that have a stand-in."""
    if _hooks.installed and not _gives_way():
        if globals is None:
            globals = sys._getframe(1).f_globals
        if level == 0:
            importer = "kettle" if is_loading(globals) else str(globals.get("__name__", ""))
            return _STAND_INS[name.partition(".")[0]].import_for(importer, name, fromlist)
        package = str(globals["__package__"])
        spec: Any = globals.get("__spec__")
        if is_of_library(spec):
            # The original's parts, importing each other.
            return _STAND_INS[package.partition(".")[0]].import_original(_absolute(name, package, level), fromlist)
    return _standard_import(name, globals, locals, fromlist or (), level)


def _import_module(name: str, package: str | None = None) -> ModuleType:
    """Replaces `importlib.import_module`."""
    if package and (level := len(name) - len(name.lstrip("."))):
        name = _absolute(name[level:], package, level)
    stand_in = _STAND_INS.get(name.partition(".")[0])
    if stand_in is not None and _hooks.installed and not _gives_way():
        importer = str(sys._getframe(1).f_globals.get("__name__", ""))
        return stand_in.import_for(importer, name, ("__name__",))
    return _standard_import_module(name, package)


def _gives_way() -> bool:
    """Returns whether the program used `gevent.monkey.patch_all()` to replace the interpreter's locks and threads.
    Gevent's threads take turns in one of the interpreter's, and a lock of Kettle's would stop all of them. In that case
    the standard library's modules, which gevent has patched, are restored."""
    is_patched = getattr(sys.modules.get("gevent.monkey"), "is_module_patched", None)
    if is_patched is None or not is_patched("threading"):
        return False
    _hooks.uninstall()
    return True


def _absolute(name: str, package: str, level: int) -> str:
    """Returns the full name of what a module in `package` means by `name` with `level` dots before it."""
    base = package.rsplit(".", level - 1)[0]
    return f"{base}.{name}" if name else base


def _warn_of_early_imports(namespace: Mapping[str, object]) -> None:
    """Warns if the caller of `install` has already bound an original, which is the most likely mistake."""
    for stand_in in _STAND_INS.values():
        original = stand_in.original
        bound = [name for name, value in namespace.items() if original is not None and value is original]
        if bound:
            import warnings

            warnings.warn(
                f"`{bound[0]}` was imported before kettle.install() and stays the standard library's here: "
                "call install() first",
                RuntimeWarning,
                stacklevel=3,
            )
