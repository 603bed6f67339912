import { sql, type SQL } from 'drizzle-orm'
import type { RetentionConfig } from '../../contracts/retention.js'

export const PRUNE_KINDS = ['prompts', 'jobs', 'attempts', 'events', 'accesses', 'observations'] as const
export type PruneKind = (typeof PRUNE_KINDS)[number]

/** One kind of row, and what pruning takes out of it. */
export interface PruneRule {
  readonly kind: PruneKind
  readonly days: keyof RetentionConfig
  /**
   * Rows that are older than `before` and may go, locked, in the order of `cursor` after `after`: `key`, and `hash`, the SHA-256
   * in hex of what is taken out.
   */
  readonly candidates: (range: { readonly before: string; readonly after: string; readonly limit: number }) => SQL
  /** Takes it out of the rows with these keys. */
  readonly take: (prune: { readonly seq: number; readonly keys: readonly string[]; readonly hashes: readonly string[] }) => SQL
  /** A cursor before every other. */
  readonly first: string
  /** Whether the rows themselves go. */
  readonly deletes: boolean
}

const NIL = '00000000-0000-0000-0000-000000000000'
const listed = (prune: { readonly keys: readonly string[]; readonly hashes: readonly string[] }): SQL =>
  sql`unnest(${sql.param(prune.keys)}::text[], ${sql.param(prune.hashes)}::text[]) as w (key, hash)`

const sha = (text: SQL): SQL => sql`encode(sha256(convert_to(${text}, 'UTF8')), 'hex')`

/** A log is pruned from its beginning up to the first row that is young enough, so that what is gone is a range without a hole. */
function log(kind: 'accesses' | 'observations', days: keyof RetentionConfig): PruneRule {
  const table = sql.identifier(kind)
  return {
    kind,
    days,
    first: '0',
    deletes: true,
    candidates: ({ before, after, limit }) => sql`
      select l.id::text as cursor, l.id::text as key, ${sha(sql`to_jsonb(l)::text`)} as hash from ${table} l
      where l.id > ${after}::bigint and l.at < ${before}::timestamptz
        and l.id < coalesce((select min(y.id) from ${table} y where y.at >= ${before}::timestamptz), 9223372036854775807)
      order by l.id limit ${limit} for update`,
    take: ({ keys }) => sql`delete from ${table} where id = any(${sql.param(keys)}::bigint[])`,
  }
}

export const PRUNE_RULES: readonly PruneRule[] = [
  {
    kind: 'prompts',
    days: 'prompts_days',
    first: NIL,
    deletes: false,
    // By attempts: the text of one that is open is sent again when a worker attaches to it anew. Each text has the token of its
    // attempt in what was hashed, so no other attempt was sent the same.
    candidates: ({ before, after, limit }) => sql`
      select a.id::text as cursor, p.hash as key, p.hash from job_attempts a join prompts p on p.hash = a.prompt_hash
      where a.id > ${after}::uuid and a.finished_at < ${before}::timestamptz and p.created_at < ${before}::timestamptz and p.pruned_by is null
      order by a.id limit ${limit} for update of p`,
    take: ({ seq, keys }) => sql`update prompts set body = '', pruned_by = ${seq} where hash = any(${sql.param(keys)}::text[])`,
  },
  {
    kind: 'jobs',
    days: 'jobs_days',
    first: NIL,
    deletes: false,
    // What somebody may still need is left: a dead letter that can be retried, a result that a step or a job after it will read.
    candidates: ({ before, after, limit }) => sql`
      select j.id::text as cursor, j.id::text as key, ${sha(sql`jsonb_build_array(j.payload, j.state, j.result, j.answer)::text`)} as hash from jobs j
      where j.id > ${after}::uuid and j.finished_at < ${before}::timestamptz and j.pruned_by is null
        and (j.payload <> '{}' or j.state <> '{}' or j.result is not null or j.answer is not null)
        and (j.status in ('succeeded', 'cancelled') or j.buried_at is not null)
        and not exists (select from job_dependencies d join jobs next on next.id = d.job_id where d.depends_on_job_id = j.id and next.finished_at is null)
        and not exists (select from workflow_steps s join workflow_runs r on r.id = s.run_id where s.job_id = j.id and r.finished_at is null)
      order by j.id limit ${limit} for no key update of j`,
    take: (prune) => sql`
      update jobs set payload = '{}', state = '{}', result = null, answer = null, pruned_by = ${prune.seq}, pruned_hash = decode(w.hash, 'hex')
      from ${listed(prune)} where jobs.id = w.key::uuid`,
  },
  {
    kind: 'attempts',
    days: 'attempts_days',
    first: NIL,
    deletes: false,
    candidates: ({ before, after, limit }) => sql`
      select a.id::text as cursor, a.id::text as key, ${sha(sql`jsonb_build_array(a.hook_response, a.openclaw_meta)::text`)} as hash from job_attempts a
      where a.id > ${after}::uuid and a.finished_at < ${before}::timestamptz and a.pruned_by is null and (a.hook_response is not null or a.openclaw_meta <> '{}')
      order by a.id limit ${limit} for no key update of a`,
    take: (prune) => sql`
      update job_attempts set hook_response = null, openclaw_meta = '{}', pruned_by = ${prune.seq}, pruned_hash = decode(w.hash, 'hex')
      from ${listed(prune)} where job_attempts.id = w.key::uuid`,
  },
  {
    kind: 'events',
    days: 'events_days',
    first: '0',
    deletes: false,
    // A reaction that is still to be made reads the payload.
    candidates: ({ before, after, limit }) => sql`
      select e.id::text as cursor, e.id::text as key, ${sha(sql`e.payload::text`)} as hash from events e
      where e.id > ${after}::bigint and e.created_at < ${before}::timestamptz and e.pruned_by is null and e.payload <> '{}'
        and not exists (select from reactions r where r.event_id = e.id and r.status = 'pending')
      order by e.id limit ${limit} for no key update of e`,
    take: (prune) => sql`
      update events set payload = '{}', pruned_by = ${prune.seq}, pruned_hash = decode(w.hash, 'hex')
      from ${listed(prune)} where events.id = w.key::bigint`,
  },
  log('accesses', 'accesses_days'),
  log('observations', 'observations_days'),
]
