import type { ChildProcess } from 'node:child_process'
import { afterEach, expect, test } from 'vitest'
import { EmitEventBody } from '../../contracts/events.js'
import type { JobView } from '../../contracts/jobs.js'
import { ReactionsConfig, SubscriptionConfig } from '../../contracts/subscriptions.js'
import { BACKEND } from '../support/bus.js'
import { startCluster, type Cluster } from '../support/cluster.js'
import { OPERATOR } from '../support/ledger.js'
import { IS_LONG } from '../support/long.js'

let c: Cluster
afterEach(() => c.stop())

const print = (what: string, ms: number): void => console.log(`[${BACKEND}] ${what}: ${(ms / 1000).toFixed(1)} s`)

const subscribe = (...list: Record<string, unknown>[]) =>
  c.ledger.applyFleet(
    OPERATOR,
    {
      version: 1,
      gateways: [],
      agents: [],
      subscriptions: list.map((one) => SubscriptionConfig.parse({ agent: 'devops', topic: 'storm.*', ...one })),
      reactions: ReactionsConfig.parse({}),
    },
    { dryRun: false, prune: false },
  )
const emit = async (topic: string) => (await c.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic }))).event

async function jobsOf(eventId: string): Promise<JobView[]> {
  const { rows } = await c.database.pool.query<{ id: JobView['id'] }>('select id from jobs where source_event_id = $1 order by id', [eventId])
  return Promise.all(rows.map(({ id }) => c.ledger.getJob(id)))
}

async function countOf(table: 'reactions' | 'jobs', where: string): Promise<number> {
  const { rows } = await c.database.pool.query<{ n: string }>(`select count(*) as n from ${table} where ${where}`)
  return Number(rows[0]?.n)
}

/** How many react to one event, and after how many of them everything is killed. */
const FAN_OUT = IS_LONG ? 1_000 : 300
const KILLS = (IS_LONG ? [0.1, 0.3, 0.5, 0.7] : [0.1, 0.5]).map((part) => part * FAN_OUT)
/** Milliseconds after its start at which a worker is killed that has work before it. */
const MOMENTS = IS_LONG ? [0, 40, 80, 120] : [0, 80]
/** How often a worker is killed while agents close. */
const CLOSING_KILLS = IS_LONG ? 3 : 2

test(`a fan-out of ${FAN_OUT}, with every process killed again and again in the middle: each reaction once, nothing lost`, async () => {
  c = await startCluster({ agents: { devops: { concurrency: 50 } } })
  await subscribe(...Array.from({ length: FAN_OUT }, (_none, at) => ({ name: `s-${at}` })))

  const event = await emit('storm.breaks')
  const atOnce = FAN_OUT - (await countOf('reactions', `status = 'pending'`))
  const seen: number[] = []
  for (const goOn of KILLS) {
    const workers = await Promise.all([c.spawn('worker'), c.spawn('worker')])
    await c.until(`${goOn} reactions are made`, async () => (await countOf('reactions', `status = 'made'`)) >= goOn)
    for (const worker of workers) worker.kill('SIGKILL')
    seen.push(await countOf('reactions', `status = 'made'`))
  }
  await c.claimsRunOut()
  await c.spawn('worker')
  const tookMs = await c.until('all reactions are made', async () => (await countOf('reactions', `status = 'pending'`)) === 0)
  const jobs = await jobsOf(event.id)

  expect(atOnce).toBe(20)
  expect(jobs).toHaveLength(FAN_OUT)
  expect(await countOf('reactions', `status = 'made'`)).toBe(FAN_OUT)
  print(`the rest of the fan-out after kills at ${seen.join(', ')}`, tookMs)
  print(`all ${FAN_OUT} done`, await c.settled(jobs, 120_000))
}, 240_000)

test('every process killed between an event and its reaction, and between an unblock and its way into the queue: nothing lost, nothing twice', async () => {
  c = await startCluster()
  await subscribe({ name: 'reacts' })
  c.behave(async (_run, close, attemptNo) => {
    if (attemptNo === 1 && blocking) await close({ block: { blocked_reason: 'waits', waits_for: { kind: 'event', topic: 'storm.over', filter: {} } } })
    else await close()
  })
  let blocking = true
  let worker: ChildProcess = await c.spawn('worker')
  const waiting = await Promise.all(Array.from({ length: 8 }, () => c.enqueue()))
  await c.until('all are blocked', async () => (await countOf('jobs', `status = 'blocked'`)) === waiting.length)
  blocking = false

  // Nobody is there when the event comes: what it sets off stands in the ledger alone.
  worker.kill('SIGKILL')
  const event = await emit('storm.over')
  expect(await countOf('jobs', `status = 'queued'`)).toBe(waiting.length + 1)

  for (const ms of MOMENTS) {
    worker = await c.spawn('worker')
    await new Promise((resolve) => setTimeout(resolve, ms))
    worker.kill('SIGKILL')
  }
  await c.claimsRunOut()
  await c.spawn('worker')

  const reacted = await jobsOf(event.id)
  expect(reacted).toHaveLength(1)
  print('resumed and reacted', await c.settled([...waiting, ...reacted]))
  for (const { id } of waiting) {
    const { transitions } = await c.ledger.jobHistory(id)
    expect(transitions.filter(({ reason }) => reason === 'condition_met')).toHaveLength(1)
  }
}, 120_000)

test('workers killed while agents close with events: each close has its reaction, each reaction once', async () => {
  c = await startCluster({ agents: { devops: { concurrency: 20 }, auditor: { concurrency: 20 } } })
  await subscribe({ name: 'reacts', agent: 'auditor', topic: 'work.done' })
  c.behave(async (run, close) => {
    await run.pause(20)
    await close(run.message.includes('Agent:        devops') ? { complete: { events: [EmitEventBody.parse({ topic: 'work.done' })] } } : {})
  })
  await c.spawn('worker')
  const jobs = await Promise.all(Array.from({ length: 40 }, () => c.enqueue()))
  for (let round = 0; round < CLOSING_KILLS; round += 1) {
    const worker = await c.spawn('worker')
    await c.until('some are done', async () => (await countOf('jobs', `status = 'succeeded' and target_agent = 'devops'`)) >= (round + 1) * 8)
    worker.kill('SIGKILL')
  }
  await c.claimsRunOut()

  print('all closed', await c.settled(jobs))
  const { rows } = await c.database.pool.query<{ id: JobView['id'] }>(`select id from jobs where target_agent = 'auditor'`)
  await c.settled(await Promise.all(rows.map(({ id }) => c.ledger.getJob(id))))
  expect(rows).toHaveLength(40)
}, 120_000)
