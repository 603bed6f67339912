import { randomBytes } from 'node:crypto'
import type { PoolClient } from 'pg'
import { expect, test, vi } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { QueueWatch } from '../../processors/queue-watch.js'
import { queueNameOf } from '../../queues/catalogue.js'
import { createPostgresBackend } from '../../queues/postgres-backend.js'
import { BACKEND } from '../support/bus.js'
import { cloneDatabase } from '../support/ledger.js'

test.runIf(BACKEND === 'postgres')('a worker whose listener has gone deaf takes what is due at the second look that finds it', async () => {
  const agent = `a${randomBytes(4).toString('hex')}`
  const backend = createPostgresBackend({ url: await cloneDatabase(), poolSize: 2, durable: false, onError: () => undefined })
  const done: string[] = []
  const queue = backend.openQueue(queueNameOf(agent))
  const worker = backend.openWorker(queueNameOf(agent), async ({ id }) => void done.push(id ?? ''), { drainDelay: 300, skipStalledCheck: true, skipLockRenewal: true })
  const watch = new QueueWatch({ backend, workers: new Map([[agent, { worker, open: true }]]), log: createLogger({ level: 'silent' }), everyMs: 60_000 })
  const { connection } = worker.backend as unknown as { readonly connection: { getListenClient(): Promise<PoolClient> } }
  const listener = await connection.getListenClient()
  await vi.waitUntil(() => listener.listenerCount('notification') > 0, { timeout: 10_000 })
  await queue.add('heard', {}, { jobId: 'heard' })
  await vi.waitUntil(() => done.length === 1, { timeout: 10_000 })
  await vi.waitUntil(() => listener.listenerCount('notification') > 0, { timeout: 10_000 })

  // One connection besides the listener: what the wait asks at its beginning is answered before this.
  await backend.ping(10_000)
  listener.removeAllListeners('notification')
  await queue.add('unheard', {}, { jobId: 'unheard' })
  const ended = vi.spyOn(backend, 'endWait')
  await watch.look()
  await backend.ping(10_000)
  const afterOneLook = [ended.mock.calls.length, ...done]
  await watch.look()

  await vi.waitUntil(() => done.length === 2, { timeout: 10_000 })
  expect([afterOneLook, ended.mock.calls.length, done]).toEqual([[0, 'heard'], 1, ['heard', 'unheard']])
  await worker.close()
  await queue.close()
  await backend.close()
})
