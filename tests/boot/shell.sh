#!/bin/sh
# Runs what comes over the serial line: a command in, its exit code and what it said out, each a line.
# base64, so that no byte of either means anything to the line. Reads and writes the line itself.
stty raw -echo
echo ready
while IFS= read -r line; do
    said=$(sh -c "$(printf '%s' "$line" | base64 --decode)" 2>&1 </dev/null) && status=0 || status=$?
    printf '%s %s\n' "$status" "$(printf '%s' "$said" | base64 --wrap=0)"
done
