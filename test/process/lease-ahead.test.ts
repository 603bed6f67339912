import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ManualClock, systemClock } from '../../config/clock.js'
import { createLogger } from '../../config/logger.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { AgentbusError } from '../../contracts/errors.js'
import { uuidv7, type AttemptId, type JobId } from '../../contracts/ids.js'
import { CreateJobBody, type JobView } from '../../contracts/jobs.js'
import type { Started } from '../../ledger/early-lease.js'
import type { OutboxItem } from '../../ledger/outbox.js'
import { HookClient, type AdmitOutcome, type HookPost, type JoinOutcome, type ProbeOutcome } from '../../openclaw/hook-client.js'
import { AttemptWatches } from '../../processors/attempt-watches.js'
import { deliver, type DeliverDeps } from '../../processors/deliver.js'
import { LeaseAhead, type EarlyLease } from '../../processors/lease-ahead.js'
import { leaseRequest } from '../../processors/lease-request.js'
import { Places } from '../../processors/places.js'
import { ShortLeases } from '../../processors/short-leases.js'
import type { DeliveryEntry } from '../../queues/catalogue.js'
import { aJob, attemptCaller, freshLedger, leaseAs, ledgerAt, OPERATOR, type TestLedger } from '../support/ledger.js'
import { hasSettled } from '../support/has-settled.js'

/** Nothing is looked for by itself. */
const NEVER_MS = 3_600_000

let t: TestLedger
let clock: ManualClock
let watches: AttemptWatches
let places: Places
let ahead: LeaseAhead
/** How many entries of an agent this process takes at once, where nobody else takes any. */
const own = new Map<string, number>()
/** The clock of the process itself. It stands still until a test moves it, so that a lease is taken in time on a slow machine too. */
const now = { ms: 0 }
const lines: string[] = []
const log = createLogger({ level: 'warn', destination: { write: (line: string) => void lines.push(line) } })
const leaser = () => ({ ledger: t.ledger, clock, workerId: 'w1', deadlineMarginSeconds: 60 })
beforeEach(async () => {
  t = await freshLedger()
  clock = new ManualClock(Date.now())
  watches = new AttemptWatches({ ledger: t.ledger, log, pollMs: NEVER_MS })
  places = new Places()
  own.clear()
  own.set('devops', 100)
  lines.length = 0
  now.ms = 1_000
  vi.spyOn(performance, 'now').mockImplementation(() => now.ms)
  ahead = new LeaseAhead({ ...leaser(), watches, places, log, placesOf: (agentId) => own.get(agentId) })
})
afterEach(async () => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  await ahead.stop()
  watches.stop()
  await t.close()
})

const entryOf = (job: JobView): DeliveryEntry => ({ v: 1, job_id: job.id, generation: job.generation, subject: job.subject })

/** What the store is about to be told of. */
const itemOf = (job: JobView): OutboxItem => ({
  ...{ id: 1, kind: 'publish' as const, jobId: job.id, agentId: job.target_agent ?? '', generation: job.generation, priority: job.priority },
  ...{ jobType: job.job_type, subject: job.subject, maxAttempts: job.max_attempts, delayMs: 0, current: true },
})

const queued = async (agentId = 'devops'): Promise<JobView> => (await aJob(t.ledger, 'queued', { target_agent: agentId })).job

/** A job that is leased ahead of its entry. */
async function leasedAhead(): Promise<JobView> {
  const job = await queued()
  const before = watches.size
  ahead.leaseAll([itemOf(job)])
  await vi.waitUntil(() => watches.size > before, { timeout: 10_000, interval: 5 })
  return job
}

/** A job with its lease, whose entry may be expected again and again: nothing of that waits for PostgreSQL, so that timers can be moved. */
async function leasedBefore(): Promise<{ readonly job: JobView; readonly expectEntry: () => void }> {
  const job = await queued()
  const started = await t.ledger.leaseAhead(leaseRequest(leaser(), entryOf(job)))
  if (started === undefined) throw new Error('the job was not leased')
  const entry = { jobId: job.id, agentId: 'devops', generation: job.generation }
  return { job, expectEntry: () => ahead.expect(entry, Promise.resolve(started)) }
}

