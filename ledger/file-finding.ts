import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { FiledView, FileFindingBody, FindingLevel, HeldBecause, MessageId } from '../contracts/findings.js'
import { uuidv7 } from '../contracts/ids.js'
import { policyFor, type NagPolicy } from '../contracts/inbox.js'
import type { Tx } from './database.js'
import { findingView, lockFindings, recordMove, type FindingActor, type FindingRow, type MessageRow } from './finding-rows.js'
import { readInboxConfig } from './inbox-config.js'
import { isFound } from './is-found.js'
import { decideNag, isWorse, sayNag, type NagDecision } from './nag.js'
import { instantOf } from './presence.js'
import { settleFinding } from './settle-finding.js'

const DAY_MS = 86_400_000

/** The policy that holds for a finding, and the version of the inbox rules it stands in. */
interface InForce {
  readonly policy: NagPolicy
  readonly version: number
}

/**
 * Files a finding: the first of its topic and subject opens it, any other is the same one seen again. Whether it reaches
 * the inbox as a message is for the nag policy to say; either way it is a row of the finding's history.
 * @throws AGENTBUS_NO_COORDINATOR when it names no inbox and the fleet has no coordinator, AGENTBUS_UNKNOWN_AGENT
 */
export async function fileFinding(tx: Tx, body: FileFindingBody, by: FindingActor): Promise<FiledView & { readonly created: boolean }> {
  const { config, version } = await readInboxConfig(tx)
  const to = body.to ?? config.coordinator
  if (to === undefined) throw new AgentbusError('AGENTBUS_NO_COORDINATOR', 'The finding names no inbox, and the fleet has no coordinator.', { field: 'to' })
  await mustExist(tx, to)
  const inForce: InForce = { policy: policyFor(config, body.topic), version }
  const before = await openFinding(tx, body, to, inForce.policy, by)
  const finding = await see(tx, body, to, by.nowMs)
  // Another filing may have been a moment faster.
  const created = finding.count === 1
  const raisedAs = before?.level ?? finding.level
  const filed = await raiseOrHold(tx, finding, inForce, by, { worse: isWorse(finding.level, raisedAs), body: body.body })
  return { ...filed, created }
}

async function mustExist(tx: Tx, agentId: string): Promise<void> {
  const { rows } = await tx.execute(sql`select 1 from agents where id = ${agentId}`)
  if (rows.length === 0) throw new AgentbusError('AGENTBUS_UNKNOWN_AGENT', `No agent has the id ${agentId}.`, { field: 'to' })
}

/** The open finding of this topic and subject, locked; one that nobody has seen for long is put away first. */
async function openFinding(tx: Tx, body: FileFindingBody, to: string, policy: NagPolicy, by: FindingActor): Promise<FindingRow | undefined> {
  const { rows } = await tx.execute(sql`
    select * from findings
    where namespace = ${body.namespace} and agent_id = ${to} and topic = ${body.topic} and subject_key = ${body.subject_key} and status = 'open'
    for update`)
  const known = rows[0] as FindingRow | undefined
  if (known === undefined || by.nowMs - Date.parse(known.last_seen_at) <= policy.forget_after_days * DAY_MS) return known
  await settleFinding(tx, known, 'forgotten', by)
  return undefined
}

/** Opens the finding or counts it once more. The row is locked afterwards. */
async function see(tx: Tx, body: FileFindingBody, to: string, nowMs: number): Promise<FindingRow> {
  const now = instantOf(nowMs)
  const { rows } = await tx.execute(sql`
    insert into findings (id, namespace, agent_id, topic, subject_key, level, body, data, source_agent, since, first_seen_at, last_seen_at)
    values (${uuidv7(nowMs)}::uuid, ${body.namespace}, ${to}, ${body.topic}, ${body.subject_key}, ${body.level}::finding_level, ${body.body},
      ${JSON.stringify(body.data)}::jsonb, ${body.source_agent ?? null}, ${body.since ?? now}::timestamptz, ${now}::timestamptz, ${now}::timestamptz)
    on conflict (namespace, agent_id, topic, subject_key) where status = 'open' do update set
      count = findings.count + 1, level = excluded.level, body = excluded.body, data = excluded.data, source_agent = excluded.source_agent,
      since = case when ${body.since === undefined} then findings.since else excluded.since end,
      last_seen_at = greatest(findings.last_seen_at, excluded.last_seen_at)
    returning *`)
  return rows[0] as FindingRow
}

