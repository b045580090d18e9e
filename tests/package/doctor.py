"""What an administrator asks a machine: `wsfleetd doctor`, `status`, `top`, by hand and as root."""

import json

from story import PackageTest

# Lower than whatever limit a shell has, so that it can be told from it.
DESCRIPTORS = 4096
SPARE = 512

# No daemon answers: src/lifecycle/exit.rs.
EX_UNAVAILABLE = 69

# A shell in which the daemon could not serve, and which systemd has handed no secrets.
BY_HAND = ["prlimit", "--nofile=600:600", "--"]


class Doctor(PackageTest):

    def setUp(self):
        super().setUp()
        self.drop_in(f"LimitNOFILE={DESCRIPTORS}")
        self.configure()

    def doctor(self, *options, status=0):
        """What it says in words, and its JSON, which must come to the same."""
        command = [*BY_HAND, "wsfleetd", "doctor", *options]
        said = self.machine.run(*command, status=status)
        report = json.loads(self.machine.run(*command, "--json", status=status))
        for finding in report["checks"]:
            self.assertIn(finding["check"], said)
        self.assertEqual(set(report), {"verdict", "todo", "checks"})
        return said, report

    def finding(self, report, check):
        found, = [one for one in report["checks"] if one["check"] == check]
        return found["verdict"], found["found"]

    def test_on_a_healthy_machine_nothing_is_wrong(self):
        # The kernel's settings that came with the package, as the next boot would apply them.
        self.machine.run("sysctl", "--load=/usr/lib/sysctl.d/50-wsfleetd.conf")
        self.start()
        said, report = self.doctor("--strict")
        self.assertTrue(said.endswith("\nNothing is wrong.\n"), said)
        self.assertEqual((report["verdict"], report["todo"]), ("ok", []), said)
        for check in ("configuration", "users", "timeouts", "limits.descriptors", "kernel", "daemon"):
            self.assertEqual(self.finding(report, check)[0], "ok", said)

    def test_the_limits_are_those_of_the_service_and_not_of_the_shell(self):
        expected = f"may open {DESCRIPTORS} files: {DESCRIPTORS - SPARE} connections"
        self.assertEqual(self.finding(self.doctor()[1], "limits.descriptors"), ("ok", f"wsfleetd.service {expected}"))
        self.start()
        # What the process has, and not what the unit would give the next one.
        self.drop_in(f"LimitNOFILE={DESCRIPTORS // 2}")
        self.assertEqual(self.finding(self.doctor()[1], "limits.descriptors"), ("ok", f"the daemon {expected}"))

    def test_a_redis_that_is_not_there_fails_it_and_is_the_first_to_be_looked_at(self):
        # Nothing listens on this machine but the daemon.
        self.configure('[redis]\nurl = "redis://127.0.0.1:6399/"\n', users=())
        said, report = self.doctor(status=1)
        self.assertEqual(report["todo"][0], "redis", said)
        self.assertRegex(said, r"\nWhat to do, the first first:\n  1\. redis: \w")
        verdict, found = self.finding(report, "redis")
        self.assertEqual(verdict, "error")
        self.assertIn("Connection refused", found)
        self.assertEqual(self.finding(report, "redis.message"), ("skipped", "Redis cannot be reached"))

    def test_a_setting_that_is_refused_is_named_with_its_file_and_line(self):
        self.start()
        self.machine.write("/etc/wsfleetd/conf.d/60-bad.toml", "[websocket]\nping_intervall = 1\n")
        said, report = self.doctor(status=78)
        self.assertIn("/etc/wsfleetd/conf.d/60-bad.toml:2: websocket.ping_intervall", said)
        self.assertEqual(report["todo"], ["configuration"], said)

    def test_status_and_top_show_the_daemon_and_its_connections(self):
        self.machine.run("wsfleetd", "status", status=EX_UNAVAILABLE)
        self.start()
        self.connect("Sunil")
        status = self.machine.run("wsfleetd", "status")
        self.assertIn(f"connections  1 of {DESCRIPTORS - SPARE}\n", status)
        self.assertEqual(json.loads(self.machine.run("wsfleetd", "status", "--json"))["connections"]["open"], 1)
        frame = self.machine.run("wsfleetd", "top", "--once")
        self.assertIn(f"connections  1 of {DESCRIPTORS - SPARE} ", frame)
        self.assertNotIn("\x1b", frame)
        self.assertIn("Sunil", self.machine.run("wsfleetd", "connections"))
