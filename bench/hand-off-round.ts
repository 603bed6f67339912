import type { ChildProcess } from 'node:child_process'
import { sql } from 'drizzle-orm'
import { z } from 'zod'
import { SubscriptionConfig } from '../contracts/subscriptions.js'
import type { Ledger } from '../ledger/ledger.js'
import { startAgentbus } from './agentbus.js'
import { next } from './child.js'
import { RECEIVER, SENDER, TOPIC, type Way } from './hand-off.js'
import { watchCores } from './machine.js'
import type { Where } from './stores.js'

const Played = z.object({
  kind: z.literal('played'),
  clockOffsetMs: z.number(),
  handOffs: z.array(z.object({ dueMs: z.number(), sentMs: z.number(), answeredMs: z.number(), arrivedMs: z.number(), jobId: z.uuid() })),
})
type Played = z.infer<typeof Played>
const Moments = z.array(z.object({ job_id: z.uuid(), created: z.coerce.number(), leased: z.coerce.number() }))

export interface Timed {
  readonly total: readonly number[]
  /** The share of the cores' time that was used while the round went on, by whatever process. */
  readonly busy: number
}

/** Milliseconds, of each hand-off of one round after the warm-up. */
export interface Round extends Timed {
  /** From the completion's due time until it was sent: how far the schedule was kept. */
  readonly late: readonly number[]
  readonly steps: Readonly<Record<Step, readonly number[]>>
}

export const STEPS = ['completion sent → job written', 'job written → leased by a worker', 'leased → hook arrived', 'completion sent → answered'] as const
export type Step = (typeof STEPS)[number]

export interface RoundOrder {
  readonly gatewayUrl: string
  /** The process of sender and receiver, `hand-off-agents.ts`. */
  readonly agents: ChildProcess
  readonly way: Way
  readonly warmUp: number
  readonly count: number
  readonly perSecond: number
  /** Runs that each agent may have open: never what a hand-off waits for. */
  readonly concurrency: number
}

/** One round of hand-offs, with an agentbus of its own: API and workers in this process. */
export async function playRound(where: Where, order: RoundOrder): Promise<Round> {
  const { gatewayUrl, agents, way, warmUp, count, perSecond, concurrency } = order
  const subscriptions = [SubscriptionConfig.parse({ name: 'hand-offs', agent: RECEIVER, topic: TOPIC })]
  const bus = await startAgentbus(where, { gatewayUrl, agents: [SENDER, RECEIVER], concurrency, subscriptions })
  try {
    const busy = watchCores()
    const played = next(agents)
    agents.send({ url: bus.url, token: bus.token, way, count: warmUp + count, perSecond })
    const answer = Played.parse(await played)
    return { ...(await roundOf(answer, bus.ledger, warmUp)), busy: busy() }
  } finally {
    await bus.stop()
  }
}

async function roundOf({ handOffs, clockOffsetMs }: Played, ledger: Ledger, warmUp: number): Promise<Omit<Round, 'busy'>> {
  const measured = handOffs.slice(warmUp)
  const { rows } = await ledger.db.execute(sql`
    select job_id, extract(epoch from min(at) filter (where reason = 'created')) * 1000 as created, extract(epoch from min(at) filter (where reason = 'leased')) * 1000 as leased
    from job_transitions where job_id = any(${sql.param(measured.map(({ jobId }) => jobId))}::uuid[]) group by job_id`)
  const moments = new Map(Moments.parse(rows).map((row) => [row.job_id, { created: row.created - clockOffsetMs, leased: row.leased - clockOffsetMs }]))
  const at = (jobId: string, key: 'created' | 'leased'): number => {
    const moment = moments.get(jobId)
    if (moment === undefined) throw new Error(`the ledger has no history of job ${jobId}`)
    return moment[key]
  }
  return {
    total: measured.map((one) => one.arrivedMs - one.sentMs),
    late: measured.map((one) => one.sentMs - one.dueMs),
    steps: {
      'completion sent → job written': measured.map((one) => at(one.jobId, 'created') - one.sentMs),
      'job written → leased by a worker': measured.map((one) => at(one.jobId, 'leased') - at(one.jobId, 'created')),
      'leased → hook arrived': measured.map((one) => one.arrivedMs - at(one.jobId, 'leased')),
      'completion sent → answered': measured.map((one) => one.answeredMs - one.sentMs),
    },
  }
}
