import { createServer } from 'node:http'
import { createServer as createSocketServer, type AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readOrder } from '../../openclaw/simulator/scripted-agent.js'
import { startCluster, type Cluster } from '../support/cluster.js'
import { OPERATOR } from '../support/ledger.js'
import { startReceiver, type Receiver } from '../support/receiver.js'

interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly attributes: readonly { readonly key: string; readonly value: Record<string, unknown> }[]
}

const [SERVER, CLIENT, PRODUCER, CONSUMER] = [2, 3, 4, 5]

let collector: Receiver
let c: Cluster
beforeEach(async () => {
  collector = await startReceiver()
  collector.answer((response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{}'))
})
afterEach(async () => {
  await c.stop()
  await collector.close()
})

/** Every span that the collector was sent. */
function spans(): Span[] {
  type Body = { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] }
  return collector.got.flatMap(({ body }) => (body as unknown as Body).resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)))
}

async function freePort(): Promise<number> {
  const server = createSocketServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Stands between worker and gateway, and keeps the trace headers of what passes. */
async function listeningIn(target: string): Promise<{ url: string; seen: string[]; close: () => Promise<void> }> {
  const seen: string[] = []
  const server = createServer((request, response) => {
    if (request.method === 'POST') seen.push(String(request.headers['traceparent'] ?? 'none'))
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { host: _host, connection: _connection, 'content-length': _length, 'transfer-encoding': _encoding, ...headers } = request.headers
      const body = request.method === 'POST' ? Buffer.concat(chunks) : null
      void fetch(`${target}${request.url ?? ''}`, { method: request.method ?? 'GET', headers: headers as Record<string, string>, body })
        .then(async (answer) => response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text()))
        .catch(() => response.destroy())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close: () => {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

test('one trace leads from the request over queue, delivery and hook to the end of the job, through three processes', { timeout: 90_000 }, async () => {
  const port = await freePort()
  const api = `http://127.0.0.1:${port}`
  c = await startCluster({ env: { AGENTBUS_TRACES: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_HEADERS: 'x-key=a%20b', AGENTBUS_PUBLIC_URL: api } })
  const wire = await listeningIn(c.gateway.url)
  await c.ledger.applyFleet(
    OPERATOR,
    { version: 1, gateways: [{ id: 'gw' as never, base_url: wire.url, hook_path: '/hooks', token: 'env:TEST_HOOK_TOKEN' }], agents: [] },
    { dryRun: false, prune: false },
  )
  const { token } = await c.ledger.tokens.create(OPERATOR, { name: 'client', role: 'operator' })
  c.behave(async (run) => {
    const order = readOrder(run.message)
    await fetch(`${api}/v1/jobs/${order?.jobId ?? ''}/complete`, {
      method: 'POST',
      headers: { authorization: `Bearer ${order?.token ?? ''}`, 'content-type': 'application/json' },
      body: '{}',
    })
  })
  await Promise.all([c.spawn('api', { AGENTBUS_PORT: String(port) }), c.spawn('worker')])
  const caller = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }

  const created = await fetch(`${api}/v1/jobs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', traceparent: `00-${caller.traceId}-${caller.spanId}-01` },
    body: JSON.stringify({ target_agent: 'devops', subject: 'a secret subject' }),
  })
  const job = (await created.json()) as { id: string }
  await c.until('the job is done', async () => (await c.status(job.id as never)) === 'succeeded')
  const mine = (): Span[] => spans().filter(({ traceId }) => traceId === caller.traceId)
  await c.until(
    'all spans have come',
    async () => [SERVER, CLIENT, PRODUCER, CONSUMER].every((kind) => mine().some((span) => span.kind === kind)) && mine().filter(({ kind }) => kind === SERVER).length >= 2,
  )
  await wire.close()

  const of = (kind: number, name: RegExp): Span => {
    const found = mine().find((span) => span.kind === kind && name.test(span.name))
    if (found === undefined) throw new Error(`no span ${String(name)} among ${JSON.stringify(mine().map((span) => [span.kind, span.name]))}`)
    return found
  }
  const servers = mine().filter(({ kind }) => kind === SERVER)
  const request = servers.find(({ parentSpanId }) => parentSpanId === caller.spanId)
  const completion = servers.find(({ parentSpanId }) => parentSpanId === request?.spanId)
  const [enqueued, delivered, admitted] = [of(PRODUCER, /^enqueue devops$/), of(CONSUMER, /^process/), of(CLIENT, /^hook admit$/)]
  expect([enqueued.parentSpanId, delivered.parentSpanId, admitted.parentSpanId]).toEqual([request?.spanId, enqueued.spanId, delivered.spanId])
  expect(JSON.stringify(completion?.attributes)).toContain('/v1/jobs/{id}/complete')
  expect(JSON.stringify(completion?.attributes)).toContain(job.id)
  expect(wire.seen).toContain(`00-${caller.traceId}-${admitted.spanId}-01`)
  expect(collector.got[0]?.headers['x-key']).toBe('a b')
  // Names and ids leave the machine, and nothing of what was said.
  const sent = JSON.stringify(spans())
  expect(sent).not.toContain('a secret subject')
  expect(sent).not.toContain(token)
  expect(sent).not.toMatch(/aat_[A-Za-z0-9_-]{20,}/)
  expect(spans().filter(({ name }) => /getNextJob|extendLocks|moveStalled/.test(name))).toEqual([])
})

test('without the setting no entry and no hook carries a trace', { timeout: 60_000 }, async () => {
  c = await startCluster()
  const wire = await listeningIn(c.gateway.url)
  await c.ledger.applyFleet(
    OPERATOR,
    { version: 1, gateways: [{ id: 'gw' as never, base_url: wire.url, hook_path: '/hooks', token: 'env:TEST_HOOK_TOKEN' }], agents: [] },
    { dryRun: false, prune: false },
  )
  await c.spawn('worker')
  const job = await c.enqueue()
  await c.until('the job is done', async () => (await c.status(job.id)) === 'succeeded')
  await wire.close()

  expect([...new Set(wire.seen)]).toEqual(['none'])
})
