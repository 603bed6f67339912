import { AgentbusError } from '../contracts/errors.js'
import type { AttemptId, JobId } from '../contracts/ids.js'
import type { CallerDeps } from './as-caller.js'
import { actorOf, type Caller, type CommandContext } from './caller.js'
import { checkFence, type Fenced } from './close-attempt.js'
import type { Tx } from './database.js'
import { onceOnly } from './idempotency.js'
import type { AttemptRow } from './rows.js'
import { lockJob, type LockedJob } from './transition.js'

type Deps = Pick<CallerDeps, 'run' | 'refused'>

/** Only an attempt's token closes and renews, and only for its own job. Anything else is refused, with a row. @throws AGENTBUS_FORBIDDEN */
export async function ownAttempt(deps: Deps, caller: Caller, id: JobId, what: string): Promise<AttemptId> {
  if (caller.role === 'attempt' && caller.jobId === id) return caller.attemptId
  const error = new AgentbusError(
    'AGENTBUS_FORBIDDEN',
    caller.role === 'attempt' ? 'This attempt token belongs to another job.' : `${what} needs the attempt's own token, which stands in the message that the agent was sent.`,
    { job_id: id },
  )
  await deps.refused(caller, error, { jobId: id })
  throw error
}

/**
 * What an attempt does with its own job while it holds it, once per Idempotency-Key.
 * @throws AGENTBUS_FORBIDDEN without the attempt's own token; AGENTBUS_STALE_ATTEMPT, AGENTBUS_LEASE_EXPIRED or AGENTBUS_ALREADY_CLOSED when the
 * attempt does not hold the job, each with a row
 */
export async function fenced<T extends Record<string, unknown>>(
  deps: Deps,
  context: CommandContext,
  id: JobId,
  what: string,
  work: (tx: Tx, job: LockedJob, attempt: Pick<AttemptRow, 'id'>) => Promise<T>,
): Promise<T> {
  const attemptId = await ownAttempt(deps, context.caller, id, what)
  const behindTheFence = async (tx: Tx): Promise<Fenced<T>> => {
    const job = await lockJob(tx, id)
    const fence = await checkFence(tx, job, { jobId: id, attemptId, actor: actorOf(context.caller) }, what)
    if (!fence.ok) return fence
    return { ok: true, value: await work(tx, job, fence.value) }
  }
  return onceFenced(deps, context, behindTheFence, (value) => value)
}

/** One transaction, once per Idempotency-Key, whose refusal commits with its row and is thrown only then. @returns the value as `view` shows it */
export async function onceFenced<T, V>(deps: Deps, context: CommandContext, work: (tx: Tx) => Promise<Fenced<T>>, view: (value: T) => V): Promise<V> {
  const outcome = await deps.run((tx) => onceOnly(tx, context, async () => flatten(await work(tx), view)))
  return unflatten(outcome)
}

/** A refusal as data, so that it can be stored with its Idempotency-Key and its row can commit. */
type Outcome<T> = { ok: true; value: T } | { ok: false; code: AgentbusError['code']; detail: string; fields: Record<string, unknown> }

function flatten<T, V>(answer: Fenced<T>, view: (value: T) => V): Outcome<V> {
  if (answer.ok) return { ok: true, value: view(answer.value) }
  return { ok: false, code: answer.error.code, detail: answer.error.message, fields: { ...answer.error.fields } }
}

function unflatten<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value
  throw new AgentbusError(outcome.code, outcome.detail, outcome.fields)
}
