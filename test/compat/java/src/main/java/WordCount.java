import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;

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
 * The word count of Kafka Streams, and what checks it.
 *
 * <p>Usage: WordCount app ADDR APPLICATION STATE_DIR GUARANTEE runs one instance of the
 * application until it is killed. Nothing is cached, so it writes every single
 * increment.
 *
 * <p>Usage: WordCount check ADDR APPLICATION WRITE_SECONDS LIMIT_SECONDS, with the
 * lines on standard input, writes them, one a record, with an idempotent producer over
 * WRITE_SECONDS. Each word's counts in the output topic, read with read_committed, must
 * be 1, 2, 3 ... up to how often the word is in the lines.
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
        WordCount count = new WordCount(args[1], args[2]);
        if (args[0].equals("app")) {
            count.run(Files.createDirectories(Path.of(args[3])), args[4]);
        } else {
            System.exit(count.verify(Long.parseLong(args[3]), Duration.ofSeconds(Long.parseLong(args[4]))) ? 0 : 1);
        }
    }

    private void run(Path state, String guarantee) {
        KafkaStreams streams = new KafkaStreams(topology(), properties(state, guarantee));
        streams.setUncaughtExceptionHandler(e -> {
            System.out.println("a stream thread ended: " + e);
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                System.out.println("running");
            }
        });
        streams.start();
    }

    private boolean verify(long seconds, Duration limit) throws InterruptedException {
        List<String> lines = new java.io.BufferedReader(new java.io.InputStreamReader(System.in)).lines().toList();
        lines.forEach(line -> words(line).forEach(word -> want.merge(word, 1L, Long::sum)));
        total = want.values().stream().mapToLong(Long::longValue).sum();
        Thread writer = new Thread(() -> write(lines, seconds), "writer");
        writer.start();
        read(limit);
        writer.interrupt();
        writer.join();
        long different = want.entrySet().stream().filter(e -> !e.getValue().equals(got.get(e.getKey()))).count();
        System.out.printf("= %d words in %d lines, %d different, %d received, %d wrong, %d final counts wrong%n",
            total, lines.size(), want.size(), received, wrong, different);
        return wrong == 0 && different == 0 && received == total;
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

    private Properties properties(Path state, String guarantee) {
        Properties props = new Properties();
        props.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        props.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, addr);
        props.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        props.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        props.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        props.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        props.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        props.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        props.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        props.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, Integer.getInteger("replicas", 1));
        props.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        // The shortest session that a broker allows by default: a killed instance is missed soon.
        props.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 6000);
        props.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 1000);
        return props;
    }

    // write sends the lines over some seconds, so that a kill finds work in every stage.
    private void write(List<String> lines, long seconds) {
        Properties props = new Properties();
        props.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, addr);
        props.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        props.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        int pace = Math.max(1, (int) (lines.size() / (10 * seconds)));
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
