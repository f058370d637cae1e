"""The standard library's own module: one registry of reducers, whoever registers; `kettle._session` has the core look
them up there."""

import sys
from multiprocessing import reduction as _standard
from multiprocessing.reduction import *  # noqa: F403

sys.modules[__name__] = _standard
