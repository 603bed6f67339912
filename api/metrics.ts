import { collectDefaultMetrics, Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { LANES, TERMINAL_STATUSES } from '../contracts/job-states.js'
import { ENDED_SLOT_STATUSES } from '../contracts/standing-orders.js'
import type { Ledger } from '../ledger/ledger.js'
import { HOOK_ANSWER_CLASSES } from '../contracts/hooks.js'

export interface HttpMetrics {
  observe(what: { readonly method: string; readonly route: string; readonly status: number; readonly seconds: number }): void
}

/** So many agents, and as many gateways, have series of their own; what the others have stands under `other`. */
export const MOST_NAMED = 200
const REST = 'other'

type Labels = Readonly<Record<string, string>>
interface Sample {
  readonly labels: Labels
  readonly value: number
}

/** The metrics of an API process. Labels are bounded: route patterns, lanes, states, rules, and up to 200 agents and gateways; never a job id. */
export function createMetrics(registry: Registry, ledger: Ledger): HttpMetrics {
  // The default of 10 ms wakes an idle process a hundred times a second.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 })
  const requests = new Counter({ name: 'agentbus_http_requests_total', help: 'Requests answered', labelNames: ['method', 'route', 'status'], registers: [registry] })
  const seconds = new Histogram({
    name: 'agentbus_http_request_seconds',
    help: 'Time to answer a request',
    labelNames: ['method', 'route'],
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [registry],
  })
  registerTotals(registry, ledger)
  registerGauges(registry, ledger)
  return {
    observe: ({ method, route, status, seconds: took }) => {
      requests.inc({ method, route, status })
      seconds.observe({ method, route }, took)
    },
  }
}

/** What is counted in the ledger since its beginning. It goes on over restarts, and is the same in every API process. */
function registerTotals(registry: Registry, ledger: Ledger): void {
  const lanes = LANES.map((lane) => ({ lane }))
  const counter = totalOf(registry, ledger)
  counter('jobs_created', 'agentbus_jobs_created_total', 'Jobs created', ['lane'], lanes)
  counter(
    'jobs_ended',
    'agentbus_jobs_ended_total',
    'Jobs that ended; one that was retried by hand ends again',
    ['lane', 'outcome'],
    lanes.flatMap(({ lane }) => TERMINAL_STATUSES.map((outcome) => ({ lane, outcome }))),
  )
  counter('retries', 'agentbus_job_retries_total', 'Attempts that ended with their job queued again', ['reason'], [])
  counter(
    'hook_answers',
    'agentbus_hook_answers_total',
    'What came of calls of hooks',
    ['class'],
    HOOK_ANSWER_CLASSES.map((name) => ({ class: name })),
  )
  counter(
    'slots',
    'agentbus_slots_total',
    'Slots of standing orders by how they ended',
    ['status'],
    ENDED_SLOT_STATUSES.map((status) => ({ status })),
  )
  histogramOf(registry, ledger, 'lease_latency', 'agentbus_job_lease_latency_seconds', 'From when a job was due until a worker took it')
  histogramOf(registry, ledger, 'run', 'agentbus_run_seconds', 'From the admission of a run until it ended')
}

function totalOf(registry: Registry, ledger: Ledger) {
  return (total: string, name: string, help: string, labelNames: string[], zeros: readonly Labels[]): void => {
    const counter: Counter = new Counter({
      name,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        const totals = (await ledger.metricTotals()).filter((one) => one.name === total)
        counter.reset()
        for (const labels of zeros) counter.inc(labels, 0)
        for (const { labels, count } of totals) counter.inc(labels, count)
      },
    })
  }
}

/** A histogram whose buckets were counted elsewhere. prom-client's own can only observe: of it there is the head alone. */
function histogramOf(registry: Registry, ledger: Ledger, total: string, name: string, help: string): void {
  const head: Histogram = new Histogram({ name, help, labelNames: ['lane'], registers: [] })
  const counted = {
    name,
    help,
    labelNames: ['lane'],
    get: async () => {
      const totals = (await ledger.metricTotals()).filter((one) => one.name === total)
      const byBound = [...totals].sort((a, b) => boundOf(a.bucket) - boundOf(b.bucket))
      const values = byBound.map(({ labels, bucket, count }) => ({ metricName: `${name}_bucket`, labels: { ...labels, le: bucket }, value: count }))
      const sums = totals
        .filter(({ bucket }) => bucket === '+Inf')
        .flatMap(({ labels, count, sum }) => [
          { metricName: `${name}_sum`, labels: { ...labels }, value: sum },
          { metricName: `${name}_count`, labels: { ...labels }, value: count },
        ])
      return { ...(await head.get()), values: [...values, ...sums] }
    },
  }
  registry.registerMetric(counted as unknown as Histogram)
}