async function raiseOrHold(
  tx: Tx,
  finding: FindingRow,
  { policy, version }: InForce,
  by: FindingActor,
  seen: { readonly worse: boolean; readonly body: string },
): Promise<FiledView> {
  const open = await openMessage(tx, finding.id)
  const decision = decideNag(policy, { ...stateOf(finding), messageOpen: open !== undefined, worse: seen.worse }, by.nowMs)
  const held: HeldBecause | null = decision.raise ? null : decision.because
  await recordMove(tx, finding.id, 'filed', by, {
    details: { level: finding.level, count: finding.count, body: seen.body, ...(held === null ? {} : { held }), rules_version: version },
  })
  if (!decision.raise) {
    if (open?.status === 'unread') await refresh(tx, open, finding, policy, by.nowMs)
    const kept = await holdUntil(tx, finding, decision.notBeforeMs)
    return { finding: findingView(kept), message_id: (open?.id ?? null) as MessageId | null, raised: false, held_because: held }
  }
  const raised = await raise(tx, finding, decision, { policy, version }, by)
  return { finding: findingView(raised.finding), message_id: raised.messageId, raised: true, held_because: null }
}

function stateOf(finding: FindingRow) {
  return {
    sinceMs: Date.parse(finding.since),
    nagCount: finding.nag_count,
    lastRaisedMs: finding.last_raised_at === null ? undefined : Date.parse(finding.last_raised_at),
  }
}

async function openMessage(tx: Tx, findingId: string): Promise<MessageRow | undefined> {
  const { rows } = await tx.execute(sql`select * from inbox_messages where finding_id = ${findingId}::uuid and status in ('unread', 'read')`)
  return rows[0] as MessageRow | undefined
}

/** Nobody has read it yet: it then says what is known now. */
async function refresh(tx: Tx, message: MessageRow, finding: FindingRow, policy: NagPolicy, nowMs: number): Promise<void> {
  const step = policy.steps[message.nag_level - 1] ?? { tone: message.tone, times: 1, after_days: 0 }
  const level: FindingLevel = isWorse(finding.level, message.level) ? finding.level : message.level
  await tx.execute(sql`update inbox_messages set level = ${level}::finding_level, text = ${sayNag(step, aboutOf(finding), nowMs)} where id = ${message.id}::uuid`)
}

function aboutOf(finding: FindingRow) {
  return { subject: finding.subject_key, body: finding.body, sinceMs: Date.parse(finding.since), count: finding.count }
}

/** A finding that was never raised must be, also when nobody files it again. */
async function holdUntil(tx: Tx, finding: FindingRow, notBeforeMs: number | undefined): Promise<FindingRow> {
  if (finding.nag_count > 0 || notBeforeMs === undefined) return finding
  const { rows } = await tx.execute(sql`update findings set raise_at = ${instantOf(notBeforeMs)}::timestamptz where id = ${finding.id}::uuid returning *`)
  return rows[0] as FindingRow
}

async function raise(
  tx: Tx,
  finding: FindingRow,
  decision: Extract<NagDecision, { raise: true }>,
  { version }: InForce,
  by: FindingActor,
): Promise<{ finding: FindingRow; messageId: MessageId }> {
  const id = uuidv7(by.nowMs) as MessageId
  const now = instantOf(by.nowMs)
  await tx.execute(sql`
    insert into inbox_messages (id, finding_id, agent_id, level, tone, nag_level, text, created_at)
    values (${id}::uuid, ${finding.id}::uuid, ${finding.agent_id}, ${finding.level}::finding_level, ${decision.step.tone}, ${decision.level},
      ${sayNag(decision.step, aboutOf(finding), by.nowMs)}, ${now}::timestamptz)`)
  const { rows } = await tx.execute(sql`
    update findings set last_raised_at = ${now}::timestamptz, nag_count = nag_count + ${decision.counts ? 1 : 0}, nag_level = ${decision.level}, raise_at = null
    where id = ${finding.id}::uuid returning *`)
  await recordMove(tx, finding.id, 'raised', by, { messageId: id, details: { tone: decision.step.tone, nag_level: decision.level, rules_version: version } })
  return { finding: rows[0] as FindingRow, messageId: id }
}

/** Whether {@link raiseDue} has anything to do. */
export function raisesDue(nowMs: number): SQL {
  return isFound(sql`findings where raise_at <= ${instantOf(nowMs)}::timestamptz order by raise_at`)
}

/** Raises findings that were held back until now and never raised. @returns how many */
export async function raiseDue(tx: Tx, by: FindingActor, limit: number): Promise<number> {
  const { rows } = await tx.execute(sql`
    select id from findings where raise_at <= ${instantOf(by.nowMs)}::timestamptz order by raise_at limit ${limit}`)
  const due = await lockFindings(
    tx,
    rows.map((row) => String(row['id'])),
  )
  const { config, version } = await readInboxConfig(tx)
  let raised = 0
  for (const finding of due) {
    if (finding.raise_at === null || Date.parse(finding.raise_at) > by.nowMs) continue
    const policy = policyFor(config, finding.topic)
    const decision = decideNag(policy, { ...stateOf(finding), messageOpen: (await openMessage(tx, finding.id)) !== undefined, worse: false }, by.nowMs)
    if (decision.raise) {
      await raise(tx, finding, decision, { policy, version }, by)
      raised += 1
    } else await holdUntil(tx, finding, decision.notBeforeMs)
  }
  return raised
}
