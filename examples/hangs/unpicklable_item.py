"""An item that cannot be sent is put into a queue. Does the caller get the error?"""

import multiprocessing
import queue as standard_queue
import sys
import threading

if __name__ == "__main__":
    queue = multiprocessing.Queue()
    try:
        queue.put({"order": 17, "lock": threading.Lock()})
    except TypeError as error:
        print(f"put() raised {type(error).__name__}: {error}")
        sys.exit()
    try:
        queue.get(timeout=1)
    except standard_queue.Empty:
        print("put() returned, and order 17 is never seen again")
        sys.exit(1)
