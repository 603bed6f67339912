import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseWorkflow } from '../../config/fleet-file.js'
import { AuthorityConfig } from '../../contracts/authority.js'
import { CompleteJobBody, FailJobBody } from '../../contracts/closings.js'
import { EmitEventBody } from '../../contracts/events.js'
import { CreateJobBody, type JobView } from '../../contracts/jobs.js'
import { ProjectName, SetProjectStatusBody } from '../../contracts/projects.js'
import { FinishStandingOrderBody } from '../../contracts/standing-orders.js'
import { SubscriptionConfig } from '../../contracts/subscriptions.js'
import { TraceQuery, type TraceView } from '../../contracts/trace.js'
import { CancelWorkflowBody, StartWorkflowBody, type WorkflowRunHistory } from '../../contracts/workflows.js'
import type { CommandContext } from '../../ledger/caller.js'
import { aJob, aSlot, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { decision, keeping, note, promotion, suggest } from '../support/thoughts.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const DEVOPS: CommandContext = { caller: { role: 'agent', tokenId: 'devops', name: 'devops', agentId: 'devops' as never } }
const WINDOW = { from: '2026-01-01T00:00:00Z', to: '2100-01-01T00:00:00Z' }
const apply = (fleet: Record<string, unknown>) => t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], ...fleet }, { dryRun: false, prune: false })
const storyOf = (id: string): Promise<TraceView> => t.ledger.trace(TraceQuery.parse({ job_id: id }))
const ofKind = ({ entries }: TraceView, kind: string) => entries.filter((entry) => entry.kind === kind)
const idsOf = ({ jobs }: TraceView): string[] => jobs.map(({ id }) => id).sort()

async function make(...depends_on: string[]): Promise<JobView> {
  return (await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'a job', depends_on }))).job
}

/** Starts a run of two steps that need nothing. */
async function aPair(as: CommandContext = OPERATOR): Promise<WorkflowRunHistory> {
  const parsed = parseWorkflow('name: pair\nsteps:\n  - { id: left, agent: devops }\n  - { id: right, agent: devops }\n')
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  await t.ledger.workflows.define(OPERATOR, parsed.workflow)
  return (await t.ledger.workflows.start(as, { namespace: 'default', name: 'pair' }, StartWorkflowBody.parse({}))).run
}

describe('the story of a job', () => {
  test('begins with the event that it was made for, though that has no correlation key and came from no job', async () => {
    await apply({ subscriptions: [SubscriptionConfig.parse({ name: 'look', agent: 'devops', topic: 'disk.full', subject: 'Look at it' })] })
    await t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'disk.empty' }))
    await t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'disk.full', payload: { disk: 'sda' } }))
    const [made] = (await t.ledger.listJobs({ target_agent: 'devops' as never, limit: 5 })).items

    const story = await storyOf(made?.id ?? '')

    expect(ofKind(story, 'event')).toMatchObject([
      { what: 'disk.full', job_id: null, correlation_key: null, by: { kind: 'operator', id: 'test-operator' }, details: { disk: 'sda' } },
    ])
    expect(story.entries[0]?.kind).toBe('event')
  })

  test('has the other jobs of its workflow run, with their histories, and no job of another run', async () => {
    const [run] = [await aPair(), await aPair()]
    const [left, right] = run.steps.map(({ job_id: id }) => String(id))

    const story = await storyOf(left ?? '')

    expect(idsOf(story)).toEqual([left, right].sort())
    expect(new Set(ofKind(story, 'job').map(({ job_id: id }) => id))).toEqual(new Set([left, right]))
    expect(new Set(ofKind(story, 'workflow').map(({ what }) => what))).toEqual(new Set(['pair: running', 'pair / left: running', 'pair / right: running']))
  })

  test('has what it depends on and what depends on it, and what else depends on the same job is another matter', async () => {
    const first = await make()
    const middle = await make(first.id)
    const last = await make(middle.id)
    const beside = await make(first.id)

    const [ofMiddle, ofFirst] = [await storyOf(middle.id), await storyOf(first.id)]

    expect(idsOf(ofMiddle)).toEqual([first.id, middle.id, last.id].sort())
    expect(idsOf(ofFirst)).toEqual([first.id, middle.id, beside.id].sort())
    expect(Object.fromEntries(ofMiddle.jobs.map((job) => [job.id, job.depends_on]))).toEqual({ [first.id]: [], [middle.id]: [first.id], [last.id]: [middle.id] })
    expect(ofMiddle.jobs.map(({ depth }) => depth)).toEqual([0, 0, 0])
  })

  test('is named by the correlation key of its lineage, whatever key the jobs around it have', async () => {
    const first = (await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'a job', correlation_key: 'theirs' }))).job
    const body = CreateJobBody.parse({ target_agent: 'devops', subject: 'a job', correlation_key: 'mine', depends_on: [first.id] })
    const { job } = await t.ledger.jobs.create(OPERATOR, body)

    const story = await storyOf(job.id)

    expect([story.correlation_key, story.jobs.length]).toEqual(['mine', 2])
  })

  test('has what came too late as refused, and what operators did as observed', async () => {
    const late = await aJob(t.ledger, 'succeeded')
    await expect(t.ledger.jobs.complete(late.as, late.id, CompleteJobBody.parse({}))).rejects.toMatchObject({ code: 'AGENTBUS_ALREADY_CLOSED' })
    const dead = await aJob(t.ledger, 'dead', { max_attempts: 1 })
    await t.ledger.jobs.bury(OPERATOR, dead.id, 'seen')

    const [ofLate, ofDead] = [await storyOf(late.id), await storyOf(dead.id)]

    expect([...ofKind(ofLate, 'refused'), ...ofKind(ofLate, 'observed')]).toMatchObject([
      { what: 'AGENTBUS_ALREADY_CLOSED', job_id: late.id, attempt_id: late.attemptId, agent: 'devops', by: { kind: 'attempt', id: 'devops' } },
    ])
    expect([...ofKind(ofDead, 'refused'), ...ofKind(ofDead, 'observed')]).toMatchObject([
      { what: 'operator_action buried', job_id: dead.id, by: { kind: 'operator', id: 'test-operator' }, note: 'seen' },
    ])
  })

  test('has the moves of the slot that it is the run of', async () => {
    const slot = await aSlot(t.ledger)
    await t.ledger.jobs.finishStandingOrder(slot.as, slot.id, FinishStandingOrderBody.parse({ outcome: 'no_work' }))
    const other = await aSlot(t.ledger)

    const story = await storyOf(slot.id)

    const moves = ofKind(story, 'slot')
    expect(moves.map(({ what }) => what).sort()).toEqual([`${slot.order}: no_work`, `${slot.order}: started`])
    expect(moves.every(({ job_id: id, details }) => id === slot.id && details['slot_id'] === slot.slotId)).toBe(true)
    expect(idsOf(story)).not.toContain(other.id)
  })

  test('has how each attempt ended, with outcome and error, and nothing of one that is still open', async () => {
    const job = await aJob(t.ledger, 'running')
    await t.ledger.jobs.fail(job.as, job.id, FailJobBody.parse({ last_error: 'the disk is full', summary: 'looked at it' }))
    const open = await aJob(t.ledger, 'running')

    const [story, ofOpen] = [await storyOf(job.id), await storyOf(open.id)]

    expect(ofKind(story, 'did')).toMatchObject([
      {
        what: 'attempt 1 ended: failed (failed_by_agent)',
        job_id: job.id,
        attempt_id: job.attemptId,
        agent: 'devops',
        note: 'looked at it',
        details: { error: 'the disk is full' },
      },
    ])
    expect(ofKind(ofOpen, 'did')).toEqual([])
  })
})

