import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { ApprovalHistory, ApprovalId, ApprovalView, ListApprovalsQuery } from '../contracts/approvals.js'
import { EventId, type AgentId, type JobId } from '../contracts/ids.js'
import type { JobView, ListBlockedQuery } from '../contracts/jobs.js'
import { SubscriptionConfig, type ListReactionsQuery, type ReactionView, type SubscriptionView } from '../contracts/subscriptions.js'
import { Time } from '../contracts/text.js'
import type { ApprovalRow } from './ask-approval.js'
import type { Db, Tx } from './database.js'
import { page, uuidCursor, type Page } from './queries.js'
import { iso, jobView, type JobRow } from './rows.js'

const isoOrNull = (text: string | null): string | null => (text === null ? null : iso(text))

export async function listSubscriptions(
  db: Db | Tx,
  only: { readonly agent?: string | undefined; readonly name?: string; readonly namespace?: string | undefined } = {},
): Promise<SubscriptionView[]> {
  const where: SQL[] = [sql`true`]
  if (only.agent !== undefined) where.push(sql`agent_id = ${only.agent}`)
  if (only.name !== undefined) where.push(sql`name = ${only.name}`)
  if (only.namespace !== undefined) where.push(sql`namespace = ${only.namespace}`)
  const { rows } = await db.execute(sql`
    select id, version, updated_at, definition from subscriptions where ${sql.join(where, sql` and `)} order by namespace, name limit 50000`)
  return rows.map((row) => ({
    ...SubscriptionConfig.parse(row['definition']),
    id: String(row['id']),
    version: Number(row['version']),
    updated_at: iso(String(row['updated_at'])),
  }))
}

/** What subscriptions made of events, newest event first. */
export async function listReactions(db: Db, query: ListReactionsQuery): Promise<Page<ReactionView>> {
  const where: SQL[] = [sql`true`]
  if (query.event_id !== undefined) where.push(sql`r.event_id = ${query.event_id}::bigint`)
  if (query.job_id !== undefined) where.push(sql`r.job_id = ${query.job_id}::uuid`)
  if (query.status !== undefined) where.push(sql`r.status = ${query.status}::reaction_status`)
  if (query.cursor !== undefined) {
    const [event, subscription] = query.cursor.split('.')
    if (!EventId.safeParse(event).success) throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'The cursor is not one of this list.', { field: 'cursor' })
    where.push(sql`(r.event_id, r.subscription_id) < (${event}::bigint, ${uuidCursor(subscription ?? '')}::uuid)`)
  }
  const { rows } = await db.execute(sql`
    select r.*, e.topic, s.name as subscription, s.agent_id as agent from reactions r join events e on e.id = r.event_id join subscriptions s on s.id = r.subscription_id
    where ${sql.join(where, sql` and `)} order by r.event_id desc, r.subscription_id desc limit ${query.limit + 1}`)
  const views = rows.map((row) => ({
    view: {
      event_id: String(row['event_id']) as EventId,
      topic: String(row['topic']),
      subscription: String(row['subscription']),
      agent: row['agent'] as AgentId,
      version: Number(row['version']),
      status: row['status'] as ReactionView['status'],
      job_id: row['job_id'] as JobId | null,
      finding_id: row['finding_id'] as string | null,
      detail: row['detail'] as string | null,
      created_at: iso(String(row['created_at'])),
      done_at: isoOrNull(row['done_at'] as string | null),
    },
    key: `${String(row['event_id'])}.${String(row['subscription_id'])}`,
  }))
  const { items, next_cursor } = page(views, query.limit, ({ key }) => key)
  return { items: items.map(({ view }) => view), next_cursor }
}

/** Blocked work, longest first. The cursor names a time beside the job, which may have gone on, or be blocked anew, by the time that it comes back. */
export async function listBlocked(db: Db, query: ListBlockedQuery): Promise<Page<JobView>> {
  const where: SQL[] = [sql`status = 'blocked'`]
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.agent !== undefined) where.push(sql`target_agent = ${query.agent}`)
  if (query.cursor !== undefined) {
    const [since, id, ...rest] = query.cursor.split('_')
    if (rest.length > 0 || !Time.safeParse(since).success) throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'The cursor is not one that a list has given.', { field: 'cursor' })
    where.push(sql`(blocked_at, id) > (${since}::timestamptz, ${uuidCursor(id ?? '')}::uuid)`)
  }
  const { rows } = await db.execute(sql`
    select *, to_char(blocked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as f_since
    from jobs where ${sql.join(where, sql` and `)} order by blocked_at, id limit ${query.limit + 1}`)
  const views = rows.map((row) => ({ view: jobView(row as JobRow), key: `${String(row['f_since'])}_${String(row['id'])}` }))
  const { items, next_cursor } = page(views, query.limit, ({ key }) => key)
  return { items: items.map(({ view }) => view), next_cursor }
}

export function approvalView(row: ApprovalRow): ApprovalView {
  return {
    id: row.id as ApprovalId,
    namespace: row.namespace,
    subject: row.subject,
    details: row.details,
    agent: row.agent_id as AgentId | null,
    job_id: row.job_id as JobId | null,
    workflow_run_id: row.workflow_run_id,
    step: row.step,
    correlation_key: row.correlation_key,
    status: row.status,
    version: row.last_seq,
    created_by: row.created_by,
    created_at: iso(row.created_at),
    expires_at: isoOrNull(row.expires_at),
    decided_at: isoOrNull(row.decided_at),
    decided_by: row.decided_by,
    note: row.note,
  }
}

/** Approvals, newest first; by default those that wait. `askedBy`: only what that agent has asked for. */
export async function listApprovals(db: Db, query: ListApprovalsQuery, askedBy?: AgentId): Promise<Page<ApprovalView>> {
  const where: SQL[] = [sql`status = ${query.status ?? 'pending'}::approval_status`]
  if (askedBy !== undefined) where.push(sql`agent_id = ${askedBy}`)
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select * from approvals where ${sql.join(where, sql` and `)} order by id desc limit ${query.limit + 1}`)
  return page((rows as unknown as ApprovalRow[]).map(approvalView), query.limit, (approval) => approval.id)
}

/** One approval with everything that happened to it. @throws AGENTBUS_APPROVAL_NOT_FOUND */
export async function approvalHistory(db: Db, id: ApprovalId): Promise<ApprovalHistory> {
  const { rows } = await db.execute(sql`select * from approvals where id = ${id}::uuid`)
  const row = rows[0]
  if (row === undefined) throw new AgentbusError('AGENTBUS_APPROVAL_NOT_FOUND', `No approval has the id ${id}.`, { approval_id: id })
  const history = await db.execute(sql`select seq, to_status, actor_kind, actor, note, at from approval_transitions where approval_id = ${id}::uuid order by seq`)
  return {
    approval: approvalView(row as unknown as ApprovalRow),
    transitions: history.rows.map((one) => ({ ...(one as unknown as ApprovalHistory['transitions'][number]), at: iso(String(one['at'])) })),
  }
}
