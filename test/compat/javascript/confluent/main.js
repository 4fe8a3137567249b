// confluent-kafka-javascript, which is librdkafka under the API of KafkaJS.
// Usage: main.js ADDR NAME REPLICAS.
const assert = require('assert/strict')
const { KafkaJS } = require('@confluentinc/kafka-javascript')
const exercise = require('../exercise.js')

const { CompressionTypes, Kafka, logLevel } = KafkaJS
const kafka = (addr) => new Kafka({ kafkaJS: { clientId: 'confluent', brokers: addr.split(','), logLevel: logLevel.NOTHING } })
const codecs = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.SNAPPY, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
}

exercise({
  codecs,
  admin: (addr) => kafka(addr).admin(),
  producer: (addr, { codec = 'none', acks = -1, idempotent, transactionalId }) => kafka(addr).producer({
    kafkaJS: { compression: codecs[codec], acks, ...(idempotent ? { idempotent } : {}), ...(transactionalId ? { transactionalId } : {}) },
  }),
  consumer: (addr, { group, uncommitted }) => kafka(addr).consumer({
    kafkaJS: { groupId: group, fromBeginning: true, autoCommit: false, readUncommitted: Boolean(uncommitted), maxWaitTimeInMs: 500 },
  }),
  send: (producer, _, topic, messages) => producer.send({ topic, messages }),
  subscribe: (consumer, topic) => consumer.subscribe({ topics: [topic] }),
  sendOffsets: (transaction, consumer, _, topics) => transaction.sendOffsets({ consumer, topics }),
  async more(test, { admin, name, replicas, PARTITIONS }) {
    await test('a topic and a group are described', async () => {
      const [t] = await admin.fetchTopicMetadata({ topics: [`${name}-none`] })
      assert.deepEqual(t.partitions.map((p) => p.isr.length), Array(PARTITIONS).fill(replicas))
      const { groups } = await admin.describeGroups([`${name}-members`])
      assert.deepEqual([groups[0].groupId, groups[0].members.length], [`${name}-members`, 0])
    })
  },
})
