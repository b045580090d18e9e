#!/usr/bin/env -S python3 -B
"""The package on a real kernel, from power-on to power-off: what no container can show.

    sudo tests/boot/boot_test.py TREE DEB

TREE is the root of a Debian with a kernel, as make_machine of tests/lib/boot.sh makes it, or of an
image; if it has no package it gets DEB. It is booted once in QEMU, and nothing of this machine is
needed but a processor: not /dev/kvm, no loop device, no network. A new promise of the unit is a line
in effects.py and, if it can be taken away, in weaker.conf.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import traceback

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent / name) for name in ("package", "image")]

from disk import SETTINGS, USER, Disk  # noqa: E402
from effects import differences  # noqa: E402
from facts import DRAINED, PROBE, UNIT, Facts  # noqa: E402
from imds import Imds, instance  # noqa: E402
from machine import Machine  # noqa: E402
from sandbox import ALLOWED, ALLOWED_OUTSIDE, compiled, findings, permitted  # noqa: E402
from shell import CommandFailed  # noqa: E402
from story import ADMIN, API, APP, bearer  # noqa: E402
from unit_file import directives  # noqa: E402
from websocket import WebSocket, get  # noqa: E402

# From power-on until the daemon has told systemd that it serves.
BOOT_SECONDS = 60
DROP_INS = f"/run/systemd/system/{UNIT}.d"
WEAKER = (HERE / "weaker.conf").read_text()
# Drop-ins that wait until they are copied to where they count. The probe's comes last: a weaker
# unit shall run it too.
WEAKER_CONF, PROBE_CONF = "/root/10-weaker.conf", "/root/20-probe.conf"

NOTHING = b"[Service]\nType=oneshot\nExecStart=true\n"
# What an image is told at its first boot.
INSTANCE = instance(1, f"ssh-ed25519 {'A' * 68} nobody")
USER_SETTINGS = "# from the user-data"
USER_DATA = "#cloud-config\n" + json.dumps(
    {"write_files": [{"path": SETTINGS, "permissions": "0640", "content": USER_SETTINGS}]})
ASK_ADMIN = (f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{ADMIN}; "
             r"""printf "GET /healthz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n" >&3; head -n1 <&3'""")


class Checks:
    """Counts what was looked at; all of it is looked at, whatever fails."""

    passed = failed = 0

    def __call__(self, what, wrong=None):
        """`wrong` says what is not as promised; None: nothing."""
        print(f"{'FAILED' if wrong else 'ok':6}  {what}{f': {wrong}' if wrong else ''}", flush=True)
        if wrong:
            self.failed += 1
        else:
            self.passed += 1

    def equal(self, what, expected, found):
        self(what, None if found == expected else f"{found!r}, not {expected!r}")


def main():
    if len(sys.argv) != 3 or os.geteuid() != 0:
        sys.exit("usage (as root): tests/boot/boot_test.py TREE DEB")
    # So that the machine is switched off.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tree, deb = map(pathlib.Path, sys.argv[1:])
    check = Checks()
    with tempfile.TemporaryDirectory(prefix="wsfleetd-boot.") as directory:
        directory = pathlib.Path(directory)
        try:
            disk = Disk(directory, tree, deb, files())
            with metadata(tree) as port, Machine(directory, disk, (APP, API), port) as machine:
                story(machine, check)
            after_power_off(disk, directory, check)
        except Exception as ended:  # the count is told in any case
            traceback.print_exc()
            check("the story goes on", f"{ended}".partition("\n")[0])
    print(f"{check.passed} passed, {check.failed} failed")
    sys.exit(1 if check.failed or not check.passed else 0)


@contextlib.contextmanager
def metadata(tree):
    """An image takes itself for an EC2 instance, and is one here: the port where it is told of what kind."""
    if not (tree / "usr/bin/cloud-init").exists():
        yield None
        return
    with contextlib.closing(Imds(INSTANCE, USER_DATA)) as imds:
        yield imds.listen()


def files():
    """What the stories need inside: name to content."""
    return {
        PROBE: compiled("probe.c"),
        PROBE_CONF: f"[Service]\nExecStartPre={PROBE}\n".encode(),
        WEAKER_CONF: WEAKER.encode(),
        "/etc/systemd/system/cycle-a.service": b"[Unit]\nAfter=cycle-b.service\nWants=cycle-b.service\n" + NOTHING,
        "/etc/systemd/system/cycle-b.service": b"[Unit]\nAfter=cycle-a.service\n" + NOTHING,
        "/home/secret": b"secret",
        "/root/secret": b"secret",
    }


def story(machine, check):
    it_boots(machine, check)
    if machine.metadata:
        it_is_an_instance(machine, check)
    it_serves(machine, check)
    the_kernel_is_set(machine, check)
    try:
        every_directive_is_in_effect(machine, check)
        what_is_taken_away_is_missed(machine, check)
    except CommandFailed as failed:
        failed.add_note(machine.run(f"journalctl --no-pager --lines=30 --unit={UNIT}"))
        raise
    it_goes(machine, check)


