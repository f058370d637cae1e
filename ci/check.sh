#!/usr/bin/env bash
# What a reader of the code may rely on: formatting, lints, types, stubs, arrows. All are run; any may fail.
#
#     ci/check.sh VENV
set -uo pipefail
cd "$(dirname "$0")/.."
bin=$1/bin
mapfile -t python_code < <(ls -d python tests examples benches stress others ci 2>/dev/null)
failed=()

check() {
    local name=$1
    shift
    echo "--- $name: $*"
    "$@" || failed+=("$name")
}

check rustfmt cargo fmt --all --check
check clippy cargo clippy --quiet --workspace --all-targets -- -D warnings
check clippy-crash-points cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings
check docs env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps -p kettle-core -p kettle-macros -p kettle -p kettle-cli --all-features
# Tools that not every machine has: `cargo install cargo-deny cargo-semver-checks`. They look at nothing on the network.
if cargo deny --version >/dev/null 2>&1; then
    check deny cargo deny --offline check licenses bans sources
    # Against the database that `cargo deny fetch` leaves there.
    if [ -d "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" ]; then
        check advisories cargo deny --offline check --disable-fetch advisories
    fi
fi
# What breaks programs since the last release, if there was one.
if cargo semver-checks --version >/dev/null 2>&1 && released=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null); then
    check semver cargo semver-checks --offline --package kettle --baseline-rev "$released"
fi
# What would be published: every file that the crates need is in their packages.
check packages cargo package --quiet --offline --no-verify --allow-dirty -p kettle-core -p kettle-macros -p kettle -p kettle-cli
check ruff "$bin/ruff" check "${python_code[@]}"
check ruff-format "$bin/ruff" format --check "${python_code[@]}"
check mypy "$bin/mypy"
# The stub of the compiled module against what was compiled.
check stubtest "$bin/python" -m mypy.stubtest kettle._native --concise --ignore-disjoint-bases \
    --ignore-unused-allowlist --allowlist ci/stubtest-allowed.txt
check words ci/words.sh
check arrows "$bin/python" -m pytest -q tests/test_arrows.py tests/test_shape.py tests/test_surface.py

echo
if [ ${#failed[@]} -gt 0 ]; then
    echo "does not hold: ${failed[*]}"
    exit 1
fi
echo "all checks hold"
