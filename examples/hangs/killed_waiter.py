"""A process is killed while it waits for an event. Can the event still be set?"""

import multiprocessing
import time


def wait_for(event, ready):
    ready.set()
    event.wait()


if __name__ == "__main__":
    event, ready = multiprocessing.Event(), multiprocessing.Event()
    waiter = multiprocessing.Process(target=wait_for, args=(event, ready))
    waiter.start()
    ready.wait()
    time.sleep(0.5)  # it is in wait() by now
    waiter.kill()
    waiter.join()
    event.set()
    print(f"set() returned, and the event is {'set' if event.is_set() else 'not set'}")
