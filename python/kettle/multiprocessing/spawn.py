"""The first steps of an exec'ed child. CPython's own bootstrap does the rest, with its preparation data and its
`_main`.

The preparation data travels as an `Introduction`. Unpickling it joins the parent's session and ties the child's life to
the parent's, before the child imports the program's main module.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
from multiprocessing import spawn as _standard
from multiprocessing import util
from multiprocessing.reduction import DupFd
from multiprocessing.spawn import (
    get_executable,
    import_main_path,
    is_forking,
    set_executable,
)

from kettle._frozen import IS_FROZEN
from kettle._session import ForkingPickler, native
from kettle.multiprocessing import _descriptors, _main_guard, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = [
    "_main",
    "freeze_support",
    "get_command_line",
    "get_executable",
    "get_preparation_data",
    "import_main_path",
    "set_executable",
]


def _main(fd: int, parent_sentinel: Any) -> int:
    """Runs the child as described by the data read from `fd`. Returns its exit code."""
    _keep_from_programs()
    watcher = select.poll()
    watcher.register(fd, select.POLLIN)
    if not watcher.poll()[0][1] & select.POLLIN:
        os.close(fd)
        return 1  # the parent has gone in the meantime
    try:
        return _standard._main(fd, parent_sentinel)
    except Exception as error:
        if not _main_guard.tell(error):
            raise
        return 1


def _keep_from_programs() -> None:
    """The descriptors of the fork server and the resource tracker were passed when the child started; programs that the
    child starts must not inherit them."""
    server, tracker = map(sys.modules.get, ("multiprocessing.forkserver", "multiprocessing.resource_tracker"))
    alive = None if server is None else server._forkserver._forkserver_alive_fd
    tracked = None if tracker is None else tracker._resource_tracker._fd
    for fd in alive, tracked:
        if fd is not None:
            os.set_inheritable(fd, False)


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


def get_preparation_data(name: str) -> dict[str, Any]:
    """Returns what a child named `name` needs in order to resemble this process."""
    _main_guard.forbid_while_importing()
    if IS_FROZEN and (_is_expected or (_helper_line(sys.argv) is not None and not _is_helper)):
        _main_guard.forbid_in_restarted_program()
    # Looked up at call time, as in `Introduction`, because coverage.py replaces one or the other.
    data: dict[str, Any] = _standard.get_preparation_data(name)
    if not IS_FROZEN and not os.path.exists(data.get("init_main_from_path", ".")):
        # The main module was read from standard input, for example. The parts of it that children need travel by value.
        del data["init_main_from_path"]
    return data


class Introduction:
    """What a child that is about to start must know. It is pickled while its `Popen` is the spawning one.

    `life` is the read end of the child's life pipe, `ticket` its place in the session. `unblock` says that Ctrl-C was
    blocked in the child until now. Unpickling returns the preparation data.
    """

    def __init__(self, name: str, life: int, ticket: int, outlive_parent: bool, unblock: bool) -> None:
        self._data = get_preparation_data(name)
        self._life = life
        self._ticket = ticket
        self._outlive_parent = outlive_parent
        self._unblock = unblock

    def __reduce__(self) -> tuple[Any, ...]:
        from kettle import _install
        from kettle.multiprocessing.context import _default_context

        # A separate pickle, because its contents can be unpickled only in the session.
        prepare = process.prepare_child and bytes(ForkingPickler.dumps(process.prepare_child))
        facts = {
            "session": DupFd(native.session_fd()),
            "ticket": self._ticket,
            "life": DupFd(self._life),
            "outlive_parent": self._outlive_parent,
            "start_method": _default_context.get_start_method(allow_none=True),
            "installed": _install.state(),
            "prepare": prepare,
            "guard": _main_guard.for_child(),
            "unblock": self._unblock,
            "data": self._data,
        }
        return _introduced, (facts,)


def _introduced(facts: dict[str, Any]) -> dict[str, Any]:
    """Joins the parent's session, as described by an `Introduction`. Returns the preparation data."""
    global _met, _is_expected
    if not _is_meeting:
        _is_expected = False
    if _met is not None:
        return _prepared(_met)
    life_line = facts["life"].detach()
    os.set_inheritable(life_line, False)
    _descriptors.set_life_line(life_line)
    if not facts["outlive_parent"]:
        native.die_with(life_line)
    arena = facts["session"].detach()
    os.set_inheritable(arena, False)
    native.attach(arena, facts["ticket"])
    if facts["installed"]:
        from kettle import _install

        _install.apply(facts["installed"])
    _main_guard.set_token(facts["guard"])
    from kettle.multiprocessing import context

    context._force_start_method(facts["start_method"])
    if facts["prepare"] is not None:
        process.prepare_child = ForkingPickler.loads(facts["prepare"])
        process.prepare_child()
    if facts["unblock"]:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _met = facts["data"]
    return _prepared(_met)


def _prepared(data: dict[str, Any]) -> dict[str, Any]:
    """Returns `data`, from which the standard library is about to import this child's main module."""
    if IS_FROZEN and not _is_meeting and "init_main_from_name" in data:
        set_unfinished_main_aside()
    return data


def set_unfinished_main_aside() -> None:
    """Makes the standard library import the main module of a frozen program again if its top level did not call
    `freeze_support` itself. cx_Freeze calls it when `multiprocessing` is imported or a context is requested, in the
    middle of that module, and the definitions further down are missing then."""
    names, called = vars(sys.modules["__main__"]), ""
    frame: Any = sys._getframe()
    while frame is not None and frame.f_globals is not names:
        called, frame = frame.f_code.co_name, frame.f_back
    if frame is not None and "freeze_support" not in called:
        sys.modules["__main__"] = type(sys)("__main__")


