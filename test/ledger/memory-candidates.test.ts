import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  CreateMemoryCandidateBody,
  ListMemoriesQuery,
  ListMemoryCandidatesQuery,
  ReviewCandidateBody,
  type CandidateStatus,
  type MemoryCandidateId,
} from '../../contracts/memories.js'
import type { Caller, CommandContext } from '../../ledger/caller.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { aCandidate, agent, AUDITOR, CANDIDATE, codesOf, connected, DEVOPS, keeping, pagesOf, refusalsOf, rights, rowsIn, suggest, verdict } from '../support/thoughts.js'

let t: TestLedger
let clock: number
beforeEach(async () => {
  // Each id is made a millisecond after the one before, so that the order of ids is that of their making.
  clock = Date.now()
  t = await freshLedger({ nowMs: () => (clock += 1) })
  for (const id of ['knowledge', 'security']) await t.addAgent(id, { concurrency: 10 })
  await rights(t.ledger, { promote: ['knowledge'] })
})
afterEach(() => t.close())

const NO_CANDIDATE = '0192f0c4-1111-7000-8000-00000000000a' as MemoryCandidateId
const KNOWLEDGE = agent('knowledge')
const promote = (as: CommandContext, id: MemoryCandidateId, body: Record<string, unknown> = {}) => t.ledger.memories.promote(as, id, keeping(body))
const review = (as: CommandContext, id: MemoryCandidateId, on: string, notes?: string) => t.ledger.memories.review(as, id, verdict(on, notes))
const candidates = (query: Record<string, unknown> = {}, caller: Caller = OPERATOR.caller) => t.ledger.listMemoryCandidates(ListMemoryCandidatesQuery.parse(query), caller)
const memories = (query: Record<string, unknown> = {}, caller: Caller = OPERATOR.caller) => t.ledger.listMemories(ListMemoriesQuery.parse(query), caller)
const candidateHistory = (id: MemoryCandidateId, caller: Caller = OPERATOR.caller) => t.ledger.memoryCandidateHistory(id, caller)

