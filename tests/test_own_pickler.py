"""A pickler that the program substitutes for the standard library's is used for everything that is sent."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap

import pytest

LIMIT = 60

DILL = """
    import multiprocessing.reduction
    import dill
    dill.Pickler.dumps, dill.Pickler.loads = dill.dumps, dill.loads
    multiprocessing.reduction.ForkingPickler = dill.Pickler
    multiprocessing.reduction.dump = dill.dump
"""

#: Records for each object whether it went through here, and reads nothing that is a pickle.
JSON = """
    import json
    import multiprocessing.reduction
    class Json:
        @staticmethod
        def dumps(obj):
            return b"{" + json.dumps(obj).encode()
        @staticmethod
        def loads(data):
            assert data[:1] == b"{", "a pickle"
            return json.loads(data[1:])
    multiprocessing.reduction.ForkingPickler = Json
"""

#: A subclass with its own reducer, in addition to registered ones.
SUBCLASS = """
    import multiprocessing.reduction
    class Own:
        value = "made as any object"
    class Theirs(Own):
        pass
    def make(cls, value):
        own = cls()
        own.value = value
        return own
    class Pickler(multiprocessing.reduction.ForkingPickler):
        def reducer_override(self, obj):
            return (make, (Own, "by the subclass")) if type(obj) is Own else NotImplemented
    multiprocessing.reduction.ForkingPickler = Pickler
    multiprocessing.reduction.register(Theirs, lambda obj: (make, (Theirs, "registered")))
"""


# Not imported here, because it changes the standard pickler.
needs_dill = pytest.mark.skipif(importlib.util.find_spec("dill") is None, reason="needs dill")


def run(setting, body):
    program = textwrap.dedent(setting) + "import kettle.multiprocessing as mp\n" + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@needs_dill
@pytest.mark.parametrize("when", ["before", "after"])
def test_dill(tmp_path, when):
    setting = textwrap.dedent(DILL)
    program = setting if when == "before" else "import kettle.multiprocessing as mp\nmp.Queue()\n" + setting
    program += textwrap.dedent("""
        import kettle.multiprocessing as mp
        from kettle.futures import ProcessPoolExecutor

        def double(n):
            return 2 * n

        def answer(queue, number):
            queue.put([number])

        if __name__ == "__main__":
            ctx = mp.get_context("fork")
            for queue in ctx.Queue(), ctx.SimpleQueue(), ctx.JoinableQueue():
                queue.put([1, double, lambda: 3, ctx.Lock()])
                one, two, three, lock = queue.get()
                assert (one, two(2), three()) == (1, 4, 3) and lock.acquire()
                process = ctx.Process(target=answer, args=(queue, 5))
                process.start()
                assert queue.get() == [5]
                process.join()
            a, b = ctx.Pipe()
            a.send({"f": lambda: 4})
            assert b.recv()["f"]() == 4
            with ctx.Pool(1) as pool:
                assert pool.map(double, [2, 3]) == [4, 6]
                assert pool.apply(lambda n: n + 1, (1,)) == 2
            with ProcessPoolExecutor(1, ctx) as executor:
                assert executor.submit(double, 2).result() == 4
                assert list(executor.map(lambda n: -n, [1])) == [-1]
            print("done")
    """)
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=LIMIT)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_what_is_no_pickle():
    run(
        JSON,
        """
        ctx = mp.get_context("fork")
        for queue in ctx.Queue(), ctx.SimpleQueue():
            for sent, came in [(1, 1), ("text", "text"), ((1, 2), [1, 2]), ({1: None}, {"1": None})]:
                queue.put(sent)
                assert queue.get() == came
            try:
                queue.put(object())
            except TypeError:
                pass
            else:
                raise AssertionError("it was pickled")
        a, b = ctx.Pipe()
        a.send((1, 2))
        assert b.recv() == [1, 2]
        a.send((1, 2))
        assert b.recv_bytes() == b"{[1, 2]"
        multiprocessing.reduction.ForkingPickler = multiprocessing.reduction.register.__self__
        a.send((1, 2))
        assert b.recv() == (1, 2)
        print("done")
        """,
    )


def test_a_subclass_and_its_reducers():
    run(
        SUBCLASS,
        """
        ctx = mp.get_context("fork")
        queue, (a, b) = ctx.Queue(), ctx.Pipe()
        queue.put([Own(), Theirs()])
        assert [own.value for own in queue.get()] == ["by the subclass", "registered"]
        a.send(Own())
        assert b.recv().value == "by the subclass"
        with ctx.Pool(1) as pool:
            assert pool.apply(getattr, (Own(), "value")) == "by the subclass"
            assert pool.map(Own.__class__, [1]) == [int]
        print("done")
        """,
    )


def test_methods_that_are_replaced():
    run(
        """
        import multiprocessing.reduction
        from multiprocessing.reduction import ForkingPickler
        import pickle
        seen = []
        @classmethod
        def dumps(cls, obj, protocol=None):
            seen.append(obj)
            return pickle.dumps(obj)
        ForkingPickler.dumps = dumps
        """,
        """
        queue = mp.Queue()
        queue.put(1)
        queue.put([2])
        assert (queue.get(), queue.get(), seen) == (1, [2], [1, [2]])
        print("done")
        """,
    )


def test_a_reducer_of_a_context():
    run(
        """
        import pickle
        from multiprocessing.reduction import AbstractReducer, ForkingPickler
        class Pickler(ForkingPickler):
            @classmethod
            def dumps(cls, obj, protocol=2):
                seen.append(protocol)
                return pickle.dumps(obj, protocol)
        seen = []
        class Reducer(AbstractReducer):
            ForkingPickler = Pickler
        """,
        """
        ctx = mp.get_context("fork")
        ctx.reducer = Reducer()
        queue = ctx.Queue()
        queue.put([1])
        assert (queue.get(), seen) == ([1], [2])
        print("done")
        """,
    )


#: What goes through it can be told by its first byte, and nothing else can be read by it.
MARKED = """
    import pickle
    import multiprocessing.connection
    import multiprocessing.queues
    from multiprocessing.reduction import ForkingPickler
    class Marked(ForkingPickler):
        count = [0, 0]
        @classmethod
        def dumps(cls, obj, protocol=None):
            cls.count[0] += 1
            return b"M" + pickle.dumps(obj, protocol)
        @staticmethod
        def loads(data):
            Marked.count[1] += 1
            assert bytes(data[:1]) == b"M", "not by this pickler"
            return pickle.loads(data[1:])
