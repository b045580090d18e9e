# shellcheck shell=bash
# Steps: each is timed and counted, none stops the others, and the end shows all: the table, and who
# failed with which words, for whoever sees no more than the last lines.

# A step that ends with this could not run and has said why; it is neither passed nor failed.
readonly SKIPPED=77

# CI shows 150 lines: no more of who failed, and of what they said, than leaves room for the table.
readonly FAULTS_SHOWN=100 WORDS_SHOWN=60
# Of a step that is no test, or whose tests could not be run: the end of what it said.
readonly LAST_WORDS=15

ROWS=()
PASSED=0
FAILED=0

# A pipe has no colours; where somebody watches, they would be missed.
if [[ -t 1 ]]; then export CARGO_TERM_COLOR=always; fi

# step NAME BUDGET COMMAND...: runs the command in a subshell, where the first error ends it.
step() {
    local name=$1 budget=$2 began=$SECONDS status seconds result
    shift 2
    printf '\n=== %s\n' "$name"
    rm -f "$WORK/counts" "$WORK/faults"
    set +e
    (set -e; "$@") </dev/null 2>&1 | tee "$WORK/said"
    status=${PIPESTATUS[0]}
    set -e
    seconds=$((SECONDS - began))
    result=$(count "$status")
    remember "$name" "$status"
    read -r PASSED FAILED < "$WORK/totals"
    if ((seconds > budget)); then result+=", over its budget"; fi
    ROWS+=("$(printf '%-18s %8d %8d   %s' "$name" "$seconds" "$budget" "$result")")
}

# Called by a step that is many tests; any other step counts as one.
counted() {
    echo "$1 $2" > "$WORK/counts"
}

# faults KIND FILE: notes who failed or was flaky, called by a step that is many tests. It must not hide
# that they failed, whatever is in the file.
faults() {
    tests/lib/faults.py "$1" "$2" > "$WORK/faults" || echo "who failed cannot be read from $2"
}

# Adds the faults of the step to those before; without a name of a test, the step's own last words.
remember() {
    local name=$1 status=$2
    if [[ -s $WORK/faults ]]; then sed "s|^[^ ]|$name: &|" "$WORK/faults" >> "$WORK/all-faults"; fi
    if ((status == 0 || status == SKIPPED)) || grep --quiet '^FAILED' "$WORK/faults" 2>/dev/null; then return; fi
    {
        echo "$name: FAILED"
        sed '/[^[:space:]]/!d; s/\x1b\[[0-9;]*[A-Za-z]//g; s/^/    /' "$WORK/said" | tail -n "$LAST_WORDS" | cut -c1-300
    } >> "$WORK/all-faults"
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

# The table, who failed, the one plain line, and the exit code of tests/run.
report() {
    printf '\n%-18s %8s %8s   %s\n' step seconds budget result
    printf '%s\n' "${ROWS[@]}"
    printf '%-18s %8d\n\n' total "$SECONDS"
    if [[ -e $WORK/all-faults ]]; then
        # Every name while there is room; their words as long as they leave some.
        awk -v words="$WORDS_SHOWN" -v all="$FAULTS_SHOWN" \
            '(!/^    / || words-- > 0) && all-- > 0' "$WORK/all-faults"
        echo
    fi
    echo "$PASSED passed, $FAILED failed"
    ((FAILED == 0 && PASSED > 0))
}
