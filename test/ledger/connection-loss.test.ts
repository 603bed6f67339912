import { sql } from 'drizzle-orm'
import pg from 'pg'
import { expect, test, vi } from 'vitest'
import { CreateJobBody } from '../../contracts/jobs.js'
import { isAway } from '../../ledger/database.js'
import { freshLedger, OPERATOR } from '../support/ledger.js'

test('a pool whose connections were all cut serves again, and keeps no client', async () => {
  const t = await freshLedger({ poolSize: 4 })
  const admin = new pg.Client({ connectionString: t.url })
  await admin.connect()
  await Promise.all(Array.from({ length: 4 }, () => t.ledger.run((tx) => tx.execute(sql`select pg_sleep(0.05)`))))

  for (let round = 0; round < 5; round += 1) {
    const busy = Promise.allSettled(Array.from({ length: 8 }, () => t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'x' }))))
    await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
    await busy
  }
  // A connection that was cut while it was idle is found out by the first who uses it: that one is told to come again.
  const { created } = await vi.waitFor(() => t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'after' })))

  expect(created).toBe(true)
  expect(t.database.pool.totalCount - t.database.pool.idleCount).toBe(0)
  await admin.end()
  await t.close()
})

test.each(['Client was closed and is not queryable', 'Client has encountered a connection error and is not queryable', 'Connection terminated unexpectedly'])(
  'what a connection says that has just gone (%s) means: away, come again',
  (message) => {
    expect(isAway(new Error('Failed query', { cause: new Error(message) }))).toBe(true)
  },
)
