"""The standard library's own module. Only named `SharedMemory` and the fork server use its process."""

import sys
from multiprocessing.resource_tracker import *  # noqa: F403

from kettle.multiprocessing._helpers import resource_tracker as _standard

sys.modules[__name__] = _standard
