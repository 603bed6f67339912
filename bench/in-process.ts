import { parseArgs } from 'node:util'
import { contestants } from './contestants.js'
import { median, spread } from './figures.js'
import { startStores } from './stores.js'

/** End-to-end rates in this process: what a profiler is started on. `npm run bench` has all figures. */
const { values: args } = parseArgs({
  options: {
    backend: { type: 'string', default: 'redis' },
    jobs: { type: 'string', default: '2000' },
    runs: { type: 'string', default: '3' },
    concurrency: { type: 'string', default: '50' },
    callers: { type: 'string', default: '32' },
    /** Part of a system's name: `agentbus` alone for a profile. */
    only: { type: 'string', default: '' },
  },
})
const [jobs, runs, callers] = [Number(args.jobs), Number(args.runs), Number(args.callers)]

const stores = await startStores(args.backend)
const noHttp = (): never => {
  throw new Error('nothing goes over HTTP here')
}
const all = contestants({ young: stores.places, old: [], peers: stores.peers }, noHttp, Number(args.concurrency)).filter(
  ({ way, system }) => way === 'in process' && system.includes(args.only),
)
try {
  const rates = new Map<string, number[]>()
  for (let run = 0; run < runs; run += 1) {
    for (const one of all) {
      const entry = await one.open()
      const name = `${one.system}${one.queues === 'own' ? '' : `, queues on ${one.queues}`}`
      try {
        await entry.begin()
        await entry.rate({ jobs: 200, callers }, one.isSlow === true ? 5_000 : undefined)
        const rate = await entry.rate({ jobs, callers }, one.isSlow === true ? 20_000 : undefined)
        console.log(`run ${run + 1} ${name}: ${rate.toFixed(rate < 10 ? 1 : 0)} jobs/s`)
        rates.set(name, [...(rates.get(name) ?? []), rate])
      } finally {
        await entry.stop()
      }
    }
  }
  for (const [name, list] of rates) console.log(`${name}: ${spread(list, median(list) < 10 ? 1 : 0)} jobs/s`)
} finally {
  await stores.stop()
}
process.exit(0)
