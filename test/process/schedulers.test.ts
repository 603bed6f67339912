import { afterEach, expect, test, vi } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { HintBus } from '../../ledger/hints.js'
import type { Ledger } from '../../ledger/ledger.js'
import type { QueueBackend } from '../../queues/backend.js'
import { QueueRegistry } from '../../queues/queue-registry.js'
import { SchedulerSync } from '../../queues/schedulers.js'
import type { Glance } from '../../queues/survey.js'

const AGENTS = ['a', 'b', 'c']
const GLANCE: Glance = { held: false, filled: false, due: false, scheduled: true, limit: undefined, paused: false }

afterEach(() => {
  vi.useRealTimers()
})

/** The schedulers of three agents whose queues have some that nobody wants. `claim` says whether the turn is had, each time that it is asked for. */
function syncWith(claim: () => Promise<boolean>) {
  const looked: string[] = []
  const ledger = {
    hints: new HintBus(),
    db: { execute: async () => ({ rows: (await claim()) ? [{}] : [] }) },
    listOrders: async () => [],
    listAgents: async () => AGENTS.map((id) => ({ id })),
  } as unknown as Ledger
  const backend = {
    survey: async (names: readonly string[]) => new Map(names.map((name) => [name, GLANCE])),
    openQueue: (name: string) => ({
      getJobSchedulers: async () => {
        looked.push(name)
        return []
      },
    }),
  } as unknown as QueueBackend
  const sync = new SchedulerSync({ ledger, queues: new QueueRegistry(backend), log: createLogger({ level: 'silent' }), processId: 'p1' })
  return { sync, looked }
}

test('a process that has lost its turn changes no more schedulers', async () => {
  // It began, has been at the first agent, and another has taken over while it was at the second.
  const answers = [true, true, false, true, true]
  const { sync, looked } = syncWith(async () => answers.shift() ?? true)

  await sync.sync()
  await sync.stop()

  expect(looked).toEqual(['agent-a', 'agent-b'])
})

test('one that is stopped while it asks for its turn leaves no timer', async () => {
  vi.useFakeTimers()
  let answer: () => void = () => undefined
  const { sync } = syncWith(
    () =>
      new Promise((resolve) => {
        answer = () => resolve(false)
      }),
  )
  const syncing = sync.sync()

  const stopping = sync.stop()
  answer()
  await Promise.all([syncing, stopping])

  expect(vi.getTimerCount()).toBe(0)
})
