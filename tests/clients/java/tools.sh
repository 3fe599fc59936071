#!/usr/bin/env bash
# Kafka's command line tools through what each client is put through: see tests/clients/run.sh. CLASSPATH leads to them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
client=tools
source "$here/../steps.sh"

run() {
    timeout 60 java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.level=OFF "$@"
}
tool() {
    local name=$1
    shift
    run "org.apache.kafka.tools.$name" --bootstrap-server "$BROKER" "$@"
}
topics() { tool TopicCommand "$@"; }
configs() { run kafka.admin.ConfigCommand --bootstrap-server "$BROKER" "$@"; }
offsets() { tool GetOffsetShell --topic "$@"; }
groups() { tool consumer.group.ConsumerGroupCommand --group "$@"; }
send() { tool ConsoleProducer --topic "$@"; }
read_all() { tool consumer.ConsoleConsumer --partition 0 --offset earliest --timeout-ms 20000 --topic "$@" 2>err; }

scenario_console() {
    seq 1000 >sent
    send "$1" <sent
    read_all "$1" --max-messages 1000 >back
    cmp sent back
    equal "$(tool consumer.ConsoleConsumer --partition 0 --offset 57 --max-messages 1 --topic "$1" 2>err)" 58
}

scenario_console_codecs() {
    seq 1000 >sent
    for codec in gzip snappy lz4 zstd; do
        send "$1-$codec" --compression-codec "$codec" <sent
        read_all "$1-$codec" --max-messages 1000 >back
        cmp sent back
    done
}

scenario_console_keys() {
    printf 'a:1,b:2\tkey\tvalue\nc:3\tkey\tNULL\n' |
        send "$1" --property parse.key=true --property parse.headers=true --property null.marker=NULL
    read_all "$1" --max-messages 2 --property print.key=true --property print.headers=true >back
    printf 'a:1,b:2\tkey\tvalue\nc:3\tkey\tnull\n' | cmp - back
}

scenario_topics() {
    topics --create --topic "$1" --partitions 3 --config retention.ms=1000000
    topics --list >list
    grep -qx "$1" list
    topics --describe --topic "$1" >described
    grep -q 'PartitionCount: 3.*Configs:.*retention.ms=1000000' described
    equal "$(grep -c 'Leader: 1' described)" 3
    must_say "exists" topics --create --topic "$1"
    topics --alter --topic "$1" --partitions 5
    topics --describe --topic "$1" >described
    grep -q 'PartitionCount: 5' described
    topics --delete --topic "$1"
    must_say "does not exist as expected" topics --describe --topic "$1"
}

scenario_configs() {
    topics --create --topic "$1"
    configs --alter --topic "$1" --add-config 'retention.ms=1234567,cleanup.policy=[compact,delete]'
    configs --describe --topic "$1" >described
    grep -q 'retention.ms=1234567' described
    grep -Eq 'cleanup.policy=(compact,delete|delete,compact)' described
    configs --alter --topic "$1" --delete-config retention.ms
    configs --describe --topic "$1" >described
    ! grep -q 'retention.ms' described
    must_say "InvalidConfigurationException" configs --alter --topic "$1" --add-config retention.ms=soon
    configs --describe --all --topic "$1" >described
    grep -q 'max.message.bytes=1048588' described
}

scenario_get_offsets() {
    topics --create --topic "$1" --partitions 2
    equal "$(offsets "$1")" "$(printf '%s:0:0\n%s:1:0' "$1" "$1")"
    seq 10 | send "$1-one"
    equal "$(offsets "$1-one")" "$1-one:0:10"
    equal "$(offsets "$1-one" --time earliest)" "$1-one:0:0"
    equal "$(offsets "$1-one" --time 0)" "$1-one:0:0"
}

scenario_delete_records() {
    seq 10 | send "$1"
    echo "{\"version\": 1, \"partitions\": [{\"topic\": \"$1\", \"partition\": 0, \"offset\": 4}]}" >wish.json
    must_say "low_watermark: 4" tool DeleteRecordsCommand --offset-json-file wish.json
    equal "$(offsets "$1" --time earliest)" "$1:0:4"
    equal "$(read_all "$1" --max-messages 6)" "$(seq 5 10)"
}

scenario_producer_perf_test() {
    for codec in none lz4; do
        run org.apache.kafka.tools.ProducerPerformance --topic "$1" --num-records 20000 --record-size 100 \
            --throughput -1 --producer-props bootstrap.servers="$BROKER" compression.type="$codec" >report
        grep -q '^20000 records sent, .*99.9th' report
    done
    equal "$(offsets "$1")" "$1:0:40000"
}

scenario_verifiable_producer() {
    tool VerifiableProducer --topic "$1" --max-messages 1000 --acks -1 >report
    grep -q '"sent":1000,"acked":1000' report
}

