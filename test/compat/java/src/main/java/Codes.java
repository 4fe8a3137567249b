import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Java's producer and consumer as test/compat/codes drives them.
 *
 * <p>Usage: Codes ADDR. A line of standard input is a row to try: SCENARIO NAME WHEN.
 */
public final class Codes {
    private static final LinkedBlockingQueue<String> LINES = new LinkedBlockingQueue<>();
    private static String addr;

    private Codes() {
    }

    /** A row ends with its outcome. */
    private record Outcome(String word, Throwable why) {
        @Override
        public String toString() {
            return word + (why == null ? "" : " " + why.toString().replace('\n', ' '));
        }
    }

    public static void main(String[] args) throws Exception {
        addr = args[0];
        Thread reader = new Thread(Codes::readLines, "stdin");
        reader.setDaemon(true);
        reader.start();
        while (true) {
            String[] row = LINES.take().split(" ");
            if (row[0].isEmpty()) {
                return;
            }
            if (row.length != 3) {
                continue; // "injected", of a row that ended before
            }
            boolean first = row[2].equals("first");
            Outcome outcome = row[0].equals("txn") ? transact(row[1], first) : read(row[1], row[0], first, row[2].equals("quiet"));
            System.out.println("outcome " + outcome);
        }
    }

    private static void readLines() {
        new BufferedReader(new InputStreamReader(System.in)).lines().forEach(LINES::add);
        LINES.add("");
    }

    /** arm lets the code come with the next response. */
    private static void arm() throws InterruptedException {
        System.out.println("arm");
        while (!LINES.take().equals("go")) {
            continue;
        }
    }

    private static Properties common() {
        Properties props = new Properties();
        props.put("bootstrap.servers", addr);
        props.put("retry.backoff.ms", "20");
        props.put("retry.backoff.max.ms", "100");
        props.put("request.timeout.ms", "5000");
        return props;
    }

    private static Outcome transact(String name, boolean first) throws InterruptedException {
        Properties props = common();
        props.put("transactional.id", name);
        props.put("transaction.timeout.ms", "10000");
        props.put("delivery.timeout.ms", "15000");
        props.put("max.block.ms", "15000");
        if (first) {
            arm();
        }
        KafkaProducer<String, String> producer = new KafkaProducer<>(props, new StringSerializer(), new StringSerializer());
        try {
            try {
                producer.initTransactions();
                if (!first) {
                    arm();
                }
                transaction(producer, name, "/1");
                return new Outcome("goes-on", null);
            } catch (RuntimeException e) {
                return again(producer, name, e);
            }
        } finally {
            producer.close(Duration.ZERO);
        }
    }

    /** again does what the documentation asks for after an error: abort, and go on. */
    private static Outcome again(KafkaProducer<String, String> producer, String name, RuntimeException why) {
        try {
            producer.abortTransaction();
            transaction(producer, name, "/2");
            return new Outcome("abortable", why);
        } catch (RuntimeException e) {
            return new Outcome("fatal", why);
        }
    }

    private static void transaction(KafkaProducer<String, String> producer, String name, String suffix) {
        producer.beginTransaction();
        producer.send(new ProducerRecord<>("codes", name + suffix));
        producer.flush();
        producer.sendOffsetsToTransaction(Map.of(new TopicPartition("in", 0), new OffsetAndMetadata(1)), new ConsumerGroupMetadata(name));
        producer.commitTransaction();
    }

    private static Outcome read(String name, String protocol, boolean first, boolean quiet) throws InterruptedException {
        Properties props = common();
        props.put("group.id", name);
        props.put("group.protocol", protocol);
        props.put("auto.offset.reset", "earliest");
        props.put("enable.auto.commit", "false");
        props.put("max.poll.records", "10");
        props.put("default.api.timeout.ms", "10000");
        if (protocol.equals("classic")) {
            props.put("session.timeout.ms", "6000");
            props.put("heartbeat.interval.ms", "100");
        }
        if (first) {
            arm();
        }
        try (Member member = new Member(new KafkaConsumer<>(props, new StringDeserializer(), new StringDeserializer()))) {
            return member.run(first, quiet);
        }
    }

    /** A member reads and commits until it has done so three times after the code came. */
    private static final class Member implements AutoCloseable {
        private final KafkaConsumer<String, String> consumer;
        private Throwable why;
        private int failures; // in a row

        Member(KafkaConsumer<String, String> consumer) {
            this.consumer = consumer;
        }

        Outcome run(boolean first, boolean quiet) throws InterruptedException {
            consumer.subscribe(List.of("in"));
            boolean armed = first;
            boolean injected = false;
            int good = 0;
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(25);
            while (System.nanoTime() < end && good < 3 && failures < 100) {
                boolean ok = round(!quiet || !armed || injected);
                if (ok && !armed) {
                    arm();
                    armed = true;
                    continue;
                }
                injected |= "injected".equals(LINES.peek()) && LINES.poll() != null;
                if (injected && ok) {
                    good++;
                }
                Thread.sleep(20);
            }
            if (good < 3) {
                return new Outcome("fatal", why);
            }
            return new Outcome(why == null ? "goes-on" : "told", why);
        }

        private boolean round(boolean commits) {
            try {
                boolean empty = consumer.poll(Duration.ofMillis(100)).isEmpty();
                if (!empty && commits) {
                    consumer.commitSync();
                }
                failures = 0;
                if (empty) {
                    return false;
                }
                return true;
            } catch (RuntimeException e) {
                failures++;
                if (why == null) {
                    why = e;
                }
                return false;
            }
        }

        @Override
        public void close() {
            consumer.close(org.apache.kafka.clients.consumer.CloseOptions.timeout(Duration.ofSeconds(1)));
        }
    }
}
