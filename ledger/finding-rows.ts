import { sql, type InferSelectModel } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { FindingId, FindingMove, FindingView, InboxMessageView, MessageId } from '../contracts/findings.js'
import type { AgentId } from '../contracts/ids.js'
import type { Tx } from './database.js'
import { instantOf } from './presence.js'
import { iso } from './rows.js'
import type { findings, inbox_messages } from './schema/index.js'

export type FindingRow = InferSelectModel<typeof findings>
export type MessageRow = InferSelectModel<typeof inbox_messages>

/** Who does something to a finding, and for which run. */
export interface FindingActor {
  readonly actor: Actor
  readonly jobId?: string | undefined
  readonly attemptId?: string | undefined
  readonly nowMs: number
}

/** Locks findings in the order of their ids, so that no two transactions wait for each other. */
export async function lockFindings(tx: Tx, ids: readonly string[]): Promise<FindingRow[]> {
  if (ids.length === 0) return []
  const { rows } = await tx.execute(sql`select * from findings where id = any(${sql.param(ids)}::uuid[]) order by id for update`)
  return rows as FindingRow[]
}

/** @throws AGENTBUS_NOT_FOUND */
export async function lockFinding(tx: Tx, id: FindingId): Promise<FindingRow> {
  const [row] = await lockFindings(tx, [id])
  if (row === undefined) throw new AgentbusError('AGENTBUS_NOT_FOUND', `No finding has the id ${id}.`)
  return row
}

/** Appends a row to the history of a finding whose lock the caller holds. */
export async function recordMove(
  tx: Tx,
  findingId: string,
  kind: FindingMove,
  by: FindingActor,
  more: { readonly messageId?: string | undefined; readonly details?: Record<string, unknown> } = {},
): Promise<void> {
  await tx.execute(sql`
    with bumped as (update findings set last_seq = last_seq + 1 where id = ${findingId}::uuid returning last_seq)
    insert into finding_history (finding_id, seq, kind, message_id, job_id, attempt_id, actor_kind, actor, details, at)
    select ${findingId}::uuid, last_seq, ${kind}::finding_move, ${more.messageId ?? null}::uuid, ${by.jobId ?? null}::uuid, ${by.attemptId ?? null}::uuid,
      ${by.actor.kind}::actor_kind, ${by.actor.id}, ${JSON.stringify(more.details ?? {})}::jsonb, ${instantOf(by.nowMs)}::timestamptz
    from bumped`)
}

function isoOrNull(text: string | null): string | null {
  return text === null ? null : iso(text)
}

export function findingView(row: FindingRow): FindingView {
  return {
    id: row.id as FindingId,
    namespace: row.namespace,
    agent_id: row.agent_id as AgentId,
    topic: row.topic,
    subject_key: row.subject_key,
    level: row.level,
    body: row.body,
    data: row.data,
    source_agent: row.source_agent as AgentId | null,
    since: iso(row.since),
    first_seen_at: iso(row.first_seen_at),
    last_seen_at: iso(row.last_seen_at),
    count: row.count,
    last_raised_at: isoOrNull(row.last_raised_at),
    nag_count: row.nag_count,
    nag_level: row.nag_level,
    status: row.status,
    settled_at: isoOrNull(row.settled_at),
    settled_as: row.settled_as as FindingView['settled_as'],
  }
}

/** A message with what its finding says now. */
export function messageView(message: MessageRow, finding: FindingRow): InboxMessageView {
  return {
    id: message.id as MessageId,
    finding_id: finding.id as FindingId,
    agent_id: message.agent_id as AgentId,
    topic: finding.topic,
    subject_key: finding.subject_key,
    level: message.level,
    tone: message.tone,
    nag_level: message.nag_level,
    text: message.text,
    data: finding.data,
    source_agent: finding.source_agent as AgentId | null,
    first_seen_at: iso(finding.first_seen_at),
    last_seen_at: iso(finding.last_seen_at),
    count: finding.count,
    status: message.status,
    created_at: iso(message.created_at),
    read_by: message.read_by,
    read_at: isoOrNull(message.read_at),
    closed_at: isoOrNull(message.closed_at),
    outcome: message.outcome as InboxMessageView['outcome'],
    note: message.note,
  }
}
