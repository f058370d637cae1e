"""Imported by the fork server when everything else is, if Ctrl-C was kept from it until then.

It would have ended the server with a traceback, in the middle of an import. One that came meanwhile meant the program,
and is forgotten.
"""

import signal

signal.signal(signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
