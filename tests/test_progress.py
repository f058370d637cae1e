"""Progress of work: a bar for users, lines for a log."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
import threading
import time
import types

import pytest

from kettle import _progress, multiprocessing
from kettle._progress import bar
from kettle.multiprocessing.pool import ThreadPool

LIMIT = 30


class Lines(_progress._Lines):
    """Lines with a clock that is set by the test."""

    def __init__(self, label="", total=None):
        self.now = 1000.0
        self.stream = io.StringIO()
        super().__init__(label, total, self.stream, lambda: self.now)

    def at(self, seconds, done=0, failed=0):
        self.now = 1000.0 + seconds
        self.update(done, failed)
        return self.taken()

    def end(self, seconds):
        self.now = 1000.0 + seconds
        self.close()
        return self.taken()

    def taken(self):
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text


def test_a_short_job_has_one_line():
    lines = Lines("fetch", 200)
    for n in range(200):
        assert lines.at(n * 0.01, done=1) == ""
    assert lines.end(2.5) == "fetch: 200/200 (100 %) tasks, 80 per second, in 00:02\n"


def test_lines_are_ten_seconds_and_a_tenth_apart():
    lines = Lines("", 1000)
    assert lines.at(9.9, done=300) == ""
    assert lines.at(10, done=0) == "300/1000 (30 %) tasks, 30 per second, 00:23 left\n"
    assert lines.at(21, done=99) == ""
    assert lines.at(22, done=1) == "400/1000 (40 %) tasks, 18.2 per second, 00:33 left\n"
    assert lines.at(31, done=500) == ""
    assert lines.at(32, done=0).startswith("900/1000 (90 %) tasks")


def test_a_line_a_minute_even_so():
    lines = Lines("", 10**6)
    said = [second for second in range(1, 3600) if lines.at(second, done=1)]
    assert said == list(range(60, 3600, 60))


def test_a_total_that_is_not_known():
    lines = Lines("scan")
    assert lines.at(30, done=15) == ""
    assert lines.at(60, done=0) == "scan: 15 tasks, 15 per minute, after 01:00\n"
    assert lines.end(3661) == "scan: 15 tasks, 0.246 per minute, in 1:01:01\n"


def test_failures_are_counted():
    lines = Lines("", 10)
    assert lines.at(10, done=5, failed=2) == "5/10 (50 %) tasks, 2 failed, 30 per minute, 00:10 left\n"
    lines.update(done=1, failed=1)
    assert ", 3 failed, " in lines.end(20)


def test_the_last_update_leaves_the_last_word_to_the_end():
    lines = Lines("", 2)
    assert lines.at(60, done=2) == ""
    assert lines.end(60) == "2/2 (100 %) tasks, 2 per minute, in 01:00\n"


def test_nothing_to_do():
    assert Lines("", 0).end(0) == "0 tasks, 0 per minute, in 00:00\n"
    assert Lines("", 5).end(0) == "0/5 (0 %) tasks, 0 per minute, in 00:00\n"


def test_a_pipe_gets_lines(capsys):
    """Also, closing twice is harmless, and no updates follow."""
    shown = bar("fetch", 4)
    shown.update(done=3)
    shown.update(done=1, failed=1)
    shown.close()
    shown.close()
    shown.update(done=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"fetch: 4/4 \(100 %\) tasks, 1 failed, [\d.]+ per (second|minute), in \d\d:\d\d\n", err)


@pytest.mark.parametrize("stream", ["none", "closed", "full"])
def test_a_stream_that_does_not_work(stream, monkeypatch):
    if stream == "none":
        monkeypatch.setattr(sys, "stderr", None)
    else:
        file = open("/dev/full", "w")  # noqa: SIM115
        monkeypatch.setattr(sys, "stderr", file)
        if stream == "closed":
            file.close()
    shown = bar(True, 1)
    shown.update(done=1)
    shown.close()
    if stream == "full":
        with pytest.raises(OSError, match="No space"):
            file.close()


def test_what_fails_is_not_asked_again():
    class Broken:
        calls = 0

        def update(self, done, failed):
            self.calls += 1
            raise RuntimeError

        close = update

    broken = Broken()
    shown = _progress._Safe(broken)
    for _ in range(3):
        shown.update(1)
    shown.close()
    assert broken.calls == 1


# ---------------------------------------------------------------- on a terminal

PROGRAM = """
import sys
if "without" in sys.argv:
    sys.modules["tqdm"] = None
