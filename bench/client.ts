import { Agent, request } from 'undici'
import { z } from 'zod'
import { nowMs, openLoop } from './open-loop.js'
import { inParallel } from './parallel.js'

/** A load client in a process of its own: posts jobs at a rate, or as fast as its connections allow, one by one or in batches. */
const Order = z.object({ url: z.string(), token: z.string(), jobs: z.int(), perSecond: z.number().optional(), connections: z.int(), batch: z.int().optional() })

const agent = new Agent({ connections: 64 })

const jobOf = (at: number): Record<string, unknown> => ({ target_agent: 'bench', subject: `job ${at}`, payload: { sent_at: nowMs() } })

async function post(order: z.infer<typeof Order>, what: 'jobs' | 'job-batches', body: Record<string, unknown>): Promise<void> {
  const answer = await request(`${order.url}/v1/${what}`, {
    dispatcher: agent,
    method: 'POST',
    headers: { authorization: `Bearer ${order.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await answer.body.text()
  if (answer.statusCode !== 201) throw new Error(`POST /v1/${what} answered ${answer.statusCode}: ${text.slice(0, 300)}`)
}

async function run(order: z.infer<typeof Order>): Promise<{ startedMs: number; postedMs: number }> {
  const startedMs = nowMs()
  const { perSecond, batch } = order
  if (perSecond !== undefined) await openLoop({ startMs: startedMs, count: order.jobs, perSecond }, (at) => post(order, 'jobs', jobOf(at)))
  else if (batch === undefined) await inParallel(order.jobs, order.connections, (at) => post(order, 'jobs', jobOf(at)))
  else {
    await inParallel(Math.ceil(order.jobs / batch), order.connections, (at) => {
      const jobs = Array.from({ length: Math.min(batch, order.jobs - at * batch) }, (_none, one) => jobOf(at * batch + one))
      return post(order, 'job-batches', { jobs })
    })
  }
  return { startedMs, postedMs: nowMs() }
}

process.on('message', (message) => {
  run(Order.parse(message)).then(
    (result) => process.send?.({ kind: 'done', ...result }),
    (error: unknown) => process.send?.({ kind: 'failed', error: String(error) }),
  )
})
process.on('disconnect', () => process.exit(0))
process.send?.({ kind: 'ready' })
