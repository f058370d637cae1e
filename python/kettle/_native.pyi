"""The Rust core as Python sees it: state, blocking, wake-ups, lifetime, framing. Names and signatures that users
meet live in `kettle.multiprocessing` and its siblings, which stand on these classes.

Every class is subclassable. A time-out is in seconds; None waits forever; a negative one counts as 0. Every
blocking method lets other threads run, is ended by Ctrl-C, and looks at the owner's liveness while it waits.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context
from types import CodeType, TracebackType
from typing import Any, Self, TypeVar, final, type_check_only

from typing_extensions import Buffer  # in collections.abc from 3.12 on

# ---------------------------------------------------------------- errors (made here, re-exported by `kettle`)

class KettleError(Exception): ...
class InternalError(KettleError): ...

class OwnerDied(KettleError):
    pid: int
    tid: int

def deadlock_policy(policy: str | None = None, threshold: float | None = None) -> tuple[str, float]:
    """What is done about threads that wait for each other, and after how many seconds; first sets what is given."""

def is_guarded(code: CodeType, instruction: int) -> bool:
    """Whether the code handles, or passes by on the way out, what is raised at this instruction (`f_lasti`)."""

class ConsumerDied(KettleError):
    pid: int
    unfinished: int

class SessionDamaged(KettleError): ...
class ShutDown(Exception): ...  # queue.ShutDown itself where the interpreter has it

# ---------------------------------------------------------------- the session

def session_id() -> str: ...
def session_fd() -> int:
    """The arena's descriptor, for an exec'ed child to inherit. Makes the session if there is none."""

def descriptors() -> list[int]:
    """The numbers of the descriptors that are kept in this process and still ours, in ascending order."""

def open_process(pid: int) -> int:
    """Returns a new descriptor, owned by the caller, that is readable once process `pid` has ended: a pidfd."""

def signal_process(fd: int, signal: int) -> None:
    """Sends a signal to the process of `fd`, which `open_process` returned."""

def memory_file(name: str) -> int:
    """Returns a new descriptor, owned by the caller, of an empty file in memory."""

@final
class Descriptor:
    """A descriptor that is kept, and known again should the program close it and open another file. Owns it.

    purpose: "child", "life", "start", "report", "server", "folder", "trace" or "signals".
    private: a forked child must not have it, and closes it.
    """

    def __new__(cls, fd: int, purpose: str, private: bool = True) -> Self: ...
    def fileno(self) -> int:
        """The number. Raises DescriptorLost if the program closed it."""

    def is_ours(self) -> bool:
        """Whether it is still open, and ours."""

    def detach(self) -> int:
        """Gives it up: its number, which the caller keeps from now on. Raises DescriptorLost if the program closed
        it."""

    def close(self) -> None:
        """Closes it, if it is still ours. Again is nothing."""

def life_pipe() -> tuple[Descriptor, Descriptor]:
    """The read end and the write end of a new pipe that ties a child to this process; the write end is private."""

@final
class Glance:
    """The contents of a dict at one moment, and of the lists, tuples and dicts in it, as addresses without references.

    most_parts: the contents of longer ones are ignored.
    """

    def __new__(cls, most_parts: int) -> Self: ...
    def changed(self, names: dict[str, Any]) -> list[str]:
        """The keys of `names` whose value is not the one of the last call, or has other contents. All that come after a
        key that was removed count as changed. An object that was freed since may have passed its address to another
        one."""

def arena_layout() -> list[tuple[str, int, int]]:
    """The fields of the arena's header, with place and length in bytes: for tests that write over them."""

def attach(fd: int, ticket: int) -> None:
    """In an exec'ed child: joins the session whose arena is `fd`, as the participant that `ticket` reserved."""

def reserve_child() -> int: ...
def release_child(ticket: int) -> None: ...
def child_is_dead(ticket: int) -> bool:
    """Whether the process that took the place has ended."""

def child_started(ticket: int, pid: int) -> None: ...
def child_gone(ticket: int) -> None:
    """The parent reaped the child: what it held is freed, what it owned is broken."""

def sending_to(ticket: int | None) -> int | None:
    """While this thread pickles the start data of a child that is not running yet, handles are granted to that
    child instead of being held by the message, or pinned. Gives the previous value back."""

def before_fork() -> None: ...
def after_fork_in_parent() -> None: ...
def after_fork_in_child() -> None: ...
def fork() -> tuple[int, int | None]:
    """Like `os.fork`; returns the child's process id, and its ticket if there is a session. It may be called within
    another call, by a signal handler that interrupts the hooks of a fork."""

def die_with(fd: int) -> None:
    """`fd` is the read end of a pipe whose only write end the parent holds: SIGKILL this process when that closes,
    also in the middle of a C call. Kills at once if it is closed already."""

def set_limit(limit: int | None) -> None: ...
def reclaim() -> Mapping[str, int]: ...
def arena_statistics() -> Mapping[str, int]: ...
def session_snapshot(pid: int) -> str:
    """The session of a process as JSON; see `kettle.observe.snapshot`."""

def command_line(arguments: Sequence[str]) -> int:
    """Runs `kettle ps`, `stacks` or `doctor`, and returns the exit status."""

def crash_points() -> bool:
    """Whether this build has the named crash points (test builds only)."""

def arm_crash_point(spec: str | None) -> None: ...

# ---------------------------------------------------------------- what all primitives have

@final
class Token:
    """The name of a primitive, in what pickle is given of it. It becomes bytes when it is pickled: by the core, for the
    message that it makes; by another pickler, to be kept by the program, so that what it names lives as long as the
    session."""

    def __bytes__(self) -> bytes: ...
    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]: ...

