"""The descriptors that a program which closes its descriptors must leave open."""

import sys

__all__ = ["descriptors"]


def descriptors() -> list[int]:
    """Returns the descriptors that Kettle keeps in this process now, in ascending order: those of the session's memory,
    of doorbells for event loops, of connections, and of watched children. A program that closes all others, as daemons
    do, must leave these open: `DaemonContext(files_preserve=kettle.descriptors())`.

    The list is that of this moment: it is empty before the first use, and grows with the number of processes and pipes.
    If they are closed, no file of the program's is touched, and operations that need them raise `DescriptorLost`.
    """
    native = sys.modules.get("kettle._native")  # no descriptors exist before it is imported
    return [] if native is None else list(native.descriptors())
