import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ListIdeasQuery, type IdeaId, type IdeaStatus } from '../../contracts/ideas.js'
import { ListOpportunitiesQuery } from '../../contracts/opportunities.js'
import type { CommandContext } from '../../ledger/caller.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import {
  agent,
  anIdea,
  AUDITOR,
  codesOf,
  connected,
  decision,
  DEVOPS,
  freeze,
  holdingBack,
  IDEA,
  note,
  pagesOf,
  promotion,
  propose,
  refusalsOf,
  rights,
  rowsIn,
  SCORED,
  someoneWaitsFor,
  unfreeze,
} from '../support/thoughts.js'

let t: TestLedger
let clock: number
beforeEach(async () => {
  // Each id is made a millisecond after the one before, so that the order of ids is that of their making.
  clock = Date.now()
  t = await freshLedger({ nowMs: () => (clock += 1) })
  for (const id of ['coordinator', 'security', 'tracker']) await t.addAgent(id, { concurrency: 10 })
  await rights(t.ledger, { triage: ['tracker'], promote: ['coordinator'] })
})
afterEach(() => t.close())

const NOBODY = '0192f0c4-1111-7000-8000-00000000000a' as IdeaId
const promote = (as: CommandContext, id: IdeaId, body: Record<string, unknown> = {}) => t.ledger.ideas.promote(as, id, promotion(body))
/** Each move, by whoever may make all of them. */
const MOVES = {
  review: (id: IdeaId, as: CommandContext = OPERATOR) => t.ledger.ideas.review(as, id, {}),
  archive: (id: IdeaId, as: CommandContext = OPERATOR) => t.ledger.ideas.archive(as, id, {}),
  promote: (id: IdeaId, as: CommandContext = OPERATOR) => promote(as, id),
} as const
type Move = keyof typeof MOVES
const list = (query: Record<string, unknown> = {}) => t.ledger.listIdeas(ListIdeasQuery.parse(query))
const opportunities = async () => (await t.ledger.listOpportunities(ListOpportunitiesQuery.parse({}))).items
const reviewsOf = async (id: IdeaId) => (await t.ledger.ideaHistory(id)).reviews

