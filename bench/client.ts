import { Agent, request } from 'undici'
import { z } from 'zod'
import { nowMs, openLoop } from './open-loop.js'

/** A load client in a process of its own: posts jobs at a rate, or as fast as its connections allow. */
const Order = z.object({ url: z.string(), token: z.string(), jobs: z.int(), perSecond: z.number().optional(), connections: z.int() })

const agent = new Agent({ connections: 64 })

async function post(order: z.infer<typeof Order>, at: number): Promise<void> {
  const body = JSON.stringify({ target_agent: 'bench', subject: `job ${at}`, payload: { sent_at: nowMs() } })
  const answer = await request(`${order.url}/v1/jobs`, {
    dispatcher: agent,
    method: 'POST',
    headers: { authorization: `Bearer ${order.token}`, 'content-type': 'application/json' },
    body,
  })
  await answer.body.dump()
  if (answer.statusCode !== 201) throw new Error(`POST /v1/jobs answered ${answer.statusCode}`)
}

async function run(order: z.infer<typeof Order>): Promise<{ startedMs: number; postedMs: number }> {
  const startedMs = nowMs()
  if (order.perSecond !== undefined) {
    await openLoop({ startMs: startedMs, count: order.jobs, perSecond: order.perSecond }, (at) => post(order, at))
  } else {
    let next = 0
    await Promise.all(
      Array.from({ length: order.connections }, async () => {
        while (next < order.jobs) {
          next += 1
          await post(order, next)
        }
      }),
    )
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
