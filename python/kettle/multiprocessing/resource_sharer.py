"""The standard library's own module: one thread per process sends out its descriptors."""

import sys
from multiprocessing import resource_sharer as _standard
from multiprocessing.resource_sharer import *  # noqa: F403

sys.modules[__name__] = _standard