def name_in_message(token: Token) -> tuple[type[bytes], tuple[bytes]]:
    """As `Token.__reduce__`, for a pickler that makes a message."""

@type_check_only  # stands for what the classes below have in common
class Primitive:
    @property
    def name(self) -> str | None:
        """The name given at creation."""

    def statistics(self) -> Any:
        """A frozen record (types.SimpleNamespace-like, read-only) of counters and present state."""

    def _kettle_token(self) -> Token:
        """Returns the token that is sent; `_kettle_from_token` rebuilds the object in any process of the session."""

    def _kettle_ready(self) -> bool:
        """Returns whether the primitive's non-blocking call would succeed now (item available, lock free, event
        set...)."""

    def _kettle_arm(self, door: int, ticket: int = 0, bits: int = 0) -> int:
        """Registers `Doorbell` number `door` to be rung when this may have become ready, for the holder of `ticket` (0:
        not in line). Returns the ticket that counts from now on, or 1. Returns 0 if there is no room to register: then
        check again after each slice."""

    def _kettle_disarm(self, door: int) -> None: ...
    def _kettle_take_ticket(self) -> int:
        """Returns a place in the line of waiters; 0 if all are served together."""

    def _kettle_is_admitted(self, bits: int = 0) -> bool:
        """Returns whether a holder of a ticket with one of these bits may try, because nothing is reserved for others.
        Without bits, returns whether a newcomer may."""

    def _kettle_leave_line(self, ticket: int, bits: int) -> None:
        """Returns the ticket, one of those with these bits."""

    @property
    def _kettle_rings_surely(self) -> bool:
        """Returns whether no ring is ever lost."""

    @property
    def _kettle_key(self) -> int:
        """Returns the key that `Doorbell.drain` returns for this primitive."""

# Each concrete class also has: `@classmethod def _kettle_from_token(cls, token: bytes) -> Self` (an instance of cls,
# made without calling __init__), and raises ValueError for a token of another session, of something gone, of another
# kind.

class Lock(Primitive):
    def __new__(cls, *, on_owner_death: str = "raise", name: str | None = None) -> Self: ...
    @classmethod
    def _kettle_from_token(cls, token: bytes | Token, name: str | None = None) -> Self: ...
    def _kettle_begin(self, on_owner_death: str) -> None:
        """Initializes the object, before it is shared."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquires the lock, waiting at most `timeout` seconds (None: forever), or not at all if `block` is false.
        Returns whether it was acquired. Raises `OwnerDied` if its holder died."""

    def release(self) -> None:
        """Releases the lock, whichever thread holds it. Raises ValueError if none does."""

    def locked(self) -> bool:
        """Returns whether a thread of any process holds the lock."""

    def reset(self) -> bool:
        """Makes the lock free again after its holder died. Returns False, and changes nothing, if a living thread holds
        it, since another survivor may have reset and acquired it in the meantime."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self, t: type[BaseException] | None = None, v: BaseException | None = None, tb: TracebackType | None = None, /
    ) -> None: ...
    def _kettle_owner(self) -> tuple[int, int] | None:
        """The holder's (pid, thread id)."""

    def _kettle_made(self) -> tuple[str, int | None] | None:
        """The file and line where it was created, if known."""

    def _kettle_set_made(self, place: tuple[str, int | None]) -> None:
        """Sets what `_kettle_made` was in the process that created it."""

    def _is_mine(self) -> bool: ...
    def _count(self) -> int: ...
    def _is_zero(self) -> bool: ...
    def _get_value(self) -> int: ...

class RLock(Lock): ...

_T = TypeVar("_T", bound=type)

def replaced_clock() -> Callable[[], float] | None:
    """What a program has put in place of `queue.time`, the clock of queues between threads; None if nothing."""

def quicken(cls: _T) -> _T:
    """A class decorator: gives a subclass of a lock or its kin methods of its own for the hottest calls, which the
    interpreter reaches faster than a base's."""

def is_layout_known() -> bool:
    """Whether the interpreter keeps the attributes of objects where the core looks for them; else each object is taken
    for one that has some, which costs some time."""

class Semaphore(Primitive):
    def __new__(
        cls, value: int = 1, *, bounded: bool = False, robust: bool = False, name: str | None = None
    ) -> Self: ...
    @classmethod
    def _kettle_from_token(cls, token: bytes | Token, name: str | None = None) -> Self: ...
    def _kettle_begin(self, value: int, bounded: bool, robust: bool) -> None:
        """Initializes the object, before it is shared."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquires a permit, waiting at most `timeout` seconds (None: forever), or not at all if `block` is false.
        Returns whether it was acquired."""

    def release(self, n: int = 1) -> None:
        """Releases `n` permits. Raises ValueError if a bounded semaphore would exceed its initial value."""

    def get_value(self) -> int:
        """Returns the number of available permits."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self, t: type[BaseException] | None = None, v: BaseException | None = None, tb: TracebackType | None = None, /
    ) -> None: ...
    def _is_zero(self) -> bool: ...

class Event(Primitive):
    def __new__(cls, *, name: str | None = None) -> Self: ...
    @classmethod
    def _kettle_from_token(cls, token: bytes | Token, name: str | None = None) -> Self: ...
    def _kettle_version(self) -> int:
        """A number that changes whenever the event is set or cleared."""

    def is_set(self) -> bool:
        """Returns whether the flag is set."""

    def set(self) -> None:
        """Sets the flag, and wakes all waiters."""

    def clear(self) -> None:
        """Clears the flag: later waits last until it is set again."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the flag is set, at most `timeout` seconds (None: forever). Returns whether it was set."""