/** From now on a test moves the timers. Turns of the event loop come as ever. */
const holdTimers = () => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })

const takeAll = (jobs: readonly JobView[]) => Promise.all(jobs.map((job) => ahead.take(entryOf(job))))
const idsOf = (taken: readonly (EarlyLease | undefined)[]): (string | undefined)[] => taken.map((early) => early?.started.job.id)
const isOffered = (agentId = 'devops'): boolean => ahead.offer(agentId) !== undefined
const reasonsOf = async (id: JobId) => (await t.ledger.jobHistory(id)).transitions.map(({ reason }) => reason)

function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined
  const promise = new Promise<T>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

describe('an offer', () => {
  test('is made only of places that this process alone has', () => {
    const before = isOffered()

    own.delete('devops')

    expect([before, isOffered()]).toEqual([true, false])
  })

  test.each([
    [0, true],
    [1, true],
    [2, false],
    [3, false],
  ])('of two places with %i entries in hand: %s', (inHand, offered) => {
    own.set('devops', 2)

    for (let at = 0; at < inHand; at += 1) places.enter('devops')

    expect(isOffered()).toBe(offered)
  })

  test('counts what is leased ahead as in hand, for its agent alone', async () => {
    own.set('devops', 1)
    own.set('auditor', 1)

    await leasedAhead()

    expect([isOffered('devops'), isOffered('auditor')]).toEqual([false, true])
  })

  test('counts what is being leased as in hand too, and has the place back at once when nothing comes of it', async () => {
    own.set('devops', 1)
    const lease = deferred<Started | undefined>()
    holdTimers()

    ahead.expect({ jobId: uuidv7(Date.now()) as JobId, agentId: 'devops', generation: 1 }, lease.promise)
    const during = [isOffered(), vi.getTimerCount()]
    lease.resolve(undefined)
    await lease.promise

    expect(during).toEqual([false, 1])
    // Nor is its entry waited for: where none comes that says nothing about the agent.
    expect([isOffered(), vi.getTimerCount()]).toEqual([true, 0])
  })

  test('of a place is made when it has been free for 25 ms, however many have come free', () => {
    own.set('devops', 2)
    const first = places.enter('devops')
    const second = places.enter('devops')
    const offered = [isOffered()]

    places.leave('devops', first)
    places.leave('devops', second)
    offered.push(isOffered())
    now.ms += 24
    offered.push(isOffered())
    now.ms += 1
    offered.push(isOffered())

    expect(offered).toEqual([false, false, false, true])
  })

  test('is made of no place in the first second after the gate of its agent has opened', () => {
    places.opened('devops')
    const offered = [isOffered()]

    now.ms += 999
    offered.push(isOffered())
    now.ms += 1
    offered.push(isOffered())

    expect(offered).toEqual([false, false, true])
  })

  test('names the slots of what is in hand and of what is leased ahead', async () => {
    const job = await leasedAhead()
    places.enter('devops').slot = 500
    // Has no lease yet.
    places.enter('devops')
    places.enter('auditor').slot = 501

    const offer = ahead.offer('devops')

    const { rows } = await t.database.pool.query<{ slot: number }>('select slot from job_attempts where job_id = $1', [job.id])
    expect(offer?.takenSlots).toEqual([500, rows[0]?.slot])
    expect(offer?.request).toMatchObject({ workerId: 'w1', actor: { kind: 'worker', id: 'w1' }, deadlineMarginSeconds: 60 })
  })
})

