"""Makes the standard library's names mean ours: `kettle.install()`, and what `kettle run` does first.

Everyone who imports `multiprocessing` gets `kettle.multiprocessing`, whether by `import`, `from ... import`,
`importlib.import_module` or a look into `sys.modules`; third-party packages and the rest of the standard library
(`concurrent.futures`, `logging`) included. The insiders keep the original: this package, which is built on it, the
standard library's `multiprocessing` itself, whose parts import each other while they run, and those who build on the
original's private parts: loky makes processes and queues of its own out of them, and joblib a pool whose messages say
where large arrays are mapped, instead of what is in them.

How, and why not simply by other entries in `sys.modules`:

- `builtins.__import__` and `importlib.import_module` look at who asks.
- `sys.modules["multiprocessing"]` is ours, from the first import on. The entries of its *submodules* stay the original
  ones, because pickle finds classes and functions through them: what was pickled as `multiprocessing.reduction.DupFd`
  must be found there as the very same object.

`threading` is a case of its own. Its main thread, its registry of threads and its hooks are the interpreter's, which
looks for them in `sys.modules`: so the original keeps its place there, and `kettle.threading` hands all on that it has
not itself. Who imports `threading` gets ours. An instance or a class of the original is still found by pickle. `queue`
is done in the same way: the standard library's managers, for one, send its classes to their server.

The entries of `sys.modules` are the program's. Where it puts a stub, or None for what is to be missing, it gets that;
what it takes out it gets anew, as a copy of the original. This package, and the standard library's `multiprocessing`,
get the originals even then (`kettle._genuine`).

Of `concurrent.futures` the executors are ours, for everyone: `ProcessPoolExecutor` and `ThreadPoolExecutor`, subclasses
of the originals.

Children get it too: forked ones inherit it, spawned ones `apply` the parent's `state`, and interpreters started through
`subprocess` read it from the environment (`kettle._startup`) if that was asked for.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys

from kettle import _older
from kettle._frozen import find_spec
from kettle._genuine import MISSING, SetRight, find, forget, is_genuine, is_loading, is_of_library, known
from kettle._substitute import Substitute

# Each process of the program pays for what is imported here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    # Never imported here. A freezer reads here what is imported by name.
    from kettle import futures, multiprocessing, threading  # noqa: F401
    from kettle import queue as _  # noqa: F401

__all__ = ["apply", "as_text", "install", "state", "uninstall"]

ENVIRONMENT_VARIABLE = "KETTLE_INSTALL"

#: How the command of an interpreter begins that is started as a child of this process. Python puts the current
#: directory first on the path of whatever is started by `-c`, and that directory need not be the program's.
WITHOUT_CURRENT_DIRECTORY = 'import sys; "" in sys.path and sys.path.remove(""); '


def install(*, older: bool = False, subprocesses: bool = False) -> None:
    """Makes `import multiprocessing` mean `kettle.multiprocessing`, and so for `threading` and `queue`, in this process
    and in its children.

    Call it before the modules that are to be affected are imported: a name that is bound already stays what it is.
    Calling it again is harmless, and may add what the parameters ask for.

    older: also bring back what programs written for older Pythons expect (see `kettle._older`).
    subprocesses: interpreters of this environment that are started through `subprocess` get it too; this sets the
        environment variable KETTLE_INSTALL. `kettle run` asks for both.

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
    """Takes back what `install` did. What was imported meanwhile stays what it is. Harmless if nothing is installed."""
    _hooks.uninstall()
    _older.uninstall()
    os.environ.pop(ENVIRONMENT_VARIABLE, None)


def state() -> Mapping[str, Any] | None:
    """What a child must be told to be like this process, to be pickled; None if nothing is installed."""
    return {"older": _older.installed()} if _hooks.installed else None


def apply(state: Mapping[str, Any] | None) -> None:
    """In a child: makes it like the process that `state` was taken from."""
    if state is not None:
        _hooks.install()
        if state["older"]:
            _older.install()


def as_text(*, older: bool) -> str:
    """What KETTLE_INSTALL says to an interpreter that is to be like this process."""
    return "older" if older else "1"


def keep_standard_for_main() -> None:
    """Makes `__main__` an insider: it is a start-up line of the standard library's, not a program."""
    for stand_in in _STAND_INS.values():
        stand_in.insiders.add("__main__")


