#!/bin/sh
# The extension module under the thread sanitizer: sanitize-python.sh PYTHON [pytest arguments…], by default the tests of
# many threads.
#
# PYTHON is an interpreter without a GIL that clang built with --disable-gil --with-thread-sanitizer, and has pytest.
# What is reported falsely of the extension is listed beside this file, and what of CPython in Tools/tsan of its source:
# give that as SUPPRESSIONS. The lists need llvm-symbolizer on the PATH. CI does without, since such a Python takes long
# to build. Everything is some ten times slower: on a busy machine tests reach their deadline.
set -eu
python=$1
shift
cd "$(dirname "$0")/.."
TARGET=x86_64-unknown-linux-gnu
BUILD="${CARGO_TARGET_DIR:-$PWD/target}/sanitize-python"
package=$BUILD/package
rm -rf "$package" && mkdir -p "$package"
cat ${SUPPRESSIONS:+"$SUPPRESSIONS"} ci/sanitize-python.txt >"$BUILD/suppressions.txt"

# What is built with is not to be reported about.
export TSAN_OPTIONS="report_bugs=0"
RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$BUILD" PYO3_PYTHON="$python" PYO3_BUILD_EXTENSION_MODULE=1 \
    RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
    cargo build -p kettle-python --target $TARGET
cp -r python/kettle "$package/"
rm -f "$package"/kettle/_native.*.so
cp "$BUILD/$TARGET/debug/libkettle_python.so" \
    "$package/kettle/_native$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')"
[ $# -gt 0 ] || set -- tests/test_free_threading.py tests/test_threading_stress.py tests/compact/test_meanwhile.py
export TSAN_OPTIONS="suppressions=$BUILD/suppressions.txt history_size=4"
PYTHONPATH=$package exec "$python" -m pytest -q -p no:cacheprovider "$@"
