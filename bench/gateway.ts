import { request } from 'undici'
import { readOrder } from '../openclaw/simulator/scripted-agent.js'
import { createSimulator } from '../openclaw/simulator/simulator.js'
import { HOOK_TOKEN } from './hook-token.js'
import { nowMs } from './open-loop.js'

/** A gateway in a process of its own, whose agent closes its job at once. Speaks to its parent by messages. */
const seen: { latencies: number[]; closed: number; lastClosedMs: number } = { latencies: [], closed: 0, lastClosedMs: 0 }

const gateway = createSimulator({
  hookToken: HOOK_TOKEN,
  agents: 'any',
  maxRuns: 10_000,
  behave: async (run) => {
    const arrivedMs = nowMs()
    const order = readOrder(run.message)
    const sent = /"sent_at": ?([\d.]+)/.exec(run.message)?.[1]
    if (order === undefined || sent === undefined) return { status: 'error' }
    seen.latencies.push(arrivedMs - Number(sent))
    const answer = await request(`${order.apiUrl}/v1/jobs/${order.jobId}/complete`, {
      method: 'POST',
      headers: { authorization: `Bearer ${order.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ summary: 'done', result: { ok: true } }),
    })
    await answer.body.dump()
    if (answer.statusCode === 200) {
      seen.closed += 1
      seen.lastClosedMs = nowMs()
    }
    return { status: 'ok' }
  },
})

process.on('message', (message) => {
  if (message === 'reset') Object.assign(seen, { latencies: [], closed: 0, lastClosedMs: 0 })
  // While a rate is measured only the count is asked for: a long list would take its time.
  process.send?.(message === 'count' ? { kind: 'count', closed: seen.closed } : { kind: 'seen', ...seen })
})
process.on('disconnect', () => process.exit(0))

await gateway.start()
process.send?.({ kind: 'ready', url: gateway.url })
