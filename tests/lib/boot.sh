# shellcheck shell=bash
# The image and the package on a real kernel, which systemd-nspawn has not: tests/boot.

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

# Debian 12, with all that EC2's instances have of it.
boot_image() {
    if [[ ! -d $(image_tree) ]]; then
        echo "there is no image to boot: it could not be baked" >&2
        return 1
    fi
    test_boot "$(image_tree)"
}

# boot_debian RELEASE
boot_debian() {
    make_machine "$1"
    test_boot "$(machine_of "$1")"
}

# test_boot TREE
test_boot() {
    local status=0 deb
    deb=$(built_package)
    install_debian qemu-system-x86_64:qemu-system-x86 mke2fs:e2fsprogs
    as_root tests/boot/boot_test.py "$1" "$deb" 2>&1 | tee "$WORK/boot" || status=$?
    grep '^FAILED' "$WORK/boot" >"$WORK/faults" || true
    # shellcheck disable=SC2046 # two numbers
    counted $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$WORK/boot")
    return "$status"
}

machine_of() {
    echo "$CACHE/machine-$1"
}
