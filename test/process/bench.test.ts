import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { beforeAll, expect, test } from 'vitest'
import { chart } from '../../bench/chart.js'
import { Results, SECTIONS, type Figure } from '../../bench/figure.js'
import { median, medianInterval } from '../../bench/figures.js'
import { readOptions } from '../../bench/options.js'
import { renew } from '../../bench/renew.js'
import { render } from '../../bench/render.js'
import { verdicts } from '../../bench/targets.js'
import { IS_LONG } from '../support/long.js'

/** The short form takes some two minutes on a machine that has nothing else to do. */
const PATIENCE_MS = 480_000

/** Nothing here asks how fast anybody is: of each figure there has to be one, and fewer jobs and less waiting make it as well. */
const FEWER = IS_LONG ? [] : ['--jobs', '15', '--batch', '5', '--seconds', '0.3', '--most-seconds', '1']

let results: Results

beforeAll(async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', 'bench/run.ts', '--short', '--json', ...FEWER], { maxBuffer: 16 * 1_024 * 1_024 })
  results = Results.parse(JSON.parse(stdout))
}, PATIENCE_MS)

const inSection = (section: Figure['section']): Figure[] => results.figures.filter((one) => one.section === section)
const who = (figures: readonly Figure[]): string[] =>
  [...new Set(figures.map(({ system, way, queues, finished }) => `${system}, ${way}, ${queues}${finished === 0 ? '' : ', old'}`))].sort()

const OURS = ['HTTP, postgres', 'HTTP, redis', 'in process, postgres', 'in process, redis'].map((where) => `agentbus, ${where}`)
const OTHERS = [
  'bare BullMQ, in process, postgres',
  'bare BullMQ, in process, redis',
  'bare BullMQ, own pools, in process, postgres',
  'graphile-worker, tuned, in process, own',
  'no ledger, HTTP, postgres',
  'no ledger, HTTP, redis',
  'pg-boss, tuned, in process, own',
]
const AS_THEY_COME = ['graphile-worker, as it comes, in process, own', 'pg-boss, as it comes, in process, own']

test('everyone is measured: agentbus on both backends, without a ledger, bare BullMQ, and both peers as they come and tuned', () => {
  expect(who(inSection('enqueue'))).toEqual([...OURS, ...OTHERS].sort())
  expect(who(inSection('rate'))).toEqual([...OURS, ...OTHERS, ...AS_THEY_COME].sort())
  expect(who(inSection('latency'))).toEqual([...OURS, ...OTHERS, ...AS_THEY_COME].sort())
})

test('agentbus on an empty and on a full ledger takes turns, and each figure has as many of the one as of the other', () => {
  const figures = ['enqueue rate', 'end-to-end rate', 'latency p50', 'latency p99, of all']
  for (const figure of figures) expect(who(inSection('age').filter((one) => one.figure === figure))).toEqual(OURS.flatMap((one) => [one, `${one}, old`]).sort())
  for (const { figure, values } of inSection('age')) expect(values).toHaveLength(figure.endsWith('of all') ? 1 : 2)
})

test('what a full ledger costs comes from the pairs: what disturbs both of a pair costs nothing', () => {
  const key = { section: 'age', figure: 'end-to-end rate', unit: 'jobs/s', system: 'agentbus', way: 'HTTP', queues: 'redis' } as const
  const costOf = (young: number[], old: (number | null)[]): string | undefined =>
    verdicts({
      ...results,
      figures: [
        { ...key, finished: 0, values: young },
        { ...key, finished: 1_000_000, values: old },
      ],
    }).at(0)?.measured
  expect(costOf([400, 100, 200], [380, 95, 190])).toBe('5.0 %')
  expect(costOf([400, 100, 200], [360, 85, 160])).toBe('15.0 %')
  expect(costOf([400, 100, 200, 50, 50, 50], [360, 85, 160, 45, 45, 45])).toBe('10.0 % (10.0 % to 20.0 %)')
  expect(costOf([400, 100, 200], [380, null, null])).toBe('does not keep up')
  expect(medianInterval(Array.from({ length: 24 }, (_none, at) => at))).toEqual([6, 17])
  expect(medianInterval([3, 1, 2, 4, 5])).toBeUndefined()
  expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5])
})

