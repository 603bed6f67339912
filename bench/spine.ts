import type { ChildProcess } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { startAgentbus } from './agentbus.js'
import { startBaseline } from './baseline.js'
import { child, next } from './child.js'
import { median, quantile, spread } from './figures.js'
import { setting } from './machine.js'
import { openBareBackend, startStores, type Where } from './stores.js'

const { values: args } = parseArgs({
  options: {
    backend: { type: 'string', default: 'both' },
    jobs: { type: 'string', default: '1500' },
    seconds: { type: 'string', default: '10' },
    runs: { type: 'string', default: '3' },
    out: { type: 'string', default: 'bench/results/spine.md' },
  },
})
const CONCURRENCY = 50

const Seen = z.object({ kind: z.literal('seen'), latencies: z.array(z.number()), closed: z.int(), lastClosedMs: z.number() })
const Done = z.object({ kind: z.literal('done'), startedMs: z.number(), postedMs: z.number() })

interface System {
  readonly name: 'agentbus' | 'no ledger'
  readonly url: string
  readonly token: string
  readonly stop: () => Promise<void>
}

interface Measured {
  readonly p50: number
  readonly p99: number
  readonly rate: number
}

async function measure(system: System, gateway: ChildProcess, client: ChildProcess): Promise<Measured> {
  const load = { url: system.url, token: system.token, connections: 32 }
  await loadAndWait(gateway, client, { ...load, jobs: 100 })
  const calm = await loadAndWait(gateway, client, { ...load, jobs: 20 * Number(args.seconds), perSecond: 20 })
  const fast = await loadAndWait(gateway, client, { ...load, jobs: Number(args.jobs) })
  const at = (q: number): number => quantile(calm.latencies, q)
  return { p50: at(0.5), p99: at(0.99), rate: Number(args.jobs) / ((fast.lastClosedMs - fast.startedMs) / 1_000) }
}

async function loadAndWait(
  gateway: ChildProcess,
  client: ChildProcess,
  load: { jobs: number; perSecond?: number; connections: number; url: string; token: string },
): Promise<z.infer<typeof Seen> & { startedMs: number }> {
  const reset = next(gateway)
  gateway.send('reset')
  await reset
  const done = next(client)
  client.send(load)
  const { startedMs } = Done.parse(await done)
  for (;;) {
    const answer = next(gateway)
    gateway.send('seen')
    const seen = Seen.parse(await answer)
    if (seen.closed >= load.jobs) return { ...seen, startedMs }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function main(): Promise<void> {
  const stores = await startStores(args.backend)
  const gateway = child('gateway.ts')
  const { url: gatewayUrl } = z.object({ url: z.string() }).parse(await next(gateway))
  const client = child('client.ts')
  await next(client)
  const lines: string[] = []
  try {
    for (const where of stores.places) lines.push(...(await compare(where, gatewayUrl, gateway, client)))
    await report(lines, stores.postgresVersion)
  } finally {
    gateway.disconnect()
    client.disconnect()
    await stores.stop()
  }
}

async function compare(where: Where, gatewayUrl: string, gateway: ChildProcess, client: ChildProcess): Promise<string[]> {
  const { kind } = where.queue
  const results: Record<System['name'], Measured[]> = { agentbus: [], 'no ledger': [] }
  for (let run = 0; run < Number(args.runs); run += 1) {
    for (const start of [startNoLedger, startWithLedger]) {
      const system = await start(where, gatewayUrl)
      const measured = await measure(system, gateway, client)
      await system.stop()
      results[system.name].push(measured)
      console.log(`${kind} run ${run + 1} ${system.name}: p50 ${measured.p50.toFixed(1)} ms, p99 ${measured.p99.toFixed(1)} ms, ${measured.rate.toFixed(0)} jobs/s`)
    }
  }
  const of = (name: System['name'], key: keyof Measured): number[] => results[name].map((one) => one[key])
  const difference = (key: 'p50' | 'p99'): number => median(of('agentbus', key)) - median(of('no ledger', key))
  const ratio = median(of('agentbus', 'rate')) / median(of('no ledger', 'rate'))
  const met = (holds: boolean): string => (holds ? 'met' : 'NOT met')
  return [
    `| ${kind} | enqueue to hook, p50, ms | ${spread(of('agentbus', 'p50'), 1)} | ${spread(of('no ledger', 'p50'), 1)} | +${difference('p50').toFixed(1)} ms | at most +15 ms: ${met(difference('p50') <= 15)} |`,
    `| ${kind} | enqueue to hook, p99, ms | ${spread(of('agentbus', 'p99'), 1)} | ${spread(of('no ledger', 'p99'), 1)} | +${difference('p99').toFixed(1)} ms | at most +60 ms: ${met(difference('p99') <= 60)} |`,
    `| ${kind} | end to end, jobs/s | ${spread(of('agentbus', 'rate'), 0)} | ${spread(of('no ledger', 'rate'), 0)} | ${ratio.toFixed(2)} of it | ${kind === 'redis' ? `at least 0.25: ${met(ratio >= 0.25)}` : 'none'} |`,
  ]
}

async function startNoLedger({ queue }: Where, gatewayUrl: string): Promise<System> {
  const backend = openBareBackend(queue)
  const baseline = await startBaseline({ backend, gatewayUrl, concurrency: CONCURRENCY })
  return {
    name: 'no ledger',
    ...baseline,
    stop: async () => {
      await baseline.stop()
      await backend.close()
    },
  }
}

async function startWithLedger(where: Where, gatewayUrl: string): Promise<System> {
  const { url, token, stop } = await startAgentbus(where, { gatewayUrl, agents: ['bench'], concurrency: CONCURRENCY })
  return { name: 'agentbus', url, token, stop }
}

async function report(lines: readonly string[], postgresVersion: string): Promise<void> {
  const text = `# Spine benchmark

${setting(postgresVersion)} \`npm run bench\`.
Load client and gateway are processes of their own; API and workers are one process, in both systems. Latency at 20 jobs/s for ${args.seconds} s; rate with
${args.jobs} jobs over 32 connections, agent concurrency ${CONCURRENCY}. Medians of ${args.runs} interleaved runs (lowest–highest). "No ledger" is the same HTTP
requests and the same BullMQ queue on the same store, with nothing written to PostgreSQL by the bus.

| queues | figure | agentbus | no ledger | difference | target |
|---|---|---|---|---|---|
${lines.join('\n')}
`
  await mkdir(path.dirname(args.out), { recursive: true })
  await writeFile(args.out, text)
  console.log(`\n${text}`)
}

await main()
process.exit(0)