describe('of what the store is told', () => {
  test('four jobs of an agent are leased ahead at most', async () => {
    const jobs: JobView[] = []
    for (let at = 0; at < 6; at += 1) jobs.push(await queued())

    for (const job of jobs) ahead.leaseAll([itemOf(job)])

    const taken = await takeAll(jobs)
    const states = await Promise.all(jobs.map(async ({ id }) => (await t.ledger.getJob(id)).status))
    expect(idsOf(taken)).toEqual([...jobs.slice(0, 4).map(({ id }) => id), undefined, undefined])
    expect(states).toEqual([...Array<string>(4).fill('leased'), 'queued', 'queued'])
  })

  test.each([
    [2, 1, 0],
    [2, 2, 2],
    [4, 100, 4],
    [5, 100, 0],
  ])('%i jobs at once are leased ahead all or not at all, for the queue decides which is the first: with %i free places %i', async (told, free, leased) => {
    own.set('devops', free)
    const jobs: JobView[] = []
    for (let at = 0; at < told; at += 1) jobs.push(await queued())
    const leases = vi.spyOn(t.ledger, 'leaseAhead')

    ahead.leaseAll(jobs.map(itemOf))

    const taken = await takeAll(jobs)
    expect(idsOf(taken).filter((id) => id !== undefined)).toEqual(jobs.slice(0, leased).map(({ id }) => id))
    expect(leases).toHaveBeenCalledTimes(leased)
  })

  test('the jobs of each agent are judged for themselves', async () => {
    await t.addAgent('auditor', { concurrency: 5 })
    own.set('devops', 1)
    own.set('auditor', 1)
    const jobs = [await queued(), await queued('auditor'), await queued()]

    ahead.leaseAll(jobs.map(itemOf))

    expect(idsOf(await takeAll(jobs))).toEqual([undefined, jobs[1]?.id, undefined])
  })

  test('what is not leased ahead takes a place of its agent until its entry is there', async () => {
    own.set('devops', 1)
    own.set('auditor', 1)
    const [first, second] = [await queued(), await queued()]

    ahead.leaseAll([itemOf(first), itemOf(second)])
    const offered = [isOffered(), isOffered('auditor')]
    own.set('devops', 2)
    offered.push(isOffered())
    await ahead.take(entryOf(first))
    offered.push(isOffered())
    own.set('devops', 1)
    offered.push(isOffered())
    await ahead.take(entryOf(second))
    offered.push(isOffered())

    expect(offered).toEqual([false, true, false, true, false, true])
  })

  test('what is not leased ahead takes a place for no longer than a second: what has not come by then has to wait', async () => {
    own.set('devops', 1)
    const jobs = [await queued(), await queued()]

    ahead.leaseAll(jobs.map(itemOf))
    now.ms += 999
    const offered = [isOffered()]
    now.ms += 1
    offered.push(isOffered())

    expect(offered).toEqual([false, true])
  })

  test('nothing is leased, nor counted, of an agent whose entries can go elsewhere', async () => {
    own.delete('devops')
    const jobs = [await queued(), await queued()]
    const leases = vi.spyOn(t.ledger, 'leaseAhead')

    ahead.leaseAll(jobs.map(itemOf))
    own.set('devops', 1)

    expect(isOffered()).toBe(true)
    expect(leases).not.toHaveBeenCalled()
  })

  test('a job that was leased right behind its creation is not leased once more', async () => {
    await aJob(t.ledger, 'succeeded')
    const leases = vi.spyOn(t.ledger, 'leaseAhead')
    t.ledger.publishBy({ claimSeconds: 60, isPublishing: () => true, publish: (item) => ahead.leaseAll([item]) })
    t.ledger.leaseEarlyFor(ahead)

    const { job } = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'a job' }))

    const early = await ahead.take(entryOf(job))
    expect(leases).not.toHaveBeenCalled()
    expect(early?.started).toMatchObject({ kind: 'start', job: { id: job.id }, attempt: { lease_owner: 'w1' } })
    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([{ id: early?.started.attempt.id, status: 'leased' }])
  })

  test('a job whose lease the ledger cannot decide now is left to its entry', async () => {
    const job = await queued()
    vi.spyOn(t.ledger, 'leaseAhead').mockRejectedValue(new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.'))

    ahead.leaseAll([itemOf(job)])

    expect(await ahead.take(entryOf(job))).toBeUndefined()
    expect(await leaseAs(t.ledger, job.id, 1)).toMatchObject({ kind: 'start' })
  })
})

