import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  ListMemoriesQuery,
  ListMemoryCandidatesQuery,
  MarkStaleBody,
  PromoteCandidateBody,
  RefreshMemoryBody,
  type MemoryCandidateId,
  type MemoryId,
  type MemoryStatus,
} from '../../contracts/memories.js'
import type { Caller, CommandContext } from '../../ledger/caller.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import {
  aCandidate,
  agent,
  aMemory,
  CANDIDATE,
  codesOf,
  connected,
  freeze,
  keeping,
  refusalsOf,
  retirement,
  rights,
  rowsIn,
  suggest,
  unfreeze,
  verdict,
} from '../support/thoughts.js'
import { tamper } from '../support/verify.js'

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

const NO_MEMORY = '0192f0c4-1111-7000-8000-00000000000a' as MemoryId
const KNOWLEDGE = agent('knowledge')
const FAR_AHEAD = '2099-01-01T00:00:00.000Z'
const promote = (as: CommandContext, id: MemoryCandidateId, body: Record<string, unknown> = {}) => t.ledger.memories.promote(as, id, keeping(body))
const review = (as: CommandContext, id: MemoryCandidateId, on: string, notes?: string) => t.ledger.memories.review(as, id, verdict(on, notes))
const refresh = (as: CommandContext, id: MemoryId, body: Record<string, unknown> = {}) => t.ledger.memories.refresh(as, id, RefreshMemoryBody.parse({ notes: 'it holds', ...body }))
const markStale = (as: CommandContext, id: MemoryId) => t.ledger.memories.markStale(as, id, MarkStaleBody.parse({ notes: 'the server was replaced' }))
const retire = (as: CommandContext, id: MemoryId, body: Record<string, unknown> = {}) => t.ledger.memories.retire(as, id, retirement(body))
const candidates = (query: Record<string, unknown> = {}, caller: Caller = OPERATOR.caller) => t.ledger.listMemoryCandidates(ListMemoryCandidatesQuery.parse(query), caller)
const memories = (query: Record<string, unknown> = {}, caller: Caller = OPERATOR.caller) => t.ledger.listMemories(ListMemoriesQuery.parse(query), caller)
const candidateHistory = (id: MemoryCandidateId, caller: Caller = OPERATOR.caller) => t.ledger.memoryCandidateHistory(id, caller)
const memoryHistory = (id: MemoryId, caller: Caller = OPERATOR.caller) => t.ledger.memoryHistory(id, caller)
/** Their time has run out a minute ago, and nobody has put that down. */
const runOut = (...ids: MemoryId[]) => tamper(t.url, [`update memories set expires_at = now() - interval '1 minute' where id = any($1)`, [ids]])
/** Whatever is decided about a memory in force. */
const MOVES = { refresh, 'mark-stale': markStale, retire } as const
/** What upkeep does, a few of them in each transaction. @returns how many were put down as expired */
const keep = (): Promise<number> => t.ledger.upkeep.expireMemories(5)

