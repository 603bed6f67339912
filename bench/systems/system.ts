/** What every system's jobs carry: about 100 bytes, and a number to know the job by. */
export interface BenchPayload extends Record<string, unknown> {
  readonly number: number
  readonly note: string
}

export function payloadOf(number: number): BenchPayload {
  return { number, note: 'look at the release that was cut last night, and say whether it may go out' }
}

/** Called at the moment a job reaches the code that would do the work. */
export type OnRun = (number: number) => void

/**
 * A queue under measurement, in this process. The work itself is nothing, in all of them alike: what is timed is the
 * way of a job into the store, to its worker, and to an end that survives a power cut as far as the store is set to.
 */
export interface System {
  readonly name: string
  /** Resolves when the job is stored. */
  enqueue(number: number): Promise<unknown>
  /** Resolves when all of them are stored: by the system's own call for many. */
  enqueueMany(numbers: readonly number[]): Promise<unknown>
  /** Workers begin, and go on until {@link stop}. */
  work(onRun: OnRun): Promise<void>
  /** How many jobs have ended in the store since the system was opened. */
  ended(): Promise<number>
  stop(): Promise<void>
}
