import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { JobView } from '../../contracts/jobs.js'
import { entryId } from '../../queues/catalogue.js'
import { startTestBus, type TestBus } from '../support/bus.js'
import { OPERATOR } from '../support/ledger.js'

let t: TestBus
let operator: string
beforeAll(async () => {
  t = await startTestBus({ api: true, agents: { devops: { concurrency: 8 }, planner: { concurrency: 8 } } })
  operator = (await t.ledger.tokens.create(OPERATOR, { name: 'anna', role: 'operator' })).token
})
afterAll(() => t.stop())
beforeEach(() => {
  t.behave(async (hands) => {
    await hands.complete()
  })
})

async function put(path: string): Promise<{ status: number; type: string; body: Record<string, unknown> }> {
  const response = await fetch(`${t.bus.url ?? ''}/board/api${path}`, { method: 'PUT', headers: { authorization: `Basic ${Buffer.from(`anna:${operator}`).toString('base64')}` } })
  const text = await response.text()
  return { status: response.status, type: response.headers.get('content-type') ?? '', body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) }
}

/** What the history says that a person did at the board. */
async function byBoard(job: JobView): Promise<unknown[]> {
  const { transitions } = await t.ledger.jobHistory(job.id)
  return transitions.filter((row) => row.actor_kind === 'board').map((row) => `${row.note ?? ''} by ${row.actor}`)
}

async function refusalsOf(job: JobView): Promise<unknown[]> {
  const { observations } = await t.ledger.jobHistory(job.id)
  return observations.filter((row) => row.kind === 'refusal').map((row) => `${row.code} by ${row.actor}`)
}

/** Jobs that failed, each with its entry among the failed ones of the queue. */
async function failedJobs(count: number): Promise<JobView[]> {
  t.behave(async (hands) => {
    await hands.fail({ last_error: 'no good' })
  })
  const jobs = await Promise.all(Array.from({ length: count }, () => t.enqueue()))
  for (const job of jobs) await t.until(job.id, (j) => j.status === 'failed')
  const queue = await t.bus.queues.get('devops')
  await expect.poll(async () => (await Promise.all(jobs.map((job) => queue.getJobState(entryId(job.id, 1))))).every((state) => state === 'failed')).toBe(true)
  t.behave(async (hands) => {
    await hands.complete()
  })
  return jobs
}

describe('at the board, one click for all', () => {
  test('retries every failed entry; one that the ledger refuses stops no other and has a row', async () => {
    const jobs = await failedJobs(12)
    const first = (await (await t.bus.queues.get('devops')).getRanges(['failed'], 0, 0))[0]
    const moved = jobs.find((job) => entryId(job.id, 1) === first)
    if (moved === undefined) throw new Error('the first entry is none of the jobs')
    const others = jobs.filter((job) => job !== moved)
    // Retried over the API and done: only its old entry still lies among the failed ones.
    await t.ledger.jobs.retry(OPERATOR, moved.id, { reason: 'by hand', extra_attempts: 1 })
    await t.until(moved.id, (job) => job.status === 'succeeded')

    const answer = await put('/queues/agent-devops/retry/failed')

    expect(answer).toMatchObject({ status: 200, body: { retried: 11, skipped: 1 } })
    for (const job of others) await t.until(job.id, (j) => j.status === 'succeeded')
    for (const job of others) expect(await byBoard(job)).toEqual(['retried at the board by anna'])
    expect(await byBoard(moved)).toEqual([])
    expect(await refusalsOf(moved)).toEqual(['AGENTBUS_ILLEGAL_TRANSITION by anna'])
  })

  test('promotes every delayed entry; one that the ledger refuses stops no other and has a row', async () => {
    const done = await t.enqueue({ target_agent: 'planner' })
    await t.until(done.id, (job) => job.status === 'succeeded')
    const jobs = await Promise.all(Array.from({ length: 12 }, () => t.enqueue({ target_agent: 'planner', run_after: '2099-01-01T00:00:00Z' })))
    const queue = await t.bus.queues.get('planner')
    // Due before the others, so that the board meets both first.
    await queue.add('reactive', {}, { jobId: entryId(done.id, 9), delay: 600_000 })
    await queue.add('foreign', {}, { jobId: 'made-by-hand', delay: 600_000 })
    await expect.poll(async () => (await queue.getRanges(['delayed'], 0, -1)).length).toBe(14)

    const answer = await put('/queues/agent-planner/promote')

    expect(answer.status).toBe(204)
    for (const job of jobs) await t.until(job.id, (j) => j.status === 'succeeded')
    for (const job of jobs) expect(await byBoard(job)).toEqual(['promoted at the board by anna'])
    expect(await byBoard(done)).toEqual([])
    expect(await refusalsOf(done)).toEqual(['AGENTBUS_ILLEGAL_TRANSITION by anna'])
    expect(await refusalRows('That entry was not made by agentbus.')).toEqual([{ actor_kind: 'board', actor: 'anna' }])
  })

  test('pauses and resumes everything', async () => {
    const paused = await put('/queues/pause')
    const during = (await t.ledger.listAgents()).map((agent) => agent.paused)
    const resumed = await put('/queues/resume')
    const after = (await t.ledger.listAgents()).map((agent) => agent.paused)

    expect([paused.status, resumed.status]).toEqual([204, 204])
    expect(during).toEqual([true, true])
    expect(after).toEqual([false, false])
  })
})

