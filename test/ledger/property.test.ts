import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AgentbusError } from '../../contracts/errors.js'
import type { AttemptId, JobId } from '../../contracts/ids.js'
import { canMove, isTerminal, type AttemptStatus, type JobStatus } from '../../contracts/job-states.js'
import type { CommandContext } from '../../ledger/caller.js'
import { reportAdmitted, reportEndedWithoutClose, reportLost, reportUndelivered, type WorkerReport } from '../../ledger/deliver-attempt.js'
import { aJob, attemptCaller, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeAll(async () => {
  t = await freshLedger({ poolSize: 12 })
})
afterAll(() => t.close())

const KINDS = [
  'leaseA',
  'leaseB',
  'leaseStale',
  'admit',
  'complete',
  'block',
  'fail',
  'failRetry',
  'progress',
  'cancel',
  'retry',
  'bury',
  'reapNothing',
  'expireAndReap',
  'closeByOldAttempt',
  'reportByOldAttempt',
  'undelivered',
  'lost',
  'endedWithoutClose',
] as const
type Kind = (typeof KINDS)[number]

/** What the rules of the state machine say, without a database. */
interface ModelAttempt {
  status: AttemptStatus
  burned: boolean
  /** Ended by its own word, not by a worker's report, the reaper or an operator. */
  byAgent: boolean
}

class Model {
  status: JobStatus = 'queued'
  generation = 1
  attemptCount = 0
  seq = 1
  owner = ''
  buried = false
  readonly attempts: ModelAttempt[] = []

  constructor(
    public maxAttempts: number,
    readonly onLost: 'retry' | 'block',
  ) {}

  get open(): ModelAttempt | undefined {
    return this.status === 'leased' || this.status === 'running' ? this.attempts.at(-1) : undefined
  }

  /** @returns what the command answers: `ok`, a refusal's code, or what a lease decided */
  apply(kind: Kind): string {
    switch (kind) {
      case 'leaseA':
      case 'leaseB':
        return this.#lease(kind)
      case 'leaseStale':
        return 'skip'
      case 'admit':
        if (this.status !== 'leased') return 'not applied'
        this.#open('running')
        this.#to('running')
        return 'ok'
      case 'complete':
        return this.#close(() => this.#end('succeeded', true, 'succeeded'))
      case 'block':
        return this.#close(() => this.#end('blocked', false, 'blocked'))
      case 'fail':
        return this.#close(() => this.#end('failed', true, 'failed'))
      case 'failRetry':
        return this.#close(() => this.#endAndRetry('failed', false))
      case 'progress':
        return this.#close(() => (this.seq += 1))
      case 'closeByOldAttempt':
        return this.attempts.length < 2 ? 'no old attempt' : this.#refusalOf(this.attempts[0])
      case 'reportByOldAttempt':
        return 'not applied'
      case 'cancel':
        if (isTerminal(this.status)) return 'AGENTBUS_ILLEGAL_TRANSITION'
        this.#end('cancelled', false, 'cancelled')
        return 'ok'
      case 'retry':
        return this.#retry()
      case 'bury':
        return this.#bury()
      case 'reapNothing':
        return '0'
      case 'expireAndReap':
        if (this.open === undefined) return '0'
        this.#endAndRetry('timed_out', true)
        return '1'
      case 'undelivered':
        if (this.open === undefined) return 'not applied'
        this.#end('released', false, 'queued')
        return 'ok'
      case 'lost':
        if (this.open === undefined) return 'not applied'
        if (this.onLost === 'block') this.#end('lost', true, 'blocked')
        else this.#endAndRetry('lost', false)
        return 'ok'
      case 'endedWithoutClose':
        if (this.open === undefined) return 'not applied'
        this.#endAndRetry('failed', false)
        return 'ok'
    }
  }

  #lease(worker: string): string {
    if (this.open !== undefined) {
      if (this.owner !== worker) this.seq += 1
      this.owner = worker
      return 'reattach'
    }
    if (this.status !== 'queued') return 'skip'
    this.attempts.push({ status: 'leased', burned: false, byAgent: false })
    this.owner = worker
    this.#to('leased')
    return 'start'
  }

  #close(then: () => void): string {
    const newest = this.attempts.at(-1)
    if (newest === undefined) return 'no attempt'
    if (this.open === undefined) return this.#refusalOf(newest)
    then()
    newest.byAgent = this.open === undefined
    return 'ok'
  }

  /** What an attempt that has ended is told: that its own answer stands, or that the job went on with a newer one. */
  #refusalOf(attempt: ModelAttempt | undefined): string {
    return attempt?.byAgent === true && attempt === this.attempts.at(-1) ? 'AGENTBUS_ALREADY_CLOSED' : 'AGENTBUS_STALE_ATTEMPT'
  }

  #end(attempt: AttemptStatus, burn: boolean, to: JobStatus): void {
    const open = this.open
    if (open !== undefined) {
      open.status = attempt
      open.burned = burn
    }
    if (burn) this.attemptCount += 1
    this.#to(to)
  }

  #endAndRetry(attempt: AttemptStatus, publish: boolean): void {
    const dies = this.attemptCount + 1 >= this.maxAttempts
    this.#end(attempt, true, dies ? 'dead' : 'queued')
    if (!dies && publish) this.generation += 1
  }

  #retry(): string {
    if (!canMove(this.status, 'queued') || this.open !== undefined) return 'AGENTBUS_ILLEGAL_TRANSITION'
    this.maxAttempts = Math.max(this.maxAttempts, this.attemptCount + 1)
    this.generation += 1
    this.#to('queued')
    return 'ok'
  }

  #bury(): string {
    if (this.buried) return 'ok'
    if (this.status !== 'failed' && this.status !== 'dead') {
      if (this.open !== undefined || !canMove(this.status, 'dead')) return 'AGENTBUS_ILLEGAL_TRANSITION'
      this.#to('dead')
    }
    this.buried = true
    this.seq += 1
    return 'ok'
  }

  #open(status: AttemptStatus): void {
    const open = this.open
    if (open !== undefined) open.status = status
  }

  #to(status: JobStatus): void {
    this.status = status
    this.seq += 1
    this.buried = false
  }
}

