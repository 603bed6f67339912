import { z } from 'zod'

/** What OpenClaw takes as a hook body at most, in bytes; more is answered with 413. */
export const HOOK_BODY_LIMIT = 262_144

/** The longest `Idempotency-Key`; a gateway ignores a longer one without an error, and every post is then a new run. */
export const IDEMPOTENCY_KEY_LIMIT = 256

/** What comes of calls of a hook, as metrics count it: admitted, surely not delivered, perhaps delivered, refused, or lost in mid-run. */
export const HOOK_ANSWER_CLASSES = ['admitted', 'undelivered', 'unclear', 'refused', 'lost'] as const

/**
 * The body of `POST <hookPath>/agent` as agentbus sends it. Every field but `waitForCompletion` is part of what a
 * gateway recognises a run by: change one under the same key and it is a new run, without an error.
 */
export const HookRequest = z.strictObject({
  message: z.string().min(1),
  agentId: z.string().min(1),
  name: z.string().min(1),
  deliver: z.literal(false),
  /** With the default `now`, a failed run starts an extra turn, tools included, in the agent's main session. */
  wakeMode: z.literal('next-heartbeat'),
  timeoutSeconds: z.int().min(1),
  waitForCompletion: z.literal(true).optional(),
})
export type HookRequest = z.infer<typeof HookRequest>

const RunId = z.string().min(1).max(300)

/** The gateway has taken the run; it is not done. */
export const HookAdmitted = z.looseObject({ ok: z.literal(true), runId: RunId })
export type HookAdmitted = z.infer<typeof HookAdmitted>

/** How the gateway says that a run ended. It does not say whether the job was closed. */
export const HookCompletion = z.looseObject({ status: z.enum(['ok', 'error', 'skipped']), replyDisposition: z.string().optional().catch(undefined) })
export type HookCompletion = z.infer<typeof HookCompletion>

/** The answer to either post: an admission, with the completion when the run was joined and has ended. */
export const HookAnswer = HookAdmitted.extend({ completion: HookCompletion.optional() })
export type HookAnswer = z.infer<typeof HookAnswer>

/** The answer of `POST <hookPath>/wake`. */
export const WakeAnswer = z.looseObject({ ok: z.literal(true), mode: z.string().optional(), eventOutcome: z.string().optional() })
export type WakeAnswer = z.infer<typeof WakeAnswer>

const TEN_YEARS_MS = 10 * 365 * 86_400_000

/**
 * `/readyz`. `uptimeMs` tells when the gateway's process started, and so whether it still knows its runs; nonsense in
 * its place is no reason to call a ready gateway down.
 */
export const ReadyzReply = z.looseObject({
  ready: z.boolean(),
  failing: z.array(z.unknown()).optional().catch(undefined),
  uptimeMs: z.number().min(0).max(TEN_YEARS_MS).optional().catch(undefined),
})
export type ReadyzReply = z.infer<typeof ReadyzReply>
