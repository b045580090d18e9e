#!/usr/bin/env bash
# Says what is wrong with the image; all of it, not only the first. Nothing: it may be published.
#
# It looks for what must not be there, whoever was to take it away. It also runs on an image that is
# not booted, as root: tests/image plants each of these things and wants to see it found.
set -uo pipefail
shopt -s nullglob dotglob
failures=0

fail() {
    printf 'FAIL: %s\n' "$*" >&2
    failures=$((failures + 1))
}

# absent WHAT [PATH...]: nothing may have one of these names.
absent() {
    local what=$1 path
    shift
    for path in "$@"; do
        if [[ -e $path || -L $path ]]; then fail "$what: $path"; fi
    done
}

# silent WHAT COMMAND...: it succeeds and says nothing.
silent() {
    local what=$1 said status=0
    shift
    said=$("$@" 2>&1) || status=$?
    if [[ -n $said || $status -ne 0 ]]; then fail "$what: ${said:-exit code $status}"; fi
}

# Each instance has its own.
absent "ssh host key" /etc/ssh/ssh_host_*
absent "seed of random numbers" /var/lib/systemd/random-seed /boot/efi/loader/random-seed
absent "key of systemd-creds" /var/lib/systemd/credential.secret
absent "name of the build machine" /etc/hostname
absent "state of the daemon" /var/lib/wsfleetd/*
if [[ ! -f /etc/machine-id || -s /etc/machine-id ]]; then fail "machine-id: not an empty file"; fi
if [[ -s /var/lib/dbus/machine-id ]]; then fail "machine-id of dbus: not empty"; fi

# Nobody has a way in, or a secret to find.
for home in /root /home/*; do
    absent "ssh keys" "$home"/.ssh/*
    absent "credentials of AWS" "$home"/.aws
    absent "history" "$home"/.*_history "$home"/.lesshst "$home"/.viminfo
done
absent "credential" /etc/credstore/* /etc/credstore.encrypted/*
absent "users of the build" /etc/wsfleetd/users.csv
# An empty field needs no password; ! and * match none.
# shellcheck disable=SC2016 # awk's own $2
silent "password" awk -F: '$2 !~ /^[!*]/ { print $1 }' /etc/shadow

# It takes its first boot for its first.
absent "state of cloud-init" /var/lib/cloud/*
absent "network of the build machine" /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init* \
    /etc/systemd/network/10-cloud-init-* /var/lib/dhcp/*.lease*

# Nothing of the build.
absent "policy-rc.d, which keeps services from starting" /usr/sbin/policy-rc.d
absent "package" /tmp/*.deb /root/*.deb /home/*/*.deb /var/cache/apt/archives/*.deb
silent "left by dpkg" find /etc \( -name '*.dpkg-*' -o -name '*.ucf-*' \)
silent "log, or list of apt" find /var/log /var/lib/apt/lists -type f

# What is there is whole. Configuration files (c) may differ, for a base image has its own; not ours.
silent "half installed" dpkg --audit
# shellcheck disable=SC2016
silent "not as packed" awk '$2 != "c" || /wsfleetd/' <(dpkg --verify)

# It does what it is for, and nothing at its own time.
is_enabled() { systemctl is-enabled "$1" 2>/dev/null; }
if [[ $(is_enabled wsfleetd.service) != enabled ]]; then fail "wsfleetd.service is not enabled"; fi
for unit in apt-daily.timer apt-daily-upgrade.timer; do
    if [[ $(is_enabled "$unit") != masked ]]; then fail "$unit is not masked"; fi
done
if [[ ! -s /etc/cloud/cloud.cfg.d/95-wsfleetd.cfg ]]; then fail "cloud-init is not told where it is"; fi
if [[ ! -s /usr/local/share/wsfleetd-image/packages.txt ]]; then fail "no list of packages"; fi

if ((failures > 0)); then
    echo "$failures things are wrong with this image" >&2
    exit 1
fi
echo "the image is clean"
