/**
 * Resolves at the first SIGINT or SIGTERM. A second one ends the process at once: whoever presses Ctrl-C twice means it,
 * and everything acknowledged is in the ledger already.
 */
export function untilStopped(): { readonly requested: Promise<NodeJS.Signals> } {
  let asked = 0
  const requested = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        asked += 1
        if (asked === 1) resolve(signal)
        // npm passes on the signal that the terminal has sent to the whole group already; those two come together.
        else if (asked > 2) process.exit(130)
      })
    }
  })
  return { requested }
}
