"""Each directive of the unit, and by what one sees that it is in effect.

An effect is a function of the directive's values and the facts (facts.py), which returns pairs: what
there should be, what there is. Whatever the kernel can be asked, it is asked; where systemd itself
keeps the promise, systemd is. What a directive says stands in the unit only: here is how to look.
A directive without an effect fails the test, so whoever adds one says here how to see it.
"""

import signal

from disk import MARK
from facts import CREDENTIALS
from unit_file import ports, seconds, words

# Descriptors that the daemon keeps for other things than connections (src/daemon.rs,
# SPARE_DESCRIPTORS).
SPARE_DESCRIPTORS = 512
NO_CAPABILITY = "0" * 16
PAGE = 4096
LISTENERS = 3
# Ports and protocols that no directive allows.
FOREIGN = [("tcp", 443), ("tcp", 9999), ("udp", 8080)]
# The probe's words for them.
FAMILIES = {"AF_INET": "inet", "AF_INET6": "inet6", "AF_UNIX": "unix", "AF_NETLINK": "netlink",
            "AF_PACKET": "packet", "AF_VSOCK": "vsock"}

EFFECTS = {}


def effect(*names):
    """Registers a function for these directives; it is given the name too."""
    def register(look):
        EFFECTS.update(dict.fromkeys(names, look))
        return look
    return register


def differences(unit, facts):
    """For each directive of the unit: None, or in words what is not as it says."""
    return {name: _difference(name, values, facts) for name, values in unit.items()}


def _difference(name, values, facts):
    if name not in EFFECTS:
        return "nobody knows how to see its effect: effects.py"
    pairs = EFFECTS[name](name, values, facts)
    wrong = [f"{found!r}, not {expected!r}" for expected, found in pairs if expected != found]
    return "; ".join(wrong) or None


# --- systemd keeps these promises itself

@effect("Description", "Type", "NotifyAccess", "KillMode", "Restart", "RestartPreventExitStatus",
        "RuntimeDirectoryPreserve", "LogRateLimitBurst", "StartLimitBurst", "RemoveIPC", "KeyringMode")
def property_is(name, values, facts):
    yield values[-1], facts.property(name)


@effect("Documentation", "Wants", "After", "WantedBy")
def property_has(name, values, facts):
    # systemd adds what follows from other lines.
    yield set(), set(words(values)) - set(facts.property(name).replace('"', "").split())


@effect("StartLimitIntervalSec", "TimeoutStartSec", "TimeoutStopSec", "RestartSec", "LogRateLimitIntervalSec")
def time_is(name, values, facts):
    yield seconds(values[-1]), seconds(facts.property(name.replace("Sec", "USec")))


@effect("RestartKillSignal")
def signal_is(name, values, facts):
    yield str(int(signal.Signals[values[-1]])), facts.property(name)


@effect("WatchdogSec")
def watchdog(_, values, facts):
    yield seconds(values[-1]), seconds(facts.property("WatchdogUSec"))
    yield f"{seconds(values[-1]) * 1_000_000:.0f}", facts.environment.get("WATCHDOG_USEC")
    yield True, int(facts.property("WatchdogTimestampMonotonic") or 0) > 0  # it is fed


@effect("FileDescriptorStoreMax")
def store(name, values, facts):
    yield values[-1], facts.property(name)
    yield str(LISTENERS), facts.property("NFileDescriptorStore")


@effect("SyslogIdentifier")
def identifier(name, values, facts):
    yield values[-1], facts.property(name)
    yield {values[-1]}, facts.identifiers


# --- what is run, as whom, with what

@effect("ExecStart")
def command(_, values, facts):
    yield values[-1].split(), facts.command


@effect("ExecStartPre")
def settings_are_given_to_the_group_at_a_start(_, values, facts):
    yield "640 root:wsfleetd", facts.given["restart"]


@effect("ExecReload")
def and_at_a_reload(name, values, facts):
    yield "640 root:wsfleetd", facts.given["reload"]
    yield len(values), len(facts.properties(name))


@effect("EnvironmentFile")
def environment(_, values, facts):
    yield [f"{value.removeprefix('-')} (ignore_errors=yes)" for value in values], facts.properties("EnvironmentFiles")
    mark, _, value = MARK.partition("=")
    yield value, facts.environment.get(mark)


