"""The parts of this package that are imported by name: those that `kettle.install()` substitutes, and those that the
fork server imports."""

from PyInstaller.utils.hooks import collect_submodules  # type: ignore[import-not-found, import-untyped, unused-ignore]

# The backend for joblib is included only in programs that import it.
hiddenimports = collect_submodules("kettle", lambda name: name not in ("kettle.joblib", "kettle.__pyinstaller"))
