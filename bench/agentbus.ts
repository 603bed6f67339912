import { startBus } from '../cli/bus.js'
import { createLogger } from '../config/logger.js'
import { loadSettings } from '../config/settings.js'
import { AgentConfig } from '../contracts/fleet.js'
import type { GatewayId } from '../contracts/ids.js'
import type { SubscriptionConfig } from '../contracts/subscriptions.js'
import type { CommandContext } from '../ledger/caller.js'
import type { Ledger } from '../ledger/ledger.js'
import type { QueueRegistry } from '../queues/queue-registry.js'
import { BENCH_SECRET, HOOK_TOKEN } from './hook-token.js'
import type { Where } from './stores.js'

const OPERATOR: CommandContext = { caller: { role: 'internal', actor: { kind: 'system', id: 'bench' } } }

export interface RunningAgentbus {
  readonly url: string
  /** An operator's. */
  readonly token: string
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  /** Of the first agent. */
  readonly setPaused: (paused: boolean) => Promise<void>
  readonly stop: () => Promise<void>
}

/** Starts agentbus in this process, API and workers, with default settings, and applies a fleet on one gateway. */
export async function startAgentbus(
  where: Where,
  fleet: {
    readonly gatewayUrl: string
    readonly agents: readonly string[]
    readonly concurrency: number
    readonly subscriptions?: SubscriptionConfig[]
    readonly workers?: boolean
  },
): Promise<RunningAgentbus> {
  let token = ''
  const { gatewayUrl, concurrency, subscriptions } = fleet
  const bus = await startBus({
    settings: loadSettings({ AGENTBUS_PORT: '0', AGENTBUS_LOG_LEVEL: 'error' }),
    env: { BENCH_HOOK_TOKEN: HOOK_TOKEN },
    stores: { ...where, secret: BENCH_SECRET, announcements: [], stop: async () => undefined },
    log: createLogger({ level: 'error', pretty: false }),
    api: true,
    workers: fleet.workers ?? true,
    simulatorToken: '',
    prepare: async ({ ledger }) => {
      const gateway = { id: 'bench' as GatewayId, base_url: gatewayUrl, hook_path: '/hooks', token: 'env:BENCH_HOOK_TOKEN' }
      const agents = fleet.agents.map((id) => AgentConfig.parse({ id, gateway: 'bench', concurrency }))
      await ledger.applyFleet(OPERATOR, { version: 1, gateways: [gateway], agents, ...(subscriptions === undefined ? {} : { subscriptions }) }, { dryRun: false, prune: false })
      token = (await ledger.tokens.create(OPERATOR, { name: 'bench', role: 'operator' })).token
    },
  })
  const setPaused = async (paused: boolean): Promise<void> => {
    await bus.ledger.setPaused(OPERATOR, { scope: 'agent', target: fleet.agents[0] ?? '', reason: 'the benchmark fills the queue', paused })
  }
  return { url: bus.url ?? '', token, ledger: bus.ledger, queues: bus.queues, setPaused, stop: () => bus.stop() }
}
