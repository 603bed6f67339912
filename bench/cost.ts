import { readdirSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { startAgentbus } from './agentbus.js'
import { startBaseline } from './baseline.js'
import { child, next } from './child.js'
import { openBareBackend, startStores } from './stores.js'

/** What a finished job costs each process in CPU time: says where to look, whatever else the machine does. */
const { values: args } = parseArgs({
  options: {
    backend: { type: 'string', default: 'redis' },
    jobs: { type: 'string', default: '2000' },
    warm: { type: 'string', default: '500' },
    system: { type: 'string', default: 'agentbus' },
  },
})

const TICKS_PER_SECOND = 100

interface Process {
  readonly name: string
  readonly parent: number
  readonly ms: number
}

function processes(): Map<number, Process> {
  const all = new Map<number, Process>()
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0)
      all.set(Number(pid), { name, parent: Number(fields[1]), ms: (ticks * 1_000) / TICKS_PER_SECOND })
    } catch {
      // It ended while it was looked at.
    }
  }
  return all
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
}

function below(all: ReadonlyMap<number, Process>, root: number): number[] {
  const own = [...all].filter(([, { parent }]) => parent === root).map(([pid]) => pid)
  return [root, ...own.flatMap((pid) => below(all, pid))]
}

const stores = await startStores(args.backend)
const gateway = child('gateway.ts')
const { url: gatewayUrl } = z.object({ url: z.string() }).parse(await next(gateway))
const client = child('client.ts')
await next(client)
const [where] = stores.places
if (where === undefined) throw new Error('no queue store')
const bare = args.system === 'agentbus' ? undefined : openBareBackend(where.queue)
const bus =
  bare === undefined ? await startAgentbus(where, { gatewayUrl, agents: ['bench'], concurrency: 50 }) : await startBaseline({ backend: bare, gatewayUrl, concurrency: 50 })

async function load(jobs: number): Promise<number> {
  const reset = next(gateway)
  gateway.send('reset')
  await reset
  const done = next(client)
  client.send({ url: bus.url, token: bus.token, jobs, connections: 32 })
  const { startedMs } = z.object({ startedMs: z.number() }).parse(await done)
  for (;;) {
    const answer = next(gateway)
    gateway.send('seen')
    const seen = z.object({ closed: z.number(), lastClosedMs: z.number() }).parse(await answer)
    if (seen.closed >= jobs) return jobs / ((seen.lastClosedMs - startedMs) / 1_000)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

await load(Number(args.warm))
const before = processes()
const cpuBefore = process.cpuUsage()
const rate = await load(Number(args.jobs))
const own = process.cpuUsage(cpuBefore)
const after = processes()
const spent = (pids: readonly number[]): string => (pids.reduce((sum, pid) => sum + (after.get(pid)?.ms ?? 0) - (before.get(pid)?.ms ?? 0), 0) / Number(args.jobs)).toFixed(2)
const tree = below(after, process.pid)
const named = (name: string): number[] => tree.filter((pid) => after.get(pid)?.name === name)
const postmasters = [...after].filter(([pid, { name, parent }]) => name === 'postgres' && after.get(parent)?.name !== 'postgres' && commandOf(pid).includes('agentbus-bench-'))
console.log(
  `${args.system} ${args.backend}: ${rate.toFixed(0)} jobs/s; CPU ms per job: bus ${((own.user + own.system) / 1_000 / Number(args.jobs)).toFixed(2)}, ` +
    `postgres ${postmasters.map(([pid]) => spent(below(after, pid))).join('/')}, redis ${named('redis-server')
      .map((pid) => spent([pid]))
      .join('/')}, ` +
    `gateway ${spent([gateway.pid ?? 0])}, client ${spent([client.pid ?? 0])}`,
)

await bus.stop()
await bare?.close()
gateway.disconnect()
client.disconnect()
await stores.stop()
process.exit(0)
