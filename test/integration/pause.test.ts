import { afterEach, expect, test } from 'vitest'
import { setting } from '../../bench/machine.js'
import { measurePauses, writeResults } from '../../bench/pause.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { BACKEND } from '../support/bus.js'
import { startCluster, type Cluster } from '../support/cluster.js'
import { OPERATOR } from '../support/ledger.js'
import { IS_LONG } from '../support/long.js'
import { freePort } from '../support/own-stores.js'

const AGENTS = ['a1', 'a2', 'a3', 'a4']
const WORKERS = 3
/** Two seconds and a half each. The published figures are of twenty. */
const TRIES = process.env['WRITE_RESULTS'] !== undefined ? 20 : IS_LONG ? 5 : 3

let c: Cluster
afterEach(() => c.stop())

test(`${TRIES} pauses under load in ${WORKERS} worker processes: nothing starts a second after the answer, and every resume starts work again`, { timeout: 240_000 }, async () => {
  const port = await freePort()
  c = await startCluster({ agents: Object.fromEntries(AGENTS.map((id) => [id, { concurrency: 4 }])), env: { AGENTBUS_PORT: String(port) } })
  const { token } = await c.ledger.tokens.create(OPERATOR, { name: 'pauses', role: 'operator' })
  await Promise.all([c.spawn('api'), ...Array.from({ length: WORKERS }, () => c.spawn('worker'))])
  const starts: number[] = []
  c.behave(async (_run, close) => {
    starts.push(performance.now())
    await close()
  })
  const command = async (path: string, body: Record<string, unknown>): Promise<void> => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const answer = await fetch(`http://127.0.0.1:${port}/v1/${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    expect(answer.ok, await answer.text()).toBe(true)
  }

  const tries = await measurePauses({
    tries: TRIES,
    startedAt: starts,
    pause: () => command('controls', { action: 'pause', scope: 'everything', reason: 'a test' }),
    resume: () => command('controls/resume', { scope: 'everything', reason: 'over' }),
    enqueue: async (n) => {
      const jobs = Array.from({ length: n }, (_none, at) => CreateJobBody.parse({ target_agent: AGENTS[at % AGENTS.length], subject: 'load' }))
      await c.ledger.jobs.createBatch(OPERATOR, { jobs })
    },
    quietMs: 300,
  })

  if (process.env['WRITE_RESULTS'] !== undefined) {
    const { rows } = await c.database.pool.query<{ version: string }>(`select split_part(current_setting('server_version'), ' ', 1) as version`)
    await writeResults('bench/results/pause.md', BACKEND, setting(rows[0]?.version ?? ''), tries)
  }
  const { rows: owners } = await c.database.pool.query(`select distinct lease_owner from job_attempts`)
  expect(owners).toHaveLength(WORKERS)
  expect(tries).toHaveLength(TRIES)
  // That work starts again after each resume is part of the measuring, which waits for it. How soon is a figure, and no promise.
  for (const { lastStartMs, startedAfterQuiet } of tries) {
    expect(lastStartMs).toBeLessThan(1_000)
    expect(startedAfterQuiet).toBe(0)
  }
})
