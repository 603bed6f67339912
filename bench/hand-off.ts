/** What both ends of the hand-off benchmark must agree on. */
export const SENDER = 'sender'
export const RECEIVER = 'receiver'
export const TOPIC = 'bench.handed-over'

/** How the sender's completion names what follows: an event that the receiver subscribes to, or the job itself. */
export const WAYS = ['event', 'follow-up'] as const
export type Way = (typeof WAYS)[number]

/** What is handed over, about 500 bytes; the bare queue carries the same. */
export function payloadOf(handOff: number): Record<string, unknown> {
  return {
    hand_off: handOff,
    release: '2026.11.3',
    decision: 'approved',
    findings: Array.from({ length: 4 }, (_none, at) => ({ file: `src/module-${at}.ts`, line: 17 * (at + 1), level: 'info', note: 'looked at, nothing to do' })),
  }
}

/** The number of the hand-off that a hook's message is about; undefined when it names none. */
export function handOffOf(message: string): number | undefined {
  const found = /"hand_off": ?(\d+)/.exec(message)?.[1]
  return found === undefined ? undefined : Number(found)
}
