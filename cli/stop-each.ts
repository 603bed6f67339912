import type { Logger } from '../config/logger.js'
import { messageOf } from '../contracts/errors.js'
import { within } from '../queues/backend.js'

/** A part that waits for a store that is away must not keep the others from saying that the process has stopped. */
const STOP_MS = 8_000

/** Takes the steps, the last one first, and waits for each eight seconds at most. Never rejects. */
export async function stopEach(steps: readonly (() => Promise<unknown>)[], log: Logger): Promise<void> {
  for (const step of [...steps].reverse())
    await within(STOP_MS, 'stop', Promise.resolve().then(step)).catch((error: unknown) => log.warn({ event: 'stop.failed', err: messageOf(error) }, 'a part did not stop cleanly'))
}
