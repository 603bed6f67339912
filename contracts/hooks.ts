import { z } from 'zod'

/** The gateway has taken the run; it is not done. */
export const HookAdmitted = z.object({ ok: z.literal(true), runId: z.string().min(1).max(300) })
export type HookAdmitted = z.infer<typeof HookAdmitted>

/** How the gateway says that a run ended. It does not say whether the job was closed. */
export const HookCompletion = z.looseObject({ status: z.enum(['ok', 'error', 'skipped']) })
export type HookCompletion = z.infer<typeof HookCompletion>

export const HookAnswer = z.looseObject({ ok: z.literal(true), runId: z.string().min(1).max(300), completion: HookCompletion.optional() })
export type HookAnswer = z.infer<typeof HookAnswer>

/** `/readyz`: `uptimeMs` tells when the gateway's process started, and so whether it still knows its runs. */
export const ReadyzAnswer = z.looseObject({ ready: z.boolean(), failing: z.array(z.unknown()).optional(), uptimeMs: z.number().min(0).optional() })
export type ReadyzAnswer = z.infer<typeof ReadyzAnswer>
