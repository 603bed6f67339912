import { sql } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { AcknowledgeBody, InboxMessageView, ReadInboxBody } from '../contracts/findings.js'
import type { Tx } from './database.js'
import { lockFindings, messageView, recordMove, type FindingActor, type FindingRow, type MessageRow } from './finding-rows.js'
import { instantOf } from './presence.js'
import { settleFinding } from './settle-finding.js'

/** Who reads: an attempt, which holds what it read until it ends, or a token, which holds it for a time. */
export interface InboxReader extends FindingActor {
  /** `attempt:<id>` or `token:<id>`. */
  readonly key: string
}

/**
 * Gives a reader what is open in an inbox, worst first: each message to one reader at a time. What a reader leaves without
 * acknowledging it is given to the next.
 */
export async function readInbox(tx: Tx, agentId: string, body: ReadInboxBody, reader: InboxReader): Promise<InboxMessageView[]> {
  const now = instantOf(reader.nowMs)
  const free = sql`(m.status = 'unread' or (m.status = 'read' and (m.read_until <= ${now}::timestamptz
    or exists (select from job_attempts a where a.id = m.read_attempt_id and a.finished_at is not null))))`
  const candidates = await tx.execute(sql`
    select m.finding_id from inbox_messages m join findings f on f.id = m.finding_id
    where m.agent_id = ${agentId} and m.status in ('unread', 'read') and ${free} and (${body.topic ?? null}::text is null or f.topic = ${body.topic ?? null})
    order by m.level desc, m.id limit ${body.limit}`)
  // Another reader may be at the same messages: what it took is seen once its locks are gone.
  const found = await lockFindings(
    tx,
    candidates.rows.map((row) => String(row['finding_id'])),
  )
  if (found.length === 0) return []
  const previous = await tx.execute(sql`
    select m.id, m.read_by from inbox_messages m where m.finding_id = any(${sql.param(found.map(({ id }) => id))}::uuid[]) and m.status = 'read'`)
  const taken = await tx.execute(sql`
    update inbox_messages m set status = 'read', read_by = ${reader.key}, read_attempt_id = ${reader.attemptId ?? null}::uuid, read_at = ${now}::timestamptz,
      read_until = ${reader.attemptId === undefined ? instantOf(reader.nowMs + body.seconds * 1_000) : null}::timestamptz
    where m.finding_id = any(${sql.param(found.map(({ id }) => id))}::uuid[]) and m.status in ('unread', 'read') and ${free}
    returning m.*`)
  const byId = new Map(found.map((finding) => [finding.id, finding]))
  const heldBy = new Map(previous.rows.map((row) => [String(row['id']), String(row['read_by'])]))
  const messages = (taken.rows as MessageRow[]).sort((a, b) => levelOf(b) - levelOf(a) || (a.id < b.id ? -1 : 1))
  const views: InboxMessageView[] = []
  for (const message of messages) {
    const finding = byId.get(message.finding_id)
    if (finding === undefined) throw new Error('a message was read without the lock of its finding')
    const before = heldBy.get(message.id)
    if (before !== undefined) await recordMove(tx, finding.id, 'returned', reader, { messageId: message.id, details: { by: before } })
    await recordMove(tx, finding.id, 'read', reader, { messageId: message.id, details: { reader: reader.key } })
    views.push(messageView(message, finding))
  }
  return views
}

const LEVELS: Record<FindingRow['level'], number> = { info: 0, warning: 1, urgent: 2 }

function levelOf(message: MessageRow): number {
  return LEVELS[message.level]
}

/**
 * Closes messages that the reader holds; all or none. A repeat by the same reader changes nothing.
 * @throws AGENTBUS_NOT_YOUR_MESSAGE when another reader holds or has closed one, AGENTBUS_NOT_FOUND
 */
export async function acknowledge(tx: Tx, agentId: string | undefined, body: AcknowledgeBody, reader: InboxReader): Promise<InboxMessageView[]> {
  const ids = [...new Set<string>(body.ids)]
  const named = await tx.execute(sql`select id, finding_id from inbox_messages where id = any(${sql.param(ids)}::uuid[])`)
  const unknown = ids.filter((id) => !named.rows.some((row) => row['id'] === id))
  if (unknown.length > 0) throw new AgentbusError('AGENTBUS_NOT_FOUND', `No message has the id ${unknown.join(', ')}.`, { ids: unknown })
  const found = await lockFindings(tx, [...new Set(named.rows.map((row) => String(row['finding_id'])))])
  const { rows } = await tx.execute(sql`select * from inbox_messages where id = any(${sql.param(ids)}::uuid[]) order by id`)
  const messages = rows as MessageRow[]
  const mine = (message: MessageRow): boolean => message.read_by === reader.key && (agentId === undefined || message.agent_id === agentId) && message.status !== 'withdrawn'
  const foreign = messages.filter((message) => !mine(message)).map(({ id, status }) => ({ id, status }))
  if (foreign.length > 0) {
    throw new AgentbusError('AGENTBUS_NOT_YOUR_MESSAGE', `Not held by this reader: ${foreign.map(({ id, status }) => `${id} (${status})`).join(', ')}.`, { messages: foreign })
  }
  const byId = new Map(found.map((finding) => [finding.id, finding]))
  const views: InboxMessageView[] = []
  for (const message of messages) {
    const finding = byId.get(message.finding_id)
    if (finding === undefined) throw new Error('a message was acknowledged without the lock of its finding')
    const closed = message.status === 'acknowledged' ? message : await close(tx, message, finding, body, reader)
    views.push(messageView(closed, finding))
  }
  return views
}

async function close(tx: Tx, message: MessageRow, finding: FindingRow, body: AcknowledgeBody, reader: InboxReader): Promise<MessageRow> {
  const { rows } = await tx.execute(sql`
    update inbox_messages set status = 'acknowledged', closed_at = ${instantOf(reader.nowMs)}::timestamptz, outcome = ${body.outcome}, note = ${body.note ?? null}
    where id = ${message.id}::uuid returning *`)
  await recordMove(tx, finding.id, 'acknowledged', reader, { messageId: message.id, details: { outcome: body.outcome, ...(body.note === undefined ? {} : { note: body.note }) } })
  if (body.outcome === 'settled' && finding.status === 'open') await settleFinding(tx, finding, 'settled', reader, body.note)
  return rows[0] as MessageRow
}
