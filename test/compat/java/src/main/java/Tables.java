import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Compacted topics beside a model: `table` with cleanup.policy=compact, and `both` with
 * compact,delete and a small retention.bytes.
 *
 * <p>Usage: Tables fill ADDR ROUND writes a round with every codec, tombstones and
 * transactions that are committed and aborted, and waits until the server has compacted
 * it. Tables verify ADDR ROUNDS reads both topics with read_committed and compares them
 * with what the rounds so far must have left. Tables model - ROUNDS prints that of
 * `table`. What a round writes follows from its number alone.
 */
public final class Tables {
    private static final int PARTITIONS = 2;
    private static final int KEYS = 24;
    private static final int WRITES = 60;
    private static final String END = "end";
    private static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    private static final String PADDING = "-".repeat(180);
    /** Longer than segment.ms of the topics: the next record begins a new segment. */
    private static final long SEGMENT_MS = 400;

    /** One phase of a round: its records have one codec and one fate. */
    private record Phase(String codec, boolean transaction, boolean aborted, List<Map.Entry<Integer, String>> writes) {
    }

    private final String addr;
    private final int round;

    private Tables(String addr, int round) {
        this.addr = addr;
        this.round = round;
    }

    public static void main(String[] args) {
        Tables tables = new Tables(args[1], Integer.parseInt(args[2]));
        int code = 1;
        try {
            switch (args[0]) {
                case "fill" -> tables.fill();
                case "verify" -> tables.verify();
                default -> tables.model("table").forEach((k, v) -> System.out.println(k + " " + v));
            }
            code = 0;
        } catch (Exception e) {
            e.printStackTrace(System.out);
        }
        System.out.flush();
        Runtime.getRuntime().halt(code);
    }

    // phases is what round r writes to a topic. A quarter of the keys belongs to one round
    // only and is not written again, so that old records stay among those that go.
    private static List<Phase> phases(String topic, int r) {
        Random random = new Random(31L * topic.hashCode() + r);
        List<Phase> phases = new ArrayList<>();
        for (int p = 0; p < 2 * CODECS.length; p++) {
            List<Map.Entry<Integer, String>> writes = new ArrayList<>();
            for (int i = 0; i < WRITES; i++) {
                int key = random.nextInt(4) == 0 ? KEYS * r + random.nextInt(KEYS / 4) : random.nextInt(KEYS);
                String value = random.nextInt(5) == 0 ? null : topic + "-" + r + "-" + p + "-" + i + PADDING;
                writes.add(new java.util.AbstractMap.SimpleEntry<>(key, value));
            }
            phases.add(new Phase(CODECS[p % CODECS.length], p % 3 != 0, p % 3 == 2, writes));
        }
        return phases;
    }

    private Map<String, String> model(String topic) {
        Map<String, String> state = new TreeMap<>();
        for (int r = 1; r <= round; r++) {
            for (Phase phase : phases(topic, r)) {
                for (Map.Entry<Integer, String> w : phase.aborted ? List.<Map.Entry<Integer, String>>of() : phase.writes) {
                    if (w.getValue() == null) {
                        state.remove("key-" + w.getKey());
                    } else {
                        state.put("key-" + w.getKey(), w.getValue());
                    }
                }
            }
        }
        return state;
    }

    private void fill() throws InterruptedException {
        for (String topic : List.of("table", "both")) {
            for (Phase phase : phases(topic, round)) {
                write(topic, phase);
            }
        }
        Thread.sleep(SEGMENT_MS);
        end();
        // The end closes the segments before it: all of them but its own can be compacted.
        List<Read> reads = new ArrayList<>();
        for (String topic : List.of("table", "both")) {
            reads.add(compacted(topic));
        }
        System.out.printf("= %d and %d records are left of %d written in %d rounds, %d and %d of them tombstones%n",
            reads.get(0).records, reads.get(1).records, (long) round * 2 * 2 * CODECS.length * WRITES, round, reads.get(0).tombstones, reads.get(1).tombstones);
    }

    private void write(String topic, Phase phase) throws InterruptedException {
        Thread.sleep(SEGMENT_MS);
        try (KafkaProducer<String, String> producer = producer(phase)) {
            if (phase.transaction) {
                producer.initTransactions();
                producer.beginTransaction();
            }
            for (Map.Entry<Integer, String> w : phase.writes) {
                producer.send(new ProducerRecord<>(topic, w.getKey() % PARTITIONS, "key-" + w.getKey(), w.getValue()));
            }
            producer.flush();
            if (phase.aborted) {
                producer.abortTransaction();
            } else if (phase.transaction) {
                producer.commitTransaction();
            }
        }
    }

