"""The parts of this package that are imported by name: what `kettle.install()` puts in the place of others, and what
the fork server imports."""

from PyInstaller.utils.hooks import collect_submodules  # type: ignore[import-not-found, import-untyped, unused-ignore]

# The backend for joblib is there for programs that import it.
hiddenimports = collect_submodules("kettle", lambda name: name not in ("kettle.joblib", "kettle.__pyinstaller"))
