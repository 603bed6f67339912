import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import { LimitsConfig, type LimitName } from '../contracts/limits.js'
import type { Lane } from '../contracts/job-states.js'
import type { Db, Tx } from './database.js'
import { readPolicy } from './policies.js'
import { ageOf } from './remembered.js'

/** What a limit needs to know of a job, made or to be made. */
export interface Counted {
  readonly target_agent?: string | null | undefined
  readonly lane: Lane
  readonly source_agent?: string | null | undefined
}

/** One limit on what is open, and how many jobs more are meant. */
interface Measure {
  readonly name: LimitName
  /** The agent or lane; null for jobs that no agent has been found for. */
  readonly of: string | null
  readonly max: number
  more: number
}

interface Room {
  /** Jobs that may be made before it is counted again. */
  left: number
  /** What `left` began with: 0 when the limit is near, and each job has to be counted. */
  readonly given: number
  /** Given out in the last moments, maybe not yet committed, so that no count sees it. */
  readonly outstanding: number
  readonly max: number
  /** When it was counted. */
  readonly askedMs: number
}

export interface LimitsOptions {
  readonly nowMs: () => number
  /** Reads outside of any transaction. Without it nothing is asked before somebody has to wait for it. */
  readonly read?: <T>(work: (db: Db) => Promise<T>) => Promise<T>
}

/** Of the room that was counted, this part may be used before it is counted again: so many processes may do so at once. */
const SHARE = 8
/** Less than this is no ample room: what is being written at the same moment is not counted yet. */
const LEAST_LEFT = 32
const MOST_KEYS = 10_000

/**
 * The limits on how much work is open. While there is ample room a job costs nothing but a look in memory, and a count once
 * a second that it does not wait for; near the limit each is counted under a lock, so that the limit is never passed, however
 * many come at once. A count stops one beyond the limit, and reads an index of open jobs only.
 */
export class Limits {
  readonly #options: LimitsOptions
  readonly #rooms = new Map<string, Room>()
  #config: { readonly value: LimitsConfig; readonly askedMs: number } | undefined
  /** Another one after each change of the rules: what was asked before it is not kept. */
  #era = 0
  /** What is being asked beside those who use it. */
  readonly #asking = new Set<string>()

  constructor(options: LimitsOptions) {
    this.#options = options
  }

  /** The rules may have changed. */
  forget(): void {
    this.#era += 1
    this.#config = undefined
    this.#rooms.clear()
  }

