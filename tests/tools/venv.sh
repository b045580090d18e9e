#!/bin/sh
# Makes a Python environment for a tool the tests use, and prints its bin directory.
#
#   tests/tools/venv.sh NAME REQUIREMENT...
#
# Kept under ${WSFLEETD_CACHE:-~/.cache/wsfleetd} and made again only when the requirements
# change. Its last file says that it is complete, so that an interrupted run leaves nothing that
# looks done; a lock lets tests that start at once wait for the first.
set -eu

if [ $# -lt 2 ]; then
    echo "usage: $0 NAME REQUIREMENT..." >&2
    exit 64
fi
name=$1
shift
wanted=$(printf '%s\n' "$@")
cache=${WSFLEETD_CACHE:-$HOME/.cache/wsfleetd}
venv=$cache/venv-$name
mkdir -p "$cache"

exec 9>"$venv.lock"
flock 9
if [ "$(cat "$venv/requirements" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    trap 'rm -rf "$venv"' EXIT INT TERM
    python3 -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2
    printf '%s\n' "$wanted" >"$venv/requirements"
    trap - EXIT INT TERM
fi
echo "$venv/bin"
