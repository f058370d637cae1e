"""A task calls sys.exit(), somewhere deep in a library. What does apply() do?"""

import multiprocessing
import sys


def read_settings():
    sys.exit("no settings found")


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        try:
            pool.apply(read_settings)
        except Exception as error:
            print(f"apply() raised {type(error).__name__}: {error}")
