"""Runs librdkafka's tests against a broker and compares what they do with the file `expectations`.

run.sh builds them and calls this; it also says what the options mean and what is printed. One process runs the tests of
one number in one scenario, so that a test that hangs or dies takes no other with it, and several numbers run side by
side, because they mostly wait. Nothing is believed of a test but its own line in the runner's summary: a test that took
no time has not run.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
# The version that the broker is taken for: tests of what came later decline to run.
KAFKA_VERSION = "4.1.0"
# Seconds that the tests of one number may take, and how many numbers run side by side.
PATIENCE = int(os.environ.get("LIBRDKAFKA_SECONDS", "420"))
JOBS = int(os.environ.get("LIBRDKAFKA_JOBS", "4"))
# The broker sets the pace of the newer protocol of groups; by default it is a leisurely one.
PACE = ("--group-consumer-heartbeat-interval-ms", "500", "--group-consumer-session-timeout-ms", "6000")
# What the broker lacks: a test that needs it is expected to fail.
LACKS = ("groups", "transactions")


class Row(NamedTuple):
    """A line of `expectations`: its head explains the columns."""

    name: str
    part: str
    scenario: str
    pace: str
    expect: str
    what: str
    why: str

    @property
    def title(self):
        return f"{self.name}/{self.part}" if self.part else self.name


def main():
    options = arguments()
    rows = read_expectations(HERE / ("expectations-consumer" if options.consumer_protocol else "expectations"))
    check_completeness(rows, options.librdkafka / "source/tests", options.consumer_protocol)
    judge = Judge(options)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: judge.abandon())
    try:
        for scenario in ("default", "noautocreate", "delay"):
            chosen = [row for row in rows if row.scenario == scenario and wanted(row, options)]
            judge.run_scenario(scenario, chosen)
    finally:
        judge.close()
    sys.exit(judge.summary())


def arguments():
    parser = argparse.ArgumentParser(prog="run.sh")
    broker = parser.add_mutually_exclusive_group(required=True)
    broker.add_argument("--start", type=Path)
    broker.add_argument("--broker")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--idempotent", action="store_true")
    parser.add_argument("--consumer-protocol", action="store_true")
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--librdkafka", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("numbers", nargs="*")
    return parser.parse_args()


def wanted(row, options):
    if options.numbers:
        return any(row.title.startswith(number) for number in options.numbers)
    return options.long or row.pace == "short"


def read_expectations(path):
    rows = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            title, scenario, pace, expect, what, why = (field.strip() for field in line.split("|"))
            name, _, part = title.partition("/")
            rows.append(Row(name, part, scenario, pace, expect, what, why))
    return rows


def check_completeness(rows, sources, members_only):
    """The file has every test that needs a broker, or every one of these with members of groups, and no other."""
    calls = re.findall(r"\s_TEST\((\d{4}_\w+),\s*([\w\s|]+)", (sources / "test.c").read_text())
    theirs = {name for name, flags in calls if not {"TEST_F_LOCAL", "TEST_F_MANUAL"} & set(re.findall(r"\w+", flags))}
    if members_only:
        theirs = {name for name in theirs if subscribes(sources, name[:4])}
    ours = {row.name for row in rows}
    if theirs != ours:
        sys.exit(f"expectations: missing {sorted(theirs - ours)}, unknown {sorted(ours - theirs)}")


def subscribes(sources, number):
    """Whether the test has members of groups, or asks which protocol they are to speak."""
    said = "".join(file.read_text() for file in sources.glob(f"{number}-*.c*"))
    return "subscribe(" in said or "consumer_group_protocol" in said


class Judge:
    """Counts the verdicts, prints them as they come, and owns what must be cleaned up."""

    def __init__(self, options):
        self.options = options
        self.work = Path(tempfile.mkdtemp(prefix="librdkafka-"))
        self.counts = {"ok": 0, "FAIL": 0, "expected": 0, "skip": 0}
        self.printing = threading.Lock()
        options.logs.mkdir(parents=True, exist_ok=True)

    def run_scenario(self, scenario, rows):
        for row in [row for row in rows if row.expect == "not run"]:
            self.say("skip", row.title, row.why)
        rows = [row for row in rows if row.expect != "not run"]
        if rows and self.options.broker and scenario != "default":
            for row in rows:
                self.say("skip", row.title, "needs a broker that is started for it, with --start")
        elif rows:
            self.run_units(scenario, rows)

    def run_units(self, scenario, rows):
        units = {}
        for row in rows:
            units.setdefault((row.name[:4], row.part), []).append(row)
        broker = Broker(self.options, self.work / scenario, scenario)
        try:
            with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
                runs = [pool.submit(self.run_unit, broker.address, *unit, rows) for unit, rows in units.items()]
                for run in runs:
                    run.result()
        finally:
            complaint = broker.stop()
        if complaint:
            self.say("FAIL", "broker", complaint)

    def run_unit(self, address, number, part, rows):
        report, output = run_tests(self.options, self.work, address, number, part, rows[0].scenario)
        verdicts = [(*self.verdict(row, report, output), row.title) for row in rows]
        log = self.options.logs / ("-".join(filter(None, [number, part, rows[0].scenario])) + ".log")
        log.unlink(missing_ok=True)
        if {"FAIL", "expected"} & {word for word, _, _ in verdicts}:
            log.write_text(output)
        for word, text, title in verdicts:
            self.say(word, title, text)

    def verdict(self, row, report, output):
        state, seconds, reason = outcome(row, report, output)
        kafka = self.options.kafka
        expect = "passes" if kafka and row.expect in LACKS else row.expect
        if state == "PASSED":
            if expect in ("passes", "varies") or kafka and expect == "other":
                return "ok", f"{seconds:.3f}"
            return "FAIL", f"passed, though expectations says: {expect}"
        if state == "SKIPPED":
            return ("skip", row.why) if expect == "skips" else ("FAIL", f"declined to run: {reason}")
        if expect in (*LACKS, "other", "varies"):
            return "expected", f"{expect}: {reason}"
        return "FAIL", reason

    def say(self, word, title, text):
        with self.printing:
            self.counts[word] += 1
            print(word, "librdkafka", title, text[:400], flush=True)

    def summary(self):
        ok, failed, expected = (self.counts[word] for word in ("ok", "FAIL", "expected"))
        print(f"librdkafka: {ok} passed, {failed} failed, {expected} expected to fail")
        return 0 if ok and not failed else 1

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)

    def abandon(self):
        """Ends at once, and leaves nothing that runs."""
        for process in list(running):
            end(process)
        self.close()
        os._exit(1)


class Broker:
    """The broker of one scenario: one that runs already, or a process of our own."""

    def __init__(self, options, data, scenario):
        self.process = None
        self.address = options.broker
        if options.start:
            self.log = open(options.logs / f"broker-{scenario}.log", "wb")
            command = [
                options.start.resolve(),
                *("--data-dir", data, "--listen", "127.0.0.1:0", "--num-partitions", "4"),
                *("--auto-create-topics-enable", str(scenario != "noautocreate").lower()),
                *(("--group-initial-rebalance-delay-ms", "3000") if scenario == "delay" else ()),
                *(PACE if options.consumer_protocol else ()),
            ]
            self.process = start(command, stdout=subprocess.PIPE, stderr=self.log)
            too_late = threading.Timer(120, end, [self.process])
            too_late.start()
            word, _, self.address = self.process.stdout.readline().decode().strip().partition(" ")
            too_late.cancel()
            if word != "READY":
                end(self.process)
                sys.exit(f"the broker did not start: {self.log.name}")

    def stop(self):
        """What was wrong with how it ended, if anything."""
        if not self.process:
            return None
        ended = self.process.poll()
        self.process.terminate()
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            status = "none, within a minute"
        end(self.process)
        self.process.stdout.close()
        self.log.close()
        if ended is not None:
            return f"ended by itself with status {ended}: {self.log.name}"
        # A JVM that obeys SIGTERM says so in its status.
        return None if status in (0, 143) else f"stopped with status {status}: {self.log.name}"


# What we have started and not ended yet. Each leads a session of its own, with all that it starts in turn.
running = set()


def start(command, **surroundings):
    process = subprocess.Popen(command, start_new_session=True, **surroundings)
    running.add(process)
    return process


def end(process):
    """Ends a process, if it has not ended by itself, and whatever it has left behind."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    running.discard(process)


