import { afterAll, beforeAll, expect, test } from 'vitest'
import { AgentbusError } from '../../contracts/errors.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { reportEndedWithoutClose } from '../../ledger/deliver-attempt.js'
import type { AttemptId, JobId } from '../../contracts/ids.js'
import { aJob, freshLedger, leaseAs, leaseUnderLock, OPERATOR, type TestJob, type TestLedger } from '../support/ledger.js'

const CONTENDERS = 16
const REPEATS = 30

let t: TestLedger
beforeAll(async () => {
  t = await freshLedger({ poolSize: CONTENDERS + 2 })
  await t.addAgent('single', { concurrency: 1 })
  await t.addAgent('triple', { concurrency: 3 })
})
afterAll(() => t.close())

const closing = { result: {}, findings: [], events: [], follow_ups: [] }

function codes(settled: PromiseSettledResult<unknown>[]): string[] {
  return settled.flatMap((one) => (one.status === 'rejected' ? [one.reason instanceof AgentbusError ? one.reason.code : String(one.reason)] : []))
}

function times<T>(n: number, work: (at: number) => Promise<T>): Promise<PromiseSettledResult<T>[]> {
  return Promise.allSettled(Array.from({ length: n }, (_none, at) => work(at)))
}

async function moves(job: TestJob): Promise<string[]> {
  const { transitions } = await t.ledger.jobHistory(job.id)
  expect(transitions.map((row) => row.seq)).toEqual(transitions.map((_row, at) => at + 1))
  return transitions.filter((row) => row.kind === 'move').map((row) => row.to_status)
}

test('16 agents closing one job leave one outcome and a gapless history', { repeats: REPEATS }, async () => {
  const job = await aJob(t.ledger, 'running')

  const settled = await times(CONTENDERS, () => t.ledger.jobs.complete(job.as, job.id, closing))

  expect(codes(settled)).toEqual(Array(CONTENDERS - 1).fill('AGENTBUS_ALREADY_CLOSED'))
  expect(await moves(job)).toEqual(['queued', 'leased', 'running', 'succeeded'])
  expect((await t.ledger.jobHistory(job.id)).observations).toHaveLength(CONTENDERS - 1)
})

const LEASES = [
  { how: 'as workers do', lease: leaseAs },
  { how: 'under the lock only', lease: leaseUnderLock },
  { how: 'in both ways at once', lease: (...args: Parameters<typeof leaseAs>) => (args[3]?.endsWith('1') === true ? leaseUnderLock : leaseAs)(...args) },
]

test.each(LEASES)('16 workers leasing one job open one attempt, $how', { repeats: REPEATS }, async ({ lease }) => {
  const job = await aJob(t.ledger, 'queued')

  const settled = await times(CONTENDERS, (at) => lease(t.ledger, job.id, 1, `w${at}`))

  const kinds = settled.map((one) => (one.status === 'fulfilled' ? one.value.kind : 'rejected'))
  expect(kinds.filter((kind) => kind === 'start')).toHaveLength(1)
  expect(kinds.filter((kind) => kind === 'reattach')).toHaveLength(CONTENDERS - 1)
  expect(await t.ledger.jobAttempts(job.id)).toHaveLength(1)
  await t.ledger.jobs.cancel(OPERATOR, job.id, 'free the slot for the next repeat')
})

test.each(LEASES)('16 workers leasing 16 jobs of an agent with room for three open three attempts, $how', { repeats: REPEATS }, async ({ lease }) => {
  const jobs = await Promise.all(Array.from({ length: CONTENDERS }, () => aJob(t.ledger, 'queued', { target_agent: 'triple' })))

  const settled = await Promise.allSettled(jobs.map((job, at) => lease(t.ledger, job.id, 1, `w${at}`)))

  const kinds = settled.map((one) => (one.status === 'fulfilled' ? one.value.kind : String(one.reason)))
  expect(kinds.filter((kind) => kind === 'start')).toHaveLength(3)
  expect(kinds.filter((kind) => kind === 'busy')).toHaveLength(CONTENDERS - 3)
  await Promise.all(jobs.map((job) => t.ledger.jobs.cancel(OPERATOR, job.id, 'end of test')))
})

test('cancel against complete: one wins, the other is told so, and the history has no gap', { repeats: REPEATS }, async () => {
  const job = await aJob(t.ledger, 'running')

  const settled = await times(CONTENDERS, (at) => (at % 2 === 0 ? t.ledger.jobs.complete(job.as, job.id, closing) : t.ledger.jobs.cancel(OPERATOR, job.id, 'stop')))

  expect(settled.filter((one) => one.status === 'fulfilled')).toHaveLength(1)
  for (const code of codes(settled)) expect(['AGENTBUS_ALREADY_CLOSED', 'AGENTBUS_STALE_ATTEMPT', 'AGENTBUS_ILLEGAL_TRANSITION']).toContain(code)
  expect(await moves(job)).toHaveLength(4)
})

