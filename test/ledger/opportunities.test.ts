import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ListOpportunitiesQuery, TriageBody, type OpportunityId, type OpportunityStatus, type OpportunityView } from '../../contracts/opportunities.js'
import type { CommandContext } from '../../ledger/caller.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { agent, anOpportunity, AUDITOR, codesOf, connected, conversion, decision, DEVOPS, OPPORTUNITY, pagesOf, propose, refusalsOf, rights, rowsIn } from '../support/thoughts.js'

let t: TestLedger
let clock: number
beforeEach(async () => {
  // Each id is made a millisecond after the one before, so that the order of ids is that of their making.
  clock = Date.now()
  t = await freshLedger({ nowMs: () => (clock += 1) })
  for (const id of ['coordinator', 'security', 'tracker']) await t.addAgent(id, { concurrency: 10 })
  await rights(t.ledger, { triage: ['tracker'] })
})
afterEach(() => t.close())

const NOBODY = '0192f0c4-1111-7000-8000-00000000000a' as OpportunityId
const triage = (as: CommandContext, id: OpportunityId, to: string, notes?: string) => t.ledger.opportunities.triage(as, id, decision(to, notes))
const convert = (as: CommandContext, id: OpportunityId, body: Record<string, unknown> = {}) => t.ledger.opportunities.convert(as, id, conversion(body))
const list = (query: Record<string, unknown> = {}) => t.ledger.listOpportunities(ListOpportunitiesQuery.parse(query))
const reviewsOf = async (id: OpportunityId) => (await t.ledger.opportunityHistory(id)).reviews
const jobs = async () => (await t.ledger.listJobs({ limit: 50 })).items

/** Whatever may be decided about an opportunity. */
const DECISIONS = ['triaged', 'accepted', 'rejected', 'parked', 'converted_to_job'] as const
type Decision = (typeof DECISIONS)[number]
const STATUSES: readonly OpportunityStatus[] = ['new', ...DECISIONS]
const isOpen = (status: OpportunityStatus): boolean => status !== 'rejected' && status !== 'converted_to_job'
async function decide(id: OpportunityId, to: Decision, as: CommandContext = OPERATOR): Promise<OpportunityView> {
  const { opportunity } = await (to === 'converted_to_job' ? convert(as, id) : triage(as, id, to))
  return opportunity
}

