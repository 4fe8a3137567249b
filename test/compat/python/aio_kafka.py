"""aiokafka: topics, every codec, groups, transactions, administration.
Usage: aio_kafka.py ADDR NAME REPLICAS."""

import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from exercise import CODECS, COUNT, PARTITIONS, START, Tests, equal, exactly, headers, key, number, partition, value

addr, name, replicas = sys.argv[1], sys.argv[2], int(sys.argv[3])
admin = None


async def topic(suffix):
    t = name + "-" + suffix
    answer = await admin.create_topics([NewTopic(t, PARTITIONS, replicas)])
    for _, code, *_ in answer.topic_errors:
        if code:
            raise for_code(code)(t)
    return t


def producer(**more):
    return AIOKafkaProducer(bootstrap_servers=addr, linger_ms=5, **more)


async def send(p, t, numbers):
    sent = [await p.send(t, value(i), key(i), headers=headers(i), partition=partition(i)) for i in numbers]
    await asyncio.wait_for(asyncio.gather(*sent), 60)


async def send_all(t, numbers, **more):
    async with producer(**more) as p:
        await send(p, t, numbers)


def consumer(*topics, **more):
    return AIOKafkaConsumer(*topics, bootstrap_servers=addr, auto_offset_reset="earliest", enable_auto_commit=False, **more)


async def poll(c, count):
    """So many records, and what comes in a moment after them."""
    got, end = [], time.monotonic() + 60
    while len(got) < count and time.monotonic() < end:
        got += [r for rs in (await c.getmany(timeout_ms=300)).values() for r in rs]
    got += [r for rs in (await c.getmany(timeout_ms=500)).values() for r in rs]
    return [(r.partition, r.offset, r.key, r.value, r.headers) for r in got]


async def read(t, count, isolation="read_committed"):
    async with consumer(isolation_level=isolation) as c:
        c.assign([TopicPartition(t, p) for p in range(PARTITIONS)])
        return await poll(c, count)


async def topics():
    t = await topic("topics")
    try:
        await topic("topics")
        raise AssertionError("the topic was created twice")
    except TopicAlreadyExistsError:
        pass

    async def described():
        found = (await admin.describe_topics([t]))[0]
        equal([replicas] * PARTITIONS, [len(p["isr"]) for p in found["partitions"]])
        assert t in await admin.list_topics()

    await eventually(described)


async def codec(c):
    t = await topic(c)
    await send_all(t, range(COUNT), compression_type=None if c == "none" else c)
    exactly(await read(t, COUNT), range(COUNT))


async def no_acks():
    """Without acks a node that has not yet learned that it leads drops the records, and
    nobody hears of it: the topic is one whose leaders have already taken some."""
    t = name + "-none"
    await send_all(t, range(COUNT, 2 * COUNT), acks=0)
    exactly(await read(t, 2 * COUNT), range(2 * COUNT))


async def acks(a):
    t = await topic("acks-%s" % a)
    await send_all(t, range(COUNT), acks=a, enable_idempotence=a == "all")
    exactly(await read(t, COUNT), range(COUNT))


async def group():
    t = await topic("group")
    await send_all(t, range(COUNT))
    async with consumer(t, group_id=t) as c:
        exactly(await poll(c, COUNT), range(COUNT))
        await c.commit()
    await send_all(t, range(COUNT, COUNT + 100))
    async with consumer(t, group_id=t) as c:
        exactly(await poll(c, 100), range(COUNT, COUNT + 100))
        await c.commit()


