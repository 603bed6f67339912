import { PARTS, type Contestant, type Entry, type Part } from '../contestant.js'
import type { Book, Figure } from '../figure.js'
import { quantile } from '../figures.js'
import type { BenchOptions } from '../options.js'

/**
 * Enqueue rate, end-to-end rate and latency of everyone, in turn, run by run: a disturbance of the machine meets all of them.
 * Each is opened anew for each run, and nobody else runs meanwhile.
 */
export async function race(all: readonly Contestant[], options: BenchOptions, book: Book): Promise<void> {
  for (let run = 0; run < options.runs; run += 1) {
    // Whoever comes after a heavy one is not always the same.
    const order = run % 2 === 0 ? all : [...all].reverse()
    for (const one of order) {
      const parts = PARTS.filter((part) => one.parts.includes(part) && options.only.includes(part))
      if (parts.length > 0) await measure(one, parts, options, book)
    }
  }
}

async function measure(contestant: Contestant, parts: readonly Part[], options: BenchOptions, book: Book): Promise<void> {
  const { system, way, queues } = contestant
  const { jobs, batch, callers } = options
  const mostMs = contestant.isSlow === true ? options.mostMs : undefined
  const tell = (section: Part, figure: string, unit: string, value: number | null): void => {
    const key: Omit<Figure, 'values'> = { section, figure, unit, system, way, queues, finished: 0 }
    book.add(key, value)
  }
  const entry: Entry = await contestant.open()
  try {
    if (parts.includes('enqueue')) {
      await entry.enqueue({ jobs: options.warmUp, callers })
      tell('enqueue', 'one by one', 'jobs/s', await entry.enqueue({ jobs, callers }))
      tell('enqueue', 'in batches', 'jobs/s', await entry.enqueue({ jobs, callers: BATCH_CALLERS, batch }))
    }
    await entry.begin()
    await entry.rate({ jobs: options.warmUp, callers }, mostMs)
    if (parts.includes('rate')) {
      tell('rate', 'enqueued one by one', 'jobs/s', await entry.rate({ jobs, callers }, mostMs))
      tell('rate', 'enqueued in batches', 'jobs/s', await entry.rate({ jobs, callers: BATCH_CALLERS, batch }, mostMs))
    }
    if (parts.includes('latency')) {
      const latencies = await entry.latency({ jobs: options.latencyJobs, perSecond: options.perSecond }, KEEPS_UP_MS)
      for (const [figure, q] of [
        ['p50', 0.5],
        ['p99', 0.99],
      ] as const)
        tell('latency', figure, 'ms', latencies === undefined ? null : quantile(latencies, q))
    }
  } finally {
    await entry.stop()
  }
}

/** Whoever has not run the last job this long after it was sent has fallen behind. */
const KEEPS_UP_MS = 5_000

/** A caller of a batch waits for hundreds of jobs at once: few are enough. */
const BATCH_CALLERS = 4
