# shellcheck shell=bash
# The checks of the source, and the test suite.

check_format() {
    cargo fmt --all --check
}

check_lints() {
    cargo clippy --locked --workspace --all-targets "${CARGO_FEATURES[@]}" -- --deny warnings
}

check_licences() {
    cargo deny --locked check bans licenses sources
}

# Known vulnerabilities come from a database on GitHub; without it there is nothing to check.
check_advisories() {
    if ! timeout 50 cargo deny --locked fetch db >"$WORK/advisories" 2>&1; then
        grep --max-count=1 ERROR "$WORK/advisories" || true
        echo "The advisory database cannot be reached: known vulnerabilities were NOT looked for."
        return "$SKIPPED"
    fi
    cargo deny --locked check --disable-fetch advisories
}

run_suite() {
    nextest default
}

# The tests marked #[ignore = "long: ..."], which take minutes.
run_long_suites() {
    local all=()
    if ! has_predecessor; then all=(--filterset 'not test(/^versions::/)'); fi
    WSFLEETD_TEST_PREDECESSOR=$PREDECESSOR/wsfleetd nextest long --run-ignored only "${all[@]}"
}

# Everything that may happen within bounds (tests/model/README.md).
run_model() {
    local CARGO_FEATURES=()
    nextest model --package wsfleetd-model --run-ignored all
}

# Bounds that cannot be explored to the end: ten minutes at most, 4 GiB at most.
soak_model() {
    local CARGO_FEATURES=()
    nextest model --package wsfleetd-model --run-ignored only --ignore-default-filter \
        --expression 'test(=wide)'
}

# The stories of a fleet that is being broken, and the bugs planted in it, which must be found.
run_broken_fleets() {
    nextest chaos --run-ignored only
}

# What the whole of tests/run --all may take, a random run at most and at least, and what one takes
# beside its minutes: its start, the last recovery, the end.
readonly ALL_SECONDS=3600 RANDOM_MOST=240 RANDOM_LEAST=60 RANDOM_BESIDE=50

# run_random_faults RUNS_LEFT: as long as the hour allows, this run's share of it.
run_random_faults() {
    local share=$(((ALL_SECONDS - SECONDS) / $1 - RANDOM_BESIDE)) seconds=$RANDOM_MOST
    if ((share < seconds)); then
        seconds=$((share > RANDOM_LEAST ? share : RANDOM_LEAST))
        echo "The tier has $((ALL_SECONDS - SECONDS)) s left: this run is cut from $RANDOM_MOST to $seconds s."
    fi
    random_faults "$seconds"
}

# Of the binary that was packed.
soak_connections() {
    tests/soak/connections.py "${CARGO_TARGET_DIR:-target}/release/wsfleetd"
}

soak_random_faults() {
    random_faults 3600 --retries 0
}

# random_faults SECONDS [OPTION...]
random_faults() {
    local minutes seconds=$1
    shift
    minutes=$(awk -v seconds="$seconds" 'BEGIN { printf "%.2f", seconds / 60 }')
    WSFLEETD_CHAOS_MINUTES=$minutes nextest random --run-ignored only --success-output final "$@"
}

# nextest PROFILE [OPTION...]: counts from the report it writes, also if a test has failed.
nextest() {
    local profile=$1 status=0 junit
    shift
    junit=target/nextest/$profile/junit.xml # nextest keeps its reports in the clone
    rm -f "$junit"
    cargo nextest run --locked --profile "$profile" "${CARGO_FEATURES[@]}" "$@" || status=$?
    if [[ -e $junit ]]; then
        # shellcheck disable=SC2046 # two numbers
        counted $(junit_counts "$junit")
        faults junit "$junit"
    fi
    return "$status"
}

junit_counts() {
    sed -n 's/^<testsuites .*tests="\([0-9]*\)".*failures="\([0-9]*\)".*errors="\([0-9]*\)".*/\1 \2 \3/p' "$1" |
        awk '{ print $1 - $2 - $3, $2 + $3 }'
}

run_doc_tests() {
    local status=0
    cargo test --locked --doc "${CARGO_FEATURES[@]}" 2>&1 | tee "$WORK/doc-tests" || status=$?
    # shellcheck disable=SC2046 # two numbers
    counted $(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p' "$WORK/doc-tests" |
        awk '{ passed += $1; failed += $2 } END { print passed + 0, failed + 0 }')
    return "$status"
}

# The scripts of the tests, of the package and of the image, the completions, and the manual pages.
check_scripts() {
    shellcheck --external-sources tests/run .ci/run tests/lib/*.sh tests/boot/*.sh packaging/deb/postrm ami/scripts/*.sh
    bash -n packaging/completions/wsfleetd.bash
    zsh -n packaging/completions/_wsfleetd
    fish --no-execute packaging/completions/wsfleetd.fish
    # Two readers, for each minds what the other passes over.
    mandoc -Tlint -Wwarning packaging/man/*
    local warnings
    warnings=$(for page in packaging/man/*; do man --warnings --local-file "$page"; done 2>&1 >/dev/null)
    if [[ -n $warnings ]]; then echo "$warnings"; return 1; fi
}
