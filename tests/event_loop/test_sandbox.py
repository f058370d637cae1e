"""Where the kernel is old or a sandbox refuses newer system calls, everything works by older ones."""

import errno
import platform
import subprocess
import sys

import pytest

EPOLL_PWAIT2, PIDFD_OPEN = 441, 434  # on all processors

PROGRAM = """
import ctypes, struct, sys

LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
def step(code, value, yes=0, no=0):
    return struct.pack("HBBI", code, yes, no, value)

refused, calls = int(sys.argv[1]), [int(call) for call in sys.argv[2:]]
steps = [step(LOAD, 0)]
steps += [step(IF_EQUAL, call, yes=len(calls) - i) for i, call in enumerate(calls)]
steps += [step(RETURN, 0x7FFF0000), step(RETURN, 0x00050000 | refused)]
filter = ctypes.create_string_buffer(b"".join(steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(filter))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
if libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) != 0:
    print("no filters")
    sys.exit()

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


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the filter is for 64 bits")
@pytest.mark.parametrize("refused", [errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP])
def test_without_newer_system_calls(refused):
    command = [sys.executable, "-c", PROGRAM, str(refused), str(EPOLL_PWAIT2), str(PIDFD_OPEN)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.stdout == "no filters\n":
        pytest.skip("filters are refused here")
    assert (result.returncode, result.stdout) == (0, "works\n"), result.stderr
