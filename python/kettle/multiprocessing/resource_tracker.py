"""The standard library's own module. Only named `SharedMemory` and the fork server ask for its process."""

import sys
from multiprocessing import resource_tracker as _standard
from multiprocessing.resource_tracker import *  # noqa: F403

sys.modules[__name__] = _standard
