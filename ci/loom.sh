#!/bin/sh
# Explores the core's algorithms under every interleaving (see crates/kettle-core/tests/loom.rs): a minute.
# Arguments go to the test program: the name of a model, say.
set -eu
cd "$(dirname "$0")/.."

# Optimised for being built soon, not for speed; beside the ordinary build, whose flags differ.
export RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=2

exec timeout 600 cargo test -p kettle-core --test loom --release -- "$@"