/** A job as its commands see it from outside. `attempts` are those that this client saw opened. */
interface Subject {
  readonly id: JobId
  readonly attempts: AttemptId[]
}

const closing = { result: {}, findings: [], events: [], follow_ups: [] }

/** Carries one command out against the ledger, as whoever may. @returns the same words as the model */
async function carryOut(kind: Kind, job: Subject): Promise<string> {
  const { ledger } = t
  const { jobs } = ledger
  const current = job.attempts.at(-1)
  const as = (attempt: AttemptId): CommandContext => ({ caller: attemptCaller(attempt, job.id, 'devops') })
  const report = (attempt: AttemptId): WorkerReport => ({ jobId: job.id, attemptId: attempt, actor: { kind: 'worker', id: 'w' }, random: 0, retryBaseSeconds: 0 })
  const closes = async (attempt: AttemptId | undefined, how: (context: CommandContext) => Promise<unknown>): Promise<string> => {
    if (attempt === undefined) return 'no attempt'
    return codeOf(how(as(attempt)))
  }
  const reports = async (work: (report: WorkerReport) => Promise<{ applied: boolean }>, attempt = current): Promise<string> => {
    if (attempt === undefined) return 'not applied'
    return (await work(report(attempt))).applied ? 'ok' : 'not applied'
  }
  switch (kind) {
    case 'leaseA':
    case 'leaseB':
      return lease(kind, job, 0)
    case 'leaseStale':
      return lease('leaseA', job, -1)
    case 'admit':
      return reports((one) => ledger.run((tx) => reportAdmitted(tx, one, { runId: 'run-1', httpStatus: 200, response: {} })))
    case 'complete':
      return closes(current, (context) => jobs.complete(context, job.id, closing))
    case 'block':
      return closes(current, (context) => jobs.block(context, job.id, { blocked_reason: 'x', blocked_owner: 'operator', ...closing }))
    case 'fail':
      return closes(current, (context) => jobs.fail(context, job.id, { last_error: 'x', ...closing }))
    case 'failRetry':
      return closes(current, (context) => jobs.fail(context, job.id, { last_error: 'x', retry_seconds: 0, ...closing }))
    case 'progress':
      return closes(current, (context) => jobs.progress(context, job.id, { note: 'x', details: {} }))
    case 'closeByOldAttempt':
      if (job.attempts.length < 2) return 'no old attempt'
      return closes(job.attempts[0], (context) => jobs.complete(context, job.id, closing))
    case 'reportByOldAttempt':
      if (job.attempts.length < 2) return 'not applied'
      return reports((one) => ledger.run((tx) => reportEndedWithoutClose(tx, one, { status: 'ok', response: {} })), job.attempts[0])
    case 'cancel':
      return codeOf(jobs.cancel(OPERATOR, job.id, 'x'))
    case 'retry':
      return codeOf(jobs.retry(OPERATOR, job.id, { reason: 'x', extra_attempts: 1 }))
    case 'bury':
      return codeOf(jobs.bury(OPERATOR, job.id, 'x'))
    case 'reapNothing':
      return reap()
    case 'expireAndReap':
      await t.database.pool.query(`update job_attempts set leased_until = clock_timestamp() - interval '1 second' where job_id = $1 and finished_at is null`, [job.id])
      return reap()
    case 'undelivered':
      return reports((one) => ledger.run((tx) => reportUndelivered(tx, one, { reason: 'x', failures: 0, retryAfterMs: 0 })))
    case 'lost':
      return reports((one) => ledger.run((tx) => reportLost(tx, one, 'x')))
    case 'endedWithoutClose':
      return reports((one) => ledger.run((tx) => reportEndedWithoutClose(tx, one, { status: 'ok', response: {} })))
  }
}