@effect("User")
def user(_, values, facts):
    yield [facts.account("passwd", values[-1])] * 4, facts.status["Uid"].split()


@effect("Group")
def group(_, values, facts):
    yield [facts.account("group", values[-1])] * 4, facts.status["Gid"].split()


@effect("UMask")
def umask(_, values, facts):
    yield values[-1], facts.status["Umask"]


@effect("RuntimeDirectory", "RuntimeDirectoryMode", "StateDirectory", "StateDirectoryMode")
def directory(name, values, facts):
    kind, above = ("Runtime", "/run") if name.startswith("Runtime") else ("State", "/var/lib")
    path = f"{above}/{facts.property(f'{kind}Directory')}"
    mode, owner = facts.owner(path).split()
    if name.endswith("Mode"):
        yield int(values[-1], 8), int(mode, 8)
    else:
        yield (f"{above}/{values[-1]}", "wsfleetd:wsfleetd"), (path, owner)


@effect("LoadCredential")
def credentials(_, values, facts):
    given = facts.files("/etc/credstore")
    yield True, bool(given)  # else the next one would say nothing
    yield set(values) & given, facts.files(CREDENTIALS)
    yield CREDENTIALS, facts.environment.get("CREDENTIALS_DIRECTORY")
    # Never on a disk.
    yield True, facts.file_system(CREDENTIALS) in ("ramfs", "tmpfs")


# --- how much of it

@effect("LimitNOFILE")
def descriptors(_, values, facts):
    yield [values[-1]] * 2, facts.limits["Max open files"].split()
    possible = f"for up to {int(values[-1]) - SPARE_DESCRIPTORS} connections"
    yield possible, facts.ready[facts.ready.find("for up to"):]


@effect("LimitCORE")
def core(_, values, facts):
    yield [values[-1]] * 2, facts.limits["Max core file size"].split()


@effect("TasksMax")
def tasks(_, values, facts):
    yield values[-1], facts.group("pids.max")


@effect("MemoryHigh", "MemoryMax")
def memory(name, values, facts):
    share = facts.memory() * int(values[-1].removesuffix("%")) // 100
    limit = facts.group({"MemoryHigh": "memory.high", "MemoryMax": "memory.max"}[name])
    # The kernel counts in pages, and systemd rounds.
    yield True, limit != "max" and abs(int(limit) - share) <= PAGE


@effect("OOMPolicy")
def out_of_memory(name, values, facts):
    yield values[-1], facts.property(name)
    yield "1" if values[-1] == "kill" else "0", facts.group("memory.oom.group")


@effect("OOMScoreAdjust")
def score(_, values, facts):
    yield values[-1], facts.read(f"/proc/{facts.pid}/oom_score_adj").strip()


# --- what it may

@effect("CapabilityBoundingSet")
def bounding(_, values, facts):
    yield ([""], NO_CAPABILITY), (values, facts.status["CapBnd"])


@effect("AmbientCapabilities")
def capabilities(_, values, facts):
    yield [""], values
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        yield NO_CAPABILITY, facts.status[kind]


@effect("NoNewPrivileges")
def privileges(_, values, facts):
    yield values[-1] == "yes", facts.status["NoNewPrivs"] == "1"


@effect("PrivateUsers", "PrivateMounts", "PrivateIPC", "ProtectHostname")
def namespace(name, values, facts):
    kind = {"PrivateUsers": "user", "PrivateMounts": "mnt", "PrivateIPC": "ipc", "ProtectHostname": "uts"}[name]
    yield values[-1] == "yes", kind in facts.own_namespaces


@effect("PrivateDevices")
def devices(_, values, facts):
    yield values[-1] == "yes", facts.file_system("/dev") == "tmpfs"


@effect("DevicePolicy")
def device_policy(name, values, facts):
    yield values[-1], facts.property(name)
    yield True, "not permitted" in facts.reads_disk()


@effect("PrivateTmp")
def temporary(_, values, facts):
    yield values[-1] == "yes", {"/tmp", "/var/tmp"} <= facts.mounts.keys()


