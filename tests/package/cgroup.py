"""A control group of its own for each machine.

The init of a container makes its units' groups below the group that it was started in, and removes
them when they end. Two machines in one group would remove each other's: a unit then fails to start
(219/CGROUP) that nothing is wrong with.
"""

import os
import pathlib

# Where a version 1 hierarchy has these, a new group has no processor until it is given one.
UNUSED_CONTROLLERS = {"cpuset"}

# Of the processor, beside others: the highest that the one version and the other take.
MOST = {"cpu.shares": "262144", "cpu.weight": "10000"}


class ControlGroup:
    """A group below this process's own, in every hierarchy that there is."""

    def __init__(self, name):
        self.directories = [directory / name for directory in own_directories()]
        for directory in self.directories:
            directory.mkdir(exist_ok=True)

    def enter(self):
        """Moves the calling process, and what it will start."""
        for directory in self.directories:
            (directory / "cgroup.procs").write_text("0")

    def leave(self):
        """Moves the calling process out again."""
        for directory in self.directories:
            (directory.parent / "cgroup.procs").write_text("0")

    def go_first(self):
        """Whatever else the host has to do: for those whose time is taken."""
        for directory in self.directories:
            for name, most in MOST.items():
                if (directory / name).exists():
                    (directory / name).write_text(most)

    def remove(self):
        """Once nobody is in it."""
        for directory in self.directories:
            for below, _, _ in os.walk(directory, topdown=False):
                try:
                    os.rmdir(below)
                except OSError:  # somebody is in it still: it is empty space, and no more
                    pass


def own_directories():
    """Where this process's groups are: proc(5), /proc/PID/cgroup and /proc/PID/mountinfo."""
    mounted = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split()
        for name in hierarchies(kind, options):
            mounted[name] = (root, pathlib.Path(mount))
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        name = controllers.split(",")[0]
        if name in mounted and name not in UNUSED_CONTROLLERS:
            root, mount = mounted[name]
            yield mount / os.path.relpath(path, root)


def hierarchies(kind, options):
    """Of a mount: `""` is that of version 2."""
    if kind == "cgroup2":
        return [""]
    return options.split(",") if kind == "cgroup" else []