async function lease(worker: string, job: Subject, olderBy: number): Promise<string> {
  // A retry may name a time; here every job is due.
  await t.database.pool.query(`update jobs set run_after = clock_timestamp() - interval '1 second' where id = $1`, [job.id])
  const { generation } = await t.ledger.getJob(job.id)
  const decided = await leaseAs(t.ledger, job.id, generation + olderBy, worker)
  if (decided.kind === 'start') job.attempts.push(decided.attempt.id as AttemptId)
  return decided.kind
}

async function reap(): Promise<string> {
  return String((await t.ledger.upkeep.reap({ actor: { kind: 'reaper', id: 'r' }, limit: 100 })).length)
}

async function codeOf(done: Promise<unknown>): Promise<string> {
  try {
    await done
    return 'ok'
  } catch (error) {
    if (error instanceof AgentbusError) return error.code
    throw error
  }
}

/** Recomputes the chain from the canonical text, as an auditor with an export would. */
async function expectUnbrokenChain(id: JobId): Promise<void> {
  const { rows } = await t.database.pool.query<{ seq: number; from: JobStatus | null; to: JobStatus; kind: string; canonical: string; prev: string; hash: string }>(
    `select seq::int as seq, from_status as from, to_status as to, kind, job_transition_canonical(t) as canonical, encode(prev_hash, 'hex') as prev, encode(hash, 'hex') as hash
     from job_transitions t where job_id = $1 order by seq`,
    [id],
  )
  let previous = createHash('sha256').update(id).digest()
  let status: JobStatus | null = null
  for (const [at, row] of rows.entries()) {
    expect([row.seq, row.from, row.prev]).toEqual([at + 1, status, previous.toString('hex')])
    previous = createHash('sha256').update(previous).update(row.canonical, 'utf8').digest()
    expect(row.hash).toBe(previous.toString('hex'))
    if (row.from !== null) expect([row.kind, row.from, row.to, row.kind === 'note' ? row.from === row.to : canMove(row.from, row.to)]).toEqual([row.kind, row.from, row.to, true])
    status = row.to
  }
  const job = await t.ledger.getJob(id)
  expect([job.version, job.status]).toEqual([rows.length, status])
}

// The commands that lead on come more often than the others: else most sequences would end after three.
const kinds = fc.oneof({ weight: 3, arbitrary: fc.constantFrom<Kind>('leaseA', 'leaseB', 'retry') }, { weight: 4, arbitrary: fc.constantFrom<Kind>(...KINDS) })

