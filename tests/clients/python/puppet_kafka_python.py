"""kafka-python, as a puppet."""
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

import puppet

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}
admin = KafkaAdminClient(bootstrap_servers=puppet.BROKER)


class Member(puppet.Member, ConsumerRebalanceListener):
    def open(self, settings):
        self.topic, self.how = settings["topic"], settings["commit"]
        self.consumer = KafkaConsumer(
            bootstrap_servers=puppet.BROKER,
            group_id=settings["group"],
            group_instance_id=settings.get("instance"),
            auto_offset_reset=settings["reset"],
            enable_auto_commit=self.how == "auto",
            auto_commit_interval_ms=200,
            partition_assignment_strategy=(ASSIGNORS[settings["assignor"]],),
            session_timeout_ms=int(settings["session"]),
            heartbeat_interval_ms=300,
        )
        # What was read and is not committed yet.
        self.waiting = {}
        self.consumer.subscribe([self.topic], listener=self)

    def on_partitions_assigned(self, assigned):
        self.given(p.partition for p in assigned)

    def on_partitions_revoked(self, revoked):
        # A commit may have been refused while the group was about to share out again. To wait for one from here would
        # hold up the library's own loop; what is sent is sent before the member joins again.
        if self.waiting:
            self.commit_without_waiting(self.waiting)
        self.taken(p.partition for p in revoked)

    def on_partitions_lost(self, lost):
        self.waiting = {}
        self.taken(p.partition for p in lost)

    def turn(self):
        read = {}
        for place, messages in self.consumer.poll(100).items():
            for message in messages:
                self.read(message.partition, message.offset, message.value)
            read[place] = OffsetAndMetadata(messages[-1].offset + 1, "", -1)
        if read and self.how == "each":
            self.waiting |= read
            self.commit_waiting()
        elif read and self.how == "async":
            self.commit_without_waiting(read)

    def commit_waiting(self):
        if not self.waiting:
            return
        try:
            self.consumer.commit(self.waiting)
        except (errors.CommitFailedError, errors.RebalanceInProgressError):
            return
        self.confirmed({place.partition: at.offset for place, at in self.waiting.items()})
        self.waiting = {}

    def commit_without_waiting(self, offsets):
        told = {place.partition: at.offset for place, at in offsets.items()}
        self.consumer.commit_async(offsets, lambda _, answer: self.on_commit(told, answer))

    def on_commit(self, told, answer):
        if not isinstance(answer, Exception):
            self.confirmed(told)

    def commit(self, partition, offset, text):
        self.consumer.commit({TopicPartition(self.topic, partition): OffsetAndMetadata(offset, text, -1)})

    def committed(self, partition):
        found = self.consumer.committed(TopicPartition(self.topic, partition), metadata=True)
        return found.offset, found.metadata

    def close(self):
        self.consumer.close()


def administer(verb, group, *words):
    if verb == "groups":
        return [g["group_id"] for g in admin.list_groups()]
    if verb == "describe":
        (told,) = admin.describe_groups([group]).values()
        return told["group_state"], told["protocol_data"] or "-", len(told["members"])
    if verb == "offsets":
        (told,) = admin.list_group_offsets([group]).values()
        return [f"{place.partition}={at.offset}:{at.metadata}" for place, at in told.items()]
    if verb == "delete":
        (told,) = admin.delete_groups([group]).values()
        if told != "OK":
            # The library gives the name of its class.
            raise getattr(errors, told)()
        return []
    if verb == "alter":
        changes = (word.split("=") for word in words[1:])
        told = admin.alter_group_offsets(
            group, {TopicPartition(words[0], int(p)): OffsetAndMetadata(int(o), "", -1) for p, o in changes}
        )
    else:
        assert verb == "forget"
        told = admin.delete_group_offsets(group, [TopicPartition(words[0], int(p)) for p in words[1:]])
    for error in told.values():
        if error is not errors.NoError:
            raise error()
    return []


def code_of(error):
    return error.errno if isinstance(error, errors.BrokerResponseError) else None


if __name__ == "__main__":
    puppet.run(
        Member, administer, code_of, "range", "roundrobin", "cooperative-sticky", "static",
        "clean", "none", "commit", "each", "async", "auto", "groups", "describe", "offsets", "alter", "forget",
        "delete",
    )