describe('an idea', () => {
  test('is noted by agents, attempts and operators, each in its own name, with the row that says so', async () => {
    const run = await aJob(t.ledger, 'running')

    const made = [
      await note(t.ledger, DEVOPS, { tags: ['ux', 'pairs'], evidence: { seen: 3 } }),
      await note(t.ledger, run.as),
      await note(t.ledger, OPERATOR),
      await note(t.ledger, OPERATOR, { source_agent: 'security', namespace: 'other' }),
    ].map(({ idea, created }) => ({ ...idea, created }))

    expect(made).toMatchObject([
      { ...IDEA, created: true, namespace: 'default', source_agent: 'devops', status: 'new', version: 1, tags: ['ux', 'pairs'], evidence: { seen: 3 }, created_by: 'agent:devops' },
      { created: true, source_agent: 'devops', tags: [], evidence: {}, created_by: 'attempt:devops', promoted_opportunity_id: null, dedupe_key: null },
      { created: true, source_agent: null, created_by: 'operator:test-operator' },
      { created: true, source_agent: 'security', namespace: 'other', created_by: 'operator:test-operator' },
    ])
    const first = { seq: 1, from_status: null, decision: 'new', notes: null, job_id: null, attempt_id: null }
    const histories = await Promise.all(made.map(({ id }) => reviewsOf(id)))
    expect(histories).toMatchObject([
      [{ ...first, reviewer: 'devops', actor_kind: 'agent', actor: 'devops' }],
      [{ ...first, reviewer: 'devops', job_id: run.id, attempt_id: run.attemptId, actor_kind: 'attempt', actor: 'devops' }],
      [{ ...first, reviewer: null, actor_kind: 'operator', actor: 'test-operator' }],
      [{ ...first, reviewer: null, actor_kind: 'operator', actor: 'test-operator' }],
    ])
    expect(histories.map(({ length }) => length)).toEqual([1, 1, 1, 1])
  })

  test('is noted by no auditor, by nobody in the name of another agent, and by no attempt that has ended; each refusal is a row', async () => {
    const [run, ended] = [await aJob(t.ledger, 'running'), await aJob(t.ledger, 'succeeded')]

    await expect(note(t.ledger, AUDITOR)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await expect(note(t.ledger, DEVOPS, { source_agent: 'security' })).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await expect(note(t.ledger, run.as, { source_agent: 'security' })).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await expect(note(t.ledger, ended.as)).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })

    expect((await list()).items).toEqual([])
    expect(await rowsIn(t, 'idea_reviews')).toBe(0)
    expect(await refusalsOf(t)).toMatchObject([
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'auditor', actor: 'anna' },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'agent', agent_id: 'devops' },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'attempt', job_id: run.id, attempt_id: run.attemptId },
      { code: 'AGENTBUS_UNAUTHORIZED', actor_kind: 'attempt', job_id: ended.id, attempt_id: ended.attemptId },
    ])
    expect((await note(t.ledger, run.as, { source_agent: 'devops' })).idea.source_agent).toBe('devops')
  })

  test('of an agent that nobody knows is refused', async () => {
    await expect(note(t.ledger, OPERATOR, { source_agent: 'nobody' })).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT' })
    expect((await list()).items).toEqual([])
  })

  test('is looked at and laid aside, with a row for each: who, as what, and why', async () => {
    const { id } = await anIdea(t.ledger)
    const run = await aJob(t.ledger, 'running', { target_agent: 'tracker' })

    const reviewed = await t.ledger.ideas.review(run.as, id, { notes: 'fits the other one' })
    const archived = await t.ledger.ideas.archive(agent('tracker'), id, { notes: 'we have it already' })

    expect([reviewed.idea, archived.idea]).toMatchObject([
      { id, status: 'reviewed', version: 2 },
      { id, status: 'archived', version: 3 },
    ])
    expect((await t.ledger.ideaHistory(id)).idea).toEqual(archived.idea)
    expect(await reviewsOf(id)).toMatchObject([
      { seq: 1, from_status: null, decision: 'new' },
      { seq: 2, from_status: 'new', decision: 'reviewed', notes: 'fits the other one', reviewer: 'tracker', job_id: run.id, attempt_id: run.attemptId, actor_kind: 'attempt' },
      { seq: 3, from_status: 'reviewed', decision: 'archived', notes: 'we have it already', reviewer: 'tracker', job_id: null, attempt_id: null, actor_kind: 'agent' },
    ])
  })

  test('that nobody knows is found by nobody', async () => {
    await expect(t.ledger.ideaHistory(NOBODY)).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
    for (const move of Object.values(MOVES)) await expect(move(NOBODY)).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
  })
})

describe('the life of an idea', () => {
  const LEGAL: readonly (readonly [IdeaStatus, Move, IdeaStatus])[] = [
    ['new', 'review', 'reviewed'],
    ['new', 'archive', 'archived'],
    ['new', 'promote', 'promoted_to_opportunity'],
    ['reviewed', 'archive', 'archived'],
    ['reviewed', 'promote', 'promoted_to_opportunity'],
  ]
  const STATUSES: readonly IdeaStatus[] = ['new', 'reviewed', 'promoted_to_opportunity', 'archived']
  const all = STATUSES.flatMap((from) => (Object.keys(MOVES) as Move[]).map((move) => ({ from, move, to: LEGAL.find(([status, verb]) => status === from && verb === move)?.[2] })))

  test.each(all.filter(({ to }) => to !== undefined))('$from → $to by $move, with a row', async ({ from, move, to }) => {
    const idea = await anIdea(t.ledger, from)

    const moved = await MOVES[move](idea.id)

    expect(moved.idea).toMatchObject({ id: idea.id, status: to, version: idea.version + 1 })
    expect((await reviewsOf(idea.id)).at(-1)).toMatchObject({ seq: idea.version + 1, from_status: from, decision: to, actor: 'test-operator' })
  })

  test.each(all.filter(({ to }) => to === undefined))('$move is refused when it is $from: nothing changes but for the row of the refusal', async ({ from, move }) => {
    const { id } = await anIdea(t.ledger, from)
    const before = [await t.ledger.ideaHistory(id), await opportunities()]

    await expect(MOVES[move](id)).rejects.toMatchObject({ code: 'AGENTBUS_REVIEW_OVER', status: 409 })

    expect([await t.ledger.ideaHistory(id), await opportunities()]).toEqual(before)
    expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_REVIEW_OVER', actor_kind: 'operator', actor: 'test-operator' }])
  })

  test('is decided about by one of sixteen at once; the others are refused, with a row each', { repeats: 4 }, async () => {
    const { id } = await anIdea(t.ledger)
    await connected(t, 16)

    const settled = await Promise.allSettled(Array.from({ length: 16 }, (_each, at) => (at % 2 === 0 ? promote(OPERATOR, id) : t.ledger.ideas.archive(OPERATOR, id, {}))))

    expect(codesOf(settled)).toEqual(Array(15).fill('AGENTBUS_REVIEW_OVER'))
    expect((await reviewsOf(id)).map(({ seq }) => seq)).toEqual([1, 2])
    expect(await opportunities()).toHaveLength((await t.ledger.ideaHistory(id)).idea.status === 'archived' ? 0 : 1)
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual(Array(15).fill('AGENTBUS_REVIEW_OVER'))
  })

  test.each(Object.keys(MOVES) as Move[])('goes on by %s only on the version that was seen', async (move) => {
    const { id } = await anIdea(t.ledger)
    const before = await t.ledger.ideaHistory(id)

    await expect(MOVES[move](id, { ...OPERATOR, ifVersion: 7 })).rejects.toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH', fields: { version: 1 } })

    expect(await t.ledger.ideaHistory(id)).toEqual(before)
    expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_VERSION_MISMATCH' }])
    expect((await MOVES[move](id, { ...OPERATOR, ifVersion: 1 })).idea.version).toBe(2)
  })
})