import threading, time
from kettle._progress import bar
from kettle.multiprocessing.pool import ThreadPool

total = None if "unknown" in sys.argv else 8
with_bar = bar("fetch", total)
for n in range(4):
    with_bar.update(done=2, failed=int(n == 1))
    time.sleep(0.11)
with_bar.close()
with_bar.close()
assert threading.active_count() == 1
"""


def on_a_terminal(*arguments, columns=100, program=PROGRAM, **environment):
    """Returns what a program shows on its stderr, which is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", **environment}
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # EIO: the other end was closed
                break
            if not data:
                break
            shown += data
        os.close(ours)
        assert process.wait(LIMIT) == 0, shown
    return shown.decode()


def test_a_bar():
    pytest.importorskip("tqdm")
    shown = on_a_terminal()
    assert "fetch:   0%|" in shown
    last = shown.split("\r")[-2] if shown.endswith("\r\n") else shown.split("\r")[-1]
    assert re.search(r"fetch: 100%\|█+\| 8/8 \[\d\d:\d\d<00:00, +[\d.]+ tasks/s, 1 failed\]", last), shown


def test_a_bar_for_an_unknown_number():
    pytest.importorskip("tqdm")
    assert re.search(r"fetch: 8 tasks \[\d\d:\d\d, +[\d.]+ tasks/s, 1 failed\]", on_a_terminal("unknown"))


def test_a_bar_without_tqdm():
    shown = on_a_terminal("without")
    drawn = shown.removesuffix("\x1b[K\r\n").split("\x1b[K\r")
    assert "\n" not in "".join(drawn)
    assert drawn[0].lstrip("\r").startswith("fetch:   0%|   ")
    pattern = r"fetch: 100%\|█+\| 8/8 \[\d\d:\d\d<00:00, [\d.]+ tasks/s, 1 failed\]"
    assert re.fullmatch(pattern, drawn[-1]), shown
    assert {len(line.lstrip("\r")) for line in drawn} == {99}  # of 100 columns


def test_a_bar_without_tqdm_for_an_unknown_number():
    last = on_a_terminal("without", "unknown").split("\r")[-2]
    assert re.fullmatch(r"fetch: 8 tasks \[\d\d:\d\d, [\d.]+ tasks/s, 1 failed\]\x1b\[K", last)


@pytest.mark.parametrize("columns", [1, 12, 30, 45])
def test_a_narrow_terminal(columns):
    for line in on_a_terminal("without", columns=columns).replace("\n", "").split("\x1b[K"):
        assert len(line.strip("\r")) <= max(columns - 1, 10)


def test_a_label_of_wide_characters():
    program = PROGRAM.replace('"fetch"', '"下载\\n图片"')
    for line in on_a_terminal("without", program=program).replace("\n", "").split("\x1b[K")[:-1]:
        assert line.startswith("\r下载 图片: ")
        assert len(line.strip("\r")) == 99 - 4  # four of them take two columns


def test_a_terminal_that_has_no_blocks():
    shown = on_a_terminal("without", PYTHONIOENCODING="ascii")
    assert re.search(r"fetch: 100%\|#+\| 8/8", shown)


@pytest.mark.parametrize("terminal", [{"TERM": "dumb"}, {"columns": 0}], ids=str)
def test_a_terminal_that_cannot_show_a_bar(terminal):
    shown = on_a_terminal(**terminal)
    assert shown.count("\n") == 1
    assert "per second" in shown


def test_a_notebook(monkeypatch):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    notebook = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    assert _progress._watched(io.StringIO())
    shell.config = {"TerminalIPythonApp": {}}
    assert not _progress._watched(io.StringIO())
    notebook.get_ipython = lambda: None
    assert not _progress._watched(io.StringIO())


