import type { BusQueue } from './backend.js'
import { entryId } from './catalogue.js'

/** Before every priority that {@link bullPriority} gives. */
const HEAD = 0

/**
 * Puts entries at the head of their queue: those of runs that hold an agent's slots while no worker attends them.
 * Nothing else of the agent can start before they are picked up, and where the store puts a dead worker's entry back
 * is its own affair: BullMQ's PostgreSQL backend lets entries that were delayed pass it. Entries that a worker holds,
 * and those at the head already, are left alone.
 * @returns how many were moved
 */
export async function raiseEntries(queue: BusQueue, entries: readonly { readonly jobId: string; readonly generation: number }[]): Promise<number> {
  let raised = 0
  for (const { jobId, generation } of entries) {
    const entry = await queue.getJob(entryId(jobId, generation))
    if (entry === undefined || entry.priority === HEAD) continue
    const state = await entry.getState()
    if (state !== 'waiting' && state !== 'prioritized' && state !== 'delayed') continue
    await entry.changePriority({ priority: HEAD, lifo: true })
    raised += 1
  }
  return raised
}
