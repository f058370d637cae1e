"""A process that waits for an event is killed. Can the event still be set?"""

import multiprocessing
import os
import signal
import time


def wait_for(event, ready):
    ready.set()
    event.wait()


if __name__ == "__main__":
    event, ready = multiprocessing.Event(), multiprocessing.Event()
    waiter = multiprocessing.Process(target=wait_for, args=(event, ready))
    waiter.start()
    ready.wait()
    time.sleep(0.2)  # it is in wait() by now
    os.kill(waiter.pid, signal.SIGKILL)
    waiter.join()
    print("the waiter was killed in wait(); now set() ...", flush=True)
    event.set()
    print("set")