class _Place:
    """One module or package of the standard library, and ours that programs get when they import it."""

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
        """What the statement `import name`, or `from name import ...`, in the module `importer` gives."""
        if importer.partition(".")[0] in _FOUNDATION:
            return self.import_original(name, fromlist)
        if self._is_ours_to_give():
            if any(importer == insider or importer.startswith(f"{insider}.") for insider in self.insiders):
                return self.import_original(name, fromlist)
            return self._import_ours(name, fromlist)
        return _standard_import(name, None, None, fromlist or (), 0)

    def import_original(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        """The same for those who get the original, whatever stands in its place."""
        raise NotImplementedError

    def _import_ours(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        raise NotImplementedError

    def _is_ours_to_give(self) -> bool:
        """Whether the program means the original, by its name. It does not if it has put something else there; nor if
        it has taken away what was there, to have it loaded once more."""
        entry = sys.modules.get(self.name, MISSING)
        if entry is MISSING:
            if self.original is not None and self.ours in sys.modules:
                return False
            # The first import; or it has forgotten all that was imported after some moment.
            self._forget()
            return is_genuine(self.name, _standard_import_module(self.name))
        return self._is_known(entry) or (self.original is None and is_genuine(self.name, entry))

    def _is_known(self, entry: object) -> bool:
        return entry is not None and (entry is self.original or entry is self._our_module)

    def _import_our_module(self) -> ModuleType:
        if self._our_module is not None:
            sys.modules.setdefault(self.ours, self._our_module)
        # Not straight from `sys.modules`: another thread may be about to import it.
        self._our_module = _standard_import_module(self.ours)
        return self._our_module

    def take_place(self) -> None:
        """Puts ours in the original's place in `sys.modules`, if it is to be there."""

    def give_place_back(self) -> None:
        self._forget()

    def _forget(self) -> None:
        forget(self.name)
        self._our_module = None

    def find_part(self, name: str) -> ModuleSpec | None:
        """Finds a submodule of the original, which the import system would look for where its package is: in ours."""
        return None


class _StandIn(_Place):
    """A package; ours takes its place in `sys.modules`, from the first import on."""

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
        """The package, and what may be submodules of it, in an import."""
        parts = name.split(".")
        return [".".join(parts[:n]) for n in range(1, len(parts) + 1)] + [f"{name}.{part}" for part in fromlist or ()]

    def _is_wrong(self, name: str) -> bool:
        """Whether what stands in the place of `name` is of the program's own making."""
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
            # A part that we have not: the original's, or its error.
            module = self.import_original(name, fromlist or ("__name__",))
        elif name not in sys.modules:
            # pickle imports by name and then looks here: see the head of this file.
            self.import_original(name, ("__name__",))
        return module if fromlist else self._import_our_module()

    def _import_with(self, wrong: list[str], name: str, fromlist: Sequence[str] | None) -> ModuleType:
        """As `_import_ours`; for these parts the program has put something into `sys.modules`, None to hide them."""
        if not fromlist or name in wrong or not all(each.startswith(f"{name}.") for each in wrong):
            self.take_place()
            return _standard_import(name, None, None, fromlist or (), 0)
        own = [part for part in fromlist if f"{name}.{part}" not in wrong]
        module = self._import_ours(name, own or ("__name__",))
        # As by the import system: what is an attribute of the package already is not looked up.
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
        # Or the program put the original back, with a copy that it had made of the modules.
        if self._is_known(entry) or (self.original is None and is_genuine(self.name, entry)):
            ours = self._import_our_module()
            # In this order: another thread that finds ours in place finds the original by then.
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
    """Imports the package of the module `name`, as a step of its own: the import system would lock the module before
    its package, and two threads that import the two would find each other in the way."""
    _standard_import_module(name.rpartition(".")[0] or name)


def _package_in_place(stand_in: _StandIn, base: type[ModuleType]) -> Any:
    """The class of our package while it stands in the original's place: the import system then hands it the original's
    submodules to keep as attributes."""

    class Package(base):  # type: ignore[valid-type, misc]
        def __setattr__(self, name: str, value: Any) -> None:
            part = isinstance(value, type(sys)) and value.__name__ == f"{stand_in.name}.{name}"
            if part and sys.modules.get(f"{stand_in.ours}.{name}") is not value:
                setattr(stand_in.original, name, value)
            else:
                super().__setattr__(name, value)

        def __reduce__(self) -> tuple[Any, ...]:
            # cloudpickle, which knows how to send a module, looks for exactly that type.
            return _import_module, (self.__name__,)

    return Package


class _StandBeside(_Place):
    """A module that keeps its place; ours is imported instead."""

    def import_original(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        if name == self.name:
            return find(name)
        return _standard_import(name, None, None, fromlist or (), 0)

    def _import_ours(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        if name == self.name:
            return self._import_our_module()
        return _standard_import(name, None, None, fromlist or (), 0)


class _PartFinder:
    """Asks the stand-ins before the import system looks around."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in _SUBSTITUTES:
            return _SUBSTITUTES[name].find_spec(path)
        stand_in = _STAND_INS.get(name.partition(".")[0])
        return stand_in.find_part(name) if stand_in else None


#: What this package is made of: it gets the originals also when the program has put something else in their places.
_FOUNDATION = ("kettle", "multiprocessing")

# Later chapters add their modules here.
_STAND_INS: dict[str, _Place] = {
    "multiprocessing": _StandIn(
        "multiprocessing",
        "kettle.multiprocessing",
        {"loky", "joblib.externals.loky", "joblib.pool"},
    ),
    # `multiprocessing.Barrier` extends `threading.Barrier` by way of its private parts, and so do the copies of it.
    # Trio makes sure, by its module, that the class of its lock is the interpreter's. Gevent patches what it imports.
    "threading": _StandBeside("threading", "kettle.threading", {"multiprocess", "billiard", "trio", "gevent"}),
    "queue": _StandBeside("queue", "kettle.queue", {"gevent"}),
}

# The modules, and which of their classes have one of ours in their place.
_SUBSTITUTES = {
    "concurrent.futures.process": Substitute(
        "ProcessPoolExecutor", "concurrent.futures.process", "concurrent.futures", "kettle.futures"
    ),
    "concurrent.futures.thread": Substitute(
        "ThreadPoolExecutor", "concurrent.futures.thread", "concurrent.futures", "kettle.futures"
    ),
}


def substitute(ours: str) -> None:
    """The module `ours` is there: its classes take the place of originals, where `install` was called."""
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
        _standard_import_module = importlib.import_module
        self._import = native.Importer(_standard_import, _redirected_import, set(_STAND_INS))
        builtins.__import__ = self._import
        importlib.import_module = _import_module
        sys.meta_path.insert(0, _part_finder)
        self.installed = True
        # From now on it is at hand, whatever the program puts in its place.
        find("threading")
        for stand_in in _STAND_INS.values():
            stand_in.take_place()
        for each in _SUBSTITUTES.values():
            each.install()

    def uninstall(self) -> None:
        if not self.installed:
            return
        self.installed = False
        # Whoever wrapped these after us keeps calling ours, which then only pass on.
        if builtins.__import__ is self._import:
            builtins.__import__ = _standard_import
        if importlib.import_module is _import_module:
            importlib.import_module = _standard_import_module
        for stand_in in _STAND_INS.values():
            stand_in.give_place_back()
        for each in _SUBSTITUTES.values():
            each.uninstall()
        sys.meta_path.remove(_part_finder)


_part_finder: Any = _PartFinder()
_hooks = _Hooks()
_standard_import = builtins.__import__
_standard_import_module = importlib.import_module


def _redirected_import(
    name: str,
    globals: Mapping[str, object] | None,
    locals: Mapping[str, object] | None,
    fromlist: Sequence[str] | None,
    level: int,
) -> ModuleType:
    """In place of `builtins.__import__`, for imports of, or from inside, the packages that have a stand-in."""
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
    """In place of `importlib.import_module`."""
    if package and (level := len(name) - len(name.lstrip("."))):
        name = _absolute(name[level:], package, level)
    stand_in = _STAND_INS.get(name.partition(".")[0])
    if stand_in is not None and _hooks.installed and not _gives_way():
        importer = str(sys._getframe(1).f_globals.get("__name__", ""))
        return stand_in.import_for(importer, name, ("__name__",))
    return _standard_import_module(name, package)


def _gives_way() -> bool:
    """Whether the program had gevent put its own locks and threads in the place of the interpreter's, with
    `gevent.monkey.patch_all()`. Its threads take turns in one of the interpreter's, and a lock of ours would stop them
    all. The standard library's modules, which gevent has patched, then come back."""
    is_patched = getattr(sys.modules.get("gevent.monkey"), "is_module_patched", None)
    if is_patched is None or not is_patched("threading"):
        return False
    _hooks.uninstall()
    return True


def _absolute(name: str, package: str, level: int) -> str:
    """The full name of what a module in `package` means by `name` with `level` dots before it."""
    base = package.rsplit(".", level - 1)[0]
    return f"{base}.{name}" if name else base


def _warn_of_early_imports(namespace: Mapping[str, object]) -> None:
    """Says so if the caller of `install` has bound an original already: the most likely mistake."""
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