"""

#: The modules as a program may name them, with kettle or under `kettle run`.
MODULES = ["multiprocessing", "kettle.multiprocessing"]


@pytest.mark.parametrize("package", MODULES)
def test_the_pickler_of_queues(package):
    run(
        MARKED + f"    import {package}.queues as queues\n    queues._ForkingPickler = Marked\n",
        """
        for queue in mp.Queue(), mp.SimpleQueue(), mp.JoinableQueue():
            queue.put(1)
            queue.put([2])
            assert (queue.get(), queue.get()) == (1, [2])
        assert Marked.count == [6, 6]
        a, b = mp.Pipe()
        a.send([3])
        assert b.recv() == [3] and Marked.count == [6, 6]
        with mp.get_context("fork").Pool(1) as pool:
            assert pool.apply(abs, (-4,)) == 4 and Marked.count[0] > 6
        assert multiprocessing.queues._ForkingPickler is queues._ForkingPickler is Marked
        print("done")
        """,
    )


@pytest.mark.parametrize("package", MODULES)
def test_the_pickler_of_connections(package):
    run(
        MARKED + f"    import {package}.connection as connection\n    connection._ForkingPickler = Marked\n",
        """
        import os
        a, b = mp.Pipe()
        for obj in 1, [2], "x" * 5000:
            a.send(obj)
            assert b.recv() == obj
        a.send(4)
        assert b.recv_bytes()[:1] == b"M"
        assert Marked.count == [4, 3]
        reader, writer = os.pipe()
        with connection.Connection(reader) as reader, connection.Connection(writer) as writer:
            writer.send(5)
            assert reader.recv() == 5 and Marked.count == [5, 4]
        queue = mp.Queue()
        queue.put([6])
        assert queue.get() == [6] and Marked.count == [5, 4]
        print("done")
        """,
    )


@pytest.mark.parametrize("package", MODULES)
def test_a_pickler_for_a_while(package):
    run(
        MARKED,
        f"""
        from unittest import mock
        import {package}.queues as queues
        queue = mp.Queue()
        for target in {package + ".queues._ForkingPickler"!r}, "multiprocessing.queues._ForkingPickler":
            Marked.count[:] = 0, 0
            with mock.patch(target, Marked):
                queue.put(1)
                assert queue.get() == 1 and Marked.count == [1, 1]
            queue.put(2)
            assert queue.get() == 2 and Marked.count == [1, 1]
            assert queues._ForkingPickler is ForkingPickler
        import cloudpickle
        assert cloudpickle.loads(cloudpickle.dumps(queues)) is queues
        print("done")
        """,
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pickler_of_queues_in_children(tmp_path, method):
    program = textwrap.dedent(MARKED) + textwrap.dedent(f"""
        import kettle.multiprocessing as mp
        multiprocessing.queues._ForkingPickler = multiprocessing.connection._ForkingPickler = Marked

        def child(queue, end):
            before = list(Marked.count)
            end.send((queue.get(), end.recv()))
            queue.put([before[0] + 1 == Marked.count[0], before[1] + 2 == Marked.count[1]])

        if __name__ == "__main__":
            ctx = mp.get_context({method!r})
            queue, (ours, theirs) = ctx.Queue(), ctx.Pipe()
            queue.put([1])
            ours.send({{2: 3}})
            process = ctx.Process(target=child, args=(queue, theirs))
            process.start()
            assert ours.recv() == ([1], {{2: 3}})
            process.join()
            assert queue.get() == [True, True]
            print("done")
    """)
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=LIMIT)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
