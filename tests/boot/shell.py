"""A root shell inside, on a serial line: it needs no network, no password and no ssh."""

import base64
import pathlib
import socket

HERE = pathlib.Path(__file__).parent
SCRIPT, UNIT = HERE / "shell.sh", HERE / "boot-test-shell.service"
# An emulated processor is some ten times slower.
COMMAND_SECONDS = 60


class CommandFailed(AssertionError):
    """A command inside ended with another exit code than was expected."""


class Shell:
    """The host's end of the line, a Unix socket."""

    def __init__(self, path):
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect(str(path))
        self.stream = self.line.makefile("rb")

    def wait(self, seconds):
        """Until the machine has come to where it listens."""
        self.line.settimeout(seconds)
        # What the machine's own firmware and kernel may have said before is not ours.
        while self.stream.readline().strip() != b"ready":
            pass

    def run(self, command, status=0):
        """What it said. `status=None`: any exit code will do."""
        self.line.settimeout(COMMAND_SECONDS)
        self.line.sendall(base64.b64encode(command.encode()) + b"\n")
        code, _, said = self.stream.readline().strip().partition(b" ")
        text = base64.b64decode(said).decode(errors="replace")
        if status is not None and int(code) != status:
            raise CommandFailed(f"{command}: exit {int(code)}, expected {status}\n{text}")
        return text

    def close(self):
        self.stream.close()
        self.line.close()
