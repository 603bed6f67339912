import { z } from 'zod'
import { ApprovalId } from '../../contracts/approvals.js'
import { CancelFlowBody, ResumeBody, SetControlBody } from '../../contracts/controls.js'
import { AgentbusError } from '../../contracts/errors.js'
import { JobId } from '../../contracts/ids.js'
import { LIMITS } from '../../contracts/request-limits.js'
import { JsonObject, reasonText } from '../../contracts/text.js'
import { canonicalJson, sha256 } from '../../ledger/canonical.js'
import type { CommandContext } from '../../ledger/caller.js'
import { amendAnswer, onceOnly } from '../../ledger/idempotency.js'
import type { Ledger } from '../../ledger/ledger.js'
import { ALERT_ACTIONS } from './alert-actions.js'
import { action, jobAction, parsed, type Action, type ActionDeps, type Told } from './action.js'
import { nameOf } from './control-parts.js'

/** Jobs that one click may change. */
export const BULK_LIMIT = 500

const reason = reasonText(LIMITS.reason)
const aJob = z.object({ id: JobId, reason })
const again = aJob.extend({ extra_attempts: z.coerce.number().int().min(1).max(100).default(1) })
const short = (id: string): string => id.slice(0, 8)

const StopForm = z.object({
  /** Action and scope, such as `pause lane`. */
  what: z.string().regex(/^[a-z]+ [a-z]+$/),
  target: z.string().default(''),
  for_seconds: z.string().default(''),
  running: z.string().default('leave'),
  replace: z.literal('yes').optional(),
  reason,
})

/** Puts a control in force, as REST does. What a form cannot leave out is left out here when it is empty. */
async function stop({ what, target, for_seconds: seconds, replace, ...rest }: z.infer<typeof StopForm>, { ledger, context }: ActionDeps): Promise<Told> {
  const [kind, scope] = what.split(' ')
  const body = parsed(SetControlBody, {
    ...rest,
    action: kind,
    scope,
    replace: replace === 'yes',
    ...(target.trim() === '' ? {} : { target: target.trim() }),
    ...(seconds === '' ? {} : { for_seconds: Number(seconds) }),
  })
  const { control, changed, cancelled } = await ledger.controls.set(context, body)
  const name = control === null ? what : nameOf(control)
  return { message: `${name}: ${changed ? `${kind} is in force` : 'it was in force already'}${cancelled > 0 ? `, ${cancelled} cancelled` : ''}.` }
}

/** Every change that a page can ask for. Each is the command that REST has, in the name of a person at the board. */
export const ACTIONS: ReadonlyMap<string, Action> = new Map([
  [
    'retry',
    jobAction(again, async ({ id, ...body }, { ledger, context }) => {
      await ledger.jobs.retry(context, id, body)
      return { message: `Job ${short(id)} is queued again.` }
    }),
  ],
  [
    'force-retry',
    jobAction(again, async ({ id, ...body }, { ledger, context }) => {
      await ledger.jobs.retry(context, id, { ...body, force: true })
      return { message: `Job ${short(id)} is queued again, whatever it was doing.` }
    }),
  ],
  [
    'force-dead',
    jobAction(aJob, async ({ id, reason }, { ledger, context }) => {
      await ledger.jobs.forceDead(context, id, reason)
      return { message: `Job ${short(id)} is a dead letter.` }
    }),
  ],
  [
    'cancel',
    jobAction(aJob, async ({ id, reason }, { ledger, context }) => {
      await ledger.jobs.cancel(context, id, reason)
      return { message: `Job ${short(id)} is cancelled.` }
    }),
  ],
  [
    'bury',
    jobAction(aJob, async ({ id, reason }, { ledger, context }) => {
      await ledger.jobs.bury(context, id, reason)
      return { message: `Job ${short(id)} is buried.` }
    }),
  ],
  [
    'promote',
    jobAction(aJob, async ({ id, reason }, { ledger, context }) => {
      await ledger.jobs.promote(context, id, reason)
      return { message: `Job ${short(id)} is due now.` }
    }),
  ],
  [
    'unblock',
    jobAction(aJob.extend({ answer: z.string().max(131_072).default('') }), async ({ id, reason, answer }, { ledger, context }) => {
      await ledger.handOffs.unblock(context, id, { reason, answer: answerOf(answer) })
      return { message: `Job ${short(id)} is answered and queued again.` }
    }),
  ],
  [
    'approve',
    action(z.object({ id: ApprovalId, reason }), async ({ id, reason }, { ledger, context }) => {
      const { approval } = await ledger.handOffs.decide(context, id, 'approved', reason)
      return { message: `Approved: ${approval.subject.slice(0, 120)}` }
    }),
  ],
  [
    'reject',
    action(z.object({ id: ApprovalId, reason }), async ({ id, reason }, { ledger, context }) => {
      const { approval } = await ledger.handOffs.decide(context, id, 'rejected', reason)
      return { message: `Denied: ${approval.subject.slice(0, 120)}` }
    }),
  ],
  ...ALERT_ACTIONS,
  ['stop', action(StopForm, stop)],
  [
    'resume',
    action(z.object({ scope: z.string(), target: z.string().optional(), reason }), async ({ target, ...body }, { ledger, context }) => {
      const { control, changed } = await ledger.controls.resume(context, parsed(ResumeBody, { ...body, ...(target === undefined || target === '' ? {} : { target }) }))
      return { message: changed && control !== null ? `${nameOf(control)} goes on.` : 'Nothing was in force there.' }
    }),
  ],
  [
    'cancel-flow',
    action(
      z.object({ by: z.enum(['correlation_key', 'flow_key', 'workflow_run_id', 'job_id']), value: z.string(), namespace: z.string().default(''), running: z.string(), reason }),
      async ({ by, value, namespace, ...body }, { ledger, context }) => {
        const where = namespace.trim() === '' ? {} : { namespace: namespace.trim() }
        // The key is taken before it is known whether there is anything of that name: one that was mistyped and is put right is another flow.
        const { cancelled, left_running: left } = await ledger.controls.cancelFlow(asWhole(context), parsed(CancelFlowBody, { ...body, ...where, [by]: value.trim() }))
        return { message: `${cancelled} ${cancelled === 1 ? 'job is' : 'jobs are'} cancelled${left > 0 ? `, ${left} left to run` : ''}.` }
      },
    ),
  ],
  [
    'dead-letters',
    action(
      z.object({
        what: z.enum(['retry', 'bury']),
        ids: manyIds(),
        /** The key of a cause: all its letters, as they are now. */
        cause: z
          .string()
          .regex(/^[0-9a-f]{64}$/)
          .optional(),
        agent: z.string().max(100).optional(),
        reason,
      }),
      inBulk,
    ),
  ],
])

