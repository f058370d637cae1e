"""`kettle run` is indistinguishable from `python`, except for the modules that the names resolve to."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

LIMIT = 60
KETTLE = Path(sys.executable).with_name("kettle")


def kettle(*arguments, cwd=None, **options):
    command = [sys.executable, "-m", "kettle", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=cwd, **options)


def python(*arguments, cwd=None, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=cwd, **options)


@pytest.fixture
def write(tmp_path):
    def write(text, name="program.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


ABOUT_MAIN = """
import sys
print(__name__, globals().get("__file__"), __package__, __spec__ and __spec__.name, sys.argv, sys.path)
print(sys.modules["__main__"].__dict__ is globals(), sorted(globals()), __doc__, getattr(__loader__, "__name__", None))
print(type(__loader__).__name__, __builtins__ is __import__("builtins"), globals().get("__cached__"), __debug__)
print(sys.flags, sys.warnoptions, sys._xoptions, sys.executable, sys.orig_argv[1:])
"""

ABOUT_FRAMES = """
import inspect, logging, traceback, warnings
print([(frame.filename, frame.function, frame.lineno) for frame in inspect.stack()], traceback.format_stack())
frame = sys._getframe()
while frame.f_back is not None:
    frame = frame.f_back
print(frame.f_globals["__name__"], frame.f_code.co_filename)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for level in range(1, 5):
        warnings.warn("old", stacklevel=level)
print([(warning.filename, warning.lineno) for warning in caught])
logging.basicConfig(stream=sys.stdout, format="%(pathname)s %(lineno)d %(message)s")
logging.warning("said", stack_info=True)
logging.warning("said by the caller", stacklevel=2)
"""


def test_main_is_the_program(write):
    write(ABOUT_MAIN + ABOUT_FRAMES)
    arguments = ["program.py", "-m", "--help", "x y"]
    ours = kettle("run", *arguments, cwd=(cwd := write("", "x").parent))
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == python(*arguments, cwd=cwd).stdout


def test_main_is_a_program_elsewhere(write, tmp_path):
    path = write(ABOUT_MAIN + ABOUT_FRAMES, "somewhere/program.py")
    (tmp_path / "link.py").symlink_to(path)
    for program in ("somewhere/program.py", path, "link.py"):
        assert kettle("run", program, cwd=tmp_path).stdout == python(program, cwd=tmp_path).stdout


SAYS_WHOSE = "import threading, sys; print(threading.__name__, file=sys.stderr)\n"
OPTIONS = [
    *(["-O"], ["-OO"], ["-Ou"], ["-B", "-b"], ["-bb"], ["-q", "-s"], ["-P"], ["-d"], ["-Wignore"], ["-W", "error"]),
    *(["-Xdev"], ["-X", "utf8=0", "-bX", "faulthandler"], ["-E"], ["-I"], ["-Es"]),
    ["--check-hash-based-pycs", "never"],
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_options_are_the_interpreters(write, tmp_path, options):
    write(ABOUT_MAIN + ABOUT_FRAMES + SAYS_WHOSE)
    for given in (["program.py", "-x"], ["-m", "program", "-x"]):
        if given[0] == "-m" and options in (["-P"], ["-I"]):
            continue  # this place must not be checked
        ours, theirs = kettle("run", *options, *given, cwd=tmp_path), python(*options, *given, cwd=tmp_path)
        assert ours.stdout == theirs.stdout, ours.stderr
        assert ours.stderr.endswith("kettle.threading\n")


@pytest.mark.parametrize("how", ["-c", "-", "nothing"])
def test_main_is_given_as_text(write, tmp_path, how):
    write("1\n", "beside.py")
    text = ABOUT_MAIN + ABOUT_FRAMES + "import beside\n" + SAYS_WHOSE
    arguments = {"-c": ["-uc", text, "-x", "y"], "-": ["-u", "-", "-x"], "nothing": []}[how]
    given = {} if how == "-c" else {"input": text}
    ours, theirs = kettle("run", *arguments, cwd=tmp_path, **given), python(*arguments, cwd=tmp_path, **given)
    assert ours.stdout == theirs.stdout, ours.stderr
    assert ours.stderr == "kettle.threading\n"
    assert theirs.returncode == ours.returncode == 0


def test_options_of_the_commands_own_interpreter_stay(write, tmp_path):
    write("import sys; print(sys.flags.optimize, sys.warnoptions, sys.orig_argv[1:], sys.flags.isolated)")
    result = python("-OIm", "kettle", "run", "-W", "error", "program.py", cwd=tmp_path)
    assert result.stdout == "1 ['error'] ['-O', '-I', '-W', 'error', 'program.py'] 1\n", result.stderr


def test_the_first_line_of_the_command_is_not_for_the_program(write, tmp_path):
    """Distributions let their scripts begin with `#!/usr/bin/python3 -sP`."""
    script = write(f"#!{sys.executable} -sP\nimport sys\nfrom kettle.cli import main\nsys.exit(main())\n", "bin/kettle")
    script.chmod(0o755)
    write("import beside, sys; print(sys.flags.safe_path, sys.flags.no_user_site, sys.orig_argv[1:])")
    write("", "beside.py")
    result = subprocess.run([script, "run", "program.py"], capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path)
    theirs = python("program.py", cwd=tmp_path)
    assert result.stdout == theirs.stdout, result.stderr


WITHOUT_SITE = """
import multiprocessing, os, queue, sys

