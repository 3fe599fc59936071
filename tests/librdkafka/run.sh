#!/usr/bin/env bash
# librdkafka's own tests of a broker, against a real broker process.
#
#   tests/librdkafka/run.sh --start BINARY [OPTION...] [NUMBER...]      starts a broker of its own for each scenario
#   tests/librdkafka/run.sh --broker HOST:PORT [OPTION...] [NUMBER...]  uses one that runs; it needs num.partitions=4
#   tests/librdkafka/run.sh --install                                   only fetches and builds librdkafka
#
# BINARY is started as `BINARY --data-dir DIR --listen 127.0.0.1:0 --num-partitions 4 --auto-create-topics-enable BOOL`
# and must print `READY host:port`: target/release/krappy, or scripts/kafka-oracle.sh for a real Apache Kafka.
#
# The file `expectations` says what each test is expected to do. Without a NUMBER the tests that it calls short are run,
# with --long all of them. --idempotent gives every producer idempotence (librdkafka's -P); --kafka is for a broker that
# has consumer groups and transactions. --consumer-protocol runs the tests that have members of groups, by the newer
# protocol of groups (group.protocol=consumer), as the file `expectations-consumer` says. Each test prints one line:
#
#   ok librdkafka NAME SECONDS             it ran and passed
#   expected librdkafka NAME NEED: REASON  it failed, and the file says why
#   FAIL librdkafka NAME REASON            it failed, or nothing was run, or it passed though the file says it cannot
#   skip librdkafka NAME REASON            it was not run, or declined to run, as the file says
#
# and the last line is `librdkafka: N passed, M failed, K expected to fail`. What a failed test has said is kept in
# librdkafka-logs. The sources come with a crate that Cargo.lock pins. They are built below target/clients (or
# CLIENTS_CACHE), never globally.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${CLIENTS_CACHE:-$root/target/clients}
export CLIENTS_CACHE=$cache

main() {
    [ $# -gt 0 ] || { sed -n '2,25s/^# \?//p' "$0" >&2 && exit 64; }
    local home
    home=$cache/librdkafka-$({ cat "$here/Cargo.lock" && declare -f build; } | sha256sum | cut -c1-16)
    [ -e "$home/complete" ] || install "$home"
    [ "$1" != --install ] || return 0
    exec python3 -B "$here/judge.py" --librdkafka "$home" --logs "$cache/librdkafka-logs" "$@"
}

# The crate, whose checksum is in Cargo.lock, holds librdkafka with its tests.
install() {
    rm -rf "$1"
    mkdir -p "$1"
    cargo vendor --locked --quiet --manifest-path "$here/Cargo.toml" "$1/crates" >/dev/null
    mv "$1/crates/rdkafka-sys/librdkafka" "$1/source"
    rm -rf "$1/crates"
    (cd "$1/source" && build) >"$1/build.log" 2>&1 ||
        { tail -n 20 "$1/build.log" >&2 && echo "run.sh: librdkafka does not build: see $1/build.log" >&2 && exit 69; }
    find "$1/source" -name '*.[od]' -delete
    touch "$1/complete"
}

# The library, and the program that holds the tests. What no test here needs is left out; zlib, zstd and rapidjson, with
# which a few tests read statistics, are found if the system has them.
build() {
    bash configure --disable-ssl --disable-gssapi --disable-curl --disable-lz4-ext
    make -j"$(nproc)" libs
    make -j"$(nproc)" -C tests test-runner
}

main "$@"
