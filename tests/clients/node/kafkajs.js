// kafkajs through what each client is put through, and what must come of it: see tests/clients/run.sh.
//
// The broker is at BROKER. If BROKER_PID names a file, it holds the pid of a broker that somebody restarts when it dies.
// NODE_PATH leads to the packages.
'use strict'
const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const fs = require('node:fs')
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')

const { BROKER, BROKER_PID } = process.env
// The longest that a scenario may take, in milliseconds.
const PATIENCE = 120_000

// Kafka's numbers of the errors that are provoked here.
const UNKNOWN_TOPIC = 3
const MESSAGE_TOO_LARGE = 10
const INVALID_TOPIC = 17
const INVALID_PARTITIONS = 37
const INVALID_REPLICATION_FACTOR = 38
const INVALID_CONFIG = 40

const scenarios = {
  // A thousand records with nothing set but the address, and back, in order in each partition.
  async defaults(topic) {
    await createTopic(topic, { numPartitions: 3 })
    const messages = range(1000).map(i => ({ key: `key-${i % 50}`, value: `value-${i}` }))
    const placed = await send(topic, messages)
    assert.deepEqual(placed.map(p => p.baseOffset), ['0', '0', '0'])
    const read = (await Promise.all(range(3).map(partition => readAll(topic, partition)))).flat()
    const order = read.map(r => ({ key: text(r.key), value: text(r.value) }))
    for (const key of range(50).map(i => `key-${i}`)) {
      assert.deepEqual(order.filter(r => r.key === key), messages.filter(m => m.key === key))
    }
    assert.equal(read.length, 1000)
  },

  // Records reach the log whatever the producer waits for.
  async acks(topic) {
    await createTopic(topic)
    for (const acks of [0, 1, -1]) await send(topic, [{ value: `${acks}` }], { acks })
    assert.deepEqual((await read(topic, 0, 0, 3)).map(r => text(r.value)), ['0', '1', '-1'])
  },

  codec_gzip: topic => codec(topic, CompressionTypes.GZIP),
  codec_snappy: topic => codec(topic, CompressionTypes.Snappy),
  codec_lz4: topic => codec(topic, CompressionTypes.LZ4),
  codec_zstd: topic => codec(topic, CompressionTypes.ZSTD),

  // Null is not empty, in keys and values; headers keep their repetition.
  async shapes(topic) {
    await createTopic(topic)
    const headers = { twice: ['1', '2'], bytes: Buffer.from([255, 0]), empty: '' }
    const messages = [null, '', 'key'].flatMap(key =>
      [null, '', 'value', '\u2603'].flatMap(value => [{ key, value }, { key, value, headers }])
    )
    await send(topic, messages)
    const got = await read(topic, 0, 0, messages.length)
    got.forEach((record, i) => {
      assert.equal(text(record.key), messages[i].key)
      assert.equal(text(record.value), messages[i].value)
      if (!messages[i].headers) return assert.deepEqual(record.headers, {})
      assert.deepEqual(record.headers.twice.map(text), ['1', '2'])
      assert.deepEqual([...record.headers.bytes], [255, 0])
      assert.equal(record.headers.empty.length, 0)
    })
  },

  // Reading begins where it is told to, also in the middle of a batch.
  async seek_by_offset(topic) {
    await createTopic(topic)
    await send(topic, range(100).map(i => ({ value: `${i}` })))
    for (const start of [0, 1, 57, 99]) assert.equal(text((await read(topic, 0, start, 1))[0].value), `${start}`)
    await refused(1, () => read(topic, 0, 1_000_000, 1))
  },

  // A time leads to the first record that is not older.
  async seek_by_time(topic) {
    await createTopic(topic)
    const hourAgo = Date.now() - 3_600_000
    await send(topic, range(10).map(i => ({ value: `${i}`, timestamp: `${hourAgo + 1000 * i}` })))
    const offsetAt = async at => (await admin.fetchTopicOffsetsByTimestamp(topic, hourAgo + at))[0].offset
    for (const [at, offset] of [[-5000, 0], [0, 0], [1, 1], [4000, 4], [4001, 5], [9000, 9], [9001, 10]]) {
      assert.equal(await offsetAt(at), `${offset}`, `at ${at} ms`)
    }
    assert.equal((await read(topic, 0, 4, 1))[0].timestamp, `${hourAgo + 4000}`)
  },

  // A fetch at the end of the log gets what is sent later.
  async waits(topic) {
    await createTopic(topic)
    const waiting = read(topic, 0, 0, 2)
    await send(topic, [{ value: 'first' }])
    await send(topic, [{ value: 'second' }])
    assert.deepEqual((await waiting).map(r => text(r.value)), ['first', 'second'])
  },

  // Records of 900 KB with the broker's default limits.
  async large(topic) {
    await createTopic(topic)
    const values = range(3).map(() => crypto.randomBytes(900_000))
    for (const value of values) await send(topic, [{ value }])
    assert.deepEqual((await read(topic, 0, 0, 3)).map(r => r.value), values)
  },

  // The broker refuses what is over max.message.bytes, and takes what comes after it.
  async too_large(topic) {
    await createTopic(topic, { configEntries: [{ name: 'max.message.bytes', value: '10000' }] })
    await refused(MESSAGE_TOO_LARGE, () => send(topic, [{ value: crypto.randomBytes(10_001) }]))
    await send(topic, [{ value: 'small' }])
    assert.equal(text((await read(topic, 0, 0, 1))[0].value), 'small')
  },

  // Sending to a topic that does not exist makes it.
  async auto_create(topic) {
    await send(topic, [{ value: 'first' }])
    assert.equal(text((await read(topic, 0, 0, 1))[0].value), 'first')
    assert.ok((await admin.listTopics()).includes(topic))
  },

  // Asking for a topic does not make it.
  async unknown_topic(topic) {
    await refused(UNKNOWN_TOPIC, () => impatient.fetchTopicMetadata({ topics: [topic] }))
    assert.ok(!(await admin.listTopics()).includes(topic))
  },

  // A topic is made once, seen then, gone when it is deleted, and can be made again, different.
  async topic_admin(topic) {
    assert.equal(await createTopic(topic, { numPartitions: 4 }), true)
    assert.deepEqual(await partitionsOf(topic), [0, 1, 2, 3])
    // How this library tells TOPIC_ALREADY_EXISTS.
    assert.equal(await createTopic(topic), false)
    await admin.deleteTopics({ topics: [topic] })
    assert.ok(await soon(async () => !(await admin.listTopics()).includes(topic)))
    await refused(UNKNOWN_TOPIC, () => impatient.deleteTopics({ topics: [topic] }))
    await createTopic(topic, { numPartitions: 2 })
    assert.deepEqual(await partitionsOf(topic), [0, 1])
  },

  // Topics that cannot be are refused with Kafka's error for each reason, and are not made.
  async bad_admin(topic) {
    await refused(INVALID_TOPIC, () => createTopic('no spaces/allowed'))
    await refused(INVALID_REPLICATION_FACTOR, () => createTopic(topic, { replicationFactor: 3 }))
    await refused(INVALID_PARTITIONS, () => createTopic(topic, { numPartitions: 0 }))
    const configEntries = [{ name: 'retention.ms', value: 'soon' }]
    await refused(INVALID_CONFIG, () => createTopic(topic, { configEntries }))
    assert.ok(!(await admin.listTopics()).includes(topic))
  },

  // Settings are told as they were given, and change; this library replaces all of them (AlterConfigs).
  async configs(topic) {
    const configEntries = [{ name: 'retention.ms', value: '123456' }, { name: 'segment.bytes', value: '2000000' }]
    await createTopic(topic, { configEntries })
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
    const told = async () => {
      const { resources } = await admin.describeConfigs({ resources: [resource], includeSynonyms: false })
      return Object.fromEntries(resources[0].configEntries.map(e => [e.configName, e.configValue]))
    }
    const alter = entries =>
      impatient.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries: entries }] })
    assert.equal((await told())['retention.ms'], '123456')
    assert.equal((await told())['cleanup.policy'], 'delete')
    await alter([{ name: 'retention.ms', value: '654321' }])
    assert.ok(await soon(async () => (await told())['retention.ms'] === '654321'))
    assert.equal((await told())['segment.bytes'], '1073741824', 'what is not named goes back to its default')
    await refused(INVALID_CONFIG, () => alter([{ name: 'retention.ms', value: 'soon' }]))
  },

  // Partitions are added, never taken away, and can be used.
  async create_partitions(topic) {
    await createTopic(topic)
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    assert.ok(await soon(async () => (await partitionsOf(topic)).length === 3))
    await refused(INVALID_PARTITIONS, () => impatient.createPartitions({ topicPartitions: [{ topic, count: 2 }] }))
    await send(topic, [{ value: 'new', partition: 2 }])
    assert.equal(text((await read(topic, 2, 0, 1))[0].value), 'new')
  },

  // Records before an offset are gone, also if it lies within a batch.
  async delete_records(topic) {
    await createTopic(topic)
    await send(topic, range(10).map(i => ({ value: `${i}` })))
    // The library must have met the topic before it can delete its records.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
    const [ends] = await admin.fetchTopicOffsets(topic)
    assert.deepEqual([ends.low, ends.high], ['4', '10'])
    assert.equal(text((await read(topic, 0, 4, 1))[0].value), '4')
    await refused(1, () => read(topic, 0, 3, 1))
  },

  // The ends of a log, empty and not.
  async list_offsets(topic) {
    await createTopic(topic)
    assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '0', high: '0', low: '0' }])
    await send(topic, range(7).map(() => ({ value: 'x' })))
    assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '7', high: '7', low: '0' }])
  },
}

