"""How closed the unit is: by systemd's own score, and looked at from inside."""

import pathlib
import subprocess
import tempfile

from story import PackageTest

# systemd-analyze counts in tenths: 1.1 passes, 1.3 does not.
EXPOSURE = 12

PROBE = "/usr/lib/wsfleetd-probe"

# All that the probe may do inside; whatever else it tries is denied.
ALLOWED = {
    "write /var/lib/wsfleetd/probe", "write /run/wsfleetd/probe",
    "write /tmp/probe", "write /dev/shm/probe",  # its own, gone with the service
    "read /etc/wsfleetd/wsfleetd.toml",
    "socket inet", "socket inet6", "socket unix",
}

# What the same user may do outside of the sandbox, on any Debian: the probe would notice a hole.
ALLOWED_OUTSIDE = ALLOWED | {
    "read /home/secret", "read /proc/meminfo", "read /proc/loadavg", "socket netlink", "run a shell",
    "memory made executable", "memory writable and executable", "be traced", "personality",
    "set-user-id file",
}


class Sandbox(PackageTest):

    def test_the_unit_is_correct_and_as_closed_as_measured(self):
        self.assertEqual(
            self.machine.run("systemd-analyze", "verify", "--man=no", "/lib/systemd/system/wsfleetd.service"), "")
        self.machine.run("systemd-analyze", "security", "--no-pager", f"--threshold={EXPOSURE}",
                         "wsfleetd.service")

    def test_the_running_process_has_no_way_out(self):
        self.start()
        status = self.machine.path(f"/proc/{self.main_pid()}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        self.assertEqual({name: facts[name] for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")},
                         {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"})
        user = self.machine.run("id", "--user", "wsfleetd").strip()
        self.assertEqual(facts["Uid"].split(), [user] * 4)
        mounts = self.machine.path(f"/proc/{self.main_pid()}/mounts").read_text()
        options = {line.split()[1]: line.split()[3].split(",") for line in mounts.splitlines()}
        self.assertIn("ro", options["/"])
        for writable in ("/var/lib/wsfleetd", "/run/wsfleetd"):
            self.assertIn("rw", options[writable])

    def test_a_probe_inside_finds_no_way_out(self):
        self.machine.path(PROBE).write_bytes(compiled("probe.c"))
        self.machine.path(PROBE).chmod(0o755)
        for secret in ("/home/secret", "/root/secret"):
            self.machine.write(secret, "secret", mode=0o644)
        self.drop_in(f"ExecStartPre={PROBE}")
        self.start()
        inside = findings(record["MESSAGE"] for record in self.machine.journal()
                          if record.get("_COMM") == "wsfleetd-probe")
        outside = findings(self.machine.run("runuser", "-u", "wsfleetd", "--", PROBE).splitlines())
        self.assertEqual(inside.keys(), outside.keys())
        self.assertEqual(permitted(inside), ALLOWED, inside)
        self.assertLessEqual(ALLOWED_OUTSIDE, permitted(outside), outside)
        self.assertGreaterEqual(len(inside), 40)


def findings(lines):
    """What was tried, and how it went."""
    return dict(line.split(": ") for line in lines)


def permitted(found):
    return {what for what, outcome in found.items() if outcome == "yes"}


def compiled(name):
    """A program of this directory, as the machine can run it."""
    source = pathlib.Path(__file__).with_name(name)
    with tempfile.TemporaryDirectory() as directory:
        program = pathlib.Path(directory) / "program"
        # Old glibc, new glibc: it needs neither.
        subprocess.run(["cc", "-O1", "-Wall", "-static", "-o", program, source], check=True)
        return program.read_bytes()
