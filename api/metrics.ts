import { collectDefaultMetrics, Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Ledger } from '../ledger/ledger.js'

export interface HttpMetrics {
  observe(what: { readonly method: string; readonly route: string; readonly status: number; readonly seconds: number }): void
}

/** The metrics of an API process. Labels are bounded: route patterns, agent ids, states; never a job id. */
export function createMetrics(registry: Registry, ledger: Ledger): HttpMetrics {
  collectDefaultMetrics({ register: registry })
  const requests = new Counter({ name: 'agentbus_http_requests_total', help: 'Requests answered', labelNames: ['method', 'route', 'status'], registers: [registry] })
  const seconds = new Histogram({
    name: 'agentbus_http_request_seconds',
    help: 'Time to answer a request',
    labelNames: ['method', 'route'],
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [registry],
  })
  gaugeOf(registry, 'agentbus_jobs_open', 'Jobs that are not over', ['agent', 'status'], async () =>
    (await ledger.openCounts()).map((count) => ({ labels: { agent: count.agent, status: count.status }, value: count.n })),
  )
  gaugeOf(registry, 'agentbus_outbox_rows', 'Outbox rows that the relay has yet to publish', [], async () => [{ labels: {}, value: (await ledger.outboxLag()).rows }])
  gaugeOf(registry, 'agentbus_outbox_oldest_seconds', 'Age of the oldest outbox row', [], async () => [{ labels: {}, value: (await ledger.outboxLag()).oldestSeconds }])
  gaugeOf(registry, 'agentbus_gateway_up', '1 while the breaker of a gateway is closed', ['gateway'], async () =>
    (await ledger.listGateways()).map((gateway) => ({ labels: { gateway: gateway.id }, value: gateway.breaker === 'closed' ? 1 : 0 })),
  )
  gaugeOf(registry, 'agentbus_dispatchers', 'Worker processes by health', ['health'], async () => {
    const dispatchers = await ledger.listDispatchers()
    return (['alive', 'stale', 'stopped'] as const).map((health) => ({ labels: { health }, value: dispatchers.filter((one) => one.health === health).length }))
  })
  return {
    observe: ({ method, route, status, seconds: took }) => {
      requests.inc({ method, route, status })
      seconds.observe({ method, route }, took)
    },
  }
}

interface Sample {
  readonly labels: Record<string, string>
  readonly value: number
}

function gaugeOf(registry: Registry, name: string, help: string, labelNames: string[], read: () => Promise<readonly Sample[]>): void {
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
