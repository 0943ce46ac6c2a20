#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program cairn, as its users run it: what it prints, what it ends with, what it refuses."""
import argparse
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

CAIRN = None     # the program; set in main
SHOP_LOG = None  # makes a log with events
SLOW = 60     # seconds; under a sanitizer things take their time


class Ended:
    """What a run of the program came to."""

    def __init__(self, code, out, err):
        self.code, self.raw, self.err = code, out, err.decode("utf-8", "backslashreplace")

    @property
    def out(self):
        return self.raw.decode("utf-8")

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def json(self):
        return [json.loads(line) for line in self.lines]


class Program(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="cairn-cli-test-")
        self.addCleanup(self.scratch.cleanup)
        self.data = os.path.join(self.scratch.name, "data")
        self.env = {**os.environ, "CAIRN_DATA": self.data}
        self.env.pop("NO_COLOR", None)

    def run_cairn(self, *words, stdin=b"", env=None):
        if isinstance(stdin, str):
            stdin = stdin.encode()
        ended = subprocess.run([CAIRN, *map(str, words)], input=stdin, capture_output=True,
                               env=env or self.env, timeout=SLOW, check=False)
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def cairn(self, *words, stdin=b""):
        """A run that must go well."""
        ended = self.run_cairn(*words, stdin=stdin)
        self.assertEqual(ended.code, 0, f"cairn {' '.join(map(str, words))}\n{ended.err}")
        return ended

    def fails(self, code, *words, stdin=b""):
        """A run that must fail with that code, and say so as all of them do."""
        ended = self.run_cairn(*words, stdin=stdin)
        expected = 2 if code == "usage" else 1
        self.assertEqual((ended.code, ended.err.strip().splitlines()[-1:][0][-len(code) - 2:]),
                         (expected, f"[{code}]"), ended.err)
        self.assertTrue(ended.err.splitlines()[-1].startswith("cairn: "), ended.err)
        return ended

    def start(self, *words, **more):
        process = subprocess.Popen([CAIRN, *map(str, words)], env=self.env,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        process.unread = b""

        def clean_up():
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        self.addCleanup(clean_up)
        return process

    def read_line(self, process):
        """The next line that it prints, as soon as it is printed."""
        while b"\n" not in process.unread:
            ready, _, _ = select.select([process.stdout], [], [], SLOW)
            self.assertTrue(ready, "it prints nothing")
            process.unread += os.read(process.stdout.fileno(), 65536)
        line, _, process.unread = process.unread.partition(b"\n")
        return line + b"\n"

    def orders(self, count=10, partitions=4):
        """A topic `orders` with records of the keys o-0, o-1, o-2."""
        self.cairn("topic", "create", "orders", "--partitions", partitions)
        lines = "".join(f"o-{i % 3}:event {i}\n" for i in range(count))
        self.cairn("produce", "orders", "-K", ":", stdin=lines)

    def on_a_terminal(self, *words, **env):
        """What a run prints when stdout and stderr are a terminal."""
        mine, theirs = pty.openpty()
        process = subprocess.Popen([CAIRN, *words], stdin=subprocess.DEVNULL, stdout=theirs,
                                   stderr=theirs, env={**self.env, "TERM": "xterm", **env})
        os.close(theirs)
        text = b""
        while True:
            try:
                some = os.read(mine, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not some:
                break
            text += some
        os.close(mine)
        process.wait(SLOW)
        return text.decode()


class Commands(Program):
    # ---- topic ---------------------------------------------------------------------------

    def test_topics_are_made_listed_described_altered_and_deleted(self):
        self.assertIn("created orders with 3 partitions",
                      self.cairn("topic", "create", "orders", "--partitions", 3,
                                 "--config", "retention.ms=3600000",
                                 "--config", "cleanup.policy=compact,delete").out)
        self.assertEqual(self.cairn("topic", "list").lines[0].split(),
                         ["TOPIC", "PARTITIONS", "RECORDS", "BYTES", "CLEANUP", "RETENTION"])
        (topic,) = self.cairn("topic", "list", "--format", "json").json
        self.assertEqual(topic["topic"], "orders")
        self.assertEqual(len(topic["partitions"]), 3)
        self.assertEqual(topic["config"]["retention.ms"], "3600000")
        self.assertEqual(set(topic["config"]["cleanup.policy"].split(",")), {"compact", "delete"})

        self.assertIn("orders: 3 partitions, 0 records", self.cairn("topic", "describe", "orders").out)
        self.cairn("topic", "alter", "orders", "--partitions", 5, "--delete-config", "retention.ms",
                   "--config", "max.message.bytes=2000")
        (topic,) = self.cairn("topic", "describe", "orders", "--format", "json").json
        self.assertEqual(len(topic["partitions"]), 5)
        self.assertEqual(topic["config"]["retention.ms"], "-1")
        self.assertEqual(topic["config"]["max.message.bytes"], "2000")

        self.assertEqual(self.cairn("topic", "delete", "orders").out, "deleted orders\n")
        self.assertEqual(self.cairn("topic", "list", "--format", "json").json, [])
        self.assertIn("there are no topics", self.cairn("topic", "list").err)

    def test_a_topic_that_is_there_or_is_not(self):
        self.cairn("topic", "create", "t")
        self.fails("topic_exists", "topic", "create", "t")
        self.assertIn("there is already", self.cairn("topic", "create", "t", "--if-not-exists").out)
        self.fails("unknown_topic", "topic", "describe", "u")
        self.fails("unknown_topic", "topic", "alter", "u", "--partitions", 2)
        self.fails("unknown_topic", "topic", "delete", "u")
        self.cairn("topic", "delete", "u", "--if-exists")

    def test_what_no_topic_can_be(self):
        self.fails("illegal_topic_name", "topic", "create", "a/b")
        self.fails("illegal_topic_name", "topic", "create", "..")
        self.fails("illegal_partition_count", "topic", "create", "t", "--partitions", 0)
        self.fails("usage", "topic", "create", "t", "--partitions", 99999999999)
        self.fails("usage", "topic", "create", "t", "--partitions", "many")
        self.fails("usage", "topic", "create", "t", "--config", "retention.ms")
        self.fails("illegal_config", "topic", "create", "t", "--config", "retention.ms=soon")
        self.fails("illegal_config", "topic", "create", "t", "--config", "no.such.name=1")
        self.cairn("topic", "create", "t", "--partitions", 2)
        self.fails("illegal_partition_count", "topic", "alter", "t", "--partitions", 1)
        self.fails("usage", "topic", "alter", "t")

    # ---- produce and consume ---------------------------------------------------------------

    def test_lines_come_back_byte_for_byte(self):
        self.cairn("topic", "create", "t", "--partitions", 3)
        text = (b"plain\n\ndos\r\n\ttab\nnul\0byte\n\xff\xfe not UTF-8\n" + b"x" * 100_000 +
                b"\n" + "ünï\n".encode() + b"last")
        self.assertIn("9 records to t, positions", self.cairn("produce", "t", stdin=text).out)
        self.assertEqual(self.cairn("consume", "t").raw, text + b"\n")

    def test_a_csv_keyed_by_its_first_column_comes_back_in_order(self):
        self.cairn("topic", "create", "sales", "--partitions", 8)
        rows = [f'{"C" if i % 9 == 0 else ""}{i // 4},"a, ""quoted"" {i}",{i}' for i in range(20_000)]
        path = os.path.join(self.scratch.name, "sales.csv")
        pathlib.Path(path).write_text("\n".join(rows) + "\n", encoding="utf-8")
        self.cairn("produce", "sales", "--file", path, "--key-field", 1)
        back = self.cairn("consume", "sales")
        self.assertEqual(back.lines, rows)  # over all partitions: the order of the positions
        keys = self.cairn("consume", "sales", "-f", "%k\n").lines
        self.assertEqual(keys, [row.split(",")[0] for row in rows])
        partitions = self.cairn("consume", "sales", "-f", "%p\n").lines
        self.assertEqual(set(partitions), set("01234567"))
        by_key = {}
        for key, partition in zip(keys, partitions):
            self.assertEqual(by_key.setdefault(key, partition), partition)

    def test_where_keys_come_from(self):
        self.cairn("topic", "create", "t")
        self.cairn("produce", "t", "-K", "=>", stdin="k=>v=>w\n=>empty key\n")
        self.cairn("produce", "t", "-K", r"\t", stdin="a\tb\n")
        self.cairn("produce", "t", "--key", "all", stdin="x\ny\n")
        self.cairn("produce", "t", "--key-field", 2, "--field-separator", ";",
                   stdin='1;two;3\n1;"2;""x""";3\n')
        self.cairn("produce", "t", stdin="no key\n")
        self.assertEqual(self.cairn("consume", "t", "-f", "%K %k|%s\n").lines,
                         ["1 k|v=>w", "0 |empty key", "1 a|b", "3 all|x", "3 all|y",
                          "3 two|1;two;3", '5 2;"x"|1;"2;""x""";3', "-1 |no key"])
        self.fails("usage", "produce", "t", "-K", ":", "--key", "x")
        self.fails("usage", "produce", "t", "-K", "")
        self.fails("usage", "produce", "t", "--key-field", 0)

    def test_a_line_that_cannot_be_recorded_is_said_by_its_number(self):
        self.cairn("topic", "create", "t", "--config", "max.message.bytes=1000")
        ended = self.fails("input_failed", "produce", "t", "-K", ":", stdin="a:1\nb:2\nbad\nc:3\n")
        self.assertIn("line 3 has no key", ended.err)
        self.assertIn("tail -n +3", ended.err)
        self.assertEqual(self.cairn("consume", "t").lines, ["1", "2"])
        ended = self.fails("input_failed", "produce", "t", "--key-field", 2, stdin="a,1\nbad\n")
        self.assertIn("line 2 has no field 2", ended.err)
        ended = self.fails("input_failed", "produce", "t", stdin="ok\n" + "x" * 1001 + "\n")
        self.assertIn("line 2 is longer than", ended.err)
        # Short enough for a line, but not with what a batch puts around it.
        ended = self.fails("record_too_large", "produce", "t", stdin="ok\n" + "x" * 990 + "\nno\n")
        self.assertIn("line 2", ended.err)
        self.assertEqual(self.cairn("consume", "t").lines, ["1", "2", "a,1", "ok", "ok"])

    def test_headers_types_tags_and_null(self):
        self.cairn("topic", "create", "t")
        self.cairn("produce", "t", "--key", "k", "-H", "a=1", "-H", "b==2,", "--type", "Placed",
                   "--tag", "x", "--tag", "y,z", "--null-value", "NULL", stdin="NULL\nNULL \n")
        first, second = self.cairn("consume", "t", "--format", "json").json
        self.assertIsNone(first["value"])
        self.assertEqual(second["value"], "NULL ")
        self.assertEqual({h["name"]: h["value"] for h in first["headers"]},
                         {"a": "1", "b": "=2,", "ce_type": "Placed", "ce_tags": "x,y%2Cz"})
        self.assertEqual(self.cairn("consume", "t", "-f", "%S;").out, "-1;5;")
        self.fails("usage", "produce", "t", "-H", "no value", stdin="x\n")
        self.fails("empty_tag", "produce", "t", "--tag", "", stdin="x\n")

    def test_a_partition_may_be_said(self):
        self.cairn("topic", "create", "t", "--partitions", 3)
        self.cairn("produce", "t", "--partition", 2, stdin="a\nb\n")
        self.cairn("produce", "t", "--partition", 0, stdin="c\n")
        self.assertEqual(self.cairn("consume", "t", "-f", "%p@%o %s\n").lines,
                         ["2@0 a", "2@1 b", "0@0 c"])
        self.assertEqual(self.cairn("consume", "t", "--partition", 0).lines, ["c"])
        self.assertEqual(self.cairn("consume", "t", "--partition", "2,0").lines, ["a", "b", "c"])
        self.fails("partition_out_of_range", "produce", "t", "--partition", 3, stdin="x\n")
        self.fails("partition_out_of_range", "consume", "t", "--partition", 3)
        self.fails("usage", "consume", "t", "--partition", "x")

    def test_an_expected_version_is_a_condition_on_the_whole_input(self):
        self.cairn("topic", "create", "t")
        expect = ["produce", "t", "-K", ":", "--expected-version"]
        self.cairn(*expect, "no_stream", stdin="a:1\na:2\nb:1\n")
        ended = self.fails("wrong_expected_version", *expect, "no_stream", stdin="c:1\na:3\n")
        self.assertIn("a", ended.err)
        self.assertEqual(self.cairn("consume", "t", "-f", "%k%s ").out, "a1 a2 b1 ")
        self.cairn(*expect, "2", stdin="a:3\na:4\n")
        self.fails("wrong_expected_version", *expect, "2", stdin="a:5\n")
        self.cairn(*expect, "exists", stdin="a:5\n")
        self.cairn(*expect, "any", stdin="new:1\n")
        self.fails("invalid_argument", *expect, "some", stdin="a:1\n")
        self.fails("usage", "produce", "t", "--expected-version", "1", stdin="x\n")

    def test_a_command_id_is_recorded_once(self):
        self.cairn("topic", "create", "t")
        self.cairn("produce", "t", "--command-id", "c-1", stdin="a\nb\n")
        again = self.cairn("produce", "t", "--command-id", "c-1", "--format", "json",
                           stdin="a\nb\n").json[0]
        self.assertTrue(again["repeated"])
        self.assertEqual(again["records"], 0)
        self.assertEqual(self.cairn("consume", "t").lines, ["a", "b"])

    def test_a_missing_topic_is_made_only_if_asked(self):
        self.fails("not_a_data_directory", "produce", "t", stdin="x\n")
        self.cairn("produce", "t", "--create-topic", "--partitions", 2, stdin="x\n")
        self.fails("unknown_topic", "produce", "u", stdin="x\n")
        (topic,) = self.cairn("topic", "list", "--format", "json").json
        self.assertEqual(len(topic["partitions"]), 2)

    def test_what_produce_prints(self):
        self.cairn("topic", "create", "t")
        self.assertEqual(self.cairn("produce", "t", "--quiet", stdin="x\n").out, "")
        (done,) = self.cairn("produce", "t", "--format", "json", stdin="a\nb\n").json
        self.assertEqual((done["topic"], done["records"], done["bytes"]), ("t", 2, 2))
        self.assertEqual(done["last_position"], done["first_position"] + 1)
        self.assertIn("0 records to t", self.cairn("produce", "t", stdin="").out)
        self.fails("input_failed", "produce", "t", "--file", "/no/such/file")
        self.fails("input_failed", "produce", "t", "--file", self.scratch.name)

    def test_a_line_from_a_pipe_is_recorded_before_the_next_comes(self):
        self.cairn("topic", "create", "t")
        process = self.start("produce", "t", stdin=subprocess.PIPE)
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            deadline = time.monotonic() + SLOW
            while line not in self.cairn("consume", "t").raw:  # beside the process that writes
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
        process.stdin.write(b"half a line")
        process.stdin.close()
        self.assertEqual(process.wait(SLOW), 0)
        self.assertEqual(self.cairn("consume", "t").lines, ["one", "two", "half a line"])

    def test_an_interrupted_import_says_how_far_it_came(self):
        self.cairn("topic", "create", "t")
        process = self.start("produce", "t", stdin=subprocess.PIPE)
        process.stdin.write(b"one\ntwo\nthr")
        process.stdin.flush()
        deadline = time.monotonic() + SLOW
        while self.cairn("consume", "t").lines != ["one", "two"]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(SLOW), 1)
        self.assertIn(b"after line 2", process.stderr.read())
        self.assertEqual(self.cairn("consume", "t").lines, ["one", "two"])

    # ---- where consume begins and ends -----------------------------------------------------

    def test_where_consume_begins(self):
        self.orders(10)
        events = [f"event {i}" for i in range(10)]
        self.assertEqual(self.cairn("consume", "orders").lines, events)
        self.assertEqual(self.cairn("consume", "orders", "--from-beginning").lines, events)
        self.assertEqual(self.cairn("consume", "orders", "--offset", "beginning").lines, events)
        self.assertEqual(self.cairn("consume", "orders", "--offset", "end").lines, [])
        self.assertEqual(self.cairn("consume", "orders", "--offset", 0).lines, events)
        for newest in (0, 1, 4, 10, 99):
            self.assertEqual(self.cairn("consume", "orders", "--offset", f"-{newest}").lines,
                             events[len(events) - min(newest, 10):], newest)
        self.assertEqual(self.cairn("consume", "orders", "--max", 3).lines, events[:3])
        self.assertEqual(self.cairn("consume", "orders", "--max", 0).lines, [])
        self.assertEqual(self.cairn("consume", "orders", "-o", "-5", "-n", 2).lines, events[5:7])

        partition = self.cairn("consume", "orders", "-f", "%p\n", "-n", 1).lines[0]
        mine = self.cairn("consume", "orders", "-p", partition).lines
        self.assertEqual(self.cairn("consume", "orders", "-p", partition, "-o", 1).lines, mine[1:])
        self.assertEqual(self.cairn("consume", "orders", "-p", partition, "-o", -1).lines, mine[-1:])
        self.fails("offset_out_of_range", "consume", "orders", "-p", partition, "-o", 1000)
        self.fails("usage", "consume", "orders", "-o", 1)  # of which partition?
        self.fails("usage", "consume", "orders", "-o", "middle")
        self.fails("usage", "consume", "orders", "-o", -2**63)
        self.assertEqual(self.cairn("consume", "orders", "-o", -2**63 + 1).lines, events)
        self.fails("usage", "consume", "orders", "-o", "end", "--from-beginning")
        self.fails("usage", "consume", "orders", "--max", -1)
        self.fails("unknown_topic", "consume", "nothing")

    def test_consume_since_a_time(self):
        self.orders(4)
        # The clock must have gone on, or they are of the same millisecond.
        newest = max(int(t) for t in self.cairn("consume", "orders", "-f", "%T\n").lines)
        while time.time_ns() // 1_000_000 <= newest:
            pass
        self.cairn("produce", "orders", stdin="late\n")
        late = self.cairn("consume", "orders", "-o", -1, "-f", "%I\n").lines[0]
        self.assertEqual(self.cairn("consume", "orders", "--since", late).lines, ["late"])
        self.assertEqual(len(self.cairn("consume", "orders", "--since", "1h").lines), 5)
        self.assertEqual(self.cairn("consume", "orders", "--since", "2999-01-01").lines, [])
        self.fails("usage", "consume", "orders", "--since", "yesterday")

    def test_the_formats_of_records(self):
        self.cairn("topic", "create", "t")
        self.cairn("produce", "t", "-K", ":", stdin=b"k\xff:\x80\nplain:\"quoted\" \\ \t\n")
        binary, text = self.cairn("consume", "t", "--format", "json").json
        self.assertEqual((binary["key_base64"], binary["value_base64"]), ("a/8=", "gA=="))
        self.assertEqual((text["key"], text["value"]), ("plain", '"quoted" \\ \t'))
        self.assertEqual((text["topic"], text["partition"], text["offset"]), ("t", 0, 1))
        self.assertEqual(text["position"], binary["position"] + 1)
        self.assertTrue(text["time"].endswith("Z"))
        self.assertEqual(self.cairn("consume", "t", "-f", "%R%s", "-n", 1).raw, b"\0\0\0\1\x80")
        self.assertEqual(self.cairn("consume", "t", "-f", r"%t-%p@%o %k\n").raw,
                         b"t-0@0 k\xff\nt-0@1 plain\n")
        self.fails("usage", "consume", "t", "-f", "xml")
        self.fails("usage", "consume", "t", "-f", "%y")

    def test_consume_follows_and_ends_cleanly(self):
        self.orders(3)
        process = self.start("consume", "orders", "--follow", "-f", r"%s\n", "--from-beginning")
        self.assertEqual([self.read_line(process) for _ in range(3)],
                         [b"event 0\n", b"event 1\n", b"event 2\n"])
        for i in range(3):
            self.cairn("produce", "orders", stdin=f"new {i}\n")
            self.assertEqual(self.read_line(process), f"new {i}\n".encode())
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(SLOW), 0)
        self.assertEqual(process.stderr.read(), b"")

    def test_to_follow_is_to_begin_at_the_end(self):
        self.orders(3, partitions=1)
        process = self.start("consume", "orders", "--follow")
        # When it has begun nobody knows: lines are added until it prints one.
        deadline = time.monotonic() + SLOW
        added = 0
        while not select.select([process.stdout], [], [], 0)[0]:
            self.assertLess(time.monotonic(), deadline)
            self.cairn("produce", "orders", stdin=f"new {added}\n")
            added += 1
        first = self.read_line(process).decode()
        self.assertRegex(first, r"^new \d+\n$")  # and no event of before
        for i in range(int(first.split()[1]) + 1, added):
            self.assertEqual(self.read_line(process), f"new {i}\n".encode())

        self.cairn("produce", "orders", stdin="a\nb\n")
        self.assertEqual(self.read_line(process), b"a\n")
        self.assertEqual(self.read_line(process), b"b\n")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(SLOW), 0)

    def test_a_follower_ends_after_so_many(self):
        self.orders(3, partitions=1)
        process = self.start("consume", "orders", "--from-beginning", "--follow", "--max", 4)
        for i in range(3):
            self.assertEqual(self.read_line(process), f"event {i}\n".encode())
        self.cairn("produce", "orders", stdin="a\nb\nc\n")
        self.assertEqual(process.wait(SLOW), 0)
        self.assertEqual(process.unread + process.stdout.read(), b"a\n")

    # ---- group -----------------------------------------------------------------------------

    def test_a_group_goes_on_where_it_ended(self):
        self.orders(10)
        events = [f"event {i}" for i in range(10)]
        take = ["consume", "orders", "--group", "billing", "--max"]
        self.assertEqual(self.cairn(*take, 4).lines, events[:4])
        self.assertEqual(self.cairn(*take, 4).lines, events[4:8])
        self.assertEqual(self.cairn(*take, 4).lines, events[8:])
        self.assertEqual(self.cairn(*take, 4).lines, [])
        self.assertEqual(self.cairn("consume", "orders", "--group", "other", "-o", "end").lines, [])

    def test_groups_are_listed_and_described_in_kafkas_columns(self):
        self.orders(10)
        self.assertIn("there are no consumer groups", self.cairn("group", "list").err)
        self.cairn("consume", "orders", "--group", "billing", "--max", 7)
        (group,) = self.cairn("group", "list", "--format", "json").json
        self.assertEqual((group["group"], group["topics"], group["lag"]), ("billing", ["orders"], 3))
        described = self.cairn("group", "describe", "billing")
        self.assertEqual(described.lines[0].split(),
                         ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG",
                          "CONSUMER-ID", "HOST", "CLIENT-ID"])
        rows = self.cairn("group", "describe", "billing", "--format", "json").json
        self.assertEqual(sum(row["lag"] for row in rows), 3)
        for row in rows:
            self.assertEqual(row["log_end_offset"] - row["current_offset"], row["lag"])
        self.fails("unknown_group", "group", "describe", "nobody")

    def test_reset_shows_and_with_execute_does(self):
        self.orders(9, partitions=1)
        self.cairn("consume", "orders", "--group", "g")

        def where():
            return self.cairn("group", "describe", "g", "--format", "json").json[0]["current_offset"]

        def reset(*words):
            return self.cairn("group", "reset", "g", "--topic", "orders", *words)

        self.assertEqual(where(), 9)
        shown = reset("--to-earliest")
        self.assertIn("--execute", shown.err)
        self.assertEqual(shown.lines[1].split(), ["g", "orders", "0", "9", "0", "9"])
        self.assertEqual(where(), 9)
        for words, to in ((["--to-earliest"], 0), (["--shift-by", 5], 5), (["--shift-by", -2], 3),
                          (["--to-offset", 7], 7), (["--to-latest"], 9), (["--by-duration", "1h"], 0),
                          (["--to-datetime", "2999-01-01"], 9), (["--shift-by", -100], 0),
                          (["--to-offset", 100], 9), (["--by-duration", "PT1H"], 0)):
            row = reset(*words, "--format", "json").json[0]
            self.assertEqual((row["new_offset"], row["executed"]), (to, False), words)
            row = reset(*words, "--execute", "--format", "json").json[0]
            self.assertEqual((row["new_offset"], row["executed"]), (to, True), words)
            self.assertEqual(where(), to, words)
        self.assertEqual(len(self.cairn("consume", "orders", "--group", "g").lines), 9)

    def test_reset_of_chosen_partitions_and_of_a_new_group(self):
        self.orders(12, partitions=3)
        rows = self.cairn("group", "reset", "new", "--topic", "orders:0,2", "--to-latest",
                          "--execute", "--format", "json").json
        self.assertEqual([row["partition"] for row in rows], [0, 2])
        self.assertEqual([row["current_offset"] for row in rows], [None, None])
        rows = self.cairn("group", "reset", "new", "--all-topics", "--to-earliest", "--format",
                          "json").json
        self.assertEqual([row["partition"] for row in rows], [0, 2])
        self.fails("usage", "group", "reset", "g", "--to-earliest")
        self.fails("usage", "group", "reset", "g", "--topic", "orders")
        self.fails("usage", "group", "reset", "g", "--topic", "orders", "--to-latest", "--to-earliest")
        self.fails("usage", "group", "reset", "g", "--topic", "orders", "--to-latest", "--execute",
                   "--dry-run")
        self.fails("usage", "group", "reset", "g", "--topic", "orders:x", "--to-latest")
        self.fails("unknown_topic", "group", "reset", "g", "--topic", "none", "--to-latest")
        self.fails("partition_out_of_range", "group", "reset", "g", "--topic", "orders:7",
                   "--to-latest")
        self.fails("unknown_group", "group", "reset", "g", "--all-topics", "--to-latest")

    def test_delete_shows_and_with_execute_does(self):
        self.orders(5, partitions=1)
        self.cairn("consume", "orders", "--group", "g")
        self.assertIn("--execute", self.cairn("group", "delete", "g").err)
        self.assertEqual(len(self.cairn("group", "list", "--format", "json").json), 1)
        self.cairn("group", "delete", "g", "--execute")
        self.assertEqual(self.cairn("group", "list", "--format", "json").json, [])
        self.fails("unknown_group", "group", "delete", "g", "--execute")

        self.cairn("topic", "create", "other")
        self.cairn("produce", "other", stdin="x\n")
        self.cairn("consume", "orders", "--group", "h")
        self.cairn("consume", "other", "--group", "h")
        self.cairn("group", "delete", "h", "--topic", "orders", "--execute")
        rows = self.cairn("group", "describe", "h", "--format", "json").json
        self.assertEqual([row["topic"] for row in rows], ["other"])

    # ---- stream and query --------------------------------------------------------------------

    def test_a_stream_is_shown_by_version(self):
        self.orders(9)
        shown = self.cairn("stream", "show", "orders", "o-1")
        self.assertTrue(shown.lines[0].startswith("orders/o-1: 3 records, partition "))
        self.assertEqual(shown.lines[2].split(),
                         ["VERSION", "OFFSET", "POSITION", "TIME", "TYPE", "VALUE"])
        rows = self.cairn("stream", "show", "orders", "o-1", "--format", "json").json
        self.assertEqual([(r["version"], r["value"]) for r in rows],
                         [(0, "event 1"), (1, "event 4"), (2, "event 7")])
        show = ["stream", "show", "orders", "o-1", "-f", "%s\n"]
        self.assertEqual(self.cairn(*show, "--from", 1).lines, ["event 4", "event 7"])
        self.assertEqual(self.cairn(*show, "--backwards").lines, ["event 7", "event 4", "event 1"])
        self.assertEqual(self.cairn(*show, "--backwards", "--max", 1).lines, ["event 7"])
        self.assertEqual(self.cairn(*show, "--backwards", "--from", 1).lines, ["event 4", "event 1"])
        self.fails("unknown_stream", "stream", "show", "orders", "o-9")
        self.fails("unknown_topic", "stream", "show", "nothing", "o-1")

    def test_values_that_are_no_text_are_shown_in_hex(self):
        self.cairn("topic", "create", "t")
        self.cairn("produce", "t", "--key=-k", "--null-value", "~", stdin=b"\xde\xff\n~\n\x1b[2J\n")
        shown = self.cairn("stream", "show", "t", "--", "-k").out
        for text in ("0xdeff", "null", r"\x1b[2J"):
            self.assertIn(text, shown)
        self.assertNotIn("\x1b", shown)

    def test_streams_are_listed(self):
        self.orders(10)
        rows = self.cairn("stream", "list", "orders", "--format", "json").json
        self.assertEqual({row["key"]: row["versions"] for row in rows},
                         {"o-0": 4, "o-1": 3, "o-2": 3})
        self.assertEqual(len(self.cairn("stream", "list", "orders", "--max", 2).lines), 3)
        self.assertEqual(
            [row["key"] for row in self.cairn("stream", "list", "orders", "--prefix", "o-2",
                                              "--format", "json").json], ["o-2"])
        self.fails("unknown_topic", "stream", "list", "nothing")

    def test_a_query_finds_by_type_and_tags(self):
        self.cairn("topic", "create", "a")
        self.cairn("topic", "create", "b", "--partitions", 2)
        put = lambda topic, value, kind, *tags: self.cairn(
            "produce", topic, "--type", kind, *[w for t in tags for w in ("--tag", t)],
            stdin=value + "\n")
        put("a", "1", "Placed", "c:1", "o:1")
        put("b", "2", "Placed", "c:2")
        put("b", "3", "Paid", "c:1")
        put("a", "4", "Shipped")
        find = lambda *words: self.cairn("query", *words, "-f", "%s").out
        self.assertEqual(find("--type", "Placed"), "12")
        self.assertEqual(find("--type", "Placed", "--type", "Paid"), "123")
        self.assertEqual(find("--tag", "c:1"), "13")
        self.assertEqual(find("--tag", "c:1", "--tag", "o:1"), "1")
        self.assertEqual(find("--type", "Paid", "--tag", "c:1"), "3")
        self.assertEqual(find("--tag", "c:1", "--backwards"), "31")
        self.assertEqual(find("--type", "Placed", "--max", 1), "1")
        self.assertEqual(find("--type", "None"), "")
        second = self.cairn("query", "--tag", "c:2", "--format", "json").json[0]["position"]
        self.assertEqual(find("--tag", "c:1", "--from", second), "3")
        table = self.cairn("query", "--tag", "c:1")
        self.assertEqual(table.lines[0].split(),
                         ["POSITION", "WHERE", "TIME", "TYPE", "KEY", "VALUE"])
        self.fails("usage", "query")

    # ---- events and their schemas ------------------------------------------------------------

    placed = {"customer": 'Ada "Countess"', "cents": 1999,
              "address": {"street": "Main", "number": 0}}

    def shop(self):
        """A log with events; see shop_log.cpp."""
        subprocess.run([SHOP_LOG, self.data], check=True, timeout=SLOW)

    def write(self, name, text):
        path = pathlib.Path(self.scratch.name) / name
        path.write_text(text, encoding="utf-8")
        return path

    def position_of(self, topic, number):
        return self.cairn("consume", topic, "--format", "json").json[number]["position"]

    def test_consume_prints_events_as_what_they_say(self):
        self.shop()
        shown = self.cairn("consume", "orders")
        self.assertEqual(shown.lines, [
            r'OrderPlaced {"customer":"Ada \"Countess\"","cents":1999,'
            r'"address":{"street":"Main","number":0}}',
            'PriceChanged {"cents":2499,"note":"a lamp more"}',
            "by hand"])
        rows = self.cairn("consume", "orders", "--format", "json").json
        self.assertEqual([r["value"] for r in rows],
                         [self.placed, {"cents": 2499, "note": "a lamp more"}, "by hand"])
        # A pattern's %s is the bytes as ever.
        raw = self.cairn("consume", "orders", "-n", 1, "-f", "%s").raw
        self.assertEqual((len(raw) % 8, raw[:4]), (0, bytes(4)))
        # Of a type that is not registered, too.
        paid = self.cairn("consume", "payments", "--format", "json").json[1]
        self.assertNotIsInstance(paid.get("value"), dict)

    def test_stream_show_and_query_print_events_as_what_they_say(self):
        self.shop()
        shown = self.cairn("stream", "show", "orders", "o-1")
        self.assertEqual(len(shown.lines), 6)
        self.assertTrue(shown.lines[3].endswith(
            r'OrderPlaced   {"customer":"Ada \"Countess\"","cents":1999,'
            r'"address":{"street":"Main","number":0}}'), shown.lines[3])
        self.assertTrue(shown.lines[5].endswith("by hand"), shown.lines[5])
        rows = self.cairn("stream", "show", "orders", "o-1", "--format", "json").json
        self.assertEqual(rows[0]["value"], self.placed)
        self.assertIn('{"order":"o-1","cents":1999}',
                      self.cairn("query", "--type", "PaymentRequested").out)

    def test_a_stream_is_shown_as_it_was(self):
        self.shop()
        at = lambda *words: [r["version"] for r in self.cairn(
            "stream", "show", "orders", "o-1", "--format", "json", *words).json]
        self.assertEqual(at("--at", 0), [0])
        self.assertEqual(at("--at", 1), [0, 1])
        self.assertEqual(at("--at", 9), [0, 1, 2])
        self.assertEqual(at("--at", 1, "--from", 1), [1])
        self.assertEqual(at("--at", 1, "--backwards"), [1, 0])
        self.assertEqual(at("--at", 1, "--backwards", "--from", 0), [0])
        self.assertEqual(at("--at", 1, "--backwards", "--from", 2), [1, 0])
        self.fails("usage", "stream", "show", "orders", "o-1", "--at=-1")

    def test_a_stream_is_compared_with_itself_earlier(self):
        self.shop()
        diff = ["stream", "diff", "orders", "o-1"]
        shown = self.cairn(*diff, 0, 1)
        self.assertEqual(shown.lines[0], "orders/o-1: from version 0 to 1")
        self.assertTrue(shown.lines[3].endswith('{"cents":2499,"note":"a lamp more"}'))
        self.assertEqual([line.split() for line in shown.lines[5:]], [
            ["FIELD", "AT", "0", "AT", "1", "SAID", "BY"],
            ["customer", r'"Ada', r'\\"Countess\\""', r'"Ada', r'\\"Countess\\""', "OrderPlaced@0"],
            ["~", "cents", "1999", "2499", "PriceChanged@1"],
            ["address.street", '"Main"', '"Main"', "OrderPlaced@0"],
            ["address.number", "0", "0", "OrderPlaced@0"],
            ["+", "note", '"a', "lamp", 'more"', "PriceChanged@1"]])
        rows = {r["field"]: r for r in self.cairn(*diff, 0, 1, "--format", "json").json}
        self.assertEqual(rows["cents"], {"field": "cents", "changed": True, "from": 1999,
                                         "to": 2499, "said_by": "PriceChanged", "version": 1})
        self.assertEqual((rows["note"]["from"], rows["note"]["to"]), (None, "a lamp more"))
        self.assertFalse(rows["customer"]["changed"])
        self.assertIn("1 record of it is no event", self.cairn(*diff, 0, 2).err)
        self.fails("usage", *diff, 1, 0)
        self.fails("usage", *diff, 0, 3)
        self.fails("usage", *diff, "a", "b")
        self.fails("unknown_stream", "stream", "diff", "orders", "o-9", 0, 1)

    def test_causes_and_effects_are_traced(self):
        self.shop()
        requested = self.position_of("payments", 0)
        shown = self.cairn("trace", requested)
        self.assertEqual([line.split()[:1] for line in shown.lines[1:]],
                         [[str(requested - 1)], ["*"], [str(requested + 2)]])
        self.assertIn("orders/o-1@0", shown.lines[1])
        self.assertIn("└ payments/p-1@0", shown.lines[2])
        self.assertIn("  └ payments/p-1@1", shown.lines[3])
        self.assertIn("cmd-7, is no record of this log", shown.err)
        rows = self.cairn("trace", requested, "--format", "json").json
        self.assertEqual([(r["id"], r["depth"], r["cause"]) for r in rows],
                         [("orders/o-1@0", -1, "cmd-7"),
                          ("payments/p-1@0", 0, "orders/o-1@0"),
                          ("payments/p-1@1", 1, "payments/p-1@0")])
        self.assertEqual(rows[0]["value"], self.placed)

        first = self.cairn("trace", requested - 1, "--format", "json").json
        self.assertEqual([r["depth"] for r in first], [0, 1, 2])
        bounded = self.cairn("trace", requested - 1, "--max", 1)
        self.assertEqual(len(bounded.lines), 3)
        self.assertIn("more effects than 1", bounded.err)
        bounded = self.cairn("trace", requested - 1, "--scan-max", 2)
        self.assertEqual(len(bounded.lines), 3)
        self.assertIn("ended after 2 records", bounded.err)

        alone = self.cairn("trace", self.position_of("orders", 2))
        self.assertEqual(len(alone.lines), 2)
        self.assertIn("orders/o-1@2", alone.lines[1])
        self.assertIn("nothing in the log is known to have caused it", alone.err)
        self.fails("unknown_position", "trace", 1000)
        self.fails("usage", "trace", "here")
        self.fails("usage", "trace", "--", "-1")
        self.fails("usage", "trace", 1, "--max=-1")
        self.fails("usage", "trace", 1, "--scan-max=-1")

    def test_each_position_that_trace_prints_can_be_traced_also_in_internal_topics(self):
        self.cairn("topic", "create", "orders")
        self.cairn("topic", "create", "__timers", "--partitions", 3)

        def happens(topic, key, cause=None):
            words = ["--header", f"ce_causationid={cause}"] if cause else []
            self.cairn("produce", topic, "--key", key, *words, stdin="x\n")
        for n in range(20):
            happens("__timers", f"other/{n}")
        happens("orders", "o-1")
        happens("__timers", "o-1/unpaid", "orders/o-1@0")
        happens("__timers", "o-1/reminder", "orders/o-1@0")
        happens("__timers", "other/1")
        happens("orders", "o-1", "__timers/o-1/unpaid@0")
        happens("__timers", "o-1/closed", "orders/o-1@1")

        def traced(position):
            rows = self.cairn("trace", position, "--format", "json").json
            return [(r["position"], r["id"], r["depth"]) for r in rows]
        whole = traced(self.position_of("orders", 0))
        self.assertEqual([row[1:] for row in whole],
                         [("orders/o-1@0", 0), ("__timers/o-1/unpaid@0", 1), ("orders/o-1@1", 2),
                          ("__timers/o-1/closed@0", 3), ("__timers/o-1/reminder@0", 1)])
        for position, name, _ in whole:
            self.assertIn((position, name, 0), traced(position))
        self.assertEqual([row[1:] for row in traced(whole[1][0])],
                         [("orders/o-1@0", -1), ("__timers/o-1/unpaid@0", 0), ("orders/o-1@1", 1),
                          ("__timers/o-1/closed@0", 2)])
        for position, _, _ in whole[3:]:  # nothing came of them
            self.assertEqual(traced(position)[-1][2], 0)

    def test_a_circle_of_causes_ends(self):
        self.cairn("topic", "create", "t")
        for key, cause in (("a", "t/b@0"), ("b", "t/a@0")):
            self.cairn("produce", "t", "--key", key, "--header", f"ce_causationid={cause}",
                       "--header", f"ce_id=t/{key}@0", stdin="x\n")
        rows = self.cairn("trace", self.position_of("t", 1), "--format", "json").json
        self.assertEqual([(r["id"], r["depth"]) for r in rows], [("t/a@0", -1), ("t/b@0", 0)])

    def test_schemas_are_listed_and_shown(self):
        self.shop()
        listed = self.cairn("schema", "list")
        self.assertEqual(listed.lines[0].split(),
                         ["TYPE", "ID", "VERSION", "FIELDS", "SINCE", "UPDATED", "POSITION", "FILE"])
        self.assertEqual([line.split()[0] for line in listed.lines[1:]],
                         ["OrderPlaced", "PaymentRequested", "PriceChanged"])
        rows = self.cairn("schema", "list", "--format", "json").json
        self.assertEqual((rows[0]["type"], rows[0]["id"], rows[0]["fields"], rows[0]["file"]),
                         ("OrderPlaced", "capnp:a1b2c3d4e5f60718",
                          ["customer", "cents", "address"], "shop.capnp"))
        text = """struct OrderPlaced @0xa1b2c3d4e5f60718 {
    customer @0 :Text $Cairn.tag("customer");
    cents @1 :UInt32;
    address :group {
        street @2 :Text;
        number @3 :UInt16;
    }
}
"""
        for name in ("OrderPlaced", "capnp:a1b2c3d4e5f60718", "0xa1b2c3d4e5f60718"):
            self.assertTrue(self.cairn("schema", "show", name).out.endswith("\n\n" + text))
        (row,) = self.cairn("schema", "show", "OrderPlaced", "--format", "json").json
        self.assertEqual(row["text"], text)
        self.fails("unknown_schema", "schema", "show", "Paid")
        self.cairn("topic", "create", "t", "--data", self.data + "2")
        self.assertIn("no types of events are registered",
                      self.cairn("schema", "list", "--data", self.data + "2").err)

    old = """@0x9c1d7e5a3b2f4860;
using Cairn = import "/cairn/event.capnp";
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("shop");
struct OrderPlaced @0xa1b2c3d4e5f60718 {
    customer @0 :Text $Cairn.tag("customer");
    cents    @1 :UInt32;
    address  :group { street @2 :Text; number @3 :UInt16; }
}
struct PriceChanged { cents @0 :UInt32; note @1 :Text; }
"""

    def test_a_changed_schema_is_checked_against_the_old_file(self):
        old = self.write("old.capnp", self.old)
        self.assertIn("2 types compared", self.cairn("schema", "check", old, old).err)
        more = self.write("more.capnp", self.old.replace("note @1 :Text;", "note @1 :Text; by @2 :Text;"))
        self.assertEqual([line.split(None, 1) for line in
                          self.cairn("schema", "check", old, more).lines[1:]],
                         [["PriceChanged.by", "is new, @2 :Text"]])
        numbered = [self.write(f"{n}-{field}.capnp", self.old.replace(
                        "struct PriceChanged {", f"struct PriceChanged $Cairn.version({n}) {{")
                        .replace("note", field)) for n, field in ((1, "note"), (1, "by"), (2, "by"))]
        kept = self.fails("incompatible_schema", "schema", "check", numbered[0], numbered[1])
        self.assertIn("!  PriceChanged       changed and still says version 1: raise it", kept.lines)
        raised = self.cairn("schema", "check", numbered[0], numbered[2])
        self.assertEqual(raised.lines[-1].split(None, 1),
                         ["PriceChanged", "had version 1 and has version 2"])
        bad = self.write("bad.capnp", self.old.replace("cents    @1 :UInt32", "cents @1 :Float32")
                         .replace("struct PriceChanged", "struct PriceSet"))
        ended = self.fails("incompatible_schema", "schema", "check", old, bad)
        self.assertEqual([line.split(None, 2) for line in ended.lines[1:]],
                         [["!", "OrderPlaced.cents", "was UInt32 and is Float32"],
                          ["!", "PriceChanged", "is gone: its events can be read no more"]])
        rows = self.run_cairn("schema", "check", old, bad, "--format", "json").json
        self.assertEqual(rows[0], {"breaking": True, "change": "type_changed", "type": "OrderPlaced",
                                   "field": "cents", "text": "was UInt32 and is Float32"})

    def test_a_changed_schema_is_checked_against_the_log(self):
        self.shop()
        same = self.write("shop.capnp", self.old)
        self.assertIn("2 types compared", self.cairn("schema", "check", same).err)
        bad = self.write("bad.capnp", self.old.replace("number @3 :UInt16;", ""))
        ended = self.fails("incompatible_schema", "schema", "check", bad, "--data", self.data)
        self.assertIn("OrderPlaced.address.number  was @3 and is gone", ended.out)

    def test_schema_files_that_do_not_read(self):
        broken = self.write("broken.capnp", "@0x9c1d7e5a3b2f4860;\nstruct A { a @0 :Nothing; }\n")
        self.assertIn("broken.capnp:2: ", self.fails("input_failed", "schema", "check", broken, broken).err)
        self.fails("input_failed", "schema", "check", "none.capnp", broken)
        os.mkdir(os.path.join(self.scratch.name, "common"))
        self.write("common/money.capnp", "@0x9c1d7e5a3b2f4861;\nstruct Money { cents @0 :UInt32; }\n")
        user = self.write("user.capnp", '@0x9c1d7e5a3b2f4862;\nusing M = import "/money.capnp";\n'
                                        "struct A { a @0 :M.Money; }\n")
        self.fails("input_failed", "schema", "check", user, user)
        self.cairn("schema", "check", user, user, "-I", os.path.join(self.scratch.name, "common"))
        self.fails("input_failed", "schema", "check", user, user, "-I", "no-such-folder")
        self.fails("usage", "schema", "check")
        self.fails("usage", "schema", "check", user, user, "--data", self.data)

    # ---- operating ---------------------------------------------------------------------------

    def test_verify_finds_nothing_or_says_where(self):
        self.orders(1000)
        self.assertIn("no faults", self.cairn("verify").out)
        (report,) = self.cairn("verify", "--format", "json").json
        self.assertTrue(report["ok"])
        self.assertGreaterEqual(report["records"], 1000)
        self.assertEqual(report["faults"], [])

        (segment,) = sorted(pathlib.Path(self.data, "log").glob("*.seg"))[:1]
        bytes_ = bytearray(segment.read_bytes())
        at = bytes_.index(b"event 500")
        bytes_[at] ^= 1
        segment.write_bytes(bytes_)
        ended = self.fails("faults_found", "verify")
        self.assertIn("orders-", ended.out)
        ended = self.fails("faults_found", "verify", "--format", "json")
        (report,) = ended.json
        self.assertFalse(report["ok"])
        self.assertEqual(report["faults"][0]["topic"], "orders")
        self.fails("not_a_data_directory", "verify", "--data", self.scratch.name)

    def test_clean_removes_what_a_topic_no_longer_keeps(self):
        self.cairn("topic", "create", "table", "--config", "cleanup.policy=compact")
        for value in "abc":
            self.cairn("produce", "table", "--key-separator", ":", stdin=f"k:{value}\n")
        self.assertIn("nothing to remove", self.cairn("clean").out)
        self.assertEqual(self.cairn("consume", "table").lines, ["a", "b", "c"])
        self.cairn("clean", "--roll")
        self.assertEqual(self.cairn("consume", "table").lines, ["c"])
        (done,) = self.cairn("clean", "--format", "json").json
        self.assertEqual(done["freed"], 0)

    def test_a_backup_is_a_log(self):
        self.orders(50)
        before = self.cairn("consume", "orders").out
        copy = os.path.join(self.scratch.name, "copy")
        self.assertIn("to restore it", self.cairn("backup", copy).out)
        self.cairn("produce", "orders", stdin="later\n")
        self.assertEqual(self.cairn("consume", "orders", "--data", copy).out, before)
        self.assertEqual(self.run_cairn("backup", copy).code, 1)  # it is not empty any more
        (done,) = self.cairn("backup", copy + "2", "--format", "json").json
        self.assertGreater(done["bytes"], 0)
        self.cairn("verify", "--data", copy + "2")

    def test_stats(self):
        self.orders(20, partitions=4)
        self.assertIn("records kept", self.cairn("stats").out)
        (stats,) = self.cairn("stats", "--format", "json").json
        self.assertEqual((stats["topics"], stats["partitions"], stats["records"]), (1, 4, 20))
        self.assertGreater(stats["disk_all"], 0)

    def test_doctor_looks_at_the_ground(self):
        self.orders(3)
        found = {row["check"]: row for row in self.cairn("doctor", "--format", "json").json}
        self.assertEqual(set(found), {"file system", "free space", "flushes", "the log"})
        self.assertEqual(found["the log"]["result"], "ok")
        self.assertEqual(self.cairn("doctor").lines[0].split(), ["CHECK", "RESULT", "WHAT"])
        self.assertEqual(len(self.cairn("consume", "orders").lines), 3)
        self.fails("not_a_data_directory", "doctor", "--data", self.scratch.name)

    def test_bench_measures_and_leaves_nothing(self):
        where = os.path.join(self.scratch.name, "bench")
        figures = self.cairn("bench", where, "--each", "20ms", "--streams", 100, "--writers", 4,
                             "--format", "json").json
        self.assertGreater(len(figures), 10)
        for figure in figures:
            self.assertGreater(figure["per_second"], 0, figure)
        self.assertEqual(os.listdir(where), [])
        some = self.cairn("bench", where, "--each", "20ms", "--only", "raw_disk", "--only",
                          "version_1", "--runs", 3)
        self.assertEqual(len(some.lines), 3)
        self.fails("usage", "bench", where, "--only", "nothing")
        self.fails("usage", "bench", where, "--writers", 0)

    # ---- what all of them share ----------------------------------------------------------------

    def test_a_log_must_be_given_and_be_there(self):
        env = {k: v for k, v in self.env.items() if k != "CAIRN_DATA"}
        ended = self.run_cairn("topic", "list", env=env)
        self.assertEqual(ended.code, 2)
        self.assertIn("--data", ended.err)
        self.assertIn("CAIRN_DATA", ended.err)
        for words in (["topic", "list"], ["consume", "t"], ["group", "list"], ["stats"],
                      ["verify"], ["stream", "list", "t"], ["backup", self.data + "x"],
                      ["produce", "t"], ["topic", "delete", "t"]):
            self.fails("not_a_data_directory", *words)
        self.assertFalse(os.path.exists(self.data), "a command that only reads makes no log")

    def test_data_may_stand_before_the_command_and_wins_over_the_environment(self):
        other = os.path.join(self.scratch.name, "other")
        self.cairn("topic", "create", "t", "--data", other)
        self.assertEqual(len(self.cairn("--data", other, "topic", "list", "--format", "json").json), 1)
        self.assertEqual(len(self.cairn("topic", "list", "-d", other, "-f", "json").json), 1)
        self.assertFalse(os.path.exists(self.data))

    def test_what_reads_works_beside_what_writes_and_a_second_writer_is_refused(self):
        self.orders(3)
        self.cairn("consume", "orders", "--group", "g", "--max", 1)
        writer = self.start("produce", "orders", stdin=subprocess.PIPE)
        writer.stdin.write(b"from the writer\n")
        writer.stdin.flush()
        deadline = time.monotonic() + SLOW
        while "from the writer" not in self.cairn("consume", "orders").lines:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        for words in (["topic", "list"], ["topic", "describe", "orders"], ["group", "list"],
                      ["group", "describe", "g"], ["stream", "list", "orders"], ["stats"],
                      ["stream", "show", "orders", "o-1"], ["query", "--type", "x"], ["verify"],
                      ["group", "reset", "g", "--topic", "orders", "--to-latest"],
                      ["group", "delete", "g"],
                      ["backup", os.path.join(self.scratch.name, "copy")]):
            self.cairn(*words)
        for words in (["produce", "orders"], ["topic", "create", "t"],
                      ["consume", "orders", "--group", "g"], ["group", "delete", "g", "--execute"]):
            ended = self.fails("held_by_another", *words)
            self.assertIn(str(writer.pid), ended.err)
        writer.stdin.close()
        self.assertEqual(writer.wait(SLOW), 0)

    def test_what_a_killed_writer_acknowledged_is_read(self):
        self.cairn("topic", "create", "t")
        process = self.start("consume", "t", "--follow")
        writer = self.start("produce", "t", stdin=subprocess.PIPE)
        writer.stdin.write(b"acknowledged\n")
        writer.stdin.flush()
        self.assertEqual(self.read_line(process), b"acknowledged\n")
        writer.send_signal(signal.SIGKILL)
        writer.wait(SLOW)
        self.assertEqual(self.cairn("consume", "t").lines, ["acknowledged"])
        self.cairn("produce", "t", stdin="after\n")
        self.assertEqual(self.cairn("consume", "t").lines, ["acknowledged", "after"])

    def test_a_reader_that_goes_away_is_no_fault(self):
        self.orders(20_000)
        process = self.start("consume", "orders")
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.wait(SLOW), 0)
        self.assertEqual(process.stderr.read(), b"")

    def test_a_full_disk_under_the_output_is_a_fault(self):
        self.orders(10)
        with open("/dev/full", "wb") as full:
            ended = subprocess.run([CAIRN, "consume", "orders", "--group", "g"], stdout=full,
                                   stderr=subprocess.PIPE, env=self.env, check=False, timeout=SLOW)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(b"[output_failed]", ended.stderr)
        # What was not handed over was not committed.
        self.assertEqual(len(self.cairn("consume", "orders", "--group", "g").lines), 10)

    def test_colour_only_on_a_terminal_that_wants_it(self):
        self.cairn("topic", "create", "t")
        self.assertNotIn("\x1b", self.cairn("topic", "list").out)
        self.assertIn("\x1b[1m", self.on_a_terminal("topic", "list"))
        self.assertIn("\x1b[1;31m", self.on_a_terminal("topic", "describe", "u"))
        self.assertNotIn("\x1b", self.on_a_terminal("topic", "list", NO_COLOR="1"))
        self.assertNotIn("\x1b", self.on_a_terminal("topic", "describe", "u", NO_COLOR="1"))
        self.assertNotIn("\x1b", self.on_a_terminal("topic", "list", TERM="dumb"))

    def test_usage(self):
        ended = self.run_cairn()
        self.assertEqual((ended.code, ended.out), (2, ""))
        self.assertIn("Usage: cairn COMMAND", ended.err)
        self.assertIn("create, list", self.fails("usage", "topic").err)
        self.assertIn("did you mean topic?", self.fails("usage", "topics", "list").err)
        self.assertIn("did you mean --partitions?",
                      self.fails("usage", "topic", "create", "t", "--partition", 1).err)
        self.assertRegex(self.cairn("--version").out, r"^cairn \d+\.\d+\.\d+\n$")
        self.assertEqual(self.cairn("help", "topic", "create").out,
                         self.cairn("topic", "create", "--help").out)
        self.fails("usage", "help", "nothing")


def main():
    global CAIRN, SHOP_LOG
    options = argparse.ArgumentParser()
    options.add_argument("--cairn", required=True)
    options.add_argument("--shop-log", required=True)
    options, rest = options.parse_known_args()
    CAIRN, SHOP_LOG = os.path.abspath(options.cairn), os.path.abspath(options.shop_log)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
