#!/usr/bin/env bash
# Runs every fuzz target for SECONDS (default 20), starting from the committed corpus.
#
#   scripts/fuzz-smoke.sh [SECONDS] [TARGET...]
#
# What is found on the way stays in fuzz/target/corpus; the committed corpus is only read. A failure leaves its input in
# fuzz/artifacts and does not stop the other targets. The last line is "N passed, M failed".
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO_FUZZ_VERSION=0.13.2
seconds=${1:-20}
shift $(($# > 0 ? 1 : 0))

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzzing needs a nightly toolchain, and there is none: rustup toolchain install nightly" >&2
    exit 69
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "installing cargo-fuzz $CARGO_FUZZ_VERSION"
    cargo install cargo-fuzz --version "$CARGO_FUZZ_VERSION" --locked
fi

# A build folder of its own: fuzzing flags and ordinary ones would otherwise rebuild each other's work.
target_dir=${CARGO_TARGET_DIR:-fuzz/target}
[ "$target_dir" = fuzz/target ] || target_dir=$target_dir/fuzz
unset CARGO_TARGET_DIR

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi

# The lock file is committed and cargo-fuzz has no --locked, so it is checked before.
cargo +nightly metadata --manifest-path fuzz/Cargo.toml --locked --format-version 1 >/dev/null
cargo +nightly fuzz build --target-dir "$target_dir"

# Runs a target, and leaves what it said in its log.
fuzz() {
    local target=$1 found=fuzz/target/corpus/$1
    mkdir -p "$found" "fuzz/corpus/$target"
    echo "fuzz $target for $seconds s"
    cargo +nightly fuzz run --target-dir "$target_dir" "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        >"fuzz/target/$target.log" 2>&1 && touch "fuzz/target/$target.passed"
}

# As many at a time as there are processors. Who interrupts this ends them, too: a shell keeps that from its jobs.
trap 'kill 0' INT
mkdir -p fuzz/target
for target in "${targets[@]}"; do
    rm -f "fuzz/target/$target.passed"
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
        wait -n || true
    done
    fuzz "$target" &
done
wait

passed=0
failed=()
for target in "${targets[@]}"; do
    log=fuzz/target/$target.log
    echo "$target:"
    if [ -e "fuzz/target/$target.passed" ]; then
        passed=$((passed + 1))
        grep -E 'stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$log" | sed 's/^stat::/  /'
    else
        failed+=("$target")
        tail -n 60 "$log" | cut -c 1-200
    fi
done

[ ${#failed[@]} -eq 0 ] || echo "failed: ${failed[*]}"
echo "fuzz: $passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
