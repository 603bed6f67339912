import { randomBytes } from 'node:crypto'
import { z } from 'zod'

/** In capitals it is the same id (RFC 9562 section 4); here, as in the ledger, it is spelled small, so that ids can be compared as text. */
export const uuid = () => z.uuid().toLowerCase()

/** Ids are branded so that a job id cannot be passed where an attempt id is meant. */
export const JobId = uuid().brand<'JobId'>()
export type JobId = z.infer<typeof JobId>

export const AttemptId = uuid().brand<'AttemptId'>()
export type AttemptId = z.infer<typeof AttemptId>

/** A bigint of Postgres, as text. */
export const EventId = z.coerce
  .string()
  .regex(/^[1-9][0-9]{0,18}$/, { abort: true })
  .refine((text) => BigInt(text) < 2n ** 63n, 'is larger than an event id can be')
  .brand<'EventId'>()
export type EventId = z.infer<typeof EventId>

export const TokenId = uuid().brand<'TokenId'>()
export type TokenId = z.infer<typeof TokenId>

/**
 * The characters an agent or gateway id may have. Narrow on purpose: an id becomes a queue name (BullMQ
 * forbids `:`), a log field, a URL segment and a folder name, and must mean the same in all of them.
 */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

export const AgentId = z.string().regex(NAME, 'letters, digits, dot, underscore and hyphen; first a letter or digit; at most 63').brand<'AgentId'>()
export type AgentId = z.infer<typeof AgentId>

export const GatewayId = z.string().regex(NAME, 'letters, digits, dot, underscore and hyphen; first a letter or digit; at most 63').brand<'GatewayId'>()
export type GatewayId = z.infer<typeof GatewayId>

export const Namespace = z.string().regex(NAME, 'letters, digits, dot, underscore and hyphen; first a letter or digit; at most 63')
export type Namespace = z.infer<typeof Namespace>

/**
 * A time-ordered UUID (version 7, RFC 9562 section 5.7), so that rows inserted together lie together in
 * the primary-key index. `nowMs` is milliseconds since the epoch.
 */
export function uuidv7(nowMs: number): string {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(nowMs, 0, 6)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x70
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
