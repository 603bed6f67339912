import { z } from 'zod'

/** Every state a job can be in. docs/lifecycle.md says what each means; its diagram is tested against this file. */
export const JOB_STATUSES = ['waiting', 'queued', 'leased', 'running', 'blocked', 'succeeded', 'failed', 'dead', 'cancelled'] as const
export const JobStatus = z.enum(JOB_STATUSES)
export type JobStatus = z.infer<typeof JobStatus>

/**
 * The legal moves, from → to. The same table stands in the database, in `job_move_is_legal`; a test compares both.
 *
 * waiting → queued: the last dependency succeeded, or an operator overrode the wait
 * waiting → blocked: a dependency ended without success
 * queued → blocked: allowed by the table; nothing writes it today
 * queued → leased: a worker took the job and opened an attempt
 * leased → queued: undelivered (no attempt burned), given back, retried, or forced by an operator
 * leased → running: the gateway admitted the run
 * leased → succeeded | blocked | failed | dead: a fast agent closed before the admission was written, or as below
 * leased | running → blocked: also when the gateway refused the hook (3xx, or a 4xx that helps nobody to send again), or a lost run is not to be repeated
 * running → queued: the attempt failed, was lost or timed out, and another may follow; or forced by an operator
 * running → succeeded | blocked | failed | dead: closed by the agent, or attempts used up
 * any open state → dead: an operator gave it up; an attempt that holds it is cut off by `force-dead`, and by nothing else
 * blocked → queued: what it waited for arrived, somebody answered, or an operator retried
 * any open state → cancelled: by an operator, or by a dependency that ended without success
 * failed | dead | cancelled → queued: an operator retried
 */
export const LEGAL_MOVES: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  waiting: ['queued', 'blocked', 'cancelled', 'dead'],
  queued: ['leased', 'blocked', 'dead', 'cancelled'],
  leased: ['queued', 'running', 'succeeded', 'blocked', 'failed', 'dead', 'cancelled'],
  running: ['queued', 'succeeded', 'blocked', 'failed', 'dead', 'cancelled'],
  blocked: ['queued', 'dead', 'cancelled'],
  succeeded: [],
  failed: ['queued'],
  dead: ['queued'],
  cancelled: ['queued'],
}

/** True when a job may move from `from` to `to`. */
export function canMove(from: JobStatus, to: JobStatus): boolean {
  return LEGAL_MOVES[from].includes(to)
}

export const TERMINAL_STATUSES = ['succeeded', 'failed', 'dead', 'cancelled'] as const satisfies readonly JobStatus[]
export const OPEN_STATUSES = ['waiting', 'queued', 'leased', 'running', 'blocked'] as const satisfies readonly JobStatus[]

/** True for a state that only an operator can leave. */
export function isTerminal(status: JobStatus): boolean {
  return (TERMINAL_STATUSES as readonly JobStatus[]).includes(status)
}

export const ATTEMPT_STATUSES = ['leased', 'running', 'succeeded', 'blocked', 'failed', 'timed_out', 'lost', 'cancelled', 'released'] as const
export const AttemptStatus = z.enum(ATTEMPT_STATUSES)
export type AttemptStatus = z.infer<typeof AttemptStatus>

export const LANES = ['reactive', 'scheduled', 'proactive', 'memory', 'idle', 'coding'] as const
export const Lane = z.enum(LANES)
export type Lane = z.infer<typeof Lane>

export const OnLost = z.enum(['retry', 'block'])
export type OnLost = z.infer<typeof OnLost>

export const OnDependencyDeath = z.enum(['block', 'cancel', 'run'])
export type OnDependencyDeath = z.infer<typeof OnDependencyDeath>

/**
 * Why a row was appended to a job's history. Moves change the state; notes leave it as it is.
 * The codes are an interface: audit queries filter on them.
 */
export const TRANSITION_REASONS = [
  // moves
  'created',
  'dependencies_met',
  'dependency_died',
  'leased',
  'admitted',
  'completed_by_agent',
  'blocked_by_agent',
  'failed_by_agent',
  'retry_asked_by_agent',
  'ended_without_terminal_write',
  'deadline_exceeded',
  'lease_expired',
  'run_lost',
  'undelivered',
  'refused_by_gateway',
  'attempts_exhausted',
  'unblocked',
  'look_again',
  'condition_met',
  'operator_retry',
  'operator_dead',
  'cancelled',
  'released',
  // notes
  'progress',
  'marked_running',
  'lease_renewed',
  'reattached',
  'held',
  'pause_ended',
  'late_answer_refused',
  'close_repeated',
  'run_replaced',
  'requeued_by_reconciler',
  'queue_entry_dropped',
  'outside_change',
  'duplicate_create',
  'assigned',
  'given_back',
  'escalated',
  'answered',
  'buried',
] as const
export const TransitionReason = z.enum(TRANSITION_REASONS)
export type TransitionReason = z.infer<typeof TransitionReason>

/**
 * Reasons that nothing writes. A late answer, a repeated close, a dropped queue entry and a repeated create change nothing of a job,
 * and of some there is no job: they are rows of the observations, not of its history. The names stay because the migrations have
 * made them values of the PostgreSQL enum `transition_reason`, from which none can be taken out again.
 */
export const UNWRITTEN_REASONS = ['late_answer_refused', 'close_repeated', 'queue_entry_dropped', 'duplicate_create'] as const satisfies readonly TransitionReason[]
/** What a row of a job's history can be written for. */
export type WrittenReason = Exclude<TransitionReason, (typeof UNWRITTEN_REASONS)[number]>
