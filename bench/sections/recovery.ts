import { sql } from 'drizzle-orm'
import { Redis } from 'ioredis'
import pg from 'pg'
import { z } from 'zod'
import { startAgentbus } from '../agentbus.js'
import type { Book } from '../figure.js'
import { nowMs } from '../open-loop.js'
import type { BenchOptions } from '../options.js'
import { inParallel } from '../parallel.js'
import type { Where } from '../stores.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import type { CommandContext } from '../../ledger/caller.js'

const OPERATOR: CommandContext = { caller: { role: 'internal', actor: { kind: 'system', id: 'bench' } } }
const PATIENCE_MS = 300_000
const BATCH = 500
/** A port where nobody answers: the agent is paused, nothing is delivered. */
const NOBODY = 'http://127.0.0.1:9'

/** From the wipe of the queue store until every queued job is an entry again, with API and workers in one process. */
export async function recovery(places: readonly Where[], finished: number, options: BenchOptions, book: Book): Promise<void> {
  for (const where of places) {
    const bus = await startAgentbus(where, { gatewayUrl: NOBODY, agents: ['bench'], concurrency: options.concurrency })
    const queue = await bus.queues.get('bench')
    try {
      await bus.setPaused(true)
      // The jobs of the backend before are still queued: this one shares its ledger.
      const missing = options.queued - (await bus.ledger.openCounts()).reduce((sum, { n }) => sum + n, 0)
      await inParallel(Math.ceil(missing / BATCH), 4, (at) => {
        const jobs = Array.from({ length: Math.min(BATCH, missing - at * BATCH) }, (_none, one) =>
          CreateJobBody.parse({ target_agent: 'bench', subject: `job ${at * BATCH + one}`, payload: {} }),
        )
        return bus.ledger.jobs.createBatch(OPERATOR, { jobs })
      })
      const entries = async (): Promise<number> => {
        const counts = await queue.getJobCounts('waiting', 'prioritized', 'delayed')
        // A worker that waited already when the agent was paused takes one entry more, and parks its job: that one needs none. The condition is that of an index.
        const { rows } = await bus.ledger.db.execute<{ n: number }>(sql`select count(*)::int as n from jobs where status = 'queued' and held_by is not null`)
        return Object.values(counts).reduce((sum, one) => sum + one, rows[0]?.n ?? 0)
      }
      await until(entries, options.queued)
      for (let run = 0; run < options.runs; run += 1) {
        await wipe(where)
        const startedMs = nowMs()
        await until(entries, options.queued)
        const key = { section: 'recovery', unit: 's', system: 'agentbus', way: 'processes', queues: where.queue.kind, finished } as const
        book.add({ ...key, figure: `until ${options.queued} jobs are entries again` }, (nowMs() - startedMs) / 1_000)
      }
    } finally {
      await bus.stop()
    }
  }
}

async function until(entries: () => Promise<number>, wanted: number): Promise<void> {
  const deadlineMs = nowMs() + PATIENCE_MS
  for (;;) {
    const found = await entries()
    if (found >= wanted) return
    if (nowMs() > deadlineMs) throw new Error(`${found} of ${wanted} jobs are entries after ${PATIENCE_MS / 1_000} s`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function wipe({ queue, databaseUrl }: Where): Promise<void> {
  if (queue.kind === 'redis') {
    const redis = new Redis(queue.url)
    await redis.flushdb()
    redis.disconnect()
    return
  }
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  const { rows } = await client.query<{ name: string }>(`select quote_ident(tablename) as name from pg_tables where schemaname = 'bullmq' and tablename not like '%migration%'`)
  const tables = rows.map(({ name }) => `bullmq.${name}`).join(', ')
  try {
    for (let isDone = false; !isDone;) {
      isDone = await client.query(`truncate ${tables}`).then(
        () => true,
        // TRUNCATE locks table by table and can cross a worker's transaction: PostgreSQL then ends one of the two.
        (error: unknown) => {
          if (z.object({ code: z.literal('40P01') }).safeParse(error).success) return false
          throw error
        },
      )
    }
  } finally {
    await client.end()
  }
}
