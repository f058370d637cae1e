"""A semaphore admits at most two processes at a time."""

import time

import kettle.multiprocessing as multiprocessing


def phone(name: str, booths, inside) -> None:
    with booths:
        with inside.get_lock():
            inside.value += 1
            print(f"  {name:5} is in a booth, {inside.value} inside")
        time.sleep(0.1)
        with inside.get_lock():
            inside.value -= 1


if __name__ == "__main__":
    booths = multiprocessing.Semaphore(2)
    inside = multiprocessing.Value("i", 0)
    callers = [
        multiprocessing.Process(target=phone, args=(n, booths, inside)) for n in ("Ada", "Lin", "Max", "Eva", "Ole")
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    print(f"everybody has called; {booths.get_value()} booths are free")
