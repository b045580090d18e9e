#!/usr/bin/env bash
# Writes down which package is in the image in which version; Packer fetches the list.
#
# Before 90-scrub.sh, which takes away apt's lists: with them it can still be said that nothing was
# left behind, that is, held back by what the base image pins.
set -euo pipefail
at=/usr/local/share/wsfleetd-image

install -d "$at"
# shellcheck disable=SC2016 # dpkg-query's own ${...}
dpkg-query --show --showformat='${Package}\t${Version}\t${Architecture}\n' >"$at/packages.txt"
chmod 644 "$at/packages.txt"
wc --lines "$at/packages.txt"

if apt-get --simulate dist-upgrade | grep '^Inst'; then
    echo "these could be newer" >&2
    exit 1
fi
