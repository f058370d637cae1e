"""join() waits until all items are done; if a worker dies while processing one, join() raises instead of waiting
forever."""

import os
import signal
import time

import kettle
import kettle.multiprocessing as multiprocessing


def work(queue) -> None:
    while True:
        job = queue.get()
        if job == "a poisoned job":
            print(f"  worker {os.getpid()} is killed while it works on {job}")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        print(f"  worker {os.getpid()} finished {job}")
        queue.task_done()


if __name__ == "__main__":
    queue = multiprocessing.JoinableQueue()
    for _ in range(2):
        multiprocessing.Process(target=work, args=(queue,), daemon=True).start()
    for n in range(1, 5):
        queue.put(f"job {n}")
    queue.join()
    print("all four jobs are finished")

    queue.put("a poisoned job")
    try:
        queue.join()
    except kettle.ConsumerDied as error:
        print(f"join() raised {type(error).__name__}: {error}")
