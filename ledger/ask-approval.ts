import { sql, type InferSelectModel, type SQL } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { BusTopic } from '../contracts/bus-topics.js'
import { uuidv7 } from '../contracts/ids.js'
import type { Tx } from './database.js'
import { emitEvent } from './emit-event.js'
import type { approvals } from './schema/index.js'

export type ApprovalRow = InferSelectModel<typeof approvals>

export interface Ask {
  readonly namespace: string
  readonly subject: string
  readonly details: Record<string, unknown>
  readonly agentId?: string | undefined
  readonly jobId?: string | undefined
  readonly workflow?: { readonly runId: string; readonly step: string } | undefined
  readonly correlationKey?: string | undefined
  readonly expiresInSeconds?: number | undefined
  readonly actor: Actor
  readonly nowMs: number
}

/** Asks for a decision: a row with its history, and an event that whoever decides can subscribe to. */
export async function askApproval(tx: Tx, ask: Ask): Promise<ApprovalRow> {
  const id = uuidv7(ask.nowMs)
  const { rows } = await tx.execute(sql`
    with asked as (
      insert into approvals (id, namespace, subject, details, agent_id, job_id, workflow_run_id, step, correlation_key, created_by, expires_at)
      values (${id}::uuid, ${ask.namespace}, ${ask.subject}, ${JSON.stringify(ask.details)}::jsonb, ${ask.agentId ?? null}, ${ask.jobId ?? null}::uuid,
        ${ask.workflow?.runId ?? null}::uuid, ${ask.workflow?.step ?? null}, ${ask.correlationKey ?? null}, ${`${ask.actor.kind}:${ask.actor.id}`},
        clock_timestamp() + make_interval(secs => ${ask.expiresInSeconds ?? null}::float8))
      returning *
    ), logged as (
      insert into approval_transitions (approval_id, seq, to_status, actor_kind, actor)
      select id, 1, 'pending', ${ask.actor.kind}::actor_kind, ${ask.actor.id} from asked
    )
    select * from asked`)
  // The end of the job looks for what it has left open.
  if (ask.jobId !== undefined) await tx.execute(sql`update jobs set awaited = true where id = ${ask.jobId}::uuid and not awaited`)
  await tellApproval(tx, rows[0] as ApprovalRow, 'approvals.asked', ask)
  return rows[0] as ApprovalRow
}

/** An approval that was asked or decided, as an event. */
export async function tellApproval(tx: Tx, approval: ApprovalRow, topic: BusTopic, by: { readonly actor: Actor; readonly nowMs: number }): Promise<void> {
  const { id, subject, status, note, job_id, workflow_run_id, step } = approval
  await emitEvent(
    tx,
    {
      namespace: approval.namespace,
      topic,
      ...(approval.agent_id === null ? {} : { source_agent: approval.agent_id as never }),
      ...(job_id === null ? {} : { source_job_id: job_id as never }),
      ...(approval.correlation_key === null ? {} : { correlation_key: approval.correlation_key }),
      payload: { approval_id: id, subject, status, note, job_id, workflow_run_id, step },
    },
    by,
  )
}

/** Withdraws one that nobody has decided. */
export async function withdrawApproval(tx: Tx, id: string, by: { readonly actor: Actor; readonly note: string; readonly nowMs: number }): Promise<void> {
  await withdrawAll(tx, sql`id = ${id}::uuid`, by.actor, by.note)
}

/** Withdraws what a job has asked and nobody has decided: the job is over, or goes on without. */
export async function withdrawApprovals(tx: Tx, jobId: string, actor: Actor, note: string): Promise<void> {
  await withdrawAll(tx, sql`job_id = ${jobId}::uuid`, actor, note)
}

async function withdrawAll(tx: Tx, which: SQL, actor: Actor, note: string): Promise<void> {
  await tx.execute(sql`
    with open as (
      select id from approvals where ${which} and status = 'pending' order by id for update
    ), withdrawn as (
      update approvals a set status = 'withdrawn', decided_at = clock_timestamp(), decided_by = ${`${actor.kind}:${actor.id}`}, note = ${note}, last_seq = last_seq + 1
      from open where a.id = open.id returning a.id, a.last_seq
    )
    insert into approval_transitions (approval_id, seq, to_status, actor_kind, actor, note)
    select id, last_seq, 'withdrawn', ${actor.kind}::actor_kind, ${actor.id}, ${note} from withdrawn`)
}
