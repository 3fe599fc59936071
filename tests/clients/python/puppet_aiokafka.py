"""aiokafka, as a puppet. Each member has an event loop of its own, in its thread."""
import asyncio

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import BrokerResponseError, CommitFailedError, IllegalStateError, KafkaConnectionError

import puppet

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}


class Member(puppet.Member, ConsumerRebalanceListener):
    def open(self, settings):
        self.topic, self.how = settings["topic"], settings["commit"]
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.start(settings))

    async def start(self, settings):
        self.consumer = AIOKafkaConsumer(
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
        self.consumer.subscribe([self.topic], listener=self)
        # What was read and is not committed yet, by partition.
        self.waiting = {}
        await self.consumer.start()

    async def on_partitions_revoked(self, revoked):
        # The library rebalances in the background, also between a read and its commit.
        await self.commit_waiting()
        self.taken(p.partition for p in revoked)

    def on_partitions_assigned(self, assigned):
        self.given(p.partition for p in assigned)

    def turn(self):
        self.loop.run_until_complete(self.turn_once())

    async def turn_once(self):
        for place, messages in (await self.consumer.getmany(timeout_ms=100)).items():
            for message in messages:
                self.read(message.partition, message.offset, message.value)
            self.waiting[place] = messages[-1].offset + 1
        if self.how == "async":
            # The library's way to do that: a task.
            self.task = asyncio.ensure_future(self.commit_waiting())
            await asyncio.sleep(0)
        else:
            await self.commit_waiting()

    async def commit_waiting(self):
        offsets, self.waiting = self.waiting, {}
        if not offsets or self.how not in ("each", "async"):
            return
        try:
            await self.consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError, KafkaConnectionError):
            # It is not ours any more, or the broker is away: who gets it next reads it again.
            return
        self.confirmed({place.partition: offset for place, offset in offsets.items()})

    def commit(self, partition, offset, text):
        place = TopicPartition(self.topic, partition)
        self.loop.run_until_complete(self.consumer.commit({place: (offset, text)}))

    def committed(self, partition):
        # The library keeps the text to itself; its administrator tells it.
        told = asyncio.run(list_offsets(self.settings["group"]))
        at = told[TopicPartition(self.topic, partition)]
        return at.offset, at.metadata

    def close(self):
        self.loop.run_until_complete(self.stop())

    async def stop(self):
        if self.how == "async" and hasattr(self, "task"):
            await self.task
        await self.consumer.stop()


async def with_admin(question):
    admin = AIOKafkaAdminClient(bootstrap_servers=puppet.BROKER)
    await admin.start()
    try:
        return await question(admin)
    finally:
        await admin.close()


def list_offsets(group):
    return with_admin(lambda admin: admin.list_consumer_group_offsets(group))


def administer(verb, group, *words):
    if verb == "groups":
        return [name for name, *_ in asyncio.run(with_admin(lambda admin: admin.list_consumer_groups()))]
    if verb == "describe":
        (told,) = asyncio.run(with_admin(lambda admin: admin.describe_consumer_groups([group])))
        _, _, state, _, protocol, members, *_ = told.groups[0]
        return state, protocol or "-", len(members)
    assert verb == "offsets"
    told = asyncio.run(list_offsets(group))
    return [f"{place.partition}={at.offset}:{at.metadata}" for place, at in told.items()]


def code_of(error):
    return error.errno if isinstance(error, BrokerResponseError) else None


if __name__ == "__main__":
    puppet.run(
        Member, administer, code_of, "range", "roundrobin", "static", "clean", "none", "commit", "each", "async",
        "auto",
        "groups", "describe", "offsets",
    )
