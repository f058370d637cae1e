"""The public names are exactly these, and signatures are the standard library's with keyword-only additions."""

import asyncio
import concurrent.futures
import importlib
import inspect
import multiprocessing
import pkgutil
import queue
import threading
from inspect import Parameter

import pytest

OURS = {
    "kettle": [
        "ConsumerDied",
        "DeadlockError",
        "DescriptorLost",
        "InternalError",
        "KettleError",
        "OwnerDied",
        "RemoteError",
        "SessionDamaged",
        "ShutDown",
        "TaskCancelled",
        "TaskTimeout",
        "WorkerDied",
        "deadlock",
        "descriptors",
        "install",
        "reclaim",
        "uninstall",
    ],
    "kettle.asyncio": sorted(
        {*asyncio.__all__, "EventLoop", "Handle", "TimerHandle", "EventLoopPolicy", "install", "uninstall"}
    ),
    "kettle.futures": sorted(
        {*concurrent.futures.__all__, "BrokenProcessPool", "InvalidStateError", "PoolFuture", "WorkerDied"}
        - {"InterpreterPoolExecutor"}  # of 3.14, re-exported
    ),
    "kettle.multiprocessing": sorted([*multiprocessing.__all__, "log_to_parent", "wait"]),
    "kettle.queue": sorted({*queue.__all__, "ShutDown"}),
    "kettle.threading": sorted(threading.__all__),
}

PARTS = sorted(
    module.name
    for module in pkgutil.walk_packages(multiprocessing.__path__, "multiprocessing.")
    if "win32" not in module.name
)

# Signatures that differ deliberately, with the reason.
DIFFERENT = {
    "multiprocessing.managers.SharedMemoryManager.__init__": "spells out what the standard library only passes on",
    "multiprocessing.popen_forkserver.Popen.DupFd": "private machinery behind a context's Process",
}


#: All modules of the standard library with a counterpart in Kettle.
STANDARD = ["multiprocessing", *PARTS, "queue", "threading", "concurrent.futures"]


def ours(name):
    return importlib.import_module(f"kettle.{name.removeprefix('concurrent.')}")


@pytest.mark.parametrize("module", OURS)
def test_public_names(module):
    module = importlib.import_module(module)
    assert sorted(module.__all__) == OURS[module.__name__]
    for name in module.__all__:
        assert getattr(module, name) is not None or name == "reducer"
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_standard_package_has_its_names(part):
    standard = importlib.import_module(part)
    public = getattr(standard, "__all__", None) or [
        name for name, value in vars(standard).items() if not name.startswith("_") and not inspect.ismodule(value)
    ]
    assert [name for name in public if not hasattr(ours(part), name)] == []


def callables():
    """Yields the path of each public function, class and method of the standard library's."""
    for part in STANDARD:
        standard = importlib.import_module(part)
        for name in getattr(standard, "__all__", ()):
            theirs = getattr(standard, name)
            if inspect.isclass(theirs):
                for method in vars(theirs):
                    if not method.startswith("_") or method == "__init__":
                        yield f"{part}.{name}.{method}"
            elif callable(theirs):
                yield f"{part}.{name}"


def find(module, path):
    value = module
    for name in path:
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("path", sorted(set(callables()) - set(DIFFERENT)))
def test_signatures(path):
    part = max((p for p in STANDARD if path.startswith(p + ".")), key=len)
    names = path.removeprefix(part + ".").split(".")
    theirs = find(importlib.import_module(part), names)
    mine = find(ours(part), names)
    if mine is theirs or not callable(theirs):
        return
    if names[-1] == "__init__":  # the class is called
        theirs, mine = find(importlib.import_module(part), names[:-1]), find(ours(part), names[:-1])
    try:
        expected, actual = inspect.signature(theirs), inspect.signature(mine)
    except ValueError:
        pytest.skip("one of the two does not tell its signature")
    assert misfits(expected, actual) == []


def misfits(expected, actual):
    """Returns calls that the first signature accepts and the second does not, or accepts with another meaning."""
    variable = {p.kind for p in actual.parameters.values()}
    wrong, positional = [], []
    for parameter in expected.parameters.values():
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            if parameter.kind not in variable:
                wrong.append(f"no {parameter}")
            continue
        mine = actual.parameters.get(parameter.name)
        if mine is None:
            if Parameter.VAR_KEYWORD not in variable:
                wrong.append(f"no parameter {parameter}")
            continue
        if parameter.default is not Parameter.empty and mine.default is Parameter.empty:
            wrong.append(f"{parameter.name} must be given")
        if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD:
            positional.append(parameter.name)
            if mine.kind is Parameter.KEYWORD_ONLY and Parameter.VAR_POSITIONAL not in variable:
                wrong.append(f"{parameter.name} cannot be given by position")
    order = [n for n, p in actual.parameters.items() if n in positional and p.kind is not Parameter.KEYWORD_ONLY]
    if order != [n for n in positional if n in order]:
        wrong.append(f"order {order}")
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    for name in actual.parameters.keys() - expected.parameters.keys():
        if actual.parameters[name].default is Parameter.empty and actual.parameters[name].kind in named:
            wrong.append(f"{name} is new and must be given")
    return wrong
