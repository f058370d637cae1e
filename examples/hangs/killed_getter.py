"""A worker is killed while it waits in Queue.get(). Which process gets the next item?"""

import multiprocessing
import time


def wait_for_work(queue, ready):
    ready.set()
    queue.get()


if __name__ == "__main__":
    queue, ready = multiprocessing.Queue(), multiprocessing.Event()
    worker = multiprocessing.Process(target=wait_for_work, args=(queue, ready))
    worker.start()
    ready.wait()
    time.sleep(0.5)  # it is in get() by now
    worker.kill()
    worker.join()
    queue.put("the next item")
    print(f"another get() returned {queue.get()!r}")
