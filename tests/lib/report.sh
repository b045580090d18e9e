# shellcheck shell=bash
# Steps: each is timed and counted, none stops the others, and the table at the end shows all.

# A step that ends with this could not run and has said why; it is neither passed nor failed.
readonly SKIPPED=77

ROWS=()
PASSED=0
FAILED=0

# step NAME BUDGET COMMAND...: runs the command in a subshell, where the first error ends it.
step() {
    local name=$1 budget=$2 began=$SECONDS status seconds result
    shift 2
    printf '\n=== %s\n' "$name"
    rm -f "$WORK/counts"
    set +e
    (set -e; "$@") </dev/null
    status=$?
    set -e
    seconds=$((SECONDS - began))
    result=$(count "$status")
    read -r PASSED FAILED < "$WORK/totals"
    if ((seconds > budget)); then result+=", over its budget"; fi
    ROWS+=("$(printf '%-18s %8d %8d   %s' "$name" "$seconds" "$budget" "$result")")
}

# Called by a step that is many tests; any other step counts as one.
counted() {
    echo "$1 $2" > "$WORK/counts"
}

# Adds the step that ended with this status to the totals, and says how it went.
count() {
    local status=$1 passed=0 failed=0 result
    if [[ -e $WORK/counts ]]; then read -r passed failed < "$WORK/counts"; fi
    if ((status == SKIPPED)); then
        result="could not run, see above"
    elif ((status == 0)); then
        if [[ ! -e $WORK/counts ]]; then passed=1; fi
        result="ok, $passed passed"
    else
        # It may have failed before, or beside, its tests.
        if ((failed == 0)); then failed=1; fi
        result="FAILED, $passed passed, $failed failed"
    fi
    echo "$((PASSED + passed)) $((FAILED + failed))" > "$WORK/totals"
    echo "$result"
}

# The table, the one plain line, and the exit code of tests/run.
report() {
    printf '\n%-18s %8s %8s   %s\n' step seconds budget result
    printf '%s\n' "${ROWS[@]}"
    printf '%-18s %8d\n\n' total "$SECONDS"
    echo "$PASSED passed, $FAILED failed"
    ((FAILED == 0 && PASSED > 0))
}
