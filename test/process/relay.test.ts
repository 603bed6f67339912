import { randomUUID } from 'node:crypto'
import type { SQL } from 'drizzle-orm'
import { PgDialect } from 'drizzle-orm/pg-core'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { HintBus } from '../../ledger/hints.js'
import type { Ledger } from '../../ledger/ledger.js'
import type { OutboxItem, Publisher } from '../../ledger/outbox.js'
import type { QueueBackend } from '../../queues/backend.js'
import { QueueRegistry } from '../../queues/queue-registry.js'
import { Relay } from '../../queues/relay.js'
import { ToldRows } from '../../queues/told-rows.js'
import { freshLedger, ledgerAt, OPERATOR } from '../support/ledger.js'

const log = createLogger({ level: 'silent' })
const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
  vi.restoreAllMocks()
  vi.useRealTimers()
})

let made = 0
/** What a process that has created a job hands to its relay. */
function anItem(): OutboxItem {
  made += 1
  const what = { kind: 'publish', agentId: 'devops', generation: 1, priority: 100, jobType: 'task', subject: 'a job', maxAttempts: 3, delayMs: 0, current: true } as const
  return { id: 1_000_000 + made, jobId: randomUUID(), ...what }
}

interface Entry {
  readonly name: string
  readonly data: { readonly job_id: string }
}

/** Queues that take everything at once. */
function queuesThat(take: (jobId: string) => void): QueueRegistry {
  const add = async (_name: string, data: Entry['data']): Promise<void> => take(data.job_id)
  const addBulk = async (entries: readonly Entry[]): Promise<void> => {
    for (const { data } of entries) take(data.job_id)
  }
  return new QueueRegistry({ openQueue: () => ({ add, addBulk }) } as unknown as QueueBackend)
}

test('what other processes left in the outbox is published while this one creates jobs without a pause', async () => {
  const t = await freshLedger()
  undo.push(() => t.close())
  const other = ledgerAt(t.url)
  undo.push(() => other.database.close())
  const { job } = await other.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'of another process' }))
  // Ten milliseconds for each publication, whatever the machine.
  const clock = { nowMs: 0 }
  vi.spyOn(performance, 'now').mockImplementation(() => clock.nowMs)
  const told: string[] = []
  let create: Publisher['publish'] = () => undefined
  vi.spyOn(t.ledger, 'publishBy').mockImplementation((publisher) => {
    create = publisher.publish
    create(anItem())
    return () => undefined
  })
  const queues = queuesThat((jobId) => {
    told.push(jobId)
    clock.nowMs += 10
    // The next job is there before this one is published.
    if (told.length < 100) create(anItem())
  })
  const relay = new Relay({ ledger: t.ledger, queues, log, pollMs: 60_000 })
  undo.push(() => relay.stop())

  relay.start()

  await expect.poll(() => told.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(100)
  expect(told).toContain(job.id)
  expect(told.indexOf(job.id)).toBeLessThan(10)
})

describe('a look at the outbox', () => {
  /** A ledger whose outbox is empty and counts how often it is looked at. `answer` says when a look is over. */
  function countedLooks(answer: () => Promise<void> = async () => undefined) {
    const dialect = new PgDialect()
    const hints = new HintBus()
    let looks = 0
    let create: Publisher['publish'] = () => undefined
    const execute = async (statement: SQL): Promise<{ rows: unknown[] }> => {
      if (dialect.sqlToQuery(statement).sql.includes('skip locked')) {
        looks += 1
        await answer()
      }
      return { rows: [] }
    }
    const publishBy = (publisher: Publisher): (() => void) => {
      create = publisher.publish
      return () => undefined
    }
    return { hints, looks: () => looks, create: () => create(anItem()), ledger: { hints, publishBy, db: { execute } } as unknown as Ledger }
  }

  function startRelay(ledger: Ledger, pollMs: number): void {
    const relay = new Relay({ ledger, queues: queuesThat(() => undefined), log, pollMs })
    undo.push(() => relay.stop())
    relay.start()
  }

  test('is not put off by hints of other processes that come every moment', async () => {
    vi.useFakeTimers()
    const { hints, looks, ledger } = countedLooks()
    startRelay(ledger, 60_000)
    await vi.advanceTimersByTimeAsync(100)

    for (let at = 0; at < 250; at += 1) {
      hints.receive({ outbox: true })
      await vi.advanceTimersByTimeAsync(4)
    }

    expect(looks()).toBeGreaterThan(50)
  })

  test('comes after a hint of another process that came during the look before', async () => {
    vi.useFakeTimers()
    let end: () => void = () => undefined
    const { hints, looks, ledger } = countedLooks(
      () =>
        new Promise((resolve) => {
          end = resolve
        }),
    )
    startRelay(ledger, 60_000)
    await vi.advanceTimersByTimeAsync(0)
    expect(looks()).toBe(1)

    hints.receive({ outbox: true })
    end()
    await vi.advanceTimersByTimeAsync(10)
    const during = looks()
    end()

    expect(during).toBe(2)
  })

  test('is not put off by what this process creates itself: it finds what a process left that has died', async () => {
    vi.useFakeTimers()
    const { create, looks, ledger } = countedLooks()
    startRelay(ledger, 1_000)
    await vi.advanceTimersByTimeAsync(0)

    for (let at = 0; at < 100; at += 1) {
      create()
      await vi.advanceTimersByTimeAsync(100)
    }

    expect(looks()).toBeGreaterThanOrEqual(9)
  })
})

test('a row that has the number of one that was published, but says something else, does not pass for it', () => {
  vi.useFakeTimers()
  const rows = new ToldRows({ ledger: {} as Ledger, log })
  const item = anItem()

  rows.add([item])

  expect(rows.has(item)).toBe(true)
  expect([rows.has({ ...item, jobId: randomUUID() }), rows.has({ ...item, generation: 2 }), rows.has({ ...item, kind: 'remove' })]).toEqual([false, false, false])
})
