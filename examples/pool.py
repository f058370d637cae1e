"""A pool of workers: a map; a killed worker loses only its own task; with retries it loses none."""

import os
import signal
import time

import kettle
import kettle.multiprocessing as multiprocessing

TEAS = ["assam", "oolong", "sencha", "rooibos"]


def brew(leaf: str) -> str:
    time.sleep(0.05)
    return f"{leaf} from worker {os.getpid()}"


def stumble_over_oolong(leaf: str) -> str:
    if leaf == "oolong":
        os.kill(os.getpid(), signal.SIGKILL)
    return brew(leaf)


def stumble_once(leaf: str, stumbled) -> str:
    if leaf == "oolong" and not stumbled.is_set():
        stumbled.set()
        os.kill(os.getpid(), signal.SIGKILL)
    return brew(leaf)


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        print("a map:")
        for cup in pool.map(brew, TEAS):
            print(f"  {cup}")

        print("a worker is killed while it brews the oolong:")
        for cup in [pool.apply_async(stumble_over_oolong, (leaf,)) for leaf in TEAS]:
            try:
                print(f"  {cup.get()}")
            except kettle.WorkerDied as error:
                print(f"  {type(error).__name__}: {error}")

        print("the same with retries=1:")
        stumbled = multiprocessing.Event()
        for cup in pool.starmap(stumble_once, [(leaf, stumbled) for leaf in TEAS], retries=1):
            print(f"  {cup}")

        counts = pool.statistics()
        print(f"{counts.workers} workers, {counts.died} died, {counts.retried} task was run again")
