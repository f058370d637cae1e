#!/usr/bin/env bash
# All tests, then one line that sums them up.
#
#     ci/test.sh VENV [RUST]       RUST=no leaves out the Rust half
set -uo pipefail
cd "$(dirname "$0")/.."
venv=$1 rust=${2-yes}
python=$venv/bin/python
results=target/tally/$(basename "$venv")
rm -rf "$results"
tally() { "$python" ci/tally.py run "$results" "$@"; }

ci/build.sh "$venv" && ci/build.sh "$venv" --crash-points || exit 1

if [ "$rust" != no ]; then
    # Doc examples are among these.
    tally rust-core cargo test --quiet -p kettle-core --features crash-points
    tally rust-library cargo test --quiet -p kettle --all-features
fi
# What is shipped, then the build that dies where it is told to.
tally python "$python" -m pytest -q --ignore=tests/death
PYTHONPATH=$venv/crash-points tally python-death "$python" -m pytest -q tests/death

"$python" ci/tally.py sum "$results"
