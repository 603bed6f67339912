import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Clock } from '../config/clock.js'
import { isServerIn } from './process-identity.js'

/** How often it is looked whether a server that another process has started still runs. */
const ORPHAN_LOOK_MS = 2_000

/** Resolves when a child of this process has ended, whoever has ended it, or when `signal` is aborted. */
export async function untilChildEnded(child: ChildProcess, signal: AbortSignal): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit', { signal }).catch(() => undefined)
}

export interface Orphan {
  readonly pid: number
  /** Its data folder, a real path, and a part of its name: by these it is known, see `isServerIn`. */
  readonly dir: string
  readonly program: string
  readonly clock: Clock
}

/** The same for a server whose agentbus was killed: nobody hears of its end, so it is looked for. */
export async function untilOrphanEnded({ pid, dir, program, clock }: Orphan, signal: AbortSignal): Promise<void> {
  // One that cannot be looked at for the moment is there.
  while (!signal.aborted && (await isServerIn(pid, dir, program).catch(() => true))) await clock.sleep(ORPHAN_LOOK_MS, signal).catch(() => undefined)
}
