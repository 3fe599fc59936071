#!/usr/bin/env python3
"""krappy beside Apache Kafka: the same machine, the same clients, the same settings, in turns.

    scripts/versus-kafka.py [--passes 5] [--quick] [--only WORD] [--json FILE] [--write docs/BENCHMARKS.md]

In each pass each broker starts on an empty folder, is warmed up with a load that does not count, goes through every
workload and is stopped; who begins changes with each pass. A figure is the median of the passes. The clients are
Kafka's own kafka-producer-perf-test and kafka-consumer-perf-test, and librdkafka's rdkafka_performance, which
`tests/clients/run.sh --install tools`
and `tests/librdkafka/run.sh --install` fetch and build. CPU is what the broker's process used, user and system; memory
is its VmRSS and VmHWM. --write replaces the tables between the two marks of that file.

Three brokers stand in the tables: krappy as it is, whose acks=all means on disk; krappy on topics with Kafka's
`flush.messages`, which leave syncing to the system; and Kafka, which never syncs by itself.
"""

import argparse
import functools
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("CLIENTS_CACHE", ROOT / "target/clients"))
KRAPPY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/krappy"
ORACLE = ROOT / "scripts/kafka-oracle.sh"
CLIENT_JAVA = ["java", "-Xmx512m", "-XX:+UseG1GC", "-Dlog4j2.level=OFF"]
# What Kafka's own start script gives the broker.
KAFKA_JAVA = "-Xmx1G -Xms1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35"
TICKS = os.sysconf("SC_CLK_TCK")
GIB, MB = 1 << 30, 1_000_000

# Name in the tables, the process that serves it, settings of its topics.
SUBJECTS = [
    ("krappy", "krappy", {}),
    ("krappy, unsynced", "krappy", {"flush.messages": "9223372036854775807"}),
    ("Kafka", "kafka", {}),
]
# Size of a record and how many are sent: some seconds each.
SIZES = [(100, 1_000_000), (1024, 250_000)]
# The moderate rate, records a second, and for how many seconds.
RATE, SECONDS = 5_000, 15


