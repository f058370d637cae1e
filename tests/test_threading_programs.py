"""Parts of the standard library that use threads, with Kettle's classes: they work, cause no warning under `-X dev -W
error`, and let the interpreter end."""

import subprocess
import sys
import textwrap

import pytest

LIMIT = 60

PROGRAMS = {
    "what makes a lock is an attribute": """
        import collections, copy, pickle, threading

        class Map:
            make = threading.Lock
            make_again = threading.RLock

        with Map().make(), Map().make_again():
            assert not threading.Lock().locked()
        assert pickle.loads(pickle.dumps(threading.Lock)) is copy.deepcopy(threading.Lock) is threading.Lock
        assert collections.defaultdict(threading.Lock)[1].acquire()
        """,
    "a threaded web server": """
        import http.server, threading, urllib.request
        from concurrent.futures import ThreadPoolExecutor

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = self.path.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args): ...

        def get(n):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{n}") as answer:
                return answer.read().decode()

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = False
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            with ThreadPoolExecutor(8) as executor:
                assert list(executor.map(get, range(100))) == [f"/{n}" for n in range(100)]
            server.shutdown()
            thread.join()
        """,
    "records through a queue": """
        import logging, logging.handlers, queue, threading

        records = []

        class Keep(logging.Handler):
            def emit(self, record):
                records.append(record.getMessage())

        q = queue.Queue()
        listener = logging.handlers.QueueListener(q, Keep())
        listener.start()
        log = logging.getLogger("program")
        log.setLevel(logging.INFO)
        log.addHandler(logging.handlers.QueueHandler(q))
        threads = [threading.Thread(target=lambda n=n: [log.info("%d", n) for _ in range(50)]) for n in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        listener.stop()
        assert sorted(records) == sorted(str(n) for n in range(8) for _ in range(50))
        """,
    "futures that wait for each other": """
        import concurrent.futures as cf

        with cf.ThreadPoolExecutor(4) as executor:
            first = [executor.submit(pow, n, 2) for n in range(100)]
            second = [executor.submit(lambda f: f.result() + 1, f) for f in first]
            done, late = cf.wait(second)
            assert not late and sum(f.result() for f in done) == sum(n * n + 1 for n in range(100))
            assert len(list(cf.as_completed(first))) == 100
        """,
    "asyncio and threads": """
        import asyncio, threading

        async def main():
            loop = asyncio.get_running_loop()
            loop.slow_callback_duration = 60  # a busy machine is not to be told of
            lock, count = threading.Lock(), []

            def work(n):
                with lock:
                    count.append(n)
                return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, n), loop).result()

            assert sorted(await asyncio.gather(*(asyncio.to_thread(work, n) for n in range(50)))) == list(range(50))
            assert len(count) == 50

        asyncio.run(main())
        """,
    "a subprocess with three pipes": """
        import subprocess, sys
        text = "x" * 1_000_000
        twice = "import sys; s = sys.stdin.read(); print(s); print(s, file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", twice], input=text, capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == done.stderr.strip() == text
        """,
    "a fork with records being written": """
        import logging, os, sys, threading, warnings

        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads
        log = logging.getLogger("program")
        log.setLevel(logging.INFO)
        nowhere = os.open(os.devnull, os.O_WRONLY)

        class Raw(logging.Handler):
            # Not a stream, whose own buffer may be locked at the fork.
            def emit(self, record):
                os.write(nowhere, record.getMessage().encode())

        log.addHandler(Raw())
        over = threading.Event()

        def write():
            while not over.is_set():
                log.info("something")

        threads = [threading.Thread(target=write) for _ in range(3)]
        [t.start() for t in threads]
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                log.info("in the child")
                assert threading.active_count() == 1
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        over.set()
        [t.join() for t in threads]
        """,
    "a cache for each thread and a trace": """
        import threading, functools

        @functools.lru_cache
        def slow(n):
            return n

        seen = []
        threading.setprofile(lambda frame, event, arg: seen.append(event))
        data = threading.local()

        def work():
            data.n = slow(1)
            assert data.n == 1

        threads = [threading.Thread(target=work) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        threading.setprofile(None)
        assert seen and not hasattr(data, "n")
        """,
}


@pytest.mark.parametrize("title", PROGRAMS)
def test_a_program(title, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAMS[title]))
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "kettle", "run", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")


def test_pytest(tmp_path):
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
        import threading, pytest

        def test_locks_are_ours():
            assert threading.Lock.__module__ == "kettle.threading"

        @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
        def test_a_thread_that_raises():
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
        """)
    )
    command = [sys.executable, "-m", "kettle", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
