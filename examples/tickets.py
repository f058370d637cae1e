"""Eight buyers, three tickets: without a lock tickets are sold twice, with a lock they are not."""

import json
import os
import tempfile
import time

import kettle.multiprocessing as multiprocessing


def buy(path: str, buyer: int, lock) -> None:
    if lock is None:
        try_to_buy(path, buyer)
    else:
        with lock:
            try_to_buy(path, buyer)


def try_to_buy(path: str, buyer: int) -> None:
    with open(path) as f:
        left = json.load(f)["left"]
    if left > 0:
        time.sleep(0.05)  # the bank thinks
        write(path, left - 1)
        print(f"  buyer {buyer} has a ticket")
    else:
        print(f"  buyer {buyer} comes too late")


def write(path: str, left: int) -> None:
    mine = f"{path}.{os.getpid()}"
    with open(mine, "w") as f:
        json.dump({"left": left}, f)
    os.replace(mine, path)  # no process ever reads half a file


def sell(path: str, lock) -> None:
    write(path, 3)
    buyers = [multiprocessing.Process(target=buy, args=(path, n, lock)) for n in range(1, 9)]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "tickets.json")
        print("three tickets, no lock:")
        sell(path, None)
        print("three tickets, and a lock around looking and buying:")
        sell(path, multiprocessing.Lock())
