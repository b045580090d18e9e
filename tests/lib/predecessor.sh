# shellcheck shell=bash
# The version before this one: a binary for fleets of both, a package for upgrades.

# shellcheck source=tests/lib/versions.sh
source tests/lib/versions.sh

PREDECESSOR=$CACHE/predecessor-$PREDECESSOR_COMMIT

# Kept. Compiled beside this version, in its target directory: its dependencies are the same, so that
# little more than the crate itself is compiled, unoptimized, and without AWS, which would be minutes;
# the next build puts this version's binary back into its place.
build_predecessor() {
    local source=$WORK/predecessor new=$PREDECESSOR.new
    if has_predecessor; then return; fi
    if ! git cat-file -e "$PREDECESSOR_COMMIT^{commit}" 2>/dev/null; then
        echo "This clone has no commit $PREDECESSOR_COMMIT: fleets of two versions, and upgrades, are NOT tested."
        return "$SKIPPED"
    fi
    rm -rf "$new"
    mkdir -p "$source" "$new"
    git archive "$PREDECESSOR_COMMIT" | tar --extract --directory "$source"
    (cd "$source" && cargo build --quiet --locked --bin wsfleetd)
    cp "$CARGO_TARGET_DIR/debug/wsfleetd" "$new/wsfleetd"
    pack_predecessor "$source" "$new"
    rm -rf "$PREDECESSOR"
    mv "$new" "$PREDECESSOR"
    ls -l "$PREDECESSOR"
}

# Whether it was built: a clone without its history cannot.
has_predecessor() {
    [[ -e $PREDECESSOR/wsfleetd.deb ]]
}

# Its number must be the lower one.
pack_predecessor() {
    local source=$1 to=$2
    install -D --strip "$to/wsfleetd" "$source/target/release/wsfleetd"
    (cd "$source" && CARGO_TARGET_DIR=$source/target \
        cargo deb --quiet --no-build --no-strip --locked --fast --deb-version 0.0.9-1 --output "$to/wsfleetd.deb")
}
