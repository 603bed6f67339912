import { readFileSync } from 'node:fs'
import { Registry } from 'prom-client'
import { parse } from 'yaml'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { createMetrics } from '../../api/metrics.js'
import { countAll } from '../support/count-all.js'
import { aJob, freshLedger, type TestLedger } from '../support/ledger.js'

const Source = z.object({ type: z.enum(['prometheus', 'grafana']), uid: z.string().min(1) })
const Grid = z.object({ h: z.int().min(1), w: z.int().min(1).max(24), x: z.int().min(0).max(23), y: z.int().min(0) })
const Target = z.object({ refId: z.string().regex(/^[A-Z]$/), datasource: Source, expr: z.string().min(1), legendFormat: z.string() })
const Panel = z.object({
  id: z.int().min(1),
  type: z.enum(['row', 'stat', 'timeseries']),
  title: z.string().min(1),
  gridPos: Grid,
  datasource: Source.optional(),
  targets: z.array(Target).default([]),
})
/** What Grafana needs of a dashboard to load it, as its JSON model documents it. */
const Dashboard = z.object({
  id: z.null(),
  uid: z.string().regex(/^[A-Za-z0-9_-]{1,40}$/),
  title: z.string().min(1),
  schemaVersion: z.int().min(36),
  version: z.int(),
  time: z.object({ from: z.string(), to: z.string() }),
  templating: z.object({ list: z.array(z.object({ name: z.string(), type: z.string(), query: z.unknown() })) }),
  annotations: z.object({ list: z.array(z.unknown()) }),
  panels: z.array(Panel),
})

const dashboard = Dashboard.parse(JSON.parse(readFileSync('deploy/grafana/agentbus.json', 'utf8')))
const expressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
const rules = (parse(readFileSync('deploy/prometheus/agentbus-rules.yml', 'utf8')) as { groups: { rules: { alert: string; expr: string }[] }[] }).groups.flatMap((group) => group.rules)

let t: TestLedger
/** Names of series, with the labels of each, as a scrape gives them. */
const series = new Map<string, Set<string>>()
beforeAll(async () => {
  t = await freshLedger()
  await aJob(t.ledger, 'dead', { max_attempts: 1 })
  await aJob(t.ledger, 'queued')
  await countAll(t)
  const registry = new Registry()
  createMetrics(registry, t.ledger).observe({ method: 'GET', route: '/v1/jobs', status: 200, seconds: 0.1 })
  for (const line of (await registry.metrics()).split('\n')) {
    const [, name, labels] = /^([a-z_]+[a-z0-9_]*)(?:\{(.*)\})? /.exec(line) ?? []
    if (name !== undefined) series.set(name, new Set([...(series.get(name) ?? []), ...[...(labels ?? '').matchAll(/(\w+)="/g)].map((match) => match[1] ?? '')]))
  }
  // Of a fleet without alerts there is the name and no line.
  for (const name of ['agentbus_alerts_open', 'agentbus_gateway_up', 'agentbus_job_retries_total']) {
    const metric = registry.getSingleMetric(name) as unknown as { labelNames: string[] } | undefined
    if (metric !== undefined) series.set(name, new Set(metric.labelNames))
  }
})
afterAll(() => t.close())

const namesIn = (expr: string): string[] => [...expr.matchAll(/\b(?:agentbus|process|nodejs)_[a-z0-9_]+/g)].map((match) => match[0])
const OF_PROMETHEUS = new Set(['job', 'instance'])
/** The labels that an expression groups by or selects. */
const labelsIn = (expr: string): string[] => [
  ...[...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap((match) => (match[1] ?? '').split(',').map((label) => label.trim())),
  ...[...expr.matchAll(/[{,]\s*(\w+)=~?"/g)].map((match) => match[1] ?? ''),
]

test('the dashboard has what Grafana needs to load it, with the data source as a variable', () => {
  const [source] = dashboard.templating.list
  const ids = dashboard.panels.map(({ id }) => id)

  expect(source).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' })
  expect(new Set(ids).size).toBe(ids.length)
  expect(dashboard.panels.filter(({ type, targets }) => type !== 'row' && targets.length === 0)).toEqual([])
  expect(dashboard.panels.flatMap(({ targets }) => targets).filter(({ datasource }) => datasource.uid !== '${datasource}')).toEqual([])
  expect(dashboard.panels.length).toBeGreaterThan(20)
})

test('no two panels of the dashboard lie on each other', () => {
  const overlap = (a: z.infer<typeof Grid>, b: z.infer<typeof Grid>): boolean => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h
  const pairs = dashboard.panels.flatMap((a, at) => dashboard.panels.slice(at + 1).map((b) => [a, b] as const))

  expect(pairs.filter(([a, b]) => overlap(a.gridPos, b.gridPos)).map(([a, b]) => `${a.title} / ${b.title}`)).toEqual([])
  expect(dashboard.panels.filter(({ gridPos }) => gridPos.x + gridPos.w > 24)).toEqual([])
})

test('every metric and label that the dashboard and the rules for Prometheus ask for is in the output of /metrics', () => {
  const asked = [...expressions, ...rules.map(({ expr }) => expr)]
  const unknown = asked.flatMap((expr) => namesIn(expr).filter((name) => !series.has(name)))
  const stray = asked.flatMap((expr) => {
    const known = new Set([...namesIn(expr).flatMap((name) => [...(series.get(name) ?? [])]), ...OF_PROMETHEUS])
    return labelsIn(expr).filter((label) => !known.has(label)).map((label) => `${label}: ${expr}`)
  })

  expect(unknown).toEqual([])
  expect(stray).toEqual([])
  expect(asked.length).toBeGreaterThan(30)
})

test('the dashboard shows every metric of the bus', () => {
  const shown = new Set(expressions.flatMap(namesIn).map((name) => name.replace(/_(bucket|sum|count)$/, '')))
  const registry = new Registry()
  createMetrics(registry, t.ledger)
  const all = registry.getMetricsAsArray().map(({ name }) => name)

  expect(all.filter((name) => name.startsWith('agentbus_') && !shown.has(name))).toEqual([])
})
