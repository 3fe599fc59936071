import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** The Java clients, as a puppet: ../groups/stage.py says what it is told and what it says. */
@SuppressWarnings({"deprecation", "removal"})
public final class Puppet {
    private static final Map<String, Object> ADDRESS = Map.of("bootstrap.servers", System.getenv("BROKER"));
    private static final Admin ADMIN = Admin.create(ADDRESS);

    /** Obeys until the end of the input. */
    public static void main(String[] arguments) throws IOException {
        // The newer protocol of groups was a preview before 4.0.
        boolean preview = AppInfoParser.getVersion().startsWith("3.");
        tell("ready range roundrobin cooperative-sticky static clean none commit each async auto groups describe offsets alter"
                + " forget delete" + (preview ? "" : " consumer"));
        Map<String, Member> members = new HashMap<>();
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            List<String> words = List.of(line.split(" "));
            List<String> rest = words.subList(2, words.size());
            switch (words.get(0)) {
                case "join" -> members.put(words.get(1), new Member(words.get(1), rest));
                case "admin" -> tell("admin " + answer(() -> administer(words.get(1), rest)));
                default -> members.get(words.get(1)).commands.add(words);
            }
        }
        System.exit(0);
    }

    /** A consumer in a thread of its own: only that one touches it. */
    private static final class Member implements ConsumerRebalanceListener {
        final ConcurrentLinkedQueue<List<String>> commands = new ConcurrentLinkedQueue<>();
        private final String name;
        private final Map<String, String> settings = new HashMap<>();
        private final Set<Integer> partitions = new TreeSet<>();
        private final KafkaConsumer<byte[], byte[]> consumer;
        /** What was read and is not committed yet. */
        private Map<TopicPartition, OffsetAndMetadata> waiting = new HashMap<>();

        Member(String name, List<String> words) {
            this.name = name;
            for (String word : words) {
                String[] parts = word.split("=", 2);
                settings.put(parts[0], parts[1]);
            }
            var deserializer = new ByteArrayDeserializer();
            consumer = new KafkaConsumer<>(configuration(), deserializer, deserializer);
            new Thread(this::live).start();
        }

        private Map<String, Object> configuration() {
            Map<String, Object> all = new HashMap<>(ADDRESS);
            all.put("group.id", settings.get("group"));
            all.put("auto.offset.reset", settings.get("reset"));
            all.put("enable.auto.commit", settings.get("commit").equals("auto"));
            all.put("auto.commit.interval.ms", 200);
            if (settings.containsKey("instance")) {
                all.put("group.instance.id", settings.get("instance"));
            }
            if (settings.containsKey("protocol")) {
                all.put("group.protocol", "consumer");
                return all;
            }
            String assignor = Map.of(
                            "range", "RangeAssignor",
                            "roundrobin", "RoundRobinAssignor",
                            "cooperative-sticky", "CooperativeStickyAssignor")
                    .get(settings.get("assignor"));
            all.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
            all.put("session.timeout.ms", Integer.parseInt(settings.get("session")));
            all.put("heartbeat.interval.ms", 300);
            return all;
        }

        private void live() {
            try (consumer) {
                consumer.subscribe(List.of(settings.get("topic")), this);
                while (true) {
                    List<String> command = commands.poll();
                    if (command == null) {
                        turn();
                    } else if (command.get(0).equals("leave")) {
                        break;
                    } else {
                        tell(name + " " + answer(() -> obey(command)));
                    }
                }
            } catch (Exception e) {
                tell(name + " failed " + e.toString().replace('\n', ' '));
                return;
            }
            tell(name + " left");
        }

        private void turn() {
            Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>();
            for (ConsumerRecord<byte[], byte[]> record : poll()) {
                tell(name + " = " + record.partition() + " " + record.offset() + " "
                        + new String(record.value(), StandardCharsets.UTF_8));
                read.put(place(record.partition()), new OffsetAndMetadata(record.offset() + 1));
            }
            if (settings.get("commit").equals("each")) {
                waiting.putAll(read);
                commitWaiting();
            } else if (settings.get("commit").equals("async") && !read.isEmpty()) {
                consumer.commitAsync(read, (offsets, error) -> {
                    if (error == null) {
                        confirmed(offsets);
                    }
                });
            }
        }

        private ConsumerRecords<byte[], byte[]> poll() {
            try {
                return consumer.poll(Duration.ofMillis(100));
            } catch (UnknownMemberIdException e) {
                // A broker that has started again knows no members of the newer protocol; the next poll joins anew.
                return ConsumerRecords.empty();
            }
        }

        private void commitWaiting() {
            if (waiting.isEmpty()) {
                return;
            }
            try {
                consumer.commitSync(waiting);
                confirmed(waiting);
                waiting = new HashMap<>();
            } catch (CommitFailedException | RebalanceInProgressException | UnknownMemberIdException e) {
                // Refused while the group shares out again; or the partitions are somebody else's, who reads this again;
                // or the broker has started again and knows nobody.
            }
        }

        private void confirmed(Map<TopicPartition, OffsetAndMetadata> offsets) {
            offsets.forEach((place, at) -> tell(name + " ^ " + place.partition() + " " + at.offset()));
        }

        private List<String> obey(List<String> words) {
            TopicPartition place = place(Integer.parseInt(words.get(2)));
            if (words.get(0).equals("commit")) {
                String text = words.size() > 4 ? words.get(4) : "";
                consumer.commitSync(Map.of(place, new OffsetAndMetadata(Long.parseLong(words.get(3)), text)));
                return List.of();
            }
            OffsetAndMetadata at = consumer.committed(Set.of(place)).get(place);
            return List.of("" + at.offset(), at.metadata());
        }

        private TopicPartition place(int partition) {
            return new TopicPartition(settings.get("topic"), partition);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
            Set<Integer> given = numbers(assigned);
            given.removeAll(partitions);
            partitions.addAll(given);
            tellChange("+", given);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
            commitWaiting();
            take(revoked);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> lost) {
            waiting = new HashMap<>();
            take(lost);
        }

        private void take(Collection<TopicPartition> revoked) {
            Set<Integer> taken = numbers(revoked);
            taken.retainAll(partitions);
            partitions.removeAll(taken);
            tellChange("-", taken);
        }

        private void tellChange(String what, Set<Integer> numbers) {
            if (!numbers.isEmpty()) {
                String words = numbers.stream().map(n -> "" + n).collect(Collectors.joining(" "));
                tell(name + " " + what + " " + words);
            }
        }

        private static Set<Integer> numbers(Collection<TopicPartition> places) {
            return places.stream().map(TopicPartition::partition).collect(Collectors.toCollection(TreeSet::new));
        }
    }

    private static List<String> administer(String verb, List<String> words) throws Exception {
        String group = words.get(0);
        List<String> rest = words.subList(1, words.size());
        switch (verb) {
            case "groups":
                return ADMIN.listConsumerGroups().all().get().stream().map(g -> g.groupId()).toList();
            case "describe":
                ConsumerGroupDescription told =
                        ADMIN.describeConsumerGroups(List.of(group)).describedGroups().get(group).get();
                String assignor = told.partitionAssignor().isEmpty() ? "-" : told.partitionAssignor();
                return List.of(told.state().toString(), assignor, "" + told.members().size());
            case "offsets":
                List<String> found = new ArrayList<>();
                ADMIN.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((place, at) ->
                        found.add(place.partition() + "=" + at.offset() + ":" + at.metadata()));
                return found;
            case "alter":
                ADMIN.alterConsumerGroupOffsets(group, changes(rest)).all().get();
                return List.of();
            case "forget":
                TopicPartition place = new TopicPartition(rest.get(0), Integer.parseInt(rest.get(1)));
                ADMIN.deleteConsumerGroupOffsets(group, Set.of(place)).partitionResult(place).get();
                return List.of();
            default:
                ADMIN.deleteConsumerGroups(List.of(group)).all().get();
                return List.of();
        }
    }

    private static Map<TopicPartition, OffsetAndMetadata> changes(List<String> words) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (String word : words.subList(1, words.size())) {
            long[] parts = Arrays.stream(word.split("=")).mapToLong(Long::parseLong).toArray();
            offsets.put(new TopicPartition(words.get(0), (int) parts[0]), new OffsetAndMetadata(parts[1]));
        }
        return offsets;
    }

    private interface Question {
        List<String> ask() throws Exception;
    }

    /** "did" and the words of the answer, or "refused" and the number of Kafka's error. */
    private static String answer(Question question) {
        try {
            return String.join(" ", Stream.concat(Stream.of("did"), question.ask().stream()).toList());
        } catch (Exception e) {
            Throwable why = e instanceof ExecutionException ? e.getCause() : e;
            short code = Errors.forException(why).code();
            return "refused " + (code > 0 ? "" + code : why.toString().replace(' ', '_').toLowerCase(Locale.ROOT));
        }
    }

    private static synchronized void tell(String line) {
        System.out.println(line);
    }
}