describe('a promotion', () => {
  test('makes a memory of what the candidate says, with where it comes from', async () => {
    const made = await aCandidate(t.ledger, 'reviewed', { source_refs: { jobs: ['7'] }, stability: 'stable', namespace: 'shop', dedupe_key: 'of-the-candidate' })

    const { candidate, memory } = await promote(KNOWLEDGE, made.id, { notes: 'seen twice' })

    expect(candidate).toMatchObject({ status: 'promoted', version: 3, promoted_memory_id: memory.id, review_notes: 'seen twice' })
    expect(memory).toMatchObject({
      ...{ kind: 'lesson', scope: 'service', subject_key: 'db-1', title: CANDIDATE['title'], body: CANDIDATE['body'], namespace: 'shop', confidence_score: 4, stability: 'stable' },
      ...{ visibility: 'shared', visible_to: [], owner_agent: 'devops', source_candidate_id: made.id, source_refs: { jobs: ['7'] }, status: 'active', version: 1, in_force: true },
      ...{ created_by: 'agent:knowledge', updated_by: 'agent:knowledge', expires_at: null, next_review_at: null, supersedes_memory_id: null, dedupe_key: null },
    })
    expect((await candidateHistory(made.id)).reviews.at(-1)).toMatchObject({ seq: 3, from_status: 'reviewed', decision: 'promoted', notes: 'seen twice', reviewer: 'knowledge' })
    expect(await memoryHistory(memory.id)).toEqual({
      memory,
      reviews: [
        expect.objectContaining({
          ...{ seq: 1, from_status: null, decision: 'active', reviewer: 'knowledge', actor_kind: 'agent', actor: 'knowledge' },
          details: { expires_at: null, next_review_at: null, confidence_score: 4 },
        }),
      ],
    })
  })

  test('says what is given instead of what the candidate says', async () => {
    const { id } = await aCandidate(t.ledger)
    const given = {
      ...{ kind: 'playbook', scope: 'project', subject_key: 'shop', title: 'Move at night', body: 'Vacuum, then move.', confidence_score: 5, stability: 'volatile' },
      ...{ visibility: 'role_limited', visible_to: ['security'], expires_at: FAR_AHEAD, next_review_at: '2098-01-01T00:00:00.000Z', dedupe_key: 'db-move' },
    }

    const { memory } = await promote(OPERATOR, id, given)

    expect(memory).toMatchObject({ ...given, owner_agent: 'devops', created_by: 'operator:test-operator', in_force: true })
    expect((await memoryHistory(memory.id)).reviews.map(({ details }) => details)).toEqual([
      { expires_at: '2099-01-01T00:00:00.000000Z', next_review_at: '2098-01-01T00:00:00.000000Z', confidence_score: 5 },
    ])
  })

  test('takes the readers away with the visibility that needs them', async () => {
    const { id } = await aCandidate(t.ledger, 'new', { visibility: 'role_limited', visible_to: ['security'] })

    const { memory } = await promote(OPERATOR, id, { visibility: 'shared' })

    expect(memory).toMatchObject({ visibility: 'shared', visible_to: [] })
  })

  test('to role_limited needs readers, of the request or of the candidate', async () => {
    const [open, limited] = [await aCandidate(t.ledger), await aCandidate(t.ledger, 'new', { visibility: 'role_limited', visible_to: ['security'] })]

    await expect(promote(OPERATOR, open.id, { visibility: 'role_limited' })).rejects.toMatchObject({ code: 'AGENTBUS_BAD_REQUEST' })

    expect((await candidateHistory(open.id)).candidate.status).toBe('new')
    expect((await promote(OPERATOR, limited.id)).memory).toMatchObject({ visibility: 'role_limited', visible_to: ['security'] })
    expect(PromoteCandidateBody.safeParse({ visible_to: ['security'] }).success).toBe(false)
  })

  test('to agent_private needs an owner', async () => {
    const { candidate } = await suggest(t.ledger, OPERATOR)

    await expect(promote(OPERATOR, candidate.id, { visibility: 'agent_private' })).rejects.toMatchObject({ code: 'AGENTBUS_BAD_REQUEST' })

    expect((await memories()).items).toEqual([])
  })

  test.each([
    ['neither', { evidence: {}, source_refs: {} }, false],
    ['evidence', { evidence: { seen: 1 }, source_refs: {} }, true],
    ['sources', { evidence: {}, source_refs: { events: [1] } }, true],
  ])('of a candidate with %s: %j: %s', async (_what, body, promoted) => {
    const { id } = await aCandidate(t.ledger, 'new', body)
    const before = await candidateHistory(id)

    const done = await promote(OPERATOR, id).then(
      ({ candidate }) => candidate.status,
      (error: unknown) => (error as { code: string }).code,
    )

    expect(done).toBe(promoted ? 'promoted' : 'AGENTBUS_BAD_REQUEST')
    expect(await rowsIn(t, 'memories')).toBe(promoted ? 1 : 0)
    if (!promoted) expect(await candidateHistory(id)).toEqual(before)
  })

  test('is refused while promotions are frozen, and the same request goes through when they are not', async () => {
    const { id } = await aCandidate(t.ledger)
    const request: CommandContext = { ...KNOWLEDGE, idempotency: { key: 'once', requestHash: 'h' } }
    const before = await candidateHistory(id)
    await freeze(t.ledger, 'promotions')

    await expect(promote(request, id)).rejects.toMatchObject({ code: 'AGENTBUS_FROZEN', status: 409 })
    await expect(promote(OPERATOR, id)).rejects.toMatchObject({ code: 'AGENTBUS_FROZEN' })

    expect([await candidateHistory(id), (await memories()).items]).toEqual([before, []])
    expect(await refusalsOf(t)).toMatchObject([
      { code: 'AGENTBUS_FROZEN', actor: 'knowledge' },
      { code: 'AGENTBUS_FROZEN', actor: 'test-operator' },
    ])
    await unfreeze(t.ledger, 'promotions')
    const { replayed, memory } = await promote(request, id)
    expect([replayed ?? false, (await memories()).items]).toEqual([false, [memory]])
  })

  test.each([
    ['an end that is past', { expires_at: '2001-01-01T00:00:00Z' }, 'AGENTBUS_BAD_REQUEST'],
    ['a reader that nobody knows', { visibility: 'role_limited', visible_to: ['nobody'] }, 'AGENTBUS_UNKNOWN_AGENT'],
  ])('with %s is refused, and nothing changes', async (_what, body, code) => {
    const { id } = await aCandidate(t.ledger)
    const before = await candidateHistory(id)

    await expect(promote(OPERATOR, id, body)).rejects.toMatchObject({ code })

    expect([await candidateHistory(id), await rowsIn(t, 'memories')]).toEqual([before, 0])
  })

  test('is free while conversions are frozen; and a freeze of promotions leaves proposing, reviewing and keeping alone', async () => {
    const memory = await aMemory(t.ledger)
    await freeze(t.ledger, 'conversions')
    await promote(OPERATOR, (await aCandidate(t.ledger)).id)
    await freeze(t.ledger, 'promotions')

    await review(OPERATOR, (await aCandidate(t.ledger)).id, 'reviewed')
    await refresh(OPERATOR, memory.id)
    await markStale(OPERATOR, memory.id)
    await retire(OPERATOR, memory.id)

    expect((await candidates()).items.map(({ status }) => status)).toEqual(['reviewed', 'promoted', 'promoted'])
    expect((await memoryHistory(memory.id)).memory.status).toBe('expired')
  })

  test('with one Idempotency-Key happens once, and is answered the same again', async () => {
    const { id } = await aCandidate(t.ledger)
    const once: CommandContext = { ...KNOWLEDGE, idempotency: { key: 'once', requestHash: 'h' } }

    const answers = await Promise.all(Array.from({ length: 8 }, () => promote(once, id)))

    expect(answers.filter(({ replayed }) => replayed !== true)).toHaveLength(1)
    expect(new Set(answers.map(({ memory }) => memory.id)).size).toBe(1)
    expect([await rowsIn(t, 'memories'), await rowsIn(t, 'memory_reviews'), await refusalsOf(t)]).toEqual([1, 1, []])
  })
})

