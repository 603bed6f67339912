import { sql, type SQL } from 'drizzle-orm'
import type { Tx } from '../database.js'
import { observe } from '../observe.js'
import type { Reviewer } from './as-reviewer.js'
import { KINDS } from './kinds.js'
import { openIn } from './moves.js'
import { firstReview } from './reviews.js'
import type { Rows } from './rows.js'

/** What anybody may say: those of one author with one key are one as long as it is open. */
type Said = Exclude<keyof Rows, 'memory'>

/** Whose it is, and by which key it is known again. */
export interface DedupeKey {
  readonly namespace: string
  readonly source_agent?: string | null | undefined
  readonly dedupe_key?: string | undefined
}

/**
 * Inserts a row with the first row of its history, or answers the open one with its dedupe key.
 * @param insert the INSERT, up to its values
 */
export async function createOnce<K extends Said>(tx: Tx, kind: K, key: DedupeKey, insert: SQL, by: Reviewer): Promise<{ readonly row: Rows[K]; readonly created: boolean }> {
  const { name, moves } = KINDS[kind]
  const { rows } = await tx.execute(sql`
    with made as (
      ${insert}
      on conflict (namespace, (coalesce(source_agent, '')), dedupe_key) where dedupe_key is not null and ${sql.raw(openIn(moves))} do nothing
      returning *
    ), logged as (${firstReview(kind, by)})
    select * from made`)
  const made = rows[0] as unknown as Rows[K] | undefined
  if (made !== undefined) return { row: made, created: true }
  const open = await openWithKey(tx, kind, key)
  // It was decided between the two statements: with its key free again, the second insert cannot conflict with it.
  if (open === undefined) return createOnce(tx, kind, key, insert, by)
  await observe(tx, {
    kind: 'drop',
    code: 'duplicate_create',
    actor: by.actor,
    jobId: by.jobId,
    attemptId: by.attemptId,
    agentId: by.agentId,
    // Not everybody who reads this may read the row: the key is a part of what it says.
    detail: `${name} ${open.id} is open under the same dedupe key; no second one was made.`,
  })
  return { row: open, created: false }
}

async function openWithKey<K extends Said>(tx: Tx, kind: K, { namespace, source_agent: source, dedupe_key: key }: DedupeKey): Promise<Rows[K] | undefined> {
  const { table, moves } = KINDS[kind]
  const { rows } = await tx.execute(sql`
    select * from ${sql.raw(table)}
    where namespace = ${namespace} and coalesce(source_agent, '') = ${source ?? ''} and dedupe_key = ${key ?? null} and ${sql.raw(openIn(moves))}`)
  return rows[0] as unknown as Rows[K] | undefined
}
