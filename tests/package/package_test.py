#!/usr/bin/env -S python3 -B
"""The .deb on a real Debian under a real systemd: what an administrator does, and what they see.

    sudo tests/package/package_test.py TREE DEB [Class.test ...]

TREE is the root of a Debian as make_tree of tests/lib/package.sh makes it, DEB the package. Every test boots a fresh
machine, so a test may break what it likes. A new promise of the unit, the maintainer scripts or
the journal gets its test here.
"""

import os
import pathlib
import re
import signal
import sys
import time
import unittest

from container import Container
from websocket import Refused, WebSocket, get, token

TREE, DEB = None, None

# The key that the daemon makes for itself when it was given none.
OWN_KEY = "/var/lib/wsfleetd/auth-secret"
GIVEN_KEY = b"a key that every instance of the fleet has\n"
APP, API, ADMIN = 8080, 8081, 9180

# From SIGTERM to gone. drain.stop_timeout is 10 s; one connection needs a fraction of it.
STOP_SECONDS = 10
# systemd-analyze counts in tenths: 1.1 passes, 1.3 does not.
EXPOSURE = 12


class PackageTest(unittest.TestCase):
    """A machine with the package installed, and the sentences that the stories below are told in."""

    def setUp(self):
        self.machine = Container(TREE)
        self.addCleanup(self.machine.close)
        self.before = files_of(self.machine)
        self.install()

    def install(self):
        self.machine.path("/root/wsfleetd.deb").write_bytes(pathlib.Path(DEB).read_bytes())
        self.machine.run("apt-get", "install", "--yes", "--reinstall", "/root/wsfleetd.deb")

    def configure(self, text="", key=GIVEN_KEY, users=("Sunil",)):
        """Settings, key and users of an instance of a fleet; all files as root leaves them."""
        self.machine.write("/etc/wsfleetd/conf.d/50-test.toml", text)
        self.machine.write("/etc/credstore/wsfleetd.auth-secret", key, mode=0o400)
        for user in users:
            self.add_user(user)

    def add_user(self, name):
        self.machine.run("wsfleetd", "users", "add", name, "--config", "/etc/wsfleetd/wsfleetd.toml")

    def start(self, status=0):
        try:
            self.machine.run("systemctl", "start", "wsfleetd", status=status)
        except AssertionError as error:
            error.add_note(self.machine.run("journalctl", "--no-pager", "--unit=wsfleetd"))
            raise

    def connect(self, user, key=GIVEN_KEY, path="/ws", port=APP):
        headers = {"Authorization": f"Bearer {token(user, key)}"}
        connection = WebSocket(self.machine.connect(port), path, headers)
        self.addCleanup(connection.abort)
        return connection

    def assert_talks(self, connection, user):
        """A message to oneself comes back as the JSON text of its value."""
        connection.send({"action": "send", "to": user, "message": "Hey!!"})
        self.assertEqual(connection.receive(), '"Hey!!"')

    def assert_state(self, **expected):
        actual = {name: self.machine.property(name) for name in expected}
        self.assertEqual(actual, expected, self.machine.run("systemctl", "status", "wsfleetd", status=None))

    def main_pid(self):
        return int(self.machine.property("MainPID"))

    def messages(self, *options):
        return [record["MESSAGE"] for record in self.machine.journal(*options)]

    def eventually(self, look, what, seconds=20):
        deadline = time.monotonic() + seconds
        while not look():
            self.assertLess(time.monotonic(), deadline, f"not within {seconds} s: {what}")
            time.sleep(0.1)


