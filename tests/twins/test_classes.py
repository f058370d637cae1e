"""Classes that programs extend, patch and copy: what holds for those of the standard library holds for ours."""

import abc
import importlib
from typing import Generic, TypeVar

import pytest

T = TypeVar("T")

#: What is to be made, by (module, class): the arguments.
MADE = {
    ("threading", "RLock"): (),
    ("threading", "Condition"): (),
    ("threading", "Semaphore"): (2,),
    ("threading", "BoundedSemaphore"): (2,),
    ("threading", "Event"): (),
    ("threading", "Barrier"): (2,),
    ("queue", "Queue"): (),
    ("queue", "LifoQueue"): (),
    ("queue", "PriorityQueue"): (),
    ("queue", "SimpleQueue"): (),
}


@pytest.fixture(params=["standard", "kettle"])
def get(request):
    """Gives a class by its module and name: the standard library's, then ours."""
    prefix = "" if request.param == "standard" else "kettle."

    def get(module, name):
        found = getattr(importlib.import_module(prefix + module), name)
        return type(found()) if name == "RLock" else found

    return get


class Singleton(type):
    """A class of classes, as programs have them."""


class Mixed:
    extra = 1


BASES = {
    "Generic first": lambda cls: (Generic[T], cls),
    "Generic second": lambda cls: (cls, Generic[T]),
    "an abstract one": lambda cls: (cls, abc.ABC),
    "an abstract one first": lambda cls: (abc.ABC, cls),
    "a plain one": lambda cls: (Mixed, cls),
}


@pytest.mark.parametrize("bases", BASES)
@pytest.mark.parametrize("kind", MADE, ids=".".join)
def test_bases(get, kind, bases):
    bases = BASES[bases](get(*kind))
    made = importlib.import_module("types").new_class("X", bases)(*MADE[kind])
    assert isinstance(made, get(*kind))


@pytest.mark.parametrize("kind", MADE, ids=".".join)
def test_a_class_of_classes_of_the_program(get, kind):
    assert type(Singleton("X", (get(*kind),), {})(*MADE[kind]).__class__) is Singleton


@pytest.mark.parametrize("name", ["Queue", "SimpleQueue", "JoinableQueue"])
def test_a_generic_queue_between_processes(get, name):
    class X(Generic[T], get("multiprocessing.queues", name)):
        pass

    assert issubclass(X[int].__origin__, X)


#: Attributes that a program may have beside what a class has: what ours uses inside.
TAKEN = ["_key", "_settings", "_waiting", "_ready", "_arm", "_made", "_owner", "_poll", "_held", "_token", "_begin"]


@pytest.mark.parametrize("kind", MADE, ids=".".join)
def test_attributes_of_a_subclass(get, kind):
    cls, arguments = get(*kind), MADE[kind]

    class Before(cls):
        def __init__(self):
            for name in TAKEN:
                setattr(self, name, name)
            super().__init__(*arguments)

    class After(cls):
        def __init__(self):
            super().__init__(*arguments)
            for name in TAKEN:
                setattr(self, name, name)

    for made in (Before(), After()):
        assert [getattr(made, name) for name in TAKEN] == TAKEN
        repr(made)
