"""Common mistakes, and the messages of the standard library and of Kettle for each.

    python tests/mistakes.py > docs/beginners-mistakes.md

test_mistakes.py also runs them and compares the results with the page.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "beginners-mistakes.md"
LIMIT = 120  # seconds for a program that ends
MOST_LINES = 9

HEAD = """# Beginner's mistakes

For each mistake this page shows a program, the message of the standard library (Python 3.11), and the message of Kettle
under `kettle run`. Only the error of a traceback is shown, and `…` stands for what is omitted or differs between runs.
[`tests/mistakes.py`](../tests/mistakes.py) runs all of these programs and generates this page.
"""

TAIL = """
## Threads before a fork

Not every mistake can be detected. A forked process (`fork` is the default on Linux up to Python 3.13) has a copy of its
parent's memory but none of its threads. A lock that one of those threads held at that moment stays held in the child
forever. Such threads are easy to overlook: polars, PyTorch, gRPC, OpenMP and many database clients start their own. The
first use of such a library in the child then waits forever, with the standard library and with Kettle, and CPython's
`DeprecationWarning` about it (from 3.12 on) is hidden without `-W default`.

If the parent has used such a library, start children by another method:

```python
from kettle.multiprocessing import get_context

with get_context("forkserver").Pool() as pool:
    ...
```

Alternatively, use the library only in the children. Kettle's core repairs its own internal locks in a forked child.
"""


@dataclass(frozen=True)
class Mistake:
    title: str
    program: str
    #: The result with the standard library, if the program does not end on its own.
    endless: str = ""


MISTAKES = [
    Mistake(
        "A lock taken twice",
        """
from {package}threading import Lock

lock = Lock()

def balance():
    with lock:
        return 100

def pay():
    with lock:
        return balance() - 10

pay()
""",
        endless="(nothing: it waits forever)",
    ),
    Mistake(
        "No main guard",
        """
from {package}multiprocessing import get_context

def square(n):
    return n * n

pool = get_context("spawn").Pool(2)
print(pool.map(square, range(4)))
""",
        endless="(one traceback after another: it starts workers forever)",
    ),
    Mistake(
        "An object with a lock in it is sent",
        """
import threading
from {package}multiprocessing import Pool

class Account:
    def __init__(self):
        self.lock = threading.Lock()

def pay(account):
    pass

if __name__ == "__main__":
    with Pool(1) as pool:
        pool.map(pay, [Account()])
""",
    ),
    Mistake(
        "A generator is sent to a process",
        """
from {package}multiprocessing import get_context

def work(lines):
    pass

if __name__ == "__main__":
    lines = (line for line in ["a", "b"])
    get_context("spawn").Process(target=work, args=(lines,)).start()
""",
    ),
    Mistake(
        "A result that cannot be sent",
        """
from {package}multiprocessing import Pool

def lines(n):
    return (line for line in ["a", "b"])

if __name__ == "__main__":
    with Pool(1) as pool:
        pool.apply(lines, (1,))
""",
    ),
    Mistake(
        "The function is called instead of passed",
        """
from {package}multiprocessing import Process

def greet(name):
    print("hello", name)

if __name__ == "__main__":
    process = Process(target=greet("anne"))
    process.start()
    process.join()
""",
    ),
    Mistake(
        "The arguments without a comma",
        """
from {package}multiprocessing import Process

def greet(name):
    print("hello", name)

if __name__ == "__main__":
    process = Process(target=greet, args=("anne"))
    process.start()
    process.join()
""",
    ),
    Mistake(
        "The arguments without a comma, in a pool",
        """
from {package}multiprocessing import Pool

def square(n):
    return n * n

if __name__ == "__main__":
    with Pool(1) as pool:
        pool.apply_async(square, (5)).get()
""",
    ),
    Mistake(
        "The function without its keyword",
        """
from {package}multiprocessing import Process

def greet(name):
    print("hello", name)

Process(greet, ("anne",)).start()
""",
    ),
    Mistake(
        "A class without super().__init__()",
        """
