import { parseArgs } from 'node:util'
import { findRedisServer } from '../../embedded/private-redis.js'
import { ownPostgres, ownRedis } from '../support/own-stores.js'
import { tell, type Backend } from './schedule.js'
import { runStorm, type StormReport } from './storm.js'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    backend: { type: 'string', default: 'both' },
    rate: { type: 'string', default: '3' },
    bound: { type: 'string', default: '120' },
    json: { type: 'boolean', default: false },
  },
})

function number(name: 'minutes' | 'seed' | 'rate' | 'bound'): number {
  const value = Number(values[name])
  if (!Number.isFinite(value) || value <= 0) throw new Error(`--${name} must be a number above 0`)
  return value
}

function backends(): Backend[] {
  if (values.backend === 'both') return ['redis', 'postgres']
  if (values.backend === 'redis' || values.backend === 'postgres') return [values.backend]
  throw new Error('--backend must be redis, postgres or both')
}

const say = (line: string): void => {
  if (!values.json) console.log(line)
}

/** One storm on stores of its own. */
async function once(backend: Backend): Promise<StormReport> {
  if (backend === 'redis' && findRedisServer(process.env['PATH']) === undefined) throw new Error('no redis-server on PATH; give --backend postgres')
  const postgres = await ownPostgres()
  const redis = backend === 'redis' ? await ownRedis() : undefined
  try {
    await redis?.start()
    say(`\n${backend}, seed ${number('seed')}, ${number('minutes')} min\n`)
    return await runStorm({
      seed: number('seed'),
      backend,
      stormMs: number('minutes') * 60_000,
      perSecond: number('rate'),
      boundMs: number('bound') * 1_000,
      postgres,
      ...(redis === undefined ? {} : { redis }),
      onTrouble: (trouble) => say(tell(trouble)),
    })
  } finally {
    await redis?.stop()
    await postgres.stop()
  }
}

function print(report: StormReport): void {
  say(`\n${new Date().toISOString()}, ${report.backend}, seed ${report.seed}, storm of ${report.stormMs / 1_000} s, settled ${(report.settledMs / 1_000).toFixed(1)} s after it\n`)
  for (const [what, count] of Object.entries(report.counts)) say(`${String(count).padStart(8)}  ${what}`)
  say('')
  for (const { name, holds, checked, counterexample } of report.verdicts) {
    say(`${holds ? 'holds  ' : 'BROKEN '} ${String(checked).padStart(7)}  ${name}${counterexample === undefined ? '' : `\n                 ${counterexample}`}`)
  }
}

const reports: StormReport[] = []
for (const backend of backends()) {
  const report = await once(backend)
  reports.push(report)
  print(report)
}
if (values.json) console.log(JSON.stringify(reports, null, 2))
// Not left to its natural end: after a long storm Node has been seen to wait for ever for a socket of a process that was killed.
process.exit(reports.every(({ holds }) => holds) ? 0 : 1)
