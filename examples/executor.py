"""The executor of concurrent.futures: the death of a worker fails one future and does not break the executor."""

import asyncio
import concurrent.futures
import os
import signal

import kettle
from kettle.futures import ProcessPoolExecutor


def brew(leaf: str) -> str:
    if leaf == "oolong":
        os.kill(os.getpid(), signal.SIGKILL)
    return f"a pot of {leaf}"


def main() -> None:
    with ProcessPoolExecutor(max_workers=2) as executor:
        pots = {executor.submit(brew, leaf): leaf for leaf in ("assam", "oolong", "sencha", "rooibos")}
        for pot in concurrent.futures.as_completed(pots):
            try:
                print(f"  {pots[pot]}: {pot.result()}")
            except kettle.WorkerDied as error:
                print(f"  {pots[pot]}: {type(error).__name__}: {error}")
        print(f"and goes on: {list(executor.map(brew, ['darjeeling', 'mint']))}")
        print(f"also from a coroutine: {asyncio.run(in_a_coroutine(executor))}")


async def in_a_coroutine(executor: ProcessPoolExecutor) -> str:
    return await asyncio.get_running_loop().run_in_executor(executor, brew, "jasmine")


if __name__ == "__main__":
    main()
