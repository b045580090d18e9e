"""Runs a program's tests, in processes beside each other, and counts what came of them."""

import os
import re
import signal
import subprocess
import sys
import unittest

# Machines at a time: they mostly wait.
SHARDS = 2


def main(*arguments):
    """`arguments` are those that stand before the names of tests, in words for people."""
    if len(sys.argv) < 1 + len(arguments) or os.geteuid() != 0:
        sys.exit(f"usage (as root): {sys.argv[0]} {' '.join(arguments)} [Class.test ...]")
    # So that the machines are powered off.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    before, names = sys.argv[:1 + len(arguments)], sys.argv[1 + len(arguments):]
    passed, failed = run(names) if names else run_all(before)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


def run(names):
    program = unittest.main(argv=[sys.argv[0], *names], verbosity=2, exit=False)
    failed = len(program.result.failures) + len(program.result.errors)
    return program.result.testsRun - failed - len(program.result.skipped), failed


def run_all(command):
    """Everything, in processes beside each other; what they say comes one after the other."""
    tests = tests_of(unittest.defaultTestLoader.loadTestsFromName("__main__"))
    names = [f"{type(test).__name__}.{test._testMethodName}" for test in tests]
    shards = [subprocess.Popen([*command, *names[at::SHARDS]], text=True, stdout=subprocess.PIPE,
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
