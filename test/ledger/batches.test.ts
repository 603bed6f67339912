import { afterEach, beforeEach, expect, test } from 'vitest'
import { DelegationRule } from '../../contracts/fleet.js'
import { CreateBatchBody, CreateJobBody } from '../../contracts/jobs.js'
import type { CommandContext } from '../../ledger/caller.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  await t.addAgent('auditor', { capabilities: ['review'] })
})
afterEach(() => t.close())

const one = (subject: string, more: Record<string, unknown> = {}) => ({ target_agent: 'devops', subject, ...more })
const batch = (jobs: Record<string, unknown>[], as: CommandContext = OPERATOR) => t.ledger.jobs.createBatch(as, CreateBatchBody.parse({ jobs }))

test('a batch is created in its order, each job with its history and its way into the queue', async () => {
  const jobs = Array.from({ length: 300 }, (_none, n) => one(`job ${n}`, { payload: { n }, priority: 1 + (n % 1000), run_after: n === 7 ? '2099-01-01T00:00:00Z' : undefined }))

  const { items } = await batch(jobs)

  expect(items.map(({ job }) => job.subject)).toEqual(jobs.map(({ subject }) => subject))
  expect(items.every(({ created, job }) => created && job.status === 'queued' && job.version === 1)).toBe(true)
  const alone = (await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse(one('job 5', { payload: { n: 5 }, priority: 6 })))).job
  const same = ({ id: _id, created_at: _at, updated_at: _updated, run_after: _run, ...rest }: typeof alone) => rest
  expect(same(items[5]?.job as typeof alone)).toEqual(same(alone))
  const { rows } = await t.database.pool.query<{ job_id: string }>('select job_id from outbox order by id limit 300')
  expect(rows.map(({ job_id: id }) => id)).toEqual(items.map(({ job }) => job.id))
  expect((await t.ledger.jobHistory(items[299]?.job.id as never)).transitions).toMatchObject([{ seq: 1, reason: 'created', details: { job_type: 'reactive' } }])
})

test('jobs with dependencies, capabilities or taken keys are as if they were sent alone', async () => {
  const open = await aJob(t.ledger, 'queued', { dedupe_key: 'taken' })

  const { items } = await batch([
    one('waits', { depends_on: [open.id] }),
    { capabilities: ['review'], subject: 'for whoever can' },
    one('taken', { dedupe_key: 'taken' }),
    one('first', { dedupe_key: 'twice' }),
    one('second', { dedupe_key: 'twice' }),
  ])

  expect(items.map(({ job, created }) => [job.subject, job.status, created])).toEqual([
    ['waits', 'waiting', true],
    ['for whoever can', 'queued', true],
    ['a test job', 'queued', false],
    ['first', 'queued', true],
    ['first', 'queued', false],
  ])
})

test('one that is refused refuses all, with its reason and a row', async () => {
  await t.addAgent('auditor', { delegation: [DelegationRule.parse({ to: ['devops'], job_types: ['audit.*'] })] })
  const auditor: CommandContext = { caller: { role: 'agent', tokenId: 'x', name: 'auditor', agentId: 'auditor' as never } }

  await expect(batch([one('fine', { job_type: 'audit.x' }), one('not fine')], auditor)).rejects.toMatchObject({ code: 'AGENTBUS_DELEGATION_REFUSED' })
  await expect(batch([one('fine'), { target_agent: 'nobody', subject: 'x' }])).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT', message: 'No agent has the id nobody.' })

  expect((await t.ledger.listJobs({ limit: 5 })).items).toEqual([])
  const { rows } = await t.database.pool.query(`select code from observations where code = 'AGENTBUS_DELEGATION_REFUSED'`)
  expect(rows).toHaveLength(1)
})
