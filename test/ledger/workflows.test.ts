import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseWorkflow } from '../../config/fleet-file.js'
import { AuthorityConfig } from '../../contracts/authority.js'
import { DelegationRule } from '../../contracts/fleet.js'
import { CompleteJobBody, FailJobBody } from '../../contracts/closings.js'
import type { JobView } from '../../contracts/jobs.js'
import { CancelWorkflowBody, StartWorkflowBody, WorkflowDefinition, type WorkflowRunHistory, type WorkflowRunId } from '../../contracts/workflows.js'
import type { CommandContext } from '../../ledger/caller.js'
import { attemptCaller, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  for (const id of ['auditor', 'coordinator']) await t.addAgent(id, { concurrency: 100, capabilities: ['review'] })
})
afterEach(() => t.close())

const agent = (id: string): CommandContext => ({ caller: { role: 'agent', tokenId: id, name: id, agentId: id as never } })
const parsed = (text: string): WorkflowDefinition => {
  const result = parseWorkflow(text)
  if ('faults' in result) throw new Error(JSON.stringify(result.faults))
  return result.workflow
}
const define = (text: string, as: CommandContext = OPERATOR) => t.ledger.workflows.define(as, parsed(text))
const start = async (name: string, body: Record<string, unknown> = {}, as: CommandContext = OPERATOR) =>
  (await t.ledger.workflows.start(as, { namespace: 'default', name }, StartWorkflowBody.parse(body))).run
const look = (id: string) => t.ledger.runHistory(id as WorkflowRunId)
const states = ({ steps }: WorkflowRunHistory) => Object.fromEntries(steps.map(({ step, status }) => [step, status]))

async function jobOf(run: string, step: string): Promise<JobView> {
  const { steps } = await look(run)
  const id = steps.find((one) => one.step === step)?.job_id
  if (id === undefined || id === null) throw new Error(`step ${step} has no job`)
  return t.ledger.getJob(id)
}

async function take(run: string, step: string): Promise<{ job: JobView; as: CommandContext }> {
  await t.ledger.upkeep.assign(100)
  const job = await jobOf(run, step)
  const leased = await leaseAs(t.ledger, job.id, job.generation)
  if (leased.kind !== 'start') throw new Error(`${step} was not leased: ${leased.kind}`)
  return { job, as: { caller: attemptCaller(leased.attempt.id as never, job.id, String(job.target_agent)) } }
}

async function complete(run: string, step: string, result: Record<string, unknown> = {}): Promise<void> {
  const { job, as } = await take(run, step)
  await t.ledger.jobs.complete(as, job.id, CompleteJobBody.parse({ result }))
}

async function fail(run: string, step: string): Promise<void> {
  const { job, as } = await take(run, step)
  await t.ledger.jobs.fail(as, job.id, FailJobBody.parse({ last_error: 'cannot' }))
}

const RELEASE = `
name: release
description: Build, check from two sides, ask, ship.
inputs:
  version: {}
  channel: { required: false, default: stable }
steps:
  - id: build
    agent: devops
    subject: "Build {{inputs.version}}"
    payload: { version: "{{inputs.version}}", channel: "{{inputs.channel}}" }
    timeout_seconds: 90
    max_attempts: 2
  - id: audit
    agent: auditor
    needs: [build]
    payload: { artifact: "{{steps.build.result.artifact}}" }
  - id: review
    capabilities: [review]
    needs: [build]
  - id: gate
    needs: [audit, review]
    approval: { subject: "Ship {{inputs.version}}? Risk {{steps.audit.result.risk}}", expires_in_seconds: 3600 }
  - id: hotfix-notice
    agent: coordinator
    needs: [gate]
    if: { inputs.channel: hotfix }
  - id: ship
    agent: devops
    needs: [gate, hotfix-notice]
    when_skipped: run
outputs:
  url: "{{steps.ship.result.url}}"
  approved_by: "{{steps.gate.result.decided_by}}"
`

