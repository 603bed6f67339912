import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR } from '../contracts/actor.js'
import type { AgentId, JobId } from '../contracts/ids.js'
import { CreateJobBody } from '../contracts/jobs.js'
import { createJob } from './create-job.js'
import type { Tx } from './database.js'
import { emitEvent } from './emit-event.js'
import { readInboxConfig } from './inbox-config.js'
import { isFound } from './is-found.js'
import { readPolicy } from './policies.js'
import { iso, type JobRow } from './rows.js'
import { adoptLocked, note, type LockedJob } from './transition.js'

/** The type of the job that asks somebody to plan anew. One that is blocked itself is not escalated to another. */
const REPLAN = 'blocked.replan'

/** Whether {@link escalateBlocked} has anything to do. */
export const ESCALATIONS_DUE = isFound(sql`jobs where escalate_at <= statement_timestamp() and status = 'blocked' order by escalate_at`)

/**
 * Asks the coordinator (or whom the fleet file names) to plan anew for each job that is blocked beyond its patience: once
 * per block, with an event and a row. @returns how many jobs were escalated
 */
export async function escalateBlocked(tx: Tx, request: { readonly nowMs: number; readonly limit: number }): Promise<number> {
  const { rows } = await tx.execute(sql`
    select * from jobs where escalate_at <= clock_timestamp() and status = 'blocked' order by escalate_at limit ${request.limit} for update skip locked`)
  if (rows.length === 0) return 0
  const replanner = await whoPlansAnew(tx)
  for (const row of rows) await escalate(tx, adoptLocked(row as JobRow), replanner, request.nowMs)
  return rows.length
}

async function whoPlansAnew(tx: Tx): Promise<AgentId | undefined> {
  const { config } = await readPolicy(tx, 'blocked')
  return config.replan ?? (await readInboxConfig(tx)).config.coordinator
}

async function escalate(tx: Tx, job: LockedJob, replanner: AgentId | undefined, nowMs: number): Promise<void> {
  const to = job.job_type === REPLAN ? undefined : replanner
  await tx.execute(sql`update jobs set escalate_at = null where id = ${job.id}::uuid`)
  const payload = {
    blocked_job_id: job.id,
    agent: job.target_agent,
    subject: job.subject,
    blocked_reason: job.blocked_reason,
    blocked_owner: job.blocked_owner,
    unblock_action: job.unblock_action,
    waits_for: job.waits_for,
    blocked_at: job.blocked_at === null ? null : iso(job.blocked_at),
  }
  const replan =
    to === undefined
      ? undefined
      : await createJob(
          tx,
          CreateJobBody.parse({
            namespace: job.namespace,
            target_agent: to,
            job_type: REPLAN,
            subject: `Blocked for too long: ${job.subject}`.slice(0, 500),
            payload,
            priority: Math.min(1_000, job.priority + 100),
            dedupe_key: `replan:${job.id}:${job.last_seq}`,
            parent_job_id: job.id,
            ...(job.correlation_key === null ? {} : { correlation_key: job.correlation_key }),
            ...(job.flow_key === null ? {} : { flow_key: job.flow_key }),
          }),
          { actor: SYSTEM_ACTOR, nowMs },
        )
  await note(tx, job, {
    reason: 'escalated',
    actor: SYSTEM_ACTOR,
    note: to === undefined ? 'Nobody is named to plan anew.' : `${to} is asked to plan anew.`,
    details: { replan_job_id: replan?.job.id ?? null, to: to ?? null },
  })
  await emitEvent(
    tx,
    { namespace: job.namespace, topic: 'jobs.escalated', source_job_id: job.id as JobId, payload: { ...payload, replan_job_id: replan?.job.id ?? null } },
    { actor: SYSTEM_ACTOR, nowMs },
  )
}
