package gregor;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.KafkaListenerEndpointRegistry;
import org.springframework.kafka.config.TopicBuilder;
import org.springframework.kafka.core.KafkaAdmin;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.support.Acknowledgment;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.messaging.handler.annotation.Payload;
import org.springframework.messaging.support.MessageBuilder;

/**
 * A Spring Boot application: topics from beans, KafkaTemplate with a message's headers,
 * and a KafkaListener that reads them, with and without transactions.
 *
 * <p>Usage: SpringClient ADDR NAME REPLICAS.
 */
@SpringBootApplication
public class SpringClient {
    private static final int COUNT = 300;

    /** Received is what the listener saw of a message. */
    private record Received(String key, String value, String header, int partition, long offset) {
    }

    private final BlockingQueue<Received> received = new LinkedBlockingQueue<>();
    private final BlockingQueue<ConsumerRecord<String, String>> batch = new LinkedBlockingQueue<>();
    private int tests;
    private int passed;

    private interface Body {
        void run() throws Exception;
    }

    @Bean
    NewTopic messages(@Value("${gregor.name}") String name, @Value("${gregor.replicas}") int replicas) {
        return TopicBuilder.name(name + "-messages").partitions(6).replicas(replicas).config("retention.ms", "123456").build();
    }

    @Bean
    NewTopic transactional(@Value("${gregor.name}") String name, @Value("${gregor.replicas}") int replicas) {
        return TopicBuilder.name(name + "-transactional").partitions(6).replicas(replicas).build();
    }

    @KafkaListener(id = "one", topics = "${gregor.name}-messages", groupId = "${gregor.name}-group", concurrency = "2")
    void listen(@Payload String value, @Header(KafkaHeaders.RECEIVED_KEY) String key, @Header("source") String source,
        @Header(KafkaHeaders.RECEIVED_PARTITION) int partition, @Header(KafkaHeaders.OFFSET) long offset, Acknowledgment done) {
        received.add(new Received(key, value, source, partition, offset));
        done.acknowledge();
    }

    @KafkaListener(topics = "${gregor.name}-transactional", groupId = "${gregor.name}-transactional", batch = "true")
    void listen(List<ConsumerRecord<String, String>> records, Acknowledgment done) {
        batch.addAll(records);
        done.acknowledge();
    }

    public static void main(String[] args) {
        Map<String, Object> properties = new TreeMap<>(Map.of("gregor.name", args[1], "gregor.replicas", args[2], "spring.kafka.bootstrap-servers", args[0],
            "spring.kafka.consumer.auto-offset-reset", "earliest", "spring.kafka.consumer.isolation-level", "read_committed",
            "spring.kafka.listener.ack-mode", "manual", "spring.kafka.producer.compression-type", "lz4", "logging.level.root", "error",
            "spring.main.banner-mode", "off"));
        properties.put("spring.kafka.admin.fail-fast", "true");
        try (ConfigurableApplicationContext context = new SpringApplicationBuilder(SpringClient.class).web(WebApplicationType.NONE).properties(properties).run()) {
            SpringClient client = context.getBean(SpringClient.class);
            client.all(context, args[1]);
            System.out.printf("tests %d passed %d%n", client.tests, client.passed);
            System.exit(client.passed == client.tests ? 0 : 1);
        }
    }

    private void all(ConfigurableApplicationContext context, String name) {
        @SuppressWarnings("unchecked")
        KafkaTemplate<String, String> template = context.getBean(KafkaTemplate.class);
        KafkaListenerEndpointRegistry listeners = context.getBean(KafkaListenerEndpointRegistry.class);
        test("the topics of the beans are there", () -> {
            TopicDescription topic = context.getBean(KafkaAdmin.class).describeTopics(name + "-messages").get(name + "-messages");
            equal(6, topic.partitions().size());
        });
        test("KafkaTemplate sends messages with a header, KafkaListener reads them", () -> {
            for (int i = 0; i < COUNT; i++) {
                template.send(MessageBuilder.withPayload("message " + i).setHeader(KafkaHeaders.TOPIC, name + "-messages")
                    .setHeader(KafkaHeaders.KEY, "key-" + i).setHeader("source", "spring " + i).build()).get(60, TimeUnit.SECONDS);
            }
            expect(0, COUNT);
        });
        test("a listener that was stopped goes on where it stopped", () -> {
            listeners.getListenerContainer("one").stop();
            for (int i = COUNT; i < 2 * COUNT; i++) {
                ProducerRecord<String, String> record = new ProducerRecord<>(name + "-messages", "key-" + i, "message " + i);
                record.headers().add("source", ("spring " + i).getBytes(StandardCharsets.UTF_8));
                template.send(record);
            }
            template.flush();
            equal(0, received.size());
            listeners.getListenerContainer("one").start();
            expect(COUNT, 2 * COUNT);
        });
        test("transactions are committed and aborted", () -> {
            KafkaTemplate<String, String> transactions = new KafkaTemplate<>(template.getProducerFactory(),
                Map.of("transactional.id", name + "-tx", "enable.idempotence", true, "acks", "all"));
            ((org.springframework.kafka.core.DefaultKafkaProducerFactory<String, String>) transactions.getProducerFactory()).setTransactionIdPrefix(name + "-tx-");
            for (int t = 0; t < 4; t++) {
                int number = t;
                try {
                    transactions.executeInTransaction(operations -> {
                        for (int i = 0; i < 50; i++) {
                            operations.send(name + "-transactional", "key-" + i, "transaction " + number);
                        }
                        operations.flush();
                        if (number % 2 == 1) {
                            throw new IllegalStateException("aborted on purpose");
                        }
                        return null;
                    });
                } catch (IllegalStateException e) {
                    equal(1, number % 2);
                }
            }
            Map<String, Integer> counts = new TreeMap<>();
            for (ConsumerRecord<String, String> r = batch.poll(60, TimeUnit.SECONDS); r != null; r = batch.poll(1, TimeUnit.SECONDS)) {
                counts.merge(r.value(), 1, Integer::sum);
            }
            equal(Map.of("transaction 0", 50, "transaction 2", 50), counts);
        });
    }

    /** expect reads the messages from to to-1, each once, and nothing else. */
    private void expect(int from, int to) throws InterruptedException {
        Map<String, String> got = new TreeMap<>();
        Map<String, String> want = new TreeMap<>();
        for (int i = from; i < to; i++) {
            want.put("key-" + i, "message " + i + " spring " + i);
            Received r = received.poll(60, TimeUnit.SECONDS);
            if (r == null) {
                throw new AssertionError("only " + (i - from) + " messages came");
            }
            got.put(r.key(), r.value() + " " + r.header());
        }
        equal(want, got);
        Thread.sleep(500);
        equal(0, received.size());
    }

    private void test(String what, Body body) {
        tests++;
        try {
            body.run();
            passed++;
            System.out.println("ok " + what);
        } catch (Exception | AssertionError e) {
            System.out.println("FAIL " + what + ": " + e);
            e.printStackTrace();
        }
    }

    private static void equal(Object want, Object got) {
        if (!want.equals(got)) {
            throw new AssertionError("want " + want + ", got " + got);
        }
    }
}
