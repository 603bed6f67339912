import type pg from 'pg'
import { LATE_MS, surveyInPortions, type Glance, type Survey } from './survey.js'

/** BullMQ's tables, each part by the partial index that its own commands use: what is finished costs nothing here. */
const GLANCES = `
  select held > 0 as held, waiting or next_ms is not null as filled, scheduled, "limit", paused,
    (waiting or coalesce(next_ms < extract(epoch from clock_timestamp()) * 1000 - $2, false)) and not paused and held < coalesce("limit", held + 1) as due
  from (
    select at,
      (select count(*) from job where queue = asked.queue_name and state = 'active') as held,
      exists (select from job where queue = asked.queue_name and state = 'waiting') as waiting,
      (select min(process_at_ms) from job where queue = asked.queue_name and state = 'delayed') as next_ms,
      exists (select from scheduler where queue = asked.queue_name) as scheduled,
      (select value::int from meta where queue = asked.queue_name and field = 'concurrency') as "limit",
      exists (select from meta where queue = asked.queue_name and field = 'paused') as paused
    from unnest($1::text[]) with ordinality as asked (queue_name, at)
  ) as seen
  order by at`

/** @returns a glance at each queue, by one statement for each thousand */
export async function surveyPostgres(pool: pg.Pool, names: readonly string[]): Promise<Survey> {
  return surveyInPortions(names, async (portion) => {
    const { rows } = await pool.query<Omit<Glance, 'limit'> & { limit: number | null }>({ name: 'agentbus-survey', text: GLANCES, values: [portion, LATE_MS] })
    return rows.map(({ limit, ...marks }): Glance => ({ ...marks, limit: limit ?? undefined }))
  })
}

/** Says what BullMQ says when an entry is added; the workers of all processes listen. */
export async function wakePostgres(pool: pg.Pool, names: readonly string[]): Promise<void> {
  if (names.length > 0) await pool.query(`select pg_notify('bullmq_jobs', name) from unnest($1::text[]) as name`, [names])
}