describe('a memory that takes the place of another', () => {
  test('supersedes it in the same transaction: one row of it says so, and what is over is told no more', async () => {
    const old = await aMemory(t.ledger)
    const { id } = await aCandidate(t.ledger, 'new', { title: 'Vacuum twice' })

    const { memory } = await promote(KNOWLEDGE, id, { supersedes_memory_id: old.id, notes: 'for the curators of the new one' })

    const { memory: over, reviews } = await memoryHistory(old.id)
    expect(memory).toMatchObject({ supersedes_memory_id: old.id, status: 'active', in_force: true })
    expect(over).toMatchObject({ status: 'superseded', version: 2, in_force: false, updated_by: 'agent:knowledge' })
    expect(reviews.at(-1)).toMatchObject({ seq: 2, from_status: 'active', decision: 'superseded', notes: null, reviewer: 'knowledge', details: { superseded_by: memory.id } })
    expect((await memories({ status: 'active' })).items.map((one) => one.id)).toEqual([memory.id])
    expect((await t.database.pool.query('select id from active_memories_v')).rows).toEqual([{ id: memory.id }])
  })

  test('takes that of the version that was seen, and of no other one', async () => {
    const old = await aMemory(t.ledger)
    const { id } = await aCandidate(t.ledger)
    await refresh(OPERATOR, old.id)
    const before = [await memoryHistory(old.id), await candidateHistory(id), await memories()]

    await expect(promote(OPERATOR, id, { supersedes_memory_id: old.id, supersedes_version: 1 })).rejects.toMatchObject({
      code: 'AGENTBUS_VERSION_MISMATCH',
      fields: { version: 2 },
    })

    expect([await memoryHistory(old.id), await candidateHistory(id), await memories()]).toEqual(before)
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual(['AGENTBUS_VERSION_MISMATCH'])
    expect((await promote(OPERATOR, id, { supersedes_memory_id: old.id, supersedes_version: 2 })).memory.supersedes_memory_id).toBe(old.id)
    expect(PromoteCandidateBody.safeParse({ supersedes_version: 2 }).success).toBe(false)
  })

  test.each(['superseded', 'expired', 'archived'] as const)('cannot take that of one that is %s: nothing changes', async (status) => {
    const old = await aMemory(t.ledger, status)
    const { id } = await aCandidate(t.ledger)
    const before = [await memoryHistory(old.id), await candidateHistory(id), await memories()]

    await expect(promote(OPERATOR, id, { supersedes_memory_id: old.id })).rejects.toMatchObject({ code: 'AGENTBUS_REVIEW_OVER' })

    expect([await memoryHistory(old.id), await candidateHistory(id), await memories()]).toEqual(before)
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual(['AGENTBUS_REVIEW_OVER'])
  })

  test('cannot take that of one in another namespace, or of one that nobody knows', async () => {
    const other = await aMemory(t.ledger, 'active', { namespace: 'other' })
    const { id } = await aCandidate(t.ledger)

    for (const supersedes_memory_id of [other.id, NO_MEMORY]) await expect(promote(OPERATOR, id, { supersedes_memory_id })).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })

    expect((await memoryHistory(other.id)).memory.status).toBe('active')
    expect((await candidateHistory(id)).candidate.status).toBe('new')
  })

  test('that sixteen candidates want to supersede at once is superseded by one; the others are refused', { repeats: 4 }, async () => {
    const old = await aMemory(t.ledger)
    const ids = (await Promise.all(Array.from({ length: 16 }, () => aCandidate(t.ledger)))).map(({ id }) => id)
    await connected(t, 16)

    const settled = await Promise.allSettled(ids.map((id) => promote(OPERATOR, id, { supersedes_memory_id: old.id })))

    expect(codesOf(settled)).toEqual(Array(15).fill('AGENTBUS_REVIEW_OVER'))
    expect((await memories({ status: 'active' })).items).toHaveLength(1)
    expect((await memoryHistory(old.id)).reviews.map(({ decision }) => decision)).toEqual(['active', 'superseded'])
    expect((await candidates({ status: 'promoted' })).items).toHaveLength(2)
  })
})

