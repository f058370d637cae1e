"""Two ways to start a process: pass it a function, or subclass Process."""

import os
import time

import kettle.multiprocessing as multiprocessing


def boil(cups: int) -> None:
    print(f"  {multiprocessing.current_process().name} (pid {os.getpid()}) boils {cups} cups")
    time.sleep(0.2)


class Brewer(multiprocessing.Process):
    def __init__(self, leaf: str) -> None:
        super().__init__(name=f"brewer of {leaf}")
        self.leaf = leaf

    def run(self) -> None:
        print(f"  {self.name} (pid {os.getpid()}, child of {os.getppid()}) pours over {self.leaf}")
        time.sleep(0.2)


if __name__ == "__main__":
    print(f"the kitchen is process {os.getpid()}")
    workers = [
        multiprocessing.Process(target=boil, args=(2,), name="kettle 1"),
        multiprocessing.Process(target=boil, args=(4,), name="kettle 2"),
        Brewer("oolong"),
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        print(f"{worker.name} ended with exit code {worker.exitcode}")
