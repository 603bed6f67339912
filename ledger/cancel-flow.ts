import { sql, type SQL } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { MOST_NAMED, type CancelFlowBody, type CancelledFlow } from '../contracts/controls.js'
import { AgentbusError } from '../contracts/errors.js'
import type { JobId } from '../contracts/ids.js'
import type { Db, Tx } from './database.js'
import { cancelJob } from './operate-job.js'
import { lockJob } from './transition.js'

/** Jobs of one transaction. */
const PAGE = 100
const NIL = '00000000-0000-0000-0000-000000000000'

export interface CancelFlow {
  readonly body: CancelFlowBody
  readonly actor: Actor
}

interface Named {
  readonly id: JobId
  readonly status: CancelledFlow['jobs'][number]['status']
  readonly target_agent: string | null
  readonly subject: string
}

/**
 * Cancels all jobs that belong together, page by page, each page a transaction: what was cancelled stays so if the next one
 * fails, and the same command goes on where it ended. It looks again until it finds nothing more, so that what a job has
 * made meanwhile is found too; a job that is left to run may still make more afterwards.
 * @throws AGENTBUS_JOB_NOT_FOUND when nothing ever belonged to it
 */
export async function cancelFlow(run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>, request: CancelFlow): Promise<CancelledFlow> {
  const { body } = request
  // A run of a workflow is known to whoever cancels it, and may have sent nobody anything yet.
  if (body.workflow_run_id === undefined) await run((tx) => mustBeKnown(tx, body))
  const cancelled: Named[] = []
  let count = 0
  for (;;) {
    let found = 0
    for (let after: string = NIL; ;) {
      const page = await run((tx) => cancelPage(tx, request, after))
      for (const job of page.cancelled) if (cancelled.length < MOST_NAMED) cancelled.push(job)
      found += page.cancelled.length
      if (page.last === undefined) break
      after = page.last
    }
    count += found
    if (found === 0) break
  }
  return run(async (tx) => {
    const left = await openOf(tx, body, sql`true`, MOST_NAMED)
    const { rows } = await tx.execute<{ n: number }>(sql`select count(*)::int as n from (${belongs(body)}) b join jobs j on j.id = b.id where j.finished_at is null`)
    return { cancelled: count, left_running: rows[0]?.n ?? 0, jobs: [...cancelled, ...left].slice(0, MOST_NAMED) }
  })
}

async function cancelPage(tx: Tx, { body, actor }: CancelFlow, after: string): Promise<{ cancelled: Named[]; last: string | undefined }> {
  const held = body.running === 'cancel' ? sql`true` : sql`j.status not in ('leased', 'running')`
  const page = await openOf(tx, body, sql`j.id > ${after}::uuid and ${held}`, PAGE)
  const cancelled: Named[] = []
  for (const { id } of page) {
    const job = await lockJob(tx, id)
    // It has ended, or begun, since; another cancellation of this page may have ended it as well.
    if (job.finished_at !== null || (body.running === 'leave' && (job.status === 'leased' || job.status === 'running'))) continue
    const { status, target_agent, subject } = await cancelJob(tx, job, { actor, reason: body.reason, details: flowOf(body) })
    cancelled.push({ id, status, target_agent, subject })
  }
  return { cancelled, last: page.length < PAGE ? undefined : page.at(-1)?.id }
}

/** What the history row of each cancelled job says of the whole. */
function flowOf({ correlation_key, flow_key, workflow_run_id, job_id }: CancelFlowBody): Record<string, unknown> {
  if (correlation_key !== undefined) return { flow: { correlation_key } }
  if (flow_key !== undefined) return { flow: { flow_key } }
  return { flow: workflow_run_id === undefined ? { descendants_of: job_id } : { workflow_run_id } }
}

async function openOf(db: Db | Tx, body: CancelFlowBody, where: SQL, limit: number): Promise<Named[]> {
  const { rows } = await db.execute(sql`
    select j.id, j.status, j.target_agent, j.subject from (${belongs(body)}) b join jobs j on j.id = b.id
    where j.finished_at is null and ${where} order by j.id limit ${limit}`)
  return rows as unknown as Named[]
}

/** The ids of all jobs that belong together, ended or not: what a job made belongs to it, also when it is over itself. */
function belongs(body: CancelFlowBody): SQL {
  if (body.correlation_key !== undefined) return sql`select id from jobs where correlation_key = ${body.correlation_key} and namespace = ${body.namespace}`
  if (body.flow_key !== undefined) return sql`select id from jobs where flow_key = ${body.flow_key} and namespace = ${body.namespace}`
  const first =
    body.workflow_run_id === undefined
      ? sql`select ${body.job_id ?? null}::uuid as id`
      : sql`select job_id as id from workflow_steps where run_id = ${body.workflow_run_id}::uuid and job_id is not null`
  return sql`
    with recursive family as (
      ${first} union select c.id from jobs c join family f on c.parent_job_id = f.id
    ) select id from family`
}

async function mustBeKnown(db: Db, body: CancelFlowBody): Promise<void> {
  const { rows } = await db.execute(sql`select 1 from (${belongs(body)}) b join jobs j on j.id = b.id limit 1`)
  if (rows.length > 0) return
  const what = body.correlation_key ?? body.flow_key ?? body.job_id ?? ''
  throw new AgentbusError('AGENTBUS_JOB_NOT_FOUND', body.job_id === undefined ? `No job has the key ${what}.` : `No job has the id ${what}.`)
}