def work(reply):
    reply.put((multiprocessing.__name__, queue.__name__, sys.flags.no_site))

if __name__ == "__main__":
    print(sys.flags.no_site, sys.argv[1:], sys.orig_argv[1:])
    context = multiprocessing.get_context("spawn")
    reply = context.Queue()
    child = context.Process(target=work, args=(reply,))
    child.start()
    print(*reply.get())
    child.join()
"""


def test_without_the_site_module(write, tmp_path):
    """Then there is no start-up hook."""
    write(WITHOUT_SITE)
    result = kettle("run", "-S", "program.py", "-x", cwd=tmp_path)
    assert result.stdout.splitlines() == [
        "1 ['-x'] ['-S', 'program.py', '-x']",
        "kettle.multiprocessing kettle.queue 1",
    ], result.stderr


@pytest.mark.parametrize("arguments", [["program.py"], ["-m", "program"], ["-c", "import program"], ["-"], []])
def test_without_the_site_module_main_is_the_program(write, tmp_path, arguments):
    write(ABOUT_MAIN + SAYS_WHOSE)
    ours = kettle("run", "-S", *arguments, cwd=tmp_path, input=ABOUT_MAIN + SAYS_WHOSE)
    theirs = python("-S", *arguments, cwd=tmp_path, input=ABOUT_MAIN + SAYS_WHOSE)
    assert ours.stdout == theirs.stdout, ours.stderr
    assert (ours.stderr, theirs.stderr) == ("kettle.threading\n", "threading\n")


def test_the_process_stays_the_same(write, tmp_path):
    write("import os, sys; print(os.getpid(), os.getppid(), sys.stdin.readline(), end='')")
    command = [sys.executable, "-m", "kettle", "run", "program.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.communicate("a line\n", timeout=LIMIT)[0] == f"{process.pid} {os.getpid()} a line\n"


def test_a_program_may_begin_as_a_child_of_multiprocessing_does(write, tmp_path):
    text = "from multiprocessing.queues import Queue; print(Queue.__module__)"
    assert kettle("run", "-c", text, cwd=tmp_path).stdout == "kettle.multiprocessing.queues\n"


@pytest.mark.parametrize("name", ["package.module", "package"])
def test_main_is_a_module(write, tmp_path, name):
    write("", "package/__init__.py")
    write(ABOUT_MAIN + ABOUT_FRAMES, "package/module.py")
    write("from . import module\n" + ABOUT_MAIN + ABOUT_FRAMES, "package/__main__.py")
    ours = kettle("run", "-m", name, "-m", "x", cwd=tmp_path)
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == python("-m", name, "-m", "x", cwd=tmp_path).stdout


def test_main_is_a_directory_or_an_archive(write, tmp_path):
    write("import beside; print(__name__, __package__, __spec__.name)\n", "directory/__main__.py")
    write("print('beside')\n", "directory/beside.py")
    with zipfile.ZipFile(tmp_path / "archive.pyz", "w") as archive:
        for name in ("__main__.py", "beside.py"):
            archive.write(tmp_path / "directory" / name, name)
    for program in ("directory", "archive.pyz"):
        ours = kettle("run", program, cwd=tmp_path)
        assert ours.stdout == python(program, cwd=tmp_path).stdout == "beside\n__main__  __main__\n", ours.stderr


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a message')",
        "raise SystemExit",
        "def f():\n    1 / 0\nf()",
        "def f(:\n    pass",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('two') from e",
        "import sys; sys.excepthook = lambda kind, error, tb: print(kind, tb.tb_frame.f_code.co_name); 1 / 0",
        "import os; os._exit(7)",
        "import atexit; atexit.register(print, 'at exit'); raise KeyError(1)",
        "import threading; threading.Thread(target=print, args=('thread',)).start()",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    ],
)
def test_the_end_is_the_programs(write, tmp_path, program):
    write(program)
    ours, theirs = kettle("run", "program.py", cwd=tmp_path), python("program.py", cwd=tmp_path)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_an_error_while_importing_shows_the_programs_lines_only(write, tmp_path):
    write("import broken\n")
    write("1 / 0\n", "broken.py")
    assert kettle("run", "program.py", cwd=tmp_path).stderr == python("program.py", cwd=tmp_path).stderr


EXECUTOR = """
import atexit, queue, threading
from concurrent.futures import ThreadPoolExecutor, as_completed