describe('an opportunity', () => {
  test('is proposed by agents, attempts and operators, each in its own name, with the row that says so', async () => {
    const run = await aJob(t.ledger, 'running')

    const made = [
      await propose(t.ledger, DEVOPS, { owner_candidate: 'security', evidence: { seen: 3 } }),
      await propose(t.ledger, run.as),
      await propose(t.ledger, OPERATOR, { source_agent: 'security', namespace: 'other' }),
    ].map(({ opportunity, created }) => ({ ...opportunity, created }))

    const fresh = { ...OPPORTUNITY, created: true, status: 'new', version: 1, triaged_by: null, triage_notes: null, triaged_at: null, converted_job_id: null }
    expect(made).toMatchObject([
      { ...fresh, source_agent: 'devops', owner_candidate: 'security', evidence: { seen: 3 }, created_by: 'agent:devops', namespace: 'default' },
      { ...fresh, source_agent: 'devops', owner_candidate: null, evidence: {}, created_by: 'attempt:devops' },
      { ...fresh, source_agent: 'security', created_by: 'operator:test-operator', namespace: 'other' },
    ])
    const first = { seq: 1, from_status: null, decision: 'new', notes: null }
    expect(await Promise.all(made.map(({ id }) => reviewsOf(id)))).toMatchObject([
      [{ ...first, reviewer: 'devops', job_id: null, attempt_id: null, actor_kind: 'agent', actor: 'devops' }],
      [{ ...first, reviewer: 'devops', job_id: run.id, attempt_id: run.attemptId, actor_kind: 'attempt', actor: 'devops' }],
      [{ ...first, reviewer: null, actor_kind: 'operator', actor: 'test-operator' }],
    ])
  })

  test('is proposed by no auditor, by nobody in the name of another agent, and by no attempt that has ended; each refusal is a row', async () => {
    const [run, ended] = [await aJob(t.ledger, 'running'), await aJob(t.ledger, 'succeeded')]

    await expect(propose(t.ledger, AUDITOR)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    for (const as of [DEVOPS, run.as]) await expect(propose(t.ledger, as, { source_agent: 'security' })).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await expect(propose(t.ledger, ended.as)).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })

    expect((await list()).items).toEqual([])
    expect(await refusalsOf(t)).toMatchObject([
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'auditor', actor: 'anna' },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'agent', agent_id: 'devops' },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'attempt', job_id: run.id, attempt_id: run.attemptId },
      { code: 'AGENTBUS_UNAUTHORIZED', actor_kind: 'attempt', job_id: ended.id, attempt_id: ended.attemptId },
    ])
  })

  test.each([{ source_agent: 'nobody' }, { owner_candidate: 'nobody' }])('with %j is refused: nobody knows that agent', async (body) => {
    await expect(propose(t.ledger, OPERATOR, body)).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT' })
    expect((await list()).items).toEqual([])
  })

  test('that nobody knows is found by nobody', async () => {
    await expect(t.ledger.opportunityHistory(NOBODY)).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
    await expect(triage(OPERATOR, NOBODY, 'accepted')).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
    await expect(convert(OPERATOR, NOBODY)).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
  })

  test('shows the newest decision: who, when and why; and its history has all of them', async () => {
    const { id } = await anOpportunity(t.ledger)
    const run = await aJob(t.ledger, 'running', { target_agent: 'tracker' })

    const looked = await triage(run.as, id, 'triaged', 'belongs to the launch')
    const parked = await triage(OPERATOR, id, 'parked', 'after the launch')
    const accepted = await triage(agent('tracker'), id, 'accepted')

    const reviews = await reviewsOf(id)
    expect([looked.opportunity, parked.opportunity, accepted.opportunity]).toMatchObject([
      { status: 'triaged', version: 2, triaged_by: expect.stringContaining('tracker'), triage_notes: 'belongs to the launch' },
      { status: 'parked', version: 3, triaged_by: expect.stringContaining('test-operator'), triage_notes: 'after the launch' },
      { status: 'accepted', version: 4, triaged_by: expect.stringContaining('tracker'), triage_notes: null },
    ])
    expect((await t.ledger.opportunityHistory(id)).opportunity).toEqual(accepted.opportunity)
    expect(Date.parse(accepted.opportunity.triaged_at ?? '')).toBeGreaterThanOrEqual(Date.parse(parked.opportunity.triaged_at ?? ''))
    expect(reviews).toMatchObject([
      { seq: 1, from_status: null, decision: 'new', notes: null, reviewer: 'devops' },
      { seq: 2, from_status: 'new', decision: 'triaged', notes: 'belongs to the launch', reviewer: 'tracker', job_id: run.id, attempt_id: run.attemptId, actor_kind: 'attempt' },
      { seq: 3, from_status: 'triaged', decision: 'parked', notes: 'after the launch', reviewer: null, job_id: null, actor_kind: 'operator', actor: 'test-operator' },
      { seq: 4, from_status: 'parked', decision: 'accepted', notes: null, reviewer: 'tracker', job_id: null, attempt_id: null, actor_kind: 'agent' },
    ])
  })
})

