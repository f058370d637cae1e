#!/bin/sh
# The core's conformance suite under the thread and address sanitizers: sanitize.sh [thread|address]…, by default both.
#
# A stable toolchain is told to allow its unstable flag. The standard library itself is not instrumented, so the thread
# sanitizer does not see the order that its own synchronisation makes (the test runner's channels: so one test at a
# time); what it reports there falsely is listed, with reasons, in sanitize-thread.txt. It does not follow forks either:
# the cases of processes, and their deaths, are the address sanitizer's.
set -eu
cd "$(dirname "$0")/.."

TARGET=x86_64-unknown-linux-gnu
SUITE="--test lock --test reentrant --test semaphore --test permits --test event --test condition --test barrier --test queue --test guarded"
BUILD="${CARGO_TARGET_DIR:-target}"
export RUSTC_BOOTSTRAP=1

for sanitizer in "${@:-thread address}"; do
    for one in $sanitizer; do
        echo "== $one sanitizer"
        export RUSTFLAGS="-Zsanitizer=$one -Cunsafe-allow-abi-mismatch=sanitizer" CARGO_TARGET_DIR="$BUILD/sanitize-$one"
        case $one in
        thread)
            export TSAN_OPTIONS="suppressions=$PWD/ci/sanitize-thread.txt"
            # shellcheck disable=SC2086
            timeout 900 cargo test -p kettle-core --target $TARGET --features crash-points $SUITE -- \
                --skip processes --skip deaths --test-threads=1
            ;;
        address)
            # A process that is killed frees nothing, and so does a forked child that ends by _exit.
            export ASAN_OPTIONS="detect_leaks=0 detect_stack_use_after_return=1"
            # shellcheck disable=SC2086
            timeout 900 cargo test -p kettle-core --target $TARGET --features crash-points $SUITE --test queue_deaths
            ;;
        *)
            echo "unknown sanitizer: $one" >&2
            exit 2
            ;;
        esac
    done
done
