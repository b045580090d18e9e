"""Steps of a bake that end it: what they look for is made here on an instance, which has all of it.

(What ends it in 80-manifest.sh and 99-verify.sh is in clean.py.)
"""

import json
import pathlib

from instances import InstanceTest
from unbooted import SCRIPTS

APT_FAILED = 100
STATUS = "/run/cloud-init/status.json"


class Steps(InstanceTest):

    # The package that was baked; set by main.
    deb = None

    def test_they_end_a_bake_that_has_gone_wrong(self):
        machine, _ = self.boot(6)
        for script in ("10-wait-cloud-init.sh", "20-base.sh", "30-wsfleetd.sh"):
            machine.write(f"/root/{script}", (SCRIPTS / script).read_text())
        with self.subTest("cloud-init has not done what it was told"):
            machine.run("bash", "/root/10-wait-cloud-init.sh")
            status = json.loads(machine.path(STATUS).read_text())
            status["v1"]["modules-config"]["errors"] = ["('ssh', ...)"]
            machine.write(STATUS, json.dumps(status))
            self.assertIn("('ssh', ...)", machine.run("bash", "/root/10-wait-cloud-init.sh", status=1))
        with self.subTest("Debian's mirror cannot be reached"):
            said = machine.run("bash", "/root/20-base.sh", status=APT_FAILED)
            self.assertIn("Failed to fetch", said)
            self.assertNotIn("Calculating upgrade", said)
        with self.subTest("the daemon was started, and may have made itself a key"):
            machine.write("/tmp/wsfleetd.deb", pathlib.Path(self.deb).read_bytes())
            self.assertIn("was started", machine.run("bash", "/root/30-wsfleetd.sh", status=1))
