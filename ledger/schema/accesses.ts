import { sql } from 'drizzle-orm'
import { bigint, index, integer, jsonb, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { byTransaction, instant, writtenIn } from './columns.js'
import { actorKind } from './enums.js'

/** What was read over the API, by whom. Written in batches after the answer; append-only. */
export const accesses = pgTable(
  'accesses',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    at: instant('at').notNull(),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    agent_id: text('agent_id'),
    attempt_id: uuid('attempt_id'),
    /** The job that was read, if it was one. */
    job_id: uuid('job_id'),
    /** The route, such as `/v1/jobs/{id}`; `lost` for a row that counts reads that could not be written down. */
    route: text('route').notNull(),
    /** Path parameters and query, as the API understood them. */
    target: jsonb('target').notNull().default({}).$type<Record<string, unknown>>(),
    status: integer('status').notNull(),
    xact: writtenIn(),
  },
  (t) => [
    index('accesses_agent_idx')
      .on(t.agent_id, t.at)
      .where(sql`agent_id is not null`),
    index('accesses_job_idx')
      .on(t.job_id, t.at)
      .where(sql`job_id is not null`),
    index('accesses_at_idx').on(t.at),
    byTransaction('accesses'),
  ],
)
