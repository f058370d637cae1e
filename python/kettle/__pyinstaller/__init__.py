"""What PyInstaller must know of this package: found by the entry point `pyinstaller40`."""

import os

__all__ = ["get_hook_dirs"]


def get_hook_dirs() -> list[str]:
    """Where the hooks lie."""
    return [os.path.dirname(__file__)]
