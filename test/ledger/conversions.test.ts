import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SetControlBody } from '../../contracts/controls.js'
import { DelegationRule } from '../../contracts/fleet.js'
import { LimitsConfig } from '../../contracts/limits.js'
import { ListOpportunitiesQuery, type OpportunityId } from '../../contracts/opportunities.js'
import type { CommandContext } from '../../ledger/caller.js'
import type { Hint } from '../../ledger/hints.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import {
  agent,
  anOpportunity,
  AUDITOR,
  codesOf,
  connected,
  conversion,
  decision,
  DEVOPS,
  freeze,
  holdingBack,
  OPPORTUNITY,
  refusalsOf,
  rights,
  someoneWaitsFor,
  unfreeze,
} from '../support/thoughts.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  for (const id of ['coordinator', 'security', 'tracker']) await t.addAgent(id, { concurrency: 10 })
  await rights(t.ledger, { triage: ['tracker'], convert: ['coordinator'] })
})
afterEach(() => t.close())

const convert = (as: CommandContext, id: OpportunityId, body: Record<string, unknown> = {}) => t.ledger.opportunities.convert(as, id, conversion(body))
const historyOf = (id: OpportunityId) => t.ledger.opportunityHistory(id)
const jobs = async () => (await t.ledger.listJobs({ limit: 50 })).items
const limits = (config: Record<string, unknown>) =>
  t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], limits: LimitsConfig.parse(config) }, { dryRun: false, prune: false })