describe('who may', () => {
  test('review: operators and the agents of authority.triage, and nobody else', async () => {
    const run = await aJob(t.ledger, 'running', { target_agent: 'security' })
    const { id } = await anIdea(t.ledger)

    for (const as of [DEVOPS, agent('coordinator'), run.as, AUDITOR])
      await expect(MOVES.review(id, as)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN', fields: { right: 'triage', holders: ['tracker'] } })

    expect((await reviewsOf(id)).length).toBe(1)
    expect(await refusalsOf(t)).toMatchObject([
      { code: 'AGENTBUS_FORBIDDEN', agent_id: 'devops', detail: expect.stringContaining('authority.triage says: of the agents, tracker may.') },
      { code: 'AGENTBUS_FORBIDDEN', agent_id: 'coordinator' },
      { code: 'AGENTBUS_FORBIDDEN', agent_id: 'security', job_id: run.id, attempt_id: run.attemptId },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'auditor', actor: 'anna' },
    ])
    expect((await MOVES.review(id, agent('tracker'))).idea.status).toBe('reviewed')
  })

  test('archive: those as well, and an agent its own, also by an attempt', async () => {
    const run = await aJob(t.ledger, 'running')
    const ideas = [await anIdea(t.ledger), await anIdea(t.ledger), await anIdea(t.ledger)]
    const [first, second, third] = ideas.map(({ id }) => id) as [IdeaId, IdeaId, IdeaId]

    for (const as of [agent('security'), AUDITOR]) await expect(MOVES.archive(first, as)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    for (const [id, as] of [
      [first, DEVOPS],
      [second, run.as],
      [third, agent('tracker')],
    ] as const)
      await MOVES.archive(id, as)

    expect((await list({ status: 'archived' })).items.map(({ id }) => id)).toEqual([third, second, first])
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual(['AGENTBUS_FORBIDDEN', 'AGENTBUS_FORBIDDEN'])
  })

  test("archive as its own: not an idea that an operator noted in nobody's name", async () => {
    const { idea } = await note(t.ledger, OPERATOR)

    await expect(MOVES.archive(idea.id, DEVOPS)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
  })

  test('promote: operators and the agents of authority.promote, and nobody else', async () => {
    const [run, other] = [await aJob(t.ledger, 'running', { target_agent: 'coordinator' }), await aJob(t.ledger, 'running')]
    const { id } = await anIdea(t.ledger)

    for (const as of [DEVOPS, agent('tracker'), other.as, AUDITOR])
      await expect(promote(as, id)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN', fields: { right: 'promote', holders: ['coordinator'] } })

    expect(await opportunities()).toEqual([])
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual(Array(4).fill('AGENTBUS_FORBIDDEN'))
    expect((await promote(run.as, id)).idea.status).toBe('promoted_to_opportunity')
    expect((await reviewsOf(id)).at(-1)).toMatchObject({ reviewer: 'coordinator', job_id: run.id, attempt_id: run.attemptId })
  })

  test('no longer: an agent that has lost the right, and an attempt that has ended', async () => {
    const ended = await aJob(t.ledger, 'succeeded', { target_agent: 'tracker' })
    const { id } = await anIdea(t.ledger)

    await expect(MOVES.review(id, ended.as)).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })
    await rights(t.ledger, { triage: ['security'] })
    await expect(MOVES.review(id, agent('tracker'))).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })

    expect((await MOVES.review(id, agent('security'))).idea.version).toBe(2)
  })
})

