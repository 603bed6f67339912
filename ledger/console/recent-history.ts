import { sql } from 'drizzle-orm'
import type { JobId } from '../../contracts/ids.js'
import type { JobStatus } from '../../contracts/job-states.js'
import type { AttemptView } from '../../contracts/attempts.js'
import type { JobView } from '../../contracts/jobs.js'
import type { Tx } from '../database.js'
import { getJob } from '../queries.js'
import { attemptView, iso, type AttemptRow } from '../rows.js'

/** So many rows of a history are on the page of a job, the newest ones. REST gives all. */
export const HISTORY_SHOWN = 200
/** Moves on its time line; two more are read, for the end of the last one and to say that there are others. */
export const MOVES_SHOWN = 60
/** Details that take more than this where they are stored are left out: a page is read every few seconds. */
const DETAILS_BYTES = 8_192
const [ATTEMPTS, OBSERVED] = [50, 100]

export interface HistoryRow {
  readonly seq: number
  readonly kind: 'move' | 'note'
  readonly from_status: JobStatus | null
  readonly to_status: JobStatus
  readonly reason: string
  /** Its beginning. */
  readonly note: string | null
  readonly actor_kind: string
  readonly actor: string
  /** Null where they are too large for a page. */
  readonly details: Readonly<Record<string, unknown>> | null
  readonly at: string
}

export interface Move {
  readonly to_status: JobStatus
  readonly attempt_no: number | null
  readonly at: string
}

export interface Observed {
  readonly kind: string
  readonly code: string
  readonly actor_kind: string
  readonly actor: string
  readonly detail: string
  readonly at: string
}

export interface RecentHistory {
  readonly job: JobView
  /** The newest 50 attempts, and the one that was asked for. */
  readonly attempts: readonly AttemptView[]
  readonly transitions: readonly HistoryRow[]
  readonly moves: readonly Move[]
  /** What was refused or seen beside it, the newest 100. */
  readonly observations: readonly Observed[]
}

/**
 * A job with the end of its history, each list in the order it happened. However long it has been renewed and retried: what is
 * read for a page stays about the same. @throws AGENTBUS_JOB_NOT_FOUND
 */
export async function recentHistory(tx: Tx, id: JobId, only: { readonly attempt?: number | undefined } = {}): Promise<RecentHistory> {
  const job = await getJob(tx, id)
  const { rows: attempts } = await tx.execute(sql`
    select * from job_attempts where job_id = ${id}::uuid and (attempt_no = ${only.attempt ?? null}::int
      or attempt_no > (select max(attempt_no) from job_attempts where job_id = ${id}::uuid) - ${ATTEMPTS}::int) order by attempt_no`)
  const { rows: transitions } = await tx.execute(sql`
    select seq, kind, from_status, to_status, reason, left(note, 1000) as note, actor_kind, actor, at,
      case when pg_column_size(details) <= ${DETAILS_BYTES}::int then details end as details
    from job_transitions where job_id = ${id}::uuid order by seq desc limit ${HISTORY_SHOWN}`)
  const { rows: moves } = await tx.execute(sql`
    select m.to_status, m.at, a.attempt_no from (
      select seq, to_status, at, attempt_id from job_transitions where job_id = ${id}::uuid and kind = 'move' order by seq desc limit ${MOVES_SHOWN + 2}
    ) m left join job_attempts a on a.id = m.attempt_id order by m.seq`)
  const { rows: observations } = await tx.execute(sql`
    select kind, code, actor_kind, actor, left(detail, 1000) as detail, at from observations where job_id = ${id}::uuid order by id desc limit ${OBSERVED}`)
  return {
    job,
    attempts: (attempts as unknown as AttemptRow[]).map(attemptView),
    transitions: transitions.map((row) => ({ ...(row as unknown as HistoryRow), seq: Number(row['seq']), at: iso(String(row['at'])) })).reverse(),
    moves: moves.map((row) => ({
      to_status: row['to_status'] as JobStatus,
      attempt_no: row['attempt_no'] === null ? null : Number(row['attempt_no']),
      at: iso(String(row['at'])),
    })),
    observations: observations.map((row) => ({ ...(row as unknown as Observed), at: iso(String(row['at'])) })).reverse(),
  }
}
