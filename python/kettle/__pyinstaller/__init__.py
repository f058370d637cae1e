"""What PyInstaller must know of this package; found through the entry point `pyinstaller40`."""

import os

__all__ = ["get_hook_dirs"]


def get_hook_dirs() -> list[str]:
    """Returns the folder of the hooks."""
    return [os.path.dirname(__file__)]
