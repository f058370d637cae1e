"""Two cooks and three eaters share a queue; a sentinel for each eater says that the kitchen is closed."""

import time

import kettle.multiprocessing as multiprocessing

CLOSED = None


def cook(name: str, dish: str, queue) -> None:
    for n in range(1, 4):
        time.sleep(0.05)
        queue.put(f"{dish} {n}")
        print(f"  {name} cooked {dish} {n}")


def eat(name: str, queue) -> None:
    while (dish := queue.get()) is not CLOSED:
        print(f"      {name} eats {dish}")
        time.sleep(0.08)
    print(f"      {name} goes home")


if __name__ == "__main__":
    queue = multiprocessing.Queue(maxsize=2)  # a small counter: a cook waits when it is full
    cooks = [multiprocessing.Process(target=cook, args=(*who, queue)) for who in [("Ada", "bun"), ("Lin", "soup")]]
    eaters = [multiprocessing.Process(target=eat, args=(who, queue)) for who in ("Max", "Eva", "Ole")]
    for process in cooks + eaters:
        process.start()
    for process in cooks:
        process.join()
    for _ in eaters:
        queue.put(CLOSED)
    for process in eaters:
        process.join()
    print(f"on the counter: {queue.qsize()}")
