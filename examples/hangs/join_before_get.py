"""A child puts a megabyte, and its parent joins it before getting the megabyte. Does the child end?"""

import multiprocessing


def report(queue):
    queue.put(b"x" * 1_000_000)


if __name__ == "__main__":
    queue = multiprocessing.Queue()
    child = multiprocessing.Process(target=report, args=(queue,))
    child.start()
    child.join()
    print(f"joined, then got {len(queue.get())} bytes")
