"""The sentences that the stories are told in: a machine with the package, its daemon, its clients."""

import pathlib
import re
import time
import unittest

from container import Container
from websocket import WebSocket, token

GIVEN_KEY = b"a key that every instance of the fleet has\n"
APP, API, ADMIN = 8080, 8081, 9180


class PackageTest(unittest.TestCase):
    """A machine with the package installed."""

    # What is booted, and what is installed there; set by main.
    tree, deb = None, None

    def setUp(self):
        self.boot()
        self.install()

    def boot(self):
        """The machine as it was before the package."""
        self.machine = Container(PackageTest.tree)
        self.addCleanup(self.machine.close)

    def install(self):
        self.machine.path("/root/wsfleetd.deb").write_bytes(pathlib.Path(PackageTest.deb).read_bytes())
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

    def drop_in(self, *lines):
        """Settings of the service beside the package's."""
        text = "\n".join(["[Service]", *lines, ""])
        self.machine.write("/etc/systemd/system/wsfleetd.service.d/test.conf", text, mode=0o644)
        self.machine.run("systemctl", "daemon-reload")

    def connect(self, user, key=GIVEN_KEY, path="/ws", port=APP):
        connection = WebSocket(self.machine.connect(port), path, bearer(user, key))
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


def bearer(user, key=GIVEN_KEY):
    """The headers that prove `user`."""
    return {"Authorization": f"Bearer {token(user, key)}"}


def files_of(machine):
    """Every file that a package could leave behind; what the system itself keeps is left out."""
    found = machine.run(
        "find", "/etc", "/usr", "/var", "/run/systemd/system", "/root", "/srv", "/opt",
        "(", "-path", "/var/lib/dpkg", "-o", "-path", "/var/lib/apt", "-o", "-path", "/var/cache",
        "-o", "-path", "/var/log", "-o", "-path", "/var/tmp", "-o", "-path", "/root/wsfleetd.deb",
        # systemd's own; what the maintainer scripts note beside it counts.
        "-o", "-path", "/var/lib/systemd/*", "-not", "-path", "*/deb-systemd-helper-*",
        ")", "-prune", "-o", "-print",
    )
    # sysusers keeps the previous version of each account file beside it.
    return {name for name in found.splitlines() if not re.fullmatch(r"/etc/\w+-|/etc/\.pwd\.lock", name)}
