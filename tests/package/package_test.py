#!/usr/bin/env -S python3 -B
"""The .deb on a real Debian under a real systemd: what an administrator does, and what they see.

    sudo WSFLEETD_PREDECESSOR_DEB=OLDER_DEB tests/package/package_test.py TREE DEB [Class.test ...]

TREE is the root of a Debian as make_tree of tests/lib/package.sh makes it, DEB the package. Every
test boots a fresh machine, so a test may break what it likes. A new promise of the unit, the
maintainer scripts or the journal gets its test in the module of its subject.
"""

import os
import re
import signal
import subprocess
import sys
import unittest

from doctor import Doctor
from install import Install
from journal import Journal
from restart import Restart
from sandbox import Sandbox
from service import Service
from story import PackageTest
from watchdog import Watchdog

__all__ = ["Doctor", "Install", "Journal", "Restart", "Sandbox", "Service", "Watchdog"]


# Machines at a time: they mostly wait.
SHARDS = 2


def main():
    if len(sys.argv) < 3 or os.geteuid() != 0:
        sys.exit("usage (as root): tests/package/package_test.py TREE DEB [Class.test ...]")
    # So that the machines are powered off.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    passed, failed = run(sys.argv[3:]) if sys.argv[3:] else run_all()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


def run(names):
    PackageTest.tree, PackageTest.deb = sys.argv[1:3]
    program = unittest.main(argv=[sys.argv[0], *names], verbosity=2, exit=False)
    failed = len(program.result.failures) + len(program.result.errors)
    return program.result.testsRun - failed - len(program.result.skipped), failed


def run_all():
    """Everything, in processes beside each other; what they say comes one after the other."""
    tests = tests_of(unittest.defaultTestLoader.loadTestsFromName("__main__"))
    names = [f"{type(test).__name__}.{test._testMethodName}" for test in tests]
    shards = [subprocess.Popen([*sys.argv, *names[at::SHARDS]], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT) for at in range(SHARDS)]
    counts = []
    try:
        for shard in shards:
            said = shard.communicate()[0]
            found = re.search(r"^(\d+) passed, (\d+) failed\n\Z", said, re.M)
            print(said[:found.start()] if found else said, end="", flush=True)
            # Without its last line a shard has failed, whatever it has done before.
            counts.append([int(count) for count in found.groups()] if found else [0, 1])
    finally:
        for shard in shards:
            shard.terminate()
            shard.wait()
    return [sum(count) for count in zip(*counts)]


def tests_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


if __name__ == "__main__":
    main()
