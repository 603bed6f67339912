import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CancelFlowBody } from '../../contracts/controls.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { StartWorkflowBody, WorkflowDefinition } from '../../contracts/workflows.js'
import { aJob, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeAll(async () => {
  t = await freshLedger({ poolSize: 10 })
  await t.addAgent('devops', { concurrency: 1_000 })
})
afterAll(() => t.close())

const cancel = (body: Record<string, unknown>, context = OPERATOR) => t.ledger.controls.cancelFlow(context, CancelFlowBody.parse({ reason: 'no longer wanted', ...body }))
const statusOf = async (id: string) => (await t.ledger.getJob(id as never)).status

describe('cancelling what belongs together', () => {
  test('by a key cancels what has not begun, and names what it leaves to run', async () => {
    const queued = await aJob(t.ledger, 'queued', { correlation_key: 'matter-1' })
    const blocked = await aJob(t.ledger, 'blocked', { correlation_key: 'matter-1' })
    const running = await aJob(t.ledger, 'running', { correlation_key: 'matter-1' })
    const done = await aJob(t.ledger, 'succeeded', { correlation_key: 'matter-1' })
    const other = await aJob(t.ledger, 'queued', { correlation_key: 'matter-2' })
    const elsewhere = await aJob(t.ledger, 'queued', { correlation_key: 'matter-1', namespace: 'other' })

    const answer = await cancel({ correlation_key: 'matter-1' })

    expect(answer).toMatchObject({ cancelled: 2, left_running: 1 })
    expect(answer.jobs.map(({ id, status }) => [id, status])).toEqual([...[queued, blocked].map(({ id }) => [id, 'cancelled']).toSorted(), [running.id, 'running']])
    expect(await Promise.all([done, other, elsewhere].map(({ id }) => statusOf(id)))).toEqual(['succeeded', 'queued', 'queued'])
    expect((await t.ledger.jobHistory(queued.id)).transitions.at(-1)).toMatchObject({
      reason: 'cancelled',
      note: 'no longer wanted',
      details: { flow: { correlation_key: 'matter-1' } },
    })
  })

  test('with what runs leaves nothing open, and the late answers are refused', async () => {
    const running = await aJob(t.ledger, 'running', { flow_key: 'nightly' })

    expect(await cancel({ flow_key: 'nightly', running: 'cancel' })).toMatchObject({ cancelled: 1, left_running: 0 })
    await expect(t.ledger.jobs.complete(running.as, running.id, CompleteJobBody.parse({}))).rejects.toMatchObject({ code: 'AGENTBUS_STALE_ATTEMPT' })
    expect(await cancel({ flow_key: 'nightly' })).toMatchObject({ cancelled: 0, left_running: 0, jobs: [] })
  })

  test('of a job reaches every descendant, also below one that is over, in more than one page', async () => {
    const root = await aJob(t.ledger, 'succeeded')
    const middle = await aJob(t.ledger, 'succeeded', { parent_job_id: root.id })
    for (let n = 0; n < 130; n += 1) await aJob(t.ledger, 'queued', { parent_job_id: middle.id })

    const answer = await cancel({ job_id: root.id })

    expect(answer).toMatchObject({ cancelled: 130, left_running: 0 })
    expect((await t.ledger.listJobs({ parent_job_id: middle.id, limit: 200, status: 'queued' } as never)).items).toEqual([])
  })

  test('of a workflow run ends the run and its steps', async () => {
    const workflow = WorkflowDefinition.parse({
      name: 'two',
      steps: [
        { id: 'a', agent: 'devops' },
        { id: 'b', agent: 'devops' },
        { id: 'c', needs: ['a'], agent: 'devops' },
      ],
    })
    await t.ledger.workflows.define(OPERATOR, workflow)
    const { run } = await t.ledger.workflows.start(OPERATOR, workflow, StartWorkflowBody.parse({}))
    const [first] = (await t.ledger.listJobs({ correlation_key: `workflow:${run.run.id}`, limit: 10 })).items
    if (first === undefined) throw new Error('no step has a job')
    await leaseAs(t.ledger, first.id, first.generation)

    const answer = await cancel({ workflow_run_id: run.run.id })

    expect(answer).toMatchObject({ cancelled: 1, left_running: 1 })
    expect((await t.ledger.runHistory(run.run.id)).run.status).toBe('cancelled')
    await expect(cancel({ workflow_run_id: run.run.id })).rejects.toMatchObject({ code: 'AGENTBUS_WORKFLOW_OVER' })
  })

  test('of a workflow run reaches what the jobs of its steps have sent, also later and once the run is over', async () => {
    const workflow = WorkflowDefinition.parse({ name: 'sender', steps: [{ id: 'a', agent: 'devops' }] })
    await t.ledger.workflows.define(OPERATOR, workflow)
    const { run } = await t.ledger.workflows.start(OPERATOR, workflow, StartWorkflowBody.parse({}))
    const [step] = (await t.ledger.listJobs({ correlation_key: `workflow:${run.run.id}`, limit: 10 })).items
    const sent = await aJob(t.ledger, 'queued', { parent_job_id: step?.id })
    const running = await aJob(t.ledger, 'running', { parent_job_id: sent.id })

    const first = await cancel({ workflow_run_id: run.run.id })
    const second = await cancel({ workflow_run_id: run.run.id, running: 'cancel' })

    expect(first).toMatchObject({ cancelled: 2, left_running: 1 })
    expect(second).toMatchObject({ cancelled: 1, left_running: 0 })
    expect([(await t.ledger.getJob(sent.id)).status, (await t.ledger.getJob(running.id)).status]).toEqual(['cancelled', 'cancelled'])
    await expect(cancel({ workflow_run_id: run.run.id, running: 'cancel' })).rejects.toMatchObject({ code: 'AGENTBUS_WORKFLOW_OVER' })
  })

  test('once per Idempotency-Key answers the same', async () => {
    await aJob(t.ledger, 'queued', { correlation_key: 'matter-3' })
    const context = { ...OPERATOR, idempotency: { key: 'k1', requestHash: 'h' } }

    const first = await cancel({ correlation_key: 'matter-3' }, context)
    await aJob(t.ledger, 'queued', { correlation_key: 'matter-3' })
    const again = await cancel({ correlation_key: 'matter-3' }, context)

    expect(again).toEqual({ ...first, replayed: true })
  })

  test('of what never was is refused', async () => {
    await expect(cancel({ correlation_key: 'nothing' })).rejects.toMatchObject({ code: 'AGENTBUS_JOB_NOT_FOUND' })
    await expect(cancel({ job_id: '0192f0c4-1111-7000-8000-00000000000a' })).rejects.toMatchObject({ code: 'AGENTBUS_JOB_NOT_FOUND' })
    expect(CancelFlowBody.safeParse({ reason: 'x' }).success).toBe(false)
    expect(CancelFlowBody.safeParse({ reason: 'x', flow_key: 'a', correlation_key: 'b' }).success).toBe(false)
  })
})

describe('force', () => {
  test.each(['leased', 'running'] as const)('queues a %s job again: its attempt ends, burns nothing, and its answer is refused', async (status) => {
    const held = await aJob(t.ledger, status)
    await expect(t.ledger.jobs.retry(OPERATOR, held.id, { reason: 'stuck', extra_attempts: 1 })).rejects.toMatchObject({ code: 'AGENTBUS_ILLEGAL_TRANSITION' })

    const job = await t.ledger.jobs.retry(OPERATOR, held.id, { reason: 'stuck', extra_attempts: 1, force: true })

    expect(job).toMatchObject({ status: 'queued', attempt_count: 0, generation: held.job.generation + 1 })
    await expect(t.ledger.jobs.complete(held.as, held.id, CompleteJobBody.parse({}))).rejects.toMatchObject({ code: 'AGENTBUS_STALE_ATTEMPT' })
    expect((await leaseAs(t.ledger, held.id, job.generation)).kind).toBe('start')
  })

  test('makes a delayed job due, and does not bring back what has succeeded', async () => {
    const delayed = await aJob(t.ledger, 'queued', { run_after: '2099-01-01T00:00:00Z' })
    const done = await aJob(t.ledger, 'succeeded')

    const job = await t.ledger.jobs.retry(OPERATOR, delayed.id, { reason: 'now', extra_attempts: 1, force: true })

    expect(Date.parse(job.run_after)).toBeLessThan(Date.now() + 1_000)
    await expect(t.ledger.jobs.retry(OPERATOR, done.id, { reason: 'x', extra_attempts: 1, force: true })).rejects.toMatchObject({ code: 'AGENTBUS_ILLEGAL_TRANSITION' })
  })

  test.each(['waiting', 'queued', 'leased', 'running', 'blocked'] as const)('makes a %s job a dead letter, once', async (status) => {
    const { id } = await aJob(t.ledger, status)

    const dead = await t.ledger.jobs.forceDead(OPERATOR, id, 'hopeless')
    const again = await t.ledger.jobs.forceDead(OPERATOR, id, 'hopeless')

    expect(dead).toMatchObject({ status: 'dead', last_error: 'hopeless' })
    expect(again.version).toBe(dead.version)
  })

  test.each(['succeeded', 'failed', 'cancelled'] as const)('does not make a %s job dead', async (status) => {
    const { id } = await aJob(t.ledger, status)

    await expect(t.ledger.jobs.forceDead(OPERATOR, id, 'x')).rejects.toMatchObject({ code: 'AGENTBUS_ILLEGAL_TRANSITION' })
  })
})
