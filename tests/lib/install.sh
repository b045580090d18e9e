# shellcheck shell=bash
# Brings a bare Debian 12 with cargo to where the tests can run. Quick when all is there.

# shellcheck source=tests/lib/versions.sh
source tests/lib/versions.sh

# command:package; a machine may have the command from elsewhere (Node.js from its own archive).
QUICK_PACKAGES=(
    cc:build-essential git:git python3:python3 openssl:openssl curl:curl
    redis-server:redis-server initdb:postgresql haproxy:haproxy node:nodejs npm:npm
)
ALL_PACKAGES=(
    shellcheck:shellcheck man:man-db mandoc:mandoc groff:groff lintian:lintian dpkg-shlibdeps:dpkg-dev xz:xz-utils
    systemd-nspawn:systemd-container mmdebstrap:mmdebstrap nsenter:util-linux
    packer:packer ssh-keygen:openssh-client ip:iproute2
    chromium:chromium chromedriver:chromium-driver faketime:faketime zsh:zsh fish:fish
)

install_for_quick() {
    check_cargo
    install_debian "${QUICK_PACKAGES[@]}"
    install_cargo_tool cargo-nextest "$NEXTEST_VERSION" --no-default-features --features default-no-update
    install_cargo_tool cargo-deny "$CARGO_DENY_VERSION"
    rm -rf "$TOOLS/build"
    install_wscat
}

install_for_all() {
    install_for_quick
    install_debian "${ALL_PACKAGES[@]}"
    # Without its own lzma it uses the xz of the system, which is faster than an unoptimised one.
    install_cargo_tool cargo-deb "$CARGO_DEB_VERSION" --no-default-features --features debug-id
    rm -rf "$TOOLS/build"
    install_moto
}

check_cargo() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(cargo --version 2>/dev/null | awk '{ print $2 }' || true)
    if [[ $(printf '%s\n' "$needed" "${found:-0}" | sort --version-sort | head -n1) != "$needed" ]]; then
        echo "cargo $needed or newer is needed, found: ${found:-none}. Install it with https://rustup.rs" >&2
        return 1
    fi
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        rustup component add rustfmt clippy
    fi
}

install_debian() {
    local pair missing=()
    for pair in "$@"; do
        if ! command -v "${pair%%:*}" >/dev/null; then missing+=("${pair#*:}"); fi
    done
    if ((${#missing[@]} == 0)); then return; fi
    echo "installing from Debian: ${missing[*]}"
    # Debian starts a service when it is installed. The tests start their own, on ports and in
    # directories of their own; the machine shall not have a Redis or PostgreSQL more than before.
    as_root bash -s -- "${missing[@]}" <<'ROOT'
set -euo pipefail
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt_get() { apt-get --quiet --yes -o DPkg::Lock::Timeout=300 "$@" </dev/null; }
apt_get update
apt_get install --no-install-recommends "$@"
ROOT
}

# install_cargo_tool NAME VERSION [OPTION...]: into the cache, unless this version is at hand.
install_cargo_tool() {
    local name=$1 version=$2
    shift 2
    if [[ $("$name" --version 2>/dev/null | awk 'NR == 1 { print $2 }') == "$version" ]]; then return; fi
    # Compiling them is most of the wait on a new machine, and they have little to do here.
    CARGO_TARGET_DIR=$TOOLS/build CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_DEBUG=0 \
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --force --root "$TOOLS" --version "$version" "$@" "$name"
}

# The client of the original application's transcript, with exactly the libraries it was locked to.
install_wscat() {
    local source=tests/lib/wscat at=$TOOLS/wscat
    if [[ -x $TOOLS/bin/wscat ]] && cmp --silent "$source/package-lock.json" "$at/package-lock.json"; then
        return
    fi
    rm -rf "$at" "$TOOLS/bin/wscat"
    mkdir -p "$at"
    cp "$source/package.json" "$source/package-lock.json" "$at/"
    npm ci --prefix "$at" --no-audit --no-fund --ignore-scripts
    ln -s ../wscat/node_modules/.bin/wscat "$TOOLS/bin/wscat"
}

# The AWS of the tests, in Python.
install_moto() {
    local at=$TOOLS/moto-$MOTO_VERSION
    if moto_server --help >/dev/null 2>&1; then return; fi
    # A library of Python, not a command: Debian packs it by itself.
    if ! python3 -c 'import ensurepip' 2>/dev/null; then install_debian ensurepip:python3-venv; fi
    rm -rf "$at"
    python3 -m venv "$at"
    "$at/bin/pip" install --quiet "moto[server]==$MOTO_VERSION"
    ln -sf "$at/bin/moto_server" "$TOOLS/bin/moto_server"
}
