import { sql } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import { callerKey, type CommandContext } from './caller.js'
import type { Tx } from './database.js'

/**
 * Runs `work` once per (caller, Idempotency-Key): a repeat gets the first answer, and two at the same time wait for
 * each other on the primary key. The answer is written in the same transaction as the command's rows.
 * @throws AGENTBUS_IDEMPOTENCY_MISMATCH when the key came with another request before
 */
export async function onceOnly<T extends Record<string, unknown>>(tx: Tx, context: CommandContext, work: () => Promise<T>): Promise<T & { replayed?: boolean }> {
  const once = context.idempotency
  if (once === undefined) return work()
  const caller = callerKey(context.caller)
  const claimed = await tx.execute(sql`
    insert into idempotency_keys (caller, key, request_hash) values (${caller}, ${once.key}, ${once.requestHash}) on conflict do nothing returning key`)
  if (claimed.rows.length === 0) {
    const { rows } = await tx.execute<{ request_hash: string; response: T }>(sql`
      select request_hash, response from idempotency_keys where caller = ${caller} and key = ${once.key}`)
    const known = rows[0]
    if (known === undefined) throw new Error('an idempotency key vanished')
    if (known.request_hash !== once.requestHash) {
      throw new AgentbusError('AGENTBUS_IDEMPOTENCY_MISMATCH', 'This Idempotency-Key was used with another request.', { key: once.key })
    }
    return { ...known.response, replayed: true }
  }
  const result = await work()
  await tx.execute(sql`
    update idempotency_keys set response = ${JSON.stringify(result)}::json where caller = ${caller} and key = ${once.key}`)
  return result
}

/** Puts another answer in the place of the one that a repeat would get: what the command did after its transaction is part of it. */
export async function amendAnswer(tx: Tx, context: CommandContext, answer: Record<string, unknown>): Promise<void> {
  if (context.idempotency === undefined) return
  await tx.execute(sql`
    update idempotency_keys set response = ${JSON.stringify(answer)}::json where caller = ${callerKey(context.caller)} and key = ${context.idempotency.key}`)
}

/** Forgets keys older than `hours`; a repeat after that is a new request. @returns how many */
export async function forgetIdempotencyKeys(tx: Tx, hours: number): Promise<number> {
  const { rows } = await tx.execute(sql`
    with old as (select caller, key from idempotency_keys where created_at < now() - make_interval(hours => ${hours}) order by created_at limit 5000)
    delete from idempotency_keys k using old where k.caller = old.caller and k.key = old.key returning 1`)
  return rows.length
}