class Condition(Primitive):
    """The waiting half of a condition; the lock is another object, which Python hands in."""

    def __new__(cls, *, name: str | None = None) -> Self: ...
    @classmethod
    def _kettle_from_token(cls, token: bytes | Token, name: str | None = None) -> Self: ...
    def _kettle_enroll(self) -> int:
        """Registers a waiter, under the lock; returns its ticket."""

    def _kettle_await(self, ticket: int, timeout: float | None = None) -> bool:
        """Waits, without the lock, until notified (True) or out of time (False). Withdraws the ticket in every case,
        including Ctrl-C."""

    def _kettle_poll(self, ticket: int) -> bool:
        """Returns whether the ticket was granted, and if so uses it."""

    def _kettle_withdraw(self, ticket: int) -> None: ...
    def _kettle_leave_door(self, ticket: int, door: int) -> None:
        """Registers doorbell `door` to be rung when the ticket is granted."""

    def _kettle_notify(self, n: int) -> int: ...
    def _kettle_waiting(self) -> int: ...

class Barrier(Primitive):
    def __new__(
        cls,
        parties: int = ...,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
    ) -> Self: ...
    @classmethod
    def _kettle_from_token(
        cls, token: bytes, name: str | None = None
    ) -> Self: ...  # action and timeout travel beside the token, see _kettle_configure
    def _kettle_begin(self, parties: int) -> None:
        """Sets the number of parties, before the barrier is shared."""

    def _kettle_configure(self, action: Callable[[], object] | None, timeout: float | None) -> None: ...
    def wait(self, timeout: float | None = None) -> int:
        """Waits for the other parties. Returns the order of arrival, 0 for the first. The last party to arrive runs the
        action."""

    def _kettle_arrive(self) -> Arrival | None:
        """Arrives at the barrier without waiting. Returns None while the previous round is still ending: try again."""

    def reset(self) -> None:
        """Resets the barrier to its empty state; waiting parties get an error."""

    def abort(self) -> None:
        """Breaks the barrier: waiting and arriving parties get an error until it is reset."""

    @property
    def parties(self) -> int:
        """The number of parties that must arrive."""

    @property
    def n_waiting(self) -> int:
        """The number of parties that are waiting."""

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""

@final
@type_check_only
class Arrival:
    """One party's arrival at a barrier. When it is dropped before the round is over, the barrier breaks."""

    @property
    def is_last(self) -> bool:
        """Whether the other parties have already arrived."""

    def poll(self, nap: bool = False) -> int | None:
        """Returns the party's number once the round is over. With `nap`, also checks whether a party has died."""

    def finish(self, well: bool) -> int | None:
        """Called by the last party: its action succeeded (returns its number, and all parties pass) or failed."""

    def leave(self) -> None:
        """Leaves without the others, which breaks the barrier."""

# ---------------------------------------------------------------- the same between threads, on the heap

# As in Python's own classes `__new__` takes anything: what there may be, `__init__` says.

@type_check_only  # stands for what the classes below have in common
class HeapPrimitive:
    def __new__(cls, *args: object, **kwargs: object) -> Self: ...
    def statistics(self) -> Any:
        """Returns a frozen record of counters and the present state."""

@type_check_only  # and what those have that can be waited for in company
class HeapWaitable(HeapPrimitive):
    def _kettle_ready(self) -> bool: ...
    def _kettle_arm(self, door: int, ticket: int = 0, bits: int = 0) -> int: ...
    def _kettle_disarm(self, door: int) -> None: ...
    def _kettle_take_ticket(self) -> int: ...
    def _kettle_is_admitted(self, bits: int = 0) -> bool: ...
    def _kettle_leave_line(self, ticket: int, bits: int) -> None: ...
    @property
    def _kettle_rings_surely(self) -> bool: ...
    @property
    def _kettle_key(self) -> int: ...

@type_check_only
class HeapExclusive(HeapWaitable):
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquires the lock, waiting at most `timeout` seconds (-1: forever). Returns whether it was acquired."""

    def release(self) -> None:
        """Releases the lock, whichever thread holds it."""

    def locked(self) -> bool:
        """Returns whether a thread holds the lock."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self, t: type[BaseException] | None = None, v: BaseException | None = None, tb: TracebackType | None = None, /
    ) -> None: ...
    def _at_fork_reinit(self) -> None: ...
    def _kettle_owner(self) -> tuple[int, int] | None:
        """The holder's (pid, thread id)."""

    def _kettle_made(self) -> tuple[str, int | None] | None:
        """The file and line where it was created."""

class LockMaker:
    """Makes locks of a class that is not to be called."""

    def __new__(cls, kind: type[HeapLock]) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class HeapLock(HeapExclusive):
    def __init__(self, *, name: str | None = None) -> None: ...

class HeapRLock(HeapExclusive):
    def __init__(self, *args: object, name: str | None = None, **kwargs: object) -> None: ...
    def _is_owned(self) -> bool: ...
    def _recursion_count(self) -> int: ...
    def _kettle_held(self) -> int:
        """Returns how often the lock is held by its holder."""

    def _release_save(self) -> tuple[int, int]: ...
    def _acquire_restore(self, state: tuple[int, int]) -> None: ...

