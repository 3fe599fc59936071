#!/usr/bin/env bash
# Builds for speed, starts a broker on a temporary folder and a free port, and runs the benchmarks of krappyctl on it.
#
#   scripts/bench.sh [ARGUMENTS OF krappyctl bench]
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked --workspace --bins
target=${CARGO_TARGET_DIR:-target}/release

folder=$(mktemp -d)
broker=
stop() {
    [ -z "$broker" ] || kill "$broker" 2>/dev/null || true
    [ -z "$broker" ] || wait "$broker" 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT

mkfifo "$folder/ready"
"$target/krappy" --data-dir "$folder/data" --listen 127.0.0.1:0 >"$folder/ready" &
broker=$!
read -r _ address <"$folder/ready"
"$target/krappyctl" --broker "$address" bench "$@"