go_on = threading.Event()
executor = ThreadPoolExecutor(2)
futures = [executor.submit(go_on.wait) for _ in range(2)]
"""


@pytest.mark.parametrize(
    "program",
    [
        "import time; print('ready', flush=True); time.sleep(60)",
        # Code that runs after the interrupt: workers that end, and handlers.
        EXECUTOR + "threading._register_atexit(go_on.set); print('ready', flush=True); futures[0].result()",
        EXECUTOR + "threading._register_atexit(go_on.set); print('ready', flush=True); next(as_completed(futures))",
        EXECUTOR + "go_on.set(); results = executor.map(abs, [1]); again = threading.Event()\n"
        "last = executor.submit(again.wait); threading._register_atexit(again.set)\n"
        "print('ready', flush=True); last.result()",
        EXECUTOR + "go_on.set(); items = queue.Queue(); atexit.register(items.put, 1)\n"
        "atexit.register(lambda: print(executor.statistics(), threading.Lock().locked()))\n"
        "print('ready', flush=True); items.get()",
    ],
)
def test_ctrl_c_ends_it_like_python(write, tmp_path, program):
    write(program)
    command = [sys.executable, "-m", "kettle", "run", "program.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout.readline() == "ready\n"
        # Python itself misses a signal that arrives just before it sleeps.
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1
    assert "cli.py" not in errors
    assert "_program.py" not in errors


FAMILY = """
import multiprocessing

def work(queue, ready):
    ready.put(None)
    queue.get()

if __name__ == "__main__":
    multiprocessing.set_start_method("{method}")
    queue, ready = multiprocessing.Queue(), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=work, args=(queue, ready)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        ready.get()
    print("ready", flush=True)
    for worker in workers:
        worker.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_ctrl_c_ends_a_family_with_one_traceback(write, tmp_path, method):
    write(FAMILY.format(method=method))
    command = [sys.executable, "-m", "kettle", "run", "program.py"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, cwd=tmp_path, start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        errors = process.communicate(timeout=LIMIT)[1]  # also waits until no child has the pipes any more
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_the_console_script_is_the_same_command(write, tmp_path):
    script = Path(sys.executable).with_name("kettle")
    if not script.exists():
        pytest.skip("kettle was not installed by pip into this interpreter")
    write("import sys, multiprocessing; print(multiprocessing.__name__, sys.path[0])\n")
    result = subprocess.run([script, "run", tmp_path / "program.py"], capture_output=True, text=True, timeout=LIMIT)
    assert result.stdout == f"kettle.multiprocessing {tmp_path}\n", result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["run", "missing.py"], 2, "can't open file"),
        (["run", "-m", "missing_module"], 1, "No module named missing_module"),
        (["run", "-m", "os.path.x"], 1, "os.path.x"),
        (["run", "-m"], 2, "needs the name of a module"),
        (["run"], 2, "which program?"),
        (["run", "--fast", "x.py"], 2, "unknown option --fast"),
        (["run", "-Z", "x.py"], 2, "unknown option -Z;"),
        (["run", "-OZ", "x.py"], 2, "unknown option -Z in -OZ"),
        (["run", "-c"], 2, "-c needs the code"),
        (["run", "-O", "-W"], 2, "-W needs a value"),
        (["run", "-OO", "--"], 2, "which program?"),
        (["run", "."], 1, "can't find '__main__' module"),
        (["stir"], 2, "invalid choice: 'stir'"),
        ([], 2, ""),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, arguments, status, says):
    result = kettle(*arguments, cwd=tmp_path)
    assert result.returncode == status
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_help_and_version():
    import kettle as package

    assert kettle("--version").stdout == f"kettle {package.__version__}\n"
    assert "run" in kettle("--help").stdout
    assert "kettle run -m MODULE" in kettle("run", "--help").stdout


def test_elsewhere_the_standard_library_runs_the_program(write, tmp_path):
    write("import multiprocessing; print(multiprocessing.__name__)\n")
    pretend = "import sys; sys.platform = 'plan9'; from kettle.cli import main; sys.exit(main())"
    result = python("-c", pretend, "run", "program.py", cwd=tmp_path)
    assert result.stdout == "multiprocessing\n"
    assert "needs Linux" in result.stderr


