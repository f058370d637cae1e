"""A daemon process ends with the program. Any other child also ends when its parent is killed."""

import os
import signal
import time

import kettle.multiprocessing as multiprocessing


def tick(ticks) -> None:
    while True:
        time.sleep(0.1)
        print("  tick")
        ticks.release()


def start_a_grandchild(tell) -> None:
    grandchild = multiprocessing.Process(target=time.sleep, args=(3600,))
    grandchild.start()
    tell.send(grandchild.pid)
    grandchild.join()


if __name__ == "__main__":
    listen, tell = multiprocessing.Pipe(duplex=False)
    parent = multiprocessing.Process(target=start_a_grandchild, args=(tell,))
    parent.start()
    print(f"process {parent.pid} has a child, {listen.recv()}, which sleeps for an hour")
    tell.close()  # now only those two processes have it, so it closes when both are gone
    os.kill(parent.pid, signal.SIGKILL)
    killed = time.perf_counter()
    listen.poll(None)
    print(f"the parent was killed; {1000 * (time.perf_counter() - killed):.1f} ms later the grandchild is gone too")
    parent.join()

    ticks = multiprocessing.Semaphore(0)
    clock = multiprocessing.Process(target=tick, args=(ticks,), daemon=True)
    clock.start()
    for _ in range(3):
        ticks.acquire()
    print("the program ends here, and its daemon with it")
