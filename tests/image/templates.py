"""ami/*.pkr.hcl: as good as they can be proven without an account and without Packer's plugins."""

import pathlib
import re
import tempfile
import unittest

from packer import AMI, MARK, copy_for_old_packer, make_key, packer

# Keys and blocks of amazon-ebs in packer-plugin-amazon 1.8, by the names in its specification.
KEYS = set(pathlib.Path(__file__).with_name("amazon-ebs.keys").read_text().split())

# Those of them that Debian's 1.6.6 does not know. Nothing else may be marked: a marked line is
# looked at by nobody here.
TOO_NEW = {"imds_support", "deprecate_at", "skip_create_ami", "metadata_options"}


class Templates(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.ami = copy_for_old_packer(self.directory)
        self.key = make_key(self.directory)
        # ~ as in the version of a candidate.
        self.deb = self.directory / "wsfleetd_0.2.0~rc1-1_arm64.deb"
        self.deb.touch()

    def packer(self, verb, *arguments):
        return packer(verb, *arguments, f"-var=deb={self.deb}", f"-var=ssh_private_key_file={self.key}",
                      str(self.ami), directory=self.directory)

    def test_they_are_valid(self):
        done = self.packer("validate")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_they_are_valid_with_everything_that_can_be_set(self):
        variables = self.directory / "site.pkrvars.hcl"
        variables.write_text("""
            arch = "arm64"
            base = "debian-13"
            region = "eu-central-1"
            ami_regions = ["eu-west-1"]
            ami_users = ["123456789012"]
            kms_key_id = "alias/images"
            region_kms_key_ids = { eu-west-1 = "alias/images" }
            subnet_id = "subnet-0123456789abcdef0"
            ssh_interface = "private_ip"
            skip_create_ami = true
            deprecate_at = "2030-01-01T00:00:00Z"
            tags = { team = "chat" }
        """)
        done = self.packer("validate", f"-var-file={variables}")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_key_that_does_not_exist_is_refused(self):
        self.change("encrypt_boot ", "encrypt_bot ")
        self.assertNotEqual(self.packer("validate").returncode, 0)

    def test_a_script_that_does_not_exist_is_refused(self):
        self.change("30-wsfleetd.sh", "30-wsfleet.sh", "build.pkr.hcl")
        self.assertNotEqual(self.packer("validate").returncode, 0)

    def test_the_name_of_an_image_takes_what_ec2_takes(self):
        done = packer("console", f"-var=deb={self.deb}", str(self.ami), directory=self.directory,
                      stdin="local.name")
        self.assertRegex(done.stdout.strip(), r"^[A-Za-z0-9().\-/_]{3,110}$")
        self.assertIn("0.2.0-rc1-1", done.stdout)

    def test_they_are_formatted(self):
        done = packer("fmt", "-check", "-diff", str(AMI), directory=self.directory)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_a_current_packer_knows_every_key_too(self):
        used = keys_of((AMI / "source-ebs.pkr.hcl").read_text())
        self.assertGreaterEqual(len(used), 25)
        self.assertEqual(used - KEYS, set())

    def test_only_what_is_too_new_is_marked(self):
        marked = [line for template in AMI.glob("*.pkr.hcl") for line in template.read_text().splitlines()
                  if MARK in line]
        # The line within metadata_options, and the brace that ends it.
        within = {"http_tokens", "}"}
        self.assertEqual({line.split()[0] for line in marked} - within, TOO_NEW)
        for key in TOO_NEW - {"metadata_options"}:
            with self.subTest(key):
                self.change("encrypt_boot ", f'{key} = "x"\n  encrypt_boot ')
                self.assertNotEqual(self.packer("validate").returncode, 0, f"1.6.6 knows {key}: unmark it")
                self.change(f'{key} = "x"\n  encrypt_boot ', "encrypt_boot ")

    def test_every_script_runs_and_in_order(self):
        build = (AMI / "build.pkr.hcl").read_text()
        named = re.findall(r"/scripts/([^\"]+)", build)
        self.assertEqual(named, sorted(path.name for path in (AMI / "scripts").iterdir()))

    def change(self, old, new, template="source-ebs.pkr.hcl"):
        path = self.ami / template
        text = path.read_text()
        self.assertEqual(text.count(old), 1)
        path.write_text(text.replace(old, new))


def keys_of(text):
    """The keys and blocks directly in the source block."""
    source = text.split('source "amazon-ebs" "debian" {\n')[1]
    return set(re.findall(r"^  ([a-z_0-9]+) *(?:=|\{)", source, re.M))
