"""Web servers that use threads, under `kettle run` in development mode: they answer hundreds of requests, and end
silently when told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

LIMIT = 50

# One handler for all of them: a request for /5 is answered with 10.
TWICE = """
import asyncio, logging, logging.handlers, queue, sys, threading
from concurrent.futures import ThreadPoolExecutor, as_completed

lock, again, jobs = threading.Lock(), threading.RLock(), queue.Queue(4)
records, count = queue.SimpleQueue(), 0
log = logging.getLogger("program")
log.setLevel(logging.INFO)
log.addHandler(logging.handlers.QueueHandler(records))
executor = ThreadPoolExecutor(2)


def add():
    while True:
        number, done = jobs.get()
        done.append(number * 2)
        done.arrived.set()
        jobs.task_done()


class Answer(list):
    def __init__(self):
        self.arrived = threading.Event()


threading.Thread(target=add, daemon=True).start()


def twice(path):
    global count
    number, answer = int(path.strip("/")), Answer()
    with lock, again:
        count += 1
    log.info("asked for %d", number)
    jobs.put((number, answer))
    assert answer.arrived.wait(30) and records.get(timeout=30)
    halves = [executor.submit(int, number), executor.submit(int, number)]
    assert sum(future.result() for future in as_completed(halves)) == answer[0]
    return str(answer[0])


def application(environ, start_response):
    body = twice(environ["PATH_INFO"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

FLASK = """
import flask
from twice import asyncio, logging, sys, twice
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = flask.Flask("program")
app.add_url_rule("/<path>", view_func=lambda path: asyncio.run(asyncio.to_thread(twice, path)))
server = make_server("127.0.0.1", 0, app, threaded=True)
print(f"http://127.0.0.1:{server.port}", file=sys.stderr, flush=True)
server.serve_forever()
"""

WAITRESS = """
import warnings
from twice import application, logging, sys
from waitress.server import create_server

warnings.simplefilter("ignore", ResourceWarning)  # it leaves its sockets to the end of the program
logging.getLogger("waitress.queue").setLevel(logging.ERROR)
server = create_server(application, host="127.0.0.1", port=0, threads=6)
print(f"http://127.0.0.1:{server.effective_port}", file=sys.stderr, flush=True)
server.run()  # returns after Ctrl-C
server.close()
"""

STANDARD = """
import http.server
from twice import sys, twice


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = twice(self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): ...


with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    print(f"http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
"""

GUNICORN = ("-m", "gunicorn", "--worker-class", "gthread", "--threads", "6", "--bind", "127.0.0.1:0")

# What each needs, its program, how it is run, and the signal that ends it.
SERVERS = {
    "the standard library's": ("http.server", STANDARD, ["program.py"], signal.SIGINT),
    "flask": ("flask", FLASK, ["program.py"], signal.SIGINT),
    "waitress": ("waitress", WAITRESS, ["program.py"], signal.SIGINT),
    "gunicorn": ("gunicorn", "", [*GUNICORN, "twice:application"], signal.SIGTERM),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server(tmp_path, name):
    module, program, arguments, ending = SERVERS[name]
    pytest.importorskip(module)
    (tmp_path / "twice.py").write_text(TWICE)
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    server = subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "kettle", "run", *arguments],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(LIMIT, server.kill)
    watchdog.start()
    try:
        lines = []
        while not (address := re.search(r"http://127\S+", lines[-1] if lines else "")):
            lines.append(server.stderr.readline())
            assert lines[-1], "".join(lines)

        def get(number):
            with urllib.request.urlopen(f"{address[0]}/{number}", timeout=LIMIT) as answer:
                return int(answer.read())

        with ThreadPoolExecutor(8) as clients:
            assert list(clients.map(get, range(300))) == [2 * n for n in range(300)]
        server.send_signal(ending)
        rest = server.communicate()[1]
    finally:
        server.kill()
        watchdog.cancel()
    lines += rest.splitlines()
    # On a busy machine asyncio reports slow callbacks in development mode.
    said = [line for line in lines if not re.search(r"http://|\[INFO\]|^\s*$|^Executing <", line)]
    assert said == [] and server.returncode == 0
