"""A daemon process ends with the program; a child also ends when its parent is killed with no time for goodbyes."""

import os
import signal
import time

import kettle.multiprocessing as multiprocessing


def tick() -> None:
    while True:
        time.sleep(0.1)
        print("  tick")


def start_a_grandchild(tell) -> None:
    grandchild = multiprocessing.Process(target=time.sleep, args=(3600,))
    grandchild.start()
    tell.send(grandchild.pid)
    grandchild.join()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    listen, tell = multiprocessing.Pipe(duplex=False)
    parent = multiprocessing.Process(target=start_a_grandchild, args=(tell,))
    parent.start()
    grandchild = listen.recv()
    print(f"process {parent.pid} has a child, {grandchild}, which sleeps for an hour")
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    killed = time.perf_counter()
    while is_alive(grandchild):
        time.sleep(0.001)
    print(f"the parent was killed; {1000 * (time.perf_counter() - killed):.0f} ms later the child is gone too")

    clock = multiprocessing.Process(target=tick, daemon=True)
    clock.start()
    time.sleep(0.35)
    print("the program ends here, and its daemon with it")
