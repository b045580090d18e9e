# shellcheck shell=bash
# The Debian package: built, examined, and installed on a machine that is booted for it.

PACKAGES=$CARGO_TARGET_DIR/debian

# Built from the release profile with the AWS feature, and packed twice: the same both times.
build_package() {
    local first=$WORK/first second=$WORK/second
    sha256sum --check --quiet packaging/deb/conffiles.sha256
    rm -rf "$PACKAGES" # an old one must not be taken for this one
    # The time is for packing only: ring asks for it too, and with it would be compiled anew, and
    # with ring everything that uses TLS, at every commit.
    env --unset=SOURCE_DATE_EPOCH cargo deb --quiet --locked --fast --output "$WORK/"
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export SOURCE_DATE_EPOCH
    pack "$first"
    pack "$second"
    cmp "$first"/*.deb "$second"/*.deb
    check_package "$first"/*.deb
    mkdir -p "$PACKAGES"
    mv "$first"/* "$PACKAGES/"
    ls -l "$PACKAGES"
}

# pack DIRECTORY: what is built, its debug information beside it.
pack() {
    mkdir -p "$1"
    cargo deb --quiet --no-build --locked --dbgsym --compress-system --output "$1/"
}

# check_package DEB: nothing is wrong with it, and nothing was told to be silent about it.
check_package() {
    lintian --fail-on error,warning "$1"
    if dpkg-deb --contents "$1" | grep /usr/share/lintian/overrides; then
        echo "the package must need no overrides" >&2
        return 1
    fi
}

# The package for the other processor: a second release build, of which nothing is run but its name.
build_arm64() {
    local target=aarch64-unknown-linux-gnu to=$WORK/arm64 deb
    install_debian aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64-static:qemu-user-static
    # Only recommended by the compiler, and no command.
    if [[ ! -e /usr/aarch64-linux-gnu/include/stdint.h ]]; then install_debian headers:libc6-dev-arm64-cross; fi
    rustup target add "$target"
    env --unset=SOURCE_DATE_EPOCH cargo deb --quiet --locked --target "$target" --dbgsym --output "$to/"
    deb=$(echo "$to"/*_arm64.deb)
    check_package "$deb"
    # Cross-built, the libraries may go unnoticed.
    dpkg-deb --field "$deb" Depends | grep --quiet --extended-regexp 'libc6(:arm64)? \(>='
    dpkg-deb --extract "$deb" "$to/tree"
    qemu-aarch64-static -L /usr/aarch64-linux-gnu "$to/tree/usr/sbin/wsfleetd" --version
    ls -l "$to"
}

# make_tree RELEASE: a Debian that boots and nothing more, from the mirror of this machine; kept. What
# a test installs there, which has no network, lies in /opt.
make_tree() {
    local release=$1 tree mirror
    tree=$(tree_of "$release")
    if [[ -e $tree/etc/debian_version && -d $tree/opt/needrestart ]]; then return; fi
    # shellcheck disable=SC2016 # apt's own $(...)
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 !~ /-/ && !found++ { print $3 }')
    as_root rm -rf "$tree" "$tree.new"
    # shellcheck disable=SC2016 # mmdebstrap's shell knows the tree as $1
    as_root mmdebstrap --variant=minbase --include=systemd-sysv,dbus,procps \
        --customize-hook='chroot "$1" apt-get clean' \
        --customize-hook='chroot "$1" apt-get install --yes --download-only --no-install-recommends needrestart' \
        --customize-hook='mkdir "$1/opt/needrestart" && mv "$1"/var/cache/apt/archives/*.deb "$1/opt/needrestart/"' \
        "$release" "$tree.new" "${mirror:-http://deb.debian.org/debian}"
    as_root mv "$tree.new" "$tree"
}

# test_package RELEASE
test_package() {
    local deb
    deb=$(built_package)
    make_tree "$1"
    run_python_tests as_root env WSFLEETD_PREDECESSOR_DEB="$PREDECESSOR/wsfleetd.deb" \
        tests/package/package_test.py "$(tree_of "$1")" "$deb"
}

# The package that build_package has left.
built_package() {
    local debs=("$PACKAGES"/*.deb)
    if [[ ! -e ${debs[0]} ]]; then
        echo "there is no package to test: it could not be built" >&2
        return 1
    fi
    echo "${debs[0]}"
}

# run_python_tests COMMAND...: a program of tests/package/runner.py; what its last line counts is told.
run_python_tests() {
    local status=0
    "$@" 2>&1 | tee "$WORK/python-tests" || status=$?
    # shellcheck disable=SC2046 # two numbers
    counted $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$WORK/python-tests")
    faults unittest "$WORK/python-tests"
    return "$status"
}

tree_of() {
    echo "$CACHE/debian-$1"
}
