"""A coroutine awaits the results of a pool, one or many. When it gives up waiting, the work ends as well."""

import asyncio
import time

import kettle.multiprocessing as multiprocessing


def steep(minutes: int) -> str:
    time.sleep(minutes / 20)
    return f"steeped for {minutes} minutes"


async def read_the_paper() -> None:
    while True:
        print("      turning a page")
        await asyncio.sleep(0.05)


async def main() -> None:
    with multiprocessing.Pool(2) as pool:
        reading = asyncio.create_task(read_the_paper())
        print(f"  {await pool.apply_async(steep, (2,))}")
        async for cup in pool.imap(steep, [4, 3, 2, 1]):
            print(f"  {cup}")
        reading.cancel()

        try:
            async with asyncio.timeout(0.1):
                await pool.apply_async(steep, (1_000_000,))
        except TimeoutError:
            print("gave up waiting for a tea that steeps for two years")
        while pool.statistics().busy:  # the task is being ended
            await asyncio.sleep(0.01)
        print("and the work has ended: no worker is busy")


if __name__ == "__main__":
    asyncio.run(main())
