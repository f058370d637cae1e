"""A worker keeps a lock while it waits for an answer that does not come, and the others wait for the lock. `kettle
doctor` says who holds it.

    python examples/stuck/long_holder.py &
    kettle doctor $!
"""

import threading

import kettle.multiprocessing as multiprocessing


def ask(lock, asks) -> None:
    with lock:
        asks.set()
        threading.Event().wait()  # a request without a time limit


def write(lock) -> None:
    with lock:
        print("written")


if __name__ == "__main__":
    lock, asks = multiprocessing.Lock(name="the ledger"), multiprocessing.Event()
    asking = multiprocessing.Process(target=ask, args=(lock, asks))
    asking.start()
    asks.wait()
    writing = multiprocessing.Process(target=write, args=(lock,))
    writing.start()
    writing.join()
