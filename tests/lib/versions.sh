# shellcheck shell=bash disable=SC2034
# The tools that tests/run installs. Every version is pinned here and nowhere else, but for what
# wscat itself needs: tests/lib/wscat/package-lock.json.
NEXTEST_VERSION=0.9.143
CARGO_DENY_VERSION=0.20.2
CARGO_DEB_VERSION=3.8.0
MOTO_VERSION=5.2.5
# The version before this one, by its commit, until there are releases with tags: fleets of both, and
# upgrades from one to the other and back, are tested. Change it when this version is released.
PREDECESSOR_COMMIT=08130030d82be1bab82747df2e33e72d7707086b