async def eventually(body, seconds=10):
    """As exercise.eventually."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await body()
        except Exception:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


async def settle(cs, sizes):
    end = time.monotonic() + 60
    while [len(c.assignment()) for c in cs] != sizes:
        assert time.monotonic() < end, "the members have not come to rest in a minute"
        for c in cs:
            await c.getmany(timeout_ms=100)


async def members():
    t = await topic("members")
    one, two = consumer(t, group_id=t), consumer(t, group_id=t)
    await asyncio.gather(one.start(), two.start())
    await settle([one, two], [PARTITIONS / 2] * 2)
    described = (await admin.describe_consumer_groups([t]))[0].groups[0]
    equal((0, "Stable", 2), (described[0], described[2], len(described[5])))
    await one.stop()
    await settle([two], [PARTITIONS])
    await two.stop()


async def group_administration():
    g = name + "-group"
    assert g in [x[0] for x in await admin.list_consumer_groups()]
    offsets = await admin.list_consumer_group_offsets(g)
    equal((PARTITIONS, COUNT + 100), (len(offsets), sum(o.offset for o in offsets.values())))


async def transactions():
    t = await topic("transactions")
    async with producer(transactional_id=t) as p:
        for n in range(6):
            await p.begin_transaction()
            await send(p, t, range(n * 100, n * 100 + 100))
            if n % 2 == 0:
                await p.commit_transaction()
            else:
                await p.abort_transaction()
    exactly(await read(t, 300), [i for i in range(600) if i // 100 % 2 == 0])
    exactly(await read(t, 600, "read_uncommitted"), range(600))


async def copy():
    """In three lives, each of which goes on where the offsets in transactions stopped."""
    source, copied, count = await topic("copy-from"), await topic("copy-to"), 0
    await send_all(source, range(COUNT))
    for life in range(3):
        async with consumer(source, group_id=source) as c, producer(transactional_id=source) as p:
            end = time.monotonic() + 60
            while count < 200 * (life + 1):
                assert time.monotonic() < end, "%d records copied" % count
                got = await c.getmany(timeout_ms=500, max_records=50)
                if not got:
                    continue
                async with p.transaction():
                    for r in (r for rs in got.values() for r in rs):
                        await p.send(copied, r.value, r.key, headers=list(r.headers))
                        count += 1
                    await p.send_offsets_to_transaction({at: rs[-1].offset + 1 for at, rs in got.items()}, source)
    equal(list(range(COUNT)), sorted(number(r[4]) for r in await read(copied, COUNT)))


async def fenced():
    t = await topic("fenced")
    one = producer(transactional_id=t)
    await one.start()
    await one.begin_transaction()
    await send(one, t, range(10))
    async with producer(transactional_id=t) as two:
        await two.begin_transaction()
        await send(two, t, range(10, 20))
        await two.commit_transaction()
    try:
        await one.commit_transaction()
        raise AssertionError("the first producer committed")
    except KafkaError:
        pass
    await one.stop()
    exactly(await read(t, 10), range(10, 20))


async def list_offsets():
    t = await topic("times")
    async with producer() as p:
        for i in range(100):
            await p.send(t, b"value", partition=3, timestamp_ms=START + i * 1000)
        await p.flush()
    at = TopicPartition(t, 3)
    async with consumer() as c:
        equal(({at: 0}, {at: 100}), (await c.beginning_offsets([at]), await c.end_offsets([at])))
        equal(50, (await c.offsets_for_times({at: START + 49_001}))[at].offset)
        equal({at: 40}, await admin.delete_records({at: RecordsToDelete(40)}))
        equal({at: 40}, await c.beginning_offsets([at]))


async def configs():
    t = await topic("configs")
    for answer in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, t, {"retention.ms": "123456"})]):
        equal(0, answer.resources[0][0])

    async def altered():
        found = (await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, t)]))[0].resources[0]
        equal(["123456"], [c[1] for c in found[4] if c[0] == "retention.ms"])

    await eventually(altered)
    await admin.create_partitions({t: NewPartitions(PARTITIONS + 2)})

    async def grown():
        equal(PARTITIONS + 2, len((await admin.describe_topics([t]))[0]["partitions"]))

    await eventually(grown)
    equal(replicas, len((await admin.describe_cluster())["brokers"]))


async def delete_topics():
    await admin.delete_topics([name + "-topics", name + "-configs"])

    async def gone():
        assert name + "-topics" not in await admin.list_topics()

    await eventually(gone)


async def main():
    global admin
    tests, admin = Tests(), AIOKafkaAdminClient(bootstrap_servers=addr)
    await admin.start()
    await tests.run_async("topics are created, and once only", topics)
    for c in CODECS:
        await tests.run_async("records with keys, headers and nulls, " + c, codec, c)
    await tests.run_async("acks=0", no_acks)
    for a in (1, "all"):
        await tests.run_async("acks=%s" % a, acks, a)
    await tests.run_async("a group goes on where it stopped", group)
    await tests.run_async("two members share the partitions", members)
    await tests.run_async("a group is listed, and its offsets", group_administration)
    await tests.run_async("transactions are committed and aborted", transactions)
    await tests.run_async("offsets are committed in a transaction", copy)
    await tests.run_async("a second producer fences the first", fenced)
    await tests.run_async("offsets are found by time, records are deleted", list_offsets)
    await tests.run_async("configurations, partitions and the cluster", configs)
    await tests.run_async("topics are deleted", delete_topics)
    await admin.close()
    tests.done()


asyncio.run(main())
