"""The arrows between modules, as drawn in ARCHITECTURE.md, checked against the sources."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "crates/kettle-core/src"
LIBRARY = ROOT / "crates/kettle/src"
BINDINGS = ROOT / "crates/kettle-python/src"
PACKAGE = ROOT / "python/kettle"

# Every module may use itself and these: the atomics that loom can replace, the points at which tests kill a process,
# the code that runs when a thread unwinds there, and the mark of a damaged session.
EVERYWHERE = {"atomics", "crash_point", "crash", "unwind", "damage"}

CORE_ARROWS = {
    "atomics": set(),
    "crash": set(),
    "damage": {"sys"},
    "unwind": set(),
    "sys": set(),
    "stats": {"sys"},
    "wait": {"sys"},
    "sync": {"wait", "stats", "sys"},
    "queue": {"sync", "wait", "stats", "sys"},
    "arena": {"wait", "stats", "sys"},
    "deadlock": {"sync", "arena", "wait", "sys"},
    "shared": {"queue", "sync", "arena", "wait", "stats", "sys"},
    "watch": {"shared", "queue", "sync", "arena", "deadlock", "wait", "stats", "sys"},
}

CRATE_ARROWS = {
    "kettle-core": set(),
    "kettle": {"kettle-core", "kettle-macros"},
    "kettle-macros": set(),
    "kettle-python": {"kettle", "kettle-cli", "kettle-core"},
    "kettle-cli": {"kettle-core"},
}


def code(path):
    """A Rust file without comments, so that examples and links in them are no arrows, and without the unit tests at its
    end, which may use all that is there."""
    text = re.split(r"^#\[cfg\((?:test|all\(test\b.*)\)\]\nmod \w+ \{$", path.read_text(), maxsplit=1, flags=re.M)[0]
    return "\n".join(line.split("//")[0] for line in text.splitlines())


def module_of(path, top):
    return path.relative_to(top).parts[0].removesuffix(".rs")


def arrows(top):
    """{module: the modules beside it that it names} of the crate whose sources are in `top`."""
    found = {}
    for path in sorted(top.rglob("*.rs")):
        uses = found.setdefault(module_of(path, top), set())
        text = code(path)
        uses.update(re.findall(r"\bcrate::(\w+)", text))
        for group in re.findall(r"\bcrate::\{([^}]*)\}", text):
            uses.update(re.findall(r"(?:^|,)\s*(\w+)", group))
    found.pop("lib", None)
    return found


def test_the_core_has_the_modules_of_the_drawing():
    assert set(arrows(CORE)) == set(CORE_ARROWS)


@pytest.mark.parametrize("module", CORE_ARROWS)
def test_core_arrows(module):
    beside = set(CORE_ARROWS) - EVERYWHERE - {module}
    assert arrows(CORE)[module] & beside <= CORE_ARROWS[module]


def test_crates_use_only_what_is_below_them():
    for manifest in (ROOT / "crates").glob("*/Cargo.toml"):
        package = tomllib.loads(manifest.read_text())
        used = {name for name in package.get("dependencies", {}) if name.startswith("kettle")}
        assert used <= CRATE_ARROWS[package["package"]["name"]], manifest


def test_the_scheduler_of_the_pools_knows_no_front():
    scheduler = LIBRARY / "pool/scheduler"
    outside = {
        (str(path.relative_to(scheduler)), name)
        for path in scheduler.rglob("*.rs")
        for name in re.findall(r"\b(?:crate::(?!pool::scheduler\b)(\w+)|(?:serde|pyo3)\b)", code(path))
        if name != "error"  # what the core's memory refuses
    }
    assert not outside


def test_unsafe_is_written_in_the_core_and_in_three_modules_of_the_bindings():
    unsafe = re.compile(r"\bunsafe\s*(\{|fn\b|impl\b|trait\b|extern\b)")
    audited = {BINDINGS / "buffers.rs", *(BINDINGS / "fast").glob("*.rs"), *(BINDINGS / "fast_methods").glob("*.rs")}
    elsewhere = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "crates").glob("*/src/**/*.rs")
        if CORE not in path.parents and path not in audited and unsafe.search(code(path))
    }
    assert not elsewhere


def test_one_module_of_the_core_calls_the_system():
    outside = {
        str(path.relative_to(CORE))
        for path in CORE.rglob("*.rs")
        if module_of(path, CORE) not in ("sys", "crash") and re.search(r"\blibc::", code(path))
    }
    assert not outside


def test_one_module_of_the_bindings_waits():
    """The door lets Python go, waits, and looks for signals; others may let it go for a long copy. Besides, an event
    loop sleeps in one place."""
    doors = {path.name for path in BINDINGS.rglob("*.rs") if re.search(r"\bPatience::until\b", code(path))}
    assert doors <= {"door.rs"}
    sleeps = {str(path.relative_to(BINDINGS)) for path in BINDINGS.rglob("*.rs") if "poller.sleep(" in code(path)}
    assert sleeps == {"event_loop/turn.rs"}


def test_the_parts_of_an_event_loop_stand_on_the_core_alone():
    """So that a loop for another language could be made of them."""
    for path in (LIBRARY / "event_loop").glob("*.rs"):
        assert not re.search(r"\bcrate::|\bpyo3\b", code(path)), path


def test_python_reaches_the_core_through_its_ties():
    """`kettle._core` makes the fork hooks before anyone uses the core; the others use nothing that needs them."""
    imports = re.compile(
        r"^\s*(?:from kettle import .*\b(_native|_extension)\b|(?:from|import) kettle\.(_native|_extension)\b)",
        re.MULTILINE,
    )
    users = {}
    for path in PACKAGE.rglob("*.py"):
        for found in imports.findall(path.read_text()):
            users.setdefault("".join(found), set()).add(str(path.relative_to(PACKAGE)))
    assert users == {"_native": {"_extension.py"}, "_extension": {"_core.py", "_install.py", "_run.py"}}
