#!/usr/bin/env bash
# The figures of compacted topics, on a broker of its own in a temporary folder: load, gets, scan, watch, what the view
# costs; beside it the library fjall with the same records in the same run; then restarts, and the cleaner.
#
#   scripts/keyed.sh [ARGUMENTS OF krappyctl bench keyed]
#
#   RECORDS=10000000 KEYS=1000000   what is loaded
#   PEER=0                          leave the library out
#   PROFILE=profiling               build with symbols, for perf
#   KEYED_DIR=...                   where the temporary folder is made: the file system that is measured
#
# The last lines are ratios: above 1 the broker is better.
set -euo pipefail
cd "$(dirname "$0")/.."

records=${RECORDS:-10000000}
keys=${KEYS:-1000000}
profile=${PROFILE:-release}
peer=${PEER:-1}

cargo build --profile "$profile" --locked --workspace --bins
target=$(realpath "${CARGO_TARGET_DIR:-target}")
bin=$target/$profile
if [ "$peer" = 1 ]; then
    cargo build --release --locked --manifest-path bench-peers/Cargo.toml --target-dir "$target/peers"
fi

folder=$(mktemp -d -p "${KEYED_DIR:-${TMPDIR:-/tmp}}")
mkfifo "$folder/ready"
broker=
address=

# Ends the broker with a signal and waits for it.
end() {
    [ -n "$broker" ] || return 0
    kill "-$1" "$broker" 2>/dev/null || true
    wait "$broker" 2>/dev/null || true
    broker=
}
trap 'end TERM; rm -rf "$folder"' EXIT

start() {
    "$bin/krappy" --data-dir "$folder/data" --listen 127.0.0.1:0 >"$folder/ready" 2>"$folder/log" &
    broker=$!
    read -r _ address <"$folder/ready"
}

# What the broker said when it was ready, and how long the first get took from there.
restarted() {
    start
    echo "$1: $(grep -o 'ready in .*' "$folder/log")"
    local before
    before=$(date +%s%N)
    ctl get keyed 0000000000000000 --timeout 120s >/dev/null
    echo "    first get answered after $((($(date +%s%N) - before) / 1000000)) ms, the start of krappyctl included"
}

ctl() {
    "$bin/krappyctl" --broker "$address" "$@"
}

# krappyctl bench keyed on a topic that is there.
load() {
    local topic=$1 count=$2
    shift 2
    ctl bench keyed --topic "$topic" --records "$count" --keys "$keys" --broker-pid "$broker" "$@"
}

bytes_of() {
    # A file may go while they are counted.
    { du -sb "$folder/data/topics/$1" 2>/dev/null || true; } | cut -f 1
}

compacted=(-p 1 -c cleanup.policy=compact -c "flush.messages=9223372036854775807")

echo "== krappy: $records records over $keys keys"
start
# The cleaner has its own turn below: it would work on this log while gets are measured.
ctl topic create keyed "${compacted[@]}" -c min.compaction.lag.ms=86400000 >/dev/null
load keyed "$records" --pin same --json "$@" >"$folder/krappy.json"
scripts/keyed-table.py "$folder/krappy.json"
echo "on disk: $(bytes_of keyed) bytes"

if [ "$peer" = 1 ]; then
    echo "== fjall, in one process with its caller"
    "$target/peers/release/krappy-bench-peers" "$folder/peer" --records "$records" --keys "$keys" >"$folder/peer.json"
    scripts/keyed-table.py "$folder/peer.json"
    rm -rf "$folder/peer"
fi

echo "== restarts"
end TERM
restarted "after a clean stop"
ctl bench keyed --topic keyed --records $((keys / 10)) --keys "$keys" --duration 10ms --settle 0s >/dev/null
end KILL
restarted "after kill -9, with $((keys / 10)) records behind the last flush or before"

echo "== cleaning"
ctl topic delete keyed --yes >/dev/null
ctl topic create cleaned "${compacted[@]}" -c segment.bytes=16777216 -c min.cleanable.dirty.ratio=0.01 >/dev/null
load cleaned "$records" --duration 10ms >/dev/null
before=$(bytes_of cleaned)
# Until it has stayed the same for half a minute, five minutes at the most.
last=$before same=0
for _ in $(seq 300); do
    sleep 1
    now=$(bytes_of cleaned)
    if [ "$now" = "$last" ]; then same=$((same + 1)); else same=0; fi
    last=$now
    [ "$same" -lt 30 ] || break
done
echo "log and view: $before bytes when loaded, $last bytes half a minute after the last change"
end TERM

echo "== ratios"
scripts/keyed-table.py --ratios "$folder"/*.json
