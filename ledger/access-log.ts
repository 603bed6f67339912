import { sql } from 'drizzle-orm'
import { actorOf, type Caller } from './caller.js'
import type { Db } from './database.js'

export interface Access {
  /** Milliseconds since the epoch. */
  readonly atMs: number
  readonly caller: Caller
  readonly route: string
  readonly target: Record<string, unknown>
  readonly jobId?: string | undefined
  readonly status: number
}

const FLUSH_MS = 1_000
const BATCH = 500
/** What waits to be written; more than this is only counted. */
const MOST = 10_000

/**
 * Writes down who read what, in batches, after the answer: no request waits for it. When the ledger is away for long, what
 * cannot be kept is counted, and the count is a row.
 */
export class AccessLog {
  readonly #db: () => Db
  readonly #onError: (error: unknown) => void
  #waiting: Access[] = []
  #lost = 0
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #stopped = false

  constructor(options: { readonly db: () => Db; readonly onError: (error: unknown) => void }) {
    this.#db = options.db
    this.#onError = options.onError
  }

  note(access: Access): void {
    if (this.#stopped) return
    if (this.#waiting.length >= MOST) this.#lost += 1
    else this.#waiting.push(access)
    if (this.#writing === undefined) this.#timer ??= setTimeout(() => void this.flush(), this.#waiting.length >= BATCH ? 0 : FLUSH_MS)
  }

  /** Writes what waits. One at a time: who comes while it is written waits for that, and it takes what has come meanwhile along. */
  flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#writing !== undefined) return this.#writing
    if (this.#waiting.length === 0) return Promise.resolve()
    this.#writing = this.#write()
    return this.#writing
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const batch = this.#waiting.slice(0, BATCH)
        // What is lost while this is written is for the next row.
        const lost = this.#lost
        await this.#insert(batch, lost)
        this.#waiting = this.#waiting.slice(batch.length)
        this.#lost -= lost
      }
    } catch (error) {
      this.#onError(error)
      this.#timer ??= this.#stopped ? undefined : setTimeout(() => void this.flush(), FLUSH_MS)
    } finally {
      // In the same turn as the last look at what waits: who comes next begins anew.
      this.#writing = undefined
    }
  }

  async #insert(batch: readonly Access[], lost: number): Promise<void> {
    const rows = batch.map(({ atMs, caller, route, target, jobId, status }) => {
      const { kind, id } = actorOf(caller)
      return {
        at: new Date(atMs).toISOString(),
        actor_kind: kind,
        actor: id,
        agent_id: caller.role === 'agent' || caller.role === 'attempt' ? caller.agentId : null,
        attempt_id: caller.role === 'attempt' ? caller.attemptId : null,
        job_id: jobId ?? null,
        route,
        target,
        status,
      }
    })
    const last = rows.at(-1)
    if (lost > 0 && last !== undefined) {
      rows.push({ ...last, actor_kind: 'system', actor: 'agentbus', agent_id: null, attempt_id: null, job_id: null, route: 'lost', target: { reads: lost }, status: 0 })
    }
    await this.#db().execute(sql`
      insert into accesses (at, actor_kind, actor, agent_id, attempt_id, job_id, route, target, status)
      select w.at, w.actor_kind, w.actor, w.agent_id, w.attempt_id, w.job_id, w.route, w.target, w.status
      from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
        as w (at timestamptz, actor_kind actor_kind, actor text, agent_id text, attempt_id uuid, job_id uuid, route text, target jsonb, status int)`)
  }

  async stop(): Promise<void> {
    await this.flush()
    this.#stopped = true
    clearTimeout(this.#timer)
  }
}
