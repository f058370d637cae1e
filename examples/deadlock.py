"""Four philosophers, two in each of two processes, take the fork on their left and wait for the one on their right.
After a second one of them gets an error that names all holders, puts the fork down, and all eat."""

import threading
import time

import kettle
import kettle.multiprocessing as multiprocessing


def dine(name: str, left, right, all_sit) -> None:
    with left:
        all_sit.wait()
        began = time.perf_counter()
        try:
            with right:
                print(f"{name} eats")
            return
        except kettle.DeadlockError as error:
            waited = time.perf_counter() - began
            print(f"after {waited:.1f} s {name} gets an error: {len(error.cycle)} wait in a cycle:\n{error}\n")
    # A philosopher without a fork may wait.
    with right, left:
        print(f"{name} eats, too")


def side_of_the_table(forks, all_sit, *seats) -> None:
    people = [
        threading.Thread(target=dine, name=name, args=(name, forks[seat], forks[(seat + 1) % len(forks)], all_sit))
        for name, seat in seats
    ]
    for one in people:
        one.start()
    for one in people:
        one.join()


if __name__ == "__main__":
    forks = [multiprocessing.RLock(name=f"fork {number}") for number in range(4)]
    all_sit = multiprocessing.Barrier(4)
    sides = [(("Kant", 0), ("Hume", 1)), (("Hegel", 2), ("Arendt", 3))]
    tables = [multiprocessing.Process(target=side_of_the_table, args=(forks, all_sit, *side)) for side in sides]
    for table in tables:
        table.start()
    for table in tables:
        table.join()
