import { expect } from 'vitest'
import { AuthorityConfig } from '../../contracts/authority.js'
import { SetControlBody } from '../../contracts/controls.js'
import { assertNever } from '../../contracts/errors.js'
import { CreateIdeaBody, PromoteIdeaBody, type IdeaStatus, type IdeaView } from '../../contracts/ideas.js'
import type { AgentId } from '../../contracts/ids.js'
import {
  CreateMemoryCandidateBody,
  PromoteCandidateBody,
  ReviewCandidateBody,
  RetireMemoryBody,
  type CandidateStatus,
  type MemoryCandidateView,
  type MemoryStatus,
  type MemoryView,
} from '../../contracts/memories.js'
import { ConvertBody, CreateOpportunityBody, TriageBody, type OpportunityStatus, type OpportunityView } from '../../contracts/opportunities.js'
import type { CommandContext } from '../../ledger/caller.js'
import type { Ledger } from '../../ledger/ledger.js'
import { OPERATOR, type TestLedger } from './ledger.js'

/** Ideas, opportunities and memories for tests: the shortest of each, and each in any of its states by the commands that lead there. */

type Fields = Readonly<Record<string, unknown>>

export const agent = (id: string): CommandContext => ({ caller: { role: 'agent', tokenId: id, name: id, agentId: id as AgentId } })
export const AUDITOR: CommandContext = { caller: { role: 'auditor', tokenId: 'a', name: 'anna' } }
/** The agent whose thoughts they are, unless a test says otherwise. */
export const DEVOPS = agent('devops')

export const IDEA: Fields = { theme: 'onboarding', title: 'Set up together', body: 'Maybe people give up because they are alone with it.' }
export const SCORED: Fields = {
  why_now: 'Three people gave up this week.',
  impact_score: 4,
  confidence_score: 3,
  urgency_score: 2,
  reversibility: 'high',
  suggested_next_step: 'Draft an experiment.',
}
export const OPPORTUNITY: Fields = { theme: 'onboarding', title: 'A guided setup', ...SCORED }
export const CONVERSION: Fields = { target_agent: 'devops', subject: 'draft the experiment' }
export const CANDIDATE: Fields = {
  candidate_kind: 'lesson',
  scope: 'service',
  subject_key: 'db-1',
  title: 'Vacuum before the move',
  body: 'Without it the copy took nine hours.',
  evidence: { jobs: ['the move of May'] },
  confidence_score: 4,
}

export const note = (ledger: Ledger, as: CommandContext = DEVOPS, body: Fields = {}) => ledger.ideas.create(as, CreateIdeaBody.parse({ ...IDEA, ...body }))
export const propose = (ledger: Ledger, as: CommandContext = DEVOPS, body: Fields = {}) => ledger.opportunities.create(as, CreateOpportunityBody.parse({ ...OPPORTUNITY, ...body }))
export const suggest = (ledger: Ledger, as: CommandContext = DEVOPS, body: Fields = {}) => ledger.memories.propose(as, CreateMemoryCandidateBody.parse({ ...CANDIDATE, ...body }))

export const promotion = (body: Fields = {}): PromoteIdeaBody => PromoteIdeaBody.parse({ ...SCORED, ...body })
/** Whoever rejects says why. */
const because = (to: string, notes: string | undefined): Fields => (notes === undefined && to !== 'rejected' ? {} : { notes: notes ?? 'too weak' })
export const decision = (to: string, notes?: string): TriageBody => TriageBody.parse({ decision: to, ...because(to, notes) })
export const conversion = (body: Fields = {}): ConvertBody => ConvertBody.parse({ ...CONVERSION, ...body })
export const verdict = (to: string, notes?: string): ReviewCandidateBody => ReviewCandidateBody.parse({ decision: to, ...because(to, notes) })
export const keeping = (body: Fields = {}): PromoteCandidateBody => PromoteCandidateBody.parse(body)
export const retirement = (body: Fields = {}): RetireMemoryBody => RetireMemoryBody.parse({ notes: 'it is over', ...body })

/** An idea of `devops` in the wanted state. */
export async function anIdea(ledger: Ledger, status: IdeaStatus = 'new', body: Fields = {}): Promise<IdeaView> {
  const { idea } = await note(ledger, DEVOPS, body)
  switch (status) {
    case 'new':
      return idea
    case 'reviewed':
      return (await ledger.ideas.review(OPERATOR, idea.id, {})).idea
    case 'promoted_to_opportunity':
      return (await ledger.ideas.promote(OPERATOR, idea.id, promotion())).idea
    case 'archived':
      return (await ledger.ideas.archive(OPERATOR, idea.id, {})).idea
    default:
      return assertNever(status)
  }
}

/** An opportunity of `devops` in the wanted state. */
export async function anOpportunity(ledger: Ledger, status: OpportunityStatus = 'new', body: Fields = {}): Promise<OpportunityView> {
  const { opportunity } = await propose(ledger, DEVOPS, body)
  if (status === 'new') return opportunity
  if (status === 'converted_to_job') return (await ledger.opportunities.convert(OPERATOR, opportunity.id, conversion())).opportunity
  return (await ledger.opportunities.triage(OPERATOR, opportunity.id, decision(status))).opportunity
}

