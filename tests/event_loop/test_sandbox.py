"""Where the kernel is old or a sandbox refuses newer system calls, everything works by older ones."""

import errno
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# On all processors.
EPOLL_PWAIT2, PIDFD_OPEN, PIDFD_SEND_SIGNAL = 441, 434, 424
IO_URING = (425, 426, 427)
CHECKLIST = Path(__file__).with_name("checklist")

# Has some system calls return an error (or end the process, if that is 0), and becomes the given program.
FILTER = """
import ctypes, os, struct, sys

LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, KILL_PROCESS, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
def step(code, value, yes=0, no=0):
    return struct.pack("HBBI", code, yes, no, value)

end = sys.argv.index("--")
error, calls, command = int(sys.argv[1]), [int(call) for call in sys.argv[2:end]], sys.argv[end + 1:]
steps = [step(LOAD, 0)]
steps += [step(IF_EQUAL, call, yes=len(calls) - i) for i, call in enumerate(calls)]
steps += [step(RETURN, ALLOW), step(RETURN, FAIL | error if error else KILL_PROCESS)]
filter = ctypes.create_string_buffer(b"".join(steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(filter))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
if libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) != 0:
    print("no filters")
    sys.exit()
os.execv(command[0], command)
"""

PROGRAM = """
import asyncio, time
import kettle.asyncio

async def main():
    for delay in (0.0001, 0.0017, 0.01):
        begun = time.monotonic()
        await asyncio.sleep(delay)
        assert time.monotonic() - begun >= delay
    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(sum, (1, 2)) == 3
    child = await asyncio.create_subprocess_exec("true")
    assert await child.wait() == 0
    done = loop.create_future()
    loop.call_later(0.005, done.set_result, None)
    await asyncio.wait_for(done, 60)

for _ in range(3):
    kettle.asyncio.run(main())
print("works")
"""

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the filter is for 64 bits")


def run(error, calls, *arguments):
    command = [sys.executable, "-c", FILTER, str(error), *map(str, calls), "--", sys.executable, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.stdout == "no filters\n":
        pytest.skip("filters are refused here")
    return result


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP])
def test_without_newer_system_calls(error):
    result = run(error, [EPOLL_PWAIT2, PIDFD_OPEN], "-c", PROGRAM)
    assert (result.returncode, result.stdout) == (0, "works\n"), result.stderr


@pytest.mark.deadline(180)
def test_the_whole_interface_without_newer_system_calls():
    calls = [EPOLL_PWAIT2, PIDFD_OPEN, PIDFD_SEND_SIGNAL, *IO_URING]
    pytest_arguments = ["-q", "-p", "no:cacheprovider", "-k", "kettle", CHECKLIST]
    result = run(errno.EPERM, calls, "-m", "pytest", *map(str, pytest_arguments))
    assert result.returncode == 0, result.stdout


def test_nothing_unusual_is_called():
    """A profile that ends programs for io_uring would end this one."""
    result = run(0, IO_URING, "-c", PROGRAM)
    assert (result.returncode, result.stdout) == (0, "works\n"), result.stderr