describe('a workflow run', () => {
  test('goes through branches, a condition and a gate, step by step, with inputs from earlier results', async () => {
    await define(RELEASE)
    const { run } = await start('release', { inputs: { version: '1.4' }, correlation_key: 'rel-1.4' })
    expect(await jobOf(run.id, 'build')).toMatchObject({
      subject: 'Build 1.4',
      payload: { version: '1.4', channel: 'stable' },
      timeout_seconds: 90,
      max_attempts: 2,
      correlation_key: 'rel-1.4',
      flow_key: `workflow:${run.id}`,
    })

    await complete(run.id, 'build', { artifact: { id: 7 } })
    expect(states(await look(run.id))).toMatchObject({ build: 'succeeded', audit: 'running', review: 'running', gate: 'pending' })
    expect((await jobOf(run.id, 'audit')).payload).toEqual({ artifact: { id: 7 } })
    await Promise.all([complete(run.id, 'audit', { risk: 'low' }), complete(run.id, 'review')])
    const [approval] = (await t.ledger.listApprovals({ limit: 5 })).items
    expect(approval).toMatchObject({ subject: 'Ship 1.4? Risk low', workflow_run_id: run.id, step: 'gate', correlation_key: 'rel-1.4' })
    await t.ledger.handOffs.decide(OPERATOR, approval?.id as never, 'approved', 'go')
    expect(states(await look(run.id))).toMatchObject({ gate: 'succeeded', 'hotfix-notice': 'skipped', ship: 'running' })
    await complete(run.id, 'ship', { url: 'https://example.org/1.4' })

    const ended = await look(run.id)
    expect(ended.run).toMatchObject({ status: 'succeeded', outputs: { url: 'https://example.org/1.4', approved_by: 'operator:test-operator' }, last_error: null })
    expect(ended.transitions.map(({ seq }) => seq)).toEqual(ended.transitions.map((_row, at) => at + 1))
    const { items } = await t.ledger.listEvents({ topic: 'workflows.*', order: 'asc', limit: 5 })
    expect(items).toMatchObject([{ topic: 'workflows.succeeded', correlation_key: 'rel-1.4', payload: { run_id: run.id } }])
  })

  test('fails with its first failure: what has not begun is cancelled, what runs is left to end', async () => {
    await define(RELEASE)
    const { run } = await start('release', { inputs: { version: '2' } })
    await complete(run.id, 'build')
    const running = await take(run.id, 'review')

    await fail(run.id, 'audit')

    expect((await look(run.id)).run.status).toBe('running')
    expect(states(await look(run.id))).toMatchObject({ audit: 'failed', review: 'running', gate: 'cancelled', ship: 'cancelled' })
    await t.ledger.jobs.complete(running.as, running.job.id, CompleteJobBody.parse({}))
    expect((await look(run.id)).run).toMatchObject({ status: 'failed', last_error: expect.stringMatching(/^audit: job .* is failed: cannot$/) as string })
  })

  test('cancels the queued jobs of the other branches when it fails', async () => {
    await define(RELEASE)
    const { run } = await start('release', { inputs: { version: '2' } })
    await complete(run.id, 'build')

    await fail(run.id, 'audit')

    expect((await jobOf(run.id, 'review')).status).toBe('cancelled')
    expect((await look(run.id)).run.status).toBe('failed')
  })

  test('a rejected gate fails it, with the note', async () => {
    await define(RELEASE)
    const { run } = await start('release', { inputs: { version: '2' } })
    for (const step of ['build', 'audit', 'review']) await complete(run.id, step)
    const [approval] = (await t.ledger.listApprovals({ limit: 5 })).items

    await t.ledger.handOffs.decide(OPERATOR, approval?.id as never, 'rejected', 'too risky')

    expect((await look(run.id)).run).toMatchObject({ status: 'failed', last_error: 'gate: the approval was rejected: too risky' })
  })

  test('a failure that is passed over is seen by what comes after', async () => {
    await define(`
name: tolerant
steps:
  - { id: try, agent: devops, on_failure: continue, max_attempts: 1 }
  - { id: clean, agent: devops, needs: [try], if: { steps.try.status: failed }, payload: { why: "{{steps.try.reason}}" } }
  - { id: praise, agent: devops, needs: [try], if: { steps.try.status: succeeded } }
`)
    const { run } = await start('tolerant')

    await fail(run.id, 'try')

    expect(states(await look(run.id))).toEqual({ try: 'failed', clean: 'running', praise: 'skipped' })
    expect((await jobOf(run.id, 'clean')).payload['why']).toMatch(/is failed: cannot/)
    await complete(run.id, 'clean')
    expect((await look(run.id)).run.status).toBe('succeeded')
  })

  test('what needs a skipped step is skipped with it', async () => {
    await define(`
name: chain
inputs: { go: {} }
steps:
  - { id: one, agent: devops, if: { inputs.go: true } }
  - { id: two, agent: devops, needs: [one] }
`)

    const { run, steps } = await start('chain', { inputs: { go: false } })

    expect(run.status).toBe('succeeded')
    expect(steps.map(({ status, reason }) => [status, reason])).toEqual([
      ['skipped', 'its condition does not hold'],
      ['skipped', 'one was skipped'],
    ])
  })

  test('retries a step as often as it says, and fails when that is used up', async () => {
    await define('name: once\nsteps: [{ id: a, agent: devops, max_attempts: 2 }]')
    const { run } = await start('once')
    for (const attempt of [1, 2]) {
      const { job, as } = await take(run.id, 'a')
      await t.ledger.jobs.fail(as, job.id, FailJobBody.parse({ last_error: `no ${attempt}`, retry_seconds: 0 }))
    }

    expect((await look(run.id)).run).toMatchObject({ status: 'failed', last_error: expect.stringContaining('is dead: no 2') as string })
  })
})

