#!/usr/bin/env bash
# Takes away what belongs to this machine or to this build, so that every instance makes its own.
#
# Whatever stays is the same on all instances: a host key that everybody has, a seed that everybody
# starts from. 99-verify.sh looks whether it is all gone; what is added here is added there.
set -euo pipefail
shopt -s nullglob dotglob

# These write when they stop, after this script: they stop now.
systemctl stop systemd-random-seed.service
journalctl --relinquish-var

# Who this machine is. An empty machine-id is filled at the next boot; dbus has a link to it.
truncate --size=0 /etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/hostname /etc/ssh/ssh_host_*
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret

# Whom it has let in, and what they did. The keys that brought Packer here included: it goes on over
# the connection that it has.
for home in /root /home/*; do
    rm -rf "$home"/.ssh "$home"/.aws "$home"/.cache "$home"/.*_history "$home"/.lesshst "$home"/.viminfo \
        "$home"/.wget-hsts "$home"/.sudo_as_admin_successful
done
rm -f /etc/credstore/* /etc/credstore.encrypted/*

# What cloud-init thinks it has done already, and the network that it found.
cloud-init clean --logs --seed
rm -rf /var/lib/cloud/*
rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init* \
    /etc/systemd/network/10-cloud-init-* /var/lib/dhcp/*

# How the image was made.
rm -f /usr/sbin/policy-rc.d
find /etc \( -name '*.dpkg-*' -o -name '*.ucf-*' \) -delete
apt-get clean
rm -rf /var/tmp/*
find /var/lib/apt/lists /var/log -type f -delete
rm -rf /var/log/journal/*
# But for the script that is running, which Packer put there and takes away.
find /tmp -mindepth 1 -maxdepth 1 ! -name 'script_*.sh' -exec rm -rf {} +
sync
