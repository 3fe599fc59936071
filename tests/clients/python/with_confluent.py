"""confluent-kafka, the Python face of librdkafka, through the steps of steps.py."""
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

import steps

ADDRESS = {"bootstrap.servers": steps.BROKER}


class Confluent:
    name = "confluent"
    codecs = ("gzip", "snappy", "lz4", "zstd")
    null_headers = True
    asking_creates = True
    null_records = True

    def __init__(self):
        self.admin = AdminClient(ADDRESS)

    def send(self, topic, records, codec=None, acks=None, idempotence=None, acknowledged=None):
        settings = {"compression.type": codec, "acks": acks, "enable.idempotence": idempotence}
        producer = Producer(ADDRESS | {k: v for k, v in settings.items() if v is not None})
        placed, errors = {}, []

        def delivered(index, error, message):
            if error:
                errors.append(error)
                return
            placed[index] = steps.Placed(message.partition(), message.offset())
            if acknowledged:
                acknowledged(len(placed))

        for index, record in enumerate(records):
            optional = {"partition": record.partition, "timestamp": record.timestamp}
            producer.produce(
                topic,
                record.value,
                record.key,
                headers=record.headers,
                on_delivery=lambda error, message, index=index: delivered(index, error, message),
                **{k: v for k, v in optional.items() if v is not None},
            )
            producer.poll(0)
        assert producer.flush(60) == 0, "records were not delivered"
        if errors:
            raise KafkaException(errors[0])
        return [placed[index] for index in range(len(records))]

    def read(self, topic, partition, start, count):
        # The library insists on a group, which is never joined.
        alone = {"group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        consumer = Consumer(ADDRESS | alone)
        consumer.assign([TopicPartition(topic, partition, start)])
        read, deadline = [], time.monotonic() + 30
        while len(read) < count:
            assert time.monotonic() < deadline, f"{len(read)} of {count} records came"
            for message in consumer.consume(count - len(read), 1):
                if message.error():
                    raise KafkaException(message.error())
                read.append(
                    steps.Record(
                        message.key(),
                        message.value(),
                        message.headers() or [],
                        message.timestamp()[1],
                        message.partition(),
                        message.offset(),
                    )
                )
        consumer.close()
        return read

    def offset_at(self, topic, partition, timestamp):
        return self.offset(topic, partition, OffsetSpec.for_timestamp(timestamp))

    def earliest(self, topic, partition):
        return self.offset(topic, partition, OffsetSpec.earliest())

    def latest(self, topic, partition):
        return self.offset(topic, partition, OffsetSpec.latest())

    def newest(self, topic, partition):
        return self.offset(topic, partition, OffsetSpec.max_timestamp())

    def offset(self, topic, partition, spec):
        (future,) = self.admin.list_offsets({TopicPartition(topic, partition): spec}).values()
        return future.result(30).offset

    def create_topic(self, topic, partitions=1, replication=1, configs=None):
        (future,) = self.admin.create_topics([NewTopic(topic, partitions, replication, config=configs or {})]).values()
        future.result(30)

    def delete_topic(self, topic):
        (future,) = self.admin.delete_topics([topic]).values()
        future.result(30)

    def topics(self):
        return list(self.admin.list_topics(timeout=30).topics)

    def describe(self, topic):
        metadata = self.admin.list_topics(topic, timeout=30).topics[topic]
        if metadata.error:
            raise KafkaException(metadata.error)
        return sorted(metadata.partitions)

    def configs(self, topic):
        (future,) = self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return {name: entry.value for name, entry in future.result(30).items()}

    def alter(self, topic, changes):
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in changes.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        (future,) = self.admin.incremental_alter_configs([resource]).values()
        future.result(30)

    def add_partitions(self, topic, total):
        (future,) = self.admin.create_partitions([NewPartitions(topic, total)]).values()
        future.result(30)

    def delete_records(self, topic, partition, before):
        (future,) = self.admin.delete_records([TopicPartition(topic, partition, before)]).values()
        return future.result(30).low_watermark

    def code_of(self, error):
        inner = error.args[0] if isinstance(error, KafkaException) else None
        return inner.code() if isinstance(inner, KafkaError) else None


if __name__ == "__main__":
    steps.run(Confluent())
