import type { Logger } from '../config/logger.js'
import { EXIT } from './exit-codes.js'

/** Signals this close together are one press of Ctrl-C: npm passes on what the terminal has sent to the whole group already. */
const SAME_PRESS_MS = 500

/** Before a supervisor loses patience (systemd's unit has 30 s): what does not end by then waits for a store that is away. */
const LAST_MS = 28_000

export interface StopOptions {
  readonly log: Logger
  /** Where signals come from; this process when not given. */
  readonly signals?: { on(signal: NodeJS.Signals, listener: () => void): unknown }
  readonly exit?: (code: number) => void
}

/**
 * Resolves at the first SIGINT, SIGTERM or SIGHUP, which is a terminal that was closed. A later one ends the process at once:
 * whoever presses Ctrl-C twice means it, and everything acknowledged is in the ledger already. A later SIGHUP means nothing: a
 * shell passes it on, and when that ends the system sends another one. Stopping that does not come to its end is cut off, which
 * is a failure: a store may be left running.
 */
export function untilStopped({ log, signals = process, exit = (code) => process.exit(code) }: StopOptions): { readonly requested: Promise<NodeJS.Signals> } {
  let firstMs: number | undefined
  const cutOff = (): void => {
    // What is still open says which part it was that did not stop.
    log.error(
      { event: 'stop.cut_off', after_ms: LAST_MS, open: countEach(process.getActiveResourcesInfo()) },
      'the time for stopping is over; what has not stopped is left as it is',
    )
    exit(EXIT.unexpected)
  }
  const requested = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      signals.on(signal, () => {
        const nowMs = performance.now()
        if (firstMs === undefined) {
          firstMs = nowMs
          resolve(signal)
          setTimeout(cutOff, LAST_MS).unref()
        } else if (signal !== 'SIGHUP' && nowMs - firstMs > SAME_PRESS_MS) {
          exit(130)
        }
      })
    }
  })
  return { requested }
}

function countEach(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
