"""Pipes, subprocesses and signals."""

import asyncio
import os
import signal
import sys

import pytest

from ..conftest import until
from ..test_connections import Recorder


def test_pipes(loop):
    async def main():
        read, write = os.pipe()
        reading, reader = await loop.connect_read_pipe(Recorder, os.fdopen(read, "rb"))
        writing, writer = await loop.connect_write_pipe(Recorder, os.fdopen(write, "wb"))
        assert isinstance(reading, asyncio.ReadTransport) and isinstance(writing, asyncio.WriteTransport)
        writing.write(b"hello")
        await until(lambda: reader.data == b"hello")
        writing.close()
        await until(lambda: reader.calls[-1] == "lost" and writer.calls[-1] == "lost")
        assert reader.calls == ["made", "data", "eof", "lost"]

    loop.run_until_complete(main())


def test_subprocesses(run):
    async def main():
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "import sys; print(input()); sys.exit(3)"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert await child.communicate(b"hello\n") == (b"hello\n", None)
        assert child.returncode == 3
        child = await asyncio.create_subprocess_shell("echo out; echo err >&2", stdout=-1, stderr=-1)
        assert await child.communicate() == (b"out\n", b"err\n")
        child = await asyncio.create_subprocess_exec("sleep", "1000")
        assert child.returncode is None
        child.kill()
        assert await child.wait() == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            child.send_signal(0)
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program")

    run(main())


def test_options_of_subprocesses(run, tmp_path):
    program = "import os; print(os.getcwd(), os.environ['TEA'], os.read({fd}, 9), os.getsid(0) == os.getpid())"

    async def main():
        read, write = os.pipe()
        os.write(write, b"passed")
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program.format(fd=read)),
            stdout=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "TEA": "hot"},
            pass_fds=[read],
            start_new_session=True,
        )
        os.close(read)
        os.close(write)
        out, _ = await child.communicate()
        assert out.decode() == f"{tmp_path} hot b'passed' True\n"
        child = await asyncio.create_subprocess_exec("true", preexec_fn=lambda: os._exit(7))
        assert await child.wait() == 7

    run(main())


def test_signals(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "came")

    async def main():
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: calls)

    loop.run_until_complete(main())
    assert calls == ["came"]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    with pytest.raises(RuntimeError):
        loop.add_signal_handler(signal.SIGKILL, print)
