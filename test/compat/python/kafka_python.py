"""kafka-python: topics, every codec, groups, transactions, administration.
Usage: kafka_python.py ADDR NAME REPLICAS."""

import logging
import sys
import threading
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, NewTopic, OffsetSpec
from kafka.errors import KafkaError, TopicAlreadyExistsError

from exercise import CODECS, COUNT, PARTITIONS, START, Tests, equal, eventually, exactly, headers, key, number, partition, until, value

addr, name, replicas = sys.argv[1], sys.argv[2], int(sys.argv[3])
servers = addr.split(",")
# Kept when a test fails: what a member of a group did.
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(threadName)s %(name)s %(levelname)s %(message)s")
logging.getLogger("kafka.coordinator").setLevel(logging.DEBUG)
admin = KafkaAdminClient(bootstrap_servers=servers)


def topic(suffix):
    t = name + "-" + suffix
    admin.create_topics([NewTopic(t, PARTITIONS, replicas)])
    return t


def producer(**more):
    return KafkaProducer(bootstrap_servers=servers, linger_ms=5, **more)


def send(p, t, numbers):
    sent = [p.send(t, value(i), key(i), headers=headers(i), partition=partition(i)) for i in numbers]
    p.flush(60)
    for s in sent:
        s.get(60)


def send_all(t, numbers, **more):
    p = producer(**more)
    send(p, t, numbers)
    p.close()


def consumer(*topics, **more):
    return KafkaConsumer(*topics, bootstrap_servers=servers, auto_offset_reset="earliest", enable_auto_commit=False, **more)


def poll(c, count):
    """So many records, and what comes in a moment after them. A poll whose time is up when
    the answer to its SyncGroup comes drops the assignment, and the client neither fetches
    nor sends heartbeats any more: the time of one is therefore long."""
    got, end = [], time.monotonic() + 60
    while len(got) < count and time.monotonic() < end:
        got += [r for rs in c.poll(20_000).values() for r in rs]
    got += [r for rs in c.poll(500).values() for r in rs]
    return [(r.partition, r.offset, r.key, r.value, r.headers) for r in got]


def read(t, count, isolation="read_committed"):
    c = consumer(isolation_level=isolation)
    c.assign([TopicPartition(t, p) for p in range(PARTITIONS)])
    got = poll(c, count)
    c.close()
    return got


def topics():
    t = topic("topics")
    try:
        topic("topics")
        raise AssertionError("the topic was created twice")
    except TopicAlreadyExistsError:
        pass
    eventually(lambda: equal([replicas] * PARTITIONS, [len(p["isr_nodes"]) for p in admin.describe_topics([t])[0]["partitions"]]))
    until(lambda: t in admin.list_topics(), "the topic is listed")


def codec(c):
    t = topic(c)
    send_all(t, range(COUNT), compression_type=None if c == "none" else c)
    exactly(read(t, COUNT), range(COUNT))


def no_acks():
    """Without acks a node that has not yet learned that it leads drops the records, and
    nobody hears of it: the topic is one whose leaders have already taken some."""
    t = name + "-none"
    send_all(t, range(COUNT, 2 * COUNT), acks=0, enable_idempotence=False)
    exactly(read(t, 2 * COUNT), range(2 * COUNT))


def acks(a):
    t = topic("acks-%s" % a)
    send_all(t, range(COUNT), acks=a, enable_idempotence=a == "all")
    exactly(read(t, COUNT), range(COUNT))


def group():
    t = topic("group")
    send_all(t, range(COUNT))
    c = consumer(t, group_id=t)
    exactly(poll(c, COUNT), range(COUNT))
    c.commit()
    c.close()
    send_all(t, range(COUNT, COUNT + 100))
    c = consumer(t, group_id=t)
    exactly(poll(c, 100), range(COUNT, COUNT + 100))
    c.commit()
    c.close()


def members():
    """Each member has a thread, as it has an application's: a poll that ends while its
    member joins leaves the join to the next poll, and members that wait for each other's
    polls may then never meet."""
    t = topic("members")
    sizes, leave = [0, 0], [threading.Event(), threading.Event()]

    def member(i):
        c = consumer(t, group_id=t)
        while not leave[i].is_set():
            c.poll(5000)
            sizes[i] = len(c.assignment())
        c.close()

    threads = [threading.Thread(target=member, args=(i,), daemon=True) for i in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: sizes == [PARTITIONS / 2] * 2, "both members have partitions")
    equal(2, len(admin.describe_groups([t])[t]["members"]))
    leave[0].set()
    until(lambda: sizes[1] == PARTITIONS, "the last member has them all")
    leave[1].set()
    for thread in threads:
        thread.join(30)


