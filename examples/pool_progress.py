"""A bar shows the progress of a map. In a pipe or a log it is a plain line now and then."""

import time

import kettle.multiprocessing as multiprocessing


def boil(cup: int) -> int:
    time.sleep(0.01 + cup % 3 / 100)
    return cup


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        cups = pool.map(boil, range(100), progress="boiling")
        print(f"{len(cups)} cups")
        total = sum(pool.imap_unordered(boil, (cup for cup in range(40)), progress="one by one"))
        print(f"cups 0 to 39: their numbers add up to {total}")
