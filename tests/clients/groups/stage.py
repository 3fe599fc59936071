"""Members of consumer groups in many client libraries, told what to do and held to account in one place.

A puppet is a process that knows one library (../python/puppet_*.py, ../java/Puppet.java and so on). It reads commands
and says what happens, one line each, words divided by single spaces:

    join NAME KEY=VALUE...              a member joins; the keys are those of `Group.join`
    leave NAME                          -> NAME left
    commit NAME PARTITION OFFSET TEXT   -> NAME did, or NAME refused CODE
    committed NAME PARTITION            -> NAME did OFFSET TEXT
    admin VERB GROUP...                 -> admin did WORD..., or admin refused CODE; verbs are those of `Group.admin`

    ready WORD...                       first of all: what the library can do
    NAME + PARTITION...                 the member was given partitions
    NAME - PARTITION...                 it gives them back, or they were taken from it
    NAME = PARTITION OFFSET VALUE       it has read a record
    NAME ^ PARTITION OFFSET             the broker has confirmed its commit
    NAME failed TEXT                    what nobody asked for

The invariant: what is sent to a topic and what is read from it is known here record by record, so that at the end
nothing is missing, nothing is out of order, nothing was read twice that need not be, and no commit ever went back.
"""
import collections
import os
import signal
import subprocess
import threading
import time

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BROKER = os.environ["BROKER"]
BROKER_PID = os.environ.get("BROKER_PID")
# Seconds within which anything that must happen has happened.
PATIENCE = 45


class Tenancy:
    """What a member read of a partition between getting it and giving it back."""

    def __init__(self, partition, confirmed):
        self.partition = partition
        # What was known to be committed when it began.
        self.confirmed = confirmed
        self.offsets = []

    def __repr__(self):
        span = f"{self.offsets[0]}..{self.offsets[-1]}" if self.offsets else "nothing"
        return f"{self.partition}: {span}"


class Member:
    """What is known of a member from the lines about it."""

    def __init__(self, group, name, puppet):
        self.group, self.name, self.puppet = group, name, puppet
        self.tenancies = []
        self.held = {}
        # Every set of partitions that it has held, one after the other.
        self.holdings = []
        self.answer = None
        self.left = False

    def hear(self, what, words):
        if what == "+":
            for partition in map(int, words):
                assert partition not in self.held, f"{self.name} was given partition {partition} twice"
                self.held[partition] = Tenancy(partition, self.group.confirmed.get(partition, 0))
                self.tenancies.append(self.held[partition])
            self.holdings.append(set(self.held))
        elif what == "-":
            for partition in map(int, words):
                self.held.pop(partition, None)
            self.holdings.append(set(self.held))
        elif what == "=":
            self.read(int(words[0]), int(words[1]), words[2])
        elif what == "^":
            partition, offset = int(words[0]), int(words[1])
            self.group.confirmed[partition] = max(offset, self.group.confirmed.get(partition, 0))
        elif what in ("did", "refused"):
            self.answer = [what, *words]
        elif what == "left":
            self.left = True
            self.held.clear()
        else:
            raise AssertionError(f"{self.name} {what} {' '.join(words)}"[:400])

    def read(self, partition, offset, value):
        assert value == f"{partition}-{offset}", f"{value} at {partition}:{offset}"
        assert partition in self.held, f"{self.name} has read {value} without having the partition"
        self.held[partition].offsets.append(offset)
        self.group.seen[partition].add(offset)

    def leave(self):
        self.puppet.say("leave", self.name)
        self.group.until(f"{self.name} has left", lambda: self.left)

    def ask(self, command, *words):
        """Its answer to a command: ["did", ...] or ["refused", code]."""
        self.answer = None
        self.puppet.say(command, self.name, *words)
        self.group.until(f"{self.name} answers {command}", lambda: self.answer)
        return self.answer

    def count(self):
        return sum(len(t.offsets) for t in self.tenancies)

    def __repr__(self):
        return f"{self.name} {self.tenancies}"