    private void end() {
        try (KafkaProducer<String, String> producer = producer(new Phase("none", false, false, List.of()))) {
            for (String topic : List.of("table", "both")) {
                for (int p = 0; p < PARTITIONS; p++) {
                    producer.send(new ProducerRecord<>(topic, p, END, "end-" + round));
                }
            }
        }
    }

    // compacted waits until no key but the end's is there twice, and no tombstone of an
    // earlier round: their time is over, and every round of compaction begins at the log's
    // start.
    private Read compacted(String topic) throws InterruptedException {
        long limit = System.nanoTime() + Duration.ofSeconds(90).toNanos();
        for (;;) {
            Read read = new Read(topic);
            if (read.repeated == null && read.oldTombstone == null) {
                return read;
            }
            if (System.nanoTime() > limit) {
                throw new IllegalStateException(topic + " is not compacted within 90 s: repeated " + read.repeated + ", old tombstone " + read.oldTombstone);
            }
            Thread.sleep(500);
        }
    }

    /** What a read_committed consumer finds from the log's start to its last stable offset. */
    private final class Read {
        private final Map<String, String> state = new TreeMap<>();
        private final Set<String> seen = new HashSet<>();
        private final Map<TopicPartition, Long> starts;
        private String repeated;
        private String oldTombstone;
        private long records;
        private long tombstones;

        private Read(String topic) {
            Properties props = new Properties();
            props.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, addr);
            props.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
            props.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
            props.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
            props.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
            try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(props)) {
                List<TopicPartition> partitions = new ArrayList<>();
                for (int p = 0; p < PARTITIONS; p++) {
                    partitions.add(new TopicPartition(topic, p));
                }
                consumer.assign(partitions);
                consumer.seekToBeginning(partitions);
                starts = consumer.beginningOffsets(partitions);
                Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
                Map<TopicPartition, Long> last = new HashMap<>();
                long limit = System.nanoTime() + Duration.ofSeconds(60).toNanos();
                while (partitions.stream().anyMatch(tp -> consumer.position(tp) < ends.get(tp))) {
                    if (System.nanoTime() > limit) {
                        throw new IllegalStateException("not at the last stable offsets " + ends + " in a minute");
                    }
                    for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(200))) {
                        Long before = last.put(new TopicPartition(topic, r.partition()), r.offset());
                        if (before != null && before >= r.offset()) {
                            throw new IllegalStateException("offset " + r.offset() + " after " + before);
                        }
                        take(r);
                    }
                }
            }
        }

        private void take(ConsumerRecord<String, String> r) {
            if (r.key().equals(END)) {
                return;
            }
            records++;
            if (!seen.add(r.key())) {
                repeated = r.key();
            }
            if (r.value() != null) {
                state.put(r.key(), r.value());
                return;
            }
            tombstones++;
            state.remove(r.key());
            int key = Integer.parseInt(r.key().substring("key-".length()));
            if (key >= KEYS && key / KEYS < round) {
                oldTombstone = r.key(); // only an earlier round writes this key
            }
        }
    }

    private void verify() {
        Read table = new Read("table");
        Map<String, String> want = model("table");
        if (!table.state.equals(want)) {
            throw new IllegalStateException("table is " + table.state + ", want " + want);
        }
        // Retention takes the oldest segments: a key may be gone, but none has an older value
        // than it must have, and none comes back.
        Read both = new Read("both");
        Map<String, String> all = model("both");
        both.state.forEach((k, v) -> {
            if (!v.equals(all.get(k))) {
                throw new IllegalStateException("both: " + k + " is " + v + ", want " + all.get(k));
            }
        });
        if (round > 3 && both.starts.containsValue(0L)) {
            throw new IllegalStateException("both begins at " + both.starts);
        }
        System.out.printf("= table: all %d keys of the model; both: %d of %d, from %s on%n", want.size(), both.state.size(), all.size(), both.starts.values());
    }

    private KafkaProducer<String, String> producer(Phase phase) {
        Properties props = new Properties();
        props.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, addr);
        props.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        props.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        props.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, phase.codec);
        props.put(ProducerConfig.BATCH_SIZE_CONFIG, 2000);
        if (phase.transaction) {
            props.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, "table");
            props.put(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, 900000);
        }
        return new KafkaProducer<>(props);
    }
}
