import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { Redis } from 'ioredis'
import { isAway, sqlStateOf } from '../../ledger/database.js'
import { childrenOf, type OwnPostgres, type OwnRedis } from '../support/own-stores.js'
import type { ChaosGateway } from './gateways.js'
import type { Member } from './member.js'
import type { PlayedTrouble, ProcessName, Trouble } from './schedule.js'
import type { TcpProxy } from './tcp-proxy.js'

/** How long a process has for its end after SIGTERM: as long as Kubernetes gives it. Stores and links may be away for some seconds of it. */
export const END_MS = 30_000

/** What the nemesis has in its hands. */
export interface Victims {
  readonly members: ReadonlyMap<string, Member>
  readonly gateways: readonly ChaosGateway[]
  /** Links by name, such as `api>postgres` or `gw-1`. */
  readonly links: ReadonlyMap<string, TcpProxy>
  readonly redis: OwnRedis | undefined
  readonly postgres: OwnPostgres
  /** Past every proxy. */
  readonly db: pg.Pool
}

/** Plays the troubles at their times; each is mended by what began it. @returns when each began and was mended, once the last one is */
export async function playTroubles(troubles: readonly Trouble[], victims: Victims, tell: (trouble: Trouble) => void): Promise<PlayedTrouble[]> {
  const played: PlayedTrouble[] = []
  const startedMs = performance.now()
  // On a busy machine a mending takes longer than planned: the next trouble of the target waits for it.
  const last = new Map<string, Promise<void>>()
  for (const trouble of troubles) {
    await sleep(Math.max(0, trouble.atMs - (performance.now() - startedMs)))
    tell(trouble)
    const { target } = trouble
    last.set(
      target,
      (last.get(target) ?? Promise.resolve()).then(async () => {
        const fromMs = Date.now()
        await play(trouble, victims)
        played.push({ trouble, fromMs, untilMs: Date.now() })
      }),
    )
  }
  await Promise.all(last.values())
  return played
}

async function play(trouble: Trouble, victims: Victims): Promise<void> {
  switch (trouble.kind) {
    case 'kill':
      return found(victims.members, trouble.target).kill(trouble.forMs)
    case 'restart':
      return found(victims.members, trouble.target).end(END_MS, trouble.forMs)
    case 'pause': {
      const goOn = await stop(trouble.target, victims)
      await sleep(trouble.forMs)
      return goOn()
    }
    case 'wipe_in_pause': {
      const goOn = await stop(trouble.target, victims)
      await sleep(trouble.forMs / 2)
      const wiped = wipe(victims)
      await sleep(trouble.forMs / 2)
      goOn()
      // On the PostgreSQL backend the stopped process may hold what the wipe has to wait for.
      return wiped
    }
    case 'restart_ledger':
      process.kill(await victims.postgres.pid(), 'SIGKILL')
      await sleep(trouble.forMs)
      return victims.postgres.start()
    case 'crash_ledger': {
      const serving = await insistOn(victims.db, `select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() limit 1`)
      for (const { pid } of serving) signal(Number(pid), 'SIGKILL')
      await insistOn(victims.db, 'select 1')
      return
    }
    case 'restart_store':
      victims.redis?.process().kill('SIGKILL')
      await sleep(trouble.forMs)
      return victims.redis?.start()
    case 'wipe_store':
      return wipe(victims)
    case 'cut':
    case 'deaf': {
      const link = found(victims.links, trouble.target)
      await link.set(trouble.kind === 'deaf' ? 'deaf' : trouble.cut)
      await sleep(trouble.forMs)
      return link.set('open')
    }
    case 'gateway_dies': {
      const gateway = gatewayOf(victims, trouble.target)
      await gateway.simulator.crash()
      gateway.memoryLosses.push(Date.now())
      await sleep(trouble.forMs)
      return gateway.simulator.start()
    }
    case 'gateway_forgets': {
      const gateway = gatewayOf(victims, trouble.target)
      await gateway.proxy.set('deaf')
      await sleep(trouble.forMs)
      gateway.simulator.forget()
      gateway.memoryLosses.push(Date.now())
      return gateway.proxy.set('open')
    }
    case 'gateway_503': {
      const { simulator } = gatewayOf(victims, trouble.target)
      simulator.setFault({ status: 503, body: JSON.stringify({ ok: false, error: 'overloaded' }) })
      await sleep(trouble.forMs)
      simulator.setFault(undefined)
      return
    }
    case 'gateway_drains': {
      const { simulator } = gatewayOf(victims, trouble.target)
      simulator.setDraining(true)
      await sleep(trouble.forMs)
      simulator.setDraining(false)
      return
    }
  }
}

function found<T>(map: ReadonlyMap<string, T>, name: string): T {
  const one = map.get(name)
  if (one === undefined) throw new Error(`the nemesis knows no ${name}`)
  return one
}

function gatewayOf({ gateways }: Victims, name: string): ChaosGateway {
  const gateway = gateways.find((one) => one.name === name)
  if (gateway === undefined) throw new Error(`the nemesis knows no ${name}`)
  return gateway
}

/** Stops a process, or all of a store. @returns what lets it go on; it is the process of this moment, for no two troubles share a target */
async function stop(target: ProcessName | 'redis' | 'ledger', { members, redis, postgres }: Victims): Promise<() => void> {
  if (target === 'redis') {
    const child = redis?.process()
    child?.kill('SIGSTOP')
    return () => child?.kill('SIGCONT')
  }
  if (target !== 'ledger') {
    const member = found(members, target)
    member.signal('SIGSTOP')
    return () => member.signal('SIGCONT')
  }
  const postmaster = await postgres.pid()
  // First the one that starts the others.
  process.kill(postmaster, 'SIGSTOP')
  const stopped = [postmaster, ...childrenOf(postmaster)]
  for (const pid of stopped) signal(pid, 'SIGSTOP')
  return () => {
    for (const pid of stopped) signal(pid, 'SIGCONT')
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    // A backend ends with its connection.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

/** Asks until PostgreSQL answers. */
async function insistOn(db: pg.Pool, query: string): Promise<readonly Record<string, unknown>[]> {
  for (;;) {
    try {
      return (await db.query<Record<string, unknown>>(query)).rows
    } catch (error) {
      if (!isAway(error)) throw error
      await sleep(50)
    }
  }
}

function wipe({ redis, db }: Victims): Promise<void> {
  return redis === undefined ? wipeTables(db) : wipeRedis(redis)
}

/** Waits for a Redis that is stopped or away at the moment. */
async function wipeRedis(redis: OwnRedis): Promise<void> {
  const client = new Redis(redis.url, { maxRetriesPerRequest: null, retryStrategy: () => 100 })
  client.on('error', () => undefined)
  await client.flushall()
  client.disconnect()
}

/** Empties BullMQ's tables. Waits for a PostgreSQL that is stopped or away at the moment. */
async function wipeTables(db: pg.Pool): Promise<void> {
  for (;;) {
    try {
      const { rows } = await db.query<{ name: string }>(`select quote_ident(tablename) as name from pg_tables where schemaname = 'bullmq' and tablename not like '%migration%'`)
      await db.query(`truncate ${rows.map((row) => `bullmq.${row.name}`).join(', ')}`)
      return
    } catch (error) {
      // TRUNCATE locks table by table and can cross a worker's transaction, or wait behind one that a cut link holds open.
      const isInTheWay = sqlStateOf(error) === '40P01' || sqlStateOf(error) === '57014'
      if (!isInTheWay && !isAway(error)) throw error
      await sleep(isInTheWay ? 0 : 100)
    }
  }
}
