"""NumPy arrays through a queue: copied once into shared memory, read and written in place."""

import time

import numpy as np

import kettle.multiprocessing as multiprocessing

FRAMES = 200


def film(queue) -> None:
    frame = np.zeros((720, 1280), dtype=np.uint8)
    for n in range(FRAMES):
        frame[0, 0] = n
        queue.put(frame)


if __name__ == "__main__":
    queue = multiprocessing.Queue(maxsize=8)
    camera = multiprocessing.Process(target=film, args=(queue,))
    camera.start()
    started = time.perf_counter()
    for n in range(FRAMES):
        frame = queue.get()
        assert frame[0, 0] == n
        frame += 1  # this process has the only reference, and the array is writable
    seconds = time.perf_counter() - started
    camera.join()
    size = frame.nbytes / 1e6
    print(f"{FRAMES} frames of {size:.1f} MB: {FRAMES / seconds:.0f} frames/s, {FRAMES * size / seconds:.0f} MB/s")