  async config(db: Db | Tx): Promise<LimitsConfig> {
    const known = this.#config
    const age = known === undefined ? 'old' : ageOf(known.askedMs, this.#options.nowMs())
    if (known === undefined || age === 'old') return this.#readConfig(db)
    if (age === 'ageing') this.#askBeside('config', (outside) => this.#readConfig(outside))
    return known.value
  }

  async #readConfig(db: Db | Tx): Promise<LimitsConfig> {
    const { askedMs, era } = this.#now()
    const { config } = await readPolicy(db, 'limits')
    if (era === this.#era) this.#config = { value: config, askedMs }
    return config
  }

  #now(): { readonly askedMs: number; readonly era: number } {
    return { askedMs: this.#options.nowMs(), era: this.#era }
  }

  /** Whoever needs it has an answer that is good still, and does not wait. When this fails, the next one that has to ask is told. */
  #askBeside(what: string, work: (db: Db) => Promise<unknown>): void {
    const { read } = this.#options
    if (read === undefined || this.#asking.has(what)) return
    this.#asking.add(what)
    void read(work)
      .catch(() => undefined)
      .finally(() => this.#asking.delete(what))
  }

  /** Whether there is ample room for these jobs; if so it is taken. False means: they have to be counted. */
  async hasRoom(db: Db | Tx, jobs: readonly Counted[]): Promise<boolean> {
    const measures = measuresOf(await this.config(db), jobs)
    const rooms: { readonly room: Room; readonly more: number }[] = []
    for (const measure of measures) rooms.push({ room: await this.#room(db, measure), more: measure.more })
    if (rooms.some(({ room, more }) => room.left < more)) return false
    for (const { room, more } of rooms) room.left -= more
    return true
  }

  async #room(db: Db | Tx, measure: Measure): Promise<Room> {
    const key = keyOf(measure)
    const known = this.#rooms.get(key)
    const isUsedUp = known !== undefined && known.given > 0 && known.left < measure.more
    const age = known === undefined || isUsedUp || known.max !== measure.max ? 'old' : ageOf(known.askedMs, this.#options.nowMs())
    if (known === undefined || age === 'old') {
      return this.#count(db, measure, known, () => (known === undefined || !isUsedUp ? 0 : known.outstanding + known.given - known.left))
    }
    // All that it gives out until then may be missing in the count.
    if (age === 'ageing') this.#askBeside(key, (outside) => this.#count(outside, measure, known, () => known.given - known.left))
    return known
  }

  /** Counts anew in place of `known`; `outstanding` tells at the end what may be missing in the count. */
  async #count(db: Db | Tx, measure: Measure, known: Room | undefined, outstanding: () => number): Promise<Room> {
    const key = keyOf(measure)
    const { askedMs, era } = this.#now()
    const open = await count(db, measure)
    const meanwhile = this.#rooms.get(key)
    // Others have counted at the same time: what they have taken since is missing in this count.
    if (meanwhile !== undefined && meanwhile !== known) return meanwhile
    const missing = outstanding()
    const share = Math.floor((measure.max - open - missing) / SHARE)
    const left = share < LEAST_LEFT ? 0 : share
    const room = { left, given: left, outstanding: missing, max: measure.max, askedMs }
    // Of what is given out here the next count would know nothing: whoever asked is counted under the lock.
    if (era !== this.#era) return { ...room, left: 0, given: 0 }
    if (this.#rooms.size >= MOST_KEYS) this.#rooms.clear()
    this.#rooms.set(key, room)
    return room
  }

  /**
   * Holds jobs that this transaction has made against the limits. @throws AGENTBUS_LIMIT_REACHED when they are too many;
   * the transaction must then not commit
   */
  async mustFit(tx: Tx, made: readonly Counted[]): Promise<void> {
    if (made.length === 0 || (await this.hasRoom(tx, made))) return
    const refused = await this.#refusal(tx, made, 0)
    if (refused !== undefined) throw refused
  }

  /** Why these jobs may not be made now; undefined when they may, and then nobody else takes their place before this transaction ends. */
  async refusalFor(tx: Tx, wanted: readonly Counted[]): Promise<AgentbusError | undefined> {
    return (await this.hasRoom(tx, wanted)) ? undefined : this.#refusal(tx, wanted, 1)
  }

  async #refusal(tx: Tx, jobs: readonly Counted[], notYetMade: 0 | 1): Promise<AgentbusError | undefined> {
    const config = await this.config(tx)
    // In one order, so that two that need the same locks do not wait for each other.
    for (const measure of measuresOf(config, jobs).toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))) {
      await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`limit:${keyOf(measure)}`}, 0))`)
      if ((await count(tx, measure)) + notYetMade * measure.more <= measure.max) continue
      return limitReached(measure.name, { of: measure.of, max: measure.max, retryAfter: config.retry_after_seconds })
    }
    return undefined
  }
}

export function limitReached(name: LimitName, what: { readonly of: string | null; readonly max: number; readonly retryAfter: number }): AgentbusError {
  const of = what.of === null ? 'jobs that wait for an able agent' : what.of
  return new AgentbusError('AGENTBUS_LIMIT_REACHED', `${name} of ${of} is ${what.max}; this would pass it.`, {
    limit: name,
    of: what.of,
    max: what.max,
    retry_after: what.retryAfter,
  })
}

function keyOf({ name, of }: Measure): string {
  return `${name}\n${of ?? ''}`
}

function measuresOf(config: LimitsConfig, jobs: readonly Counted[]): Measure[] {
  const measures = new Map<string, Measure>()
  const add = (name: LimitName, of: string | null, max: number | null): void => {
    if (max === null) return
    const key = `${name}\n${of ?? ''}`
    const known = measures.get(key)
    if (known === undefined) measures.set(key, { name, of, max, more: 1 })
    else known.more += 1
  }
  const own = (agent: string) => (Object.hasOwn(config.agents, agent) ? config.agents[agent as keyof typeof config.agents] : undefined)
  for (const { target_agent: target, lane, source_agent: source } of jobs) {
    const depth = target === null || target === undefined ? undefined : own(target)?.queue_depth
    add('queue_depth_per_agent', target ?? null, depth === undefined ? config.queue_depth_per_agent : depth)
    const ofLane = config.lanes[lane]
    add('queue_depth_per_lane', lane, ofLane === undefined ? config.queue_depth_per_lane : ofLane)
    if (source === null || source === undefined) continue
    const open = own(source)?.open_jobs
    add('open_jobs_per_source', source, open === undefined ? config.open_jobs_per_source : open)
  }
  return [...measures.values()]
}

/** How many there are, or one more than the limit. */
async function count(db: Db | Tx, measure: Measure): Promise<number> {
  const { rows } = await db.execute<{ n: number }>(sql`
    select count(*)::int as n from (select 1 from jobs where finished_at is null and ${counted(measure)} limit ${measure.max + 1}) as open`)
  return rows[0]?.n ?? 0
}

/** Each is answered by one partial index of open jobs: jobs_open_idx, jobs_open_lane_idx, jobs_open_source_idx. */
function counted({ name, of }: Measure): SQL {
  if (name === 'queue_depth_per_lane') return sql`lane = ${of}::lane and status in ('queued', 'waiting')`
  if (name === 'open_jobs_per_source') return sql`source_agent is not null and source_agent = ${of}`
  return of === null ? sql`target_agent is null and status in ('queued', 'waiting')` : sql`target_agent = ${of} and status in ('queued', 'waiting')`
}

const inForce = new WeakMap<Tx, Limits>()

/** Says which limits hold in a transaction. */
export function putLimits(tx: Tx, limits: Limits): void {
  inForce.set(tx, limits)
}

/** The limits of a transaction; one that nobody has given any counts by itself. */
export function limitsOf(tx: Tx): Limits {
  return inForce.get(tx) ?? new Limits({ nowMs: () => 0 })
}
