import type { Contestant, Entry, Part } from './contestant.js'
import type { Where } from './stores.js'
import { openAgentbus } from './systems/agentbus-in-process.js'
import { openBareBullmq, openBullmqAsItComes } from './systems/bare-bullmq.js'
import { GRAPHILE_AS_IT_COMES, GRAPHILE_TUNED, openGraphile } from './systems/graphile.js'
import { inProcess } from './systems/in-process.js'
import { openAgentbusOverHttp, openNoLedger, type Outside } from './systems/over-http.js'
import { openPgBoss, PG_BOSS_AS_IT_COMES, PG_BOSS_TUNED } from './systems/pg-boss.js'
import type { System } from './systems/system.js'

/** The names that figures and targets know the systems by. */
export const NAMES = {
  agentbus: 'agentbus',
  noLedger: 'no ledger',
  bare: 'bare BullMQ',
  bareOwnPools: 'bare BullMQ, own pools',
  pgBoss: PG_BOSS_AS_IT_COMES.name,
  pgBossTuned: PG_BOSS_TUNED.name,
  graphile: GRAPHILE_AS_IT_COMES.name,
  graphileTuned: GRAPHILE_TUNED.name,
} as const

const ALL: readonly Part[] = ['enqueue', 'rate', 'latency']
/** Who works on a job makes no difference to storing it: that is measured once for each peer. */
const WITHOUT_ENQUEUE: readonly Part[] = ['rate', 'latency']

export interface Places {
  readonly young: readonly Where[]
  /** The same with a ledger full of finished jobs; empty when none was asked for. */
  readonly old: readonly Where[]
  /** Where the peers have their tables: a database of their own on the same server. */
  readonly peers: Where
}

/** Everyone who is measured, in the order of one run. */
export function contestants(places: Places, outside: () => Outside, concurrency: number): Contestant[] {
  const local = (open: () => Promise<System>) => async (): Promise<Entry> => inProcess(await open())
  const agentbus = (where: Where, old: boolean): Contestant[] => [
    { system: NAMES.agentbus, way: 'HTTP', queues: where.queue.kind, old, parts: ALL, open: () => openAgentbusOverHttp(where, outside(), concurrency) },
    { system: NAMES.agentbus, way: 'in process', queues: where.queue.kind, old, parts: ALL, open: local(() => openAgentbus(where, concurrency)) },
  ]
  const bare = (where: Where): Contestant[] => [
    { system: NAMES.noLedger, way: 'HTTP', queues: where.queue.kind, old: false, parts: ALL, open: () => openNoLedger(where, outside(), concurrency) },
    { system: NAMES.bare, way: 'in process', queues: where.queue.kind, old: false, parts: ALL, open: local(() => openBareBullmq(where, concurrency)) },
  ]
  const peer = (system: string, queues: Contestant['queues'], parts: readonly Part[], open: () => Promise<System>): Contestant => ({
    system,
    way: 'in process',
    queues,
    old: false,
    parts,
    open: local(open),
  })
  const { peers } = places
  return [
    ...places.young.flatMap((where) => [...agentbus(where, false), ...bare(where)]),
    ...places.old.flatMap((where) => agentbus(where, true)),
    // agentbus is compared with BullMQ on PostgreSQL whatever its own queues are on.
    ...(places.young.some(({ queue }) => queue.kind === 'postgres') ? [] : [peer(NAMES.bare, 'postgres', ALL, () => openBareBullmq(peers, concurrency))]),
    peer(NAMES.bareOwnPools, 'postgres', ALL, () => openBullmqAsItComes(peers, concurrency)),
    { ...peer(NAMES.pgBoss, 'own', WITHOUT_ENQUEUE, () => openPgBoss(peers, PG_BOSS_AS_IT_COMES)), isSlow: true },
    peer(NAMES.pgBossTuned, 'own', ALL, () => openPgBoss(peers, PG_BOSS_TUNED)),
    peer(NAMES.graphile, 'own', WITHOUT_ENQUEUE, () => openGraphile(peers, GRAPHILE_AS_IT_COMES)),
    peer(NAMES.graphileTuned, 'own', ALL, () => openGraphile(peers, GRAPHILE_TUNED)),
  ]
}