class Install(PackageTest):

    def test_installing_makes_a_user_and_its_directories_and_starts_nothing(self):
        self.assertEqual(self.machine.run("systemctl", "is-enabled", "wsfleetd").strip(), "enabled")
        self.assert_state(ActiveState="inactive", LoadState="loaded")
        self.assertRegex(self.machine.run("getent", "passwd", "wsfleetd"),
                         r"^wsfleetd:x:\d{3}:\d{3}:WebSocket fleet daemon:/var/lib/wsfleetd:/usr/sbin/nologin$")
        self.assertEqual(
            self.machine.run("stat", "--format=%n %a %U:%G", "/etc/wsfleetd", "/etc/wsfleetd/conf.d",
                             "/etc/wsfleetd/wsfleetd.toml").splitlines(),
            ["/etc/wsfleetd 755 root:root", "/etc/wsfleetd/conf.d 750 root:wsfleetd",
             "/etc/wsfleetd/wsfleetd.toml 644 root:root"],
        )
        self.assertEqual(self.machine.run("dpkg", "--verify", "wsfleetd"), "")

    def test_an_upgrade_keeps_the_settings_asks_nothing_and_restarts_only_what_runs(self):
        self.configure("# mine\n")
        self.install()
        self.assert_state(ActiveState="inactive")
        self.start()
        pid = self.main_pid()
        self.install()
        self.assert_state(ActiveState="active", NRestarts="0")
        self.assertNotEqual(self.main_pid(), pid)
        self.assertEqual(self.machine.path("/etc/wsfleetd/conf.d/50-test.toml").read_text(), "# mine\n")
        self.assertEqual(self.machine.run("find", "/etc", "-name", "*.dpkg-*"), "")

    def test_removing_stops_it_and_purging_leaves_only_the_user(self):
        self.configure()
        self.start()
        self.machine.run("apt-get", "remove", "--yes", "wsfleetd")
        self.assert_state(ActiveState="inactive", Result="success")
        self.assertTrue(self.machine.path("/etc/wsfleetd/conf.d/50-test.toml").exists())
        self.machine.run("apt-get", "purge", "--yes", "wsfleetd")
        # The key and, on Debian 12, its directory were put there by this test, not by the package.
        self.assertEqual(files_of(self.machine) - self.before - {"/etc/credstore"},
                         {"/etc/credstore/wsfleetd.auth-secret"})
        self.assertIn("wsfleetd", self.machine.run("getent", "passwd", "wsfleetd"))

    def test_the_manual_page_and_the_binary_name_the_same_subcommands(self):
        page = self.machine.run("zcat", "/usr/share/man/man8/wsfleetd.8.gz")
        section = page.split(".SH SUBCOMMANDS")[1].split(".SH")[0]
        names = re.findall(r'^\.SS "wsfleetd ([a-z\\ -]+)"$', section, re.M)
        self.assertEqual(len(names), section.count(".SS"), names)
        self.assertEqual([name.replace("\\", "") for name in names], self.subcommands())

    def subcommands(self, *above):
        """What --help says can be run, the groups of subcommands opened."""
        said = self.machine.run("wsfleetd", *above, "--help")
        if "\nCommands:\n" not in said:
            return [" ".join(above)]
        commands = said.split("\nCommands:\n")[1].split("\n\n")[0]
        names = re.findall(r"^  ([a-z-]+)", commands, re.M)
        return [leaf for name in names if name != "help" for leaf in self.subcommands(*above, name)]

    def test_bash_completes_its_subcommands(self):
        offered = self.machine.run("bash", "-c", "source /usr/share/bash-completion/completions/wsfleetd; "
                                   "COMP_WORDS=(wsfleetd users pass); COMP_CWORD=2; "
                                   "_wsfleetd wsfleetd pass users; echo ${COMPREPLY[@]}")
        self.assertEqual(offered, "passwd\n")


