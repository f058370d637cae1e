"""A program is killed while its workers are busy. Do they end with it?"""

import multiprocessing
import os
import select
import sys
import time


def program(tell):
    workers = [multiprocessing.Process(target=time.sleep, args=(3600,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    tell.send([worker.pid for worker in workers])
    time.sleep(3600)


if __name__ == "__main__":
    listen, tell = multiprocessing.Pipe(duplex=False)
    parent = multiprocessing.Process(target=program, args=(tell,))
    parent.start()
    workers = [os.pidfd_open(pid) for pid in listen.recv()]
    parent.kill()
    parent.join()
    gone = [worker for worker in workers if select.select([worker], [], [], 1)[0]]
    print(f"{len(gone)} of 2 workers ended with the program")
    sys.exit(len(gone) < 2)
