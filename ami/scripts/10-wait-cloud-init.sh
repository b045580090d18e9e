#!/usr/bin/env bash
# Waits until cloud-init has done with the build instance.
#
# Until then it writes apt's sources and holds dpkg's lock, now and then: a build that does not wait
# works until it does not.
set -euo pipefail

status=0
timeout 300 cloud-init status --wait || status=$?
# 2: newer versions' word for finished, with something to complain about that is not ours.
if ((status != 0 && status != 2)); then
    cloud-init status --long
    exit 1
fi
