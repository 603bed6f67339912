import { createHash } from 'node:crypto'
import type pg from 'pg'

/** Statements that get a name on connections of one kind. The hot ones are a few dozen; whatever comes after is planned each time. */
const MOST = 300
/** Texts that have come once and are waited for to come again; the oldest is forgotten first. */
const MOST_ONCE = 500

/**
 * Which statements are worth a name: those that come again. A text that is another one each time, such as one with the bounds
 * of a range in it, would take the place of one that stays, and there are only so many places: PostgreSQL keeps what has a name
 * for as long as the connection lives. Each kind of connection has names of its own, so that what is read in many forms takes
 * none from the moves of a job.
 */
export class StatementNames {
  readonly #named = new Map<string, string>()
  /** By their name, which is shorter than the text. */
  readonly #cameOnce = new Set<string>()

  /** How many there are. */
  get size(): number {
    return this.#named.size
  }

  /** The name of a statement; undefined for one that is not worth it, or not yet. */
  of(text: string): string | undefined {
    const known = this.#named.get(text)
    if (known !== undefined || this.#named.size >= MOST) return known
    const name = `ab_${createHash('sha1').update(text).digest('hex').slice(0, 20)}`
    if (!this.#cameOnce.delete(name)) {
      this.#noteFirst(name)
      return undefined
    }
    this.#named.set(text, name)
    return name
  }

  #noteFirst(name: string): void {
    const [oldest] = this.#cameOnce
    if (oldest !== undefined && this.#cameOnce.size >= MOST_ONCE) this.#cameOnce.delete(oldest)
    this.#cameOnce.add(name)
  }
}

/**
 * Makes a client prepare each statement with parameters that comes again once per connection, so that PostgreSQL parses and
 * plans it once: for the statements of a job's life that costs more than running them. Needs sessions of its own; a proxy that
 * pools by transaction must keep prepared statements apart.
 */
export function prepareStatements(client: pg.ClientBase, names: StatementNames): void {
  const query = client.query.bind(client) as (config: unknown, values?: unknown, callback?: unknown) => unknown
  const prepared = (config: unknown, values?: unknown, callback?: unknown): unknown => {
    const isStatement = config !== null && typeof config === 'object' && 'text' in config && typeof config.text === 'string' && !('name' in config && config.name !== undefined)
    if (!isStatement || !Array.isArray(values) || values.length === 0) return query(config, values, callback)
    const name = names.of(config.text as string)
    return query(name === undefined ? config : { ...config, name }, values, callback)
  }
  client.query = prepared as typeof client.query
}