def test_a_bar_in_a_notebook(monkeypatch, capsys):
    """Without its widgets tqdm draws text."""
    pytest.importorskip("tqdm")
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    shown = bar("fetch", 2)
    shown.update(done=2)
    shown.close()
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize("progress", [5, 1.0, b"label", ["x"], object()], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("call", ["map", "starmap", "map_async", "starmap_async", "imap", "imap_unordered"])
def test_what_is_no_progress(progress, call):
    with ThreadPool(1) as pool, pytest.raises(TypeError, match="progress must be True, a label, or a function"):
        getattr(pool, call)(abs, [1], progress=progress)


@pytest.mark.parametrize("progress", [print, lambda done: None, lambda a, b, c: None])
def test_what_is_no_function_of_two(progress):
    with ThreadPool(1) as pool, pytest.raises(TypeError, match="progress must be a function of two arguments"):
        pool.map(abs, [1], progress=progress)


@pytest.mark.parametrize("progress", [None, False, ""])
def test_none_is_asked_for(progress, capfd):
    with ThreadPool(1) as pool:
        assert pool.map(abs, [-1], progress=progress) == [1]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("call", ["map", "imap", "imap_unordered"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_function_is_called(call, is_known, capfd):
    told = []
    items = range(-50, 0) if is_known or call == "map" else iter(range(-50, 0))
    with ThreadPool(2) as pool:
        list(getattr(pool, call)(abs, items, progress=lambda *numbers: told.append(numbers)))
    done, totals = zip(*told, strict=True)
    assert set(totals) == {50 if is_known or call == "map" else None}
    assert list(done) == sorted(done) and done[-1] == 50
    assert capfd.readouterr() == ("", "")


def test_a_function_that_fails_is_shown_and_not_called_again(monkeypatch):
    shown, calls = [], []
    monkeypatch.setattr(threading, "excepthook", shown.append)

    def tell(done, total):
        calls.append(done)
        raise LookupError("no such bar")

    with ThreadPool(2) as pool:
        assert pool.map(abs, range(-9, 0), progress=tell) == list(range(9, 0, -1))
    assert len(calls) == 1
    assert [str(arguments.exc_value) for arguments in shown] == ["no such bar"]


LOOPS = """
import sys, time
if "without" in sys.argv:
    sys.modules["tqdm"] = None
from kettle.multiprocessing import Pool
from kettle.multiprocessing.pool import ThreadPool

def work(n):
    time.sleep(0.02)
    if n == 3 and "error" in sys.argv:
        raise ValueError(n)

if __name__ == "__main__":
    with (ThreadPool if "threads" in sys.argv else Pool)(2) as pool:
        results = [pool.imap_unordered(work, range(600), progress="LABEL")]  # it may be kept
        try:
            for n, _ in enumerate(results[0] if "kept" in sys.argv else results.pop()):
                if n == 3:
                    break
        except ValueError:
            pass
        print("THE LOOP IS OVER", file=sys.stderr, flush=True)
        pool.map(time.sleep, [0.02] * 30)
        if results:
            print("THE END", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("bar", ["with", "without"])
@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.parametrize("end", ["error", "break"])
def test_a_bar_ends_with_its_loop(bar, kind, end):
    if bar == "with":
        pytest.importorskip("tqdm")
    before, after = on_a_terminal(bar, kind, end, program=LOOPS).split("THE LOOP IS OVER")
    assert "LABEL" in before and before.endswith("\n")
    assert after == "\r\n"


@pytest.mark.parametrize("bar", ["with", "without"])
@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.parametrize("end", ["error", "break"])
def test_a_bar_whose_iterator_is_kept_says_no_more_than_a_last_line(bar, kind, end):
    if bar == "with":
        pytest.importorskip("tqdm")
    before, after = on_a_terminal(bar, kind, end, "kept", program=LOOPS).split("THE LOOP IS OVER")
    assert "LABEL" in before
    assert after.startswith("\r\nTHE END\r\n")
    assert after.count("LABEL") <= 1


@pytest.mark.parametrize("kind", ["Pool", "ThreadPool"])
def test_a_function_is_called_while_the_loop_waits_or_takes(kind):
    told = []
    with getattr(multiprocessing.pool, kind)(2) as pool:
        loop = pool.imap(time.sleep, [0.02] * 20, progress=lambda done, total: told.append(done))
        for _ in range(12):
            next(loop)
        assert 0 < max(told) <= 20
        pool.map(time.sleep, [0.01] * 30)
        quiet = len(told)
        pool.map(time.sleep, [0.01] * 30)
        assert len(told) == quiet
        list(loop)
    assert told[-1] == 20


def test_not_loaded_before_it_is_needed():
    program = "import sys; import kettle._progress; print([m for m in sys.modules if m.startswith('tqdm')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout == "[]\n"
