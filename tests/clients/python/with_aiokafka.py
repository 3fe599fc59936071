"""aiokafka, for asyncio, through the steps of steps.py. Each step runs in an event loop of its own."""
import asyncio
import contextlib

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import BrokerResponseError, for_code

import steps


def at_once(step):
    """Makes a coroutine function one that a step can call."""
    return lambda *args, **kwargs: asyncio.run(step(*args, **kwargs))


@contextlib.asynccontextmanager
async def administrator():
    admin = AIOKafkaAdminClient(bootstrap_servers=steps.BROKER)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def consumer():
    it = AIOKafkaConsumer(bootstrap_servers=steps.BROKER, enable_auto_commit=False, auto_offset_reset="earliest")
    await it.start()
    try:
        yield it
    finally:
        await it.stop()


class Aiokafka:
    name = "aiokafka"
    codecs = ("gzip", "snappy", "lz4", "zstd")
    null_headers = True
    asking_creates = True
    null_records = False

    @staticmethod
    @at_once
    async def send(topic, records, codec=None, acks=None, idempotence=None, acknowledged=None):
        acks = int(acks) if acks in ("0", "1") else acks
        settings = {"compression_type": codec, "acks": acks, "enable_idempotence": idempotence}
        done = 0

        def delivered(_):
            nonlocal done
            done += 1
            if acknowledged:
                acknowledged(done)

        async with AIOKafkaProducer(
            bootstrap_servers=steps.BROKER, **{k: v for k, v in settings.items() if v is not None}
        ) as producer:
            futures = []
            for r in records:
                future = await producer.send(topic, r.value, r.key, r.partition, r.timestamp, r.headers)
                future.add_done_callback(delivered)
                futures.append(future)
            told = await asyncio.gather(*futures)
        if acks == 0:
            return []
        return [steps.Placed(meta.partition, meta.offset) for meta in told]

    @staticmethod
    @at_once
    async def read(topic, partition, start, count):
        async with consumer() as it:
            place = TopicPartition(topic, partition)
            it.assign([place])
            it.seek(place, start)
            read = []
            while len(read) < count:
                found = await it.getmany(place, timeout_ms=30_000, max_records=count - len(read))
                assert found, f"{len(read)} of {count} records came"
                for m in found[place]:
                    read.append(steps.Record(m.key, m.value, list(m.headers), m.timestamp, m.partition, m.offset))
            return read

    @staticmethod
    @at_once
    async def offset_at(topic, partition, timestamp):
        async with consumer() as it:
            (found,) = (await it.offsets_for_times({TopicPartition(topic, partition): timestamp})).values()
            return found and found.offset

    @staticmethod
    @at_once
    async def earliest(topic, partition):
        async with consumer() as it:
            (offset,) = (await it.beginning_offsets([TopicPartition(topic, partition)])).values()
            return offset

    @staticmethod
    @at_once
    async def latest(topic, partition):
        async with consumer() as it:
            (offset,) = (await it.end_offsets([TopicPartition(topic, partition)])).values()
            return offset

    @staticmethod
    @at_once
    async def create_topic(topic, partitions=1, replication=1, configs=None):
        async with administrator() as admin:
            told = await admin.create_topics([NewTopic(topic, partitions, replication, topic_configs=configs or {})])
        raise_for(told.topic_errors[0][1])

    @staticmethod
    @at_once
    async def delete_topic(topic):
        async with administrator() as admin:
            told = await admin.delete_topics([topic])
        raise_for(told.topic_error_codes[0][1])

    @staticmethod
    @at_once
    async def topics():
        async with administrator() as admin:
            return await admin.list_topics()

    @staticmethod
    @at_once
    async def describe(topic):
        async with administrator() as admin:
            (found,) = await admin.describe_topics([topic])
        raise_for(found["error_code"])
        return sorted(p["partition"] for p in found["partitions"])

    @staticmethod
    @at_once
    async def configs(topic):
        async with administrator() as admin:
            (told,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        (resource,) = told.resources
        raise_for(resource[0])
        return {entry[0]: entry[1] for entry in resource[4]}

    @staticmethod
    @at_once
    async def alter(topic, changes):
        async with administrator() as admin:
            (told,) = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=changes)])
        raise_for(told.resources[0][0])

    @staticmethod
    @at_once
    async def add_partitions(topic, total):
        async with administrator() as admin:
            told = await admin.create_partitions({topic: NewPartitions(total)})
        raise_for(told.topic_errors[0][1])

    @staticmethod
    @at_once
    async def delete_records(topic, partition, before):
        place = TopicPartition(topic, partition)
        async with administrator() as admin:
            told = await admin.delete_records({place: RecordsToDelete(before)})
        return told[place]

    @staticmethod
    def code_of(error):
        return error.errno if isinstance(error, BrokerResponseError) else None


def raise_for(code):
    """The library hands out most errors of its administrator as numbers."""
    if code:
        raise for_code(code)()


if __name__ == "__main__":
    steps.run(Aiokafka())
