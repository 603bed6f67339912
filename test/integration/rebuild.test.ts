import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { readEpoch } from '../../ledger/epoch.js'
import type { QueueBackend } from '../../queues/backend.js'
import { EpochSentinel } from '../../queues/epoch-sentinel.js'
import { createPostgresBackend } from '../../queues/postgres-backend.js'
import { QueueRegistry } from '../../queues/queue-registry.js'
import { Reconciler } from '../../queues/reconciler.js'
import { createRedisBackend } from '../../queues/redis-backend.js'
import { Relay } from '../../queues/relay.js'
import { BACKEND } from '../support/bus.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { wipeQueues } from '../support/wipe-queues.js'

const log = createLogger({ level: 'silent' })
const prefix = `t${randomBytes(5).toString('hex')}`
let t: TestLedger
let backend: QueueBackend
let queues: QueueRegistry
let relay: Relay
beforeEach(async () => {
  t = await freshLedger()
  const onError = (): void => undefined
  backend = BACKEND === 'redis' ? createRedisBackend({ url: inject('redisUrl'), prefix, onError }) : createPostgresBackend({ url: t.url, poolSize: 4, durable: false, onError })
  queues = new QueueRegistry(backend)
  relay = new Relay({ ledger: t.ledger, queues, log, pollMs: 50 })
  relay.start()
})
afterEach(async () => {
  await relay.stop()
  await queues.close()
  await backend.close()
  await t.close()
})

const wipe = (): Promise<void> => wipeQueues({ queue: BACKEND === 'redis' ? { kind: 'redis', url: inject('redisUrl') } : { kind: 'postgres', url: t.url }, prefix })

const entries = async (): Promise<number> => Object.values(await (await queues.get('devops')).getJobCounts('waiting', 'prioritized', 'delayed')).reduce((sum, one) => sum + one, 0)

test('a store that is lost again while it is rebuilt is filled once more, before anybody takes it for whole', async () => {
  for (let at = 0; at < 5; at += 1) await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: `job ${at}` }))
  await expect.poll(entries).toBe(5)
  await expect.poll(async () => (await t.ledger.outboxLag()).rows).toBe(0)
  let rounds = 0
  const reconciler = new Reconciler({
    ...{ ledger: t.ledger, queues, log, processId: 'r1', sweepMs: 3_600_000, checkMs: 3_600_000 },
    applySettings: async () => {
      rounds += 1
      // Everything is in the store, and the rows of the outbox are gone: nobody but this rebuild knows that it has to be there.
      await expect.poll(entries).toBe(5)
      await expect.poll(async () => (await t.ledger.outboxLag()).rows).toBe(0)
      if (rounds === 1) await wipe()
    },
  })
  await wipe()

  await reconciler.start()

  await expect.poll(entries).toBe(5)
  const sentinel = new EpochSentinel(backend)
  const [mark, epoch] = [await sentinel.read(), await readEpoch(t.ledger.db)]
  await sentinel.close()
  await reconciler.stop()
  expect(rounds).toBe(2)
  expect(mark).toEqual({ epoch: epoch?.epoch, tick: 0 })
})
