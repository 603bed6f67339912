import { randomOf } from './random.js'

export type Backend = 'redis' | 'postgres'

export const WORKERS = ['worker-1', 'worker-2', 'worker-3'] as const
export const PROCESSES = ['api', ...WORKERS] as const
export const GATEWAYS = ['gw-1', 'gw-2', 'gw-3'] as const
export type ProcessName = (typeof PROCESSES)[number]
export type GatewayName = (typeof GATEWAYS)[number]
export const AGENTS: Readonly<Record<string, GatewayName>> = { amber: 'gw-1', birch: 'gw-1', cedar: 'gw-2', delta: 'gw-2', ember: 'gw-3', fjord: 'gw-3' }

/** `half_open`: connections are accepted and what is sent on them vanishes. `slow`: it arrives late. */
export const CUTS = ['refuse', 'half_open', 'slow'] as const
export type Cut = (typeof CUTS)[number]

/** Links over which requests come to the API: from the clients, and from the agents on each gateway. */
export const API_LINKS = ['clients>api', ...GATEWAYS.map((name) => `${name}>api` as const)] as const
export type ApiLink = (typeof API_LINKS)[number]

/** One thing that the nemesis does, and for how long before it mends it. */
export type Trouble = { readonly atMs: number; readonly forMs: number } & (
  | { readonly kind: 'kill'; readonly target: ProcessName }
  /** Asked to end, and started again when it has. */
  | { readonly kind: 'restart'; readonly target: ProcessName }
  /** `ledger` is PostgreSQL with all its processes. */
  | { readonly kind: 'pause'; readonly target: ProcessName | 'redis' | 'ledger' }
  | { readonly kind: 'restart_store'; readonly target: 'redis' }
  /** The postmaster is killed; what it comes back with is what it recovers from its log. */
  | { readonly kind: 'restart_ledger'; readonly target: 'ledger' }
  /** One backend is killed: PostgreSQL ends every session and recovers by itself. */
  | { readonly kind: 'crash_ledger'; readonly target: 'ledger' }
  | { readonly kind: 'wipe_store'; readonly target: 'queues' }
  /** The queues are wiped while the target is stopped: what it holds in its hands is no longer there when it goes on. */
  | { readonly kind: 'wipe_in_pause'; readonly target: ProcessName | 'ledger' }
  | { readonly kind: 'cut'; readonly cut: Cut; readonly target: `${ProcessName}>postgres` | `${ProcessName}>redis` | GatewayName | ApiLink }
  /** What is sent arrives and is done; the answers are cut off. */
  | { readonly kind: 'deaf'; readonly target: GatewayName | ApiLink }
  | { readonly kind: 'gateway_dies'; readonly target: GatewayName }
  /** Its answers are cut off, then it loses its memory of keys and does not show it: what is sent again is run a second time. */
  | { readonly kind: 'gateway_forgets'; readonly target: GatewayName }
  | { readonly kind: 'gateway_503'; readonly target: GatewayName }
  | { readonly kind: 'gateway_drains'; readonly target: GatewayName }
)

/** A trouble as it was played: a busy machine begins and mends later than planned. Milliseconds since 1970. */
export interface PlayedTrouble {
  readonly trouble: Trouble
  readonly fromMs: number
  readonly untilMs: number
}

/** Every kind of trouble there is. */
export const KINDS: readonly Trouble['kind'][] = [
  'kill',
  'restart',
  'pause',
  'restart_store',
  'restart_ledger',
  'crash_ledger',
  'wipe_store',
  'wipe_in_pause',
  'cut',
  'deaf',
  'gateway_dies',
  'gateway_forgets',
  'gateway_503',
  'gateway_drains',
]

/** The storms of `npm test`: short, with seeds under which both together have every kind of trouble. */
export const TEST_STORM_MS = 13_000
export const TEST_SEEDS: Readonly<Record<Backend, number>> = { redis: 804, postgres: 25_460 }

/**
 * What the nemesis will do in `stormMs`, from the seed alone. Several troubles may last at the same time, but no two on the
 * same target: each is mended by what began it.
 */