describe('cancelling a run', () => {
  const midway = async () => {
    await define(RELEASE)
    const { run } = await start('release', { inputs: { version: '2' } })
    await complete(run.id, 'build')
    return { run, audit: await take(run.id, 'audit') }
  }

  test('cancels what has not started and names what runs, whose history is told', async () => {
    const { run, audit } = await midway()

    const cancelled = await t.ledger.workflows.cancel(OPERATOR, run.id, CancelWorkflowBody.parse({ reason: 'other plans' }))

    expect(cancelled.run.run).toMatchObject({ status: 'cancelled', last_error: 'other plans' })
    expect(cancelled.still_running).toEqual([audit.job.id])
    expect((await jobOf(run.id, 'review')).status).toBe('cancelled')
    expect((await t.ledger.jobHistory(audit.job.id)).transitions.at(-1)).toMatchObject({ reason: 'outside_change', details: { change: 'workflow_cancelled', run_id: run.id } })
    await t.ledger.jobs.complete(audit.as, audit.job.id, CompleteJobBody.parse({}))
    expect((await look(run.id)).run.status).toBe('cancelled')
    await expect(t.ledger.workflows.cancel(OPERATOR, run.id, CancelWorkflowBody.parse({ reason: 'again' }))).rejects.toMatchObject({ code: 'AGENTBUS_WORKFLOW_OVER' })
  })

  test('cancels what runs too, when asked, and withdraws an open question', async () => {
    const { run, audit } = await midway()
    await t.ledger.workflows.cancel(OPERATOR, run.id, CancelWorkflowBody.parse({ reason: 'stop', running: 'cancel' }))
    expect((await t.ledger.getJob(audit.job.id)).status).toBe('cancelled')

    const { run: second } = await start('release', { inputs: { version: '3' } })
    for (const step of ['build', 'audit', 'review']) await complete(second.id, step)
    const [approval] = (await t.ledger.listApprovals({ limit: 5 })).items
    await t.ledger.workflows.cancel(OPERATOR, second.id, CancelWorkflowBody.parse({ reason: 'stop' }))
    expect((await t.ledger.approvalHistory(approval?.id as never)).approval.status).toBe('withdrawn')
  })
})

