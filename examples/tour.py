"""The tour: each example in turn, with a line on what to look at. At the end, three programs that hang on the standard
library, side by side with the same programs under `kettle run`.

    python examples/tour.py             all of it, under two minutes
    python examples/tour.py --hangs     only the end
"""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 3.0  # seconds after which a program counts as hung
LIMIT = 30.0  # seconds that an example may take
COLUMN = 50

STATIONS = [
    ("process", "each worker has a process id of its own; every one of them is waited for"),
    ("daemon", "no orphan: the grandchild goes with its killed parent, the daemon with the program"),
    ("tickets", "without the lock more buyers than tickets; with it three, and five too late"),
    ("producer_consumer", "cooks wait while the counter is full, eaters while it is empty; nothing is lost"),
    ("joinable_queue", "join() returns when all is done, and says so when it never will be"),
    ("semaphore", "never more than two inside"),
    ("pipe", "questions and answers cross; closing an end is seen at the other"),
    ("shared_value", "no count is lost"),
    ("killed_lock_holder", "a lock whose holder was killed raises, at once, instead of waiting for ever"),
    ("numpy_queue", "arrays arrive writable, at the speed of memory"),
    ("await_queue", "pages turn while the queue is awaited, in one thread"),
]
HANGS = [
    ("killed_getter", "a worker killed while it waits in Queue.get()"),
    ("killed_waiter", "a process killed while it waits in Event.wait()"),
    ("killed_holder", "a process killed while it holds a Lock"),
]


def main() -> int:
    started = time.perf_counter()
    failed = 0
    if "--hangs" not in sys.argv[1:]:
        for number, (name, look) in enumerate(STATIONS, 1):
            print(f"\n{bold(f'{number:2}. {name}.py')}  {faint('look: ' + look)}", flush=True)
            failed += not show(HERE / f"{name}.py")
    print(
        f"\n{bold('And what hangs elsewhere')}  {faint('the same unchanged program, twice; killed if it does not end')}"
    )
    for name, what in HANGS:
        print(f"\n    {what}", flush=True)
        failed += not side_by_side(HERE / "hangs" / f"{name}.py")
    print(f"\n{time.perf_counter() - started:.0f} seconds. The programs are in {os.path.relpath(HERE)}/.")
    if failed:
        print(f"{failed} of them did not do what they should.")
    return int(failed > 0)


def show(program: Path) -> bool:
    """Runs one example and shows its lines as they come."""
    ours, theirs = os.openpty()  # on a terminal a process writes whole lines at once, so that they do not mix
    process = start([str(program)], theirs)
    os.close(theirs)
    watchdog = threading.Timer(LIMIT, end, [process])
    watchdog.start()
    try:
        with open(ours, encoding="utf-8") as lines:
            for line in lines:
                print(f"    {line}", end="", flush=True)
    except OSError:
        pass  # the end: nobody has the terminal open any more
    process.wait()
    watchdog.cancel()
    if process.returncode:
        print(f"    ... ended with {process.returncode}")
    return process.returncode == 0


def side_by_side(program: Path) -> bool:
    """Runs one program on the standard library and under `kettle run`, and shows both. True if ours ended well."""
    commands = {
        f"python {program.name}": [str(program)],
        f"kettle run {program.name}": ["-m", "kettle", "run", str(program)],
    }
    columns, good = [], False
    processes = {title: (start(command), time.perf_counter()) for title, command in commands.items()}
    for title, (process, started) in processes.items():
        try:
            patience = started + PATIENCE - time.perf_counter()
            output, _ = process.communicate(timeout=max(patience, 0.5))  # it may have ended long ago
            good = process.returncode == 0
            last = "it ends" if good else f"it ends with {process.returncode}"
        except subprocess.TimeoutExpired:
            end(process)
            output, _ = process.communicate()
            good = False
            last = f"HANGS (killed after {PATIENCE:.0f} s)"
        columns.append([bold(title), *wrapped(output), red(last) if not good else last])
    height = max(map(len, columns))
    for left, right in zip(*(column + [""] * (height - len(column)) for column in columns), strict=True):
        print(f"    {left}{' ' * (COLUMN - visible(left))}| {right}".rstrip(), flush=True)
    return good


def start(command: list[str], output: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )


def end(process: "subprocess.Popen[str]") -> None:
    """Ends a program and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def wrapped(text: str) -> list[str]:
    return [part for line in text.splitlines() for part in textwrap.wrap(line, COLUMN - 2)]


def visible(text: str) -> int:
    return len(re.sub(r"\x1b\[\d+m", "", text))


def styled(code: int, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def bold(text: str) -> str:
    return styled(1, text)


def faint(text: str) -> str:
    return styled(2, text)


def red(text: str) -> str:
    return styled(31, text)


if __name__ == "__main__":
    sys.exit(main())
