"""Imported by the fork server after everything else, if Ctrl-C was blocked in it until then.

Ctrl-C would have ended the server with a traceback, in the middle of an import. One that arrived in the meantime was
meant for the program, and is dropped.
"""

import signal

signal.signal(signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
