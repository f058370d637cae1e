"""A worker that waits for work is killed. Who gets the next item?"""

import multiprocessing
import os
import signal
import time


def wait_for_work(queue, ready):
    ready.set()
    queue.get()


if __name__ == "__main__":
    queue, ready = multiprocessing.Queue(), multiprocessing.Event()
    worker = multiprocessing.Process(target=wait_for_work, args=(queue, ready))
    worker.start()
    ready.wait()
    time.sleep(0.2)  # it is in get() by now
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    print("the worker was killed in get()", flush=True)
    queue.put("an item")
    print("put; now another get() ...", flush=True)
    print(f"got {queue.get()!r}")