describe('an entry takes the lease that was taken for it', () => {
  test('once', async () => {
    const job = await queued()
    ahead.leaseAll([itemOf(job)])

    const first = await ahead.take(entryOf(job))
    const again = await ahead.take(entryOf(job))

    expect(first?.started).toMatchObject({ kind: 'start', job: { id: job.id, status: 'leased' }, attempt: { attempt_no: 1 } })
    expect(again).toBeUndefined()
  })

  test('under no other generation: then no entry is expected any more, and the attempt stays as it is', async () => {
    const { job, expectEntry } = await leasedBefore()
    holdTimers()
    expectEntry()

    const other = await ahead.take({ ...entryOf(job), generation: 2 })
    const watched = watches.size
    await vi.advanceTimersByTimeAsync(5_000)
    vi.useRealTimers()
    const again = await ahead.take(entryOf(job))
    const offered = isOffered()
    await ahead.stop()

    expect([other, again, watched, offered]).toEqual([undefined, undefined, 0, true])
    expect(await reasonsOf(job.id)).toEqual(['created', 'leased'])
    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([{ status: 'leased', lease_owner: 'w1' }])
  })

  test('within a second: a process that has slept for longer leaves it to the ledger to say what has become of the job', async () => {
    const [inTime, late] = [await leasedBefore(), await leasedBefore()]
    holdTimers()
    inTime.expectEntry()
    late.expectEntry()

    now.ms += 1_000
    const first = await ahead.take(entryOf(inTime.job))
    now.ms += 1
    const second = await ahead.take(entryOf(late.job))
    const watched = [watches.size]
    first?.watch.stop()
    watched.push(watches.size)
    await vi.advanceTimersByTimeAsync(5_000)
    vi.useRealTimers()
    await ahead.stop()

    expect(idsOf([first, second])).toEqual([inTime.job.id, undefined])
    expect(watched).toEqual([1, 0])
    expect(await reasonsOf(late.job.id)).toEqual(['created', 'leased'])
    expect(await leaseAs(t.ledger, late.job.id, 1)).toMatchObject({ kind: 'reattach' })
  })

  test('with a watch that hears of the end of the attempt', async () => {
    const job = await queued()
    ahead.leaseAll([itemOf(job)])
    const early = await ahead.take(entryOf(job))
    const before = early?.watch.isClosed()

    await t.ledger.jobs.cancel(OPERATOR, job.id, 'a test')

    await early?.watch.closed
    expect([before, early?.watch.isClosed()]).toEqual([false, true])
  })

  test('and waits for one that is being taken', async () => {
    const job = await queued()
    const lease = deferred<Started | undefined>()
    ahead.expect({ jobId: job.id, agentId: 'devops', generation: 1 }, lease.promise)

    const taking = ahead.take(entryOf(job))
    const settled = await hasSettled(t, taking)
    const started = await t.ledger.leaseAhead(leaseRequest(leaser(), entryOf(job)))
    lease.resolve(started)

    expect(started?.kind).toBe('start')
    expect(settled).toBe(false)
    expect((await taking)?.started).toBe(started)
  })
})