class Service(PackageTest):

    def test_a_fresh_package_serves_its_first_user_with_a_key_of_its_own(self):
        self.start()
        self.assert_state(ActiveState="active", SubState="running", Type="notify", NRestarts="0")
        for port, path in [(APP, "/healthz"), (API, "/api/healthz"), (ADMIN, "/readyz")]:
            self.assertEqual(get(self.machine.connect(port), path), 200, f"{port}{path}")
        self.add_user("Sunil")
        self.machine.run("systemctl", "reload", "wsfleetd")
        key = self.machine.path(OWN_KEY)
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        self.assert_talks(self.connect("Sunil", key.read_bytes()), "Sunil")
        for user, secret in [("Sunil", GIVEN_KEY), ("Nobody", key.read_bytes())]:
            with self.assertRaises(Refused) as refused:
                self.connect(user, secret)
            self.assertEqual(refused.exception.status, 401)

    def test_it_reads_conf_d_and_the_credential_as_root_wrote_them(self):
        self.configure('[websocket]\npaths = ["/chat"]\n')
        self.start()
        self.assert_talks(self.connect("Sunil", path="/chat"), "Sunil")
        with self.assertRaises(Refused) as refused:
            self.connect("Sunil", path="/ws")
        self.assertEqual(refused.exception.status, 404)
        self.assertFalse(self.machine.path(OWN_KEY).exists())

    def test_stopping_says_goodbye_and_ends_well(self):
        self.configure()
        self.start()
        connection = self.connect("Sunil")
        began = time.monotonic()
        self.machine.run("systemctl", "stop", "--no-block", "wsfleetd")
        self.assertEqual(connection.receive()[0], 1001)
        self.eventually(lambda: self.machine.property("ActiveState") == "inactive", "stopped")
        self.assertLess(time.monotonic() - began, STOP_SECONDS)
        self.assert_state(Result="success", ExecMainStatus="0", ExecMainCode="1")
        with self.assertRaises(ConnectionRefusedError):
            self.machine.connect(APP)

    def test_restarting_says_goodbye_and_serves_again(self):
        self.configure()
        self.start()
        connection, pid = self.connect("Sunil"), self.main_pid()
        self.machine.run("systemctl", "restart", "--no-block", "wsfleetd")
        self.assertEqual(connection.receive()[0], 1001)
        self.eventually(lambda: self.main_pid() not in (0, pid), "a new process")
        self.eventually(lambda: self.machine.property("ActiveState") == "active", "active")
        self.assert_state(Result="success", NRestarts="0")
        self.assert_talks(self.connect("Sunil"), "Sunil")

    def test_a_crash_is_repaired(self):
        self.configure()
        self.start()
        self.machine.run("kill", "-KILL", str(self.main_pid()))
        self.eventually(lambda: self.machine.property("NRestarts") == "1", "restarted")
        self.eventually(lambda: self.machine.property("ActiveState") == "active", "active")
        self.assert_talks(self.connect("Sunil"), "Sunil")

    def test_the_watchdog_is_fed_and_a_frozen_daemon_is_replaced(self):
        self.machine.write("/etc/systemd/system/wsfleetd.service.d/test.conf",
                           "[Service]\nWatchdogSec=3s\n", mode=0o644)
        self.machine.run("systemctl", "daemon-reload")
        self.configure()
        self.start()
        pid = self.main_pid()
        time.sleep(8)
        self.assertEqual(self.main_pid(), pid, "alive after more than two limits")
        self.machine.run("kill", "-STOP", str(pid))
        self.eventually(lambda: self.machine.property("NRestarts") == "1", "replaced")
        self.eventually(lambda: self.machine.property("ActiveState") == "active", "active")
        self.assertNotEqual(self.main_pid(), pid)

    def test_a_bad_configuration_is_refused_once_and_says_why(self):
        self.configure()
        self.configure("[websocket]\nping_intervall = \"25s\"\n", users=())
        self.start(status=1)
        self.eventually(lambda: self.machine.property("ActiveState") == "failed", "failed")
        time.sleep(3)  # longer than RestartSec
        self.assert_state(ActiveState="failed", ExecMainStatus="78", NRestarts="0")
        told = [text for text in self.messages("--priority=err") if "ping_intervall" in text]
        self.assertTrue(told and "50-test.toml" in told[0], self.messages())

    def test_a_reload_takes_a_good_configuration_and_refuses_a_bad_one(self):
        self.configure()
        self.start()
        connection, pid = self.connect("Sunil"), self.main_pid()
        self.machine.run("systemctl", "reload", "wsfleetd")
        self.machine.write("/etc/wsfleetd/conf.d/60-bad.toml", "[websocket]\nping_intervall = 1\n")
        self.machine.run("systemctl", "reload", "wsfleetd", status=1)
        self.assert_state(ActiveState="active", MainPID=str(pid), NRestarts="0")
        self.assert_talks(connection, "Sunil")


