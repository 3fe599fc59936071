import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The Java clients through what each client is put through, and what must come of it: see tests/clients/run.sh.
 *
 * <p>The broker is at BROKER. If BROKER_PID names a file, it holds the pid of a broker that somebody restarts when it
 * dies.
 */
public final class Scenarios {
    /** The longest that a scenario may take, in seconds. */
    private static final int PATIENCE = 120;

    private static final String BROKER = System.getenv("BROKER");
    private static final Map<String, Object> ADDRESS = Map.of("bootstrap.servers", BROKER);
    private static final Admin ADMIN = Admin.create(ADDRESS);

    private interface Scenario {
        void run(String topic) throws Exception;
    }

    private static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("defaults", Scenarios::defaults);
        all.put("acks", Scenarios::acks);
        for (String codec : List.of("gzip", "snappy", "lz4", "zstd")) {
            all.put("codec_" + codec, topic -> codec(topic, codec));
        }
        all.put("shapes", Scenarios::shapes);
        all.put("seek_by_offset", Scenarios::seekByOffset);
        all.put("seek_by_time", Scenarios::seekByTime);
        all.put("append_time", Scenarios::appendTime);
        all.put("waits", Scenarios::waits);
        all.put("large", Scenarios::large);
        all.put("too_large", Scenarios::tooLarge);
        all.put("auto_create", Scenarios::autoCreate);
        all.put("unknown_topic", Scenarios::unknownTopic);
        all.put("topic_admin", Scenarios::topicAdmin);
        all.put("topic_ids", Scenarios::topicIds);
        all.put("bad_admin", Scenarios::badAdmin);
        all.put("configs", Scenarios::configs);
        all.put("create_partitions", Scenarios::createPartitions);
        all.put("delete_records", Scenarios::deleteRecords);
        all.put("list_offsets", Scenarios::listOffsets);
        all.put("many_partitions", Scenarios::manyPartitions);
        all.put("compacted", Scenarios::compacted);
        all.put("cluster", Scenarios::cluster);
        all.put("producers", Scenarios::producers);
        if (System.getenv("BROKER_PID") != null) {
            all.put("crash", Scenarios::crash);
        }
        return all;
    }

    /** A thousand records with nothing set but the address, and back, in order in each partition. */
    private static void defaults(String topic) throws Exception {
        create(topic, 3, Map.of());
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < 1000; i++) {
            sent.add(new ProducerRecord<>(topic, bytes("key-" + i % 50), bytes("value-" + i)));
        }
        List<RecordMetadata> placed = send(sent, Map.of());
        for (int partition = 0; partition < 3; partition++) {
            List<ProducerRecord<byte[], byte[]>> here = new ArrayList<>();
            for (int i = 0; i < sent.size(); i++) {
                if (placed.get(i).partition() == partition) {
                    equal(placed.get(i).offset(), (long) here.size(), "acknowledged offset");
                    here.add(sent.get(i));
                }
            }
            check(!here.isEmpty(), "no key of fifty fell into partition " + partition);
            same(read(topic, partition, 0, here.size()), here);
        }
    }

    /** Records reach the log whatever the producer waits for. */
    private static void acks(String topic) throws Exception {
        create(topic, 1, Map.of());
        for (String level : List.of("0", "1", "all")) {
            send(List.of(record(topic, level)), Map.of("acks", level));
        }
        same(read(topic, 0, 0, 3), List.of(record(topic, "0"), record(topic, "1"), record(topic, "all")));
    }

    /** A compressed batch comes back, and it was compressed: in the clear it would be too large for the topic. */
    private static void codec(String topic, String codec) throws Exception {
        create(topic, 1, Map.of("max.message.bytes", "20000"));
        byte[] text = bytes("the same words again and again; ".repeat(3000));
        List<ProducerRecord<byte[], byte[]>> sent =
                List.of(new ProducerRecord<>(topic, bytes("large"), text), record(topic, ""), record(topic, null));
        send(sent, Map.of("compression.type", codec));
        same(read(topic, 0, 0, 3), sent);
        refused(Errors.MESSAGE_TOO_LARGE, () -> send(sent.subList(0, 1), Map.of()));
    }

    /** Null is not empty: in keys, values and headers, whose order and repetition are kept. */
    private static void shapes(String topic) throws Exception {
        create(topic, 1, Map.of());
        List<Header> headers = List.of(
                new RecordHeader("twice", bytes("1")),
                new RecordHeader("other", new byte[] {-1, 0}),
                new RecordHeader("twice", bytes("2")),
                new RecordHeader("empty", new byte[0]),
                new RecordHeader("null", (byte[]) null));
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (byte[] key : new byte[][] {null, {}, bytes("key"), {-1, -2}}) {
            for (byte[] value : new byte[][] {null, {}, bytes("value"), bytes("\u2603")}) {
                sent.add(new ProducerRecord<>(topic, 0, key, value, List.of()));
                sent.add(new ProducerRecord<>(topic, 0, key, value, headers));
            }
        }
        send(sent, Map.of());
        same(read(topic, 0, 0, sent.size()), sent);
    }

    /** Reading begins where it is told to, also in the middle of a batch, or at the earliest if that is nowhere. */
    private static void seekByOffset(String topic) throws Exception {
        create(topic, 1, Map.of());
        List<ProducerRecord<byte[], byte[]>> sent = numbered(topic, 100);
        send(sent, Map.of());
        for (int start : new int[] {0, 1, 57, 99}) {
            same(read(topic, 0, start, 1), sent.subList(start, start + 1));
        }
        equal(read(topic, 0, 1_000_000, 1).get(0).offset(), 0L, "after OFFSET_OUT_OF_RANGE");
    }

    /** A time leads to the first record that is not older; also the newest one can be asked for. */
    private static void seekByTime(String topic) throws Exception {
        create(topic, 1, Map.of());
        long hourAgo = System.currentTimeMillis() - 3_600_000;
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            sent.add(new ProducerRecord<>(topic, 0, hourAgo + 1000 * i, null, bytes("" + i)));
        }
        sent.add(new ProducerRecord<>(topic, 0, hourAgo + 500, null, bytes("late")));
        send(sent, Map.of());
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            for (long[] at : new long[][] {{-5000, 0}, {0, 0}, {1, 1}, {4000, 4}, {4001, 5}, {9000, 9}}) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(place, hourAgo + at[0])).get(place);
                equal(found.offset(), at[1], "offset at " + at[0] + " ms");
                equal(found.timestamp(), hourAgo + 1000 * at[1], "timestamp at " + at[0] + " ms");
            }
            equal(consumer.offsetsForTimes(Map.of(place, hourAgo + 9001)).get(place), null, "after the last record");
        }
        equal(offset(topic, OffsetSpec.maxTimestamp()), 9L, "offset of the newest");
        equal(read(topic, 0, 4, 1).get(0).timestamp(), hourAgo + 4000, "timestamp");
    }

    /** On a topic with message.timestamp.type=LogAppendTime the broker's clock counts, also in acknowledgements. */
    private static void appendTime(String topic) throws Exception {
        create(topic, 1, Map.of("message.timestamp.type", "LogAppendTime"));
        long before = System.currentTimeMillis() - 1000;
        RecordMetadata placed =
                send(List.of(new ProducerRecord<>(topic, 0, 1000L, null, bytes("x"))), Map.of()).get(0);
        check(placed.timestamp() >= before, "acknowledged timestamp " + placed.timestamp());
        equal(read(topic, 0, 0, 1).get(0).timestamp(), placed.timestamp(), "timestamp");
    }

    /** A consumer at the end of the log gets what is sent later. */
    private static void waits(String topic) throws Exception {
        create(topic, 1, Map.of());
        ExecutorService reader = Executors.newSingleThreadExecutor();
        Future<List<ConsumerRecord<byte[], byte[]>>> waiting = reader.submit(() -> read(topic, 0, 0, 2));
        send(List.of(record(topic, "first")), Map.of());
        send(List.of(record(topic, "second")), Map.of());
        same(waiting.get(), List.of(record(topic, "first"), record(topic, "second")));
        reader.shutdown();
    }

    /** Records of 900 KB with the client's and the broker's default limits. */
    private static void large(String topic) throws Exception {
        create(topic, 1, Map.of());
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            sent.add(new ProducerRecord<>(topic, noise(900_000)));
        }
        send(sent, Map.of());
        same(read(topic, 0, 0, 3), sent);
    }

    /** The broker refuses what is over max.message.bytes, and takes what comes after it. */
    private static void tooLarge(String topic) throws Exception {
        create(topic, 1, Map.of("max.message.bytes", "10000"));
        refused(Errors.MESSAGE_TOO_LARGE, () -> send(List.of(new ProducerRecord<>(topic, noise(10_001))), Map.of()));
        send(List.of(record(topic, "small")), Map.of());
        same(read(topic, 0, 0, 1), List.of(record(topic, "small")));
    }

    /** Sending to a topic that does not exist makes it. */
    private static void autoCreate(String topic) throws Exception {
        send(List.of(record(topic, "first")), Map.of());
        same(read(topic, 0, 0, 1), List.of(record(topic, "first")));
        check(topics().contains(topic), "the topic is not listed");
    }

    /** Asking for a topic does not make it. */
    private static void unknownTopic(String topic) throws Exception {
        refused(Errors.UNKNOWN_TOPIC_OR_PARTITION, () -> describe(topic));
        check(!topics().contains(topic), "the topic is listed");
    }

    /** A topic is made once, seen then, gone when it is deleted, and can be made again, different. */
    private static void topicAdmin(String topic) throws Exception {
        create(topic, 4, Map.of());
        hasPartitions(topic, 4);
        refused(Errors.TOPIC_ALREADY_EXISTS, () -> create(topic, 1, Map.of()));
        ADMIN.deleteTopics(List.of(topic)).all().get();
        soon("the topic is still listed", () -> !topics().contains(topic));
        refused(Errors.UNKNOWN_TOPIC_OR_PARTITION, () -> ADMIN.deleteTopics(List.of(topic)).all().get());
        create(topic, 2, Map.of());
        hasPartitions(topic, 2);
    }

    /** A topic has an id from the beginning, by which it is described and deleted, and another when made again. */
    private static void topicIds(String topic) throws Exception {
        var created = ADMIN.createTopics(List.of(new NewTopic(topic, 2, (short) 1)));
        var id = created.topicId(topic).get();
        equal(created.numPartitions(topic).get(), 2, "partitions in the answer to CreateTopics");
        equal(created.config(topic).get().get("cleanup.policy").value(), "delete", "setting in that answer");
        hasPartitions(topic, 2);
        equal(describe(topic).topicId(), id, "id");
        var byId = ADMIN.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get();
        equal(byId.get(id).name(), topic, "name by id");
        ADMIN.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        soon("the topic is still listed", () -> !topics().contains(topic));
        Callable<?> again = () -> ADMIN.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        refused(Errors.UNKNOWN_TOPIC_ID, again);
        create(topic, 1, Map.of());
        hasPartitions(topic, 1);
        check(!describe(topic).topicId().equals(id), "the id is used again");
    }

    /** Topics that cannot be are refused with Kafka's error for each reason, and are not made. */
    private static void badAdmin(String topic) throws Exception {
        refused(Errors.INVALID_TOPIC_EXCEPTION, () -> create("no spaces/allowed", 1, Map.of()));
        Callable<?> three = () -> ADMIN.createTopics(List.of(new NewTopic(topic, 1, (short) 3))).all().get();
        refused(Errors.INVALID_REPLICATION_FACTOR, three);
        refused(Errors.INVALID_PARTITIONS, () -> create(topic, 0, Map.of()));
        refused(Errors.INVALID_CONFIG, () -> create(topic, 1, Map.of("retention.ms", "soon")));
        refused(Errors.INVALID_CONFIG, () -> create(topic, 1, Map.of("no.such.setting", "1")));
        check(!topics().contains(topic), "the topic was made");
    }

    /** Settings are told with where they come from, change one by one, and go back to their defaults. */
    private static void configs(String topic) throws Exception {
        create(topic, 1, Map.of("retention.ms", "123456"));
        soon("retention.ms as it was given", () -> setting(topic, "retention.ms").value().equals("123456"));
        equal(setting(topic, "retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
        equal(setting(topic, "retention.ms").type(), ConfigEntry.ConfigType.LONG, "type");
        equal(setting(topic, "max.message.bytes").value(), "1048588", "default");
        equal(setting(topic, "max.message.bytes").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "source");
        alter(topic, "max.message.bytes", "5000", AlterConfigOp.OpType.SET);
        soon("max.message.bytes changed", () -> setting(topic, "max.message.bytes").value().equals("5000"));
        equal(setting(topic, "retention.ms").value(), "123456", "what was left alone");
        alter(topic, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND);
        // A list whose order says nothing: Kafka keeps the order in which it was made.
        List<String> both = List.of("delete,compact", "compact,delete");
        soon("appended", () -> both.contains(setting(topic, "cleanup.policy").value()));
        alter(topic, "cleanup.policy", "compact", AlterConfigOp.OpType.SUBTRACT);
        soon("subtracted", () -> setting(topic, "cleanup.policy").value().equals("delete"));
        alter(topic, "retention.ms", "", AlterConfigOp.OpType.DELETE);
        soon("retention.ms by default", () -> setting(topic, "retention.ms").value().equals("604800000"));
        refused(Errors.INVALID_CONFIG, () -> alter(topic, "retention.ms", "soon", AlterConfigOp.OpType.SET));
        refused(Errors.UNKNOWN_TOPIC_OR_PARTITION, () -> setting(topic + "-not", "retention.ms"));
    }

    /** Partitions are added, never taken away, and can be used. */
    private static void createPartitions(String topic) throws Exception {
        create(topic, 1, Map.of());
        ADMIN.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
        hasPartitions(topic, 3);
        Callable<?> fewer = () -> ADMIN.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all().get();
        refused(Errors.INVALID_PARTITIONS, fewer);
        send(List.of(new ProducerRecord<>(topic, 2, null, bytes("new"))), Map.of());
        same(read(topic, 2, 0, 1), List.of(record(topic, "new")));
    }

    /** Records before an offset are gone, also if it lies within a batch, and reading goes on behind them. */
    private static void deleteRecords(String topic) throws Exception {
        create(topic, 1, Map.of());
        List<ProducerRecord<byte[], byte[]>> sent = numbered(topic, 10);
        send(sent, Map.of());
        equal(deleteBefore(topic, 4), 4L, "low watermark");
        equal(offset(topic, OffsetSpec.earliest()), 4L, "earliest offset");
        same(read(topic, 0, 0, 6), sent.subList(4, 10));
        refused(Errors.OFFSET_OUT_OF_RANGE, () -> deleteBefore(topic, 11));
        equal(deleteBefore(topic, -1), 10L, "low watermark after all were deleted");
    }

    /** The ends of a log, empty and not. */
    private static void listOffsets(String topic) throws Exception {
        create(topic, 1, Map.of());
        equal(offset(topic, OffsetSpec.earliest()), 0L, "earliest when empty");
        equal(offset(topic, OffsetSpec.latest()), 0L, "latest when empty");
        equal(offset(topic, OffsetSpec.maxTimestamp()), -1L, "newest when empty");
        equal(offset(topic, OffsetSpec.forTimestamp(0)), -1L, "by time when empty");
        send(numbered(topic, 7), Map.of());
        equal(offset(topic, OffsetSpec.earliest()), 0L, "earliest");
        equal(offset(topic, OffsetSpec.latest()), 7L, "latest");
    }

    /** One consumer reads many partitions of two topics, also one that is added and one that is paused on the way. */
    private static void manyPartitions(String topic) throws Exception {
        int partitions = 20;
        int each = 50;
        List<TopicPartition> places = new ArrayList<>();
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (String name : List.of(topic + "-a", topic + "-b")) {
            create(name, partitions, Map.of());
            for (int partition = 0; partition < partitions; partition++) {
                places.add(new TopicPartition(name, partition));
                for (int i = 0; i < each; i++) {
                    sent.add(new ProducerRecord<>(name, partition, null, bytes("" + i)));
                }
            }
        }
        Map<TopicPartition, Integer> next = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(places.subList(1, places.size()));
            consumer.seekToBeginning(consumer.assignment());
            consumer.pause(places.subList(1, 2));
            consumer.poll(Duration.ofMillis(100));
            send(sent, Map.of());
            follow(consumer, next, each * (2 * partitions - 2));
            equal(next.get(places.get(1)), null, "records of the paused partition");
            consumer.assign(places);
            consumer.seekToBeginning(places.subList(0, 1));
            consumer.resume(places.subList(1, 2));
            follow(consumer, next, each * 2 * partitions);
        }
        next.forEach((place, count) -> equal(count, each, "records of " + place));
    }

    /** Reads until so many records have come in all; those of each partition must be in order. */
    private static void follow(KafkaConsumer<byte[], byte[]> consumer, Map<TopicPartition, Integer> next, int count) {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (next.values().stream().mapToInt(n -> n).sum() < count) {
            check(System.nanoTime() < deadline, "not all of " + count + " records came");
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                TopicPartition place = new TopicPartition(record.topic(), record.partition());
                equal(text(record.value()), "" + next.getOrDefault(place, 0), "next record of " + place);
                next.merge(place, 1, Integer::sum);
            }
        }
    }

    /** A compacted topic takes records with keys and refuses those without, and says which it refused. */
    private static void compacted(String topic) throws Exception {
        create(topic, 1, Map.of("cleanup.policy", "compact"));
        List<ProducerRecord<byte[], byte[]>> sent = List.of(
                new ProducerRecord<>(topic, bytes("key"), bytes("old")),
                new ProducerRecord<>(topic, bytes("key"), bytes("new")),
                new ProducerRecord<>(topic, bytes("gone"), null));
        send(sent, Map.of("compression.type", "lz4"));
        same(read(topic, 0, 0, 3), sent);
        refused(Errors.INVALID_RECORD, () -> send(List.of(record(topic, "without a key")), Map.of()));
    }

    /** One broker, at the address that was used, whose settings and folders can be looked at. */
    private static void cluster(String topic) throws Exception {
        var cluster = ADMIN.describeCluster();
        var nodes = cluster.nodes().get();
        equal(nodes.size(), 1, "brokers");
        var node = nodes.iterator().next();
        equal(node.host() + ":" + node.port(), BROKER, "advertised address");
        check(!cluster.clusterId().get().isEmpty(), "no cluster id");
        create(topic, 1, Map.of());
        send(numbered(topic, 10), Map.of());
        var folders = ADMIN.describeLogDirs(List.of(node.id())).allDescriptions().get().get(node.id()).values();
        TopicPartition place = new TopicPartition(topic, 0);
        long size = folders.stream().mapToLong(f -> f.replicaInfos().get(place).size()).sum();
        check(size > 10, "size " + size);
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, node.idString());
        var settings = ADMIN.describeConfigs(List.of(broker)).all().get().get(broker);
        equal(settings.get("num.partitions").value(), "1", "num.partitions");
    }

    /** What the broker remembers of an idempotent producer. */
    private static void producers(String topic) throws Exception {
        create(topic, 1, Map.of());
        send(numbered(topic, 10), Map.of());
        TopicPartition place = new TopicPartition(topic, 0);
        var active = ADMIN.describeProducers(List.of(place)).all().get().get(place).activeProducers();
        equal(active.size(), 1, "producers");
        equal(active.get(0).lastSequence(), 9, "last sequence");
        check(active.get(0).producerId() >= 0, "producer id " + active.get(0).producerId());
    }

    /** The broker is killed twice while an idempotent producer sends: no loss, no duplicate, and order is kept. */
    private static void crash(String topic) throws Exception {
        int each = 10_000;
        int partitions = 3;
        create(topic, partitions, Map.of());
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < each; i++) {
            for (int partition = 0; partition < partitions; partition++) {
                sent.add(new ProducerRecord<>(topic, partition, null, bytes(String.format("%-200d", i))));
            }
        }
        AtomicInteger acknowledged = new AtomicInteger();
        AtomicInteger kills = new AtomicInteger();
        send(sent, Map.of(), () -> {
            int done = acknowledged.incrementAndGet();
            if (kills.get() < 2 && done >= sent.size() * (kills.get() + 1) / 4) {
                kills.incrementAndGet();
                killBroker();
            }
        });
        equal(kills.get(), 2, "kills");
        for (int partition = 0; partition < partitions; partition++) {
            int next = 0;
            for (ConsumerRecord<byte[], byte[]> record : read(topic, partition, 0, each)) {
                equal(Integer.parseInt(text(record.value()).trim()), next++, "partition " + partition);
            }
            TopicPartition place = new TopicPartition(topic, partition);
            var ends = ADMIN.listOffsets(Map.of(place, OffsetSpec.latest())).all().get();
            equal(ends.get(place).offset(), (long) each, "end of partition " + partition);
        }
    }

    private static long killed;

    /**
     * SIGKILL. Whoever started the broker starts it again, on the same port and data. If that has yet to happen it waits
     * for it, because a callback may come late.
     */
    private static void killBroker() {
        try {
            soon("the broker is not started again", () -> brokerPid() != killed);
            killed = brokerPid();
            check(ProcessHandle.of(killed).orElseThrow().destroyForcibly(), "the broker cannot be killed");
        } catch (Exception e) {
            throw new CompletionException(e);
        }
    }

    private static long brokerPid() throws IOException {
        return Long.parseLong(Files.readString(Path.of(System.getenv("BROKER_PID"))).trim());
    }

    private static List<RecordMetadata> send(Collection<ProducerRecord<byte[], byte[]>> records, Map<String, ?> settings)
            throws Exception {
        return send(records, settings, () -> { });
    }

    private static List<RecordMetadata> send(
            Collection<ProducerRecord<byte[], byte[]>> records, Map<String, ?> settings, Runnable acknowledged)
            throws Exception {
        Map<String, Object> all = new HashMap<>(ADDRESS);
        all.putAll(settings);
        var serializer = new ByteArraySerializer();
        List<RecordMetadata> placed = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(all, serializer, serializer)) {
            List<Future<RecordMetadata>> pending = new ArrayList<>();
            for (ProducerRecord<byte[], byte[]> record : records) {
                pending.add(producer.send(record, (metadata, error) -> acknowledged.run()));
            }
            for (Future<RecordMetadata> one : pending) {
                placed.add(one.get());
            }
        }
        return placed;
    }

    private static List<ConsumerRecord<byte[], byte[]>> read(String topic, int partition, long start, int count) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            TopicPartition place = new TopicPartition(topic, partition);
            consumer.assign(List.of(place));
            consumer.seek(place, start);
            List<ConsumerRecord<byte[], byte[]>> read = new ArrayList<>();
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
            while (read.size() < count) {
                check(System.nanoTime() < deadline, read.size() + " of " + count + " records came");
                consumer.poll(Duration.ofSeconds(1)).forEach(read::add);
            }
            return read.subList(0, count);
        }
    }

    private static KafkaConsumer<byte[], byte[]> consumer() {
        Map<String, Object> settings = new HashMap<>(ADDRESS);
        settings.put("auto.offset.reset", "earliest");
        var deserializer = new ByteArrayDeserializer();
        return new KafkaConsumer<>(settings, deserializer, deserializer);
    }

    private static Void create(String topic, int partitions, Map<String, String> configs) throws Exception {
        ADMIN.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
        return null;
    }

    private static Set<String> topics() throws Exception {
        return ADMIN.listTopics().names().get();
    }

    private static TopicDescription describe(String topic) throws Exception {
        return ADMIN.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private static ConfigEntry setting(String topic, String name) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return ADMIN.describeConfigs(List.of(resource)).all().get().get(resource).get(name);
    }

    private static Void alter(String topic, String name, String value, AlterConfigOp.OpType how) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        AlterConfigOp change = new AlterConfigOp(new ConfigEntry(name, value), how);
        ADMIN.incrementalAlterConfigs(Map.of(resource, List.of(change))).all().get();
        return null;
    }

    private static long deleteBefore(String topic, long offset) throws Exception {
        TopicPartition place = new TopicPartition(topic, 0);
        var told = ADMIN.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(offset))).lowWatermarks();
        return told.get(place).get().lowWatermark();
    }

    private static long offset(String topic, OffsetSpec spec) throws Exception {
        TopicPartition place = new TopicPartition(topic, 0);
        return ADMIN.listOffsets(Map.of(place, spec)).all().get().get(place).offset();
    }

    private static List<ProducerRecord<byte[], byte[]>> numbered(String topic, int count) {
        return IntStream.range(0, count).mapToObj(i -> record(topic, "" + i)).toList();
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, String value) {
        return new ProducerRecord<>(topic, bytes(value));
    }

    private static byte[] noise(int size) {
        byte[] value = new byte[size];
        new Random(size).nextBytes(value);
        return value;
    }

    private static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static void hasPartitions(String topic, int count) throws Exception {
        soon(topic + " has not " + count + " partitions", () -> describe(topic).partitions().size() == count);
    }

    /** Waits until it is so: Apache Kafka changes its metadata a little after it has confirmed a change. */
    private static void soon(String otherwise, Callable<Boolean> question) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (true) {
            try {
                if (question.call()) {
                    return;
                }
            } catch (ExecutionException e) {
                if (Errors.forException(e.getCause()) != Errors.UNKNOWN_TOPIC_OR_PARTITION) {
                    throw e;
                }
            }
            check(System.nanoTime() < deadline, otherwise);
        }
    }

    /** Compares keys, values and headers; null is not empty. */
    private static void same(
            List<ConsumerRecord<byte[], byte[]>> read, List<ProducerRecord<byte[], byte[]>> sent) {
        equal(read.size(), sent.size(), "number of records");
        for (int i = 0; i < read.size(); i++) {
            check(Arrays.equals(read.get(i).key(), sent.get(i).key()), "the key of record " + i);
            check(Arrays.equals(read.get(i).value(), sent.get(i).value()), "the value of record " + i);
            equal(read.get(i).headers(), sent.get(i).headers(), "the headers of record " + i);
        }
    }

    /** The step must fail with this error of Kafka's. */
    private static void refused(Errors expected, Callable<?> step) throws Exception {
        try {
            step.call();
        } catch (ExecutionException e) {
            equal(Errors.forException(e.getCause()), expected, "error");
            return;
        }
        throw new AssertionError("was not refused with " + expected);
    }

    private static void equal(Object is, Object expected, String what) {
        check(Objects.equals(is, expected), what + ": " + is + " instead of " + expected);
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    /** Runs the scenarios that are named on the command line, or all. */
    public static void main(String[] wanted) {
        int failed = 0;
        ExecutorService runner = Executors.newCachedThreadPool();
        for (Map.Entry<String, Scenario> entry : scenarios().entrySet()) {
            String name = entry.getKey();
            if (wanted.length > 0 && !List.of(wanted).contains(name)) {
                continue;
            }
            long begun = System.nanoTime();
            String topic = "java-" + name + "-" + ProcessHandle.current().pid();
            Future<Void> result = runner.submit(() -> {
                entry.getValue().run(topic);
                return null;
            });
            try {
                result.get(PATIENCE, TimeUnit.SECONDS);
                System.out.printf("ok %s %.1f%n", name, (System.nanoTime() - begun) / 1e9);
            } catch (Exception e) {
                failed++;
                Throwable why = e instanceof ExecutionException ? e.getCause() : e;
                String where = Arrays.stream(why.getStackTrace())
                        .filter(f -> f.getFileName() != null && f.getFileName().equals("Scenarios.java"))
                        .filter(f -> !Set.of("check", "equal", "same", "refused", "soon").contains(f.getMethodName()))
                        .map(f -> f.getFileName() + ":" + f.getLineNumber())
                        .findFirst()
                        .orElse("?");
                System.out.printf("FAIL %s %s: %s%n", name, where, why.toString().replace('\n', ' '));
            }
        }
        System.out.println("done");
        System.exit(failed > 0 ? 1 : 0);
    }
}
