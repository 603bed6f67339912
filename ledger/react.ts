import { sql, type SQL } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import { fits } from '../contracts/filters.js'
import { FileFindingBody } from '../contracts/findings.js'
import { faultsOf } from '../contracts/issues.js'
import { CreateJobBody } from '../contracts/jobs.js'
import { ReactionsConfig, SubscriptionConfig, type ReactionStatus } from '../contracts/subscriptions.js'
import { fill, fillText } from '../contracts/templates.js'
import { patternsOf } from '../contracts/topics.js'
import { createJob, type Chain } from './create-job.js'
import type { Tx } from './database.js'
import { fileFinding } from './file-finding.js'
import { hintAfterCommit } from './hints.js'
import { isFound } from './is-found.js'
import { limitsOf } from './limits.js'
import { observe } from './observe.js'
import { readPolicy } from './policies.js'
import type { EventRow } from './rows.js'

/** Reactions that are made in the event's own transaction; a storm's others follow in pages, each a transaction. */
const AT_ONCE = 20
const READ_AT_ONCE = 1_000

/** The topic that says that a chain of reactions was cut. */
const CUT = 'reactions.cut'

interface Match {
  readonly id: string
  readonly version: number
  readonly definition: SubscriptionConfig
}

type Emit = (tx: Tx, event: EventRow, payload: Record<string, unknown>) => Promise<void>

/** Who may care about an event, as read with it in one statement. */
export interface Audience {
  /** Whether any blocked job waits for such a topic. */
  readonly awaited: boolean
  /** The first so many subscriptions to the topic, whatever their filters. */
  readonly subscriptions: readonly Match[]
  readonly config: ReactionsConfig
}

/** Columns that read the {@link Audience} of events of a topic, in a namespace that the statement calls `inserted.namespace`. */
export function whoCares(topic: string): SQL {
  const patterns = sql`any(${sql.param(patternsOf(topic))}::text[])`
  return sql`
    exists (select from jobs w where w.status = 'blocked' and w.waits_for ->> 'kind' = 'event' and w.waits_for ->> 'topic' = ${patterns}
      and w.namespace = inserted.namespace) as f_awaited,
    (select jsonb_agg(to_jsonb(s)) from (
      select id, version, definition from subscriptions where enabled and namespace = inserted.namespace and topic = ${patterns} order by id limit ${READ_AT_ONCE}) s
    ) as f_subscriptions,
    (select v.spec from fleet_versions v where v.kind = 'policy' and v.id = 'reactions' order by v.version desc limit 1) as f_policy`
}

export function audienceOf(row: Record<string, unknown>): Audience {
  return {
    awaited: row['f_awaited'] === true,
    subscriptions: ((row['f_subscriptions'] ?? []) as Record<string, unknown>[]).map(matchOf),
    config: ReactionsConfig.parse(row['f_policy'] ?? {}),
  }
}

/**
 * In the transaction of an event: makes what those who subscribe to it asked for. Each match is a row that holds its
 * outcome, so that no event is reacted to twice, and none that matched is forgotten.
 */
export async function react(tx: Tx, event: EventRow, audience: Audience, nowMs: number, emitCut: Emit): Promise<void> {
  const { config } = audience
  const matches = await matchesOf(tx, event, audience.subscriptions)
  if (matches.length === 0) return
  const allowed = matches.slice(0, config.max_fan_out)
  if (allowed.length < matches.length) await cutFanOut(tx, event, matches.length, config, emitCut)
  const later = allowed.slice(AT_ONCE)
  if (later.length > 0) {
    await tx.execute(sql`
      insert into reactions (event_id, subscription_id, version)
      select ${String(event.id)}::bigint, w.id, w.version from jsonb_to_recordset(${JSON.stringify(later.map(({ id, version }) => ({ id, version })))}::jsonb) as w (id uuid, version int)`)
    hintAfterCommit(tx, { outbox: true })
  }
  for (const match of allowed.slice(0, AT_ONCE)) await makeOne(tx, event, match, config, nowMs, emitCut)
}

/** Whether {@link reactPending} has anything to do. */
export const REACTIONS_OWED = isFound(sql`reactions where status = 'pending' and (not_before is null or not_before <= statement_timestamp()) order by event_id, subscription_id`)

