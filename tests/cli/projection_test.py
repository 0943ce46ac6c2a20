#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cairn projection, beside a service that runs and of one that is stopped."""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

import cli_test
from cli_test import SLOW

TILL_SERVICE = None


class Projections(cli_test.Program):
    def service(self, *options):
        """A service that runs: what it sells is said to it."""
        process = subprocess.Popen([TILL_SERVICE, self.data, *options], env=self.env,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.unread = b""

        def clean_up():
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                stream.close()
        self.addCleanup(clean_up)
        self.assertEqual(self.read_line(process), b"ready\n")
        return process

    def sell(self, service, sku, quantity):
        service.stdin.write(f"{sku} {quantity}\n".encode())
        service.stdin.flush()
        self.assertEqual(self.read_line(service), b"sold\n")

    def end(self, service):
        service.stdin.close()
        self.assertEqual(service.wait(SLOW), 0, service.stderr.read())

    def projection(self, *words):
        return self.cairn("projection", *words)

    def status(self):
        (status,) = self.projection("status", "--format", "json").json
        return status

    def until(self, holds):
        """The status, as soon as it is such."""
        deadline = time.monotonic() + SLOW
        while not holds(status := self.status()):
            self.assertLess(time.monotonic(), deadline, status)
        return status

    def caught_up(self):
        return self.until(lambda s: s["lag"] == 0 and s["rebuild"] is None)

    # ---- Beside a service. -----------------------------------------------------------------

    def test_status_of_a_service(self):
        service = self.service()
        self.caught_up()
        lines = self.projection("status").lines
        self.assertEqual(lines[0].split(), ["PROJECTION", "VERSION", "STATE", "POSITION", "LAG",
                                            "LAG-TIME", "RATE", "PARKED", "ERROR"])
        self.assertEqual(lines[1].split()[:3], ["best_sellers", "1", "following"])
        self.assertEqual(len(lines), 2)
        status = self.status()
        self.assertEqual((status["projection"], status["version"], status["state"]),
                         ("best_sellers", 1, "following"))
        self.assertEqual((status["parked"], status["lag"], status["error"]), (2, 0, ""))
        self.assertEqual([v["version"] for v in status["versions"]], [1])
        self.assertEqual({p["topic"] for p in status["versions"][0]["partitions"]}, {"tills"})
        self.assertEqual(status["partitions"], [])  # it is in no group
        versions = self.projection("status", "best_sellers", "--versions").lines
        self.assertEqual(versions[0].split()[:3], ["PROJECTION", "VERSION", "ANSWERS"])
        self.fails("invalid_argument", "projection", "status", "worst_sellers")
        self.assertEqual(self.cairn("generate", "projections").lines, ["best_sellers"])
        self.end(service)

    def test_what_no_runner_of_the_service_feeds_is_said_to_be_so(self):
        self.stopped()
        # As a projection leaves it that has got another name.
        tables = pathlib.Path(self.data, "projections")
        shutil.copytree(tables / "best_sellers@2", tables / "old_sellers@2")
        shutil.copy(tables / "best_sellers.active", tables / "old_sellers.active")
        service = self.service()
        fed, not_fed = self.projection("status", "-f", "json").json
        self.assertEqual((fed["projection"], fed["parked"]), ("best_sellers", 2))
        self.assertEqual((not_fed["projection"], not_fed["state"], not_fed["version"]),
                         ("old_sellers", "not fed", 2))
        self.assertEqual((not_fed["lag"], not_fed["lag_ms"], not_fed["parked"]),
                         (None, None, None))
        self.assertIn("not fed", self.projection("status").lines[2])
        (named,) = self.projection("status", "old_sellers", "-f", "json").json
        self.assertEqual(named, not_fed)
        self.assertEqual(self.projection("status", "best_sellers", "-f", "json").json[0]["state"],
                         fed["state"])
        self.fails("invalid_argument", "projection", "status", "worst_sellers")
        self.assertEqual(self.cairn("generate", "projections").lines,
                         ["best_sellers", "old_sellers"])
        self.end(service)

    def test_watching_goes_on_until_it_is_interrupted(self):
        service = self.service()
        watching = self.start("projection", "status", "--watch", "--every", "10ms", "-f", "json")
        for _ in range(3):
            self.assertEqual(json.loads(self.read_line(watching))["projection"], "best_sellers")
        watching.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(SLOW), 0)
        self.end(service)
        self.fails("usage", "projection", "status", "--every", "soon")

    def test_pausing_and_resuming_also_over_a_restart(self):
        service = self.service()
        self.caught_up()
        self.assertIn("is paused", self.projection("pause", "best_sellers").out)
        self.sell(service, "bulb", 1)
        self.assertEqual((self.status()["state"], self.status()["lag"]), ("paused", 1))
        self.end(service)
        service = self.service()
        self.assertEqual(self.status()["state"], "paused")
        self.assertIn("goes on", self.projection("resume", "best_sellers").out)
        self.caught_up()
        self.end(service)

    def test_rebuilding_swapping_back_and_dropping(self):
        service = self.service()
        self.assertIn("version 2 of best_sellers is built, and answers",
                      self.projection("rebuild", "best_sellers", "--wait").out)
        self.assertEqual(self.status()["version"], 2)
        self.projection("swap", "best_sellers", 1)
        self.assertEqual(self.status()["version"], 1)
        shown = self.projection("drop", "best_sellers", 2)
        self.assertIn("would drop version 2", shown.out)
        self.assertIn("--execute", shown.err)
        self.assertEqual(len(self.status()["versions"]), 2)
        self.projection("drop", "best_sellers", 2, "--execute")
        self.assertEqual(len(self.status()["versions"]), 1)
        self.fails("invalid_argument", "projection", "drop", "best_sellers", 1)
        self.fails("invalid_argument", "projection", "drop", "best_sellers", 7)
        self.fails("usage", "projection", "drop", "best_sellers", 0)
        self.fails("usage", "projection", "swap", "best_sellers")
        (begun,) = self.projection("rebuild", "best_sellers", "-f", "json").json
        self.assertEqual((begun["version"], begun["done"]), (3, False))
        self.until(lambda s: s["version"] == 3)
        self.assertIn("no rebuild", self.projection("rebuild", "best_sellers", "--cancel").out)
        self.end(service)

    def test_waiting_for_a_rebuild_of_what_is_paused_does_not_last(self):
        service = self.service()
        self.projection("pause", "best_sellers")
        ended = self.fails("rebuild_ended", "projection", "rebuild", "best_sellers", "--wait")
        self.assertIn("paused", ended.err)
        self.projection("resume", "best_sellers")
        self.until(lambda s: s["version"] == 2)
        self.end(service)

    def test_a_rebuild_shows_its_progress_on_a_terminal(self):
        service = self.service()
        self.assertIn("version 2 of best_sellers is built",
                      self.on_a_terminal("projection", "rebuild", "best_sellers", "--wait"))
        self.end(service)

    def test_resetting(self):
        service = self.service()
        self.caught_up()
        shown = self.projection("reset", "best_sellers")
        self.assertIn("would throw away version 1", shown.out)
        self.assertEqual(self.status()["version"], 1)
        (done,) = self.projection("reset", "best_sellers", "--execute", "-f", "json").json
        self.assertTrue(done["executed"])
        self.assertEqual(self.caught_up()["version"], 2)
        self.assertEqual(len(self.status()["versions"]), 1)
        self.end(service)

    def test_what_is_parked(self):
        service = self.service()
        self.until(lambda s: s["parked"] == 2)
        lines = self.projection("parked", "list", "best_sellers").lines
        self.assertEqual(lines[0].split()[:4], ["TOPIC", "PARTITION", "OFFSET", "KEY"])
        self.assertIn("nothing was sold", lines[1])
        self.assertIn("waits behind", lines[2])
        first, second = self.projection("parked", "list", "best_sellers", "-f", "json").json
        self.assertEqual((first["key"], first["type"], first["attempts"]), ("lamp", "ItemSold", 1))
        self.assertEqual(second["attempts"], 0)
        few = self.projection("parked", "list", "best_sellers", "--max", 1, "-f", "json")
        self.assertEqual(few.json, [first])
        self.assertIn("there are more", few.err)

        self.assertIn("handled 0 events; 2 are parked still",
                      self.projection("parked", "retry", "best_sellers").out)
        where = [f"{first['topic']}:{first['partition']}", first["offset"]]
        skip = ["parked", "skip", "best_sellers", *where]
        self.assertIn("would give up", self.projection(*skip).out)
        self.assertEqual(self.status()["parked"], 2)
        self.assertIn("gave up", self.projection(*skip, "--execute").out)
        self.fails("invalid_argument", "projection", *skip)
        self.fails("usage", "projection", "parked", "skip", "best_sellers", "tills", 1)
        self.assertIn("handled 1 event; 0 are parked still",
                      self.projection("parked", "retry", "best_sellers").out)
        self.assertIn("nothing of best_sellers is parked",
                      self.projection("parked", "list", "best_sellers").err)
        self.end(service)

    def test_skipping_what_it_stands_before(self):
        service = self.service("--stop")
        failed = self.until(lambda s: s["state"] == "failed")
        self.assertIn("nothing was sold", failed["error"])
        at = failed["stands_before"]
        self.fails("invalid_argument", "projection", "skip", "best_sellers", "--position", at + 1)
        self.assertIn(f"would skip position {at}", self.projection("skip", "best_sellers").out)
        self.assertEqual(self.status()["stands_before"], at)
        self.projection("skip", "best_sellers", "--position", at, "--execute")
        self.until(lambda s: s["state"] == "following" and s["lag"] == 0)
        self.fails("invalid_argument", "projection", "skip", "best_sellers")
        self.end(service)

    def test_verifying(self):
        service = self.service()
        self.projection("parked", "retry", "best_sellers")
        self.caught_up()
        (same,) = self.projection("verify", "-f", "json").json
        self.assertEqual((same["projection"], same["ok"]), ("best_sellers", True))
        self.assertIn("the same", self.projection("verify", "best_sellers").lines[1])
        self.end(service)
        # Another code counts what this one has parked.
        service = self.service("--mended")
        ended = self.fails("tables_differ", "projection", "verify")
        self.assertIn("different: sold", ended.out)
        self.end(service)

    # ---- Without one. ------------------------------------------------------------------------

    def stopped(self):
        service = self.service()
        self.projection("rebuild", "best_sellers", "--wait")
        self.until(lambda s: s["parked"] == 2 and s["lag"] == 0)
        self.end(service)

    def test_what_tables_alone_can_tell_is_told_without_a_service(self):
        self.stopped()
        status = self.status()
        self.assertEqual((status["version"], status["state"], status["parked"], status["lag"]),
                         (2, "idle", 2, 0))
        self.assertEqual(len(status["versions"]), 2)
        self.assertEqual(self.cairn("generate", "projections").lines, ["best_sellers"])
        self.projection("swap", "best_sellers", 1)
        self.projection("drop", "best_sellers", 2)
        self.assertEqual(len(self.status()["versions"]), 2)
        self.projection("drop", "best_sellers", 2, "--execute")
        self.projection("pause", "best_sellers")
        self.assertEqual((self.status()["version"], self.status()["state"]), (1, "paused"))
        self.projection("resume", "best_sellers")
        first, _ = self.projection("parked", "list", "best_sellers", "-f", "json").json
        skip = ["parked", "skip", "best_sellers", f"tills:{first['partition']}", first["offset"]]
        self.projection(*skip)
        self.assertEqual(self.status()["parked"], 2)
        self.projection(*skip, "--execute")
        self.assertEqual(self.status()["parked"], 1)
        service = self.service()
        self.projection("parked", "retry", "best_sellers")
        self.assertEqual(self.status()["parked"], 0)
        self.end(service)

    def test_what_needs_the_code_says_so(self):
        self.stopped()
        for words in (["rebuild", "best_sellers"], ["reset", "best_sellers"],
                      ["skip", "best_sellers"], ["verify"], ["parked", "retry", "best_sellers"]):
            self.assertIn("start it", self.fails("not_served", "projection", *words).err)

    def test_where_tables_are_may_be_said(self):
        self.stopped()
        tables = os.path.join(self.data, "projections")
        elsewhere = os.path.join(self.scratch.name, "elsewhere")
        os.rename(tables, elsewhere)
        self.fails("no_tables", "projection", "status")
        (status,) = self.projection("status", "--tables", elsewhere, "-f", "json").json
        self.assertEqual(status["projection"], "best_sellers")
        file = os.path.join(self.scratch.name, "tables.sqlite")
        pathlib.Path(file).write_bytes(b"")
        self.assertIn("no projections", self.projection("status", "--tables", file).err)

    def test_a_service_that_was_killed_leaves_a_socket_and_its_tables(self):
        service = self.service()
        self.until(lambda s: s["parked"] == 2)
        service.kill()
        service.wait(SLOW)
        self.assertTrue(os.path.exists(os.path.join(self.data, "control.sock")))
        self.assertEqual(self.status()["parked"], 2)
        self.fails("not_served", "projection", "verify")
        service = self.service()
        self.assertEqual(self.caught_up()["state"], "following")
        self.end(service)

    def test_a_log_without_projections_or_no_log_at_all(self):
        self.fails("not_a_data_directory", "projection", "status")
        self.cairn("topic", "create", "t")
        self.fails("no_tables", "projection", "status")


def main():
    global TILL_SERVICE
    options = argparse.ArgumentParser()
    options.add_argument("--cairn", required=True)
    options.add_argument("--till-service", required=True)
    options, rest = options.parse_known_args()
    cli_test.CAIRN, TILL_SERVICE = map(os.path.abspath, (options.cairn, options.till_service))
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
