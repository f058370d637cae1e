"""A function is defined after the pool was created, as in a notebook. Can the pool call it?"""

import multiprocessing

if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:

        def square(n):
            return n * n

        try:
            print(f"map() returned {pool.map(square, range(5))}")
        except Exception as error:
            print(f"map() raised {type(error).__name__}: {error}")