describe('an entry that does not come', () => {
  test('has its job queued again after a second, burns no attempt, and for ten seconds nothing of its agent is leased ahead', async () => {
    own.set('auditor', 100)
    const job = await queued()

    ahead.leaseAll([itemOf(job)])
    await expect.poll(() => reasonsOf(job.id), { timeout: 15_000, interval: 20 }).toEqual(['created', 'leased', 'released'])

    const late = await ahead.take(entryOf(job))
    const offered = [isOffered('auditor'), isOffered()]
    await clock.advance(9_999)
    offered.push(isOffered())
    await clock.advance(1)
    offered.push(isOffered())
    expect([late, watches.size]).toEqual([undefined, 0])
    expect(offered).toEqual([true, false, false, true])
    expect(await t.ledger.getJob(job.id)).toMatchObject({ status: 'queued', generation: 1, attempt_count: 0 })
    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([{ status: 'released', burned: false }])
    expect(await leaseAs(t.ledger, job.id, 1)).toMatchObject({ kind: 'start', attempt: { attempt_no: 2 } })
  })

  describe('is followed by a pause', () => {
    /** One entry does not come. That its lease is given back is another test: here the ledger says so at once. */
    async function misses(expectEntry: () => void): Promise<void> {
      expectEntry()
      await vi.advanceTimersByTimeAsync(1_000)
    }

    /** For how long nothing is leased ahead from now on. */
    async function pausedSeconds(): Promise<number> {
      for (let seconds = 0; seconds < 1_000; seconds += 1) {
        if (isOffered()) return seconds
        await clock.advance(1_000)
      }
      return Infinity
    }

    test('that is twice as long each time, up to ten minutes', async () => {
      const { expectEntry } = await leasedBefore()
      vi.spyOn(t.ledger, 'run').mockResolvedValue(undefined)
      holdTimers()
      const paused: number[] = []

      for (let at = 0; at < 8; at += 1) {
        await misses(expectEntry)
        paused.push(await pausedSeconds())
      }

      expect(paused).toEqual([10, 20, 40, 80, 160, 320, 600, 600])
    })

    test('that is forgotten with an entry that comes in time, and with none that comes too late', async () => {
      const { job, expectEntry } = await leasedBefore()
      vi.spyOn(t.ledger, 'run').mockResolvedValue(undefined)
      holdTimers()
      await misses(expectEntry)
      const paused = [await pausedSeconds()]

      expectEntry()
      now.ms += 1_001
      const late = await ahead.take(entryOf(job))
      await misses(expectEntry)
      paused.push(await pausedSeconds())
      expectEntry()
      const inTime = await ahead.take(entryOf(job))
      await misses(expectEntry)
      paused.push(await pausedSeconds())

      expect(idsOf([late, inTime])).toEqual([undefined, job.id])
      expect(paused).toEqual([10, 20, 10])
    })
  })

  test('here, but at another process, is taken on there, and its lease is not given back', async () => {
    const other = ledgerAt(t.url)
    const job = await leasedAhead()

    const decision = await leaseAs(other.ledger, job.id, 1, 'w2')

    await other.database.close()
    await ahead.stop()
    expect(decision.kind).toBe('reattach')
    expect(await reasonsOf(job.id)).toEqual(['created', 'leased', 'reattached'])
    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([{ status: 'leased', lease_owner: 'w2' }])
  })
})

describe('a process that stops', () => {
  test('leases nothing more as soon as it closes, and what it has leased is picked up as ever', async () => {
    const other = await queued()
    const job = await leasedAhead()
    const leases = vi.spyOn(t.ledger, 'leaseAhead')
    const offered = [isOffered()]

    ahead.close()
    offered.push(isOffered())
    ahead.leaseAll([itemOf(other)])
    const taken = await takeAll([job, other])

    expect(offered).toEqual([true, false])
    expect(leases).not.toHaveBeenCalled()
    expect(idsOf(taken)).toEqual([job.id, undefined])
  })

  test('gives back all that was not picked up, also what is just being leased, and offers nothing more', async () => {
    const jobs = [await queued(), await queued(), await leasedAhead()]

    ahead.leaseAll(jobs.map(itemOf))
    await ahead.stop()

    for (const job of jobs) {
      expect(await reasonsOf(job.id)).toEqual(['created', 'leased', 'released'])
      expect(await t.ledger.getJob(job.id)).toMatchObject({ status: 'queued', generation: 1 })
      expect(await ahead.take(entryOf(job))).toBeUndefined()
    }
    expect([isOffered(), watches.size]).toEqual([false, 0])
  })

  test('has an entry that comes meanwhile wait until its lease is given back, and get none', async () => {
    const job = await leasedAhead()
    const reached = deferred<void>()
    const gate = deferred<void>()
    const run = t.ledger.run.bind(t.ledger)
    vi.spyOn(t.ledger, 'run').mockImplementation(async (work) => {
      reached.resolve()
      await gate.promise
      return run(work)
    })

    const stopping = ahead.stop()
    await reached.promise
    const taking = ahead.take(entryOf(job)).then(async (early) => ({ early, status: (await t.ledger.getJob(job.id)).status }))
    const settled = await hasSettled(t, taking)
    gate.resolve()
    await stopping

    expect(settled).toBe(false)
    expect(await taking).toEqual({ early: undefined, status: 'queued' })
  })

  test('tells of a lease that the ledger does not take back; it is taken on with its entry', async () => {
    const job = await leasedAhead()
    const run = vi.spyOn(t.ledger, 'run').mockRejectedValue(new Error('away'))

    await ahead.stop()

    run.mockRestore()
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([{ event: 'lease_ahead.not_given_back', job_id: job.id, err: 'away' }])
    expect(await leaseAs(t.ledger, job.id, 1)).toMatchObject({ kind: 'reattach' })
  })
})