describe('a memory candidate', () => {
  test('is proposed by agents, attempts and operators, each in its own name, with the row that says so', async () => {
    const run = await aJob(t.ledger, 'running')

    const made = [
      await suggest(t.ledger, DEVOPS, { source_refs: { events: [1] }, stability: 'stable', visibility: 'role_limited', visible_to: ['security'] }),
      await suggest(t.ledger, run.as),
      await suggest(t.ledger, OPERATOR, { source_agent: 'security', namespace: 'other' }),
    ].map(({ candidate, created }) => ({ ...candidate, created }))

    const fresh = { ...CANDIDATE, created: true, status: 'new', version: 1, reviewer: null, review_notes: null, promoted_memory_id: null }
    expect(made).toMatchObject([
      { ...fresh, source_agent: 'devops', source_refs: { events: [1] }, stability: 'stable', visibility: 'role_limited', visible_to: ['security'], created_by: 'agent:devops' },
      { ...fresh, source_agent: 'devops', source_refs: {}, stability: 'medium', visibility: 'shared', visible_to: [], created_by: 'attempt:devops' },
      { ...fresh, source_agent: 'security', namespace: 'other', created_by: 'operator:test-operator' },
    ])
    const first = { seq: 1, from_status: null, decision: 'new', notes: null }
    expect((await Promise.all(made.map(({ id }) => candidateHistory(id)))).map(({ reviews }) => reviews)).toMatchObject([
      [{ ...first, reviewer: 'devops', job_id: null, attempt_id: null, actor_kind: 'agent', actor: 'devops' }],
      [{ ...first, reviewer: 'devops', job_id: run.id, attempt_id: run.attemptId, actor_kind: 'attempt', actor: 'devops' }],
      [{ ...first, reviewer: null, actor_kind: 'operator', actor: 'test-operator' }],
    ])
  })

  test('is proposed by no auditor, by nobody in the name of another agent, and by no attempt that has ended; each refusal is a row', async () => {
    const [run, ended] = [await aJob(t.ledger, 'running'), await aJob(t.ledger, 'succeeded')]

    await expect(suggest(t.ledger, AUDITOR)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    for (const as of [DEVOPS, KNOWLEDGE, run.as]) await expect(suggest(t.ledger, as, { source_agent: 'security' })).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await expect(suggest(t.ledger, ended.as)).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })

    expect((await candidates()).items).toEqual([])
    expect(await refusalsOf(t)).toMatchObject([
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'auditor', actor: 'anna' },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'agent', agent_id: 'devops' },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'agent', agent_id: 'knowledge' },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'attempt', job_id: run.id, attempt_id: run.attemptId },
      { code: 'AGENTBUS_UNAUTHORIZED', actor_kind: 'attempt', job_id: ended.id, attempt_id: ended.attemptId },
    ])
  })

  test.each([
    ['role_limited without anybody', { visibility: 'role_limited' }],
    ['named readers without role_limited', { visible_to: ['security'] }],
    ['a reader twice', { visibility: 'role_limited', visible_to: ['security', 'security'] }],
  ])('with %s is no request', (_what, body) => {
    expect(CreateMemoryCandidateBody.safeParse({ ...CANDIDATE, ...body }).success).toBe(false)
  })

  test('whose reader nobody knows is refused', async () => {
    await expect(suggest(t.ledger, DEVOPS, { visibility: 'role_limited', visible_to: ['security', 'nobody'] })).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT' })
    expect((await candidates()).items).toEqual([])
  })

  test('that only its owner may read needs an owner', async () => {
    await expect(suggest(t.ledger, OPERATOR, { visibility: 'agent_private' })).rejects.toMatchObject({ code: 'AGENTBUS_BAD_REQUEST' })
    expect((await candidates()).items).toEqual([])
    expect((await suggest(t.ledger, OPERATOR, { visibility: 'agent_private', source_agent: 'security' })).candidate.source_agent).toBe('security')
  })

  test('is decided about with a row: by whom, as what and why', async () => {
    const run = await aJob(t.ledger, 'running', { target_agent: 'knowledge' })
    const { id } = await aCandidate(t.ledger)

    const reviewed = await review(run.as, id, 'reviewed', 'needs another source')
    const rejected = await review(OPERATOR, id, 'rejected', 'one incident is no pattern')

    expect([reviewed.candidate, rejected.candidate]).toMatchObject([
      { status: 'reviewed', version: 2, reviewer: expect.stringContaining('knowledge'), review_notes: 'needs another source' },
      { status: 'rejected', version: 3, reviewer: expect.stringContaining('test-operator'), review_notes: 'one incident is no pattern', promoted_memory_id: null },
    ])
    expect(await candidateHistory(id)).toMatchObject({
      candidate: rejected.candidate,
      reviews: [
        { seq: 1, from_status: null, decision: 'new' },
        {
          seq: 2,
          from_status: 'new',
          decision: 'reviewed',
          notes: 'needs another source',
          reviewer: 'knowledge',
          job_id: run.id,
          attempt_id: run.attemptId,
          actor_kind: 'attempt',
        },
        { seq: 3, from_status: 'reviewed', decision: 'rejected', notes: 'one incident is no pattern', reviewer: null, actor_kind: 'operator', actor: 'test-operator' },
      ],
    })
    expect(ReviewCandidateBody.safeParse({ decision: 'rejected' }).success).toBe(false)
  })

  test('that nobody knows is found by nobody', async () => {
    await expect(candidateHistory(NO_CANDIDATE)).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
    await expect(review(OPERATOR, NO_CANDIDATE, 'reviewed')).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
    await expect(promote(OPERATOR, NO_CANDIDATE)).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
  })
})

describe('the life of a candidate', () => {
  const DECISIONS = ['reviewed', 'rejected', 'archived', 'promoted'] as const
  const STATUSES: readonly CandidateStatus[] = ['new', ...DECISIONS]
  const isLegal = (from: CandidateStatus, to: CandidateStatus): boolean => from === 'new' || (from === 'reviewed' && to !== 'reviewed')
  const all = STATUSES.flatMap((from) => DECISIONS.map((to) => ({ from, to, legal: isLegal(from, to) })))
  const decide = async (id: MemoryCandidateId, to: (typeof DECISIONS)[number], as: CommandContext = OPERATOR) =>
    (await (to === 'promoted' ? promote(as, id) : review(as, id, to))).candidate

  test.each(all.filter(({ legal }) => legal))('$from → $to, with a row', async ({ from, to }) => {
    const { id, version } = await aCandidate(t.ledger, from)

    const decided = await decide(id, to)

    expect(decided).toMatchObject({ id, status: to, version: version + 1, promoted_memory_id: to === 'promoted' ? expect.any(String) : null })
    expect((await candidateHistory(id)).reviews.at(-1)).toMatchObject({ seq: version + 1, from_status: from, decision: to, actor: 'test-operator' })
  })

  test.each(all.filter(({ legal }) => !legal))('$from → $to is refused: nothing changes but for the row of the refusal', async ({ from, to }) => {
    const { id } = await aCandidate(t.ledger, from)
    const before = [await candidateHistory(id), await memories()]

    await expect(decide(id, to)).rejects.toMatchObject({ code: 'AGENTBUS_REVIEW_OVER', status: 409 })

    expect([await candidateHistory(id), await memories()]).toEqual(before)
    expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_REVIEW_OVER', actor_kind: 'operator', actor: 'test-operator' }])
  })

  test.each(DECISIONS)('goes on to %s only on the version that was seen', async (to) => {
    const { id } = await aCandidate(t.ledger)
    const before = [await candidateHistory(id), await memories()]

    await expect(decide(id, to, { ...OPERATOR, ifVersion: 7 })).rejects.toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH', fields: { version: 1 } })

    expect([await candidateHistory(id), await memories()]).toEqual(before)
    expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_VERSION_MISMATCH' }])
    expect((await decide(id, to, { ...OPERATOR, ifVersion: 1 })).version).toBe(2)
  })

  test('promoted by sixteen at once is one memory; the others are refused, with a row', { repeats: 4 }, async () => {
    const { id } = await aCandidate(t.ledger)
    await connected(t, 16)

    const settled = await Promise.allSettled(Array.from({ length: 16 }, () => promote(OPERATOR, id)))

    expect(codesOf(settled)).toEqual(Array(15).fill('AGENTBUS_REVIEW_OVER'))
    expect((await memories()).items.map(({ source_candidate_id }) => source_candidate_id)).toEqual([id])
    expect((await candidateHistory(id)).reviews).toHaveLength(2)
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual(Array(15).fill('AGENTBUS_REVIEW_OVER'))
  })
})

