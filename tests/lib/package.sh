# shellcheck shell=bash
# The Debian package: built, examined, and installed on a machine that is booted for it.

PACKAGES=$CARGO_TARGET_DIR/debian
TREE=$CACHE/debian-$DEBIAN_RELEASE

# Built from the release profile with the AWS feature, packed twice to see that it is the same.
build_package() {
    local first=$WORK/first second=$WORK/second
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export SOURCE_DATE_EPOCH
    pack "$first"
    pack "$second" --no-build
    cmp "$first"/*.deb "$second"/*.deb
    lintian --fail-on error,warning "$first"/*.deb
    rm -rf "$PACKAGES"
    mkdir -p "$PACKAGES"
    mv "$first"/* "$PACKAGES/"
    ls -l "$PACKAGES"
}

# pack DIRECTORY [OPTION...]
pack() {
    local into=$1
    shift
    mkdir -p "$into"
    cargo deb --locked --dbgsym --compress-system --output "$into/" "$@"
}

# A Debian that boots and nothing more, from the mirror this machine uses; kept in the cache.
make_tree() {
    local mirror
    if [[ -e $TREE/etc/debian_version ]]; then return; fi
    # shellcheck disable=SC2016 # apt's own $(...)
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$DEBIAN_RELEASE" '$1 == "Debian" && $2 == release { print $3; exit }')
    as_root rm -rf "$TREE" "$TREE.new"
    as_root mmdebstrap --variant=minbase --include=systemd-sysv,dbus,procps \
        "$DEBIAN_RELEASE" "$TREE.new" "${mirror:-http://deb.debian.org/debian}"
    as_root mv "$TREE.new" "$TREE"
}

test_package() {
    local status=0 debs=("$PACKAGES"/*.deb)
    as_root tests/package/package_test.py "$TREE" "${debs[0]}" 2>&1 | tee "$WORK/package" || status=$?
    # shellcheck disable=SC2046 # two numbers
    counted $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$WORK/package")
    return "$status"
}
