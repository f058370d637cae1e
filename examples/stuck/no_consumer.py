"""The only consumer of a queue gives up, and the producer waits for room in it. `kettle doctor` says that no thread is
left to make any.

    python examples/stuck/no_consumer.py &
    kettle doctor $!
"""

import kettle.multiprocessing as multiprocessing


def drink(queue) -> None:
    for _ in range(3):
        queue.get()
    raise SystemExit("that was enough tea")


if __name__ == "__main__":
    queue = multiprocessing.Queue(maxsize=4)
    multiprocessing.Process(target=drink, args=(queue,)).start()
    for cup in range(100):
        queue.put(cup)
