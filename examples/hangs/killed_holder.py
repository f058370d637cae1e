"""A process is killed while it holds a lock. What do the others wait for?"""

import multiprocessing
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
    holder.kill()
    holder.join()
    try:
        lock.acquire()
    except Exception as error:
        print(f"acquire() raised {type(error).__name__}: {error}")
