"""Imported last by the fork server if SIGCHLD is blocked in the program (because it receives its signals by `sigwait`).
The server needs SIGCHLD to reap its children and to report how they ended. The children have it blocked, as the program
does."""

import signal

from kettle.multiprocessing import _server

_server.blocked_in_children = {signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_UNBLOCK, _server.blocked_in_children)
