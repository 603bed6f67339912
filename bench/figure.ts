import { z } from 'zod'

export const SECTIONS = ['enqueue', 'rate', 'latency', 'age', 'hand-off', 'recovery', 'memory', 'bytes'] as const
export const Section = z.enum(SECTIONS)
export type Section = z.infer<typeof Section>

/** One figure of one system: a value for each run, or in `age` for each slice. `null`: the system could not keep up in the time it was given. */
export const Figure = z.object({
  section: Section,
  figure: z.string(),
  unit: z.string(),
  system: z.string(),
  way: z.enum(['HTTP', 'in process', 'processes']),
  queues: z.enum(['redis', 'postgres', 'own']),
  /** Finished jobs that were in the ledger before the run. */
  finished: z.int(),
  values: z.array(z.number().nullable()),
})
export type Figure = z.infer<typeof Figure>

/** Medians of fewer say nothing. */
export const ENOUGH_RUNS = 3

/** `bench/results/peers.json`. */
export const Results = z.object({
  v: z.literal(1),
  commit: z.string(),
  date: z.iso.datetime(),
  machine: z.object({ cores: z.int(), cpu: z.string(), memory_gib: z.number(), system: z.string() }),
  versions: z.record(z.string(), z.string()),
  /** What PostgreSQL and Redis were set to; the same for everyone. */
  stores: z.record(z.string(), z.string()),
  arguments: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.array(z.string())])),
  /** The share of the cores' time that was used from start to end, by whatever process. */
  busy: z.number(),
  figures: z.array(Figure),
  /** Sections that were measured anew later than the rest, and of which commit. */
  renewed: z.array(z.object({ section: Section, commit: z.string(), date: z.iso.datetime(), busy: z.number() })).default([]),
})
export type Results = z.infer<typeof Results>

type Key = Omit<Figure, 'values'>

/** Collects the figures of all runs. */
export class Book {
  readonly figures: Figure[] = []

  add(key: Key, value: number | null): void {
    const known = this.figures.find((one) => KEYS.every((part) => one[part] === key[part]))
    if (known === undefined) this.figures.push({ ...key, values: [value] })
    else known.values.push(value)
    const shown = value === null ? 'does not keep up' : `${value.toFixed(digitsOf(value))} ${key.unit}`
    const queues = key.queues === 'own' ? '' : `, ${key.queues}`
    const ledger = key.finished === 0 ? '' : `, ${key.finished} finished jobs`
    console.error(`${key.section}: ${key.system} (${key.way}${queues}${ledger}), ${key.figure}: ${shown}`)
  }
}

const KEYS = ['section', 'figure', 'system', 'way', 'queues', 'finished', 'unit'] as const

/** Digits after the point, so that three figures stand. */
export function digitsOf(value: number): number {
  if (value >= 100) return 0
  return value >= 10 ? 1 : 2
}
