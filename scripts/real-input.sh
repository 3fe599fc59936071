#!/usr/bin/env bash
# A million real lines through the broker, with kill -9 in the middle, and back: what comes out must be what went in,
# byte for byte.
#
#   scripts/real-input.sh [FILE]
#
# Without a FILE the input is text that a Debian system has anyway: what its packages consist of. KILLS (default 3) says
# how often the broker is killed while the lines are on their way. Uses the release binaries and a port of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

kills=${KILLS:-3}
work=$(mktemp -d)
broker=
trap 'kill -9 $broker 2>/dev/null || true; rm -rf "$work"' EXIT

cargo build --locked --release --workspace --bins
bin=${CARGO_TARGET_DIR:-target}/release

input=${1:-$work/input}
if [ $# -eq 0 ]; then
    cat /var/lib/dpkg/info/*.list /var/lib/dpkg/info/*.md5sums /var/lib/dpkg/status >"$work/once"
    while [ "$(cat "$work"/input 2>/dev/null | wc -l)" -lt 1000000 ]; do cat "$work/once" >>"$work/input"; done
fi
lines=$(wc -l <"$input")
echo "input: $lines lines, $(stat -c %s "$input") bytes"

port=0
start() {
    "$bin/krappy" --data-dir "$work/data" --listen "127.0.0.1:$port" >"$work/ready" 2>>"$work/log" &
    broker=$!
    until grep -q READY "$work/ready"; do
        kill -0 "$broker" || { tail "$work/log"; exit 1; }
        sleep 0.05
    done
    port=$(sed 's/.*://' "$work/ready")
}

start
ctl="$bin/krappyctl --broker 127.0.0.1:$port"
$ctl produce --no-progress lines "$input" >"$work/out" 2>"$work/summary" &
producer=$!
for ((i = 0; i < kills; i++)); do
    sleep 0.2
    kill -0 "$producer" 2>/dev/null || break
    kill -9 "$broker"
    wait "$broker" 2>/dev/null || true
    bytes=$(cat "$work"/data/topics/lines/0/*.log | wc -c)
    echo "killed the broker with $bytes bytes in its segments"
    start
done
wait "$producer"
cat "$work/summary"

$ctl consume -o start -e lines >"$work/back"
cmp "$input" "$work/back"
echo "read back $(wc -l <"$work/back") lines, identical"
"$bin/krappy" check "$work/data" >/dev/null
kill "$broker"
wait "$broker"
echo "the data folder checks out; the broker stopped cleanly"
