// What the programs of this folder share: an application on the API of KafkaJS, which
// librdkafka's JavaScript client has too. Where the two differ, the program hands in
// functions of its own (`client`):
//
//   client.producer({codec, acks, idempotent, transactionalId})
//   client.consumer({group, uncommitted})
//   client.codecs, client.admin()
//   client.send(producer, codec, acks, topic, messages)
//   client.subscribe(consumer, topic)
//   client.sendOffsets(transaction, consumer, group, topics)
//   client.run    what else KafkaJS wants to be told not to commit by itself
//   client.more(test, helpers)   tests of what only one of them has
const assert = require('assert/strict')

const PARTITIONS = 6
const COUNT = 600
const [addr, name, replicas] = [process.argv[2], process.argv[3], Number(process.argv[4])]

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i)

async function until(condition, what) {
  for (const end = Date.now() + 60000; !(await condition()); await sleep(100)) {
    assert.ok(Date.now() < end, `${what}: not in a minute`)
  }
}

// eventually asks again for a while: what one node has been told by the controller,
// another one may learn a moment later, with Apache Kafka's nodes too.
async function eventually(body) {
  for (const end = Date.now() + 10000; ; await sleep(50)) {
    try {
      return await body()
    } catch (e) {
      if (Date.now() > end) throw e
    }
  }
}

function message(i) {
  const m = {
    value: i % 50 === 48 ? null : `message ${i} ${'ä€𝄞 '.repeat(i % 40)}`,
    headers: { number: String(i), raw: Buffer.from([0, i % 256]), empty: '' },
  }
  // KafkaJS draws another partition for a message without a key when it sends a batch
  // again, also where a part of the batch has arrived: such a message names its own.
  if (i % 10 !== 9) m.key = `key-${i % 10}`
  else m.partition = Math.floor(i / 10) % PARTITIONS
  return m
}

const number = (m) => Number(m.headers.number.toString())

// exactly: these numbers, each once, whole, and those of a key in the order in which
// they were sent.
function exactly(messages, numbers) {
  assert.deepEqual(messages.map(number).sort((a, b) => a - b), numbers)
  const last = new Map()
  for (const m of messages) {
    const i = number(m)
    const want = message(i)
    const text = (v) => (v === null || v === undefined ? null : v.toString())
    assert.deepEqual([text(m.key), text(m.value)], [want.key ?? null, want.value])
    assert.deepEqual([...m.headers.raw], [0, i % 256])
    assert.equal(m.headers.empty.length, 0)
    if (want.key) {
      assert.ok((last.get(want.key) ?? -1) < i, `${i} comes after ${last.get(want.key)}`)
      last.set(want.key, i)
    }
  }
}

