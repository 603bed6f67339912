import type { Where } from './stores.js'

export const PARTS = ['enqueue', 'rate', 'latency'] as const
export type Part = (typeof PARTS)[number]

/** How many jobs, and how they come. */
export interface Load {
  readonly jobs: number
  /** Callers that each wait for an answer before they go on. */
  readonly callers: number
  /** Jobs per call, by the system's own call for many; one by one without it. */
  readonly batch?: number | undefined
}

/** A system that has been opened for one run. `undefined` in place of a figure: it could not keep up in the time it was given. */
export interface Entry {
  /** Jobs stored per second while nobody works on them. */
  enqueue(load: Load): Promise<number>
  /** Workers begin, and work off what is there; of systems that are open together, all begin together. */
  begin(): Promise<void>
  /**
   * Jobs per second from the first call until the last has durably ended; with `mostMs`, what ended in that time.
   * @throws without it, when some have not ended after minutes
   */
  rate(load: Load, mostMs?: number): Promise<number>
  /** Milliseconds from the call of enqueue until each job reached the code that does the work; jobs come at a fixed rate. */
  latency(load: { readonly jobs: number; readonly perSecond: number }, mostMs: number): Promise<number[] | undefined>
  stop(): Promise<void>
}

export const WAYS = ['HTTP', 'in process'] as const
export type Way = (typeof WAYS)[number]

/** Who is measured, on which stores, and in which of the parts. */
export interface Contestant {
  readonly system: string
  readonly way: Way
  readonly queues: Where['queue']['kind'] | 'own'
  /** Finished jobs that the ledger began with. */
  readonly old: boolean
  readonly parts: readonly Part[]
  /** Takes minutes for what others do in a second: it is measured by what it ends in a given time. */
  readonly isSlow?: boolean
  open(): Promise<Entry>
}
