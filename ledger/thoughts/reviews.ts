import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../../contracts/errors.js'
import type { Db, Tx } from '../database.js'
import { mustBeAtVersion } from '../preconditions.js'
import { iso } from '../rows.js'
import type { Reviewer } from './as-reviewer.js'
import { KINDS } from './kinds.js'
import type { Kind, Rows } from './rows.js'
import { wordsHash } from './words.js'

export interface Decision<K extends Kind> {
  readonly to: Rows[K]['status']
  readonly notes?: string | undefined
  /** What else changes in the row. */
  readonly set?: SQL | undefined
  /** What has changed beside the state, as jsonb of the row `changed`; the histories of ideas and memories keep it. */
  readonly details?: SQL | undefined
}

/** Locks a row, so that of two decisions at the same time the second sees the first. @throws AGENTBUS_NOT_FOUND */
export async function lockThought<K extends Kind>(tx: Tx, kind: K, id: string): Promise<Rows[K]> {
  const { table, columns } = KINDS[kind]
  const { rows } = await tx.execute(sql`select ${sql.raw(columns)} from ${sql.raw(table)} where id = ${id}::uuid for update`)
  const row = rows[0] as unknown as Rows[K] | undefined
  if (row === undefined) throw notFound(kind, id)
  return row
}

export function notFound(kind: Kind, id: string): AgentbusError {
  return new AgentbusError('AGENTBUS_NOT_FOUND', `No ${KINDS[kind].name.toLowerCase()} has the id ${id}.`, { id })
}

/**
 * Whether a locked row is at the version that the caller has seen, and may move there.
 * @throws AGENTBUS_VERSION_MISMATCH, AGENTBUS_REVIEW_OVER
 */
export function mustMove<K extends Kind>(kind: K, row: Rows[K], to: Rows[K]['status'], ifVersion: number | undefined): void {
  const { name, moves } = KINDS[kind]
  const { id, status, last_seq }: Standing = row
  mustBeAtVersion(`${name} ${id}`, last_seq, ifVersion)
  if (moves[status]?.includes(to) === true) return
  throw new AgentbusError('AGENTBUS_REVIEW_OVER', `${name} ${id} is ${status}, and cannot become ${to}.`, { id, status, to })
}

/** What all of them have. */
interface Standing {
  readonly id: string
  readonly status: string
  readonly last_seq: number
}

/**
 * Moves a row that the caller has locked, with the row of its history. The lock makes `seq` gapless. What is legal {@link mustMove} has said.
 * @returns the row as it is since
 */
export async function decide<K extends Kind>(tx: Tx, kind: K, row: Rows[K], decision: Decision<K>, by: Reviewer): Promise<Rows[K]> {
  const { name, table, columns, status } = KINDS[kind]
  const { id, status: from }: Standing = row
  const { rows } = await tx.execute(sql`
    with changed as (
      update ${sql.raw(table)} set ${decision.set === undefined ? sql`` : sql`${decision.set},`} status = ${decision.to}::${sql.raw(status)}, last_seq = last_seq + 1,
        updated_at = clock_timestamp()
      where id = ${id}::uuid returning *
    ), logged as (${reviewOf(kind, 'changed', { from, notes: decision.notes, details: decision.details }, by)})
    select ${sql.raw(columns)} from changed`)
  const changed = rows[0] as unknown as Rows[K] | undefined
  if (changed === undefined) throw new Error(`${name} ${id} is gone under its lock`)
  return changed
}

/**
 * The part of a statement that writes the first row of the history of what its part `made` has inserted, with the hash of what that says.
 * `details` is jsonb of the row `made`.
 */
export function firstReview(kind: Kind, by: Reviewer, review: { readonly notes?: string | undefined; readonly details?: SQL | undefined } = {}): SQL {
  return reviewOf(kind, 'made', { ...review, from: undefined }, by)
}

function reviewOf(
  kind: Kind,
  source: 'made' | 'changed',
  review: { readonly from: string | undefined; readonly notes?: string | undefined; readonly details?: SQL | undefined },
  by: Reviewer,
): SQL {
  const { reviews, key, status, hasDetails } = KINDS[kind]
  const words = source === 'made' ? wordsHash(kind, source) : 'null::bytea'
  const columns = `${key}, seq, from_status, decision, notes, reviewer, job_id, attempt_id, actor_kind, actor, words_hash${hasDetails ? ', details' : ''}`
  return sql`
      insert into ${sql.raw(reviews)} (${sql.raw(columns)})
      select id, last_seq, ${review.from ?? null}::${sql.raw(status)}, status, ${review.notes ?? null}::text, ${by.agentId ?? null}::text, ${by.jobId ?? null}::uuid,
        ${by.attemptId ?? null}::uuid, ${by.actor.kind}::actor_kind, ${by.actor.id}::text, ${sql.raw(words)}${hasDetails ? sql`, ${review.details ?? sql`'{}'::jsonb`}` : sql``}
      from ${sql.raw(source)}`
}

/** Everything that was decided about one of them, in the order in which it was. */
export async function reviewsOf<R extends { readonly at: string }>(db: Db | Tx, kind: Kind, id: string): Promise<R[]> {
  const { reviews, key, hasDetails } = KINDS[kind]
  const { rows } = await db.execute(sql`
    select seq, from_status, decision, notes, reviewer, job_id, attempt_id, actor_kind, actor, at${hasDetails ? sql`, details` : sql``}
    from ${sql.raw(reviews)} where ${sql.raw(key)} = ${id}::uuid order by seq limit 10000`)
  return rows.map((row) => ({ ...(row as unknown as R), at: iso(String(row['at'])) }))
}
