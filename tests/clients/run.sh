#!/usr/bin/env bash
# Real Kafka clients, which nobody here wrote, against a real broker process.
#
#   tests/clients/run.sh --start BINARY [CLIENT...]      starts a broker of its own, and kills it in the middle, too
#   tests/clients/run.sh --broker HOST:PORT [CLIENT...]  uses one that runs; it is not killed
#   tests/clients/run.sh --install [CLIENT...]           only fetches what the clients need
#
# BINARY is started as `BINARY --data-dir DIR --listen 127.0.0.1:PORT` and must print `READY host:port`:
# target/release/krappy, or scripts/kafka-oracle.sh for a real Apache Kafka; BROKER_FLAGS are more words for it. Where
# the broker and not the client says how often members of groups are heard, it is told to be quick about it. Without
# a CLIENT all of them run; a CLIENT may name scenarios, as in `confluent:crash,large`. Those of consumer groups, whose
# names begin with `group`, are the same for all clients: groups/run.py. Each scenario prints `ok CLIENT NAME SECONDS`
# or `FAIL CLIENT NAME REASON`, and the last line is `clients: N passed, M failed`. What the clients need is pinned in
# the folders beside this file and is installed below target/clients (or CLIENTS_CACHE), never globally.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${CLIENTS_CACHE:-$root/target/clients}
export CLIENTS_CACHE=$cache
# In the newer protocol of consumer groups the broker sets the pace.
pace=(--group-consumer-heartbeat-interval-ms 500 --group-consumer-session-timeout-ms 6000)
# Seconds that one client may take.
patience=${CLIENT_SECONDS:-600}

clients=(kcat confluent kafka-python aiokafka kafkajs franz-go sarama java-4.1 java-3.9 tools streams)

main() {
    local binary= broker= install_only=
    while [ $# -gt 0 ]; do
        case $1 in
        --start) binary=$(realpath "$2") && shift 2 ;;
        --broker) broker=$2 && shift 2 ;;
        --install) install_only=yes && shift ;;
        -*) echo "run.sh: unknown option $1" >&2 && exit 64 ;;
        *) break ;;
        esac
    done
    [ -n "$binary$broker$install_only" ] || { sed -n '2,8s/^# \?//p' "$0" >&2 && exit 64; }
    [ $# -eq 0 ] || clients=("$@")
    mkdir -p "$cache"
    for client in "${clients[@]}"; do
        "install_$(folder_of "${client%%:*}")"
        # What puts members of groups through their scenarios is written in Python.
        [ -z "$(puppet_of "${client%%:*}")" ] || install_python
    done
    [ -z "$install_only" ] || return 0

    work=$(mktemp -d)
    trap 'stop_broker; rm -rf "$work"' EXIT
    if [ -n "$binary" ]; then start_broker "$binary"; else export BROKER=$broker; fi
    for client in "${clients[@]}"; do run_client "${client%%:*}" "$(scenarios_of "$client")"; done
    stop_broker
    grep '^FAIL' "$work/results" >&2 || true
    local passed failed
    passed=$(grep -c '^ok' "$work/results" || true)
    failed=$(grep -c '^FAIL' "$work/results" || true)
    echo "clients: $passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# The folder of a client's language.
folder_of() {
    case $1 in
    confluent | kafka-python | aiokafka) echo python ;;
    kafkajs) echo node ;;
    franz-go | sarama) echo go ;;
    kcat) echo kcat ;;
    java-4.1 | tools) echo oracle ;;
    java-3.9) echo java ;;
    streams) echo streams ;;
    *) echo "run.sh: no client $1; there are: ${clients[*]}" >&2 && exit 64 ;;
    esac
}

scenarios_of() {
    [[ $1 != *:* ]] || tr , ' ' <<<"${1#*:}"
}

# The command that runs a client; names of scenarios may follow it.
command_of() {
    case $1 in
    confluent | kafka-python | aiokafka) echo "$(home_of python)/bin/python -B $here/python/with_${1//-/_}.py" ;;
    kafkajs) echo "env NODE_PATH=$(home_of node)/node_modules node $here/node/kafkajs.js" ;;
    franz-go | sarama) echo "$(home_of go)/clients $1" ;;
    kcat) echo "$here/kcat/kcat.sh" ;;
    java-*) echo "$(java_of "$1") Scenarios" ;;
    streams) echo "$(java_of "$1") WordCount" ;;
    tools) echo "env CLASSPATH=$(jars_of oracle) $here/java/tools.sh" ;;
    esac
}

# The command of a process that holds the client's members of consumer groups; nothing if it has none.
puppet_of() {
    case $1 in
    confluent | kafka-python | aiokafka) echo "$(home_of python)/bin/python -B $here/python/puppet_${1//-/_}.py" ;;
    kafkajs) echo "env NODE_PATH=$(home_of node)/node_modules node $here/node/puppet.js" ;;
    franz-go | sarama) echo "$(home_of go)/clients puppet $1" ;;
    kcat) echo "$(home_of python)/bin/python -B $here/kcat/puppet_kcat.py" ;;
    java-*) echo "$(java_of "$1") Puppet" ;;
    esac
}

# Java with what a client needs.
java_of() {
    local folder
    folder=$(folder_of "$1")
    echo "java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.level=OFF" \
        "-cp $(classes_of "$folder"):$(jars_of "$folder")"
}

# A folder of the cache for the pinned versions of a language, new whenever they change.
home_of() {
    local pins=("$here/$1"/{requirements.txt,package-lock.json,go.sum,pom.xml})
    echo "$cache/$1-$(cat "${pins[@]}" 2>/dev/null | sha256sum | cut -c1-16)"
}

