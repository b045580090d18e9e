"""One process after the other: what clients notice of a restart, an upgrade, a crash and a stop."""

import time

from load import Load
from story import APP, PackageTest, bearer

# A client that connects while one process follows the other waits this long at most.
GAP_SECONDS = 5


class Restart(PackageTest):

    def load(self):
        return Load(self.machine, APP, "Sunil", bearer("Sunil"))

    def assert_nobody_was_refused(self, load):
        print(load, end=" ", flush=True)
        self.assertEqual((load.refused, load.errors), (0, []), str(load))
        self.assertGreater(load.rounds, 200, f"that was no load: {load}")
        self.assertLess(load.slowest, GAP_SECONDS, str(load))

    def test_three_restarts_under_load_refuse_nobody(self):
        self.configure()
        self.start()
        pids = [self.main_pid()]
        with self.load() as load:
            for _ in range(3):
                time.sleep(1)
                self.machine.run("systemctl", "restart", "wsfleetd")
                pids.append(self.main_pid())
            time.sleep(1)
        self.assert_nobody_was_refused(load)
        self.assertEqual(len(set(pids)), 4, pids)
        self.assert_state(ActiveState="active", Result="success", NRestarts="0", NFileDescriptorStore="3")

    def test_an_upgrade_under_load_refuses_nobody(self):
        self.configure()
        self.start()
        pid = self.main_pid()
        with self.load() as load:
            time.sleep(1)
            self.machine.run("dpkg", "--install", "/root/wsfleetd.deb")
            time.sleep(1)
        self.assert_nobody_was_refused(load)
        self.assertNotEqual(self.main_pid(), pid)
        self.assert_state(ActiveState="active", NRestarts="0")

    def test_a_crash_keeps_the_ports_and_whoever_waits_is_served(self):
        self.configure()
        self.start()
        self.machine.run("kill", "-KILL", str(self.main_pid()))
        # Nobody is there to accept, for RestartSec; and yet:
        self.assert_talks(self.connect("Sunil"), "Sunil")
        self.assert_state(ActiveState="active", NRestarts="1", NFileDescriptorStore="3")

    def test_a_stop_refuses_at_once_and_may_take_its_time(self):
        # Less than what the client below costs: the daemon asks for more while it drains.
        self.drop_in("TimeoutStopSec=1s")
        self.configure()
        self.start()
        mute = self.connect("Sunil")
        began = time.monotonic()
        self.machine.run("systemctl", "stop", "--no-block", "wsfleetd")
        self.eventually(lambda: self.machine.property("ActiveState") == "deactivating", "stopping")
        with self.assertRaises(ConnectionRefusedError):
            self.machine.connect(APP)
        self.eventually(lambda: self.machine.property("StatusText").startswith("draining: 1 of 1"),
                        "it says what it is doing")
        self.eventually(lambda: self.machine.property("ActiveState") == "inactive", "stopped")
        self.assertGreater(time.monotonic() - began, 1.5, "the client held nothing up")
        self.assert_state(Result="success", ExecMainStatus="0", NFileDescriptorStore="0")
        self.assertEqual(mute.receive()[0], 1001)