def group_administration():
    g = name + "-group"
    assert g in [x["group_id"] for x in admin.list_groups()]
    equal(0, len(admin.describe_groups([g])[g]["members"]))
    at = TopicPartition(g, 2)
    admin.alter_group_offsets(g, {at: OffsetAndMetadata(7, "seven", -1)})
    offsets = admin.list_group_offsets({g: None})[g]
    equal((PARTITIONS, 7), (len(offsets), offsets[at].offset))
    admin.delete_group_offsets(g, [at])
    equal(PARTITIONS - 1, len(admin.list_group_offsets({g: None})[g]))
    admin.delete_groups([g])
    assert g not in [x["group_id"] for x in admin.list_groups()]


def transactions():
    t = topic("transactions")
    p = producer(transactional_id=t)
    p.init_transactions()
    for n in range(6):
        p.begin_transaction()
        send(p, t, range(n * 100, n * 100 + 100))
        if n % 2 == 0:
            p.commit_transaction()
        else:
            p.abort_transaction()
    p.close()
    exactly(read(t, 300), [i for i in range(600) if i // 100 % 2 == 0])
    exactly(read(t, 600, "read_uncommitted"), range(600))
    equal("CompleteAbort", str(admin.describe_transactions([t])[t].state.value))


def copy():
    """In three lives, each of which goes on where the offsets in transactions stopped."""
    source, copied, count = topic("copy-from"), topic("copy-to"), 0
    send_all(source, range(COUNT))
    for life in range(3):
        c, p = consumer(source, group_id=source, max_poll_records=50), producer(transactional_id=source)
        p.init_transactions()
        end = time.monotonic() + 60
        while count < 200 * (life + 1):
            assert time.monotonic() < end, "%d records copied" % count
            records = [r for rs in c.poll(20_000).values() for r in rs]
            if not records:
                continue
            p.begin_transaction()
            for r in records:
                p.send(copied, r.value, r.key, headers=r.headers)
                count += 1
            p.send_offsets_to_transaction({at: OffsetAndMetadata(c.position(at), "", -1) for at in c.assignment()}, c.group_metadata())
            p.commit_transaction()
        c.close()
        p.close()
    equal(list(range(COUNT)), sorted(number(r[4]) for r in read(copied, COUNT)))


def fenced():
    t = topic("fenced")
    one, two = producer(transactional_id=t), producer(transactional_id=t)
    one.init_transactions()
    one.begin_transaction()
    send(one, t, range(10))
    two.init_transactions()
    two.begin_transaction()
    send(two, t, range(10, 20))
    two.commit_transaction()
    try:
        one.commit_transaction()
        raise AssertionError("the first producer committed")
    except KafkaError:
        pass
    two.close()
    one.close(1)
    exactly(read(t, 10), range(10, 20))


def list_offsets():
    t = topic("times")
    p = producer()
    for i in range(100):
        p.send(t, b"value", partition=3, timestamp_ms=START + i * 1000)
    p.flush(60)
    p.close()
    at = TopicPartition(t, 3)

    def offset(spec):
        return admin.list_partition_offsets({at: spec})[at].offset

    equal((0, 100, 99), (offset(OffsetSpec.EARLIEST), offset(OffsetSpec.LATEST), offset(OffsetSpec.MAX_TIMESTAMP)))
    equal(50, offset(START + 49_001))
    c = consumer()
    equal(({at: 0}, {at: 100}), (c.beginning_offsets([at]), c.end_offsets([at])))
    equal(50, c.offsets_for_times({at: START + 50_000})[at].offset)
    c.close()
    equal(40, admin.delete_records({at: 40})[at]["low_watermark"])
    equal(40, offset(OffsetSpec.EARLIEST))


def configs():
    t = topic("configs")
    eventually(lambda: admin.alter_configs([ConfigResource("topic", t, {"retention.ms": "123456"})]))
    eventually(lambda: equal("123456", admin.describe_configs([ConfigResource("topic", t)])["topic"][t]["retention.ms"]["value"]))
    admin.create_partitions({t: PARTITIONS + 2})
    eventually(lambda: equal(PARTITIONS + 2, len(admin.describe_topics([t])[0]["partitions"])))
    equal(replicas, len(admin.describe_cluster()["brokers"]))


def delete_topics():
    admin.delete_topics([name + "-topics", name + "-configs"])
    until(lambda: name + "-topics" not in admin.list_topics(), "the topic is gone")


tests = Tests()
tests.run("topics are created, and once only", topics)
for c in CODECS:
    tests.run("records with keys, headers and nulls, " + c, codec, c)
tests.run("acks=0", no_acks)
for a in (1, "all"):
    tests.run("acks=%s" % a, acks, a)
tests.run("a group goes on where it stopped", group)
tests.run("two members share the partitions", members)
tests.run("a group is described, its offsets are changed, it is deleted", group_administration)
tests.run("transactions are committed and aborted", transactions)
tests.run("offsets are committed in a transaction", copy)
tests.run("a second producer fences the first", fenced)
tests.run("offsets are found by time, records are deleted", list_offsets)
tests.run("configurations, partitions and the cluster", configs)
tests.run("topics are deleted", delete_topics)
tests.done()
