"""Replaces one class of a module of the standard library by Kettle's; the rest of the module stays unchanged.

This happens when the module is first imported, so that programs that never use it do not pay for it. It applies to all
modules: Kettle's class is a subclass of the original, so its users see no difference.
"""

from __future__ import annotations

import importlib
import sys

from kettle._frozen import find_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["Substitute"]


class Substitute:
    def __init__(self, name: str, module: str, facade: str, ours: str) -> None:
        self.name = name
        #: The module of the original.
        self.module = module
        #: The module that re-exports it.
        self.facade = facade
        #: Kettle's module, which has a class of the same name.
        self.ours = ours
        self._original: Any = None
        self._wanted = False

    def install(self) -> None:
        self._wanted = True
        if self.module in sys.modules:
            self.put()

    def uninstall(self) -> None:
        self._wanted = False
        if self._original is not None:
            setattr(sys.modules[self.module], self.name, self._original)
            if self.name in vars(sys.modules[self.facade]):
                setattr(sys.modules[self.facade], self.name, self._original)
            self._original = None

    def put(self) -> None:
        """Replaces the class, if that is wanted and the original is loaded."""
        module = sys.modules.get(self.module)
        if not self._wanted or self._original is not None or not hasattr(module, self.name):
            return
        # If Kettle's module is being imported, up the stack or in another thread, this is called again when it is
        # loaded.
        ours = getattr(importlib.import_module(self.ours), self.name, None)
        if ours is not None and self._original is None:
            self._original = getattr(module, self.name)
            setattr(module, self.name, ours)
            if self.name in vars(sys.modules[self.facade]):
                setattr(sys.modules[self.facade], self.name, ours)

    def find_spec(self, path: Any) -> ModuleSpec | None:
        """For the import system, when it looks for the module: the module is found in its usual place, and `put` is
        called once it is loaded."""
        spec = find_spec(self.module, path) if self._wanted else None
        if spec is not None:
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads a module by another loader, and then installs the substitute."""

    def __init__(self, loader: Any, substitute: Substitute) -> None:
        self._loader = loader
        self._substitute = substitute

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._substitute.put()
