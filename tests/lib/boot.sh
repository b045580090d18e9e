# shellcheck shell=bash
# The package on a real kernel, which systemd-nspawn has not: tests/boot.

# make_machine RELEASE: a Debian with a kernel, and with what a machine has and a container does not
# need; from the mirror of this machine; kept.
make_machine() {
    local release=$1 tree sources
    tree=$(machine_of "$release")
    if [[ -e $tree/etc/debian_version ]]; then return; fi
    mapfile -t sources < <(debian_sources "$release")
    as_root rm -rf "$tree" "$tree.new"
    # shellcheck disable=SC2016 # mmdebstrap's shell knows the tree as $1
    as_root mmdebstrap --variant=minbase \
        --include=systemd-sysv,dbus,procps,udev,kmod,iproute2,linux-image-cloud-amd64 \
        --customize-hook='chroot "$1" apt-get clean' \
        "$release" "$tree.new" "${sources[@]}"
    as_root mv "$tree.new" "$tree"
}

# test_boot RELEASE
test_boot() {
    local status=0 deb tree
    deb=$(built_package)
    install_debian qemu-system-x86_64:qemu-system-x86 mke2fs:e2fsprogs
    make_machine "$1"
    tree=$(machine_of "$1")
    as_root tests/boot/boot_test.py "$tree" "$deb" 2>&1 | tee "$WORK/boot" || status=$?
    grep '^FAILED' "$WORK/boot" >"$WORK/faults" || true
    # shellcheck disable=SC2046 # two numbers
    counted $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$WORK/boot")
    return "$status"
}

machine_of() {
    echo "$CACHE/machine-$1"
}
