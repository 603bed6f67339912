import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError, type ErrorCode } from '../contracts/errors.js'
import { actorOf, callerKey, type Caller, type CommandContext } from './caller.js'
import type { Tx } from './database.js'
import { onceOnly } from './idempotency.js'
import type { Rates } from './rate-limits.js'

export interface CallerDeps {
  readonly run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>
  readonly refused: (caller: Caller, error: AgentbusError, about: { jobId?: string; agentId?: string }) => Promise<void>
  readonly rates: Rates
  readonly nowMs: () => number
}

/** Who a command's rows name, and for which run. */
export interface CallerRun {
  readonly key: string
  readonly actor: Actor
  readonly jobId?: string
  readonly attemptId?: string
  readonly nowMs: number
}

/**
 * One transaction in the caller's name, once per Idempotency-Key; an attempt stays open while it runs. A refusal with one
 * of the codes in `leavesARow` leaves a row.
 * @throws AGENTBUS_UNAUTHORIZED for the token of an attempt that has ended; AGENTBUS_LIMIT_REACHED when `sent` comes too fast
 */
export async function asCaller<T extends Record<string, unknown>>(
  deps: CallerDeps,
  context: CommandContext,
  leavesARow: ReadonlySet<ErrorCode>,
  work: (tx: Tx, by: CallerRun) => Promise<T>,
  options: {
    /** What a refusal is about; for an attempt its own job when left out. */
    readonly about?: { readonly jobId?: string }
    /** What counts against the caller's rate of bytes. */
    readonly sent?: unknown
    /** What is asked before an answer is given once more, for one that not everybody may have. */
    readonly again?: ((tx: Tx, answer: T) => Promise<unknown>) | undefined
  } = {},
): Promise<T & { replayed?: boolean }> {
  const { caller } = context
  const attempt = caller.role === 'attempt' ? { attemptId: caller.attemptId, jobId: caller.jobId } : {}
  try {
    if (options.sent !== undefined) await deps.rates.takeBytes(caller, options.sent)
    return await deps.run(async (tx) => {
      const answer = await onceOnly(tx, context, async () => {
        await mustBeOpen(tx, caller)
        return work(tx, { ...attempt, key: callerKey(caller), actor: actorOf(caller), nowMs: deps.nowMs() })
      })
      if (answer.replayed === true) await options.again?.(tx, answer)
      return answer
    })
  } catch (error) {
    if (error instanceof AgentbusError && leavesARow.has(error.code)) await deps.refused(caller, error, options.about ?? (caller.role === 'attempt' ? { jobId: caller.jobId } : {}))
    throw error
  }
}

/**
 * The token of an attempt dies with it. Its row is locked, so that it cannot end in the middle of this. The job's is first,
 * as in a close: rows that name the job lock it anyway, and taken after the attempt the two would wait for each other.
 */
async function mustBeOpen(tx: Tx, caller: Caller): Promise<void> {
  if (caller.role !== 'attempt') return
  await tx.execute(sql`select 1 from jobs where id = ${caller.jobId}::uuid for key share`)
  const { rows } = await tx.execute(sql`select 1 from job_attempts where id = ${caller.attemptId}::uuid and finished_at is null and leased_until > clock_timestamp() for share`)
  if (rows.length === 0) throw new AgentbusError('AGENTBUS_UNAUTHORIZED', 'The attempt of this token has ended, or its lease has run out.', { attempt_id: caller.attemptId })
}
