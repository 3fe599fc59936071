"""What each Python client is put through, and what must come of it.

A scenario is a list of steps over a `client`: one of the classes in the files beside this one, which say the same few
things (send, read, create_topic, ...) in the words of one library. What is expected is stated here, once for all.

The broker is at BROKER. If BROKER_PID names a file, it holds the pid of a broker that somebody restarts when it dies.
"""
import contextlib
import os
import random
import signal
import sys
import threading
import time
from typing import Any, NamedTuple

BROKER = os.environ["BROKER"]
BROKER_PID = os.environ.get("BROKER_PID")
# The longest that a scenario may take, in seconds.
PATIENCE = 120

# Kafka's numbers of the errors that are provoked here.
UNKNOWN_TOPIC = 3
MESSAGE_TOO_LARGE = 10
INVALID_TOPIC = 17
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
INVALID_REPLICATION_FACTOR = 38
INVALID_CONFIG = 40


class Record(NamedTuple):
    """What is sent, and what is read. A record without a timestamp gets the client's."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = []
    timestamp: int | None = None
    partition: int | None = None
    offset: int | None = None


class Placed(NamedTuple):
    """Where the broker says that a record went."""

    partition: int
    offset: int


def defaults(client, topic):
    """A thousand records with nothing set but the address, and back, in order in each partition."""
    client.create_topic(topic, partitions=3)
    sent = [Record(b"key-%d" % (i % 50), b"value-%d" % i) for i in range(1000)]
    placed = client.send(topic, sent)
    for partition in range(3):
        here = [(p.offset, r) for p, r in zip(placed, sent, strict=True) if p.partition == partition]
        assert [offset for offset, _ in here] == list(range(len(here))), "acknowledged offsets are not 0, 1, 2..."
        assert here, f"no key of fifty fell into partition {partition}"
        read = client.read(topic, partition, 0, len(here))
        assert [(r.offset, r.key, r.value) for r in read] == [(o, r.key, r.value) for o, r in here]


def acks(client, topic):
    """Records reach the log whatever the producer waits for."""
    client.create_topic(topic)
    for level in ("0", "1", "all"):
        client.send(topic, [Record(None, level.encode())] * 10, acks=level)
    assert [r.value for r in client.read(topic, 0, 0, 30)] == [b"0"] * 10 + [b"1"] * 10 + [b"all"] * 10


def codec(client, topic, name):
    """A compressed batch comes back, and it was compressed: in the clear it would be too large for the topic."""
    client.create_topic(topic, configs={"max.message.bytes": "20000"})
    text = b"".join(b"the same words again and again, %d; " % (i % 10) for i in range(3000))
    sent = [Record(b"large", text), Record(None, b""), Record(b"key", None, [("h", b"1")])]
    client.send(topic, sent, codec=name)
    assert [r[:3] for r in client.read(topic, 0, 0, 3)] == [r[:3] for r in sent]
    with refused(client, MESSAGE_TOO_LARGE):
        client.send(topic, [Record(None, text)])


def shapes(client, topic):
    """Null is not empty: in keys, values and headers, whose order and repetition are kept."""
    client.create_topic(topic)
    headers = [("twice", b"1"), ("other", b"\xff\x00"), ("twice", b"2"), ("empty", b"")]
    if client.null_headers:
        headers.append(("null", None))
    sent = [
        Record(key, value, some)
        for key in (None, b"", b"key", b"\xff\xfe")
        for value in (None, b"", b"value", "\N{SNOWMAN}".encode())
        for some in ([], headers)
        if client.null_records or (key, value) != (None, None)
    ]
    client.send(topic, sent)
    assert [r[:3] for r in client.read(topic, 0, 0, len(sent))] == [r[:3] for r in sent]


def seek_by_offset(client, topic):
    """Reading begins where it is told to, also in the middle of a batch, or at the earliest if that is nowhere."""
    client.create_topic(topic)
    client.send(topic, [Record(None, b"%d" % i) for i in range(100)])
    for start in (0, 1, 57, 99):
        assert client.read(topic, 0, start, 1)[0][1] == b"%d" % start
    assert client.read(topic, 0, 1_000_000, 1)[0].offset == 0, "auto.offset.reset=earliest after OFFSET_OUT_OF_RANGE"


def seek_by_time(client, topic):
    """A time leads to the first record that is not older."""
    client.create_topic(topic)
    hour_ago = int(time.time() * 1000) - 3_600_000
    client.send(topic, [Record(None, b"%d" % i, timestamp=hour_ago + 1000 * i) for i in range(10)])
    for at, offset in [(-5000, 0), (0, 0), (1, 1), (4000, 4), (4001, 5), (9000, 9)]:
        assert client.offset_at(topic, 0, hour_ago + at) == offset, f"at {at} ms"
    assert client.offset_at(topic, 0, hour_ago + 9001) in (None, -1, 10), "after the last record"
    assert [r.timestamp for r in client.read(topic, 0, 4, 2)] == [hour_ago + 4000, hour_ago + 5000]


def append_time(client, topic):
    """On a topic with message.timestamp.type=LogAppendTime the broker's clock counts."""
    client.create_topic(topic, configs={"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000) - 1000
    client.send(topic, [Record(None, b"x", timestamp=before - 3_600_000)])
    assert client.read(topic, 0, 0, 1)[0].timestamp >= before


def waits(client, topic):
    """A consumer at the end of the log gets what is sent later."""
    client.create_topic(topic)
    read = []
    reader = threading.Thread(target=lambda: read.extend(client.read(topic, 0, 0, 2)))
    reader.start()
    client.send(topic, [Record(None, b"first")])
    client.send(topic, [Record(None, b"second")])
    reader.join()
    assert [r.value for r in read] == [b"first", b"second"]


def large(client, topic):
    """Records of 900 KB with the client's and the broker's default limits."""
    client.create_topic(topic)
    sent = [Record(b"%d" % i, random.Random(i).randbytes(900_000)) for i in range(5)]
    client.send(topic, sent)
    assert [r[:2] for r in client.read(topic, 0, 0, 5)] == [r[:2] for r in sent]


def too_large(client, topic):
    """The broker refuses what is over max.message.bytes, and takes what comes after it."""
    client.create_topic(topic, configs={"max.message.bytes": "10000"})
    with refused(client, MESSAGE_TOO_LARGE):
        client.send(topic, [Record(None, random.Random(1).randbytes(10_001))])
    client.send(topic, [Record(None, b"small")])
    assert client.read(topic, 0, 0, 1)[0].value == b"small"


def auto_create(client, topic):
    """Sending to a topic that does not exist makes it."""
    client.send(topic, [Record(None, b"first")])
    assert client.read(topic, 0, 0, 1)[0].value == b"first"
    assert topic in client.topics()


def unknown_topic(client, topic):
    """Asking for a topic does not make it, unless the library asks for that, too."""
    if client.asking_creates:
        assert soon(lambda: client.describe(topic) == [0])
        return
    with refused(client, UNKNOWN_TOPIC):
        client.describe(topic)
    assert topic not in client.topics()


def topic_admin(client, topic):
    """A topic is made once, seen then, gone when it is deleted, and can be made again, different."""
    client.create_topic(topic, partitions=4)
    assert soon(lambda: client.describe(topic) == [0, 1, 2, 3])
    assert soon(lambda: topic in client.topics())
    with refused(client, TOPIC_ALREADY_EXISTS):
        client.create_topic(topic)
    client.delete_topic(topic)
    assert soon(lambda: topic not in client.topics())
    with refused(client, UNKNOWN_TOPIC):
        client.delete_topic(topic)
    client.create_topic(topic, partitions=2)
    assert soon(lambda: client.describe(topic) == [0, 1])


def bad_admin(client, topic):
    """Topics that cannot be are refused with Kafka's error for each reason, and are not made."""
    with refused(client, INVALID_TOPIC):
        client.create_topic("no spaces/allowed")
    with refused(client, INVALID_REPLICATION_FACTOR):
        client.create_topic(topic, replication=3)
    with refused(client, INVALID_CONFIG):
        client.create_topic(topic, configs={"retention.ms": "soon"})
    with refused(client, INVALID_CONFIG):
        client.create_topic(topic, configs={"no.such.setting": "1"})
    with refused(client, INVALID_PARTITIONS):
        client.create_topic(topic, partitions=0)
    assert topic not in client.topics()


def configs(client, topic):
    """Settings are told as they were given, change, and go back to their defaults unless they are named again."""
    client.create_topic(topic, configs={"retention.ms": "123456"})
    told = client.configs(topic)
    assert told["retention.ms"] == "123456"
    assert told["cleanup.policy"] == "delete"
    assert told["max.message.bytes"] == "1048588"
    client.alter(topic, {"retention.ms": "654321", "max.message.bytes": "5000"})
    told = client.configs(topic)
    assert (told["retention.ms"], told["max.message.bytes"]) == ("654321", "5000")
    with refused(client, MESSAGE_TOO_LARGE):
        client.send(topic, [Record(None, random.Random(1).randbytes(6000))])
    with refused(client, INVALID_CONFIG):
        client.alter(topic, {"retention.ms": "soon"})


def create_partitions(client, topic):
    """Partitions are added, never taken away, and can be used."""
    client.create_topic(topic, partitions=1)
    client.send(topic, [Record(None, b"old", partition=0)])
    client.add_partitions(topic, 3)
    assert soon(lambda: client.describe(topic) == [0, 1, 2])
    with refused(client, INVALID_PARTITIONS):
        client.add_partitions(topic, 2)
    client.send(topic, [Record(None, b"new", partition=2)])
    assert client.read(topic, 2, 0, 1)[0].value == b"new"
    assert client.read(topic, 0, 0, 1)[0].value == b"old"


def delete_records(client, topic):
    """Records before an offset are gone, also if it lies within a batch, and reading goes on behind them."""
    client.create_topic(topic)
    client.send(topic, [Record(None, b"%d" % i) for i in range(10)])
    assert client.delete_records(topic, 0, 4) == 4
    assert client.earliest(topic, 0) == 4
    assert [r.value for r in client.read(topic, 0, 0, 6)] == [b"4", b"5", b"6", b"7", b"8", b"9"]
    assert client.delete_records(topic, 0, -1) == 10, "-1 means all"
    assert (client.earliest(topic, 0), client.latest(topic, 0)) == (10, 10)


def list_offsets(client, topic):
    """The ends of a log, empty and not."""
    client.create_topic(topic)
    assert (client.earliest(topic, 0), client.latest(topic, 0)) == (0, 0)
    client.send(topic, [Record(None, b"x")] * 7)
    assert (client.earliest(topic, 0), client.latest(topic, 0)) == (0, 7)


def newest_timestamp(client, topic):
    """The record with the largest timestamp is found, wherever it is."""
    client.create_topic(topic)
    now = int(time.time() * 1000)
    client.send(topic, [Record(None, b"x", timestamp=now - back) for back in (50, 30, 10, 20, 40)])
    assert client.newest(topic, 0) == 2


def crash(client, topic):
    """The broker is killed twice while an idempotent producer sends: no loss, no duplicate, and order is kept."""
    count, partitions = 30_000, 3
    client.create_topic(topic, partitions=partitions)
    # Long enough for many batches, so that some are in flight whenever the broker dies.
    sent = [Record(None, b"%06d" % (i // partitions) + bytes(200), partition=i % partitions) for i in range(count)]
    kills = iter([count // 4, count // 2, None])
    due = next(kills)

    def acknowledged(done):
        nonlocal due
        if due is not None and done >= due:
            due = next(kills)
            kill_broker()

    client.send(topic, sent, acks="all", idempotence=True, acknowledged=acknowledged)
    assert due is None, "the broker was not killed twice"
    for partition in range(partitions):
        read = client.read(topic, partition, 0, count // partitions)
        assert [int(r.value[:6]) for r in read] == list(range(count // partitions)), f"partition {partition}"
        # Soon, because an administrator may have to notice first that it has lost its connection.
        assert soon(lambda partition=partition: client.latest(topic, partition) == count // partitions)


def soon(question) -> bool:
    """Whether the answer becomes yes: Apache Kafka changes its metadata a little after it has confirmed a change."""
    deadline = time.monotonic() + 20
    while True:
        try:
            if question() or time.monotonic() > deadline:
                return question()
        except Exception:  # such as an unknown topic, which a question may find
            if time.monotonic() > deadline:
                raise


killed = None


def kill_broker():
    """SIGKILL. Whoever started the broker starts it again, on the same port and data.

    If that has yet to happen it waits for it: a library may tell late what was acknowledged before the kill.
    """
    global killed
    assert soon(lambda: broker_pid() != killed), "the broker is not started again"
    killed = broker_pid()
    os.kill(killed, signal.SIGKILL)


def broker_pid() -> int:
    with open(BROKER_PID, encoding="ascii") as file:
        return int(file.read())


@contextlib.contextmanager
def refused(client, code):
    """What stands in it must fail with this error of Kafka's."""
    try:
        yield
    except Exception as error:  # every library has a family of its own
        got = client.code_of(error)
        assert got == code, f"error {got} instead of {code}: {error!r}"
        return
    raise AssertionError(f"was not refused with error {code}")


def scenarios(client) -> dict[str, Any]:
    """Those that the client has the means for, by name."""
    found = {s.__name__: s for s in (defaults, acks, shapes, seek_by_offset, seek_by_time, append_time, waits, large)}
    found |= {s.__name__: s for s in (too_large, auto_create, unknown_topic, topic_admin, bad_admin, configs)}
    found |= {s.__name__: s for s in (create_partitions, delete_records, list_offsets)}
    for name in client.codecs:
        found[f"codec_{name}"] = lambda client, topic, name=name: codec(client, topic, name)
    if hasattr(client, "newest"):
        found["newest_timestamp"] = newest_timestamp
    if BROKER_PID:
        found["crash"] = crash
    return found


def run(client):
    """Runs the scenarios that are named on the command line, or all; the exit status says whether all are well."""
    failed = 0
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError(f"{PATIENCE} seconds")))
    for name, scenario in scenarios(client).items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        begun = time.monotonic()
        signal.alarm(PATIENCE)
        try:
            scenario(client, f"{client.name}-{name}-{os.getpid()}")
            print(f"ok {name} {time.monotonic() - begun:.1f}", flush=True)
        except Exception as error:  # any failure at all is one line, and the next scenario runs
            failed += 1
            where = last_line_here(error.__traceback__)
            print(f"FAIL {name} {where}: {error!r}"[:600].replace("\n", " "), flush=True)
        finally:
            signal.alarm(0)
    print("done", flush=True)
    sys.exit(1 if failed else 0)


def last_line_here(traceback) -> str:
    """The step that failed."""
    line = "?"
    while traceback:
        if traceback.tb_frame.f_code.co_filename == __file__:
            line = f"steps.py:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return line
