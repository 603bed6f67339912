import { sql } from 'drizzle-orm'

/** What may change in a memory while it is in force: its words stay as they are. */
export const CHANGING = ['expires_at', 'next_review_at', 'confidence_score'] as const
type Changing = (typeof CHANGING)[number]

/** SQL for what row `row` of memories says in one of these, as text: its history tells it so. Times are UTC with microseconds, whatever a session shows. */
export function saidOf(row: string, column: Changing): string {
  return column === 'confidence_score' ? `${row}.${column}::text` : `to_char(${row}.${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
}

const json = (row: string, column: Changing): string => (column === 'confidence_score' ? `to_jsonb(${row}.${column})` : `to_jsonb(${saidOf(row, column)})`)
const BEFORE_AND_AFTER = CHANGING.map((column) => `('${column}', ${json('earlier', column)}, ${json('changed', column)})`).join(', ')

/** What a memory begins with: the details of the first row of its history. For a statement with its row `made`. */
export const BEGINNING = sql.raw(`jsonb_build_object(${CHANGING.map((column) => `'${column}', ${json('made', column)}`).join(', ')})`)

/**
 * What a decision changes, each with what it was and what it is. For a statement that changes the row and has it as `changed`: read from the table
 * in the same statement, it is still what it was before.
 */
export const CHANGES = sql.raw(`(
        select coalesce(jsonb_object_agg(f.name, jsonb_build_object('from', f.old_value, 'to', f.new_value)), '{}'::jsonb)
        from memories earlier cross join lateral (values ${BEFORE_AND_AFTER}) f (name, old_value, new_value)
        where earlier.id = changed.id and f.old_value is distinct from f.new_value)`)

/** SQL for the newest that the history of memory `memory` says of one of these, as text. */
export function newestOf(memory: string, column: Changing): string {
  return `(select said.value #>> '{}' from (
      select r.seq, case when r.seq = 1 then r.details -> '${column}' else coalesce(r.details #> '{refreshed,${column},to}', r.details #> '{stale,${column},to}') end as value
      from memory_reviews r where r.memory_id = ${memory}.id) said
    where said.value is not null order by said.seq desc limit 1)`
}
