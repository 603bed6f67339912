import { readOrder, type Order } from '../../openclaw/simulator/scripted-agent.js'
import { createSimulator, type SimulatedRun, type Simulator } from '../../openclaw/simulator/simulator.js'
import { GATE, MANY_ATTEMPTS, NEWS } from './clients.js'
import { insist, once, type Command, type CommandLog, type Wire } from './command-log.js'
import { randomOf, type Random } from './random.js'
import { AGENTS, GATEWAYS, type GatewayName } from './schedule.js'
import { TcpProxy } from './tcp-proxy.js'

export const HOOK_TOKEN = 'chaos-hook-token'

/** Past this attempt an agent does as it should: a storm must be able to end. */
const LAST_MISCHIEF = 3

/** One execution, as a gateway's own log has it. */
export interface GatewayRun {
  readonly gateway: string
  readonly runId: string
  readonly key: string | undefined
  readonly agent: string
  readonly attemptId: string
  readonly attemptNo: number
  readonly jobId: string
  readonly startedMs: number
}

export interface ChaosGateway {
  readonly name: GatewayName
  readonly simulator: Simulator
  readonly proxy: TcpProxy
  /** When it lost its memory of keys. */
  readonly memoryLosses: number[]
}

/** Three gateways, each behind a link that can be cut, with agents that act on the API by themselves. */
export async function startGateways(options: {
  readonly seed: number
  /** Where the agents of a gateway find the API. */
  readonly apiUrlOf: (gateway: GatewayName) => string
  readonly log: CommandLog
  readonly patienceMs: number
}): Promise<ChaosGateway[]> {
  const gateways: ChaosGateway[] = []
  for (const name of GATEWAYS) {
    const simulator = createSimulator({
      hookToken: HOOK_TOKEN,
      agents: Object.keys(AGENTS).filter((agent) => AGENTS[agent] === name),
      maxRuns: 16,
      admissionTimeoutMs: 3_000,
      behave: async (run) => {
        const order = readOrder(run.message)
        if (order === undefined) return { status: 'error' }
        await new Agent(run, { ...order, apiUrl: options.apiUrlOf(name) }, options).work()
        return { status: 'ok' }
      },
    })
    await simulator.start()
    const proxy = new TcpProxy(() => ({ host: '127.0.0.1', port: Number(new URL(simulator.url).port) }))
    await proxy.start()
    gateways.push({ name, simulator, proxy, memoryLosses: [] })
  }
  return gateways
}

