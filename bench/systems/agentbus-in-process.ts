import { startBus } from '../../cli/bus.js'
import { createLogger } from '../../config/logger.js'
import { loadSettings } from '../../config/settings.js'
import { AgentConfig } from '../../contracts/fleet.js'
import type { GatewayId, JobId } from '../../contracts/ids.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { HookRequest } from '../../contracts/hooks.js'
import type { CommandContext } from '../../ledger/caller.js'
import type { Ledger } from '../../ledger/ledger.js'
import { HookClient, type AdmitOutcome, type HookPost, type JoinOutcome } from '../../openclaw/hook-client.js'
import { readOrder } from '../../openclaw/simulator/scripted-agent.js'
import { BENCH_SECRET, HOOK_TOKEN } from '../hook-token.js'
import type { Where } from '../stores.js'
import { payloadOf, type OnRun, type System } from './system.js'

const OPERATOR: CommandContext = { caller: { role: 'internal', actor: { kind: 'system', id: 'bench' } } }

/**
 * Gateway and agent without HTTP: admits every run and closes its job through the ledger's facade, in the name of the
 * attempt whose token stands in the prompt. Every step is a durable row, as it is over REST.
 */
class AgentsInProcess extends HookClient {
  ledger: Ledger | undefined
  onRun: OnRun = () => undefined
  ended = 0

  override async admit(input: HookPost): Promise<AdmitOutcome> {
    const number = /\\"number\\": ?(\d+)/.exec(input.body)?.[1]
    if (number === undefined) throw new Error('a prompt does not say which job it is about')
    this.onRun(Number(number))
    return { kind: 'admitted', runId: input.idempotencyKey, httpStatus: 200, body: { ok: true } }
  }

  override async join(input: HookPost): Promise<JoinOutcome> {
    const order = readOrder(HookRequest.parse(JSON.parse(input.body)).message)
    const caller = order === undefined ? undefined : await this.ledger?.tokens.authenticate(order.token)
    if (order === undefined || caller === undefined) throw new Error('a prompt names no job, or a token that nobody has')
    await this.ledger?.jobs.complete({ caller }, order.jobId as JobId, CompleteJobBody.parse({ summary: 'done', result: { ok: true } }))
    this.ended += 1
    return { kind: 'completed', runId: input.idempotencyKey, completion: { status: 'ok' } }
  }

  override async probe(): Promise<{ ready: true }> {
    return { ready: true }
  }
}

/** agentbus as `agentbus worker` runs it, with default settings and all its guards; only the gateway is a function. */
export async function openAgentbus(where: Where, concurrency: number): Promise<System> {
  const agents = new AgentsInProcess()
  // The agent's gate is closed until the workers shall begin; its queue is filled meanwhile.
  const bus = await startBus({
    settings: loadSettings({ AGENTBUS_LOG_LEVEL: 'error' }),
    env: { BENCH_HOOK_TOKEN: HOOK_TOKEN },
    stores: { ...where, secret: BENCH_SECRET, announcements: [], stop: async () => undefined },
    log: createLogger({ level: 'error', pretty: false }),
    api: false,
    workers: true,
    simulatorToken: '',
    hooks: agents,
    prepare: async ({ ledger }) => {
      agents.ledger = ledger
      const gateway = { id: 'bench' as GatewayId, base_url: 'http://127.0.0.1:9', hook_path: '/hooks', token: 'env:BENCH_HOOK_TOKEN' }
      const agent = AgentConfig.parse({ id: 'bench', gateway: 'bench', concurrency })
      await ledger.applyFleet(OPERATOR, { version: 1, gateways: [gateway], agents: [agent] }, { dryRun: false, prune: false })
      await pauseAgent(ledger, true)
    },
  })
  const { jobs } = bus.ledger
  const order = (number: number): CreateJobBody => CreateJobBody.parse({ target_agent: 'bench', subject: `job ${number}`, payload: payloadOf(number) })
  return {
    name: `agentbus, queues on ${where.queue.kind === 'redis' ? 'Redis' : 'PostgreSQL'}`,
    enqueue: (number) => jobs.create(OPERATOR, order(number)),
    enqueueMany: (numbers) => jobs.createBatch(OPERATOR, { jobs: numbers.map(order) }),
    work: async (onRun) => {
      agents.onRun = onRun
      await pauseAgent(bus.ledger, false)
    },
    ended: async () => agents.ended,
    stop: () => bus.stop(),
  }
}

async function pauseAgent(ledger: Ledger, paused: boolean): Promise<void> {
  await ledger.setPaused(OPERATOR, { scope: 'agent', target: 'bench', reason: 'the benchmark fills the queue', paused })
}
