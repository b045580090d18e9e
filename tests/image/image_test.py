#!/usr/bin/env -S python3 -B
"""The image that bake.py has baked, and the templates that an AMI is built with.

    sudo tests/image/image_test.py IMAGE OUTPUT DEB [Class.test ...]

IMAGE, OUTPUT and DEB are those of bake.py. Nothing is written to them. A new promise of the image gets its
test in the module of its subject; whatever must not be in it, a line in clean.py and in
ami/scripts/99-verify.sh.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "package"))

import runner
from clean import Clean
from first_boot import FirstBoot
from instances import InstanceTest
from steps import Steps
from templates import Templates

__all__ = ["Clean", "FirstBoot", "Steps", "Templates"]


if __name__ == "__main__":
    if len(sys.argv) > 3:
        Clean.image = InstanceTest.image = sys.argv[1]
        Clean.output = pathlib.Path(sys.argv[2])
        Steps.deb = sys.argv[3]
    runner.main("IMAGE", "OUTPUT", "DEB")