class Broker:
    """A broker's process on an empty folder."""

    def __init__(self, kind, folder):
        self.log = folder / "log"
        self.command = [KRAPPY if kind == "krappy" else ORACLE, "--data-dir", folder / "data"]
        self.environment = os.environ | {"ORACLE_JAVA": KAFKA_JAVA}
        # The first start formats the folder, which is not what starting means later on.
        self.launch()
        self.stop()
        self.launch()

    def launch(self):
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [*self.command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=open(self.log, "a"), text=True,
            env=self.environment)
        ready = self.process.stdout.readline().split()
        self.started_in = time.monotonic() - begun
        if len(ready) != 2 or ready[0] != "READY":
            sys.exit(f"{self.command[0]} did not start:\n{self.log.read_text()[-2000:]}")
        self.address = ready[1]
        self.idle_memory = self.memory("VmRSS")

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, key):
        """A figure of /proc/PID/status in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+)", status)[1]) * 1024 / MB

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main():
    options = arguments()
    figures = {}
    with tempfile.TemporaryDirectory(prefix="versus-") as folder:
        for number in range(options.passes):
            kinds = ["krappy", "kafka"] if number % 2 == 0 else ["kafka", "krappy"]
            for kind in kinds:
                home = Path(folder) / f"{kind}-{number}"
                home.mkdir()
                one_pass(kind, home, options, figures)
                subprocess.run(["rm", "-rf", home], check=True)
    tables = render(figures)
    print(tables)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1))
    if options.write:
        write(Path(options.write), tables)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the records: to see that everything runs")
    parser.add_argument("--only", default="", help="workloads whose name holds this word")
    parser.add_argument("--json", help="file for every figure of every pass")
    parser.add_argument("--write", help="file whose tables are replaced")
    return parser.parse_args()


def one_pass(kind, home, options, figures):
    """Starts a broker, runs every workload once, and adds what was seen to `figures`."""
    broker = Broker(kind, home)
    shrink = 10 if options.quick else 1

    def note(subject, workload, seen):
        print(f"{subject:18} {workload:32} {json.dumps(seen)}", file=sys.stderr)
        for name, value in seen.items():
            figures.setdefault(workload, {}).setdefault(name, {}).setdefault(subject, []).append(value)

    try:
        subjects = [(name, configs) for name, process, configs in SUBJECTS if process == kind]
        started = {"start-up ms": broker.started_in * 1000, "MB when started": broker.idle_memory}
        note(subjects[0][0], "process", started)
        warm_up(broker, shrink)
        for subject, configs in subjects:
            for workload, run in workloads(broker, configs, shrink):
                if options.only in workload:
                    note(subject, workload, run())
        note(subjects[0][0], "process", {"MB at the end": broker.memory("VmRSS"), "MB at most": broker.memory("VmHWM")})
    finally:
        broker.stop()


def warm_up(broker, shrink):
    """Kafka's broker is compiled while it runs: it gets the time for that, and krappy gets the same."""
    create_topic(broker, "warm-up", {})
    for acks in ("1", "all"):
        producer_perf(broker, "warm-up", 500_000 // shrink, 100, acks, "none")
        producer_perf(broker, "warm-up", 100_000 // shrink, 1024, acks, "lz4")
    consume(broker, "warm-up", 1_000_000 // shrink)
    consumer_perf(broker, "warm-up", 1_000_000 // shrink)


def workloads(broker, configs, shrink):
    """Yields what is measured: a name, and what runs it."""
    suffix = "-unsynced" if configs else ""

    def topic(name):
        create_topic(broker, name + suffix, configs)
        return name + suffix

    for size, records in SIZES:
        records //= shrink
        for codec in ("none", "lz4"):
            for acks in ("1", "all"):
                yield (f"produce {size} B, acks={acks}, {codec}",
                       lambda: on_cpu(broker, records * size,
                                      lambda: producer_perf(broker, topic(f"java-{size}-{acks}-{codec}"), records, size,
                                                            acks, codec)))
        yield (f"librdkafka {size} B, acks=all, none",
               lambda: on_cpu(broker, records * size,
                              lambda: rdkafka_produce(broker, topic(f"c-{size}"), records, size)))
        if not configs:
            for tool, consumer in (("librdkafka", consume), ("Java, in a group", consumer_perf)):
                yield (f"consume {size} B, {tool}",
                       lambda: on_cpu(broker, records * size, lambda: consumer(broker, f"c-{size}", records)))
    for acks in ("1", "all"):
        yield (f"latency, {RATE}/s of 100 B, acks={acks}",
               lambda: rdkafka_latency(broker, topic(f"latency-{acks}"), acks, SECONDS // shrink))


def on_cpu(broker, payload, workload):
    """Adds to a workload's figures the CPU that the broker used for each GiB of payload."""
    before = broker.cpu_seconds()
    seen = workload()
    return seen | {"CPU s/GiB": (broker.cpu_seconds() - before) / (payload / GIB)}


def create_topic(broker, topic, configs):
    settings = [part for key, value in configs.items() for part in ("--config", f"{key}={value}")]
    run([*CLIENT_JAVA, "-cp", jars(), "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.address,
         "--create", "--topic", topic, "--partitions", 1, *settings])


def producer_perf(broker, topic, records, size, acks, codec):
    """kafka-producer-perf-test, as fast as it goes. The latencies that it prints are those of its own queue, and while
    it warms up its own: they are left out."""
    printed = run([*CLIENT_JAVA, "-cp", jars(), "org.apache.kafka.tools.ProducerPerformance", "--topic", topic,
                   "--num-records", records, "--record-size", size, "--throughput", -1, "--producer-props",
                   f"bootstrap.servers={broker.address}", f"acks={acks}", f"compression.type={codec}"])
    last = printed.strip().splitlines()[-1]
    said = re.match(r"(\d+) records sent, ([\d.]+) records/sec", last)
    if not said or int(said[1]) != records:
        sys.exit(f"kafka-producer-perf-test printed: {last}")
    return {"records/s": float(said[2])}


def rdkafka_produce(broker, topic, records, size):
    printed = rdkafka(broker, ["-P", "-t", topic, "-p", 0, "-s", size, "-c", records, "-a", -1, "-X", "linger.ms=5",
                               "-X", "queue.buffering.max.messages=500000", "-q"])
    return {"records/s": float(re.findall(r"(\d+) msgs/s", printed)[-1])}


def rdkafka_latency(broker, topic, acks, seconds):
    """Latencies of single records in microseconds, from a file in which rdkafka_performance leaves each of them."""
    before = broker.cpu_seconds()
    with tempfile.NamedTemporaryFile("r") as file:
        rdkafka(broker, ["-P", "-t", topic, "-p", 0, "-s", 100, "-r", RATE, "-c", RATE * seconds, "-l", "-A", file.name,
                         "-a", {"1": 1, "all": -1}[acks], "-X", "linger.ms=0", "-q"])
        latencies = sorted(float(line) / 1000 for line in file if re.fullmatch(r"[\d.]+\n", line))
    if len(latencies) < RATE * seconds * 0.99:
        sys.exit(f"rdkafka_performance kept {len(latencies)} latencies of {RATE * seconds}")
    percentiles = {f"p{p} ms": latencies[math.ceil(len(latencies) * p / 100) - 1] for p in (50, 99, 99.9)}
    return percentiles | {"CPU us/record": (broker.cpu_seconds() - before) * 1e6 / (RATE * seconds)}


def consume(broker, topic, records):
    """Reads a partition from its beginning, without a group."""
    printed = rdkafka(broker, ["-C", "-t", topic, "-p", 0, "-o", "beginning", "-c", records, "-q"])
    return {"records/s": float(re.findall(r"(\d+) msgs/s", printed)[-1])}


def consumer_perf(broker, topic, records):
    """kafka-consumer-perf-test: the rate of fetching, which leaves out the time of joining its group."""
    printed = run([*CLIENT_JAVA, "-cp", jars(), "org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server",
                   broker.address, "--topic", topic, "--messages", records])
    names, values = [re.split(r",\s*", line) for line in printed.strip().splitlines()[-2:]]
    seen = dict(zip(names, values))
    if int(seen["data.consumed.in.nMsg"]) < records:
        sys.exit(f"kafka-consumer-perf-test printed: {printed}")
    return {"records/s": float(seen["fetch.nMsg.sec"])}


def rdkafka(broker, parameters):
    return run([rdkafka_performance(), *parameters, "-b", broker.address])


@functools.cache
def rdkafka_performance():
    """librdkafka's example, built beside the library if it is not there yet."""
    found = sorted(CACHE.glob("librdkafka-*/complete"))
    if not found:
        sys.exit("librdkafka is not there: run tests/librdkafka/run.sh --install")
    source = found[-1].parent / "source"
    program = source / "examples/rdkafka_performance"
    if not program.exists():
        run(["cc", "-O2", f"-I{source}", f"-I{source / 'src'}", f"{program}.c", "-o", program, f"-L{source / 'src'}",
             "-lrdkafka", f"-Wl,-rpath,{source / 'src'}"])
    return program


@functools.cache
def jars():
    found = sorted(CACHE.glob("oracle-*/complete"))
    if not found:
        sys.exit("Kafka's jars are not there: run tests/clients/run.sh --install tools")
    return ":".join(str(jar) for jar in found[-1].parent.glob("*.jar"))


def run(command):
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        sys.exit(f"failed: {' '.join(command)[-300:]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def render(figures):
    """The tables: for each workload and figure the medians, and Kafka's divided by krappy's or the other way round."""
    lines = ["| workload | figure | krappy | krappy, unsynced | Kafka | krappy is better by |",
             "|---|---|---:|---:|---:|---:|"]
    for workload, seen in figures.items():
        for name, by_subject in seen.items():
            medians = {subject: statistics.median(values) for subject, values in by_subject.items()}
            cells = [shown(medians.get(subject)) for subject, _, _ in SUBJECTS]
            lines.append(f"| {workload} | {name} | {' | '.join(cells)} | {advantage(name, medians)} |")
    return "\n".join(lines)


def shown(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def advantage(name, medians):
    ours, theirs = medians.get("krappy"), medians.get("Kafka")
    if not ours or not theirs:
        return ""
    return f"{ours / theirs if name == 'records/s' else theirs / ours:.1f}x"


def write(path, tables):
    begin, end = "<!-- tables: begin -->", "<!-- tables: end -->"
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        sys.exit(f"{path} has no marks: {begin} and {end}")
    path.write_text(f"{before}{begin}\n{tables}\n{end}{after}")


if __name__ == "__main__":
    main()
