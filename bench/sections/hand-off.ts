import { z } from 'zod'
import { child, next } from '../child.js'
import type { Book } from '../figure.js'
import { quantile } from '../figures.js'
import { WAYS } from '../hand-off.js'
import { playRound } from '../hand-off-round.js'
import type { BenchOptions } from '../options.js'
import type { Where } from '../stores.js'

/** From an agent's completion until the hook of the next agent; `npm run bench:handoffs` takes it apart. */
export async function handOff(places: readonly { readonly where: Where; readonly finished: number }[], options: BenchOptions, book: Book): Promise<void> {
  const agents = child('hand-off-agents.ts')
  try {
    const { url: gatewayUrl } = z.object({ url: z.string() }).parse(await next(agents))
    const { latencyJobs: count, perSecond, warmUp, concurrency } = options
    for (let run = 0; run < options.runs; run += 1) {
      for (const { where, finished } of places) {
        for (const way of WAYS) {
          const order = { gatewayUrl, agents, way, count, perSecond, concurrency, warmUp: Math.min(warmUp, count) }
          const { total } = await playRound(where, order)
          for (const [name, q] of [
            ['p50', 0.5],
            ['p99', 0.99],
          ] as const) {
            const key = { section: 'hand-off', unit: 'ms', system: 'agentbus', way: 'HTTP', queues: where.queue.kind, finished } as const
            book.add({ ...key, figure: `by ${way}, ${name}` }, quantile(total, q))
          }
        }
      }
    }
  } finally {
    agents.disconnect()
  }
}
