"""Imported by the fork server after what the program wants imported.

What a program has its server import may make locks and queues as it is imported, and thereby begin a session in the
server. A child that inherited it could not join its parent's. Or it may start threads, which are not there in a fork
(those of native libraries look after that themselves). Such a server begins anew and leaves those imports to the
children, where what they make belongs to the right session.
"""

import os
import re
import sys
import threading

from kettle._session import native


def _start_command(command: str) -> str:
    """The server's start command with nothing of the program's to import; the list of that is its first list."""
    names = re.findall(r"kettle\.multiprocessing\.(?:_server|popen_forkserver|_hears_\w+)", command)
    command = re.sub(r"(?<=main\()(\d+, \d+, )\[.*?\]", lambda found: found[1] + repr(names), command, count=1)
    # From 3.14 on it is told a key through a pipe, which it has read by now.
    return re.sub(r"(?<='authkey_r': )\d+", lambda _: str(_told_again()), command)


def _told_again() -> int:
    """A pipe with the key that the server was told."""
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
        stream.flush()  # or each child would print it once more

if native.arena_statistics()["header_bytes"] or threading.active_count() > 1:
    # What follows the command, from 3.14 on, are the program's own arguments.
    place = sys.orig_argv.index("-c") + 1
    os.execv(
        sys.executable,
        [*sys.orig_argv[:place], _start_command(sys.orig_argv[place]), *sys.orig_argv[place + 1 :]],
    )
