"""A number and an array in shared memory. `+=` is two steps, so hold the value's lock around it."""

import kettle.multiprocessing as multiprocessing

TIMES = 20_000


def count(total, histogram, slot: int) -> None:
    for _ in range(TIMES):
        with total.get_lock():
            total.value += 1
        histogram[slot] += 1  # no other process writes to this slot


if __name__ == "__main__":
    total = multiprocessing.Value("q", 0)
    histogram = multiprocessing.Array("i", 4)
    counters = [multiprocessing.Process(target=count, args=(total, histogram, slot)) for slot in range(4)]
    for counter in counters:
        counter.start()
    for counter in counters:
        counter.join()
    print(f"four processes counted to {total.value} together, {list(histogram)} each")