describe('the dedupe key of a memory', () => {
  test('is that of one memory in force: a second one is refused, or takes its place', async () => {
    const first = await aMemory(t.ledger, 'active', {}, { dedupe_key: 'db-move' })
    const { id } = await aCandidate(t.ledger)
    const before = [await memoryHistory(first.id), await candidateHistory(id)]

    await expect(promote(KNOWLEDGE, id, { dedupe_key: 'db-move' })).rejects.toMatchObject({
      code: 'AGENTBUS_MEMORY_EXISTS',
      status: 409,
      fields: { memory_id: first.id, dedupe_key: 'db-move' },
    })

    expect([await memoryHistory(first.id), await candidateHistory(id), await rowsIn(t, 'memories')]).toEqual([...before, 1])
    // Whoever reads refusals may not be meant to read the memory: nothing of it is told.
    expect((await refusalsOf(t)).map(({ code, detail }) => [code, detail])).toEqual([['AGENTBUS_MEMORY_EXISTS', 'Another memory is in force under that dedupe key.']])
    const { memory } = await promote(KNOWLEDGE, id, { dedupe_key: 'db-move', supersedes_memory_id: first.id })
    expect((await memories({ status: 'active' })).items).toEqual([memory])
  })

  test('is not freed by taking the place of yet another memory', async () => {
    await aMemory(t.ledger, 'active', {}, { dedupe_key: 'db-move' })
    const other = await aMemory(t.ledger)
    const { id } = await aCandidate(t.ledger)

    await expect(promote(OPERATOR, id, { dedupe_key: 'db-move', supersedes_memory_id: other.id })).rejects.toMatchObject({ code: 'AGENTBUS_MEMORY_EXISTS' })

    expect((await memories({ status: 'active' })).items).toHaveLength(2)
    expect((await memoryHistory(other.id)).reviews).toHaveLength(1)
  })

  test.each(['superseded', 'expired', 'archived'] as const)('is free when that memory is %s, and in every other namespace', async (status) => {
    await aMemory(t.ledger, status, {}, { dedupe_key: 'db-move' })
    await aMemory(t.ledger, 'active', { namespace: 'other' }, { dedupe_key: 'db-move' })

    const { memory } = await promote(OPERATOR, (await aCandidate(t.ledger)).id, { dedupe_key: 'db-move' })

    expect(memory).toMatchObject({ status: 'active', dedupe_key: 'db-move', namespace: 'default' })
  })

  test('is free as soon as the time of that memory has run out: the promotion puts that down', async () => {
    const first = await aMemory(t.ledger, 'active', {}, { dedupe_key: 'db-move', expires_at: FAR_AHEAD })
    const { id } = await aCandidate(t.ledger)
    await runOut(first.id)

    const { memory } = await promote(KNOWLEDGE, id, { dedupe_key: 'db-move' })

    const over = await memoryHistory(first.id)
    expect((await memories({ status: 'active' })).items).toEqual([memory])
    expect(over.memory).toMatchObject({ status: 'expired', version: 2, in_force: false })
    expect(over.reviews.at(-1)).toMatchObject({ seq: 2, from_status: 'active', decision: 'expired', reviewer: null, actor_kind: 'system', actor: 'agentbus' })
    expect(await keep()).toBe(0)
  })

  test('of one whose time has run out is given to one of eight that are promoted at once, and that is put down once', { repeats: 4 }, async () => {
    const first = await aMemory(t.ledger, 'active', {}, { dedupe_key: 'db-move', expires_at: FAR_AHEAD })
    const ids = (await Promise.all(Array.from({ length: 8 }, () => aCandidate(t.ledger)))).map(({ id }) => id)
    await runOut(first.id)
    await connected(t, 9)

    const [settled] = await Promise.all([Promise.allSettled(ids.map((id) => promote(OPERATOR, id, { dedupe_key: 'db-move' }))), keep()])

    expect(codesOf(settled)).toEqual(Array(7).fill('AGENTBUS_MEMORY_EXISTS'))
    expect((await memoryHistory(first.id)).reviews.map(({ decision }) => decision)).toEqual(['active', 'expired'])
    expect((await memories({ status: 'active' })).items).toHaveLength(1)
  })

  test('is given to one of sixteen that are promoted at once', { repeats: 4 }, async () => {
    const ids = (await Promise.all(Array.from({ length: 16 }, () => aCandidate(t.ledger)))).map(({ id }) => id)
    await connected(t, 16)

    const settled = await Promise.allSettled(ids.map((id) => promote(OPERATOR, id, { dedupe_key: 'db-move' })))

    expect(codesOf(settled)).toEqual(Array(15).fill('AGENTBUS_MEMORY_EXISTS'))
    expect((await memories()).items).toHaveLength(1)
    expect((await candidates({ status: 'promoted' })).items).toHaveLength(1)
  })
})

