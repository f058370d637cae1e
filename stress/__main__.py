"""Long, seeded stress runs.

Thousands of kills at random instants, with all start methods, followed by a leak check; deadlocks, planted and not; ten
million mutated messages; signal handlers that wait; stray writes into shared memory; and connections of the event loop.

    python -m stress                         everything: 10,000 kills around queues and locks, 1,000 in pools; deadlocks
    python -m stress pool                    only this part
    SEED=7 KILLS=500 python -m stress        like `make stress SEED=7 KILLS=500`
    PATTERNS=3600 python -m stress           correct programs that look like deadlocks, for an hour, not two minutes
    python -m stress pool --help             further options

The last line of each part states whether anything was lost, torn, duplicated, wrong or left behind. In that case the
exit code is 1.
"""

from __future__ import annotations

import sys

from tests.death import leftovers

from . import deadlocks, fairness, loop, messages, pool, primitives, signals, stray_writes

PARTS = {
    "primitives": primitives.main,
    "pool": pool.main,
    "deadlocks": deadlocks.main,
    "fairness": fairness.main,
    "messages": messages.main,
    "signals": signals.main,
    "stray_writes": stray_writes.main,
    "loop": loop.main,
}


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    leftovers.set_apart()
    if arguments and arguments[0] in PARTS:
        return PARTS[arguments[0]](arguments[1:])
    return max(part(arguments) for part in PARTS.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
