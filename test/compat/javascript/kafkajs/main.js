// KafkaJS. Usage: main.js ADDR NAME REPLICAS. Its own codec is gzip; the others are put
// into it as its manual says, from other packages.
const assert = require('assert/strict')
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require('kafkajs')
const snappy = require('kafkajs-snappy')
const LZ4 = require('kafkajs-lz4')
const zstd = require('@bokuweb/zstd-wasm')
const exercise = require('../exercise.js')

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = new LZ4().codec
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
})

const kafka = (addr) => new Kafka({ clientId: 'kafkajs', brokers: addr.split(','), logLevel: logLevel.NOTHING })
const codecs = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
}

const client = {
  codecs,
  run: { autoCommit: false },
  admin: (addr) => kafka(addr).admin(),
  producer: (addr, { idempotent, transactionalId }) => kafka(addr).producer({ idempotent: Boolean(idempotent || transactionalId), transactionalId, maxInFlightRequests: 1 }),
  consumer: (addr, { group, uncommitted }) => kafka(addr).consumer({ groupId: group, readUncommitted: uncommitted, maxBytesPerPartition: 4096, maxWaitTimeInMs: 500 }),
  send: (producer, { codec = 'none', acks = -1 }, topic, messages) => producer.send({ topic, acks, compression: codecs[codec], messages }),
  subscribe: (consumer, topic) => consumer.subscribe({ topics: [topic], fromBeginning: true }),
  sendOffsets: (transaction, consumer, group, topics) => transaction.sendOffsets({ consumerGroupId: group, topics }),
  async more(test, { admin, topic, eventually, name, replicas, PARTITIONS }) {
    await test('configurations, partitions and the cluster', async () => {
      const t = await topic('configs')
      const resource = { type: ConfigResourceTypes.TOPIC, name: t }
      await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '123456' }] }] })
      await eventually(async () => {
        const { resources } = await admin.describeConfigs({ resources: [{ ...resource, configNames: ['retention.ms'] }], includeSynonyms: true })
        assert.equal(resources[0].configEntries[0].configValue, '123456')
      })
      await admin.createPartitions({ topicPartitions: [{ topic: t, count: PARTITIONS + 2 }] })
      await eventually(async () => assert.equal((await admin.fetchTopicMetadata({ topics: [t] })).topics[0].partitions.length, PARTITIONS + 2))
      assert.equal((await admin.describeCluster()).brokers.length, replicas)
    })
    await test("a group's offsets are set", async () => {
      const [groupId, t] = [`${name}-set`, `${name}-none`]
      await admin.setOffsets({ groupId, topic: t, partitions: [{ partition: 2, offset: '7' }] })
      const offsets = (await admin.fetchOffsets({ groupId, topics: [t] }))[0].partitions
      assert.equal(offsets.find((p) => p.partition === 2).offset, '7')
    })
  },
}

zstd.init().then(() => exercise(client))