describe('keeping a memory', () => {
  test('refreshed, it stays active, with new dates and the row that says what has changed', async () => {
    const { id } = await aMemory(t.ledger, 'active', {}, { expires_at: '2098-01-01T00:00:00.000Z' })

    const first = await refresh(KNOWLEDGE, id, { next_review_at: FAR_AHEAD, expires_at: null, confidence_score: 5, notes: 'seen again' })
    const second = await refresh(OPERATOR, id, { notes: 'and again' })

    expect(first.memory).toMatchObject({ status: 'active', version: 2, next_review_at: FAR_AHEAD, expires_at: null, confidence_score: 5, updated_by: 'agent:knowledge' })
    expect(second.memory).toMatchObject({ status: 'active', version: 3, next_review_at: FAR_AHEAD, expires_at: null, confidence_score: 5, updated_by: 'operator:test-operator' })
    const { reviews } = await memoryHistory(id)
    expect(reviews.slice(1)).toMatchObject([
      { seq: 2, from_status: 'active', decision: 'active', notes: 'seen again', reviewer: 'knowledge', actor_kind: 'agent' },
      { seq: 3, from_status: 'active', decision: 'active', notes: 'and again', reviewer: null, actor_kind: 'operator' },
    ])
    expect(reviews.slice(1).map(({ details }) => details)).toEqual([
      {
        refreshed: {
          next_review_at: { from: null, to: '2099-01-01T00:00:00.000000Z' },
          expires_at: { from: '2098-01-01T00:00:00.000000Z', to: null },
          confidence_score: { from: 4, to: 5 },
        },
      },
      { refreshed: {} },
    ])
  })

  test('refreshed after its date of review, it has none until another is given', async () => {
    const { id } = await aMemory(t.ledger, 'active', {}, { next_review_at: '2001-01-01T00:00:00Z' })

    const { memory } = await refresh(KNOWLEDGE, id)
    const again = await refresh(KNOWLEDGE, id, { next_review_at: FAR_AHEAD })

    expect([memory.next_review_at, again.memory.next_review_at]).toEqual([null, FAR_AHEAD])
    expect((await memories({ due: 'true' })).items).toEqual([])
    expect((await memoryHistory(id)).reviews.slice(1).map(({ details }) => details)).toEqual([
      { refreshed: { next_review_at: { from: '2001-01-01T00:00:00.000000Z', to: null } } },
      { refreshed: { next_review_at: { from: null, to: '2099-01-01T00:00:00.000000Z' } } },
    ])
  })

  test('refreshed with an end that is past is refused, and nothing changes', async () => {
    const { id } = await aMemory(t.ledger)
    const before = await memoryHistory(id)

    await expect(refresh(OPERATOR, id, { expires_at: '2001-01-01T00:00:00Z' })).rejects.toMatchObject({ code: 'AGENTBUS_BAD_REQUEST' })

    expect(await memoryHistory(id)).toEqual(before)
  })

  test('marked as stale, it is in force and due for a review now', async () => {
    const { id } = await aMemory(t.ledger, 'active', {}, { next_review_at: FAR_AHEAD })
    expect((await memories({ due: 'true' })).items).toEqual([])

    const { memory } = await markStale(KNOWLEDGE, id)

    expect(memory).toMatchObject({ status: 'active', version: 2, in_force: true, updated_by: 'agent:knowledge' })
    expect(Date.parse(memory.next_review_at ?? '')).toBeLessThanOrEqual(Date.now() + 60_000)
    const marked = (await memoryHistory(id)).reviews.at(-1)
    expect(marked).toMatchObject({ seq: 2, from_status: 'active', decision: 'active', notes: 'the server was replaced', reviewer: 'knowledge' })
    expect(marked?.details).toEqual({ stale: { next_review_at: { from: '2099-01-01T00:00:00.000000Z', to: expect.any(String) } } })
    const { to } = (marked?.details['stale'] as { next_review_at: { to: string } }).next_review_at
    expect(Date.parse(to)).toBe(Date.parse(memory.next_review_at ?? ''))
    expect((await memories({ due: 'true' })).items).toEqual([memory])
    await refresh(KNOWLEDGE, id, { next_review_at: null })
    expect((await memories({ due: 'true' })).items).toEqual([])
  })

  test.each([
    [{}, 'expired'],
    [{ as: 'archived' }, 'archived'],
  ])('retired with %j, it is %s and in force no more', async (body, status) => {
    const { id } = await aMemory(t.ledger)

    const { memory } = await retire(KNOWLEDGE, id, { ...body, notes: 'the server is gone' })

    expect(memory).toMatchObject({ status, version: 2, in_force: false, updated_by: 'agent:knowledge' })
    expect((await memoryHistory(id)).reviews.at(-1)).toMatchObject({ seq: 2, from_status: 'active', decision: status, notes: 'the server is gone', reviewer: 'knowledge' })
    expect((await t.database.pool.query('select id from active_memories_v')).rows).toEqual([])
  })

  const OVER: readonly MemoryStatus[] = ['superseded', 'expired', 'archived']

  test.each(OVER.flatMap((status) => (Object.keys(MOVES) as (keyof typeof MOVES)[]).map((move) => ({ status, move }))))(
    '$move of one that is $status is refused: nothing changes but for the row of the refusal',
    async ({ status, move }) => {
      const { id } = await aMemory(t.ledger, status)
      const before = await memoryHistory(id)

      await expect(MOVES[move](OPERATOR, id)).rejects.toMatchObject({ code: 'AGENTBUS_REVIEW_OVER', status: 409 })

      expect(await memoryHistory(id)).toEqual(before)
      expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_REVIEW_OVER', actor_kind: 'operator', actor: 'test-operator' }])
    },
  )

  test.each(Object.keys(MOVES) as (keyof typeof MOVES)[])('%s happens only on the version that was seen, and not to what nobody knows', async (move) => {
    const { id } = await aMemory(t.ledger)
    const before = await memoryHistory(id)

    await expect(MOVES[move](OPERATOR, NO_MEMORY)).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
    await expect(MOVES[move]({ ...OPERATOR, ifVersion: 7 }, id)).rejects.toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH', fields: { version: 1 } })

    expect(await memoryHistory(id)).toEqual(before)
    expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_VERSION_MISMATCH' }])
    expect((await MOVES[move]({ ...OPERATOR, ifVersion: 1 }, id)).memory.version).toBe(2)
  })

  test('by sixteen at once has a row for each, without a gap', { repeats: 4 }, async () => {
    const { id } = await aMemory(t.ledger)
    await connected(t, 16)

    await Promise.all(Array.from({ length: 16 }, (_each, at) => (at % 2 === 0 ? refresh(OPERATOR, id) : markStale(OPERATOR, id))))

    expect((await memoryHistory(id)).reviews.map(({ seq }) => seq)).toEqual(Array.from({ length: 17 }, (_each, at) => at + 1))
  })
})

