import { sql, type SQL } from 'drizzle-orm'
import { uuidv7, type AgentId, type JobId } from '../../contracts/ids.js'
import type { CreateOpportunityBody, OpportunityId, OpportunityView } from '../../contracts/opportunities.js'
import type { Tx } from '../database.js'
import { iso } from '../rows.js'
import { signed, type Reviewer } from './as-reviewer.js'
import { mustKnowAgents } from './author.js'
import { createOnce } from './create-once.js'
import { openIn, OPPORTUNITY_MOVES } from './moves.js'
import type { Rows } from './rows.js'

export type OpportunityRow = Rows['opportunity']

/**
 * Makes an opportunity in the name that the body says, or answers the open one with its dedupe key.
 * @throws AGENTBUS_UNKNOWN_AGENT for an owner_candidate that nobody knows
 */
export async function createOpportunity(tx: Tx, body: CreateOpportunityBody, by: Reviewer): Promise<{ readonly opportunity: OpportunityRow; readonly created: boolean }> {
  await mustKnowAgents(tx, { owner_candidate: body.owner_candidate })
  const insert = sql`
      insert into opportunities (id, namespace, source_agent, theme, title, why_now, evidence, impact_score, confidence_score, urgency_score, reversibility,
        owner_candidate, suggested_next_step, status, last_seq, dedupe_key, created_by)
      values (${uuidv7(by.nowMs)}::uuid, ${body.namespace}, ${body.source_agent ?? null}, ${body.theme}, ${body.title}, ${body.why_now}, ${JSON.stringify(body.evidence)}::jsonb,
        ${body.impact_score}::int, ${body.confidence_score}::int, ${body.urgency_score}::int, ${body.reversibility}::opportunity_reversibility,
        ${body.owner_candidate ?? null}, ${body.suggested_next_step}, 'new', 1, ${body.dedupe_key ?? null}, ${signed(by)})`
  const { row, created } = await createOnce(tx, 'opportunity', body, insert, by)
  return { opportunity: row, created }
}

/**
 * The opportunity that is open under the dedupe key, whoever has proposed it, and only when there is none a new one. What is answered stays open
 * until this transaction has ended. Those who ask for one key at the same moment do so one after the other.
 * @throws what {@link createOpportunity} throws
 */
export async function openOrNewOpportunity(tx: Tx, body: CreateOpportunityBody, by: Reviewer): Promise<{ readonly opportunity: OpportunityRow; readonly created: boolean }> {
  if (body.dedupe_key === undefined) return createOpportunity(tx, body, by)
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`opportunity:${body.namespace}/${body.dedupe_key}`}, 0))`)
  for (;;) {
    const open = await lockOpen(tx, { ...body, dedupe_key: body.dedupe_key })
    if (open !== undefined) return { opportunity: open, created: false }
    const made = await createOpportunity(tx, body, by)
    if (made.created) return made
    // Its author has proposed one in this moment: that one is locked like any other.
  }
}

/** The open one of the same author, or else the oldest one, locked. One that is decided while this waits for it is none. */
async function lockOpen(tx: Tx, key: { readonly namespace: string; readonly source_agent?: string | undefined; readonly dedupe_key: string }): Promise<OpportunityRow | undefined> {
  const isOpen = sql.raw(openIn(OPPORTUNITY_MOVES))
  for (;;) {
    const found = await tx.execute<{ id: string }>(sql`
      select id from opportunities where namespace = ${key.namespace} and dedupe_key = ${key.dedupe_key} and ${isOpen}
      order by (source_agent is not distinct from ${key.source_agent ?? null}::text) desc, id limit 1`)
    const [first] = found.rows
    if (first === undefined) return undefined
    const { rows } = await tx.execute(sql`select * from opportunities where id = ${first.id}::uuid and ${isOpen} for share`)
    if (rows[0] !== undefined) return rows[0] as unknown as OpportunityRow
  }
}

/** What the row says of the newest decision about it. */
export function newestDecision(by: Reviewer, notes: string | undefined): SQL {
  return sql`triaged_by = ${signed(by)}, triage_notes = ${notes ?? null}, triaged_at = clock_timestamp()`
}

export function opportunityView(row: OpportunityRow): OpportunityView {
  return {
    id: row.id as OpportunityId,
    namespace: row.namespace,
    source_agent: row.source_agent as AgentId | null,
    theme: row.theme,
    title: row.title,
    why_now: row.why_now,
    evidence: row.evidence,
    impact_score: row.impact_score,
    confidence_score: row.confidence_score,
    urgency_score: row.urgency_score,
    reversibility: row.reversibility,
    owner_candidate: row.owner_candidate as AgentId | null,
    suggested_next_step: row.suggested_next_step,
    status: row.status,
    version: row.last_seq,
    triaged_by: row.triaged_by,
    triage_notes: row.triage_notes,
    triaged_at: row.triaged_at === null ? null : iso(row.triaged_at),
    converted_job_id: row.converted_job_id as JobId | null,
    dedupe_key: row.dedupe_key,
    created_by: row.created_by,
    created_at: iso(row.created_at),
    updated_at: iso(row.updated_at),
  }
}
