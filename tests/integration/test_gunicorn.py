"""A pre-fork server: primitives that were created before gunicorn forked its workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("gunicorn")

APPLICATION = """\
import os

import kettle.multiprocessing as mp

lock, number, count, seen = mp.Lock(), mp.RawValue("i", 0), mp.Value("i", 0), mp.Queue()


def add():
    with lock:
        number.value += 1
    with count.get_lock():
        count.value += 1
    seen.put(os.getpid())
    return os.getpid()


def totals():
    pids = [seen.get() for _ in range(seen.qsize())]
    return f"{number.value} {count.value} {len(pids)}"


def child():
    queue = mp.Queue()
    process = mp.get_context("fork").Process(target=queue.put, args=("from a child",))
    process.start()
    process.join()
    return queue.get()


def hold():
    lock.acquire()
    return os.getpid()


def take():
    try:
        lock.acquire()
    except Exception as error:
        lock.reset()
        return type(error).__name__
    lock.release()
    return "taken"


def application(environ, start_response):
    answer = str(globals()[environ["PATH_INFO"][1:]]())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]
"""


CONFIGURATION = """\
def post_worker_init(worker):
    worker.log.info("Ready: %s", worker.pid)
"""


@pytest.fixture
def get(tmp_path):
    """Yields a function that queries a server with two workers, which is stopped afterwards. By then all its workers
    must be ready: a worker that is told to end before it listens for that goes on, and the server ends it after half a
    minute."""
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION)
    options = ["--workers", "2", "--bind", "127.0.0.1:0", "--preload"]
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "application"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},  # newer versions put a socket there
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []

    def until_it_says(pattern):
        while True:
            lines.append(server.stderr.readline())
            assert lines[-1], "".join(lines)
            if found := re.search(pattern, lines[-1]):
                return found

    try:
        address = until_it_says(r"Listening at: (http://\S+)")[1]

        def get(path):
            return urllib.request.urlopen(f"{address}/{path}", timeout=30).read().decode()

        get.until_one_more_is_ready = lambda: until_it_says("Ready: ")
        for _ in range(2):
            get.until_one_more_is_ready()
        yield get
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert server.returncode == 0


def test_workers_share_what_was_made_before_the_fork(get):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(get, ["add"] * 60))
    assert get("totals") == "60 60 60"
    assert get("child") == "from a child"


def test_a_killed_worker_leaves_no_lock_behind(get):
    os.kill(int(get("hold")), signal.SIGKILL)
    assert get("take") == "OwnerDied"
    assert get("take") == "taken"
    get("add")
    assert get("totals") == "1 1 1"
    get.until_one_more_is_ready()  # replaces the one that was killed
