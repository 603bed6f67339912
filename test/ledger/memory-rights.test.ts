import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  ListMemoriesQuery,
  ListMemoryCandidatesQuery,
  MarkStaleBody,
  MEMORY_VISIBILITIES,
  RefreshMemoryBody,
  type MemoryCandidateId,
  type MemoryId,
  type MemoryView,
  type MemoryVisibility,
} from '../../contracts/memories.js'
import type { Caller, CommandContext } from '../../ledger/caller.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { aCandidate, agent, aMemory, AUDITOR, DEVOPS, keeping, pagesOf, refusalsOf, retirement, rights, suggest, verdict } from '../support/thoughts.js'
import { tamper } from '../support/verify.js'

let t: TestLedger
let clock: number
beforeEach(async () => {
  // Each id is made a millisecond after the one before, so that the order of ids is that of their making.
  clock = Date.now()
  t = await freshLedger({ nowMs: () => (clock += 1) })
  for (const id of ['knowledge', 'publisher', 'security']) await t.addAgent(id, { concurrency: 10 })
  await rights(t.ledger, { promote: ['knowledge'] })
})
afterEach(() => t.close())

const KNOWLEDGE = agent('knowledge')
const promote = (as: CommandContext, id: MemoryCandidateId, body: Record<string, unknown> = {}) => t.ledger.memories.promote(as, id, keeping(body))
const review = (as: CommandContext, id: MemoryCandidateId, on: string, notes?: string) => t.ledger.memories.review(as, id, verdict(on, notes))
const refresh = (as: CommandContext, id: MemoryId, body: Record<string, unknown> = {}) => t.ledger.memories.refresh(as, id, RefreshMemoryBody.parse({ notes: 'it holds', ...body }))
const markStale = (as: CommandContext, id: MemoryId) => t.ledger.memories.markStale(as, id, MarkStaleBody.parse({ notes: 'the server was replaced' }))
const retire = (as: CommandContext, id: MemoryId, body: Record<string, unknown> = {}) => t.ledger.memories.retire(as, id, retirement(body))
const candidates = (query: Record<string, unknown> = {}, caller: Caller = OPERATOR.caller) => t.ledger.listMemoryCandidates(ListMemoryCandidatesQuery.parse(query), caller)
const memories = (query: Record<string, unknown> = {}, caller: Caller = OPERATOR.caller) => t.ledger.listMemories(ListMemoriesQuery.parse(query), caller)
const candidateHistory = (id: MemoryCandidateId, caller: Caller = OPERATOR.caller) => t.ledger.memoryCandidateHistory(id, caller)
const memoryHistory = (id: MemoryId, caller: Caller = OPERATOR.caller) => t.ledger.memoryHistory(id, caller)

describe('only the curator', () => {
  const MOVES = {
    'reviews candidates': async (as: CommandContext) => review(as, (await aCandidate(t.ledger)).id, 'reviewed'),
    'promotes candidates': async (as: CommandContext) => promote(as, (await aCandidate(t.ledger)).id),
    'refreshes memories': async (as: CommandContext) => refresh(as, (await aMemory(t.ledger)).id),
    'marks memories as stale': async (as: CommandContext) => markStale(as, (await aMemory(t.ledger)).id),
    'retires memories': async (as: CommandContext) => retire(as, (await aMemory(t.ledger)).id),
  } as const

  test.each(Object.keys(MOVES) as (keyof typeof MOVES)[])('%s: operators and the agents of authority.promote, and nobody else', async (what) => {
    const [run, other, ended] = [
      await aJob(t.ledger, 'running', { target_agent: 'knowledge' }),
      await aJob(t.ledger, 'running'),
      await aJob(t.ledger, 'succeeded', { target_agent: 'knowledge' }),
    ]

    // The agent whose thought it is has no right to it.
    for (const as of [DEVOPS, agent('security'), other.as, AUDITOR])
      await expect(MOVES[what](as)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN', fields: { right: 'promote', holders: ['knowledge'] } })
    await expect(MOVES[what](ended.as)).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })

    expect((await refusalsOf(t)).map(({ code, agent_id }) => [code, agent_id])).toEqual([
      ['AGENTBUS_FORBIDDEN', 'devops'],
      ['AGENTBUS_FORBIDDEN', 'security'],
      ['AGENTBUS_FORBIDDEN', 'devops'],
      ['AGENTBUS_FORBIDDEN', null],
      ['AGENTBUS_UNAUTHORIZED', 'knowledge'],
    ])
    expect((await candidates()).items.filter(({ status }) => status !== 'new' && status !== 'promoted')).toEqual([])
    expect((await memories()).items.filter(({ status, version }) => status !== 'active' || version !== 1)).toEqual([])
    for (const as of [KNOWLEDGE, run.as, OPERATOR]) await MOVES[what](as)
  })

  test('promotes: an agent that has lost the right does so no longer, whatever other rights it has', async () => {
    const { id } = await aCandidate(t.ledger)
    await rights(t.ledger, { triage: ['knowledge'], convert: ['knowledge'] })

    await expect(promote(KNOWLEDGE, id)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN', fields: { right: 'promote', holders: [] } })

    expect((await candidateHistory(id)).candidate.status).toBe('new')
  })
})

