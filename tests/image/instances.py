"""Instances of the image, as EC2 would start them."""

import pathlib
import tempfile
import unittest

from bake import AS_IT_IS
from container import Container
from imds import Imds, instance
from packer import make_key

USER_DATA = pathlib.Path(__file__).resolve().parents[2] / "config/user-data.example.yaml"

# By which cloud-init tells EC2, where there is no firmware to ask.
UUID = "ec2e1916-9099-7caf-fd21-0123456789ab\n"


class InstanceTest(unittest.TestCase):

    # The tree that was baked; set by main.
    image = None

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.key = make_key(self.directory).with_suffix(".pub").read_text().strip()

    def boot(self, number, *options):
        """The instance of this number, and its metadata. A unit that fails fails the boot. It has a
        console: what systemd says before there is a journal is said nowhere else."""
        imds = Imds(instance(number, self.key), USER_DATA.read_text())
        self.addCleanup(imds.close)
        (self.directory / "uuid").write_text(UUID)
        machine = Container(self.image, *AS_IT_IS, "--console=read-only",
                            f"--bind-ro={self.directory}/uuid:/sys/hypervisor/uuid", *options,
                            early=imds.enter)
        self.addCleanup(machine.close)
        return machine, imds
