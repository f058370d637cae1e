"""imap() gets an endless input and a slow consumer. How far ahead is the input read?"""

import multiprocessing
import sys
import time

taken_in = 0


def readings():
    global taken_in
    while taken_in < 100_000:  # far enough to tell; without this it would go on until memory is full
        taken_in += 1
        yield taken_in


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        results = pool.imap(abs, readings())
        for _ in range(10):
            next(results)
        time.sleep(1)
        print(f"10 results taken, {taken_in} items of the input read")
        sys.exit(taken_in > 1000)
