"""The maintainer scripts: what comes, what stays, what goes."""

import os
import pathlib
import re
import subprocess
import tempfile
import time

from load import Load
from story import APP, PackageTest, bearer, files_of

SCRIPTS = "/var/lib/dpkg/info/wsfleetd"


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

    def test_an_upgrade_nobody_watches_meets_no_prompt_whatever_was_edited(self):
        edited = ["/etc/wsfleetd/wsfleetd.toml", "/etc/default/wsfleetd", "/etc/needrestart/conf.d/wsfleetd.conf"]
        for name in edited:
            with self.machine.path(name).open("a") as file:
                file.write("# mine\n")
        self.configure("# mine\n")
        self.start()
        self.upgrade_to("9.9.9-1")
        for name in [*edited, "/etc/wsfleetd/conf.d/50-test.toml"]:
            self.assertTrue(self.machine.path(name).read_text().endswith("# mine\n"), name)
        self.assertEqual(self.machine.run("find", "/etc", "-name", "*.dpkg-*"), "")
        self.assertIn("9.9.9-1", self.machine.run("dpkg-query", "--show", "wsfleetd"))
        self.assert_state(ActiveState="active", NRestarts="0")

    def test_what_an_administrator_has_decided_survives_an_upgrade(self):
        for decision, state in [("disable", "disabled"), ("mask", "masked")]:
            self.machine.run("systemctl", decision, "wsfleetd")
            self.install()
            self.assertEqual(self.enabled(), state)
            self.assert_state(ActiveState="inactive")
        self.machine.run("systemctl", "unmask", "wsfleetd")
        # And what was decided for all services before this one came.
        self.machine.run("apt-get", "purge", "--yes", "wsfleetd")
        self.machine.write("/etc/systemd/system-preset/00-none.preset", "disable *\n", mode=0o644)
        self.install()
        self.assertEqual(self.enabled(), "disabled")

    def test_a_policy_against_starting_services_is_respected(self):
        self.configure()
        self.start()
        pid = self.main_pid()
        self.machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)
        self.install()
        self.assert_state(ActiveState="active", MainPID=str(pid))
        self.machine.run("apt-get", "purge", "--yes", "wsfleetd")
        self.install()
        self.assertEqual(self.enabled(), "enabled")

    def test_the_scripts_can_be_run_again(self):
        self.configure()
        before = None
        for _ in range(2):
            self.machine.run(f"{SCRIPTS}.prerm", "upgrade", "9.9.9-1")
            self.machine.run(f"{SCRIPTS}.postrm", "upgrade", "9.9.9-1")
            self.machine.run(f"{SCRIPTS}.postinst", "configure", "0.1.0-1")
            self.machine.run(f"{SCRIPTS}.postinst", "abort-upgrade", "9.9.9-1")
            # The first time gives the files of `configure` to the daemon's group.
            before = before or contents_of(self.machine)
        self.assertEqual(contents_of(self.machine), before)
        self.assertEqual(self.enabled(), "enabled")
        scripts = self.machine.path("/root/scripts")
        self.machine.run("cp", "--recursive", "/var/lib/dpkg/info", "/root/scripts")
        self.machine.run("apt-get", "purge", "--yes", "wsfleetd")
        after = contents_of(self.machine)
        self.machine.run(f"/{scripts.relative_to(self.machine.root)}/wsfleetd.postrm", "purge")
        self.assertEqual(contents_of(self.machine), after)

    def test_needrestart_leaves_it_alone(self):
        self.machine.run("sh", "-c", "dpkg --install /opt/needrestart/*.deb")
        self.configure()
        self.start()
        pid = self.main_pid()
        self.machine.run("sh", "-ec", """
            for library in $(awk '/libc.so.6$/ { print $6; exit }' /proc/$0/maps); do
                cp --archive "$library" "$library.new" && mv "$library.new" "$library"
            done""", str(pid))
        said = self.machine.run("needrestart", "-r", "a", "-l")
        self.assertEqual(self.main_pid(), pid, said)
        # It would have been restarted.
        self.machine.path("/etc/needrestart/conf.d/wsfleetd.conf").unlink()
        said = self.machine.run("needrestart", "-r", "a", "-l")
        self.assertNotEqual(self.main_pid(), pid, said)

    def test_from_the_version_before_and_back_nobody_is_refused_and_nothing_is_lost(self):
        before = pathlib.Path(os.environ["WSFLEETD_PREDECESSOR_DEB"])  # see tests/lib/predecessor.sh
        if not before.exists():
            self.skipTest("the version before could not be built here")
        self.machine.run("apt-get", "purge", "--yes", "wsfleetd")
        self.machine.path("/root/before.deb").write_bytes(before.read_bytes())
        self.machine.run("apt-get", "install", "--yes", "/root/before.deb")
        self.configure("# mine\n")
        self.start()
        with Load(self.machine, APP, "Sunil", bearer("Sunil")) as load:
            for deb in ("wsfleetd", "before", "wsfleetd"):
                time.sleep(1)
                pid = self.main_pid()
                self.machine.run("apt-get", "install", "--yes", "--allow-downgrades", f"/root/{deb}.deb")
                self.assertNotEqual(self.main_pid(), pid)
                self.assert_talks(self.connect("Sunil"), "Sunil")
            time.sleep(1)
        print(load, end=" ", flush=True)
        self.assertEqual((load.refused, load.errors), (0, []), str(load))
        self.assert_state(ActiveState="active", NRestarts="0")
        self.assertEqual(self.machine.path("/etc/wsfleetd/conf.d/50-test.toml").read_text(), "# mine\n")
        self.assertEqual(self.machine.run("find", "/etc", "-name", "*.dpkg-*"), "")

    def enabled(self):
        return self.machine.run("systemctl", "is-enabled", "wsfleetd", status=None).strip()

    def upgrade_to(self, version):
        """Installs the same package under another version, as `apt-get upgrade` would."""
        self.machine.path("/root/next.deb").write_bytes(renamed(PackageTest.deb, version))
        self.machine.run("apt-get", "install", "--yes", "/root/next.deb")


