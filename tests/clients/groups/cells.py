"""The experiment of the devlog that this broker comes from: one topic, a cell for each key, and a group for each cell.

Every cell's group reads the whole topic in polls of 250 ms and keeps the events of its own key; a shared group of three
members divides the topic. Every cell must see every event of its own, once and in order, and the shared group all of
them. CELLS_SECONDS says for how long events are sent.
"""
import os
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BROKER = os.environ["BROKER"]
SECONDS = float(os.environ.get("CELLS_SECONDS", "15"))
CELLS, SHARED, PARTITIONS = 18, 3, 6
# Seconds of a poll, and between two events of a cell.
POLL, PAUSE = 0.25, 0.05


class Reader:
    """A consumer of a group. It notes the events, as (cell, number), that `mine` is true of."""

    def __init__(self, group, topic, mine):
        self.events, self.error, self.mine = [], None, mine
        settings = {"group.id": group, "auto.offset.reset": "earliest", "heartbeat.interval.ms": 500}
        self.consumer = Consumer({"bootstrap.servers": BROKER} | settings)
        self.consumer.subscribe([topic])
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.closing.is_set():
                message = self.consumer.poll(POLL)
                if message is None:
                    continue
                if message.error():
                    raise KafkaException(message.error())
                cell = int(message.key())
                if self.mine(cell):
                    self.events.append((cell, int(message.value())))
            self.consumer.close()
        except Exception as error:  # told to whoever waits
            self.error = error


def scenario(_, topic):
    """Runs for SECONDS, and then until all is read."""
    admin = AdminClient({"bootstrap.servers": BROKER})
    (made,) = admin.create_topics([NewTopic(topic, PARTITIONS, 1)]).values()
    made.result(30)
    cells = [Reader(f"{topic}-cell-{cell}", topic, lambda c, cell=cell: c == cell) for cell in range(CELLS)]
    shared = [Reader(f"{topic}-shared", topic, lambda c: True) for _ in range(SHARED)]
    try:
        sent = send(topic)
        wait_until_read(cells, shared, sent)
        for cell, reader in enumerate(cells):
            expected = [(cell, number) for number in range(sent)]
            assert reader.events == expected, f"cell {cell}: {len(reader.events)} of {sent} events, or out of order"
        everything = sorted(event for reader in shared for event in reader.events)
        assert everything == [(cell, number) for cell in range(CELLS) for number in range(sent)], "the shared group"
    finally:
        for reader in cells + shared:
            reader.closing.set()
        for reader in cells + shared:
            reader.thread.join()


def send(topic):
    """Sends events to every cell, the same number to each, which it returns."""
    producer, errors, number = Producer({"bootstrap.servers": BROKER, "linger.ms": 0}), [], 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for cell in range(CELLS):
            producer.produce(topic, f"{number}", f"{cell}", on_delivery=lambda error, _: error and errors.append(error))
        number += 1
        producer.poll(0)
        time.sleep(PAUSE)
    assert producer.flush(30) == 0 and not errors, f"not delivered: {errors[:1]}"
    return number


def wait_until_read(cells, shared, sent):
    deadline = time.monotonic() + 45
    while True:
        for reader in cells + shared:
            if reader.error:
                raise reader.error
        missing = [cell for cell, reader in enumerate(cells) if len(reader.events) < sent]
        rest = CELLS * sent - sum(len(reader.events) for reader in shared)
        if not missing and rest <= 0:
            return
        assert time.monotonic() < deadline, f"cells {missing} wait for events, the shared group for {rest}"
        time.sleep(0.1)
