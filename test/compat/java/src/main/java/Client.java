import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * What an application does with Java's client, in any version from 3.1 on: topics,
 * every codec, headers, groups, transactions, administration.
 *
 * <p>Usage: Client ADDR NAME REPLICAS PROTOCOL..., where NAME begins the names of all
 * topics and groups, and each PROTOCOL (classic, consumer) is one of groups.
 */
public final class Client {
    private interface Body {
        void run() throws Exception;
    }

    private static final int PARTITIONS = 6;
    private static final int COUNT = 600;

    private final String addr;
    private final String name;
    private final short replicas;
    private final Admin admin;
    private int tests;
    private int passed;

    private Client(String addr, String name, short replicas) {
        this.addr = addr;
        this.name = name;
        this.replicas = replicas;
        this.admin = Admin.create(Map.of("bootstrap.servers", addr));
    }

    public static void main(String[] args) {
        Client client = new Client(args[0], args[1], Short.parseShort(args[2]));
        client.all(List.of(args).subList(3, args.length));
        System.out.printf("tests %d passed %d%n", client.tests, client.passed);
        System.exit(client.passed == client.tests ? 0 : 1);
    }

    private void all(List<String> protocols) {
        test("topics are created, and once only", this::topics);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            test("records with keys, headers and nulls, " + codec, () -> codec(codec));
        }
        test("acks=0", this::noAcks);
        for (String acks : List.of("1", "all")) {
            test("acks=" + acks, () -> acks(acks));
        }
        for (String protocol : protocols) {
            test("a group goes on where it stopped, " + protocol, () -> group(protocol));
            test("two members share the partitions, " + protocol, () -> members(protocol));
        }
        test("a group is described, its offsets are changed, it is deleted", this::groupAdministration);
        test("transactions are committed and aborted", this::transactions);
        test("offsets are committed in a transaction", this::copy);
        test("a second producer fences the first", this::fenced);
        test("offsets are found by time", this::listOffsets);
        test("configurations are described and altered", this::configs);
        test("partitions are added", this::partitions);
        test("records are deleted", this::deleteRecords);
        test("the cluster is described", this::cluster);
        test("log directories are described", this::logDirs);
        test("producers and transactions are described", this::producers);
        test("topics are deleted", this::deleteTopics);
    }

    private void test(String what, Body body) {
        tests++;
        try {
            body.run();
            passed++;
            System.out.println("ok " + what);
        } catch (Exception | AssertionError e) {
            System.out.println("FAIL " + what + ": " + e);
            for (StackTraceElement at : e.getStackTrace()) {
                if (at.getClassName().startsWith("Client")) {
                    System.out.println("  at " + at);
                }
            }
        }
    }

    private static void equal(Object want, Object got) {
        if (!want.equals(got)) {
            throw new AssertionError("want " + want + ", got " + got);
        }
    }

    /**
     * eventually asks again for a while: what one node has been told by the controller,
     * another one may learn a moment later, with Apache Kafka's nodes too.
     */
    private static void eventually(Body body) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (true) {
            try {
                body.run();
                return;
            } catch (Exception | AssertionError e) {
                if (System.nanoTime() > end) {
                    throw e;
                }
                Thread.sleep(50);
            }
        }
    }

    private static <T> T get(Future<T> future) throws Exception {
        return future.get(60, TimeUnit.SECONDS);
    }

    private String topic(String suffix) throws Exception {
        String topic = name + "-" + suffix;
        get(admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, replicas))).all());
        return topic;
    }

    private KafkaProducer<String, String> producer(Map<String, Object> more) {
        Properties props = new Properties();
        props.put("bootstrap.servers", addr);
        props.put("key.serializer", StringSerializer.class.getName());
        props.put("value.serializer", StringSerializer.class.getName());
        props.put("linger.ms", 5);
        props.putAll(more);
        return new KafkaProducer<>(props);
    }

    private KafkaConsumer<String, String> consumer(Map<String, Object> more) {
        Properties props = new Properties();
        props.put("bootstrap.servers", addr);
        props.put("key.deserializer", StringDeserializer.class.getName());
        props.put("value.deserializer", StringDeserializer.class.getName());
        props.put("auto.offset.reset", "earliest");
        props.put("enable.auto.commit", false);
        props.putAll(more);
        return new KafkaConsumer<>(props);
    }

    private KafkaConsumer<String, String> member(String group, String protocol) {
        Map<String, Object> more = new HashMap<>(Map.of("group.id", group));
        if (!protocol.equals("classic")) {
            more.put("group.protocol", protocol);
        }
        return consumer(more);
    }

    private static ProducerRecord<String, String> record(String topic, int i) {
        ProducerRecord<String, String> record = new ProducerRecord<>(topic, i % 10 == 9 ? null : "key-" + i % 10, i % 50 == 48 ? null : value(i));
        record.headers().add("number", Integer.toString(i).getBytes(StandardCharsets.UTF_8)).add("null", null).add("number", new byte[] {0, (byte) i});
        return record;
    }

    private static String value(int i) {
        return "message " + i + " " + "ä€𝄞 ".repeat(i % 40);
    }

    private void send(KafkaProducer<String, String> producer, String topic, int from, int to) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int i = from; i < to; i++) {
            sent.add(producer.send(record(topic, i)));
        }
        producer.flush();
        for (Future<RecordMetadata> at : sent) {
            get(at);
        }
    }

    /** poll reads until there are so many records, and then a moment longer. */
    private static List<ConsumerRecord<String, String>> poll(KafkaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> got = new ArrayList<>();
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (got.size() < count && System.nanoTime() < end) {
            consumer.poll(Duration.ofMillis(200)).forEach(got::add);
        }
        consumer.poll(Duration.ofMillis(300)).forEach(got::add);
        return got;
    }

    private static int number(ConsumerRecord<String, String> record) {
        return Integer.parseInt(new String(record.headers().headers("number").iterator().next().value(), StandardCharsets.UTF_8));
    }

    private static List<Integer> numbers(Collection<ConsumerRecord<String, String>> records) {
        return records.stream().map(Client::number).sorted().collect(Collectors.toList());
    }

    private static List<Integer> range(int from, int to) {
        return IntStream.range(from, to).boxed().collect(Collectors.toList());
    }

    /** read is what an assigned consumer finds in the topic. */
    private List<ConsumerRecord<String, String>> read(String topic, int count, String isolation) {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of("isolation.level", isolation))) {
            consumer.assign(consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).collect(Collectors.toList()));
            return poll(consumer, count);
        }
    }

    private void topics() throws Exception {
        String topic = topic("topics");
        try {
            topic("topics");
            throw new AssertionError("the topic was created twice");
        } catch (java.util.concurrent.ExecutionException e) {
            equal(TopicExistsException.class, e.getCause().getClass());
        }
        eventually(() -> {
            TopicDescription description = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
            equal(PARTITIONS, description.partitions().size());
            description.partitions().forEach(p -> equal((int) replicas, p.isr().size()));
            equal(true, get(admin.listTopics().names()).contains(topic));
        });
    }

    private void codec(String codec) throws Exception {
        String topic = topic(codec);
        try (KafkaProducer<String, String> producer = producer(Map.of("compression.type", codec))) {
            send(producer, topic, 0, COUNT);
        }
        List<ConsumerRecord<String, String>> got = read(topic, COUNT, "read_committed");
        equal(range(0, COUNT), numbers(got));
        Map<String, Integer> last = new HashMap<>();
        for (ConsumerRecord<String, String> r : got) {
            int i = number(r);
            equal("key-" + i % 10, i % 10 == 9 ? "key-9" : r.key());
            equal(String.valueOf(i % 50 == 48 ? null : value(i)), String.valueOf(r.value()));
            List<Header> headers = List.of(r.headers().toArray());
            equal(3, headers.size());
            equal("null", headers.get(1).key());
            equal(true, headers.get(1).value() == null);
            equal((byte) i, headers.get(2).value()[1]);
            if (r.key() != null) {
                Integer before = last.put(r.key(), i);
                equal(true, before == null || before < i);
            }
        }
    }

    /**
     * Without acks a node that has not yet learned that it leads drops the records, and
     * nobody hears of it: the topic is one whose leaders have already taken some.
     */
    private void noAcks() throws Exception {
        String topic = name + "-none";
        try (KafkaProducer<String, String> producer = producer(Map.of("acks", "0", "enable.idempotence", false))) {
            send(producer, topic, COUNT, 2 * COUNT);
        }
        equal(range(0, 2 * COUNT), numbers(read(topic, 2 * COUNT, "read_uncommitted")));
    }

    private void acks(String acks) throws Exception {
        String topic = topic("acks-" + acks);
        try (KafkaProducer<String, String> producer = producer(Map.of("acks", acks, "enable.idempotence", acks.equals("all")))) {
            send(producer, topic, 0, COUNT);
        }
        equal(range(0, COUNT), numbers(read(topic, COUNT, "read_uncommitted")));
    }

    private void group(String protocol) throws Exception {
        String topic = topic("group-" + protocol);
        String group = name + "-group-" + protocol;
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            send(producer, topic, 0, COUNT);
            List<ConsumerRecord<String, String>> first;
            try (KafkaConsumer<String, String> consumer = member(group, protocol)) {
                consumer.subscribe(List.of(topic));
                first = poll(consumer, COUNT);
                consumer.commitSync();
                Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(consumer.assignment());
                equal(PARTITIONS, committed.size());
            }
            equal(range(0, COUNT), numbers(first));
            send(producer, topic, COUNT, COUNT + 100);
        }
        try (KafkaConsumer<String, String> consumer = member(group, protocol)) {
            consumer.subscribe(List.of(topic));
            equal(range(COUNT, COUNT + 100), numbers(poll(consumer, 100)));
            consumer.commitAsync();
        }
    }

    private void members(String protocol) throws Exception {
        String topic = topic("members-" + protocol);
        String group = name + "-members-" + protocol;
        try (KafkaConsumer<String, String> one = member(group, protocol); KafkaConsumer<String, String> two = member(group, protocol)) {
            List<TopicPartition> lost = new ArrayList<>();
            one.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    lost.addAll(partitions);
                }

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                }
            });
            await(() -> one.assignment().size() == PARTITIONS, one);
            two.subscribe(List.of(topic));
            await(() -> one.assignment().size() == PARTITIONS / 2 && two.assignment().size() == PARTITIONS / 2, one, two);
            equal(false, lost.isEmpty());
            equal(true, Collections.disjoint(one.assignment(), two.assignment()));
            two.unsubscribe();
            await(() -> one.assignment().size() == PARTITIONS, one);
        }
    }

    private interface Condition {
        boolean holds();
    }

    @SafeVarargs
    private static void await(Condition condition, KafkaConsumer<String, String>... consumers) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!condition.holds()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("the members have not come to rest in a minute");
            }
            for (KafkaConsumer<String, String> consumer : consumers) {
                consumer.poll(Duration.ofMillis(100));
            }
        }
    }

    private void groupAdministration() throws Exception {
        String group = name + "-group-classic";
        String topic = group;
        equal(true, get(admin.listConsumerGroups().all()).stream().anyMatch(g -> g.groupId().equals(group)));
        ConsumerGroupDescription description = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
        equal(0, description.members().size());
        equal("Empty", description.state().toString());
        TopicPartition p = new TopicPartition(topic, 2);
        get(admin.alterConsumerGroupOffsets(group, Map.of(p, new OffsetAndMetadata(7, "seven"))).all());
        Map<TopicPartition, OffsetAndMetadata> offsets = get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        equal(PARTITIONS, offsets.size());
        equal(7L, offsets.get(p).offset());
        equal("seven", offsets.get(p).metadata());
        get(admin.deleteConsumerGroupOffsets(group, Set.of(p)).all());
        equal(PARTITIONS - 1, get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).size());
        get(admin.deleteConsumerGroups(List.of(group)).all());
        equal(false, get(admin.listConsumerGroups().all()).stream().anyMatch(g -> g.groupId().equals(group)));
    }

    private void transactions() throws Exception {
        String topic = topic("transactions");
        try (KafkaProducer<String, String> producer = producer(Map.of("transactional.id", name + "-transactions"))) {
            producer.initTransactions();
            for (int t = 0; t < 6; t++) {
                producer.beginTransaction();
                send(producer, topic, t * 100, (t + 1) * 100);
                if (t % 2 == 0) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
        List<Integer> want = range(0, 600).stream().filter(i -> i / 100 % 2 == 0).collect(Collectors.toList());
        equal(want, numbers(read(topic, 300, "read_committed")));
        equal(range(0, 600), numbers(read(topic, 600, "read_uncommitted")));
    }

    private void copy() throws Exception {
        String from = topic("copy-from");
        String to = topic("copy-to");
        String group = name + "-copy";
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            send(producer, from, 0, COUNT);
        }
        for (int copied = 0, life = 1; copied < COUNT; life++) {
            try (KafkaConsumer<String, String> in = consumer(Map.of("group.id", group, "max.poll.records", 50));
                KafkaProducer<String, String> out = producer(Map.of("transactional.id", name + "-copy"))) {
                out.initTransactions();
                in.subscribe(List.of(from));
                long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
                while (copied < Math.min(COUNT, life * 200)) {
                    equal(true, System.nanoTime() < end);
                    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                    out.beginTransaction();
                    for (ConsumerRecord<String, String> r : in.poll(Duration.ofMillis(200))) {
                        out.send(new ProducerRecord<>(to, null, r.key(), r.value(), r.headers()));
                        offsets.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                        copied++;
                    }
                    out.sendOffsetsToTransaction(offsets, in.groupMetadata());
                    out.commitTransaction();
                }
            }
        }
        equal(range(0, COUNT), numbers(read(to, COUNT, "read_committed")));
    }

    private void fenced() throws Exception {
        String topic = topic("fenced");
        Map<String, Object> id = Map.of("transactional.id", name + "-fenced");
        try (KafkaProducer<String, String> one = producer(id); KafkaProducer<String, String> two = producer(id)) {
            one.initTransactions();
            one.beginTransaction();
            send(one, topic, 0, 10);
            two.initTransactions();
            two.beginTransaction();
            send(two, topic, 10, 20);
            two.commitTransaction();
            try {
                one.commitTransaction();
                throw new AssertionError("the first producer committed");
            } catch (ProducerFencedException | org.apache.kafka.common.errors.InvalidProducerEpochException e) {
                equal(range(10, 20), numbers(read(topic, 10, "read_committed")));
            }
        }
    }

    private void listOffsets() throws Exception {
        String topic = topic("times");
        TopicPartition p = new TopicPartition(topic, 3);
        long start = System.currentTimeMillis() - 3_600_000; // older ones might be deleted at any time
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            for (int i = 0; i < 100; i++) {
                producer.send(new ProducerRecord<>(topic, 3, start + i * 1000, "key", "value"));
            }
            producer.flush();
        }
        equal(0L, offset(p, OffsetSpec.earliest()).offset());
        equal(100L, offset(p, OffsetSpec.latest()).offset());
        equal(50L, offset(p, OffsetSpec.forTimestamp(start + 49_001)).offset());
        equal(99L, offset(p, OffsetSpec.maxTimestamp()).offset());
        equal(-1L, offset(p, OffsetSpec.forTimestamp(start + 1_000_000)).offset());
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            equal(50L, consumer.offsetsForTimes(Map.of(p, start + 50_000)).get(p).offset());
            equal(100L, consumer.endOffsets(List.of(p)).get(p));
            consumer.assign(List.of(p));
            consumer.seek(p, 90);
            equal(10, poll0(consumer));
        }
    }

    private static int poll0(KafkaConsumer<String, String> consumer) {
        int n = 0;
        for (int i = 0; i < 50 && n < 10; i++) {
            n += consumer.poll(Duration.ofMillis(200)).count();
        }
        return n;
    }

    private ListOffsetsResultInfo offset(TopicPartition p, OffsetSpec spec) throws Exception {
        return get(admin.listOffsets(Map.of(p, spec)).partitionResult(p));
    }

    private void configs() throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic("configs"));
        Collection<AlterConfigOp> ops = List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "123456"), AlterConfigOp.OpType.SET),
            new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND));
        get(admin.incrementalAlterConfigs(Map.of(resource, ops)).all());
        eventually(() -> {
            Config config = get(admin.describeConfigs(List.of(resource)).all()).get(resource);
            equal("123456", config.get("retention.ms").value());
            equal("delete,compact", config.get("cleanup.policy").value());
            equal(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, config.get("retention.ms").source());
        });
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE)))).all());
        eventually(() -> equal(ConfigEntry.ConfigSource.DEFAULT_CONFIG,
            get(admin.describeConfigs(List.of(resource)).all()).get(resource).get("retention.ms").source()));
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
        equal(true, get(admin.describeConfigs(List.of(broker)).all()).get(broker).entries().size() > 100);
    }

    private void partitions() throws Exception {
        String topic = topic("more");
        get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(PARTITIONS + 2))).all());
        eventually(() -> equal(PARTITIONS + 2, get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size()));
    }

    private void deleteRecords() throws Exception {
        String topic = name + "-times";
        TopicPartition p = new TopicPartition(topic, 3);
        equal(40L, get(admin.deleteRecords(Map.of(p, RecordsToDelete.beforeOffset(40))).lowWatermarks().get(p)).lowWatermark());
        equal(40L, offset(p, OffsetSpec.earliest()).offset());
        equal(60L, read(topic, 60, "read_uncommitted").stream().filter(r -> r.offset() >= 40).count());
    }

    private void cluster() throws Exception {
        equal((int) replicas, get(admin.describeCluster().nodes()).size());
        equal(22, get(admin.describeCluster().clusterId()).length());
        equal(true, get(admin.describeFeatures().featureMetadata()).finalizedFeatures().containsKey("metadata.version"));
        equal(0, get(admin.listPartitionReassignments().reassignments()).size());
    }

    private void logDirs() throws Exception {
        Map<String, Long> sizes = new TreeMap<>();
        get(admin.describeLogDirs(List.of(1)).allDescriptions()).get(1).values().forEach(dir ->
            dir.replicaInfos().forEach((p, info) -> sizes.merge(p.topic(), info.size(), Long::sum)));
        equal(true, sizes.get(name + "-zstd") > 0 && sizes.get(name + "-zstd") < sizes.get(name + "-none"));
    }

    private void producers() throws Exception {
        TopicPartition p = new TopicPartition(name + "-transactions", 0);
        equal(1, get(admin.describeProducers(List.of(p)).all()).get(p).activeProducers().size());
        String id = name + "-transactions";
        equal(true, get(admin.listTransactions().all()).stream().anyMatch(t -> t.transactionalId().equals(id)));
        equal("CompleteAbort", get(admin.describeTransactions(List.of(id)).all()).get(id).state().toString());
    }

    private void deleteTopics() throws Exception {
        List<String> topics = List.of(name + "-topics", name + "-more");
        get(admin.deleteTopics(topics).all());
        eventually(() -> equal(true, Collections.disjoint(get(admin.listTopics().names()), topics)));
    }
}
