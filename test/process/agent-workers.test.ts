import { DelayedError, WaitingError } from 'bullmq'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../config/clock.js'
import { createLogger } from '../../config/logger.js'
import { AgentbusError } from '../../contracts/errors.js'
import { HookClient } from '../../openclaw/hook-client.js'
import { AgentWorkers } from '../../processors/agent-workers.js'
import { AttemptWatches } from '../../processors/attempt-watches.js'
import type { BusJob, BusProcessor, QueueBackend } from '../../queues/backend.js'
import { QueueRegistry } from '../../queues/queue-registry.js'
import type { Glance } from '../../queues/survey.js'
import { aJob, freshLedger, ledgerAt, OPERATOR, type TestLedger } from '../support/ledger.js'

const log = createLogger({ level: 'silent' })
/** Nothing comes by itself: a test says when the gates are looked at. */
const NEVER_MS = 3_600_000

interface OpenWorker {
  readonly processor: BusProcessor
  concurrency: number
  isPaused: boolean
  isClosed: boolean
  pause(): Promise<void>
  resume(): Promise<void>
  close(): Promise<void>
}

interface QueueState {
  limit: number | undefined
  isPaused: boolean
}

/** A queue store that remembers what it was told. What is named in `failing` fails, once. */
function aStore() {
  const failing = new Set<string>()
  const workers = new Map<string, OpenWorker>()
  const queues = new Map<string, QueueState>()
  const done = async (what: string): Promise<void> => {
    if (failing.delete(what)) throw new Error(`${what} failed`)
  }
  const stateOf = (name: string): QueueState => {
    const state = queues.get(name) ?? { limit: undefined, isPaused: false }
    queues.set(name, state)
    return state
  }
  const glanceAt = (name: string): Glance => {
    const { limit, isPaused } = stateOf(name)
    return { held: false, filled: false, due: false, scheduled: false, limit, paused: isPaused }
  }
  const openQueue = (name: string) => ({
    setGlobalConcurrency: async (limit: number): Promise<void> => {
      await done('a limit')
      stateOf(name).limit = limit
    },
    pause: async (): Promise<void> => {
      await done('a pause')
      stateOf(name).isPaused = true
    },
    resume: async (): Promise<void> => {
      await done('a resumption')
      stateOf(name).isPaused = false
    },
    getJob: () => Promise.reject(new Error('the store is away')),
  })
  const openWorker = (name: string, processor: BusProcessor, options: { readonly concurrency: number }): OpenWorker => {
    const worker: OpenWorker = {
      ...{ opts: {}, processor, concurrency: options.concurrency, isPaused: false, isClosed: false },
      pause: async () => {
        worker.isPaused = true
      },
      resume: async () => {
        worker.isPaused = false
      },
      close: async () => {
        worker.isClosed = true
      },
    }
    workers.set(name, worker)
    return worker
  }
  const backend = {
    ...{ openQueue, openWorker, idleWaitSeconds: 75, endWait: () => Promise.resolve() },
    survey: async (names: readonly string[]) => new Map(names.map((name) => [name, glanceAt(name)])),
    wake: () => done('waking'),
  } as unknown as QueueBackend
  return { backend, failing, workers, stateOf }
}

let t: TestLedger
let store: ReturnType<typeof aStore>
let workers: AgentWorkers
const undo: (() => unknown)[] = []
beforeEach(async () => {
  t = await freshLedger()
  undo.push(() => t.close())
  store = aStore()
  const hooks = new HookClient()
  undo.push(() => hooks.close())
  const watches = new AttemptWatches({ ledger: t.ledger, log, pollMs: NEVER_MS })
  undo.push(() => watches.stop())
  workers = new AgentWorkers({
    ...{ ledger: t.ledger, queues: new QueueRegistry(store.backend), clock: systemClock, log, lockMs: 60_000, stalledCheckMs: NEVER_MS, gatePollMs: NEVER_MS },
    deliver: {
      ...{ ledger: t.ledger, hooks, watches, clock: systemClock, log, workerId: 'w1', hookToken: () => 'x', hookBodies: async () => ({ admit: '{}', join: '{}' }) },
      ...{ completionGraceMs: 10, deadlineMarginSeconds: 60, breakerFailures: 3, failing: new Set<string>(), admissionTimeoutMs: 1_000 },
    },
  })
  undo.push(() => workers.stop())
})
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

const change = (statement: string): Promise<unknown> => t.database.pool.query(statement)

test('a look at the gates that failed half-way is done again, although nothing has changed since', async () => {
  await workers.start()
  await change(`update agents set concurrency = 7`)
  store.failing.add('a limit')

  await workers.refresh()
  const between = store.stateOf('agent-devops').limit
  await workers.refresh()

  expect([between, store.stateOf('agent-devops').limit]).toEqual([100, 7])
})