test('closer against reaper: the job is closed or queued again, never both', { repeats: REPEATS }, async () => {
  const job = await aJob(t.ledger, 'running')
  await t.database.pool.query(`update job_attempts set leased_until = clock_timestamp() + interval '3 milliseconds' where id = $1`, [job.attemptId])

  const settled = await times(CONTENDERS, async (at) => {
    if (at % 2 === 0) return t.ledger.jobs.complete(job.as, job.id, closing)
    await t.ledger.upkeep.reap({ actor: { kind: 'reaper', id: `r${at}` }, limit: 10 })
    return undefined
  })
  // A reaper that looked before the lease ran out leaves it to the next look.
  await t.database.pool.query('select pg_sleep(0.01)')
  await t.ledger.upkeep.reap({ actor: { kind: 'reaper', id: 'last' }, limit: 10 })

  const closers = settled.filter((_one, at) => at % 2 === 0)
  const won = closers.filter((one) => one.status === 'fulfilled').length
  const { job: after, attempts } = await t.ledger.jobHistory(job.id)
  expect(after.status).toBe(won === 1 ? 'succeeded' : 'queued')
  expect(attempts[0]?.status).toBe(won === 1 ? 'succeeded' : 'timed_out')
  expect(await moves(job)).toHaveLength(4)
})

test('closer against the worker that gives up on the attempt: one of them ends it', { repeats: REPEATS }, async () => {
  const job = await aJob(t.ledger, 'running')
  const report = { jobId: job.id, attemptId: job.attemptId as AttemptId, actor: { kind: 'worker' as const, id: 'w1' }, random: 0, retryBaseSeconds: 0 }

  await times<unknown>(CONTENDERS, (at) =>
    at % 2 === 0 ? t.ledger.jobs.complete(job.as, job.id, closing) : t.ledger.run((tx) => reportEndedWithoutClose(tx, report, { status: 'ok', response: {} })),
  )

  const { attempts } = await t.ledger.jobHistory(job.id)
  expect(attempts).toHaveLength(1)
  expect(attempts[0]?.finished_at).not.toBeNull()
  expect(await moves(job)).toHaveLength(4)
})

test('16 creations with one dedupe key create one job', { repeats: REPEATS }, async () => {
  const key = `same-${Math.random()}`

  const settled = await times(CONTENDERS, () => t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'same', dedupe_key: key })))

  const results = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  expect(results).toHaveLength(CONTENDERS)
  expect(results.filter((one) => one.created)).toHaveLength(1)
  expect(new Set(results.map((one) => one.job.id)).size).toBe(1)
})

test('16 requests with one Idempotency-Key run once and get one answer', { repeats: REPEATS }, async () => {
  const context = { ...OPERATOR, idempotency: { key: `k-${Math.random()}`, requestHash: 'h' } }

  const settled = await times(CONTENDERS, () => t.ledger.jobs.create(context, CreateJobBody.parse({ target_agent: 'devops', subject: 'once' })))

  const results = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  expect(new Set(results.map((one) => one.job.id)).size).toBe(1)
  expect(results.filter((one) => one.replayed !== true)).toHaveLength(1)
})

test('two parents that end at the same time release their child once', { repeats: REPEATS }, async () => {
  const parents = await Promise.all(Array.from({ length: 8 }, () => aJob(t.ledger, 'running')))
  const { job } = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'child', depends_on: parents.map((parent) => parent.id) }))

  await Promise.all(parents.map((parent) => t.ledger.jobs.complete(parent.as, parent.id, closing)))

  const { transitions } = await t.ledger.jobHistory(job.id)
  expect(transitions.map((row) => row.to_status)).toEqual(['waiting', 'queued'])
})

test('jobs that begin to wait for one that is just being completed are all released', { repeats: REPEATS }, async () => {
  const parent = await aJob(t.ledger, 'running')
  const child = (): Promise<{ job: { id: JobId } }> => t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'triple', subject: 'child', depends_on: [parent.id] }))

  const [closed, ...children] = await Promise.all([t.ledger.jobs.complete(parent.as, parent.id, closing), ...Array.from({ length: 6 }, child)])

  expect(closed.status).toBe('succeeded')
  const states = await Promise.all(children.map(async ({ job }) => (await t.ledger.getJob(job.id)).status))
  expect(states).toEqual(Array(6).fill('queued'))
})
