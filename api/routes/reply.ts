import type { Reply } from '../define-route.js'

export interface ReplyOptions {
  /** Whether the answer is that of an earlier request with the same idempotency key. */
  readonly replayed?: boolean | undefined
  /** The version of what was changed, for `If-Match`. */
  readonly version?: number | undefined
  readonly headers?: Readonly<Record<string, string>>
}

/** An answer with the headers that a change carries. */
export function reply(status: number, body: unknown, { replayed, version, headers }: ReplyOptions = {}): Reply {
  return {
    status,
    body,
    headers: { ...headers, ...(version === undefined ? {} : { ETag: `"${version}"` }), ...(replayed === true ? { 'Idempotency-Replayed': 'true' } : {}) },
  }
}
