# shellcheck shell=bash
# Where things are kept, what is on the PATH, and what the tier turns on.

CACHE=${WSFLEETD_CACHE:-${HOME:?}/.cache/wsfleetd}
TOOLS=$CACHE/tools
# Outside the clone, so that the next clone finds it. One debug and one release build serve all.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
# A new clone builds our own crates anew anyway. What the compiler remembers of the one before it
# saves nothing, takes gigabytes, and has made it panic ("encountered incremental compilation error").
export CARGO_INCREMENTAL=0
mkdir -p "$TOOLS/bin" "$CARGO_TARGET_DIR"

# Our pinned tools first, then cargo's, then the places that Debian 12 keeps off a user's PATH.
PATH=$TOOLS/bin:${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/sbin:/sbin:/usr/lib/postgresql/15/bin
export PATH

# The same words everywhere: sorting, months and messages of the tools.
export LC_ALL=C.UTF-8 TZ=UTC
# For this run only: logs, counts. Gone at the end.
WORK=$(mktemp -d "${TMPDIR:-/tmp}/wsfleetd-tests.XXXXXX")
trap 'rm -rf "$WORK"' EXIT

# shellcheck disable=SC2034 # tests/lib/checks.sh uses it
CARGO_FEATURES=()
# shellcheck disable=SC2154,SC2034 # tests/run sets the tier
if [[ $tier != quick ]]; then CARGO_FEATURES=(--features aws); fi

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo -- "$@"; fi
}
