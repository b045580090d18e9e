"""The templates in ami/, as Debian's Packer 1.6.6 can read them.

A current Packer has no builder for EC2 without its plugins, which cannot be had here; 1.6.6 has
them built in, but does not know the newest keys. So it is given a copy: without plugins.pkr.hcl, and
without the lines that are marked as too new. templates.py looks that nothing else is marked.
"""

import os
import pathlib
import shutil
import subprocess

AMI = pathlib.Path(__file__).resolve().parents[2] / "ami"
MARK = "# packer>=1.7"
TOO_NEW = "plugins.pkr.hcl"


def copy_for_old_packer(directory):
    """Copies ami/ into `directory`, which must be empty; returns where the templates are."""
    ami = pathlib.Path(directory) / "ami"
    shutil.copytree(AMI, ami)
    (ami / TOO_NEW).unlink()
    for template in ami.glob("*.pkr.hcl"):
        lines = template.read_text().splitlines(keepends=True)
        template.write_text("".join(line for line in lines if not line.rstrip().endswith(MARK)))
    return ami


def packer(verb, *arguments, directory, seconds=300, stdin=""):
    """Runs it; the finished process, with all that it said in `stdout`. `directory` is for its own
    files: it would keep some in the home, and ask the network for a newer version of itself."""
    return subprocess.run(
        ["packer", verb, *arguments], text=True, timeout=seconds, input=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "CHECKPOINT_DISABLE": "1", "PACKER_CONFIG_DIR": str(directory),
             "PACKER_CACHE_DIR": str(directory), "TMPDIR": str(directory)},
    )


def make_key(directory):
    """A key for this once; its public part lies beside it, as `.pub`."""
    key = pathlib.Path(directory) / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "build", "-f", key], check=True)
    return key