describe('the dedupe key of a candidate', () => {
  test('makes one candidate of sixteen at once', { repeats: 4 }, async () => {
    await connected(t, 16)

    const made = await Promise.all(Array.from({ length: 16 }, (_each, at) => suggest(t.ledger, DEVOPS, { dedupe_key: 'db-move', title: `by ${at}` })))

    const [first] = made.filter(({ created }) => created)
    expect(made.filter(({ created }) => created)).toHaveLength(1)
    for (const { candidate } of made) expect(candidate).toEqual(first?.candidate)
    expect([await rowsIn(t, 'memory_candidates'), await rowsIn(t, 'memory_candidate_reviews')]).toEqual([1, 1])
    // Whoever reads these may not be meant to read the candidate: they name the row and nothing of what it says.
    const { rows } = await t.database.pool.query<{ detail: string }>(`select detail from observations where code = 'duplicate_create'`)
    expect(rows.map(({ detail }) => detail)).toEqual(Array(15).fill(`Memory candidate ${first?.candidate.id ?? ''} is open under the same dedupe key; no second one was made.`))
  })

  test.each([
    ['new', false],
    ['reviewed', false],
    ['promoted', true],
    ['rejected', true],
    ['archived', true],
  ] as const)('of one that is %s is free: %s', async (status, free) => {
    const first = await aCandidate(t.ledger, status, { dedupe_key: 'db-move' })

    const second = await suggest(t.ledger, DEVOPS, { dedupe_key: 'db-move' })

    expect([second.created, second.candidate.id !== first.id]).toEqual([free, free])
  })

  test('is one of each agent and namespace, and one of those who have no agent', async () => {
    const made = [
      await suggest(t.ledger, DEVOPS, { dedupe_key: 'db-move' }),
      await suggest(t.ledger, agent('security'), { dedupe_key: 'db-move' }),
      await suggest(t.ledger, DEVOPS, { dedupe_key: 'db-move', namespace: 'other' }),
      await suggest(t.ledger, OPERATOR, { dedupe_key: 'db-move' }),
      await suggest(t.ledger, OPERATOR, { dedupe_key: 'db-move' }),
    ]

    expect(made.map(({ created }) => created)).toEqual([true, true, true, true, false])
  })
})

describe('the list of candidates', () => {
  test('is narrowed by namespace, state, agent, kind, scope and subject', async () => {
    const mine = await aCandidate(t.ledger, 'reviewed')
    const { candidate: theirs } = await suggest(t.ledger, agent('security'), { candidate_kind: 'mistake', scope: 'person', subject_key: 'anna', namespace: 'other' })
    const ids = async (query: Record<string, unknown>) => (await candidates(query)).items.map(({ id }) => id)

    expect(await ids({})).toEqual([theirs.id, mine.id])
    expect(await ids({ namespace: 'default' })).toEqual([mine.id])
    expect(await ids({ status: 'new' })).toEqual([theirs.id])
    expect(await ids({ source_agent: 'devops' })).toEqual([mine.id])
    expect(await ids({ candidate_kind: 'mistake' })).toEqual([theirs.id])
    expect(await ids({ scope: 'service', subject_key: 'db-1' })).toEqual([mine.id])
    expect(await ids({ scope: 'person', subject_key: 'db-1' })).toEqual([])
  })

  test('is paged newest first, each once, while others come', async () => {
    const made: string[] = []
    for (let at = 0; at < 5; at += 1) made.push((await aCandidate(t.ledger)).id)

    const pages = await pagesOf(2, candidates, () => suggest(t.ledger))

    expect(pages.map(({ length }) => length)).toEqual([2, 2, 1])
    expect(pages.flat().map(({ id }) => id)).toEqual(made.toReversed())
  })
})
