import { afterEach, expect, test } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { createMany } from '../../ledger/create-many.js'
import type { QueueRegistry } from '../../queues/queue-registry.js'
import { Sweep } from '../../queues/sweep.js'
import { freshLedger, type TestLedger } from '../support/ledger.js'

let t: TestLedger
afterEach(() => t.close())

/** More than two pages of what a queue should hold. */
const JOBS = 2_100

/** A queue that names no entry when all are listed, and knows some of them when asked for each. */
function queuesThat(knows: (entryId: string) => boolean): { readonly queues: QueueRegistry; readonly listed: () => number } {
  let lists = 0
  const queue = {
    getRanges: () => {
      lists += 1
      return Promise.resolve([])
    },
    getJobState: (id: string) => Promise.resolve(knows(id) ? 'waiting' : 'unknown'),
  }
  const queues = { backend: { survey: () => Promise.resolve(new Map()) }, get: () => Promise.resolve(queue) } as unknown as QueueRegistry
  return { queues, listed: () => lists }
}

test('a long backlog is listed once for many pages, what came meanwhile is not taken for missing, and what is missing is published', async () => {
  t = await freshLedger()
  const bodies = Array.from({ length: JOBS }, (_none, n) => CreateJobBody.parse({ target_agent: 'devops', subject: `job ${n}` }))
  await t.ledger.run((tx) => createMany(tx, bodies, { actor: { kind: 'operator', id: 'test' }, nowMs: Date.now() }))
  await t.database.pool.query(`delete from outbox`)
  await t.database.pool.query(`update jobs set updated_at = now() - interval '1 minute'`)
  const { rows } = await t.database.pool.query<{ id: string }>('select id from jobs order by id limit 1 offset 1500')
  const lost = rows[0]?.id ?? ''
  const { queues, listed } = queuesThat((entry) => !entry.includes(lost))

  const mended = await new Sweep({ ledger: t.ledger, queues, log: createLogger({ level: 'silent' }), actor: { kind: 'reconciler', id: 'r1' } }).run()

  expect(mended).toBe(1)
  expect(listed()).toBe(1)
  expect((await t.database.pool.query('select job_id from outbox')).rows).toEqual([{ job_id: lost }])
})