@effect("ProtectSystem")
def system(_, values, facts):
    yield values[-1] == "strict", "ro" in facts.options("/")
    yield True, "ro" not in facts.options("/var/lib/wsfleetd")


@effect("ProtectHome")
def home(_, values, facts):
    yield values[-1] == "yes", {"/home", "/root", "/run/user"} <= facts.mounts.keys()
    yield "EACCES", facts.probed["read /home/secret"]


@effect("ProtectProc")
def processes(_, values, facts):
    yield True, f"hidepid={values[-1]}" in facts.options("/proc")


@effect("ProcSubset")
def subset(_, values, facts):
    yield True, f"subset={values[-1]}" in facts.options("/proc")
    yield "ENOENT", facts.probed["read /proc/meminfo"]


@effect("ProtectKernelModules")
def modules(_, values, facts):
    yield values[-1] == "yes", "/usr/lib/modules" in facts.mounts


@effect("ProtectKernelTunables")
def tunables(_, values, facts):
    # systemd 257 leaves /sys itself as it is, and so does ReadOnlyPaths=/sys; root's it is anyway.
    yield values[-1] == "yes", "ro" in facts.options("/sys/kernel/debug")


@effect("ProtectControlGroups")
def control_groups(_, values, facts):
    yield values[-1] == "yes", "ro" in facts.options("/sys/fs/cgroup")


# What they take away needs a capability, which there is none of: a second line, which shows nowhere.
@effect("ProtectClock", "ProtectKernelLogs", "RestrictRealtime")
def second_line(name, values, facts):
    yield values[-1], facts.property(name)
    what = {"ProtectClock": "clock", "ProtectKernelLogs": "read /dev/kmsg",
            "RestrictRealtime": "real-time scheduling"}
    yield True, facts.probed[what[name]] != "yes"


@effect("NoExecPaths")
def execution(_, values, facts):
    yield True, "noexec" in facts.options(values[-1])
    yield "EACCES", facts.probed["run a shell"]


@effect("ExecPaths")
def executables(_, values, facts):
    # Not every machine has all.
    there = [path for path in words(values) if facts.exists(path)]
    yield True, bool(there)
    yield [], [path for path in there if path not in facts.mounts or "noexec" in facts.options(path)]


@effect("SocketBindDeny", "SocketBindAllow")
def binding(name, values, facts):
    # Debian 12's systemd takes the lines and does nothing.
    enforced = "denied" if facts.has("BPF_FRAMEWORK") else "yes"
    if name == "SocketBindDeny":
        yield values, facts.properties(name)
        yield {port: enforced for port in FOREIGN}, {port: facts.binds(*port) for port in FOREIGN}
    else:
        yield {port: "yes" for port in ports(values)}, {port: facts.binds(*port) for port in ports(values)}


# --- which system calls it has

@effect("RestrictAddressFamilies")
def families(_, values, facts):
    allowed = words(values)
    expected = {word: "yes" if family in allowed else "EAFNOSUPPORT" for family, word in FAMILIES.items()}
    yield expected, {word: facts.probed[f"socket {word}"] for word in FAMILIES.values()}


@effect("RestrictNamespaces")
def namespaces(_, values, facts):
    yield "EPERM", facts.probed["new user namespace"]


@effect("RestrictSUIDSGID")
def set_user(_, values, facts):
    yield "EPERM", facts.probed["set-user-id file"]


@effect("LockPersonality")
def personality(_, values, facts):
    yield "EPERM", facts.probed["personality"]


@effect("MemoryDenyWriteExecute")
def executable_memory(_, values, facts):
    for what in ("memory made executable", "memory writable and executable"):
        # By the filter, or by the kernel itself where systemd can ask it to.
        yield True, facts.probed[what] in ("EPERM", "EACCES")


@effect("SystemCallArchitectures")
def architectures(name, values, facts):
    yield values[-1], facts.property(name)
    yield "EFAULT", facts.probed["32-bit system call"]  # killed


@effect("SystemCallFilter", "SystemCallErrorNumber")
def calls(name, values, facts):
    yield "2", facts.status["Seccomp"]
    for what in ("keyring", "io_uring"):
        yield "EPERM", facts.probed[what]
