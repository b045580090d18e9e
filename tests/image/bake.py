#!/usr/bin/env -S python3 -B
"""Bakes the image on this machine, with the templates and scripts that make the AMI.

    sudo tests/image/bake.py TREE DEB IMAGE OUTPUT

TREE is the root of a Debian as make_base_tree of tests/lib/image.sh makes it, DEB the package, IMAGE
what becomes of the tree, OUTPUT a directory for what Packer keeps of the build. The tree is booted
as EC2 would boot it, its cloud-init lets in the key of this build, and Packer does the rest over ssh.
The machine's network is its own: Packer comes in, and apt gets out to its mirror, through a relay.
"""

import contextlib
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
from urllib.parse import urlsplit

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "package"))

from container import Container
from packer import copy_for_old_packer, make_key, packer
from relay import Relay

# What nspawn would write into the tree: it shall change as an instance's disk does, and not else.
AS_IT_IS = ("--resolv-conf=off", "--timezone=off", "--link-journal=no")
SSH = 22
PORTS = {"http": 80, "https": 443}


def main():
    if len(sys.argv) != 5:
        sys.exit("usage (as root): tests/image/bake.py TREE DEB IMAGE OUTPUT")
    # So that the machine is powered off.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tree, deb, image, output = (pathlib.Path(name).resolve() for name in sys.argv[1:])
    new = image.with_name(f"{image.name}.new")
    for old in (new, image):
        subprocess.run(["rm", "-rf", old], check=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", tree, new], check=True)
    with tempfile.TemporaryDirectory() as directory:
        bake(new, deb, output, pathlib.Path(directory))
    # Only a finished one has the name.
    new.rename(image)


def bake(tree, deb, output, directory):
    key = make_key(directory)
    seed(tree, key.with_suffix(".pub").read_text().strip())
    with mirrored_machine(tree, directory, keep=True) as machine:
        listener = socket.create_server(("127.0.0.1", 0))
        with Relay(listener, lambda: machine.connect(SSH)):
            done = packer(
                "build", "-color=false", "-only=null.nspawn", f"-var=deb={deb}", f"-var=output={output}",
                f"-var=ssh_port={listener.getsockname()[1]}", f"-var=ssh_private_key_file={key}",
                str(copy_for_old_packer(directory)), directory=directory,
            )
    print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        sys.exit(f"packer build: exit code {done.returncode}")


def seed(tree, public_key):
    """What cloud-init finds instead of EC2: who this instance is, and whom it lets in."""
    at = tree / "var/lib/cloud/seed/nocloud-net"
    at.mkdir(parents=True)
    (at / "meta-data").write_text(json.dumps({"instance-id": "i-build", "local-hostname": "localhost"}))
    (at / "user-data").write_text("#cloud-config\n" + json.dumps({"ssh_authorized_keys": [public_key]}))


@contextlib.contextmanager
def mirrored_machine(tree, directory, keep=False):
    """Boots a tree whose apt reaches its mirrors, and nothing else."""
    hosts = {url: f"127.0.1.{number}" for number, url in enumerate(mirrors(tree), start=1)}
    names = [f"{address} {url.hostname}" for url, address in hosts.items()]
    (directory / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(Container(
            tree, *AS_IT_IS, f"--bind-ro={directory}/hosts:/etc/hosts", keep=keep))
        for url, address in hosts.items():
            where = (url.hostname, url.port or PORTS[url.scheme])
            stack.enter_context(Relay(machine.listen(address, where[1]),
                                      lambda where=where: socket.create_connection(where, 30)))
        yield machine


def mirrors(tree):
    """The servers that a tree's apt asks, each once."""
    text = (tree / "etc/apt/sources.list").read_text()
    urls = [urlsplit(url) for url in re.findall(r"^deb (https?://\S+) ", text, re.M)]
    return list({url.netloc: url for url in urls}.values())


if __name__ == "__main__":
    main()