test('what a look that failed half-way has changed is changed back when the next one finds everything as it was before', async () => {
  await workers.start()
  const worker = store.workers.get('agent-devops')
  await change(`update agents set enabled = false`)
  store.failing.add('waking')

  await workers.refresh()
  const between = worker?.isPaused
  await change(`update agents set enabled = true`)
  await workers.refresh()

  expect([between, worker?.isPaused]).toEqual([true, false])
})

test('a pause that the store has not taken is written at the next look, and so is its end', async () => {
  await workers.start()
  // In another process, so that no hint makes these workers look.
  const other = ledgerAt(t.url)
  undo.push(() => other.database.close())
  const pause = (paused: boolean) => other.ledger.setPaused(OPERATOR, { scope: 'agent', target: 'devops', reason: 'a test', paused })
  const seen: boolean[] = []
  const look = async (): Promise<void> => {
    await workers.refresh()
    seen.push(store.stateOf('agent-devops').isPaused)
  }

  await pause(true)
  store.failing.add('a pause')
  await look()
  await look()
  await pause(false)
  store.failing.add('a resumption')
  await look()
  await look()

  expect(seen).toEqual([false, true, true, false])
})

test('workers whose start failed half-way are closed by their stop', async () => {
  store.failing.add('waking')
  await expect(workers.start()).rejects.toThrow('waking failed')

  await workers.stop()

  expect([...store.workers.values()].map(({ isClosed }) => isClosed)).toEqual([true])
})

test('an entry that only waits for its busy agent uses up no try when those that hold the agent cannot be raised', async () => {
  await t.addAgent('narrow', { concurrency: 1 })
  await workers.start()
  await aJob(t.ledger, 'leased', { target_agent: 'narrow' })
  const { id } = await aJob(t.ledger, 'queued', { target_agent: 'narrow' })
  const putOff: number[] = []
  const entry = {
    ...{ id: `${id}-g1`, name: 'a job', data: { v: 1, job_id: id, generation: 1, subject: 'a job' }, attemptsStarted: 1 },
    moveToDelayed: async (atMs: number) => void putOff.push(atMs),
  } as unknown as BusJob

  const pickUp = store.workers.get('agent-narrow')?.processor
  const ended = pickUp?.(entry, 'token', new AbortController().signal)

  await expect(ended).rejects.toThrow('agent_busy')
  expect(putOff).toHaveLength(1)
})

/** An entry whose store is away when it is to be put off or handed back. */
function anEntryOf(jobId: string): BusJob {
  const away = () => Promise.reject(new Error('the store is away'))
  const entry = { id: `${jobId}-g1`, name: 'a job', data: { v: 1, job_id: jobId, generation: 1, subject: 'a job' }, attemptsStarted: 1, moveToDelayed: away, moveToWait: away }
  return entry as unknown as BusJob
}

test('an entry that found the ledger away uses up no try when the store is away as well', async () => {
  await workers.start()
  const { id } = await aJob(t.ledger, 'queued')
  vi.spyOn(t.ledger, 'lease').mockRejectedValueOnce(new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.'))

  const ended = store.workers.get('agent-devops')?.processor(anEntryOf(id), 'token', new AbortController().signal)

  await expect(ended).rejects.toBeInstanceOf(DelayedError)
})

test('an entry that the store does not put off at once is put off when it can be, and one that somebody else has is let go', async () => {
  await workers.start()
  const { id } = await aJob(t.ledger, 'queued')
  const answers = [new Error('a broken connection'), undefined]
  const gone = Object.assign(new Error('Missing lock for job'), { code: -2 })
  const tries: string[] = []
  const entryOf = (name: string, fault: () => Error | undefined): BusJob =>
    ({
      ...{ id: `${id}-g1`, name: 'a job', data: { v: 1, job_id: id, generation: 1, subject: 'a job' }, attemptsStarted: 1 },
      moveToDelayed: async () => {
        tries.push(name)
        const error = fault()
        if (error !== undefined) throw error
      },
    }) as unknown as BusJob
  const away = new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.')
  vi.spyOn(t.ledger, 'lease').mockRejectedValueOnce(away).mockRejectedValueOnce(away)

  const pickUp = store.workers.get('agent-devops')?.processor
  await expect(
    pickUp?.(
      entryOf('broken', () => answers.shift()),
      'token',
      new AbortController().signal,
    ),
  ).rejects.toBeInstanceOf(DelayedError)
  await expect(
    pickUp?.(
      entryOf('gone', () => gone),
      'token',
      new AbortController().signal,
    ),
  ).rejects.toBeInstanceOf(DelayedError)

  expect(tries).toEqual(['broken', 'broken', 'gone'])
})

test('an entry that is handed back uses up no try when the store is away', async () => {
  await workers.start()
  const { id } = await aJob(t.ledger, 'queued')

  const ended = store.workers.get('agent-devops')?.processor(anEntryOf(id), 'token', AbortSignal.abort())

  await expect(ended).rejects.toBeInstanceOf(WaitingError)
})