test('an agent in a window wrote project statuses and moved workflows, and those of others are not among them', async () => {
  await apply({ authority: AuthorityConfig.parse({ project_status: ['devops'], workflow: ['devops'] }) })
  const shop = ProjectName.parse('shop')
  await t.ledger.projects.setStatus(OPERATOR, shop, SetProjectStatusBody.parse({ status: 'planned' }))
  await t.ledger.projects.setStatus(DEVOPS, shop, SetProjectStatusBody.parse({ status: 'on track', body: 'half of it is done' }))
  await aPair()
  const run = await aPair(DEVOPS)
  await t.ledger.workflows.cancel(DEVOPS, run.run.id, CancelWorkflowBody.parse({ reason: 'enough' }))

  const { entries } = await t.ledger.trace(TraceQuery.parse({ agent: 'devops', ...WINDOW }))

  const wrote = entries.filter(({ kind }) => kind === 'wrote')
  expect(wrote.filter(({ what }) => what.startsWith('status of '))).toMatchObject([
    { what: 'status of shop: on track', agent: 'devops', by: { kind: 'agent', id: 'devops' }, note: 'half of it is done', details: { namespace: 'default', version: 2 } },
  ])
  const moves = wrote.filter(({ what }) => what.startsWith('workflow '))
  expect(moves.map(({ what, note }) => [what, note])).toEqual([
    ['workflow pair: running', 'started'],
    ['workflow pair / left: cancelled', 'enough'],
    ['workflow pair / right: cancelled', 'enough'],
    ['workflow pair: cancelled', 'enough'],
  ])
  expect(moves.every(({ details }) => details['workflow_run_id'] === run.run.id)).toBe(true)
  expect(moves.slice(1, 3).map(({ job_id: id }) => id)).toEqual(run.steps.map(({ job_id: id }) => id))
})

test('an agent in a window noted, proposed and decided; what others decided about its thoughts is not among that', async () => {
  await apply({ authority: AuthorityConfig.parse({ triage: ['devops'], promote: ['devops'] }) })
  const { idea } = await note(t.ledger, DEVOPS, { title: 'pairs' })
  await t.ledger.ideas.review(OPERATOR, idea.id, {})
  const { opportunity } = await t.ledger.ideas.promote(DEVOPS, idea.id, promotion({ notes: 'it has matured' }))
  await t.ledger.opportunities.triage(DEVOPS, opportunity.id, decision('parked', 'later'))
  const { candidate } = await suggest(t.ledger, DEVOPS, { title: 'vacuum' })
  const { memory } = await t.ledger.memories.promote(DEVOPS, candidate.id, keeping())
  await t.ledger.memories.markStale(DEVOPS, memory.id, { notes: 'look again' })

  const { entries } = await t.ledger.trace(TraceQuery.parse({ agent: 'devops', ...WINDOW }))

  const wrote = entries.filter(({ kind }) => kind === 'wrote')
  expect(wrote.map(({ what, note: why }) => [what, why])).toEqual([
    ['idea new: pairs', null],
    ['opportunity new: pairs', null],
    ['idea promoted_to_opportunity: pairs', 'it has matured'],
    ['opportunity parked: pairs', 'later'],
    ['memory candidate new: vacuum', null],
    ['memory active: vacuum', null],
    ['memory candidate promoted: vacuum', null],
    ['memory active: vacuum', 'look again'],
  ])
  expect(wrote[2]?.details).toEqual({ opportunity_id: opportunity.id, idea_id: idea.id })
  expect(wrote.at(-1)?.details).toEqual({ stale: { next_review_at: { from: null, to: expect.any(String) } }, memory_id: memory.id })
  expect(wrote.every(({ by }) => by?.kind === 'agent' && by.id === 'devops')).toBe(true)
})
