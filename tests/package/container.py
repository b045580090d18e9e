"""A Debian under its own real systemd, thrown away when the test ends.

systemd-nspawn boots a cached tree with a temporary layer above it, so every test starts from the
same machine and none can spoil the next; or without it, where what happens is to be kept. It has
a network of its own: no port of the host is taken, and the tests can run beside a daemon that uses
the same ones.
"""

import concurrent.futures
import ctypes
import itertools
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time

from cgroup import ControlGroup

BOOT_SECONDS = 60
STOP_SECONDS = 30
COMMAND_SECONDS = 120
CLONE_NEWNET = 0x40000000

# A process may have several machines, and each has a name.
numbers = itertools.count(1)


class CommandFailed(AssertionError):
    """A command inside ended with another exit code than the test expected."""


class Container:
    """One booted machine. Use it as a context manager: it is powered off at the end."""

    def __init__(self, tree, *options, keep=False, early=None):
        """`options` are nspawn's. `keep`: what is written stays in the tree. `early` is called with
        the init's process id as soon as there is one: for what the machine shall find in its network
        when it boots."""
        name = f"wsfleetd-test-{os.getpid()}-{next(numbers)}"
        self.console = tempfile.TemporaryFile(mode="w+", errors="replace")
        self.group = ControlGroup(name)
        self.nspawn = subprocess.Popen(
            [
                "systemd-nspawn", "--quiet", "--boot", *([] if keep else ["--volatile=overlay"]),
                f"--directory={tree}", f"--machine={name}",
                # No machined and no unit to live in: the host may run no systemd at all.
                "--register=no", "--keep-unit",
                "--private-network", "--console=pipe", *options,
            ],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=subprocess.STDOUT,
            preexec_fn=self.group.enter,
        )
        self.network = None
        try:
            self.leader = self._wait_for_leader()
            if early:
                early(self.leader)
            self.root = pathlib.Path(f"/proc/{self.leader}/root")
            self._wait_for_boot()
            self.network = concurrent.futures.ThreadPoolExecutor(
                max_workers=1, initializer=enter_network, initargs=(self.leader,)
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Powers the machine off (nspawn turns SIGTERM into that), and waits for it."""
        if self.network:
            self.network.shutdown()
        self.nspawn.terminate()
        try:
            self.nspawn.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()
        self.group.remove()
        self.console.close()

    def run(self, *command, status=0, stdin=""):
        """Runs a command inside as root; its output. `status=None`: any exit code will do."""
        done = subprocess.run(
            ["nsenter", f"--target={self.leader}", "--all", "--wdns=/", "--", *command],
            input=stdin, text=True, errors="replace", timeout=COMMAND_SECONDS,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
                "TERM": "dumb", "SYSTEMD_PAGER": "", "DEBIAN_FRONTEND": "noninteractive",
            },
        )
        if status is not None and done.returncode != status:
            raise CommandFailed(
                f"{' '.join(command)}: exit {done.returncode}, expected {status}\n{done.stdout}"
            )
        return done.stdout

    def path(self, name):
        """The host's view of a file inside."""
        return self.root / name.lstrip("/")

    def write(self, name, content, mode=0o640):
        """Puts a file inside, owned by root, as cloud-init would."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)

    def connect(self, port, timeout=5):
        """A TCP connection to the machine's own loopback."""
        return self.network.submit(
            socket.create_connection, ("127.0.0.1", port), timeout
        ).result()

    def listen(self, address, port):
        """A listening socket in the machine's network: where it looks for another machine."""
        return self.network.submit(
            socket.create_server, (address, port), backlog=64
        ).result()

    def thread(self, work):
        """Runs `work` in a thread of its own, which is in the machine's network as `dial` needs it."""
        def entered():
            enter_network(self.leader)
            work()
        thread = threading.Thread(target=entered)
        thread.start()
        return thread

    def dial(self, port, timeout=5):
        """As `connect`, from a thread of this machine's."""
        return socket.create_connection(("127.0.0.1", port), timeout)

    def said(self):
        """All that its console has shown."""
        self.console.seek(0)
        return self.console.read()

    def host_processes(self):
        """Its processes as `(pid, name)`, numbered as the host does."""
        inside = os.readlink(f"/proc/{self.leader}/ns/pid")
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "ns/pid") == inside:
                    yield int(process.name), (process / "comm").read_text().strip()
            except OSError:  # it has ended
                pass

    def property(self, name, unit="wsfleetd.service"):
        """What `systemctl show` says about one property of the unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, *options, unit="wsfleetd.service"):
        """The unit's records, as journald stores them."""
        text = self.run("journalctl", f"--unit={unit}", "--output=json", "--no-pager", *options)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def _wait_for_leader(self):
        """nspawn's child that has become the init; before that there may be another."""
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")

        def look():
            for child in children.read_text().split():
                if pathlib.Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
            return None

        return self._wait(look, "nspawn starts an init")

    def _wait_for_boot(self):
        self._wait(lambda: self.path("/run/systemd/private").exists() or None, "systemd answers")
        state = self.run("systemctl", "is-system-running", "--wait", status=None).strip()
        if state != "running":
            raise AssertionError(f"the machine is {state}: {self.run('systemctl', '--failed')}")

    def _wait(self, look, what):
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            if self.nspawn.poll() is not None:
                break
            try:
                found = look()
                if found is not None:
                    return found
            except (OSError, IndexError):
                pass
            time.sleep(0.05)
        raise AssertionError(f"waited in vain: {what}\n{self.said()}")


def enter_network(leader):
    """Moves the calling thread, and only it, into the container's network."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{leader}/ns/net", "rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
