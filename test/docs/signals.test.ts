import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createMetrics } from '../../api/metrics.js'
import { freshLedger } from '../support/ledger.js'
import { BUS_TOPICS } from '../../contracts/bus-topics.js'

const FOLDERS = ['contracts', 'config', 'ledger', 'openclaw', 'queues', 'processors', 'api', 'board', 'embedded', 'cli']

const page = readFileSync('docs/operations.md', 'utf8')

/** The rows of the table below a heading, as cells. */
function tableOf(heading: string): string[][] {
  const section = page.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
  return [...section.matchAll(/^\| (`.*)\|$/gm)].map((match) => (match[1] ?? '').split('|').map((cell) => cell.trim()))
}

const plain = (cell: string | undefined): string[] => [...(cell ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')

function sources(): { file: string; text: string }[] {
  return FOLDERS.flatMap((folder) => readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => path.join(folder, name)))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => ({ file, text: readFileSync(file, 'utf8') }))
}

test('every metric is documented with its type and labels, and nothing else is', async () => {
  const t = await freshLedger()
  const registry = new Registry()
  createMetrics(registry, t.ledger)
  const metrics = await registry.getMetricsAsJSON()
  await t.close()

  const real = metrics
    .filter(({ name }) => name.startsWith('agentbus_'))
    .map(({ name, type }) => {
      const metric = registry.getSingleMetric(name) as unknown as { labelNames: string[] }
      return [name, String(type), ...metric.labelNames.filter((label) => label !== 'le')].join(' ')
    })

  const documented = tableOf('Metrics').map(([name, type, labels]) => [...plain(name), type, ...plain(labels)].join(' '))
  expect(documented.sort()).toEqual(real.sort())
  expect(real.length).toBeGreaterThanOrEqual(7)
})

test('metrics are registered in one place, so that the list above is the whole list', () => {
  const files = sources()
    .filter(({ text }) => /from 'prom-client'/.test(text) && /new (Counter|Gauge|Histogram|Summary)\b/.test(text))
    .map(({ file }) => file)

  expect(files).toEqual(['api/metrics.ts'])
})

/** Calls of a logger, and among them those that name their event first. */
function logCalls(text: string): { calls: number; events: { event: string; level: string }[] } {
  const calls = [...text.matchAll(/\blog(?:ger)?\.(?:trace|debug|info|warn|error|fatal)\(/g)].length
  const named = [...text.matchAll(/\blog(?:ger)?\.(trace|debug|info|warn|error|fatal)\(\s*\{\s*event: ([^,}]+)/g)]
  return {
    calls,
    events: named.flatMap((match) => [...(match[2] ?? '').matchAll(/'([a-z_.]+)'/g)].map((event) => ({ event: event[1] ?? '', level: match[1] ?? '' }))),
  }
}

test('every call of the logger names its event', () => {
  const nameless = sources().flatMap(({ file, text }) => {
    const { calls, events } = logCalls(text)
    return calls > events.length ? [file] : []
  })

  expect(nameless).toEqual([])
  expect(logCalls(`log.warn({ err }, 'a sentence')`)).toEqual({ calls: 1, events: [] })
  expect(logCalls(`log.info({ event: found ? 'a.one' : 'a.two', pid }, 'x')`).events.map(({ event }) => event)).toEqual(['a.one', 'a.two'])
})

test('every log event is documented with its levels, and nothing else is', () => {
  const levels = new Map<string, Set<string>>()
  for (const { event, level } of sources().flatMap(({ text }) => logCalls(text).events)) levels.set(event, (levels.get(event) ?? new Set()).add(level))

  const documented = tableOf('Log events').map(([event, level]) => `${plain(event).join()} ${level ?? ''}`)
  const real = [...levels].map(([event, found]) => `${event} ${[...found].sort().join(', ')}`)
  expect(documented.sort()).toEqual(real.sort())
  expect(real.length).toBeGreaterThan(20)
})

test('the topics that the bus itself writes are documented, and nothing else is', () => {
  const written = sources().flatMap(({ file, text }) =>
    file.startsWith('cli/demo') ? [] : [...text.matchAll(/(?:announce\(tx, |topic: )'([a-z_.]+)'/g)].map((match) => match[1] ?? ''),
  )

  const documented = tableOf('Events of the bus itself').flatMap(([topic]) => plain(topic))
  expect(documented.sort()).toEqual([...BUS_TOPICS].sort())
  expect(written).toContain('queue.rebuilt')
  for (const topic of written) expect(BUS_TOPICS).toContain(topic)
})
