"""Records of child processes, handled by the parent."""

import logging
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import kettle.multiprocessing as mp
from kettle.multiprocessing import _logging, process

LIMIT = 30
METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(params=METHODS)
def ctx(request):
    return mp.get_context(request.param)


class Remember(logging.Handler):
    """A handler whose records can be waited for."""

    def __init__(self):
        super().__init__()
        self.came = queue.SimpleQueue()

    def emit(self, record):
        self.came.put(record)

    def next(self):
        return self.came.get(timeout=LIMIT)

    def rest(self):
        found = []
        while not self.came.empty():
            found.append(self.came.get())
        return found


@pytest.fixture
def root():
    """The root logger with only this test's handler."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    handler = Remember()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG)
    yield handler
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def listener(root):
    with mp.log_to_parent() as listener:
        yield listener


def run(ctx, target, *args, called=None, **kwargs):
    child = ctx.Process(target=target, args=args, kwargs=kwargs, name=called)
    child.start()
    child.join(LIMIT)
    return child


def texts(handler):
    return [record.getMessage() for record in handler.rest()]


# ---------------------------------------------------------------- what is received


def say(*messages, name="app.child", level=logging.INFO):
    for message in messages:
        logging.getLogger(name).log(level, message)


def say_all():
    logging.getLogger("app").info("%s of %d", "one", 2, extra={"user": "me", "when": range(3), "how": lambda: 0})
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("app").exception("failed", stack_info=True)
    threading.Thread(target=say, args=("in a thread",), name="other").start()


def test_a_record_comes_whole(ctx, listener, root):
    child = run(ctx, say_all, called="the child")
    one, two, three = root.next(), root.next(), root.next()
    assert one.getMessage() == "one of 2"
    assert (one.name, one.levelname, one.levelno, one.funcName) == ("app", "INFO", logging.INFO, "say_all")
    assert (one.processName, one.process, one.threadName) == ("the child", child.pid, "MainThread")
    assert os.path.samefile(one.pathname, __file__)
    assert (one.user, one.when) == ("me", range(3))
    assert "lambda" in one.how  # cannot be pickled by name
    assert two.exc_info is None
    assert "ValueError: wrong" in two.exc_text
    assert "in say_all" in two.stack_info
    formatted = logging.Formatter("%(processName)s %(message)s").format(two)
    assert formatted.startswith("the child failed\nTraceback")
    assert formatted.count("ValueError: wrong") == 1
    assert three.threadName == "other"
    assert one.created <= two.created <= three.created
    here = logging.makeLogRecord({})
    for record in (one, two, three):  # counted from the parent's start
        offset = record.created - here.created
        assert abs(record.relativeCreated - here.relativeCreated - offset * 1000) < 1


def test_records_of_one_process_keep_their_order(ctx, listener, root):
    messages = [str(i) for i in range(1000)]
    run(ctx, say, *messages)
    listener.stop()
    assert texts(root) == messages


def work(n):
    logging.getLogger("app").info("task %d", n)
    return n


def test_workers_of_a_pool(ctx, listener, root):
    with ctx.Pool(2) as pool:
        assert pool.map(work, range(20)) == list(range(20))
        pool.close()
        pool.join()
    listener.stop()
    records = root.rest()
    assert sorted(record.getMessage() for record in records) == sorted(f"task {n}" for n in range(20))
    assert os.getpid() not in {record.process for record in records}


def say_in_a_child(method):
    run(mp.get_context(method), say, "from below")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("first", ["fork", "spawn"])
def test_children_of_children(first, method, listener, root):
    if (first, method) == ("fork", "forkserver"):
        pytest.skip("a forked child cannot use the server of its parent, nor start one")
    run(mp.get_context(first), say_in_a_child, method)
    listener.stop()
    assert texts(root) == ["from below"]


def listen_and_say_in_a_child():
    with mp.log_to_parent():
        run(mp.get_context("spawn"), say, "from below")
    run(mp.get_context("spawn"), say, "from below again")


def test_a_child_that_listens_to_its_own(ctx, listener, root):
    run(ctx, listen_and_say_in_a_child)
    listener.stop()
    assert texts(root) == ["from below", "from below again"]


class OnlyThere:
    def __reduce__(self):
        return _only_there, (os.getpid(),)


def _only_there(pid):
    if os.getpid() != pid:
        raise RuntimeError("elsewhere")


def say_what_cannot_be_rebuilt():
    logging.getLogger("app").info("said", extra={"user": OnlyThere()})


def test_an_extra_that_cannot_be_rebuilt(ctx, listener, root):
    run(ctx, say_what_cannot_be_rebuilt)
    record = root.next()
    assert record.getMessage() == "said"
    assert "cannot be rebuilt" in record.user
    assert "elsewhere" in record.user


# ---------------------------------------------------------------- which configuration applies


@pytest.fixture
def lib():
    """A logger with its own configuration, which is reset afterwards."""
    logger = logging.getLogger("lib")
    logger.addHandler(handler := Remember())
    logger.propagate = False
    yield logger, handler
    logger.handlers.clear()
    logger.filters.clear()
    logger.propagate = True
    logger.disabled = False
    logger.setLevel(logging.NOTSET)


def test_the_handlers_of_the_parents_loggers(ctx, lib, listener, root):
    run(ctx, say, "to its own", name="lib.part")
    run(ctx, say, "so too", name="lib")
    listener.stop()
    assert texts(lib[1]) == ["to its own", "so too"]
    assert texts(root) == []


def test_a_handler_writes_once(ctx, lib, listener, tmp_path):
    """A forked child has it, too, and must not use it."""
    handler = logging.FileHandler(tmp_path / "log")
    lib[0].addHandler(handler)
    run(ctx, say, "once", name="lib")
    run(ctx, say, "and once more", name="lib.part")
    listener.stop()
    handler.close()
    assert (tmp_path / "log").read_text() == "once\nand once more\n"


def say_at_levels():
    for name in ("lib", "app"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logging.getLogger(name).log(level, "%s %d", name, level)


def test_the_levels_of_the_parents_loggers(ctx, lib, listener, root):
    lib[0].setLevel(logging.WARNING)
    run(ctx, say_at_levels)
    listener.stop()
    assert texts(lib[1]) == ["lib 30"]
    assert texts(root) == ["app 10", "app 20", "app 30"]


def say_when_told(go):
    go.wait(LIMIT)
    say("later", name="lib")


def test_levels_that_are_raised_later(ctx, lib, listener, root):
    go = ctx.Event()
    child = ctx.Process(target=say_when_told, args=(go,))
    child.start()
    lib[0].setLevel(logging.WARNING)
    go.set()
    child.join(LIMIT)
    listener.stop()
    assert texts(lib[1]) == []


def what_is_enabled(queue):
    queue.put([logging.getLogger(name).isEnabledFor(logging.INFO) for name in ("lib", "lib.part", "app", "off")])


def test_children_begin_with_the_parents_levels(ctx, lib, listener):
    """Records that the parent would not handle are not even created in a child."""
    lib[0].setLevel(logging.WARNING)
    off = logging.getLogger("off")
    off.disabled = True
    answer = ctx.Queue()
    try:
        run(ctx, what_is_enabled, answer)
        assert answer.get(timeout=LIMIT) == [False, False, True, False]
        logging.disable(logging.CRITICAL)
        run(ctx, what_is_enabled, answer)
        assert answer.get(timeout=LIMIT) == [False] * 4
    finally:
        off.disabled = False
        logging.disable(logging.NOTSET)


def test_the_filters_of_the_parents_loggers(ctx, lib, listener):
    here = os.getpid()
    lib[0].addFilter(lambda record: os.getpid() != here or "secret" not in record.getMessage())
    run(ctx, say, "one", "a secret", "two", name="lib")
    listener.stop()
    assert texts(lib[1]) == ["one", "two"]


def test_a_filter_that_raises_stops_nothing(ctx, lib, listener, capsys):
    here = os.getpid()

    def choke(record):
        if os.getpid() == here and record.getMessage() == "choke":
            raise RuntimeError("choked")
        return True

    lib[0].addFilter(choke)
    run(ctx, say, "one", "choke", "two", name="lib")
    listener.stop()
    assert texts(lib[1]) == ["one", "two"]
    assert "RuntimeError: choked" in capsys.readouterr().err


def test_a_level_of_its_own(ctx, root):
    with mp.log_to_parent("WARNING") as listener:
        run(ctx, say_at_levels)
        assert mp.log_to_parent(logging.INFO) is listener
        run(ctx, say_at_levels)
    assert texts(root) == ["lib 30", "app 30", "lib 20", "lib 30", "app 20", "app 30"]
    with pytest.raises(ValueError, match="LOUD"):
        mp.log_to_parent("LOUD")
    assert process.prepare_child is None


def log_with_a_handler_of_its_own(answer):
    handler = Remember()
    logging.getLogger("app").addHandler(handler)
    logging.basicConfig(level=logging.CRITICAL)  # does nothing: there is a handler
    say("both")
    answer.put([handler.next().getMessage(), len(logging.getLogger().handlers)])


def test_a_child_may_have_handlers_of_its_own(ctx, listener, root):
    answer = ctx.Queue()
    run(ctx, log_with_a_handler_of_its_own, answer)
    assert answer.get(timeout=LIMIT) == ["both", 1]
    listener.stop()
    assert texts(root) == ["both"]


def test_the_parents_own_records_take_their_old_way(listener, root):
    say("here")
    assert root.next().process == os.getpid()


# ---------------------------------------------------------------- beginning and end


def test_twice_is_harmless(ctx, listener, root):
    assert mp.log_to_parent() is listener
    assert ctx.log_to_parent() is listener
    run(ctx, say, "once")
    listener.stop()
    listener.stop()
    assert texts(root) == ["once"]


def test_stop_and_begin_again(census, root):
    first = mp.log_to_parent()
    first.stop()
    assert process.prepare_child is None
    run(mp.get_context("fork"), say, "as ever")  # to its copy of the handlers
    second = mp.log_to_parent()
    assert second is not first
    run(mp.get_context("spawn"), say, "again")
    second.stop()
    assert texts(root) == ["again"]


def test_stopped_from_a_handler(ctx, root):
    listener = mp.log_to_parent()
    said = threading.Event()
    root.emit = lambda record: (said.wait(LIMIT), listener.stop(), root.came.put(record))
    run(ctx, say, "enough", "and more")
    said.set()
    listener._thread.join(LIMIT)
    assert texts(root) == ["enough", "and more"]


def say_and_be_killed():
    say(*map(str, range(100)))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_child_killed_right_after_logging(ctx, listener, root):
    assert run(ctx, say_and_be_killed).exitcode == -signal.SIGKILL
    listener.stop()
    assert texts(root) == [str(i) for i in range(100)]


def say_until_killed():
    while True:
        say("again")


def test_children_killed_while_logging(ctx, listener, root):
    for _ in range(5):
        child = ctx.Process(target=say_until_killed)
        child.start()
        for _ in range(100):
            root.next()
        child.kill()
        child.join()
    run(ctx, say, "last")
    listener.stop()
    assert texts(root)[-1] == "last"


def say_after_the_end(go, done):
    say("before")
    go.wait(LIMIT)
    say("after")
    say("after, and serious", level=logging.WARNING)
    done.set()


def test_a_child_that_logs_after_the_end(ctx, root, capfd):
    listener = mp.log_to_parent()
    go, done = ctx.Event(), ctx.Event()
    child = ctx.Process(target=say_after_the_end, args=(go, done))
    child.start()
    assert root.next().getMessage() == "before"
    listener.stop()
    go.set()
    assert done.wait(LIMIT)
    child.join()
    assert texts(root) == []
    if ctx.get_start_method() != "forkserver":  # its stderr is that of the time when the server started
        assert capfd.readouterr().err == "after, and serious\n"


def say_more_than_there_is_room(room, stuck, done):
    _logging._PATIENCE = logging.getLogger().handlers[0]._patience = 0.05
    say("0")
    assert stuck.wait(LIMIT)
    for i in range(1, room + 2 * _logging._BATCH):
        say(f"{i}")
    say("serious", level=logging.ERROR)
    done.set()


def test_a_parent_that_is_stuck(ctx, root, capfd, monkeypatch):
    """The child waits for room once, reports this, and goes on."""
    room = 1000  # less than usual: a busy machine needs time for each record, and nothing may block forever
    monkeypatch.setattr(_logging, "_ROOM", room)
    listener = mp.log_to_parent()
    go = threading.Event()
    stuck, done = ctx.Event(), ctx.Event()
    root.emit = lambda record: (stuck.set(), go.wait(LIMIT), root.came.put(record))
    child = ctx.Process(target=say_more_than_there_is_room, args=(room, stuck, done))
    child.start()
    assert done.wait(LIMIT)
    child.join()
    go.set()
    listener.stop()
    came = texts(root)
    assert came == [str(i) for i in range(len(came))]
    # The one that the listener had taken out when it got stuck has made room.
    assert len(came) == room + 1
    if ctx.get_start_method() != "forkserver":
        error = capfd.readouterr().err
        assert error.count("--- Logging error ---") == 1
        assert error.endswith("serious\n")


forks_begin = threading.Event()
os.register_at_fork(before=forks_begin.set)


def test_a_fork_while_a_record_is_handled(listener, root):
    """A child does not inherit the locks of handlers and streams in the state in which another thread holds them."""
    inside, busy = threading.Event(), threading.Lock()

    def emit(record):
        with busy:
            inside.set()
            forks_begin.wait(LIMIT)
            time.sleep(0.1)  # a fork that did not wait for this handler would happen now

    root.emit = emit
    forks_begin.clear()
    child = mp.get_context("spawn").Process(target=say, args=("one",))
    child.start()
    assert inside.wait(LIMIT)
    forked = os.fork()
    if forked == 0:
        os._exit(not busy.acquire(blocking=False))
    assert os.waitpid(forked, 0)[1] == 0
    child.join()


def test_a_fork_that_a_handler_waits_for(listener, root):
    """In that case the fork does not wait forever."""
    inside, forked = threading.Event(), threading.Event()
    in_time = []
    root.emit = lambda record: (inside.set(), in_time.append(forked.wait(LIMIT)))
    child = mp.get_context("spawn").Process(target=say, args=("one",))
    child.start()
    assert inside.wait(LIMIT)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    forked.set()
    assert os.waitpid(pid, 0)[1] == 0
    child.join()
    run(mp.get_context("fork"), say, "two")
    listener.stop()
    assert in_time == [True, True]


# ---------------------------------------------------------------- whole programs


def program(text, *, code=0, **kwds):
    command = [sys.executable, "-c", textwrap.dedent(text)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, **kwds)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("daemon", [False, True])
def test_nothing_is_lost_at_exit(daemon, tmp_path):
    """The program ends while its child logs; a handler that buffers records is complete when `logging` closes it."""
    out = tmp_path / "out"
    program(
        f"""
        import logging, logging.handlers, time
        from multiprocessing import util
        import kettle.multiprocessing as mp

        def child(go, ending):
            for i in range(500):
                logging.info("%d", i)
            go.set()
            ending.wait()
            logging.info("told")
            while {daemon}:
                time.sleep(0.01)

        slow = logging.FileHandler({str(out)!r})
        logging.basicConfig(level="INFO", format="%(message)s",
                            handlers=[logging.handlers.MemoryHandler(10**6, target=slow)])
        mp.log_to_parent()
        go, ending = mp.Event(), mp.Event()
        util.Finalize(None, ending.set, exitpriority=50)
        mp.get_context("fork").Process(target=child, args=(go, ending), daemon={daemon}).start()
        go.wait()
        """
    )
    lines = out.read_text().split()
    assert lines[:500] == [str(i) for i in range(500)]
    assert lines[500:] == ["told"] or (daemon and lines[500:] == [])


def test_the_main_module_of_a_spawned_child(tmp_path):
    """It is imported after forwarding has begun: its records are received, and its configuration duplicates nothing."""
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import logging
        import kettle.multiprocessing as mp

        logging.basicConfig(level="INFO", format="%(processName)s %(message)s")
        logging.info("imported")

        def child():
            logging.info("runs")

        if __name__ == "__main__":
            mp.log_to_parent()
            process = mp.get_context("spawn").Process(target=child, name="Child")
            process.start()
            process.join()
        """)
    )
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path, check=True)
    assert done.stderr.splitlines() == ["MainProcess imported", "Child imported", "Child runs"]