describe('a conversion', () => {
  test('is for operators and the agents of authority.convert, and nobody else', async () => {
    const run = await aJob(t.ledger, 'running', { target_agent: 'tracker' })
    const { id } = await anOpportunity(t.ledger)
    const before = await jobs()

    for (const as of [DEVOPS, agent('tracker'), run.as, AUDITOR])
      await expect(convert(as, id)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN', fields: { right: 'convert', holders: ['coordinator'] } })

    expect(await jobs()).toEqual(before)
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual(Array(4).fill('AGENTBUS_FORBIDDEN'))
    expect((await convert(agent('coordinator'), id)).opportunity.status).toBe('converted_to_job')
  })

  test('is not for an agent that has lost the right, and an attempt that has ended', async () => {
    const ended = await aJob(t.ledger, 'succeeded', { target_agent: 'coordinator' })
    const { id } = await anOpportunity(t.ledger)

    await expect(convert(ended.as, id)).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })
    await rights(t.ledger, {})
    await expect(convert(agent('coordinator'), id)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })

    expect((await historyOf(id)).opportunity).toMatchObject({ status: 'new', converted_job_id: null })
  })

  test('makes one job of it, with what the opportunity says and where it comes from', async () => {
    const { id } = await anOpportunity(t.ledger, 'accepted', { namespace: 'shop', evidence: { seen: 3 } })
    const hints: Hint[] = []
    const stop = t.ledger.hints.listen((hint) => hints.push(hint))

    const { opportunity, job } = await convert(agent('coordinator'), id, { target_agent: 'security', job_type: 'experiment', priority: 120, notes: 'strong signal' })
    stop()

    expect(opportunity).toMatchObject({ id, status: 'converted_to_job', version: 3, converted_job_id: job.id, triage_notes: 'strong signal' })
    expect(job).toMatchObject({
      ...{ namespace: 'shop', source_agent: 'coordinator', target_agent: 'security', lane: 'proactive', job_type: 'experiment', subject: 'draft the experiment', priority: 120 },
      ...{ correlation_key: `opportunity:${id}`, status: 'queued', dedupe_key: null, parent_job_id: null, created_by: 'agent:coordinator', version: 1 },
    })
    expect(job.payload).toEqual({
      ...{ origin: 'opportunity', opportunity_id: id, title: OPPORTUNITY['title'], theme: OPPORTUNITY['theme'] },
      ...{ why_now: OPPORTUNITY['why_now'], suggested_next_step: OPPORTUNITY['suggested_next_step'] },
    })
    expect(await jobs()).toEqual([job])
    expect((await t.ledger.jobHistory(job.id)).transitions).toMatchObject([{ seq: 1, reason: 'created', actor_kind: 'agent', actor: 'coordinator' }])
    expect((await historyOf(id)).reviews.at(-1)).toMatchObject({ seq: 3, from_status: 'accepted', decision: 'converted_to_job', notes: 'strong signal', reviewer: 'coordinator' })
    // It is on its way to a worker, and the relay is told at once.
    expect((await t.database.pool.query('select kind, agent_id from outbox where job_id = $1', [job.id])).rows).toEqual([{ kind: 'publish', agent_id: 'security' }])
    expect(hints.some(({ outbox }) => outbox === true)).toBe(true)
  })

  test('keeps what else is asked for in the payload, and lets nothing take the place of what the bus says', async () => {
    const { id } = await anOpportunity(t.ledger)
    const lies = Object.fromEntries(['origin', 'opportunity_id', 'title', 'theme', 'why_now', 'suggested_next_step'].map((name) => [name, 'another']))

    const { job } = await convert(OPERATOR, id, { payload: { ...lies, kind: 'experiment', steps: [1, 2] } })

    expect(job.payload).toEqual({
      ...{ kind: 'experiment', steps: [1, 2], origin: 'opportunity', opportunity_id: id, title: OPPORTUNITY['title'] },
      ...{ theme: OPPORTUNITY['theme'], why_now: OPPORTUNITY['why_now'], suggested_next_step: OPPORTUNITY['suggested_next_step'] },
    })
  })

  test('by an operator is a job of nobody, by an attempt a child of its job', async () => {
    const run = await aJob(t.ledger, 'running', { target_agent: 'coordinator' })
    const [first, second] = [await anOpportunity(t.ledger), await anOpportunity(t.ledger)]

    const made = [await convert(OPERATOR, first.id), await convert(run.as, second.id)].map(({ job }) => job)

    expect(made).toMatchObject([
      { source_agent: null, parent_job_id: null, job_type: 'proactive', priority: 100, created_by: 'operator:test-operator' },
      { source_agent: 'coordinator', parent_job_id: run.id, correlation_key: `opportunity:${second.id}`, created_by: 'attempt:coordinator' },
    ])
    expect((await historyOf(second.id)).reviews.at(-1)).toMatchObject({ reviewer: 'coordinator', job_id: run.id, attempt_id: run.attemptId, actor_kind: 'attempt' })
  })

  test('by sixteen at once makes one job; the others are refused, with a row', { repeats: 9 }, async () => {
    const { id } = await anOpportunity(t.ledger)
    await connected(t, 16)

    const settled = await Promise.allSettled(Array.from({ length: 16 }, (_each, at) => convert(at % 2 === 0 ? OPERATOR : agent('coordinator'), id, { subject: `by ${at}` })))

    expect(codesOf(settled)).toEqual(Array(15).fill('AGENTBUS_REVIEW_OVER'))
    const made = await jobs()
    expect(made.map(({ correlation_key }) => correlation_key)).toEqual([`opportunity:${id}`])
    expect((await historyOf(id)).opportunity).toMatchObject({ version: 2, converted_job_id: made[0]?.id })
    expect((await refusalsOf(t)).map(({ code }) => code)).toEqual(Array(15).fill('AGENTBUS_REVIEW_OVER'))
  })

  test('is for one by one: of two opportunities that are converted at once each gets its own job', async () => {
    const made = await Promise.all(Array.from({ length: 8 }, () => anOpportunity(t.ledger)))

    const converted = await Promise.all(made.map(({ id }) => convert(OPERATOR, id)))

    expect(converted.map(({ job }) => job.correlation_key)).toEqual(made.map(({ id }) => `opportunity:${id}`))
    expect(await jobs()).toHaveLength(8)
  })

  test('with one Idempotency-Key happens once, and is answered the same again', async () => {
    const { id } = await anOpportunity(t.ledger)
    const once: CommandContext = { ...agent('coordinator'), idempotency: { key: 'once', requestHash: 'h' } }

    const answers = await Promise.all(Array.from({ length: 8 }, () => convert(once, id)))

    expect(answers.filter(({ replayed }) => replayed !== true)).toHaveLength(1)
    expect(new Set(answers.map(({ job }) => job.id)).size).toBe(1)
    expect(await jobs()).toHaveLength(1)
    expect(await refusalsOf(t)).toEqual([])
  })

  test('that the rules of delegation forbid leaves the opportunity open and no job, but a row', async () => {
    await t.addAgent('coordinator', { concurrency: 10, delegation: [DelegationRule.parse({ to: ['security'], job_types: ['proactive'] })] })
    const run = await aJob(t.ledger, 'running', { target_agent: 'coordinator' })
    const { id } = await anOpportunity(t.ledger, 'accepted')
    const before = [await historyOf(id), await jobs()]

    for (const as of [agent('coordinator'), run.as]) {
      await expect(convert(as, id)).rejects.toMatchObject({ code: 'AGENTBUS_DELEGATION_REFUSED' })
      await expect(convert(as, id, { target_agent: 'security', job_type: 'other' })).rejects.toMatchObject({ code: 'AGENTBUS_DELEGATION_REFUSED' })
    }

    expect([await historyOf(id), await jobs()]).toEqual(before)
    expect((await refusalsOf(t)).map(({ code, actor }) => [code, actor])).toEqual(Array(4).fill(['AGENTBUS_DELEGATION_REFUSED', 'coordinator']))
    expect((await convert(agent('coordinator'), id, { target_agent: 'security' })).opportunity.status).toBe('converted_to_job')
    expect((await convert(OPERATOR, (await anOpportunity(t.ledger)).id)).job.target_agent).toBe('devops')
  })

  test('into a lane that is full is refused, and goes through when there is room', async () => {
    const { id } = await anOpportunity(t.ledger, 'accepted')
    const before = await historyOf(id)
    await limits({ lanes: { proactive: 0 }, retry_after_seconds: 7 })

    await expect(convert(agent('coordinator'), id)).rejects.toMatchObject({
      code: 'AGENTBUS_LIMIT_REACHED',
      status: 429,
      fields: { limit: 'queue_depth_per_lane', of: 'proactive', max: 0, retry_after: 7 },
    })

    expect([await historyOf(id), await jobs()]).toEqual([before, []])
    expect(await refusalsOf(t)).toMatchObject([{ code: 'AGENTBUS_LIMIT_REACHED', actor: 'coordinator' }])
    await limits({})
    expect((await convert(agent('coordinator'), id)).opportunity.status).toBe('converted_to_job')
  })

  test('counts as a job that the converting agent has sent, until that is over', async () => {
    await limits({ agents: { coordinator: { open_jobs: 1 } } })
    const [first, second] = [await anOpportunity(t.ledger), await anOpportunity(t.ledger)]
    const { job } = await convert(agent('coordinator'), first.id)

    await expect(convert(agent('coordinator'), second.id)).rejects.toMatchObject({ code: 'AGENTBUS_LIMIT_REACHED', fields: { limit: 'open_jobs_per_source', of: 'coordinator' } })

    expect((await historyOf(second.id)).opportunity.status).toBe('new')
    await t.ledger.jobs.cancel(OPERATOR, job.id, 'not needed')
    expect((await convert(agent('coordinator'), second.id)).opportunity.status).toBe('converted_to_job')
  })

  test('counts against the rate of jobs of whoever converts; what is refused is not counted', async () => {
    await limits({ jobs_per_second_per_caller: 0.001 })
    const [first, second] = [await anOpportunity(t.ledger), await anOpportunity(t.ledger)]
    await expect(convert(agent('coordinator'), first.id, { target_agent: 'nobody' })).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT' })

    await convert(agent('coordinator'), first.id)
    const before = [await historyOf(second.id), await jobs()]
    await expect(convert(agent('coordinator'), second.id)).rejects.toMatchObject({ code: 'AGENTBUS_LIMIT_REACHED', fields: { limit: 'jobs_per_second_per_caller' } })

    expect([await historyOf(second.id), await jobs()]).toEqual(before)
    expect((await convert(OPERATOR, second.id)).opportunity.status).toBe('converted_to_job')
  })

  test('for an agent that nobody knows is refused, and leaves the opportunity open', async () => {
    const { id } = await anOpportunity(t.ledger)

    await expect(convert(OPERATOR, id, { target_agent: 'nobody' })).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT' })

    expect((await historyOf(id)).opportunity).toMatchObject({ status: 'new', version: 1, converted_job_id: null })
    expect(await jobs()).toEqual([])
  })

  test('is refused while conversions are frozen, and the same request goes through when they are not', async () => {
    const { id } = await anOpportunity(t.ledger)
    const request: CommandContext = { ...agent('coordinator'), idempotency: { key: 'once', requestHash: 'h' } }
    const before = await historyOf(id)
    await freeze(t.ledger, 'conversions')

    await expect(convert(request, id)).rejects.toMatchObject({ code: 'AGENTBUS_FROZEN', status: 409 })
    await expect(convert(OPERATOR, id)).rejects.toMatchObject({ code: 'AGENTBUS_FROZEN' })

    expect([await historyOf(id), await jobs()]).toEqual([before, []])
    expect(await refusalsOf(t)).toMatchObject([
      { code: 'AGENTBUS_FROZEN', actor: 'coordinator' },
      { code: 'AGENTBUS_FROZEN', actor: 'test-operator' },
    ])
    await unfreeze(t.ledger, 'conversions')
    const { replayed, job } = await convert(request, id)
    expect([replayed ?? false, await jobs()]).toEqual([false, [job]])
  })

  test('is free while promotions are frozen, and triage is free while conversions are', async () => {
    const [first, second] = [await anOpportunity(t.ledger), await anOpportunity(t.ledger)]
    await freeze(t.ledger, 'promotions')
    await convert(OPERATOR, first.id)
    await freeze(t.ledger, 'conversions')
    await t.ledger.opportunities.triage(OPERATOR, second.id, decision('accepted'))

    expect((await t.ledger.listOpportunities(ListOpportunitiesQuery.parse({}))).items.map(({ status }) => status).toSorted()).toEqual(['accepted', 'converted_to_job'])
  })

  test('under way holds a freeze of conversions back until it is done, and neither a pause of a lane nor a freeze of promotions', async () => {
    const [first, second] = [await anOpportunity(t.ledger), await anOpportunity(t.ledger)]

    const [converted] = await holdingBack(t, 'opportunity_reviews', async (letGo) => {
      const converting = convert(OPERATOR, first.id)
      // It has looked for a freeze and made its job; its review is what it waits for.
      await someoneWaitsFor(t, 'relation')
      await t.ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'pause', scope: 'lane', target: 'coding', reason: 'a release' }))
      await freeze(t.ledger, 'promotions')
      const freezing = freeze(t.ledger, 'conversions')
      await someoneWaitsFor(t, 'advisory')
      await letGo()
      return Promise.all([converting, freezing])
    })

    expect(converted.opportunity.status).toBe('converted_to_job')
    await expect(convert(OPERATOR, second.id)).rejects.toMatchObject({ code: 'AGENTBUS_FROZEN' })
    expect((await t.ledger.listControls()).map(({ scope }) => scope).toSorted()).toEqual(['conversions', 'lane', 'promotions'])
  })

  test('leaves the opportunity as it is, whatever becomes of its job', async () => {
    const { id } = await anOpportunity(t.ledger)
    const { opportunity, job } = await convert(OPERATOR, id)

    await t.ledger.jobs.cancel(OPERATOR, job.id, 'not needed')

    expect((await historyOf(id)).opportunity).toEqual(opportunity)
  })
})
