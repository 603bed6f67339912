import type { Clock } from '../config/clock.js'

/** Before a new start, in milliseconds; twice as long after each that did not last. */
const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 30_000
/** One that was up for so long has not failed again, but anew. */
const LASTED_MS = 60_000

/** A server that runs. */
export interface KeptServer {
  /** Resolves when it has ended, whoever has ended it, or when `signal` is aborted. */
  untilEnded(signal: AbortSignal): Promise<void>
}

/** How a server is started again, and what is told of it: each kind has events of its own. */
export interface Restarts {
  readonly clock: Clock
  /** At the same port, for everybody has that in a URL. @throws why it does not start; the reason of `signal` once that is aborted */
  startAgain(signal: AbortSignal): Promise<KeptServer>
  onDied(): void
  onRestarted(): void
  onNotRestarted(error: unknown): void
  /** A fault of the loop itself: nobody looks after the server any more. */
  onNotKept(error: unknown): void
}

export interface Keeper {
  /** From then on an end is not undone. */
  letGo(): void
  /** Lets go, and breaks off a start that is under way: it may take long. Its server is left to whoever stops servers of that kind. */
  stop(): Promise<void>
}

/** Starts a server again whenever it ends without being asked to, as when the system is short of memory and kills it. */
export function keepUp(first: KeptServer, restarts: Restarts): Keeper {
  const stopping = new AbortController()
  const kept = keep(first, restarts, stopping.signal).catch((error: unknown) => restarts.onNotKept(error))
  return {
    letGo() {
      stopping.abort()
    },
    async stop() {
      stopping.abort()
      await kept
    },
  }
}

async function keep(first: KeptServer, restarts: Restarts, stopping: AbortSignal): Promise<void> {
  const { clock } = restarts
  let server: KeptServer | undefined = first
  let waitMs = FIRST_WAIT_MS
  while (!stopping.aborted) {
    const sinceMs = clock.nowMs()
    await server?.untilEnded(stopping)
    if (stopping.aborted) return
    if (server !== undefined) restarts.onDied()
    if (clock.nowMs() - sinceMs >= LASTED_MS) waitMs = FIRST_WAIT_MS
    await clock.sleep(waitMs, stopping).catch(() => undefined)
    waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)
    server = stopping.aborted ? undefined : await startAgain(restarts, stopping)
  }
}

/** @returns undefined when it does not start, which is told, or when that was broken off */
async function startAgain(restarts: Restarts, stopping: AbortSignal): Promise<KeptServer | undefined> {
  try {
    const server = await restarts.startAgain(stopping)
    restarts.onRestarted()
    return server
  } catch (error) {
    if (!stopping.aborted) restarts.onNotRestarted(error)
    return undefined
  }
}
