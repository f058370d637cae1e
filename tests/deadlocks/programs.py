"""Programs in which a signal handler, or Ctrl-C, helps threads that wait. Each runs in its own process, because
handlers run in its main thread."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from tests.death.support import LIMIT

from .scene import MAY_HELP, Scene

PROGRAMS = {
    "the handler releases what its thread waits for": """
        lock.acquire()
        at_ticks(LAST, lock.release)
        lock.acquire()
    """,
    "within a with block": """
        with lock:
            at_ticks(LAST, lock.release)
            lock.acquire()
    """,
    "the handler releases what an ended thread took": """
        taker = threading.Thread(target=lock.acquire)
        taker.start()
        taker.join()
        at_ticks(LAST, lock.release)
        lock.acquire()
    """,
    "the thread is parked, and handlers do the work": """
        lock.acquire()
        at_ticks(LAST, lambda: os._exit(0))
        lock.acquire()
    """,
    "the handler releases what the threads wait for that the main thread joins": """
        at_ticks(LAST, lock.release, other.release)
        threads = [threading.Thread(target=sit, args=pair) for pair in ((lock, other), (other, lock))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    """,
    "the same as the program ends": """
        at_ticks(LAST, lock.release, other.release)
        for pair in ((lock, other), (other, lock)):
            threading.Thread(target=sit, args=pair).start()
    """,
    "a time-out by a signal ends the wait of one, and so that of the other": """
        class TooLong(Exception):
            pass
        def give_up():
            raise TooLong
        def works():
            with other:
                both.wait()
                with lock:
                    pass
        worker = threading.Thread(target=works)
        worker.start()
        try:
            with lock:
                both.wait()
                at_ticks(LAST, give_up)
                with other:
                    pass
        except TooLong:
            pass
        worker.join()
    """,
    "Ctrl-C is what the main thread waits for": """
        threads = [threading.Thread(target=sit, args=pair) for pair in ((lock, other), (other, lock))]
        for thread in threads:
            thread.start()
        print("joins", flush=True)
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            lock.release()
            other.release()
        for thread in threads:
            thread.join()
    """,
}

BEGINNING = """
    import os, signal, sys
    from kettle import threading
    from kettle._core import native
    native.deadlock_policy("raise", {threshold})
    errors = []
    threading.excepthook = lambda args: errors.append(args)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lock, other, both = threading.Lock(), threading.Lock(), threading.Barrier(2)
    LAST = 8
    ticks = 0
    def at_ticks(n, *calls):
        def tick(*_):
            global ticks
            ticks += 1
            if ticks == n:
                signal.setitimer(signal.ITIMER_REAL, 0)
                for call in calls:
                    call()
        signal.signal(signal.SIGALRM, tick)
        signal.setitimer(signal.ITIMER_REAL, {tick}, {tick})
    def sit(mine, theirs):
        mine.acquire()
        both.wait()
        theirs.acquire()
    def judge():
        if errors:
            os.write(2, ("WRONG: " + str(errors)).encode())
            os._exit(1)
    import atexit
    atexit.register(judge)
"""


def plays_a_program(scene: Scene, name: str) -> None:
    text = BEGINNING.format(threshold=scene.threshold, tick=scene.seconds / 8) + textwrap.indent(
        textwrap.dedent(PROGRAMS[name]), "    "
    )
    command = [sys.executable, "-c", textwrap.dedent(text)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if "joins" in PROGRAMS[name]:
            assert process.stdout is not None
            assert process.stdout.readline() == "joins\n"
            scene.linger()
            process.send_signal(2)
        try:
            _, said = process.communicate(timeout=LIMIT + scene.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{name}: hangs") from None
    reports = said.count("kettle: deadlock")
    if process.returncode or reports != sum(said.count(words) for words in MAY_HELP):
        scene.wrong.append(f"{name}: exit status {process.returncode}\n{said}")
