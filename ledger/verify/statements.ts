import type pg from 'pg'
import { Findings, resultOf, type CheckResult } from './report.js'

/** What the statements of a check may depend on. */
export interface Bounds {
  /** Seconds that the reaper has after a lease has run out, and the keeper after a slot is over. */
  readonly graceSeconds: number
  /** Seconds that the relay has. */
  readonly outboxSeconds: number
  /** Only rows that changed since this time, where a table can say so; what is open is looked at in any case. */
  readonly since: string | undefined
}

/** A fault that one statement finds: it selects `kind` and the columns that name the row. */
export interface Statement {
  readonly sql: (bounds: Bounds) => string
  /** @param row the columns of the first one, and `kind` */
  readonly what: (row: Readonly<Record<string, unknown>>) => string
  readonly next: string
}

export interface SqlCheck {
  readonly name: string
  readonly statements: readonly Statement[]
}

/** `and <column> >= since`, or nothing. `since` was parsed as a time before it came here. */
export function sinceOn(column: string, { since }: Bounds): string {
  return since === undefined ? '' : `and ${column} >= '${new Date(since).toISOString()}'::timestamptz`
}

/** The same for rows that end: what is open is looked at in any case, what is over when it `changed` since. */
export function openOrSince(column: string, bounds: Bounds, changed: string = column): string {
  return bounds.since === undefined ? '' : `and (${column} is null or (true ${sinceOn(changed, bounds)}))`
}

/** Runs the statements of a check. PostgreSQL sends one row for each kind of fault, however many there are. */
export async function runStatements(client: pg.Client, check: SqlCheck, bounds: Bounds): Promise<CheckResult> {
  const findings = new Findings()
  for (const statement of check.statements) {
    const { rows } = await client.query<{ kind: string; row: Record<string, unknown>; count: number }>(`
      select distinct on (v.kind) v.kind, to_jsonb(v) - 'kind' as row, (count(*) over (partition by v.kind))::int as count
      from (${statement.sql(bounds)}) v order by v.kind, to_jsonb(v)::text`)
    for (const { kind, row, count } of rows) findings.add({ kind, row, what: statement.what({ kind, ...row }), next: statement.next }, count)
  }
  return resultOf(check.name, 0, findings)
}
