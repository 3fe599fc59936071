#!/usr/bin/env bash
# The tests of the running broker in their long forms, one program after the other. About ten minutes on two cores.
#
#   scripts/long-tests.sh [TEST...]
#
# Each length can be set from outside, for example KRAPPY_TEST_KILL_CYCLES=1000. The last line is "N passed, M failed".
set -euo pipefail
cd "$(dirname "$0")/.."

export KRAPPY_TEST_FLOOD_SECONDS=${KRAPPY_TEST_FLOOD_SECONDS:-60}
export KRAPPY_TEST_STUCK_SECONDS=${KRAPPY_TEST_STUCK_SECONDS:-60}
export KRAPPY_TEST_CHURN=${KRAPPY_TEST_CHURN:-100000}
export KRAPPY_TEST_LONG_REQUESTS=${KRAPPY_TEST_LONG_REQUESTS:-5000000}
export KRAPPY_TEST_IDLE=${KRAPPY_TEST_IDLE:-15000}
export KRAPPY_TEST_KILL_CYCLES=${KRAPPY_TEST_KILL_CYCLES:-500}

tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(bad_input process devlog bounds kill)

cargo test --no-run
passed=0
failed=()
for name in "${tests[@]}"; do
    echo "== $name"
    # One test at a time: their figures are then those of one load.
    if cargo test --quiet --test "$name" -- --nocapture --test-threads=1; then
        passed=$((passed + 1))
    else
        failed+=("$name")
    fi
done

[ ${#failed[@]} -eq 0 ] || echo "failed: ${failed[*]}"
echo "long tests: $passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