describe('who may read', () => {
  /** Which agents are shown a memory of devops, by its visibility. Security is named where names are needed; knowledge is the curator. */
  const SEEN: Readonly<Record<MemoryVisibility, readonly string[]>> = {
    shared: ['devops', 'knowledge', 'publisher', 'security'],
    human_editable: ['devops', 'knowledge', 'publisher', 'security'],
    role_limited: ['knowledge', 'security'],
    agent_private: ['devops', 'knowledge'],
  }
  /** Whoever has proposed a candidate always sees that. */
  const SEEN_BEFORE: Readonly<Record<MemoryVisibility, readonly string[]>> = { ...SEEN, role_limited: ['devops', 'knowledge', 'security'] }
  const said = (visibility: MemoryVisibility) => ({ visibility, visible_to: visibility === 'role_limited' ? ['security'] : [] })
  const found = (read: Promise<unknown>): Promise<boolean | string> =>
    read.then(
      () => true,
      (error: unknown) => (error as { code?: string }).code ?? String(error),
    )
  async function readers(): Promise<readonly { readonly who: string; readonly caller: Caller }[]> {
    const agents = SEEN.shared.map((who) => ({ who, caller: agent(who).caller }))
    const runs = await Promise.all(SEEN.shared.map(async (who) => ({ who, caller: (await aJob(t.ledger, 'running', { target_agent: who })).as.caller })))
    return [...agents, ...runs]
  }

  test.each(MEMORY_VISIBILITIES)('a candidate that is %s: what one may not see is not there', async (visibility) => {
    const { id } = await aCandidate(t.ledger, 'new', said(visibility))

    for (const { who, caller } of await readers()) {
      const seen = SEEN_BEFORE[visibility].includes(who)
      expect([who, caller.role, await found(candidateHistory(id, caller))]).toEqual([who, caller.role, seen ? true : 'AGENTBUS_NOT_FOUND'])
      expect([who, caller.role, (await candidates({}, caller)).items.map((one) => one.id)]).toEqual([who, caller.role, seen ? [id] : []])
    }
    for (const { caller } of [OPERATOR, AUDITOR]) expect([await found(candidateHistory(id, caller)), (await candidates({}, caller)).items.length]).toEqual([true, 1])
  })

  test.each(MEMORY_VISIBILITIES)('a memory that is %s, in force or over: what one may not see is not there', async (visibility) => {
    const { id } = await aMemory(t.ledger, 'active', said(visibility))
    const all = await readers()

    for (const status of ['active', 'archived'] as const) {
      if (status === 'archived') await retire(OPERATOR, id, { as: status })
      for (const { who, caller } of all) {
        const seen = SEEN[visibility].includes(who)
        expect([status, who, caller.role, await found(memoryHistory(id, caller))]).toEqual([status, who, caller.role, seen ? true : 'AGENTBUS_NOT_FOUND'])
        expect([status, who, caller.role, (await memories({}, caller)).items.map((one) => one.id)]).toEqual([status, who, caller.role, seen ? [id] : []])
      }
      for (const { caller } of [OPERATOR, AUDITOR]) expect([await found(memoryHistory(id, caller)), (await memories({}, caller)).items.length]).toEqual([true, 1])
    }
  })

  test.each([
    ['is narrowed by the promotion', 'shared', { visibility: 'role_limited', visible_to: ['security'] }],
    ['is widened by the promotion', 'role_limited', { visibility: 'shared' }],
  ] as const)('a candidate whose circle %s: who may read it may read the memory as well, or has proposed it', async (_how, visibility, kept) => {
    const { id } = await aCandidate(t.ledger, 'new', said(visibility))
    const { memory } = await promote(OPERATOR, id, kept)

    for (const { who, caller } of await readers()) {
      const seen = SEEN_BEFORE.role_limited.includes(who)
      expect([who, caller.role, await found(candidateHistory(id, caller))]).toEqual([who, caller.role, seen ? true : 'AGENTBUS_NOT_FOUND'])
      expect([who, caller.role, (await candidates({}, caller)).items.map((one) => one.id)]).toEqual([who, caller.role, seen ? [id] : []])
      expect([who, await found(memoryHistory(memory.id, caller))]).toEqual([who, SEEN[kept.visibility].includes(who) ? true : 'AGENTBUS_NOT_FOUND'])
    }
  })

  test('is asked at every read: an agent that has lost the right of the curator sees what all others see', async () => {
    const { id } = await aMemory(t.ledger, 'active', { visibility: 'agent_private' })
    const before = await found(memoryHistory(id, KNOWLEDGE.caller))

    await rights(t.ledger, {})

    expect([before, await found(memoryHistory(id, KNOWLEDGE.caller)), (await memories({}, KNOWLEDGE.caller)).items]).toEqual([true, 'AGENTBUS_NOT_FOUND', []])
  })

  test('what an operator has proposed for some is shown to those alone', async () => {
    const { candidate } = await suggest(t.ledger, OPERATOR, { visibility: 'role_limited', visible_to: ['security'] })

    const { memory } = await promote(OPERATOR, candidate.id)

    expect(await found(memoryHistory(memory.id, agent('publisher').caller))).toBe('AGENTBUS_NOT_FOUND')
    expect(await found(memoryHistory(memory.id, agent('security').caller))).toBe(true)
  })

  test('pages are full and lead to the end, whatever lies between that one may not see', async () => {
    const shared: MemoryView[] = []
    for (let at = 0; at < 10; at += 1) {
      const visibility = at % 2 === 0 ? 'shared' : 'agent_private'
      const memory = await aMemory(t.ledger, 'active', { visibility })
      if (visibility === 'shared') shared.unshift(memory)
    }
    const { caller } = agent('publisher')

    const pages = await pagesOf(2, (page) => memories(page, caller))
    const sources = await pagesOf(2, (page) => candidates(page, caller))

    expect([pages.map((page) => page.length), sources.map((page) => page.length)]).toEqual([
      [2, 2, 1],
      [2, 2, 1],
    ])
    expect(pages.flat()).toEqual(shared)
    expect(sources.flat().map(({ id }) => id)).toEqual(shared.map(({ source_candidate_id }) => source_candidate_id))
    expect((await pagesOf(2, (page) => memories(page, DEVOPS.caller))).flat()).toHaveLength(10)
  })
})

