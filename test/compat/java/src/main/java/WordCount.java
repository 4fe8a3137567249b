import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The word count of Kafka Streams with exactly_once_v2, checked while it runs.
 *
 * <p>Usage: WordCount ADDR APPLICATION STATE_DIR SECONDS. Standard input holds the
 * lines, one a record, which an idempotent producer writes while the application
 * counts. Every single increment is written out (nothing is cached), so each word's
 * counts in the output topic, read with read_committed, must be 1, 2, 3 ... up to how
 * often the word is in the lines.
 */
public final class WordCount {
    private final String addr;
    private final String application;
    private final Map<String, Long> want = new HashMap<>();
    private final Map<String, Long> got = new HashMap<>();
    private long total;
    private long received;
    private long wrong;

    private WordCount(String addr, String application) {
        this.addr = addr;
        this.application = application;
    }

    public static void main(String[] args) throws Exception {
        WordCount count = new WordCount(args[0], args[1]);
        List<String> lines = new ArrayList<>();
        try (var in = new java.io.BufferedReader(new java.io.InputStreamReader(System.in))) {
            in.lines().forEach(lines::add);
        }
        lines.forEach(line -> words(line).forEach(word -> count.want.merge(word, 1L, Long::sum)));
        count.total = count.want.values().stream().mapToLong(Long::longValue).sum();
        AtomicInteger replaced = new AtomicInteger();
        Thread writer = new Thread(() -> count.write(lines), "writer");
        Path state = Files.createDirectories(Path.of(args[2]));
        try (KafkaStreams streams = new KafkaStreams(count.topology(), count.properties(state))) {
            streams.setUncaughtExceptionHandler(e -> {
                System.out.println("a stream thread ended: " + e);
                replaced.incrementAndGet();
                return StreamThreadExceptionResponse.REPLACE_THREAD;
            });
            CountDownLatch running = new CountDownLatch(1);
            streams.setStateListener((now, before) -> {
                if (now == KafkaStreams.State.RUNNING) {
                    running.countDown();
                }
            });
            streams.start();
            running.await();
            System.out.println("running");
            writer.start();
            count.read(Duration.ofSeconds(Long.parseLong(args[3])));
            streams.close(Duration.ofSeconds(20));
        }
        writer.interrupt();
        long different = count.want.entrySet().stream().filter(e -> !e.getValue().equals(count.got.get(e.getKey()))).count();
        System.out.printf("= %d words in %d lines, %d different, %d received, %d wrong, %d final counts wrong, %d threads replaced%n",
            count.total, lines.size(), count.want.size(), count.received, count.wrong, different, replaced.get());
        System.exit(count.wrong == 0 && different == 0 && count.received == count.total ? 0 : 1);
    }

    private static List<String> words(String line) {
        return Arrays.stream(line.toLowerCase().split("\\W+")).filter(word -> !word.isEmpty()).toList();
    }

    private org.apache.kafka.streams.Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream("lines-" + application);
        KTable<String, Long> counts = lines.flatMapValues(WordCount::words).groupBy((key, word) -> word).count();
        counts.toStream().to("counts-" + application, Produced.with(Serdes.String(), Serdes.Long()));
        return builder.build();
    }

    private Properties properties(Path state) {
        Properties props = new Properties();
        props.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        props.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, addr);
        props.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        props.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        props.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        props.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        props.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        props.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        props.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        props.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        props.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        return props;
    }

    // write sends the lines over some fifteen seconds, so that a kill finds work in every stage.
    private void write(List<String> lines) {
        Properties props = new Properties();
        props.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, addr);
        props.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        props.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        int pace = Math.max(1, lines.size() / 150);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(props)) {
            for (int i = 0; i < lines.size(); i++) {
                producer.send(new ProducerRecord<>("lines-" + application, "line-" + i, lines.get(i)), (at, e) -> {
                    if (e != null) {
                        System.out.println("a line was refused: " + e);
                    }
                });
                if (i % pace == 0) {
                    Thread.sleep(100);
                }
            }
            System.out.println("written");
        } catch (InterruptedException e) {
            System.out.println("the writer was interrupted");
        }
    }

    // read follows the output until all increments are there, and three seconds more for
    // those that should not be.
    private void read(Duration limit) {
        Properties props = new Properties();
        props.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, addr);
        props.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        props.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, LongDeserializer.class);
        props.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        props.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        long end = System.nanoTime() + limit.toNanos();
        try (KafkaConsumer<String, Long> consumer = new KafkaConsumer<>(props)) {
            consumer.assign(consumer.partitionsFor("counts-" + application).stream()
                .map(p -> new TopicPartition(p.topic(), p.partition())).toList());
            boolean all = false;
            while (System.nanoTime() < end) {
                consumer.poll(Duration.ofMillis(200)).forEach(this::check);
                if (received >= total && !all) {
                    all = true;
                    end = Math.min(end, System.nanoTime() + Duration.ofSeconds(3).toNanos());
                }
            }
        }
    }

    private void check(ConsumerRecord<String, Long> record) {
        received++;
        long before = got.getOrDefault(record.key(), 0L);
        if (record.value() != before + 1) {
            wrong++;
            System.out.printf("%s: %d after %d at offset %d%n", record.key(), record.value(), before, record.offset());
        }
        got.put(record.key(), record.value());
    }
}