class Puppet:
    """A process of the client library."""

    def __init__(self, stage, command):
        self.stage = stage
        self.members = {}
        self.can, self.answer, self.killed = None, None, False
        self.admin = threading.Lock()
        # The group of its own keeps a Ctrl-C for whoever runs all of this.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        threading.Thread(target=self.listen, daemon=True).start()
        stage.until("the client is ready", lambda: self.can is not None)

    def listen(self):
        for line in self.process.stdout:
            who, *words = line.rstrip("\n").split(" ")
            with self.stage.heard:
                # Whoever waits must learn of what goes wrong.
                concerned = self.members[who].group if who in self.members else self.stage
                try:
                    self.hear(who, *words)
                except Exception as error:
                    concerned.trouble = concerned.trouble or f"{line.strip()[:200]!r}: {error}"
                self.stage.heard.notify_all()
        with self.stage.heard:
            if not self.killed:
                self.stage.trouble = "the client's process has ended"
            self.stage.heard.notify_all()

    def hear(self, who, what="", *words):
        if who == "ready":
            self.can = {what, *words}
        elif who == "admin":
            self.answer = [what, *words]
        else:
            self.members[who].hear(what, words)

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def ask_admin(self, *words):
        with self.admin:
            self.answer = None
            self.say("admin", *words)
            self.stage.until(f"the answer to {words}", lambda: self.answer)
            return self.answer

    def kill(self):
        """Dies without a word to the broker, with all of its members."""
        self.killed = True
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Stage:
    """The broker, and the puppets of one client, one of which all scenarios share."""

    def __init__(self, command):
        self.command = command
        self.heard = threading.Condition()
        self.trouble = None
        self.puppets = []
        self.broker = AdminClient({"bootstrap.servers": BROKER})
        self.producer = Producer({"bootstrap.servers": BROKER, "enable.idempotence": True, "linger.ms": 0})
        self.shared = self.puppet()

    def puppet(self):
        self.puppets.append(Puppet(self, self.command))
        return self.puppets[-1]

    def until(self, what, question, group=None):
        """Waits until it is so. Questions are asked again after each line that is heard."""

        def trouble():
            return self.trouble or (group and group.trouble)

        with self.heard:
            done = self.heard.wait_for(lambda: trouble() or question(), PATIENCE)
            assert not trouble(), trouble()
            assert done, f"not within {PATIENCE} seconds: {what}; {group or ''}"

    def close(self):
        for puppet in self.puppets:
            if not puppet.killed:
                puppet.kill()


