/** Errors of the connection itself: no byte of the request has reached a gateway. */
const NEVER_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT', 'EADDRNOTAVAIL', 'ERR_INVALID_URL', 'UND_ERR_INVALID_ARG'])

/** True when the request surely never reached the gateway; false when it may have. */
export function isSurelyUndelivered(error: unknown): boolean {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.every(isSurelyUndelivered)
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? String(error.code) : ''
  if (NEVER_SENT.has(code) || /^ERR_(TLS|SSL)_|CERT|SELF_SIGNED/.test(code)) return true
  return error.cause === undefined ? false : isSurelyUndelivered(error.cause)
}

const LONGEST_MS = 3_600_000

/** `Retry-After` in milliseconds, from seconds or a date (RFC 9110 section 10.2.3), at most an hour. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined
  const text = header.trim()
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - nowMs
  if (Number.isNaN(ms)) return undefined
  return Math.min(Math.max(0, ms), LONGEST_MS)
}
