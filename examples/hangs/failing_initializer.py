"""The initializer of the workers raises. Does the caller get the error?"""

import multiprocessing


def connect(address):
    raise ConnectionError(f"no answer from {address}")


if __name__ == "__main__":
    with multiprocessing.Pool(2, initializer=connect, initargs=("localhost:5432",)) as pool:
        try:
            pool.apply(len, ("tea",))
        except Exception as error:
            print(f"apply() raised {type(error).__name__}: {error}")