describe('the promotion of an idea', () => {
  test('makes an opportunity of what the idea says, by whoever promotes, in the name of whose idea it was', async () => {
    const made = await anIdea(t.ledger, 'reviewed', { evidence: { seen: 3 }, namespace: 'shop' })

    const { idea, opportunity, created } = await promote(agent('coordinator'), made.id, { notes: 'it has matured' })

    expect(created).toBe(true)
    expect(idea).toMatchObject({ status: 'promoted_to_opportunity', version: 3, promoted_opportunity_id: opportunity.id })
    expect(opportunity).toMatchObject({
      ...SCORED,
      ...{ theme: made.theme, title: made.title, evidence: { seen: 3 }, namespace: 'shop', source_agent: 'devops', owner_candidate: null },
      ...{ status: 'new', version: 1, triaged_by: null, triaged_at: null, converted_job_id: null, created_by: 'agent:coordinator' },
    })
    const reviews = await reviewsOf(made.id)
    expect(reviews.at(-1)).toMatchObject({ seq: 3, from_status: 'reviewed', decision: idea.status, notes: 'it has matured', reviewer: 'coordinator' })
    expect(reviews.map(({ details }) => details)).toEqual([{}, {}, { opportunity_id: opportunity.id }])
    expect(await t.ledger.opportunityHistory(opportunity.id)).toMatchObject({
      opportunity,
      reviews: [{ seq: 1, from_status: null, decision: 'new', reviewer: 'coordinator', actor_kind: 'agent', actor: 'coordinator' }],
    })
  })

  test('says what is given instead of what the idea says', async () => {
    const { id } = await anIdea(t.ledger, 'new', { evidence: { seen: 3 } })
    const given = { theme: 'activation', title: 'Pairs', evidence: { origin: 'two reads' }, owner_candidate: 'security', dedupe_key: 'pairs' }

    const { opportunity } = await promote(OPERATOR, id, given)

    expect(opportunity).toMatchObject({ ...given, source_agent: 'devops' })
  })

  test('links the idea to the opportunity that is open under the key, and makes no second one', async () => {
    const open = await propose(t.ledger, DEVOPS, { dedupe_key: 'pairs' })
    const others = [await propose(t.ledger, agent('security'), { dedupe_key: 'pairs' }), await propose(t.ledger, DEVOPS, { dedupe_key: 'pairs', namespace: 'other' })]
    const { id } = await anIdea(t.ledger)

    const { idea, opportunity, created } = await promote(OPERATOR, id, { dedupe_key: 'pairs', why_now: 'another reason' })

    expect(created).toBe(false)
    expect(opportunity).toEqual(open.opportunity)
    expect((await reviewsOf(id)).at(-1)?.details).toEqual({ opportunity_id: opportunity.id })
    expect(idea.promoted_opportunity_id).toBe(open.opportunity.id)
    expect(await opportunities()).toHaveLength(1 + others.length)
    expect((await t.ledger.opportunityHistory(opportunity.id)).reviews).toHaveLength(1)
  })

  test('links the idea to one of another author when its own has none under the key: to the oldest that is open', async () => {
    const { opportunity: closed } = await propose(t.ledger, agent('tracker'), { dedupe_key: 'pairs' })
    await t.ledger.opportunities.triage(OPERATOR, closed.id, decision('rejected'))
    const { opportunity: oldest } = await propose(t.ledger, agent('security'), { dedupe_key: 'pairs' })
    await propose(t.ledger, OPERATOR, { dedupe_key: 'pairs' })

    const { idea, opportunity, created } = await promote(OPERATOR, (await anIdea(t.ledger)).id, { dedupe_key: 'pairs' })

    expect([created, opportunity, idea.promoted_opportunity_id]).toEqual([false, oldest, oldest.id])
    expect(await opportunities()).toHaveLength(3)
  })

  test('waits for a decision about the open one that is under way, and makes a new one when that closes it', async () => {
    const { opportunity: open } = await propose(t.ledger, agent('security'), { dedupe_key: 'pairs' })
    const { id } = await anIdea(t.ledger)

    const [promoted] = await holdingBack(t, 'opportunity_reviews', async (letGo) => {
      const deciding = t.ledger.opportunities.triage(OPERATOR, open.id, decision('rejected'))
      await someoneWaitsFor(t, 'relation')
      const promoting = promote(OPERATOR, id, { dedupe_key: 'pairs' })
      await someoneWaitsFor(t, 'transactionid')
      await letGo()
      return Promise.all([promoting, deciding])
    })

    expect(promoted).toMatchObject({ created: true, opportunity: { status: 'new', source_agent: 'devops' } })
    expect(promoted.opportunity.id).not.toBe(open.id)
  })

  test('makes a new one when the opportunity with the key is closed', async () => {
    const { opportunity: closed } = await propose(t.ledger, DEVOPS, { dedupe_key: 'pairs' })
    await t.ledger.opportunities.triage(OPERATOR, closed.id, decision('rejected'))

    const { opportunity } = await promote(OPERATOR, (await anIdea(t.ledger)).id, { dedupe_key: 'pairs' })

    expect(opportunity).toMatchObject({ status: 'new', dedupe_key: 'pairs' })
    expect(opportunity.id).not.toBe(closed.id)
  })

  test('of eight ideas of several authors with one key at the same moment makes one opportunity that all lead to', { repeats: 4 }, async () => {
    const authors = [DEVOPS, agent('security'), agent('tracker'), OPERATOR]
    const ideas = await Promise.all([...authors, ...authors].map(async (as) => (await note(t.ledger, as)).idea))
    await connected(t, 8)

    const promoted = await Promise.all(ideas.map(({ id }) => promote(OPERATOR, id, { dedupe_key: 'pairs' })))

    expect(new Set(promoted.map(({ opportunity }) => opportunity.id)).size).toBe(1)
    expect(promoted.filter(({ created }) => created)).toHaveLength(1)
    expect(new Set(promoted.map(({ idea }) => idea.promoted_opportunity_id)).size).toBe(1)
    expect(await opportunities()).toHaveLength(1)
  })

  test('is refused while promotions are frozen, and the same request goes through when they are not', async () => {
    const { id } = await anIdea(t.ledger)
    const request: CommandContext = { ...agent('coordinator'), idempotency: { key: 'once', requestHash: 'h' } }
    const before = await t.ledger.ideaHistory(id)
    await freeze(t.ledger, 'promotions')

    await expect(promote(request, id)).rejects.toMatchObject({ code: 'AGENTBUS_FROZEN', status: 409 })
    await expect(promote(OPERATOR, id)).rejects.toMatchObject({ code: 'AGENTBUS_FROZEN' })

    expect([await t.ledger.ideaHistory(id), await opportunities()]).toEqual([before, []])
    expect(await refusalsOf(t)).toMatchObject([
      { code: 'AGENTBUS_FROZEN', actor: 'coordinator' },
      { code: 'AGENTBUS_FROZEN', actor: 'test-operator' },
    ])
    await unfreeze(t.ledger, 'promotions')
    const { replayed, idea } = await promote(request, id)
    expect([replayed ?? false, idea.status]).toEqual([false, 'promoted_to_opportunity'])
  })

  test('is free while conversions are frozen, and so is everything but promotions while those are', async () => {
    const [first, second] = [await anIdea(t.ledger), await anIdea(t.ledger)]
    await freeze(t.ledger, 'conversions')
    await promote(OPERATOR, first.id)
    await freeze(t.ledger, 'promotions')

    await MOVES.review(second.id)
    await MOVES.archive(second.id)
    await note(t.ledger)

    expect((await list()).items.map(({ status }) => status)).toEqual(['new', 'archived', 'promoted_to_opportunity'])
  })

  test('with one Idempotency-Key happens once, and is answered the same again', async () => {
    const { id } = await anIdea(t.ledger)
    const once: CommandContext = { ...agent('coordinator'), idempotency: { key: 'once', requestHash: 'h' } }

    const answers = await Promise.all(Array.from({ length: 8 }, () => promote(once, id)))

    expect(answers.filter(({ replayed }) => replayed !== true)).toHaveLength(1)
    expect(new Set(answers.map(({ opportunity }) => opportunity.id)).size).toBe(1)
    expect((await reviewsOf(id)).length).toBe(2)
    expect(await opportunities()).toHaveLength(1)
    expect(await refusalsOf(t)).toEqual([])
  })
})