async function refusalRows(detail: string): Promise<unknown[]> {
  const { rows } = await t.ledger.db.execute(sql`select actor_kind, actor from observations where detail = ${detail}`)
  return rows
}

describe('the board', () => {
  test.each([
    ['/queues/%zz/pause', 400, 'AGENTBUS_BAD_REQUEST'],
    ['/queues/agent-devops/%zz/promote', 400, 'AGENTBUS_BAD_REQUEST'],
    ['/queues/agent-nobody/retry/failed', 404, 'AGENTBUS_NOT_FOUND'],
    ['/queues/agent-a%3Ab/promote', 404, 'AGENTBUS_NOT_FOUND'],
    ['/queues/agent-a%3Ab/clean/failed', 404, 'AGENTBUS_NOT_FOUND'],
    ['/queues/other/promote', 405, 'AGENTBUS_BOARD_REFUSED'],
    ['/queues/agent-devops/empty', 405, 'AGENTBUS_BOARD_REFUSED'],
  ])('answers PUT %s with a problem document of status %i', async (path, status, code) => {
    const { body, ...answer } = await put(path)

    expect(answer).toMatchObject({ status, type: 'application/problem+json; charset=utf-8' })
    expect(body).toMatchObject({ status, code, error: body['detail'], message: body['next'] })
  })
})

describe('at the board, an entry from before its job was queued again', () => {
  async function aFailedJob(): Promise<JobView> {
    const [job] = await failedJobs(1)
    if (job === undefined) throw new Error('there is no job')
    return job
  }

  test('is removed alone: the job goes on', async () => {
    const job = await aFailedJob()
    await t.ledger.jobs.retry(OPERATOR, job.id, { reason: 'by hand', extra_attempts: 1, run_after: '2099-01-01T00:00:00Z' })

    const answer = await put(`/queues/agent-devops/${entryId(job.id, 1)}/clean`)

    const queue = await t.bus.queues.get('devops')
    expect(answer.status).toBe(204)
    expect((await t.ledger.getJob(job.id)).status).toBe('queued')
    expect(await byBoard(job)).toEqual([])
    expect(await queue.getRanges(['failed'], 0, -1)).not.toContain(entryId(job.id, 1))
  })

  test('does not resume a job that is blocked now, alone or with all others', async () => {
    const job = await aFailedJob()
    t.behave(async (hands) => {
      await hands.block({ blocked_reason: 'not approved' })
    })
    await t.ledger.jobs.retry(OPERATOR, job.id, { reason: 'by hand', extra_attempts: 1 })
    await t.until(job.id, (j) => j.status === 'blocked')

    const alone = await put(`/queues/agent-devops/${entryId(job.id, 1)}/retry/failed`)
    await put('/queues/agent-devops/retry/failed')

    expect(alone).toMatchObject({ status: 409, body: { code: 'AGENTBUS_ILLEGAL_TRANSITION' } })
    expect((await t.ledger.getJob(job.id)).status).toBe('blocked')
    expect(await refusalsOf(job)).toEqual(Array(2).fill('AGENTBUS_ILLEGAL_TRANSITION by anna'))
  })
})
