"""How long files and functions may be, how many parts things may have, and which files may use each other in a circle.
`make figures` prints where the code stands."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


rust_sources = _load("rust_sources")
figures = _load("figures")

ALGORITHM = "one algorithm: its states, its words and their orderings are read together"
FORMAT = "one format: each type has its few lines"
CLASS = "one class of Python's, with all its methods"

LONG_FILES = {
    "kettle-core/src/arena/segment.rs": ALGORITHM,
    "kettle-core/src/deadlock/mod.rs": ALGORITHM,
    "kettle-core/src/queue/local/mod.rs": ALGORITHM,
    "kettle-core/src/queue/mod.rs": "the description of a queue, and all of its small questions",
    "kettle-core/src/sync/barrier.rs": ALGORITHM,
    "kettle-core/src/sync/lock.rs": ALGORITHM,
    "kettle-core/src/wait/event_count.rs": ALGORITHM,
    "kettle-core/src/wait/line.rs": ALGORITHM,
    "kettle/src/codec/decoder.rs": FORMAT,
    "kettle/src/codec/encoder.rs": FORMAT,
    "kettle/src/codec/mod.rs": "half of it describes the format",
    "kettle/src/pool/scheduler/process/supervisor.rs": ALGORITHM,
    "kettle/src/queue/mod.rs": "half of it is documentation with examples",
    "kettle/src/reactor.rs": ALGORITHM,
    "kettle/src/select.rs": "a third of it is documentation with examples",
    "kettle/src/thread_pool/map_job.rs": ALGORITHM,
    "kettle/src/threads/queue/mod.rs": "half of it is documentation with examples",
    "kettle-python/src/queue/thread/mod.rs": CLASS,
    "kettle-python/src/pickle.rs": "the ways in which an object is pickled, in the order in which they are tried",
    "kettle-python/src/pool/crew.rs": ALGORITHM,
    "kettle-python/src/pool/job/mod.rs": ALGORITHM,
    "kettle-python/src/pool/threads/worker.rs": ALGORITHM,
    "kettle-python/src/queue/process.rs": CLASS,
}

STEPS = "the steps of one protocol, in their order"
CASES = "a case for each kind, a few lines each"

LONG_FUNCTIONS = {
    "kettle-core/src/arena/allocator/check.rs check": "each rule of a sound arena in turn",
    "kettle-core/src/arena/allocator/grow.rs grow": STEPS,
    "kettle-core/src/arena/allocator/rebuild.rs rebuild_keeping": STEPS,
    "kettle-core/src/deadlock/ended.rs has_ended": CASES,
    "kettle-core/src/deadlock/mod.rs follow": STEPS,
    "kettle-core/src/queue/get.rs get": STEPS,
    "kettle-core/src/shared/pipe/receive.rs look": CASES,
    "kettle/src/pool/map.rs map": STEPS,
    "kettle/src/process/builder.rs start": STEPS,
    "kettle-python/src/pool/processes/receive.rs handle": CASES,
}

# Called from Python, with the parameters of the function that a user called.
MANY_PARAMETERS = {
    "kettle/src/process/supervisor.rs new": "what a child of its own is made of",
    "kettle-python/src/fast_methods/install.rs put": "those of Python's calling convention",
    "kettle-python/src/fast_methods/install.rs put_over": "the same, and what the method is put over",
    "kettle-python/src/pool/job/handle.rs new": "the options of `map`, `imap` and `apply_async`",
}

# The number of files in the largest circle. No more than three is the aim.
CIRCLES = {"kettle-core": 3, "kettle": 5, "kettle-cli": 3, "kettle-python": 3}


@pytest.fixture(scope="module")
def crates():
    return figures.crates()


def where(path):
    return str(path.relative_to(ROOT / "crates"))


def test_no_file_is_too_long(crates):
    long = {where(s.path) for crate in crates for s in crate.sources if s.lines > figures.FILE_LINES}
    assert long <= set(LONG_FILES), "split it by idea, or list it with a reason"


def functions(crates):
    return [function for crate in crates for source in crate.sources for function in source.functions]


def test_no_function_is_too_long(crates):
    long = {f"{where(f.path)} {f.name}" for f in functions(crates) if f.lines > figures.FUNCTION_LINES}
    assert long <= set(LONG_FUNCTIONS), "give its steps names, or list it with a reason"


def test_no_function_has_too_many_parameters(crates):
    many = {f"{where(f.path)} {f.name}" for f in functions(crates) if f.parameters > figures.PARAMETERS}
    assert many <= set(MANY_PARAMETERS), "make a struct of what belongs together, or list it with a reason"


def test_circles_of_files_do_not_grow(crates):
    largest = {crate.name: len(crate.circles[0]) if crate.circles else 0 for crate in crates}
    grown = {name: size for name, size in largest.items() if size > CIRCLES[name]}
    assert not grown, "`ci/figures.py --lists` shows which file uses which"


# The first commit after which it counts.
SUBJECTS_SINCE = "a1b6414"


def test_subjects_of_commits_are_short():
    """One line of `git log --oneline`; the reason is in the body."""
    subjects = figures.subjects(SUBJECTS_SINCE)
    if subjects is None:
        pytest.skip("the history is not there")
    assert [subject for subject in subjects if len(subject) > 72 or subject.endswith(".")] == []


def crate_of(folder, **files):
    for name, text in files.items():
        path = folder / "src" / f"{name.replace('__', '/')}.rs"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return rust_sources.Crate(folder / "src")


def test_comments_strings_and_tests_are_no_code(tmp_path):
    (source,) = crate_of(
        tmp_path,
        lib="""//! About it.

