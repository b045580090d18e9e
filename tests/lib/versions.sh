# shellcheck shell=bash disable=SC2034
# The tools that tests/run installs. Every version is pinned here and nowhere else, but for what
# wscat itself needs: tests/lib/wscat/package-lock.json.
NEXTEST_VERSION=0.9.143
CARGO_DENY_VERSION=0.20.2
CARGO_DEB_VERSION=3.8.0
MOTO_VERSION=5.2.5
