import { sql, type SQL } from 'drizzle-orm'
import type { AgentId, JobId } from '../../contracts/ids.js'
import type { JobStatus, Lane } from '../../contracts/job-states.js'
import type { Tx } from '../database.js'
import { uuidCursor } from '../queries.js'
import { iso } from '../rows.js'

/** So many jobs are looked through for one page; whoever searches for something rare goes on from there. */
export const SEARCH_BUDGET = 20_000

export interface JobSearch {
  readonly namespace?: string | undefined
  readonly job_type?: string | undefined
  readonly agent?: string | undefined
  readonly source?: string | undefined
  readonly lane?: Lane | undefined
  readonly status?: JobStatus | undefined
  /** A part of the subject or of the last error, in any case; or the id of a job. */
  readonly text?: string | undefined
  readonly correlation_key?: string | undefined
  readonly flow_key?: string | undefined
  readonly parent_job_id?: string | undefined
  /** Created at or after, and before. ISO 8601. */
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly cursor?: string | undefined
  readonly limit: number
}

export interface FoundJob {
  readonly id: JobId
  readonly subject: string
  readonly status: JobStatus
  readonly lane: Lane
  readonly target_agent: AgentId | null
  readonly source_agent: AgentId | null
  readonly attempt_count: number
  readonly max_attempts: number
  readonly correlation_key: string | null
  readonly last_error: string | null
  readonly created_at: string
  readonly finished_at: string | null
}

export interface FoundJobs {
  readonly items: readonly FoundJob[]
  readonly next_cursor: string | null
  /** The budget ended the search before the page was full: there may be more further back. */
  readonly cut: boolean
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * Newest first, by keyset. An index leads through at most {@link SEARCH_BUDGET} jobs; the other conditions are asked of
 * those. So a page costs the same whatever the size of the history and however rare the match.
 */
export async function searchJobs(tx: Tx, search: JobSearch): Promise<FoundJobs> {
  const text = search.text?.trim()
  if (text !== undefined && UUID.test(text)) return byId(tx, text)
  const walk = walkOf(search)
  const inner = sql`select * from jobs where ${walk.where} order by ${walk.order} limit ${SEARCH_BUDGET}`
  const { rows } = await tx.execute(sql`
    select ${COLUMNS} from (${inner}) j where ${sql.join([sql`true`, ...walk.asked, ...textConditions(text)], sql` and `)} order by id desc limit ${search.limit + 1}`)
  const found = rows.map(foundJob)
  if (found.length > search.limit) return { items: found.slice(0, search.limit), next_cursor: found[search.limit - 1]?.id ?? null, cut: false }
  const last = await tx.execute<{ id: string }>(sql`select id from jobs where ${walk.where} order by ${walk.order} offset ${SEARCH_BUDGET - 1} limit 1`)
  return { items: found, next_cursor: last.rows[0]?.id ?? null, cut: last.rows.length > 0 }
}

const COLUMNS = sql`id, left(subject, 500) as subject, status, lane, target_agent, source_agent, attempt_count, max_attempts, correlation_key, left(last_error, 300) as last_error, created_at, finished_at`

async function byId(tx: Tx, id: string): Promise<FoundJobs> {
  const { rows } = await tx.execute(sql`select ${COLUMNS} from jobs where id = ${id.toLowerCase()}::uuid`)
  return { items: rows.map(foundJob), next_cursor: null, cut: false }
}

/** The conditions that one index answers, and those that are asked of what it leads to. Many jobs share a namespace, so it leads only where nothing else does. */
function walkOf(search: JobSearch): { readonly where: SQL; readonly asked: SQL[]; readonly order: SQL } {
  const where: SQL[] = []
  const asked: SQL[] = []
  const led = search.correlation_key ?? search.flow_key ?? search.parent_job_id
  const isRare = search.status !== undefined && search.status !== 'succeeded'
  if (search.correlation_key !== undefined) where.push(sql`correlation_key = ${search.correlation_key}`)
  if (search.flow_key !== undefined) where.push(sql`flow_key = ${search.flow_key}`)
  if (search.parent_job_id !== undefined) where.push(sql`parent_job_id = ${search.parent_job_id}::uuid`)
  if (search.status !== undefined) (led === undefined && (isRare || search.agent === undefined) ? where : asked).push(sql`status = ${search.status}::job_status`)
  if (search.agent !== undefined) (led === undefined && !isRare ? where : asked).push(sql`target_agent = ${search.agent}`)
  const isLed = led !== undefined || search.status !== undefined || search.agent !== undefined
  if (search.namespace !== undefined) (isLed ? asked : where).push(sql`namespace = ${search.namespace}`)
  if (search.job_type !== undefined) asked.push(sql`job_type = ${search.job_type}`)
  if (search.lane !== undefined) asked.push(sql`lane = ${search.lane}::lane`)
  if (search.source !== undefined) asked.push(sql`source_agent = ${search.source}`)
  if (search.from !== undefined) where.push(sql`id >= ${idAt(search.from)}::uuid`)
  if (search.to !== undefined) where.push(sql`id < ${idAt(search.to)}::uuid`)
  if (search.cursor !== undefined) where.push(sql`id < ${uuidCursor(search.cursor)}::uuid`)
  // As `jobs_created_idx` has them; in the order of the primary key a rare namespace would be looked for in the whole history.
  const order = search.namespace !== undefined && !isLed ? sql`id desc nulls last` : sql`id desc`
  return { where: where.length === 0 ? sql`true` : sql.join(where, sql` and `), asked, order }
}

function textConditions(text: string | undefined): SQL[] {
  if (text === undefined || text === '') return []
  const pattern = `%${text.replace(/[\\%_]/g, '\\$&')}%`
  return [sql`(subject ilike ${pattern} or last_error ilike ${pattern})`]
}

/** The smallest id of a job that was made at that time: ids begin with the milliseconds. */
export function idAt(time: string): string {
  const hex = Math.max(0, Date.parse(time)).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-0000-0000-000000000000`
}

function foundJob(row: Record<string, unknown>): FoundJob {
  return {
    ...(row as unknown as FoundJob),
    attempt_count: Number(row['attempt_count']),
    max_attempts: Number(row['max_attempts']),
    created_at: iso(String(row['created_at'])),
    finished_at: row['finished_at'] === null ? null : iso(String(row['finished_at'])),
  }
}
