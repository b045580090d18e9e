"""What the kernel and systemd of a booted machine say about the running service.

Nothing here knows what it should be (effects.py does).
"""

import json
import re

from disk import SETTINGS
from sandbox import findings

UNIT = "wsfleetd.service"
CGROUP = f"/sys/fs/cgroup/system.slice/{UNIT}"
CREDENTIALS = f"/run/credentials/{UNIT}"
# Events of src/telemetry/events.rs.
READY = "0b17cce41d1c49399e413155a93684bd"
DRAINED = "6e6b076643d14cbabd419b1285ad1384"
PROBE = "/usr/lib/wsfleetd-probe"
# Joins the service's control group and does as it is told: what the kernel does to a group, it does
# to root too.
JOIN = f"echo $$ >{CGROUP}/cgroup.procs; exec "
BIND = r"""
use Socket; my ($kind, $port) = @ARGV;
socket(my $s, PF_INET, $kind eq "udp" ? SOCK_DGRAM : SOCK_STREAM, 0) or die $!;
print bind($s, sockaddr_in($port, INADDR_LOOPBACK)) ? "yes" : $!{EPERM} ? "denied" : $!{EADDRINUSE} ? "yes" : $!;
"""


class Facts:
    """Taken when it is made, which restarts the service: what runs before it runs again."""

    def __init__(self, machine):
        self.machine = machine
        self.given = {verb: self._given(verb) for verb in ("restart", "reload")}
        self.shown = {}
        for line in machine.run(f"systemctl show {UNIT}").splitlines():
            name, _, value = line.partition("=")
            self.shown.setdefault(name, []).append(value)
        self.pid = self.property("MainPID")
        self.status = self._table("status", ":")
        self.limits = dict(re.findall(r"^(.+?)  +(\S+ +\S+)", self.read(self._proc("limits")), re.M))
        self.environment = dict(entry.partition("=")[::2] for entry in self._strings("environ"))
        self.command = self._strings("cmdline")
        self.mounts = mounts(self.read(self._proc("mountinfo")))
        self.own_namespaces = self._own_namespaces()
        self.probed, self.identifiers = self._probed()
        self.ready = self.records(f"_PID={self.pid}", f"MESSAGE_ID={READY}")[-1]["MESSAGE"]

    def property(self, name):
        """As systemd shows it; the last, if it is shown more than once."""
        return self.shown.get(name, [""])[-1]

    def properties(self, name):
        return self.shown.get(name, [])

    def read(self, path):
        return self.machine.run(f"tr '\\0' '\\n' <{path}")

    def group(self, name):
        """A file of the service's control group, one line."""
        return self.read(f"{CGROUP}/{name}").strip()

    def memory(self):
        """All of the machine's, in bytes."""
        return int(re.search(r"MemTotal: +(\d+) kB", self.read("/proc/meminfo"))[1]) * 1024

    def owner(self, path):
        """`MODE USER:GROUP`, or that there is no such file."""
        return self.machine.run(f"stat --format='%a %U:%G' {path} 2>&1", status=None).strip()

    def account(self, kind, name):
        """The number of a user (`passwd`) or a group (`group`)."""
        return self.machine.run(f"getent {kind} {name}").split(":")[2]

    def exists(self, path):
        return self.machine.run(f"test -e {path} && echo yes", status=None) != ""

    def options(self, path):
        """Of the file system that the service sees there."""
        return self._mount(path)[1]

    def file_system(self, path):
        """Its kind."""
        return self._mount(path)[0]

    def files(self, directory):
        return set(self.machine.run(f"ls {directory} 2>/dev/null", status=None).split())

    def binds(self, protocol, port):
        """Whether a process of the service's group may bind to a port: yes, or denied."""
        return self.machine.run(f"{JOIN}perl -MErrno -e '{BIND}' {protocol} {port}")

    def reads_disk(self):
        """Whether one may open a device."""
        return self.machine.run(f"{JOIN}dd if=/dev/vda of=/dev/null count=1 2>&1", status=None)

    def records(self, *matches):
        """Of the journal."""
        text = self.machine.run(f"journalctl --output=json --no-pager {' '.join(matches)}")
        return [json.loads(line) for line in text.splitlines()]

    def has(self, feature):
        """Whether systemd was built with it."""
        return f"+{feature}" in self.machine.run("systemctl --version").split()

    def _proc(self, name):
        return f"/proc/{self.pid}/{name}"

    def _strings(self, name):
        return self.read(self._proc(name)).splitlines()

    def _table(self, name, separator):
        rows = (line.partition(separator) for line in self.read(self._proc(name)).splitlines())
        return {key: value.strip() for key, _, value in rows}

    def _own_namespaces(self):
        """Those that it does not share with init."""
        of = {}
        for pid in (self.pid, "1"):
            said = self.machine.run(f"cd /proc/{pid}/ns && for ns in *; do echo $ns $(readlink $ns); done")
            of[pid] = set(said.splitlines())
        return {line.split()[0] for line in of[self.pid] - of["1"]}

    def _mount(self, path):
        above = [place for place in self.mounts if path == place or path.startswith(place.rstrip("/") + "/")]
        return self.mounts[max(above, key=len)]

    def _given(self, verb):
        """Whose a file is that was root's, when the service has started, or reloaded."""
        # For everybody to read: a service that does not mend it shall start all the same.
        self.machine.run(f"chown root:root {SETTINGS} && chmod 644 {SETTINGS} && systemctl {verb} {UNIT}")
        return self.owner(SETTINGS)

    def _probed(self):
        """What the probe that ran before the daemon found, and by what name (tests/package/probe.c)."""
        records = self.records("_COMM=wsfleetd-probe", f"_SYSTEMD_INVOCATION_ID={self.property('InvocationID')}")
        return findings(record["MESSAGE"] for record in records), {record["SYSLOG_IDENTIFIER"] for record in records}


def mounts(text):
    """Each mount point with its file system and all its options; the uppermost wins (proc(5))."""
    found = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split()
        found[before.split()[4]] = (kind, set(before.split()[5].split(",") + options.split(",")))
    return found
