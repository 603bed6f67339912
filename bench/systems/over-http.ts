import type { ChildProcess } from 'node:child_process'
import { z } from 'zod'
import { startAgentbus } from '../agentbus.js'
import { startBaseline } from '../baseline.js'
import { child, next } from '../child.js'
import type { Entry, Load } from '../contestant.js'
import { openBareBackend, type Where } from '../stores.js'

const Seen = z.object({ kind: z.literal('seen'), latencies: z.array(z.number()), closed: z.int(), lastClosedMs: z.number() })
const Count = z.object({ kind: z.literal('count'), closed: z.int() })
const Done = z.object({ kind: z.literal('done'), startedMs: z.number(), postedMs: z.number() })
/** How long a system may take to work off what it was given. */
const PATIENCE_MS = 180_000

/** A load client and a gateway, processes of their own: what they do takes no turn from the system under measurement. */
export interface Outside {
  readonly gatewayUrl: string
  readonly client: ChildProcess
  /** Asks the gateway, one question after the other. */
  readonly ask: (what: 'reset' | 'count' | 'seen') => Promise<unknown>
  /** Jobs since the gateway began to count, of all systems that are open: it cannot tell whose a job is that it closes. */
  sent: number
  readonly stop: () => void
}

export async function startOutside(): Promise<Outside> {
  const gateway = child('gateway.ts')
  const { url } = z.object({ url: z.string() }).parse(await next(gateway))
  const client = child('client.ts')
  await next(client)
  let asked: Promise<unknown> = Promise.resolve()
  return {
    gatewayUrl: url,
    client,
    ask: (what) => {
      const answer = asked.then(() => {
        const one = next(gateway)
        gateway.send(what)
        return one
      })
      asked = answer.catch(() => undefined)
      return answer
    },
    sent: 0,
    stop: () => {
      gateway.disconnect()
      client.disconnect()
    },
  }
}

/** What is measured from outside: an API to post to, and deliveries that can be held back. */
interface Served {
  readonly url: string
  readonly token: string
  readonly setPaused: (paused: boolean) => Promise<void>
  readonly stop: () => Promise<void>
}

/** agentbus as `agentbus up` runs it: API and workers in one process. */
export async function openAgentbusOverHttp(where: Where, outside: Outside, concurrency: number): Promise<Entry> {
  const bus = await startAgentbus(where, { gatewayUrl: outside.gatewayUrl, agents: ['bench'], concurrency })
  return overHttp(bus, outside)
}

/** The same requests and the same hooks on a bare BullMQ queue, with nothing written to a ledger. */
export async function openNoLedger(where: Where, outside: Outside, concurrency: number): Promise<Entry> {
  const backend = openBareBackend(where.queue)
  const baseline = await startBaseline({ backend, gatewayUrl: outside.gatewayUrl, concurrency })
  return overHttp(
    {
      ...baseline,
      stop: async () => {
        await baseline.stop()
        await backend.close()
      },
    },
    outside,
  )
}

async function overHttp(served: Served, outside: Outside): Promise<Entry> {
  const { url, token } = served
  const { client, ask } = outside

  async function reset(): Promise<void> {
    await ask('reset')
    outside.sent = 0
  }

  async function send(load: Load & { readonly perSecond?: number }): Promise<z.infer<typeof Done>> {
    outside.sent += load.jobs
    const done = next(client)
    client.send({ url, token, jobs: load.jobs, perSecond: load.perSecond, connections: load.callers, batch: load.batch })
    return Done.parse(await done)
  }

  /** What the gateway has seen, as soon as every job that was sent is closed, or at `latest`. */
  async function settle(latest: number): Promise<z.infer<typeof Seen>> {
    for (;;) {
      const { closed } = Count.parse(await ask('count'))
      if (closed >= outside.sent || performance.now() >= latest) return Seen.parse(await ask('seen'))
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  function refuse(closed: number): void {
    if (closed < outside.sent) throw new Error(`${outside.sent - closed} of ${outside.sent} jobs were not closed in ${PATIENCE_MS / 1_000} s`)
  }

  await reset()
  await served.setPaused(true)
  return {
    enqueue: async (load) => {
      const { startedMs, postedMs } = await send(load)
      return (load.jobs * 1_000) / (postedMs - startedMs)
    },
    begin: async () => {
      await served.setPaused(false)
      const { closed } = await settle(performance.now() + PATIENCE_MS)
      refuse(closed)
    },
    rate: async (load, mostMs) => {
      await reset()
      const latest = performance.now() + (mostMs ?? PATIENCE_MS)
      const { startedMs } = await send(load)
      const { closed, lastClosedMs } = await settle(latest)
      if (mostMs === undefined) refuse(closed)
      return closed === 0 ? 0 : (closed * 1_000) / (lastClosedMs - startedMs)
    },
    latency: async ({ jobs, perSecond }, mostMs) => {
      await reset()
      await send({ jobs, perSecond, callers: 32 })
      const { latencies } = await settle(performance.now() + mostMs)
      if (latencies.length >= jobs) return latencies
      // What is late must not come while the next one is measured.
      refuse((await settle(performance.now() + PATIENCE_MS)).closed)
      return undefined
    },
    stop: () => served.stop(),
  }
}