describe('a dedupe key', () => {
  test('makes one idea of sixteen at once', { repeats: 4 }, async () => {
    await connected(t, 16)

    const made = await Promise.all(Array.from({ length: 16 }, (_each, at) => note(t.ledger, DEVOPS, { dedupe_key: 'pairs', title: `by ${at}` })))

    const [first] = made.filter(({ created }) => created)
    expect(made.filter(({ created }) => created)).toHaveLength(1)
    for (const { idea } of made) expect(idea).toEqual(first?.idea)
    expect((await list()).items).toHaveLength(1)
    expect(await reviewsOf(first?.idea.id ?? NOBODY)).toHaveLength(1)
  })

  test('stands for an idea that was looked at as well, and is free when that is decided', async () => {
    const { idea: first } = await note(t.ledger, DEVOPS, { dedupe_key: 'pairs' })
    await MOVES.review(first.id)
    const known = await note(t.ledger, DEVOPS, { dedupe_key: 'pairs' })
    await MOVES.archive(first.id)
    const second = await note(t.ledger, DEVOPS, { dedupe_key: 'pairs' })
    await MOVES.promote(second.idea.id)
    const third = await note(t.ledger, DEVOPS, { dedupe_key: 'pairs' })

    expect([known.created, known.idea.id, known.idea.version]).toEqual([false, first.id, 2])
    expect([second.created, third.created]).toEqual([true, true])
    expect(new Set([first.id, second.idea.id, third.idea.id]).size).toBe(3)
  })

  test('is one of each agent and namespace, and one of those who have no agent', async () => {
    const made = [
      await note(t.ledger, DEVOPS, { dedupe_key: 'pairs' }),
      await note(t.ledger, agent('security'), { dedupe_key: 'pairs' }),
      await note(t.ledger, DEVOPS, { dedupe_key: 'pairs', namespace: 'other' }),
      await note(t.ledger, OPERATOR, { dedupe_key: 'pairs' }),
      await note(t.ledger, OPERATOR, { dedupe_key: 'pairs' }),
    ]

    expect(made.map(({ created }) => created)).toEqual([true, true, true, true, false])
    expect(made[4]?.idea).toEqual(made[3]?.idea)
  })
})

