import pg from 'pg'
import type { Book } from '../figure.js'
import { checkpoint } from '../old-ledger.js'
import type { BenchOptions } from '../options.js'
import type { Where } from '../stores.js'
import { openAgentbus } from '../systems/agentbus-in-process.js'
import { inProcess } from '../systems/in-process.js'

/** Tables that a job leaves more than this share of a percent in are named. */
const WORTH_NAMING = 0.01

/**
 * What a finished job takes in the ledger for good: all tables with indexes and TOAST, before and after, with the checkpoints
 * that cover the jobs taken. Without VACUUM FULL, so what updates have left behind counts, as it does in real life.
 */
export async function bytes(places: readonly Where[], options: BenchOptions, book: Book): Promise<void> {
  for (let run = 0; run < options.runs; run += 1) {
    for (const where of places) {
      const key = { section: 'bytes', unit: 'bytes a job', system: 'agentbus', way: 'in process', queues: where.queue.kind, finished: 0 } as const
      const entry = inProcess(await openAgentbus(where, options.concurrency))
      const before = await sizes(where)
      await entry.begin()
      await entry.rate({ jobs: options.jobs, callers: options.callers })
      await entry.stop()
      await checkpoint(where)
      const after = await sizes(where)
      const grown = [...after].map(([table, size]) => ({ table, each: (size - (before.get(table) ?? 0)) / options.jobs }))
      const total = grown.reduce((sum, { each }) => sum + each, 0)
      book.add({ ...key, figure: 'ledger, all tables' }, total)
      for (const { table, each } of grown.sort((a, b) => b.each - a.each)) if (each > total * WORTH_NAMING) book.add({ ...key, figure: `of which ${table}` }, each)
    }
  }
}

async function sizes(where: Where): Promise<Map<string, number>> {
  const client = new pg.Client({ connectionString: where.databaseUrl })
  await client.connect()
  await client.query('vacuum analyze')
  const { rows } = await client.query<{ table: string; size: number }>(
    `select c.relname as table, pg_total_relation_size(c.oid)::float8 as size from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public' and c.relkind = 'r'`,
  )
  await client.end()
  return new Map(rows.map(({ table, size }) => [table, size]))
}