describe('definition and start', () => {
  test('the same text is the same version; a run keeps the version it began with', async () => {
    const text = 'name: v\nsteps: [{ id: a, agent: devops }]'
    expect(await define(text)).toMatchObject({ created: true, workflow: { version: 1 } })
    expect(await define(text)).toMatchObject({ created: false, workflow: { version: 1 } })
    const { run } = await start('v')
    expect(await define('name: v\nsteps: [{ id: a, agent: devops }, { id: b, agent: devops, needs: [a] }]')).toMatchObject({ workflow: { version: 2 } })

    await complete(run.id, 'a')

    expect((await look(run.id)).run).toMatchObject({ status: 'succeeded', workflow_version: 1 })
    expect((await start('v', { version: 1 })).steps).toHaveLength(1)
    expect((await start('v')).steps).toHaveLength(2)
  })

  test('inputs are checked: a missing one, an unknown one', async () => {
    await define(RELEASE)
    await expect(start('release')).rejects.toMatchObject({ code: 'AGENTBUS_BAD_REQUEST', message: 'inputs.version: is required.' })
    await expect(start('release', { inputs: { version: 1, colour: 'red' } })).rejects.toMatchObject({ message: 'inputs.colour: workflow release declares no such input.' })
    await expect(start('nothing')).rejects.toMatchObject({ code: 'AGENTBUS_WORKFLOW_NOT_FOUND' })
    await expect(define('name: x\nsteps: [{ id: a, agent: stranger }]')).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT' })
  })

  test('an open run with the dedupe key is answered, also to many at once', async () => {
    await define(RELEASE)

    const runs = await Promise.all(Array.from({ length: 6 }, () => start('release', { inputs: { version: '1' }, dedupe_key: 'k' })))

    expect(new Set(runs.map(({ run }) => run.id)).size).toBe(1)
  })

  test('is for operators and agents that may; an agent starts in its own name and is bound by its rules', async () => {
    await define('name: send\nsteps: [{ id: a, agent: devops }]')
    await expect(start('send', {}, agent('auditor'))).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await t.addAgent('auditor', { delegation: [DelegationRule.parse({ to: ['coordinator'] })] })
    await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], authority: AuthorityConfig.parse({ workflow: ['auditor'] }) }, { dryRun: false, prune: false })

    const { run } = await start('send', {}, agent('auditor'))

    expect(run).toMatchObject({ status: 'failed', source_agent: 'auditor', last_error: expect.stringContaining('auditor may not send workflow.step to devops') as string })
  })
})

describe('a file that is not valid names the line', () => {
  test.each([
    ['a step twice', 'name: x\nsteps:\n  - { id: a, agent: d }\n  - { id: a, agent: d }', 4, 'steps[1].id: step a is defined twice'],
    ['a need that is not there', 'name: x\nsteps:\n  - id: a\n    agent: d\n    needs: [b]', 5, 'steps[0].needs[0]: step b is not defined'],
    ['itself', 'name: x\nsteps:\n  - id: a\n    agent: d\n    needs: [a]', 5, 'steps[0].needs[0]: step a needs itself'],
    ['a cycle', 'name: x\nsteps:\n  - { id: a, agent: d, needs: [b] }\n  - { id: b, agent: d, needs: [a] }', 3, 'steps[0].needs: step a needs itself by way of others'],
    ['nobody', 'name: x\nsteps:\n  - id: a', 3, 'steps[0].id: names exactly one of agent, capabilities and approval'],
    ['an input that is not declared', 'name: x\nsteps:\n  - id: a\n    agent: d\n    subject: "{{inputs.q}}"', 5, 'steps[0].subject: {{inputs.q}}: input q is not declared'],
    [
      'a result of a step that it does not need',
      'name: x\nsteps:\n  - { id: a, agent: d }\n  - id: b\n    agent: d\n    payload: { v: "{{steps.a.result.v}}" }',
      6,
      'steps[1].payload: {{steps.a.result.v}}: step a cannot be used here: step b does not need it',
    ],
    [
      'an output of nothing',
      'name: x\nsteps: [{ id: a, agent: d }]\noutputs:\n  v: "{{steps.z.result}}"',
      4,
      'outputs.v: {{steps.z.result}}: step z cannot be used here: it is not defined',
    ],
    ['an unknown key', 'name: x\nsteps:\n  - id: a\n    agent: d\n    retries: 3', 5, 'steps[0]: unknown key retries'],
    ['a condition on nothing', 'name: x\nsteps:\n  - id: a\n    agent: d\n    if: { results.a: 1 }', 5, 'steps[0].if: {{results.a}}: begins with neither inputs, steps nor run'],
  ])('%s', (_what, text, line, fault) => {
    const result = parseWorkflow(text)
    expect('faults' in result ? result.faults[0] : undefined).toMatchObject({ line, fault })
  })
})

test('runs and steps that have ended, and every history row, cannot be changed', async () => {
  await define('name: v\nsteps: [{ id: a, agent: devops }]')
  const { run } = await start('v')
  await complete(run.id, 'a')

  for (const statement of [
    `update workflow_runs set status = 'failed'`,
    `update workflow_steps set status = 'failed'`,
    'delete from workflow_transitions',
    'update workflows set hash = hash',
    'delete from workflow_runs',
  ]) {
    await expect(t.database.pool.query(statement)).rejects.toThrow()
  }
})