test('an Idempotency-Key makes one idea of sixteen requests', async () => {
  const once: CommandContext = { ...DEVOPS, idempotency: { key: 'k', requestHash: 'h' } }

  const answers = await Promise.all(Array.from({ length: 16 }, () => note(t.ledger, once)))

  expect(answers.filter(({ replayed }) => replayed !== true)).toHaveLength(1)
  expect(new Set(answers.map(({ idea }) => idea.id)).size).toBe(1)
  expect((await list()).items).toHaveLength(1)
})

describe('the list of ideas', () => {
  test('is narrowed by namespace, state, agent, theme and tag', async () => {
    const mine = await anIdea(t.ledger, 'reviewed', { tags: ['ux', 'a b'], theme: 'setup' })
    const { idea: theirs } = await note(t.ledger, agent('security'), { tags: ['ux'], namespace: 'other' })
    const { idea: nobodys } = await note(t.ledger, OPERATOR)
    const ids = async (query: Record<string, unknown>) => (await list(query)).items.map(({ id }) => id)

    expect(await ids({})).toEqual([nobodys.id, theirs.id, mine.id])
    expect(await ids({ namespace: 'default' })).toEqual([nobodys.id, mine.id])
    expect(await ids({ status: 'reviewed' })).toEqual([mine.id])
    expect(await ids({ source_agent: 'security' })).toEqual([theirs.id])
    expect(await ids({ theme: 'setup' })).toEqual([mine.id])
    expect(await ids({ tag: 'ux' })).toEqual([theirs.id, mine.id])
    expect(await ids({ tag: 'a b', status: 'new' })).toEqual([])
  })

  test('is paged newest first, each once, while others are noted', async () => {
    const made: string[] = []
    for (let at = 0; at < 5; at += 1) made.push((await note(t.ledger)).idea.id)

    const pages = await pagesOf(2, list, () => note(t.ledger))

    expect(pages.map(({ length }) => length)).toEqual([2, 2, 1])
    expect(pages.flat().map(({ id }) => id)).toEqual(made.toReversed())
  })
})
