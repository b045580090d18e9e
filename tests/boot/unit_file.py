"""What a unit's file says, and the words that systemd shows it in."""

import re

UNITS = {"": 1, "s": 1, "sec": 1, "ms": 0.001, "us": 0.000001, "m": 60, "min": 60, "h": 3600, "d": 86400}


def directives(text):
    """Each name with its values in their order; an empty one takes back those before."""
    found = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def words(values):
    """Of a directive that is a list: all of its lines."""
    return " ".join(values).split()


def seconds(span):
    """`1min 30s`, `30s`, `10min`: what is written and what is shown are spelled differently."""
    parts = re.findall(r"([0-9.]+)\s*([a-z]*)", span)
    return round(sum(float(number) * UNITS[unit] for number, unit in parts), 6)


def ports(values):
    """Of `SocketBindAllow=`: `(protocol, port)`s."""
    found = set()
    for value in words(values):
        protocol, _, span = value.partition(":")
        first, _, last = span.partition("-")
        found |= {(protocol, port) for port in range(int(first), int(last or first) + 1)}
    return found
