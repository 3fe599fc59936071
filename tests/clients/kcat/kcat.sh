#!/usr/bin/env bash
# kcat, on whatever librdkafka the system has, through what each client is put through: see tests/clients/run.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
client=kcat
source "$here/../steps.sh"

send() { timeout 60 kcat -b "$BROKER" -P -t "$@"; }
# The whole of partition 0, unless options say otherwise.
read_all() { timeout 60 kcat -b "$BROKER" -C -q -e -o beginning -p 0 -t "$@"; }
# The answer to -Q is `topic [0] offset 7`.
offset() { timeout 60 kcat -b "$BROKER" -Q -t "$1:0:$2" | sed 's/.* //'; }

# What the library does by default today, into a topic that the first record makes.
scenario_defaults() {
    seq 1000 >sent
    send "$1" <sent
    read_all "$1" >back
    cmp sent back
}

scenario_codecs() {
    seq 5000 >sent
    for codec in gzip snappy lz4 zstd; do
        send "$1-$codec" -z "$codec" <sent
        read_all "$1-$codec" >back
        cmp sent back
    done
}

# Null is not empty: -Z sends what is empty as null, and a size of -1 is null.
scenario_shapes() {
    printf 'key:value\n:value\nkey:\n:\n' >sent
    send "$1" -K: -H first=1 -H second=2 <sent
    send "$1" -K: -Z <sent
    read_all "$1" -f '%K %k %S %s %h\n' >back
    printf '%s\n' '3 key 5 value first=1,second=2' '0  5 value first=1,second=2' '3 key 0  first=1,second=2' \
        '0  0  first=1,second=2' '3 key 5 value ' '-1  5 value ' '3 key -1  ' '-1  -1  ' >expected
    diff back expected
}

scenario_seek_by_offset() {
    seq 0 99 | send "$1"
    equal "$(read_all "$1" -o 57 -c 1)" 57
    equal "$(read_all "$1" -o -3)" "$(seq 97 99)"
}

scenario_seek_by_time() {
    echo first | send "$1"
    local second
    # The time of the broker's last record, and one that is later.
    second=$(($(read_all "$1" -f '%T\n') + 1))
    until [ "$(date +%s%3N)" -gt "$second" ]; do :; done
    echo second | send "$1"
    equal "$(read_all "$1" -o "s@$second")" second
    equal "$(offset "$1" "$second")" 1
}

scenario_list_offsets() {
    seq 7 | send "$1"
    equal "$(offset "$1" -2)" 0
    equal "$(offset "$1" -1)" 7
}

scenario_large() {
    head -c 900000 /dev/urandom >sent
    send "$1" sent
    read_all "$1" -f '%s' >back
    cmp sent back
}

scenario_too_large() {
    head -c 1500000 /dev/urandom >sent
    must_say "Message size too large" send "$1" -X message.max.bytes=2000000 sent
    echo small | send "$1"
    equal "$(read_all "$1")" small
}

scenario_metadata() {
    echo one | send "$1"
    must_say "topic \"$1\" with 1 partitions" kcat -b "$BROKER" -L -t "$1"
    must_say "$BROKER" kcat -b "$BROKER" -L
    kcat -b "$BROKER" -L -J -t "$1" | grep -q '"partition":0,"leader":[0-9]'
}

scenario_unknown_topic() {
    must_say "Unknown topic or partition" kcat -b "$BROKER" -C -e -p 0 -o beginning -t "$1" \
        -X allow.auto.create.topics=false
}

scenario_idempotent() {
    seq 20000 >sent
    send "$1" -X enable.idempotence=true <sent
    read_all "$1" >back
    cmp sent back
}

# No loss, no duplicate, and order is kept. Without -E the tool ends when no broker is left.
scenario_crash() {
    seq -f 'a line that is long enough for many batches %.0f' 300000 >sent
    echo first >first
    send "$1" <first
    send "$1" -E -X enable.idempotence=true -X batch.num.messages=1000 -X linger.ms=0 <sent &
    local producer=$!
    until [ "$(offset "$1" -1)" -gt 1000 ]; do kill -0 "$producer"; done
    kill_broker
    wait "$producer"
    read_all "$1" >back
    cat first sent | cmp - back
}

run_scenarios "$@"