def test_a_parent_that_is_killed():
    """Its child, which may outlive it, does not hang while logging."""
    done = program(
        """
        import logging, os, signal, sys
        import kettle.multiprocessing as mp
        from kettle.multiprocessing import _logging

        def child(go):
            _logging._PATIENCE = logging.getLogger().handlers[0]._patience = 0.05
            go.set()
            mp.parent_process().join()
            for i in range(2 * _logging._ROOM):
                logging.info("%d", i)
            logging.warning("reached the end")
            os.write(1, b"child ends")

        logging.basicConfig(level="INFO")
        mp.log_to_parent()
        go = mp.Event()
        mp.get_context("fork").Process(target=child, args=(go,), outlive_parent=True).start()
        go.wait()
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        code=-signal.SIGKILL,
    )
    assert done.stdout == "child ends"
    assert done.stderr.endswith("reached the end\n")


def test_not_loaded_unless_asked_for():
    text = """
        import sys
        import kettle.multiprocessing as mp

        def child(answer):
            answer.put([name for name in ("logging", "kettle.multiprocessing._logging") if name in sys.modules])

        if __name__ == "__main__":
            answer = mp.Queue()
            process = mp.get_context("fork").Process(target=child, args=(answer,))
            process.start()
            print(answer.get())
            process.join()
    """
    assert program(text).stdout == "[]\n"