class HeapSemaphore(HeapWaitable):
    def _kettle_begin(self, value: int, bounded: bool) -> bool:
        """Does the work of `__init__` of the Python classes. Returns whether the permits were outside before."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquires a permit, waiting at most `timeout` seconds (None: forever). Returns whether it was acquired."""

    def release(self, n: int = 1) -> None:
        """Releases `n` permits."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self, t: type[BaseException] | None = None, v: BaseException | None = None, tb: TracebackType | None = None, /
    ) -> None: ...
    def _kettle_value(self) -> int:
        """Returns the number of permits inside."""

    def _kettle_is_outside(self) -> bool: ...
    def _kettle_leave(self) -> None:
        """Marks the permits as outside; those that are inside are then fetched by `_kettle_drain`."""

    def _kettle_drain(self) -> int:
        """Takes all permits inside."""

    def _kettle_inside(self) -> int:
        """Returns how many threads wait inside."""

    def _kettle_give(self, n: int) -> bool:
        """Gives permits to threads that wait inside."""

    def _kettle_ring(self, n: int) -> None:
        """Wakes `n` coroutines that wait for a permit."""

class HeapEvent(HeapWaitable):
    def __init__(self, *, name: str | None = None) -> None: ...
    def _kettle_version(self) -> int:
        """A number that changes whenever the event is set or cleared."""

    def is_set(self) -> bool:
        """Returns whether the event is set."""

    def set(self) -> None:
        """Sets the event, and wakes all waiters."""

    def clear(self) -> None:
        """Clears the event."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the event is set, at most `timeout` seconds (None: forever). Returns whether it was set."""

    def _at_fork_reinit(self) -> None: ...
    def _kettle_is_outside(self) -> bool: ...
    def _kettle_leave(self) -> None:
        """Makes later waiters wait outside."""

    def _kettle_put(self, flag: bool) -> None:
        """Sets or clears the flag, and wakes threads that wait inside."""

class HeapCondition(HeapPrimitive):
    def _kettle_begin(self, lock: Any, plain: bool) -> None:
        """Sets the condition's lock, once. `plain`: its class is one of Kettle's, not a subclass that overrides
        methods."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *exc: object) -> None: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Releases the lock and waits to be notified, at most `timeout` seconds (None: forever); then acquires the lock
        again. Returns whether it was notified."""

    def notify(self, n: int = 1) -> None:
        """Wakes up to `n` waiters, the longest waiting first."""

    def notify_all(self) -> None:
        """Wakes all waiters."""

    def _kettle_is_owned(self) -> bool: ...
    def _kettle_is_outside(self) -> bool: ...
    def _kettle_leave(self) -> None:
        """Makes later waiters wait outside."""

    def _kettle_wake(self, n: int) -> int:
        """Wakes up to `n` threads that wait inside; returns how many."""

    def _at_fork_reinit(self) -> None: ...
    def _kettle_enroll(self) -> int:
        """Registers a waiter, under the lock; returns its ticket."""

    def _kettle_poll(self, ticket: int) -> bool:
        """Returns whether the ticket was granted, and if so uses it."""

    def _kettle_withdraw(self, ticket: int) -> None: ...
    def _kettle_leave_door(self, ticket: int, door: int) -> None: ...
    @property
    def _kettle_key(self) -> int: ...
    def _kettle_waiting(self) -> int: ...

class HeapBarrier(HeapWaitable):
    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
    ) -> None: ...
    def wait(self, timeout: float | None = None) -> int:
        """Waits for the other parties. Returns the order of arrival, 0 for the first. The last party to arrive runs the
        action."""

    def _kettle_arrive(self) -> Arrival | None: ...
    @property
    def _kettle_settings(self) -> tuple[Callable[[], object] | None, float | None]: ...
    def _kettle_is_outside(self) -> bool: ...
    def _kettle_leave(self) -> None:
        """Makes later parties meet outside."""

    def reset(self) -> None:
        """Resets the barrier to its empty state; waiting parties get an error."""

    def abort(self) -> None:
        """Breaks the barrier: waiting and arriving parties get an error until it is reset."""

    @property
    def parties(self) -> int:
        """The number of parties that must arrive."""

    @property
    def n_waiting(self) -> int:
        """The number of parties that are waiting."""

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""

# ---------------------------------------------------------------- queues

