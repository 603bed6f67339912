import type { FleetChange } from '../contracts/fleet.js'
import { canonicalJson } from './canonical.js'

/** Which fields of a definition change, and from what to what. Order of keys does not count: jsonb keeps its own. */
export function differences(before: Readonly<Record<string, unknown>> | undefined, after: Readonly<Record<string, unknown>>): FleetChange['fields'] {
  const fields: FleetChange['fields'] = {}
  for (const name of new Set([...Object.keys(before ?? {}), ...Object.keys(after)])) {
    const [from, to] = [before?.[name] ?? null, after[name] ?? null]
    if (canonicalJson(from) !== canonicalJson(to)) fields[name] = { from, to }
  }
  return fields
}
