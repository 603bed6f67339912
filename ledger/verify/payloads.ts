import type pg from 'pg'
import { canonicalJson, sha256 } from '../canonical.js'
import type { Findings } from './report.js'

/** Payloads have up to 128 KiB each. */
const PAGE = 200
/** Only these write a result. Rows from before results were hashed tell none. */
const CLOSINGS = `('completed_by_agent', 'failed_by_agent', 'blocked_by_agent', 'retry_asked_by_agent', 'attempts_exhausted')`
const NIL = '00000000-0000-0000-0000-000000000000'

interface Row {
  readonly id: string
  readonly payload: unknown
  readonly payload_hash: string
  readonly pruned: boolean
  readonly job_type: string
  readonly priority: number
  readonly target_agent: string | null
  readonly capabilities: readonly string[]
  /** The details of the first row of its history, which are chained; null when that row is gone, which the check of chains tells. */
  readonly created: Readonly<Record<string, unknown>> | null
  readonly result: unknown
  /** The hash of the result by the last row of its history that tells one. */
  readonly result_said: string | null
  /** Whether any row of its history is an agent's word on how it went. */
  readonly was_closed: boolean
}

/**
 * Each job is what it was created as: its payload has the hash that the first row of its history says, and the columns that
 * never change are as that row says. Its result has the hash that the row of its closing says. With `since`, open jobs are looked at in any case. A payload that was pruned is the affair
 * of the check of prunes; its hash is not.
 */
export async function walkPayloads(
  client: pg.Client,
  options: {
    readonly from: string | undefined
    readonly since: string | undefined
    readonly findings: Findings
    readonly onPage: (position: string, rows: number) => Promise<void>
  },
): Promise<void> {
  let position = options.from ?? NIL
  for (;;) {
    const { rows } = await client.query<Row>(
      `select j.id, j.payload, j.payload_hash, j.pruned_by is not null as pruned, j.job_type, j.priority, j.target_agent, j.capabilities, t.details as created,
         j.result, r.said as result_said,
         j.result is not null and exists (select from job_transitions c where c.job_id = j.id and c.reason in ${CLOSINGS}) as was_closed
       from jobs j left join job_transitions t on t.job_id = j.id and t.seq = 1
         left join lateral (select h.details ->> 'result_hash' as said from job_transitions h where h.job_id = j.id and h.details ? 'result_hash' order by h.seq desc limit 1) r on true
       where j.id > $1::uuid and ($2::timestamptz is null or j.updated_at >= $2 or j.finished_at is null) order by j.id limit ${PAGE}`,
      [position, options.since ?? null],
    )
    for (const row of rows) checkJob(row, options.findings)
    position = rows.at(-1)?.id ?? position
    if (rows.length > 0) await options.onPage(position, rows.length)
    if (rows.length < PAGE) return
  }
}

const BELIEVE = 'The history of the job is chained: believe it, and restore the job from a backup.'

function checkJob(job: Row, findings: Findings): void {
  const said = job.created === null ? job.payload_hash : job.created['payload_hash']
  const row = { job_id: job.id, payload_hash: job.payload_hash, history_says: said ?? null }
  if (!job.pruned && sha256(canonicalJson(job.payload)) !== said) {
    findings.add({
      kind: 'payload_changed',
      what: `The payload of job ${job.id} is not the one it was created with: it does not have the hash ${String(said)}.`,
      row,
      next: 'Restore the payload from a backup; its hash tells when it is the right one.',
    })
  }
  if (job.payload_hash !== said) {
    findings.add({
      kind: 'payload_hash_changed',
      what: `Job ${job.id} says that its payload has the hash ${job.payload_hash}; the first row of its history says ${String(said)}.`,
      row,
      next: BELIEVE,
    })
  }
  if (!job.pruned && (job.result_said === null ? job.result !== null && !job.was_closed : sha256(canonicalJson(job.result)) !== job.result_said)) {
    findings.add({
      kind: 'result_changed',
      what:
        job.result_said === null
          ? `Job ${job.id} has a result, and no row of its history says that an agent gave one.`
          : `The result of job ${job.id} is not the one that its agent gave: it does not have the hash ${job.result_said}.`,
      row: { job_id: job.id, history_says: job.result_said },
      next: 'Restore the result from a backup; its hash tells when it is the right one.',
    })
  }
  const changed = job.created === null ? [] : changedColumns(job, job.created)
  if (changed.length > 0) {
    findings.add({
      kind: 'job_not_as_created',
      what: `Job ${job.id} is not as it was created: the first row of its history says otherwise of ${changed.join(', ')}.`,
      row: { job_id: job.id, changed },
      next: BELIEVE,
    })
  }
}

/** The columns that nothing changes, and that the first row tells. A job that named capabilities is given to one agent after another. */
function changedColumns(job: Row, created: Readonly<Record<string, unknown>>): string[] {
  const same = {
    job_type: job.job_type === created['job_type'],
    priority: job.priority === created['priority'],
    capabilities: canonicalJson(job.capabilities) === canonicalJson(created['capabilities'] ?? []),
    target_agent: job.capabilities.length > 0 || job.target_agent === created['target_agent'],
  }
  return Object.entries(same).flatMap(([column, isSame]) => (isSame ? [] : [column]))
}
