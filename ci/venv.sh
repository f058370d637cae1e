#!/usr/bin/env bash
# Makes the virtual environment VENV for PYTHON, with the requirements of some extras in it.
#
#     ci/venv.sh PYTHON VENV [EXTRA...]
#
# Each extra is installed once; a change of pyproject.toml installs all of them anew.
set -euo pipefail
python=$1 venv=$2
shift 2
cd "$(dirname "$0")/.."

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "kettle needs Python 3.11 or later: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi
if [ ! -x "$venv/bin/pip" ]; then
    echo "making $venv"
    "$python" -m venv "$venv" || {
        rm -rf "$venv"
        echo "this Python cannot make a virtual environment (on Debian: apt install python3-venv)" >&2
        exit 1
    }
fi
install() {
    local stamp="$venv/.installed-$1"
    shift
    if [ "$stamp" -nt pyproject.toml ]; then return; fi
    echo "installing $*"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
    touch "$stamp"
}
install build "maturin>=1.9.4,<2"
for extra in "$@"; do
    mapfile -t requirements < <("$venv/bin/python" ci/requirements.py "$extra")
    install "$extra" "${requirements[@]}"
done
