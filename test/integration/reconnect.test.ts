import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import type { QueueBackend } from '../../queues/backend.js'
import { createPostgresBackend } from '../../queues/postgres-backend.js'
import { QueueRegistry } from '../../queues/queue-registry.js'
import { Reconciler } from '../../queues/reconciler.js'
import { createRedisBackend } from '../../queues/redis-backend.js'
import { Relay } from '../../queues/relay.js'
import { BACKEND } from '../support/bus.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

const log = createLogger({ level: 'silent' })
const clock = { nowMs: 0 }
let t: TestLedger
let queues: QueueRegistry
/** Has everybody believe that the store was away and is back. */
let reconnect: () => void
const undo: (() => unknown)[] = []
beforeEach(async () => {
  clock.nowMs = Date.now()
  t = await freshLedger({ nowMs: () => clock.nowMs })
  undo.push(() => t.close())
  const onError = (): void => undefined
  const prefix = `t${randomBytes(5).toString('hex')}`
  const backend =
    BACKEND === 'redis' ? createRedisBackend({ url: inject('redisUrl'), prefix, onError }) : createPostgresBackend({ url: t.url, poolSize: 4, durable: false, onError })
  undo.push(() => backend.close())
  const listeners: (() => void)[] = []
  reconnect = () => {
    for (const listener of listeners) listener()
  }
  const onReconnect = (listener: () => void): void => void listeners.push(listener)
  queues = new QueueRegistry(Object.create(backend, { onReconnect: { value: onReconnect } }) as QueueBackend)
  undo.push(() => queues.close())
  const relay = new Relay({ ledger: t.ledger, queues, log, pollMs: 50 })
  relay.start()
  undo.push(() => relay.stop())
})
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

test('what the store has lost with its last second is published again four seconds after a reconnection, and then no more until the next sweep is due', async () => {
  let looks = 0
  const reconciler = new Reconciler({
    ...{ ledger: t.ledger, queues, log, processId: 'r1', sweepMs: 3_600_000, checkMs: 3_600_000 },
    // Of the rebuild at the first use, and of each sweep.
    applySettings: async () => {
      looks += 1
    },
  })
  await reconciler.start()
  undo.push(() => reconciler.stop())
  const { job } = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'a job' }))
  const queue = await queues.get('devops')
  await expect.poll(() => queue.getJob(`${job.id}-g1`), { timeout: 10_000 }).toBeDefined()
  await expect.poll(async () => (await t.ledger.outboxLag()).rows, { timeout: 10_000 }).toBe(0)
  await queue.remove(`${job.id}-g1`)
  await t.database.pool.query(`update jobs set updated_at = updated_at - interval '1 minute' where id = $1`, [job.id])
  const lookAfter = async (ms: number): Promise<number> => {
    clock.nowMs += ms
    await reconciler.look()
    return looks
  }

  reconnect()
  const seen = [await lookAfter(0), await lookAfter(3_999), await lookAfter(1), await lookAfter(60_000)]

  expect(seen).toEqual([1, 1, 2, 2])
  await expect.poll(() => queue.getJob(`${job.id}-g2`), { timeout: 10_000 }).toBeDefined()
  expect((await t.ledger.jobHistory(job.id)).observations).toMatchObject([{ kind: 'mend', code: 'entry_missing' }])
})
