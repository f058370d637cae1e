"""What an exec'ed child does first. CPython's own bootstrap does the rest: its preparation data, its `_main`.

The preparation data travels as an `Introduction`: unpickling it joins the parent's session and ties the child's life to
the parent's before the child imports the program's main module.
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
    """The child's work, as what is read from `fd` says. Its exit code."""
    _keep_from_programs()
    watcher = select.poll()
    watcher.register(fd, select.POLLIN)
    if not watcher.poll()[0][1] & select.POLLIN:
        os.close(fd)
        return 1  # whoever wanted it has left meanwhile
    try:
        return _standard._main(fd, parent_sentinel)
    except Exception as error:
        if not _main_guard.tell(error):
            raise
        return 1


def _keep_from_programs() -> None:
    """What leads to the fork server and to the resource tracker came with the child's start, and is not for programs
    that the child starts."""
    server, tracker = map(sys.modules.get, ("multiprocessing.forkserver", "multiprocessing.resource_tracker"))
    alive = None if server is None else server._forkserver._forkserver_alive_fd
    tracked = None if tracker is None else tracker._resource_tracker._fd
    for fd in alive, tracked:
        if fd is not None:
            os.set_inheritable(fd, False)


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


def get_preparation_data(name: str) -> dict[str, Any]:
    """What a child named `name` needs in order to be like this process."""
    _main_guard.forbid_while_importing()
    # Looked up now, here as in `Introduction`: coverage.py puts its own in the place of one or the other.
    data: dict[str, Any] = _standard.get_preparation_data(name)
    if not IS_FROZEN and not os.path.exists(data.get("init_main_from_path", ".")):
        # It was read from the standard input, say. What children need of it travels by value.
        del data["init_main_from_path"]
    return data


class Introduction:
    """What a child that is about to start must know, to be pickled while its `Popen` is the spawning one.

    `life` is the read end of the child's life pipe, `ticket` its place in the session. `unblock`: Ctrl-C was kept from
    it until now. Unpickling gives the preparation data.
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

        # A pickle of its own: what is in it can be rebuilt only in the session.
        prepare = process.prepare_child and bytes(ForkingPickler.dumps(process.prepare_child))
        return _introduced, (
            DupFd(native.session_fd()),
            self._ticket,
            DupFd(self._life),
            self._outlive_parent,
            _default_context.get_start_method(allow_none=True),
            _install.state(),
            prepare,
            _main_guard.for_child(),
            self._unblock,
            self._data,
        )


def _introduced(
    session: Any,
    ticket: int,
    life: Any,
    outlive_parent: bool,
    start_method: str | None,
    installed: Any,
    prepare: bytes | None,
    guard: bytes | None,
    unblock: bool,
    data: dict[str, Any],
) -> dict[str, Any]:
    global _met
    if _met is not None:
        return _met
    life_line = life.detach()
    os.set_inheritable(life_line, False)
    _descriptors.set_life_line(life_line)
    if not outlive_parent:
        native.die_with(life_line)
    arena = session.detach()
    os.set_inheritable(arena, False)
    native.attach(arena, ticket)
    if installed:
        from kettle import _install

        _install.apply(installed)
    _main_guard.set_token(guard)
    from kettle.multiprocessing import context

    context._force_start_method(start_method)
    if prepare is not None:
        process.prepare_child = ForkingPickler.loads(prepare)
        process.prepare_child()
    if unblock:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _met = data
    return data


_met: dict[str, Any] | None = None


def _meet_early() -> None:
    """Joins the parent's session if this is a child of a frozen program. It runs the program's main module before it is
    told anything, up to `freeze_support`, and what that makes belongs to the session."""
    if not is_forking(sys.argv):
        return
    handles = [int(word.partition("=")[2]) for word in sys.argv[2:] if word.startswith("pipe_handle=")]
    if not handles or not stat.S_ISSOCK(os.fstat(handles[0]).st_mode):
        return  # started by the library's own
    with socket.socket(fileno=os.dup(handles[0])) as parent:
        have = -1
        while True:
            # It stays where it is: the library's bootstrap will read it.
            said = parent.recv(1 << 20, socket.MSG_PEEK)
            try:
                ForkingPickler.loads(said)
                return
            except (EOFError, pickle.UnpicklingError):
                if len(said) == have and _has_left(parent):
                    return
            have = len(said)
            time.sleep(0.001)  # it is about to write the rest


def _has_left(parent: socket.socket) -> bool:
    watcher = select.poll()
    watcher.register(parent, select.POLLRDHUP)
    return bool(watcher.poll(0))


def get_command_line(**kwds: Any) -> list[str]:
    """The command that starts a child, `kwds` being the arguments of its `spawn_main`."""
    if IS_FROZEN:
        # As the library has it: the program, or its freezer, may take it up by the library's `freeze_support`.
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
    """Statements that import this package, this copy of it: a program may have found it on a path that it made itself,
    which its children do not have from the beginning. They stand behind `import sys`."""
    import kettle

    home = os.path.dirname(os.path.dirname(os.path.abspath(kettle.__file__)))
    # Not left on the path: nothing else is to be found there before the child has its parent's.
    return f"sys.path.insert(0, {home!r}); import kettle; sys.path.remove({home!r}); "


def spawn_main(
    pipe_handle: int, parent_pid: int | None = None, tracker_fd: int | None = None, unblock: int = 0
) -> NoReturn:
    """The main function of a spawned child: runs what it reads from `pipe_handle`, and exits. `unblock`: Ctrl-C was
    kept from it until now."""
    assert is_forking(sys.argv), "Not forking"
    if not IS_FROZEN:
        # What is loaded by now is modules of the library, which stay: the collector need not walk through them, as it
        # would at each full collection, several of which an interpreter does when it ends.
        gc.freeze()
    if tracker_fd is not None:
        from multiprocessing import resource_tracker

        resource_tracker._resource_tracker._fd = tracker_fd  # type: ignore[attr-defined]
    try:
        if unblock:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        code = _main(pipe_handle, None)
    except KeyboardInterrupt:
        code = 1  # it had not begun yet; the parent prints a traceback of its own
    sys.exit(code)


def freeze_support() -> None:
    """In a frozen executable that was started as a child, or as a helper of the standard library's: does the work of
    that and exits."""
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
        exec(helper, {})
        sys.exit()
    # A freezer may have put one of its own there, which knows of more.
    _standard.freeze_support()


def _helper_line(argv: list[str]) -> str | None:
    """The line that starts one of the library's helper processes: `-c LINE`, behind options of the interpreter."""
    if "-c" not in argv[:-1]:
        return None
    place = argv.index("-c")
    options, line = argv[1:place], argv[place + 1]
    if options != util._args_from_interpreter_flags():  # type: ignore[attr-defined]
        return None
    return line if line.removeprefix("import sys; ").startswith(_HELPERS) else None


_HELPERS = "from multiprocessing.forkserver import main", "from multiprocessing.resource_tracker import main"

if IS_FROZEN:
    import pickle
    import socket
    import stat
    import time

    _meet_early()
