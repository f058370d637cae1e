"""A coroutine awaits items that another process puts, while other coroutines go on. No thread waits for the queue."""

import asyncio
import threading
import time

import kettle.multiprocessing as multiprocessing


def measure(queue) -> None:
    for degrees in (40, 60, 80, 100):
        time.sleep(0.1)
        queue.put(degrees)
    queue.shutdown()


async def whistle_when_hot(queue) -> None:
    async for degrees in queue:
        print(f"  {degrees} °C{': the kettle whistles' if degrees == 100 else ''}")


async def read_the_paper() -> None:
    while True:
        print("      turning a page")
        await asyncio.sleep(0.07)


async def main() -> None:
    queue = multiprocessing.Queue()
    thermometer = multiprocessing.Process(target=measure, args=(queue,))
    thermometer.start()
    reading = asyncio.create_task(read_the_paper())
    await whistle_when_hot(queue)
    reading.cancel()
    await thermometer
    print(f"threads in this process: {threading.active_count()}")


if __name__ == "__main__":
    asyncio.run(main())
