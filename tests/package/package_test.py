#!/usr/bin/env -S python3 -B
"""The .deb on a real Debian under a real systemd: what an administrator does, and what they see.

    sudo WSFLEETD_PREDECESSOR_DEB=OLDER_DEB tests/package/package_test.py TREE DEB [Class.test ...]

TREE is the root of a Debian as make_tree of tests/lib/package.sh makes it, DEB the package. Every
test boots a fresh machine, so a test may break what it likes. A new promise of the unit, the
maintainer scripts or the journal gets its test in the module of its subject.
"""

import sys

import runner
from doctor import Doctor
from install import Install, Purge
from journal import Journal
from restart import Restart
from sandbox import Sandbox
from service import Service
from story import PackageTest
from watchdog import Watchdog

__all__ = ["Doctor", "Install", "Journal", "Purge", "Restart", "Sandbox", "Service", "Watchdog"]


if __name__ == "__main__":
    PackageTest.tree, PackageTest.deb = (sys.argv[1:3] + [None, None])[:2]
    runner.main("TREE", "DEB")
