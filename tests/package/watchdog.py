"""The watchdog is fed by progress: whatever stands still, systemd replaces the process."""

import time

from frozen import freeze, threads_of
from story import PackageTest

# What the daemon's main task and its listeners may be silent for (HEART_LIMIT in src/daemon.rs).
HEART_SECONDS = 10
WATCHDOG_SECONDS = 3


class Watchdog(PackageTest):

    def setUp(self):
        super().setUp()
        self.drop_in(f"WatchdogSec={WATCHDOG_SECONDS}s")

    def host_pid(self):
        """The main process as the host counts."""
        for line in self.machine.host_processes():
            if line[1] == "wsfleetd":
                return line[0]
        self.fail("no such process")

    def assert_replaced(self, pid, within):
        self.eventually(lambda: self.machine.property("NRestarts") == "1", "replaced", within)
        self.eventually(lambda: self.machine.property("ActiveState") == "active", "active")
        self.assertNotEqual(self.main_pid(), pid)
        self.assertIn("watchdog", self.machine.run("journalctl", "--no-pager", "--unit=wsfleetd").lower())
        self.assert_talks(self.connect("Sunil"), "Sunil")

    def test_it_is_fed_and_a_frozen_daemon_is_replaced(self):
        self.configure()
        self.start()
        pid = self.main_pid()
        time.sleep(WATCHDOG_SECONDS * 2.5)
        self.assertEqual(self.main_pid(), pid, "alive after more than two limits")
        self.machine.run("kill", "-STOP", str(pid))
        self.assert_replaced(pid, WATCHDOG_SECONDS * 3)

    def test_a_daemon_whose_main_task_hangs_is_replaced_though_it_goes_on_serving(self):
        self.configure()
        self.start()
        pid = self.main_pid()
        freeze(self.host_pid())
        self.assert_talks(self.connect("Sunil"), "Sunil")
        self.assert_replaced(pid, HEART_SECONDS + WATCHDOG_SECONDS * 3)
        stalled = [text for text in self.messages() if "no longer fed" in text]
        self.assertTrue(stalled and stalled[0].startswith("main has made no progress"), self.messages())

    def test_a_daemon_whose_runtime_stands_still_is_replaced(self):
        self.configure()
        self.start()
        pid, host_pid = self.main_pid(), self.host_pid()
        workers = [tid for tid, name in threads_of(host_pid).items() if name.startswith("tokio")]
        self.assertTrue(workers, threads_of(host_pid))
        for worker in workers:
            freeze(worker)
        self.assert_replaced(pid, WATCHDOG_SECONDS * 3)
