import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseWorkflow } from '../../config/fleet-file.js'
import type { ApprovalId } from '../../contracts/approvals.js'
import { AuthorityConfig } from '../../contracts/authority.js'
import { BlockJobBody, CompleteJobBody, FailJobBody } from '../../contracts/closings.js'
import { CancelWorkflowBody, StartWorkflowBody, type WorkflowRunId } from '../../contracts/workflows.js'
import type { CommandContext } from '../../ledger/caller.js'
import { aJob, attemptCaller, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'
import { found, kindsOf, tamper, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  await t.addAgent('auditor', { concurrency: 10 })
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], authority: AuthorityConfig.parse({ approve: ['auditor'] }) }, { dryRun: false, prune: false })
})
afterEach(() => t.close())

const AUDITOR: CommandContext = { caller: { role: 'agent', tokenId: 'a', name: 'auditor', agentId: 'auditor' as never } }

/** A job that asked for a decision, and the approval. */
async function asked(more: Record<string, unknown> = {}): Promise<{ jobId: string; id: ApprovalId }> {
  const job = await aJob(t.ledger, 'running')
  const blocked = await t.ledger.jobs.block(
    job.as,
    job.id,
    BlockJobBody.parse({ blocked_reason: 'needs a decision', waits_for: { kind: 'approval', subject: 'Deploy?', ...more } }),
  )
  return { jobId: job.id, id: (blocked.waits_for as { approval_id: ApprovalId }).approval_id }
}

async function decided(as: CommandContext = OPERATOR): Promise<{ jobId: string; id: ApprovalId }> {
  const one = await asked()
  await t.ledger.handOffs.decide(as, one.id, 'approved', 'after six')
  return one
}

test('decisions of every kind hold: by operators and agents with the right, expired and withdrawn ones', async () => {
  await asked()
  await decided()
  await decided(AUDITOR)
  const rejected = await asked()
  await t.ledger.handOffs.decide(AUDITOR, rejected.id, 'rejected', undefined)
  const withdrawn = await asked()
  await t.ledger.jobs.cancel(OPERATOR, withdrawn.jobId as never, 'no longer wanted')

  expect(kindsOf(await verifyNow(t.url))).toEqual([])
})

describe('among approvals', () => {
  const change = (column: string, value: string) => (id: string) => tamper(t.url, [`update approvals set ${column} = ${value} where id = $1`, [id]])

  test.each([
    ['a changed decision', change('status', `'rejected'`), ['approval_disagrees', 'approval_contradicts_job', 'approval_contradicts_event']],
    ['another decider', change('decided_by', `'operator:somebody else'`), ['approval_decision_changed']],
    ['another note', change('note', `'never'`), ['approval_decision_changed']],
    [
      'a decision that was changed with its history',
      (id: string) =>
        tamper(
          t.url,
          [`update approvals set status = 'rejected' where id = $1`, [id]],
          [`update approval_transitions set to_status = 'rejected' where approval_id = $1 and seq = 2`, [id]],
        ),
      ['approval_contradicts_job', 'approval_contradicts_event', 'approval_untold'],
    ],
    [
      'a decided approval that was deleted with its history',
      (id: string) => tamper(t.url, [`delete from approval_transitions where approval_id = $1`, [id]], [`delete from approvals where id = $1`, [id]]),
      ['approval_deleted'],
    ],
    [
      'an answer by an agent without the right',
      (id: string) =>
        tamper(
          t.url,
          [`update approvals set decided_by = 'agent:coordinator' where id = $1`, [id]],
          [`update approval_transitions set actor_kind = 'agent', actor = 'coordinator' where approval_id = $1 and seq = 2`, [id]],
        ),
      ['approval_without_right'],
    ],
    [
      'an answer by the agent that asked, though it has the right',
      (id: string) =>
        tamper(
          t.url,
          [`update approvals set decided_by = 'agent:auditor', agent_id = 'auditor' where id = $1`, [id]],
          [`update approval_transitions set actor_kind = 'agent', actor = 'auditor' where approval_id = $1 and seq = 2`, [id]],
        ),
      ['approval_decided_by_asker'],
    ],
    ['another question', change('subject', `'Have lunch?'`), ['approval_question_changed']],
    ['another job that it was asked for', change('job_id', '(select j.id from jobs j where j.id <> approvals.job_id limit 1)'), ['approval_question_changed']],
    ['an answer past its time', change('expires_at', `decided_at - interval '1 hour'`), ['approval_decided_late']],
  ])('%s is found and named', async (_what, change, kinds) => {
    const { id } = await decided()
    await decided(AUDITOR)

    await change(id)

    const results = await verifyNow(t.url)
    for (const kind of kinds) expect(JSON.stringify(found(results, kind))).toContain(id)
    expect(results.find(({ check }) => check === 'approvals')?.violations.every(({ count }) => count <= 3)).toBe(true)
  })

  test('a decision that was written past the ledger is found, and a right that the agent had at that time counts', async () => {
    const { id, jobId } = await asked()
    await decided(AUDITOR)
    await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], authority: AuthorityConfig.parse({}) }, { dryRun: false, prune: false })
    const before = await verifyNow(t.url)
    await tamper(
      t.url,
      [`update approvals set status = 'approved', decided_at = now(), decided_by = 'operator:x', last_seq = 2 where id = $1`, [id]],
      [`insert into approval_transitions (approval_id, seq, to_status, actor_kind, actor) values ($1, 2, 'approved', 'operator', 'x')`, [id]],
    )

    const results = await verifyNow(t.url)

    expect(kindsOf(before)).toEqual([])
    expect(found(results, 'approval_untold').row).toMatchObject({ approval_id: id })
    expect(found(results, 'blocked_for_nothing').row).toMatchObject({ job_id: jobId })
  })
})

