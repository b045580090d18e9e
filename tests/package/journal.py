"""What an administrator reads: the status line and the journal."""

import pathlib
import re
import time

from load import Load
from story import APP, GIVEN_KEY, PackageTest, bearer
from websocket import token

# Where every MESSAGE_ID is.
EVENTS = pathlib.Path(__file__).parents[2] / "src/telemetry/events.rs"


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
        dropped = event_id("RECORDS_DROPPED")
        told = f"MESSAGE_ID={dropped}"
        self.eventually(lambda: self.machine.journal(told), "the loss is told")
        lost = sum(int(record["COUNT"]) for record in self.machine.journal(told))
        self.assertGreater(lost, 1000, "journald was given all of it: that was no load")
        counts = {record["COUNT"] for record in self.machine.journal(told)}
        for count in counts:
            self.assertIn(f"their number ({count}) is here", self.explained(dropped))

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

    def test_what_the_daemon_tells_is_explained_by_the_catalog(self):
        self.configure()
        self.start()
        self.machine.run("systemctl", "stop", "wsfleetd")
        ids = {r["MESSAGE_ID"] for r in self.machine.journal()
               if r.get("_COMM") == "wsfleetd" and "MESSAGE_ID" in r}
        self.assertGreaterEqual(ids, {event_id("READY"), event_id("DRAINED")})
        for event in ids:
            self.assertIn("Defined-By: wsfleetd", self.explained(event))

    def test_every_event_there_is_would_be_explained_with_what_to_do_and_its_fields_filled_in(self):
        ids = re.findall(r'^    \w+ = "([0-9a-f]{32})";$', EVENTS.read_text(), re.M)
        self.assertGreater(len(ids), 20, "most of the events were not seen")
        for event in ids:
            # Not from the daemon: nobody reaps a peer or loses PostgreSQL on a lone machine.
            record = f"MESSAGE_ID={event}\nMESSAGE=an event\nPEER_ID=i-0123\nCOUNT=4711\n"
            self.machine.run("logger", "--journald", stdin=record)
        self.machine.run("journalctl", "--sync")
        for event in ids:
            explained = self.explained(event)
            self.assertRegex(explained, r"Subject: \w.*\n.*Defined-By: wsfleetd\n", event)
            self.assertRegex(explained, r"What to do: \w", event)
            self.assertNotRegex(explained, r"@[A-Z_]+@", event)
        self.assertIn("i-0123", self.explained(event_id("PEER_REAPED")))

    def explained(self, event):
        """What `journalctl -x` says about an event."""
        return self.machine.run("journalctl", "--catalog", "--no-pager", f"MESSAGE_ID={event}")


def event_id(name):
    return re.search(rf'^    {name} = "([0-9a-f]{{32}})";$', EVENTS.read_text(), re.M)[1]
