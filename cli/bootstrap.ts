import { createHash, createHmac, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { sql } from 'drizzle-orm'
import { loadFleetFile } from '../config/fleet-file.js'
import type { Settings } from '../config/settings.js'
import { AgentConfig, type Fleet } from '../contracts/fleet.js'
import type { GatewayId } from '../contracts/ids.js'
import type { CommandContext } from '../ledger/caller.js'
import type { Ledger } from '../ledger/ledger.js'
import { writePrivate } from './stores.js'

/** The process acting for itself at start. */
export const AT_START: CommandContext = { caller: { role: 'internal', actor: { kind: 'system', id: 'agentbus up' } } }

export const SIMULATOR_GATEWAY = 'simulator'

/** The four agents of the pilot, with what they may run at once. */
const PILOT: readonly { readonly id: string; readonly role: string }[] = [
  { id: 'coordinator', role: 'routes and replans work' },
  { id: 'auditor', role: 'watches the bus itself' },
  { id: 'devops', role: 'changes infrastructure' },
  { id: 'publisher', role: 'speaks to people' },
]

/** The simulator's hook token: the same in every process that shares the secret, and written nowhere. */
export function simulatorToken(secret: string): string {
  return createHmac('sha256', secret).update('simulator hook token').digest('hex')
}

/** Where work goes when nothing is configured: the built-in simulator. */
export async function needsSimulator(ledger: Ledger, settings: Settings): Promise<boolean> {
  if (settings.openclawBaseUrl !== undefined) return false
  const gateways = await ledger.listGateways()
  if (gateways.some((gateway) => gateway.id === SIMULATOR_GATEWAY)) return true
  return gateways.length === 0 && settings.fleet === undefined
}

export interface ThisStart {
  /** Where the built-in simulator listens; undefined without one. */
  readonly simulatorUrl: string | undefined
  /** Whether this process has workers too. AGENTBUS_LOCK_MS is theirs: where they run elsewhere it may be another, and says nothing here. */
  readonly workers: boolean
}

/**
 * Applies the fleet that this start asks for: the fleet file, the one gateway of the environment, or the simulator
 * with the pilot's agents. An existing fleet is kept: nothing is ever disabled here.
 * @throws AgentbusError AGENTBUS_CONFIG for a fleet file with faults; with workers also for a lease that does not outlive their lock
 */
export async function applyFirstFleet(ledger: Ledger, settings: Settings, start: ThisStart): Promise<void> {
  const fleet = await firstFleet(ledger, settings, start)
  if (fleet !== undefined) await ledger.applyFleet(AT_START, fleet, { dryRun: false, prune: false })
}

async function firstFleet(ledger: Ledger, settings: Settings, { simulatorUrl, workers }: ThisStart): Promise<Fleet | undefined> {
  if (settings.fleet !== undefined) return loadFleetFile(settings.fleet, { workers: workers ? settings : undefined })
  const hasAgents = (await ledger.listAgents()).length > 0
  if (settings.openclawBaseUrl !== undefined) {
    const gateway = { id: 'openclaw' as GatewayId, base_url: settings.openclawBaseUrl, hook_path: settings.openclawHookPath, token: 'env:OPENCLAW_HOOK_TOKEN' }
    return { version: 1, gateways: [gateway], agents: hasAgents ? [] : pilotAgents(settings, gateway.id) }
  }
  if (simulatorUrl === undefined) return undefined
  const gateway = { id: SIMULATOR_GATEWAY as GatewayId, base_url: simulatorUrl, hook_path: '/hooks', token: 'simulator' }
  return { version: 1, gateways: [gateway], agents: hasAgents ? [] : pilotAgents(settings, gateway.id) }
}

function pilotAgents(settings: Settings, gateway: string): AgentConfig[] {
  return PILOT.map((agent) => AgentConfig.parse({ ...agent, gateway, concurrency: settings.defaultAgentConcurrency, lease_seconds: settings.leaseSeconds }))
}

/** As the ledger takes them; anything else in the file, such as nothing after a crash, was never a token. */
const TOKEN = /^abt_[A-Za-z0-9_-]{32,196}$/

/**
 * The operator's token of this data folder: made at the first start, kept in a file only its owner may read. One that was
 * revoked is replaced, so that the token which a start shows is one that works.
 */
export async function operatorToken(ledger: Ledger, dataDir: string): Promise<string> {
  const file = path.join(dataDir, 'operator-token')
  const kept = (await readFile(file, 'utf8').catch(() => '')).trim()
  const standing = TOKEN.test(kept) ? await standingOf(ledger, kept) : 'over'
  if (standing === 'works') return kept
  const token = standing === 'unknown' ? kept : `abt_${randomBytes(32).toString('base64url')}`
  if (token !== kept) await writePrivate(file, `${token}\n`)
  await ledger.tokens.create(AT_START, { name: 'operator (first start)', role: 'operator', token })
  return token
}

/** `unknown`: to this ledger, as after the folder was given another one. */
async function standingOf(ledger: Ledger, token: string): Promise<'works' | 'over' | 'unknown'> {
  const hash = createHash('sha256').update(token).digest()
  const { rows } = await ledger.db.execute<{ works: boolean }>(sql`
    select revoked_at is null and (expires_at is null or expires_at > now()) as works from api_tokens where hash = ${hash}`)
  const [row] = rows
  if (row === undefined) return 'unknown'
  return row.works ? 'works' : 'over'
}