// The broker is killed twice while an idempotent producer sends: no loss, no duplicate, and order is kept.
if (BROKER_PID) {
  scenarios.crash = async topic => {
    const [sends, each, partitions] = [300, 30, 3]
    await createTopic(topic, { numPartitions: partitions })
    // By default the library gives up on a broker that is away for six seconds.
    const patient = new Kafka({ brokers: [BROKER], logLevel: logLevel.NOTHING, retry: { retries: 30 } })
    const producer = patient.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (const i of range(sends)) {
      const messages = range(each).flatMap(j =>
        range(partitions).map(partition => ({ partition, value: `${i * each + j}`.padEnd(200) }))
      )
      const sending = producer.send({ topic, messages, acks: -1 })
      if (i === sends / 4 || i === sends / 2) await new Promise(setImmediate).then(killBroker)
      await sending
    }
    await producer.disconnect()
    for (const partition of range(partitions)) {
      const values = (await readAll(topic, partition)).map(r => Number(text(r.value)))
      assert.deepEqual(values, range(sends * each), `partition ${partition}`)
    }
  }
}

// A compressed batch comes back, and it was compressed: in the clear it would be too large for the topic.
async function codec(topic, compression) {
  await createTopic(topic, { configEntries: [{ name: 'max.message.bytes', value: '20000' }] })
  const long = range(3000).map(i => `the same words again and again, ${i % 10}; `).join('')
  await send(topic, [{ key: 'large', value: long }, { value: '' }], { compression })
  assert.deepEqual((await read(topic, 0, 0, 2)).map(r => text(r.value)), [long, ''])
  await refused(MESSAGE_TOO_LARGE, () => send(topic, [{ value: long }]))
}

