"""The unit's life: start, reload, stop, and what it does when something is wrong."""

import time

from story import ADMIN, API, APP, GIVEN_KEY, PackageTest
from websocket import Refused, get

# The key that the daemon makes for itself when it was given none.
OWN_KEY = "/var/lib/wsfleetd/auth-secret"

# From SIGTERM to gone. drain.stop_timeout is 10 s; one connection needs a fraction of it.
STOP_SECONDS = 10


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

    def test_a_bad_configuration_is_refused_once_and_says_why(self):
        self.configure()
        self.configure("[websocket]\nping_intervall = \"25s\"\n", users=())
        self.start(status=1)
        self.eventually(lambda: self.machine.property("ActiveState") == "failed", "failed")
        time.sleep(3)  # longer than RestartSec
        self.assert_state(ActiveState="failed", ExecMainStatus="78", NRestarts="0")
        told = [text for text in self.messages("--priority=err") if "ping_intervall" in text]
        self.assertTrue(told and "50-test.toml:2: websocket.ping_intervall" in told[0], self.messages())

    def test_a_reload_takes_a_good_configuration_and_refuses_a_bad_one(self):
        self.configure()
        self.start()
        connection, pid = self.connect("Sunil"), self.main_pid()
        self.machine.run("systemctl", "reload", "wsfleetd")
        self.machine.write("/etc/wsfleetd/conf.d/60-bad.toml", "[websocket]\nping_intervall = 1\n")
        self.machine.run("systemctl", "reload", "wsfleetd", status=1)
        self.assert_state(ActiveState="active", MainPID=str(pid), NRestarts="0")
        self.assert_talks(connection, "Sunil")

    def test_a_new_credential_takes_a_restart(self):
        self.configure()
        self.start()
        new = b"the key of next month, long enough to be one\n"
        self.machine.write("/etc/credstore/wsfleetd.auth-secret", new, mode=0o400)
        self.machine.run("systemctl", "restart", "wsfleetd")
        self.assert_talks(self.connect("Sunil", new), "Sunil")
        with self.assertRaises(Refused) as refused:
            self.connect("Sunil", GIVEN_KEY)
        self.assertEqual(refused.exception.status, 401)
