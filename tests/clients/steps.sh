# For clients that are commands: what the shell scripts kcat/kcat.sh and java/tools.sh share. To be sourced.
#
# A scenario is a function `scenario_NAME TOPIC`; any command in it that fails, fails it. They run in the order of the
# file, each in a shell of its own and in an empty folder.

# run_scenarios [NAME...]: those that are named, or all of them.
run_scenarios() {
    local name begun why folder failed=0
    for name in $(sed -n 's/^scenario_\([a-z_]*\)().*/\1/p' "$0"); do
        [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
        [ "$name" != crash ] || [ -n "${BROKER_PID:-}" ] || continue
        begun=$(date +%s%N)
        folder=$(mktemp -d)
        # Not in a condition, where the shell would overlook commands that fail.
        set +e
        why=$(
            cd "$folder" || exit
            exec 2>&1
            set -eE
            trap 'echo "$(basename "${BASH_SOURCE[0]}"):$LINENO: $BASH_COMMAND"' ERR
            "scenario_$name" "$client-$name-$$"
        )
        local status=$?
        set -e
        rm -rf "$folder"
        if [ "$status" -eq 0 ]; then
            printf 'ok %s %d.%d\n' "$name" $((($(date +%s%N) - begun) / 1000000000)) \
                $((($(date +%s%N) - begun) / 100000000 % 10))
        else
            echo "FAIL $name $(tail -n 5 <<<"$why" | tr '\n' ' ' | cut -c1-600)"
            failed=1
        fi
    done
    echo done
    return $failed
}

# must_say TEXT COMMAND...: its output, whatever its exit status, has this text in it.
must_say() {
    local text=$1 output
    shift
    output=$("$@" 2>&1) || true
    [[ $output == *"$text"* ]] || { echo "no '$text' in: $(tail -n 3 <<<"$output" | cut -c1-300)" && return 1; }
}

# equal IS EXPECTED
equal() {
    [ "$1" = "$2" ] || { echo "'${1:0:200}' instead of '${2:0:200}'" && return 1; }
}

# SIGKILL. Whoever started the broker starts it again, on the same port and data.
kill_broker() {
    kill -9 "$(cat "$BROKER_PID")"
}
