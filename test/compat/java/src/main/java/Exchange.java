import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * What a server is filled with before another one takes its directory.
 *
 * <p>Usage: Exchange fill ADDR ROUND, or Exchange verify ADDR ROUNDS. Every round uses
 * the same groups and transactional ids and continues where the last one stopped, on
 * whichever server it was. It ends in the middle of a transaction, without a word to
 * the server. A value says what becomes of it: "keep" is committed, "drop" is not, and
 * "copy" is a record of the topic `plain` that a group read and a transaction wrote.
 *
 * <p>Exchange decide ADDR N commits a transaction and aborts one, each in a partition of
 * its own; Exchange decided ADDR N waits until those of N times are over for readers.
 */
public final class Exchange {
    private static final int PARTITIONS = 4;
    private static final int PLAIN = 1000;
    private static final int BATCH = 60;
    private static final int READ = 200;

    private final String addr;
    private final int round;

    private Exchange(String addr, int round) {
        this.addr = addr;
        this.round = round;
    }

    public static void main(String[] args) {
        Exchange exchange = new Exchange(args[1], Integer.parseInt(args[2]));
        int code = 1;
        try {
            switch (args[0]) {
                case "fill" -> exchange.fill();
                case "decide" -> exchange.decide();
                case "decided" -> exchange.decided();
                default -> exchange.verify();
            }
            code = 0;
        } catch (Exception e) {
            e.printStackTrace(System.out);
        }
        System.out.flush();
        // An open transaction and static members stay behind as a crash leaves them.
        Runtime.getRuntime().halt(code);
    }

    private void fill() {
        plain();
        commit("tx-commit");
        abort("tx-abort");
        producer("tx-empty").initTransactions();
        int copied = copy();
        int read = groups();
        open("tx-open");
        System.out.printf("= %d plain, %d kept, %d copied, %d read by groups, 2 transactions left open%n", PLAIN, 3 * BATCH, copied, read);
    }

    private void plain() {
        try (KafkaProducer<String, String> producer = producer(null)) {
            for (int i = 0; i < PLAIN; i++) {
                producer.send(new ProducerRecord<>("plain", i % PARTITIONS, "key-" + i % 7, "plain-" + round + "-" + i));
            }
        }
    }

    private void commit(String id) {
        try (KafkaProducer<String, String> producer = producer(id)) {
            producer.initTransactions();
            for (int n = 0; n < 3; n++) {
                producer.beginTransaction();
                send(producer, "keep", n);
                producer.commitTransaction();
            }
        }
    }

    private void abort(String id) {
        try (KafkaProducer<String, String> producer = producer(id)) {
            producer.initTransactions();
            producer.beginTransaction();
            send(producer, "drop", 0);
            producer.flush();
            producer.abortTransaction();
        }
    }

    // open leaves a transaction under way; the next round's initTransactions aborts it.
    private void open(String id) {
        KafkaProducer<String, String> producer = producer(id);
        producer.initTransactions();
        producer.beginTransaction();
        send(producer, "drop", 0);
        producer.flush();
    }

    private void send(KafkaProducer<String, String> producer, String fate, int n) {
        for (int i = 0; i < BATCH; i++) {
            producer.send(new ProducerRecord<>("txn", i % PARTITIONS, null, fate + "-" + round + "-" + n + "-" + i));
        }
    }

    // copy reads some of `plain` in a group and writes it with the offsets in one
    // transaction, then begins another one and leaves it with its offsets pending.
    private int copy() {
        KafkaProducer<String, String> producer = producer("tx-copy");
        producer.initTransactions();
        Properties props = consumer("g-copy", "consumer");
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(props);
        consumer.subscribe(Set.of("plain"));
        int copied = transaction(producer, consumer, "copy");
        producer.commitTransaction();
        transaction(producer, consumer, "drop");
        producer.flush();
        consumer.close();
        return copied;
    }