/** Makes a page of what is still owed, oldest event first. Any number of processes may do so at once. @returns how many were made */
export async function reactPending(tx: Tx, request: { readonly nowMs: number; readonly limit: number }, emitCut: Emit): Promise<number> {
  const { rows } = await tx.execute(sql`
    select r.subscription_id, r.version, r.not_before, v.spec, to_jsonb(e.*) as event
    from reactions r
      join events e on e.id = r.event_id
      join subscriptions s on s.id = r.subscription_id
      join fleet_versions v on v.kind = 'subscription' and v.version = r.version
        and v.id = case when s.namespace = 'default' then s.name else s.namespace || '/' || s.name end
    where r.status = 'pending' and (r.not_before is null or r.not_before <= clock_timestamp())
    order by r.event_id, r.subscription_id limit ${request.limit} for update of r skip locked`)
  if (rows.length === 0) return 0
  const { config } = await readPolicy(tx, 'reactions')
  for (const row of rows) {
    const match = { id: String(row['subscription_id']), version: Number(row['version']), definition: SubscriptionConfig.parse(row['spec']) }
    await makeOne(tx, row['event'] as EventRow, match, config, request.nowMs, emitCut, { deferredBefore: row['not_before'] !== null })
  }
  hintAfterCommit(tx, { outbox: true })
  return rows.length
}

async function matchesOf(tx: Tx, event: EventRow, first: readonly Match[]): Promise<Match[]> {
  const matches: Match[] = []
  for (let page = first; ;) {
    for (const match of page) {
      const own = event.source_agent === match.definition.agent && !match.definition.own_events
      if (!own && fits(match.definition.filter, event.payload)) matches.push(match)
    }
    const last = page.at(-1)
    if (page.length < READ_AT_ONCE || last === undefined) return matches
    const { rows } = await tx.execute(sql`
      select id, version, definition from subscriptions
      where enabled and namespace = ${event.namespace} and topic = any(${sql.param(patternsOf(event.topic))}::text[]) and id > ${last.id}::uuid
      order by id limit ${READ_AT_ONCE}`)
    page = rows.map(matchOf)
  }
}

function matchOf(row: Record<string, unknown>): Match {
  return { id: String(row['id']), version: Number(row['version']), definition: SubscriptionConfig.parse(row['definition']) }
}

interface Outcome {
  /** `pending`: a limit keeps it back for `retrySeconds`. */
  readonly status: ReactionStatus
  readonly retrySeconds?: number
  readonly jobId?: string
  readonly findingId?: string
  readonly detail?: string
}

async function makeOne(
  tx: Tx,
  event: EventRow,
  match: Match,
  config: ReactionsConfig,
  nowMs: number,
  emitCut: Emit,
  past: { readonly deferredBefore: boolean } = { deferredBefore: false },
): Promise<void> {
  const why = whyCut(event, match, config)
  const outcome: Outcome = why === undefined ? await make(tx, event, match, nowMs) : { status: 'cut', detail: why }
  const isDeferred = outcome.status === 'pending'
  await tx.execute(sql`
    insert into reactions (event_id, subscription_id, version, status, job_id, finding_id, detail, not_before, done_at)
    values (${String(event.id)}::bigint, ${match.id}::uuid, ${match.version}, ${outcome.status}::reaction_status, ${outcome.jobId ?? null}::uuid,
      ${outcome.findingId ?? null}::uuid, ${outcome.detail ?? null}, clock_timestamp() + make_interval(secs => ${outcome.retrySeconds ?? null}::float8),
      ${isDeferred ? sql`null` : sql`clock_timestamp()`})
    on conflict (event_id, subscription_id) do update set status = excluded.status, job_id = excluded.job_id, finding_id = excluded.finding_id,
      detail = excluded.detail, not_before = excluded.not_before, done_at = excluded.done_at`)
  if (outcome.status === 'made' || outcome.status === 'joined' || (isDeferred && past.deferredBefore)) return
  await observe(tx, {
    kind: outcome.status === 'refused' || isDeferred ? 'refusal' : 'drop',
    code: isDeferred ? 'reaction_deferred' : `reaction_${outcome.status}`,
    actor: actorOf(match),
    jobId: event.source_job_id ?? undefined,
    agentId: match.definition.agent,
    detail: outcome.detail ?? '',
    details: { event_id: String(event.id), topic: event.topic, subscription: match.definition.name },
  })
  if (outcome.status === 'cut' && event.topic !== CUT) {
    await emitCut(tx, event, { subscription: match.definition.name, agent: match.definition.agent, topic: event.topic, event_id: String(event.id), hops: event.hops, because: why })
  }
}

