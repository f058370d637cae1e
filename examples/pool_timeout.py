"""A task that never ends is ended, by its own time limit or by cancel(). The other tasks are not affected."""

import re
import time

import kettle
import kettle.multiprocessing as multiprocessing

HARMLESS, HOPELESS = "aaaa", "a" * 40 + "b"


def only_as(text: str) -> bool:
    """Looks harmless, but takes two to the power of 40 steps in C for some texts."""
    return re.fullmatch("(a+)+", text) is not None


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        started = time.perf_counter()
        for answer in [pool.apply_async(only_as, (text,), task_timeout=0.5) for text in (HARMLESS, HOPELESS, "ab")]:
            try:
                print(f"  {answer.get()}")
            except kettle.TaskTimeout as error:
                print(f"  {type(error).__name__}: {error}")
        print(f"three answers after {time.perf_counter() - started:.1f} s")

        hopeless = pool.apply_async(only_as, (HOPELESS,))
        while not hopeless.running():
            time.sleep(0.01)
        started = time.perf_counter()
        print(f"cancel() of a running task returns {hopeless.cancel()}")
        try:
            hopeless.get()
        except kettle.TaskCancelled as error:
            print(f"  {type(error).__name__} after {1000 * (time.perf_counter() - started):.0f} ms: {error}")
        print(f"and the pool goes on: {pool.map(only_as, ['a', 'aa', 'b'])}")