const FLOW = `
name: flow
steps:
  - { id: build, agent: devops }
  - { id: hope, agent: devops, on_failure: continue }
  - { id: gate, needs: [build], approval: { subject: "Ship?" } }
  - { id: ship, agent: devops, needs: [gate] }
outputs: { built: "{{steps.build.result.n}}" }
`

async function start(): Promise<string> {
  const parsed = parseWorkflow(FLOW)
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  await t.ledger.workflows.define(OPERATOR, parsed.workflow)
  return (await t.ledger.workflows.start(OPERATOR, { namespace: 'default', name: 'flow' }, StartWorkflowBody.parse({}))).run.run.id
}

async function stepOf(run: string, step: string): Promise<{ job_id: string | null; approval_id: string | null }> {
  const found = (await t.ledger.runHistory(run as WorkflowRunId)).steps.find((one) => one.step === step)
  if (found === undefined) throw new Error(`no step ${step}`)
  return found
}

async function work(run: string, step: string): Promise<{ as: CommandContext; id: never }> {
  const id = (await stepOf(run, step)).job_id as never
  const job = await t.ledger.getJob(id)
  const leased = await leaseAs(t.ledger, id, job.generation)
  if (leased.kind !== 'start') throw new Error(leased.kind)
  return { as: { caller: attemptCaller(leased.attempt.id as never, id, 'devops') }, id }
}

/** A run that succeeded: one step has failed and may, one was decided. */
async function aRun(): Promise<string> {
  const run = await start()
  const build = await work(run, 'build')
  await t.ledger.jobs.complete(build.as, build.id, CompleteJobBody.parse({ result: { n: 7 } }))
  const hope = await work(run, 'hope')
  await t.ledger.jobs.fail(hope.as, hope.id, FailJobBody.parse({ last_error: 'cannot' }))
  await t.ledger.handOffs.decide(OPERATOR, (await stepOf(run, 'gate')).approval_id as ApprovalId, 'approved', undefined)
  const ship = await work(run, 'ship')
  await t.ledger.jobs.complete(ship.as, ship.id, CompleteJobBody.parse({ result: {} }))
  return run
}

test('workflow runs hold in every way that they end, and while they run', async () => {
  await start()
  await aRun()
  const rejected = await start()
  const build = await work(rejected, 'build')
  await t.ledger.jobs.complete(build.as, build.id, CompleteJobBody.parse({ result: {} }))
  await t.ledger.handOffs.decide(OPERATOR, (await stepOf(rejected, 'gate')).approval_id as ApprovalId, 'rejected', 'no')
  const failed = await start()
  const broken = await work(failed, 'build')
  await t.ledger.jobs.fail(broken.as, broken.id, FailJobBody.parse({ last_error: 'cannot' }))
  await t.ledger.jobs.retry(OPERATOR, broken.id, { reason: 'once more', extra_attempts: 1 })
  const cancelled = await start()
  await work(cancelled, 'build')
  await t.ledger.workflows.cancel(OPERATOR, cancelled as WorkflowRunId, CancelWorkflowBody.parse({ reason: 'not now' }))

  expect(kindsOf(await verifyNow(t.url))).toEqual([])
})

