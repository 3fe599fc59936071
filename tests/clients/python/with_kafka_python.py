"""kafka-python, written in Python alone, through the steps of steps.py."""
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, OffsetSpec
from kafka.errors import BrokerResponseError, for_code

import steps


class KafkaPython:
    name = "kafka-python"
    codecs = ("gzip", "snappy", "lz4", "zstd")
    null_headers = False
    asking_creates = False
    null_records = False

    def __init__(self):
        self.admin = KafkaAdminClient(bootstrap_servers=steps.BROKER)

    def send(self, topic, records, codec=None, acks=None, idempotence=None, acknowledged=None):
        # Idempotence is the default, and forbids acks below all.
        if acks in ("0", "1"):
            acks, idempotence = int(acks), False
        settings = {"compression_type": codec, "acks": acks, "enable_idempotence": idempotence}
        done = 0

        def delivered(_):
            nonlocal done
            done += 1
            if acknowledged:
                acknowledged(done)

        with KafkaProducer(
            bootstrap_servers=steps.BROKER, **{k: v for k, v in settings.items() if v is not None}
        ) as producer:
            futures = []
            for record in records:
                future = producer.send(
                    topic, record.value, record.key, record.headers, record.partition, record.timestamp
                )
                futures.append(future.add_callback(delivered))
            producer.flush(60)
            told = [future.get(30) for future in futures]
        return [steps.Placed(meta.partition, meta.offset) for meta in told]

    def read(self, topic, partition, start, count):
        consumer = KafkaConsumer(
            bootstrap_servers=steps.BROKER,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            consumer_timeout_ms=30_000,
        )
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, start)
        read = []
        for message in consumer:
            read.append(
                steps.Record(
                    message.key, message.value, message.headers, message.timestamp, message.partition, message.offset
                )
            )
            if len(read) == count:
                break
        consumer.close()
        assert len(read) == count, f"{len(read)} of {count} records came"
        return read

    def offset_at(self, topic, partition, timestamp):
        return self.offset(topic, partition, timestamp)

    def earliest(self, topic, partition):
        return self.offset(topic, partition, OffsetSpec.EARLIEST)

    def latest(self, topic, partition):
        return self.offset(topic, partition, OffsetSpec.LATEST)

    def newest(self, topic, partition):
        return self.offset(topic, partition, OffsetSpec.MAX_TIMESTAMP)

    def offset(self, topic, partition, spec):
        place = TopicPartition(topic, partition)
        return self.admin.list_partition_offsets({place: spec})[place].offset

    def create_topic(self, topic, partitions=1, replication=1, configs=None):
        wish = {"num_partitions": partitions, "replication_factor": replication, "configs": configs or {}}
        self.admin.create_topics({topic: wish})

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    def topics(self):
        return self.admin.list_topics()

    def describe(self, topic):
        (found,) = self.admin.describe_topics([topic])
        if found["error_code"]:
            raise for_code(found["error_code"])()
        return sorted(p["partition_index"] for p in found["partitions"])

    def configs(self, topic):
        (told,) = self.admin.describe_configs([ConfigResource("topic", topic)], config_filter="all")["topic"].values()
        return {name: entry["value"] for name, entry in told.items()}

    def alter(self, topic, changes):
        told = self.admin.alter_configs([ConfigResource("topic", topic, changes)])["topic"][topic]
        if told != "OK":
            raise AlterRefused(told)

    def add_partitions(self, topic, total):
        self.admin.create_partitions({topic: total})

    def delete_records(self, topic, partition, before):
        place = TopicPartition(topic, partition)
        return self.admin.delete_records({place: before})[place]["low_watermark"]

    def code_of(self, error):
        if isinstance(error, AlterRefused):
            # The library gives only the text, which begins with the number: `[Error 40] ...`.
            return int(str(error).split("]")[0].rpartition(" ")[2])
        return error.errno if isinstance(error, BrokerResponseError) else None


class AlterRefused(Exception):
    """What alter_configs tells as a string."""


if __name__ == "__main__":
    steps.run(KafkaPython())
