/**
 * What a queue's store says of it at a glance. A glance decides nothing: it says at which of many queues a process has to look,
 * so that a thousand idle ones cost one command together.
 */
export interface Glance {
  /** A worker has entries in hand, or has died with them. */
  readonly held: boolean
  /** Entries that nobody holds: waiting, prioritized or delayed. */
  readonly filled: boolean
  /** An entry could start now, there is a free place, and no worker has been told that is known to have come. */
  readonly due: boolean
  /** The queue has job schedulers. */
  readonly scheduled: boolean
  /** BullMQ's own limit over all processes; undefined when it is not set. */
  readonly limit: number | undefined
  readonly paused: boolean
}

/** Glances by queue name. */
export type Survey = ReadonlyMap<string, Glance>

/** A delayed entry counts as due this much after its time: its worker has a timer for it and comes first. */
export const LATE_MS = 1_000

/** Queues per command: what one command may hold up the store for is some milliseconds. */
const QUEUES_PER_COMMAND = 1_000

/** Asks for glances in portions. */
export async function surveyInPortions(names: readonly string[], ask: (portion: readonly string[]) => Promise<readonly Glance[]>): Promise<Survey> {
  const survey = new Map<string, Glance>()
  for (let at = 0; at < names.length; at += QUEUES_PER_COMMAND) {
    const portion = names.slice(at, at + QUEUES_PER_COMMAND)
    const glances = await ask(portion)
    for (const [index, name] of portion.entries()) {
      const glance = glances[index]
      if (glance !== undefined) survey.set(name, glance)
    }
  }
  return survey
}
