"""The standard library's own module: connections between threads."""

import sys
from multiprocessing.dummy import connection as _standard
from multiprocessing.dummy.connection import *  # noqa: F403

sys.modules[__name__] = _standard
