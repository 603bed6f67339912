import { request } from 'undici'
import { z } from 'zod'
import type { SimulatedRun } from './simulator.js'

/** What a job's payload may ask of the simulated agent, under `simulate`. */
const Script = z.object({
  delay_ms: z.number().min(0).max(600_000).default(0),
  outcome: z.enum(['complete', 'block', 'fail', 'retry', 'silent']).default('complete'),
  /** Attempts up to this number fail and ask for a retry. */
  fail_times: z.int().min(0).max(100).default(0),
  retry_seconds: z.int().min(0).max(3_600).default(0),
  result: z.record(z.string(), z.unknown()).optional(),
  blocked_reason: z.string().optional(),
  blocked_owner: z.string().optional(),
  waits_for: z.record(z.string(), z.unknown()).optional(),
  look_again_at: z.string().optional(),
  events: z.array(z.unknown()).optional(),
  follow_ups: z.array(z.unknown()).optional(),
})
type Script = z.infer<typeof Script>

interface Order {
  readonly jobId: string
  readonly attemptNo: number
  readonly apiUrl: string
  readonly token: string
}

/** Finds job, attempt and token in a message, as a model would. */
export function readOrder(message: string): Order | undefined {
  const jobId = /^Job:\s+(\S+)/m.exec(message)?.[1]
  const attemptNo = /^Attempt:\s+\S+ \(number (\d+)/m.exec(message)?.[1]
  const apiUrl = /^\s*export AGENTBUS_URL=(\S+)/m.exec(message)?.[1]
  const token = /^\s*export AGENTBUS_TOKEN=(\S+)/m.exec(message)?.[1]
  if (jobId === undefined || attemptNo === undefined || apiUrl === undefined || token === undefined) return undefined
  return { jobId, attemptNo: Number(attemptNo), apiUrl, token }
}

/**
 * The agent of the built-in simulator: it reads its job over REST with the attempt's token, does what
 * `payload.simulate` says, and closes the job over REST. It does no real work, and says so in the result.
 */
export function createScriptedAgent(): (run: SimulatedRun) => Promise<{ status: 'ok' | 'error' }> {
  return async (run) => {
    const order = readOrder(run.message)
    if (order === undefined) return { status: 'ok' }
    try {
      const script = await readScript(order)
      if (script.delay_ms > 0) await run.pause(script.delay_ms)
      if (!run.isAlive()) return { status: 'error' }
      await close(order, script)
      return { status: 'ok' }
    } catch {
      // A model whose tools fail still ends its turn; the bus must notice that nothing was closed.
      return { status: 'ok' }
    }
  }
}

async function readScript(order: Order): Promise<Script> {
  const job = await call(order, 'GET', '')
  const payload = job !== null && typeof job === 'object' && 'payload' in job ? job.payload : undefined
  const simulate = payload !== null && typeof payload === 'object' && 'simulate' in payload ? payload.simulate : {}
  return Script.parse(simulate)
}

async function close(order: Order, script: Script): Promise<void> {
  const extra = { ...(script.events === undefined ? {} : { events: script.events }), ...(script.follow_ups === undefined ? {} : { follow_ups: script.follow_ups }) }
  if (order.attemptNo <= script.fail_times) {
    await call(order, 'POST', '/fail', { last_error: `simulated failure ${order.attemptNo} of ${script.fail_times}`, retry_seconds: script.retry_seconds })
    return
  }
  switch (script.outcome) {
    case 'silent':
      return
    case 'block':
      // After it was unblocked, the next attempt completes.
      if (order.attemptNo > 1) break
      await call(order, 'POST', '/block', {
        blocked_reason: script.blocked_reason ?? 'simulated: something is missing',
        blocked_owner: script.blocked_owner ?? 'operator',
        ...(script.waits_for === undefined ? {} : { waits_for: script.waits_for }),
        ...(script.look_again_at === undefined ? {} : { look_again_at: script.look_again_at }),
        ...extra,
      })
      return
    case 'fail':
      await call(order, 'POST', '/fail', { last_error: 'simulated: can never work', ...extra })
      return
    case 'retry':
      await call(order, 'POST', '/fail', { last_error: 'simulated: not now', retry_seconds: script.retry_seconds })
      return
    case 'complete':
      break
  }
  await call(order, 'POST', '/complete', {
    summary: 'Closed by the built-in simulator; no real agent worked on this.',
    result: { simulated: true, ...script.result },
    ...extra,
  })
}

async function call(order: Order, method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown> {
  const response = await request(`${order.apiUrl}/v1/jobs/${order.jobId}${path}`, {
    method,
    headers: { authorization: `Bearer ${order.token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.body.text()
  if (response.statusCode >= 400) throw new Error(`${method} ${path} answered ${response.statusCode}`)
  return JSON.parse(text)
}
