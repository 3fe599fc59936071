// kafkajs, as a puppet: ../groups/stage.py says what it is told and what it says.
'use strict'
const readline = require('node:readline')
const { Kafka, logLevel } = require('kafkajs')

// The library gives up on a broker that is away for some seconds, by default.
const kafka = new Kafka({ brokers: [process.env.BROKER], logLevel: logLevel.NOTHING, retry: { retries: 30 } })
const admin = new Kafka({ brokers: [process.env.BROKER], logLevel: logLevel.NOTHING }).admin()
const members = new Map()

class Member {
  constructor(name, settings) {
    this.name = name
    this.settings = settings
    this.partitions = []
    this.consumer = kafka.consumer({
      groupId: settings.group,
      sessionTimeout: Number(settings.session),
      rebalanceTimeout: 10_000,
      heartbeatInterval: 300,
      // The library sends its heartbeats between fetches.
      maxWaitTimeInMs: 200,
    })
  }

  async join() {
    const { group, topic, reset, commit } = this.settings
    const { events } = this.consumer
    this.consumer.on(events.GROUP_JOIN, ({ payload }) => this.changed(payload.memberAssignment[topic] ?? []))
    this.consumer.on(events.REBALANCING, () => this.changed([]))
    this.consumer.on(events.CRASH, () => this.changed([]))
    await this.consumer.connect()
    await this.consumer.subscribe({ topics: [topic], fromBeginning: reset === 'earliest' })
    await this.consumer.run({
      autoCommit: commit === 'auto',
      eachMessage: async ({ partition, message }) => {
        tell(this.name, '=', partition, message.offset, message.value)
        if (commit !== 'each') return
        const offset = `${Number(message.offset) + 1}`
        try {
          await this.consumer.commitOffsets([{ topic, partition, offset }])
          tell(this.name, '^', partition, offset)
        } catch {
          // The broker was killed and does not know the member. The next heartbeat finds that out, and joins again;
          // thrown from here, the error would end the consumer.
        }
      },
    })
  }

  // The protocol is eager: whoever joins again begins again.
  changed(partitions) {
    if (this.partitions.length) tell(this.name, '-', ...this.partitions)
    this.partitions = partitions
    if (partitions.length) tell(this.name, '+', ...partitions)
  }

  async leave() {
    await this.consumer.disconnect()
    tell(this.name, 'left')
  }

  async commit([partition, offset, metadata]) {
    const { topic } = this.settings
    await this.consumer.commitOffsets([{ topic, partition: Number(partition), offset, metadata }])
    return []
  }

  async committed([partition]) {
    const { group, topic } = this.settings
    const at = (await offsetsOf(group, topic)).find(p => p.partition === Number(partition))
    return [at.offset, at.metadata]
  }
}

async function administer(verb, group, words) {
  switch (verb) {
    case 'groups':
      return (await admin.listGroups()).groups.map(g => g.groupId)
    case 'describe': {
      const told = (await admin.describeGroups([group])).groups[0]
      return [told.state, told.protocol || '-', told.members.length]
    }
    case 'offsets': {
      const told = await offsetsOf(group, words[0])
      return told.filter(p => p.offset !== '-1').map(p => `${p.partition}=${p.offset}:${p.metadata ?? ''}`)
    }
    case 'alter': {
      const [topic, ...changes] = words
      const partitions = changes.map(change => {
        const [partition, offset] = change.split('=')
        return { partition: Number(partition), offset }
      })
      await admin.setOffsets({ groupId: group, topic, partitions })
      return []
    }
    default:
      await admin.deleteGroups([group])
      return []
  }
}

async function offsetsOf(group, topic) {
  return (await admin.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions
}

async function answer(who, question) {
  try {
    tell(who, 'did', ...(await question()))
  } catch (error) {
    tell(who, 'refused', codeOf(error))
  }
}

function codeOf(error) {
  // It looks for members by itself, and has no number for finding some.
  if (/must have no running instances/.test(error.message)) return 'unasked'
  return error.groups?.[0]?.errorCode ?? error.code ?? `${error}`.replaceAll(' ', '_')
}

function tell(...words) {
  process.stdout.write(words.join(' ') + '\n')
}

async function obey(line) {
  const [command, name, ...words] = line.split(' ')
  if (command === 'join') {
    const member = new Member(name, Object.fromEntries(words.map(word => word.split('='))))
    members.set(name, member)
    await member.join()
  } else if (command === 'leave') {
    await members.get(name).leave()
  } else if (command === 'admin') {
    await answer('admin', () => administer(name, words[0], words.slice(1)))
  } else {
    await answer(name, () => members.get(name)[command](words))
  }
}

async function main() {
  await admin.connect()
  tell('ready roundrobin clean none commit each auto groups describe offsets alter delete')
  readline
    .createInterface({ input: process.stdin })
    .on('line', line => obey(line).catch(error => tell(line.split(' ')[1], 'failed', error)))
    .on('close', () => process.exit(0))
}

main()
