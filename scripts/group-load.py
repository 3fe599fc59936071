#!/usr/bin/env python3
"""Consumer groups under load, krappy beside Apache Kafka: the same machine, the same client, in turns.

    scripts/group-load.py [--passes 3] [--quick] [--only WORD] [--json FILE]

Three workloads, each on a broker of its own with an empty folder:

  storm     1,000 members join one group within ten seconds, as clients do: told an id first, with heartbeats every
            three seconds by which they learn that they must join again. How many generations that takes, how long after
            the last arrival all have a share of the same one, and how another group's heartbeats fare meanwhile.
  offsets   10,000 groups with a committed offset each: memory, and how long a start takes after a stop and a kill.
  commits   64 committers, each with one commit on its way: commits a second, and how long each takes. krappy answers
            when the commit is on disk, Kafka when it is in the system's memory.

Needs target/release/krappy, and for Kafka what `tests/clients/run.sh --install tools` fetches. The client is this
program. How much of one CPU it used is told as well: near 1.0 it is the client that was measured.
"""

import argparse
import importlib.util
import json
import math
import multiprocessing
import selectors
import signal
import socket
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

spec = importlib.util.spec_from_file_location("versus", Path(__file__).with_name("versus-kafka.py"))
versus = importlib.util.module_from_spec(spec)
spec.loader.exec_module(versus)

MEMBERS, ARRIVAL, HEARTBEAT = 1_000, 10.0, 3.0
GROUPS = 10_000
COMMITTERS, SECONDS = 64, 10.0
TOPIC = "load"
# Seconds after which something hangs.
PATIENCE = 120

OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR, JOIN, HEART, SYNC, CREATE = 8, 9, 10, 11, 12, 14, 19
MEMBER_ID_REQUIRED = 79


def text(value):
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def frame(key, version, body):
    """A request whose header is not flexible."""
    head = struct.pack(">hhi", key, version, 0) + text("load")
    return struct.pack(">i", len(head) + len(body)) + head + body


def commit_request(group, offset):
    """OffsetCommit version 7 from outside of the group, of one partition."""
    partition = struct.pack(">iiqi", 1, 0, offset, -1) + text("")
    return frame(OFFSET_COMMIT, 7, text(group) + struct.pack(">i", -1) + text("") + b"\xff\xff"
                 + struct.pack(">i", 1) + text(TOPIC) + partition)


def join_request(group, member):
    """JoinGroup version 5."""
    protocol = struct.pack(">i", 1) + text("range") + struct.pack(">i", 0)
    return frame(JOIN, 5, text(group) + struct.pack(">ii", 30_000, 60_000) + text(member) + b"\xff\xff"
                 + text("consumer") + protocol)


def sync_request(group, generation, member, members):
    """SyncGroup version 3; a leader gives each of `members` a share."""
    shares = b"".join(text(name) + struct.pack(">i", 8) + b"a share." for name in members)
    return frame(SYNC, 3, text(group) + struct.pack(">i", generation) + text(member) + b"\xff\xff"
                 + struct.pack(">i", len(members)) + shares)


def heartbeat_request(group, generation, member):
    return frame(HEART, 3, text(group) + struct.pack(">i", generation) + text(member) + b"\xff\xff")