describe('an answer that is given once more', () => {
  const once = (as: CommandContext): CommandContext => ({ ...as, idempotency: { key: 'once', requestHash: 'h' } })
  const COMMANDS = {
    review: async () => {
      const { id } = await aCandidate(t.ledger)
      return () => review(once(KNOWLEDGE), id, 'reviewed')
    },
    promote: async () => {
      const { id } = await aCandidate(t.ledger)
      return () => promote(once(KNOWLEDGE), id)
    },
    refresh: async () => {
      const { id } = await aMemory(t.ledger)
      return () => refresh(once(KNOWLEDGE), id)
    },
    'mark-stale': async () => {
      const { id } = await aMemory(t.ledger)
      return () => markStale(once(KNOWLEDGE), id)
    },
    retire: async () => {
      const { id } = await aMemory(t.ledger)
      return () => retire(once(KNOWLEDGE), id)
    },
  } as const

  test.each(Object.keys(COMMANDS) as (keyof typeof COMMANDS)[])('to %s is for whoever may still do that, and a refusal with a row for all others', async (name) => {
    const command: () => Promise<{ readonly replayed?: boolean }> = await COMMANDS[name]()
    await command()
    const again = await command()

    await rights(t.ledger, {})

    expect(again.replayed).toBe(true)
    await expect(command()).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN', fields: { right: 'promote' } })
    expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_FORBIDDEN', agent_id: 'knowledge' }])
  })

  test('to a proposal is for whoever may read the candidate then', async () => {
    const propose = () => suggest(t.ledger, once(DEVOPS), { visibility: 'agent_private' })
    const { candidate } = await propose()
    const again = await propose()

    await tamper(t.url, [`update memory_candidates set source_agent = 'security' where id = $1`, [candidate.id]])

    expect([again.replayed, again.candidate.id]).toEqual([true, candidate.id])
    await expect(propose()).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
  })
})

test('memories are listed by namespace, state, kind, scope and subject', async () => {
  const mine = await aMemory(t.ledger)
  const theirs = await aMemory(t.ledger, 'archived', { candidate_kind: 'mistake', scope: 'person', subject_key: 'anna', namespace: 'other' })
  const ids = async (query: Record<string, unknown>) => (await memories(query)).items.map(({ id }) => id)

  expect(await ids({})).toEqual([theirs.id, mine.id])
  expect(await ids({ namespace: 'other' })).toEqual([theirs.id])
  expect(await ids({ status: 'active' })).toEqual([mine.id])
  expect(await ids({ kind: 'mistake' })).toEqual([theirs.id])
  expect(await ids({ scope: 'service', subject_key: 'db-1' })).toEqual([mine.id])
  expect(await ids({ due: 'true' })).toEqual([])
})
