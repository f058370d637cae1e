"""Tasks and time limits that the tests of the pool share."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from death.support import runs as runs
from death.support import session_members as session_members
from death.support import until as until

#: Seconds after which a test has definitely failed; a wait lasts this long only if something is broken.
LIMIT = 30.0
#: Seconds within which anything that is promised "at once" must happen here. The promise is for an idle machine, and
#: shorter.
PROMPT = 5.0


@contextmanager
def running(context, *args, **options):
    """Yields a pool; it is ended, and its workers are gone, after the block."""
    with context.Pool(*args, **options) as pool:
        yield pool
    pool.join()


class Diary:
    """A file to which any process appends words. Written words stay, even if the writer dies."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def note(self, word: object) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{word}\n".encode())
        os.close(fd)

    def words(self) -> list[str]:
        return Path(self.path).read_text().split() if os.path.exists(self.path) else []

    def numbers(self) -> list[int]:
        return [int(word) for word in self.words()]

    def counts(self) -> Counter:
        return Counter(self.numbers())


# --------------------------------------------------------------------------------------------------------------- tasks


def square(n):
    return n * n


def pid(_=None):
    return os.getpid()


def fail(n):
    raise LookupError(n)


def pass_gate(gate, result=None):
    """Waits until the file exists."""
    while not os.path.exists(gate):
        time.sleep(0.001)
    return result


def note(diary, n):
    diary.note(n)
    return n


def note_and_pass_gate(diary, word, gate):
    diary.note(word)
    return pass_gate(gate, word)


def die(how="kill"):
    """Ends this process in one of the ways in which workers end."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    elif how == "exit":
        os._exit(3)
    elif how == "crash":
        import ctypes

        ctypes.string_at(0)
    time.sleep(LIMIT)


def sleep(seconds=LIMIT * 10):
    time.sleep(seconds)


def spin_in_python():
    while True:
        pass


def spin_in_c():
    sum(range(10**15))  # holds the interpreter and does not check for signals


def hash_in_c():
    import hashlib

    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # releases the interpreter


def refuse_to_end():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


#: Tasks that do not end by themselves.
ENDLESS = {f.__name__: f for f in (sleep, spin_in_python, spin_in_c, hash_in_c, refuse_to_end, stop)}


def note_and_never_end(diary, activity="sleep"):
    diary.note(os.getpid())
    ENDLESS[activity]()
