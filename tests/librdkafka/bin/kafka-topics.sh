#!/usr/bin/env bash
# Kafka's own kafka-topics, in the place in which librdkafka's tests look for it (KAFKA_PATH), from the jars of
# tests/clients/oracle. A JVM takes seconds, so only what insists on the tool gets it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
jars=$CLIENTS_CACHE/oracle-$(sha256sum <"$root/tests/clients/oracle/pom.xml" | cut -c1-16)
[ -e "$jars/complete" ] || "$root/tests/clients/run.sh" --install tools
exec java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.level=OFF -cp "$(printf '%s:' "$jars"/*.jar)" \
    org.apache.kafka.tools.TopicCommand "$@"