class Queue(Primitive):
    """Bounded when maxsize > 0. Pickles in `put`; sees the reducers of `reduction.ForkingPickler`."""

    def __new__(cls, maxsize: int = 0, *, joinable: bool = False, name: str | None = None) -> Self: ...
    @classmethod
    def _kettle_from_token(cls, token: bytes | Token, name: str | None = None) -> Self: ...
    @property
    def maxsize(self) -> int:
        """The maximum number of items; 0: limited only by memory."""

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Puts an item, waiting for room at most `timeout` seconds (None: forever), or not at all if `block` is false.
        Raises `queue.Full` if there is none, and ShutDown after `shutdown`."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Returns the next item, waiting for one at most `timeout` seconds (None: forever), or not at all if `block` is
        false. Raises `queue.Empty` if there is none, and ShutDown after `shutdown` once the queue is empty."""

    def put_nowait(self, obj: Any) -> None:
        """`put(obj, block=False)`."""

    def get_nowait(self) -> Any:
        """`get(block=False)`."""

    def _kettle_set_front(self, queue: Any) -> None:
        """Makes `put` and `get` use `_kettle_put` and `_kettle_get` of `queue` if its class is given other methods."""

    def _kettle_put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None: ...
    def _kettle_get(self, block: bool = True, timeout: float | None = None) -> Any: ...
    def put_many(self, objs: Iterable[Any], block: bool = True, timeout: float | None = None) -> int:
        """Puts all items, in order. After the timeout raises queue.Full, whose `done` is the number of items that were
        put."""

    def get_many(self, max: int, timeout: float | None = None) -> list[Any]:
        """Waits for the first item, then takes up to `max` of the available items."""

    def qsize(self) -> int:
        """Returns the number of items."""

    def empty(self) -> bool:
        """Returns whether there is no item."""

    def full(self) -> bool:
        """Returns whether there is no room for another item."""

    def shutdown(self, immediate: bool = False) -> None:
        """Accepts no more items; those inside can still be taken, unless `immediate`, which drops them."""

    @property
    def is_shutdown(self) -> bool:
        """Whether `shutdown` was called."""

    def task_done(self) -> None:
        """Marks a taken item as finished. Raises ValueError if it is called more often than items were put."""

    def join(self, timeout: float | None = None) -> bool:
        """Waits until every item that was put is finished; returns False after the timeout. Raises ConsumerDied when a
        process died with unfinished items."""

    def _arm_join(self, door: int, _ticket: int = 0, _bits: int = 0) -> int: ...
    def _disarm_join(self, door: int) -> None: ...
    def _arm_space(self, door: int, ticket: int, bits: int) -> int: ...
    def _disarm_space(self, door: int) -> None: ...
    def _take_ticket_space(self) -> int: ...
    def _is_admitted_space(self, bits: int = 0) -> bool: ...
    def _leave_space(self, ticket: int, bits: int) -> None: ...
    def _join_ready(self) -> bool:
        """Returns whether nothing is unfinished. Raises ConsumerDied like `join`."""

    def _close(self) -> None:
        """Closes this handle: put and get raise ValueError from now on."""

    @property
    def _closed(self) -> bool: ...
    def _put_bytes(self, data: Buffer, block: bool = True, timeout: float | None = None) -> None: ...
    def _get_bytes(self, block: bool = True, timeout: float | None = None) -> bytes: ...

class ObjectQueue:
    """A queue of objects between the threads of this process; `kettle.queue` stands on it. What begins with `_kettle_`
    is for that module alone."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def __init__(self, *, name: str | None = None) -> None: ...
    maxsize: int
    unfinished_tasks: int
    is_shutdown: bool
    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Puts `item`, waiting for room at most `timeout` seconds (None: forever), or not at all if `block` is false.
        Raises queue.Full if there is no room (in time), ShutDown after `shutdown`."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Returns the next item, waiting for one at most `timeout` seconds (None: forever), or not at all if `block` is
        false. Raises queue.Empty if there is none (in time), ShutDown after `shutdown` once the queue is empty."""

    def put_nowait(self, item: Any) -> None:
        """`put(item, block=False)`."""

    def get_nowait(self) -> Any:
        """`get(block=False)`."""

    def put_many(self, objs: Iterable[Any], block: bool = True, timeout: float | None = None) -> int:
        """Puts all of `objs`, in order, and returns their number. The `timeout` (seconds) is for all together. Raises
        queue.Full, with the number that were put as its `done`, if there is no room in time."""

    def get_many(self, max: int, timeout: float | None = None) -> list[Any]:
        """Waits for an item, then takes up to `max` of the available items. Raises queue.Empty if none arrives in
        `timeout` seconds."""

    def qsize(self) -> int:
        """Returns the number of items."""

    def empty(self) -> bool:
        """Returns whether there is no item."""

    def full(self) -> bool:
        """Returns whether there is no room."""

    def task_done(self) -> None:
        """Marks an item that was taken as finished. Raises ValueError if it is called more often than items were
        put."""

    def join(self) -> None:
        """Waits until every item that was put is finished."""

    def shutdown(self, immediate: bool = False) -> None:
        """Makes `put` raise ShutDown from now on, and `get` too once the queue is empty; waiters wake up. With
        `immediate` the remaining items are dropped, and count as done."""

    def statistics(self) -> Any:
        """Returns counters and the present state."""

    def _kettle_begin(self, order: str, maxsize: object) -> bool:
        """Does the work of `__init__`; `order` is "fifo", "lifo" or "priority". Returns whether the class overrides the
        methods for the container."""

    @property
    def _kettle_outside(self) -> Any:
        """The object that holds the items once they have moved out; otherwise None."""

    def _kettle_items(self) -> list[Any]:
        """Returns the items in the core, in the order in which they would be put again."""

    def _kettle_move_into(self, outside: Any) -> Any:
        """Moves the items into `outside.queue`, unless they have moved before; returns the object to which they moved
        first."""

    def _kettle_note_put(self) -> None: ...
    def _kettle_note_got(self) -> None: ...
    def _kettle_one_done(self) -> None: ...
    def _kettle_key(self) -> int: ...
    def _kettle_arm(self, what: int, door: int, ticket: int = 0, bits: int = 0) -> int: ...
    def _kettle_take_ticket(self, what: int) -> int: ...
    def _kettle_is_admitted(self, what: int, bits: int = 0) -> bool: ...
    def _kettle_leave_line(self, what: int, ticket: int, bits: int) -> None: ...
    def _kettle_disarm(self, what: int, door: int) -> None: ...

# ---------------------------------------------------------------- pipes

_C = TypeVar("_C", bound="Connection")

class Connection:
    """One end of a pipe, or any foreign descriptor. On an AF_UNIX SEQPACKET socket made by `pipe` a message is one
    packet and large ones travel through the arena; on anything else the standard library's stream framing is used."""

    def __new__(cls, handle: int, readable: bool = True, writable: bool = True) -> Self: ...
    def fileno(self) -> int:
        """The number of its descriptor, which can be polled for reading."""

    def close(self) -> None:
        """Closes this end. Closing it again does nothing."""

    @property
    def closed(self) -> bool:
        """Whether this end was closed."""

    @property
    def readable(self) -> bool:
        """Whether it can receive."""

    @property
    def writable(self) -> bool:
        """Whether it can send."""

    def send(self, obj: Any) -> None:
        """Sends an object. Returns when it is on its way; what cannot be pickled raises here."""

    def recv(self) -> Any:
        """Waits for an object. Raises EOFError when the other end is gone and nothing is left."""

    def send_bytes(self, buf: Buffer, offset: int = 0, size: int | None = None) -> None:
        """Sends bytes as one message: all of `buf`, or `size` bytes from `offset` on."""

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Waits for a message, as bytes. One that is longer than `maxlength` raises OSError, and is the last."""

    def recv_bytes_into(self, buf: Buffer, offset: int = 0) -> int:
        """Waits for a message and writes it into `buf` from byte `offset` on; says how many bytes it has. Raises
        BufferTooShort, with the message, if it does not fit."""

    def poll(self, timeout: float | None = ...) -> bool:  # 0
        """Whether a message (or the end) is there, after waiting for it up to `timeout` seconds; None waits for
        ever."""

    def statistics(self) -> Any:
        """A frozen record: messages sent and received through this object, and bytes of long ones on their way."""

    def _kettle_has_room(self) -> bool: ...
    def _channel_token(self) -> Token | None:
        """The arena half, to be given to `_set_channel` of the end rebuilt in another process."""

    def _set_channel(self, token: bytes | Token | None) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, t: type[BaseException] | None = None, v: BaseException | None = None, tb: TracebackType | None = None, /
    ) -> None: ...

def pipe(cls: type[_C], duplex: bool = True) -> tuple[_C, _C]: ...

# ---------------------------------------------------------------- memory

@final
class Lease:
    """A buffer (writable, contiguous, unsigned bytes) in the arena that came with a message; freed with its last
    view."""

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...

class SharedBytes(Primitive):
    """Zeroed bytes in the arena, shared by every process that has the handle. A writable buffer."""

    def __new__(cls, size: int = ..., *, name: str | None = None) -> Self: ...
    @classmethod
    def _kettle_from_token(cls, token: bytes | Token, name: str | None = None) -> Self: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...

class Cell(Primitive):
    """One number of a ctypes type code (one of b B h H i I l L q Q f d c ?) at an offset of `memory`, with its lock
    (an RLock, a Lock, another object with acquire/release, or None)."""

    def __new__(cls, typecode: str, memory: SharedBytes, offset: int = 0, lock: object | None = None) -> Self: ...
    @property
    def value(self) -> Any:  # holds the lock while it reads or writes
        """The number; the lock is held while it is read or written."""

    @value.setter
    def value(self, v: Any) -> None: ...
    def fetch_add(self, n: int | float) -> Any:
        """Adds in a single step, without the lock, and returns the previous value. Integers wrap as in C."""

    def compare_exchange(self, expected: Any, new: Any) -> bool:
        """Sets the value to `new` if it equals `expected`, in a single step and without the lock; returns whether it
        did."""

    def get_lock(self) -> Any:
        """Returns the lock; None if there is none."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Calls `acquire` of the lock."""

    def release(self) -> None:
        """Calls `release` of the lock."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self, t: type[BaseException] | None = None, v: BaseException | None = None, tb: TracebackType | None = None, /
    ) -> None: ...

# ---------------------------------------------------------------- waiting on several things, event loops

def wait_any(
    primitives: Sequence[Primitive], fds: Sequence[int], timeout: float | None = None
) -> tuple[list[Primitive], list[int]]:
    """Blocks until at least one primitive is `_kettle_ready()` or a descriptor is readable or at its end."""

class Doorbell:
    """A datagram socket that any process of the session can ring, and no other; one per event loop."""

    def __new__(cls) -> Self: ...
    @property
    def door(self) -> int:
        """What `_kettle_arm` of a primitive takes."""

    def fileno(self) -> int:
        """The number of its descriptor, which can be polled for reading."""

    def is_ours(self) -> bool:
        """Whether it can still ring: the program may have closed its descriptor, whose number then leads elsewhere."""

    def drain(self) -> list[int] | None:
        """The keys of the primitives that rang; None when some may have been lost, or there are more: look at all."""

    def ring(self) -> None:
        """Makes the descriptor readable until the bell is drained."""

    def close(self) -> None:
        """Closes it. Closing it again does nothing."""

# ---------------------------------------------------------------- pools

@final
class PoolDesk:
    """The shared memory between a pool and one of its workers. It goes to the worker with its start data."""

    def __reduce__(self) -> tuple[Callable[[bytes], PoolDesk], tuple[bytes]]: ...
    @staticmethod
    def _from_tokens(tokens: bytes) -> PoolDesk: ...

@final
class PoolWorker:
    """A worker process's side of a pool."""

    def __new__(
        cls,
        desk: PoolDesk,
        pack_error: Callable[[BaseException], bytes],
        pack_unsendable: Callable[[BaseException, object], bytes],
    ) -> Self: ...
    def prepare(self) -> None:
        """Says that the initializer begins."""

    def ready(self) -> None:
        """Says that tasks may come."""

    def refuse(self, error: BaseException) -> None:
        """Says that this worker cannot be used, since this was raised."""

    def run(self) -> None:
        """Works until there is nothing more to do."""

