import path from 'node:path'
import { parseArgs } from 'node:util'
import { median, spread } from './figures.js'
import { openAgentbus } from './systems/agentbus-in-process.js'
import { openBareBullmq } from './systems/bare-bullmq.js'
import { openPgBoss, PG_BOSS_AS_IT_COMES, PG_BOSS_TUNED } from './systems/pg-boss.js'
import type { System } from './systems/system.js'
import { measureRate } from './rates.js'
import { startStores } from './stores.js'

/** End-to-end rates in this process: what a profiler is started on. `npm run bench` has all figures. */
async function main(): Promise<void> {
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
  const [jobs, runs, concurrency, callers] = [Number(args.jobs), Number(args.runs), Number(args.concurrency), Number(args.callers)]
  const stores = await startStores('both')
  try {
    const postgres = stores.places.find(({ queue }) => queue.kind === 'postgres')
    if (postgres === undefined) throw new Error('there is no PostgreSQL')
    const open: Record<string, () => Promise<System>> = {}
    for (const where of stores.places) {
      if (args.backend === 'both' || args.backend === where.queue.kind) open[`agentbus ${where.queue.kind}`] = () => openAgentbus(where, concurrency)
      open[`bare BullMQ ${where.queue.kind}`] = () => openBareBullmq(where, concurrency)
    }
    open['pg-boss'] = () => openPgBoss(postgres, PG_BOSS_AS_IT_COMES)
    open['pg-boss tuned'] = () => openPgBoss(postgres, PG_BOSS_TUNED)
    const rates = new Map<string, number[]>()
    for (let run = 0; run < runs; run += 1) {
      for (const [name, opener] of Object.entries(open)) {
        if (!name.includes(args.only)) continue
        const system = await opener()
        try {
          const { perSecond } = await measureRate(system, { jobs, callers, warmUp: 200, mostMs: 20_000 })
          console.log(`run ${run + 1} ${system.name}: ${perSecond.toFixed(perSecond < 10 ? 1 : 0)} jobs/s`)
          rates.set(system.name, [...(rates.get(system.name) ?? []), perSecond])
        } finally {
          await system.stop()
        }
      }
    }
    for (const [name, list] of rates) console.log(`${name}: ${spread(list, median(list) < 10 ? 1 : 0)} jobs/s`)
  } finally {
    await stores.stop()
  }
}

if (process.argv[1] !== undefined && path.basename(process.argv[1]).startsWith('in-process')) {
  await main()
  process.exit(0)
}