const kafka = new Kafka({ brokers: [BROKER], logLevel: logLevel.NOTHING })
const admin = kafka.admin()
// The library tries again when it is told that a topic is unknown, as if that might pass.
const impatient = kafka.admin({ retry: { retries: 0 } })

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrame(encoder.buffer),
  decompress: async buffer => lz4.decompressFrame(buffer),
})
const zstd = new Promise(resolve => ZstdCodec.run(it => resolve(new it.Simple())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async buffer => Buffer.from((await zstd).decompress(buffer)),
})

async function send(topic, messages, settings = {}) {
  const producer = kafka.producer()
  await producer.connect()
  try {
    return await producer.send({ topic, messages, ...settings })
  } finally {
    await producer.disconnect()
  }
}

// The library's consumer cannot read without a group, so this is what that consumer itself calls to fetch.
async function read(topic, partition, start, count) {
  const createCluster = Object.getOwnPropertySymbols(kafka).find(s => s.description.endsWith(':createCluster'))
  const cluster = kafka[createCluster]({})
  await cluster.connect()
  await cluster.addTargetTopic(topic)
  try {
    const broker = await cluster.findBroker({ nodeId: leaderOf(cluster, topic, partition) })
    const found = []
    let next = start
    const deadline = Date.now() + 30_000
    while (found.length < count) {
      assert.ok(Date.now() < deadline, `${found.length} of ${count} records came`)
      const wish = { partition, fetchOffset: `${next}`, maxBytes: 1 << 20 }
      const { responses } = await broker.fetch({ isolationLevel: 1, topics: [{ topic, partitions: [wish] }] })
      const records = responses[0].partitions[0].messages.filter(m => Number(m.offset) >= next)
      found.push(...records)
      if (records.length) next = Number(records.at(-1).offset) + 1
    }
    return found.slice(0, count)
  } finally {
    await cluster.disconnect()
  }
}

