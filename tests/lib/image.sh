# shellcheck shell=bash
# The image: baked on this machine by the scripts that make the AMI, and looked at.

IMAGE=$CACHE/image-debian-12
# What Packer keeps of the build: the manifest and the list of packages.
IMAGE_BUILD=$IMAGE.build

# Of Debian's image for EC2, what has to do with us; the rest of it has other tests.
IMAGE_BASE_PACKAGES=systemd-sysv,dbus,procps,iproute2,ifupdown,isc-dhcp-client,openssh-server,sudo
IMAGE_BASE_PACKAGES+=,ca-certificates,cloud-init,unattended-upgrades,linux-image-cloud-amd64,initramfs-tools

# The tree that was baked last, whole and clean, with a kernel in its /boot: for whoever wants to
# boot one. Do not write to it. Where there is no metadata, cloud-init waits a minute for it; with
# cloud-init=disabled on the kernel's command line it does not.
image_tree() {
    echo "$IMAGE"
}

# Always anew, from the package of this run and with what Debian has today.
bake_image() {
    local deb
    deb=$(built_package)
    make_image_base
    as_root rm -rf "$IMAGE_BUILD"
    mkdir -p "$IMAGE_BUILD"
    as_root tests/image/bake.py "$(image_base)" "$deb" "$(image_tree)" "$IMAGE_BUILD"
    cat "$IMAGE_BUILD/manifest.json"
}

test_image() {
    local deb
    deb=$(built_package)
    if [[ ! -d $(image_tree) ]]; then
        echo "there is no image to test: it could not be baked" >&2
        return 1
    fi
    run_python_tests as_root tests/image/image_test.py "$(image_tree)" "$IMAGE_BUILD" "$deb"
}

# What stands for Debian's image for EC2, which cannot be had without an account. Kept.
make_image_base() {
    local tree sources
    tree=$(image_base)
    if [[ -e $tree/etc/debian_version ]]; then return; fi
    mapfile -t sources < <(debian_sources bookworm)
    as_root rm -rf "$tree" "$tree.new"
    # shellcheck disable=SC2016 # mmdebstrap's shell knows the tree as $1
    as_root mmdebstrap --variant=minbase --include="$IMAGE_BASE_PACKAGES" \
        --customize-hook='chroot "$1" apt-get clean' \
        --customize-hook='cp --recursive tests/image/base/. "$1"' \
        bookworm "$tree.new" "${sources[@]}"
    as_root mv "$tree.new" "$tree"
}

image_base() {
    echo "$CACHE/image-base-debian-12"
}

# debian_sources RELEASE: this machine's mirrors of it, its updates and its security, as apt's lines.
debian_sources() {
    local found
    # shellcheck disable=SC2016 # apt's own $(...)
    found=$(apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' 'Component: main' |
        grep --extended-regexp " $1(-updates|-security)? " |
        sort --unique || true)
    echo "${found:-deb http://deb.debian.org/debian $1 main}"
}
