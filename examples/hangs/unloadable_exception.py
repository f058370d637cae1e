"""A task raises an exception that can be pickled but not unpickled. What does apply() raise?"""

import multiprocessing


class NotFound(Exception):
    def __init__(self, key, place):
        super().__init__(f"{key} is not in {place}")  # one argument is kept, two are needed


def look_up(key):
    raise NotFound(key, "the cupboard")


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        try:
            pool.apply(look_up, ("tea",))
        except Exception as error:
            print(f"apply() raised {type(error).__name__}: {error}")
