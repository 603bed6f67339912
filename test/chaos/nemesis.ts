import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { Redis } from 'ioredis'
import { sqlStateOf } from '../../ledger/database.js'
import type { OwnRedis } from '../support/own-stores.js'
import type { ChaosGateway } from './gateways.js'
import type { Member } from './member.js'
import type { Trouble } from './schedule.js'
import type { TcpProxy } from './tcp-proxy.js'

/** What the nemesis has in its hands. */
export interface Victims {
  readonly members: ReadonlyMap<string, Member>
  readonly gateways: readonly ChaosGateway[]
  /** Links by name, such as `api>postgres` or `gw-1`. */
  readonly links: ReadonlyMap<string, TcpProxy>
  readonly redis: OwnRedis | undefined
  /** Past every proxy. */
  readonly db: pg.Pool
}

/** Plays the troubles at their times; each is mended by what began it. Resolves when the last one is mended. */
export async function playTroubles(troubles: readonly Trouble[], victims: Victims, tell: (trouble: Trouble) => void): Promise<void> {
  const startedMs = performance.now()
  const open: Promise<void>[] = []
  for (const trouble of troubles) {
    await sleep(Math.max(0, trouble.atMs - (performance.now() - startedMs)))
    tell(trouble)
    open.push(play(trouble, victims))
  }
  await Promise.all(open)
}

async function play(trouble: Trouble, victims: Victims): Promise<void> {
  switch (trouble.kind) {
    case 'kill':
      return found(victims.members, trouble.target).kill(trouble.forMs)
    case 'pause': {
      const { redis } = victims
      if (trouble.target === 'redis') {
        // The process of this moment: a stopped one cannot be replaced by a restart, for no two troubles share a target.
        const child = redis?.process()
        child?.kill('SIGSTOP')
        await sleep(trouble.forMs)
        child?.kill('SIGCONT')
        return
      }
      const member = found(victims.members, trouble.target)
      member.signal('SIGSTOP')
      await sleep(trouble.forMs)
      member.signal('SIGCONT')
      return
    }
    case 'restart_store':
      victims.redis?.process().kill('SIGKILL')
      await sleep(trouble.forMs)
      return victims.redis?.start()
    case 'wipe_store':
      return victims.redis === undefined ? wipeTables(victims.db) : wipeRedis(victims.redis)
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
      gateway.deaths.push(Date.now())
      await sleep(trouble.forMs)
      return gateway.simulator.start()
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

/** Waits for a Redis that is stopped or away at the moment. */
async function wipeRedis(redis: OwnRedis): Promise<void> {
  const client = new Redis(redis.url, { maxRetriesPerRequest: null, retryStrategy: () => 100 })
  client.on('error', () => undefined)
  await client.flushall()
  client.disconnect()
}

/** Empties BullMQ's tables. */
async function wipeTables(db: pg.Pool): Promise<void> {
  const { rows } = await db.query<{ name: string }>(`select quote_ident(tablename) as name from pg_tables where schemaname = 'bullmq' and tablename not like '%migration%'`)
  for (;;) {
    try {
      await db.query(`truncate ${rows.map((row) => `bullmq.${row.name}`).join(', ')}`)
      return
    } catch (error) {
      // TRUNCATE locks table by table and can cross a worker's transaction, or wait behind one that a cut link holds open.
      if (sqlStateOf(error) !== '40P01' && sqlStateOf(error) !== '57014') throw error
    }
  }
}
