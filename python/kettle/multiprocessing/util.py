"""The standard library's own module: finalizers, after-fork hooks and the logger are one registry per process, shared
by both packages."""

import sys
from multiprocessing import util as _standard
from multiprocessing.util import *  # noqa: F403

sys.modules[__name__] = _standard
