"""Commands inside the image, without booting it: a boot would make it an instance.

What they write goes with them.
"""

import os
import pathlib
import subprocess
import threading

from bake import AS_IT_IS

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "ami/scripts"
SECONDS = 120


def run(image, command, network=False):
    """Runs a line of shell; the finished process, with all that it said in `stdout`. The scripts of
    ami/ are in /opt/scripts. `network`: the host's, for apt."""
    name = f"wsfleetd-image-{os.getpid()}-{threading.get_ident()}"
    return subprocess.run(
        ["systemd-nspawn", "--quiet", "--volatile=overlay", f"--directory={image}", f"--machine={name}",
         "--register=no", "--keep-unit", "--console=pipe", *AS_IT_IS,
         *(["--resolv-conf=copy-host"] if network else ["--private-network"]),
         f"--bind-ro={SCRIPTS}:/opt/scripts", "--", "/bin/bash", "-c", command],
        text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=SECONDS,
    )
