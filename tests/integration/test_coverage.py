"""coverage.py records what children run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("coverage")

PROGRAM = """
    import sys
    import kettle.multiprocessing as mp
    import work

    if __name__ == "__main__":
        ctx = mp.get_context(sys.argv[1])
        queue = ctx.Queue()
        children = [ctx.Process(target=work.answer, args=(queue, n)) for n in range(2)]
        for child in children: child.start()
        print(sorted(queue.get(timeout=30) for _ in children))
        for child in children: child.join()
    """

WORK = """\
def answer(queue, n):
    if n == 0:
        queue.put("zero")
    else:
        queue.put("other")


def never():
    return 1
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("how", ["import", "run"])
def test_the_data_of_children_arrives(run, how, method):
    (run.directory / ".coveragerc").write_text("[run]\nconcurrency = multiprocessing\nparallel = true\nsource = .\n")
    (run.directory / "work.py").write_text(WORK)
    if how == "import":
        lines = run(PROGRAM, "-m", "coverage", "run", after=[method])
    else:
        program = PROGRAM.replace("import kettle.multiprocessing", "import multiprocessing")
        lines = run(program, "-m", "kettle", "run", "-m", "coverage", "run", after=[method])
    assert lines == ["['other', 'zero']"]
    for command in (["combine", "-q"], ["json", "-q", "-o", "report.json"]):
        subprocess.run([sys.executable, "-m", "coverage", *command], check=True, cwd=run.directory, timeout=50)
    report = json.loads((run.directory / "report.json").read_text())
    assert report["files"]["work.py"]["missing_lines"] == [9]
