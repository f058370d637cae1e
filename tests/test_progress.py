"""Progress of work: a bar for who watches, lines for a log."""

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
import types

import pytest

from kettle import _progress
from kettle._progress import bar

LIMIT = 30


class Lines(_progress._Lines):
    """Lines by a clock that is set by hand."""

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
    """And closing twice is harmless, and no updates follow."""
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

total = None if "unknown" in sys.argv else 8
with_bar = bar("fetch", total)
for n in range(4):
    with_bar.update(done=2, failed=int(n == 1))
    time.sleep(0.11)
with_bar.close()
with_bar.close()
assert threading.active_count() == 1
"""


def on_a_terminal(*arguments, columns=100, **environment):
    """What a program shows on its standard error stream, a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", **environment}
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=theirs, env=environment) as program:
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
        assert program.wait(LIMIT) == 0, shown
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


def test_without_tqdm():
    assert re.fullmatch(
        r"fetch: 8/8 \(100 %\) tasks, 1 failed, [\d.]+ per second, in \d\d:\d\d\r\n", on_a_terminal("without")
    )


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
    """Without its widgets tqdm draws it in text."""
    pytest.importorskip("tqdm")
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    shown = bar("fetch", 2)
    shown.update(done=2)
    shown.close()
    assert "2/2" in capsys.readouterr().err


def test_not_loaded_before_it_is_needed():
    program = "import sys; import kettle._progress; print([m for m in sys.modules if m.startswith('tqdm')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout == "[]\n"
