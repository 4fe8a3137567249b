"""confluent-kafka, which is librdkafka: topics, every codec, groups of both protocols,
transactions, administration. Usage: confluent.py ADDR NAME REPLICAS."""

import sys
import time

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType)
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicCollection

from exercise import CODECS, COUNT, PARTITIONS, START, Tests, equal, eventually, exactly, headers, key, number, partition, until, value

addr, name, replicas = sys.argv[1], sys.argv[2], int(sys.argv[3])
admin = AdminClient({"bootstrap.servers": addr})


def done(futures):
    return {k: f.result(60) for k, f in futures.items()}


def topic(suffix):
    t = name + "-" + suffix
    done(admin.create_topics([NewTopic(t, PARTITIONS, replicas)]))
    return t


def producer(**more):
    return Producer({"bootstrap.servers": addr, "linger.ms": 5, **{k.replace("_", "."): v for k, v in more.items()}})


def send(p, t, numbers):
    refused = []
    for i in numbers:
        at = {} if key(i) else {"partition": partition(i)}
        p.produce(t, value(i), key(i), headers=headers(i), on_delivery=lambda e, _: e and refused.append(e), **at)
    equal(0, p.flush(60))
    equal([], refused)


def consumer(group, **more):
    return Consumer({"bootstrap.servers": addr, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                     **{k.replace("_", "."): v for k, v in more.items()}})


def poll(c, count):
    """So many records, and what comes in a moment after them."""
    got, end = [], time.monotonic() + 60
    while len(got) < count and time.monotonic() < end:
        got += c.consume(count, 0.3)
    got += c.consume(count, 0.5)
    for m in got:
        assert not m.error(), m.error()
    return [(m.partition(), m.offset(), m.key(), m.value(), m.headers()) for m in got]


def read(t, count, isolation="read_committed"):
    c = consumer(name + "-unused", isolation_level=isolation)
    c.assign([TopicPartition(t, p, 0) for p in range(PARTITIONS)])
    got = poll(c, count)
    c.close()
    return got


def topics():
    t = topic("topics")
    try:
        topic("topics")
        raise AssertionError("the topic was created twice")
    except KafkaException as e:
        equal("TOPIC_ALREADY_EXISTS", e.args[0].name())

    def described():
        equal(PARTITIONS, len(admin.list_topics(timeout=60).topics[t].partitions))
        description = admin.describe_topics(TopicCollection([t]))[t].result(60)
        equal([replicas] * PARTITIONS, [len(p.isr) for p in description.partitions])

    eventually(described)


def codec(c):
    t = topic(c)
    send(producer(compression_type=c), t, range(COUNT))
    exactly(read(t, COUNT), range(COUNT))


def no_acks():
    """Without acks a node that has not yet learned that it leads drops the records, and
    nobody hears of it: the topic is one whose leaders have already taken some."""
    t = name + "-none"
    send(producer(acks=0), t, range(COUNT, 2 * COUNT))
    exactly(read(t, 2 * COUNT), range(2 * COUNT))


def acks(a):
    t = topic("acks%s" % a)
    send(producer(acks=a), t, range(COUNT))
    exactly(read(t, COUNT), range(COUNT))


def idempotent():
    t = topic("idempotent")
    send(producer(enable_idempotence=True), t, range(COUNT))
    exactly(read(t, COUNT), range(COUNT))


def group(protocol):
    t = topic("group-" + protocol)
    g, p = t, producer()
    send(p, t, range(COUNT))
    c = consumer(g, group_protocol=protocol)
    c.subscribe([t])
    exactly(poll(c, COUNT), range(COUNT))
    c.commit(asynchronous=False)
    c.close()
    send(p, t, range(COUNT, COUNT + 100))
    c = consumer(g, group_protocol=protocol)
    c.subscribe([t])
    exactly(poll(c, 100), range(COUNT, COUNT + 100))
    c.commit(asynchronous=False)
    c.close()


def members(protocol):
    t = topic("members-" + protocol)
    cs = [consumer(t, group_protocol=protocol) for _ in range(2)]
    for c in cs:
        c.subscribe([t])

    def shared():
        for c in cs:
            c.poll(0.1)
        return [len(c.assignment()) for c in cs] == [PARTITIONS / 2] * 2

    until(shared, "both members have partitions")
    cs[0].close()

    def alone():
        cs[1].poll(0.1)
        return len(cs[1].assignment()) == PARTITIONS

    until(alone, "the last member has them all")
    cs[1].close()


def group_administration():
    g = name + "-group-classic"
    assert g in [x.group_id for x in admin.list_consumer_groups().result(60).valid]
    description = admin.describe_consumer_groups([g])[g].result(60)
    equal((ConsumerGroupState.EMPTY, 0), (description.state, len(description.members)))
    altered = ConsumerGroupTopicPartitions(g, [TopicPartition(g, 2, 7)])
    admin.alter_consumer_group_offsets([altered])[g].result(60)
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(g)])[g].result(60).topic_partitions
    equal(PARTITIONS, len(offsets))
    equal([7], [o.offset for o in offsets if o.partition == 2])
    done(admin.delete_consumer_groups([g]))
    assert g not in [x.group_id for x in admin.list_consumer_groups().result(60).valid]