describe('the life of an opportunity', () => {
  const all = STATUSES.flatMap((from) => DECISIONS.map((to) => ({ from, to, legal: isOpen(from) && from !== to })))

  test.each(all.filter(({ legal }) => legal))('$from → $to, with a row', async ({ from, to }) => {
    const { id, version } = await anOpportunity(t.ledger, from)

    const decided = await decide(id, to)

    expect(decided).toMatchObject({ id, status: to, version: version + 1, converted_job_id: to === 'converted_to_job' ? expect.any(String) : null })
    expect((await reviewsOf(id)).at(-1)).toMatchObject({ seq: version + 1, from_status: from, decision: to, actor: 'test-operator' })
  })

  test.each(all.filter(({ legal }) => !legal))('$from → $to is refused: nothing changes but for the row of the refusal', async ({ from, to }) => {
    const { id } = await anOpportunity(t.ledger, from)
    const before = [await t.ledger.opportunityHistory(id), await jobs()]

    await expect(decide(id, to)).rejects.toMatchObject({ code: 'AGENTBUS_REVIEW_OVER', status: 409 })

    expect([await t.ledger.opportunityHistory(id), await jobs()]).toEqual(before)
    expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_REVIEW_OVER', actor_kind: 'operator', actor: 'test-operator' }])
  })

  test('needs a reason for a rejection, and for nothing else', () => {
    const parsed = DECISIONS.map((to) => [to, TriageBody.safeParse({ decision: to }).success, TriageBody.safeParse({ decision: to, notes: 'weak' }).success])

    expect(parsed).toEqual([
      ['triaged', true, true],
      ['accepted', true, true],
      ['rejected', false, true],
      ['parked', true, true],
      ['converted_to_job', false, false],
    ])
  })

  test('decided by sixteen at once on the version they have read is decided by one; the others are refused, with a row', { repeats: 4 }, async () => {
    const { id } = await anOpportunity(t.ledger, 'triaged')
    await connected(t, 16)

    const settled = await Promise.allSettled(Array.from({ length: 16 }, (_each, at) => triage({ ...OPERATOR, ifVersion: 2 }, id, at % 2 === 0 ? 'accepted' : 'parked')))

    expect(codesOf(settled)).toEqual(Array(15).fill('AGENTBUS_VERSION_MISMATCH'))
    expect((await reviewsOf(id)).map(({ seq }) => seq)).toEqual([1, 2, 3])
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual(Array(15).fill('AGENTBUS_VERSION_MISMATCH'))
  })

  test('decided by sixteen at once without a version has a row for each decision that stands, without a gap', { repeats: 4 }, async () => {
    const { id } = await anOpportunity(t.ledger)
    await connected(t, 16)

    const settled = await Promise.allSettled(Array.from({ length: 16 }, (_each, at) => triage(OPERATOR, id, ['triaged', 'accepted', 'parked'][at % 3] ?? '')))

    const decided = settled.filter(({ status }) => status === 'fulfilled').length
    const reviews = await reviewsOf(id)
    expect(new Set(codesOf(settled))).toEqual(new Set(decided === 16 ? [] : ['AGENTBUS_REVIEW_OVER']))
    expect(reviews.map(({ seq }) => seq)).toEqual(Array.from({ length: 1 + decided }, (_each, at) => at + 1))
    expect(reviews.slice(1).map(({ from_status }) => from_status)).toEqual(reviews.slice(0, -1).map(({ decision: to }) => to))
  })

  test.each(DECISIONS)('goes on to %s only on the version that was seen', async (to) => {
    const { id } = await anOpportunity(t.ledger)
    const before = [await t.ledger.opportunityHistory(id), await jobs()]

    await expect(decide(id, to, { ...OPERATOR, ifVersion: 7 })).rejects.toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH', fields: { version: 1 } })

    expect([await t.ledger.opportunityHistory(id), await jobs()]).toEqual(before)
    expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_VERSION_MISMATCH' }])
    expect((await decide(id, to, { ...OPERATOR, ifVersion: 1 })).version).toBe(2)
  })
})

describe('who may', () => {
  test('triage: operators and the agents of authority.triage, and nobody else', async () => {
    const run = await aJob(t.ledger, 'running')
    const { id } = await anOpportunity(t.ledger)

    for (const as of [DEVOPS, agent('coordinator'), run.as, AUDITOR])
      await expect(triage(as, id, 'accepted')).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN', fields: { right: 'triage', holders: ['tracker'] } })

    expect(await reviewsOf(id)).toHaveLength(1)
    expect(await refusalsOf(t)).toMatchObject([
      { code: 'AGENTBUS_FORBIDDEN', agent_id: 'devops', detail: expect.stringContaining('authority.triage says: of the agents, tracker may.') },
      { code: 'AGENTBUS_FORBIDDEN', agent_id: 'coordinator' },
      { code: 'AGENTBUS_FORBIDDEN', agent_id: 'devops', job_id: run.id, attempt_id: run.attemptId },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'auditor', actor: 'anna' },
    ])
    expect((await triage(agent('tracker'), id, 'accepted')).opportunity.status).toBe('accepted')
  })
})

