/** Signals this close together are one press of Ctrl-C: npm passes on what the terminal has sent to the whole group already. */
const SAME_PRESS_MS = 500

/** Before a supervisor loses patience (systemd's unit has 30 s): what does not end by then waits for a store that is away. */
const LAST_MS = 28_000

let runsUntilStopped = false

/** Whether this process has something to put in order before it ends, such as the stores that it started. */
export function stopsInOrder(): boolean {
  return runsUntilStopped
}

/**
 * Resolves at the first SIGINT, SIGTERM or SIGHUP, which is a terminal that was closed. A later one ends the process at once:
 * whoever presses Ctrl-C twice means it, and everything acknowledged is in the ledger already. A later SIGHUP means nothing: a
 * shell passes it on, and when that ends the system sends another one.
 */
export function untilStopped(): { readonly requested: Promise<NodeJS.Signals> } {
  runsUntilStopped = true
  let firstMs: number | undefined
  const requested = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        const nowMs = performance.now()
        if (firstMs === undefined) {
          firstMs = nowMs
          resolve(signal)
          setTimeout(() => process.exit(), LAST_MS).unref()
        } else if (signal !== 'SIGHUP' && nowMs - firstMs > SAME_PRESS_MS) {
          process.exit(130)
        }
      })
    }
  })
  return { requested }
}