scenario_looking() {
    seq 10 | send "$1"
    tool BrokerApiVersionsCommand >report
    grep -q 'Produce(0): 0 to ' report
    must_say "Cluster ID" run org.apache.kafka.tools.ClusterTool cluster-id --bootstrap-server "$BROKER"
    tool LogDirsCommand --describe --topic-list "$1" >report
    grep -q "\"partition\":\"$1-0\",\"size\":[1-9]" report
    tool TransactionsCommand describe-producers --topic "$1" --partition 0 >report
    equal "$(sed -n 2p report | awk '{print $4}')" 9
}

# Two console consumers of a group, one after the other, read each line once.
scenario_console_group() {
    seq 100 | send "$1"
    tool consumer.ConsoleConsumer --topic "$1" --group "$1" --from-beginning --max-messages 60 >first 2>err
    tool consumer.ConsoleConsumer --topic "$1" --group "$1" --from-beginning --max-messages 40 >second 2>err
    seq 100 >sent
    cat first second | cmp - sent
}

# What kafka-consumer-groups says of a group with a member and without one.
scenario_consumer_groups() {
    seq 10 | send "$1"
    tool consumer.ConsoleConsumer --topic "$1" --group "$1" --from-beginning \
        --consumer-property auto.commit.interval.ms=100 >lines 2>err &
    local consumer=$!
    until [ "$(wc -l <lines)" -eq 10 ]; do kill -0 "$consumer" && sleep 0.1; done
    sleep 0.3
    tool consumer.group.ConsumerGroupCommand --list >list
    grep -qx "$1" list
    groups "$1" --describe --offsets >described
    equal "$(awk -v topic="$1" '$2 == topic { print $3, $4, $5, $6 }' described)" "0 10 10 0"
    groups "$1" --describe --members --verbose >described
    grep -q " console-consumer *1 .* $1:0 " described
    groups "$1" --describe --state >described
    grep -q 'range *Stable *1' described
    must_say "Stable" groups "$1" --reset-offsets --topic "$1" --to-earliest --execute
    # Its child is what has started Java, and passes on the signal.
    kill "$(pgrep -P "$consumer")"
    wait "$consumer" || true
    must_say "has no active members" groups "$1" --describe --state
}

# kafka-consumer-groups moves the offsets of a group, and takes them and the group away.
scenario_consumer_groups_reset() {
    local begun
    seq 5 | send "$1"
    begun=$(date -u +%Y-%m-%dT%H:%M:%S.%3N)
    seq 6 10 | send "$1"
    tool consumer.ConsoleConsumer --topic "$1" --group "$1" --from-beginning --max-messages 10 >lines 2>err
    equal "$(reset_to "$1" --to-earliest --dry-run)" 0
    equal "$(committed "$1")" 10
    equal "$(reset_to "$1" --to-offset 3 --execute)" 3
    equal "$(reset_to "$1" --shift-by 4 --execute)" 7
    equal "$(reset_to "$1" --to-datetime "$begun" --execute)" 5
    equal "$(committed "$1")" 5
    equal "$(reset_to "$1" --to-latest --execute)" 10
    must_say "Request succeeded" groups "$1" --delete-offsets --topic "$1"
    equal "$(committed "$1")" ""
    equal "$(reset_to "$1" --to-earliest --execute)" 0
    must_say "was successful" groups "$1" --delete
    must_say "GroupIdNotFoundException" groups "$1" --describe
}

# The new offset that the tool tells.
reset_to() {
    groups "$1" --reset-offsets --topic "$@" 2>err | awk -v topic="$1" '$2 == topic { print $4 }'
}

committed() {
    groups "$1" --describe --offsets 2>err | awk -v topic="$1" '$2 == topic { print $4 }'
}

scenario_consumer_perf_test() {
    seq 20000 | send "$1"
    tool ConsumerPerformance --topic "$1" --group "$1" --messages 20000 --timeout 30000 >report
    equal "$(tail -n 1 report | cut -d, -f5 | tr -d ' ')" 20000
}

scenario_verifiable_consumer() {
    seq 100 | send "$1"
    tool VerifiableConsumer --topic "$1" --group-id "$1" --max-messages 100 --reset-policy earliest >report
    grep -q '"name":"offsets_committed","offsets":.*"offset":100.*"success":true' report
    equal "$(committed "$1")" 100
}

# No loss, no duplicate, and order is kept.
scenario_crash() {
    topics --create --topic "$1"
    seq -f 'a line that is long enough for many batches %.0f' 300000 >sent
    send "$1" <sent 2>err &
    local producer=$!
    until grep -q ":[0-9]*[1-9][0-9]*\$" <(offsets "$1"); do kill -0 "$producer"; done
    kill_broker
    wait "$producer"
    read_all "$1" --max-messages 300000 >back
    cmp sent back
    equal "$(offsets "$1")" "$1:0:300000"
}

run_scenarios "$@"