/** The runs of all gateways, read from their own logs. */
export function runsOf(gateways: readonly ChaosGateway[]): GatewayRun[] {
  return gateways.flatMap(({ name, simulator }) =>
    simulator.runs().map((run) => {
      const message = String((JSON.parse(run.bytes) as { message?: unknown }).message)
      const [, attemptId, attemptNo] = /^Attempt:\s+(\S+) \(number (\d+);/m.exec(message) ?? []
      const jobId = /^agentbus job:\s+(\S+)$/m.exec(message)?.[1] ?? ''
      return { gateway: name, runId: run.runId, key: run.key, agent: run.agentId, attemptId: attemptId ?? '', attemptNo: Number(attemptNo ?? 0), jobId, startedMs: run.startedAtMs }
    }),
  )
}

/** One run of an agent: it reads its job, works for a while, closes. Its mistakes are drawn from the seed, the job and the attempt. */
class Agent {
  readonly #run: SimulatedRun
  readonly #order: Order
  readonly #log: CommandLog
  readonly #wire: Wire
  readonly #seed: number

  constructor(run: SimulatedRun, order: Order, options: { readonly seed: number; readonly log: CommandLog; readonly patienceMs: number }) {
    this.#run = run
    this.#order = order
    this.#log = options.log
    this.#seed = options.seed
    this.#wire = { url: order.apiUrl, token: order.token, patienceMs: options.patienceMs, log: options.log }
  }

  async work(): Promise<void> {
    const job = await this.#read()
    if (job === undefined) return
    const payload = (job['payload'] ?? {}) as Record<string, unknown>
    const isSlot = job['standing_order_run_id'] !== null
    const marker = isSlot ? `slot:${String(job['standing_order_run_id'])}` : String(payload['marker'])
    const random = randomOf(this.#seed, 'agent', isSlot ? '' : marker, this.#order.attemptNo)
    const mischief = this.#order.attemptNo > LAST_MISCHIEF ? 'none' : drawMischief(random)
    await this.#run.pause(mischief === 'slow' ? random.between(2_000, 5_000) : random.between(10, 500))
    if (mischief === 'silent') return
    const close = (): Promise<void> => this.#close(marker, job, payload, isSlot, mischief === 'double')
    if (mischief !== 'late') return close()
    // The run ends now; what it has left behind closes the job when it gets to it.
    const lateMs = random.between(100, 2_500)
    void this.#run.pause(lateMs).then(close)
  }

  async #read(): Promise<Record<string, unknown> | undefined> {
    while (this.#run.isAlive()) {
      const answer = await once(this.#wire, 'GET', `/v1/jobs/${this.#order.jobId}`, { signal: this.#run.signal })
      if (answer !== undefined) return answer.status === 200 ? answer.body : undefined
      await this.#run.pause(150)
    }
    return undefined
  }

  async #close(marker: string, job: Record<string, unknown>, payload: Record<string, unknown>, isSlot: boolean, twice: boolean): Promise<void> {
    const { kind, body } = isSlot ? { kind: 'finish' as const, body: { outcome: 'no_work', evidence: { looked: true } } } : closing(marker, job, payload, this.#order.attemptNo)
    const attemptId = /^Attempt:\s+(\S+) \(number/m.exec(this.#run.message)?.[1] ?? ''
    const send = async (way: string): Promise<void> => {
      const { jobId, attemptNo } = this.#order
      const command = this.#log.begin({ actor: `attempt ${attemptId}`, kind, key: `${way}:${attemptId}:${this.#run.runId}`, marker, body, jobId, attemptId, attemptNo })
      const path = `/v1/jobs/${jobId}/${kind === 'finish' ? 'finish-standing-order' : kind}`
      await insist(this.#wire, path, command, { goesOn: () => this.#run.isAlive(), pause: (ms) => this.#run.pause(ms), signal: this.#run.signal })
    }
    // Two answers at the same moment, each with a key of its own, as the answers of a run that was doubled: only one of them may count.
    await Promise.all([send('close'), ...(twice ? [send('again')] : [])])
  }
}

type Mischief = 'none' | 'slow' | 'silent' | 'late' | 'double'

function drawMischief(random: Random): Mischief {
  const drawn = random.next()
  if (drawn < 0.05) return 'slow'
  if (drawn < 0.1) return 'silent'
  if (drawn < 0.17) return 'late'
  if (drawn < 0.25) return 'double'
  return 'none'
}

/** How a job of this plan is closed. */
function closing(marker: string, job: Record<string, unknown>, payload: Record<string, unknown>, attemptNo: number): { kind: Command['kind']; body: Record<string, unknown> } {
  const result = { marker, attempt: attemptNo }
  switch (payload['plan']) {
    case 'hand_on': {
      const follow = { target_agent: payload['other'], subject: `handed on ${marker}`, payload: { marker: `${marker}:handed-on`, plan: 'plain' }, max_attempts: MANY_ATTEMPTS }
      return { kind: 'complete', body: { result, follow_ups: [follow] } }
    }
    case 'announce':
      return { kind: 'complete', body: { result, events: [{ topic: NEWS, payload: { marker: `${marker}:news` } }] } }
    case 'wait':
      if (job['answer'] !== null) return { kind: 'complete', body: { result } }
      return { kind: 'block', body: { blocked_reason: 'a gate is closed', waits_for: { kind: 'event', topic: GATE, filter: { marker } } } }
    case 'give_up':
      return { kind: 'fail', body: { last_error: 'it can never work' } }
    case 'try_again':
      return attemptNo > 1 ? { kind: 'complete', body: { result } } : { kind: 'fail', body: { last_error: 'not now', retry_seconds: 0 } }
    default:
      return { kind: 'complete', body: { result } }
  }
}