/** A memory candidate of `devops` in the wanted state. */
export async function aCandidate(ledger: Ledger, status: CandidateStatus = 'new', body: Fields = {}): Promise<MemoryCandidateView> {
  const { candidate } = await suggest(ledger, DEVOPS, body)
  if (status === 'new') return candidate
  if (status === 'promoted') return (await ledger.memories.promote(OPERATOR, candidate.id, keeping())).candidate
  return (await ledger.memories.review(OPERATOR, candidate.id, verdict(status))).candidate
}

/** A memory of `devops` in the wanted state; `kept` is what the curator says when it is promoted. */
export async function aMemory(ledger: Ledger, status: MemoryStatus = 'active', body: Fields = {}, kept: Fields = {}): Promise<MemoryView> {
  const { memory } = await ledger.memories.promote(OPERATOR, (await suggest(ledger, DEVOPS, body)).candidate.id, keeping(kept))
  switch (status) {
    case 'active':
      return memory
    case 'superseded':
      await ledger.memories.promote(OPERATOR, (await suggest(ledger, DEVOPS, body)).candidate.id, keeping({ supersedes_memory_id: memory.id }))
      return (await ledger.memoryHistory(memory.id, OPERATOR.caller)).memory
    case 'expired':
    case 'archived':
      return (await ledger.memories.retire(OPERATOR, memory.id, retirement({ as: status }))).memory
    default:
      return assertNever(status)
  }
}

/** Gives rights to agents, and takes all others away. */
export async function rights(ledger: Ledger, authority: Readonly<Record<string, readonly string[]>>): Promise<void> {
  await ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], authority: AuthorityConfig.parse(authority) }, { dryRun: false, prune: false })
}

export const freeze = (ledger: Ledger, scope: 'promotions' | 'conversions') =>
  ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'freeze', scope, reason: 'under audit' }))
export const unfreeze = (ledger: Ledger, scope: 'promotions' | 'conversions') => ledger.controls.resume(OPERATOR, { scope, reason: 'audit is over' })

/** What was refused, in the order in which it was. */
export async function refusalsOf(t: Pick<TestLedger, 'database'>): Promise<Record<string, unknown>[]> {
  const { rows } = await t.database.pool.query<Record<string, unknown>>(
    `select code, actor_kind::text as actor_kind, actor, agent_id, job_id, attempt_id, detail from observations where kind = 'refusal' order by id`,
  )
  return rows
}

/** The codes that all but those who succeeded were refused with. */
export function codesOf(settled: readonly PromiseSettledResult<unknown>[]): (string | undefined)[] {
  return settled.flatMap((one) => (one.status === 'rejected' ? [(one.reason as { code?: string }).code] : []))
}

export const rowsIn = async (t: Pick<TestLedger, 'database'>, table: string): Promise<number> => {
  const { rows } = await t.database.pool.query<{ n: number }>(`select count(*)::int as n from ${table}`)
  return rows[0]?.n ?? -1
}

/** Until somebody waits for such a lock, so that a test need not sleep. */
export async function someoneWaitsFor(t: Pick<TestLedger, 'database'>, lock: 'relation' | 'advisory' | 'transactionid'): Promise<void> {
  const waiting = `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and wait_event = $1`
  await expect.poll(async () => (await t.database.pool.query(waiting, [lock])).rows.length, { timeout: 10_000, interval: 20 }).toBeGreaterThan(0)
}

/** Holds back whoever writes to a table until `work` lets go of it: what a transaction has locked before that stays locked. */
export async function holdingBack<T>(t: Pick<TestLedger, 'database'>, table: string, work: (letGo: () => Promise<unknown>) => Promise<T>): Promise<T> {
  const holder = await t.database.pool.connect()
  try {
    await holder.query('begin')
    await holder.query(`lock table ${table} in share mode`)
    return await work(() => holder.query('commit'))
  } finally {
    await holder.query('rollback')
    holder.release()
  }
}

/** As many connections as contenders, so that none of them is over before the others have begun. */
export async function connected(t: Pick<TestLedger, 'database'>, contenders: number): Promise<void> {
  await Promise.all(Array.from({ length: contenders }, () => t.database.pool.query('select pg_sleep(0.05)')))
}

/** Reads a list to its end. @returns the pages; only the last of them may be short */
export async function pagesOf<T>(
  limit: number,
  read: (page: { limit: number; cursor?: string }) => Promise<{ readonly items: readonly T[]; readonly next_cursor: string | null }>,
  between: () => Promise<unknown> = async () => undefined,
): Promise<T[][]> {
  const pages: T[][] = []
  let cursor: string | undefined
  do {
    const page = await read({ limit, ...(cursor === undefined ? {} : { cursor }) })
    pages.push([...page.items])
    cursor = page.next_cursor ?? undefined
    await between()
  } while (cursor !== undefined)
  for (const page of pages.slice(0, -1)) expect(page).toHaveLength(limit)
  return pages
}