describe('among workflow runs', () => {
  const set = (assignment: string, step: string) => (run: string) => tamper(t.url, [`update workflow_steps set ${assignment} where run_id = $1 and step = '${step}'`, [run]])
  const withHistory = (status: string, step: string) => (run: string) =>
    tamper(
      t.url,
      [`update workflow_steps set status = '${status}' where run_id = $1 and step = '${step}'`, [run]],
      [`update workflow_transitions set to_status = '${status}' where run_id = $1 and step = '${step}' and to_status in ('succeeded', 'failed')`, [run]],
    )

  test.each([
    [
      'a changed state',
      (run: string) => tamper(t.url, [`update workflow_runs set status = 'failed' where id = $1`, [run]]),
      ['workflow_run_disagrees', 'workflow_run_contradicts_steps'],
    ],
    ['a deleted step', (run: string) => tamper(t.url, [`delete from workflow_steps where run_id = $1 and step = 'ship'`, [run]]), ['workflow_step_deleted']],
    [
      'a step that was put in',
      (run: string) => tamper(t.url, [`insert into workflow_steps (run_id, step, status, finished_at) values ($1, 'more', 'skipped', now())`, [run]]),
      ['workflow_step_unknown'],
    ],
    ['a changed step', set(`status = 'failed'`, 'build'), ['workflow_step_disagrees', 'workflow_step_contradicts_job', 'workflow_run_contradicts_steps']],
    ['a step that was changed with its history', withHistory('failed', 'build'), ['workflow_step_contradicts_job']],
    ['a failed step made to look like a success, with its history', withHistory('succeeded', 'hope'), ['workflow_step_contradicts_job']],
    ['another result', set(`result = '{"n": 8}'`, 'build'), ['workflow_step_contradicts_job']],
    ['a decision that was changed with its history', withHistory('failed', 'gate'), ['workflow_step_contradicts_approval']],
    ['another decider', set(`result = result || '{"decided_by": "operator:x"}'`, 'gate'), ['workflow_step_contradicts_approval']],
    [
      'a run whose end was made another with its history',
      (run: string) =>
        tamper(
          t.url,
          [`update workflow_runs set status = 'failed' where id = $1`, [run]],
          [`update workflow_transitions set to_status = 'failed' where run_id = $1 and step is null and to_status = 'succeeded'`, [run]],
        ),
      ['workflow_run_contradicts_steps'],
    ],
    [
      'moves that do not follow each other',
      (run: string) => tamper(t.url, [`update workflow_transitions set from_status = 'pending' where run_id = $1 and step = 'build' and to_status = 'succeeded'`, [run]]),
      ['workflow_history_broken'],
    ],
  ])('%s is found and named', async (_what, change, kinds) => {
    const run = await aRun()
    await aRun()

    await change(run)

    const results = await verifyNow(t.url)
    for (const kind of kinds) expect(found(results, kind)).toMatchObject({ count: 1 })
    for (const kind of kinds) expect(JSON.stringify(found(results, kind))).toContain(run)
  })

  test('a definition that was changed is found and named, and one that is as it was put in force holds', async () => {
    await start()
    const holds = await verifyNow(t.url)
    await tamper(t.url, `update workflows set definition = jsonb_set(definition, '{steps,2,approval,subject}', '"Have lunch?"')`)

    const results = await verifyNow(t.url)

    expect(kindsOf(holds)).toEqual([])
    expect(kindsOf(results)).toEqual(['definitions/definition_changed'])
    expect(found(results, 'definition_changed')).toMatchObject({ row: { namespace: 'default', workflow: 'flow', version: 1 }, count: 1 })
  })

  test('--since looks at runs that ended since, and at all that are open', async () => {
    const [old, open] = [await aRun(), await start()]
    await tamper(
      t.url,
      [`update workflow_runs set finished_at = finished_at - interval '1 day' where id = $1`, [old]],
      [`delete from workflow_steps where run_id = any ($1) and step = 'ship'`, [[old, open]]],
    )

    const since = new Date(Date.now() - 3_600_000).toISOString()

    expect(found(await verifyNow(t.url, { since }), 'workflow_step_deleted')).toMatchObject({ count: 1, row: { run_id: open } })
    expect(found(await verifyNow(t.url), 'workflow_step_deleted')).toMatchObject({ count: 2 })
  })
})