class Crew:
    """What crews of processes and of threads have in common."""

    @property
    def state(self) -> str:
        """ "RUN", "CLOSE" or "TERMINATE"."""

    @property
    def jobs(self) -> int:
        """How many jobs are not over."""

    def check(self) -> None:
        """Raises what broke the pool, if something did, or that it belongs to another process."""

    def join(self, timeout: float | None = None) -> bool:
        """Of a pool that takes no more: waits until the last worker has left. False: the time is over."""

    def withdraw_all(self) -> None:
        """Cancels all calls that no worker has begun, and of imaps all that no worker has."""

    def unfinished(self) -> int:
        """How many tasks of calls and maps have not been done."""

    def statistics(self) -> Any:
        """How it is: numbers of workers, and of tasks so far."""

@final
class ThreadCrew(Crew):
    """Worker threads, and what they are to do. `hooks` is described in `kettle._thread_crew`."""

    def __new__(cls, hooks: Any) -> Self: ...
    def start(self) -> None:
        """Starts one worker more."""

    def hire(self, most: int, tasks: int) -> None:
        """Starts workers for so many tasks more, as far as those that are free do not suffice, but not more than `most`
        in all."""

    def work(self) -> None:
        """Works until there will be nothing more to do: for a thread that was started. An error that is not a task's
        own breaks the pool, since the tasks that the worker has claimed get no outcome any more."""

    def refuse(self, error: BaseException) -> None:
        """A worker could not begin, because of this error."""

    def watch(self) -> None:
        """Gives up on tasks that take too long, until the pool is over: for a thread of its own."""

    def close(self) -> None:
        """No more jobs are taken in; the workers leave when those that are there are done."""

    def terminate(self) -> None:
        """Ends all jobs; the workers leave when the tasks that they are at have ended."""

