import { parseArgs } from 'node:util'
import { z } from 'zod'
import { PARTS } from './contestant.js'
import { SECTIONS, type Section } from './figure.js'

const Count = z.coerce.number().int().min(1)
const Arguments = z.strictObject({
  only: z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .pipe(z.array(z.enum(SECTIONS)).min(1)),
  backend: z.enum(['redis', 'postgres', 'both']),
  // A run takes a Redis database of its own for the section memory, and there are sixteen.
  runs: Count.max(10),
  jobs: Count,
  batch: Count.max(1_000),
  concurrency: Count.max(1_000),
  callers: Count,
  'warm-up': Count,
  seconds: z.coerce.number().min(0.1),
  'per-second': Count,
  old: z.coerce.number().int().min(0),
  slices: Count,
  'slice-jobs': Count,
  queued: Count,
  agents: Count,
  idle: Count,
  'most-seconds': Count,
})

const FULL = {
  only: SECTIONS.join(','),
  backend: 'both',
  runs: '3',
  jobs: '1500',
  batch: '100',
  concurrency: '50',
  callers: '32',
  'warm-up': '200',
  seconds: '10',
  'per-second': '20',
  old: '1000000',
  slices: '24',
  'slice-jobs': '200',
  queued: '10000',
  agents: '1000',
  // Longer than anything that is done regularly: workers ask again after up to 94 s.
  idle: '100',
  'most-seconds': '20',
}

/** Every section on both backends in some two minutes; the figures say that it works, not how fast. */
const SHORT = {
  ...FULL,
  runs: '1',
  jobs: '40',
  batch: '10',
  'warm-up': '5',
  seconds: '1',
  'per-second': '10',
  old: '500',
  slices: '2',
  'slice-jobs': '10',
  queued: '100',
  agents: '10',
  idle: '1',
  'most-seconds': '4',
}

export interface BenchOptions {
  readonly only: readonly Section[]
  readonly backend: 'redis' | 'postgres' | 'both'
  readonly runs: number
  readonly jobs: number
  readonly batch: number
  readonly concurrency: number
  readonly callers: number
  readonly warmUp: number
  /** Jobs of the latency section. */
  readonly latencyJobs: number
  readonly perSecond: number
  /** Finished jobs in the old ledger; 0 for none. */
  readonly old: number
  /** Turns that the young and the old ledger take, and the jobs of one. */
  readonly slices: number
  readonly sliceJobs: number
  /** Jobs that are queued when the queue store is wiped. */
  readonly queued: number
  readonly agents: number
  /** Seconds over which idle processes are watched. */
  readonly idleSeconds: number
  /** Milliseconds after which a rate is taken from what has ended by then. */
  readonly mostMs: number
  readonly short: boolean
  readonly json: boolean
  /** Some sections take the place of theirs in the results that are kept. */
  readonly keep: boolean
  /** As given or by default, for the results. */
  readonly given: Readonly<Record<string, string | number | boolean | string[]>>
}

export const USAGE = `npm run bench -- [--short] [--json] [--keep] [--only ${SECTIONS.join(',')}] [--backend redis|postgres|both] [--runs N] [--jobs N] [--batch N]
  [--concurrency N] [--callers N] [--warm-up N] [--seconds N] [--per-second N] [--old N] [--slices N] [--slice-jobs N] [--queued N] [--agents N] [--idle SECONDS] [--most-seconds N]

All sections: writes bench/results/peers.{json,md} and docs/performance.svg. With --short or --only: writes to stdout alone; --json in place of Markdown.
With --only and --keep: these sections take the place of theirs in the results, which say so; enqueue, rate and latency only together, since they are compared.`

/** @throws with the usage when an argument is unknown or makes no sense */
export function readOptions(argv: readonly string[]): BenchOptions {
  const names = Object.keys(FULL) as (keyof typeof FULL)[]
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        short: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        ...Object.fromEntries(names.map((name) => [name, { type: 'string' as const }])),
      },
    })
    const { short, json, keep, ...given } = values
    const parsed = Arguments.parse({ ...(short === true ? SHORT : FULL), ...given })
    if (keep === true && short === true) throw new Error('--keep: the short form has no results to keep')
    const compared = PARTS.filter((part) => parsed.only.includes(part)).length
    if (keep === true && compared > 0 && compared < PARTS.length) throw new Error('--keep: enqueue, rate and latency are compared with each other, and are renewed together')
    return {
      only: parsed.only,
      backend: parsed.backend,
      runs: parsed.runs,
      jobs: parsed.jobs,
      batch: parsed.batch,
      concurrency: parsed.concurrency,
      callers: parsed.callers,
      warmUp: parsed['warm-up'],
      latencyJobs: Math.ceil(parsed.seconds * parsed['per-second']),
      perSecond: parsed['per-second'],
      old: parsed.old,
      slices: parsed.slices,
      sliceJobs: parsed['slice-jobs'],
      queued: parsed.queued,
      agents: parsed.agents,
      idleSeconds: parsed.idle,
      mostMs: parsed['most-seconds'] * 1_000,
      short: short === true,
      json: json === true,
      keep: keep === true,
      given: parsed,
    }
  } catch (error) {
    const why =
      error instanceof z.ZodError ? error.issues.map(({ path, message }) => `--${path.join('.')}: ${message}`).join('; ') : error instanceof Error ? error.message : String(error)
    throw new Error(`${why}\n\n${USAGE}`)
  }
}
