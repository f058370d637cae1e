#!/usr/bin/env bash
# All tests, then one line that sums them up.
#
#     ci/test.sh VENV [RUST]       RUST=no leaves out the Rust half
set -uo pipefail
cd "$(dirname "$0")/.."
venv=$(realpath "$1") rust=${2-yes}
python=$venv/bin/python
results=target/tally/$(basename "$venv")
rm -rf "$results"
tally() { "$python" ci/tally.py "$1" "$results" "${@:2}"; }

tally step build ci/build.sh "$venv"
tally step build-with-crash-points ci/build.sh "$venv" --crash-points

if [ "$rust" != no ]; then
    # Doc examples are among these.
    tally run rust-core cargo test --quiet --no-fail-fast -p kettle-core --features crash-points
    tally run rust-macros cargo test --quiet -p kettle-macros
    tally run rust-command cargo test --quiet -p kettle-cli
    tally run rust-library cargo test --quiet --no-fail-fast -p kettle --all-features
    # A program of its own, with a web server among its dependencies.
    CARGO_TARGET_DIR=target/parse_server tally run rust-server \
        cargo test --quiet --manifest-path examples/parse_server/Cargo.toml
    # A program of its own, whose panics abort it.
    CARGO_TARGET_DIR=target/panic_abort tally run rust-panic-abort \
        cargo test --quiet --manifest-path crates/kettle/tests/panic_abort/Cargo.toml
fi
# What is shipped, then the build that dies where it is told to.
tally run python "$python" -m pytest -q --ignore=tests/death
PYTHONPATH=$venv/crash-points tally run python-death "$python" -m pytest -q tests/death

"$python" ci/tally.py sum "$results"
