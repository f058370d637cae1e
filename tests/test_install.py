"""`kettle.install()`: which modules get Kettle's, which keep the original, and what children get."""

import subprocess
import sys
import textwrap
from importlib.metadata import PackageNotFoundError, files

import pytest

LIMIT = 60
START_METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture
def run(tmp_path):
    """Runs a program in its own interpreter and returns its output lines. The program is in a file, so that children
    can import it."""

    def run(text, *command):
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(text))
        result = subprocess.run(
            [sys.executable, *command, path], capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr, result.stderr
        return result.stdout.splitlines()

    return run


@pytest.fixture
def kettle_run(run):
    return lambda text: run(text, "-m", "kettle", "run")


def test_every_way_to_import(kettle_run):
    lines = kettle_run("""
        import importlib, pkgutil, sys
        import multiprocessing
        import multiprocessing as mp
        import multiprocessing.queues
        import multiprocessing.pool as pool
        from multiprocessing import Process, connection
        from multiprocessing import *
        from multiprocessing.synchronize import Lock
        print(multiprocessing.__name__)
        print(mp is multiprocessing is sys.modules["multiprocessing"] is importlib.import_module("multiprocessing"))
        print(multiprocessing is __import__("multiprocessing.spawn") is pkgutil.resolve_name("multiprocessing"))
        print(Process.__module__, connection.__name__, Lock.__module__, Queue.__self__.__class__.__module__)
        print(pool.__name__, importlib.import_module("multiprocessing.context").__name__)
        print(importlib.import_module(".queues", "multiprocessing").Queue.__module__)

        def inside():
            import multiprocessing.shared_memory, multiprocessing.managers as managers
            return multiprocessing.shared_memory.__name__, managers.__name__
        print(*inside())
        exec("import multiprocessing; print(multiprocessing.__name__)", {})
        try:
            import multiprocessing.nothing
        except ModuleNotFoundError as error:
            print(error, error.__context__)
        try:
            from multiprocessing import nothing
        except ImportError as error:
            print("cannot import name" in str(error))
        """)
    assert lines == [
        "kettle.multiprocessing",
        "True",
        "True",
        "kettle.multiprocessing.context kettle.multiprocessing.connection kettle.multiprocessing.synchronize "
        "kettle.multiprocessing.context",
        "kettle.multiprocessing.pool kettle.multiprocessing.context",
        "kettle.multiprocessing.queues",
        "kettle.multiprocessing.shared_memory kettle.multiprocessing.managers",
        "kettle.multiprocessing",
        "No module named 'multiprocessing.nothing' None",
        "True",
    ]


def test_others_get_ours_and_insiders_the_original(kettle_run):
    lines = kettle_run("""
        import concurrent.futures.process, logging, multiprocessing, sys
        print(concurrent.futures.process.mp.__name__)
        print(logging.LogRecord("n", 10, "p", 1, "m", (), None).processName)
        from kettle.multiprocessing import context
        print(context._standard.__name__, context._standard is sys.modules["multiprocessing.context"])
        from kettle import _install
        print(_install._STAND_INS["multiprocessing"].original.util.__name__)
        """)
    assert lines == ["kettle.multiprocessing", "MainProcess", "multiprocessing.context True", "multiprocessing.util"]


def test_who_keeps_the_original_threading(kettle_run):
    lines = kettle_run("""
        import sys
        for importer in ("trio._core._entry_queue", "gevent.monkey", "multiprocessing.synchronize", "trionic"):
            names = {"__name__": importer}
            exec("import threading; from threading import RLock", names)
            print(names["threading"] is sys.modules["threading"], type(names["RLock"]()).__module__)
        """)
    assert lines == ["True _thread", "True _thread", "True _thread", "False kettle.threading"]


def test_threads_that_are_gevents_wait_in_its_own_locks(kettle_run):
    """After the program has let gevent patch everything, it gets the patched modules."""
    names = """
        import importlib, multiprocessing, queue, threading
        from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
        print(*(each.__name__ for each in (importlib.import_module("threading"), multiprocessing, queue, threading)))
        print(ProcessPoolExecutor.__module__, ThreadPoolExecutor.__module__)
        """
    lines = kettle_run(f"""
        import sys, types

        patched = set()
        monkey = types.ModuleType("gevent.monkey")
        monkey.is_module_patched = patched.__contains__
        sys.modules["gevent.monkey"] = monkey
        {names}
        patched.add("threading")
        {names}
        """)
    assert lines == [
        "kettle.threading kettle.multiprocessing kettle.queue kettle.threading",
        "kettle.futures kettle.futures",
        "threading multiprocessing queue threading",
        "concurrent.futures.process concurrent.futures.thread",
    ]


def test_joblibs_pool_maps_arrays_into_its_processes(kettle_run):
    """joblib overrides private methods of the original pool to pass a mapped array by the name of its file, and a large
    array through such a file: what a task writes is then in the array."""
    pytest.importorskip("joblib")
    pytest.importorskip("numpy")
    lines = kettle_run("""
        import numpy
        from joblib import Parallel, delayed

        def fill(array, i, large):
            array[i] = i * i
            return type(large).__name__

        if __name__ == "__main__":
            array = numpy.memmap("array", dtype=int, shape=4, mode="w+")
            parallel = Parallel(2, backend="multiprocessing", max_nbytes=1000)
            print(*parallel(delayed(fill)(array, i, numpy.ones(1000)) for i in range(4)))
            print(*array)
        """)
    assert lines == ["memmap memmap memmap memmap", "0 1 4 9"]


def test_what_pickles_name_is_the_original(kettle_run):
    lines = kettle_run("""
        import pickle
        before = [pickle.loads(b"cmultiprocessing.%s\\n%s\\n." % name) for name in
                  [(b"reduction", b"DupFd"), (b"managers", b"RebuildProxy"), (b"heap", b"Arena"), (b"pool", b"Pool")]]
        import multiprocessing, multiprocessing.managers, multiprocessing.heap, multiprocessing.pool
        print([pickle.loads(pickle.dumps(thing)) is thing for thing in before])
        import sys
        print({name for name in ("reduction", "managers", "heap", "pool")
               if sys.modules["multiprocessing." + name].__name__ != "multiprocessing." + name})
        """)
    assert lines == ["[True, True, True, True]", "set()"]


def test_a_function_that_is_sent_by_value_finds_its_modules(kettle_run):
    lines = kettle_run("""
        import multiprocessing, queue, threading
        import cloudpickle

        def ask():
            return multiprocessing.__name__, queue.__name__, threading.__name__

        if __name__ == "__main__":
            print(*cloudpickle.loads(cloudpickle.dumps(ask))())
        """)
    assert lines == ["kettle.multiprocessing kettle.queue kettle.threading"]


def test_patching_by_name_reaches_the_program(kettle_run):
    assert kettle_run("""
        import multiprocessing
        from unittest import mock
        with mock.patch("multiprocessing.Process", 1), mock.patch("multiprocessing.cpu_count", lambda: 77):
            print(multiprocessing.Process, multiprocessing.cpu_count())
        """) == ["1 77"]


def test_install_twice_and_uninstall(run):
    lines = run("""
        import builtins, importlib, sys
        import kettle
        before = builtins.__import__, importlib.import_module
        kettle.uninstall()
        kettle.install()
        kettle.install()
        import multiprocessing
        print(multiprocessing.__name__)
        kettle.uninstall()
        print(before == (builtins.__import__, importlib.import_module))
        import multiprocessing, multiprocessing.queues
        print(multiprocessing.__name__, sys.modules["multiprocessing"] is multiprocessing)
        print(multiprocessing.queues.Queue.__module__)
        kettle.install()
        from multiprocessing import queues
        print(queues.__name__)
        """)
    assert lines == [
        "kettle.multiprocessing",
        "True",
        "multiprocessing True",
        "multiprocessing.queues",
        "kettle.multiprocessing.queues",
    ]


def test_someone_else_wraps_import_as_well(run):
    lines = run("""
        import builtins
        import kettle
        kettle.install()
        ours = builtins.__import__
        def theirs(name, *args, **kwargs):
            return ours(name, *args, **kwargs)
        builtins.__import__ = theirs
        import multiprocessing
        print(multiprocessing.__name__)
        kettle.uninstall()
        print(builtins.__import__ is theirs)
        import multiprocessing
        print(multiprocessing.__name__)
        """)
    assert lines == ["kettle.multiprocessing", "True", "multiprocessing"]


def test_a_late_install_says_so(run):
    lines = run("""
        import multiprocessing, warnings
        import kettle
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kettle.install()
        print(*(w.message for w in caught), caught[0].filename == __file__)
        import multiprocessing
        print(multiprocessing.__name__)
        """)
    assert lines == [
        "`multiprocessing` was imported before kettle.install() and stays the standard library's here: "
        "call install() first True",
        "kettle.multiprocessing",
    ]


# What programs, and especially their tests, do with the entries of these modules. Each works with and without Kettle.
ENTRIES = {
    "a stub": """
        for name in ("queue", "threading", "multiprocessing"):
            stub = types.ModuleType(name)
            with mock.patch.dict(sys.modules, {name: stub}):
                assert imported(name) is importlib.import_module(name) is __import__(name) is stub
                assert_raises(ImportError, "from %s import Lock" % name)
            assert imported(name) is not stub
        """,
    "a stub after the first import": """
        for name in ("queue", "threading", "multiprocessing"):
            first = imported(name)
            with mock.patch.dict(sys.modules, {name: mock.MagicMock(Lock=1, Queue=2)}):
                assert imported(name) is sys.modules[name]
                exec("from %s import Queue; assert Queue == 2" % name, {"__name__": "a"})
            assert imported(name) is first
        """,
    "nothing": """
        for name in ("queue", "threading", "multiprocessing", "multiprocessing.shared_memory", "multiprocessing.pool"):
            for before in ("", name.partition(".")[0]):
                if before: exec("import " + before, {})
                with mock.patch.dict(sys.modules, {name: None}):
                    assert_raises(ModuleNotFoundError, "import " + name)
                    assert_raises(ModuleNotFoundError, "from %s import nothing" % name)
                    assert_raises(ModuleNotFoundError, lambda: importlib.import_module(name))
                assert imported(name) is not None
        """,
    "a part of a package is missing, or a stub": """
        import multiprocessing
        with mock.patch.dict(sys.modules, {"multiprocessing.shared_memory": None}):
            assert_raises(ImportError, "from multiprocessing import shared_memory")
            assert_raises(ImportError, "from multiprocessing.shared_memory import SharedMemory")
            from multiprocessing import Process, Queue
        stub = types.ModuleType("multiprocessing.shared_memory")
        stub.SharedMemory = 7
        with mock.patch.dict(sys.modules, {"multiprocessing.shared_memory": stub}):
            from multiprocessing import cpu_count, shared_memory
            assert shared_memory is stub and callable(cpu_count)
            from multiprocessing.shared_memory import SharedMemory
            assert SharedMemory == 7
        from multiprocessing import shared_memory
        assert shared_memory is not stub and shared_memory.SharedMemory
        """,
    "what is built on a module that has a stub": """
        import concurrent.futures.thread, logging.handlers, asyncio, contextvars
        import queue, threading
        items, barrier = queue.Queue(1), threading.Barrier(2)
        stubs = {name: types.ModuleType(name) for name in ("queue", "threading", "multiprocessing")}
        with mock.patch.dict(sys.modules, stubs):
            with concurrent.futures.ThreadPoolExecutor(2) as executor:
                future = executor.submit(lambda: 7)
                done = []
                future.add_done_callback(done.append)
                assert future.result() == 7
            async def main(): return await asyncio.to_thread(abs, -7)
            assert asyncio.run(main()) == 7
            assert_raises(queue.Empty, items.get_nowait)
            items.put(1)
            assert_raises(queue.Full, lambda: items.put_nowait(2))
            assert_raises(threading.BrokenBarrierError, lambda: barrier.wait(0))
        assert done == [future]
        """,
    "a fresh copy": """
        import queue
        first, entry = queue, sys.modules["queue"]
        old = queue.Queue()
        del sys.modules["queue"]
        import queue
        assert queue is not first and queue is sys.modules["queue"] and queue.Queue is not first.Queue
        new = queue.Queue()
        for each in (old, new):
            each.put(1)
            assert each.get() == 1
        sys.modules["queue"] = entry
        import queue
        assert queue is first
        """,
    "a fresh copy, by a helper of tests": """
        def import_fresh_module(name, blocked=()):
            saved = {each: sys.modules.pop(each) for each in (name, *blocked) if each in sys.modules}
            sys.modules.update(dict.fromkeys(blocked))
            try:
                return importlib.import_module(name)
            finally:
                for each in (name, *blocked): sys.modules.pop(each, None)
                sys.modules.update(saved)
        import queue, threading
        plain, fast = import_fresh_module("queue", ["_queue"]), import_fresh_module("queue")
        assert len({id(queue), id(plain), id(fast)}) == 3
        import _queue
        assert plain.Empty is not _queue.Empty is fast.Empty and plain.SimpleQueue is plain._PySimpleQueue
        again = import_fresh_module("threading")
        assert again is not threading and again.Lock().acquire(False)
        assert imported("threading") is threading and imported("queue") is queue
        """,
    "all is forgotten": """
        before = dict(sys.modules)
        import queue, multiprocessing.pool, threading
        first = queue, multiprocessing, threading
        sys.modules.clear()
        sys.modules.update(before)
        import queue, multiprocessing.pool, threading
        assert queue.Queue().empty() and multiprocessing.pool.ThreadPool and threading.Event()
        threading.Thread(target=queue.Queue().put, args=(1,)).start()
        """,
    "the package is forgotten": """
        import multiprocessing.pool
        first = multiprocessing
        for name in [name for name in sys.modules if name.partition(".")[0] == "multiprocessing"]:
            del sys.modules[name]
        import multiprocessing
        assert multiprocessing is sys.modules["multiprocessing"]
        assert multiprocessing.get_context("fork").Queue().empty() and first.get_context("fork").Queue().empty()
        """,
    "loaded once more": """
        import multiprocessing, queue, threading
        for module in (threading, queue, multiprocessing):
            assert importlib.reload(module) is module
        lock, items = threading.Lock(), queue.Queue()
        with lock: items.put(threading.current_thread())
        assert items.get() is threading.main_thread()
        thread = threading.Thread(target=items.put, args=(1,))
        thread.start()
        thread.join()
        assert items.get() == 1
        assert multiprocessing.get_context("fork").Queue().empty()
        """,
}


@pytest.mark.parametrize("how", ["without us", "with us"])
@pytest.mark.parametrize("entries", ENTRIES)
def test_the_entries_of_the_modules_are_the_programs(run, entries, how):
    helpers = """
import importlib, sys, types
from unittest import mock

def imported(name):
    return importlib.import_module(name)

def assert_raises(kind, action):
    try:
        action() if callable(action) else exec(action, {"__name__": "a_module"})
    except kind as error:
        assert "kettle" not in str(error)
    else:
        raise AssertionError(f"{action} works")

"""
    text = helpers + textwrap.dedent(ENTRIES[entries]) + "\nprint('right')"
    assert run(text, *(["-m", "kettle", "run"] if how == "with us" else [])) == ["right"]


def test_processes_while_there_are_stubs(kettle_run):
    """Kettle then imports the originals. (The standard library's pool fails, or waits forever.)"""
    lines = kettle_run("""
        import sys
        import multiprocessing, queue
        from unittest import mock

        stubs = {name: mock.MagicMock() for name in ("queue", "threading", "multiprocessing", "multiprocessing.queues")}
        context = multiprocessing.get_context("fork")
        with mock.patch.dict(sys.modules, stubs):
            items = context.Queue()
            child = context.Process(target=items.put, args=(7,))
            child.start()
            print(items.get())
            child.join()
            with context.Pool(1) as pool:
                print(pool.map(abs, [-1]))
            try:
                items.get_nowait()
            except queue.Empty:
                print("empty")
            print(all(sys.modules[name] is stubs[name] for name in stubs))
        print(multiprocessing is sys.modules["multiprocessing"])
        """)
    assert lines == ["7", "[1]", "empty", "True", "True"]


def test_a_module_of_the_programs_own_has_such_a_name(kettle_run, tmp_path):
    (tmp_path / "queue.py").write_text("mine = True\n")
    lines = kettle_run("""
        import queue, sys
        print(queue.mine, queue is sys.modules["queue"])
        import kettle.queue, kettle.multiprocessing
        print(kettle.queue.Queue().empty(), kettle.multiprocessing.get_context("fork").Queue().empty())
        """)
    assert lines == ["True True", "True True"]


def test_a_package_of_the_programs_own_has_such_a_name(kettle_run, tmp_path):
    (tmp_path / "multiprocessing").mkdir()
    (tmp_path / "multiprocessing" / "__init__.py").write_text("from . import part\nfrom .part import mine\n")
    (tmp_path / "multiprocessing" / "part.py").write_text("mine = True\n")
    lines = kettle_run("""
        import multiprocessing, sys
        import multiprocessing.part as part
        print(multiprocessing.mine, multiprocessing is sys.modules["multiprocessing"], part.mine)
        import kettle.multiprocessing
        print(kettle.multiprocessing.get_context("fork").Queue().empty(), multiprocessing.part is part)
        """)
    assert lines == ["True True True", "True True"]


def test_threads_may_import_at_the_same_time(kettle_run):
    lines = kettle_run("""
        import importlib, threading
        names = ["multiprocessing" + tail for tail in ("", ".pool", ".managers", ".queues", ".heap", ".shared_memory")]
        barrier, seen = threading.Barrier(12), []
        def work(name):
            barrier.wait()
            exec("import " + name, {})
            seen.append(importlib.import_module(name) is not None)
        threads = [threading.Thread(target=work, args=(name,)) for name in names * 2]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(seen))
        """)
    assert lines == ["12"]


CHILD = """
    {install}
    import multiprocessing, sys
    import multiprocessing.queues as queues

    def look(reply):
        reply.put([multiprocessing.__name__, queues.__name__, __name__, multiprocessing.get_start_method()])
        def again():
            import multiprocessing, logging
            return multiprocessing.__name__
        reply.put(again())

    if __name__ == "__main__":
        multiprocessing.set_start_method("{method}")
        reply = multiprocessing.Queue()
        child = multiprocessing.Process(target=look, args=(reply,))
        child.start()
        print(*reply.get(), reply.get())
        child.join()
        print(child.exitcode)
    """


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("how", ["run", "install"])
def test_children_of_every_start_method(run, method, how):
    if how == "run":
        lines = run(CHILD.format(install="", method=method), "-m", "kettle", "run")
    else:
        lines = run(CHILD.format(install="import kettle; kettle.install()", method=method))
    main = "__main__" if method == "fork" else "__mp_main__"
    assert lines == [
        f"kettle.multiprocessing kettle.multiprocessing.queues {main} {method} kettle.multiprocessing",
        "0",
    ]


def test_a_main_module_that_does_not_install_is_told(run, tmp_path):
    """The parent installed; its main module, imported again in a spawned child, has no line that does so."""
    (tmp_path / "installs.py").write_text("import kettle\nkettle.install()\n")
    program = CHILD.format(install="if __name__ == '__main__': import installs", method="forkserver")
    assert run(program)[0].startswith("kettle.multiprocessing kettle.multiprocessing.queues __mp_main__")


EXECUTOR = """
    import multiprocessing, os
    from concurrent.futures import ProcessPoolExecutor

    def work(n):
        return n * n, multiprocessing.get_start_method(), type(multiprocessing.current_process()).__module__

    if __name__ == "__main__":
        multiprocessing.set_start_method("{method}")
        with ProcessPoolExecutor(2{context}) as executor:
            print(*executor.map(work, range(3)))
            try:
                executor.submit(work, lambda: 1).result()
            except Exception as error:
                print(type(error).__name__)
            print(executor.submit(work, 5).result()[0])
    """


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("context", ["", ", mp_context=multiprocessing.get_context('fork')"])
def test_the_standard_executor_works_over_ours(kettle_run, method, context):
    lines = kettle_run(EXECUTOR.format(method=method, context=context))
    assert lines[0].startswith("(0, ")
    assert "kettle.multiprocessing" in lines[0]
    assert lines[2] == "25"


LATE = """
    import sys

    if __name__ == "__main__":
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(1, multiprocessing.get_context("{method}"), print, ("begins",)) as executor:
            print(executor.submit(len, "abc").result())
            try:
                executor.submit(sys.exit, "no").result()
            except SystemExit as error:
                print(type(error.__cause__).__name__)
    """


@pytest.mark.parametrize("method", START_METHODS)
def test_an_executor_imported_where_it_is_used(kettle_run, method):
    """No module that a spawned worker has imported before it receives its work imports `concurrent.futures`."""
    assert kettle_run(LATE.format(method=method)) == ["begins", "3", "_RemoteTraceback"]


@pytest.mark.parametrize("part", ["_errors", "_exit", "_hooks"])
def test_any_part_of_the_executors_may_come_first(kettle_run, part):
    """For example, if a message names it that is unpickled."""
    lines = kettle_run(f"""
        import kettle.futures.{part}
        from concurrent.futures import ProcessPoolExecutor, process
        print(ProcessPoolExecutor.__module__, process.ProcessPoolExecutor is ProcessPoolExecutor)
        """)
    assert lines == ["kettle.futures True"]


def _starts_with_the_interpreter():
    try:
        return any(file.name == "kettle_run.pth" for file in files("kettle") or ())
    except PackageNotFoundError:
        return False


needs_installation = pytest.mark.skipif(
    not _starts_with_the_interpreter(), reason="kettle is not installed by pip here"
)

SUBPROCESS = """
    import os, subprocess, sys
    ask = "import multiprocessing; print(multiprocessing.__name__)"
    def run(*options, **environment):
        command = [sys.executable, *options, "-c", ask]
        print(subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}).stdout.strip())
    run()
    run(KETTLE_INSTALL="")
    run("-I")
    """


@needs_installation
def test_programs_started_by_subprocess(kettle_run):
    assert kettle_run(SUBPROCESS) == ["kettle.multiprocessing", "multiprocessing", "multiprocessing"]


@needs_installation
@pytest.mark.parametrize("subprocesses", [True, False])
def test_install_reaches_subprocesses_if_asked(run, subprocesses):
    lines = run(f"""
        import kettle, os, subprocess, sys
        kettle.install(subprocesses={subprocesses})
        ask = "import multiprocessing; print(multiprocessing.__name__)"
        print(subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout.strip())
        kettle.uninstall()
        print("KETTLE_INSTALL" in os.environ)
        """)
    assert lines == ["kettle.multiprocessing" if subprocesses else "multiprocessing", "False"]


@needs_installation
@pytest.mark.skipif(sys.version_info < (3, 13), reason="programs could not make them")
def test_subinterpreters_have_the_standard_librarys_and_say_nothing(tmp_path):
    program = """if True:
        import _interpreters, threading
        other = _interpreters.create()
        _interpreters.exec(other, "import queue, threading; print(queue.__name__, threading.__name__, flush=True)")
        _interpreters.destroy(other)
        print(threading.__name__)
    """
    (path := tmp_path / "program.py").write_text(program)
    command = [sys.executable, "-m", "kettle", "run", path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert (result.stdout, result.stderr) == ("queue threading\nkettle.threading\n", "")


@needs_installation
@pytest.mark.parametrize("method", START_METHODS)
def test_a_program_that_kept_the_original_goes_on(run, method):
    """Names that were imported before `install` still work, and their children as well."""
    lines = run(f"""
        import multiprocessing as original
        from kettle import _install

        def work(queue):
            queue.put(type(queue).__module__)

        if __name__ == "__main__":
            import warnings
            warnings.simplefilter("ignore")
            _install.install(subprocesses=True)
            context = original.get_context("{method}")
            queue = context.SimpleQueue()
            child = context.Process(target=work, args=(queue,))
            child.start()
            print(queue.get())
            child.join()
            manager = context.Manager()
            print(manager.list([1, 2]))
            manager.shutdown()
        """)
    assert lines == ["multiprocessing.queues", "[1, 2]"]
