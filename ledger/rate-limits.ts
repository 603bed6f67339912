import { sql } from 'drizzle-orm'
import type { LimitName, LimitsConfig } from '../contracts/limits.js'
import { actorOf, agentOfCaller, type Caller } from './caller.js'
import type { Db, Tx } from './database.js'
import { limitReached, type Limits } from './limits.js'

/** How many seconds' worth may come at once. */
const BURST_SECONDS = 10
const MOST_WAIT_SECONDS = 3_600

export interface RatesDeps {
  readonly limits: Limits
  readonly run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>
  readonly read: <T>(work: (db: Db) => Promise<T>) => Promise<T>
}

/** How fast a caller may send. What it sends counts before it is looked at any further, and stays counted if it is refused then. */
export class Rates {
  readonly #deps: RatesDeps

  constructor(deps: RatesDeps) {
    this.#deps = deps
  }

  /** Jobs, each of which counts, with the bytes of each. @throws AGENTBUS_LIMIT_REACHED */
  async takeJobs(caller: Caller, jobs: readonly unknown[]): Promise<void> {
    if (jobs.length > 0) await this.#take(caller, jobs.length, jobs)
  }

  /** Anything else that is kept for good: an event, a finding, a note, an entry of a log. Its bytes count. @throws AGENTBUS_LIMIT_REACHED */
  async takeBytes(caller: Caller, body: unknown): Promise<void> {
    await this.#take(caller, 0, [body])
  }

  /**
   * Jobs that were made in this transaction of what the caller sent; nothing is counted if it does not commit.
   * @throws AGENTBUS_LIMIT_REACHED; the transaction must then not commit
   */
  async takeStarted(tx: Tx, caller: Caller, jobs: number, body: unknown): Promise<void> {
    await takeFromRates(tx, caller, await this.#deps.limits.config(tx), { jobs, bytes: Buffer.byteLength(JSON.stringify(body)) })
  }

  async #take(caller: Caller, jobs: number, bodies: readonly unknown[]): Promise<void> {
    const config = await this.#deps.read((db) => this.#deps.limits.config(db))
    if (config.jobs_per_second_per_caller === null && config.bytes_per_second_per_caller === null) return
    const bytes = bodies.reduce((sum: number, body) => sum + Buffer.byteLength(JSON.stringify(body)), 0)
    await this.#deps.run((tx) => takeFromRates(tx, caller, config, { jobs, bytes }))
  }
}

/**
 * Takes what a caller sends from its buckets, all or nothing; they are rows, so that all processes share them. What is
 * larger than a bucket passes when the bucket is full, and is paid for by waiting. The process itself is never refused.
 * @throws AGENTBUS_LIMIT_REACHED
 */
async function takeFromRates(tx: Tx, caller: Caller, config: LimitsConfig, sent: { readonly jobs: number; readonly bytes: number }): Promise<void> {
  const who = callerOf(caller)
  if (who === undefined) return
  const wanted: readonly (readonly [LimitName, number | null, number])[] = [
    ['bytes_per_second_per_caller', config.bytes_per_second_per_caller, sent.bytes],
    ['jobs_per_second_per_caller', config.jobs_per_second_per_caller, sent.jobs],
  ]
  for (const [name, rate, amount] of wanted) {
    if (rate !== null && amount > 0) await take(tx, { who, name, rate, amount })
  }
}

async function take(tx: Tx, { who, name, rate, amount }: { readonly who: string; readonly name: LimitName; readonly rate: number; readonly amount: number }): Promise<void> {
  const burst = Math.max(1, rate * BURST_SECONDS)
  const needed = Math.min(amount, burst)
  const filled = sql`least(${burst}::float8, b.tokens + ${rate}::float8 * extract(epoch from clock_timestamp() - b.filled_at)::float8)`
  const { rows } = await tx.execute(sql`
    insert into rate_buckets as b (caller, limit_name, tokens, filled_at) values (${who}, ${name}, ${burst - amount}, clock_timestamp())
    on conflict (caller, limit_name) do update set tokens = ${filled} - ${amount}::float8, filled_at = clock_timestamp() where ${filled} >= ${needed}::float8
    returning tokens`)
  if (rows.length > 0) return
  const left = await tx.execute<{ tokens: number }>(sql`select ${filled} as tokens from rate_buckets b where caller = ${who} and limit_name = ${name}`)
  const waitSeconds = Math.ceil((needed - Number(left.rows[0]?.tokens ?? 0)) / rate)
  throw limitReached(name, { of: who, max: rate, retryAfter: Math.min(MOST_WAIT_SECONDS, Math.max(1, waitSeconds)) })
}

/** An agent is one caller with all its tokens and runs; each token of an operator is one. */
function callerOf(caller: Caller): string | undefined {
  const agent = agentOfCaller(caller)
  if (agent !== undefined) return `agent ${agent}`
  return caller.role === 'internal' ? undefined : `${caller.role} ${actorOf(caller).id}`
}

/** Forgets buckets that nobody has used for an hour; one that owes, for a day. @returns how many */
export async function forgetRates(tx: Tx): Promise<number> {
  const { rows } = await tx.execute(sql`
    delete from rate_buckets
    where filled_at < clock_timestamp() - interval '1 hour' and (tokens >= 0 or filled_at < clock_timestamp() - interval '1 day') returning 1`)
  return rows.length
}
