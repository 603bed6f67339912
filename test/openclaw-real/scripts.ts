import type { Reply, Script, Turn } from './model.js'

/** One `agentbus` call as the contract asks for it: address and token of the order in front of the command. */
export function agentbus(turn: Turn, command: string, ...rest: string[]): string {
  return agentbusAtLarge(turn, command, turn.order.jobId, ...rest)
}

/** The same for a command that is not about the order's own job. */
export function agentbusAtLarge({ order }: Turn, command: string, ...rest: string[]): string {
  return callWith(order.token, order.apiUrl, command, rest)
}

/** File in an agent's workspace that holds its own bus token. */
export const AGENT_TOKEN = 'bus-token'

/** A call with the agent's own token: that of the attempt makes no jobs. */
export function agentbusAsAgent({ order }: Turn, command: string, ...rest: string[]): string {
  return callWith(`$(cat ${AGENT_TOKEN})`, order.apiUrl, command, rest)
}

function callWith(token: string, apiUrl: string, command: string, rest: readonly string[]): string {
  return [`AGENTBUS_URL=${apiUrl} AGENTBUS_TOKEN=${token} agentbus ${command}`, ...rest.map(quoted)].join(' ')
}

/** Text as one word of a shell. Options stay readable. */
function quoted(text: string): string {
  return /^[\w-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

export type Step = (turn: Turn) => string | Promise<string>

/** An agent that runs these commands, one for each turn, and then ends its run. */
export function running(...steps: readonly Step[]): Script {
  return async (turn): Promise<Reply> => {
    const step = steps[turn.results.length]
    return step === undefined ? { say: 'Done.' } : { exec: await step(turn) }
  }
}

export const completing: Script = running((turn) => agentbus(turn, 'complete-job', '--summary', 'done by the test agent'))

/** Each agent does as its own script says. */
export function asAgents(scripts: Readonly<Record<string, Script>>): Script {
  return (turn) => {
    const agent = /^Agent:\s+(\S+)$/m.exec(turn.prompt)?.[1] ?? 'nobody'
    return scripts[agent]?.(turn) ?? { say: `There is no script for ${agent}.` }
  }
}

/** What a message of the bus tells as data, between the two lines of its fence. */
export function dataIn(message: string): Record<string, unknown> {
  const data = /^(DATA-\S+)\n([^]*)\n\1$/m.exec(message)?.[2]
  if (data === undefined) throw new Error(`no data between two fences: ${message.slice(-2_000)}`)
  return JSON.parse(data) as Record<string, unknown>
}

/** Agents that wait at their first turn, for as long as the test wants. */
export interface Held {
  readonly script: Script
  /** Resolves when an agent has begun to wait. */
  readonly reached: Promise<void>
  release(): void
}

/** Holds the agents of the orders that `which` picks, then lets them go on with `next`. */
export function holding(which: (turn: Turn) => boolean, next: Script = completing): Held {
  const reached = signalled()
  const released = signalled()
  return {
    script: async (turn) => {
      if (turn.results.length === 0 && which(turn)) {
        reached.resolve()
        await Promise.race([released.promise, hungUp(turn.signal)])
      }
      return next(turn)
    },
    reached: reached.promise,
    release: released.resolve,
  }
}

function hungUp(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

function signalled(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
