"""Two cooks take the same two tools in opposite order, and wait for each other. `kettle doctor` names both.

python examples/stuck/two_locks.py &
kettle doctor $!
"""

import kettle.multiprocessing as multiprocessing


def cook(first, second, both_hold_one) -> None:
    with first:
        both_hold_one.wait()
        with second:
            print("cooked")


if __name__ == "__main__":
    pot, ladle = multiprocessing.Lock(name="the pot"), multiprocessing.Lock(name="the ladle")
    both_hold_one = multiprocessing.Barrier(2)
    cooks = [
        multiprocessing.Process(target=cook, args=(pot, ladle, both_hold_one)),
        multiprocessing.Process(target=cook, args=(ladle, pot, both_hold_one)),
    ]
    for one in cooks:
        one.start()
    for one in cooks:
        one.join()