class Journal(PackageTest):

    def test_status_says_in_words_what_the_daemon_is_doing(self):
        self.configure()
        self.start()
        status = self.machine.run("systemctl", "status", "wsfleetd")
        self.assertRegex(status, r"Status: \"\S.*\"")
        self.assertIn("man:wsfleetd(8)", status)

    def test_records_read_well_and_carry_their_facts_as_fields(self):
        self.configure()
        self.start()
        self.connect("Sunil").abort()
        self.machine.run("systemctl", "stop", "wsfleetd")
        own = [r for r in self.machine.journal() if r.get("_COMM") == "wsfleetd"]
        self.assertGreaterEqual(len(own), 2, "it says at least that it is ready, and that it stopped")
        for record in own:
            self.assertEqual(record["SYSLOG_IDENTIFIER"], "wsfleetd")
            # journald hands out a text with control characters (colours) as a list of bytes.
            self.assertIsInstance(record["MESSAGE"], str)
            self.assertNotRegex(record["MESSAGE"], r"^\d{4}-\d\d-\d\d", "the journal has its own clock")
        self.assertTrue(any("INSTANCE_ID" in record for record in own), own)
        self.assertEqual([r["MESSAGE"] for r in own if int(r["PRIORITY"]) <= 3], [])
        secrets = [GIVEN_KEY.decode().strip(), "Hey!!", token("Sunil", GIVEN_KEY).split(".")[0] + "."]
        for secret in secrets:
            self.assertNotIn(secret, str(own))

    def test_every_event_is_explained_by_the_catalog(self):
        self.configure()
        self.start()
        self.machine.run("systemctl", "stop", "wsfleetd")
        ids = {r["MESSAGE_ID"] for r in self.machine.journal()
               if r.get("_COMM") == "wsfleetd" and "MESSAGE_ID" in r}
        self.assertTrue(ids, "ready and stopped are events")
        for event in ids:
            explained = self.machine.run("journalctl", "--catalog", "--no-pager", f"MESSAGE_ID={event}")
            self.assertIn("Defined-By: wsfleetd", explained)


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


def files_of(machine):
    """Every file that a package could leave behind; what the system itself keeps is left out."""
    found = machine.run(
        "find", "/etc", "/usr", "/var", "/run/systemd/system", "/root", "/srv", "/opt",
        "(", "-path", "/var/lib/dpkg", "-o", "-path", "/var/lib/apt", "-o", "-path", "/var/cache",
        "-o", "-path", "/var/log", "-o", "-path", "/var/lib/systemd", "-o", "-path", "/var/tmp",
        "-o", "-path", "/root/wsfleetd.deb", ")", "-prune", "-o", "-print",
    )
    # sysusers keeps the previous version of each account file beside it.
    return {name for name in found.splitlines() if not re.fullmatch(r"/etc/\w+-|/etc/\.pwd\.lock", name)}


def main():
    global TREE, DEB
    if len(sys.argv) < 3 or os.geteuid() != 0:
        sys.exit("usage (as root): tests/package/package_test.py TREE DEB [Class.test ...]")
    TREE, DEB = sys.argv[1:3]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the machine is powered off
    program = unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2, exit=False)
    failed = len(program.result.failures) + len(program.result.errors)
    print(f"{program.result.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed or not program.result.testsRun else 0)


if __name__ == "__main__":
    main()
