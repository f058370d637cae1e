"""The standard library's own module: one registry of reducers for both packages, which `kettle._session` makes the core
use."""

import sys
from multiprocessing import reduction as _standard
from multiprocessing.reduction import *  # noqa: F403

sys.modules[__name__] = _standard
