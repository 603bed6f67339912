import type { Contestant, Entry } from '../contestant.js'
import type { Book, Figure } from '../figure.js'
import { quantile } from '../figures.js'
import type { BenchOptions } from '../options.js'

/** The same system on a young ledger and on one that is full of finished jobs. */
export interface Pair {
  readonly young: Contestant
  readonly old: Contestant
}

/** What of `all` differs in the age of its ledger alone. */
export function pairsOf(all: readonly Contestant[]): Pair[] {
  return all
    .filter(({ old }) => old)
    .flatMap((old) => {
      const young = all.find((one) => !one.old && one.system === old.system && one.way === old.way && one.queues === old.queues)
      return young === undefined ? [] : [{ young, old }]
    })
}

/**
 * What finished jobs cost. Both are open all the time and take turns, slice by slice, each beginning every second pair: a shared
 * machine is faster and slower by more than what is looked for, but hardly within the second or two of a pair.
 */
export async function age(pairs: readonly Pair[], options: BenchOptions, book: Book): Promise<void> {
  for (const pair of pairs) {
    const opened: Entry[] = []
    try {
      for (const one of [pair.young, pair.old]) opened.push(await one.open())
      const [young, old] = opened
      if (young !== undefined && old !== undefined) await compare(pair, { young, old }, options, book)
    } finally {
      for (const entry of opened) await entry.stop()
    }
  }
}

type Side = 'young' | 'old'

async function compare(pair: Pair, entries: Readonly<Record<Side, Entry>>, options: BenchOptions, book: Book): Promise<void> {
  const { slices, sliceJobs: jobs, callers, perSecond, warmUp } = options
  const { system, way, queues } = pair.young
  const tell = (side: Side, figure: string, unit: string, value: number | null): void => {
    const key: Omit<Figure, 'values'> = { section: 'age', figure, unit, system, way, queues, finished: side === 'old' ? options.old : 0 }
    book.add(key, value)
  }
  const inTurn = async (act: (entry: Entry, side: Side) => Promise<void>): Promise<void> => {
    for (let slice = 0; slice < slices; slice += 1) {
      for (const side of slice % 2 === 0 ? (['young', 'old'] as const) : (['old', 'young'] as const)) await act(entries[side], side)
    }
  }
  for (const entry of Object.values(entries)) await entry.enqueue({ jobs: warmUp, callers })
  await inTurn(async (entry, side) => tell(side, 'enqueue rate', 'jobs/s', await entry.enqueue({ jobs, callers })))
  // Together: over HTTP the gateway waits for what was sent to either.
  await Promise.all(Object.values(entries).map((entry) => entry.begin()))
  for (const entry of Object.values(entries)) await entry.rate({ jobs: warmUp, callers })
  await inTurn(async (entry, side) => tell(side, 'end-to-end rate', 'jobs/s', await entry.rate({ jobs, callers })))
  const all: Record<Side, number[]> = { young: [], old: [] }
  const fellBehind = new Set<Side>()
  await inTurn(async (entry, side) => {
    const latencies = await entry.latency({ jobs: perSecond, perSecond }, KEEPS_UP_MS)
    if (latencies === undefined) fellBehind.add(side)
    all[side].push(...(latencies ?? []))
    tell(side, 'latency p50', 'ms', latencies === undefined ? null : quantile(latencies, 0.5))
  })
  for (const side of ['young', 'old'] as const) tell(side, 'latency p99, of all', 'ms', fellBehind.has(side) ? null : quantile(all[side], 0.99))
}

/** Whoever has not run the last job this long after it was sent has fallen behind. */
const KEEPS_UP_MS = 5_000
