"""The standard library's own module: the same names over threads."""

import sys
from multiprocessing import dummy as _standard
from multiprocessing.dummy import *  # noqa: F403
from multiprocessing.dummy import connection as _connection

sys.modules[__name__ + ".connection"] = _connection
sys.modules[__name__] = _standard