function leaderOf(cluster, topic, partition) {
  return Number(Object.keys(cluster.findLeaderForPartitions(topic, [partition]))[0])
}

async function readAll(topic, partition) {
  const ends = (await admin.fetchTopicOffsets(topic)).find(e => e.partition === partition)
  return Number(ends.high) ? read(topic, partition, Number(ends.low), ends.high - ends.low) : []
}

function createTopic(topic, settings = {}) {
  return admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 1, ...settings }] })
}

async function partitionsOf(topic) {
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  return topics[0].partitions.map(p => p.partitionId).sort()
}

// SIGKILL. Whoever started the broker starts it again, on the same port and data.
function killBroker() {
  process.kill(Number(fs.readFileSync(BROKER_PID, 'ascii')), 'SIGKILL')
}

// Whether the answer becomes yes: Apache Kafka changes its metadata a little after it has confirmed a change.
async function soon(question) {
  const deadline = Date.now() + 10_000
  while (!(await question())) if (Date.now() > deadline) return false
  return true
}

// The step must fail with this error of Kafka's.
async function refused(code, step) {
  const error = await step().then(() => null, e => e)
  assert.ok(error, `was not refused with error ${code}`)
  assert.equal(codeOf(error), code, `${error}`)
}

function codeOf(error) {
  const inner = error.errors?.[0] ?? error.originalError ?? error.cause
  return error.code ?? (inner && codeOf(inner))
}

function range(count) {
  return [...Array(count).keys()]
}

function text(buffer) {
  return buffer === null ? null : buffer.toString()
}

function within(milliseconds, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${milliseconds / 1000} seconds`)), milliseconds)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Runs the scenarios that are named on the command line, or all.
async function main() {
  await admin.connect()
  await impatient.connect()
  let failed = 0
  const wanted = process.argv.slice(2)
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (wanted.length && !wanted.includes(name)) continue
    const begun = Date.now()
    try {
      await within(PATIENCE, scenario(`kafkajs-${name}-${process.pid}`))
      console.log(`ok ${name} ${((Date.now() - begun) / 1000).toFixed(1)}`)
    } catch (error) {
      failed += 1
      const where = /kafkajs\.js:\d+/.exec(error.stack)?.[0] ?? '?'
      console.log(`FAIL ${name} ${where}: ${error}`.slice(0, 600).replaceAll('\n', ' '))
    }
  }
  console.log('done')
  process.exit(failed ? 1 : 0)
}

main()
