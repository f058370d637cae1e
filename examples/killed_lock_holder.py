"""A worker is killed while it holds a lock. The next acquire() raises, and the program can go on."""

import os
import signal
import time

import kettle
import kettle.multiprocessing as multiprocessing


def hold(lock, holding) -> None:
    lock.acquire()
    holding.set()
    time.sleep(3600)


def kill_a_holder_of(lock) -> None:
    holding = multiprocessing.Event()
    worker = multiprocessing.Process(target=hold, args=(lock, holding))
    worker.start()
    holding.wait()
    print(f"worker {worker.pid} holds the {lock.name} lock, and is killed")
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()


if __name__ == "__main__":
    lock = multiprocessing.Lock(name="account")
    kill_a_holder_of(lock)
    asked = time.perf_counter()
    try:
        lock.acquire()
    except kettle.OwnerDied as error:
        print(f"  acquire() raised {type(error).__name__} after {1000 * (time.perf_counter() - asked):.0f} ms: {error}")
    lock.reset()  # the state that the lock guards was checked and repaired
    with lock:
        print("  after reset() it is a lock like any other")

    lock = multiprocessing.Lock(name="logfile", on_owner_death="recover")
    kill_a_holder_of(lock)
    with lock:
        print("  on_owner_death='recover' passes it to the next waiter silently")
