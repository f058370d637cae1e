#!/usr/bin/env bash
# The extension module under the thread sanitizer: sanitize-python.sh [pytest arguments…], by default the tests of many
# threads. Everything that has to be built for it is built once, into target/sanitize-python.
#
# From the environment:
#     SOURCE     CPython's source: a directory or an archive. Without it Debian is asked for it, see below.
#     RUST_SRC   the folder `library` of the source of the standard library of this very rustc, where the toolchain does
#                not have it (`rustup component add rust-src`). It is instrumented too: the order that its locks make is
#                then seen, and nothing that Rust code does needs to be suppressed.
#
# A report fails the run if a frame of the extension is in the stack of one of the two accesses. Those of CPython alone
# are counted. What is known of CPython is suppressed: by its own list, and by sanitize-python.txt beside this file.
#
# The sanitizer looks at one process. A forked child goes on under it, with the threads that it starts then; what two
# processes do to shared memory at once is not seen. Everything is some ten times slower.
set -euo pipefail
cd "$(dirname "$0")/.."
ROOT=$PWD
BUILD=${CARGO_TARGET_DIR:-$ROOT/target}/sanitize-python
TARGET=$(rustc -vV | sed -n 's/^host: //p')
TESTS=(
    tests/test_free_threading.py tests/test_threading_stress.py tests/compact/test_meanwhile.py
    tests/test_threading_module.py tests/test_thread_pool.py tests/test_thread_executor.py tests/test_queue_additions.py
    tests/twins/test_thread_pool.py
)

give_up() {
    echo "$*" >&2
    exit 2
}

# Where the newest of the tools of that name is: `clang-19` and the like, or `clang`.
tool() {
    local found
    found=$(compgen -c "$1" | grep -E "^$1(-[0-9]+)?$" | sort -Vr | sed -n 1p) || true
    command -v "${found:-$1}" || give_up "there is no $1 (on Debian: apt install clang llvm)"
}

quietly() {
    local log=$BUILD/log
    "$@" >"$log" 2>&1 || { tail -50 "$log" >&2 && give_up "failed: $*"; }
}

# Downloads CPython's source from Debian, by a list of sources of its own. What is listed there cannot always be had: a
# mirror keeps the newest only. The free-threaded builds of 3.13 are the oldest that have what the extension needs.
fetch() {
    local apt=$BUILD/apt package version keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources"
    for suite in unstable testing; do
        echo "deb-src [signed-by=$keys] http://deb.debian.org/debian $suite main"
    done >"$apt/sources.list"
    cat >"$apt/apt.conf" <<EOF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
EOF
    export APT_CONFIG=$apt/apt.conf
    quietly apt-get update
    for package in python3.14 python3.13; do
        for version in $(apt-cache madison "$package" | awk '{ print $3 }' | sort -uVr); do
            echo "downloading $package $version from Debian"
            if (cd "$apt/sources" && apt-get source --download-only "$package=$version" >"$BUILD/log" 2>&1); then
                SOURCE=$(ls "$apt/sources/${package}_${version%-*}".orig.tar.*z)
                return
            fi
            echo "Debian does not have it: $(grep -m 1 -o '[0-9]* *Not Found' "$BUILD/log" || tail -1 "$BUILD/log")"
        done
    done
    give_up "CPython's source cannot be had: give it as SOURCE"
}

# Builds the interpreter from $SOURCE.
build_python() {
    local tree=$SOURCE
    if [ ! -d "$SOURCE" ]; then
        tree=$BUILD/source
        rm -rf "$tree" && mkdir -p "$tree"
        tar xf "$SOURCE" -C "$tree" --strip-components=1
    fi
    tree=$(realpath "$tree")
    rm -rf "$BUILD/python" "$BUILD/python-build" && mkdir -p "$BUILD/python-build"
    echo "building the interpreter, which takes some minutes: $SOURCE"
    local clang
    clang=$(tool clang)
    (
        cd "$BUILD/python-build"
        export CC=$clang CXX=${clang/%clang*/clang++${clang##*clang}} OPT="-O1 -g -DNDEBUG -fno-omit-frame-pointer"
        quietly "$tree/configure" --disable-gil --with-thread-sanitizer --disable-test-modules --prefix="$BUILD/python"
        quietly make -j"$(nproc)"
        quietly make install
    )
    cp "$tree/Tools/tsan/suppressions_free_threading.txt" "$BUILD/python/suppressions.txt"
    rm -rf "$BUILD/python-build" "$BUILD/source" "$BUILD/venv"
    "$BUILD/python/bin/python3" -m venv "$BUILD/venv"
    "$BUILD/venv/bin/pip" install --quiet --disable-pip-version-check "pytest>=8"
    touch "$BUILD/python/complete"
}

build_extension() {
    local library package=$BUILD/package
    library=${RUST_SRC:-$(rustc --print sysroot)/lib/rustlib/src/rust/library}
    [ -f "$library/std/Cargo.toml" ] ||
        give_up "the source of Rust's standard library is not there: rustup component add rust-src, or set RUST_SRC"
    [ -z "${RUST_SRC-}" ] || export __CARGO_TESTS_ONLY_SRC_ROOT=$RUST_SRC
    # PyO3 refuses free-threaded builds before 3.14. The structures are laid out alike.
    RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$BUILD PYO3_PYTHON=$PYTHON PYO3_BUILD_EXTENSION_MODULE=1 \
        UNSAFE_PYO3_SKIP_VERSION_CHECK=1 RUSTFLAGS="-Zsanitizer=thread -Cforce-frame-pointers=yes" \
        cargo build --quiet -Zbuild-std=std,panic_unwind -p kettle-python --target "$TARGET"
    rm -rf "$package" && mkdir -p "$package"
    cp -r python/kettle "$package/"
    rm -f "$package"/kettle/_native.*.so
    cp "$BUILD/$TARGET/debug/libkettle_python.so" \
        "$package/kettle/_native$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')"
}

mkdir -p "$BUILD"
# What is built with is not to be reported about.
export TSAN_OPTIONS="report_bugs=0"
if [ ! -e "$BUILD/python/complete" ]; then
    [ -n "${SOURCE-}" ] || fetch
    build_python
fi
PYTHON=$BUILD/venv/bin/python
"$PYTHON" -VV
build_extension

[ $# -gt 0 ] || set -- "${TESTS[@]}"
if "$PYTHON" -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then
    # Before 3.14 pickle walks through dicts and lists that other threads change, without their locks, and crashes.
    set -- "$@" --deselect tests/compact/test_meanwhile.py::test_a_dict_that_another_thread_changes_all_the_time
fi
cat "$BUILD/python/suppressions.txt" ci/sanitize-python.txt >"$BUILD/suppressions.txt"
symbolizer=$(tool llvm-symbolizer)
rm -rf "$BUILD/reports" && mkdir "$BUILD/reports"
options=(
    "suppressions=$BUILD/suppressions.txt" "log_path=$BUILD/reports/of" history_size=7
    # Suppressions go by names.
    "external_symbolizer_path=$symbolizer"
    # A child that was forked while there were several threads may start threads as well.
    die_after_fork=0
    # How a process ends is up to the tests, which end some by SIGSEGV; what was reported is looked at afterwards.
    exitcode=0 handle_segv=0 handle_sigbus=0
)
export TSAN_OPTIONS="${options[*]}"
passed=0
PYTHONPATH=$BUILD/package "$PYTHON" -m pytest -q -p no:cacheprovider "$@" || passed=$?
unset TSAN_OPTIONS
python3 ci/sanitize-python.py "$BUILD/reports" || exit 1
exit "$passed"
