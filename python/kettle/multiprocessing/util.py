"""The standard library's own module: finalizers, after-fork hooks and the logger are one registry for a process,
whoever fills it."""

import sys
from multiprocessing import util as _standard
from multiprocessing.util import *  # noqa: F403

sys.modules[__name__] = _standard
