"""What an administrator reads: the status line and the journal."""

import time

from load import Load
from story import APP, GIVEN_KEY, PackageTest, bearer
from websocket import token


# "Log records were dropped" in src/telemetry/events.rs.
RECORDS_DROPPED = "77508acd944a498bbcc6ab242a9b8482"


class Journal(PackageTest):

    def test_status_says_in_words_what_the_daemon_is_doing(self):
        self.configure()
        self.start()
        status = self.machine.run("systemctl", "status", "wsfleetd")
        self.assertRegex(status, r'Status: "serving 0 connections, 0 messages/s; alone; users from a file"')
        self.assertIn("man:wsfleetd(8)", status)

    def test_a_journald_that_stands_still_stalls_nobody_and_its_losses_are_told(self):
        self.drop_in("WatchdogSec=3s")
        # Each connection is worth several records.
        self.configure('[telemetry]\nlevel = "debug"\n')
        self.start()
        journald = self.machine.property("MainPID", "systemd-journald.service")
        with Load(self.machine, APP, "Sunil", bearer("Sunil")) as load:
            time.sleep(1)
            self.machine.run("kill", "-STOP", journald)
            before = load.rounds
            time.sleep(15)
            meanwhile = load.rounds - before
            self.machine.run("kill", "-CONT", journald)
            time.sleep(1)
        print(f"{meanwhile} rounds without journald, {load}", end=" ", flush=True)
        self.assertEqual((load.refused, load.sent_away, load.errors), (0, 0, []), str(load))
        self.assertGreater(meanwhile, 1000, str(load))
        self.assertLess(load.slowest, 3, str(load))
        self.assert_state(ActiveState="active", NRestarts="0")
        told = f"MESSAGE_ID={RECORDS_DROPPED}"
        self.eventually(lambda: self.machine.journal(told), "the loss is told")
        lost = sum(int(record["COUNT"]) for record in self.machine.journal(told))
        self.assertGreater(lost, 1000, "journald was given all of it: that was no load")

    def test_records_read_well_and_carry_their_facts_as_fields(self):
        self.configure()
        self.start()
        self.connect("Sunil").abort()
        self.machine.run("systemctl", "stop", "wsfleetd")
        own = [r for r in self.machine.journal() if r.get("_COMM") == "wsfleetd"]
        self.assertGreaterEqual(len(own), 2, "it says at least that it is ready, and that it stopped")
        for record in own:
            self.assertEqual(record["SYSLOG_IDENTIFIER"], "wsfleetd")
            # journald hands out a text with control characters (colours) as a list of bytes.
            self.assertIsInstance(record["MESSAGE"], str)
            self.assertNotRegex(record["MESSAGE"], r"^\d{4}-\d\d-\d\d", "the journal has its own clock")
        self.assertTrue(any("INSTANCE_ID" in record for record in own), own)
        self.assertEqual([r["MESSAGE"] for r in own if int(r["PRIORITY"]) <= 3], [])
        secrets = [GIVEN_KEY.decode().strip(), "Hey!!", token("Sunil", GIVEN_KEY).split(".")[0] + "."]
        for secret in secrets:
            self.assertNotIn(secret, str(own))

    def test_every_event_is_explained_by_the_catalog(self):
        self.configure()
        self.start()
        self.machine.run("systemctl", "stop", "wsfleetd")
        ids = {r["MESSAGE_ID"] for r in self.machine.journal()
               if r.get("_COMM") == "wsfleetd" and "MESSAGE_ID" in r}
        self.assertTrue(ids, "ready and stopped are events")
        for event in ids:
            explained = self.machine.run("journalctl", "--catalog", "--no-pager", f"MESSAGE_ID={event}")
            self.assertIn("Defined-By: wsfleetd", explained)