    private int transaction(KafkaProducer<String, String> producer, KafkaConsumer<String, String> consumer, String fate) {
        List<ConsumerRecord<String, String>> records = read(consumer, READ);
        producer.beginTransaction();
        for (ConsumerRecord<String, String> r : records) {
            producer.send(new ProducerRecord<>("txn", r.partition(), null, fate + "-" + r.partition() + "-" + r.offset()));
        }
        Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
        records.forEach(r -> next.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1, "by round " + round)));
        producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
        return records.size();
    }

    private int groups() {
        int n = group("g-classic", "classic", null);
        n += group("g-consumer", "consumer", null);
        n += group("g-static-classic", "classic", "one");
        n += group("g-static-consumer", "consumer", "one");
        n += group("g-regex", "consumer", "one");
        try (KafkaConsumer<String, String> simple = new KafkaConsumer<>(consumer("g-simple", "classic"))) {
            TopicPartition tp = new TopicPartition("plain", 1);
            simple.assign(List.of(tp));
            simple.commitSync(Map.of(tp, new OffsetAndMetadata(round, "métadonnées " + round)));
        }
        return n;
    }

    // group reads on where the group stopped, and commits. A static member does not
    // leave when it is closed: the server keeps it for its session's time.
    private int group(String group, String protocol, String instance) {
        Properties props = consumer(group, protocol);
        if (instance != null) {
            props.put(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, instance);
            if (protocol.equals("classic")) {
                props.put(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, 600000);
            }
        }
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(props)) {
            if (group.equals("g-regex")) {
                consumer.subscribe(new SubscriptionPattern("pla.+"));
            } else {
                consumer.subscribe(Set.of("plain"));
            }
            List<ConsumerRecord<String, String>> records = read(consumer, READ);
            Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
            records.forEach(r -> next.put(new TopicPartition(r.topic(), r.partition()),
                new OffsetAndMetadata(r.offset() + 1, r.leaderEpoch(), "by round " + round)));
            consumer.commitSync(next);
            return records.size();
        }
    }

    // read returns at least count records, of which each partition's first one is at the
    // group's committed offset and the others follow it without a hole.
    private List<ConsumerRecord<String, String>> read(KafkaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        Map<TopicPartition, Long> next = new HashMap<>();
        Map<TopicPartition, OffsetAndMetadata> committed = null;
        long end = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        while (records.size() < count) {
            ConsumerRecords<String, String> got = consumer.poll(Duration.ofMillis(200));
            if (System.nanoTime() > end) {
                throw new IllegalStateException(records.size() + " records in a minute, " + count + " wanted of " + consumer.assignment());
            }
            if (got.isEmpty()) {
                continue;
            }
            if (committed == null) {
                committed = consumer.committed(consumer.assignment());
            }
            for (ConsumerRecord<String, String> r : got) {
                TopicPartition tp = new TopicPartition(r.topic(), r.partition());
                OffsetAndMetadata from = committed.get(tp);
                Long want = next.get(tp);
                if (want == null && starts(consumer, tp)) {
                    want = from == null ? 0 : from.offset();
                }
                if (want != null && want != r.offset()) {
                    throw new IllegalStateException(tp + " goes on at " + r.offset() + ", not at " + want);
                }
                next.put(tp, r.offset() + 1);
                records.add(r);
            }
        }
        return records;
    }

    // starts is whether the consumer has not read of the partition before this read: the
    // second read of `copy` goes on at its position, which the pending offsets hide.
    private final Map<KafkaConsumer<String, String>, Set<TopicPartition>> started = new HashMap<>();

    private boolean starts(KafkaConsumer<String, String> consumer, TopicPartition tp) {
        return started.computeIfAbsent(consumer, c -> new HashSet<>()).add(tp);
    }

    // verify reads `txn` with read_committed: all that was kept, in order and once, none
    // that was dropped, and copies of `plain` without a hole or a repetition.
    private void verify() {
        Properties props = consumer(null, "classic");
        props.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        Map<Integer, Long> copies = new TreeMap<>();
        Map<Integer, List<String>> kept = new TreeMap<>();
        long copied = 0;
        long keeps = 0;
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(props)) {
            List<TopicPartition> partitions = consumer.partitionsFor("txn").stream().map(p -> new TopicPartition("txn", p.partition())).toList();
            consumer.assign(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long limit = System.nanoTime() + Duration.ofSeconds(60).toNanos();
            while (partitions.stream().anyMatch(tp -> consumer.position(tp) < ends.get(tp))) {
                if (System.nanoTime() > limit) {
                    throw new IllegalStateException("not at the last stable offsets " + ends + " in a minute");
                }
                for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(200))) {
                    String[] words = r.value().split("-");
                    if (words[0].equals("drop")) {
                        throw new IllegalStateException("read an aborted record: " + r);
                    }
                    if (words[0].equals("keep")) {
                        kept.computeIfAbsent(r.partition(), p -> new ArrayList<>()).add(r.value());
                        keeps++;
                        continue;
                    }
                    long want = copies.getOrDefault(r.partition(), 0L);
                    if (Long.parseLong(words[2]) != want) {
                        throw new IllegalStateException("copied " + r.value() + " where " + want + " was next");
                    }
                    copies.put(r.partition(), want + 1);
                    copied++;
                }
            }
        }
        Map<Integer, List<String>> want = new TreeMap<>();
        for (int r = 1; r <= round; r++) {
            for (int n = 0; n < 3; n++) {
                for (int i = 0; i < BATCH; i++) {
                    want.computeIfAbsent(i % PARTITIONS, p -> new ArrayList<>()).add("keep-" + r + "-" + n + "-" + i);
                }
            }
        }
        if (!want.equals(kept) || copied < (long) round * READ) {
            throw new IllegalStateException("kept " + keeps + " records of " + 3 * BATCH * round + ", copied " + copied);
        }
        System.out.printf("= %d kept, %d copied, 0 dropped were read%n", keeps, copied);
    }

    private void decide() {
        for (String fate : List.of("keep", "drop")) {
            KafkaProducer<String, String> producer = producer("tx-decided-" + fate);
            producer.initTransactions();
            producer.beginTransaction();
            for (int i = 0; i < BATCH; i++) {
                producer.send(new ProducerRecord<>("decided", fate.equals("keep") ? 0 : 1, null, fate + "-" + round + "-" + i));
            }
            producer.flush();
            if (fate.equals("keep")) {
                producer.commitTransaction();
            } else {
                producer.abortTransaction();
            }
        }
    }

    private void decided() throws InterruptedException {
        Properties props = consumer(null, "classic");
        List<TopicPartition> partitions = List.of(new TopicPartition("decided", 0), new TopicPartition("decided", 1));
        long limit = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        Map<TopicPartition, Long> ends;
        try (KafkaConsumer<String, String> all = new KafkaConsumer<>(props)) {
            ends = all.endOffsets(partitions);
        }
        props.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(props)) {
            // A marker moves the end by one: it is there when nothing is unstable.
            while (partitions.stream().anyMatch(tp -> consumer.endOffsets(partitions).get(tp) < (long) round * (BATCH + 1))) {
                if (System.nanoTime() > limit) {
                    throw new IllegalStateException("stable up to " + consumer.endOffsets(partitions) + " of " + ends + " after a minute");
                }
                Thread.sleep(100);
            }
            Map<TopicPartition, Long> stable = consumer.endOffsets(partitions);
            List<String> want = new ArrayList<>();
            for (int n = 1; n <= round; n++) {
                for (int i = 0; i < BATCH; i++) {
                    want.add("keep-" + n + "-" + i);
                }
            }
            List<String> got = new ArrayList<>();
            consumer.assign(partitions);
            while (partitions.stream().anyMatch(tp -> consumer.position(tp) < stable.get(tp))) {
                if (System.nanoTime() > limit) {
                    throw new IllegalStateException("not at " + stable + " after a minute");
                }
                consumer.poll(Duration.ofMillis(200)).forEach(r -> got.add(r.value()));
            }
            if (!got.equals(want)) {
                throw new IllegalStateException("read " + got + ", want " + want);
            }
            System.out.printf("= %d records committed, none aborted, ends %s%n", got.size(), stable.values());
        }
    }

    private KafkaProducer<String, String> producer(String id) {
        Properties props = new Properties();
        props.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, addr);
        props.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        props.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        props.put(ProducerConfig.BATCH_SIZE_CONFIG, 256);
        if (id != null) {
            props.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, id);
            props.put(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, 900000);
        }
        return new KafkaProducer<>(props);
    }

    private Properties consumer(String group, String protocol) {
        Properties props = new Properties();
        props.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, addr);
        props.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        props.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        props.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        props.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        props.put(ConsumerConfig.GROUP_PROTOCOL_CONFIG, protocol);
        if (group != null) {
            props.put(ConsumerConfig.GROUP_ID_CONFIG, group);
        }
        return props;
    }
}