describe('a memory whose time has run out', () => {
  test('is in force no more from that moment, before anybody has put it down', async () => {
    const [over, still] = [await aMemory(t.ledger, 'active', {}, { expires_at: FAR_AHEAD }), await aMemory(t.ledger, 'active', {}, { expires_at: FAR_AHEAD })]
    await runOut(over.id)

    expect((await memoryHistory(over.id)).memory).toMatchObject({ status: 'active', in_force: false })
    expect((await memoryHistory(still.id)).memory).toMatchObject({ status: 'active', in_force: true })
    expect((await t.database.pool.query('select id from active_memories_v')).rows).toEqual([{ id: still.id }])
    expect((await memories({ status: 'active' })).items.map(({ id }) => id)).toEqual([still.id])
    expect((await memories()).items.map(({ id }) => id)).toEqual([still.id, over.id])
  })

  test('is over for whoever decides about it, before anybody has put that down: nothing changes but for the rows of the refusals', async () => {
    const { id } = await aMemory(t.ledger, 'active', {}, { expires_at: FAR_AHEAD, next_review_at: '2001-01-01T00:00:00Z' })
    const { id: candidate } = await aCandidate(t.ledger)
    const due = (await memories({ due: 'true' })).items.length
    await runOut(id)
    const before = [await memoryHistory(id), await candidateHistory(candidate)]

    for (const move of Object.values(MOVES)) await expect(move(OPERATOR, id)).rejects.toMatchObject({ code: 'AGENTBUS_REVIEW_OVER', fields: { status: 'expired' } })
    await expect(promote(OPERATOR, candidate, { supersedes_memory_id: id })).rejects.toMatchObject({ code: 'AGENTBUS_REVIEW_OVER' })
    await expect(refresh({ ...OPERATOR, ifVersion: 7 }, id)).rejects.toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH' })

    expect([await memoryHistory(id), await candidateHistory(candidate)]).toEqual(before)
    expect([due, (await memories({ due: 'true' })).items]).toEqual([1, []])
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual([...Array<string>(4).fill('AGENTBUS_REVIEW_OVER'), 'AGENTBUS_VERSION_MISMATCH'])
  })

  test('is put down as expired by upkeep, with a row of the bus; others are left alone', async () => {
    const [over, still, ever] = [
      await aMemory(t.ledger, 'active', {}, { expires_at: FAR_AHEAD, dedupe_key: 'db-move' }),
      await aMemory(t.ledger, 'active', {}, { expires_at: FAR_AHEAD }),
      await aMemory(t.ledger),
    ]
    const before = await keep()
    await runOut(over.id)

    const [first, second] = [await keep(), await keep()]

    expect([before, first, second]).toEqual([0, 1, 0])
    const { memory, reviews } = await memoryHistory(over.id)
    expect(memory).toMatchObject({ status: 'expired', version: 2, in_force: false })
    expect(reviews.at(-1)).toMatchObject({ seq: 2, from_status: 'active', decision: 'expired', reviewer: null, job_id: null, actor_kind: 'system', actor: 'agentbus' })
    for (const { id } of [still, ever]) expect((await memoryHistory(id)).reviews).toHaveLength(1)
    expect((await promote(OPERATOR, (await aCandidate(t.ledger)).id, { dedupe_key: 'db-move' })).memory.status).toBe('active')
  })

  test('is put down once by eight processes that look at the same time', { repeats: 4 }, async () => {
    const made = await Promise.all(Array.from({ length: 12 }, () => aMemory(t.ledger, 'active', {}, { expires_at: FAR_AHEAD })))
    await runOut(...made.map(({ id }) => id))
    await connected(t, 8)

    await Promise.all(Array.from({ length: 8 }, keep))

    expect((await memories({ status: 'expired', limit: 200 })).items).toHaveLength(12)
    expect(await rowsIn(t, `memory_reviews where decision = 'expired'`)).toBe(12)
  })

  test('that was refreshed in time is not put down', async () => {
    const { id } = await aMemory(t.ledger, 'active', {}, { expires_at: new Date(Date.now() + 60_000).toISOString() })

    const { memory } = await refresh(OPERATOR, id, { expires_at: null })

    expect([memory.expires_at, await keep(), (await memoryHistory(id)).memory.in_force]).toEqual([null, 0, true])
  })
})
