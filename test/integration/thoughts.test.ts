import { afterEach, expect, test } from 'vitest'
import { ListIdeasQuery } from '../../contracts/ideas.js'
import { OPERATOR } from '../support/ledger.js'
import { startTestBus, type TestBus } from '../support/bus.js'
import { aMemory, anOpportunity, conversion, note } from '../support/thoughts.js'

let t: TestBus
afterEach(() => t.stop())

test('what an opportunity becomes is work like any other: it is delivered with what the opportunity says, and done', async () => {
  t = await startTestBus()
  const { id } = await anOpportunity(t.ledger, 'accepted')
  t.behave(async (hands) => {
    await note(t.ledger, hands.as, { title: 'seen on the way' })
    await hands.complete({ summary: 'drafted' })
  })

  const { job } = await t.ledger.opportunities.convert(OPERATOR, id, conversion())

  const done = await t.until(job.id, ({ status }) => status === 'succeeded')
  expect(done).toMatchObject({ lane: 'proactive', summary: 'drafted', payload: { origin: 'opportunity', opportunity_id: id } })
  // The agent that worked on it has noted an idea of its own, which names the run.
  const [idea] = (await t.ledger.listIdeas(ListIdeasQuery.parse({}))).items
  if (idea === undefined) throw new Error('nothing was noted')
  const { reviews } = await t.ledger.ideaHistory(idea.id)
  expect([idea.source_agent, idea.title, reviews]).toMatchObject(['devops', 'seen on the way', [{ job_id: job.id, actor_kind: 'attempt', actor: 'devops' }]])
})

test('a memory whose time runs out is put down as expired by the processes that run', async () => {
  t = await startTestBus()
  const { id } = await aMemory(t.ledger, 'active', {}, { expires_at: new Date(Date.now() + 1_500).toISOString() })

  await expect.poll(async () => (await t.ledger.memoryHistory(id, OPERATOR.caller)).memory.status, { timeout: 15_000 }).toBe('expired')

  const { memory, reviews } = await t.ledger.memoryHistory(id, OPERATOR.caller)
  expect(memory).toMatchObject({ version: 2, in_force: false })
  expect(reviews.at(-1)).toMatchObject({ decision: 'expired', actor_kind: 'system', reviewer: null })
})
