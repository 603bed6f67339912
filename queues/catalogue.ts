import type { JobsOptions, KeepJobs } from 'bullmq'
import { z } from 'zod'
import { JobId } from '../contracts/ids.js'

/** The name of an agent's queue. Agent ids have no `:`, which BullMQ forbids in queue names. */
export function queueNameOf(agentId: string): string {
  return `agent-${agentId}`
}

/** The agent a queue belongs to, or undefined for one that is not an agent's. */
export function agentOfQueue(queueName: string): string | undefined {
  return queueName.startsWith('agent-') ? queueName.slice('agent-'.length) : undefined
}

/** What a queue entry carries: enough to ask the ledger, and a subject for people at the board. Version 1. */
export const DeliveryEntry = z.object({
  v: z.literal(1),
  job_id: JobId,
  generation: z.int().min(1),
  subject: z.string(),
})
export type DeliveryEntry = z.infer<typeof DeliveryEntry>

/** A queue entry's id: ledger id and generation, so that a stale entry is recognised. */
export function entryId(jobId: string, generation: number): string {
  return `${jobId}-g${generation}`
}

const ENTRY_ID = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-g([0-9]{1,9})$/

/** Reads an entry's id back; undefined for an entry that the relay did not make. */
export function parseEntryId(id: string): { jobId: string; generation: number } | undefined {
  const match = ENTRY_ID.exec(id)
  return match?.[1] === undefined ? undefined : { jobId: match[1], generation: Number(match[2]) }
}

/** Ledger priority (1000 is most urgent) as BullMQ's (1 is most urgent). */
export function bullPriority(priority: number): number {
  return 1001 - priority
}

/** Enough for a person at the board; the books are in the ledger. Ages in seconds. */
const KEEP_DONE: KeepJobs = { age: 24 * 3600, count: 500 }
const KEEP_FAILED: KeepJobs = { age: 14 * 24 * 3600, count: 1_000 }

/** Every option of a delivery, in one place. */
export function deliveryOptions(of: {
  readonly jobId: string
  readonly generation: number
  readonly priority: number
  readonly maxAttempts: number
  readonly delayMs: number
}): JobsOptions {
  return {
    jobId: entryId(of.jobId, of.generation),
    priority: bullPriority(of.priority),
    attempts: of.maxAttempts,
    backoff: { type: 'ledger' },
    delay: of.delayMs,
    removeOnComplete: KEEP_DONE,
    removeOnFail: KEEP_FAILED,
    stackTraceLimit: 0,
  }
}

/**
 * A queue entry never fails for having stalled: BullMQ would then bury a job that the ledger still wants done.
 * How often a run may be lost is the ledger's decision (`max_attempts`).
 */
export const MAX_STALLED_COUNT = 1_000_000

/** States of entries that a worker has or could still get. */
export const LIVE = ['waiting', 'prioritized', 'delayed', 'active', 'waiting-children'] as const

/** Whether an entry in that state, as BullMQ says it, is one of them. */
export function isLive(state: string): boolean {
  return (LIVE as readonly string[]).includes(state)
}
