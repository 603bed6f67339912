import { createHash } from 'node:crypto'
import type pg from 'pg'

/** Distinct statements that get a name. The hot ones are a few dozen; whatever comes after is planned each time. */
const MOST = 300

const names = new Map<string, string>()

function nameOf(text: string): string | undefined {
  const known = names.get(text)
  if (known !== undefined) return known
  if (names.size >= MOST) return undefined
  const name = `ab_${createHash('sha1').update(text).digest('hex').slice(0, 20)}`
  names.set(text, name)
  return name
}

/**
 * Makes a client prepare each statement with parameters once per connection, so that PostgreSQL parses and plans it once:
 * for the statements of a job's life that costs more than running them. Needs sessions of its own; a proxy that pools by
 * transaction must keep prepared statements apart.
 */
export function prepareStatements(client: pg.ClientBase): void {
  const query = client.query.bind(client) as (config: unknown, values?: unknown, callback?: unknown) => unknown
  const prepared = (config: unknown, values?: unknown, callback?: unknown): unknown => {
    const isStatement = config !== null && typeof config === 'object' && 'text' in config && typeof config.text === 'string' && !('name' in config && config.name !== undefined)
    if (!isStatement || !Array.isArray(values) || values.length === 0) return query(config, values, callback)
    const name = nameOf(config.text as string)
    return query(name === undefined ? config : { ...config, name }, values, callback)
  }
  client.query = prepared as typeof client.query
}