class Reader:
    """What stands in an answer, one thing after the other; begins behind the correlation id."""

    def __init__(self, answer, at=4):
        self.answer, self.at = answer, at

    def number(self, form):
        (value,) = struct.unpack_from(form, self.answer, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        size = self.number(">h")
        self.at += max(size, 0)
        return bytes(self.answer[self.at - max(size, 0) : self.at]).decode()

    def joined(self):
        """Error, generation, leader, own id, and who is there if that is told."""
        self.at += 4
        error, generation, _, leader, member = (
            self.number(">h"), self.number(">i"), self.text(), self.text(), self.text())
        members = []
        for _ in range(self.number(">i")):
            members.append(self.text())
            self.text()
            size = self.number(">i")
            self.at += size
        return error, generation, leader, member, members


class Wire:
    """A connection that asks one thing after the other, and waits."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def answer(self):
        size = struct.unpack(">i", self.file.read(4))[0]
        return self.file.read(size)

    def ask(self, request):
        self.socket.sendall(request)
        return self.answer()

    def settle(self, group):
        """Joins a group alone; generation and id."""
        *_, member, _ = Reader(self.ask(join_request(group, ""))).joined()
        _, generation, _, member, members = Reader(self.ask(join_request(group, member))).joined()
        self.ask(sync_request(group, generation, member, members))
        return generation, member


def create_topic(wire):
    """CreateTopics version 2; then asks for a coordinator's answer until there is one."""
    body = struct.pack(">i", 1) + text(TOPIC) + struct.pack(">ihiii", 1, 1, 0, 0, 30_000) + b"\0"
    wire.ask(frame(CREATE, 2, body))
    deadline = time.monotonic() + PATIENCE
    # The error of the one partition stands last.
    while (error := wire.ask(commit_request("first", 0))[-2:]) != b"\0\0":
        if time.monotonic() > deadline:
            sys.exit(f"no commit is taken: {error}")
        # Apache Kafka wants to be asked for the coordinator once, which makes its topic.
        wire.ask(frame(FIND_COORDINATOR, 0, text("first")))
        time.sleep(0.1)


def answers_of(buffer):
    """Takes whole answers out of a buffer."""
    found = []
    while len(buffer) >= 4:
        size = struct.unpack_from(">i", buffer)[0]
        if len(buffer) < 4 + size:
            break
        found.append(bytes(buffer[4 : 4 + size]))
        del buffer[: 4 + size]
    return found


class Member:
    """One of the storm. What it waits for is in `doing`."""

    def __init__(self, storm, address):
        self.storm, self.id, self.generation, self.doing, self.buffer = storm, "", -1, "join", bytearray()
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        storm.selector.register(self.socket, selectors.EVENT_READ, self)
        self.send(join_request("storm", ""))

    def send(self, request):
        # Requests are small, and a member has one on its way.
        self.socket.sendall(request)

    def join(self):
        self.doing, self.storm.settled[self] = "join", None
        self.send(join_request("storm", self.id))

    def hear(self):
        data = self.socket.recv(1 << 18)
        if not data:
            sys.exit("the broker has closed a connection")
        self.buffer += data
        for answer in answers_of(self.buffer):
            getattr(self, f"after_{self.doing}")(answer)

    def after_join(self, answer):
        error, generation, leader, member, members = Reader(answer).joined()
        if error:
            # The broker may also have forgotten it.
            self.id = member if error == MEMBER_ID_REQUIRED else ""
            self.join()
            return
        self.id, self.generation, self.doing = member, generation, "sync"
        self.send(sync_request("storm", generation, member, members if leader == member else []))

    def after_sync(self, answer):
        if Reader(answer, 8).number(">h"):
            self.join()
            return
        self.doing = "rest"
        self.storm.settled[self] = self.generation
        self.storm.later(self)

    def beat(self):
        if self.doing == "rest":
            self.doing = "heartbeat"
            self.send(heartbeat_request("storm", self.generation, self.id))

    def after_heartbeat(self, answer):
        if Reader(answer, 8).number(">h"):
            self.join()
            return
        self.doing = "rest"
        self.storm.later(self)


class Storm:
    """All members, in one thread."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        # The generation in which each member has its share, or None.
        self.settled = {}
        # When to send whose heartbeat; the interval is the same for all, so they are in order.
        self.beats = []

    def later(self, member):
        self.beats.append((time.monotonic() + HEARTBEAT, member))

    def run(self, address, count, arrival):
        """Seconds from the last arrival until all have a share of one generation, and that generation."""
        begun, arrived, last = time.monotonic(), 0, None
        while True:
            now = time.monotonic()
            while arrived < count and now >= begun + arrival * arrived / count:
                self.settled[Member(self, address)] = None
                arrived, last = arrived + 1, now
            while self.beats and self.beats[0][0] <= now:
                self.beats.pop(0)[1].beat()
            for key, _ in self.selector.select(0.002):
                key.data.hear()
            generations = set(self.settled.values())
            if arrived == count and len(generations) == 1 and None not in generations:
                return time.monotonic() - last, generations.pop()
            if now > begun + arrival + PATIENCE:
                sys.exit(f"{sum(v is not None for v in self.settled.values())} of {count} have a share")


def pulse(address, settled, stop, results):
    """Another group's heartbeats, every few milliseconds, from a process of its own."""
    wire, seen = Wire(address), []
    request = heartbeat_request("steady", *wire.settle("steady"))
    settled.set()
    while not stop.is_set():
        begun = time.perf_counter()
        wire.ask(request)
        seen.append(time.perf_counter() - begun)
        time.sleep(0.002)
    results.put(seen)


def pulsed(address, work):
    """What `work` gives, and how long each heartbeat of another group took meanwhile."""
    settled, stop, results = multiprocessing.Event(), multiprocessing.Event(), multiprocessing.Queue()
    process = multiprocessing.Process(target=pulse, args=(address, settled, stop, results), daemon=True)
    process.start()
    if not settled.wait(PATIENCE):
        sys.exit("the other group does not settle")
    got = work()
    stop.set()
    seen = results.get(timeout=PATIENCE)
    process.join()
    return got, sorted(seen)


def percentile(values, p):
    return 1000 * values[math.ceil(len(values) * p / 100) - 1]


def storm(broker, shrink):
    create_topic(Wire(broker.address))
    _, before = pulsed(broker.address, lambda: time.sleep(3))
    cpu = broker.cpu_seconds()
    (seconds, generation), during = pulsed(
        broker.address, lambda: Storm().run(broker.address, MEMBERS // shrink, ARRIVAL / shrink))
    return {
        "generations": generation,
        "s from the last arrival": seconds,
        "CPU s": broker.cpu_seconds() - cpu,
        "heartbeat p99 ms before": percentile(before, 99),
        "heartbeat p99 ms meanwhile": percentile(during, 99),
        "heartbeat max ms meanwhile": percentile(during, 100),
        "MB at most": broker.memory("VmHWM"),
    }


def offsets(broker, shrink):
    wire = Wire(broker.address)
    create_topic(wire)
    before, count = broker.memory("VmRSS"), GROUPS // shrink
    begun = time.monotonic()
    for first in range(0, count, 100):
        numbers = range(first, min(first + 100, count))
        wire.socket.sendall(b"".join(commit_request(f"group-{n}", n) for n in numbers))
        for number in numbers:
            assert wire.answer()[-2:] == b"\0\0", f"commit of group {number}"
    took = time.monotonic() - begun
    grown = broker.memory("VmRSS") - before
    broker.stop()
    broker.launch()
    stopped = broker.started_in
    broker.process.send_signal(signal.SIGKILL)
    broker.process.wait()
    broker.launch()
    asked = time.monotonic()
    last = fetch_until_loaded(broker.address, f"group-{count - 1}")
    assert last == count - 1, f"the last group is at {last}"
    return {
        "groups/s committed": count / took,
        "MB for the groups": grown,
        "s to start after a stop": stopped,
        "s to start after a kill": broker.started_in,
        "s until offsets are told": time.monotonic() - asked,
    }


def fetch_until_loaded(address, group):
    """OffsetFetch version 5, until the coordinator has loaded."""
    request = frame(OFFSET_FETCH, 5, text(group) + struct.pack(">i", 1) + text(TOPIC) + struct.pack(">ii", 1, 0))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = Reader(Wire(address).ask(request), 8)
        if answer.number(">i") == 1:
            answer.text()
            answer.number(">i"), answer.number(">i")
            offset = answer.number(">q")
            if offset >= 0:
                return offset
        time.sleep(0.02)
    return None


def commits(broker, shrink):
    create_topic(Wire(broker.address))
    selector = selectors.DefaultSelector()
    # The commits of each committer, made beforehand.
    for number in range(COMMITTERS):
        wire = Wire(broker.address)
        requests = [commit_request(f"committer-{number}", offset) for offset in range(16)]
        selector.register(wire.socket, selectors.EVENT_READ, [wire.socket, requests, 0, 0.0])
    latencies, failed = [], 0
    begun, cpu, own = time.perf_counter(), broker.cpu_seconds(), time.process_time()
    for key in selector.get_map().values():
        key.data[3] = time.perf_counter()
        key.data[0].sendall(key.data[1][0])
    end = begun + SECONDS / shrink
    while (now := time.perf_counter()) < end:
        for key, _ in selector.select(1):
            state = key.data
            # An answer is small enough to come whole.
            answer = state[0].recv(4096)
            failed += answer[-2:] != b"\0\0"
            now = time.perf_counter()
            latencies.append(now - state[3])
            state[2] = (state[2] + 1) % 16
            state[3] = now
            state[0].send(state[1][state[2]])
    took = time.perf_counter() - begun
    if failed:
        sys.exit(f"{failed} commits were refused")
    latencies.sort()
    return {
        "commits/s": len(latencies) / took,
        "p50 ms": percentile(latencies, 50),
        "p99 ms": percentile(latencies, 99),
        "CPU of the broker": (broker.cpu_seconds() - cpu) / took,
        "CPU of the client": (time.process_time() - own) / took,
    }


WORKLOADS = {"storm": storm, "offsets": offsets, "commits": commits}
SUBJECTS = {"krappy": "krappy", "kafka": "Kafka"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: to see that it runs")
    parser.add_argument("--only", default="", help="workloads whose name holds this word")
    parser.add_argument("--without-kafka", action="store_true")
    parser.add_argument("--json", help="file for every figure of every pass")
    options = parser.parse_args()
    figures = {}
    for number in range(options.passes):
        kinds = ["krappy"] if options.without_kafka else ["krappy", "kafka"]
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            for name, workload in WORKLOADS.items():
                if options.only in name:
                    seen = one(kind, workload, 10 if options.quick else 1)
                    print(f"{kind:7} {name:8} {json.dumps(seen)}", file=sys.stderr, flush=True)
                    for figure, value in seen.items():
                        figures.setdefault(name, {}).setdefault(figure, {}).setdefault(kind, []).append(value)
    print(table(figures))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1))


def one(kind, workload, shrink):
    """One workload on a fresh broker."""
    with tempfile.TemporaryDirectory(prefix="group-load-") as folder:
        broker = versus.Broker(kind, Path(folder))
        try:
            return workload(broker, shrink)
        finally:
            broker.stop()


def table(figures):
    lines = ["| workload | figure | krappy | Kafka |", "|---|---|---:|---:|"]
    for name, seen in figures.items():
        for figure, by_kind in seen.items():
            cells = [versus.shown(statistics.median(by_kind[k]) if k in by_kind else None) for k in SUBJECTS]
            lines.append(f"| {name} | {figure} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