/** A chain ends after so many reactions, and one subscription takes part in it only so often. */
function whyCut(event: EventRow, match: Match, config: ReactionsConfig): string | undefined {
  // Whoever wants to be told of a cut is told, once in a chain.
  if (event.topic === CUT) return event.lineage.includes(match.id) ? 'the chain was cut already' : undefined
  if (event.hops + 1 > config.max_hops) return `the chain has ${event.hops} reactions; reactions.max_hops is ${config.max_hops}`
  const repeats = event.lineage.filter((id) => id === match.id).length
  return repeats >= config.max_repeats ? `the subscription has reacted ${repeats} times in this chain; reactions.max_repeats is ${config.max_repeats}` : undefined
}

async function make(tx: Tx, event: EventRow, match: Match, nowMs: number): Promise<Outcome> {
  try {
    return match.definition.as === 'inbox' ? await makeFinding(tx, event, match, nowMs) : await makeJob(tx, event, match, nowMs)
  } catch (error) {
    if (!(error instanceof AgentbusError)) throw error
    return { status: error.code === 'AGENTBUS_DELEGATION_REFUSED' ? 'refused' : 'failed', detail: error.message }
  }
}

function actorOf(match: Match): Actor {
  return { kind: SYSTEM_ACTOR.kind, id: `subscription:${match.definition.name}` }
}

/** What the texts of a subscription may name. */
function dataOf(event: EventRow) {
  const about = { id: String(event.id), topic: event.topic, source_agent: event.source_agent, source_job_id: event.source_job_id, correlation_key: event.correlation_key }
  return { event: about, payload: event.payload }
}

async function makeJob(tx: Tx, event: EventRow, match: Match, nowMs: number): Promise<Outcome> {
  const { definition } = match
  const data = dataOf(event)
  const body = CreateJobBody.safeParse({
    namespace: event.namespace,
    target_agent: definition.agent,
    job_type: definition.job_type,
    subject: shortened(fillText(definition.subject, data), 500),
    payload: definition.payload === undefined ? data : fill(definition.payload, data),
    lane: definition.lane,
    priority: definition.priority,
    max_attempts: definition.max_attempts,
    timeout_seconds: definition.timeout_seconds,
    dedupe_key: definition.dedupe === undefined ? undefined : shortened(fillText(definition.dedupe, data), 200),
    source_agent: event.source_agent ?? undefined,
    parent_job_id: event.source_job_id ?? undefined,
    correlation_key: event.correlation_key ?? undefined,
  })
  if (!body.success) return { status: 'failed', detail: faultsOf(body.error.issues) }
  // Never dropped, and never a reason to refuse the event: it waits until there is room.
  const full = await limitsOf(tx).refusalFor(tx, [body.data])
  if (full !== undefined) return { status: 'pending', detail: full.message, retrySeconds: Number(full.fields['retry_after']) }
  const chain: Chain = { hops: event.hops + 1, lineage: [...event.lineage, match.id], eventId: String(event.id) }
  const { job, created } = await createJob(tx, body.data, { actor: actorOf(match), nowMs, chain })
  return { status: created ? 'made' : 'joined', jobId: job.id }
}

async function makeFinding(tx: Tx, event: EventRow, match: Match, nowMs: number): Promise<Outcome> {
  const { definition } = match
  const data = dataOf(event)
  const body = FileFindingBody.safeParse({
    namespace: event.namespace,
    topic: event.topic,
    subject_key: definition.dedupe === undefined ? `event:${String(event.id)}` : shortened(fillText(definition.dedupe, data), 200),
    level: definition.level,
    body: shortened(fillText(definition.subject, data), 4_000),
    data: definition.payload === undefined ? data : fill(definition.payload, data),
    to: definition.agent,
    source_agent: event.source_agent ?? undefined,
  })
  if (!body.success) return { status: 'failed', detail: faultsOf(body.error.issues) }
  const { finding, created } = await fileFinding(tx, body.data, { actor: actorOf(match), nowMs })
  return { status: created ? 'made' : 'joined', findingId: finding.id }
}

async function cutFanOut(tx: Tx, event: EventRow, matched: number, config: ReactionsConfig, emitCut: Emit): Promise<void> {
  const because = `${matched} subscriptions match; reactions.max_fan_out is ${config.max_fan_out}`
  const details = { event_id: String(event.id), topic: event.topic, matched, made: config.max_fan_out }
  await observe(tx, { kind: 'drop', code: 'fan_out_cut', actor: SYSTEM_ACTOR, jobId: event.source_job_id ?? undefined, detail: because, details })
  if (event.topic !== CUT) await emitCut(tx, event, { ...details, because })
}

function shortened(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`
}
