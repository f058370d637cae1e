"""Children run the program's code and the library's, and no module from the current directory; an interpreter with the
option to ignore its environment ignores it."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from programs import LIMIT

PLANTED = "import os\nos.write(1, b'planted code runs\\n')\nos._exit(7)\n"

PROGRAM = """
import sys
import kettle.multiprocessing as mp
from kettle.multiprocessing import shared_memory

def task():
    block = shared_memory.SharedMemory(create=True, size=1)  # which starts the resource tracker
    block.close()
    block.unlink()
    print("child fine")

if __name__ == "__main__":
    process = mp.get_context(sys.argv[1]).Process(target=task)
    process.start()
    process.join()
    task()
"""

LOOK = """
import json, sys
import kettle.multiprocessing as mp

def look(connection):
    import beside
    connection.send([beside.__file__, sys.path, sys.flags.safe_path])

def main(method):
    here, there = mp.Pipe()
    process = mp.get_context(method).Process(target=look, args=(there,))
    process.start()
    there.close()
    print(json.dumps([sys.path, here.recv()]))
    process.join()

if __name__ == "__main__":
    main(sys.argv[1])
"""

METHODS = pytest.mark.parametrize("method", ["spawn", "forkserver"])


def run(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, **environment},
    )


@METHODS
@pytest.mark.parametrize("name", ["kettle/__init__.py", "multiprocessing.py", "select.py", "pickle.py", "beside.py"])
def test_a_module_in_a_foreign_current_directory(tmp_path, method, name):
    program = tmp_path / "app" / "program.py"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    foreign = tmp_path / "foreign"
    (foreign / name).parent.mkdir(parents=True)
    (foreign / name).write_text(PLANTED)
    done = run(program, method, cwd=foreign)
    assert (done.stdout, done.stderr, done.returncode) == ("child fine\n" * 2, "", 0)


@METHODS
@pytest.mark.parametrize("start", ["script", "module", "command", "safe-module"])
def test_what_programs_find_on_their_path_their_children_find(tmp_path, method, start):
    (tmp_path / "program.py").write_text(textwrap.dedent(LOOK))
    (tmp_path / "beside.py").write_text("")
    environment = {}
    match start:
        case "script":
            cwd = tmp_path / "elsewhere"
            cwd.mkdir()
            arguments = [tmp_path / "program.py", method]
        case "module":
            cwd, arguments = tmp_path, ["-m", "program", method]
        case "command":
            cwd, arguments = tmp_path, ["-c", f"import program; program.main({method!r})"]
        case "safe-module":
            cwd, arguments = tmp_path.parent, ["-P", "-m", "program", method]
            environment["PYTHONPATH"] = str(tmp_path)
    done = run(*arguments, cwd=cwd, **environment)
    assert (done.stderr, done.returncode) == ("", 0)
    path, (beside, child_path, is_safe) = json.loads(done.stdout)
    assert beside == str(tmp_path / "beside.py")
    assert child_path == [directory or str(cwd) for directory in path]  # as in the standard library
    assert is_safe is (start == "safe-module")


@METHODS
def test_a_program_that_puts_this_package_on_its_path_by_hand(tmp_path, method):
    import kettle

    home = os.path.dirname(os.path.dirname(kettle.__file__))
    program = tmp_path / "program.py"
    program.write_text(f"import sys\nsys.path.append({home!r})\n{PROGRAM}")
    done = run("-S", program, method, cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("child fine\n" * 2, "", 0)


IMPORTED = "import sys; print(*sorted(m for m in sys.modules if m.split('.')[0] == 'kettle'))"


@pytest.mark.parametrize("flags", ["-E", "-I", "-S", "-Es"])
def test_interpreters_that_ignore_their_environment(tmp_path, flags):
    assert run("-c", IMPORTED, cwd=tmp_path, KETTLE_INSTALL="1").stdout.split()
    done = run(flags, "-c", IMPORTED, cwd=tmp_path, KETTLE_INSTALL="1")
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)


@METHODS
def test_a_program_that_ignores_its_environment_still_has_children_like_itself(tmp_path, method):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import sys
            import kettle
            kettle.install()
            import multiprocessing

            def task():
                print(multiprocessing.__name__, sys.flags.ignore_environment)

            if __name__ == "__main__":
                context = multiprocessing.get_context(sys.argv[1])
                context.set_forkserver_preload(["__main__"])
                process = context.Process(target=task)
                process.start()
                process.join()
        """)
    )
    done = run("-E", program, method, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("kettle.multiprocessing 1\n", "")
