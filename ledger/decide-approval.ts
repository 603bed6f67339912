import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { ApprovalId, ApprovalStatus } from '../contracts/approvals.js'
import { AgentbusError } from '../contracts/errors.js'
import type { AgentId } from '../contracts/ids.js'
import { stepDecided } from './advance-workflow.js'
import { cancelUnstarted } from './release-dependents.js'
import { tellApproval, type ApprovalRow } from './ask-approval.js'
import type { Tx } from './database.js'
import { isFound } from './is-found.js'
import type { JobRow } from './rows.js'
import { adoptLocked } from './transition.js'
import { resume, type Condition } from './wake.js'

export interface Decision {
  readonly to: Extract<ApprovalStatus, 'approved' | 'rejected' | 'expired' | 'withdrawn'>
  readonly actor: Actor
  readonly note?: string | undefined
  readonly nowMs: number
  /** The agent that decides, if one does: what it has asked for itself, others decide. */
  readonly decider?: AgentId | undefined
}

/**
 * Decides an approval, once: its row, its history, the event, and whatever waited for it goes on, in one transaction.
 * @throws AGENTBUS_APPROVAL_NOT_FOUND, AGENTBUS_APPROVAL_DECIDED (also past its time), AGENTBUS_FORBIDDEN for the agent that asked
 */
export async function decideApproval(tx: Tx, id: ApprovalId, what: Decision): Promise<ApprovalRow> {
  const { rows } = await tx.execute(sql`select *, expires_at <= clock_timestamp() as past from approvals where id = ${id}::uuid for no key update`)
  const approval = rows[0] as (ApprovalRow & { readonly past: boolean | null }) | undefined
  if (approval === undefined) throw new AgentbusError('AGENTBUS_APPROVAL_NOT_FOUND', `No approval has the id ${id}.`, { approval_id: id })
  if (approval.status !== 'pending') {
    throw new AgentbusError('AGENTBUS_APPROVAL_DECIDED', `Approval ${id} was ${approval.status} by ${approval.decided_by ?? ''}.`, { approval_id: id, status: approval.status })
  }
  // The sweep that writes down what has expired comes by twice a second, or not at all while no worker runs.
  if (approval.past === true && (what.to === 'approved' || what.to === 'rejected')) {
    throw new AgentbusError('AGENTBUS_APPROVAL_DECIDED', `Approval ${id} could be decided until ${approval.expires_at ?? ''}.`, { approval_id: id, status: 'expired' })
  }
  if (what.decider !== undefined && approval.agent_id === what.decider) {
    throw new AgentbusError('AGENTBUS_FORBIDDEN', `${what.decider} has asked for approval ${id} itself; somebody else must decide it.`, { approval_id: id })
  }
  const decided = await write(tx, approval, what)
  if (what.to !== 'withdrawn') await tellApproval(tx, decided, `approvals.${what.to}`, what)
  const waiting = await tx.execute(sql`
    select * from jobs where status = 'blocked' and waits_for ->> 'kind' = 'approval' and waits_for ->> 'approval_id' = ${id} order by id for update`)
  for (const row of waiting.rows) await resume(tx, adoptLocked(row as JobRow), { ...decision(decided), actor: what.actor })
  await cancelUnstarted(tx, await stepDecided(tx, decided, what.nowMs), 'The workflow run fails.')
  return decided
}

async function write(tx: Tx, approval: ApprovalRow, { to, actor, note }: Decision): Promise<ApprovalRow> {
  const { rows } = await tx.execute(sql`
    with decided as (
      update approvals set status = ${to}::approval_status, decided_at = clock_timestamp(), decided_by = ${`${actor.kind}:${actor.id}`}, note = ${note ?? null},
        last_seq = last_seq + 1
      where id = ${approval.id}::uuid returning *
    ), logged as (
      insert into approval_transitions (approval_id, seq, to_status, actor_kind, actor, note)
      select id, last_seq, status, ${actor.kind}::actor_kind, ${actor.id}, note from decided
    )
    select * from decided`)
  return rows[0] as ApprovalRow
}

/** What whoever waited for it is told. */
export function decision(approval: ApprovalRow): Condition {
  const { id, status, note, decided_by: by } = approval
  return {
    note: `The approval was ${status}.`,
    details: { approval_id: id, decision: status },
    answer: { kind: 'approval', approval_id: id, decision: status, note, decided_by: by },
  }
}

/** Whether {@link expiredApprovals} finds any. */
export const APPROVALS_EXPIRED = isFound(sql`approvals where status = 'pending' and expires_at <= statement_timestamp() order by expires_at`)

/** Approvals past their time. @returns their ids, oldest first */
export async function expiredApprovals(tx: Tx, limit: number): Promise<ApprovalId[]> {
  const { rows } = await tx.execute<{ id: ApprovalId }>(sql`
    select id from approvals where status = 'pending' and expires_at <= clock_timestamp() order by expires_at limit ${limit} for no key update skip locked`)
  return rows.map((row) => row.id)
}
