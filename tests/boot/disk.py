"""A disk to boot from, made of a tree of files: no loop device, no mount, nothing left behind.

What it gets beside the package is what an instance's site gives it, the way cloud-init leaves it, and
a root shell on the second serial line (shell.py).
"""

import pathlib
import shutil
import subprocess

from shell import SCRIPT, UNIT
from story import GIVEN_KEY

USER = "Sunil"
# Settings as cloud-init writes them; the package gives them to the daemon's group.
SETTINGS = "/etc/wsfleetd/conf.d/50-site.toml"
# In the environment of the service, and nowhere else.
MARK = "BOOT_TEST=1"
NETWORK = b"[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n"
# Free space, for the journal and the state.
ROOM = 512 << 20


class Disk:
    """`disk.img` in a directory that is thrown away later, with its kernel."""

    def __init__(self, directory, tree, deb, files):
        """`deb` is installed if `tree` has no package yet. `files` are put there too: name to content;
        what lies in /usr can be executed."""
        self.path = directory / "disk.img"
        self.root = directory / "root"
        subprocess.run(["cp", "--archive", "--reflink=auto", tree, self.root], check=True)
        (kernel,), (initrd,) = (list(self.root.glob(f"boot/{name}-*")) for name in ("vmlinuz", "initrd.img"))
        self.kernel, self.initrd = (shutil.copy(file, directory) for file in (kernel, initrd))
        if not (self.root / "usr/sbin/wsfleetd").exists():
            self._install(deb)
        self._settle()
        for name, content in files.items():
            self._write(name, content, 0o755 if name.startswith("/usr/") else 0o644)
        self._pack()
        shutil.rmtree(self.root)

    def copy_out(self, name, to):
        """A directory of the powered-off machine."""
        subprocess.run(["debugfs", "-R", f"rdump {name} {to}", self.path], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_clean(self):
        """Whether it was unmounted, and nothing is wrong with it."""
        return subprocess.run(["e2fsck", "-f", "-n", self.path], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def _install(self, deb):
        """As ami/scripts/30-wsfleetd.sh does."""
        shutil.copy(deb, self.root / "root/wsfleetd.deb")
        self._run("apt-get", "--quiet", "--yes", "install", "--no-install-recommends", "/root/wsfleetd.deb")
        (self.root / "root/wsfleetd.deb").unlink()

    def _settle(self):
        self._write(SETTINGS, b"# a site's\n")
        self._write("/etc/credstore/wsfleetd.auth-secret", GIVEN_KEY, 0o400)
        with (self.root / "etc/default/wsfleetd").open("a") as defaults:
            defaults.write(f"{MARK}\n")
        self._run("wsfleetd", "users", "add", USER)
        self._write(f"/root/{SCRIPT.name}", SCRIPT.read_bytes())
        self._write(f"/etc/systemd/system/{UNIT.name}", UNIT.read_bytes(), 0o644)
        self._run("systemctl", "enable", UNIT.name)
        if not (self.root / "usr/bin/cloud-init").exists():  # which would do that
            self._write("/etc/systemd/network/80-boot-test.network", NETWORK, 0o644)
            self._run("systemctl", "enable", "systemd-networkd.service")

    def _pack(self):
        used = int(subprocess.run(["du", "--summarize", "--bytes", self.root], check=True, text=True,
                                  stdout=subprocess.PIPE).stdout.split()[0])
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", self.root, self.path,
                        f"{(used + ROOM) >> 20}M"], check=True, stdout=subprocess.DEVNULL)

    def _write(self, name, content, mode=0o640):
        path = pathlib.Path(f"{self.root}{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)

    def _run(self, *command):
        done = subprocess.run(
            ["chroot", self.root, *command], text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8"},
        )
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}")