/** One box or many: a form sends a single value as text. */
function manyIds() {
  return z.preprocess((value): unknown => (value === undefined ? [] : Array.isArray(value) ? value : [value]), z.array(JobId).max(BULK_LIMIT))
}

/** What is kept under the key of a form about many jobs: those it meant when it came first, and the answer as soon as there is one. */
type Bulk = { readonly ids: readonly JobId[]; readonly message?: string }

/**
 * Those that were chosen, or all of one cause as it stands now. One that is refused stops no other; a ledger that is away does.
 * The same form sent again is about the same jobs, whatever has joined or left the cause since, and has the same answer. As long
 * as all were refused there is none to keep: they are tried again.
 */
async function inBulk(
  input: { readonly what: 'retry' | 'bury'; readonly ids: readonly JobId[]; readonly cause?: string | undefined; readonly agent?: string | undefined; readonly reason: string },
  { ledger, context }: ActionDeps,
): Promise<Told> {
  const form = asWhole(context)
  // Before the transaction, which would hold a connection while this read waits for its turn and for one of its own.
  const meant = input.cause === undefined ? input.ids : await idsOf(ledger, input.cause, input.agent)
  const { ids, message: answered } = await ledger.run((tx) =>
    onceOnly<Bulk>(tx, form, async () => {
      if (meant.length === 0) throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'No dead letter is chosen.')
      return { ids: meant }
    }),
  )
  if (answered !== undefined) return { message: answered }
  let done = 0
  let refused: AgentbusError | undefined
  for (const id of ids) {
    const one: CommandContext = context.idempotency === undefined ? context : { ...context, idempotency: { ...context.idempotency, key: `${context.idempotency.key}:${id}` } }
    try {
      if (input.what === 'retry') await ledger.jobs.retry(one, id, { reason: input.reason, extra_attempts: 1 })
      else await ledger.jobs.bury(one, id, input.reason)
      done += 1
    } catch (error) {
      if (!(error instanceof AgentbusError) || error.status >= 500) throw error
      // Each beside its job; the others go on.
      await ledger.recordRefusalOnce(one.caller, error, { jobId: id })
      refused = error
    }
  }
  if (done === 0 && refused !== undefined) throw refused
  const left = refused === undefined ? '' : ` ${ids.length - done} refused, the last because: ${refused.message}`
  const message = `${done} ${done === 1 ? 'job is' : 'jobs are'} ${input.what === 'retry' ? 'queued again' : 'buried'}.${left}`
  await ledger.run((tx) => amendAnswer(tx, form, { ids, message }))
  return { message }
}

/** A key for the form with all that is in it: one that is changed and sent again, as after a refusal, means other jobs. Each of many jobs has its own key besides. */
function asWhole(context: CommandContext): CommandContext {
  const once = context.idempotency
  return once === undefined ? context : { ...context, idempotency: { ...once, key: `${once.key}:${once.requestHash}` } }
}

async function idsOf(ledger: Ledger, key: string, agent: string | undefined): Promise<JobId[]> {
  const { causes } = await ledger.console.deadLetters({ agent: agent === '' ? undefined : agent })
  return (causes.find((one) => one.key === key)?.letters ?? []).slice(0, BULK_LIMIT).map((letter) => letter.id)
}

function answerOf(text: string): Record<string, unknown> {
  const trimmed = text.trim()
  if (trimmed === '') return {}
  // Whoever writes prose means prose: the agent is told it as such.
  if (!trimmed.startsWith('{')) return parsed(JsonObject, { text: trimmed })
  try {
    return parsed(JsonObject, JSON.parse(trimmed))
  } catch (error) {
    if (error instanceof AgentbusError) throw error
    throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'The answer begins like a JSON object and is none.')
  }
}

/** The command's context: who clicked, and the key of the form, so that one sent twice is carried out once. */
export function contextOf(person: string, name: string, body: Readonly<Record<string, unknown>>): CommandContext {
  const caller = { role: 'internal', actor: { kind: 'board', id: person } } as const
  const { key, ...rest } = body
  if (typeof key !== 'string' || !/^[0-9a-f-]{36}$/.test(key)) throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'The form has no key; load the page again.')
  return { caller, idempotency: { key: `console:${key}`, requestHash: sha256(canonicalJson({ name, ...rest })) } }
}
