#!/usr/bin/env bash
# Brings Debian up to date and makes it the system of an instance that is replaced, never patched.
#
# What upgrades itself at its own time restarts things at its own time, on all instances of a fleet
# in the same hour. Here an upgrade is a new image.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt_get() { apt-get --quiet --yes -o DPkg::Lock::Timeout=300 "$@"; }

# Packages start their services when they are installed. What an instance makes of itself at its
# start, keys and ids, must not be made here. 90-scrub.sh takes this away.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

systemctl mask --now apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service
# By itself apt takes a mirror that it cannot reach for one that has nothing new.
apt_get -o APT::Update::Error-Mode=any update
# A file that the base image has changed stays as it is; nobody is there to be asked.
apt_get -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold dist-upgrade
apt_get purge --autoremove unattended-upgrades

# The last of the files that say so. Other clouds are not looked for, which saves their time, and
# EC2's metadata is waited for half as long as usual: the daemon starts after that, in any case.
# Nobody logs in with a password.
cat >/etc/cloud/cloud.cfg.d/95-wsfleetd.cfg <<'CFG'
# Written by ami/scripts/20-base.sh of wsfleetd.
datasource_list: [ Ec2, None ]
datasource:
  Ec2:
    timeout: 5
    max_wait: 60
ssh_pwauth: false
CFG
