import { request } from 'undici'
import { z } from 'zod'
import { assertNever } from '../../contracts/errors.js'
import type { RunEnd, SimulatedRun } from './hook-desk.js'

/** What a job's payload may ask of the simulated agent, under `simulate`. */
const Script = z.strictObject({
  /** Before the close; with `late`, between the end of the run and the close. */
  delay_ms: z.number().min(0).max(600_000).default(0),
  /** `silent` ends the run without a close, `late` ends it and closes afterwards, as a background process would. */
  outcome: z.enum(['complete', 'block', 'fail', 'retry', 'silent', 'late']).default('complete'),
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
type Script = z.infer<typeof Script> & { readonly isSlot: boolean }

const CALL_TIMEOUT_MS = 30_000

/** What a message orders. */
export interface Order {
  readonly jobId: string
  readonly attemptNo: number
  readonly apiUrl: string
  readonly token: string
}

/** Finds job, attempt, token and API in a message of the contract, as a model would; undefined when one is missing. */
export function readOrder(message: string): Order | undefined {
  const jobId = /^agentbus job:\s+(\S+)$/m.exec(message)?.[1]
  const attemptNo = /^Attempt:\s+\S+ \(number (\d+);/m.exec(message)?.[1]
  const [, apiUrl, token] = /^\s+AGENTBUS_URL=(\S+) AGENTBUS_TOKEN=(\S+)$/m.exec(message) ?? []
  if (jobId === undefined || attemptNo === undefined || apiUrl === undefined || token === undefined) return undefined
  return { jobId, attemptNo: Number(attemptNo), apiUrl, token }
}

/**
 * The agent of the built-in simulator: it reads its job over REST with the attempt's token, does what
 * `payload.simulate` says, and closes the job over REST. It does no real work, and says so in the result.
 */
export function createScriptedAgent(): (run: SimulatedRun) => Promise<RunEnd> {
  return async (run) => {
    const order = readOrder(run.message)
    if (order === undefined) return { status: 'ok' }
    try {
      const script = await readScript(order, run.signal)
      if (script.outcome === 'late') {
        void actAfter(order, script, run).catch(() => undefined)
        return { status: 'ok' }
      }
      await actAfter(order, script, run)
    } catch {
      // A model whose tools fail still ends its turn; the bus must notice that nothing was closed.
    }
    return { status: run.isAlive() ? 'ok' : 'error' }
  }
}

async function actAfter(order: Order, script: Script, run: SimulatedRun): Promise<void> {
  if (script.delay_ms > 0) await run.pause(script.delay_ms)
  if (run.isAlive()) await act(order, script, run.signal)
}

/** Hints that make no sense become a failure that names them: a typing error must not pass for success. */
async function readScript(order: Order, signal: AbortSignal): Promise<Script> {
  const job = z.object({ payload: z.looseObject({ simulate: z.unknown().optional() }), standing_order_run_id: z.string().nullish() }).parse(await call(order, signal, 'GET', ''))
  const script = Script.safeParse(job.payload.simulate ?? {})
  if (script.success) return { ...script.data, isSlot: typeof job.standing_order_run_id === 'string' }
  const [issue] = script.error.issues
  const last_error = `simulated: payload.simulate is not valid: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trimEnd()
  await call(order, signal, 'POST', '/fail', { last_error })
  return { ...Script.parse({ outcome: 'silent' }), isSlot: false }
}

async function act(order: Order, script: Script, signal: AbortSignal): Promise<void> {
  const { events, follow_ups, retry_seconds, waits_for, look_again_at } = script
  const extra = { events, follow_ups }
  const close = (path: string, body: Record<string, unknown>): Promise<unknown> => call(order, signal, 'POST', path, body)
  if (order.attemptNo <= script.fail_times) {
    await close('/fail', { last_error: `simulated: failure ${order.attemptNo} of ${script.fail_times}`, retry_seconds })
    return
  }
  // A job that was unblocked completes at its next attempt.
  const outcome = script.outcome === 'block' && order.attemptNo > 1 ? 'complete' : script.outcome
  switch (outcome) {
    case 'silent':
      return
    case 'block':
      await close('/block', {
        blocked_reason: script.blocked_reason ?? 'simulated: something is missing',
        blocked_owner: script.blocked_owner ?? 'operator',
        waits_for,
        look_again_at,
        ...extra,
      })
      return
    case 'fail':
      await close('/fail', { last_error: 'simulated: can never work', ...extra })
      return
    case 'retry':
      await close('/fail', { last_error: 'simulated: not now', retry_seconds })
      return
    case 'complete':
    case 'late':
      if (script.isSlot) {
        await close('/finish-standing-order', {
          outcome: 'no_work',
          summary: 'SIMULATED: the built-in gateway simulator looked at nothing.',
          evidence: { simulated: true },
          ...extra,
        })
        return
      }
      await close('/complete', {
        summary: 'SIMULATED: closed by the built-in gateway simulator; no agent worked on this.',
        result: { ...script.result, simulated: true },
        ...extra,
      })
      return
    default:
      assertNever(outcome)
  }
}

/** One REST call with the attempt's token. It dies with the simulated gateway. @throws when refused or unreachable */
async function call(order: Order, signal: AbortSignal, method: 'GET' | 'POST', path: string, body?: Record<string, unknown>): Promise<unknown> {
  const answer = await request(`${order.apiUrl}/v1/jobs/${order.jobId}${path}`, {
    method,
    headers: { authorization: `Bearer ${order.token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal,
    headersTimeout: CALL_TIMEOUT_MS,
    bodyTimeout: CALL_TIMEOUT_MS,
  })
  const text = await answer.body.text()
  if (answer.statusCode >= 400) throw new Error(`${method} ${path} answered ${answer.statusCode}`)
  return JSON.parse(text)
}
