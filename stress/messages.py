"""Sends mutated messages through the decoder and the framing of pipes and sockets, in this process.

The only permitted results are objects and ordinary exceptions: no signal, no panic, no hang, no growing memory. Each
batch has its own seed, which is printed when the batch is done; after a signal, the next seed leads to the message.

    python -m stress messages --messages 1000000
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import resource
import time
from collections import Counter

from tests.soundness.mutations import Pipes, Streams

BATCH = 500_000  # messages per seed
OF_STREAMS = 200  # one frame per this many packets: each frame has its own socket
TOO_LONG = 300.0  # seconds for a tenth of a batch; after that all stacks are shown and the run ends


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    print(f"SEED={options.seed} MESSAGES={options.messages}", flush=True)
    outcomes: Counter[str] = Counter()
    begun, slowest, failures = time.monotonic(), 0.0, 0
    faulthandler.enable()
    for batch in range(-(-options.messages // BATCH)):
        seed = options.seed + batch
        before = sum(outcomes.values())
        pipes, streams = Pipes(seed), Streams(seed)
        try:
            for _ in range(10):
                faulthandler.dump_traceback_later(TOO_LONG, exit=True)
                tenth = time.monotonic()
                pipes.run(BATCH // 10)
                streams.run(BATCH // 10 // OF_STREAMS)
                slowest = max(slowest, time.monotonic() - tenth)
        except AssertionError as error:
            print(f"FAILED SEED={seed}: {error}", flush=True)
            failures += 1
        outcomes += pipes.outcomes + streams.outcomes
        made, seconds = sum(outcomes.values()), time.monotonic() - begun
        print(
            f"seed {seed}: {made - before} messages, {made} in all, {made / seconds:.0f} a second; "
            f"{_memory()} KiB at most; the slowest tenth took {slowest:.1f} s",
            flush=True,
        )
    faulthandler.cancel_dump_traceback_later()
    print(", ".join(f"{name}: {n}" for name, n in outcomes.most_common()))
    print(f"{sum(outcomes.values())} messages; failures: {failures}; SEED={options.seed}")
    return 1 if failures else 0


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress messages")
    default_seed = os.environ.get("SEED") or random.SystemRandom().randrange(10**6)
    parser.add_argument("--seed", type=int, default=int(default_seed))
    parser.add_argument("--messages", type=int, default=int(os.environ.get("MESSAGES") or 10_000_000))
    options, _ = parser.parse_known_args(arguments)
    return options
