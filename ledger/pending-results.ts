import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR } from '../contracts/actor.js'
import { PENDING_RESULT } from '../contracts/findings.js'
import type { AgentId } from '../contracts/ids.js'
import { ADVISORY } from './advisory-locks.js'
import type { Tx } from './database.js'
import { fileFinding } from './file-finding.js'
import { lockFindings, type FindingActor } from './finding-rows.js'
import { readInboxConfig } from './inbox-config.js'
import { isFound } from './is-found.js'
import { instantOf } from './presence.js'
import { settleFinding } from './settle-finding.js'

/** As text: a partial index is found only by the word that it was made with. */
const OPEN_PENDING = sql`f.topic = '${sql.raw(PENDING_RESULT)}' and f.status = 'open'`
const ITS_JOB = sql`j.id = case when f.subject_key ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then f.subject_key::uuid end`

/** Whether {@link settleAnswered} has anything to do. */
export const RESULTS_ANSWERED = isFound(sql`findings f join jobs j on ${ITS_JOB} where ${OPEN_PENDING} and j.finished_at is not null order by f.subject_key`)

/** Whether {@link watchPendingResults} may have anything to do: any open work that was handed over, since after how long that counts is for the fleet's rules to say. */
export const WORK_HANDED_OVER = isFound(sql`jobs where finished_at is null and source_agent is not null and source_agent <> target_agent order by created_at`)

/**
 * Files a finding for work that one agent handed to another and that has no result after the minutes of the fleet's rules,
 * and again each time the wait has doubled, so that the nag policy has something to go by.
 * @returns how many were filed
 */
export async function watchPendingResults(tx: Tx, what: { readonly nowMs: number; readonly limit: number }): Promise<number> {
  const { config } = await readInboxConfig(tx)
  const { enabled, after_minutes: minutes, to } = config.pending_result
  if (!enabled) return 0
  // Two that count one overdue result would ask for it half as often.
  const { rows: locks } = await tx.execute<{ got: boolean }>(sql`select pg_try_advisory_xact_lock(${ADVISORY.pendingResults}) as got`)
  if (locks[0]?.got !== true) return 0
  const inbox = to === 'coordinator' ? (config.coordinator ?? null) : null
  const now = instantOf(what.nowMs)
  const { rows } = await tx.execute(sql`
    select j.id, j.namespace, j.source_agent, j.target_agent, j.subject, j.status, j.blocked_reason,
      greatest(j.created_at, j.run_after) as handed_over_at, coalesce(${inbox}::text, j.source_agent) as inbox
    from jobs j
      left join findings f on f.topic = ${PENDING_RESULT} and f.status = 'open' and f.subject_key = j.id::text
    where j.finished_at is null and j.source_agent is not null and j.source_agent <> j.target_agent
      and j.created_at <= ${now}::timestamptz - make_interval(secs => ${minutes * 60})
      and greatest(j.created_at, j.run_after) <= ${now}::timestamptz - make_interval(secs => ${minutes * 60} * power(2, least(coalesce(f.count, 0), 20)))
      and exists (select from agents a where a.id = coalesce(${inbox}::text, j.source_agent))
    order by f.id, j.created_at limit ${what.limit}`)
  for (const row of rows) {
    const since = instantOf(Date.parse(String(row['handed_over_at'])))
    const waited = Math.round((what.nowMs - Date.parse(since)) / 60_000)
    const why = row['status'] === 'blocked' ? `blocked: ${String(row['blocked_reason'])}` : String(row['status'])
    await fileFinding(
      tx,
      {
        namespace: String(row['namespace']),
        topic: PENDING_RESULT,
        subject_key: String(row['id']),
        level: 'warning',
        body: `${String(row['source_agent'])} handed "${String(row['subject'])}" to ${String(row['target_agent'])} ${waited} minutes ago; there is no result (${why}).`.slice(
          0,
          4_000,
        ),
        data: { job_id: row['id'], source_agent: row['source_agent'], target_agent: row['target_agent'], status: row['status'], handed_over_at: since },
        to: row['inbox'] as AgentId,
        since,
      },
      { actor: SYSTEM_ACTOR, jobId: String(row['id']), nowMs: what.nowMs },
    )
  }
  return rows.length
}

/** The result has come: the finding that asked for it is over, and its message with it. */
export async function settleAnswered(tx: Tx, what: { readonly nowMs: number; readonly agentId?: string | undefined }): Promise<number> {
  const { rows } = await tx.execute(sql`
    select f.id from findings f join jobs j on ${ITS_JOB}
    where f.topic = ${PENDING_RESULT} and f.status = 'open' and j.finished_at is not null
      and (${what.agentId ?? null}::text is null or f.agent_id = ${what.agentId ?? null})
    order by f.id limit 500`)
  const over = await lockFindings(
    tx,
    rows.map((row) => String(row['id'])),
  )
  const by: FindingActor = { actor: SYSTEM_ACTOR, nowMs: what.nowMs }
  let settled = 0
  for (const finding of over) {
    if (finding.status !== 'open') continue
    await settleFinding(tx, finding, 'answered', { ...by, jobId: finding.subject_key })
    settled += 1
  }
  return settled
}