test.each(SECTIONS.filter((section) => section !== 'age'))('the section %s has a figure of each run for both backends', (section) => {
  const figures = inSection(section)

  expect(figures.map(({ queues }) => queues)).toEqual(expect.arrayContaining(['redis', 'postgres']))
  for (const { values } of figures) expect(values).toHaveLength(1)
})

test('rates, latencies, recovery times and sizes are above zero, but of the one who fetches a job every two seconds', () => {
  for (const one of results.figures.filter(({ section }) => section !== 'memory' && section !== 'bytes')) {
    if (one.system === 'pg-boss, as it comes') continue
    expect(one.values[0], JSON.stringify(one)).toBeGreaterThan(0)
  }
  for (const one of inSection('bytes').filter(({ figure }) => figure === 'ledger, all tables')) expect(one.values[0]).toBeGreaterThan(1_000)
  for (const one of inSection('memory').filter(({ figure, unit }) => unit === 'MiB' && !figure.includes('more'))) expect(one.values[0]).toBeGreaterThan(20)
})

test('p99 is never below p50', () => {
  const latencies = inSection('latency')
  for (const p50 of latencies.filter(({ figure }) => figure === 'p50')) {
    const p99 = latencies.find((one) => one.figure === 'p99' && who([one])[0] === who([p50])[0])
    expect(Number(p99?.values[0])).toBeGreaterThanOrEqual(Number(p50.values[0]))
  }
})

test('the page, the chart and the verdicts come from the figures: one that is changed changes them', () => {
  const rate = (system: string): Figure | undefined => inSection('rate').find((one) => one.system === system && one.way === 'HTTP' && one.queues === 'redis' && one.finished === 0)
  const scaled = (factor: number, runs = 3): Results => ({
    ...results,
    arguments: { ...results.arguments, runs },
    figures: results.figures.map((one) => (one.section === 'rate' && one.system === 'agentbus' ? { ...one, values: [factor * Number(rate('no ledger')?.values[0])] } : one)),
  })
  const verdictOf = (some: Results): boolean | undefined => verdicts(some).find(({ target }) => target.startsWith('over HTTP') && target.endsWith('Redis'))?.met

  expect([verdictOf(scaled(0.49)), verdictOf(scaled(0.51))]).toEqual([false, true])
  expect(render(scaled(0.49))).not.toBe(render(scaled(0.51)))
  expect(render(scaled(0.49))).toMatch(/\| over HTTP at least 0\.5 [^|]+Redis \| 0\.49 \| \*\*NOT met\*\* \|/)
  expect(render(scaled(0.49, 1))).toMatch(/\| over HTTP at least 0\.5 [^|]+Redis \| 0\.49 \| a trial \|/)
  expect(chart(scaled(0.49))).toMatch(/^<svg [^]*<\/svg>\n$/)
  expect(chart(scaled(0.49))).not.toBe(chart(scaled(0.51)))
})

test('sections that are measured anew take the place of theirs, and the page says so; what was measured otherwise is refused', () => {
  const memory = results.figures.filter(({ section }) => section === 'memory').map((one) => ({ ...one, values: [7] }))
  const fresh: Results = { ...results, commit: 'fresh11', figures: memory, arguments: { ...results.arguments, only: ['memory'] } }
  const both = renew(results, fresh, ['memory'])

  expect(both.figures.filter(({ section }) => section === 'memory').map(({ values }) => values)).toEqual(memory.map(() => [7]))
  expect(both.figures.filter(({ section }) => section !== 'memory')).toEqual(results.figures.filter(({ section }) => section !== 'memory'))
  expect(render(both)).toMatch(/“Memory and idle CPU” was measured anew: commit fresh11/)
  expect(render(results)).not.toContain('anew')
  expect(() => renew(results, { ...fresh, stores: { fsync: 'off' } }, ['memory'])).toThrow(/another stores/)
  expect(() => renew(results, { ...fresh, arguments: { ...fresh.arguments, runs: 2 } }, ['memory'])).toThrow(/--runs 1, not 2/)
})

test.each([
  ['an unknown option', ['--fast']],
  ['an unknown section', ['--only', 'rates']],
  ['a number that is none', ['--jobs', 'many']],
  ['no runs', ['--runs', '0']],
  ['a short form to be kept', ['--short', '--keep']],
  ['rates that are kept without what they are compared with', ['--only', 'rate', '--keep']],
])('%s is refused with the usage', (_what, argv) => {
  expect(() => readOptions(argv)).toThrow(/npm run bench --/)
})