_met: dict[str, Any] | None = None
_is_meeting = False
#: In a frozen program, whether this process was started as a child and does not do a child's work yet, or whether it
#: does the work of a helper.
_is_expected = _is_helper = False


def _meet_early() -> None:
    """Joins the parent's session if this is a child of a frozen program. Such a child runs the program's main module up
    to `freeze_support` before it receives anything, and the objects created there belong to the session."""
    global _is_expected, _is_meeting
    if not is_forking(sys.argv):
        return
    handles = [int(word.partition("=")[2]) for word in sys.argv[2:] if word.startswith("pipe_handle=")]
    if not handles or not stat.S_ISSOCK(os.fstat(handles[0]).st_mode):
        return  # started by the standard library's own code
    _is_expected = _is_meeting = True
    with socket.socket(fileno=os.dup(handles[0])) as parent:
        have = -1
        while True:
            # The data stays in the socket, because the standard library's bootstrap will read it.
            said = parent.recv(1 << 20, socket.MSG_PEEK)
            try:
                ForkingPickler.loads(said)
                return
            except (EOFError, pickle.UnpicklingError):
                if len(said) == have and _has_left(parent):
                    return
            have = len(said)
            time.sleep(0.001)  # the parent is about to write the rest


def _has_left(parent: socket.socket) -> bool:
    watcher = select.poll()
    watcher.register(parent, select.POLLRDHUP)
    return bool(watcher.poll(0))


def get_command_line(**kwds: Any) -> list[str]:
    """Returns the command that starts a child; `kwds` are the arguments of its `spawn_main`."""
    if IS_FROZEN:
        # As in the standard library, whose `freeze_support` the program, or its freezer, may call.
        return _standard.get_command_line(**kwds)
    from kettle import _install

    arguments = ", ".join(f"{k}={v!r}" for k, v in kwds.items())
    path = _install.WITHOUT_CURRENT_DIRECTORY + find_this_package()
    return [
        get_executable(),
        *util._args_from_interpreter_flags(),  # type: ignore[attr-defined]
        "-c",
        f"{path}from kettle.multiprocessing.spawn import spawn_main; spawn_main({arguments})",
        "--multiprocessing-fork",
    ]


def find_this_package() -> str:
    """Returns statements that import this package from this location: a program may have found it on a path that it
    created itself, which its children do not have at the start. They follow `import sys`."""
    import kettle

    home = os.path.dirname(os.path.dirname(os.path.abspath(kettle.__file__)))
    # Not left on the path: nothing else may be found there before the child has its parent's path.
    return f"sys.path.insert(0, {home!r}); import kettle; sys.path.remove({home!r}); "


def spawn_main(
    pipe_handle: int, parent_pid: int | None = None, tracker_fd: int | None = None, unblock: int = 0
) -> NoReturn:
    """The main function of a spawned child: runs what it reads from `pipe_handle`, and exits. `unblock` says that
    Ctrl-C was blocked until now."""
    assert is_forking(sys.argv), "Not forking"
    if not IS_FROZEN:
        # The modules of the standard library that are loaded by now stay loaded. The collector does not have to walk
        # through them at each full collection, of which an interpreter does several when it ends.
        gc.freeze()
    if tracker_fd is not None:
        from multiprocessing import resource_tracker

        resource_tracker._resource_tracker._fd = tracker_fd  # type: ignore[attr-defined]
    try:
        if unblock:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        code = _main(pipe_handle, None)
    except KeyboardInterrupt:
        code = 1  # it had not begun yet; the parent prints its own traceback
    sys.exit(code)


def freeze_support() -> None:
    """In a frozen executable that was started as a child or as a helper process of the standard library, does that work
    and exits."""
    global _is_helper
    if not IS_FROZEN:
        return
    if is_forking(sys.argv):
        arguments = {}
        for argument in sys.argv[2:]:
            name, value = argument.split("=")
            arguments[name] = None if value == "None" else int(value)
        spawn_main(**arguments)  # type: ignore[arg-type]
    helper = _helper_line(sys.argv)
    if helper is not None:
        _is_helper = True
        exec(helper, {})
        sys.exit()
    # A freezer may have installed its own function there, which knows more.
    _standard.freeze_support()


def _helper_line(argv: list[str]) -> str | None:
    """Returns the line that starts one of the standard library's helper processes: `-c LINE`, after options of the
    interpreter."""
    if "-c" not in argv[:-1]:
        return None
    place = argv.index("-c")
    options, line = argv[1:place], argv[place + 1]
    if options != util._args_from_interpreter_flags():  # type: ignore[attr-defined]
        return None
    return line if line.removeprefix("import sys; ").startswith(_HELPERS) else None


def become_server() -> None:
    """Prepares a frozen program for being the fork server. cx_Freeze runs the server during the import of the standard
    library's `multiprocessing`, which may happen in the middle of the import of this package."""
    import importlib

    sys.argv[1:] = []  # so that `freeze_support`, called by the main module, does not start a server again
    package = sys.modules["kettle.multiprocessing"]
    if getattr(package.__spec__, "_initializing", False):
        importlib.reload(package)


_HELPERS = "from multiprocessing.forkserver import main", "from multiprocessing.resource_tracker import main"

if IS_FROZEN:
    import pickle
    import socket
    import stat
    import time

    _meet_early()
    _is_meeting = False
