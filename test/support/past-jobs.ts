import { uuidv7 } from '../../contracts/ids.js'
import type { Lane } from '../../contracts/job-states.js'
import { tamper } from './verify.js'

/** All times are milliseconds since the epoch. */
export interface PastAttempt {
  readonly leased: number
  /** A note in the history of the job, written while it was queued. */
  readonly noted?: number
  /** When its gateway took it; left out when it never did. */
  readonly admitted?: number
  /** Left out while it runs. */
  readonly ended?: number
}

export interface PastJob {
  readonly lane?: Lane
  readonly made: number
  /** When it was due last; from its making on unless said. */
  readonly due?: number
  readonly attempts?: readonly PastAttempt[]
}

type Row = Record<string, unknown>
type Rows = Record<'jobs' | 'job_attempts' | 'job_transitions', Row[]>

/**
 * Jobs for `devops` with their attempts and every move, each at the time that is said. What followed an attempt that ended is the
 * next one; the last that ended succeeded. Guards and chains do not apply to what is filled in.
 */
export async function pastJobs(url: string, jobs: readonly PastJob[]): Promise<void> {
  const rows: Rows = { jobs: [], job_attempts: [], job_transitions: [] }
  jobs.forEach((job, n) => addJob(rows, job, 1 + (n % 1_000)))
  const insertions = Object.entries(rows).flatMap(([table, list]): (readonly [string, unknown[]])[] => {
    if (list.length === 0) return []
    const names = Object.keys(list[0] ?? {}).join(', ')
    return [[`insert into ${table} (${names}) select ${names} from jsonb_populate_recordset(null::${table}, $1::jsonb)`, [JSON.stringify(list)]]]
  })
  await tamper(url, ...insertions)
}

function addJob(rows: Rows, { lane = 'reactive', made, due = made, attempts = [] }: PastJob, slot: number): void {
  const at = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString())
  const id = uuidv7(made)
  let [seq, status] = [0, null as string | null]
  const row = (kind: string, to: string, reason: string, ms: number, attempt: string | null): void => {
    seq += 1
    rows.job_transitions.push({ job_id: id, seq, kind, from_status: status, to_status: to, reason, attempt_id: attempt, actor_kind: 'operator', actor: 'x', at: at(ms) })
    status = to
  }
  row('move', 'queued', 'created', made, null)
  let held: string | null = null
  attempts.forEach(({ leased, noted, admitted, ended }, n) => {
    const attempt = uuidv7(leased)
    const isLast = n === attempts.length - 1
    if (noted !== undefined) row('note', 'queued', 'held', noted, null)
    row('move', 'leased', 'leased', leased, attempt)
    if (admitted !== undefined) row('move', 'running', 'admitted', admitted, attempt)
    if (ended === undefined) held = attempt
    else if (isLast) row('move', 'succeeded', 'completed_by_agent', ended, attempt)
    else row('move', 'queued', 'retry_asked_by_agent', ended, attempt)
    rows.job_attempts.push({
      ...{ id: attempt, job_id: id, attempt_no: n + 1, agent_id: 'devops', gateway_id: 'gw', slot, lease_owner: 'w' },
      status: ended !== undefined ? (isLast ? 'succeeded' : 'failed') : admitted === undefined ? 'leased' : 'running',
      ...{ leased_at: at(leased), leased_until: at(leased + 3_600_000), deadline_at: at(leased + 3_600_000), admitted_at: at(admitted), finished_at: at(ended) },
      outcome_code: ended === undefined ? null : 'x',
      ...{ prompt_hash: 'h', contract_version: 'x', payload_hash: '' },
    })
  })
  const lastEnd = status === 'succeeded' ? attempts.at(-1)?.ended : undefined
  rows.jobs.push({
    ...{ id, target_agent: 'devops', lane, job_type: 'past', subject: 'of the past', payload_hash: '', status, last_seq: seq, created_by: 'operator:x' },
    ...{ timeout_seconds: 60, lease_seconds: 60, current_attempt_id: held, created_at: at(made), updated_at: at(made), run_after: at(due), finished_at: at(lastEnd) },
  })
}