class Group:
    """A group over a topic of its own, whose records are `PARTITION-OFFSET`."""

    def __init__(self, stage, name, partitions=6, watched=True):
        self.stage, self.name, self.topic = stage, name, name
        self.members, self.confirmed, self.sent, self.trouble = [], {}, [0] * partitions, None
        # The offsets of each partition that somebody has read.
        self.seen = [set() for _ in range(partitions)]
        (made,) = stage.broker.create_topics([NewTopic(name, partitions, 1)]).values()
        made.result(30)
        self.highest, self.wrong, self.closing = {}, None, threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        if watched:
            self.watcher.start()

    def join(self, name, puppet=None, **settings):
        """A member joins.

        Settings: assignor (range, roundrobin, cooperative-sticky), reset (earliest, latest), commit (each: after every
        poll; async; auto; none), session in milliseconds, instance for a static member, protocol=consumer. What is not
        set is what the library can: range and each, if it can that.
        """
        puppet = puppet or self.stage.shared
        member = Member(self, f"{self.name}/{name}", puppet)
        with self.stage.heard:
            puppet.members[member.name] = member
            self.members.append(member)
        can = self.stage.shared.can
        defaults = {
            "group": self.name, "topic": self.topic, "reset": "earliest", "session": 6000,
            "commit": "each" if "each" in can else "auto", "assignor": "range" if "range" in can else "roundrobin",
        }
        settings = defaults | settings
        puppet.say("join", member.name, *(f"{key}={value}" for key, value in settings.items()))
        return member

    def until(self, what, question):
        self.stage.until(what, question, self)

    def send(self, each):
        """Sends so many records to each partition, and waits until the broker has them."""
        errors = []
        for _ in range(each):
            for partition, offset in enumerate(self.sent):
                self.stage.producer.produce(
                    self.topic, f"{partition}-{offset}", partition=partition,
                    on_delivery=lambda error, _: error and errors.append(error),
                )
                self.sent[partition] += 1
        assert self.stage.producer.flush(60) == 0, "the broker does not take the records"
        assert not errors, errors[0]

    def read_up(self, what="everything that was sent is read"):
        """Waits until each record has been read by somebody."""
        self.until(what, lambda: [len(seen) for seen in self.seen] == self.sent)

    def share(self, *members):
        """Waits until they have divided the partitions: each to one, and the numbers differ by one at most."""

        def fair():
            held = [p for m in members for p in m.held]
            sizes = [len(m.held) for m in members]
            return sorted(held) == list(range(len(self.sent))) and max(sizes) - min(sizes) <= 1

        self.until(f"{[m.name for m in members]} share the partitions", fair)

    def account(self, again=None):
        """All was read, in order; `again` are the partitions of which something may have been read twice."""
        self.read_up()
        for partition, count in enumerate(self.sent):
            read = [o for m in self.members for t in m.tenancies if t.partition == partition for o in t.offsets]
            assert set(read) == set(range(count)), f"partition {partition} has {count} records"
            if partition not in (again or ()):
                twice = sorted(o for o, times in collections.Counter(read).items() if times > 1)
                assert not twice, f"read twice: {partition}:{twice[:5]} by {self.members}"
        for tenancy in (t for m in self.members for t in m.tenancies if t.offsets):
            first, length = tenancy.offsets[0], len(tenancy.offsets)
            assert tenancy.offsets == list(range(first, first + length)), f"out of order: {tenancy}"
            assert first >= tenancy.confirmed, f"{tenancy} begins before what was committed, {tenancy.confirmed}"

    def ends_committed(self):
        """Waits until the committed offsets are the ends of the log, and checks that they never went back."""
        deadline = time.monotonic() + PATIENCE
        while (now := self.committed()) != dict(enumerate(self.sent)):
            assert time.monotonic() < deadline, f"committed {now} of {self.sent}"
            time.sleep(0.05)
        self.close()

    def committed(self):
        """The committed offset of each partition that has one, asked by another client than the one that is tried."""
        asked = [ConsumerGroupTopicPartitions(self.name)]
        (future,) = self.stage.broker.list_consumer_group_offsets(asked, request_timeout=5).values()
        try:
            return {p.partition: p.offset for p in future.result(10).topic_partitions if p.offset >= 0}
        except (KafkaException, TimeoutError):
            # Such as a broker that was killed. This client may hang for good then, as it does with Apache Kafka, too.
            self.stage.broker = AdminClient({"bootstrap.servers": BROKER})
            return {}

    def watch(self):
        while not self.closing.wait(0.1):
            for partition, offset in self.committed().items():
                if offset < self.highest.get(partition, 0):
                    self.wrong = f"partition {partition} went back from {self.highest[partition]} to {offset}"
                self.highest[partition] = max(offset, self.highest.get(partition, 0))

    def close(self):
        self.closing.set()
        if self.watcher.is_alive():
            self.watcher.join()
        assert not self.wrong, self.wrong

    def __repr__(self):
        missing = {p: sorted(set(range(sent)) - self.seen[p]) for p, sent in enumerate(self.sent)}
        missing = {p: offsets[:5] for p, offsets in missing.items() if offsets}
        return f"sent {self.sent}, not read {missing}, committed {self.committed()}, read {self.members}"

    def admin(self, verb, *words):
        """Asks the client's administrator about this group.

        groups: all groups; describe: state, assignor, number of members; offsets TOPIC: PARTITION=OFFSET:TEXT...;
        alter TOPIC PARTITION=OFFSET...; forget TOPIC PARTITION: deletes a committed offset; delete: deletes the group.
        """
        return self.stage.shared.ask_admin(verb, self.name, *words)


class Sender:
    """Sends in the background, a record to each partition every few milliseconds."""

    def __init__(self, group, pause=0.02):
        self.group, self.pause, self.stopping, self.error = group, pause, threading.Event(), None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping.wait(self.pause):
                self.group.send(1)
        except AssertionError as error:
            self.error = error

    def stop(self):
        self.stopping.set()
        self.thread.join()
        assert not self.error, self.error


def kill_broker():
    """SIGKILL. Whoever started the broker starts it again, on the same port and data."""
    with open(BROKER_PID, encoding="ascii") as file:
        os.kill(int(file.read()), signal.SIGKILL)


def say(*words):
    print(*words, flush=True)
