#!/usr/bin/env bash
# Builds the extension module for the virtual environment VENV.
#
#     ci/build.sh VENV                  installs the release build; the Python files stay where they are (editable)
#     ci/build.sh VENV --crash-points   puts a build that can be told to die at named points into VENV/crash-points:
#                                       PYTHONPATH=VENV/crash-points selects it, and tests/death needs it
set -euo pipefail
venv=$(realpath "$1")
cd "$(dirname "$0")/.."
export VIRTUAL_ENV=$venv
unset CONDA_PREFIX PYTHONPATH

quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm "$log"
        exit 1
    fi
    rm "$log"
}

if [ "${2-}" = --crash-points ]; then
    echo "building kettle with crash points ($(basename "$venv"))"
    rm -rf "$venv/crash-points" "$venv/crash-points-wheel"
    quietly "$venv/bin/maturin" build --release --features crash-points \
        --interpreter "$venv/bin/python" --out "$venv/crash-points-wheel"
    "$venv/bin/python" -m zipfile -e "$venv"/crash-points-wheel/*.whl "$venv/crash-points"
    rm -rf "$venv/crash-points-wheel"
else
    echo "building kettle ($(basename "$venv"))"
    quietly "$venv/bin/maturin" develop --release
fi