export function planTroubles(seed: number, backend: Backend, stormMs: number): Trouble[] {
  const random = randomOf(seed, 'nemesis')
  const busyUntil = new Map<string, number>()
  const troubles: Trouble[] = []
  const kinds = [
    ...repeat('kill', 5),
    ...repeat('restart', 3),
    ...repeat('pause', 4),
    ...repeat('cut', 5),
    ...repeat('deaf', 2),
    ...repeat('gateway_dies', 4),
    ...repeat('gateway_forgets', 3),
    ...repeat('gateway_503', 2),
    'gateway_drains' as const,
    ...repeat('wipe_store', 2),
    ...repeat('wipe_in_pause', 2),
    ...repeat('restart_ledger', 2),
    'crash_ledger' as const,
    ...(backend === 'redis' ? repeat('restart_store', 2) : []),
  ]
  for (let atMs = random.between(500, 1_500); atMs < stormMs; atMs += random.between(400, 2_200)) {
    const trouble = draw(random.pick(kinds), atMs)
    if ((busyUntil.get(trouble.target) ?? 0) > atMs) continue
    // A moment of rest between two troubles of one target, or a process might never get past its start.
    busyUntil.set(trouble.target, atMs + trouble.forMs + 2_500)
    troubles.push(trouble)
  }
  return troubles

  function draw(kind: Trouble['kind'], atMs: number): Trouble {
    const forMs = random.between(300, 4_000)
    switch (kind) {
      case 'kill':
      case 'restart':
        return { kind, atMs, forMs: random.between(0, 1_500), target: random.pick(PROCESSES) }
      case 'pause':
        return { kind, atMs, forMs: random.between(300, 6_000), target: random.pick([...PROCESSES, 'ledger' as const, ...(backend === 'redis' ? ['redis' as const] : [])]) }
      case 'cut': {
        const links = PROCESSES.flatMap((name) => [`${name}>postgres` as const, ...(backend === 'redis' ? [`${name}>redis` as const] : [])])
        return { kind, cut: random.pick(CUTS), atMs, forMs, target: random.pick([...links, ...GATEWAYS, ...GATEWAYS, ...API_LINKS]) }
      }
      case 'restart_store':
        return { kind, atMs, forMs: random.between(200, 2_500), target: 'redis' }
      case 'restart_ledger':
        return { kind, atMs, forMs: random.between(200, 2_500), target: 'ledger' }
      case 'crash_ledger':
        return { kind, atMs, forMs: 0, target: 'ledger' }
      case 'wipe_store':
        return { kind, atMs, forMs: 0, target: 'queues' }
      case 'wipe_in_pause':
        // On the PostgreSQL backend a stopped ledger is a stopped queue store, which can only be wiped afterwards.
        return { kind, atMs, forMs, target: random.pick(backend === 'redis' ? [...PROCESSES, 'ledger' as const] : PROCESSES) }
      case 'deaf':
        return { kind, atMs, forMs, target: random.pick([...GATEWAYS, ...API_LINKS]) }
      case 'gateway_forgets':
        return { kind, atMs, forMs: random.between(500, 2_500), target: random.pick(GATEWAYS) }
      case 'gateway_dies':
      case 'gateway_503':
      case 'gateway_drains':
        return { kind, atMs, forMs, target: random.pick(GATEWAYS) }
    }
  }
}

/** One thing that a client will ask of the bus. `marker` is its name in every log. */
export type Deed = { readonly atMs: number; readonly marker: string } & (
  | { readonly kind: 'job'; readonly plan: Plan; readonly agent: string; readonly other: string }
  | { readonly kind: 'event' }
  | { readonly kind: 'workflow' }
  | { readonly kind: 'cancelled_job'; readonly agent: string; readonly afterMs: number }
)

/** What the agent of a job is to do with it. */
export const PLANS = ['plain', 'hand_on', 'announce', 'wait', 'give_up', 'try_again'] as const
export type Plan = (typeof PLANS)[number]

/** The load of a storm, from the seed alone. */
export function planDeeds(seed: number, stormMs: number, perSecond: number): Deed[] {
  const random = randomOf(seed, 'load')
  const agents = Object.keys(AGENTS)
  const kinds = [...repeat('job', 14), ...repeat('event', 2), ...repeat('workflow', 1), ...repeat('cancelled_job', 2)]
  const plans: readonly Plan[] = [...repeat('plain', 5), ...repeat('hand_on', 3), ...repeat('announce', 2), ...repeat('wait', 2), 'give_up', 'try_again']
  const deeds: Deed[] = []
  for (let atMs = 0; atMs < stormMs; atMs += random.between(200, 1_800) / perSecond) {
    const kind = random.pick(kinds)
    const marker = `${seed}/${deeds.length}`
    if (kind === 'job') deeds.push({ kind, atMs, marker, plan: random.pick(plans), agent: random.pick(agents), other: random.pick(agents) })
    else if (kind === 'cancelled_job') deeds.push({ kind, atMs, marker, agent: random.pick(agents), afterMs: random.between(0, 600) })
    else deeds.push({ kind, atMs, marker })
  }
  return deeds
}

function repeat<T extends string>(kind: T, times: number): T[] {
  return Array.from({ length: times }, () => kind)
}

/** A trouble in a line. */
export function tell(trouble: Trouble): string {
  const how = trouble.kind === 'cut' ? `cut (${trouble.cut})` : trouble.kind
  return `${(trouble.atMs / 1_000).toFixed(1).padStart(7)} s  ${how.padEnd(16)} ${trouble.target}${trouble.forMs === 0 ? '' : ` for ${(trouble.forMs / 1_000).toFixed(1)} s`}`
}