def test_without_the_extension_module_it_says_what_to_do(write, tmp_path):
    write("print('not reached')\n")
    pretend = "import sys; sys.modules['kettle._native'] = None; from kettle.cli import main; sys.exit(main())"
    result = python("-c", pretend, "run", "program.py", cwd=tmp_path)
    assert result.returncode == 1
    assert "pip install kettle" in result.stderr
    assert result.stdout == ""


OLDER = """
import asyncio, threading, warnings
warnings.simplefilter("error", DeprecationWarning)

async def answer(n):
    await asyncio.sleep(0)
    return n

loop = asyncio.get_event_loop()
done, pending = loop.run_until_complete(asyncio.wait([answer(1), answer(2)]))
print(sorted(task.result() for task in done), pending)
print(loop.run_until_complete(asyncio.gather(answer(3), answer(4))))

@asyncio.coroutine
def generator():
    value = yield from answer(5)
    return value

print(loop.run_until_complete(generator()))
assert asyncio.get_event_loop() is loop
loop.close()

def elsewhere():
    try:
        asyncio.get_event_loop()
    except RuntimeError as error:
        print("no loop in a thread")

warnings.simplefilter("ignore", DeprecationWarning)
thread = threading.Thread(target=elsewhere)
thread.setDaemon(False)
thread.setName("elsewhere")
thread.start()
thread.join()
print(thread.getName(), thread.isDaemon(), thread.isAlive(), threading.currentThread().getName())
"""


def test_programs_for_older_pythons(write, tmp_path):
    write(OLDER)
    result = kettle("run", "program.py", cwd=tmp_path)
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "[1, 2] set()",
        "[3, 4]",
        "5",
        "no loop in a thread",
        "elsewhere False False MainThread",
    ]


def test_nothing_of_multiprocessing_is_loaded_unasked(write, tmp_path):
    write("import sys; print([m for m in sys.modules if 'multiprocessing' in m or m == 'asyncio'])\n")
    assert kettle("run", "program.py", cwd=tmp_path).stdout == "[]\n"


def test_it_runs_with_warnings_as_errors_and_in_isolation(write, tmp_path):
    write("import multiprocessing; print(multiprocessing.__name__)\n")
    result = python("-W", "error", "-m", "kettle", "run", "program.py", cwd=tmp_path)
    assert result.stdout == "kettle.multiprocessing\n", result.stderr
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = python("-P", "-m", "kettle", "run", "program.py", cwd=tmp_path, env=environment)
    assert result.stdout == "kettle.multiprocessing\n", result.stderr


def test_a_module_is_run_from_a_directory_that_was_deleted(write, tmp_path):
    write("import sys; print(sys.path)\n", "there/program.py")
    code = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); os.execv(sys.argv[1], sys.argv[1:])"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "there")}

    def from_there(*arguments):
        return python("-c", code, *map(str, arguments), cwd=tmp_path, env=environment)

    if "SystemError" in from_there(sys.executable, "-S", "-c", "import json; json.nothing").stderr:
        pytest.skip("this Python cannot say there that a module lacks an attribute: it loads no extension of PyO3's")
    ours = from_there(sys.executable, KETTLE, "run", "-S", "-m", "program")
    theirs = from_there(sys.executable, "-S", "-m", "program")
    assert (ours.stdout, ours.stderr) == (theirs.stdout, theirs.stderr)
    assert ours.stdout.startswith("[")


def test_an_installed_command_is_run_by_its_name(tmp_path):
    theirs = subprocess.run([KETTLE.with_name("pytest"), "--version"], capture_output=True, text=True)
    assert kettle("run", "pytest", "--version", cwd=tmp_path).stdout == theirs.stdout != ""
    result = kettle("run", "-c", "import sys; print(sys.argv)", "pytest", cwd=tmp_path)
    assert result.stdout == "['-c', 'pytest']\n"


def test_a_file_is_preferred_to_an_installed_command(write, tmp_path):
    write("print('the file')\n", "pytest")
    assert kettle("run", "pytest", cwd=tmp_path).stdout == "the file\n"


def test_where_only_the_program_can_have_kettle_it_says_so(write, tmp_path):
    """It is on the path and not installed, so no start-up hook is read."""
    import cloudpickle

    import kettle as package

    for each in package, cloudpickle:
        (tmp_path / each.__name__).symlink_to(Path(each.__file__).parent)
    write("import queue; print(queue.Queue.__module__)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [os.path.realpath(sys.executable), "-s", "-m", "kettle", "run", "program.py"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path, env=environment)
    assert result.stdout == "kettle.queue\n", result.stderr
    assert result.stderr.startswith("kettle: it is on the path and not installed")
