"""A machine with a kernel of its own, emulated by QEMU: no /dev/kvm is needed, and no network.

The kernel is started without a boot loader, its console is the first serial line, and its network is
QEMU's own: from here, ports of this machine's loopback lead to ports inside; from there nothing leads
out, but to the instance metadata if there is one.
"""

import json
import os
import re
import socket
import subprocess
import threading
import time

from cgroup import ControlGroup
from shell import Shell

MEMORY = "1024M"
# Names in full, a line for each unit that starts or fails, and nobody else who writes there: each
# byte costs the emulator.
KERNEL = ("root=/dev/vda rw console=ttyS0 loglevel=4 systemd.mask=serial-getty@ttyS0.service "
          "systemd.show_status=yes systemd.status_unit_format=name")
# By which cloud-init tells EC2, and where it then asks: each connection there is one to a port here.
EC2_FIRMWARE = ("-smbios", "type=1,uuid={0},serial={0}".format("ec2e1916-9099-7caf-fd21-0123456789ab"))
EC2_NETWORK = (",net=169.254.0.0/16,guestfwd=tcp:169.254.169.254:80-cmd:"
               "bash -c 'exec 3<>/dev/tcp/127.0.0.1/%s; cat <&3 & cat >&3; kill $!'")
# Whoever is slower than the promise shall be told how slow.
PATIENCE = 240
OFF_SECONDS = 60
CONTROL = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|M)|\r")
# Of the console, when something is amiss.
LAST_LINES = 60


class Machine:
    """Powered on when it is made. Use it as a context manager: gone at the end, in any case."""

    def __init__(self, directory, disk, ports, metadata=None):
        """`metadata` is a port of this machine: the machine then takes itself for an EC2 instance."""
        self.metadata = metadata
        self.console, self.grown = [], threading.Condition()
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:0-:{port}" for port in ports)
        # The seconds of a boot are to be its own, not those of whatever else runs here.
        self.group = ControlGroup(f"wsfleetd-boot-{os.getpid()}")
        self.group.go_first()
        self.powered = time.monotonic()
        self.qemu = subprocess.Popen(
            [
                "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", MEMORY,
                "-nodefaults", "-display", "none", "-no-reboot",
                "-kernel", disk.kernel, "-initrd", disk.initrd, "-append", KERNEL,
                "-drive", f"file={disk.path},if=virtio,format=raw",
                "-netdev", f"user,id=net,restrict=on{forwards}{EC2_NETWORK % metadata if metadata else ''}",
                "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci",
                *(EC2_FIRMWARE if metadata else ()),
                "-serial", "stdio", "-serial", f"unix:{directory}/shell,server=on,wait=off",
                "-qmp", f"unix:{directory}/monitor,server=on,wait=off",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=self.group.enter,
        )
        self.shell = self.monitor = None
        self.reader = threading.Thread(target=self._read_console, daemon=True)
        self.reader.start()
        try:
            self._wait_for_sockets(directory)
            self.shell = Shell(directory / "shell")
            self.monitor = Monitor(directory / "monitor")
            self.ports = self._forwarded()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for end in (self.shell, self.monitor):
            if end:
                end.close()
        self.qemu.kill()
        self.qemu.wait()
        self.reader.join()
        self.qemu.stdout.close()
        self.group.remove()

    def run(self, command, status=0):
        return self.shell.run(command, status)

    def wait_for(self, pattern):
        """Until the console says so; the seconds from power-on to then."""
        deadline = time.monotonic() + PATIENCE
        with self.grown:
            while True:
                for when, line in self.console:
                    if re.search(pattern, line):
                        return when
                if self.qemu.poll() is not None or not self.grown.wait(deadline - time.monotonic()):
                    last = "\n".join(self.told().splitlines()[-LAST_LINES:])
                    raise AssertionError(f"the console never says {pattern!r}; it ends:\n{last}")

    def told(self, pattern="", since=0):
        """The lines of the console that match, of those since a time."""
        return "\n".join(line for when, line in list(self.console) if when >= since and re.search(pattern, line))

    def now(self):
        """Seconds since power-on."""
        return time.monotonic() - self.powered

    def connect(self, port, timeout=10):
        """A TCP connection to the machine, as from another one."""
        return socket.create_connection(("127.0.0.1", self.ports[port]), timeout)

    def press_power_button(self):
        self.monitor.ask("system_powerdown")

    def wait_for_end(self):
        """Until it has switched itself off: QEMU's exit code, 0."""
        try:
            return self.qemu.wait(OFF_SECONDS)
        except subprocess.TimeoutExpired:
            return f"it is not off after {OFF_SECONDS} s"

    def _read_console(self):
        for line in self.qemu.stdout:
            when = self.now()
            with self.grown:
                self.console.append((when, CONTROL.sub("", line.decode(errors="replace")).strip()))
                self.grown.notify_all()
        with self.grown:
            self.grown.notify_all()

    def _wait_for_sockets(self, directory):
        while not all((directory / name).is_socket() for name in ("shell", "monitor")):
            if self.qemu.poll() is not None:
                self.reader.join()
                raise AssertionError(f"QEMU does not start: {self.told()}")
            time.sleep(0.02)

    def _forwarded(self):
        """The port inside to the free port here that QEMU has found for it."""
        table = self.monitor.ask("human-monitor-command", {"command-line": "info usernet"})
        rows = re.findall(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)", table)
        return {int(inside): int(here) for here, inside in rows}


class Monitor:
    """QEMU's own control socket: a line of JSON in, a line of JSON out."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("r")
        self.stream.readline()  # who it is
        self.ask("qmp_capabilities")

    def ask(self, command, arguments=None):
        request = {"execute": command, "arguments": arguments or {}}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        for line in self.stream:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise AssertionError(f"{command}: {answer['error']}")
        raise AssertionError(f"{command}: QEMU is gone")

    def close(self):
        self.stream.close()
        self.socket.close()