def run_tests(options, work, address, number, part, scenario):
    """Runs the tests of a number. Returns the runner's report, by test, and everything that was said."""
    folder = Path(tempfile.mkdtemp(prefix=f"{number}-", dir=work))
    source = options.librdkafka / "source"
    # Where the tests look for files of the sources: beside the folder that they run in.
    (folder / "src").symlink_to(source / "src")
    (folder / "tests").mkdir()
    (folder / "test.conf").write_text(f"bootstrap.servers={address}\n")
    environment = {
        # Without CI, in which the tests would run three at a time.
        **{name: value for name, value in os.environ.items() if name != "CI"},
        "LD_LIBRARY_PATH": f"{source}/src:{source}/src-cpp",
        "RDKAFKA_TEST_CONF": f"{folder}/test.conf",
        "TESTS": number,
        "TEST_KAFKA_VERSION": KAFKA_VERSION,
        "TEST_REPORT": f"{folder}/report.json",
        # For tests that call kafka-topics.sh.
        "KAFKA_PATH": str(HERE),
        "BROKERS": address,
        **({"SUBTESTS": part} if part else {}),
        **({"TEST_CONSUMER_GROUP_PROTOCOL": "consumer"} if options.consumer_protocol else {}),
    }
    # The third scenario is ours, and librdkafka knows nothing of it.
    theirs = "default" if scenario == "delay" else scenario
    command = [source / "tests/test-runner", "-p1", "-L", "-K", "-s", theirs, *(["-P"] if options.idempotent else [])]
    with open(folder / "output", "wb") as output:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        process = start(command, cwd=folder / "tests", env=environment, **streams)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    end(process)
    said = re.sub(r"\x1b\[[0-9;]*m", "", (folder / "output").read_text(errors="replace"))
    try:
        # The runner writes it in one piece, before it looks for what its tests have left behind.
        report = json.loads((folder / "report.json").read_text())["tests"]
    except (OSError, ValueError):
        report = {}
    shutil.rmtree(folder)
    return report, said


def outcome(row, report, said):
    """PASSED, FAILED or SKIPPED, the seconds, and the reason if it has not passed."""
    result = report.get(row.name, {"state": "FAILED", "duration": 0.0})
    state, seconds = result["state"], result["duration"]
    if state == "PASSED" and (seconds == 0 or row.part and not re.search(r"\[ .*: PASS ", said)):
        return "FAILED", seconds, "is said to have passed, but nothing was run"
    if state == "SKIPPED":
        return state, seconds, first(rf"^\[{row.name}.*?\] (?:WARN: )?(SKIPPING.*)$", said)
    return state if state == "PASSED" else "FAILED", seconds, complaint(row, said)


def complaint(row, said):
    """What a test that has failed gives as its reason: on the line after the one that names it."""
    return (
        first(rf'^### Test "{row.name}.*\n(.*)$', said)
        or first(r"^### (Test .*timed out.*)$", said)
        or " ".join(said.splitlines()[-2:])
    )


def first(pattern, text):
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip() if match else ""


main()
