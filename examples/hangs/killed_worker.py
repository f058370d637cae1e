"""The third of ten tasks is killed, as the kernel does when memory runs out. What does map() do?"""

import multiprocessing
import os
import signal


def work(n):
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return n * n


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        try:
            outcome = f"map() returned {pool.map(work, range(1, 11))}"
        except Exception as error:
            outcome = f"map() raised {type(error).__name__}"
        print(f"{outcome}; the next one returns {pool.map(work, [1, 2])}")