/** A gateway without HTTP, which writes down what it is sent: it admits every run, and its agent closes the job at once. */
class RecordingGateway extends HookClient {
  readonly posts: string[] = []
  closes: (post: HookPost) => Promise<unknown> = async () => undefined

  override async admit({ idempotencyKey }: HookPost): Promise<AdmitOutcome> {
    this.posts.push(`admit ${idempotencyKey}`)
    return { kind: 'admitted', runId: idempotencyKey, httpStatus: 200, body: { ok: true } }
  }

  override async probe(): Promise<ProbeOutcome> {
    return { ready: true }
  }

  override async join(post: HookPost): Promise<JoinOutcome> {
    this.posts.push(`join ${post.idempotencyKey}`)
    await this.closes(post)
    return { kind: 'aborted' }
  }
}

describe('a delivery', () => {
  let gateway: RecordingGateway
  let deps: DeliverDeps
  beforeEach(() => {
    gateway = new RecordingGateway()
    deps = {
      ...{ ledger: t.ledger, hooks: gateway, watches, log, clock: systemClock, workerId: 'w1', hookToken: () => 'x', hookBodies: async () => ({ admit: '{}', join: '{}' }) },
      ...{ shortLeases: new ShortLeases({ lockMs: 8_000, stalledCheckMs: 3_000, log }), ahead, completionGraceMs: 60_000, deadlineMarginSeconds: 60 },
      ...{ breakerFailures: 3, failing: new Set<string>(), admissionTimeoutMs: 5_000 },
    }
  })
  afterEach(() => gateway.close())

  test('of a job that was leased ahead goes on with that attempt, and leases nothing more', async () => {
    const job = await queued()
    const leases = vi.spyOn(t.ledger, 'lease')
    const place = places.enter('devops')
    gateway.closes = ({ idempotencyKey }) => t.ledger.jobs.complete({ caller: attemptCaller(idempotencyKey as AttemptId, job.id, 'devops') }, job.id, CompleteJobBody.parse({}))

    ahead.leaseAll([itemOf(job)])
    const ended = await deliver(deps, entryOf(job), place, new AbortController().signal)

    const { rows } = await t.database.pool.query<{ id: string; slot: number }>('select id, slot from job_attempts where job_id = $1', [job.id])
    expect(ended).toEqual({ kind: 'done', outcome: 'succeeded' })
    expect(leases).not.toHaveBeenCalled()
    const id = rows[0]?.id ?? ''
    expect(rows).toEqual([{ id, slot: place.slot }])
    expect(gateway.posts).toEqual([`admit ${id}`, `join ${id}`])
    expect(watches.size).toBe(0)
  })

  test.each<[string, (id: JobId) => Promise<unknown>, Record<string, unknown>]>([
    ['cancelled', (id) => t.ledger.jobs.cancel(OPERATOR, id, 'a test'), { kind: 'done', outcome: 'cancelled' }],
    ['given up', (id) => t.ledger.jobs.forceDead(OPERATOR, id, 'hopeless'), { kind: 'dead', error: 'hopeless' }],
    ['retried by force', (id) => t.ledger.jobs.retry(OPERATOR, id, { reason: 'anew', extra_attempts: 1, force: true }), { kind: 'done', outcome: 'superseded by generation 2' }],
  ])('of a job that was leased ahead and %s before its entry came posts nothing, and ends as the ledger says', async (_what, happens, end) => {
    const job = await queued()
    ahead.leaseAll([itemOf(job)])
    const early = await ahead.take(entryOf(job))
    await happens(job.id)

    const ended = await deliver({ ...deps, ahead: { take: async () => early } }, entryOf(job), places.enter('devops'), new AbortController().signal)

    expect(early?.started.kind).toBe('start')
    expect(ended).toEqual(end)
    expect(gateway.posts).toEqual([])
    expect(watches.size).toBe(0)
  })
})
