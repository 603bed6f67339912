import { request, Agent } from 'undici'
import { z } from 'zod'
import { readOrder, type Order } from '../openclaw/simulator/scripted-agent.js'
import { createSimulator } from '../openclaw/simulator/simulator.js'
import { RECEIVER, SENDER, TOPIC, WAYS, handOffOf, payloadOf, type Way } from './hand-off.js'
import { HOOK_TOKEN } from './hook-token.js'
import { nowMs, openLoop, until } from './open-loop.js'

/**
 * The gateway of sender and receiver, and the client that gives the sender its jobs. All in one process apart from the bus,
 * so that one clock takes both ends of a hand-off. Speaks to its parent by messages.
 */
const Round = z.object({ url: z.string(), token: z.string(), way: z.enum(WAYS), count: z.int(), perSecond: z.number() })
type Round = z.infer<typeof Round>

/** The sender has its job this long before it completes it, so that the completion is the only step that is timed. */
const AHEAD_MS = 1_000
/** After the last completion; whatever has not arrived then is lost. */
const PATIENCE_MS = 20_000

/** One hand-off as it is measured; times in milliseconds since 1970. */
interface HandOff {
  readonly dueMs: number
  sentMs?: number
  answeredMs?: number
  arrivedMs?: number
  jobId?: string
}

interface Running {
  readonly way: Way
  readonly handOffs: HandOff[]
  /** Completions that are not answered yet, of both agents. */
  open: number
  fault?: string
  readonly allClosed: () => void
}
let running: Running | undefined

const agent = new Agent({ connections: 64 })

async function post(url: string, token: string, body: Record<string, unknown>): Promise<void> {
  const answer = await request(url, {
    dispatcher: agent,
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await answer.body.text()
  if (answer.statusCode >= 300) throw new Error(`${new URL(url).pathname} answered ${answer.statusCode}: ${text.slice(0, 300)}`)
}

async function complete(order: Order, more: Record<string, unknown>): Promise<void> {
  await post(`${order.apiUrl}/v1/jobs/${order.jobId}/complete`, order.token, { summary: 'done', result: { ok: true }, ...more })
}

/** The completion names the same payload both ways. */
function handsOver(way: Way, handOff: number): Record<string, unknown> {
  const payload = payloadOf(handOff)
  return way === 'event' ? { events: [{ topic: TOPIC, payload }] } : { follow_ups: [{ target_agent: RECEIVER, subject: TOPIC, payload }] }
}

const gateway = createSimulator({
  hookToken: HOOK_TOKEN,
  agents: [SENDER, RECEIVER],
  maxRuns: 10_000,
  behave: async (run) => {
    const arrivedMs = nowMs()
    const round = running
    const order = readOrder(run.message)
    const number = handOffOf(run.message)
    const handOff = number === undefined ? undefined : round?.handOffs[number]
    if (order === undefined || number === undefined || handOff === undefined || round === undefined) return { status: 'error' }
    try {
      if (run.agentId === RECEIVER) {
        // A second attempt would be another arrival; the first one counts.
        handOff.arrivedMs ??= arrivedMs
        handOff.jobId = order.jobId
        await complete(order, {})
      } else {
        await until(handOff.dueMs)
        handOff.sentMs = nowMs()
        await complete(order, handsOver(round.way, number))
        handOff.answeredMs = nowMs()
      }
    } catch (error) {
      round.fault ??= String(error)
      return { status: 'error' }
    }
    round.open -= 1
    if (round.open === 0) round.allClosed()
    return { status: 'ok' }
  },
})

/** What to add to times of this process to get the system's clock, which PostgreSQL goes by. The former does not follow corrections. */
function clockOffsetMs(): number {
  const before = Date.now()
  for (;;) {
    const atMs = Date.now()
    if (atMs !== before) return atMs - nowMs()
  }
}

async function play({ url, token, way, count, perSecond }: Round): Promise<HandOff[]> {
  const periodMs = 1_000 / perSecond
  const startMs = nowMs() + 100
  const handOffs: HandOff[] = Array.from({ length: count }, (_none, at) => ({ dueMs: startMs + periodMs + AHEAD_MS + at * periodMs }))
  const allClosed = new Promise<void>((resolve) => {
    running = { way, handOffs, open: 2 * count, allClosed: resolve }
  })
  await openLoop({ startMs, count, perSecond }, async (at, dueMs) => {
    // Anywhere between two completions: at a fixed distance each hand-off would meet the same step of another job.
    await until(dueMs + Math.random() * periodMs)
    await post(`${url}/v1/jobs`, token, { target_agent: SENDER, subject: `job ${at}`, payload: payloadOf(at) })
  })
  await Promise.race([allClosed, until((handOffs.at(-1)?.dueMs ?? 0) + PATIENCE_MS)])
  const open = running?.open ?? 0
  if (open > 0) throw new Error(`${open} of ${2 * count} jobs were not completed: ${running?.fault ?? 'no call failed'}`)
  return handOffs
}

process.on('message', (message) => {
  play(Round.parse(message)).then(
    (handOffs) => process.send?.({ kind: 'played', handOffs, clockOffsetMs: clockOffsetMs() }),
    (error: unknown) => process.send?.({ kind: 'failed', error: String(error) }),
  )
})
process.on('disconnect', () => process.exit(0))

await gateway.start()
process.send?.({ kind: 'ready', url: gateway.url })
