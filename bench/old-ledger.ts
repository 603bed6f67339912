import pg from 'pg'
import { takeCheckpoint } from '../ledger/audit/take-checkpoint.js'
import { inTransaction, openDatabase, type Database } from '../ledger/database.js'
import { countHistory } from '../ledger/metrics/count-history.js'
import type { Where } from './stores.js'
import { openAgentbus } from './systems/agentbus-in-process.js'
import { inProcess } from './systems/in-process.js'

/** Jobs per transaction while the copies are made. */
const PER_TRANSACTION = 20_000
/** Seconds between two copies in the past: a million jobs are three months of work. */
const APART_SECONDS = 8

/** What a copy has of its own; every other column is the original's. */
const OWN: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  jobs: { id: 'm.job' },
  job_attempts: { id: 'm.attempt', job_id: 'm.job', prompt_hash: 'm.prompt' },
  job_transitions: { job_id: 'm.job', attempt_id: 'case when o.attempt_id is not null then m.attempt end' },
  prompts: { hash: 'm.prompt', body: 'replace(o.body, m.original::text, m.job::text)' },
}
const ORIGINALS: Readonly<Record<string, string>> = {
  jobs: 'o.id = m.original',
  job_attempts: 'o.job_id = m.original',
  job_transitions: 'o.job_id = m.original',
  prompts: 'o.hash = (select a.prompt_hash from job_attempts a where a.job_id = m.original)',
}

/**
 * Fills a ledger with finished jobs: one job goes through the real bus, and its rows are copied under new ids that lie in the
 * past. Triggers and foreign keys are off meanwhile, so the copies are not chained; for speed only their number, their width
 * and their place in the indexes count. They bear the transaction of the original, which a checkpoint covers and metrics have counted, as in a real ledger.
 */
export async function growOld(where: Where, jobs: number): Promise<void> {
  const original = inProcess(await openAgentbus(where, 1))
  try {
    await original.begin()
    await original.rate({ jobs: 1, callers: 1 })
  } finally {
    await original.stop()
  }
  await checkpoint(where)
  await count(where)
  const client = new pg.Client({ connectionString: where.databaseUrl })
  await client.connect()
  try {
    await client.query('create temp table made (job uuid, attempt uuid, prompt text, original uuid)')
    for (let from = 0; from < jobs; from += PER_TRANSACTION) await copy(client, from, Math.min(jobs, from + PER_TRANSACTION))
    await client.query('vacuum analyze')
    await client.query('checkpoint')
  } finally {
    await client.end()
  }
}

async function copy(client: pg.Client, from: number, to: number): Promise<void> {
  await client.query('begin')
  await client.query('set local session_replication_role = replica')
  await client.query('truncate made')
  await client.query(
    `insert into made select uuidv7(make_interval(secs => -$3 * n)), attempt, encode(sha256(attempt::text::bytea), 'hex'), original
     from generate_series($1::int, $2::int - 1) n, lateral (select uuidv7(make_interval(secs => 1 - $3 * n)) as attempt) a,
       (select id as original from jobs order by created_at limit 1) o`,
    [from, to, APART_SECONDS],
  )
  for (const [table, own] of Object.entries(OWN)) {
    const { rows } = await client.query<{ name: string; always: boolean }>(
      `select attname as name, attidentity = 'a' as always from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''`,
      [table],
    )
    const columns = rows.filter(({ always }) => !always).map(({ name }) => name)
    const values = columns.map((name) => own[name] ?? `o.${pg.escapeIdentifier(name)}`)
    await client.query(
      `insert into ${table} (${columns.map((name) => pg.escapeIdentifier(name)).join(', ')}) select ${values.join(', ')} from made m join ${table} o on ${ORIGINALS[table] ?? ''}`,
    )
  }
  await client.query('commit')
}

/** Counts the totals of the metrics until nothing is left to count. */
async function count(where: Where): Promise<void> {
  await withDatabase(where, async ({ db }) => {
    while (await inTransaction(db, countHistory));
  })
}

/** Takes checkpoints until there is nothing more to cover. */
export async function checkpoint(where: Where): Promise<void> {
  await withDatabase(where, async ({ db }) => {
    while ((await takeCheckpoint(db, { signer: undefined })).kind === 'taken');
  })
}

async function withDatabase(where: Where, work: (database: Database) => Promise<void>): Promise<void> {
  const database = openDatabase({ url: where.databaseUrl, poolSize: 1, applicationName: 'bench', onError: (error) => console.error(error.message) })
  try {
    await work(database)
  } finally {
    await database.close()
  }
}