def transactions():
    t = topic("transactions")
    p = producer(transactional_id=t)
    p.init_transactions(60)
    for n in range(6):
        p.begin_transaction()
        send(p, t, range(n * 100, n * 100 + 100))
        if n % 2 == 0:
            p.commit_transaction(60)
        else:
            p.abort_transaction(60)
    exactly(read(t, 300), [i for i in range(600) if i // 100 % 2 == 0])
    exactly(read(t, 600, "read_uncommitted"), range(600))


def copy():
    """In three lives, each of which goes on where the offsets in transactions stopped."""
    source, copied, count = topic("copy-from"), topic("copy-to"), 0
    send(producer(), source, range(COUNT))
    for life in range(3):
        c, p = consumer(source), producer(transactional_id=source)
        p.init_transactions(60)
        c.subscribe([source])
        end = time.monotonic() + 60
        while count < 200 * (life + 1):
            assert time.monotonic() < end, "%d records copied" % count
            p.begin_transaction()
            for m in c.consume(50, 0.5):
                assert not m.error(), m.error()
                p.produce(copied, m.value(), m.key(), headers=m.headers())
                count += 1
            p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 60)
            p.commit_transaction(60)
        c.close()
    got = read(copied, COUNT)
    equal(list(range(COUNT)), sorted(number(r[4]) for r in got))


def fenced():
    t = topic("fenced")
    one, two = producer(transactional_id=t), producer(transactional_id=t)
    one.init_transactions(60)
    one.begin_transaction()
    send(one, t, range(10))
    two.init_transactions(60)
    two.begin_transaction()
    send(two, t, range(10, 20))
    two.commit_transaction(60)
    try:
        one.commit_transaction(60)
        raise AssertionError("the first producer committed")
    except KafkaException as e:
        assert e.args[0].fatal(), e
    exactly(read(t, 10), range(10, 20))


def list_offsets():
    t = topic("times")
    p = producer()
    for i in range(100):
        p.produce(t, b"value", partition=3, timestamp=START + i * 1000)
    equal(0, p.flush(60))
    at = TopicPartition(t, 3)

    def offset(spec):
        return admin.list_offsets({at: spec}, isolation_level=IsolationLevel.READ_COMMITTED)[at].result(60).offset

    equal((0, 100, 99), (offset(OffsetSpec.earliest()), offset(OffsetSpec.latest()), offset(OffsetSpec.max_timestamp())))
    equal(50, offset(OffsetSpec.for_timestamp(START + 49_001)))
    c = consumer(name + "-unused")
    equal((0, 100), c.get_watermark_offsets(at, 60))
    equal([50], [o.offset for o in c.offsets_for_times([TopicPartition(t, 3, START + 50_000)], 60)])
    c.close()
    equal(40, done(admin.delete_records([TopicPartition(t, 3, 40)]))[at].low_watermark)
    equal(40, offset(OffsetSpec.earliest()))


def configs():
    t = topic("configs")
    r = ConfigResource(ResourceType.TOPIC, t, incremental_configs=[ConfigEntry("retention.ms", "123456", incremental_operation=AlterConfigOpType.SET)])
    done(admin.incremental_alter_configs([r]))

    def retention():
        return list(done(admin.describe_configs([ConfigResource(ResourceType.TOPIC, t)])).values())[0]["retention.ms"].value

    eventually(lambda: equal("123456", retention()))
    done(admin.create_partitions([NewPartitions(t, PARTITIONS + 2)]))
    eventually(lambda: equal(PARTITIONS + 2, len(admin.describe_topics(TopicCollection([t]))[t].result(60).partitions)))
    equal(replicas, len(admin.describe_cluster().result(60).nodes))


def delete_topics():
    done(admin.delete_topics([name + "-topics", name + "-configs"]))
    until(lambda: name + "-topics" not in admin.list_topics(timeout=60).topics, "the topic is gone")


tests = Tests()
tests.run("topics are created, and once only", topics)
for c in CODECS:
    tests.run("records with keys, headers and nulls, " + c, codec, c)
tests.run("acks=0", no_acks)
for a in (1, -1):
    tests.run("acks=%d" % a, acks, a)
tests.run("an idempotent producer", idempotent)
for protocol in ("classic", "consumer"):
    tests.run("a group goes on where it stopped, " + protocol, group, protocol)
    tests.run("two members share the partitions, " + protocol, members, protocol)
tests.run("a group is described, its offsets are changed, it is deleted", group_administration)
tests.run("transactions are committed and aborted", transactions)
tests.run("offsets are committed in a transaction", copy)
tests.run("a second producer fences the first", fenced)
tests.run("offsets are found by time, records are deleted", list_offsets)
tests.run("configurations, partitions and the cluster", configs)
tests.run("topics are deleted", delete_topics)
tests.done()
