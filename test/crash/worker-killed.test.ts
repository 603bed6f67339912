import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import pg from 'pg'
import { afterEach, expect, test } from 'vitest'
import { BACKEND } from '../support/bus.js'
import { startCluster, type Cluster } from '../support/cluster.js'

let c: Cluster
afterEach(() => c.stop())

const print = (what: string, ms: number): void => console.log(`[${BACKEND}] ${what}: ${(ms / 1000).toFixed(1)} s`)

test('a worker killed before its lease: another takes the job, one attempt, one run', async () => {
  c = await startCluster()
  const victim = await c.spawn('worker')
  const holder = new pg.Client({ connectionString: c.databaseUrl })
  await holder.connect()
  // The lease writes its prompt first: it waits there, with nothing committed.
  await holder.query('begin; lock table prompts in share row exclusive mode')
  const job = await c.enqueue()
  await c.until('the worker waits in its lease', async () => {
    const { rowCount } = await holder.query(`select 1 from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.application_name = 'agentbus'`)
    return (rowCount ?? 0) > 0
  })

  victim.kill('SIGKILL')
  await holder.query('rollback')
  await holder.end()
  await c.claimsRunOut()
  await c.spawn('worker')

  print('recovered after a kill before the lease', await c.settled([job]))
  expect(await c.ledger.jobAttempts(job.id)).toHaveLength(1)
  expect(c.gateway.runs()).toHaveLength(1)
})

test('a worker killed after its lease and before the hook: the next one posts the same attempt', async () => {
  const fifo = path.join(await mkdtemp(path.join(tmpdir(), 'agentbus-fifo-')), 'token')
  // Reading the token from a pipe that nobody writes to holds the worker between lease and hook.
  execFileSync('mkfifo', [fifo])
  c = await startCluster({ tokenRef: `file:${fifo}` })
  const victim = await c.spawn('worker')
  const job = await c.enqueue()
  await c.until('leased', async () => (await c.status(job.id)) === 'leased')
  expect(c.gateway.requests().filter((request) => request.path === '/hooks/agent')).toHaveLength(0)

  victim.kill('SIGKILL')
  await rm(fifo)
  await writeFile(fifo, 'test-hook-token')
  await c.claimsRunOut()
  await c.spawn('worker')

  print('recovered after a kill between lease and hook', await c.settled([job]))
  const attempts = await c.ledger.jobAttempts(job.id)
  expect(attempts).toHaveLength(1)
  expect(c.gateway.runs().map((run) => run.key)).toEqual([attempts[0]?.id])
})

test('a worker killed after the hook: another re-attaches to the same run', async () => {
  c = await startCluster()
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  c.behave(async (_run, close) => {
    await finished
    await close()
  })
  const victim = await c.spawn('worker')
  const job = await c.enqueue()
  await c.until('running', async () => (await c.status(job.id)) === 'running')

  victim.kill('SIGKILL')
  await c.claimsRunOut()
  await c.spawn('worker')
  const took = await c.until('re-attached', async () => (await c.ledger.jobHistory(job.id)).transitions.some((row) => row.reason === 'reattached'))
  finish()

  print('re-attached after a kill in mid-run (lock 2 s, check 1 s)', took)
  await c.settled([job])
  expect(await c.ledger.jobAttempts(job.id)).toHaveLength(1)
  expect(c.gateway.runs()).toHaveLength(1)
})

test('with the default lock a killed worker is replaced within 15 seconds', async () => {
  c = await startCluster({ env: { AGENTBUS_LOCK_MS: '8000', AGENTBUS_STALLED_CHECK_MS: '3000' } })
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  c.behave(async (_run, close) => {
    await finished
    await close()
  })
  const victim = await c.spawn('worker')
  const job = await c.enqueue()
  await c.until('running', async () => (await c.status(job.id)) === 'running')
  await c.spawn('worker')

  victim.kill('SIGKILL')
  const took = await c.until('re-attached', async () => (await c.ledger.jobHistory(job.id)).transitions.some((row) => row.reason === 'reattached'))
  finish()

  print('re-attached after a kill in mid-run (default lock 8 s, check 3 s)', took)
  expect(took).toBeLessThan(15_000)
  await c.settled([job])
})

test('a worker killed after the close and before the queue was told: nothing runs again', async () => {
  c = await startCluster()
  let closed = false
  const reached: { stop?: () => void } = {}
  c.behave(async (_run, close) => {
    reached.stop?.()
    await close()
    closed = true
  })
  const victim = await c.spawn('worker')
  // Stopped as soon as the agent has its order: the worker can neither see the close nor acknowledge the entry.
  reached.stop = () => void victim.kill('SIGSTOP')
  const job = await c.enqueue()
  await c.until('the agent has closed the job', async () => closed)

  victim.kill('SIGKILL')
  await c.claimsRunOut()
  await c.spawn('worker')

  await c.settled([job])
  const took = await c.until('the stalled entry was dropped', async () => (await c.ledger.jobHistory(job.id)).observations.some((row) => row.kind === 'drop'))
  print('stalled entry of a closed job dropped', took)
  expect(await c.ledger.jobAttempts(job.id)).toHaveLength(1)
  expect(c.gateway.runs()).toHaveLength(1)
})
