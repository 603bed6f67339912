import { sql } from 'drizzle-orm'
import type pg from 'pg'
import { expect, test } from 'vitest'
import { takeCheckpoint } from '../../ledger/audit/take-checkpoint.js'
import { prepareStatements, StatementNames } from '../../ledger/prepared-statements.js'
import { aJob, freshLedger } from '../support/ledger.js'

/** A client that takes down under which name it was sent each statement. */
function recorder(names: StatementNames): { readonly ask: (text: string) => Promise<unknown>; readonly sent: (string | undefined)[] } {
  const sent: (string | undefined)[] = []
  const query = async (config: { readonly name?: string }): Promise<void> => {
    sent.push(config.name)
  }
  const client = { query } as unknown as pg.ClientBase
  prepareStatements(client, names)
  return { ask: (text) => client.query({ text }, [1]), sent }
}

test('a statement that comes again has a name, whatever came before it; one that is another each time takes none', async () => {
  const names = new StatementNames()
  const { ask, sent } = recorder(names)

  for (let from = 0; from < 2_000; from += 1) await ask(`select count(*) from t where xact >= ${from} and n > $1`)
  for (let time = 0; time < 3; time += 1) await ask('select hot from t where id = $1')

  const [first, second, third] = sent.slice(-3)
  expect(new Set(sent.slice(0, -3))).toEqual(new Set([undefined]))
  expect([first, second]).toEqual([undefined, expect.stringMatching(/^ab_[0-9a-f]{20}$/)])
  expect([third, names.size]).toEqual([second, 1])
})

test('there are only so many names, and who has one keeps it', async () => {
  const names = new StatementNames()
  const { ask, sent } = recorder(names)
  const all = Array.from({ length: 400 }, (_none, at) => `select ${at} from t where id = $1`)

  for (const text of all) for (let time = 0; time < 2; time += 1) await ask(text)
  sent.length = 0
  for (const text of [...all.slice(0, 2), ...all.slice(-2)]) await ask(text)

  expect(names.size).toBe(300)
  expect(sent.map((name) => name !== undefined)).toEqual([true, true, false, false])
})

test('counts and checkpoints over ranges that move on take no names, so that a statement that comes late is prepared still', { timeout: 90_000 }, async () => {
  // One connection for transactions, so that what was prepared on it can be read.
  const t = await freshLedger({ poolSize: 3 })
  for (let at = 0; at < 200; at += 1) {
    await aJob(t.ledger, 'queued')
    await t.ledger.upkeep.countMetrics()
    await takeCheckpoint(t.database.db, { signer: undefined })
  }

  for (let time = 0; time < 2; time += 1) await t.ledger.db.execute(sql`select ${1}::int as came_late`)

  const { rows } = await t.database.pool.query<{ statement: string }>('select statement from pg_prepared_statements')
  await t.close()
  expect(rows.filter(({ statement }) => statement.includes('came_late'))).toHaveLength(1)
  expect(rows.length).toBeLessThan(60)
})