@final
class PoolCrew(Crew):
    """The parent's side of a pool. `hooks` does what only Python can do; see `kettle.multiprocessing._crew`."""

    def __new__(cls, hooks: Any, workers: int, *, chunks: int | None = None, memory: int | None = None) -> Self: ...
    def staff(self) -> None:
        """Starts the workers that are missing. Raises what starting one of them raised."""

    def deputise(self) -> None:
        """Leads when no other thread does, until the pool is over; runs in a separate thread."""

    def close(self) -> None:
        """No more jobs are taken in; the workers leave when those that are there are done."""

    def terminate(self, *, at_once: bool = False) -> None:
        """Ends all workers, and with them all jobs; `at_once`: without asking them first."""

    def hire(self, most: int, tasks: int) -> bool:
        """Starts workers for so many tasks more, as far as those that are free do not suffice, but not more than `most`
        in all. Says whether there may be more still."""

    def kill_workers(self) -> None:
        """Ends all workers; others take their place. What they were at is over, what they had not begun is done by
        others."""

class PoolJob:
    """What was asked of a pool at once: a call, a map, an imap; its tasks and their outcomes."""

    def __new__(
        cls,
        crew: Crew,
        kind: str,
        function: Any,
        items: Any,
        *,
        unpacks: bool = False,
        chunk: int | None = None,
        timeout: float | None = None,
        retries: int = 0,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        bar: Any = None,
        window: int | None = None,
        is_builtin: bool = False,
    ) -> Self:
        """`kind` is one of "call", "map", "ordered" and "unordered"; `items` is `(args, kwds)`, a list or a `range`, or
        an iterator."""

    def _submit(self, *, waits: bool = False) -> None:
        """Submits the job to the pool. A caller that does not wait for the job says so, because another thread must
        then lead."""

    def _wait(self, timeout: float | None = None) -> bool:
        """Waits until the job is over; returns whether it is."""

    @property
    def _is_done(self) -> bool: ...
    @property
    def _unfinished(self) -> int:
        """Returns how many of its tasks have no outcome yet."""

    @property
    def _values(self) -> list[Any] | None:
        """For a map, returns the available values, with None in place of the others."""

    def _outcome(self) -> Any:
        """For a call or a map that is over, returns whether it succeeded, and the value or the exception. The program
        retrieves it."""

    def _known_outcome(self) -> Any:
        """Returns the same without retrieving it: an error still counts as one that was never retrieved."""

    def _fetch(self) -> tuple[bool, Any] | None:
        """For an imap, returns whether the next task succeeded, and its value or its exception; None if there is none
        yet. Raises StopIteration at the end."""

    def _wait_next(self, timeout: float | None = None) -> bool:
        """Waits until an imap has something to fetch, or is over; returns whether it has or is."""

    def _has_room(self, *, wait: bool = True) -> bool:
        """For the thread that feeds an imap: waits until there is room for an item. Returns False if no more items are
        wanted, or not now."""

    def _push(self, item: Any) -> None:
        """Adds an item."""

    def _close_input(self, error: BaseException | None = None) -> None:
        """Ends the input, perhaps because of an error."""

    def _cancel(self) -> bool:
        """Cancels the job: tasks that have not begun never will, and workers that run one are ended. Returns False if
        the job is over."""

    @property
    def _is_cancelled(self) -> bool: ...
    @property
    def _is_running(self) -> bool:
        """Returns whether a worker has been given a part of the job, and it is not over."""

    def _withdraw(self) -> bool:
        """For a call, cancels it if no worker has begun it; returns whether it is cancelled."""

    @property
    def _hooks(self) -> Any:
        """Returns the hooks of the pool."""

    def _abandon(self, *, is_unwanted: bool = False) -> None:
        """The results of an imap will not be fetched. If some were fetched before, or if it `is_unwanted`, its
        remaining input is not read, and items that were not sent are not run."""

    def _listen(self, listener: Callable[[], object]) -> None:
        """Calls `listener`, in some thread, once the job is over or, for an imap, has something to fetch."""

    def _call_back(self, callback: Callable[[Any], object]) -> bool:
        """Calls `callback` with the value or the error when the job is over, before waiters go on, unless it is
        cancelled. Waiters go on after `_finish`. Returns False if the job is already over."""

    def _finish(self) -> None:
        """The callbacks have run."""

# ---------------------------------------------------------------- pickling

def dumps(obj: Any) -> bytes:
    """As `put` does, without out-of-band buffers: with the reducers of reduction.ForkingPickler."""

def set_pickler(first: dict[Any, Any], second: dict[Any, Any], fallback: Callable[[Any], bytes] | None = None) -> None:
    """Pickling finds the reducer of a class in `first`, or in `second`; both are looked at each time. `fallback` is
    tried on what pickle refuses (a lambda, a local function); None lets the error through."""

