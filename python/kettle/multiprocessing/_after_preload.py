"""Imported by the fork server after the modules that the program wants imported.

The modules that a program lets its server import may create locks and queues on import, and thereby begin a session in
the server. A child that inherited this session could not join its parent's. Or they may start threads, which do not
exist in a fork (native libraries take care of their own threads). In these cases the server starts over and leaves the
imports to the children, where the created objects belong to the right session.
"""

import os
import re
import sys
import threading

from kettle._session import native


def _start_command(command: str) -> str:
    """Returns the server's start command without the program's imports; their list is the first list in it."""
    names = re.findall(r"kettle\.multiprocessing\.(?:_server|popen_forkserver|_hears_\w+)", command)
    command = re.sub(r"(?<=main\()(\d+, \d+, )\[.*?\]", lambda found: found[1] + repr(names), command, count=1)
    # From 3.14 on the server receives a key through a pipe, which it has read by now.
    return re.sub(r"(?<='authkey_r': )\d+", lambda _: str(_told_again()), command)


def _told_again() -> int:
    """Returns a pipe with the key that the server received."""
    frame = sys._getframe()
    while frame.f_code.co_name != "main" or frame.f_globals.get("__name__") != "multiprocessing.forkserver":
        assert frame.f_back is not None
        frame = frame.f_back
    readable, writable = os.pipe()
    os.write(writable, frame.f_locals["authkey"])
    os.close(writable)
    os.set_inheritable(readable, True)
    return readable


for stream in sys.stdout, sys.stderr:
    if stream is not None:
        stream.flush()  # otherwise each child would print it again

if native.arena_statistics()["header_bytes"] or threading.active_count() > 1:
    # From 3.14 on, the command is followed by the program's own arguments.
    place = sys.orig_argv.index("-c") + 1
    os.execv(
        sys.executable,
        [*sys.orig_argv[:place], _start_command(sys.orig_argv[place]), *sys.orig_argv[place + 1 :]],
    )
