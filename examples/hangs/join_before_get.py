"""A child puts a megabyte, its parent joins it and gets the megabyte afterwards. Does the child end?"""

import multiprocessing


def report(queue):
    queue.put(b"x" * 1_000_000)


if __name__ == "__main__":
    queue = multiprocessing.Queue()
    child = multiprocessing.Process(target=report, args=(queue,))
    child.start()
    child.join()
    print(f"joined, then got {len(queue.get())} bytes")
