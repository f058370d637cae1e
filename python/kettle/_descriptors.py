"""What a program leaves open that closes its descriptors."""

import sys

__all__ = ["descriptors"]


def descriptors() -> list[int]:
    """The numbers of the descriptors that Kettle keeps in this process now, in ascending order: the session's memory,
    what wakes event loops, connections, and what watches children. A program that closes all others, as daemons do,
    leaves these open: `DaemonContext(files_preserve=kettle.descriptors())`.

    The list is that of this moment: it is empty before the first use, and longer when there are more processes and
    pipes. Without them no file of the program's is touched, and what would need them raises `DescriptorLost`.
    """
    native = sys.modules.get("kettle._native")  # nothing is kept before it is there
    return [] if native is None else list(native.descriptors())