from {package}multiprocessing import Process

class Greeter(Process):
    def __init__(self, name):
        self.greeted = name

    def run(self):
        print("hello", self.greeted)

if __name__ == "__main__":
    Greeter("anne").start()
""",
    ),
    Mistake(
        "A process is joined before it is started",
        """
from {package}multiprocessing import Process

process = Process(target=print)
process.join()
""",
    ),
    Mistake(
        "A process is started twice",
        """
from {package}multiprocessing import Process

if __name__ == "__main__":
    process = Process(target=int)
    process.start()
    process.join()
    process.start()
""",
    ),
    Mistake(
        "A running process is made a daemon",
        """
from {package}multiprocessing import Process

if __name__ == "__main__":
    process = Process(target=int)
    process.start()
    process.daemon = True
""",
    ),
    Mistake(
        "A pool is used after its `with` block",
        """
from {package}multiprocessing import Pool

if __name__ == "__main__":
    with Pool(1) as pool:
        pass
    pool.map(abs, [1])
""",
    ),
    Mistake(
        "A pool is joined before it is closed",
        """
from {package}multiprocessing import Pool

if __name__ == "__main__":
    with Pool(1) as pool:
        pool.join()
""",
    ),
    Mistake(
        "`task_done()` is called too often",
        """
from {package}multiprocessing import JoinableQueue

queue = JoinableQueue()
queue.put("tea")
queue.get()
queue.task_done()
queue.task_done()
""",
    ),
    Mistake(
        "A name instead of a context",
        """
from {futures} import ProcessPoolExecutor

ProcessPoolExecutor(2, mp_context="spawn")
""",
    ),
    Mistake(
        "A string instead of a number",
        """
from {package}multiprocessing import Queue

Queue().get(timeout="5")
""",
    ),
]


def said(mistake: Mistake, kettle: bool) -> str:
    """Returns the message of a program with this mistake."""
    if mistake.endless and not kettle:
        return mistake.endless
    names = {
        "package": "kettle." if kettle else "",
        "futures": "kettle.futures" if kettle else "concurrent.futures",
    }
    program = mistake.program.format_map(names)
    if kettle:
        program = 'import kettle; kettle.deadlock("raise")\n' + program  # as `kettle run` does
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "program.py")
        path.write_text(program)
        done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=LIMIT, cwd=directory)
        text = done.stderr.replace(f"{directory}/", "")
    return shortened(text) or "(nothing)"


def shortened(text: str) -> str:
    """Returns the error without its traceback and without what differs from run to run."""
    lines = text.rstrip().splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"[\w.]*(Error|Died|Warning|BrokenProcessPool)\b", line)]
    warned = [i for i, line in enumerate(lines) if re.match(r"program\.py:\d+: \w*Warning", line)]
    if starts or warned:
        lines = lines[(starts or warned)[-1] :]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES // 2], "…", *lines[-(MOST_LINES // 2) :]]
    text = re.sub(r"0x[0-9a-f]+", "0x…", "\n".join(lines))
    text = re.sub(r"(pid|thread|worker|parent)([ =])\d+", r"\1\2…", text)
    return re.sub(r"program\.py:\d+", "program.py:…", text)


def anchor(title: str) -> str:
    """Returns the anchor of a heading."""
    return re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")


def page() -> str:
    contents = [f"- [{mistake.title}](#{anchor(mistake.title)})" for mistake in MISTAKES]
    parts = [HEAD, "\n".join([*contents, "- [Threads before a fork](#threads-before-a-fork)", ""])]
    for mistake in MISTAKES:
        program = mistake.program.format_map({"package": "", "futures": "concurrent.futures"}).strip()
        parts.append(f"## {mistake.title}\n\n```python\n{program}\n```\n")
        for name, kettle in (("The standard library", False), ("Kettle", True)):
            parts.append(f"{name}:\n\n```text\n{said(mistake, kettle)}\n```\n")
    return "\n".join(parts) + TAIL


if __name__ == "__main__":
    print(page(), end="")
