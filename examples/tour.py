"""A tour: each example in turn, with a line on what to look for. At the end, programs that hang on the standard library
or lose something run side by side with the same programs under `kettle run`.

    python examples/tour.py             all of it, under two minutes
    python examples/tour.py --hangs     only the end
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
LIMIT = 30.0  # seconds for one example

STATIONS = [
    ("process", "each worker has its own process id, and is joined"),
    ("daemon", "no orphan: the grandchild ends with its killed parent, the daemon with the program"),
    ("tickets", "without the lock there are more buyers than tickets; with it three, and five are too late"),
    ("producer_consumer", "cooks wait while the counter is full, eaters while it is empty; nothing is lost"),
    ("joinable_queue", "join() returns when all items are done, and raises when they never will be"),
    ("semaphore", "never more than two inside"),
    ("pipe", "questions and answers cross; closing an end is seen at the other"),
    ("shared_value", "no count is lost"),
    ("killed_lock_holder", "a lock whose holder was killed raises immediately instead of waiting forever"),
    ("numpy_queue", "arrays arrive writable, at the speed of memory"),
    ("await_queue", "pages turn while the queue is awaited, in one thread"),
    ("crawler", "250 pages are read at the same time, in one thread"),
    ("pool", "a killed worker loses its own task; with retries not even that"),
    ("pool_timeout", "C code that would run forever is ended after half a second"),
    ("pool_async", "pages turn while the pool works; a task whose wait is cancelled is ended"),
    ("pool_progress", "a bar, where tqdm is installed"),
    ("executor", "a death fails one future, and the executor goes on"),
    ("joblib_backend", "one import, and joblib's tasks run on Kettle"),
]


def main() -> int:
    started = time.perf_counter()
    failed = 0
    if "--hangs" not in sys.argv[1:]:
        for number, (name, look) in enumerate(STATIONS, 1):
            print(f"\n{bold(f'{number:2}. {name}.py')}  {faint('look: ' + look)}", flush=True)
            failed += not show(HERE / f"{name}.py")
    print(
        f"\n{bold('And what hangs elsewhere')}  {faint('the same program twice; killed if it does not end')}\n",
        flush=True,
    )
    failed += subprocess.run([sys.executable, HERE / "hangs"]).returncode != 0
    print(f"\n{time.perf_counter() - started:.0f} seconds. The programs are in {os.path.relpath(HERE)}/.")
    if failed:
        print(f"{failed} of them did not do what they should.")
    return int(failed > 0)


def show(program: Path) -> bool:
    """Runs one example and shows its lines as they come."""
    ours, theirs = os.openpty()  # on a terminal a process writes whole lines at once, so lines do not mix
    process = subprocess.Popen([sys.executable, program], stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    watchdog = threading.Timer(LIMIT, end, [process])
    watchdog.start()
    try:
        with open(ours, encoding="utf-8") as lines:
            for line in lines:
                print(f"    {line}", end="", flush=True)
    except OSError:
        pass  # no process has the terminal open any more
    process.wait()
    watchdog.cancel()
    if process.returncode:
        print(f"    ... ended with {process.returncode}")
    return process.returncode == 0


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a program and all processes that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def styled(code: int, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def bold(text: str) -> str:
    return styled(1, text)


def faint(text: str) -> str:
    return styled(2, text)


if __name__ == "__main__":
    sys.exit(main())