def it_boots(machine, check):
    active = machine.wait_for(rf"(Started|Failed to start).*{UNIT}")
    machine.shell.wait(BOOT_SECONDS)
    state = machine.run("systemctl is-system-running --wait", status=None).strip()
    print(f"{machine.run('uname -r').strip()}, {machine.run('systemctl --version').splitlines()[0]}")
    print(f"power-on to {UNIT}: {active:.1f} s; {machine.run('systemd-analyze').splitlines()[0]}")
    check(f"it serves within {BOOT_SECONDS} s of power-on", f"{active:.1f} s" if active > BOOT_SECONDS else None)
    check.equal("the service is active", "active", machine.run(f"systemctl is-active {UNIT}", status=None).strip())
    check.equal("no unit has failed", "running", state if state == "running" else machine.run("systemctl --failed"))
    check.equal("no job was deleted to break a cycle", "", cycles(machine))
    check.equal("control groups are those of version 2", "cgroup2fs",
                machine.run("stat --file-system --format=%T /sys/fs/cgroup").strip())


def it_is_an_instance(machine, check):
    check.equal("its settings are those of the user-data", USER_SETTINGS, machine.run(f"cat {SETTINGS}"))
    check.equal("the daemon has the name of the instance", f"{INSTANCE['instance-id']}:",
                machine.run("wsfleetd status").split()[0])


def it_serves(machine, check):
    for port in (APP, API):
        check.equal(f"/healthz on {port}", 200, get(machine.connect(port), "/healthz"))
    # Of the loopback only, so asked there.
    check.equal(f"/healthz on {ADMIN}", "HTTP/1.1 200 OK", machine.run(ASK_ADMIN).strip())
    check.equal("a message comes back", '"Hey!!"', said_to_oneself(machine))


def the_kernel_is_set(machine, check):
    wanted = re.findall(r"^([a-z0-9._]+) = (.+)$", (ROOT / "packaging/sysctl/50-wsfleetd.conf").read_text(), re.M)
    check("settings of the kernel", None if wanted else "there are none")
    for name, value in wanted:
        check.equal(name, value, machine.run(f"cat /proc/sys/{name.replace('.', '/')}").strip())


def every_directive_is_in_effect(machine, check):
    drop_in(machine, PROBE_CONF)
    facts = Facts(machine)
    for name, wrong in differences(installed_unit(machine), facts).items():
        check(f"{name}=", wrong)
    outside = findings(machine.run(f"runuser -u wsfleetd -- {PROBE}").splitlines())
    check.equal("the probe inside may do what it needs", ALLOWED, permitted(facts.probed))
    check.equal("the probe outside would notice a hole", set(), ALLOWED_OUTSIDE - permitted(outside))


def what_is_taken_away_is_missed(machine, check):
    """No check above is one that cannot fail."""
    drop_in(machine, WEAKER_CONF)
    found = differences(installed_unit(machine), Facts(machine))
    missed = {name for name, wrong in found.items() if wrong}
    taken = set(directives(WEAKER))
    check.equal(f"{len(taken)} directives taken away: none goes unnoticed", set(), taken - missed)
    check.equal("and nothing else is taken for missing", {}, {name: found[name] for name in missed - taken})
    machine.run(f"rm -r {DROP_INS} && systemctl daemon-reload && systemctl restart {UNIT}")
    machine.run("systemctl start cycle-a.service", status=None)
    check("a cycle would be seen", None if cycles(machine) else "there was one")


def it_goes(machine, check):
    connection = WebSocket(machine.connect(APP), headers=bearer(USER))
    pressed = machine.now()
    machine.press_power_button()
    check.equal("who is connected is sent away", 1001, connection.receive()[0])
    connection.abort()
    check.equal("the machine switches itself off", 0, machine.wait_for_end())
    check.equal("nothing fails on the way", "", machine.told(r"\[FAILED\]|\[ TIME \]|(?i:ordering cycle)", pressed))


def after_power_off(disk, directory, check):
    check("the disk was unmounted", None if disk.is_clean() else "e2fsck finds fault with it")
    disk.copy_out("/var/log/journal", directory)
    told = messages(directory / "journal", f"MESSAGE_ID={DRAINED}")
    check("it has drained", None if told and told[-1].startswith("drained: 1 of 1 ") else f"{told}")


def drop_in(machine, file):
    """Puts it beside the unit, until the machine is switched off."""
    machine.run(f"mkdir -p {DROP_INS} && cp {file} {DROP_INS}/ && systemctl daemon-reload")


def cycles(machine):
    """What systemd says of orders that contradict each other: then it leaves somebody out, and goes on."""
    return machine.told("(?i)ordering cycle") + machine.run(
        "journalctl --boot --no-pager _PID=1 | grep --ignore-case 'ordering cycle'", status=None)


def installed_unit(machine):
    return directives(machine.run(f"cat /usr/lib/systemd/system/{UNIT}"))


def said_to_oneself(machine):
    connection = WebSocket(machine.connect(APP), headers=bearer(USER))
    connection.send({"action": "send", "to": USER, "message": "Hey!!"})
    answer = connection.receive()
    connection.abort()
    return answer


def messages(directory, *matches):
    """Of a journal that was copied from somewhere."""
    command = ["journalctl", f"--directory={directory}", "--output=cat", "--no-pager", *matches]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()


if __name__ == "__main__":
    main()
