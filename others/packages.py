"""Which projects are tried, what their tests need, and where they may differ under `kettle run`."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PACKAGES", "Package"]


@dataclass(frozen=True)
class Package:
    """One project, whose source distribution has its tests.

    known: tests that may fail under `kettle run` alone, as patterns of `fnmatch` for their names, and why.
    """

    name: str
    version: str
    requirements: list[str]
    arguments: list[str]
    known: dict[str, str] = field(default_factory=dict)
    #: In minutes, for one run.
    limit: float = 15
    #: Install the source as it lies there: its tests import the modules that are compiled beside them.
    is_editable: bool = False

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.version}"


# The small ones first.
PACKAGES = [
    Package("readerwriterlock", "1.0.10", ["pytest>=8"], ["tests"]),
    Package(
        "janus", "2.0.0", ["pytest>=8,<9", "pytest-asyncio>=0.25", "pytest-codspeed>=3"], ["tests", "-o", "addopts="]
    ),
    Package("pykka", "4.5.0", ["pytest>=8", "pytest-mock>=3.14"], ["tests"]),
    # Some of its files are programs, which pytest cannot import.
    Package(
        "dill",
        "0.4.1",
        ["pytest>=8"],
        ["dill/tests", "-o", "pythonpath=dill/tests", "--continue-on-collection-errors"],
    ),
    Package("pytest-xdist", "3.8.0", ["pytest>=8,<9", "filelock"], ["testing"], limit=20),
    Package(
        "joblib",
        "1.6.0",
        [
            *("pytest>=8", "pytest-asyncio", "pytest-timeout", "pytest-run-parallel", "numpy>=2", "lz4"),
            *("threadpoolctl", "memory_profiler", "distributed"),
        ],
        ["joblib"],
        limit=40,
    ),
    # Without what needs services: databases, Hadoop, a browser, its own server.
    Package(
        "luigi",
        "3.8.1",
        ["pytest>=8,<9", "mock>=5", "hypothesis>=6.7,<7", "jsonschema", "psutil", "toml", "prometheus-client"],
        # Its source has no configuration of pytest, which would look for one in the folders above.
        [
            *("-c", "/dev/null", "--rootdir=.", "test", "--ignore=test/contrib", "--ignore=test/visualiser"),
            *("--ignore=test/server_test.py", "--continue-on-collection-errors"),
        ],
        known={
            "*::test_context_manager_with_multiprocessing": "it expects that a child which has put its result on a "
            "queue executes its next statements before the parent gets that result"
        },
        limit=30,
    ),
    Package(
        "anyio",
        "4.16.0",
        [
            *("pytest>=9", "pytest-mock>=3.14", "pytest-timeout>=2.4", "hypothesis>=4.18", "blockbuster>=1.5.29"),
            *("psutil>=5.9", "trustme>=1", "truststore>=0.9.1", "uvloop>=0.22", "trio>=0.32"),
        ],
        # Where nothing answers at ::1, as in some containers, each test that connects to it takes 20 seconds and fails.
        ["tests", "-m", "not network", "-k", "not ipv6 and not dualstack and not connection_refused"],
        known={
            "*::test_asyncio_run_does_not_leak_event_loop": "it expects that a thread which was told to end, and which "
            "refers to the loop, has ended before the main thread next collects garbage"
        },
    ),
    Package(
        "starlette",
        "1.10.0",
        [
            *("pytest>=9.1", "pytest-codspeed>=4.1", "httpx2[zstd]>=2", "blockbuster>=1.5.23", "trio>=0.34"),
            *(
                "importlib-metadata>=9",
                "opentelemetry-sdk>=1.44",
                "itsdangerous",
                "jinja2",
                "python-multipart",
                "httpx",
                "pyyaml",
            ),
        ],
        ["tests"],
    ),
    Package(
        "fastapi",
        "0.165.0",
        [
            *("pytest>=9,<9.2", "pytest-codspeed>=4.3", "pytest-timeout>=2.4", "httpx>=0.23,<1", "httpx2>=2"),
            *("pytest-xdist[psutil]>=3.0.2", "coverage[toml]>=7.13,<8", "ruff>=0.14.14,<0.17", "mypy>=1.14.1"),
            *("anyio[trio]>=4.1", "dirty-equals>=0.9", "flask>=3,<4", "inline-snapshot>=0.21", "a2wsgi>=1.9,<=2"),
            *("pwdlib[argon2]>=0.2.1", "pyjwt>=2.9", "pyyaml", "sqlmodel>=0.0.31", "strawberry-graphql>=0.200"),
            *("typer>=0.26", "python-multipart", "jinja2", "email-validator", "orjson", "ujson", "itsdangerous"),
            *("pydantic-settings>=2", "pydantic-extra-types>=2", "uvicorn[standard]", "fastapi-cli[standard]"),
            *("opentelemetry-sdk>=1.44", "opentelemetry-instrumentation-fastapi>=0.65b0", "sentry-sdk>=2.70"),
            *("opentelemetry-exporter-otlp-proto-http>=1.44", "logfire>=5.1", "python-slugify>=8"),
        ],
        # Without its limit of 20 seconds for a test, which a busy machine reaches, with either modules.
        ["tests", "--ignore=tests/benchmarks", "--timeout=0"],
        limit=40,
    ),
    Package(
        "aiofastnet",
        "1.2.0",
        ["pytest>=8", "pytest-asyncio>=1.4", "async-timeout>=5", "aiohttp>=3.14", "uvloop>=0.22"],
        ["tests", "--ignore=tests/test_benchmarks.py", "--ignore=tests/test_typing.py"],
        is_editable=True,
    ),
    Package(
        "uvicorn",
        "0.54.0",
        [
            *("pytest>=9.1.1", "pytest-mock==3.15.1", "pytest-codspeed>=4.1", "trustme==1.2.1", "cryptography>=44"),
            *("httpx2", "a2wsgi==1.10.10", "wsproto==1.3.2", "zttp>=0.0.34", "httptools>=0.8", "python-dotenv>=0.13"),
            *("PyYAML>=5.1", "watchfiles>=0.20", "websockets>=13", "uvloop>=0.22"),
        ],
        ["tests", "-o", "addopts=", "--ignore=tests/benchmarks"],
    ),
    # websockets is tried by uvicorn's tests: its own are not in its source distribution.
    Package(
        "sqlalchemy",
        "2.1.9",
        ["pytest>=8,<10", "greenlet>=3", "aiosqlite"],
        ["test/base", "test/engine", "test/ext/asyncio", "test/sql/test_resultset.py"],
        limit=40,
    ),
]
