import { z } from 'zod'

/**
 * PostgreSQL cannot hold U+0000, and neither it nor a JSON round trip keeps a lone surrogate; on BullMQ's
 * PostgreSQL backend such text made a job run twice. At the edge it is refused; from gateways and
 * exceptions it is cleaned, with a mark.
 */
const UNSTORABLE = /\u0000|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/
const UNSTORABLE_ALL = new RegExp(UNSTORABLE.source, 'g')

/** True when every character of `text` can be stored and read back unchanged. */
export function isStorableText(text: string): boolean {
  return !UNSTORABLE.test(text)
}

/** What replaces a character that no store can hold: U+FFFD, as Unicode recommends. */
export const REPLACEMENT = '\uFFFD'

/**
 * Makes text from outside storable: bad characters become U+FFFD, and text longer than `maxChars`
 * is cut. When anything was changed the result ends with a mark that says so.
 */
export function cleanText(text: string, maxChars = 8_000): string {
  const replaced = text.replace(UNSTORABLE_ALL, REPLACEMENT)
  const cut = replaced.length > maxChars ? replaced.slice(0, maxChars).replace(/[\uD800-\uDBFF]$/, '') : replaced
  if (cut === text) return text
  return `${cut} [cleaned by agentbus]`
}

/** Applies {@link cleanText} to every string and key of a JSON value. */
export function cleanJson(value: unknown, maxChars = 8_000): unknown {
  if (typeof value === 'string') return cleanText(value, maxChars)
  if (Array.isArray(value)) return value.map((item) => cleanJson(item, maxChars))
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [cleanText(key, 200), cleanJson(item, maxChars)]))
  }
  return value
}

/** A string that every store can hold, between `min` and `max` characters (code points, as Postgres counts). */
export function storableText({ min = 0, max }: { min?: number; max: number }) {
  return z.string().min(min).max(max).refine(isStorableText, 'contains U+0000 or a lone surrogate, which no store can hold; remove it and send again')
}

/** What a person gives as a reason: it has to say something, and blanks do not. At most `max` characters. */
export function reasonText(max: number) {
  return storableText({ min: 1, max }).refine((text) => text.trim() !== '', 'must say something')
}

export const JSON_LIMITS = { maxBytes: 131_072, maxDepth: 32, maxKeys: 5_000 } as const

/** Says what is wrong with a JSON value, or undefined when it can be stored. */
export function faultOfJson(value: unknown, depth = 0, counted = { keys: 0 }): string | undefined {
  if (depth > JSON_LIMITS.maxDepth) return `is nested deeper than ${JSON_LIMITS.maxDepth} levels`
  if (typeof value === 'string') return isStorableText(value) ? undefined : 'contains U+0000 or a lone surrogate, which no store can hold'
  if (typeof value === 'number' && !Number.isFinite(value)) return 'has a number too large for JSON, which would be stored as null'
  if (value === null || typeof value !== 'object') return undefined
  for (const [key, item] of Object.entries(value)) {
    counted.keys += 1
    if (counted.keys > JSON_LIMITS.maxKeys) return `has more than ${JSON_LIMITS.maxKeys} keys`
    if (!isStorableText(key)) return 'has a key with U+0000 or a lone surrogate'
    if (key === '__proto__') return 'has a key named __proto__'
    const fault = faultOfJson(item, depth + 1, counted)
    if (fault !== undefined) return fault
  }
  return undefined
}

/** Levels that anything read from outside may have; the JSON in it has its own, lower limit. */
const DEEPEST = 64

/**
 * Says why a value from outside must not even be looked at by a schema: it is nested so deep that walking it overflows the
 * stack, or has a key named `__proto__`, which schemas drop without a word: a filter would lose a condition that way.
 * Walks without recursion.
 */
export function faultOfShape(value: unknown): string | undefined {
  const open: { readonly value: unknown; readonly depth: number }[] = [{ value, depth: 0 }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (next.value === null || typeof next.value !== 'object') continue
    if (next.depth >= DEEPEST) return `is nested deeper than ${DEEPEST} levels`
    if (Object.hasOwn(next.value, '__proto__')) return 'has a key named __proto__'
    for (const item of Object.values(next.value)) if (item !== null && typeof item === 'object') open.push({ value: item, depth: next.depth + 1 })
  }
  return undefined
}

/**
 * A JSON object shallow enough to store, 32 levels and 5,000 keys, and of at most `maxBytes`.
 * Not a `z.record`: that drops a key named `__proto__` without a word, and what is sent is stored or refused.
 */
export function jsonObject({ maxBytes }: { readonly maxBytes: number }) {
  return z
    .custom<Record<string, unknown>>()
    .superRefine((value: unknown, ctx) => {
      const fault = value === null || typeof value !== 'object' || Array.isArray(value) ? 'must be a JSON object' : (faultOfJson(value) ?? faultOfSize(value, maxBytes))
      if (fault !== undefined) ctx.addIssue({ code: 'custom', message: fault })
    })
    .meta({ type: 'object', additionalProperties: {} })
}

/** A JSON object of at most 128 KiB. */
export const JsonObject = jsonObject({ maxBytes: JSON_LIMITS.maxBytes })
export type JsonObject = z.infer<typeof JsonObject>

function faultOfSize(value: object, maxBytes: number): string | undefined {
  return Buffer.byteLength(JSON.stringify(value)) > maxBytes ? `is larger than ${maxBytes} bytes` : undefined
}

/**
 * A time from outside, in ISO 8601 with an offset. Postgres knows no year 0 and no offset beyond 15:59:59, and a
 * time after the year 9999 could not be shown in the same form.
 */
export const Time = z.iso.datetime({ offset: true }).refine((text) => {
  const ms = Date.parse(text)
  return ms >= Date.UTC(1900, 0) && ms < Date.UTC(9999, 11, 31) && !/[+-](1[6-9]|2\d):\d\d$/.test(text)
}, 'must lie between the years 1900 and 9999, with an offset below 16 hours')