describe('a dedupe key', () => {
  test('makes one opportunity of sixteen at once', { repeats: 4 }, async () => {
    await connected(t, 16)

    const made = await Promise.all(Array.from({ length: 16 }, (_each, at) => propose(t.ledger, DEVOPS, { dedupe_key: 'gap', title: `by ${at}` })))

    const [first] = made.filter(({ created }) => created)
    expect(made.filter(({ created }) => created)).toHaveLength(1)
    for (const { opportunity } of made) expect(opportunity).toEqual(first?.opportunity)
    expect([await rowsIn(t, 'opportunities'), await rowsIn(t, 'opportunity_reviews')]).toEqual([1, 1])
  })

  test.each(STATUSES)('of an opportunity that is %s: taken while that is open, free after it', async (status) => {
    const first = await anOpportunity(t.ledger, status, { dedupe_key: 'gap' })

    const second = await propose(t.ledger, DEVOPS, { dedupe_key: 'gap' })

    expect([second.created, second.opportunity.id === first.id]).toEqual(isOpen(status) ? [false, true] : [true, false])
  })

  test('is one of each agent and namespace, and one of those who have no agent', async () => {
    const made = [
      await propose(t.ledger, DEVOPS, { dedupe_key: 'gap' }),
      await propose(t.ledger, agent('security'), { dedupe_key: 'gap' }),
      await propose(t.ledger, DEVOPS, { dedupe_key: 'gap', namespace: 'other' }),
      await propose(t.ledger, OPERATOR, { dedupe_key: 'gap' }),
      await propose(t.ledger, OPERATOR, { dedupe_key: 'gap' }),
    ]

    expect(made.map(({ created }) => created)).toEqual([true, true, true, true, false])
  })
})

test('an Idempotency-Key makes one opportunity of sixteen requests', async () => {
  const once: CommandContext = { ...DEVOPS, idempotency: { key: 'k', requestHash: 'h' } }

  const answers = await Promise.all(Array.from({ length: 16 }, () => propose(t.ledger, once)))

  expect(answers.filter(({ replayed }) => replayed !== true)).toHaveLength(1)
  expect((await list()).items).toHaveLength(1)
})

describe('the list of opportunities', () => {
  test('is narrowed by namespace, state, agent and theme, and to those that are open', async () => {
    const made: Partial<Record<OpportunityStatus, string>> = {}
    for (const status of STATUSES) made[status] = (await anOpportunity(t.ledger, status, { theme: `of ${status}` })).id
    const { opportunity: theirs } = await propose(t.ledger, agent('security'), { namespace: 'other' })
    const ids = async (query: Record<string, unknown>) => (await list(query)).items.map(({ id }) => id)

    expect(await ids({ open: 'true' })).toEqual([theirs.id, made.parked, made.accepted, made.triaged, made.new])
    expect(await ids({ open: 'false' })).toEqual([made.converted_to_job, made.rejected])
    expect(await ids({ status: 'rejected' })).toEqual([made.rejected])
    expect(await ids({ source_agent: 'security' })).toEqual([theirs.id])
    expect(await ids({ namespace: 'other' })).toEqual([theirs.id])
    expect(await ids({ namespace: 'default', open: 'true', theme: 'of triaged' })).toEqual([made.triaged])
    expect(await ids({ status: 'rejected', open: 'true' })).toEqual([])
  })

  test('is paged newest first, each once, while others are proposed', async () => {
    const made: string[] = []
    for (let at = 0; at < 5; at += 1) made.push((await propose(t.ledger)).opportunity.id)

    const pages = await pagesOf(
      2,
      (page) => list({ ...page, open: 'true' }),
      () => propose(t.ledger),
    )

    expect(pages.map(({ length }) => length)).toEqual([2, 2, 1])
    expect(pages.flat().map(({ id }) => id)).toEqual(made.toReversed())
  })
})
