"""confluent-kafka, as a puppet."""
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

import puppet

ADDRESS = {"bootstrap.servers": puppet.BROKER}
admin = AdminClient(ADDRESS)


class Member(puppet.Member):
    def open(self, settings):
        self.topic, self.how = settings["topic"], settings["commit"]
        how = {
            "group.id": settings["group"],
            "auto.offset.reset": settings["reset"],
            "enable.auto.commit": self.how == "auto",
            "auto.commit.interval.ms": 200,
            "on_commit": self.on_commit,
        }
        if "instance" in settings:
            how["group.instance.id"] = settings["instance"]
        if settings.get("protocol") == "consumer":
            how["group.protocol"] = "consumer"
        else:
            how["partition.assignment.strategy"] = settings["assignor"]
            how["session.timeout.ms"] = settings["session"]
            how["heartbeat.interval.ms"] = 300
        self.consumer = Consumer(ADDRESS | how)
        self.consumer.subscribe([self.topic], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_lost)

    def on_assign(self, _, partitions):
        self.given(p.partition for p in partitions)

    def on_revoke(self, _, partitions):
        # A commit may have been refused while the group was about to share out again.
        self.commit_read(False)
        self.taken(p.partition for p in partitions)

    def on_lost(self, _, partitions):
        self.taken(p.partition for p in partitions)

    def on_commit(self, error, partitions):
        if not error:
            self.confirmed({p.partition: p.offset for p in partitions if p.offset >= 0 and not p.error})

    def turn(self):
        messages = self.consumer.consume(100, 0.1)
        for error in filter(None, (message.error() for message in messages)):
            if error.code() not in PASSING:
                raise KafkaException(error)
        messages = [message for message in messages if not message.error()]
        for message in messages:
            self.read(message.partition(), message.offset(), message.value())
        if messages:
            self.commit_read(self.how == "async")

    def commit_read(self, asynchronous):
        if self.how not in ("each", "async"):
            return
        try:
            self.consumer.commit(asynchronous=asynchronous)
        except KafkaException as error:
            # Such as a broker that was killed and does not know the member, which joins again.
            if error.args[0].code() not in PASSING:
                raise

    def commit(self, partition, offset, text):
        self.consumer.commit(offsets=[TopicPartition(self.topic, partition, offset, text)], asynchronous=False)

    def committed(self, partition):
        (found,) = self.consumer.committed([TopicPartition(self.topic, partition)], 10)
        return found.offset, found.metadata

    def close(self):
        self.consumer.close()


PASSING = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError._NO_OFFSET,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError._DESTROY,
)


def administer(verb, group, *words):
    if verb == "groups":
        return [g.group_id for g in admin.list_consumer_groups().result(30).valid]
    if verb == "describe":
        told = only(admin.describe_consumer_groups([group]))
        return told.state.name.capitalize(), told.partition_assignor or "-", len(told.members)
    if verb == "offsets":
        told = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
        return [f"{p.partition}={p.offset}:{p.metadata or ''}" for p in told.topic_partitions]
    if verb == "alter":
        changes = [word.split("=") for word in words[1:]]
        places = [TopicPartition(words[0], int(p), int(o)) for p, o in changes]
        told = only(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]))
        for place in told.topic_partitions:
            if place.error:
                raise KafkaException(place.error)
        return []
    assert verb == "delete"
    only(admin.delete_consumer_groups([group]))
    return []


def only(futures):
    (future,) = futures.values()
    return future.result(30)


def code_of(error):
    return error.args[0].code() if isinstance(error, KafkaException) else None


if __name__ == "__main__":
    puppet.run(
        Member, administer, code_of, "range", "roundrobin", "cooperative-sticky", "static", "consumer",
        "clean", "none", "commit", "each", "async", "auto", "groups", "describe", "offsets", "alter", "delete",
    )