install_python() {
    local home
    home=$(home_of python)
    [ ! -e "$home/complete" ] || return 0
    python3 -m venv "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        -r "$here/python/requirements.txt"
    touch "$home/complete"
}

install_node() {
    local home
    home=$(home_of node)
    [ ! -e "$home/complete" ] || return 0
    mkdir -p "$home"
    cp "$here"/node/package{,-lock}.json "$home"
    npm ci --prefix "$home" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
    touch "$home/complete"
}

install_go() {
    local home
    home=$(home_of go)
    # Go itself knows whether there is anything to build.
    (cd "$here/go" && GOFLAGS=-mod=readonly go build -o "$home/clients" .)
}

# From the system: scripts/install-test-deps.sh installs it.
install_kcat() {
    command -v kcat >/dev/null || { echo "run.sh: no kcat: scripts/install-test-deps.sh installs it" >&2 && exit 69; }
}

install_java() {
    install_jars java
}

install_oracle() {
    install_jars oracle
}

install_streams() {
    install_jars streams
}

# The jars of a pom.xml, and the scenarios compiled against them.
install_jars() {
    local home
    home=$(home_of "$1")
    if [ ! -e "$home/complete" ]; then
        mvn -q -B -f "$here/$1/pom.xml" dependency:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$home" >&2
        touch "$home/complete"
    fi
    local classes sources
    classes=$(classes_of "$1")
    sources=$(sources_of "$1")
    [ -e "$classes/complete" ] || javac -nowarn -d "$classes" -cp "$(jars_of "$1")" $sources
    touch "$classes/complete"
}

# The Java programs for a folder of jars.
sources_of() {
    case $1 in
    streams) echo "$here"/streams/*.java ;;
    *) echo "$here"/java/*.java ;;
    esac
}

# Where they are compiled to, new whenever they change.
classes_of() {
    echo "$(home_of "$1")/classes-$(cat $(sources_of "$1") | sha256sum | cut -c1-16)"
}

jars_of() {
    printf '%s:' "$(home_of "$1")"/*.jar
}

# Runs one client: its own program, and its members of groups. Names choose the scenarios, and so which of the two.
run_client() {
    local client=$1 begun=$SECONDS name puppet own=() groups=()
    for name in $2; do
        case $name in
        group* | cells) groups+=("$name") ;;
        *) own+=("$name") ;;
        esac
    done
    puppet=$(puppet_of "$client")
    [ -n "$2" ] && [ ${#own[@]} -eq 0 ] || collect "$client" $(command_of "$client") "${own[@]}"
    [ -n "$2" ] && [ ${#groups[@]} -eq 0 ] || [ -z "$puppet" ] ||
        collect "$client" "$(home_of python)/bin/python" -B "$here/groups/run.py" "$client" "${groups[@]}" -- $puppet
    echo "  $client took $((SECONDS - begun)) s"
}

# collect CLIENT COMMAND...: keeps the command's lines. One that ends without saying that it is done has failed.
collect() {
    local client=$1 line finished=
    shift
    while read -r line; do
        case $line in
        done) finished=yes ;;
        ok\ * | FAIL\ *) echo "${line%% *} $client ${line#* }" | tee -a "$work/results" ;;
        *) echo "$line" >>"$work/$client.err" ;;
        esac
    done < <(timeout --kill-after=10 "$patience" "$@" 2>"$work/$client.err" || true)
    if [ -z "$finished" ]; then
        echo "FAIL $client ended early: $(last_words "$work/$client.err")" | tee -a "$work/results"
    fi
}

supervisor=

# Starts the broker and sees to it that it is started again when a client kills it.
start_broker() {
    export BROKER_PID=$work/broker.pid
    exec {announced}< <(supervise "$1")
    supervisor=$!
    read -r -t 120 BROKER <&"$announced" || { tail "$work/broker.log" >&2 && exit 1; }
    export BROKER
}

# Runs in a process of its own. Prints the address once; a broker that dies of anything but SIGKILL is a failure.
supervise() {
    local binary=$1 address=127.0.0.1:0 word pid status
    while [ ! -e "$work/stopping" ]; do
        exec {output}< <(exec "$binary" --data-dir "$work/data" --listen "$address" "${pace[@]}" \
            ${BROKER_FLAGS:-} 2>>"$work/broker.log")
        pid=$!
        read -r -t 60 word address <&"$output" && [ "$word" = READY ] || { kill -9 "$pid" || true; exit 1; }
        echo "$pid" >"$BROKER_PID.new" && mv "$BROKER_PID.new" "$BROKER_PID"
        echo "$address"
        # It may have been killed, and started again, in the moment in which it is stopped.
        [ ! -e "$work/stopping" ] || kill "$pid" || true
        status=0
        wait "$pid" || status=$?
        exec {output}<&-
        [ "$status" -eq 137 ] || [ -e "$work/stopping" ] ||
            echo "FAIL broker ended with status $status: $(last_words "$work/broker.log")" >>"$work/results"
    done
}

last_words() {
    tail -n 3 "$1" | tr '\n' ' '
}

stop_broker() {
    [ -n "$supervisor" ] || return 0
    touch "$work/stopping"
    [ ! -e "$BROKER_PID" ] || kill "$(cat "$BROKER_PID")" 2>/dev/null || true
    wait "$supervisor" 2>/dev/null || true
    supervisor=
}

main "$@"