module.exports = async function exercise(client) {
  let tests = 0
  let passed = 0
  async function test(what, body) {
    tests++
    try {
      await body()
      passed++
      console.log(`ok ${what}`)
    } catch (e) {
      console.log(`FAIL ${what}: ${e.message}`)
      console.error(e)
    }
  }

  const admin = client.admin(addr)
  await admin.connect()

  async function topic(suffix) {
    const t = `${name}-${suffix}`
    await admin.createTopics({ topics: [{ topic: t, numPartitions: PARTITIONS, replicationFactor: replicas }] })
    await eventually(async () => {
      const found = await admin.fetchTopicMetadata({ topics: [t] })
      assert.equal((found.topics ?? found)[0].partitions.length, PARTITIONS)
    })
    return t
  }
  async function send(t, numbers, options = {}) {
    const producer = client.producer(addr, options)
    await producer.connect()
    await client.send(producer, options, t, numbers.map(message))
    await producer.disconnect()
  }
  // read gives a group's next messages: so many, and what comes in a moment after them.
  async function read(t, count, { group = `${t}-readers-${Math.random()}`, uncommitted = false } = {}) {
    const got = []
    const consumer = client.consumer(addr, { group, uncommitted })
    await consumer.connect()
    await client.subscribe(consumer, t)
    const next = {}
    await consumer.run({
      eachMessage: async ({ partition, message: m }) => {
        got.push(m)
        next[partition] = String(Number(m.offset) + 1)
      },
    })
    await until(() => got.length >= count, `${got.length} of ${count} messages`).catch((e) => console.error(e.message))
    await sleep(500)
    await consumer.commitOffsets(Object.entries(next).map(([p, offset]) => ({ topic: t, partition: Number(p), offset })))
    await consumer.disconnect()
    return got
  }

  await test('topics are created', async () => {
    const t = await topic('topics')
    await until(async () => (await admin.listTopics()).includes(t), 'the topic is listed')
  })
  for (const codec of Object.keys(client.codecs)) {
    await test(`messages with keys, headers and nulls, ${codec}`, async () => {
      const t = await topic(codec)
      await send(t, range(0, COUNT), { codec })
      exactly(await read(t, COUNT), range(0, COUNT))
    })
  }
  // Without acks a node that has not yet learned that it leads drops the messages, and
  // nobody hears of it: the topic is one whose leaders have already taken some.
  await test('acks=0', async () => {
    const t = `${name}-none`
    await send(t, range(COUNT, 2 * COUNT), { acks: 0 })
    exactly(await read(t, 2 * COUNT), range(0, 2 * COUNT))
  })
  for (const acks of [1, -1]) {
    await test(`acks=${acks}`, async () => {
      const t = await topic(`acks${acks}`)
      await send(t, range(0, COUNT), { acks })
      exactly(await read(t, COUNT), range(0, COUNT))
    })
  }
  await test('an idempotent producer', async () => {
    const t = await topic('idempotent')
    await send(t, range(0, COUNT), { idempotent: true })
    exactly(await read(t, COUNT), range(0, COUNT))
  })
  await test('a group goes on where it stopped', async () => {
    const t = await topic('group')
    await send(t, range(0, COUNT))
    exactly(await read(t, COUNT, { group: t }), range(0, COUNT))
    await send(t, range(COUNT, COUNT + 100))
    exactly(await read(t, 100, { group: t }), range(COUNT, COUNT + 100))
    const offsets = (await admin.fetchOffsets({ groupId: t, topics: [t] }))[0].partitions
    assert.equal(offsets.reduce((sum, p) => sum + Math.max(0, Number(p.offset)), 0), COUNT + 100)
  })
  await test('two members share the messages', async () => {
    const t = await topic('members')
    const seen = [new Set(), new Set()]
    const got = []
    const members = [0, 1].map((i) => [i, client.consumer(addr, { group: t })])
    await Promise.all(members.map(async ([i, consumer]) => {
      await consumer.connect()
      await client.subscribe(consumer, t)
      await consumer.run({ eachMessage: async ({ partition, message: m }) => { seen[i].add(partition); got.push(m) } })
    }))
    await until(async () => {
      const group = (await admin.describeGroups([t])).groups[0]
      return group.members.length === 2 && (group.state === 'Stable' || group.state === 3)
    }, 'two members')
    await sleep(1000)
    await send(t, range(0, COUNT))
    await until(() => got.length >= COUNT, 'all messages')
    await Promise.all(members.map(([, consumer]) => consumer.disconnect()))
    exactly(got, range(0, COUNT))
    assert.ok(seen[0].size > 0 && seen[1].size > 0, 'one member had all partitions')
    assert.ok([...seen[0]].every((p) => !seen[1].has(p)), 'a partition had two owners')
  })
  await test('a group is listed and deleted', async () => {
    const g = `${name}-group`
    assert.ok((await admin.listGroups()).groups.some((x) => x.groupId === g))
    await admin.deleteGroups([g])
    assert.ok(!(await admin.listGroups()).groups.some((x) => x.groupId === g))
  })
  await test('transactions are committed and aborted', async () => {
    const t = await topic('transactions')
    const producer = client.producer(addr, { transactionalId: t })
    await producer.connect()
    for (const n of range(0, 6)) {
      const transaction = await producer.transaction()
      await client.send(transaction, {}, t, range(n * 100, n * 100 + 100).map(message))
      await (n % 2 === 0 ? transaction.commit() : transaction.abort())
    }
    await producer.disconnect()
    exactly(await read(t, 300), range(0, 600).filter((i) => Math.floor(i / 100) % 2 === 0))
    exactly(await read(t, 600, { uncommitted: true }), range(0, 600))
  })
  await test('offsets are committed in a transaction', async () => {
    const [from, to] = [await topic('copy-from'), await topic('copy-to')]
    await send(from, range(0, COUNT))
    const copied = []
    for (const life of [1, 2, 3]) {
      const consumer = client.consumer(addr, { group: from })
      const producer = client.producer(addr, { transactionalId: from })
      await Promise.all([consumer.connect(), producer.connect()])
      await client.subscribe(consumer, from)
      let full
      const done = new Promise((resolve) => { full = resolve })
      await consumer.run({
        partitionsConsumedConcurrently: 1,
        ...client.run,
        eachBatch: async ({ batch }) => {
          if (copied.length >= Math.min(COUNT, life * 200)) return full()
          const transaction = await producer.transaction()
          await client.send(transaction, {}, to, batch.messages.map(({ key, value, headers }) => ({ key, value, headers, partition: batch.partition })))
          const offset = String(Number(batch.messages.at(-1).offset) + 1)
          await client.sendOffsets(transaction, consumer, from, [{ topic: from, partitions: [{ partition: batch.partition, offset }] }])
          await transaction.commit()
          copied.push(...batch.messages)
          if (copied.length >= Math.min(COUNT, life * 200)) full()
        },
      })
      await Promise.race([done, sleep(60000)])
      await consumer.disconnect()
      await producer.disconnect()
      if (copied.length >= COUNT) break
    }
    assert.deepEqual((await read(to, COUNT)).map(number).sort((a, b) => a - b), range(0, COUNT))
  })
  await test('offsets are found by time, records are deleted', async () => {
    const t = await topic('times')
    const start = Date.now() - 3600000 // much older ones might be deleted at any time
    const producer = client.producer(addr, {})
    await producer.connect()
    await client.send(producer, {}, t, range(0, 100).map((i) => ({ value: 'value', partition: 3, timestamp: String(start + i * 1000) })))
    await producer.disconnect()
    const of3 = (offsets) => offsets.find((o) => o.partition === 3)
    const { low, high } = of3(await admin.fetchTopicOffsets(t))
    assert.deepEqual([Number(low), Number(high)], [0, 100])
    assert.equal(Number(of3(await admin.fetchTopicOffsetsByTimestamp(t, start + 49001)).offset), 50)
    await admin.deleteTopicRecords({ topic: t, partitions: [{ partition: 3, offset: '40' }] })
    assert.equal(Number(of3(await admin.fetchTopicOffsets(t)).low), 40)
  })
  await client.more?.(test, { admin, topic, eventually, name, replicas, PARTITIONS })
  await test('topics are deleted', async () => {
    await admin.deleteTopics({ topics: [`${name}-topics`, `${name}-times`] })
    await until(async () => !(await admin.listTopics()).includes(`${name}-topics`), 'the topic is gone')
  })
  await admin.disconnect()
  console.log(`tests ${tests} passed ${passed}`)
  process.exit(tests === passed ? 0 : 1)
}