describe('any sequence of commands', () => {
  test('leads where the rules say, answers as they say, and leaves an unbroken chain', { timeout: 120_000 }, async () => {
    const sequences = fc.record({
      maxAttempts: fc.integer({ min: 1, max: 4 }),
      onLost: fc.constantFrom('retry' as const, 'block' as const),
      commands: fc.array(kinds, { minLength: 25, maxLength: 25, size: 'max' }),
    })

    await fc.assert(
      fc.asyncProperty(sequences, async ({ maxAttempts, onLost, commands }) => {
        const { id } = await aJob(t.ledger, 'queued', { max_attempts: maxAttempts, on_lost: onLost })
        const job: Subject = { id, attempts: [] }
        const model = new Model(maxAttempts, onLost)

        for (const [at, kind] of commands.entries()) {
          const expected = model.apply(kind)
          const answered = await carryOut(kind, job)

          const { job: seen, attempts } = await t.ledger.jobHistory(id)
          const trace = commands.slice(0, at + 1).join(' ')
          expect({ trace, answered, ...facts(seen), attempts: attempts.map((one) => [one.status, one.burned]) }).toEqual({
            trace,
            answered: expected,
            status: model.status,
            attempt_count: model.attemptCount,
            generation: model.generation,
            version: model.seq,
            is_buried: model.buried,
            holds_attempt: model.open !== undefined,
            attempts: model.attempts.map((one) => [one.status, one.burned]),
          })
        }
        await expectUnbrokenChain(id)
      }),
      { numRuns: 100, ...seedGiven() },
    )
  })
})

function facts(job: Awaited<ReturnType<typeof t.ledger.getJob>>): Record<string, unknown> {
  return {
    status: job.status,
    attempt_count: job.attempt_count,
    generation: job.generation,
    version: job.version,
    is_buried: job.buried_at !== null,
    holds_attempt: job.current_attempt_id !== null,
  }
}

/** fast-check prints the seed of a failure; PROPERTY_SEED runs it again. */
function seedGiven(): { seed?: number } {
  const given = process.env['PROPERTY_SEED']
  return given === undefined ? {} : { seed: Number(given) }
}

describe('eight clients at once', () => {
  const CLIENTS = 8
  const EACH = 12
  const plans = fc.array(fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), kinds), { minLength: EACH, maxLength: EACH, size: 'max' }), {
    minLength: CLIENTS,
    maxLength: CLIENTS,
    size: 'max',
  })

  test('with random commands on three shared jobs never leave two winners, two open attempts or a history that does not add up', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(plans, async (clients) => {
        const jobs = await Promise.all([0, 1, 2].map(async () => ({ id: (await aJob(t.ledger, 'queued', { max_attempts: 3 })).id, attempts: [] }) satisfies Subject))
        const won: string[] = []

        await Promise.all(
          clients.map(async (plan) => {
            for (const [at, kind] of plan) {
              const job = jobs[at] as Subject
              const attempt = job.attempts.at(-1)
              const answer = await carryOut(kind, job)
              if (answer === 'ok' && attempt !== undefined && (kind === 'complete' || kind === 'block' || kind === 'fail' || kind === 'failRetry')) won.push(attempt)
            }
          }),
        )

        expect(won).toEqual([...new Set(won)])
        for (const { id } of jobs) await expectSound(id, won)
      }),
      // A failing schedule does not come again when it is shrunk.
      { numRuns: 20, endOnFailure: true, ...seedGiven() },
    )
  })

  async function expectSound(id: JobId, won: readonly string[]): Promise<void> {
    await expectUnbrokenChain(id)
    const { job, transitions, attempts } = await t.ledger.jobHistory(id)
    expect(attempts.filter((one) => one.finished_at === null).map((one) => one.id)).toEqual(job.current_attempt_id === null ? [] : [job.current_attempt_id])
    expect(attempts.map((one) => one.attempt_no)).toEqual(attempts.map((_one, at) => at + 1))
    expect(job.attempt_count).toBe(attempts.filter((one) => one.burned).length)
    for (const attempt of attempts) {
      const ends = transitions.filter((row) => row.kind === 'move' && row.attempt_id === attempt.id && row.to_status !== 'leased' && row.to_status !== 'running')
      expect([attempt.id, ends.length]).toEqual([attempt.id, attempt.finished_at === null ? 0 : 1])
      const byAgent = ends.filter((row) => row.reason.endsWith('_by_agent') || (row.reason === 'attempts_exhausted' && row.details['last_reason'] === 'retry_asked_by_agent'))
      expect([attempt.id, byAgent.length]).toEqual([attempt.id, won.includes(attempt.id) ? 1 : 0])
    }
  }
})