const boundOf = (bucket: string): number => (bucket === '+Inf' ? Infinity : Number(bucket))

/** How things stand now, read from the ledger at each scrape. */
function registerGauges(registry: Registry, ledger: Ledger): void {
  const gauge = gaugeOf(registry)
  gauge('agentbus_jobs_open', 'Jobs that are not over', ['agent', 'status'], async () =>
    boundedSum(
      (await ledger.openCounts()).map(({ agent, status, n }) => ({ name: agent ?? 'unassigned', labels: { status }, value: n })),
      'agent',
    ),
  )
  gauge('agentbus_queue_depth', 'Jobs that are due and not started', ['lane'], async () => perLane(await ledger.queueByLane(), ({ depth }) => depth))
  gauge('agentbus_queue_oldest_seconds', 'For how long the oldest of them has been due', ['lane'], async () =>
    perLane(await ledger.queueByLane(), ({ oldestSeconds }) => oldestSeconds),
  )
  gauge('agentbus_dead_letters', 'Failed and dead jobs that nobody has buried or retried', [], async () => [{ labels: {}, value: await ledger.deadLetterCount() }])
  gauge('agentbus_outbox_rows', 'Outbox rows that the relay has yet to publish, or has just published', [], async () => [{ labels: {}, value: (await ledger.outboxLag()).rows }])
  gauge('agentbus_outbox_oldest_seconds', 'Age of the oldest outbox row', [], async () => [{ labels: {}, value: (await ledger.outboxLag()).oldestSeconds }])
  gauge('agentbus_gateway_up', '1 while the breaker of a gateway is closed', ['gateway'], async () => {
    const gateways = (await ledger.listGateways()).map((gateway) => ({ labels: { gateway: gateway.id }, value: gateway.breaker === 'closed' ? 1 : 0 }))
    const rest = gateways.slice(MOST_NAMED)
    // Of those without a series of their own one that is down shows.
    return [...gateways.slice(0, MOST_NAMED), ...(rest.length === 0 ? [] : [{ labels: { gateway: REST }, value: Math.min(...rest.map(({ value }) => value)) }])]
  })
  gauge('agentbus_dispatchers', 'Worker processes by health', ['health'], async () => {
    const dispatchers = await ledger.listDispatchers()
    return (['alive', 'stale', 'stopped'] as const).map((health) => ({ labels: { health }, value: dispatchers.filter((one) => one.health === health).length }))
  })
  gauge('agentbus_alerts_open', 'Alerts that are not over', ['rule', 'level'], async () =>
    (await ledger.alertCounts()).open.map(({ rule, level, n }) => ({ labels: { rule, level }, value: n })),
  )
  gauge('agentbus_alert_deliveries_pending', 'Messages about alerts that have not reached their receiver', [], async () => [
    { labels: {}, value: (await ledger.alertCounts()).pending },
  ])
}

function perLane<T extends { readonly lane: string }>(rows: readonly T[], value: (row: T) => number): Sample[] {
  return LANES.map((lane) => {
    const row = rows.find((one) => one.lane === lane)
    return { labels: { lane }, value: row === undefined ? 0 : value(row) }
  })
}

/** The agents with most keep their names; the others are summed up under one. */
function boundedSum(rows: readonly { readonly name: string; readonly labels: Labels; readonly value: number }[], label: string): Sample[] {
  const totals = new Map<string, number>()
  for (const { name, value } of rows) totals.set(name, (totals.get(name) ?? 0) + value)
  const named = new Set(
    [...totals]
      .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
      .slice(0, MOST_NAMED)
      .map(([name]) => name),
  )
  const samples = new Map<string, Sample>()
  for (const { name, labels, value } of rows) {
    const all = { [label]: named.has(name) ? name : REST, ...labels }
    const key = JSON.stringify(all)
    samples.set(key, { labels: all, value: (samples.get(key)?.value ?? 0) + value })
  }
  return [...samples.values()]
}

function gaugeOf(registry: Registry) {
  return (name: string, help: string, labelNames: string[], read: () => Promise<readonly Sample[]>): void => {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        const samples = await read()
        gauge.reset()
        for (const sample of samples) gauge.set(sample.labels, sample.value)
      },
    })
  }
}
