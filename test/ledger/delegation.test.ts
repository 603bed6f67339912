import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadFleetFile } from '../../config/fleet-file.js'
import { DelegationRule } from '../../contracts/fleet.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import type { CommandContext } from '../../ledger/caller.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  for (const id of ['coordinator', 'publisher']) await t.addAgent(id)
})
afterEach(() => t.close())

const agent = (id: string): CommandContext => ({ caller: { role: 'agent', tokenId: id, name: id, agentId: id as never } })
const rules = (...delegation: Record<string, unknown>[]) => t.addAgent('auditor', { concurrency: 100, delegation: delegation.map((rule) => DelegationRule.parse(rule)) })
const send = (from: CommandContext, to: string, more: Record<string, unknown> = {}) =>
  t.ledger.jobs.create(from, CreateJobBody.parse({ target_agent: to, subject: 'a job', ...more }))

async function rowsOf(code: string): Promise<{ kind: string; actor: string; detail: string }[]> {
  const { rows } = await t.database.pool.query<{ kind: string; actor: string; detail: string }>('select kind, actor, detail from observations where code = $1 order by id', [code])
  return rows
}

describe('an agent', () => {
  test('without rules sends anything to anybody, with none of them nothing to anybody but itself', async () => {
    await t.addAgent('auditor')
    await send(agent('auditor'), 'publisher')
    await rules()

    await expect(send(agent('auditor'), 'publisher')).rejects.toMatchObject({
      code: 'AGENTBUS_DELEGATION_REFUSED',
      status: 403,
      message: 'auditor may not send reactive to publisher; it may send nothing to anybody.',
    })
    await send(agent('auditor'), 'auditor')
  })

  test.each([
    ['publisher', 'digest.publish', true],
    ['publisher', 'anything', true],
    ['devops', 'recovery.restart', true],
    ['devops', 'recovery.db.restart', true],
    ['devops', 'recovery', false],
    ['devops', 'recoveryx.restart', false],
    ['devops', 'audit.gaps', true],
    ['devops', 'audit.gaps.more', false],
    ['devops', 'reactive', false],
    ['coordinator', 'reactive', false],
  ])('with rules: to %s a job of type %s: %s', async (to, job_type, allowed) => {
    await rules({ to: ['publisher'] }, { to: ['*'], job_types: ['recovery.*', 'audit.gaps'] })

    const sent = await send(agent('auditor'), to, { job_type }).then(
      () => true,
      () => false,
    )

    expect(sent).toBe(allowed)
    expect(await rowsOf('AGENTBUS_DELEGATION_REFUSED')).toHaveLength(allowed ? 0 : 1)
  })

  test('that is refused is told the rule, and leaves a row and nothing else', async () => {
    await rules({ to: ['publisher'], job_types: ['summary.*'] })

    for (const more of [{}, { depends_on: [(await aJob(t.ledger, 'succeeded')).id] }, { dedupe_key: 'once' }]) {
      await expect(send(agent('auditor'), 'devops', more)).rejects.toMatchObject({ code: 'AGENTBUS_DELEGATION_REFUSED' })
    }

    expect((await t.ledger.listJobs({ target_agent: 'devops' as never, status: 'queued', limit: 10 })).items).toEqual([])
    expect(await rowsOf('AGENTBUS_DELEGATION_REFUSED')).toEqual(
      [1, 2, 3].map(() => ({ kind: 'refusal', actor: 'auditor', detail: 'auditor may not send reactive to devops; it may send summary.* to publisher.' })),
    )
  })

  test('cannot get round its rules by closing a job: the whole call is refused, and the job stays open', async () => {
    await rules({ to: ['publisher'] })
    const run = await aJob(t.ledger, 'running', { target_agent: 'auditor' })
    const follow_ups = ['publisher', 'devops'].map((target_agent) => CreateJobBody.parse({ target_agent, subject: 'next' }))

    await expect(t.ledger.jobs.complete(run.as, run.id, { result: {}, findings: [], events: [], follow_ups })).rejects.toMatchObject({ code: 'AGENTBUS_DELEGATION_REFUSED' })

    expect((await t.ledger.getJob(run.id)).status).toBe('running')
    expect((await t.ledger.listJobs({ parent_job_id: run.id, limit: 10 })).items).toEqual([])
    const { observations } = await t.ledger.jobHistory(run.id)
    expect(observations).toMatchObject([{ kind: 'refusal', code: 'AGENTBUS_DELEGATION_REFUSED', actor: 'auditor' }])
    await t.ledger.jobs.complete(run.as, run.id, { result: {}, findings: [], events: [], follow_ups: follow_ups.slice(0, 1) })
    expect((await t.ledger.getJob(run.id)).status).toBe('succeeded')
  })

  test('does not bind an operator who asks in its name', async () => {
    await rules()

    expect((await send(OPERATOR, 'devops', { source_agent: 'auditor' })).created).toBe(true)
  })

  test('gets other rules by applying the fleet, as a version of its own', async () => {
    await rules({ to: ['publisher'] })
    await expect(send(agent('auditor'), 'devops')).rejects.toMatchObject({ code: 'AGENTBUS_DELEGATION_REFUSED' })
    await rules({ to: ['*'] })
    await send(agent('auditor'), 'devops')

    const { rows } = await t.database.pool.query(`select version, spec -> 'delegation' as delegation from fleet_versions where kind = 'agent' and id = 'auditor' order by version`)
    expect(rows).toEqual([
      { version: 1, delegation: [{ to: ['publisher'] }] },
      { version: 2, delegation: [{ to: ['*'] }] },
    ])
    expect((await t.ledger.listAgents('auditor'))[0]?.delegation).toEqual([{ to: ['*'] }])
  })
})

test('the reference fleet: the coordinator sends anything to anybody, a specialist to coordinator, tracker and publisher as its role allows', async () => {
  const fleet = await loadFleetFile('fleet/reference.yaml')
  await t.ledger.applyFleet(OPERATOR, fleet, { dryRun: false, prune: false })
  const allowed = async (from: string, to: string, job_type: string): Promise<boolean> =>
    send(agent(from), to, { job_type }).then(
      () => true,
      () => false,
    )

  expect(await allowed('coordinator', 'security', 'threat.model')).toBe(true)
  expect(await allowed('devops', 'coordinator', 'blocked.replan')).toBe(true)
  expect(await allowed('devops', 'publisher', 'summary.prepare')).toBe(true)
  expect(await allowed('devops', 'publisher', 'report.compose')).toBe(false)
  expect(await allowed('research', 'design', 'design.explore')).toBe(false)
  expect(await allowed('project-tracker', 'design', 'project.debrief.collect')).toBe(true)
  expect(await allowed('project-tracker', 'design', 'design.explore')).toBe(false)
  expect(await allowed('auditor', 'research', 'recovery.requeue')).toBe(true)
  expect(await allowed('publisher', 'devops', 'infra.check')).toBe(false)
  for (const { id } of fleet.agents) expect(await allowed(id, 'coordinator', 'reactive')).toBe(true)
})
