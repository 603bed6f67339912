/** A JSON object from outside, its fields still to be looked at. */
export type Json = Record<string, unknown>

export function asObject(value: unknown): Json {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Json) : {}
}

/** The objects of a list; nothing where there is none. */
export function rowsOf(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter((item) => item !== null && typeof item === 'object').map(asObject) : []
}
