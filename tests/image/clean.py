"""The image as it is published: nothing of the build in it, and nothing that could be newer."""

import re
import unittest

import unbooted

VERIFY = "exec bash /opt/scripts/99-verify.sh"

# What somebody might leave in an image, how, and what 99-verify.sh calls it.
PLANTS = [
    ("ssh host key", "touch /etc/ssh/ssh_host_ed25519_key"),
    ("seed of random numbers", "touch /var/lib/systemd/random-seed"),
    ("key of systemd-creds", "touch /var/lib/systemd/credential.secret"),
    ("name of the build machine", "echo build >/etc/hostname"),
    ("state of the daemon", "mkdir -p /var/lib/wsfleetd; touch /var/lib/wsfleetd/auth-secret"),
    ("machine-id: not an empty file", "echo 0123456789abcdef0123456789abcdef >/etc/machine-id"),
    ("machine-id: not an empty file", "rm /etc/machine-id"),
    ("machine-id of dbus", "mkdir -p /var/lib/dbus; echo 0123456789abcdef0123456789abcdef >/var/lib/dbus/machine-id"),
    ("ssh keys", "mkdir -p ~admin/.ssh; touch ~admin/.ssh/authorized_keys"),
    ("ssh keys", "mkdir -p /root/.ssh; touch /root/.ssh/id_ed25519"),
    ("credentials of AWS", "mkdir /root/.aws"),
    ("history", "touch /root/.bash_history"),
    ("history", "touch ~admin/.python_history"),
    ("credential", "mkdir -p /etc/credstore; touch /etc/credstore/wsfleetd.auth-secret"),
    ("users of the build", "touch /etc/wsfleetd/users.csv"),
    ("password", "echo 'admin:$6$salt$hash' | chpasswd --encrypted"),
    ("password", "passwd --quiet --delete root"),
    ("state of cloud-init", "mkdir -p /var/lib/cloud/instances/i-build"),
    ("network of the build machine", "touch /etc/network/interfaces.d/50-cloud-init"),
    ("policy-rc.d", "touch /usr/sbin/policy-rc.d"),
    ("package", "touch /tmp/wsfleetd.deb"),
    ("left by dpkg", "touch /etc/wsfleetd/wsfleetd.toml.dpkg-dist"),
    ("log, or list of apt", "touch /var/log/dpkg.log"),
    ("log, or list of apt", "touch /var/lib/apt/lists/mirror_dists_bookworm_InRelease"),
    ("half installed", "sed -i '/^Package: procps$/,/^Status/s/ok installed/ok half-configured/' /var/lib/dpkg/status"),
    ("not as packed", "echo >>/usr/sbin/wsfleetd"),
    ("not as packed", "rm /usr/bin/sudo"),
    ("not as packed", "echo '[redis]' >>/etc/wsfleetd/wsfleetd.toml"),
    ("wsfleetd.service is not enabled", "systemctl --quiet disable wsfleetd.service"),
    ("apt-daily.timer is not masked", "systemctl --quiet unmask apt-daily.timer"),
    ("cloud-init is not told where it is", "rm /etc/cloud/cloud.cfg.d/95-wsfleetd.cfg"),
    ("no list of packages", "rm /usr/local/share/wsfleetd-image/packages.txt"),
]


class Clean(unittest.TestCase):

    # Set by main: the tree that was baked, and where Packer left what it keeps of the build.
    image, output = None, None

    def run_inside(self, command, status=0, **options):
        done = unbooted.run(self.image, command, **options)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def assert_found(self, what, plant):
        said = self.run_inside(f"set -e; {plant}; {VERIFY}", status=1)
        found = re.findall(r"^FAIL: (.*)$", said, re.M)
        self.assertEqual(len(found), 1, said)
        self.assertTrue(found[0].startswith(what), said)

    def test_there_is_nothing_left_after_the_machine_was_stopped(self):
        self.assertIn("the image is clean", self.run_inside(VERIFY))

    def test_a_base_image_may_have_its_own_configuration(self):
        self.run_inside(f"echo >>/etc/sudo.conf; {VERIFY}")

    def test_everything_that_is_looked_for_is_planted_here(self):
        script = (unbooted.SCRIPTS / "99-verify.sh").read_text()
        looked_for = re.findall(r'\b(?:absent|silent|fail) "(?!\$what)([^"]+)"', script)
        names = {name.replace("$unit", "apt-daily.timer") for name in looked_for}
        planted = {what for what, _ in PLANTS}
        missing = {name for name in names if not any(name.startswith(what) for what in planted)}
        self.assertEqual(missing, set())
        self.assertEqual(len(names), len(planted))

    def test_nothing_in_it_could_be_newer_and_what_could_would_end_the_build(self):
        update = "apt-get --quiet -o APT::Update::Error-Mode=any update"
        self.run_inside(f"{update} && bash /opt/scripts/80-manifest.sh", network=True)
        older = "sed -i '/^Package: procps$/,/^Version/s/^Version: .*/Version: 1:1-1/' /var/lib/dpkg/status"
        said = self.run_inside(f"{update} && {older} && bash /opt/scripts/80-manifest.sh", status=1, network=True)
        self.assertRegex(said, r"(?m)^Inst procps ")

    def test_the_list_of_packages_that_is_kept_is_that_of_the_image(self):
        kept = (self.output / "packages.txt").read_text().splitlines()
        inside = self.run_inside("dpkg-query --show --showformat='${Package}\\t${Version}\\t${Architecture}\\n'")
        self.assertEqual(kept, [line for line in inside.splitlines() if "\t" in line])
        self.assertTrue(any(line.startswith("wsfleetd\t") for line in kept), kept)


def plant(number, what, how):
    def test(self):
        self.assert_found(what, how)
    words = re.sub(r"\W+", "_", what).strip("_")
    test.__name__ = f"test_{number:02}_{words}_is_found"
    return test


for number, (what, how) in enumerate(PLANTS, start=1):
    made = plant(number, what, how)
    setattr(Clean, made.__name__, made)