def replace_picklers(
    queues: tuple[Callable[[Any], Any], Callable[[bytes], Any]] | None,
    connections: tuple[Callable[[Any], Any], Callable[[bytes], Any]] | None,
) -> None:
    """All objects go through these two, `dumps` and `loads`, or with None through pickle again."""

# ---------------------------------------------------------------- importing (kettle.install)

@final
class Importer:
    """Stands in place of `builtins.__import__`: imports of the packages `names`, and relative ones made inside them,
    go to `redirected`, all others to `standard`. Both are called with five positional arguments."""

    def __new__(cls, standard: Callable[..., Any], redirected: Callable[..., Any], names: set[str]) -> Self: ...
    def __call__(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = None,
        level: int = 0,
    ) -> Any: ...

# ---------------------------------------------------------------- event loops

def handle_classes(
    handle: type[asyncio.Handle], timer_handle: type[asyncio.TimerHandle]
) -> tuple[type[asyncio.Handle], type[asyncio.TimerHandle]]:
    """Subclasses of asyncio's two that the native half of a loop makes, runs and cancels; the same two each time."""

def stream_transport(cls: type[_T], /) -> type[_T]:
    """Adds the methods that are called for every event to the class of transports, which has a slot
    `_kettle_stream`."""

def accept(listener: int) -> tuple[int, Any] | None:
    """Accepts a connection. Returns its descriptor, which belongs to the caller, and for an internet socket the address
    of the peer; or None if no connection waits."""

@final
class Stream:
    """The native half of a transport."""

    def __new__(cls, sock: Any) -> Self: ...
    def __len__(self) -> int: ...
    def clear(self) -> None:
        """Drops what waits to be sent."""

    def connect(self, protocol: Any, is_buffered: bool) -> None:
        """The protocol, and whether it supplies the memory for what is read."""

    protocol: Any
    sock: Any
    empty_waiter: Any
    closing: bool
    paused: bool
    eof: bool
    lost: int
    @property
    def most(self) -> int:
        """The largest size of a read."""

    @most.setter
    def most(self, most: int, /) -> None: ...

class EventLoop:
    """The native half of `kettle.asyncio.EventLoop`, which comes before asyncio's own loop in the order of classes."""

    def __new__(cls) -> Self: ...
    def time(self) -> float:
        """The seconds that `time.monotonic()` has."""

    def get_debug(self) -> bool:
        """Whether it is in debug mode."""

    def is_running(self) -> bool:
        """Whether it runs."""

    def is_closed(self) -> bool:
        """Whether it was closed."""

    def stop(self) -> None:
        """Ends `run_forever` after the present turn."""

    def fileno(self) -> int:
        """The descriptor that it waits on, which is readable when something is ready."""

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Calls `callback(*args)` in the loop's next turn. Gives a handle that can be cancelled."""

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`, from any thread."""

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Calls `callback(*args)` after `delay` seconds, never before. Gives a handle that can be cancelled."""

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Calls `callback(*args)` when `time()` is `when`, never before. Gives a handle that can be cancelled."""

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """Calls `callback(*args)` in each turn in which the descriptor can be read."""

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """Calls `callback(*args)` in each turn in which the descriptor takes more."""

    def remove_reader(self, fd: Any) -> bool:
        """Removes what is called when the descriptor can be read. Gives whether there was something."""

    def remove_writer(self, fd: Any) -> bool:
        """Removes what is called when the descriptor takes more. Gives whether there was something."""

    # What asyncio's own loop keeps as attributes of the same names.
    _closed: bool
    _stopping: bool
    _debug: bool
    _thread_id: int | None
    _scheduled: list[asyncio.TimerHandle]
    def _check_closed(self) -> None: ...
    def _add_callback(self, handle: asyncio.Handle) -> None: ...
    def _add_callback_signalsafe(self, handle: asyncio.Handle) -> None: ...
    def _timer_handle_cancelled(self, handle: asyncio.Handle) -> None: ...
    def _write_to_self(self) -> None: ...
    def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> asyncio.Handle: ...
    def _add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> asyncio.Handle: ...
    def _remove_reader(self, fd: Any) -> bool: ...
    def _remove_writer(self, fd: Any) -> bool: ...
    def _run_once(self) -> None: ...
    def _kettle_handles(self, fd: int) -> tuple[asyncio.Handle | None, asyncio.Handle | None] | None:
        """The reader and the writer of a descriptor; None if it is not waited for."""

    def _kettle_ready(self) -> list[asyncio.Handle]:
        """What runs next, in order: a copy."""

    def _kettle_count_ready(self) -> int:
        """How many are ready."""

    def _kettle_pop_ready(self) -> asyncio.Handle | None:
        """Takes what runs next; None if nothing does."""

    def _kettle_push_ready(self, handle: asyncio.Handle) -> None:
        """Has a handle run next. If it is a timer of this loop, it is one no longer."""

    def _kettle_select(self, timeout: float | None = None) -> None:
        """Waits until something is ready, at most `timeout` seconds; None for ever."""

    def _kettle_prepare(self) -> None:
        """Before a run: looks what the program has replaced or closed since the last one."""

    def _kettle_run(self) -> None:
        """Turns until `stop()`."""

    def _kettle_clear(self) -> None:
        """Drops all that it has."""

    def _kettle_set_own_readers(self, is_: bool, /) -> None:
        """Says whether `_ensure_fd_no_transport`, `_add_reader` and the like are those of this class and asyncio's."""

    def _kettle_set_own_clock(self, is_: bool, /) -> None:
        """Says whether `time` and `call_at` are the methods of this class."""

    @staticmethod
    def _kettle_avoid_nanoseconds() -> None:
        """Never uses `epoll_pwait2` in this process, which some sandboxes end programs for."""
