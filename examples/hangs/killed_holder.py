"""A process that holds a lock is killed. What do the others wait for?"""

import multiprocessing
import os
import signal
import time


def hold(lock, ready):
    lock.acquire()
    ready.set()
    time.sleep(3600)


if __name__ == "__main__":
    lock, ready = multiprocessing.Lock(), multiprocessing.Event()
    holder = multiprocessing.Process(target=hold, args=(lock, ready))
    holder.start()
    ready.wait()
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    print("the holder was killed; now acquire() ...", flush=True)
    try:
        lock.acquire()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
