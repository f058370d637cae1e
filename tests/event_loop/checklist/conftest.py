"""Each test of this folder does one thing that the interface of an event loop promises, and looks at the outcome. It
runs on Kettle's loop and on asyncio's, so it cannot demand what asyncio's does not do."""

import asyncio
import ssl
import sys
from pathlib import Path

import pytest

import kettle.asyncio

KINDS = {"kettle": kettle.asyncio.EventLoop, "asyncio": asyncio.SelectorEventLoop}
CERTIFICATE = Path(__file__).with_name("certificate.pem")


def since(*version):
    """Skips a test of something that older versions of Python do not have."""
    return pytest.mark.skipif(sys.version_info < version, reason=f"since {'.'.join(map(str, version))}")


@pytest.fixture(params=KINDS)
def new_loop(request):
    """The class of the loop."""
    return KINDS[request.param]


@pytest.fixture
def loop(new_loop):
    loop = new_loop()
    yield loop
    loop.close()


@pytest.fixture
def run(new_loop):
    """Runs a coroutine on a new loop."""

    def run(main):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def server_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def client_tls():
    return ssl.create_default_context(cafile=str(CERTIFICATE))
