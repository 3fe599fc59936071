#!/usr/bin/env bash
# A real Apache Kafka that is started and stopped as krappy is, so that whatever starts a krappy can be tried on it:
#
#   scripts/kafka-oracle.sh --data-dir DIR --listen 127.0.0.1:PORT [--SOME-SETTING VALUE...]
#
# Other flags are settings under Kafka's names, written as krappy takes them: --num-partitions 4 is num.partitions=4.
# One node, broker and controller in one, from the jars that tests/clients/oracle/pom.xml pins. Prints `READY host:port`
# when it serves. This process becomes the broker, so its pid is the one to kill. Needs Java 17 and Maven; the jars are
# kept in target/clients (or CLIENTS_CACHE). ORACLE_JAVA is what its Java gets (a small heap).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${CLIENTS_CACHE:-$root/target/clients}
pom=$root/tests/clients/oracle/pom.xml

data=
listen=
settings=()
while [ $# -gt 0 ]; do
    case $1 in
    --data-dir) data=$2 ;;
    --listen) listen=$2 ;;
    --*) name=${1#--} && settings+=("${name//-/.}=${2?no value for $1}") ;;
    *) echo "kafka-oracle: unknown option $1" >&2 && exit 64 ;;
    esac
    shift 2
done
[ -n "$data" ] && [ -n "$listen" ] || { echo "kafka-oracle: --data-dir and --listen are needed" >&2 && exit 64; }

# Two ports that are free now: for the controller, and for clients if they did not ask for one.
free=$(python3 -c 'import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))')
host=${listen%:*}
port=${listen##*:}
[ "$port" != 0 ] || port=${free% *}
controller=127.0.0.1:${free#* }

# Where tests/clients/run.sh puts them, too.
jars=$cache/oracle-$(sha256sum "$pom" | cut -c1-16)
if [ ! -e "$jars/complete" ]; then
    mvn -q -B -f "$pom" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars" >&2
    touch "$jars/complete"
fi
classpath=$(printf '%s:' "$jars"/*.jar)
read -ra options <<<"${ORACLE_JAVA:--Xmx512m -XX:+UseSerialGC}"
java=(java "${options[@]}"
    "-Dlog4j2.configurationFile=$root/tests/clients/oracle/log4j2.properties" -cp "$classpath")

mkdir -p "$data"
cat >"$data/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$controller
listeners=PLAINTEXT://$host:$port,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$host:$port
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$data/logs
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=1
group.consumer.min.session.timeout.ms=1
$(printf '%s\n' "${settings[@]}")
PROPERTIES
if [ ! -e "$data/logs/meta.properties" ]; then
    "${java[@]}" kafka.tools.StorageTool format -t a3JhcHB5LW9yYWNsZS0wMA -c "$data/server.properties" >&2
fi
exec "${java[@]}" kafka.Kafka "$data/server.properties" > >(
    while read -r line; do
        [[ $line != *"Kafka Server started"* ]] || echo "READY $host:$port"
    done
)
