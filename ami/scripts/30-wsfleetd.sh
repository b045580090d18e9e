#!/usr/bin/env bash
# Installs the package: enabled, so that it starts with the instance, and not started.
#
# An instance gets its settings from its user-data (config/user-data.example.yaml); the image has
# none, and no secret, so that one image serves every environment.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

apt-get --quiet --yes -o DPkg::Lock::Timeout=300 install --no-install-recommends /tmp/wsfleetd.deb
rm /tmp/wsfleetd.deb

systemctl is-enabled wsfleetd.service
# A daemon that has run once may have made itself a key, which all instances would share.
if [[ $(systemctl show --value --property=ActiveEnterTimestamp wsfleetd.service) ]]; then
    echo "wsfleetd was started while the image was built" >&2
    exit 1
fi
wsfleetd --version
wsfleetd check-config