class Purge(PackageTest):

    # The package's user stays: its number may own other files.
    ACCOUNTS = {"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"}

    def boot(self):
        super().boot()
        self.before = contents_of(self.machine)

    def test_removing_stops_it_and_purging_leaves_only_the_user(self):
        self.configure()
        self.start()
        self.machine.run("apt-get", "remove", "--yes", "wsfleetd")
        self.assert_state(ActiveState="inactive", Result="success")
        self.assertTrue(self.machine.path("/etc/wsfleetd/conf.d/50-test.toml").exists())
        self.machine.run("apt-get", "purge", "--yes", "wsfleetd")
        after = contents_of(self.machine)
        differs = {name for name in self.before.keys() | after.keys()
                   if self.before.get(name) != after.get(name)}
        # The key and, on Debian 12, its directory were put there by this test, not by the package.
        self.assertEqual(differs - self.ACCOUNTS - {"/etc/credstore"}, {"/etc/credstore/wsfleetd.auth-secret"})
        self.assertIn("wsfleetd", self.machine.run("getent", "passwd", "wsfleetd"))


def renamed(deb, version):
    """The package as if it were of another version."""
    with tempfile.TemporaryDirectory() as directory:
        tree, result = pathlib.Path(directory) / "tree", pathlib.Path(directory) / "result.deb"
        subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
        control = tree / "DEBIAN" / "control"
        control.write_text(re.sub("(?m)^Version: .*", f"Version: {version}", control.read_text()))
        subprocess.run(["dpkg-deb", "--build", "-Znone", tree, result], check=True, stdout=subprocess.DEVNULL)
        return result.read_bytes()


def contents_of(machine):
    """Each file of `files_of` with its owner, mode, kind and what it holds."""
    names = sorted(files_of(machine))
    listing = machine.run("xargs", "--delimiter=\\n", "stat", "--format=%U:%G %a %F %n", stdin="\n".join(names))
    found = {}
    for line in listing.splitlines():
        about, name = line.split(" /", 1)
        found[f"/{name}"] = [about]
    files = [name for name, [about] in found.items() if about.endswith("regular file")]
    sums = machine.run("xargs", "--delimiter=\\n", "sha256sum", "--zero", stdin="\n".join(files))
    for line in sums.split("\0")[:-1]:
        checksum, name = line.split("  ", 1)
        found[name].append(checksum)
    return found