/// A string with braces.
pub fn text<'a>(of: &'a str, (x, y): (u8, u8)) -> &'a str { // and a comment
    let brace = '{';
    /* not
       this */
    r#"fn no() { "}" "#
}

#[cfg(test)]
mod tests {
    fn neither() {}
}
""",
    ).sources
    assert [(f.name, f.lines, f.parameters) for f in source.functions] == [("text", 6, 2)]
    assert (source.code_lines, source.doc_lines, source.comment_lines) == (4, 2, 2)
    assert source.lines == 10


def test_a_circle_is_found_through_reexports_and_imported_modules(tmp_path):
    crate = crate_of(
        tmp_path,
        lib="mod top;\nmod low;\nmod alone;\n",
        top__mod="mod part;\npub(crate) use part::{Part, other as another};\n",
        top__part="use crate::low;\npub struct Part;\npub fn other() { low::low() }\n",
        low="use crate::top::{self, Part};\npub fn low() {}\nfn again(_: Part) { top::another() }\n",
        alone="use crate::low::low as deep;\nfn f() { deep() }\n",
    )
    assert [[path.name for path in circle] for circle in crate.circles] == [["low.rs", "part.rs"]]


def test_parameters_fields_and_methods_are_counted(tmp_path):
    crate = crate_of(
        tmp_path,
        lib="mod a;\nmod b;\n",
        a="""
pub struct Pair<T: Fn(u8) -> u8> { pub first: T, second: Vec<(u8, u8)> }
impl<T: Fn(u8) -> u8> Pair<T> {
    fn set(&mut self, py: Python<'_>, first: T, second: HashMap<u8, Vec<u8>>) {
    }
}
impl<T> Drop for Pair<T> { fn drop(&mut self) {} }
""",
        b="use crate::a::Pair;\nimpl Pair<Plain> { fn more(&self) {} }\n",
    )
    a = next(source for source in crate.sources if source.path.name == "a.rs")
    assert [(f.name, f.parameters) for f in a.functions] == [("set", 2), ("drop", 0)]
    assert [(s.name, s.fields) for s in a.structs] == [("Pair", 2)]
    assert {kind: [path.name for path in paths] for kind, paths in crate.scattered.items()} == {
        "Pair": ["a.rs", "b.rs"]
    }
