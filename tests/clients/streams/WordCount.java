import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Kafka Streams counts words, which takes a topic of lines, one of words by key, one of changes to the counts, and a
 * group of consumers: see tests/clients/run.sh.
 *
 * <p>The broker is at BROKER. If BROKER_PID names a file, it holds the pid of a broker that somebody restarts when it
 * dies.
 */
public final class WordCount {
    private static final String BROKER = System.getenv("BROKER");
    private static final Map<String, Object> ADDRESS = Map.of("bootstrap.servers", BROKER);
    private static final Admin ADMIN = Admin.create(ADDRESS);
    private static final int PARTITIONS = 3;
    private static final List<String> WORDS =
            List.of("log", "segment", "offset", "batch", "group", "lag", "leader", "broker", "topic", "key");

    private interface Scenario {
        void run(WordCount it) throws Exception;
    }

    private static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("word_count", WordCount::stoppedAndStarted);
        all.put("two_instances", WordCount::twoInstances);
        if (System.getenv("BROKER_PID") != null) {
            all.put("crash", WordCount::crash);
        }
        return all;
    }

    private final String name;
    private final Path folder;
    /** How often each word was sent. */
    private final Map<String, Long> sent = new TreeMap<>();

    private WordCount(String name) throws Exception {
        this.name = name;
        folder = Files.createTempDirectory("streams");
        List<NewTopic> topics = Stream.of(lines(), counts()).map(t -> new NewTopic(t, PARTITIONS, (short) 1)).toList();
        ADMIN.createTopics(topics).all().get();
    }

    /** The counts go on where they stopped, also when the local store is gone and comes back from its changelog. */
    private void stoppedAndStarted() throws Exception {
        send(300);
        KafkaStreams first = start("one");
        counted();
        String changes = name + "-counts-changelog";
        equal(setting(changes, "cleanup.policy"), "compact", "the changelog's cleanup.policy");
        soon("what was counted is deleted from the topic of words", () -> startOf(name + "-words-repartition") > 0);
        first.close(Duration.ofSeconds(20));
        send(300);
        KafkaStreams second = start("one");
        counted();
        second.close(Duration.ofSeconds(20));
        remove(folder);
        send(300);
        KafkaStreams third = start("one");
        counted();
        third.close(Duration.ofSeconds(20));
    }

    /** A second instance takes some of the partitions, with their counts, and gives them back. */
    private void twoInstances() throws Exception {
        send(200);
        KafkaStreams one = start("one");
        counted();
        KafkaStreams two = start("two");
        soon("both have tasks", () -> tasks(one) > 0 && tasks(two) > 0);
        send(200);
        counted();
        two.close(new KafkaStreams.CloseOptions().timeout(Duration.ofSeconds(20)).leaveGroup(true));
        soon("the first has all tasks again", () -> tasks(one) == 2 * PARTITIONS);
        send(200);
        counted();
        one.close(Duration.ofSeconds(20));
    }

    /** The broker is killed while lines come in: no word is lost; some may be counted again, as at-least-once says. */
    private void crash() throws Exception {
        send(100);
        KafkaStreams streams = start("one");
        counted();
        Thread killer = new Thread(WordCount::killBroker);
        for (int i = 0; i < 40; i++) {
            send(20);
            if (i == 10) {
                killer.start();
            }
        }
        killer.join();
        soon("every word is counted at least as often as it was sent", () -> {
            Map<String, Long> counts = read();
            return sent.entrySet().stream().allMatch(e -> counts.getOrDefault(e.getKey(), 0L) >= e.getValue());
        });
        equal(streams.state(), KafkaStreams.State.RUNNING, "state");
        streams.close(Duration.ofSeconds(20));
    }

    private String lines() {
        return name + "-lines";
    }

    private String counts() {
        return name + "-counts";
    }

    private Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream(lines());
        lines.flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.as("words"))
                .count(Materialized.as("counts"))
                .toStream()
                .to(counts(), Produced.with(Serdes.String(), Serdes.Long()));
        return builder.build();
    }

    /** An instance with a store of its own. It is a static member, so that whoever comes back under its name is known. */
    private KafkaStreams start(String instance) throws Exception {
        Properties all = new Properties();
        all.putAll(ADDRESS);
        all.put("application.id", name);
        all.put("client.id", instance);
        all.put("group.instance.id", instance);
        all.put("state.dir", folder.resolve(instance).toString());
        all.put("default.key.serde", Serdes.String().getClass());
        all.put("default.value.serde", Serdes.String().getClass());
        all.put("commit.interval.ms", 100);
        all.put("statestore.cache.max.bytes", 0);
        all.put("repartition.purge.interval.ms", 100);
        all.put("heartbeat.interval.ms", 300);
        all.put("probing.rebalance.interval.ms", 60_000);
        KafkaStreams streams = new KafkaStreams(topology(), all);
        streams.start();
        soon(instance + " is running", () -> streams.state() == KafkaStreams.State.RUNNING);
        return streams;
    }

    private static int tasks(KafkaStreams streams) {
        return streams.metadataForLocalThreads().stream().mapToInt(t -> t.activeTasks().size()).sum();
    }

    /** Sends lines of three words. */
    private void send(int lines) {
        Map<String, Object> settings = new HashMap<>(ADDRESS);
        var serializer = new StringSerializer();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, serializer, serializer)) {
            for (int i = 0; i < lines; i++) {
                List<String> line = Stream.of(i, i * i, i / 7).map(n -> WORDS.get(n % WORDS.size())).toList();
                line.forEach(word -> sent.merge(word, 1L, Long::sum));
                producer.send(new ProducerRecord<>(lines(), "line " + i, String.join(" ", line)));
            }
        }
    }

    /** Waits until each word was counted as often as it was sent. */
    private void counted() throws Exception {
        soon("the counts are right", () -> read().equals(sent), () -> read() + " instead of " + sent);
    }

    /** The latest count of each word. */
    private Map<String, Long> read() {
        Map<String, Long> latest = new TreeMap<>();
        try (var consumer = new KafkaConsumer<>(ADDRESS, new StringDeserializer(), new LongDeserializer())) {
            List<TopicPartition> places =
                    Stream.iterate(0, p -> p + 1).limit(PARTITIONS).map(p -> new TopicPartition(counts(), p)).toList();
            consumer.assign(places);
            consumer.seekToBeginning(places);
            Map<TopicPartition, Long> ends = consumer.endOffsets(places);
            while (places.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                consumer.poll(Duration.ofMillis(200)).forEach(r -> latest.put(r.key(), r.value()));
            }
        }
        return latest;
    }

    private static String setting(String topic, String setting) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return ADMIN.describeConfigs(List.of(resource)).all().get().get(resource).get(setting).value();
    }

    /** The sum of the first offsets of a topic's partitions. */
    private static long startOf(String topic) throws Exception {
        Map<TopicPartition, OffsetSpec> all = new HashMap<>();
        for (int partition = 0; partition < PARTITIONS; partition++) {
            all.put(new TopicPartition(topic, partition), OffsetSpec.earliest());
        }
        return ADMIN.listOffsets(all).all().get().values().stream().mapToLong(o -> o.offset()).sum();
    }

    /** SIGKILL. Whoever started the broker starts it again, on the same port and data. */
    private static void killBroker() {
        try {
            long pid = Long.parseLong(Files.readString(Path.of(System.getenv("BROKER_PID"))).trim());
            ProcessHandle.of(pid).orElseThrow().destroyForcibly();
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void remove(Path folder) throws IOException {
        try (Stream<Path> all = Files.walk(folder)) {
            all.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        }
    }

    private static void soon(String otherwise, Callable<Boolean> question) throws Exception {
        soon(otherwise, question, () -> otherwise);
    }

    private static void soon(String what, Callable<Boolean> question, Callable<String> why) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!question.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("not: " + what + ": " + why.call());
            }
            Thread.sleep(50);
        }
    }

    private static void equal(Object is, Object expected, String what) {
        if (!is.equals(expected)) {
            throw new AssertionError(what + ": " + is + " instead of " + expected);
        }
    }

    /** Runs the scenarios that are named on the command line, or all. */
    public static void main(String[] wanted) {
        int failed = 0;
        for (Map.Entry<String, Scenario> entry : scenarios().entrySet()) {
            String name = entry.getKey();
            if (wanted.length > 0 && !List.of(wanted).contains(name)) {
                continue;
            }
            long begun = System.nanoTime();
            try {
                WordCount it = new WordCount("streams-" + name + "-" + ProcessHandle.current().pid());
                try {
                    entry.getValue().run(it);
                } finally {
                    remove(it.folder);
                }
                System.out.printf("ok %s %.1f%n", name, (System.nanoTime() - begun) / 1e9);
            } catch (Exception | AssertionError e) {
                failed++;
                System.out.printf("FAIL %s %s%n", name, e.toString().replace('\n', ' '));
            }
        }
        System.out.println("done");
        System.exit(failed > 0 ? 1 : 0);
    }
}
